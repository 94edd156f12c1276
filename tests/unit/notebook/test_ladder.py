"""The ladder: who said what to whom, bounded, escaped, masked; and two of them side by side."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicomlab
from dicomlab.model.reading import Field, Reading
from dicomlab.model.trace import Channel, Trace
from dicomlab.notebook.diagram import mermaid, parties_of
from dicomlab.notebook.html import MAX_OCTETS
from dicomlab.notebook.ladder import ladder

from .test_html import HOSTILE, parsed


class Speaks:
    """A reader of a protocol in which each message is its own text, and all of it names a patient."""

    def __call__(self, direction: str, octets: bytes) -> Reading:
        text = octets.decode("utf-8", "replace")
        fields = (
            Field(text, text, text, text, 0, len(octets), (Field("inner", text, "", "", 0, 1),), identifying=True),
        )
        return Reading(
            f"SAYS: {len(octets)}", fields, "Sta6 ready", f"It says {len(octets)} octets.", ((0, len(octets)),)
        )


def conversation(trace: Trace, us: str = "LAB1", peer: str = "PACS", *, fictional: bool = False) -> Channel:
    return Channel("test", (us, peer), lambda octets: octets.decode(), trace, Speaks, fictional)


def test_a_ladder_has_a_lifeline_for_each_party_and_each_message_once() -> None:
    wire = Trace()
    one, other = conversation(wire), conversation(wire, "STORE", "PACS")
    one.tap("sent", b"move")
    other.tap("received", b"store")
    one.tap("received", b"done")
    one.note("a plan")
    html = ladder(wire)
    assert parties_of(wire) == ["LAB1", "PACS", "STORE"]
    assert [html.count(f">{name}</th>") for name in ("LAB1", "PACS", "STORE")] == [1, 1, 1]
    assert html.count("<span>→ </span>SAYS: 4") == 1
    assert html.count("<span>← </span>SAYS: 4") == 1
    assert "plan: a plan" in html
    assert "Sta6" in html


def test_an_arrow_begins_and_ends_at_the_lifelines_of_its_two() -> None:
    wire = Trace()
    for us, peer in (("LAB1", "PACS"), ("PACS", "STORE"), ("LAB1", "STORE"), ("X", "X")):
        channel = conversation(wire, us, peer)
        channel.tap("sent", b"there")
        channel.tap("received", b"back")
    names = ["LAB1", "PACS", "STORE", "X (us)", "X"]
    head = re.findall(r'<th scope="col" colspan="(\d)" style="text-align:\w+">([^<]*)</th>', ladder(wire))
    halves = [int(number) for number, _ in head]
    assert [name for _, name in head] == names
    assert halves == [1, 2, 2, 2, 1]  # a name stands over its lifeline: the border after 0, 2, 4, 6, 8 of the halves
    rows = re.findall(
        r"<tr><td[^>]*>[\d.]+</td>.*?(?=<tr>|</tbody>)", re.sub("</summary>.*?</details>", "", ladder(wire))
    )
    drawn = []
    for row in rows:
        cells = re.findall(r'<td class="dl-gap" colspan="(\d)"( title)?', row)
        [at] = [at for at, (_, said) in enumerate(cells) if said]
        ends = [sum(int(number) for number, _ in cells[:upto]) // 2 for upto in (at, at + 1)]
        drawn.append(tuple(names[end] for end in (ends if "→ </span>" in row else ends[::-1])))
        assert sum(int(number) for number, _ in cells) == sum(halves)
        assert ("dl-back" in row) == ("← </span>" in row)
    assert drawn == [event.parties for event in wire]


@pytest.mark.parametrize("fictional", [False, True])
def test_patients_are_masked_unless_they_are_made_up(fictional: bool) -> None:
    wire = Trace()
    conversation(wire, fictional=fictional).tap("sent", b"Doe^Jane")
    [message] = wire.read()
    values = [value for _, _, value in message.rows()]
    lines = " ".join(message.octets)
    assert ("Doe^Jane" in values[0]) is fictional
    assert ("44 6f 65" in lines) is fictional
    assert ("Doe" in lines) is fictional


def test_options_show_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicomlab.options, "phi", "show")
    wire = Trace()
    conversation(wire).tap("sent", b"Doe^Jane")
    assert "Doe^Jane" in repr(wire[0])
    assert "Doe^Jane" in wire[0]._repr_html_()


@given(st.text(max_size=60) | st.just(HOSTILE))
def test_nothing_that_crossed_becomes_markup(text: str) -> None:
    wire = Trace()
    channel = conversation(wire, text, HOSTILE, fictional=True)
    channel.tap("sent", text.encode("utf-8", "replace"))
    channel.note(text)
    tags = parsed(ladder(wire))
    allowed = {"div", "span", "style", "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "b"}
    assert tags.tags <= allowed
    assert tags.attributes <= {"class", "scope", "colspan", "title", "style", "aria-label", "role", "tabindex"}
    assert parsed(wire[0]._repr_html_()).tags <= allowed


def test_it_is_bounded_and_says_what_is_left_out() -> None:
    wire = Trace()
    channel = conversation(wire, "x" * 300, fictional=True)
    for _ in range(1500):
        channel.tap("sent", b"<y>" * 900)
        channel.tap("received", b"<y>" * 900)
    html = ladder(wire)
    assert len(html.encode()) <= MAX_OCTETS
    assert re.search(r"… [\d,]+ more messages", html)
    assert "wire[n] shows one message whole" in html


@pytest.mark.parametrize("left", range(0, 400, 23))
def test_as_much_is_shown_of_what_comes_slower(left: int) -> None:
    """Else stored notebooks change from run to run: a digit more in a time was a message less."""
    shown = []
    for apart_ns in (10_000, 90_000_000):
        wire = Trace()
        channel = conversation(wire, fictional=True)
        for number in range(200):
            channel.tap(("sent", "received")[number % 2], f"{number}".encode(), at_ns=number * apart_ns)
        shown.append(re.sub(r'<td class="dl-number">[\d.]+</td>', "", ladder(wire, 12_000 + left)))
    assert shown[0] == shown[1]


def test_an_empty_trace_is_no_error() -> None:
    assert "0 messages" in ladder(Trace())
    assert mermaid(Trace()) == "sequenceDiagram"
    assert repr(Trace().explain())


def test_sentences_count_what_repeats() -> None:
    wire = Trace()
    channel = conversation(wire)
    for octets in (b"ab", b"cd", b"ef", b"xyz"):
        channel.tap("sent", octets)
    assert wire.explain().sentences == ("It says 2 octets. (3 times)", "It says 3 octets.")
    assert str(wire.explain()).startswith("1. It says")


def test_two_traces_side_by_side_share_lines_by_kind() -> None:
    left, right = Trace(), Trace()
    for wire, texts in ((left, ["ask: 1", "more: 2", "end: 3"]), (right, ["ask: 9", "end: 8", "extra: 7"])):
        channel = Channel("test", ("a", "b"), lambda octets: octets.decode(), wire)
        for text in texts:
            channel.tap("sent", text.encode())
    comparison = left.compare(right)
    assert comparison.pairs() == [
        ("→ ask: 1", "→ ask: 9"),
        ("→ more: 2", ""),
        ("→ end: 3", "→ end: 8"),
        ("", "→ extra: 7"),
    ]
    assert "3 messages" in repr(comparison)
    assert "more: 2" in comparison._repr_html_()


@given(st.text(max_size=60))
def test_mermaid_takes_all_of_it_for_text(text: str) -> None:
    wire = Trace()
    channel = Channel("test", (text, "end"), lambda octets: octets.decode(), wire)
    channel.tap("sent", text.encode("utf-8", "replace"))
    lines = mermaid(wire).splitlines()
    assert lines[0] == "sequenceDiagram"
    assert all(re.match(r"    (participant p\d as |p\d->>p\d: )[^;#%<>{}\[\]\"'`\n]+$", line) for line in lines[1:])
    assert not any(re.search(r"\bend\b", line) for line in lines)


def test_a_real_query_opens_to_its_fields() -> None:
    with dicomlab.Archive() as archive, dicomlab.trace() as wire:
        archive.node.find("study", PatientID="SYN*")
    html = wire._repr_html_()
    assert "Called-AE-title" in html
    assert "(0000,0100) CommandField" in html
    assert len(html.encode()) <= MAX_OCTETS
    assert wire.explain().sentences[-1] == "The other side agrees; the connection may close."


def test_octets_wear_the_colour_of_their_field_and_private_ones_are_dots() -> None:
    with dicomlab.Archive(web_port=None) as archive, dicomlab.trace() as wire:
        archive.node.find("study", PatientID="SYN7", progress=False)
    asked = next(m for m in wire.read() if any("PatientID" in one.name for _, one, _ in m.rows()))
    html = asked._repr_html_()
    assert "·· ·· ·· ··" in html
    assert b"SYN7".hex(" ") not in re.sub(r"<[^>]+>", "", html)
    name = re.search(r'<span class="(dl-o\d)"[^>]*>\(0010,0020\) PatientID</span>', html)
    assert name is not None
    assert re.search(rf'<span class="{name[1]}">10 00 20 00', html)


def test_many_alike_in_a_row_are_counted_once() -> None:
    wire = Trace()
    channel = conversation(wire)
    for _ in range(50):
        channel.tap("sent", b"same")
    assert "47 more SAYS: 3 to 49" in ladder(wire)
    assert "more messages" not in ladder(wire)


@pytest.mark.parametrize("fictional", [False, True])
def test_an_archive_of_made_up_patients_shows_them_on_the_wire(fictional: bool) -> None:
    with dicomlab.Archive(web_port=None) as archive:
        archive.node.fictional = archive.web.fictional = fictional
        with dicomlab.trace() as wire:
            archive.node.find("study", PatientID="SYN7")
            archive.web.find("study", PatientID="SYN7")
    for protocol in ("DIMSE", "HTTP"):
        shown = " ".join(repr(message) for message in wire.read() if message.event.channel.protocol == protocol)
        assert ("SYN7" in shown) is fictional
        assert "PatientID" in shown


def test_a_party_that_speaks_with_its_own_name_has_two_lifelines() -> None:
    wire = Trace()
    conversation(wire, "SAME", "SAME").tap("received", b"x")
    assert parties_of(wire) == ["SAME", "SAME (us)"]


def test_rounds_of_sentences_are_told_once() -> None:
    wire = Trace()
    channel = conversation(wire)
    for text in ("start", *["a", "bb"] * 4, "start", *["a", "bb", "ccc"] * 2, "finish"):
        channel.tap("sent", text.encode())
    told = [sentence.split()[2] if sentence.startswith("It") else sentence for sentence in wire.explain().sentences]
    assert told == ["5", "1", "2", "The same 2 again, 3 times.", "5", "1", "2", "3", "The same 3 again, 1 time.", "6"]


def test_who_only_listens_stands_at_the_right() -> None:
    wire = Trace()
    for us, peer in (("camera", "viewer"), ("camera", "group"), ("group", "viewer")):
        conversation(wire, us, peer).tap("sent", b"x")
    assert parties_of(wire) == ["camera", "group", "viewer"]
