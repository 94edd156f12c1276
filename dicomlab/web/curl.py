"""An HTTP request of a trace as the curl command that makes it again. Never a credential. No I/O.

Source
------
RFC 9112 §3; PS3.18 §8.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from urllib.parse import urlsplit

from dicomlab.web.discretion import PLAIN

_REQUEST = re.compile(rb"([A-Z]{3,7}) (\S+) HTTP/1\.[01]\r\n")
_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*)\r\n")
_OWN = frozenset("host connection accept-encoding content-length transfer-encoding user-agent expect".split())
"""Headers that curl makes by itself."""
MAX_HEADERS, MAX_VALUE = 50, 1000
MASK = b"XXX"


def curl(octets: bytes, base: str, private: Sequence[tuple[int, int]] = ()) -> str:
    """Write the command, one option to a line.

    Parameters
    ----------
    octets : bytes
        The head of a request, as it was on the wire.
    base : str
        The URL of the server: its scheme and host.
    private : sequence of (from, to)
        Octets that may not be shown: ``XXX`` stands in their place.

    Returns
    -------
    str
        ``""`` where this is no request. Credentials are a shell variable to be set, a body is a file to be given.

    Source
    ------
    RFC 9112 §3, RFC 9110 §11.6.2.
    """
    shown = bytearray(octets)
    for start, end in sorted(private, reverse=True):
        shown[start:end] = MASK
    found = _REQUEST.match(shown)
    if found is None:
        return ""
    method, target = found[1].decode(), found[2].decode("latin-1")
    where = urlsplit(base)
    url = target if "://" in target else f"{where.scheme or 'http'}://{where.netloc.rpartition('@')[2]}{target}"
    lines = [f"curl {_quoted(url)}"]
    if method != "GET":
        lines.append(f"--request {method}")
    body = False
    at = found.end()
    for _ in range(MAX_HEADERS):
        header = _HEADER.match(shown, at)
        if header is None:
            break
        at = header.end()
        name, value = header[1].decode("latin-1"), header[2][:MAX_VALUE].decode("latin-1")
        body = body or (name.lower() in ("content-length", "transfer-encoding") and value != "0")
        if name.lower() not in PLAIN:
            lines.append(f'--header {shlex.quote(name + ": ")}"$SECRET"')
        elif name.lower() not in _OWN:
            lines.append(f"--header {_quoted(f'{name}: {value}')}")
    if body:
        lines.append("--data-binary @body")
    if method == "GET":
        lines.append("--output answer")
    return " \\\n  ".join(lines)


def _quoted(text: str) -> str:
    """Text as one word of a shell; what is no printable ASCII is left out, for it could act on a terminal."""
    return shlex.quote("".join(c if " " <= c <= "~" else "?" for c in text))
