"""An association that goes wrong on purpose: what ``archive.faults`` does to what an archive sends.

Source
------
PS3.8 §9.3 (what is not as it should be).
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

from dicomlab.dimse import pdu
from dicomlab.dimse.association import Association
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.state import State
from dicomlab.model.faults import Fault, Faults

_PIECES_PER_S = 10


class FaultyAssociation(Association):
    """An association whose P-DATA-TF PDUs may come late, never, or as an A-ABORT. Without faults it is any other."""

    def __init__(self, *arguments: Any, faults: Faults, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._faults = faults
        self._asked_abort = False
        self._abort: Fault | None = None
        self._stall: Fault | None = None
        self._slow: Fault | None = None
        self._pdus = self._answered_octets = 0
        self._ended = threading.Event()

    def begin_answer(self) -> None:
        """A request is about to be answered: an occasion for faults."""
        if not self._asked_abort:
            self._asked_abort = True
            self._abort = self._faults.strikes("abort", "dimse")
        self._stall = self._faults.strikes("stall", "dimse")
        self._slow = self._faults.strikes("slow", "dimse")
        self._answered_octets = 0

    def _transmit(self, *buffers: Octets) -> None:
        flawed = self._abort or self._stall or self._slow
        if flawed is None or self.state is not State.DATA_TRANSFER:
            super()._transmit(*buffers)
            return
        whole = b"".join(buffers)
        at = 0
        while at < len(whole):
            end = at + pdu.HEADER_OCTETS + int.from_bytes(whole[at + 2 : at + 6], "big")
            self._one(whole[at:end])
            at = end

    def _one(self, octets: bytes) -> None:
        self._pdus += 1
        if self._abort is not None and self._pdus >= self._abort.numbers["pdu"]:
            self._abort = None
            self.abort()
            raise self.interrupted("aborted on purpose")
        if self._stall is not None:
            room = self._stall.numbers["octets"] - self._answered_octets
            if room < len(octets):
                self._stand_still(octets[: max(0, room)])
        self._answered_octets += len(octets)
        if self._slow is None:
            super()._transmit(octets)
            return
        if self.channel.trace is not None:
            self._tap_sent(octets)
        rate = self._slow.numbers["octets_per_s"]
        size = max(1, rate // _PIECES_PER_S)
        for start in range(0, len(octets), size):
            piece = octets[start : start + size]
            self._send_raw(piece)
            if self._ended.wait(len(piece) / rate):
                raise self._lost("ended here in the middle of a slow answer")

    def _send_raw(self, octets: bytes) -> None:
        try:
            self._socket.settimeout(self.timeout_s)
            view = memoryview(octets)
            while view:
                view = view[self._socket.send(view) :]
        except OSError as error:
            raise self._lost(f"the connection broke off ({error.strerror or error})") from error

    def _stand_still(self, before: bytes) -> None:
        """Send the part before, then nothing any more, until the other side has had enough or this one is closed."""
        self._send_raw(before)
        scrap = bytearray(4096)
        with suppress(OSError):
            self._socket.settimeout(None)
            while self._socket.recv_into(memoryview(scrap)):
                pass
        raise self._lost("stood still on purpose until the other side ended it")

    def shut(self) -> None:
        """End it from another thread."""
        self._ended.set()
        super().shut()
