"""What the wire view costs: the same work with a trace on and off, and off beside channels that have no taps.

``--only dimse | web | stream | faces``. What must hold is said of CPU time of this process, for a tap takes no other, and
the clock on the wall says more about the neighbours; it is told beside. The archive has a process of its own, so that its
work hides nothing; for the stream both ends are here. The faces are told beside their limit.
"""

from __future__ import annotations

import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measure import Row, Size, main
from node_peers import write_series

import dicomlab
from dicomlab.model.trace import Channel
from dicomlab.notebook.html import render
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import LOOPBACK, free_port

LEAST = 0.95
"""How fast work must be while it is traced, beside the same without; and without a trace, beside no taps."""
TURNS = {1: 1, 3: 60, 7: 400}
"""How often each side has its turn, by the rounds of other benches. A part in twenty is to be seen on machines that are a
tenth slower from one second to the next: turns are short, so that both sides have the same weather, and many.
"""
REPR_S = 0.005


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    turns, series = TURNS[size.rounds], min(size.slices, 50)
    full, large, to = scratch / "archive", scratch / "large", scratch / "got"
    study = write_series(large, 1, min(size.slices, 20), 512)
    with dicomlab.Archive(full) as archive:
        archive.add(phantom_datasets(3, series), progress=False)
        if size.chosen("faces"):
            yield from faces(archive, size)
        archive.add(large, progress=False)

    def files(what: str, door: dicomlab.Node | dicomlab.WebEndpoint, **keys: str) -> Iterator[Row]:
        """Retrieve one series into a folder that is new each time."""
        cohort = door.find("series", Modality="CT", progress=False, **keys)[:1]
        retrieve, clear = lambda: cohort.retrieve(to, progress=False), lambda: shutil.rmtree(to)
        yield from sides(what, retrieve, turns, clear)

    def store(what: str, door: dicomlab.Node | dicomlab.WebEndpoint) -> Iterator[Row]:
        yield from sides(what, lambda: door.store(large, progress=False), turns)

    small, big, found = f"{series} instances of 9 KB", f"{min(size.slices, 20)} of 0.5 MB", f"{3 * series} instances"
    with serving(full) as (node, web):
        if size.chosen("dimse"):
            yield from sides(f"C-FIND, {found}", lambda: node.find("instance", progress=False), turns)
            yield from files(f"C-GET to files, {small}", node, PatientID="SYN-001")
            yield from files(f"C-GET to files, {big}", node, StudyInstanceUID=study)
            yield from store(f"C-STORE, {big}", node)
        if size.chosen("web"):
            yield from sides(f"QIDO-RS, {found}", lambda: web.find("instance", progress=False), turns)
            yield from files(f"WADO-RS to files, {small}", web, PatientID="SYN-001")
            yield from files(f"WADO-RS to files, {big}", web, StudyInstanceUID=study)
            yield from store(f"STOW-RS, {big}", web)
    if size.chosen("stream"):
        yield from stream(size)


@contextmanager
def serving(folder: Path) -> Iterator[tuple[dicomlab.Node, dicomlab.WebEndpoint]]:
    """Keep an archive open in a process of its own; gives both doors."""
    address, port = f"DICOMLAB@{LOOPBACK}:{free_port()}", free_port()
    command = [sys.executable, "-m", "dicomlab", "serve", str(folder), "--address", address, "--web-port", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        shown = ""
        while "Ctrl-C" not in (line := running.stdout.readline()):
            assert line, f"the archive does not come up: {shown}"
            shown += line
        base = next(word for word in shown.split() if word.startswith("http://"))
        yield dicomlab.Node(address), dicomlab.WebEndpoint(base)
    finally:
        running.terminate()
        running.communicate(timeout=30)


def untapped() -> AbstractContextManager[Any]:
    """No tap at all."""
    return patch.multiple(Channel, tap=lambda *_, **__: None, note=lambda *_: None)


def sides(
    what: str, work: Callable[[], object], turns: int, after: Callable[[], object] = lambda: None
) -> Iterator[Row]:
    """On beside off; and off beside no taps at all. Who begins is drawn anew each turn; `after` is not timed.

    A ratio is the median of the turns' own: medians of both sides told two equal ones apart by up to three parts in a
    hundred, this way it is one.

    The two comparisons don't mix: a class that was patched makes the turn after it slower, whoever's that is.
    """
    chance = random.Random(0)
    on, off = ("trace on", dicomlab.trace), ("trace off", nullcontext)
    work()
    after()
    for sides in ((on, off), (off, ("no taps", untapped))):
        spent: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in sides}
        for _ in range(turns):
            for name, how in chance.sample(sides, 2):
                began = time.process_time(), time.perf_counter()
                with how():
                    work()
                spent[name].append((time.process_time() - began[0], time.perf_counter() - began[1]))
                after()
        (mine, ours), (theirs, others) = ((name, tuple(zip(*times, strict=True))) for name, times in spent.items())
        for clock, must, a, b in zip(("CPU", "until it is done"), (LEAST, None), ours, others, strict=True):
            by_turn = statistics.median(one / other for one, other in zip(a, b, strict=True))
            middle = statistics.median(a), statistics.median(b)
            yield Row(f"{what}, {clock}", mine, theirs, *middle, turns, must=must, by_turn=by_turn)


def stream(size: Size) -> Iterator[Row]:
    """A broadcast and its receiver in this process, for so many frames."""
    count, turns = {1: (10, 1), 3: (30, 10), 7: (30, 25)}[size.rounds]
    frames = list(endoscopy_frames(min(count, 30), 640, 480, rate_hz=30))

    def work() -> None:
        cast = dicomlab.Broadcast(frames, rate_hz=30, loop=True, fictional=True, **PATIENT)
        with dicomlab.LiveStream(cast) as live, cast:
            assert sum(1 for _ in live.frames(count)) == count

    yield from sides(f"{count} frames of 640x480", work, turns)


def faces(archive: dicomlab.Archive, size: Size) -> Iterator[Row]:
    """How long a face takes, beside what it may."""
    with dicomlab.trace() as wire:
        cohort = archive.node.find("instance", progress=False)
        archive.web.find("study", progress=False)
    view = dicomlab.inspect(next(phantom_datasets(1, 1)))
    shown: dict[str, Callable[[], Any]] = {
        "cohort": cohort._repr_html_,
        "node": archive.node._repr_html_,
        "query": lambda: render(cohort.query._summary_()),
        "data set": view._repr_html_,
        "ladder": wire._repr_html_,
        "ladder, as text": lambda: repr(wire),
        "model map": dicomlab.model_map()._repr_html_,
    }
    for name, make in shown.items():
        make()
        times = []
        for _ in range(size.rounds * 5):
            began = time.perf_counter()
            make()
            times.append(time.perf_counter() - began)
        yield Row(f"face: {name}", "to HTML", "limit", statistics.median(times), REPR_S, size.rounds * 5)


if __name__ == "__main__":
    main(bench, peers=[])
