"""Looking at a File-set as its judge: the directory as a table, records against files, rules, and dciodvfy."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import Interrupted, RemoteProtocolError, ServiceError, UsageError
from dicomlab.media.dicomdir import RECORD_COLUMNS, Directory, Finding
from dicomlab.media.directory_table import directory_frame
from dicomlab.media.files import DICOMDIR, parcel_of, read_directory
from dicomlab.media.found import Found, Scan, patientless
from dicomlab.media.profiles import profile
from dicomlab.media.reconcile import Comparison, compare, differences
from dicomlab.media.rules import Breach, agreement_breaches, directory_breaches, profile_breaches
from dicomlab.model.columns import columns
from dicomlab.model.matching import first
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.part10.files import Parcel, Unfit
from dicomlab.part10.medium import medium_errors

if TYPE_CHECKING:
    from pandas import DataFrame

HARMLESS = frozenset({"not_dicom", "empty", "missing_uid", "duplicate", "link"})
"""Errors of files that are no damage to the medium."""

_UID = columns(("SOPInstanceUID",))
DCIODVFY = "dciodvfy"
_TIMEOUT_S = 60.0
_MAX_LINES = 200
"""Lines of dciodvfy that are kept of one file."""


class Checks:
    """What a MediaSet offers to whoever has to trust a medium."""

    path: Path
    _lock: threading.RLock

    def _scanned(self, control: Control | None = None) -> Scan:
        raise NotImplementedError

    def _place(self) -> tuple[Path, Path | None]:
        raise NotImplementedError

    @property
    def directory(self) -> DataFrame:
        """The DICOMDIR as a table: one row for each record, also for those whose file is missing.

        No other file is read. Rows have the keys of the patient, study and series that they stand below, the path
        that they refer to, ``parent`` (a row number), and ``orphan`` where no link leads to them.

        Raises
        ------
        UsageError
            There is no DICOMDIR.
        RemoteProtocolError, Unreachable, Refused
            It is none, or can't be read.

        Source
        ------
        PS3.3 Annex F.
        """
        path = self._directory_path()
        if path is None:
            raise UsageError(f"there is no DICOMDIR in {self.path}: .instances is the table of the files themselves")
        try:
            return directory_frame(read_directory(path))
        except OSError as error:
            raise Interrupted(f"can't be read: {error.strerror or error}", endpoint=str(path)) from error

    def reconcile(self, *, progress: bool | OnProgress = True) -> DataFrame:
        """Compare every record of the DICOMDIR with its file, and every instance with the records.

        Returns
        -------
        DataFrame
            One row for each record that refers to a file and each instance that none refers to: ``status`` (``ok``,
            ``case``, ``orphan``, ``missing``, ``leads_out``, ``mismatch``, ``unreadable``, ``unlisted``), ``record``
            (its type), ``SOPInstanceUID``, ``path`` (by the record), ``actual`` (where the file is), ``found`` (the
            UID in it) and ``text``. Without DICOMDIR every instance is unlisted.

        Raises
        ------
        RemoteProtocolError
            The DICOMDIR is broken beyond reading.

        Source
        ------
        PS3.10 §8.6, PS3.12 Annex F.
        """
        import pandas as pd

        def run(control: Control) -> DataFrame:
            held = self._scanned(control)
            found = directory_of(held)
            if isinstance(found, Finding):
                raise RemoteProtocolError(found.text, section="PS3.10 §8.6")
            matches = compared(found, held).matches if found is not None else unlisted(held).matches
            names = {
                "status": "status", "record": "record", "SOPInstanceUID": "uid", "path": "path", "actual": "actual",
                "found": "found_uid", "text": "text",
            }  # fmt: skip
            parts = {
                name: pd.array([getattr(match, attribute) or None for match in matches], dtype="str")
                for name, attribute in names.items()
            }
            return pd.DataFrame(parts)

        result: Any = Work("reconcile", "files", run, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]

    def validate(
        self, profile: str | None = None, *, iod: bool = False, progress: bool | OnProgress = True
    ) -> DataFrame:
        """Check the rules of a File-set, of a profile, and on request of each instance's IOD.

        Parameters
        ----------
        profile : str, optional
            As for :meth:`write`; None checks what every File-set must be.
        iod : bool
            Have dciodvfy (dicom3tools) look at every file too, where it is installed; a row says so where it isn't.
        progress : bool or callable, optional

        Returns
        -------
        DataFrame
            One row for each breach: ``severity`` (error, warning, note), ``tool``, ``section`` of the standard,
            ``path``, ``SOPInstanceUID``, ``text``. Empty: all is well.

        Raises
        ------
        UsageError
            No such profile.
        Unreachable, Refused
            The folder can't be read.

        Source
        ------
        PS3.10 §8, PS3.3 Annex F, PS3.11 Annexes D, H, J.
        """
        import pandas as pd

        wanted = profile_of(profile)

        def run(control: Control) -> DataFrame:
            held = self._scanned(control)
            rows = [("dicomlab", breach) for breach in _file_set_breaches(held, wanted)]
            if iod:
                control.total = len(held.instances)
                rows += [(DCIODVFY, breach) for breach in _iod_breaches(held, control)]
            parts: dict[str, list[str]] = {
                "severity": [breach.severity for _, breach in rows],
                "tool": [tool for tool, _ in rows],
                "section": [breach.section for _, breach in rows],
                "path": [breach.path for _, breach in rows],
                "SOPInstanceUID": [breach.uid for _, breach in rows],
                "text": [breach.text for _, breach in rows],
            }
            return pd.DataFrame(
                {name: pd.array([value or None for value in values], dtype="str") for name, values in parts.items()}
            )

        result: Any = Work("validate", "instances", run, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]

    def _directory_path(self) -> Path | None:
        """Where the DICOMDIR lies, by the listing of the root alone where that is a folder."""
        root, _ = self._place()
        if root.is_dir():
            with medium_errors(root):
                names = sorted(entry.name for entry in os.scandir(root) if is_directory_name(entry.name))
            return root / names[0] if names else None
        return next(iter(self._scanned().directories), None)


profile_of = profile


def is_directory_name(name: str) -> bool:
    """Whether that is how a DICOMDIR may be called on a disc, mounted or raw."""
    return name.partition(";")[0].rstrip(".").upper() == DICOMDIR


def directory_of(held: Scan) -> Directory | Finding | None:
    """The DICOMDIR at the root; a Finding if it can't be read, None if there is none."""
    path = next((p for p in held.directories if p.parent == held.root and is_directory_name(p.name)), None)
    if path is None:
        return None
    try:
        return read_directory(path)
    except RemoteProtocolError as error:
        return Finding("", "", f"the DICOMDIR is broken: {error}")
    except OSError as error:
        return Finding("", "", f"the DICOMDIR can't be read: {error.strerror or error}")


def compared(directory: Directory, held: Scan) -> Comparison:
    """What the DICOMDIR says against what was found."""
    names = {error.path: "" for error in held.errors}
    names |= {name: first(row, "SOPInstanceUID") for name, _, row in held.instances.brief(_UID)}
    names |= {one.name: one.sop_instance_uid for one in patientless(held)}
    return compare(directory, names)


def unlisted(held: Scan) -> Comparison:
    """What there is where no DICOMDIR is."""
    import numpy as np

    none = np.zeros(0, dtype=np.int64)
    empty = Directory("", "", "", True, b"", none, (none, none), none, none.astype(bool), {}, ())
    return compared(empty, held)


def _file_set_breaches(held: Scan, wanted: Any) -> Iterator[Breach]:
    found = directory_of(held)
    if found is None:
        yield Breach("error", "PS3.10 §8.6", "", "", "there is no DICOMDIR at the root")
    elif isinstance(found, Finding):
        yield Breach("error", "PS3.10 §8.6", DICOMDIR, "", found.text)
    for path in held.directories:
        if not (path.parent == held.root and is_directory_name(path.name)):
            name = path.relative_to(held.root).as_posix()
            yield Breach("error", "PS3.10 §8.6", name, "", "a second DICOMDIR: a File-set has one, at its root")
    if isinstance(found, Directory):
        yield from directory_breaches(found, DICOMDIR)
        yield from agreement_breaches(compared(found, held), wanted)
        held.require(RECORD_COLUMNS)
        rows = {uid: one.row for uid, one in held.instances.items()}
        for one in differences(found, rows):
            yield Breach("warning", "PS3.3 §F.5", DICOMDIR, one.uid, f"{one.record}: {one.text}")
    for error in held.errors:
        if error.kind not in HARMLESS:
            yield Breach("error", "PS3.10 §7", error.path, "", f"{error.kind}: {error.message}")
        elif error.kind == "duplicate":
            yield Breach("error", "PS3.10 §8.2", error.path, "", error.message)
    if wanted is not None:
        instances = [(one.name, uid, one.meta.transfer_syntax_uid) for uid, one in held.instances.items()]
        yield from profile_breaches(wanted, instances)
        yield from _empty_folders(held.root)


def _empty_folders(root: Path) -> Iterator[Breach]:
    if not root.is_dir():
        return
    for folder, folders, files in os.walk(root):
        if not folders and not files and Path(folder) != root:
            name = Path(folder).relative_to(root).as_posix()
            yield Breach("warning", "PS3.11 §D.3.3", name, "", "an empty folder")


def _iod_breaches(held: Scan, control: Control) -> Iterator[Breach]:
    tool = shutil.which(DCIODVFY)
    if tool is None:
        text = "dciodvfy is not installed (Debian: apt-get install dicom3tools): no IOD was looked at"
        yield Breach("note", "", "", "", text)
        return

    def look(found: Found) -> list[Breach]:
        if control.cancelled:
            return []
        breaches = list(_judged(tool, found))
        control.advance()
        return breaches

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for breaches in pool.map(look, held.instances.values()):
            yield from breaches


def _judged(tool: str, found: Found) -> Iterator[Breach]:
    uid = found.sop_instance_uid
    try:
        parcel = parcel_of(found)
        if isinstance(parcel, Unfit):
            yield Breach("error", "PS3.10 §7", found.name, uid, parcel.reason)
            return
        with _as_file(parcel) as path:
            done = subprocess.run([tool, path], capture_output=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, ValueError, ServiceError) as error:
        yield Breach("error", "", found.name, uid, f"can't be read: {getattr(error, 'strerror', None) or error}")
        return
    except subprocess.TimeoutExpired:
        yield Breach("error", "", found.name, uid, f"dciodvfy was still at it after {_TIMEOUT_S:g} s")
        return
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    yield from _breaches_of(lines, found.name, uid)
    if done.returncode < 0:
        yield Breach("error", "", found.name, uid, f"dciodvfy was ended by signal {-done.returncode}")


def _breaches_of(lines: Sequence[str], name: str, uid: str) -> Iterator[Breach]:
    count = 0
    for line in lines:
        word, _, text = line.partition(" - ")
        if word not in ("Error", "Warning"):
            continue
        count += 1
        if count > _MAX_LINES:
            yield Breach("note", "", name, uid, f"dciodvfy says more than {_MAX_LINES} things of this file")
            return
        yield Breach("error" if word == "Error" else "warning", "PS3.3", name, uid, text.strip()[:500])


@contextmanager
def _as_file(parcel: Parcel) -> Iterator[Path]:
    """A file of that instance: its own, or a copy where it lies in an archive."""
    if parcel.path is not None and parcel.path.is_file() and not parcel.padding:
        yield parcel.path
        return
    with tempfile.TemporaryDirectory(prefix="dicomlab-") as folder:
        path = Path(folder) / "instance.dcm"
        with parcel.open() as octets:
            path.write_bytes(octets)
        yield path
