"""The wire as a picture: who said what to whom, each line opening to fields and octets; two traces side by side.

A ladder is a table, so that it reads well where a front end takes every style away, and it keeps under 24 kB: the
first messages open to their fields, later ones are lines, and what no longer fits is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import islice

from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.model.trace import Message, Trace
from dicomlab.notebook.html import Markup, el, preformatted, style

_OPENING_OCTETS, _MOST_OCTETS = 15_000, 21_000
_FIELDS, _OCTET_LINES = 40, 6
_TEXT = 140
_MERMAID_MESSAGES = 100


def ladder(trace: Trace) -> str:
    """Draw a trace.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    str
        HTML, escaped, at most 24 kB.
    """
    parties = parties_of(trace)
    head = [
        *(el("th", name, scope="col") for name in ("ms", "octets", "our state")),
        *(el("th", name, scope="col", cls="dl-party") for name in parties),
    ]
    rows: list[Markup] = []
    size = opened = 0
    for message in trace.read():
        row = _row(message, parties, opens=size < _OPENING_OCTETS)
        if size + len(row) > _MOST_OCTETS:
            row = _row(message, parties, opens=False)
        if size + len(row) > _MOST_OCTETS:
            break
        opened += "<details" in row
        size += len(row.encode())
        rows.append(row)
    parts = [el("div", f"Trace: {len(trace):,} messages, {trace.octets:,} octets", cls="dl-title")]
    if rows:
        table = el("table", el("thead", el("tr", *head)), el("tbody", *rows), cls="dl-rows dl-ladder")
        parts.append(el("div", table, cls="dl-scroll"))
    if len(rows) < len(trace):
        parts.append(el("div", f"… {len(trace) - len(rows):,} more messages", cls="dl-more"))
    if opened < len(trace):
        parts.append(el("div", "wire[n] shows one message whole; wire.explain() says it in sentences", cls="dl-more"))
    if trace.dropped:
        parts.append(el("div", f"⚠ {trace.dropped:,} older events fell out of the ring", cls="dl-note"))
    return el("div", style("ladder"), *parts, cls="dl")


def parties_of(trace: Trace) -> list[str]:
    """The lifelines, in the order in which they appear."""
    return list(dict.fromkeys(name for event in trace if event.direction != "note" for name in event.parties))


def _row(message: Message, parties: Sequence[str], *, opens: bool) -> Markup:
    event = message.event
    when = el("td", f"{message.at_ms:.1f}")
    if event.direction == "note" or not parties:
        plan = el("td", f"plan: {message.reading.text}", colspan=str(max(len(parties), 1)))
        return el("tr", when, el("td", ""), el("td", ""), plan)
    start, end = (parties.index(name) for name in event.parties)
    left, right = min(start, end), max(start, end)
    line = visible(message.reading.text, _TEXT)
    line = f"{line} →" if start <= end else f"← {line}"
    said = el(
        "td",
        _details(message, line) if opens else el("div", line),
        cls="dl-said",
        colspan=str(right - left + 1),
        title=" → ".join(event.parties),
    )
    before = (el("td", "") for _ in range(left))
    after = (el("td", "") for _ in range(len(parties) - right - 1))
    state, _, meaning = message.reading.state.partition(" ")
    size = el("td", f"{event.size:,}", cls="dl-number")
    return el("tr", when, size, el("td", state, title=meaning), *before, said, *after)


def _details(message: Message, line: str) -> Markup:
    parts = [el("summary", line)]
    if message.reading.sentence:
        parts.append(el("div", message.reading.sentence, cls="dl-says"))
    fields = list(islice(message.rows(), _FIELDS + 1))
    rows = [
        el(
            "tr",
            el("td", el("span", one.name, style=f"padding-left:{1.2 * depth:g}em" if depth else "")),
            el("td", visible(value, 80)),
            el("td", one.meaning),
            el("td", one.place, cls="dl-number"),
            el("td", one.section),
        )
        for depth, one, value in fields[:_FIELDS]
    ]
    if rows:
        names = ("field", "value", "meaning", "octets", "standard")
        head = el("tr", *(el("th", name, scope="col") for name in names))
        parts.append(el("table", el("thead", head), el("tbody", *rows)))
    if len(fields) > _FIELDS:
        parts.append(el("div", f"… more fields: wire[{message.number}]", cls="dl-more"))
    lines = message.octets
    if lines:
        parts.append(preformatted(lines[:_OCTET_LINES]))
    if len(lines) > _OCTET_LINES or message.event.size > len(message.event.octets):
        parts.append(el("div", f"… more octets: wire[{message.number}]", cls="dl-more"))
    return el("details", *parts)


# --- two of them -----------------------------------------------------------------------------------------------------


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


# --- as a diagram ----------------------------------------------------------------------------------------------------


def mermaid(trace: Trace) -> str:
    """Draw a trace as a Mermaid sequence diagram.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    str
        At most 100 messages. What could end a label or start a directive is replaced.
    """
    parties = parties_of(trace)
    lines = ["sequenceDiagram", *(f"    participant p{n} as {_label(name)}" for n, name in enumerate(parties))]
    for message in islice(trace.read(), _MERMAID_MESSAGES):
        text = _label(message.reading.text)
        if message.event.direction != "note":
            start, end = (parties.index(name) for name in message.event.parties)
            lines.append(f"    p{start}->>p{end}: {text}")
        elif parties:
            lines.append(f"    Note over p0: {text}")
    if len(trace) > _MERMAID_MESSAGES and parties:
        lines.append(f"    Note over p0: {len(trace) - _MERMAID_MESSAGES} more messages")
    return "\n".join(lines)


def _label(text: str) -> str:
    """Text that Mermaid can only take for text: no line end, no ``;``, ``#``, ``%`` or markup, no word of its own."""
    plain = re.sub(r"[^\w .,:/()=?&@+*-]", "_", visible(text, 90))
    return re.sub(r"\bend\b", "End", plain, flags=re.IGNORECASE).strip() or "_"
