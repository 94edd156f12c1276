"""One message of the wire, opened: its sentence, its fields, and its octets in the colours of the fields."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from dicomlab.model.reading import Field
from dicomlab.model.summary import visible
from dicomlab.model.trace import SHOWN_OCTETS, Message
from dicomlab.notebook.html import MAX_OCTETS, Markup, el, preformatted, scrolled, style

COLOURS = 8
_WIDTH = 16
_FIELDS = 200


def opened(message: Message) -> str:
    """Draw one message whole; ``wire[3]`` shows it.

    Parameters
    ----------
    message : Message

    Returns
    -------
    str
        HTML, escaped, at most 24 kB: fields are left out, and counted, where there are too many.
    """
    most = _FIELDS
    while True:
        html = _opened(message, most)
        if len(html.encode()) <= MAX_OCTETS or most < 2:
            return html
        most //= 2


def _opened(message: Message, most: int) -> Markup:
    event, reading = message.event, message.reading
    title = f"{message.number}: {reading.text}"
    facts = [
        ("who", " → ".join(event.parties)),
        ("when", f"{message.at_ms:.1f} ms"),
        ("says", reading.sentence or reading.text),
        ("octets", str(event.size) if event.direction != "note" else ""),
        ("our state", reading.state),
        ("trouble", f"⚠ {reading.trouble}" if reading.trouble else ""),
    ]
    rows = [el("tr", el("th", name, scope="row"), el("td", value)) for name, value in facts if value]
    parts = [el("div", visible(title), cls="dl-title"), el("table", *rows, cls="dl-facts"), *body(message, most)]
    if curl := message.curl():
        parts.append(el("details", el("summary", "copy as curl"), preformatted(curl.splitlines())))
    return el("div", style("summary", "message"), *parts, cls="dl")


def body(message: Message, most_fields: int, most_lines: int = SHOWN_OCTETS // _WIDTH) -> list[Markup]:
    """The table of a message's fields, then its octets; what is left out is counted."""
    fields = list(islice(message.rows(), most_fields + 1))
    colours = _coloured(message.reading.fields)
    parts = []
    rows = [
        el(
            "tr",
            _name(one, depth, colours),
            el("td", visible(value, 80)),
            el("td", one.meaning),
            el("td", one.place, cls="dl-number"),
            el("td", one.section),
        )
        for depth, one, value in fields[:most_fields]
    ]
    if rows:
        names = ("field", "value", "meaning", "octets", "standard")
        head = el("tr", *(el("th", name, scope="col") for name in names))
        table = el("table", el("thead", head), el("tbody", *rows), cls="dl-fields")
        parts.append(scrolled(table, "Fields"))
    if len(fields) > most_fields:
        parts.append(el("div", f"… more fields: wire[{message.number}]", cls="dl-more"))
    if message.event.direction == "note":
        return parts
    shown = message.event.octets[: most_lines * _WIDTH]
    if shown:
        lines = _lines(shown, message.private, _leaves(message.reading.fields), colours)
        parts.append(el("pre", Markup("\n".join(lines))))
    left_out = message.event.size - len(shown)
    if left_out > 0:
        parts.append(el("div", f"… {left_out:,} more octets are not shown here", cls="dl-more"))
    return parts


def _leaves(fields: Sequence[Field]) -> list[Field]:
    """The fields that hold no others, in their order."""
    return [leaf for one in fields for leaf in (_leaves(one.children) if one.children else [one])]


def _coloured(fields: Sequence[Field]) -> dict[int, int]:
    """The colour of each innermost field, by identity: neighbours differ."""
    return {id(one): number % COLOURS for number, one in enumerate(_leaves(fields))}


def _name(one: Field, depth: int, colours: dict[int, int]) -> Markup:
    indent = f"padding-left:{1.2 * depth:g}em" if depth else ""
    colour = colours.get(id(one))
    return el("td", el("span", one.name, cls="" if colour is None else f"dl-o{colour}", style=indent))


def _lines(
    octets: bytes, private: Sequence[tuple[int, int]], leaves: Sequence[Field], colours: dict[int, int]
) -> list[Markup]:
    """Offset, hexadecimal numbers, ASCII; each octet in the colour of its field, private ones as dots."""
    owner: list[int | None] = [None] * len(octets)
    for one in leaves:
        colour = colours[id(one)]
        for at in range(max(one.start, 0), min(one.end, len(octets))):
            owner[at] = colour
    hidden = bytearray(len(octets))
    for start, end in private:
        hidden[max(start, 0) : min(end, len(octets))] = b"\1" * max(min(end, len(octets)) - max(start, 0), 0)
    lines = []
    for start in range(0, len(octets), _WIDTH):
        row = range(start, min(start + _WIDTH, len(octets)))
        numbers = [("··" if hidden[at] else f"{octets[at]:02x}", owner[at]) for at in row]
        letters = [("·" if hidden[at] else _letter(octets[at]), owner[at]) for at in row]
        gap = " " * (3 * (_WIDTH - len(row)))
        lines.append(Markup(f"{start:04x}  {_runs(numbers, ' ')}{gap}  {_runs(letters, '')}"))
    return lines


def _letter(octet: int) -> str:
    return chr(octet) if 0x20 <= octet < 0x7F else "."


def _runs(cells: Sequence[tuple[str, int | None]], between: str) -> str:
    """Cells of one field as one piece, in its colour."""
    pieces: list[str] = []
    start = 0
    for at in range(1, len(cells) + 1):
        if at == len(cells) or cells[at][1] != cells[start][1]:
            colour = cells[start][1]
            text = between.join(cell for cell, _ in cells[start:at])
            pieces.append(el("span", text, cls="" if colour is None else f"dl-o{colour}"))
            start = at
    return between.join(pieces)
