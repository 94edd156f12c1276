"""A deflate stream, read as though it lay there unfolded; never unfolded whole, never without bound. No I/O.

Source
------
PS3.5 §A.5 (deflated transfer syntax); PS3.12 Annex V (ZIP).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from dicomlab.errors import RemoteProtocolError

_SECTION = "PS3.5 §A.5"
_PIECE_OCTETS = 1 << 16
KEPT_OCTETS = 1 << 18
"""Octets at the start that are kept: those that are asked for again."""


class Inflated:
    """Gives octets of what a raw deflate stream unfolds to. Going back beyond the start that is kept begins anew.

    Parameters
    ----------
    read : callable
        Gives octets of the stream.
    start, end : int
        Where the stream begins, and before which octet it ends at the latest.
    cap : int
        Octets beyond which it is called a bomb.

    Source
    ------
    PS3.5 §A.5.
    """

    def __init__(self, read: Callable[[int, int], bytes], start: int, end: int, cap: int) -> None:
        self._source, self._start, self._end, self._cap = read, start, end, cap
        self._first = b""
        self.unfolded = 0
        """Octets unfolded so far, those that were dropped again included."""
        self._restart()

    def _restart(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        self._next = self._start
        self._at, self._buffer = 0, b""

    def _piece(self) -> bytes:
        """Unfold a little more; nothing at the end of the stream."""
        piece = b""
        while not piece and not self._stream.eof:
            folded = self._stream.unconsumed_tail
            if not folded:
                folded = self._source(self._next, min(_PIECE_OCTETS, self._end - self._next))
                self._next += len(folded)
                if not folded:
                    raise RemoteProtocolError("the deflate stream is cut", section=_SECTION, offset=self._next)
            try:
                piece = self._stream.decompress(folded, _PIECE_OCTETS)
            except zlib.error as error:
                raise RemoteProtocolError(f"no deflate stream: {error}", section=_SECTION, offset=self._next) from error
        self.unfolded += len(piece)
        return piece

    def measure(self) -> int:
        """Unfold all of it once, to see that it is whole.

        Returns
        -------
        int
            The octets that it unfolds to.

        Raises
        ------
        RemoteProtocolError
            More than the bound, cut, or no deflate stream.
        """
        self._restart()
        total = 0
        first: list[bytes] = []
        while piece := self._piece():
            if total < KEPT_OCTETS:
                first.append(piece)
            total += len(piece)
            if total > self._cap:
                raise RemoteProtocolError(f"inflates to more than {self._cap} octets", section=_SECTION, offset=0)
        self._first = b"".join(first)
        self._restart()
        return total

    def read(self, offset: int, octets: int) -> bytes:
        """Give octets from an offset; fewer only where it ends.

        Raises
        ------
        RemoteProtocolError
            More than the bound, cut, or no deflate stream.
        """
        if offset + octets <= len(self._first):
            return self._first[offset : offset + octets]
        if offset + octets > self._cap:
            raise RemoteProtocolError(f"inflates to more than {self._cap} octets", section=_SECTION, offset=0)
        if offset < self._at:
            self._restart()
        parts = [self._buffer] if self._buffer else []
        held = len(self._buffer)
        while self._at + held < offset + octets and (piece := self._piece()):
            if self._at + held <= offset:  # nothing of what is held is wanted any more
                self._at += held
                parts, held = [], 0
            parts.append(piece)
            held += len(piece)
        whole = b"".join(parts)
        wanted = whole[max(0, offset - self._at) : max(0, offset - self._at + octets)]
        keep_from = max(0, min(len(whole), offset - self._at))
        self._at, self._buffer = self._at + keep_from, whole[keep_from:]
        return wanted
