"""The wire as a picture: who said what to whom, each line opening to fields and octets.

A ladder is a table, so that it reads well where a front end takes every style away, and it keeps under 24 kB: the
first messages open to their fields, later ones are lines, and what no longer fits is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dicomlab.model.summary import visible
from dicomlab.model.trace import Message, Trace
from dicomlab.notebook.diagram import parties_of
from dicomlab.notebook.html import Markup, el, scrolled, style
from dicomlab.notebook.message import body

MOST_OCTETS = 19_700
_OPENING = 0.55
"""Of the octets of a ladder, those after which lines no longer open."""
_TIME = len("12345.6")
_FIELDS, _OCTET_LINES = 18, 4
_TEXT = 140
_ALIKE = 3
"""Messages of one kind that are shown before those that follow them are counted."""
_STATES = 13


def ladder(trace: Trace, octets: int = MOST_OCTETS) -> str:
    """Draw a trace.

    Parameters
    ----------
    trace : Trace
    octets : int
        Of HTML, at most; without the style.

    Returns
    -------
    str
        HTML, escaped, at most 24 kB.
    """
    parties = parties_of(trace)
    names = (("ms", "dl-number", "width:4em"), ("octets", "dl-number", "width:4em"), ("our state", "", "width:6em"))
    head = [*(el("th", name, scope="col", cls=cls, style=wide) for name, cls, wide in names), *_lifelines(parties)]
    rows: list[Markup] = []
    size = shown = opened = 0
    states: list[str] = []
    for run in _runs(trace):
        first = run[0]
        row = _row(first, parties, opens=size < octets * _OPENING) if len(run) == 1 else _folded(run, parties)
        if size + _weight(row, run) > octets and len(run) == 1:
            row = _row(first, parties, opens=False)
        if size + _weight(row, run) > octets:
            break
        opened += "<details" in row
        shown += len(run)
        size += _weight(row, run)
        rows.append(row)
        states += [m.reading.state.partition(" ")[0] for m in run if m.reading.state]
    title = f"Trace: {len(trace):,} messages, {trace.octets:,} octets"
    parts = [el("div", title, cls="dl-title")]
    if states:
        parts.append(_strip(states))
    if rows:
        table = el("table", el("thead", el("tr", *head)), el("tbody", *rows), cls="dl-ladder")
        parts.append(scrolled(table, "Messages"))
    if shown < len(trace):
        parts.append(el("div", _counted(len(trace) - shown), cls="dl-more"))
    if opened < len(trace):
        parts.append(el("div", "wire[n] shows one message whole; wire.explain() says it in sentences", cls="dl-more"))
    if trace.dropped:
        parts.append(el("div", f"⚠ {trace.dropped:,} older events fell out of the ring", cls="dl-note"))
    return el("div", style("message", "ladder"), *parts, cls="dl")


def _weight(row: Markup, run: Sequence[Message]) -> int:
    """The octets of a row, whatever time it says: as much is shown of the same messages when they come faster."""
    return len(row.encode()) + _TIME - len(_when(run[-1]))


def _when(message: Message) -> str:
    return f"{message.at_ms:.1f}"


def _counted(left_out: int) -> str:
    return f"… {left_out:,} more message{'s' if left_out > 1 else ''}"


def _runs(trace: Trace) -> Iterator[list[Message]]:
    """Messages one by one; of many alike in a row, all after the third together."""
    alike: list[Message] = []
    count, before = 0, None
    for message in trace.read():
        kind = (message.event.parties, message.reading.text.partition(":")[0], message.reading.state)
        same = kind == before and not message.reading.trouble and message.event.direction != "note"
        before = kind
        count = count + 1 if same else 0
        if same and count >= _ALIKE:
            alike.append(message)
            continue
        if alike:
            yield alike
            alike = []
        yield [message]
    if alike:
        yield alike


def _strip(states: Sequence[str]) -> Markup:
    """The states of our end's state machine (PS3.8 §9.2), those passed through lit."""
    passed = set(states)
    cells = []
    for number in range(1, _STATES + 1):
        name = f"Sta{number}"
        cells += [" ", el("b", name, cls="dl-lit") if name in passed else el("span", name)]
    return el("div", el("span", "our states:"), *cells, cls="dl-strip", title="the state machine of PS3.8 §9.2")


def _lifelines(parties: Sequence[str]) -> Iterator[Markup]:
    """The heads of the lifelines. These are the borders between the columns; so a name stands over two half columns."""
    for at, name in enumerate(parties):
        last = len(parties) - 1
        halves = 1 if at in (0, last) and last else 2
        side = "left" if at == 0 else "right" if at == last else "center"
        yield el("th", name, scope="col", colspan=str(halves), style=f"text-align:{side}")


def _halves(parties: Sequence[str]) -> int:
    """The columns under the lifelines: two between each and the next."""
    return 2 * max(len(parties) - 1, 1)


def _row(message: Message, parties: Sequence[str], *, opens: bool) -> Markup:
    event, reading = message.event, message.reading
    when = el("td", _when(message), cls="dl-number")
    if event.direction == "note" or not parties:
        plan = el("div", f"plan: {reading.text}", cls="dl-told")
        across = el("td", plan, colspan=str(_halves(parties)), cls="dl-gap")
        return el("tr", when, el("td", ""), el("td", ""), across)
    line = visible(reading.text, _TEXT)
    if reading.trouble:
        line = f"⚠ {line}"
    state, _, meaning = reading.state.partition(" ")
    size = el("td", f"{event.size:,}", cls="dl-number")
    said = _said(message, parties, line, opens=opens)
    return el("tr", when, size, el("td", state, title=meaning), *said, cls="dl-bad" if reading.trouble else "")


def _folded(run: Sequence[Message], parties: Sequence[str]) -> Markup:
    kind = run[0].reading.text.partition(":")[0]
    size = sum(message.event.size for message in run)
    line = f"{len(run):,} more {kind}: {run[0].number} to {run[-1].number}"
    cells = el("td", _when(run[-1]), cls="dl-number"), el("td", f"{size:,}", cls="dl-number"), el("td", "")
    return el("tr", *cells, *_said(run[0], parties, line, opens=False), cls="dl-more")


def _said(message: Message, parties: Sequence[str], line: str, *, opens: bool) -> list[Markup]:
    """The cells between the lifelines: what is said, over an arrow from the one who says it to the other."""
    start, end = (parties.index(name) for name in message.event.parties)
    left, right = min(start, end), max(start, end, min(start, end) + 1)
    forth = start <= end
    words = el("span", "→ " if forth else "← "), line  # the arrow that is left where a front end draws none
    cls = "dl-goes" if forth else "dl-goes dl-back"
    said = el(
        "td",
        _details(message, el("summary", *words, cls=cls)) if opens else el("div", *words, cls=cls),
        cls="dl-gap",
        colspan=str(2 * (right - left)),
        title=" → ".join(message.event.parties),
    )
    beside = el("td", "", cls="dl-gap", colspan="2")
    return [*[beside] * left, said, *[beside] * (len(parties) - right - 1)]


def _details(message: Message, line: Markup) -> Markup:
    parts = [line]
    if message.reading.sentence:
        parts.append(el("div", message.reading.sentence, cls="dl-told"))
    return el("details", *parts, *body(message, _FIELDS, _OCTET_LINES))
