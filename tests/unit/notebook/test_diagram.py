"""A trace as an SVG picture: a lifeline for each party, an arrow for each message, no value becomes markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

import dicomlab
from dicomlab.model.trace import Trace
from dicomlab.notebook.diagram import svg

from .test_html import HOSTILE
from .test_ladder import conversation

SVG = "{http://www.w3.org/2000/svg}"


def test_arrows_go_between_the_lifelines_of_who_speaks() -> None:
    with dicomlab.Archive(web_port=None) as archive, dicomlab.trace() as wire:
        archive.node.verify()
    root = ET.fromstring(wire.svg())
    lives = [float(one.get("x1", "")) for one in root.iter(f"{SVG}line") if one.get("class") == "life"]
    arrows = [one for one in root.iter(f"{SVG}line") if one.get("class") == "arrow"]
    spoken = [event for event in wire if event.direction != "note"]
    assert len(lives) == 2
    assert len(arrows) == len(spoken)
    for arrow, event in zip(arrows, spoken, strict=True):
        ends = float(arrow.get("x1", "")), float(arrow.get("x2", ""))
        assert ends == ((lives[0], lives[1]) if event.direction == "sent" else (lives[1], lives[0]))
    assert "C-ECHO-RQ" in "".join(root.itertext())


def test_it_is_saved_by_its_name_and_counts_what_it_leaves_out(tmp_path: Path) -> None:
    wire = Trace()
    channel = conversation(wire)
    for _ in range(400):
        channel.tap("sent", b"x")
    path = wire.save(tmp_path / "wire.svg")
    assert path.read_text() == wire.svg()
    assert "… 100 more messages" in "".join(ET.fromstring(path.read_text()).itertext())


@given(st.text(max_size=60) | st.just(HOSTILE))
def test_no_value_becomes_markup(text: str) -> None:
    wire = Trace()
    channel = conversation(wire, text, HOSTILE, fictional=True)
    channel.tap("sent", text.encode("utf-8", "replace"))
    channel.note(text)
    root = ET.fromstring(svg(wire))
    assert {one.tag.removeprefix(SVG) for one in root.iter()} <= {
        "svg", "title", "style", "rect", "text", "line", "polyline", "g",
    }  # fmt: skip
    assert not any(name.startswith("on") or name == "href" for one in root.iter() for name in one.attrib)
