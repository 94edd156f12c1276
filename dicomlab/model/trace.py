"""The wire trace: octets are kept now, their meaning is worked out when somebody asks.

::

    with dicomlab.trace() as wire:
        pacs.find("study")
    print(wire)

Transports call a :class:`Channel`'s ``tap`` in one place for each direction. Appending to a bounded ring is all that
happens there; decoding is the work of the channel's ``dissect`` when a line is read.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

from dicomlab.errors import DicomlabError
from dicomlab.model.summary import Summarised, Summary

Direction = Literal["sent", "received", "note"]
Dissect = Callable[[bytes], str]
Buffer = bytes | bytearray | memoryview

MAX_EVENTS = 20_000
CAP_OCTETS = 16 * 1024


@dataclass(frozen=True, slots=True)
class WireEvent:
    """A run of octets that crossed the boundary of this process, or a note about a plan."""

    at_ns: int
    """Monotonic clock, nanoseconds."""
    channel: Channel
    direction: Direction
    octets: bytes
    size: int
    """How many octets there were; more than ``len(octets)`` where the cap cut them."""

    @property
    def text(self) -> str:
        """What it says, in one line. Octets are hostile, and the cap may have cut them: never an error."""
        if self.direction == "note":
            return self.octets.decode("utf-8", "replace")
        try:
            return self.channel.dissect(self.octets)
        except DicomlabError as error:
            return f"unreadable: {error}"

    @property
    def parties(self) -> tuple[str, str]:
        """Who said it to whom."""
        us, peer = self.channel.parties
        return (peer, us) if self.direction == "received" else (us, peer)


@dataclass(frozen=True, eq=False)
class Channel:
    """One conversation: two parties, and how to read what they say. ``tap`` does nothing when nobody traces."""

    protocol: str
    parties: tuple[str, str]
    dissect: Dissect
    trace: Trace | None

    def tap(self, direction: Direction, octets: Buffer) -> None:
        """Record `octets`: the one call a transport makes for each direction."""
        if self.trace is not None:
            self.trace._keep(self, direction, octets)

    def note(self, text: str) -> None:
        """Record a plan or a decision that no octets show."""
        if self.trace is not None:
            self.trace._keep(self, "note", text.encode("utf-8", "replace"))


@dataclass(eq=False, repr=False)
class Trace(Summarised):
    """A bounded record of what crossed the wire. Reading it decodes it."""

    max_events: int = MAX_EVENTS
    cap_octets: int = CAP_OCTETS
    clock_ns: Callable[[], int] = time.monotonic_ns
    dropped: int = 0
    """Events that fell out of the ring."""
    _events: deque[WireEvent] = field(init=False)

    def __post_init__(self) -> None:
        """Make the ring."""
        self._events = deque(maxlen=self.max_events)

    def _keep(self, channel: Channel, direction: Direction, octets: Buffer) -> None:
        if len(self._events) == self.max_events:
            self.dropped += 1
        kept = bytes(memoryview(octets)[: self.cap_octets])
        self._events.append(WireEvent(self.clock_ns(), channel, direction, kept, len(octets)))

    def __len__(self) -> int:
        return len(self._events)

    def __iter__(self) -> Iterator[WireEvent]:
        while True:
            try:
                return iter(tuple(self._events))
            except RuntimeError:  # a tap appended while they were copied
                continue

    @property
    def octets(self) -> int:
        """Octets that crossed, both ways; notes don't count."""
        return sum(e.size for e in self if e.direction != "note")

    def counts(self) -> Counter[str]:
        """How often each kind of message crossed: the dissected text up to the first colon."""
        return Counter(e.text.split(":", 1)[0] for e in self if e.direction != "note")

    def _summary_(self) -> Summary:
        events = list(self)
        start = events[0].at_ns if events else 0
        rows = tuple(
            (
                f"{(e.at_ns - start) / 1e6:.1f}",
                f"{e.parties[0]} → {e.parties[1]}" if e.direction != "note" else "plan",
                e.text,
                str(e.size) if e.direction != "note" else "",
            )
            for e in events[:50]
        )
        facts = (("events", str(len(events))), ("octets", str(self.octets)))
        notes = (f"{self.dropped} older events fell out of the ring",) if self.dropped else ()
        return Summary("Trace", facts, ("ms", "who", "what", "octets"), rows, max(0, len(events) - 50), notes=notes)


_current: ContextVar[Trace | None] = ContextVar("dicomlab_trace", default=None)


@contextmanager
def trace(max_events: int = MAX_EVENTS) -> Iterator[Trace]:
    """Record what crosses the wire while the block runs.

    Verbs look for the trace once, when they start, on the caller's thread.
    """
    wire = Trace(max_events)
    token = _current.set(wire)
    try:
        yield wire
    finally:
        _current.reset(token)


def current() -> Trace | None:
    """The trace that is on, if one is."""
    return _current.get()


def open_channel(protocol: str, us: str, peer: str, dissect: Dissect) -> Channel:
    """Open a channel on the trace that is on now; inert if none is."""
    return Channel(protocol, (us, peer), dissect, current())
