"""The one HTML renderer: every object's face is made here, and escaped by construction.

No script, no id, no external URL; one small style, colours from the notebook's theme with literal fall-backs, so the
same output serves light and dark and reads well where a front end strips every style.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from functools import lru_cache
from html import escape
from importlib.resources import files

from dicomlab.model.summary import Summary, visible

MAX_OCTETS = 24_000
_CELL, _LINE = 160, 44
_VOID = frozenset({"img"})


class Markup(str):
    """Text that is HTML already. Only this room makes it."""

    __slots__ = ()


def el(tag: str, *children: str, cls: str = "", **attributes: str) -> Markup:
    """Build one element; in a child that is no `Markup`, and in attributes, text is escaped, visible and bounded."""
    inner = "".join(c if isinstance(c, Markup) else escape(visible(c), quote=True) for c in children)
    given = {"class": cls, **attributes}
    said = ((name, value if name == "src" else visible(value)) for name, value in given.items() if value)
    words = "".join(f' {name}="{escape(value, quote=True)}"' for name, value in said)
    return Markup(f"<{tag}{words}>" if tag in _VOID else f"<{tag}{words}>{inner}</{tag}>")


def style(*names: str) -> Markup:
    """Style sheets of this room as one, what all faces have in common first."""
    return style_of("base", *names)


@lru_cache(maxsize=16)
def style_of(*names: str) -> Markup:
    """These style sheets of this room as one, in one line."""
    static = files("dicomlab.notebook").joinpath("static")
    sheets = "".join(static.joinpath(f"{one}.css").read_text("utf-8") for one in names)
    return Markup(f"<style>{sheets.replace(chr(10), '')}</style>")


def render(summary: Summary, picture: Markup | None = None) -> str:
    """Render title, facts, the first rows of the table, notes and letter; rows are left out to stay under 24 kB.

    A picture stands below the title, and counts.
    """
    rows = list(summary.rows)
    while True:
        html = _render(summary, rows, picture)
        if len(html.encode()) <= MAX_OCTETS or not rows:
            return html
        rows = rows[: len(rows) // 2]


def _render(summary: Summary, rows: list[tuple[str, ...]], picture: Markup | None) -> str:
    parts = [el("div", summary.title, cls="dl-title"), *([picture] if picture else [])]
    if summary.facts:
        facts = [el("tr", el("th", name, scope="row"), el("td", value)) for name, value in summary.facts]
        parts.append(el("table", *facts, cls="dl-facts"))
    if summary.columns:
        head = el("tr", *(el("th", name, scope="col") for name in summary.columns))
        body = [el("tr", *map(_cell, row)) for row in rows]
        table = el("table", el("thead", head), el("tbody", *body), cls="dl-rows")
        parts.append(scrolled(table, summary.title))
    hidden = summary.hidden_rows + len(summary.rows) - len(rows)
    if hidden:
        parts.append(el("div", f"… {hidden:,} more rows", cls="dl-more"))
    if summary.hidden_columns:
        parts.append(el("div", f"… {summary.hidden_columns} more columns; to_dataframe() has them all", cls="dl-more"))
    if summary.block:
        parts.append(preformatted(summary.block))
    parts += [el("div", f"⚠ {note}", cls="dl-note") for note in summary.notes]
    if summary.letter:
        parts.append(el("div", *map(_letter_line, summary.letter), cls="dl-letter"))
    return el("div", style("summary"), *parts, cls="dl")


def scrolled(table: Markup, says: str) -> Markup:
    """A table that may be wider than the page: named, and reached by keyboard where the browser does not see to it."""
    return el("div", table, cls="dl-scroll", tabindex="0", role="region", **{"aria-label": says})


def _cell(text: str) -> Markup:
    """A cell of a table; sentences may take several lines, names, dates and UIDs stay whole."""
    return el("td", visible(text, _CELL), cls="dl-long" if len(text) > _LINE and " " in text else "")


def _letter_line(text: str) -> Markup:
    """A line of a letter; where it is indented, its spaces align it with others."""
    return el("div", text or " ", style="font-family:monospace" if text.startswith("  ") else "")


def picture(octets: bytes, kind: str, says: str) -> Markup:
    """A picture inside the page; `says` is what it shows, for those who can't see it."""
    return el("img", src=f"data:{kind};base64,{b64encode(octets).decode()}", alt=says, style="max-width:100%")


def preformatted(lines: Iterable[str]) -> Markup:
    """Lines whose spaces count."""
    return el("pre", Markup("\n".join(escape(visible(line), quote=True) for line in lines)))
