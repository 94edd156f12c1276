"""Metadata Grains and the packets that carry them: cut, and put together again. No I/O.

Source
------
PS3.22 §6.2.1, §6.2.2; ST 2110-10 §6 (one timestamp for all packets of a Grain); NMOS mapping (Grain flags).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from dicomlab.errors import LocalProtocolError
from dicomlab.rtv.extension import END, START, GrainItems, encode_items
from dicomlab.rtv.metadata import MAX_GRAIN_OCTETS
from dicomlab.rtv.rtp import HEADER_OCTETS, MAX_PACKET_OCTETS, RtpPacket

Whole = tuple[int, bytes]
"""Timestamp and octets of a Grain."""


def fragments(grain: bytes, items: GrainItems, packet_octets: int = MAX_PACKET_OCTETS) -> Iterator[RtpPacket]:
    """Cut a Grain into packets; sequence number, timestamp, SSRC and payload type are left to the caller.

    Every packet has a header extension: the first all of `items` and the start flag, the others only flags. The last
    one has the marker bit and the end flag.

    Raises
    ------
    LocalProtocolError
        More than 1 MiB, or no room for a payload.

    Source
    ------
    PS3.22 §6.2.1 (X shall be 1, four items in the extension), §6.2.2.
    """
    if not 0 < len(grain) <= MAX_GRAIN_OCTETS:
        raise LocalProtocolError(f"a Grain of {len(grain)} octets", section="PS3.22 §6.2.2")
    at, flags = 0, START
    while at < len(grain):
        head = replace(items, flags=flags) if flags & START else GrainItems(flags=flags)
        room = packet_octets - HEADER_OCTETS - 4 - len(encode_items(head)[1])
        if room <= 0:
            raise LocalProtocolError(f"packets of {packet_octets} octets hold no payload", section="PS3.22 §6.2.2")
        last = at + room >= len(grain)
        extension = encode_items(replace(head, flags=flags | (END if last else 0)))
        yield RtpPacket(0, 0, 0, 0, grain[at : at + room], last, (), extension)
        at, flags = at + room, 0


@dataclass(slots=True)
class Reassembly:
    """Puts the packets of metadata Grains together, by sequence; bounded, whatever comes.

    Packets may come out of order within a window of 64. A Grain ends with the marker bit, with the end flag of its
    header extension or where the timestamp changes, whichever comes first; one with a gap is dropped and counted.
    """

    broken: int = 0
    """Grains of which a packet is missing, or that were too long."""
    whole: int = 0
    _next: int | None = None
    _early: dict[int, tuple[int, bytes, bool, bool]] = field(default_factory=dict)
    _octets: bytearray = field(default_factory=bytearray)
    _timestamp: int | None = None
    _lost: bool = False

    WINDOW = 64

    def feed(self, number: int, timestamp: int, payload: bytes, *, ends: bool, starts: bool = False) -> Iterator[Whole]:
        """Take one packet by its unwrapped sequence number; give (timestamp, octets) of each Grain that is whole now.

        Parameters
        ----------
        number : int
            Unwrapped; a packet that came before must not come again.
        ends : bool
            Marker bit or end flag.
        starts : bool
            Start flag. A payload that begins with a preamble starts a Grain too.
        """
        if self._next is None:
            self._next = number
        if number < self._next:
            return
        self._early[number] = (timestamp, payload, ends, starts)
        gap = False
        while self._early:
            if self._next in self._early:
                yield from self._take(*self._early.pop(self._next), gap=gap)
                self._next, gap = self._next + 1, False
            elif len(self._early) > self.WINDOW or max(self._early) - self._next > self.WINDOW:
                self._next, gap = min(self._early), True
            else:
                return

    def _take(self, timestamp: int, payload: bytes, ends: bool, starts: bool, *, gap: bool) -> Iterator[Whole]:
        if self._timestamp is not None and timestamp != self._timestamp:
            yield from self._close(lost=self._lost or gap)
        if self._timestamp is None:  # what is missing was before this Grain, where this is its first packet
            self._lost = gap and not (starts or payload[128:132] == b"DICM")
        else:
            self._lost = self._lost or gap
        self._timestamp = timestamp
        self._lost = self._lost or len(self._octets) + len(payload) > MAX_GRAIN_OCTETS
        if self._lost:
            self._octets.clear()
        else:
            self._octets += payload
        if ends:
            yield from self._close(lost=self._lost)

    def _close(self, *, lost: bool) -> Iterator[Whole]:
        octets, timestamp = bytes(self._octets), self._timestamp
        self._octets.clear()
        self._timestamp, self._lost = None, False
        if lost:
            self.broken += 1
        elif octets and timestamp is not None:
            self.whole += 1
            yield timestamp, octets

    def reset(self) -> None:
        """Begin anew: the sender did."""
        self._next, self._timestamp, self._lost = None, None, False
        self._early.clear()
        self._octets.clear()
