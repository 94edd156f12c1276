"""What a repr is made of: plain facts, shown the same way as text and as HTML. Making one does no I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomlab.model.links import above

TEXT_ROWS = 20
TEXT_CELL = 120


@dataclass(frozen=True, slots=True)
class Summary:
    """Title, facts as (name, value), and the first rows of a table; all of it text, none of it trusted.

    ``letter`` holds lines that stand at the end as they are, to be copied whole.
    """

    title: str
    facts: tuple[tuple[str, str], ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    hidden_rows: int = 0
    hidden_columns: int = 0
    notes: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    """Lines whose spaces count, such as octets."""
    letter: tuple[str, ...] = ()


def visible(text: str, limit: int = 200) -> str:
    """`text` with control and bidirectional characters made visible, cut at `limit` with its length named."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: limit + 1])
    return shown if len(shown) <= limit else f"{shown[:limit]}… ({len(text)} characters)"


def as_text(summary: Summary) -> str:
    """The facts of a summary as aligned plain text."""
    lines = [visible(summary.title)]
    facts = [(visible(name, TEXT_CELL), visible(value)) for name, value in summary.facts]
    width = max((len(name) for name, _ in facts), default=0)
    lines += [f"  {name.ljust(width)}  {value}".rstrip() for name, value in facts]
    if summary.columns:
        lines += ["", *_table(summary.columns, summary.rows[:TEXT_ROWS])]
    hidden = summary.hidden_rows + max(0, len(summary.rows) - TEXT_ROWS)
    if hidden:
        lines.append(f"… {hidden} more rows")
    if summary.hidden_columns:
        lines.append(f"… {summary.hidden_columns} more columns; to_dataframe() has them all")
    if summary.block:
        lines += ["", *(visible(line) for line in summary.block)]
    lines += [f"! {visible(note)}" for note in summary.notes]
    if summary.letter:
        lines += ["", *map(visible, summary.letter)]
    return "\n".join(lines)


def _table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[visible(cell, TEXT_CELL) for cell in row] for row in (names, *rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [lines[0], "  ".join("─" * width for width in widths), *lines[1:]]


class Summarised:
    """Gives a class its ``__repr__`` and notebook face from one ``_summary_``."""

    __slots__ = ()

    def _summary_(self) -> Summary:
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self._summary_())

    def _repr_html_(self) -> str:
        html: str = above("html")(self._summary_())
        return html
