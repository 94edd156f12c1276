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
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dicomlab.errors import DicomlabError
from dicomlab.model.links import above
from dicomlab.model.options import options
from dicomlab.model.reading import Direction, Field, Reader, Reading, octet_lines
from dicomlab.model.summary import Summarised, Summary

Dissect = Callable[[bytes], str]
Buffer = bytes | bytearray | memoryview

MAX_EVENTS = 20_000
CAP_OCTETS = 16 * 1024
SHOWN_OCTETS, SHOWN_MESSAGES = 256, 50


class WireEvent(NamedTuple):
    """A run of octets that crossed the boundary of this process, or a note about a plan."""

    at_ns: int
    """Monotonic clock, nanoseconds."""
    channel: Channel
    direction: Direction
    octets: bytes
    size: int
    """How many octets there were; more than ``len(octets)`` where the cap cut them, or where others followed."""
    train: bytes = b""
    """Of datagrams that crossed together, those after the first: ``dicomlab.rtv.train.train_of``."""

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
        if us == peer:  # two lifelines all the same
            us = f"{us} (us)"
        return (peer, us) if self.direction == "received" else (us, peer)


@dataclass(frozen=True, eq=False)
class Channel:
    """One conversation: two parties, and how to read what they say. ``tap`` does nothing when nobody traces."""

    protocol: str
    parties: tuple[str, str]
    dissect: Dissect
    trace: Trace | None
    reader: Callable[[], Reader] | None = None
    """Makes what follows the whole conversation; None: each message is read alone, by ``dissect``."""
    fictional: bool = False
    """Whether its patients are known to be synthetic, so that their values may be shown."""
    conversation: object = field(default_factory=object)
    """The same for all messages that belong together."""

    told: Channel | None = field(init=False, repr=False, default=None)
    """Itself without its trace: what events refer to, so that no trace holds itself and it goes with its last owner."""

    def __post_init__(self) -> None:
        """Make what events refer to."""
        if self.trace is not None:
            told = object.__new__(Channel)
            vars(told).update(vars(self), trace=None)
            object.__setattr__(self, "told", told)

    def tap(
        self,
        direction: Direction,
        octets: Buffer,
        size: int | None = None,
        train: bytes = b"",
        at_ns: int | None = None,
    ) -> None:
        """Record `octets`: the one call a transport makes for each direction.

        ``size`` counts all octets where `octets` are not all of them; ``train`` tells of datagrams that followed;
        ``at_ns`` is when it happened, if not now (a capture that is read).

        This is what a trace costs while work is done: octets that can't change are kept as they are, others are copied
        as far as the cap goes, and what is appended is a plain tuple: whoever reads makes an event of it.
        """
        trace = self.trace
        if trace is None:
            return
        length, ring = len(octets), trace.ring
        if len(ring) == trace.max_events:
            trace.dropped += 1
        kept = bytes(octets if length <= trace.cap_octets else memoryview(octets)[: trace.cap_octets])
        size = length if size is None else size
        ring.append((trace.clock_ns() if at_ns is None else at_ns, self.told, direction, kept, size, train))

    def note(self, text: str) -> None:
        """Record a plan or a decision that no octets show."""
        if self.trace is not None:
            self.tap("note", text.encode("utf-8", "replace"))


@dataclass(frozen=True, eq=False, repr=False)
class Message(Summarised):
    """One message of a trace, read: ``wire[3]`` shows its fields, their place in the standard, and its octets."""

    number: int
    event: WireEvent
    at_ms: float
    """Since the first message of the trace."""
    reading: Reading

    @property
    def private(self) -> tuple[tuple[int, int], ...]:
        """The octets that may not be shown: from, to. None where patients are made up or ``options.phi`` shows them."""
        return () if self.event.channel.fictional or options.phi == "show" else self.reading.private

    @property
    def octets(self) -> tuple[str, ...]:
        """Its first 256 octets, line by line; those that may name a patient are masked as everywhere."""
        return (
            tuple(octet_lines(self.event.octets[:SHOWN_OCTETS], self.private)) if self.event.direction != "note" else ()
        )

    def rows(self) -> Iterator[tuple[int, Field, str]]:
        """Its fields with how deep they are nested, and the value as it may be shown."""
        fictional = self.event.channel.fictional

        def below(fields: tuple[Field, ...], depth: int) -> Iterator[tuple[int, Field, str]]:
            for one in fields:
                yield depth, one, one.shown(fictional=fictional)
                yield from below(one.children, depth + 1)

        return below(self.reading.fields, 0)

    def curl(self) -> str:
        """The curl command that makes the same request; ``""`` where this is no HTTP request. Never a credential."""
        event = self.event
        if event.channel.protocol != "HTTP":
            return ""
        text: str = above("curl")(event.octets, event.channel.parties[1], self.private)
        return text

    def _repr_html_(self) -> str:
        html: str = above("message")(self)
        return html

    def _summary_(self) -> Summary:
        event, reading = self.event, self.reading
        facts = (
            ("who", " → ".join(event.parties)),
            ("when", f"{self.at_ms:.1f} ms"),
            ("says", reading.sentence or reading.text),
            ("octets", str(event.size) if event.direction != "note" else ""),
            ("our state", reading.state),
            ("trouble", f"⚠ {reading.trouble}" if reading.trouble else ""),
        )
        rows = tuple(
            ("  " * depth + one.name, value, one.meaning, one.place, one.section) for depth, one, value in self.rows()
        )
        left_out = event.size - min(len(event.octets), SHOWN_OCTETS)
        notes = (f"{left_out} more octets are not shown",) if left_out > 0 and event.direction != "note" else ()
        columns = ("field", "value", "meaning", "octets", "standard") if rows else ()
        known = tuple((name, value) for name, value in facts if value)
        title = f"{self.number}: {reading.text}"
        curl = tuple(self.curl().splitlines())
        return Summary(title, known, columns, rows, block=self.octets, notes=notes, letter=curl)


@dataclass(eq=False, repr=False)
class Trace(Summarised):
    """A bounded record of what crossed the wire. Reading it decodes it.

    Shown in a notebook it is a ladder: who said what to whom, each line opens to its fields and octets.
    ``wire[3]`` shows one message whole, ``wire.explain()`` says it in sentences, ``wire.compare(other)`` lays two side
    by side, ``wire.mermaid()`` draws it for a Markdown cell.
    """

    max_events: int = MAX_EVENTS
    cap_octets: int = CAP_OCTETS
    clock_ns: Callable[[], int] = time.monotonic_ns
    dropped: int = 0
    """Events that fell out of the ring."""
    ring: deque[tuple[Any, ...]] = field(init=False)
    """What is appended to: the values of a :class:`WireEvent`, as a plain tuple."""
    _epoch_ns: int = field(init=False)

    def __post_init__(self) -> None:
        """Make the ring."""
        self.ring = deque(maxlen=self.max_events)
        self._epoch_ns = time.time_ns() - time.monotonic_ns()

    def wall_ns(self, event: WireEvent) -> int:
        """When an event happened, in nanoseconds since 1970-01-01T00:00:00Z."""
        return event.at_ns + self._epoch_ns

    def __len__(self) -> int:
        return len(self.ring)

    def __iter__(self) -> Iterator[WireEvent]:
        while True:
            try:
                return map(WireEvent._make, tuple(self.ring))
            except RuntimeError:  # a tap appended while they were copied
                continue

    @property
    def octets(self) -> int:
        """Octets that crossed, both ways; notes don't count."""
        return sum(e.size for e in self if e.direction != "note")

    def counts(self) -> Counter[str]:
        """How often each kind of message crossed: the dissected text up to the first colon."""
        return Counter(e.text.split(":", 1)[0] for e in self if e.direction != "note")

    def read(self) -> Iterator[Message]:
        """Read message by message, each conversation from its start."""
        return _read(list(self), {}, 0, None)

    def follow(self) -> Callable[[], list[Message]]:
        """Give a function that reads on: each call, the messages that came since the one before it.

        Their numbers go on counting where older events fell out of the ring.
        """
        readers: dict[object, Reader] = {}
        seen, began_ns = 0, None

        def more() -> list[Message]:
            nonlocal seen, began_ns
            dropped, events = self.dropped, list(self)
            new = events[max(0, seen - dropped) :]
            if began_ns is None and events:
                began_ns = events[0].at_ns
            found = list(_read(new, readers, dropped + len(events) - len(new), began_ns))
            seen = dropped + len(events)
            return found

        return more

    def __getitem__(self, number: int) -> Message:
        """Show one message whole."""
        return list(self.read())[number]

    def explain(self) -> Explanation:
        """Say in sentences what happened."""
        return Explanation(tuple(self.read()))

    def compare(self, other: Trace) -> Any:
        """Lay two traces side by side, message kinds that they share on one line."""
        return above("compare")(self, other)

    def mermaid(self) -> str:
        """Draw it as a sequence diagram: text for a Markdown cell, between three backquotes and ``mermaid``."""
        text: str = above("mermaid")(self)
        return text

    def svg(self) -> str:
        """Draw it as an SVG picture, for slides and papers; patients masked as everywhere."""
        text: str = above("svg")(self)
        return text

    def negotiation(self) -> Any:
        """The presentation contexts of its associations as a table: what was proposed, and what came back for each."""
        return above("negotiation")(self)

    def live(self) -> Any:
        """Show it in a widget that follows it while it grows: filter, keyboard, octets beside fields."""
        return above("wire_view")(self)

    def save(self, path: str | Path) -> Path:
        """Write it to a file; patients masked as everywhere.

        Parameters
        ----------
        path : path
            ``.svg``: a picture. Anything else: pcapng, which Wireshark and tshark read.
        """
        written: Path = above("save_trace")(self, path)
        return written

    @staticmethod
    def load(path: str | Path) -> Trace:
        """Read a pcapng file: what DIMSE and HTTP conversations in it said."""
        read: Trace = above("load_trace")(path)
        return read

    def _summary_(self) -> Summary:
        shown = list(islice(self.read(), SHOWN_MESSAGES))
        rows = tuple(
            (
                str(m.number),
                f"{m.at_ms:8.1f}",
                f"{m.event.parties[0]} → {m.event.parties[1]}" if m.event.direction != "note" else "plan",
                f"⚠ {m.reading.text}" if m.reading.trouble else m.reading.text,
                str(m.event.size) if m.event.direction != "note" else "",
                m.reading.state.partition(" ")[0],
            )
            for m in shown
        )
        states = list(dict.fromkeys(m.reading.state.partition(" ")[0] for m in shown if m.reading.state))
        passed = (("our states", " → ".join(states)),) if states else ()
        facts = (("messages", str(len(self))), ("octets", str(self.octets)), *passed)
        notes = (f"{self.dropped} older events fell out of the ring",) if self.dropped else ()
        columns = ("n", "ms", "who", "what", "octets", "state")
        return Summary("Trace", facts, columns, rows, max(0, len(self) - len(shown)), notes=notes)

    def _repr_html_(self) -> str:
        html: str = above("ladder")(self)
        return html


def _read(
    events: list[WireEvent], readers: dict[object, Reader], first: int, began_ns: int | None
) -> Iterator[Message]:
    """Read events, the first of them number `first`; `readers` follow the conversations that began earlier."""
    for number, event in enumerate(events, first):
        began_ns = event.at_ns if began_ns is None else began_ns
        channel = event.channel
        if event.direction == "note" or channel.reader is None:
            reading = Reading(event.text)
        else:
            reader = readers.get(channel.conversation)
            if reader is None:
                reader = readers[channel.conversation] = channel.reader()
            rest = (event.train,) if event.train else ()
            reading = reader(event.direction, event.octets, *rest)
        yield Message(number, event, (event.at_ns - began_ns) / 1e6, reading)


@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Summarised):
    """What happened, in sentences. ``str()`` of it is plain text."""

    messages: tuple[Message, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """One for each message that says something new; runs of the same are counted, be it of one, two or three."""
        result: list[str] = []
        times = 1
        for text in (
            m.reading.sentence or (m.reading.text if m.event.direction == "note" else "") for m in self.messages
        ):
            if not text:
                continue
            if result and result[-1] == text:
                times += 1
                continue
            if times > 1:
                result[-1] += f" ({times} times)"
            times = 1
            result.append(text)
        if times > 1:
            result[-1] += f" ({times} times)"
        return tuple(_without_rounds(result))

    def __str__(self) -> str:
        return "\n".join(f"{n}. {sentence}" for n, sentence in enumerate(self.sentences, 1))

    def _summary_(self) -> Summary:
        sentences = self.sentences
        said = tuple(f"{n}. {text}" for n, text in enumerate(sentences[:SHOWN_MESSAGES], 1))
        left_out = len(sentences) - len(said)
        more = (f"… {left_out} more; .sentences has them all",) if left_out > 0 else ()
        return Summary("What happened", letter=(*said, *more))


def _without_rounds(sentences: list[str]) -> Iterator[str]:
    """Sentences, each round of two or three that comes again at once only counted."""
    at = 0
    while at < len(sentences):
        for size in (2, 3):
            first, end = sentences[at : at + size], at + size
            while sentences[end : end + size] == first:
                end += size
            if end > at + size:
                yield from first
                again = (end - at) // size - 1
                yield f"The same {size} again, {again} time{'s' if again > 1 else ''}."
                at = end
                break
        else:
            yield sentences[at]
            at += 1


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


def open_channel(
    protocol: str,
    us: str,
    peer: str,
    dissect: Dissect,
    reader: Callable[[], Reader] | None = None,
    *,
    fictional: bool = False,
) -> Channel:
    """Open a channel on the trace that is on now; inert if none is."""
    return Channel(protocol, (us, peer), dissect, current(), reader, fictional)
