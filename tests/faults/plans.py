"""What may go wrong, as values, and what becomes of the octets: no I/O, no clock, no chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# -------------------------------------------------------------------------------------------------------------- TCP
# Places are counted in octets that came from the source in that direction of that connection, from 0.


@dataclass(frozen=True, slots=True)
class Delay:
    """Everything arrives `seconds` later; what is behind is not held up further."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Drip:
    """Pieces of `octets`, `every_s` seconds apart."""

    octets: int
    every_s: float


@dataclass(frozen=True, slots=True)
class Narrow:
    """A line that carries `octets_s` in a second: an octet takes its time, whatever pieces it comes in, and what comes
    sooner waits in the order of its coming."""

    octets_s: float


@dataclass(frozen=True, slots=True)
class Corrupt:
    """Octet number `at` arrives with the bits of `xor` turned over."""

    at: int
    xor: int = 0xFF


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The octets from `start` up to, not including, `stop` arrive twice in a row."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Cut:
    """After `after` octets the connection ends in both directions: by FIN, or by RST."""

    after: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class HalfClose:
    """After `after` octets this direction ends by FIN; the other goes on."""

    after: int


@dataclass(frozen=True, slots=True)
class Stall:
    """After `after` octets nothing more is taken or passed on in this direction, until ``proxy.resume()``."""

    after: int


_SEGMENT_OCTETS = 1_400
"""What a narrow line passes on at a time: about a packet."""

Fault = Delay | Drip | Narrow | Corrupt | Duplicate | Cut | HalfClose | Stall
Stop = Cut | HalfClose | Stall


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes wrong on one connection, in each direction."""

    to_server: Sequence[Fault] = ()
    to_client: Sequence[Fault] = ()


class Lane:
    """One direction of one connection: takes octets as they come, gives what is to be passed on, and where to stop."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.position = 0
        self.delay_s = sum(f.seconds for f in faults if isinstance(f, Delay))
        self.drip = next((f for f in faults if isinstance(f, Drip)), None)
        self.narrow = next((f for f in faults if isinstance(f, Narrow)), None)
        self._free_s = 0.0
        self._corrupt = [f for f in faults if isinstance(f, Corrupt)]
        self._duplicate = sorted((f for f in faults if isinstance(f, Duplicate)), key=lambda f: f.stop)
        self._stops = sorted((f for f in faults if isinstance(f, Cut | HalfClose | Stall)), key=lambda f: f.after)
        self._kept = bytearray()  # what a duplicate may still need
        self._kept_from = 0

    def stop_at_once(self) -> Stop | None:
        """The fault that strikes before any octet."""
        return self._stops.pop(0) if self._stops and self._stops[0].after == 0 else None

    def feed(self, octets: bytes) -> Iterator[bytes | Stop]:
        """Take the next octets of the source; give what is passed on, in pieces, and each stop in its place."""
        while octets:
            room = self._stops[0].after - self.position if self._stops else len(octets)
            now, octets = octets[:room], octets[room:]
            if now:
                yield from self._pieces(self._pass(now))
            while self._stops and self._stops[0].after <= self.position:
                yield self._stops.pop(0)

    def across_s(self, octets: int, since_s: float) -> float:
        """When a piece that is there since then is across, after all that were there before it."""
        if self.narrow:
            since_s = self._free_s = max(self._free_s, since_s) + octets / self.narrow.octets_s
        return since_s

    def _pass(self, octets: bytes) -> bytes:
        start, end = self.position, self.position + len(octets)
        self.position = end
        run = bytearray(octets)
        for fault in self._corrupt:
            if start <= fault.at < end:
                run[fault.at - start] ^= fault.xor
        if not self._duplicate:
            return bytes(run)
        self._kept += run
        out, done = bytearray(), 0
        for fault in [f for f in self._duplicate if f.stop <= end]:
            out += run[done : fault.stop - start]
            done = fault.stop - start
            out += self._kept[fault.start - self._kept_from : fault.stop - self._kept_from]
            self._duplicate.remove(fault)
        needed_from = min((f.start for f in self._duplicate), default=end)
        if needed_from > self._kept_from:
            del self._kept[: needed_from - self._kept_from]
            self._kept_from = min(needed_from, end)
        return bytes(out + run[done:])

    def _pieces(self, octets: bytes) -> Iterator[bytes]:
        size = self.drip.octets if self.drip else _SEGMENT_OCTETS if self.narrow else len(octets)
        for at in range(0, len(octets), size):
            yield octets[at : at + size]


# -------------------------------------------------------------------------------------------------------------- UDP


@dataclass(frozen=True, slots=True)
class Datagrams:
    """What becomes of the datagrams of one direction; entry n of each list is about datagram n, and past the end of
    a list datagrams pass. For a pattern that comes again and again, multiply the list.

    Parameters
    ----------
    lose : sequence of bool
        It never arrives.
    duplicate : sequence of int
        How many copies arrive besides the first.
    overtaken : sequence of int
        How many later datagrams (lost ones not counted) arrive before it.
    delay_s : sequence of float
        How many seconds later it arrives.
    """

    lose: Sequence[bool] = ()
    duplicate: Sequence[int] = ()
    overtaken: Sequence[int] = ()
    delay_s: Sequence[float] = ()


@dataclass(slots=True)
class _Held:
    behind: int
    leaving: list[tuple[float, bytes]]


class Order:
    """The order in which the datagrams of one direction leave, and how much later."""

    def __init__(self, plan: Datagrams) -> None:
        self._plan = plan
        self._count = 0
        self._held: list[_Held] = []

    def feed(self, datagram: bytes) -> Iterator[tuple[float, bytes]]:
        """Take the next datagram; give those that leave now, each with its delay in seconds."""
        n, plan = self._count, self._plan
        self._count += 1
        if n < len(plan.lose) and plan.lose[n]:
            return
        delay_s = plan.delay_s[n] if n < len(plan.delay_s) else 0.0
        copies = 1 + (plan.duplicate[n] if n < len(plan.duplicate) else 0)
        leaving = [(delay_s, datagram)] * copies
        behind = plan.overtaken[n] if n < len(plan.overtaken) else 0
        if behind:
            self._held.append(_Held(behind, leaving))
            return
        yield from leaving
        for held in list(self._held):
            held.behind -= 1
            if held.behind == 0:
                self._held.remove(held)
                yield from held.leaving
