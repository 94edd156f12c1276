"""An error as an output: which condition it is, what to do, what arrived before it, and the wire up to it."""

from __future__ import annotations

from collections.abc import Iterator

from dicomlab.errors import DicomlabError, MissingExtra, UsageError
from dicomlab.model.summary import Summary, as_text
from dicomlab.model.trace import Message
from dicomlab.notebook.html import MAX_OCTETS, Markup, el, render
from dicomlab.notebook.ladder import ladder

_LAST = 8
"""Messages of the wire that the text shows."""


def summary_of(error: DicomlabError) -> Summary:
    """The facts of an error.

    Parameters
    ----------
    error : DicomlabError
    """
    said = (type(error).__doc__ or "").strip().partition("\n")[0].rstrip(".")
    wire = error.trace
    rows: tuple[tuple[str, ...], ...] = ()
    hidden = 0
    if wire is not None and len(wire):
        last = list(wire.read())[-_LAST:]
        hidden = len(wire) - len(last)
        rows = tuple(map(_crossed, last))
    columns = ("ms", "who", "the last that crossed the wire") if rows else ()
    return Summary(f"✗ {type(error).__name__}: {said}", tuple(_facts(error)), columns, rows, hidden)


def _facts(error: DicomlabError) -> Iterator[tuple[str, str]]:
    yield "what happened", str(error)
    for name in ("endpoint", "section", "offset", "status"):
        value = getattr(error, name, None)
        if value not in (None, ""):
            yield name, f"{value:04X}H" if name == "status" and isinstance(value, int) and value > 0x1FF else str(value)
    if not isinstance(error, UsageError | MissingExtra):
        yield "may the same call work later", "yes" if error.transient else "no, something must change"
    if error.partial is not None:
        yield "what arrived before it", repr(error.partial).partition("\n")[0]
    for note in getattr(error, "__notes__", ())[:5]:
        yield "note", str(note)


def _crossed(message: Message) -> tuple[str, ...]:
    said = f"⚠ {message.reading.text}" if message.reading.trouble else message.reading.text
    return f"{message.at_ms:.1f}", " → ".join(message.event.parties), said


def bundle(error: DicomlabError) -> dict[str, str]:
    """An error as text and as HTML, with the ladder below it where there was a trace."""
    summary = summary_of(error)
    html = render(summary)
    wire = error.trace
    if wire is not None and len(wire) and (room := MAX_OCTETS - len(html.encode()) - 4_000) > 0:
        opened = el("details", el("summary", f"the whole wire, {len(wire):,} messages"), Markup(ladder(wire, room)))
        html = el("div", Markup(html), opened, cls="dl")
    return {"text/plain": as_text(summary), "text/html": html}
