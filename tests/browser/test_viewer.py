"""The stack viewer, driven by mouse and keyboard; what counts is what the kernel received, and what the page drew."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.peers.lab import Desk, Notebook

pytestmark = pytest.mark.browser

SETUP = """
import numpy as np
import dicomlab
from dicomlab.samples.phantom import phantom_datasets

archive = dicomlab.Archive()
archive.add([phantom_datasets(patients=1, slices=24)], progress=False).raise_for_failures()
volume = archive.media.volumes(progress=False)[0]
labels = (volume.array > 600).astype("u1")
viewer = volume.view(overlay=labels, names=["bone"])
viewer
"""


@pytest.fixture(scope="module")
def book(desk: Desk) -> Iterator[Notebook]:
    with desk.cells("viewer", SETUP) as book:
        book.output(0).locator("[data-drawn]").first.wait_for()
        yield book


@pytest.fixture
def screen(book: Notebook) -> object:
    """The main plane, reset."""
    pane = book.output(0).locator(".dl-pane").first
    pane.press("z")
    pane.press("r")
    pane.press("Home")
    book.until("viewer.position['z']", "0")
    return pane


def drawn(book: Notebook, words: str) -> None:
    book.output(0).locator(f".dl-pane[data-drawn='{words}']").first.wait_for()


def test_wheel_and_keys_scroll(book: Notebook, screen) -> None:
    screen.hover()
    book.page.mouse.wheel(0, 180)
    drawn(book, "0/z/3")
    book.until("viewer.position['z']", "3")
    for key, where in (("ArrowDown", 4), ("PageDown", 14), ("End", 23), ("ArrowUp", 22)):
        screen.press(key)
        book.until("viewer.position['z']", str(where))
    drawn(book, "0/z/22")
    assert "axial 23 / 24" in screen.inner_text()


def test_a_panel_of_another_size_stretches_no_picture(book: Notebook, screen) -> None:
    ratio = "pane => pane.querySelector('canvas').width / pane.clientWidth === window.devicePixelRatio"
    before = screen.bounding_box()["width"]
    size = book.page.viewport_size
    try:
        book.page.set_viewport_size({"width": size["width"] - 300, "height": size["height"]})
        book.page.wait_for_function(
            f"([pane, before]) => pane.clientWidth < before && ({ratio})(pane)",
            arg=[screen.element_handle(), before - 200],
        )
    finally:
        book.page.set_viewport_size(size)


def test_a_panel_that_has_no_size_for_a_moment_keeps_its_picture(book: Notebook, screen) -> None:
    """As while a theme loads: a picture drawn to fit nothing was stretched over the panel, all of it crosshair."""
    sizes = book.page.evaluate(
        """async (pane) => {
            const sizes = [], canvas = pane.querySelector('canvas');
            const size = () => sizes.push([canvas.width, canvas.height].join('x'));
            const frames = async () => { for (let n = 0; n < 3; n += 1) await new Promise(requestAnimationFrame); };
            size();
            pane.parentNode.style.display = 'none';
            pane.dispatchEvent(new KeyboardEvent('keydown', {key: '+'}));
            await frames();
            size();
            pane.parentNode.style.display = '';
            pane.dispatchEvent(new KeyboardEvent('keydown', {key: '-'}));
            await frames();
            size();
            return sizes;
        }""",
        screen.element_handle(),
    )
    assert len(set(sizes)) == 1, sizes


def test_dragging_and_presets_change_the_window(book: Notebook, screen) -> None:
    before = [float(x) for x in book.ask("viewer.window").strip("()").split(",")]
    box = screen.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    book.page.mouse.move(x, y)
    book.page.mouse.down()
    book.page.mouse.move(x + 60, y + 40, steps=4)
    book.page.mouse.up()
    book.until(f"viewer.window[0] > {before[0]} and viewer.window[1] > 1.5 * {before[1]}")
    book.output(0).get_by_label("Window preset").select_option(index=3)
    book.until("viewer.window", "(-600.0, 1500.0)")
    screen.press("4")
    book.until("viewer.window", "(480.0, 2500.0)")


def test_three_planes_and_a_point_in_one(book: Notebook, screen) -> None:
    screen.press("x")
    book.until("viewer.plane", "'x'")
    assert "sagittal" in screen.inner_text()
    screen.press("t")
    panes = book.output(0).locator(".dl-pane:visible")
    expect(panes).to_have_count(3)
    panes.nth(0).locator("xpath=self::*[@data-drawn='0/z/0']").wait_for()
    box = panes.nth(0).bounding_box()
    panes.nth(0).click(position={"x": box["width"] * 0.5 + 20, "y": box["height"] * 0.5 - 20})
    book.until("viewer.position['x'] > 32 and viewer.position['y'] < 32")
    panes.nth(0).press("t")
    expect(panes).to_have_count(1)


def test_the_value_under_the_cursor_is_that_of_the_volume(book: Notebook, screen) -> None:
    screen.press("o")
    screen.hover(position={"x": 230, "y": 200})
    words = book.output(0).locator(".dl-status .dl-push").inner_text()
    row, column, value = (int(one) for one in re.fullmatch(r"y (\d+)\s+x (\d+)\s+(-?\d+) HU.*", words).groups())
    assert book.ask(f"int(volume.array[0, {row}, {column}])") == str(value)
    screen.press("o")


def test_what_is_drawn_is_the_slice_in_its_window(book: Notebook, screen) -> None:
    """Read back from the page: the pixel in the middle of the slice is as grey as the window makes its value."""
    book.run("viewer.show(z=5, window=(0, 2000)); None")
    drawn(book, "0/z/5")
    book.output(0).get_by_role("button", name="Overlay (o)").click()
    book.page.wait_for_function(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    )
    grey = screen.evaluate("""pane => { const canvas = pane.querySelector('canvas');
        const side = Math.min(canvas.width, canvas.height), at = (32.5 / 64 - 0.5) * side;
        return canvas.getContext('2d').getImageData(canvas.width / 2 + at, canvas.height / 2 + at, 1, 1).data[0]; }""")
    value = float(book.ask("float(volume.array[5, 32, 32])"))
    assert abs(grey - 255 * (value / 2000 + 0.5)) <= 2
    book.output(0).get_by_role("button", name="Overlay (o)").click()


def test_cine_plays_and_ends_with_an_interrupt(book: Notebook, screen) -> None:
    screen.press(" ")
    book.until("viewer.position['z'] > 3")
    book.interrupt()
    book.output(0).get_by_role("button", name="Play (space)", pressed=False).wait_for()


def test_the_header_of_the_slice_masks_the_patient(book: Notebook, screen) -> None:
    screen.press("m")
    header = book.output(0).locator(".dl-header")
    header.get_by_text("PatientName").wait_for()
    assert "•••" in header.inner_text()
    assert "Ada" not in header.inner_text()
    assert "SYN-001" not in header.inner_text()
    screen.press("m")


def test_it_reads_well_and_is_accessible(desk: Desk, book: Notebook, screen) -> None:
    screen.press("t")
    book.picture("viewer", 0)
    assert book.faults() == []
    screen.press("t")
    assert desk.page.complaints == []
