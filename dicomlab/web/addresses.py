"""URLs of servers: where a redirect leads, whether two are of one origin, what of one may be shown. No I/O.

Source
------
RFC 3986, RFC 6454, RFC 9110 §4.2.4 (no user in a URL), §15.4.
"""

from __future__ import annotations

import re
from urllib.parse import urljoin, urlsplit, urlunsplit

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.summary import visible

MASK = "•••"
_KEY = re.compile(
    r"(?<=[?&])((?:[a-z]+_)?token|jwt|api[-_]?key|key|subscription-key|password|(?:client_)?secret|sig|signature"
    r"|x-(?:amz|goog)-[a-z-]+)=[^&#\s]*",
    re.IGNORECASE,
)
"""Parameters by which a URL itself is a credential: tokens, and signatures of clouds."""


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
        found = without_user(urljoin(url, target))
        parts = urlsplit(found)
        fit = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and found.isascii()
    except ValueError:
        fit, found = False, target
    if not fit:
        raise RemoteProtocolError(f"a redirect to {visible(without_keys(found), 100)}", section="RFC 9110 §15.4")
    return found


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


def without_user(url: str) -> str:
    """A URL without the user and password that somebody wrote into it: they are never sent, nor shown.

    Source
    ------
    RFC 9110 §4.2.4.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])) if "@" in parts.netloc else url


def without_keys(url: str) -> str:
    """A URL, or its path and query, with those parameters blanked that are credentials themselves.

    Source
    ------
    RFC 6750 §5.3 (tokens in URLs are recorded).
    """
    return _KEY.sub(rf"\1={MASK}", url)
