"""Plain facts as text: aligned, bounded, hostile values made visible."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.summary import TEXT_CELL, TEXT_ROWS, Summarised, Summary, as_text, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Grüße 漢字", "Grüße 漢字"),
        ("a\nb\tc", "a\\x0ab\\x09c"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202egnp.exe", "\\x202egnp.exe"),  # right-to-left override
        ("zero\u200bwidth", "zero\\x200bwidth"),
        ("half \ud800", "half \\xd800"),
        ("<b>&amp;", "<b>&amp;"),  # HTML is the renderer's matter
        ("", ""),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert visible("x" * 200) == "x" * 200
    assert visible("x" * 201) == "x" * 200 + "… (201 characters)"
    assert visible("x" * 10**6, 5) == "xxxxx… (1000000 characters)"


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_visible_is_printable_and_bounded(text: str, limit: int) -> None:
    shown = visible(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit + len("… (1000 characters)")
    assert shown.isascii() or not text.isascii() or len(text) > limit or "…" in shown


def test_facts_are_aligned() -> None:
    text = as_text(Summary("Title", (("a", "1"), ("longer", "2"))))
    assert text.splitlines() == ["Title", "  a       1", "  longer  2"]


def test_a_table_is_aligned_and_its_cells_are_bounded() -> None:
    text = as_text(Summary("T", columns=("one", "two"), rows=(("1", "x" * 999), ("long one", "y"))))
    assert text.splitlines() == [
        "T",
        "",
        "one       two",
        "────────  " + "─" * (TEXT_CELL + len("… (999 characters)")),
        "1         " + "x" * TEXT_CELL + "… (999 characters)",
        "long one  y",
    ]


def test_what_is_not_shown_is_counted() -> None:
    rows = tuple((str(n),) for n in range(TEXT_ROWS + 3))
    text = as_text(Summary("T", columns=("n",), rows=rows, hidden_rows=100, hidden_columns=4, notes=("mind",)))
    assert text.splitlines()[-3:] == ["… 103 more rows", "… 4 more columns; to_dataframe() has them all", "! mind"]
    assert str(TEXT_ROWS - 1) in text
    assert f"\n{TEXT_ROWS}" not in text


def test_no_part_can_forge_a_line() -> None:
    evil = "x\n! not complete\u202e\x1b[2J"
    text = as_text(Summary(evil, ((evil, evil),), (evil,), ((evil,),), notes=(evil,), letter=(evil,)))
    assert len(text.splitlines()) == 1 + 1 + 1 + 3 + 1 + 2  # title, fact, blank line, table of one row, note, letter
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_text_and_html_are_made_of_the_same_summary() -> None:
    class Thing(Summarised):
        asked = 0

        def _summary_(self) -> Summary:
            self.asked += 1
            return Summary("Thing <b>", (("fact", "<i>value</i>"),))

    thing = Thing()
    assert repr(thing) == "Thing <b>\n  fact  <i>value</i>"
    html = thing._repr_html_()
    assert thing.asked == 2
    assert "<b>" not in html
    assert "&lt;i&gt;value&lt;/i&gt;" in html


def test_who_gives_no_summary_says_so() -> None:
    with pytest.raises(NotImplementedError):
        repr(Summarised())
