"""The user of an association: what ``user=`` takes, and that it travels over TLS only. No I/O.

Source
------
PS3.7 §D.3.3.7 (user identity negotiation), Table D.3-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dicomlab.dimse.items import Identity
from dicomlab.errors import UsageError

User = str | tuple[str, Any] | Identity | None
"""What ``user=`` takes: see :func:`identity_of`."""
_KINDS = {"kerberos": 3, "saml": 4, "jwt": 5}
_MAX_OCTETS = 0xFFFF


def identity_of(user: User, *, encrypted: bool, forced: bool = False) -> Identity | None:
    """Read what ``user=`` was given.

    Parameters
    ----------
    user : str, tuple or Identity
        A name (type 1); ``(name, passcode)`` (type 2; the passcode may be a function that gives it, or anything with a
        ``get_secret_value``); ``("kerberos", ticket)``, ``("saml", assertion)`` or ``("jwt", token)`` (types 3 to 5).
    encrypted : bool
        Whether the association goes over TLS.
    forced : bool
        Send it in plaintext all the same.

    Raises
    ------
    UsageError
        None of these, too long, or without TLS.

    Source
    ------
    PS3.7 Table D.3-14; PS3.15 Annex B.
    """
    if user is None:
        return None
    if isinstance(user, Identity):
        found = user
    elif isinstance(user, str) and user:
        found = Identity(1, user.encode())
    elif isinstance(user, Sequence) and len(user) == 2 and isinstance(user[0], str) and user[0]:
        secret = _octets(user[1])
        kind = _KINDS.get(user[0], 2)
        found = Identity(2, user[0].encode(), secret) if kind == 2 else Identity(kind, secret)
    else:
        raise UsageError('user is a name, (name, passcode), or ("kerberos" | "saml" | "jwt", its octets)')
    if max(len(found.primary), len(found.secondary)) > _MAX_OCTETS:
        raise UsageError("a field of a user identity has at most 65535 octets (PS3.7 §D.3.3.7)")
    if not encrypted and not forced:
        raise UsageError(
            "a user identity would cross the network in plaintext: give tls= too, or force_plaintext_user=True"
        )
    return found


def _octets(secret: Any) -> bytes:
    """A secret as octets, however it is kept."""
    if hasattr(secret, "get_secret_value"):
        secret = secret.get_secret_value()
    elif callable(secret):
        secret = secret()
    if isinstance(secret, str):
        return secret.encode()
    if not isinstance(secret, bytes):
        raise UsageError("a passcode, ticket or token is text, bytes, or a function that gives one of these")
    return secret
