"""``MediaSet``: a folder, a single file or a File-set with its DICOMDIR, under the verbs that all paths share."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dicomlab.errors import (
    CommunicationError,
    Interrupted,
    Refused,
    RemoteProtocolError,
    ServiceError,
    Unreachable,
    UsageError,
)
from dicomlab.media.dicomdir import DIRECTORY_CLASS, RECORD_COLUMNS, Directory, Finding
from dicomlab.media.files import DICOMDIR, FileSetSink, copy, fill, parcel_of, read_directory
from dicomlab.media.reconcile import Comparison, compare, differences
from dicomlab.media.scan import Scan, scan
from dicomlab.model.columns import Level, TableBuilder, column, standard_columns
from dicomlab.model.matching import answers, first, order, rows_at_level
from dicomlab.model.path import Row, SearchPath, StorePath, Verdict
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.trace import Channel, open_channel
from dicomlab.model.verification import Verification
from dicomlab.part10.files import Parcel, Unfit, parcels, read_file_meta

if TYPE_CHECKING:
    from pandas import DataFrame

Mode = Literal["r", "update"]

_HARMLESS = frozenset({"not_dicom", "empty", "missing_uid", "duplicate", "link"})
"""Errors of files that are no damage to the medium."""


class MediaSet(SearchPath, StorePath, Summarised):
    """DICOM files on a medium: ``MediaSet("/media/cdrom").find("study", PatientID="P*")``.

    Nothing is read until something is asked. The first question reads the header of every file below the folder and
    keeps what it found; :meth:`refresh` looks again. Every file listed is one row of :attr:`instances` or of
    :attr:`errors`.

    Parameters
    ----------
    path : path
        A folder, a single DICOM file, or the DICOMDIR of a File-set (then its folder).
    mode : str
        ``"r"`` never writes. ``"update"`` lets :meth:`store` and ``cohort.retrieve(to=...)`` add instances (the
        File-set Updater of PS3.10 §8.4); the folder is made if it isn't there.

    Source
    ------
    PS3.10 §7, §8 (Basic File Service, File-set), PS3.3 Annex F (DICOMDIR).
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: Mode = "r") -> None:
        if mode not in ("r", "update"):
            raise UsageError(f'mode is "r" (read only) or "update", not {mode!r}')
        self.path = Path(path)
        self.mode: Mode = mode
        self.fictional = False
        self._lock = threading.RLock()
        self._scan: Scan | None = None

    # --- looking ---------------------------------------------------------------------------------------------------

    def refresh(self, *, progress: bool | OnProgress = True) -> None:
        """Look through the folder again.

        Raises
        ------
        Unreachable, Refused
            The folder is not there, or may not be read.
        """

        def run(control: Control) -> None:
            with self._lock:
                self._scan = None
                self._scanned(control)

        Work("scan", "files", run, progress=progress).carry_out()

    def _scanned(self, control: Control | None = None) -> Scan:
        with self._lock:
            if self._scan is None:
                root, single = self._place()
                found = scan(root, control or Control(), self._channel(), single=single)
                if not found.complete:
                    return found  # cancelled: what was seen so far, not kept
                self._scan = found
            return self._scan

    def _place(self) -> tuple[Path, Path | None]:
        """The folder to look through; and the file, where only one is meant."""
        try:
            if not self.path.is_file():
                return self.path, None
            with suppress(RemoteProtocolError):
                if read_file_meta(self.path).sop_class_uid == DIRECTORY_CLASS:
                    return self.path.parent, None
        except PermissionError as error:
            raise Refused("not allowed to read it", endpoint=str(self.path)) from error
        except OSError as error:
            raise Unreachable(f"can't be read: {error.strerror or error}", endpoint=str(self.path)) from error
        return self.path.parent, self.path

    def _channel(self, source: str = "") -> Channel:
        return open_channel("file", source or "dicomlab", str(self.path), _unread)

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
        found = self._scanned(control)
        found.require(query.columns)
        for row in rows_at_level(query.level, [one.row for one in found.instances.values()]):
            if control.cancelled:
                return
            if answers(query.keys, row):
                yield row

    # --- tables ----------------------------------------------------------------------------------------------------

    @property
    def instances(self) -> DataFrame:
        """One row for each SOP Instance, with its path (relative to the folder) and transfer syntax."""
        ordered = sorted(self._scanned().instances.values(), key=lambda found: order(found.row))
        table = TableBuilder((*standard_columns("instance"), column("TransferSyntaxUID")))
        for found in ordered:
            table.add(found.row)
        frame = table.frame()
        frame.insert(0, "path", _texts([found.name for found in ordered]))
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
        table = TableBuilder(standard_columns(level))
        for row in rows_at_level(level, [found.row for found in self._scanned().instances.values()]):
            table.add(row)
        return table.frame()

    @property
    def errors(self) -> DataFrame:
        """One row for each file that is no instance: path, kind (see ``media.scan.ErrorKind``) and message."""
        import pandas as pd

        found = self._scanned().errors
        parts = {name: _texts([getattr(error, name) for error in found]) for name in ("path", "kind", "message")}
        return pd.DataFrame(parts)

    @property
    def findings(self) -> DataFrame:
        """One row for each thing in which the DICOMDIR and the files disagree: record type, UID, text."""
        import pandas as pd

        held = self._scanned()
        directory = self._directory(held)
        listed: list[Finding] = [directory] if isinstance(directory, Finding) else []
        if isinstance(directory, Directory):
            held.require(RECORD_COLUMNS)
            rows = {uid: found.row for uid, found in held.instances.items()}
            listed = [*directory.findings, *_compared(directory, held).findings, *differences(directory, rows)]
        parts = {name: _texts([getattr(one, name) for one in listed]) for name in ("record", "uid", "text")}
        return pd.DataFrame(parts)

    @property
    def paths(self) -> list[Path]:
        """Where the instances lie, in the order of :attr:`instances`."""
        return [f.path for f in sorted(self._scanned().instances.values(), key=lambda found: order(found.row))]

    # --- verify ----------------------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """See whether the folder can be read and its DICOMDIR, if there is one, agrees with the files.

        Returns
        -------
        Verification
            Falsy for a folder that is not there, holds no instance or a damaged one, or whose DICOMDIR refers to
            files that are missing, hold something else, or leads out of the folder, or leaves instances out.
        """
        start = time.monotonic()
        self._scan = None
        try:
            found = self._scanned()
        except CommunicationError as error:
            return Verification(False, str(self), time.monotonic() - start, (("folder", "not readable"),), str(error))
        kinds = Counter(error.kind for error in found.errors)
        facts = [("files", str(found.listed)), ("instances", str(len(found.instances)))]
        facts += [(kind, str(count)) for kind, count in sorted(kinds.items())]
        advice = ""
        if damaged := sum(count for kind, count in kinds.items() if kind not in _HARMLESS):
            advice = f"{damaged} files are damaged or can't be read: see .errors"
        if not found.instances:
            advice = "there is no DICOM instance here: is it the right folder?"
        directory = self._directory(found)
        if isinstance(directory, Finding):
            facts.append((DICOMDIR, "broken"))
            advice = f"{directory.text}; the files can be used without it"
        elif directory is None:
            facts.append((DICOMDIR, "none"))
        else:
            compared = _compared(directory, found)
            names = ("agreeing", "missing", "mismatched", "unlisted")
            facts += [(f"{DICOMDIR}: {name}", str(getattr(compared, name))) for name in names]
            if not compared.ok:
                advice = "the DICOMDIR and the files disagree: see .findings; the files can be used without it"
        return Verification(not advice, str(self), time.monotonic() - start, tuple(facts), advice)

    def _directory(self, found: Scan) -> Directory | Finding | None:
        """The DICOMDIR at the root; a Finding if it can't be read, None if there is none."""
        path = next((p for p in found.directories if p.parent == found.root and _is_directory_name(p.name)), None)
        if path is None:
            return None
        try:
            return read_directory(path)
        except RemoteProtocolError as error:
            return Finding("", "", f"the DICOMDIR is broken: {error}")
        except OSError as error:
            return Finding("", "", f"the DICOMDIR can't be read: {error.strerror or error}")

    # --- giving ----------------------------------------------------------------------------------------------------

    def deliver(self, wanted: Sequence[Wanted], sink: Sink, control: Control, /) -> None:
        """Push the files of those instances into `sink`, octet for octet; see ``Retrievable``.

        Raises
        ------
        Interrupted
            Files have gone since they were listed; the others were delivered.
        Unreachable, Refused
            The folder is not there, or may not be read.
        """
        held = self._scanned(control)
        channel = self._channel()
        gone: list[str] = []
        for one in wanted:
            if control.cancelled:
                return
            uid = one.sop_instance_uid
            found = held.instances.get(uid)
            if found is None:
                sink.failed(uid, "not on this medium")
                continue
            try:
                copy(parcel_of(found), sink, channel)
            except PermissionError:
                sink.failed(uid, "not allowed to read it")
            except (OSError, ValueError) as error:
                gone.append(f"{found.name}: {getattr(error, 'strerror', None) or error}")
            except ServiceError as error:
                sink.failed(uid, str(error))
        if gone:
            text = f"{len(gone)} files can't be read any more (the first is {gone[0]}); is the medium gone?"
            raise Interrupted(text, endpoint=str(self))

    def parcels(self) -> Iterator[Parcel | Unfit]:
        """Every file, ready to be stored elsewhere; what is no instance comes as ``Unfit`` with its reason."""
        held = self._scanned()
        for found in sorted(held.instances.values(), key=lambda one: order(one.row)):
            yield parcel_of(found)
        for error in held.errors:
            yield Unfit(error.path, f"{error.kind}: {error.message}")

    # --- taking ----------------------------------------------------------------------------------------------------

    def sink(self, source: str = "") -> FileSetSink:
        """Where instances arrive that join this File-set; its ``close()`` writes the DICOMDIR.

        Parameters
        ----------
        source : str, optional
            Who sends them, for the trace.

        Raises
        ------
        UsageError
            Not opened with ``mode="update"``, or no folder.
        """
        if self.mode != "update":
            raise UsageError(f'this MediaSet is read only: MediaSet({str(self.path)!r}, mode="update") adds to it')
        with self._lock:
            if not self.path.exists():
                self._scan = Scan(self.path, complete=True)
            elif self._place()[1] is not None:
                raise UsageError(f"{self.path} is a single file: only a folder can be added to")
            return FileSetSink(self._scanned(), self._channel(source))

    def _store(self, what: Any, control: Control) -> Report:
        return fill(self.sink(), parcels(what), control, f"Stored in {self}")

    def write(self, dest: str | os.PathLike[str], *, progress: bool | OnProgress = True) -> Report:
        """Write everything as a File-set with a DICOMDIR into a new or empty folder.

        Each instance is copied unchanged, File Meta Information and all, under a File ID that says nothing about
        anybody; the DICOMDIR comes last. No application profile is applied: transfer syntaxes stay as they are.

        Parameters
        ----------
        dest : path
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.

        Returns
        -------
        Report
            One row for each instance; ``report.media`` is the new MediaSet, and ``report.media.findings`` says what
            its DICOMDIR had to make up.

        Raises
        ------
        UsageError
            `dest` is not empty, is a file, or lies in the folder that is copied.
        Interrupted, Refused
            The medium is full, gone, or not to be written; ``error.partial`` is the report of what was copied.

        Source
        ------
        PS3.10 §8.4 (File-set Creator), PS3.11 Annex D (general purpose media).
        """
        target = Path(dest)
        root, single = self._place()
        if single is None and target.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{target} lies in the folder that is to be copied: choose another")
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{target} is not an empty folder: a File-set is written whole, into a folder of its own")

        def run(control: Control) -> Report:
            held = sorted(self._scanned(control).instances.values(), key=lambda one: order(one.row))
            control.total = len(held)
            fresh = MediaSet(target, mode="update")
            return fill(fresh.sink(), map(parcel_of, held), control, f"File-set written from {self}")

        return Work("write", "instances", run, progress=progress).carry_out()  # type: ignore[return-value]

    # --- face ------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return str(self.path)

    def _summary_(self) -> Summary:
        facts = [("path", str(self.path)), ("mode", self.mode)]
        held = self._scan
        if held is None:
            return Summary("MediaSet", (*facts, ("files", "not looked at yet")))
        series = {
            (first(f.row, "StudyInstanceUID"), first(f.row, "SeriesInstanceUID")) for f in held.instances.values()
        }
        facts.append(("patients", str(len({first(f.row, "PatientID") for f in held.instances.values()}))))
        facts.append(("studies", str(len({study for study, _ in series}))))
        facts.append(("series", str(len(series))))
        facts.append(("instances", str(len(held.instances))))
        facts.append((DICOMDIR, "yes" if held.directories else "no"))
        kinds = Counter(error.kind for error in held.errors)
        notes = tuple(f"{count} files: {kind}" for kind, count in sorted(kinds.items()))
        return Summary("MediaSet", tuple(facts), notes=notes)


def _unread(octets: bytes) -> str:
    return f"{len(octets)} octets"


def _texts(values: Sequence[str]) -> Any:
    import pandas as pd

    return pd.Series(list(values), dtype="str")


def _compared(directory: Directory, found: Scan) -> Comparison:
    held = {error.path: "" for error in found.errors}
    held |= {one.name: one.sop_instance_uid for one in found.instances.values()}
    return compare(directory, held)


def _is_directory_name(name: str) -> bool:
    return name.partition(";")[0].rstrip(".").upper() == DICOMDIR
