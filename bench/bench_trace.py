"""What the wire view costs: the same work with a trace on and off, and off beside a library without taps.

``--only dimse | web | stream | faces``. For the stream, CPU of this process is compared, for sender and receiver both
live in it; the other rows are times. The faces are told beside their limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from measure import Row, Size, main, side_by_side

import dicomlab
from dicomlab.model.trace import Channel
from dicomlab.notebook.html import render
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets

LEAST = 0.95
"""How fast work must be while it is traced, beside the same without."""
REPR_S = 0.005


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    with dicomlab.Archive() as archive:
        archive.add(phantom_datasets(3, min(size.slices, 100)), progress=False)
        if size.chosen("dimse"):
            yield from both(
                f"C-FIND, {size.slices} instances", lambda: archive.node.find("instance", progress=False), size
            )
            cohort = archive.node.find("series", progress=False)
            to = iter(range(1_000_000))
            yield from both("C-GET to files", lambda: cohort.retrieve(scratch / f"{next(to)}", progress=False), size)
        if size.chosen("web"):
            yield from both(
                f"QIDO-RS, {size.slices} instances", lambda: archive.web.find("instance", progress=False), size
            )
        if size.chosen("faces"):
            yield from faces(archive, size)
    if size.chosen("stream"):
        yield from stream(size)


def both(what: str, work: Callable[[], Any], size: Size) -> Iterator[Row]:
    """On beside off; and off beside no taps at all."""

    def traced() -> None:
        with dicomlab.trace():
            work()

    def bare() -> None:
        with patch.object(Channel, "tap", lambda *_, **__: None), patch.object(Channel, "note", lambda *_: None):
            work()

    rounds = size.rounds * 3
    yield replace(side_by_side(what, ("trace on", traced), ("off", work), rounds), must=LEAST)
    yield side_by_side(what, ("trace off", work), ("no taps", bare), rounds)


def stream(size: Size) -> Iterator[Row]:
    """A broadcast and its receiver in this process, for so many frames."""
    count = {1: 10, 3: 60, 7: 150}[size.rounds]
    frames = list(endoscopy_frames(min(count, 30), 640, 480, rate_hz=30))

    def seconds(traced: bool) -> float:
        cast = dicomlab.Broadcast(frames, rate_hz=30, loop=True, fictional=True, **PATIENT)
        began = time.process_time()
        with dicomlab.trace() if traced else nullcontext(), dicomlab.LiveStream(cast) as live, cast:
            assert sum(1 for _ in live.frames(count)) == count
        return time.process_time() - began

    times: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(max(size.rounds, 2)):
        for traced in (True, False) if turn % 2 else (False, True):
            times[traced].append(seconds(traced))
    on, off = (statistics.median(times[one]) for one in (True, False))
    yield Row(f"{count} frames of 640x480, CPU", "trace on", "off", on, off, size.rounds, must=LEAST)


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
