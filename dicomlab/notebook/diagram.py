"""A trace as a drawing: a Mermaid sequence diagram for Markdown, and an SVG picture for slides and papers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice

from dicomlab.model.summary import visible
from dicomlab.model.trace import Message, Trace
from dicomlab.notebook.html import Markup, el, style_of

_MERMAID_MESSAGES, _SVG_MESSAGES = 100, 300
_COLUMN, _ROW, _TOP, _SIDE = 260, 26, 64, 70
_LETTERS = 0.155
"""Letters of a label that fit into one unit of width."""


def parties_of(trace: Trace) -> list[str]:
    """The lifelines, in the order in which they appear; who never says anything is the last."""
    said = [event.parties for event in trace if event.direction != "note"]
    speakers = {sender for sender, _ in said}
    return sorted(dict.fromkeys(name for pair in said for name in pair), key=lambda name: name not in speakers)


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


def svg(trace: Trace) -> str:
    """Draw a trace as an SVG picture: a lifeline for each party, an arrow for each message; light and dark.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    str
        A whole SVG document without script or address; at most 300 messages, the others are counted. Patients are
        masked as everywhere.
    """
    parties = parties_of(trace)
    places = [_SIDE + _COLUMN // 2 + _COLUMN * at for at in range(len(parties))]
    width = _SIDE + _COLUMN * max(len(parties), 1)
    rows = [_arrow(m, parties, places, at, width) for at, m in enumerate(islice(trace.read(), _SVG_MESSAGES))]
    left_out = len(trace) - len(rows)
    bottom = _TOP + _ROW * len(rows) + 12
    height = bottom + (28 if left_out else 8)
    parts = [el("title", f"Wire trace: {len(trace)} messages between {', '.join(map(visible, parties))}")]
    parts.append(style_of("diagram"))
    for name, x in zip(parties, places, strict=True):
        box = {"x": str(x - 110), "y": "14", "width": "220", "height": "28", "rx": "6"}
        parts.append(el("rect", cls="party", **box))
        parts.append(el("text", _clipped(name, 30), cls="name", x=str(x), y="33"))
        parts.append(el("line", cls="life", x1=str(x), x2=str(x), y1="42", y2=str(bottom)))
    parts += rows
    if left_out:
        parts.append(el("text", f"… {left_out:,} more messages", cls="time", x="8", y=str(bottom + 16)))
    size = {"viewBox": f"0 0 {width} {height}", "width": str(width), "height": str(height), "role": "img"}
    return el("svg", *parts, xmlns="http://www.w3.org/2000/svg", **size)


def _clipped(text: str, limit: int) -> str:
    shown = visible(text, limit)
    return shown if len(text) <= limit else f"{shown.partition('…')[0]}…"


def _arrow(message: Message, parties: Sequence[str], places: Sequence[int], at: int, width: int) -> Markup:
    y = _TOP + _ROW * at + 8
    when = el("text", f"{message.at_ms:.1f} ms", cls="time", x="8", y=str(y))
    reading = message.reading
    if message.event.direction == "note" or not parties:
        return el("g", when, el("text", visible(f"plan: {reading.text}", 120), cls="plan", x=str(_SIDE + 8), y=str(y)))
    start, end = (places[parties.index(name)] for name in message.event.parties)
    left, right = min(start, end), max(start, end)
    text = f"{'⚠ ' if reading.trouble else ''}{reading.text}"
    fits = max(int((right - left) * _LETTERS), int(_COLUMN * _LETTERS * 0.9))
    label = el(
        "text",
        _clipped(text, fits),
        cls="says bad" if reading.trouble else "says",
        x=str((left + right) // 2),
        y=str(y - 4),
    )
    tip = 6 if end > start else -6
    line = el("line", cls="arrow", x1=str(start), x2=str(end), y1=str(y), y2=str(y))
    head = el("polyline", cls="arrow", points=f"{end - tip},{y - 4} {end},{y} {end - tip},{y + 4}")
    return el("g", el("title", visible(f"{reading.text}. {reading.sentence}")), when, line, head, label)
