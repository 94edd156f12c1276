"""The face of an operation, and the archive's dashboard."""

from __future__ import annotations

import pytest

from tests.peers.lab import Desk

pytestmark = pytest.mark.browser

SETUP = """
import threading
import dicomlab
from dicomlab.samples.phantom import phantom_datasets

archive = dicomlab.Archive()
board = archive.dashboard()
board
"""
SEND = """
archive.node.store(list(phantom_datasets(patients=2, slices=4)), progress=False)
archive.web.store(list(phantom_datasets(patients=1, slices=4, seed=5)), progress=False)
None
"""
WORK = """
gate = threading.Event()
def held(progress):
    if progress.done == 5:
        gate.wait(120)
operation = archive.node.find("study", progress=False).retrieve("got", background=True, progress=held)
operation
"""


def test_what_arrives_and_how_far_it_is(desk: Desk) -> None:
    with desk.cells("transfer", SETUP, SEND, WORK) as book:
        board, work = book.output(0), book.output(2)
        book.until("board.sources", "{'LAB1': 10, '127.0.0.1': 5}")
        board.get_by_role("cell", name="LAB1").first.wait_for()
        assert "•••" in board.inner_text()
        assert "Synthetic^" not in board.inner_text()
        work.scroll_into_view_if_needed()  # what nobody sees is told nothing
        work.get_by_text("5 of 15").wait_for()
        book.picture("transfer", 2)
        work.get_by_role("button", name="End it; what arrived stays").click()
        book.until("operation._control.cancelled")
        book.run("gate.set()")
        book.until("operation.done")
        work.get_by_text("not complete").wait_for()
        assert 5 <= int(book.ask("operation.result().counts['done']")) < 15
        book.picture("dashboard", 0)
        assert book.faults() == []
        assert desk.page.complaints == []
        book.run("board.close(); archive.close()")
        desk.page.locator(".dl-closed .dl-dashboard").get_by_text("Closed: this is what it showed last.").wait_for()
