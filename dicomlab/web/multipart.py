"""multipart/related: an incremental reader and a writer. Octets in, events out; no I/O.

Source
------
RFC 2046 §5.1 (multipart), RFC 2387 (related), PS3.18 §8.6.1.2 (multipart payloads).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dicomlab.errors import RemoteProtocolError

MAX_HEADERS = 64 * 1024
"""Octets of the headers of one part, of the preamble, and of blanks after a boundary."""
MAX_PARTS = 1_000_000

_SECTION = "RFC 2046 §5.1.1"
_LINE_END = re.compile(rb"[ \t]*(\r?\n|\r?\Z|-\Z)")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")


@dataclass(frozen=True, slots=True)
class Begin:
    """A part begins. Names of ``headers`` are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Octets of the part that has begun."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The part is whole: the delimiter after it came."""


Event = Begin | Data | End
_State = Literal["preamble", "headers", "body", "epilogue"]


class PartReader:
    """Takes octets as they come and gives events. Only the closing delimiter makes it complete.

    A part's own Content-Length is checked: octets before it that look like a delimiter are data if a delimiter
    follows at exactly that length.

    Parameters
    ----------
    boundary : str
        The boundary parameter of the Content-Type.
    max_parts : int
        Parts beyond which the body is called broken.

    Source
    ------
    RFC 2046 §5.1.1.
    """

    def __init__(self, boundary: str, *, max_parts: int = MAX_PARTS) -> None:
        self._line = b"--" + boundary.encode("ascii")
        self._needle = b"\n" + self._line
        self._buffer = bytearray()
        self._state: _State = "preamble"
        self._start = True
        """Whether the buffer begins where a line begins, so that a delimiter may stand there without a newline."""
        self._given = 0
        self._announced: int | None = None
        self._look_alike = False
        self._offset = 0
        self._max_parts = max_parts
        self.parts = 0

    @property
    def complete(self) -> bool:
        """Whether the closing delimiter came."""
        return self._state == "epilogue"

    @property
    def inside(self) -> bool:
        """Whether a part has begun and not ended."""
        return self._state == "body"

    def feed(self, octets: bytes | bytearray | memoryview) -> Iterator[Event]:
        """Take more octets and give what they tell; the iterator must be run to its end.

        Raises
        ------
        RemoteProtocolError
            Headers beyond 64 KiB, too many parts, a Content-Length that lies.
        """
        self._buffer += octets
        while True:
            if self._state == "epilogue":
                self._drop(len(self._buffer))
                return
            before = (self._state, self._offset)
            if self._state == "headers":
                yield from self._headers()
            elif self._state == "preamble":
                self._preamble()
            else:
                yield from self._body()
            if before == (self._state, self._offset):
                return

    def close(self) -> None:
        """Say that nothing more comes.

        Raises
        ------
        RemoteProtocolError
            The closing delimiter did not come: the body is cut.
        """
        if self.complete:
            return
        where = f"inside part {self.parts}" if self._state == "body" else f"after {self.parts} parts"
        raise RemoteProtocolError(
            f"the multipart body ends {where}, without its closing delimiter: it was cut on the way",
            section=_SECTION,
            offset=self._offset + len(self._buffer),
        )

    def _drop(self, count: int) -> None:
        del self._buffer[:count]
        self._offset += count

    def _delimiter(self, search_from: int = 0) -> tuple[int, int, bool] | None:
        """Find a delimiter: where the body before it ends, where the line after it starts, whether it closes.

        Where the octets so far don't tell yet, the end is -1 and the start the octet that must be kept.
        """
        buffer, at = self._buffer, search_from
        while True:
            if at == 0 and self._start and buffer.startswith(self._line):
                found, end = -1, 0
            else:
                found = buffer.find(self._needle, at)
                if found < 0:
                    return None
                end = found - 1 if found and buffer[found - 1] == 0x0D else found
            after = found + len(self._needle)
            tail = bytes(buffer[after : after + 2])
            if tail == b"--":
                return end, after + 2, True
            line = _LINE_END.match(buffer, after, after + MAX_HEADERS)
            if line and line[1].endswith(b"\n"):
                return end, line.end(), False
            if line and line.end() == len(buffer):
                return -1, end, False
            at = max(found, 0) + 1  # a longer boundary, or data that looks like one

    def _preamble(self) -> None:
        found = self._delimiter()
        if found and found[0] >= 0:
            self._next_part(found[1], closing=found[2])
        elif len(self._buffer) > MAX_HEADERS:
            raise RemoteProtocolError("no delimiter in the first 64 KiB", section=_SECTION, offset=self._offset)

    def _next_part(self, at: int, *, closing: bool) -> None:
        self._drop(at)
        self._state = "epilogue" if closing else "headers"

    def _headers(self) -> Iterator[Event]:
        buffer = self._buffer
        if buffer[:1] == b"\n" or buffer[:2] == b"\r\n":
            block, end = b"", 1 if buffer[:1] == b"\n" else 2
        elif found := _HEADERS_END.search(buffer, 0, MAX_HEADERS + 4):
            block, end = bytes(buffer[: found.start()]), found.end()
        elif len(buffer) > MAX_HEADERS:
            raise RemoteProtocolError("part headers beyond 64 KiB", section=_SECTION, offset=self._offset)
        else:
            return
        self.parts += 1
        if self.parts > self._max_parts:
            raise RemoteProtocolError(f"more than {self._max_parts} parts", section=_SECTION, offset=self._offset)
        headers = _parse_headers(block)
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isdecimal() and len(length) < 19 else None
        self._given, self._look_alike, self._start = 0, False, True
        self._drop(end)
        self._state = "body"
        yield Begin(headers)

    def _body(self) -> Iterator[Event]:
        found = self._delimiter()
        passed = 0
        while found and found[0] >= 0 and self._announced is not None and self._given + found[0] < self._announced:
            self._look_alike = True  # data, if the announced length proves right
            passed = found[1]
            if self._buffer[passed - 1] == 0x0A:  # its newline may be that of the delimiter proper
                passed -= 2 if self._buffer[passed - 2] == 0x0D else 1
            found = self._delimiter(passed)
        if found is None:
            safe = max(len(self._buffer) - len(self._needle) - 1, passed)
        elif found[0] < 0:
            safe = found[1]
        else:
            safe = found[0]
        if safe > 0:
            data = bytes(memoryview(self._buffer)[:safe])
            self._given += safe
            if self._look_alike and self._announced is not None and self._given > self._announced:
                raise RemoteProtocolError(
                    f"part {self.parts} announces {self._announced} octets, which is not where a delimiter stands",
                    section=_SECTION,
                    offset=self._offset,
                )
            self._drop(safe)
            self._start = False
            yield Data(data)
        if found and found[0] >= 0:
            self._next_part(found[1] - max(safe, 0), closing=found[2])
            yield End()


def _parse_headers(block: bytes) -> dict[str, str]:
    """Read header lines; folded lines are joined, lines that are no header passed over."""
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", block).decode("latin-1")
    pairs = (line.partition(":") for line in re.split(r"\r?\n", unfolded))
    return {name.strip().lower(): value.strip() for name, colon, value in pairs if colon}


def new_boundary() -> str:
    """Make a boundary that no body contains."""
    return f"dicomlab-{secrets.token_hex(16)}"


def part_head(boundary: str, headers: Mapping[str, str], *, first: bool) -> bytes:
    """Write the delimiter and the headers that begin a part; the delimiter ends the part before it.

    Source
    ------
    RFC 2046 §5.1.1.
    """
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{'' if first else CRLF}--{boundary}{CRLF}{lines}{CRLF}".encode("latin-1")


CRLF = "\r\n"


def closing(boundary: str) -> bytes:
    """Write the closing delimiter, without which no body is complete."""
    return f"\r\n--{boundary}--\r\n".encode("ascii")
