"""URLs of servers: where a redirect leads, and whether two are of one origin. No I/O.

Source
------
RFC 3986, RFC 6454, RFC 9110 §15.4.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.summary import visible
from dicomlab.web.discretion import without_keys


def followed(url: str, target: str) -> str:
    """Where a redirect leads.

    Raises
    ------
    RemoteProtocolError
        Nowhere that can be asked.

    Source
    ------
    RFC 9110 §15.4 (redirection), RFC 3986 §5.2.
    """
    try:
        found = urljoin(url, target)
        parts = urlsplit(found)
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and found.isascii()
    except ValueError:
        fit, found = False, target
    if not fit:
        shown = visible(without_keys(without_user(found)), 100)
        raise RemoteProtocolError(f"a redirect to {shown}", section="RFC 9110 §15.4")
    return without_user(found)


def without_user(url: str) -> str:
    """A URL without the user and password that somebody wrote into it: they are never sent, nor shown.

    Source
    ------
    RFC 9110 §4.2.4.
    """
    head, slashes, rest = url.partition("//")
    host, *path = re.split("(?=[/?#])", rest, maxsplit=1)
    return head + slashes + "".join((host.rpartition("@")[2], *path)) if slashes else url


def same_origin(url: str, other: str) -> bool:
    """Whether two URLs have the same origin: scheme, host and port.

    Source
    ------
    RFC 6454 §4.
    """
    return _origin(url) == _origin(other)


def _origin(url: str) -> tuple[str, str, int | None]:
    try:
        parts = urlsplit(url)
        port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    except ValueError:  # no URL, as whoever asks for it is told
        return "", url, None
    return parts.scheme, (parts.hostname or "").lower(), port
