"""Writing a File-set: a plan first, then instance by instance, the DICOMDIR last; and taking instances out of one."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from pydicom.uid import generate_uid

from dicomlab.errors import (
    CommunicationError,
    DicomlabError,
    MissingExtra,
    RemoteProtocolError,
    ServiceError,
    UsageError,
)
from dicomlab.media.conversion import decompressed, rewritten
from dicomlab.media.dicomdir import Finding
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir
from dicomlab.media.file_ids import FileId, FileIds
from dicomlab.media.files import completed, parcel_of, write_directory
from dicomlab.media.found import Found, Scan, patientless, trace_file
from dicomlab.media.pixels import decoders
from dicomlab.media.profiles import Profile, Step, profile, step
from dicomlab.media.records import ROOT_TYPES, record_type
from dicomlab.media.targets import Target, target_for
from dicomlab.model.matching import first, order
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.model.report import Outcome, Report
from dicomlab.model.trace import Channel, current
from dicomlab.part10.files import CHUNK_OCTETS, SUCCESS, Parcel, Unfit
from dicomlab.part10.meta import EXPLICIT_LE, encode_file_meta
from dicomlab.part10.walk import Octets

NOTHING = "none of the instances can be written, so there is no File-set"
REMOVED = "0000H Success: removed"


@dataclass(frozen=True, slots=True)
class Planned:
    """What will become of one instance."""

    found: Found
    parcel: Parcel
    file_id: FileId
    step: Step

    fresh_meta: bool = False
    """Its File Meta Information names another instance, which no profile allows."""

    @property
    def syntax(self) -> str:
        """The transfer syntax that it will have."""
        return self.parcel.meta.transfer_syntax_uid if self.step.way == "copy" else EXPLICIT_LE

    def file_meta(self) -> bytes:
        """Preamble and File Meta Information as they will be."""
        if self.step.way == "copy" and not self.fresh_meta:
            with self.parcel.open() as octets:
                return bytes(octets[: self.parcel.meta.length])
        meta = self.parcel.meta
        return encode_file_meta(meta.sop_class_uid, meta.sop_instance_uid, self.syntax)

    def outcome(self, result: Any, status: str, octets: int = 0) -> Outcome:
        """A row of the report."""
        meta = self.parcel.meta
        path = "" if result == "failed" else "/".join(self.file_id)
        return Outcome(meta.sop_instance_uid, result, status, meta.sop_class_uid, self.syntax, octets, path)


class FileSets:
    """What a MediaSet offers as a File-set Creator and Updater (PS3.10 §8.4)."""

    path: Path
    mode: Any
    _lock: threading.RLock
    _scan: Scan | None

    def _scanned(self, control: Control | None = None) -> Scan:
        raise NotImplementedError

    def _place(self) -> tuple[Path, Path | None]:
        raise NotImplementedError

    def _channel(self, source: str = "") -> Channel:
        raise NotImplementedError

    def write(
        self,
        dest: str | os.PathLike[str],
        what: Any = None,
        *,
        profile: str | None = None,
        transcode: bool = True,
        dry_run: bool = False,
        file_set_id: str = "",
        progress: bool | OnProgress = True,
    ) -> Report:
        """Write everything, or some of it, as a new File-set with a DICOMDIR.

        Each instance is copied unchanged, File Meta Information and all, under a File ID that says nothing about
        anybody; the DICOMDIR comes last, in one step. Where a profile doesn't allow its transfer syntax, it is
        rewritten (uncompressed and deflated ones) or decompressed, which loses nothing, or refused with the reason;
        that stops no other.

        Parameters
        ----------
        dest : path
            A new or empty folder, or a new file: ``.zip`` (PS3.12 Annex V) or ``.iso`` (ISO 9660 level 1, Annex F).
        what : Cohort, or iterable of SOP Instance UIDs, optional
            What of it; everything by default.
        profile : str, optional
            ``"STD-GEN-CD"``, ``"STD-GEN-DVD-JPEG"``, ``"STD-GEN-DVD-J2K"``, ``"STD-GEN-USB-JPEG"`` or
            ``"STD-GEN-USB-J2K"``. None applies none: transfer syntaxes stay as they are.
        transcode : bool
            False: what the profile does not allow as it is, is refused.
        dry_run : bool
            Only say what would become of each instance: ``pending``, or ``failed`` with the reason. Nothing is written.
        file_set_id : str, optional
            A name for the medium, at most 16 capitals, digits, spaces and underscores.
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.

        Returns
        -------
        Report
            One row for each instance; ``report.media`` is the new MediaSet, and ``report.media.findings`` says what
            its DICOMDIR had to make up.

        Where nothing at all can be written, no File-set is made: the report says why of each.

        Raises
        ------
        UsageError
            `dest` is not empty, is there, or lies in the folder that is copied; no such profile; nothing to write.
        MissingExtra
            ``.iso`` without pycdlib.
        Interrupted, Refused
            The medium is full, gone, or not to be written; ``error.partial`` is the report of what was copied.

        Source
        ------
        PS3.10 §8.4 (File-set Creator), PS3.11 Annexes D, H, J (general purpose media).
        """
        wanted = profile_of(profile)
        _check_file_set_id(file_set_id)
        target = Path(dest)
        root, single = self._place()
        if single is None and target.resolve().is_relative_to(root.resolve()):
            raise UsageError(f"{target} lies in the folder that is to be copied: choose another")

        def run(control: Control) -> Report:
            held = self._scanned(control)
            plan, refused = plan_of(_chosen(held, what), wanted, transcode=transcode)
            control.total = len(plan)
            if dry_run:
                return _told(plan, refused, f"Plan of a File-set from {self}")
            if not plan and not refused:
                raise UsageError(f"there is no instance in {self} that could be written")
            place = target_for(target)
            job = _Creation(plan, refused, held, place, channel=self._channel(), file_set_id=file_set_id)
            return job.run(control, f"File-set written from {self}")

        result: Any = Work("write", "instances", run, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]

    def remove(self, what: Any, *, progress: bool | OnProgress = True) -> Report:
        """Take instances out of this File-set: their records first, then their files. No other file is touched.

        Parameters
        ----------
        what : Cohort, or iterable of SOP Instance UIDs
            A cohort of patients, studies or series stands for every instance below it.
        progress : bool or callable, optional

        Returns
        -------
        Report
            One row for each instance; a file that could not be deleted has failed, and no record refers to it any more.

        Raises
        ------
        UsageError
            Not opened with ``mode="update"``; a SOP Instance UID that is not here.
        Interrupted, Refused
            The DICOMDIR can't be written: nothing was removed.

        Source
        ------
        PS3.10 §8.4 (File-set Updater).
        """
        if self.mode != "update":
            raise UsageError(f'this MediaSet is read only: MediaSet({str(self.path)!r}, mode="update") may be changed')
        root, single = self._place()
        if single is not None or root.is_file():
            raise UsageError(f"{self.path} is a single file: remove takes instances out of a folder")

        def run(control: Control) -> Report:
            with self._lock:
                return _removed(self._scanned(control), _chosen(self._scanned(), what), self._channel(), control, self)

        result: Any = Work("remove", "instances", run, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]


profile_of = profile


def _check_file_set_id(text: str) -> None:
    if len(text) > 16 or not all(c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _" for c in text):
        raise UsageError(
            f"{text!r} is no File-set ID: 16 capitals, digits, spaces and underscores at most (PS3.10 §8.1)"
        )


def _chosen(held: Scan, what: Any) -> list[Found]:
    """The instances that are meant, in the shared order."""
    if what is None:
        return [*sorted(held.instances.values(), key=lambda one: order(one.row)), *patientless(held)]
    if isinstance(what, str):
        uids = [what]
    elif hasattr(what, "instances"):
        uids = what.instances(progress=False)["SOPInstanceUID"].dropna().tolist() if len(what) else []
    elif isinstance(what, Iterable):
        uids = [str(uid) for uid in what]
    else:
        raise UsageError(f"a Cohort or SOP Instance UIDs say what, not a {type(what).__name__}")
    if missing := [uid for uid in uids if uid not in held.instances]:
        raise UsageError(f"{len(missing)} of these instances are not here, the first is {missing[0]}")
    return sorted((held.instances[uid] for uid in dict.fromkeys(uids)), key=lambda one: order(one.row))


def plan_of(chosen: Sequence[Found], wanted: Profile | None, *, transcode: bool) -> tuple[list[Planned], list[Outcome]]:
    """What becomes of each instance, by its index alone; and those that can't be written at all."""
    ids = FileIds()
    known: dict[str, bool] = {}
    steps: dict[str, Step] = {}
    plan: list[Planned] = []
    refused: list[Outcome] = []

    def decodes(syntax: str) -> bool:
        if syntax not in known:
            known[syntax] = bool(decoders(syntax))
        return known[syntax]

    for found in chosen:
        parcel: Parcel | Unfit = parcel_of(found)
        uid, class_uid = found.sop_instance_uid, first(found.row, "SOPClassUID")
        syntax = found.meta.transfer_syntax_uid
        if isinstance(parcel, Unfit):
            refused.append(Outcome(uid, "failed", f"{found.name}: {parcel.reason}", class_uid, syntax))
            continue
        if syntax not in steps:
            steps[syntax] = step(wanted, syntax, decodes, transcode=transcode)
        if steps[syntax].way == "refuse":
            refused.append(Outcome(uid, "failed", steps[syntax].reason, class_uid, syntax))
            continue
        keys = (first(found.row, n) for n in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
        file_id = ids.alone() if record_type(class_uid) in ROOT_TYPES else ids.next(*keys)
        named = (found.meta.sop_class_uid, found.meta.sop_instance_uid)
        lies = wanted is not None and named != (class_uid, uid)
        plan.append(Planned(found, parcel, file_id, steps[syntax], lies))
    return plan, refused


def _told(plan: Sequence[Planned], refused: Sequence[Outcome], title: str) -> Report:
    pending = [one.outcome("pending", one.step.reason or "copied as it is", one.parcel.dataset_size) for one in plan]
    note = f"{len(refused)} would be refused" if refused else "a plan: nothing was written"
    return Report(title, (*refused, *pending), False, note, trace=current())


class _Creation:
    """One File-set on its way to its place."""

    def __init__(
        self, plan: Sequence[Planned], refused: Sequence[Outcome], held: Scan, target: Target, *, channel: Channel,
        file_set_id: str,
    ) -> None:  # fmt: skip
        self._plan, self._target, self._channel = plan, target, channel
        self._columns = frozenset(held.held)
        self._outcomes = list(refused)
        self._leaves: list[Leaf] = []
        self._findings: list[Finding] = []
        self._file_set_id = file_set_id

    def run(self, control: Control, title: str) -> Report:
        """Write every instance, then the DICOMDIR."""
        try:
            for one in self._plan:
                if control.cancelled:
                    break
                outcome = self._one(one)
                self._outcomes.append(outcome)
                bad = outcome.result == "failed"
                control.advance(int(not bad), failed=int(bad), octets=outcome.octets)
            if not self._leaves:
                self._target.abandon()
                return self._report(title, "cancelled" if control.cancelled else NOTHING)
            self._finish()
        except DicomlabError as error:
            with suppress(DicomlabError):
                if self._leaves:
                    self._finish()
            self._target.abandon()
            error.partial = self._report(title, str(error))
            error.trace = error.trace or current()
            raise
        except BaseException:
            self._target.abandon()
            raise
        return self._report(title, "cancelled" if control.cancelled else "")

    def _finish(self) -> None:
        octets, findings = encode_dicomdir(
            self._leaves, file_set_uid=str(generate_uid(prefix=None)), file_set_id=self._file_set_id
        )
        self._findings += findings
        self._target.finish(octets)

    def _report(self, title: str, note: str) -> Report:
        failed = sum(one.result == "failed" for one in self._outcomes)
        note = note or (f"{failed} could not be written" if failed else "")
        folder = self._target.root if self._leaves else None
        return Report(title, tuple(self._outcomes), not note, note, folder=folder, trace=current())

    def _one(self, one: Planned) -> Outcome:
        try:
            meta = one.file_meta()
            octets = self._target.put(one.file_id, chain([meta], _dataset(one))) - len(meta)
        except CommunicationError:
            raise
        except (RemoteProtocolError, MissingExtra) as error:
            return one.outcome("failed", str(error))
        except ServiceError as error:
            return one.outcome("failed", f"{one.found.name}: {error}")
        except (OSError, ValueError) as error:
            return one.outcome("failed", f"{one.found.name} can't be read: {getattr(error, 'strerror', None) or error}")
        trace_file(self._channel, "sent", f"written: {'/'.join(one.file_id)}", meta)
        about = one.parcel.meta
        leaf = Leaf(one.file_id, about.sop_class_uid, about.sop_instance_uid, one.syntax, one.found.row)
        self._leaves.append(completed(leaf, self._columns, lambda: one.found, self._findings))
        return one.outcome("done", f"{SUCCESS}: {one.step.reason}" if one.step.reason else SUCCESS, octets)


def _dataset(one: Planned) -> Iterator[Octets]:
    parcel = one.parcel
    with parcel.open() as octets:
        dataset = octets[parcel.meta.length :]
        if one.step.way == "rewrite":
            yield from rewritten(dataset, parcel.meta)
        elif one.step.way == "decompress":
            yield from decompressed(dataset, parcel.meta, parcel.name)
        else:
            for at in range(0, len(dataset), CHUNK_OCTETS):
                yield dataset[at : at + CHUNK_OCTETS]


def _removed(held: Scan, chosen: Sequence[Found], channel: Channel, control: Control, source: object) -> Report:
    uids = {one.sop_instance_uid for one in chosen}
    for uid in uids:
        del held.instances[uid]
    try:
        write_directory(held, channel, uids)
    except BaseException:
        for one in chosen:
            held.instances[one.sop_instance_uid] = one
        raise
    outcomes = []
    for one in chosen:
        status, result = REMOVED, "done"
        try:
            one.path.unlink(missing_ok=True)
            _prune(one.path.parent, held.root)
        except OSError as error:
            result, status = "failed", f"no record refers to it, but it can't be deleted: {error.strerror or error}"
            held.instances[one.sop_instance_uid] = one
        outcomes.append(
            Outcome(one.sop_instance_uid, result, status, first(one.row, "SOPClassUID"), one.meta.transfer_syntax_uid)  # type: ignore[arg-type]
        )
        control.advance(int(result == "done"), failed=int(result != "done"))
    failed = sum(one.result == "failed" for one in outcomes)
    note = f"{failed} could not be deleted" if failed else ""
    return Report(f"Removed from {source}", tuple(outcomes), not note, note, folder=held.root, trace=current())


def _prune(folder: Path, root: Path) -> None:
    """Remove folders that are empty now: no profile allows one (PS3.11 §D.3.3)."""
    with suppress(OSError):
        while folder != root and folder.is_relative_to(root):
            folder.rmdir()
            folder = folder.parent
