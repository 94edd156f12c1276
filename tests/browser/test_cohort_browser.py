"""The cohort browser, driven by mouse and keyboard; what counts is the cohort that the kernel has in the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.peers.lab import Desk, Notebook

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror='window.XSS=1'><script>window.XSS=1</script>\u202eabc"
SETUP = """
import dicomlab
from dicomlab.samples.phantom import phantom_datasets

archive = dicomlab.Archive()
archive._fictional = True
archive.add([phantom_datasets(patients=4, slices=6)], progress=False).raise_for_failures()
names = ["PatientName", "PatientID", "StudyDate", "StudyDescription", "Modality", "SeriesNumber"]
cohort = archive.node.find("study", progress=False).instances(include=names, progress=False)
browser = cohort.browse(to="got")
browser
"""
STUDIES = """
studies = archive.node.find("study", progress=False).browse(to="slow")
studies
"""


@pytest.fixture(scope="module")
def book(desk: Desk) -> Iterator[Notebook]:
    with desk.cells("browse", SETUP, STUDIES) as book:
        book.output(0).locator(".dl-row .dl-arrow").first.wait_for()
        yield book


def rows(book: Notebook, index: int = 0):
    return book.output(index).locator(".dl-row:not(.dl-blank)")


def test_opens_picks_and_gives_a_cohort(book: Notebook) -> None:
    expect(rows(book)).to_have_count(4)
    rows(book).nth(1).locator(".dl-arrow").click()
    rows(book).nth(3).wait_for()
    rows(book).nth(2).click()
    book.until("browser.state['picked'] > 0")
    picked = book.ask("(browser.selected['PatientID'].unique().tolist(), browser.selected['StudyDate'].nunique())")
    assert picked == "(['SYN-002'], 1)"
    rows(book).nth(0).click(modifiers=["Control"])
    book.until("browser.selected['PatientID'].nunique()", "2")
    rows(book).nth(0).locator(".dl-mark").click()
    book.until("browser.selected['PatientID'].nunique()", "1")


def test_the_keyboard_does_all_of_it(book: Notebook) -> None:
    tree = book.output(0).get_by_role("treegrid")
    book.output(0).get_by_role("button", name="Pick nothing").click()
    book.output(0).get_by_role("button", name="Close every row").click()
    book.until("browser.state['rows']", "4")
    tree.press("Home")
    tree.press("ArrowRight")
    book.until("browser.state['rows']", "6")
    rows(book).nth(5).wait_for()
    tree.press("ArrowDown")
    tree.press("ArrowDown")
    tree.press("Space")
    book.until("len(browser.selected)", "1")  # the study of one MR slice
    assert book.ask("browser.selected['Modality'].tolist()") == "['MR']"
    tree.press("ArrowLeft")
    tree.press("ArrowLeft")
    book.until("browser.state['rows']", "4")


def test_searches_and_sorts(book: Notebook) -> None:
    output = book.output(0)
    output.get_by_role("button", name="Pick nothing").click()
    output.get_by_label("Search in all columns").fill("cleo mr")
    book.until("browser.state['found']", "1")
    output.get_by_role("button", name="Pick every row").click()
    book.until("browser.selected['PatientName'].tolist()", "['Synthetic^Cleo^^^3']")
    output.get_by_label("Search in all columns").fill("")
    book.until("browser.state['found']", "28")
    output.get_by_role("button", name="Close every row").click()
    heading = output.get_by_role("button", name="patient › study")
    heading.click()
    heading.click()
    book.until("browser.state['sort']", "['', -1]")
    book.page.wait_for_function(
        "() => /Dario/.test((document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .dl-row') || {}).textContent)"
    )
    output.get_by_role("columnheader", name="patient").and_(output.locator("[aria-sort=descending]")).wait_for()


def test_retrieves_what_is_picked(book: Notebook) -> None:
    output = book.output(0)
    output.get_by_role("button", name="Pick nothing").click()
    rows(book).nth(0).click()
    book.until("len(browser.selected)", "7")
    output.get_by_role("button", name="Retrieve what is picked").click()
    book.until("browser.report is not None and browser.report.complete")
    assert book.ask("browser.report.counts['done']") == "7"
    output.get_by_text("retrieved: 7 done").wait_for()


def test_a_retrieve_is_stopped(book: Notebook) -> None:
    output = book.output(1)
    output.get_by_role("button", name="Pick every row").click()
    book.until("studies.state['picked']", "8")
    book.run("archive.faults.slow(20_000); None")
    output.get_by_role("button", name="Retrieve what is picked").click()
    book.until("(studies.state['progress'] or {}).get('done', 0) > 1")
    output.get_by_role("button", name="End it; what arrived stays").click()
    book.until("studies.report is not None")
    book.run("archive.faults.clear()")
    assert book.ask("1 < studies.report.counts['done'] < 28 and not studies.report.complete") == "True"
    output.get_by_text("not complete").wait_for()


def test_goes_deeper_through_the_source(book: Notebook) -> None:
    output = book.output(1)
    output.get_by_role("button", name="Ask the source").click()
    book.until("studies.cohort.level", "'series'")
    book.until("len(studies.cohort)", "8")
    assert book.ask("studies.state['levels']") == "['patient', 'study', 'series']"
    output.get_by_role("button", name="Back to the cohort above").click()
    book.until("studies.cohort.level", "'study'")


def test_it_reads_well_and_is_accessible(desk: Desk, book: Notebook) -> None:
    book.output(0).get_by_role("button", name="Open every row").click()
    rows(book).nth(12).wait_for()
    book.picture("cohort-browser", 0)
    assert book.faults() == []
    assert desk.page.complaints == []


def test_twenty_thousand_rows_are_a_few_nodes(desk: Desk) -> None:
    code = (
        f"HOSTILE = {HOSTILE!r}"
        + """
import dicomlab, pandas as pd
n = 20_000
frame = pd.DataFrame({
    "PatientID": [f"P{i // 1000:03}" for i in range(n)], "StudyInstanceUID": [f"1.2.{i // 500}" for i in range(n)],
    "SeriesInstanceUID": [f"1.2.{i // 500}.{i // 100}" for i in range(n)], "SOPInstanceUID": [f"1.2.9.{i}" for i in range(n)],
    "InstanceNumber": [i % 100 + 1 for i in range(n)],
})
frame["StudyDescription"] = HOSTILE
dicomlab.options.phi = "show"
many = dicomlab.Cohort.from_dataframe(frame).browse()
many
"""
    )
    with desk.cells("many", code) as book:
        output = book.output(0)
        output.get_by_role("button", name="Open every row").click()
        book.until("many.state['rows']", str(20 + 40 + 200 + 20_000))
        output.get_by_role("treegrid").press("End")
        output.get_by_text("100", exact=True).last.wait_for()
        output.locator("[data-index='20259']").wait_for()
        book.page.wait_for_function("() => document.querySelector('.dl-browser').dataset.blank === '0'")
        assert rows(book).count() < 60
        output.get_by_role("treegrid").press("Home")
        output.get_by_text("window.XSS").first.wait_for()
        assert book.page.evaluate(
            "() => window.XSS === undefined && !document.querySelector('.dl-tree img, .dl-tree script')"
        )
