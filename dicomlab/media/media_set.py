"""``MediaSet``: a folder, a single file or a File-set with its DICOMDIR, under the verbs that all paths share."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dicomlab.errors import (
    CommunicationError,
    Interrupted,
    ServiceError,
    UsageError,
)
from dicomlab.media.assembly import Volumes
from dicomlab.media.checking import HARMLESS, Checks, compared, directory_of
from dicomlab.media.dicomdir import RECORD_COLUMNS, Directory, Finding
from dicomlab.media.files import DICOMDIR, FileSetSink, copy, fill, parcel_of
from dicomlab.media.found import ANOTHER, UNSOUND, Scan
from dicomlab.media.reconcile import differences
from dicomlab.media.tables import Cache, Tables, file_findings, rows_for, texts
from dicomlab.media.writing import FileSets
from dicomlab.model.columns import columns
from dicomlab.model.matching import answers, first, order, rows_at_level
from dicomlab.model.path import Row, SearchPath, StorePath, Verdict
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.verification import Verification
from dicomlab.part10.files import Parcel, Unfit, parcels

if TYPE_CHECKING:
    from pandas import DataFrame

Mode = Literal["r", "update"]

_COUNTED = columns(["PatientID", "StudyInstanceUID", "SeriesInstanceUID"])


class MediaSet(SearchPath, StorePath, Tables, FileSets, Volumes, Checks, Summarised):
    """DICOM files on a medium: ``MediaSet("/media/cdrom").find("study", PatientID="P*")``.

    Nothing is read until something is asked. The first question reads the header of every file below the folder and
    keeps what it found; :meth:`scan` looks again, at what has changed. ZIP archives and ISO 9660 images are looked into
    as though they were folders, without being unpacked. Every file listed is one row of :attr:`instances` or of
    :attr:`errors`.

    Parameters
    ----------
    path : path
        A folder, a ZIP archive, an ISO 9660 image, a single DICOM file, or the DICOMDIR of a File-set (then its
        folder).
    mode : str
        ``"r"`` never writes. ``"update"`` lets :meth:`store` and ``cohort.retrieve(to=...)`` add instances (the
        File-set Updater of PS3.10 §8.4); the folder is made if it isn't there.
    cache : bool, "beside" or path
        Where the index of the files is kept as Parquet, so that the next scan reads only what has changed. True: in
        the user's cache folder (``DICOMLAB_CACHE`` names another, ``off`` none), for folders of 1000 files and more.
        "beside": in the folder itself. A path: below it. False: nowhere. It holds names of patients, as the data do.

    Source
    ------
    PS3.10 §7, §8 (Basic File Service, File-set), PS3.3 Annex F (DICOMDIR).
    """

    def __init__(self, path: str | os.PathLike[str], *, mode: Mode = "r", cache: Cache = True) -> None:
        if mode not in ("r", "update"):
            raise UsageError(f'mode is "r" (read only) or "update", not {mode!r}')
        self.path = Path(path)
        self.mode: Mode = mode
        self.fictional = False
        self._cache = cache
        self._lock = threading.RLock()
        self._scan: Scan | None = None

    # --- looking ---------------------------------------------------------------------------------------------------

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
        for row in rows_at_level(query.level, rows_for(self._scanned(control), query.columns)):
            if control.cancelled:
                return
            if answers(query.keys, row):
                yield row

    # --- tables ----------------------------------------------------------------------------------------------------

    @property
    def findings(self) -> DataFrame:
        """One row for each thing that is not as it should be, though nothing is lost by it.

        Of single files: path, kind (``no_preamble``, ``no_meta``, ``meta_uid``, ``encoding``, or the kind of error
        that it would be, had not another reader made sense of it). Where DICOMDIR and files disagree: kind
        ``dicomdir``, with the type of the record. Both with the UID and a text.
        """
        import pandas as pd

        held = self._scanned()
        directory = directory_of(held)
        listed: list[Finding] = [directory] if isinstance(directory, Finding) else []
        if isinstance(directory, Directory):
            held.require(RECORD_COLUMNS)
            keys = {uid: found.row for uid, found in held.instances.items()}
            listed = [*directory.findings, *compared(directory, held).findings, *differences(directory, keys)]
        rows: list[tuple[str | None, ...]] = [
            (path, kind, None, uid, text) for path, kind, uid, text in file_findings(held)
        ]
        rows += [(DICOMDIR, "dicomdir", one.record or None, one.uid or None, one.text) for one in listed]
        names = ("path", "kind", "record", "uid", "text")
        return pd.DataFrame({name: texts([row[place] for row in rows]) for place, name in enumerate(names)})

    # --- verify ----------------------------------------------------------------------------------------------------

    def verify(self) -> Verification:
        """See whether the folder can be read and its DICOMDIR, if there is one, agrees with the files.

        Returns
        -------
        Verification
            Falsy for a folder that is not there, holds no instance, a damaged one or two that differ under one SOP
            Instance UID, or whose DICOMDIR refers to files that are missing, hold something else, or leads out of the
            folder, or leaves instances out.
        """
        start = time.monotonic()
        try:
            with self._lock:  # whatever an index says, the files are read
                found = self._look(Control(), (), False, None)
        except CommunicationError as error:
            return Verification(False, str(self), time.monotonic() - start, (("folder", "not readable"),), str(error))
        kinds = found.kinds()
        facts = [("files", str(found.listed)), ("instances", str(len(found.instances)))]
        facts += [(kind, str(count)) for kind, count in sorted(kinds.items())]
        advice = ""
        damaged = sum(count for kind, count in kinds.items() if kind not in HARMLESS)
        if damaged := damaged + sum(kind in UNSOUND for _, kind, _, _ in file_findings(found)):
            advice = f"{damaged} files are damaged or can't be read: see .errors and .findings"
        if others := sum(error.message.startswith(ANOTHER) for error in found.errors if error.kind == "duplicate"):
            advice = f"{others} files hold {ANOTHER} as a file before: they are in no table, see .errors"
        if not found.instances:
            advice = "there is no DICOM instance here: is it the right folder?"
        directory = directory_of(found)
        if isinstance(directory, Finding):
            facts.append((DICOMDIR, "broken"))
            advice = f"{directory.text}; the files can be used without it"
        elif directory is None:
            facts.append((DICOMDIR, "none"))
        else:
            agreement = compared(directory, found)
            names = ("agreeing", "missing", "mismatched", "unlisted")
            facts += [(f"{DICOMDIR}: {name}", str(getattr(agreement, name))) for name in names]
            if directory.damaged:
                facts.append((DICOMDIR, "broken"))
            if directory.damaged or not agreement.ok:
                advice = "the DICOMDIR and the files disagree: see .findings; the files can be used without it"
        return Verification(not advice, str(self), time.monotonic() - start, tuple(facts), advice)

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
                parcel = parcel_of(found)
                if isinstance(parcel, Unfit):
                    sink.failed(uid, parcel.reason)
                else:
                    copy(parcel, sink, channel)
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

    # --- face ------------------------------------------------------------------------------------------------------

    def __str__(self) -> str:
        return str(self.path)

    def _summary_(self) -> Summary:
        facts = [("path", str(self.path)), ("mode", self.mode)]
        held = self._scan
        if held is None:
            return Summary("MediaSet", (*facts, ("files", "not looked at yet")))
        rows = held.instances.rows(_COUNTED)
        series = {(first(row, "StudyInstanceUID"), first(row, "SeriesInstanceUID")) for row in rows}
        facts.append(("patients", str(len({first(row, "PatientID") for row in rows}))))
        facts.append(("studies", str(len({study for study, _ in series}))))
        facts.append(("series", str(len(series))))
        facts.append(("instances", str(len(held.instances))))
        facts.append((DICOMDIR, "yes" if held.directories else "no"))
        notes = tuple(f"{count} files: {kind}" for kind, count in sorted(held.kinds().items()))
        return Summary("MediaSet", tuple(facts), notes=notes)
