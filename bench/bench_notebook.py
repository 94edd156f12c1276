"""The notebook's live faces in JupyterLab and Chromium, beside what people use for that today, in the same browser.

The live player shows a stream of 1280 x 720 that a ``Broadcast`` in another process sends, at 30 Hz and at 60 Hz; beside
it the same frames go into ``ipywidgets.Image`` as JPEG and into ``ipympl``. *Shown* are distinct pictures that a probe in
the page sees when the screen is drawn: each picture carries its number in dark and bright squares. A rate is taken from
the first to the last of them, after a running start. Of a source of 30 Hz no more than 30 can be shown: 99.5 % of what it
sends is all of it, and whether 30 are shown where there are more is what the source of 60 Hz is for. Latency runs from
the moment at which the receiver had the frame (for the others: at which their loop took it) to that drawing, by one
clock. Everybody shows them pixel for pixel, and Playwright is away meanwhile (``window.py``).

``--only narrow``: the way from the server to the browser carries 2 Mbit/s, in a proxy where each octet takes its time;
pictures in a second and latency as acknowledged, each way to travel for itself.

Where a figure has a limit and no peer, the other column is the limit: a time as fast as 1.0 or more meets it.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from measure import Row, Size, main
from window import Window

from dicomlab import Broadcast, Cohort
from dicomlab.rtv.video import VideoFormat
from dicomlab.samples.endoscopy import endoscopy_frames
from tests.faults.plans import Narrow, Plan
from tests.faults.proxy import TcpProxy
from tests.peers.lab import Chromium, Desk, Lab
from tests.peers.processes import free_port

WIDTH, HEIGHT = 1280, 720
WINDOW = 2000, 1200
"""Wide enough that everybody shows pictures pixel for pixel."""
RATES_HZ = (30, 60)
NARROW_OCTETS_S = 250_000
SQUARE = 32
BITS = 16
SECONDS = {1: 1.5, 3: 4.0, 7: 8.0}

# ------------------------------------------------------------------------------------------------------ the stream


def numbered(count: int) -> list[np.ndarray]:
    """A synthetic endoscopy whose pictures carry their number: sixteen squares along the upper edge."""
    frames = []
    for number, frame in enumerate(endoscopy_frames(count, WIDTH, HEIGHT)):
        frame[: SQUARE + 8, : SQUARE * BITS + 8] = 0
        for bit in range(BITS):
            frame[4 : 4 + SQUARE, bit * SQUARE : (bit + 1) * SQUARE] = 235 if number >> bit & 1 else 16
        frames.append(frame)
    return frames


def send(port: int, rate_hz: int, seconds: float) -> None:
    """The sender, in a process of its own."""
    video = VideoFormat(WIDTH, HEIGHT, Fraction(rate_hz))
    cast = Broadcast(
        numbered(32), format=video, rate_hz=rate_hz, port=port, loop=True, fictional=True, PatientID="BENCH"
    )
    cast.write_sdp(Path.cwd())
    with cast:
        print("sends", flush=True)
        cast.wait(seconds)


# -------------------------------------------------------------------------------------------------------- the page

START_S = 3.0
"""A running start for everybody."""
PROBE = """([where, start, length]) => {
    const seen = window.probe = [], small = document.createElement('canvas');
    small.width = 16 * 4; small.height = 4;
    const context = small.getContext('2d', {willReadFrequently: true});
    const began = performance.now() + start;
    let last = -1;
    const look = () => {
        const now = performance.now() - began;
        if (now > length) return;
        const source = document.querySelector(where);
        const wide = now > 0 && source && (source.naturalWidth || source.width);
        if (wide) {
            const scale = wide / 1280;
            context.drawImage(source, 0, 4 * scale, 512 * scale, 32 * scale, 0, 0, 64, 4);
            const {data} = context.getImageData(0, 2, 64, 1);
            let number = 0;
            for (let bit = 0; bit < 16; bit += 1) if (data[4 * (4 * bit + 2)] > 128) number |= 1 << bit;
            if (number !== last) { seen.push([number, Date.now()]); last = number; }
        }
        requestAnimationFrame(look);
    };
    requestAnimationFrame(look);
}"""

PLAYER = """
import dicomlab, time
live = dicomlab.LiveStream({sdp!r}, pool_frames=32)
player = live.play(mode={mode!r})
player
"""
PLAYER_LOG = """
from dicomlab.notebook import pump as _p
log = []
_one = player._pump._one
def _logged(frame, came_s):
    at_s = time.time() - (time.monotonic() - came_s)
    cells = frame.packed.reshape(720, -1)[20]  # a row of Cb Y Cr Y, ten bits each: the upper ones of the first Y
    y = ((cells[1::5] & 63) << 2) | (cells[2::5] >> 6)
    log.append((sum(1 << bit for bit in range(16) if y[bit * 16 + 8] > 128), at_s))
    _one(frame, came_s)
told = []
_acknowledge = player._pump.acknowledge
def _heard(number, *, shown, **more):
    told.append((number, shown))
    _acknowledge(number, shown=shown, **more)
"""
OTHERS = """
import io, threading, time
import dicomlab
import numpy as np
from PIL import Image as Picture
live = dicomlab.LiveStream({sdp!r}, pool_frames=32).start()
log, ending = [], threading.Event()
def frames():
    for frame in live.frames():
        if ending.is_set():
            return
        at_s = time.time()
        rgb = frame.to_rgb()
        number = sum(1 << bit for bit in range(16) if rgb[20, bit * 32 + 16, 0] > 128)
        yield number, rgb
        log.append((number, at_s))
"""
IMAGE = """
import ipywidgets
shown = ipywidgets.Image(format="jpeg", width=1280)
def pump():
    for number, rgb in frames():
        out = io.BytesIO()
        Picture.fromarray(rgb).save(out, "JPEG", quality=80)
        shown.value = out.getvalue()
thread = threading.Thread(target=pump, daemon=True)
shown
"""
IPYMPL = """
%matplotlib widget
import matplotlib.pyplot as plt
figure = plt.figure(figsize=(12.8, 7.2), dpi=100)
axes = figure.add_axes([0, 0, 1, 1]); axes.axis("off")
drawn = axes.imshow(np.zeros((720, 1280, 3), np.uint8), interpolation="nearest", aspect="auto")
figure.canvas.header_visible = figure.canvas.toolbar_visible = figure.canvas.footer_visible = False
def pump():
    for number, rgb in frames():
        drawn.set_data(rgb)
        figure.canvas.draw()
thread = threading.Thread(target=pump, daemon=True)
plt.show()
"""


def _watch(desk: Desk, window: Window, where: str, seconds: float) -> list[list[float]]:
    """What is seen while nobody else looks in."""
    desk.page.wait_for_selector(where, state="attached")
    desk.page.evaluate(PROBE, [where, START_S * 1000, seconds * 1000])
    window.alone(START_S + seconds + 0.5)
    desk.page = window.page
    return desk.page.evaluate("() => window.probe")


def _latencies(seen: list[list[float]], log: list[list[float]]) -> list[float]:
    """From the kernel's moment of a number to the drawing of that number, the nearest before it."""
    found = []
    for number, drawn_ms in seen:
        before = [at_s for n, at_s in log if n == number and at_s * 1000 <= drawn_ms + 2]
        if before:
            found.append(drawn_ms - 1000 * max(before))
    return found


def _p95(values: list[float]) -> float:
    ordered = sorted(values)
    return ordered[int(0.95 * (len(ordered) - 1))] if ordered else 99_999.0


def _hz(seen: list[list[float]]) -> float:
    """Between the first and the last."""
    return 1000 * (len(seen) - 1) / max(seen[-1][1] - seen[0][1], 1) if len(seen) > 1 else 0.01


_INSIDE = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output"


def _ours(desk: Desk, window: Window, sdp: str, seconds: float) -> dict[str, float]:
    with desk.cells("live-ours", PLAYER.format(sdp=sdp, mode="auto"), PLAYER_LOG) as book:
        book.until("player.figures['shown'] > 5", seconds=30)
        book.run("player._pump._one, player._pump.acknowledge, before = _logged, _heard, player.figures")
        began = time.monotonic()
        seen = _watch(desk, window, f"{_INSIDE} .dl-screen canvas", seconds)
        book.page = desk.page
        figures = json.loads(book.ask("__import__('json').dumps([before, player.figures, log, told])").strip("'"))
        took = time.monotonic() - began
        book.run("player.close()")
    before, after, log, told = figures
    numbers = [number for number, _ in told]
    return {
        "hz": _hz(seen), "p95": _p95(_latencies(seen, log)), "octets": after["octets"],
        **{name: (after[name] - before[name]) / took for name in ("received", "sent", "shown", "passed_over")},
        "p95_acknowledged": after["p95_ms"],
        "sent_for_each_shown": (max(numbers) - min(numbers) + 1) / sum(shown for _, shown in told),
    }  # fmt: skip


def _others(desk: Desk, window: Window, sdp: str, seconds: float) -> Iterator[tuple[str, dict[str, float]]]:
    others = (("ipywidgets.Image", IMAGE, f"{_INSIDE} img.widget-image"), ("ipympl", IPYMPL, f"{_INSIDE} canvas"))
    for who, code, where in others:
        with desk.cells("live-theirs", OTHERS.format(sdp=sdp), code) as book:
            book.run("thread.start()")
            seen = _watch(desk, window, where, seconds)
            book.page = desk.page
            log = json.loads(book.ask("__import__('json').dumps(log)").strip("'"))
            book.run("ending.set(); thread.join(10); live.close()")
        yield who, {"hz": _hz(seen), "p95": _p95(_latencies(seen, log))}


@contextmanager
def _sender(folder: Path, rate_hz: int) -> Iterator[str]:
    """A sender in a process of its own: its session description."""
    port = free_port() // 2 * 2
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    asked = [sys.executable, __file__, "--send", str(port), str(rate_hz), "600"]
    folder.mkdir()
    sender = subprocess.Popen(asked, cwd=folder, env=environment, stdout=subprocess.PIPE)
    try:
        assert sender.stdout is not None
        assert sender.stdout.readline() == b"sends\n"
        yield str(folder / "all.sdp")
    finally:
        sender.terminate()
        sender.wait()


def live(lab: Lab, window: Window, folder: Path, seconds: float, rounds: int) -> Iterator[Row]:
    desk = Desk(lab, window.page)
    for rate_hz in RATES_HZ:
        kept: dict[str, list[dict[str, float]]] = {}
        with _sender(folder / f"sender-{rate_hz}", rate_hz) as sdp:
            for _ in range(rounds):
                kept.setdefault("ours", []).append(_ours(desk, window, sdp, seconds))
                print(f"        {kept['ours'][-1]}", file=sys.stderr)
                if rate_hz == RATES_HZ[0]:
                    for who, one in _others(desk, window, sdp, seconds):
                        kept.setdefault(who, []).append(one)
        middle = {
            who: {name: statistics.median(one[name] for one in found) for name in found[0]}
            for who, found in kept.items()
        }
        ours = middle.pop("ours")
        print(f"    {rate_hz} Hz: {ours} {middle}; load of this machine {os.getloadavg()[0]:.1f}", file=sys.stderr)
        what = f"live {WIDTH}x{HEIGHT} at {rate_hz} Hz"
        limit_ms = 1000 / (0.995 * 30 if rate_hz == 30 else 30)
        yield Row(
            f"{what}: ms for each picture shown", "play()", "30/s", 1000 / ours["hz"], limit_ms, rounds, "ms", must=1
        )
        yield Row(f"{what}: sent for each shown", "play()", "all of them", ours["sent_for_each_shown"], 1.0, rounds, "")
        must = 1 if rate_hz == 30 else None
        yield Row(f"{what}: latency, 95 %", "play()", "100 ms", ours["p95"], 100.0, rounds, "ms", must=must)
        for who, theirs in middle.items():
            each = 1000 / ours["hz"], 1000 / max(theirs["hz"], 0.01)
            yield Row(f"{what}: ms for each picture shown", "play()", who, *each, rounds, "ms")
            yield Row(f"{what}: latency, 95 %", "play()", who, ours["p95"], theirs["p95"], rounds, "ms")


def narrow(lab: Lab, browser: Chromium, folder: Path, seconds: float) -> Iterator[Row]:
    """A way of 2 Mbit/s: what JPEG, H.264 and ``auto`` show of it; JPEG is what the others are measured against."""
    found = {}
    with _sender(folder / "sender-narrow", 30) as sdp, TcpProxy(lab.port) as proxy, browser.page() as page:
        desk = Desk(lab, page, port=proxy.port)
        page.set_viewport_size({"width": 1800, "height": 1100})
        proxy.from_now_on(Plan(to_client=[Narrow(NARROW_OCTETS_S)]))  # the kernel's channels are yet to come
        for mode in ("jpeg", "h264", "auto"):
            with desk.cells(f"live-{mode}", PLAYER.format(sdp=sdp, mode=mode)) as book:
                book.until("player.figures['shown'] > 3", seconds=30)
                book.page.wait_for_timeout(1000 * seconds)  # until it has settled
                before = json.loads(book.ask("__import__('json').dumps(player.figures)").strip("'"))
                began = time.monotonic()
                book.page.wait_for_timeout(1000 * seconds)
                after = json.loads(book.ask("__import__('json').dumps(player.figures)").strip("'"))
                took = time.monotonic() - began
                travels = book.ask("player._pump.travels")
                book.run("player.close()")
            found[mode] = {"hz": (after["shown"] - before["shown"]) / took, "p95": after.get("p95_ms", 99_999.0)}
            print(f"    2 Mbit/s, {mode} ({travels}): {found[mode]}, window {after['window']}", file=sys.stderr)
    for mode in ("h264", "auto"):
        each = 1000 / found[mode]["hz"], 1000 / found["jpeg"]["hz"]
        what = "live 1280x720 over 2 Mbit/s"
        yield Row(f"{what}: ms for each picture shown", f"mode={mode!r}", "mode='jpeg'", *each, 1, "ms")
        yield Row(
            f"{what}: latency, 95 %", f"mode={mode!r}", "mode='jpeg'", found[mode]["p95"], found["jpeg"]["p95"], 1, "ms"
        )


# -------------------------------------------------------------------------------------------------------- scrolling

STACK = """
import numpy as np, dicomlab
from pathlib import Path
volume = dicomlab.MediaSet({folder!r}).volume(progress=False)
viewer = volume.view().wait()
viewer
"""
WHEEL = """async ([count, gap]) => {
    const pane = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .dl-pane');
    const box = pane.getBoundingClientRect();
    const x = box.left + box.width / 2, y = box.top + box.height / 2;
    pane.dispatchEvent(new PointerEvent('pointermove', {clientX: x, clientY: y, bubbles: true}));
    const waits = [], drawn = new Set();
    const times = new Map();
    let index = Number(pane.dataset.drawn.split('/')[2]);
    const watcher = new MutationObserver(() => {
        const now = Number(pane.dataset.drawn.split('/')[2]);
        drawn.add(now);
        requestAnimationFrame(() => {
            for (const [at, began] of times) if (at <= now) { waits.push(performance.now() - began); times.delete(at); }
        });
    });
    watcher.observe(pane, {attributes: true, attributeFilter: ['data-drawn']});
    const began = performance.now();
    for (let turn = 0; turn < count; turn += 1) {
        index += 1;
        times.set(index, performance.now());
        const turned = {deltaY: 60, clientX: x, clientY: y, bubbles: true, cancelable: true};
        pane.dispatchEvent(new WheelEvent('wheel', turned));
        if (gap) await new Promise(done => setTimeout(done, gap));
        else await new Promise(requestAnimationFrame);
    }
    while (times.size && performance.now() - began < 20000) await new Promise(done => setTimeout(done, 2));
    watcher.disconnect();
    return {waits, drawn: drawn.size, took: performance.now() - began};
}"""


def write_ct(folder: Path, slices: int) -> Path:
    """A series of 512 x 512, noisy."""
    from dicomlab.samples.phantom import phantom_datasets

    folder.mkdir()
    noise = np.random.default_rng(5)
    first = next(iter(phantom_datasets(patients=1, slices=1)))
    for number in range(slices):
        first.Rows = first.Columns = 512
        first.PixelData = noise.integers(0, 2000, (512, 512), np.int16).tobytes()
        first.SOPInstanceUID = first.file_meta.MediaStorageSOPInstanceUID = f"2.25.{1000 + number}"
        first.InstanceNumber = number + 1
        first.ImagePositionPatient = [-256.0, -256.0, float(number)]
        first.PixelSpacing = [1.0, 1.0]
        first.save_as(folder / f"{number:04}.dcm", enforce_file_format=True)
    return folder


def stack(desk: Desk, folder: Path, slices: int) -> Iterator[Row]:
    series = write_ct(folder / "ct", slices)
    with desk.cells("stack", STACK.format(folder=str(series))) as book:
        where = book.output(0).locator("[data-drawn]").first
        where.wait_for()
        where.press("Home")
        book.until("viewer.position['z']", "0")
        book.page.wait_for_timeout(500)
        turns = min(slices - 2, 120)
        free = book.page.evaluate(WHEEL, [turns, 0])
        rate = free["drawn"] / (free["took"] / 1000)
        where.press("Home")
        book.until("viewer.position['z']", "0")
        book.page.wait_for_timeout(500)
        paced = book.page.evaluate(WHEEL, [turns, 33])
        size = f"512x512x{slices}"
        print(f"    stack: {rate:.0f}/s, {free['drawn']} of {turns} slices drawn", file=sys.stderr)
        yield Row(f"stack {size}: ms for each slice", "view()", "30/s", 1000 / rate, 1000 / 30, turns, "ms", must=1)
        yield Row(
            f"stack {size}: wheel to picture, median",
            "view()",
            "50 ms",
            statistics.median(paced["waits"]),
            50.0,
            turns,
            "ms",
            must=1,
        )
        yield Row(
            f"stack {size}: wheel to picture at 30/s, 95 %",
            "view()",
            "50 ms",
            _p95(paced["waits"]),
            50.0,
            turns,
            "ms",
            must=1,
        )


# ---------------------------------------------------------------------------------------------------------- cohorts

COHORT = """
import time
import dicomlab, pandas as pd
n = {count}
frame = pd.DataFrame({{
    "PatientID": [f"P{{i // 1000:03}}" for i in range(n)], "PatientName": [f"Name{{i // 1000}}" for i in range(n)],
    "StudyInstanceUID": [f"1.2.{{i // 500}}" for i in range(n)], "StudyDate": ["2026-01-05"] * n,
    "SeriesInstanceUID": [f"1.2.{{i // 500}}.{{i // 100}}" for i in range(n)], "Modality": ["CT"] * n,
    "SOPInstanceUID": [f"1.2.9.{{i}}" for i in range(n)], "InstanceNumber": [i % 100 + 1 for i in range(n)],
}})
cohort = dicomlab.Cohort.from_dataframe(frame)
cohort.browse().close()
"""
OPEN_COHORT = """async (source) => {
    const {content} = window.shown;
    content.model.sharedModel.insertCell(content.widgets.length, {cell_type: 'code', source});
    content.deselectAll();
    content.activeCellIndex = content.widgets.length - 1;
    const began = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell');
    const row = '.jp-NotebookPanel:not(.lm-mod-hidden) .dl-row:not(.dl-blank)';
    while (!document.querySelector(row)) await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return performance.now() - began;
}"""
SCROLL = """async (steps) => {
    const box = document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .dl-tree');
    const root = box.closest('.dl-browser');
    const gaps = [], blank = [];
    let last = performance.now();
    for (let step = 0; step < steps; step += 1) {
        box.scrollTop += 120;
        await new Promise(requestAnimationFrame);
        const now = performance.now();
        gaps.push(now - last);
        last = now;
        blank.push(Number(root.dataset.blank));
    }
    return {gaps, blank: blank.filter(one => one > 0).length / blank.length};
}"""


def cohort(desk: Desk, count: int, rounds: int) -> Iterator[Row]:
    with desk.cells("cohort", COHORT.format(count=count)) as book:
        opens = []
        for _ in range(rounds):
            opens.append(book.page.evaluate(OPEN_COHORT, "browser = cohort.browse(); browser"))
            book.run("browser._take({'kind': 'all', 'open': True})")
            book.until("browser.state['rows'] > n")
            book.page.wait_for_function("() => document.querySelector('.dl-browser').dataset.blank === '0'")
            scrolled = book.page.evaluate(SCROLL, 120)
            book.run("browser.close()")
            book.page.evaluate("() => window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
            book.page.wait_for_selector(".dl-browser", state="detached")
        ms = statistics.median(opens)
        print(f"    cohort: blank rows in {100 * scrolled['blank']:.0f} % of pictures while scrolling", file=sys.stderr)
        yield Row(f"browse {count:,} instances: run cell to rows", "browse()", "1 s", ms / 1000, 1.0, rounds, must=1)
        smooth = statistics.median(scrolled["gaps"])
        yield Row(
            f"browse {count:,} instances: scroll, ms for each picture",
            "browse()",
            "30/s",
            smooth,
            1000 / 30,
            120,
            "ms",
            must=1,
        )


def reprs(count: int) -> Iterator[Row]:
    import pandas as pd

    frame = pd.DataFrame(
        {
            "PatientID": [f"P{i}" for i in range(count)], "StudyInstanceUID": [f"1.2.{i}" for i in range(count)],
            "StudyDate": ["2026-01-05"] * count, "StudyDescription": ["Thorax"] * count,
        }
    )  # fmt: skip
    made = Cohort.from_dataframe(frame)
    made._repr_html_()
    times = []
    for _ in range(20):
        began = time.perf_counter()
        made._repr_html_()
        repr(made)
        times.append((time.perf_counter() - began) * 1000)
    yield Row(
        f"repr of {count:,} studies, text and HTML", "Cohort", "5 ms", statistics.median(times), 5.0, 20, "ms", must=1
    )


def bench(size: Size, folder: Path) -> Iterator[Row]:
    if size.chosen("reprs"):
        yield from reprs(1_000 if size.rounds == 1 else 100_000)
    if size.only == "reprs":
        return
    smoke = size.rounds == 1  # then one kernel has to do
    with Lab(folder / "lab") as lab:
        if size.chosen("live") and (size.only or not smoke):
            with Window(folder / "window", *WINDOW) as window:
                yield from live(lab, window, folder, SECONDS[size.rounds], 1 if size.rounds < 7 else 3)
        if size.only == "live":
            return
        with Chromium(folder / "profile") as browser, browser.page() as page:
            desk = Desk(lab, page)
            if size.chosen("stack"):
                yield from stack(desk, folder, 12 if smoke else 400)
            if size.chosen("cohort") and (size.only or not smoke):
                yield from cohort(desk, 2_000 if smoke else 100_000, min(size.rounds, 3))
            if size.chosen("narrow") and (size.only or not smoke):
                yield from narrow(lab, browser, folder, SECONDS[size.rounds])


if __name__ == "__main__":
    if "--send" in sys.argv:
        at = sys.argv.index("--send")
        send(int(sys.argv[at + 1]), int(sys.argv[at + 2]), float(sys.argv[at + 3]))
    else:
        main(bench, peers=["chromium"])
