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
from types import MappingProxyType
from typing import Literal

from dicomlab.errors import RemoteProtocolError

MAX_HEADERS = 64 * 1024
"""Octets of the headers of one part, of the preamble, and of blanks after a boundary."""
MAX_PARTS = 1_000_000
ROOM_OCTETS = 1 << 19
"""Octets that the reader takes at once where it is read into."""

_SECTION = "RFC 2046 §5.1.1"
_LINE_END = re.compile(rb"[ \t]*(\r?\n|\r?\Z|-\Z)")
_HEADERS_END = re.compile(rb"\r?\n\r?\n")
_CR, _LF = 0x0D, 0x0A


@dataclass(frozen=True, slots=True)
class Begin:
    """A part begins. Names of ``headers`` are in lower case."""

    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Data:
    """Octets of the part that has begun: a view, good until the reader is given more."""

    octets: bytes | memoryview


@dataclass(frozen=True, slots=True)
class End:
    """The part is whole: the delimiter after it came."""


Event = Begin | Data | End
_State = Literal["preamble", "headers", "body", "epilogue"]
_MORE = -1
"""In place of a position: the octets so far don't tell."""


class PartReader:
    """Takes octets as they come and gives events. Only the closing delimiter makes it complete.

    What has octets gives them by :meth:`feed`; what can read into memory asks for :meth:`room` and says by
    :meth:`filled` how much came, so that the same small piece of memory is used over and over.

    Nothing is copied that need not be: data are views, and only what may become a delimiter waits for the octets after
    it. A part's own Content-Length is checked, then trusted: where that of the first part led exactly
    to a delimiter, the others are passed on unsearched, and the delimiter must stand where each announces it. Octets
    before the announced end that look like a delimiter are data if a delimiter follows at exactly that length.

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
        self._kept = b""
        """What came and is not told yet."""
        self._state: _State = "preamble"
        self._start = True
        """Whether a line begins here, so that a delimiter may stand without a newline before it."""
        self._given = 0
        self._announced: int | None = None
        self._look_alike = False
        self._trusted = False
        self._offset = 0
        """Octets before those that are kept."""
        self._max_parts = max_parts
        self._room = bytearray()
        self._size = 0
        """Octets of what is looked at; there may be more memory behind them."""
        self._block, self._headers_of_block = b"", _parse_headers(b"")
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
        buffer = self._kept + octets if self._kept else bytes(octets)
        return self._events(buffer, len(buffer))

    def room(self) -> memoryview:
        """Memory to read the next octets into: never empty, and as good as new each time."""
        if not self._room:
            self._room = bytearray(ROOM_OCTETS)
        kept = len(self._kept)
        self._room[:kept] = self._kept
        return memoryview(self._room)[kept:]

    def filled(self, count: int) -> Iterator[Event]:
        """Take the first `count` octets of :meth:`room`, as :meth:`feed` does.

        Raises
        ------
        RemoteProtocolError
            As for :meth:`feed`.
        """
        return self._events(self._room, len(self._kept) + count)

    def _events(self, buffer: bytes | bytearray, size: int) -> Iterator[Event]:
        self._size = size
        at = 0
        while at != _MORE and self._state != "epilogue":
            if self._state == "body":
                data, at, ended = self._body(buffer, at)
                if data:
                    yield Data(data)
                if ended:
                    yield End()
            elif self._state == "headers":
                headers, at = self._headers(buffer, at)
                if headers is not None:
                    yield Begin(headers)
            else:
                at = self._preamble(buffer, at)
        if self._state == "epilogue":
            self._keep(buffer, size)

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
            offset=self._offset + len(self._kept),
        )

    def _keep(self, buffer: bytes | bytearray, at: int) -> int:
        """Keep what follows `at` until more comes."""
        self._kept = bytes(buffer[at : self._size])
        self._offset += at
        return _MORE

    def _broken(self, text: str) -> RemoteProtocolError:
        return RemoteProtocolError(text, section=_SECTION, offset=self._offset)

    def _next_part(self, at: int, *, closing: bool) -> int:
        self._state = "epilogue" if closing else "headers"
        return at

    # --- where a delimiter is ----------------------------------------------------------------------------------------

    def _tail(self, buffer: bytes | bytearray, after: int) -> tuple[int, bool] | None:
        """Where the line after a boundary starts, and whether it closes; None where this is no delimiter."""
        if buffer.startswith(b"--", after, self._size):
            return after + 2, True
        line = _LINE_END.match(buffer, after, min(after + MAX_HEADERS, self._size))
        if line is None:
            return None
        if line[1].endswith(b"\n"):
            return line.end(), False
        return (_MORE, False) if line.end() == self._size else None

    def _delimiter(self, buffer: bytes | bytearray, at: int, search: int) -> tuple[int, int, int, bool] | None:
        """Find the next delimiter from `search` on: the newline before it, where its line starts, `_tail` of it.

        `at` is where what is looked through begins. The newline is `at` where there is none.
        """
        if search == at and self._start and buffer.startswith(self._line, at, self._size):
            if tail := self._tail(buffer, at + len(self._line)):
                return at, at, *tail
            search = at + 1
        while (newline := buffer.find(self._needle, search, self._size)) >= 0:
            if tail := self._tail(buffer, newline + len(self._needle)):
                return newline, newline + 1, *tail
            search = newline + 1  # a longer boundary, or data that looks like one
        return None

    def _undecided(self, buffer: bytes | bytearray, at: int) -> int:
        """Where the octets at the end begin that may be the start of a delimiter."""
        size = self._size
        if self._start and self._line.startswith(buffer[at : min(at + len(self._line), size)]):
            return at
        newline = buffer.rfind(b"\n", max(at, size - len(self._needle)), size)
        if newline >= 0 and self._needle.startswith(buffer[newline:size]):
            return self._before(buffer, newline, at)
        return size - 1 if size > at and buffer[size - 1] == _CR else size

    @staticmethod
    def _before(buffer: bytes | bytearray, newline: int, at: int) -> int:
        """Where the line before a newline ends."""
        return newline - 1 if newline > at and buffer[newline - 1] == _CR else newline

    # --- states ------------------------------------------------------------------------------------------------------

    def _preamble(self, buffer: bytes | bytearray, at: int) -> int:
        found = self._delimiter(buffer, at, at)
        if found and found[2] != _MORE:
            return self._next_part(found[2], closing=found[3])
        if self._size - at > MAX_HEADERS and not found:
            raise self._broken("no delimiter in the first 64 KiB")
        return self._wait(buffer, at)

    def _wait(self, buffer: bytes | bytearray, at: int) -> int:
        if self._size - at > 2 * MAX_HEADERS:
            raise self._broken("a delimiter without the end of its line")
        return self._keep(buffer, at)

    def _headers(self, buffer: bytes | bytearray, at: int) -> tuple[Mapping[str, str] | None, int]:
        if buffer.startswith((b"\n", b"\r\n"), at, self._size):
            block, end = b"", at + (1 if buffer[at] != _CR else 2)
        elif found := _HEADERS_END.search(buffer, at, min(at + MAX_HEADERS + 4, self._size)):
            block, end = bytes(buffer[at : found.start()]), found.end()
        elif self._size - at > MAX_HEADERS:
            raise self._broken("part headers beyond 64 KiB")
        else:
            return None, self._keep(buffer, at)
        self.parts += 1
        if self.parts > self._max_parts:
            raise self._broken(f"more than {self._max_parts} parts")
        if block != self._block:  # those of most parts are like those of the part before
            self._block, self._headers_of_block = block, _parse_headers(block)
        headers = self._headers_of_block
        length = headers.get("content-length", "")
        self._announced = int(length) if length.isdecimal() and len(length) < 19 else None
        self._given, self._look_alike, self._start = 0, False, True
        self._state = "body"
        return headers, end

    def _body(self, buffer: bytes | bytearray, at: int) -> tuple[memoryview | None, int, bool]:
        """Give the data that follow `at`, where to go on, and whether the part ended."""
        left = 0 if self._announced is None else self._announced - self._given
        if self._trusted and left > self._size - at:
            return self._data(buffer, at, self._size), self._keep(buffer, self._size), False
        end = max(at, at + left) if self._trusted and self._announced is not None else None
        search = at if end is None else end
        found = self._delimiter(buffer, at, search)
        if end is not None:
            return self._at_announced(buffer, at, end, found)
        passed = at
        while found and found[2] != _MORE and self._announced is not None:
            newline, line, after, _ = found
            if newline - at == left:  # a carriage return before it belongs to the data
                break
            if self._before(buffer, newline, at) - at >= left:
                break
            self._look_alike = True  # data, if the announced length proves right
            passed = self._before(buffer, after - 1, line) if buffer[after - 1] == _LF else after
            found = self._delimiter(buffer, at, passed)
        if found is None:
            stop = max(self._undecided(buffer, at), passed)
            self._check(stop - at)
            return self._data(buffer, at, stop), self._keep(buffer, stop), False
        newline, line, after, closing = found
        stop = newline if newline - at == left and self._announced is not None else self._before(buffer, newline, at)
        if line == at:
            stop = at
        self._check(stop - at)
        data = self._data(buffer, at, stop)
        if after == _MORE:
            return data, self._wait(buffer, stop), False
        self._trusted = self._trusted or (self.parts == 1 and self._given == self._announced)
        return data, self._next_part(after, closing=closing), True

    def _at_announced(
        self, buffer: bytes | bytearray, at: int, end: int, found: tuple[int, int, int, bool] | None
    ) -> tuple[memoryview | None, int, bool]:
        """The end of a part whose length is trusted: the delimiter stands there, or may yet."""
        data = self._data(buffer, at, end)
        rest = bytes(buffer[end : min(end + len(self._needle) + 1, self._size)])
        if found and found[0] - end in (0, 1) and rest.startswith((b"\r\n--", b"\n--", self._line)):
            if found[2] == _MORE:
                return data, self._wait(buffer, end), False
            return data, self._next_part(found[2], closing=found[3]), True
        undecided = (b"\r" + self._needle, self._needle, *((self._line,) if self._start else ()))
        if any(one.startswith(rest) for one in undecided):
            return data, self._keep(buffer, end), False
        raise self._broken(
            f"part {self.parts} announces {self._announced} octets, which is not where a delimiter stands"
        )

    def _data(self, buffer: bytes | bytearray, at: int, stop: int) -> memoryview | None:
        if stop <= at:
            return None
        self._given += stop - at
        self._start = False
        return memoryview(buffer)[at:stop]

    def _check(self, more: int) -> None:
        if self._look_alike and self._announced is not None and self._given + more > self._announced:
            raise self._broken(
                f"part {self.parts} announces {self._announced} octets, which is not where a delimiter stands"
            )


def _parse_headers(block: bytes) -> Mapping[str, str]:
    """Read header lines; folded lines are joined, lines that are no header passed over."""
    unfolded = re.sub(rb"\r?\n[ \t]+", b" ", block).decode("latin-1")
    pairs = (line.partition(":") for line in re.split(r"\r?\n", unfolded))
    return MappingProxyType({name.strip().lower(): value.strip() for name, colon, value in pairs if colon})


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
