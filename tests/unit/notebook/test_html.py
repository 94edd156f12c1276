"""The HTML face: escaped by construction, bounded, and the same facts as the text."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.summary import Summary, as_text
from dicomlab.notebook.html import MAX_OCTETS, el, render

HOSTILE = '<script>window.XSS=1</script><img src=x onerror="window.XSS=1">'


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(html: str) -> _Tags:
    tags = _Tags()
    tags.feed(html)
    return tags


@given(st.text(max_size=80) | st.just(HOSTILE))
def test_no_value_becomes_markup(value: str) -> None:
    summary = Summary(value, ((value, value),), (value,), ((value,),), 3, 2, (value,), (value,))
    tags = parsed(render(summary))
    assert tags.tags <= {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "pre"}
    assert tags.attributes <= {"aria-label", "class", "role", "scope", "tabindex"}


def test_no_script_no_id_no_address() -> None:
    html = render(Summary("T", (("a", HOSTILE),)))
    assert "<script" not in html
    assert not re.search(r"\b(id|src|href|on\w+)=", re.sub(r"&lt;.*?&gt;", "", html))
    assert "http" not in html


def test_control_and_bidirectional_characters_are_made_visible() -> None:
    html = render(Summary("T", (("a", "x\u202ey\x00z"),)))
    assert "\u202e" not in html
    assert "\x00" not in html


def test_attributes_are_text_too() -> None:
    made = el("td", "x", title=f'{HOSTILE}\u202e" onclick="alert()' + "x" * 100_000)
    assert parsed(made).tags == {"td"}
    assert parsed(made).attributes == {"title"}
    assert "\u202e" not in made
    assert len(made) < 1_000


def test_it_is_bounded_and_says_what_is_left_out() -> None:
    rows = tuple((str(i), "x" * 5000) for i in range(5000))
    html = render(Summary("T", (), ("n", "text"), rows))
    assert len(html.encode()) <= MAX_OCTETS
    assert "more rows" in html


def test_text_and_html_tell_the_same() -> None:
    summary = Summary("Title", (("fact", "value"),), ("col",), (("cell",),), 7, 0, ("a note",), ("Dear administrator",))
    told = " ".join(parsed(render(summary)).text)
    for word in ("Title", "fact", "value", "col", "cell", "7", "a note", "Dear administrator"):
        assert word in told
        assert word in as_text(summary)


def test_the_style_is_small() -> None:
    html = render(Summary("T"))
    assert len(html) <= 2_000
