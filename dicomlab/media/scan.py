"""Going through a folder: every file becomes an instance or a row of errors; nothing is passed over in silence."""

from __future__ import annotations

import os
import stat
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from dicomlab.errors import MissingExtra, UsageError
from dicomlab.media.cache import CACHE_FROM_ROWS, Parts, load
from dicomlab.media.chunk import FILE_TIMEOUT_S, Batch, failed_rows, opened_descriptor, read_chunk, unlisted_rows
from dicomlab.media.fields import FILE_START
from dicomlab.media.found import BASE, Scan, trace_file
from dicomlab.media.index import Collector, Index, part_of
from dicomlab.media.known import Known, Run
from dicomlab.media.listing import Entry, Folder, Unlisted, list_folders, reason
from dicomlab.media.workers import Processes
from dicomlab.model.progress import Control
from dicomlab.model.trace import Channel

CHUNK_FILES = 500
"""Files of one task of an executor."""
_CHUNK_S = 0.1
"""Seconds between two looks at whether somebody cancels."""
_IN_FLIGHT = 64
"""Tasks that are given to an executor before the first of them is waited for."""
_TASK_TIMEOUT_S = 60.0
"""Seconds that a task may take beside what its octets do, before its files are taken one by one."""
_OCTETS_PER_S = 20_000_000
"""What the slowest medium is believed to give of files that must be read whole."""
_SILENT_FILES = 3
"""Files without an answer, one after the other, after which the rest of their task is given up too."""
_LATE_TASKS = 2
"""Tasks without an answer after which somebody's executor is left."""
_ELSEWHERE = 10
"""How many times as long somebody's executor may take, whose workers may have to start first."""
_UNSETTLED_NS = 2_000_000_000
"""A file changed so short a time before a scan might change again and keep its time (FAT counts in steps of 2 s)."""

_Task = Run | list[Entry] | Batch
"""Rows that are known, files to be looked at, or rows that the listing gave."""


def scan(
    root: Path,
    control: Control,
    channel: Channel,
    *,
    single: Path | None = None,
    names: tuple[str, ...] = BASE,
    executor: Executor | int | None = None,
    file_timeout_s: float = FILE_TIMEOUT_S,
    place: Path | None = None,
    small_too: bool = True,
    before: Index | None = None,
) -> Scan:
    """Go through every file below `root`.

    Parameters
    ----------
    root : Path
        A folder; a ZIP or ISO 9660 image.
    control : Control
        Counts files and their octets; cancelling it ends the scan with ``complete`` false.
    channel : Channel
        Of the trace.
    single : Path, optional
        Look at this one file only.
    names : tuple of str
        The attributes to read.
    executor : Executor or int, optional
        Reads the files elsewhere; a number: in so many processes of ours. What it fails at is read here.
    file_timeout_s : float
        Seconds after which a file is an error that is not read.
    place : Path, optional
        Where an index is kept between scans.
    small_too : bool
        Keep it also where there are few files.
    before : Index, optional
        What is known from a scan before, where `place` knows nothing.

    Raises
    ------
    Unreachable
        There is no such folder.
    Refused
        Not allowed to read it.
    MissingExtra
        It is an ISO 9660 image, and the library for them is absent.
    UsageError
        Fewer than one process, or no time at all.
    """
    if (isinstance(executor, int) and executor < 1) or file_timeout_s <= 0:
        raise UsageError("at least one process, and some time for each file")
    with ExitStack() as stack:
        scanner = _Scanner(root, control, channel, stack, executor=executor, file_timeout_s=file_timeout_s)
        return scanner.run(single, names, place, small_too, before)


class _Scanner:
    def __init__(
        self, root: Path, control: Control, channel: Channel, stack: ExitStack, *, executor: Executor | int | None,
        file_timeout_s: float,
    ) -> None:  # fmt: skip
        self._root, self._control, self._channel, self._stack = root, control, channel, stack
        self._own = self._processes(executor) if isinstance(executor, int) else None
        self._spare = self._own
        self._executor = self._own if isinstance(executor, int) else executor
        self._file_timeout_s = file_timeout_s
        self._late = 0
        self._silent = False
        """Whether the task before was given up."""
        self._settled_ns = time.time_ns() - _UNSETTLED_NS
        self._names: tuple[str, ...] = ()
        self._known: Known | None = None
        self._unlisted: set[str] = set()
        self._chunk = 1 if executor is None else CHUNK_FILES

    def _processes(self, count: int) -> Processes:
        processes = Processes(count)
        self._stack.callback(processes.shutdown, cancel_futures=True)
        return processes

    def run(
        self, single: Path | None, names: tuple[str, ...], place: Path | None, small_too: bool, before: Index | None
    ) -> Scan:
        self._known = known = _known(names, place, before)
        self._names = tuple(dict.fromkeys((*(known.index.names if known else ()), *names)))
        rows: Parts | Collector = Collector(self._names)
        if place is not None:
            rows = Parts(place, self._names, from_rows=0 if small_too else CACHE_FROM_ROWS)
            self._stack.callback(rows.release)
        as_before: list[Run | Batch] = []  # nothing is written before something is new
        changed = known is None or not known.whole
        for task, batch in self._results(self._tasks(single)):
            changed = changed or isinstance(task, list)
            as_before.append(batch)
            if changed:
                self._add(rows, as_before)
        if self._control.cancelled:
            self._add(rows, as_before)
            return Scan(self._root, rows.suspend() if isinstance(rows, Parts) else rows.index())
        if known is not None and not changed and known.seen == len(known) and known.unlisted == self._unlisted:
            return Scan(self._root, known.index, complete=True)
        self._add(rows, as_before)
        index = rows.finish() if isinstance(rows, Parts) else rows.index()
        if self._root.is_file() and len(index) == 1 and "pip install" in index["message"][0]:
            raise MissingExtra(f"{self._root} is {index['message'][0]}")
        return Scan(self._root, index, complete=True, note=rows.broken if isinstance(rows, Parts) else "")

    def _add(self, rows: Parts | Collector, items: list[Run | Batch]) -> None:
        for item in items:
            if isinstance(item, tuple):
                assert self._known is not None  # runs are of what is known
                rows.add(part_of(self._known.index, *item, rows.all_names))
            else:
                if item["mtime_ns"] and max(item["mtime_ns"]) >= self._settled_ns:  # a time that no listing gives
                    item["mtime_ns"] = [ns if ns < self._settled_ns else -ns for ns in item["mtime_ns"]]
                rows.add(item)
        items.clear()

    def _tasks(self, single: Path | None) -> Iterator[_Task]:
        """What is to be done, in the order of the listing."""
        waiting: list[Entry] = []
        run: Run | None = None
        for folder in list_folders(self._root) if single is None else [_folder_of(single)]:
            for part in self._known.divide(folder.entries) if self._known else [list(folder.entries)]:
                if isinstance(part, tuple):
                    if waiting:
                        yield waiting
                        waiting = []
                    if run is not None and run[1] != part[0]:
                        yield run
                        run = None
                    run = (run[0] if run else part[0], part[1])
                    continue
                if run is not None and part:
                    yield run
                    run = None
                for entry in part:
                    waiting.append(entry)
                    if len(waiting) >= self._chunk:
                        yield waiting
                        waiting = []
            if folder.unlisted:
                if run is not None:
                    yield run
                    run = None
                if waiting:
                    yield waiting
                    waiting = []
                self._unlisted |= {one.path for one in folder.unlisted}
                yield unlisted_rows(folder.unlisted, self._names)
        if run is not None:
            yield run
        if waiting:
            yield waiting

    def _results(self, tasks: Iterator[_Task]) -> Iterator[tuple[_Task, Run | Batch]]:
        """Carry tasks out, here or elsewhere; what comes out is in their order."""
        given: deque[tuple[_Task, Future[Batch] | None]] = deque()

        def cancel() -> None:
            for _, future in tuple(given):
                if future is not None:
                    future.cancel()

        with self._control.on_cancel(cancel):
            for task in tasks:
                if self._control.cancelled:
                    return
                given.append((task, self._submit(task)))
                while given and (given[0][1] is None or len(given) > _IN_FLIGHT or given[0][1].done()):
                    if (done := self._result(*given.popleft())) is not None:
                        yield done
            while given:
                if (done := self._result(*given.popleft())) is not None:
                    yield done

    def _submit(self, task: _Task) -> Future[Batch] | None:
        if self._executor is None or not isinstance(task, list):
            return None
        read = partial(read_chunk, file_timeout_s=self._file_timeout_s)
        try:
            if self._own is not None:
                return self._own.submit_within(self._patience_s(task), read, str(self._root), task, self._names)
            return self._executor.submit(read, str(self._root), task, self._names)
        except RuntimeError as error:  # its workers died, or it was shut down
            self._channel.note(f"the executor takes no more work, which is done here: {error}")
            self._executor = None
            return None

    def _result(self, task: _Task, future: Future[Batch] | None) -> tuple[_Task, Run | Batch] | None:
        if not isinstance(task, list):
            return task, task
        batch: Batch | None = None
        if future is not None:
            try:
                batch = future.result(None if self._own is not None else _ELSEWHERE * self._patience_s(task))
                self._silent = False
            except CancelledError:
                if self._control.cancelled:
                    return None
            except TimeoutError as error:
                future.cancel()
                self._channel.note(f"no answer about {len(task)} files, which are taken one by one: {error}")
                self._late += 1
                if self._own is None and self._late >= _LATE_TASKS:
                    self._executor = None
                batch = self._one_by_one(task)
            except Exception as error:  # noqa: BLE001  (whatever happens elsewhere, the files are looked at)
                self._channel.note(f"the executor failed at {len(task)} files, which are read here: {error}")
                if self._own is not None and self._own.answers:  # one of these files ended its process
                    batch = self._one_by_one(task)
        if batch is None:
            if self._control.cancelled:
                return None
            began = time.monotonic()
            batch = read_chunk(str(self._root), task, self._names, file_timeout_s=self._file_timeout_s)
            if future is None and time.monotonic() - began < _CHUNK_S:
                self._chunk = min(CHUNK_FILES, self._chunk * 2)
        if self._channel.trace is not None:
            self._trace(batch)
        self._control.advance(len(task), octets=sum(size for _, size, _ in task))
        return task, batch

    def _patience_s(self, task: list[Entry]) -> float:
        """How long to wait for an answer about some files."""
        whole = min(_TASK_TIMEOUT_S, len(task) * self._file_timeout_s)
        return (self._file_timeout_s if self._silent else whole) + sum(size for _, size, _ in task) / _OCTETS_PER_S

    def _one_by_one(self, task: list[Entry]) -> Batch:
        """Ask a process of ours about each file, and give up those about which it says nothing."""
        spare = self._spare = self._spare or self._processes(1)
        found: list[Batch] = []
        silent = 0
        for at, entry in enumerate(task):
            if silent >= _SILENT_FILES or self._silent or self._control.cancelled:
                why = "not tried, since the files before it gave no answer: is the medium still there?"
                found.append(failed_rows(task[at:], self._names, why))
                self._silent = True
                break
            patience_s = self._file_timeout_s + entry[1] / _OCTETS_PER_S
            read = partial(read_chunk, file_timeout_s=self._file_timeout_s)
            future = spare.submit_within(patience_s, read, str(self._root), [entry], self._names)
            try:
                found.append(future.result())
                silent = 0
            except Exception as error:  # noqa: BLE001  (its process was ended, or died of it)
                found.append(failed_rows([entry], self._names, f"not read: {error}"))
                silent += isinstance(error, TimeoutError)
        return {name: [value for batch in found for value in batch[name]] for name in found[0]}

    def _trace(self, batch: Batch) -> None:
        """A line for each file, when somebody traces; its first octets are read once more for it."""
        for path, member in zip(batch["path"], batch["member"], strict=True):
            start = b""
            if member is None:
                with suppress(OSError, ValueError):
                    descriptor = opened_descriptor(str(self._root), path)
                    try:
                        start = os.read(descriptor, FILE_START)
                    finally:
                        os.close(descriptor)
            name = "/".join(part for part in (path, member) if part)
            trace_file(self._channel, "received", f"read: {name or self._root.name}", start)


def _known(names: tuple[str, ...], place: Path | None, before: Index | None) -> Known | None:
    if before is not None and set(names) <= set(before.names):
        return Known(before)
    if place is None:
        return None
    index, whole = load(place, names)
    try:
        return None if index is None else Known(index, whole=whole)
    except Exception:  # noqa: BLE001  (an index that is damaged, as Arrow finds out: it is made anew)
        return None


def _folder_of(single: Path) -> Folder:
    try:
        status = single.stat()
    except OSError as error:
        return Folder([], [Unlisted(single.name, *reason(error))])
    if not stat.S_ISREG(status.st_mode):
        return Folder([], [Unlisted(single.name, "not_dicom", "no regular file")])
    return Folder([(single.name, status.st_size, status.st_mtime_ns)], [])
