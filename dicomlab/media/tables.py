"""What a ``MediaSet`` knows of its files as tables, and the verb that looks through them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from dicomlab.errors import Refused, RemoteProtocolError, Unreachable
from dicomlab.media.cache import place_of
from dicomlab.media.chunk import FILE_TIMEOUT_S
from dicomlab.media.containers import is_container
from dicomlab.media.found import BASE, Scan
from dicomlab.media.look import DIRECTORY_CLASS
from dicomlab.media.scan import scan
from dicomlab.model.columns import Column, Level, TableBuilder, column, columns, standard_columns
from dicomlab.model.matching import order, rows_at_level
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.trace import Channel, open_channel
from dicomlab.part10.files import read_file_meta

if TYPE_CHECKING:
    from pandas import DataFrame

Cache = bool | str | os.PathLike[str]

_FIRST = (*standard_columns("instance"), column("TransferSyntaxUID"))
_ORDERED_BY = columns(["PatientID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber", "SOPInstanceUID"])
_COUNTED = columns(["SOPClassUID", "Modality"])


class Tables:
    """The part of a ``MediaSet`` that looks through its files and shows what it found."""

    path: Path
    fictional: bool
    _cache: Cache
    _lock: threading.RLock
    _scan: Scan | None

    @overload
    def scan(
        self, include: Iterable[str | int] = ..., *, executor: Executor | int | None = ..., file_timeout_s: float = ...,
        cache: Cache | None = ..., progress: bool | OnProgress = ..., background: Literal[False] = ...,
    ) -> Self: ...  # fmt: skip
    @overload
    def scan(
        self, include: Iterable[str | int] = ..., *, executor: Executor | int | None = ..., file_timeout_s: float = ...,
        cache: Cache | None = ..., progress: bool | OnProgress = ..., background: Literal[True],
    ) -> Operation[Self]: ...  # fmt: skip
    def scan(
        self,
        include: Iterable[str | int] = (),
        *,
        executor: Executor | int | None = None,
        file_timeout_s: float = FILE_TIMEOUT_S,
        cache: Cache | None = None,
        progress: bool | OnProgress = True,
        background: bool = False,
    ) -> Self | Operation[Self]:
        """Look through the files (again): only what is new or changed is read.

        Nothing needs this: the first question looks through the files by itself. It serves to look again, to read
        further attributes of every file in the same pass, and to have several processes or machines read.

        Parameters
        ----------
        include : iterable of str, optional
            Attributes beside those that are always read: keywords, tags, private tags, paths through sequences.
        executor : int or concurrent.futures.Executor, optional
            Reads the files, 500 in one task. A number: in so many processes of this machine, each of which is replaced
            when it gives no answer. ``Client(...).get_executor()`` of a Dask cluster whose workers see the same paths;
            any other executor. What it fails at is read here.
        file_timeout_s : float, optional
            A file, or member of an archive, that is not read in so many seconds is an error. A medium that never
            answers can be left behind only with an executor.
        cache : bool, "beside" or path, optional
            Where the index is kept, other than this MediaSet was told; False reads every file.
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.
        background : bool, optional
            Return an :class:`Operation` at once.

        Returns
        -------
        MediaSet
            This one. After an interrupt what was seen so far is forgotten here, but kept for the next scan where an
            index is kept.

        Raises
        ------
        UsageError
            An attribute that there is not; fewer than one process.
        Unreachable, Refused
            The folder is not there, or may not be read.
        MissingExtra
            An ISO 9660 image, and the library for them is not installed.

        Source
        ------
        PS3.10 §7 (file format), §8 (File-set).
        """
        names = tuple(one.name for one in columns(include))
        kept = self._cache if cache is None else cache

        def run(control: Control) -> Any:
            with self._lock:
                before = None if cache is False else self._scan
                self._scan = None
                self._look(control, names, kept, before, executor=executor, file_timeout_s=file_timeout_s)
            return self

        work: Work[Any] = Work("scan", "files", run, progress=progress)
        return work.carry_out(background=background)

    def _scanned(self, control: Control | None = None) -> Scan:
        with self._lock:
            if self._scan is None:
                return self._look(_Uncounted(control), (), self._cache, None)
            return self._scan

    def _look(
        self, control: Control, names: tuple[str, ...], cache: Cache, before: Scan | None, *,
        executor: Executor | int | None = None, file_timeout_s: float = FILE_TIMEOUT_S,
    ) -> Scan:  # fmt: skip
        root, single = self._place()
        found = scan(
            root,
            control,
            self._channel(),
            single=single,
            names=tuple(dict.fromkeys((*BASE, *names))),
            executor=executor,
            file_timeout_s=file_timeout_s,
            place=place_of(root, cache) if single is None else None,
            small_too=cache is not True,
            before=before.index if before is not None and before.complete else None,
        )
        if found.complete:  # one that was cancelled is not kept: nobody could tell that it is not the whole
            self._scan = found
        return found

    def _place(self) -> tuple[Path, Path | None]:
        """The folder or archive to look through; and the file, where only one is meant."""
        try:
            if not self.path.is_file():
                return self.path, None
            with suppress(RemoteProtocolError):
                if read_file_meta(self.path).sop_class_uid == DIRECTORY_CLASS:
                    return self.path.parent, None
            with self.path.open("rb") as file:
                head = file.read(132)
            if head[128:] != b"DICM" and is_container(self.path):
                return self.path, None
        except PermissionError as error:
            raise Refused("not allowed to read it", endpoint=str(self.path)) from error
        except OSError as error:
            raise Unreachable(f"can't be read: {error.strerror or error}", endpoint=str(self.path)) from error
        return self.path.parent, self.path

    def _channel(self, source: str = "") -> Channel:
        said = lambda octets: f"{len(octets)} octets"  # noqa: E731
        return open_channel("file", source or "dicomlab", str(self.path), said, fictional=self.fictional)

    # --- tables -----------------------------------------------------------------------------------------------------

    @property
    def instances(self) -> DataFrame:
        """One row for each SOP Instance: where it lies, then every attribute that was read.

        ``path`` is relative to the folder, through an archive as through a folder; ``pixel_offset`` and
        ``pixel_length`` say where in the file the value of Pixel Data lies.
        """
        import pandas as pd

        held = self._scanned()
        index = held.index
        shown = tuple(dict.fromkeys((*_FIRST, *index.columns)))
        if held.instances.added:  # a File-set that is being added to
            found = sorted(held.instances.values(), key=lambda one: order(one.row))
            table = TableBuilder(shown)
            for one in found:
                table.add(one.row)
            frame = table.frame()
            frame.insert(0, "path", texts([one.name for one in found]))
            pixels = [one.pixels for one in found]
        else:
            rows = zip(held.instances.rows(_ORDERED_BY), held.instances.numbers, strict=True)
            ordered = [number for _, number in sorted(rows, key=lambda pair: order(pair[0]))]
            parts = {"path": texts([index.place(number) for number in ordered])}
            frame = pd.DataFrame(parts | {one.name: index.typed(one, ordered) for one in shown})
            pixels = list(zip(*(index.texts(name, ordered) for name in ("pixel_offset", "pixel_length")), strict=True))
        frame["pixel_offset"] = pd.Series([offset or None for offset, _ in pixels], dtype="Int64")
        frame["pixel_length"] = pd.Series([length if offset else None for offset, length in pixels], dtype="Int64")
        return frame

    @property
    def series(self) -> DataFrame:
        """One row for each series."""
        return self._table("series")

    @property
    def studies(self) -> DataFrame:
        """One row for each study."""
        return self._table("study")

    @property
    def patients(self) -> DataFrame:
        """One row for each patient."""
        return self._table("patient")

    def _table(self, level: Level) -> DataFrame:
        wanted = standard_columns(level)
        table = TableBuilder(wanted)
        for row in rows_at_level(level, rows_for(self._scanned(), wanted)):
            table.add(row)
        return table.frame()

    @property
    def errors(self) -> DataFrame:
        """One row for each file that is no instance.

        Its path, kind (see ``media.look.ErrorKind``) and message; the octet at which it breaks, and its UIDs, as far
        as they are known.
        """
        import pandas as pd

        found = self._scanned().errors
        parts: dict[str, Any] = {
            name: texts([getattr(one, name) for one in found]) for name in ("path", "kind", "message")
        }
        parts["size"] = pd.Series([one.size for one in found], dtype="Int64")
        parts["offset"] = pd.Series([one.offset for one in found], dtype="Int64")
        for place, keyword in enumerate(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")):
            parts[keyword] = texts([one.uids[place] or None for one in found])
        return pd.DataFrame(parts)

    @property
    def paths(self) -> list[Path]:
        """Where the instances lie, in the order of :attr:`instances`; those in an archive as though in a folder."""
        return [f.path for f in sorted(self._scanned().instances.values(), key=lambda found: order(found.row))]


class _Uncounted(Control):
    """Shares cancellation with the verb that needs a scan, whose progress counts something else than files."""

    def __init__(self, around: Control | None) -> None:
        super().__init__()
        self._around = around

    @property
    def cancelled(self) -> bool:
        return self._around is not None and self._around.cancelled

    def advance(self, done: int = 1, *, failed: int = 0, octets: int = 0) -> None:
        if self._around is not None:
            self._around.advance(0, octets=octets)


def rows_for(held: Scan, wanted: Sequence[Column]) -> list[Any]:
    """The raw values of every instance that a level's rows are made of."""
    held.require(wanted)
    return held.instances.rows(tuple(dict.fromkeys((*_ORDERED_BY, *_COUNTED, *wanted))))


def file_findings(held: Scan) -> list[tuple[str, str, str, str]]:
    """What is not as it should be about single files that are instances all the same: path, kind, UID, text."""
    index = held.index
    found = []
    for number in held.instances.numbers:
        for note in index["notes"][number].split("\n") if index["notes"][number] else ():
            kind, _, text = note.partition(": ")
            found.append((index.place(number), kind, index["SOPInstanceUID"][number], text))
    return found


def texts(values: Sequence[str | None]) -> Any:
    """A column of text; what a file system calls a name and is none is shown with question marks."""
    import pandas as pd

    shown = [None if value is None else value.encode("utf-8", "replace").decode() for value in values]
    return pd.Series(shown, dtype="str")
