"""The live player in a real browser: what it shows is acknowledged, what is pressed reaches the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.peers.lab import Desk, Notebook

pytestmark = pytest.mark.browser

SETUP = """
import dicomlab
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames

from dicomlab.rtv.metadata import CameraPosition

def moves(number):
    where = (10.0 + number % 50, -3.0, 0.1 * (number % 7))
    return {"camera": CameraPosition("PERSPECTIVE", where, (0, 0, 0), (0, 1, 0), (-1, 1, 1, -1, 1, 100))}

cast = dicomlab.Broadcast(list(endoscopy_frames(12, 320, 240)), rate_hz=25, loop=True, fictional=True, per_frame=moves, **PATIENT)
live = dicomlab.LiveStream(cast, pool_frames=24)
player = live.play(to="recordings", form="uncompressed")
cast.start()
player
"""


@pytest.fixture(scope="module")
def book(desk: Desk) -> Iterator[Notebook]:
    with desk.cells("player", SETUP) as book:
        yield book
        book.run("player.close(); cast.close()")


def button(book: Notebook, name: str):
    return book.output(0).get_by_role("button", name=name)


PIXEL = """canvas => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d');
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(canvas.width / 4, canvas.height / 2, 1, 1).data];
}"""


def pixel(book: Notebook) -> list[int]:
    """Red, green, blue of one in the middle of the left half, whichever way the picture came."""
    found: list[int] = book.output(0).locator(".dl-screen canvas").evaluate(PIXEL)
    return found


def test_shows_what_it_sends(book: Notebook) -> None:
    book.until("player.figures['shown'] >= 20")
    counts = "(lambda c: (c['sent'] - c['shown'] <= 8, c['lost']))(player.figures)"
    assert book.ask(counts) == "(True, 0)"
    assert int(book.output(0).locator(".dl-player").get_attribute("data-shown")) >= 20
    book.output(0).get_by_text("Synthetic^Endo").wait_for()
    colour = pixel(book)
    assert colour[0] > colour[2] + 20  # red as mucosa is


def test_is_shown_pixel_for_pixel_where_its_place_is_little_wider(book: Notebook) -> None:
    """Scaled by a hair it is soft, and costs more to draw; in a place that is much wider it fills that."""
    screen = book.output(0).locator(".dl-screen")
    wide = "([screen, width]) => { screen.style.flex = 'none'; screen.style.width = `${width}px`; }"
    shown = "() => document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .dl-screen canvas').clientWidth"
    for width, wanted in ((320, 320), (470, 320), (600, 600), (250, 250)):
        book.page.evaluate(wide, [screen.element_handle(), width])
        book.page.wait_for_function(f"() => ({shown})() === {wanted}")
    screen.evaluate("screen => screen.removeAttribute('style')")


def test_draws_the_numbers_of_the_frames(book: Notebook) -> None:
    """Those that change by themselves, others when they are chosen; each says its last value."""
    place = book.output(0)
    curve = place.get_by_role("img", name="ViewpointPosition x:")
    curve.wait_for()
    assert 10 <= float(curve.get_attribute("aria-label").split(": ")[1]) < 60
    inked = "canvas => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(one => one)"
    book.page.wait_for_function(f"canvas => ({inked})(canvas)", arg=curve.element_handle())
    still = place.get_by_role("img", name="ViewpointPosition y: -3")
    assert still.count() == 0
    place.get_by_text("metadata of the frames").click()
    place.get_by_role("checkbox", name="ViewpointPosition y").check()
    still.wait_for()
    place.get_by_role("checkbox", name="ViewpointPosition x").uncheck()
    curve.wait_for(state="hidden")
    assert (
        place.get_by_role("img", name="jitter:").count() == place.get_by_role("img", name="packets lost:").count() == 1
    )


def test_goes_on_while_a_cell_runs(book: Notebook) -> None:
    """At full pace where the kernel has subshells; where a cell keeps it from hearing what was shown, slower."""
    page = book.output(0).locator(".dl-player")
    before = int(page.get_attribute("data-shown"))
    book.run(
        "import time\nbefore = player.figures['sent']\ndeadline = time.monotonic() + 20\n"
        "while player.figures['sent'] < before + 4 and time.monotonic() < deadline:\n    time.sleep(0.05)\n"
        "went_on = player.figures['sent'] >= before + 4"
    )
    assert book.ask("went_on") == "True"
    assert int(page.get_attribute("data-shown")) > before


def test_pauses_and_plays(book: Notebook) -> None:
    button(book, "Pause (space)").click()
    book.until("player.playing", "False")
    book.run("before = player.figures['sent'], player.figures['received']")
    book.until("player.figures['received'] > before[1] + 10")
    assert book.ask("player.figures['sent'] == before[0]") == "True"
    book.output(0).locator(".dl-screen").press("Space")
    book.until("player.playing")
    book.until("player.figures['sent'] > before[0]")


def test_snapshot_and_record(book: Notebook) -> None:
    button(book, "Keep this frame (s)").click()
    book.output(0).locator(".dl-screen").press("s")
    book.until("len(player.snapshots)", "2")
    assert book.ask("player.snapshots[0].to_rgb().shape") == "(240, 320, 3)"
    button(book, "Record (r)").click()
    book.until("player.state['recording']")
    book.until("player._recording.progress.done > 10")
    book.output(0).locator(".dl-screen").press("r")
    book.until("len(player.recordings)", "1", seconds=40)
    assert book.ask("len(player.recordings[0].media.find('instance', progress=False))") == "1"


@pytest.mark.parametrize("mode", ["h264", "lossless", "jpeg"])
def test_each_way_to_travel(book: Notebook, mode: str) -> None:
    book.output(0).get_by_label("What pictures travel as").select_option(mode)
    book.until("player._pump.mode", f"'{mode}'")
    book.run("before = player.figures['shown']")
    book.until("player.figures['shown'] > before + 8")
    assert book.ask("player._pump.error") == "''"
    colour = pixel(book)
    assert colour[0] > 60


def test_stops_when_nobody_can_see_it(book: Notebook) -> None:
    book.run("from IPython.display import HTML; HTML('<div style=\"height:3000px\">far below</div>')")
    book.page.locator(".jp-NotebookPanel:visible .jp-Cell").last.scroll_into_view_if_needed()
    book.page.evaluate(
        "() => { const all = document.querySelectorAll('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-Cell'); all[all.length - 1].scrollIntoView({block: 'end'}); }"
    )
    book.until("player.visible", "False")
    sent = "player.figures['sent'], player.figures['received']"
    book.run(f"before = {sent}")
    book.until("player.figures['received'] > before[1] + 10")
    assert book.ask("player.figures['sent'] - before[0] <= 1") == "True"
    book.output(0).scroll_into_view_if_needed()
    book.until("player.figures['sent'] > before[0] + 5")


def test_an_interrupt_of_a_cell_pauses_it(book: Notebook) -> None:
    assert book.ask("player.playing") == "True"
    index = book.page.evaluate("""() => { const {content} = window.shown;
        content.model.sharedModel.insertCell(content.widgets.length, {cell_type: 'code', source: 'import time; print(\\'asleep\\'); time.sleep(60)'});
        content.deselectAll(); content.activeCellIndex = content.widgets.length - 1;
        window.ended = window.jupyterapp.commands.execute('notebook:run-cell'); return content.widgets.length - 1; }""")
    book.page.wait_for_function(
        "(index) => window.shown.content.widgets[index].outputArea.node.textContent.includes('asleep')", arg=index
    )
    book.interrupt()
    book.page.evaluate("() => window.ended")
    book.until("player.playing", "False")


def test_it_reads_well_and_is_accessible(desk: Desk, book: Notebook) -> None:
    button(book, "Play (space)").click()
    book.until("player.playing")
    book.picture("player", 0)
    assert book.faults() == []
    assert desk.page.complaints == []


def test_close_leaves_nothing(book: Notebook) -> None:
    book.run("player.close()")
    threads = "[t.name for t in __import__('threading').enumerate() if t.name.startswith('dicomlab player')]"
    book.until(threads, "[]")
    assert book.ask("live.state") == "'ended'"
    book.page.locator(".dl-closed .dl-player").get_by_text("Closed: this is what it showed last.").wait_for()
