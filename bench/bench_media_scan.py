"""Looking through a pile of files: ``MediaSet.scan`` beside pydicom, python-gdcm's Scanner and fastdicom.

The pile is that of ``corpus.py``; every reader gives the same attributes, values and all, from a warm page cache. Our
scan does more than theirs meanwhile: it lists, walks each file to its end, and sorts out what is none. pydicom, which
takes longest, is timed twice only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

from corpus import write_corpus
from measure import Row, Size, main, side_by_side

from dicomlab import MediaSet
from dicomlab.media.found import BASE

FILES = {3: 200, 60: 2_000, 400: 20_000}
ROWS = {3: 20_000, 60: 200_000, 400: 1_000_000}
ATTRIBUTES = [*BASE]
MAX_RSS_MIB = 200


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """Scan, scan on processes and on a Dask cluster, scan again, write a large index."""
    files = FILES[size.slices]
    pile, caches = scratch / "pile", scratch / "caches"
    total = write_corpus(pile, files)
    for path in pile.rglob("*"):  # long unchanged, as a pile is
        os.utime(path, (1_700_000_000, 1_700_000_000))
    paths = [str(path) for path in sorted(pile.rglob("*")) if path.is_file()]
    rounds, few = min(size.rounds, 3), min(size.rounds, 2)

    def ours() -> None:
        held = MediaSet(pile, cache=False).scan(progress=False)._scanned()
        assert (len(held.instances), held.listed) == (files, total)

    what = f"scan {files} files"
    yield side_by_side(what, ("MediaSet.scan", ours), ("pydicom dcmread", lambda: with_pydicom(paths, files)), few)
    yield side_by_side(what, ("MediaSet.scan", ours), ("gdcm.Scanner", lambda: with_gdcm(paths, files)), rounds)
    yield side_by_side(what, ("MediaSet.scan", ours), ("fastdicom", lambda: with_fastdicom(paths, files)), rounds)
    with ExitStack() as stack:
        for name, executor in executors(stack, scratch):

            def theirs(executor: Executor | int = executor) -> None:
                held = MediaSet(pile, cache=False).scan(executor=executor, progress=False)._scanned()
                assert (len(held.instances), held.listed) == (files, total)

            theirs()  # the workers import
            yield side_by_side(what, (f"scan on {name}", theirs), ("MediaSet.scan, serial", ours), rounds)
            if name.endswith("processes"):
                peer = ("pydicom, serial", lambda: with_pydicom(paths, files))
                yield side_by_side(what, (f"scan on {name}", theirs), peer, few)
    yield again(size, pile, caches, files)
    yield large(size, scratch)


def executors(stack: ExitStack, scratch: Path) -> Iterator[tuple[str, Executor | int]]:
    """Two processes of ours, which start in each round; two that run already; a cluster of two workers."""
    yield "2 processes, started", 2
    yield "2 processes", stack.enter_context(ProcessPoolExecutor(2, mp_context=get_context("spawn")))
    import dask
    from dask.distributed import Client, LocalCluster

    stack.enter_context(dask.config.set({"temporary-directory": str(scratch / "dask")}))
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    cluster = stack.enter_context(LocalCluster(**options))
    yield "2 Dask workers", stack.enter_context(Client(cluster)).get_executor(pure=False)


def again(size: Size, pile: Path, caches: Path, files: int) -> Row:
    """The same pile a second time, by an object that knows only the index on disc."""
    first = MediaSet(pile, cache=caches)

    def fresh() -> None:
        import shutil

        shutil.rmtree(caches, ignore_errors=True)
        first.scan(cache=caches, progress=False)
        first._scan = None

    def rescan() -> None:
        assert len(MediaSet(pile, cache=caches).scan(progress=False)._scanned().index) > files

    fresh()
    return side_by_side(f"scan {files} files again", ("unchanged", rescan), ("first scan", fresh), size.rounds)


def large(size: Size, scratch: Path) -> Row:
    """An index of very many rows, written as they come by a process of its own; both columns are MiB, not seconds."""
    rows = ROWS[size.slices]
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("large_index.py"), scratch / "large", str(rows)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Row(f"index of {rows} rows: peak MiB", "streamed", "allowed", float(done.stdout), MAX_RSS_MIB, 1)


# --- the others ------------------------------------------------------------------------------------------------------


def with_pydicom(paths: Sequence[str], files: int) -> None:
    """As the manual says to read only what is needed."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in paths:
            try:
                dataset = dcmread(path, stop_before_pixels=True, specific_tags=ATTRIBUTES)
            except InvalidDicomError:
                continue
            rows.append({name: getattr(dataset, name, None) for name in ATTRIBUTES})
    assert len(rows) == files


def with_gdcm(paths: Sequence[str], files: int) -> None:
    """Its scanner gives text only; the table is left to the caller and not timed."""
    import gdcm
    from pydicom.datadict import tag_for_keyword

    scanner, names = gdcm.Scanner(), gdcm.FilenamesType()
    for name in ATTRIBUTES:
        tag = tag_for_keyword(name) or 0
        scanner.AddTag(gdcm.Tag(tag >> 16, tag & 0xFFFF))
    for path in paths:
        names.append(path)
    assert scanner.Scan(names)
    assert sum(scanner.IsKey(path) for path in paths) >= files * 0.9


def with_fastdicom(paths: Sequence[str], files: int) -> None:
    """The Rust wheel; it refuses some syntaxes."""
    import fastdicom

    rows = []
    for path in paths:
        try:
            dataset = fastdicom.dcmread(path, stop_before_pixels=True)
            rows.append({name: dataset.get(name) for name in ATTRIBUTES})
        except fastdicom.DicomError:
            continue
    assert len(rows) >= files * 0.8


if __name__ == "__main__":
    main(bench, [])
