"""All live faces in one notebook: their keyboard; what they say, stop and leave when they are hidden, interrupted or closed.

And when their kernel is far, silent or no more.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from playwright.sync_api import expect

from tests.peers.lab import Desk, Notebook

pytestmark = pytest.mark.browser

SETUP = """
import collections, gc, os, threading
import comm, psutil
from IPython.display import display
import dicomlab
from dicomlab.notebook.transfer import watch
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets
archive = dicomlab.Archive()
with dicomlab.trace() as wire:
    archive.node.store(list(phantom_datasets(patients=2, slices=4)), progress=False)
gate = threading.Event()
def held(progress):
    if progress.done == 3:
        gate.wait(120)
cohort = archive.node.find("study", progress=False)
operation = cohort.retrieve("got", background=True, progress=held)
cast = dicomlab.Broadcast(list(endoscopy_frames(6, 160, 120)), rate_hz=25, loop=True, fictional=True, **PATIENT)
cast.start()
live = dicomlab.LiveStream(cast)
live.start()
volume = archive.media.volumes(progress=False)[0]
elements = dicomlab.inspect(next(iter(phantom_datasets(patients=1, slices=1))))
def left():
    names = sorted(t.name for t in threading.enumerate() if t.name.startswith(("dicomlab", "Thread-")))
    return names, len(psutil.Process().net_connections("inet")), sorted(comm.get_comm_manager().comms)
def make():
    return {
        "browser": cohort.browse(to="browsed"), "viewer": volume.view(), "player": live.play(to="recordings"),
        "transfer": watch(operation), "dashboard": archive.dashboard(), "wire": wire.live(), "data-set": elements.live(),
    }
before = left()
"""
SHOW = "faces = make()\ndisplay(*faces.values())"
FACES = ("browser", "viewer", "player", "transfer", "dashboard", "wire", "data-set")
GOES_ON = "faces['player'].figures['shown'] > 5"
STOPPED = "The kernel was interrupted: what went on here was stopped."
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden)"
CONTROLS = ":is(button, input, select)"


@pytest.fixture(scope="module")
def book(desk: Desk) -> Iterator[Notebook]:
    """Every face in one notebook, on a screen that is high enough for all."""
    size = desk.page.viewport_size
    desk.page.set_viewport_size({"width": 1280, "height": 5200})
    with desk.cells("kernel", SETUP, SHOW) as book:
        seen(book)
        yield book
    desk.page.set_viewport_size(size)


def root(book: Notebook, name: str) -> Any:
    return book.page.locator(f"{PANEL} .dl-{name}")


def says(book: Notebook, words: str, names: tuple[str, ...] = FACES) -> None:
    for name in names:
        expect(root(book, name).locator(".dl-kernel")).to_have_text(words)


def seen(book: Notebook) -> None:
    book.page.evaluate(f"() => {{ document.querySelector('{PANEL} .jp-WindowedPanel-outer').scrollTop = 0; }}")
    book.until("[name for name, face in faces.items() if not face.visible]", "[]")
    book.until(GOES_ON)


def again(book: Notebook) -> None:
    book.run_all()
    assert book.errors == []
    seen(book)


# --- the keyboard ----------------------------------------------------------------------------------------------------

RING = """() => {
    const node = document.activeElement, style = getComputedStyle(node), wide = parseFloat(style.outlineWidth) || 0;
    const rgb = (colour) => { const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number); return {rgb: [r, g, b], a}; };
    const light = ({rgb}) => rgb.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
    const reach = parseFloat(style.outlineOffset) + wide;
    let behind = reach > 0 ? node.parentElement : node; // inside, the ring lies on the thing itself
    while (behind && rgb(getComputedStyle(behind).backgroundColor).a < 1) behind = behind.parentElement;
    const [bright, dark] = [light(rgb(style.outlineColor)), light(rgb(getComputedStyle(behind || document.body).backgroundColor))].sort((a, b) => b - a);
    const box = node.getBoundingClientRect();
    let clipped = 0;
    for (let around = node.parentElement; around && !around.matches('.jp-OutputArea'); around = around.parentElement) {
        if (getComputedStyle(around).overflow === 'visible') continue;
        const edge = around.getBoundingClientRect();
        clipped = Math.max(clipped, edge.left - (box.left - reach), edge.top - (box.top - reach), box.right + reach - edge.right, box.bottom + reach - edge.bottom);
    }
    return [style.outlineStyle !== 'none' && wide >= 2, Math.round(10 * (bright + 0.05) / (dark + 0.05)) / 10 >= 3, clipped <= 1];
}"""
REACHED = """(root) => {
    window.passed = [];
    const want = [...root.querySelectorAll('button, input, select, summary, [tabindex="0"]')].filter(n => !n.disabled && n.checkVisibility());
    root.tabIndex = -1;
    root.focus();
    window.want = want;
    return want.length;
}"""
NAME = "() => { const at = window.want.indexOf(document.activeElement); const n = document.activeElement; return [at, `${n.tagName} ${n.getAttribute('aria-label') || n.className || n.textContent}`]; }"


@pytest.fixture(scope="module", params=["light", "dark"])
def themed(book: Notebook, request: pytest.FixtureRequest) -> Iterator[Notebook]:
    """The notebook in each theme; the same tests run one after the other in each."""
    book.theme(request.param)
    yield book
    book.theme("light")


@pytest.mark.parametrize("name", FACES)
def test_every_control_is_reached_by_keyboard_and_wears_a_ring(themed: Notebook, name: str) -> None:
    book = themed
    root(book, name).scroll_into_view_if_needed()
    wanted = root(book, name).evaluate(REACHED)
    assert wanted
    reached, faults = set(), []
    for _ in range(wanted + 5):
        book.page.keyboard.press("Tab")
        at, what = book.page.evaluate(NAME)
        if at < 0:
            break
        reached.add(at)
        if (ring := book.page.evaluate(RING)) != [True, True, True]:
            faults.append((what, ring))
    assert faults == []
    assert len(reached) == wanted


def test_nobody_is_read_more_than_once_a_second(book: Notebook) -> None:
    """Live regions, while frames come and instances arrive."""
    seen(book)
    book.page.evaluate("""(panel) => {
        window.spoken = new Map();
        window.listens = new MutationObserver((changes) => new Set(changes.map(({target}) => (target.closest ? target : target.parentElement).closest('[role=status], [role=alert], [aria-live]')))
            .forEach((node) => node && window.spoken.set(node, (window.spoken.get(node) || 0) + 1)));
        window.listens.observe(document.querySelector(panel), {subtree: true, childList: true, characterData: true});
        window.began = performance.now();
    }""", PANEL)  # fmt: skip
    book.run(
        "frames = faces['player'].figures['received']; archive.node.store(list(phantom_datasets(patients=1, slices=9, seed=9)), progress=False).complete"
    )
    book.until("faces['player'].figures['received'] > frames + 50")
    most, seconds = book.page.evaluate(
        "() => { window.listens.disconnect(); return [Math.max(0, ...window.spoken.values()), (performance.now() - window.began) / 1000]; }"
    )
    assert most <= seconds + 1


# --- hidden, interrupted ---------------------------------------------------------------------------------------------

COUNT = """
sent = collections.Counter()
def count(name, channel):
    publish = channel.comm.publish_msg
    def counted(*args, **keywords):
        sent[name] += 1
        return publish(*args, **keywords)
    channel.comm.publish_msg = counted
def goes_on():
    global quiet, frames
    quiet, frames = dict(sent), faces["player"].figures["received"]
    return archive.node.store(list(phantom_datasets(patients=1, slices=3, seed=frames)), progress=False).complete
for name, face in faces.items():
    count(name, face._channel)
"""
HIDE = {
    "scrolled away": (
        "() => { const {content} = window.shown; content.model.sharedModel.insertCell(2, {cell_type: 'raw', source: '\\n'.repeat(500)});"
        f" requestAnimationFrame(() => {{ document.querySelector('{PANEL} .jp-WindowedPanel-outer').scrollTop = 1e6; }}); }}",
        f"() => {{ window.shown.content.model.sharedModel.deleteCell(2); document.querySelector('{PANEL} .jp-WindowedPanel-outer').scrollTop = 0; }}",
    ),
    "another tab": (
        "async () => { window.other = await window.jupyterapp.commands.execute('launcher:create'); }",
        "() => { window.other.dispose(); window.jupyterapp.shell.activateById(window.shown.id); }",
    ),
    "folded": (
        "() => { window.shown.content.widgets[1].outputHidden = true; }",
        "() => { window.shown.content.widgets[1].outputHidden = false; }",
    ),
    "the page hidden": (
        "() => { Object.defineProperty(document, 'visibilityState', {value: 'hidden', configurable: true}); document.dispatchEvent(new Event('visibilitychange')); }",
        "() => { delete document.visibilityState; document.dispatchEvent(new Event('visibilitychange')); }",
    ),
}


@pytest.mark.parametrize("how", HIDE)
def test_nothing_is_sent_to_what_is_hidden(book: Notebook, how: str) -> None:
    """Though frames and instances arrive; who looks again sees all of it."""
    if book.ask("'sent' in globals()") == "False":
        book.run(COUNT)
    hide, show = HIDE[how]
    book.page.evaluate(hide)
    try:
        book.until("[name for name, face in faces.items() if face.visible]", "[]")
        assert book.ask("goes_on()") == "True"
        book.until("faces['player'].figures['received'] > frames + 20")
        more = (
            "{name: n - quiet.get(name, 0) for name, n in sent.items() if n - quiet.get(name, 0) > (name == 'player')}"
        )
        assert book.ask(more) == "{}"
    finally:
        book.page.evaluate(show)
    shown = book.ask("faces['player'].figures['shown']")
    book.until(f"faces['player'].figures['shown'] > {shown} + 5")
    expect(root(book, "dashboard").get_by_role("row", name="LAB1").first).to_contain_text(
        book.ask("str(faces['dashboard'].sources['LAB1'])").strip("'")
    )


def test_an_interrupt_stops_what_goes_on_and_is_said(book: Notebook) -> None:
    """The retrieve of the browser, the player and its recording; an operation in the background is nobody's cell."""
    browser, player = root(book, "browser"), root(book, "player")
    book.run("archive.faults.slow(20_000); None")
    browser.get_by_role("button", name="Pick every row").click()
    book.until("faces['browser'].state['picked'] > 0")
    browser.get_by_role("button", name="Retrieve what is picked").click()
    player.get_by_role("button", name="Record (r)").click()
    book.until("(faces['browser'].state['progress'] or {}).get('done', 0) > 1 and faces['player'].state['recording']")
    book.until("faces['player']._recording.progress.done > 5")
    book.interrupt()
    says(book, STOPPED, ("browser", "player"))
    says(book, "", ("viewer", "transfer", "dashboard", "wire", "data-set"))
    book.until("faces['player'].playing", "False")
    book.until("len(faces['player'].recordings)", "1", seconds=40)
    book.until("faces['browser'].report is not None and not faces['browser'].report.complete")
    assert book.ask("operation.done") == "False"
    book.run("archive.faults.clear()")
    player.get_by_role("button", name="Play (space)").click()
    says(book, "", ("player",))
    book.until("faces['player'].playing")


# --- far, silent, no more --------------------------------------------------------------------------------------------


def test_a_kernel_that_does_not_answer(book: Notebook) -> None:
    pid = int(book.ask("os.getpid()"))
    os.kill(pid, signal.SIGSTOP)
    try:
        root(book, "player").get_by_role("button", name="Keep this frame (s)").click()
        line = root(book, "player").locator(".dl-kernel")
        expect(line).to_have_text(
            "The kernel does not answer: it is busy with a cell, or it has ended.", timeout=15_000
        )
    finally:
        os.kill(pid, signal.SIGCONT)
    says(book, "", ("player",))
    book.until("len(faces['player'].snapshots)", "1")


def test_no_way_to_the_kernel(book: Notebook) -> None:
    """It says so and nothing can be pressed; when there is one again, all goes on."""
    heard = book.page.evaluate("""async (panel) => {
        const heard = {};
        const look = (changes) => changes.forEach(({target}) => {
            const line = target.parentElement && target.closest('.dl-kernel');
            if (line && line.textContent) heard[line.closest('fieldset').getAttribute('aria-label')] = [line.textContent, line.closest('fieldset').disabled];
        });
        const observer = new MutationObserver(look);
        observer.observe(document.querySelector(panel), {subtree: true, childList: true});
        await window.shown.context.sessionContext.session.kernel.reconnect();
        observer.disconnect();
        return heard;
    }""", PANEL)  # fmt: skip
    away = "No connection to the kernel: trying again …"
    assert len(heard) == len(FACES)
    assert heard.pop("Elements of a data set") == [away, False]  # all of it is in the page
    assert set(map(tuple, heard.values())) == {(away, True)}
    says(book, "")
    shown = book.ask("faces['player'].figures['shown']")
    book.until(f"faces['player'].figures['shown'] > {shown} + 5")
    root(book, "browser").get_by_role("button", name="Pick nothing").click()
    book.until("faces['browser'].state['picked']", "0")


def ended(book: Notebook, words: str) -> None:
    """Each face says that its kernel is no more, and takes nothing; what needs no kernel goes on."""
    says(book, words)
    for name in FACES:
        usable = root(book, name).locator(f"{CONTROLS}:enabled:visible")
        assert bool(usable.count()) == (name == "data-set"), name
    root(book, "viewer").locator(".dl-pane").first.press("ArrowDown")
    root(book, "viewer").locator(".dl-pane").first.hover()
    book.page.mouse.wheel(0, 120)
    root(book, "player").locator(".dl-screen").press("s")
    root(book, "browser").get_by_role("treegrid").press("Enter")
    root(book, "wire").get_by_role("listbox").press("Enter")
    search = root(book, "data-set").get_by_role("searchbox")
    search.fill("modality")
    expect(root(book, "data-set").locator("tbody tr")).to_have_count(1)
    search.fill("")


def test_a_kernel_that_is_restarted(desk: Desk, book: Notebook) -> None:
    """By the menu's own command. The old one is gone with all that it held; the new one knows nothing of the faces."""
    pid = int(book.ask("os.getpid()"))
    root(book, "player").get_by_role("button", name="Keep this frame (s)").focus()
    desk.page.evaluate("() => { window.restarted = window.jupyterapp.commands.execute('kernelmenu:restart'); }")
    desk.page.locator(".jp-Dialog .jp-mod-accept").click()
    desk.page.evaluate("() => window.restarted")
    ended(book, "The kernel was restarted: run this cell again.")
    assert not psutil.pid_exists(pid)
    assert book.ask(
        "[len(__import__('comm').get_comm_manager().comms), __import__('threading').active_count() < 12]"
    ) == ("[0, True]")
    book.picture("restarted", 1)
    assert book.faults() == []
    assert desk.page.complaints == []


def test_a_kernel_that_dies(desk: Desk, book: Notebook) -> None:
    again(book)
    os.kill(int(book.ask("os.getpid()")), signal.SIGKILL)
    desk.page.locator(".jp-Dialog .jp-mod-accept").click()
    ended(book, "The kernel died and was started again: run this cell again.")


# --- closed, collected -----------------------------------------------------------------------------------------------


def test_close_leaves_what_was_shown_and_nothing_else(desk: Desk, book: Notebook) -> None:
    desk.page.evaluate("() => window.shown.context.sessionContext.session.kernel.info")
    again(book)
    before = book.ask("before")
    desk.page.complaints.clear()
    root(book, "player").get_by_role("button", name="Record (r)").click()
    book.until("faces['player'].state['recording']")
    book.run("for face in faces.values(): face.close()")
    ended(book, "Closed: this is what it showed last.")
    book.until("left()", before)
    assert all(output["output_type"] != "stream" for cell in book.cells for output in cell["outputs"])
    book.picture("closed", 1)
    assert book.faults() == []
    assert desk.page.complaints == []


def test_what_nobody_shows_or_holds_leaves_nothing(desk: Desk, book: Notebook) -> None:
    desk.page.evaluate(
        "() => { window.shown.content.widgets[1].model.sharedModel.setSource('faces = None; display(*make().values())'); }"
    )
    desk.page.evaluate(
        "() => { window.shown.content.activeCellIndex = 1; return window.jupyterapp.commands.execute('notebook:run-cell'); }"
    )
    root(book, "wire").locator(".dlw-row").first.wait_for()
    assert book.ask("len(left()[2]) > len(before[2])") == "True"
    desk.page.evaluate(
        "() => { window.shown.content.widgets[1].model.sharedModel.setSource('face = None; gc.collect()'); }"
    )
    desk.page.evaluate(
        "() => { window.shown.content.activeCellIndex = 1; return window.jupyterapp.commands.execute('notebook:run-cell'); }"
    )
    book.until("(gc.collect(), left())[1] == before")
    assert desk.page.complaints == []


def test_who_wants_less_motion_begins_with_a_still(desk: Desk, book: Notebook) -> None:
    desk.page.emulate_media(reduced_motion="reduce")
    try:
        book.run("faces = make(); display(*faces.values())")
        book.until("faces['player'].playing", "False")
        root(book, "player").locator(".dl-has").wait_for()
        root(book, "player").get_by_role("button", name="Play (space)").click()
        book.until("faces['player'].playing")
    finally:
        desk.page.emulate_media(reduced_motion="no-preference")


def test_a_kernel_that_is_shut_down(desk: Desk, book: Notebook) -> None:
    desk.page.evaluate("() => window.shown.context.sessionContext.session.kernel.shutdown()")
    ended(book, "The kernel has ended: start one, then run this cell again.")
    assert desk.page.complaints == []
