"""What may be shown of a request and its answer. No I/O.

Source
------
RFC 9110 §11 (credentials), §17.16 (what logs disclose); RFC 6750 §5.3 (tokens in URLs).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

MASK = "•••"
PLAIN = frozenset(
    "accept accept-charset accept-encoding accept-language connection content-length content-type expect host"
    " if-match if-modified-since if-none-match origin range sec-websocket-extensions sec-websocket-key"
    " sec-websocket-version transfer-encoding upgrade user-agent".split()
)
"""Headers of a request that say nothing of who asks. Any other may be a key: those of clouds have many names."""
_COOKIES = frozenset({"set-cookie", "set-cookie2", "authorization", "authentication-info", "proxy-authentication-info"})
_LINKS = frozenset({"location", "content-location"})
_KEY = re.compile(
    r"(?<=[?&])((?:[a-z]+_)?token|jwt|api[-_]?key|key|subscription-key|password|(?:client_)?secret|sig|signature"
    r"|x-(?:amz|goog)-[a-z-]+)=[^&#\s]*",
    re.IGNORECASE,
)
"""Parameters by which a URL itself is a credential: tokens, and signatures of clouds."""


def without_keys(url: str) -> str:
    """A URL, or its path and query, with those parameters blanked that are credentials themselves.

    Source
    ------
    RFC 6750 §5.3 (tokens in URLs are recorded).
    """
    return _KEY.sub(rf"\1={MASK}", url)


def shown_request(method: str, target: str, headers: Iterable[tuple[Any, Any]]) -> bytes:
    """The head of a request as the trace keeps it: what may be a credential is blanked before anything is stored."""
    lines = ((name, value if name.lower() in PLAIN else MASK) for name, value in _texts(headers))
    return _head(f"{method} {without_keys(target)} HTTP/1.1", lines)


def shown_answer(first: str, headers: Iterable[tuple[Any, Any]]) -> bytes:
    """The head of an answer as the trace keeps it."""
    lines = (
        (name, MASK if name.lower() in _COOKIES else without_keys(value) if name.lower() in _LINKS else value)
        for name, value in _texts(headers)
    )
    return _head(first, lines)


def _head(first: str, lines: Iterable[tuple[str, str]]) -> bytes:
    return "\r\n".join((first, *(f"{name}: {value}" for name, value in lines), "", "")).encode()


def _texts(headers: Iterable[tuple[Any, Any]]) -> Iterable[tuple[str, str]]:
    return ((_text(name), _text(value)) for name, value in headers)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
