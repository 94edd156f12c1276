"""Every notebook runs top to bottom in a real browser, asks nobody else, and reads well in both themes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.peers.lab import ROOT, Desk, strayed

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_top_to_bottom(desk: Desk, path: Path) -> None:
    for beside in path.parent.iterdir():
        if beside.is_file():
            shutil.copy(beside, desk.lab.root)
    with desk.open(path.name) as book:
        book.run_all()
        pictures = book.picture()
        assert book.errors == []
        assert book.faults() == []
        assert desk.page.complaints == []
        assert strayed(desk.page.asked) == []
        assert all(picture.stat().st_size > 10_000 for picture in pictures.values())


def test_an_error_in_a_cell_is_seen(desk: Desk) -> None:
    with desk.open(desk.lab.write("broken", ["1", "1 / 0", "2"])) as book:
        book.run_all()
        assert book.errors == [
            "cell 1: ZeroDivisionError: division by zero",
            "cell 2 did not run",
        ]


def test_a_request_for_another_machine_is_seen(desk: Desk) -> None:
    code = 'from IPython.display import HTML; HTML(\'<img alt="" src="https://elsewhere.invalid/pixel.png">\')'
    with desk.cells("strays", code):
        desk.page.wait_for_function("() => [...document.images].every(image => image.complete)")
        assert strayed(desk.page.asked) == ["https://elsewhere.invalid/pixel.png"]
        assert any("ERR_NAME_NOT_RESOLVED" in complaint for complaint in desk.page.complaints)


def test_a_fault_of_accessibility_is_seen(desk: Desk) -> None:
    code = 'from IPython.display import HTML; HTML(\'<div class="dl"><input type="text"></div>\')'
    with desk.cells("no-label", code) as book:
        assert any("label" in fault for fault in book.faults())
