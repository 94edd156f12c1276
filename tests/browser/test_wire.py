"""The live wire in a real browser: it follows, filters, opens, lights up octets; by mouse and by keyboard."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.peers.lab import Desk, strayed

pytestmark = pytest.mark.browser

START = """
import dicomlab
from dicomlab.samples.phantom import phantom_datasets
archive = dicomlab.Archive()
archive.add(phantom_datasets(1, 2), progress=False)
archive.node.fictional = archive.web.fictional = True
with dicomlab.trace() as wire:
    archive.node.find("study", PatientID="SYN*", progress=False)
    archive.web.find("study", PatientID="SYN*", progress=False)
view = wire.live()
view
"""


def test_the_wire_is_driven_by_mouse_and_keyboard(desk: Desk) -> None:
    with desk.cells("wire", START) as book:
        where = book.output(0)
        rows = where.locator(".dlw-row")
        rows.first.wait_for()
        assert "A-ASSOCIATE-RQ" in rows.first.inner_text()
        status = where.locator(".dlw-status")
        count = int(book.run("len(wire)"))
        assert status.inner_text().startswith(f"{count} messages")

        rows.nth(2).click()  # by mouse: it opens, and a field lights its octets
        opened = where.locator(".dlw-open")
        opened.locator("tr", has_text="CommandField").first.hover()
        lit = "nodes => [...new Set(nodes.map(node => +node.dataset.at))].length"
        assert opened.locator(".dlw-octets .hot").evaluate_all(lit) == 10  # tag, length, two octets
        assert book.run("print(view.selected)").strip() == "2"

        where.locator(".dlw-list").focus()  # by keyboard
        for key in ("ArrowDown", "Enter"):
            desk.page.keyboard.press(key)
        opened.locator("b", has_text="3: ").wait_for()
        assert book.run("print(view.selected)").strip() == "3"
        assert "SYN*" in opened.inner_text()
        where.locator(".dlw-fields tr[tabindex='0']").focus()
        desk.page.keyboard.press("ArrowDown")
        expect(where.locator(".dlw-fields tr.hot")).to_have_count(1)
        desk.page.keyboard.press("Escape")
        opened.wait_for(state="hidden")

        search = where.locator("input[type=search]")
        search.fill("c-find-rsp")
        desk.page.wait_for_function("() => document.querySelector('.dlw-status').textContent.includes(' of ')")
        texts = rows.evaluate_all("nodes => nodes.map(node => node.title)")
        assert texts
        assert all("C-FIND-RSP" in text for text in texts)
        search.fill("")
        where.locator("select").select_option("HTTP")
        rows.filter(has_text="GET").first.wait_for()
        rows.filter(has_text="GET").first.click()
        opened.locator("pre", has_text="curl").wait_for()

        book.run("with dicomlab.trace() as more:\n    archive.node.verify()\nfor e in more: wire.ring.append(e)")
        where.locator("select").select_option("")  # it grows while it is seen
        desk.page.wait_for_function(f"() => !document.querySelector('.dlw-status').textContent.startsWith('{count} ')")

        assert book.faults() == []
        book.picture("wire", 0)
        assert desk.page.complaints == []
        assert strayed(desk.page.asked) == []


def test_many_messages_scroll(desk: Desk) -> None:
    """Twenty thousand messages are a few dozen rows in the page, and the last is one key away."""
    many = """
import dicomlab
from dicomlab.model.trace import Channel, Trace
wire = Trace()
channel = Channel("test", ("us", "them"), lambda octets: octets.decode(), wire)
for number in range(20_000): channel.tap("sent" if number % 2 else "received", b"message %d" % number)
wire.live()
"""
    with desk.cells("many", many) as book:
        where = book.output(0)
        where.locator(".dlw-row").first.wait_for()
        where.locator(".dlw-list").focus()
        desk.page.keyboard.press("End")
        where.locator(".dlw-row", has_text="message 19999").wait_for()
        assert where.locator(".dlw-row").count() < 120
        assert desk.page.complaints == []


def test_a_data_set_is_searched_and_its_sequences_fold(desk: Desk) -> None:
    code = """
import dicomlab
from pydicom.data import get_testdata_file
dicomlab.inspect(get_testdata_file("reportsi.dcm")).live()
"""
    with desk.cells("elements", code) as book:
        where = book.output(0)
        rows = where.locator("tbody tr")
        rows.first.wait_for()
        folded = rows.count()
        expect(where.get_by_role("region", name="Elements")).to_have_attribute(
            "tabindex", "0"
        )  # it scrolls by keyboard
        where.locator("button[aria-expanded='false']").last.click()
        expect(rows).not_to_have_count(folded)
        assert rows.count() > folded
        desk.page.keyboard.press("Enter")
        expect(rows).to_have_count(folded)
        where.locator("input[type=search]").fill("basic text sr")
        expect(rows).not_to_have_count(folded)
        assert 0 < rows.count() < folded
        assert all("Basic Text SR" in text for text in rows.all_inner_texts())
        assert book.faults() == []
        book.picture("elements", 0)
        assert desk.page.complaints == []
