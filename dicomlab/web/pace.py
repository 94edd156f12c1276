"""The octets of an answer as they come off a socket: as long as they come fast enough, and straight into memory."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse, IncompleteRead
from typing import Any

from dicomlab.web.failures import TooSlow

SLOWEST_OCTETS_PER_S = 1024
"""What an answer must bring on average, or it is a drip that nobody need wait for."""
_DRIPS = 4
"""Pieces of an answer that may each take their time before the average counts: some servers think long, then send."""


class Paced(HTTPResponse):
    """A response whose octets come fast enough, and may be read straight into memory."""

    patience_s = 60.0

    def __init__(self, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Pace(sock, self.patience_s))

    def read_into(self, into: memoryview) -> int:
        """Read what is there, waiting for it if need be; 0 at the end. Only of a body that is not in chunks.

        Raises
        ------
        IncompleteRead
            The end came before the length that the head announces.
        """
        coming: io.BufferedReader | None = self.fp
        if coming is None:
            return 0
        count = coming.readinto1(into if self.length is None else into[: self.length])
        if self.length is not None:
            self.length -= count
        if self.length == 0 or not count:
            self.close()
        if not count and self.length:
            raise IncompleteRead(b"", self.length)
        return count


class _Pace(io.RawIOBase):
    """The octets of an answer as they come off a socket, as long as they come fast enough.

    The time between two reads is bounded by the socket. Here the sum is: a peer that sends an octet a minute would hold
    us for ever, in its head as well as in its body.
    """

    def __init__(self, connected: socket.socket, patience_s: float) -> None:
        super().__init__()
        self._raw = connected.makefile("rb", buffering=0)
        self._patience_s = patience_s
        self._waited_s, self._octets, self._pieces = 0.0, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Take what is there, waiting for it if need be."""
        began = time.monotonic()
        count: int | None = self._raw.readinto(buffer)
        self._waited_s += time.monotonic() - began
        self._octets += count or 0
        self._pieces += 1
        if self._pieces >= _DRIPS and self._waited_s >= self._patience_s:
            if count and self._octets < SLOWEST_OCTETS_PER_S * self._waited_s:
                raise TooSlow(f"{self._octets} octets came in {self._waited_s:.1f} s")
            self._waited_s, self._octets, self._pieces = 0.0, 0, 0
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
