"""Two traces side by side."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher

from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.model.trace import Message, Trace

_TEXT = 140


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Summarised):
    """Two traces side by side. Messages of one kind that come in the same order stand on one line."""

    left: Trace
    right: Trace

    def pairs(self) -> list[tuple[str, str]]:
        """The lines: what the one said, what the other said; ``""`` where it said nothing of that kind."""
        one, other = list(self.left.read()), list(self.right.read())
        matcher = SequenceMatcher(None, [_kind(m) for m in one], [_kind(m) for m in other], autojunk=False)
        result: list[tuple[str, str]] = []
        for _, a, b, c, d in matcher.get_opcodes():
            width = max(b - a, d - c)
            lefts = [_said(m) for m in one[a:b]] + [""] * (width - (b - a))
            rights = [_said(m) for m in other[c:d]] + [""] * (width - (d - c))
            result += zip(lefts, rights, strict=True)
        return result

    def _summary_(self) -> Summary:
        pairs = self.pairs()
        rows = tuple((str(n), *pair) for n, pair in enumerate(pairs[:50]))
        facts = tuple(
            (name, f"{len(wire)} messages, {wire.octets:,} octets, {_took_ms(wire):.1f} ms")
            for name, wire in (("left", self.left), ("right", self.right))
        )
        return Summary("Two traces", facts, ("", "left", "right"), rows, max(0, len(pairs) - 50))


def compare(left: Trace, right: Trace) -> Comparison:
    """Lay two traces side by side."""
    return Comparison(left, right)


def _kind(message: Message) -> tuple[str, str]:
    return message.event.direction, message.reading.text.partition(":")[0]


def _said(message: Message) -> str:
    arrow = {"sent": "→", "received": "←", "note": "plan:"}[message.event.direction]
    return f"{arrow} {visible(message.reading.text, _TEXT)}"


def _took_ms(trace: Trace) -> float:
    events = list(trace)
    return (events[-1].at_ns - events[0].at_ns) / 1e6 if events else 0.0
