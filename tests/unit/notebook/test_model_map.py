"""The communication model as a picture: every box says what it is, its object, and leads to a notebook that exists."""

from __future__ import annotations

import re

import dicomlab
from dicomlab.notebook.html import MAX_OCTETS
from dicomlab.notebook.model_map import BOXES, LIVE, TOUR
from tests.architecture.house import ROOT

from .test_html_faces import Page


def test_the_boxes_fill_four_columns_row_by_row() -> None:
    at = 1
    for box in BOXES:
        assert box.column == at
        at += box.width
        at = 1 if at == 5 else at
    assert at == 1
    assert {box.path for box in BOXES} == {"", "dimse", "web", "media", "rtv"}


def test_each_box_names_a_part_an_object_and_a_notebook() -> None:
    public = set(dicomlab.__all__) | {"wire", "node", "media", "live", "archive"}
    for box in BOXES:
        assert re.match(r"PS3\.\d+", box.part)
        assert public & set(re.findall(r"\w+", box.here)), box.name
        compile(box.code, box.name, "exec")
    assert {box.tutorial for box in BOXES} == {TOUR, LIVE}
    assert all((ROOT / "notebooks" / f"{name}.ipynb").exists() for name in (TOUR, LIVE))


def test_an_archive_answers_in_its_boxes_now() -> None:
    with dicomlab.Archive() as archive:
        live = dicomlab.model_map(archive)
        html = live._repr_html_()
    assert "✓ answers" in html
    assert "presentation contexts accepted" in html
    assert len(html.encode()) <= MAX_OCTETS
    page = Page(html)
    assert page.words.count("Upper Layer") == 1
    assert "Upper Layer" in repr(live)
    assert live["Upper Layer"].part == "PS3.8"
    closed = dicomlab.model_map(archive)
    assert closed._repr_html_()
