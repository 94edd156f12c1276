"""One line of a trace for each HTTP head or run of body octets. Values that identify a patient never appear.

Source
------
RFC 9112 §2.1 (message format), PS3.18 §8.3.4 (query parameters).
"""

from __future__ import annotations

import re

from dicomlab.model.trace import CAP_OCTETS

_REQUEST = re.compile(rb"([A-Z]{3,7}) (\S+) HTTP/1\.[01]\r\n")
_RESPONSE = re.compile(rb"HTTP/[\d.]+ (\d{3}) ?([^\r\n]*)\r\n")
_CONTENT_TYPE = re.compile(rb"\r\ncontent-type:[ \t]*([^\r\n]*)", re.IGNORECASE)
_SHOWN = frozenset("limit offset includefield fuzzymatching".split())
_LONGEST = 300


def dissect(octets: bytes) -> str:
    """Say in one line what a tapped run of octets is; what stands before the first colon is its kind.

    Of the query only the names are shown, and the values of those parameters that can't hold patient data.

    Source
    ------
    RFC 9112 §3, §4.
    """
    if found := _REQUEST.match(octets):
        path, mark, query = found[2].decode("ascii", "replace").partition("?")
        return f"{found[1].decode()}: {path}{mark}{_names(query)}"[:_LONGEST]
    if found := _RESPONSE.match(octets):
        kind = _CONTENT_TYPE.search(octets)
        reason = found[2].decode("latin-1").replace(":", " ")
        return f"{found[1].decode()} {reason}: {kind[1].decode('latin-1') if kind else 'no content type'}"[:_LONGEST]
    more = " or more" if len(octets) >= CAP_OCTETS else ""
    return f"body: {len(octets):,} octets{more}"


def _names(query: str) -> str:
    pairs = (one.partition("=") for one in query.split("&") if one)
    return "&".join(f"{name}={value if name in _SHOWN else '…'}" for name, _, value in pairs)
