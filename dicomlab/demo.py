"""The main job, end to end: one cohort over DIMSE, over the web and from media, on real files, on this machine only."""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dicomlab.archive.archive import Archive
from dicomlab.errors import DicomlabError
from dicomlab.media.media_set import MediaSet
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import Level
from dicomlab.model.report import Report
from dicomlab.model.trace import Trace, trace
from dicomlab.model.views import model_map
from dicomlab.part10.files import Parcel, parcels
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.transcode import UNCOMPRESSED, transcode
from dicomlab.rtv.broadcast import Broadcast
from dicomlab.rtv.live_stream import LiveStream
from dicomlab.samples import left_out, real_files
from dicomlab.samples.endoscopy import PATIENT as ENDOSCOPY_PATIENT
from dicomlab.samples.endoscopy import endoscopy_frames

if TYPE_CHECKING:
    from pandas import DataFrame

Say = Callable[[str], None]
Show = Callable[[str, object], None]
"""Takes what was made, under a heading, while it is there."""

NOT_FOR_THE_WEB = frozenset({IMPLICIT_LE, EXPLICIT_BE})
"""Transfer syntaxes that web services shall not use (PS3.18 §8.7.3)."""

LEVELS: tuple[Level, ...] = ("study", "series", "instance")


class DemoFailed(DicomlabError):
    """Something in the demo is not as it should be."""


@dataclass(frozen=True)
class _Teller:
    """Who is told, and who is shown what there is to see."""

    say: Say
    seen: Show | None

    def __call__(self, line: str, /) -> None:
        self.say(line)

    def show(self, says: str, make: Callable[[], object]) -> None:
        """Show what `make` makes, where somebody looks."""
        if self.seen is not None:
            self.seen(says, make())


def run(say: Say, show: Show | None = None) -> None:
    """Do the main job and tell it, line by line, to `say`; what is made on the way goes to `show`.

    Raises
    ------
    DemoFailed
        Two paths disagree, or something got lost: the demo checks everything that it tells.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dicomlab-demo-") as scratch, Archive() as archive:
        told = _Teller(say, show)
        sources = _step_archive(archive, say)
        _step_store(archive, list(sources.values()), told)
        cohort = _step_find(archive, told)
        pulled = _step_retrieve(archive, cohort, sources, Path(scratch), told)
        _step_media(pulled, cohort, Path(scratch), told)
        _step_live(archive, Path(scratch), told)
    say(f"\nDone in {time.monotonic() - started:.1f} s. Nothing left this machine.")


def _step_archive(archive: Archive, say: Say) -> dict[str, Parcel]:
    say("1 · An archive, here in this process")
    archive.node.fictional = archive.web.fictional = True  # the samples hold no real person
    say(f"    DIMSE     {archive.node.address}")
    say(f"    DICOMweb  {archive.web}")
    sources = {p.meta.sop_instance_uid: p for p in parcels(real_files()) if isinstance(p, Parcel)}
    _check(len(sources) == len(real_files()), "a sample file is no whole DICOM file")
    return sources


def _step_store(archive: Archive, sources: list[Parcel], say: _Teller) -> None:
    syntaxes = Counter(_name(p.meta.transfer_syntax_uid) for p in sources)
    say(f"\n2 · {len(sources)} real DICOM files that come with pydicom ({len(left_out())} left out: see the manifest)")
    for name, count in syntaxes.most_common():
        say(f"    {count:3}  {name}")
    with _timed(say) as tell:
        report = archive.node.store(sources, progress=False)
        _whole(report)
        tell("C-STORE", f"{report.count('done')} instances, {report.octets:,} octets")
    allowed = [p for p in sources if p.meta.transfer_syntax_uid not in NOT_FOR_THE_WEB]
    with _timed(say) as tell:
        report = archive.web.store(allowed, progress=False)
        _whole(report)
        barred = len(sources) - len(allowed)
        tell("STOW-RS", f"{report.count('done')} instances again ({barred} are in syntaxes that PS3.18 §8.7.3 bars)")
    _check(len(archive) == len(sources), "the archive holds another number of instances than were sent")
    say.show("An archive in this process: both doors, and what was stored through them", lambda: archive)
    say.show("The communication model, answered by this archive: open a box", lambda: model_map(archive))


def _step_find(archive: Archive, say: _Teller) -> Cohort:
    say("\n3 · The same question on two paths")
    answers: dict[str, list[DataFrame]] = {}
    for name, path in (("C-FIND", archive.node), ("QIDO-RS", archive.web)):
        with _timed(say) as tell:
            answers[name] = [path.find(level, progress=False).to_dataframe() for level in LEVELS]
            rows = ", ".join(f"{len(f)} {level}" for level, f in zip(LEVELS, answers[name], strict=True))
            tell(name, f"{rows} rows")
    for level, over_dimse, over_web in zip(LEVELS, *answers.values(), strict=True):
        _check_equal(f"the {level} tables over DIMSE and over the web", over_dimse, over_web)
    say("    equal: values and dtypes, at every level\n")
    studies = archive.node.find("study", progress=False)
    columns = ["PatientID", "PatientName", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances"]
    shown = Cohort(studies.to_dataframe()[columns], level="study", source=archive.node)
    for line in repr(shown).splitlines():
        say(f"    {line}")
    say.show("Found with C-FIND; QIDO-RS and the files say the same", lambda: shown)
    say.show("What a cohort holds", studies.plot)
    for name, path in (("C-FIND", archive.node), ("QIDO-RS", archive.web)):
        with trace() as wire:
            path.find("series", Modality="CT", progress=False)
        say.show(f"{name} on the wire: each line opens to its fields and octets", partial(_same, wire))
        say.show(f"{name} in words", wire.explain)
    return studies


def _step_retrieve(
    archive: Archive, cohort: Cohort, sources: dict[str, Parcel], scratch: Path, say: _Teller
) -> MediaSet:
    say("\n4 · The cohort, retrieved three ways")
    sent = {uid: _digest(parcel) for uid, parcel in sources.items()}
    over_web = archive.web.find("study", progress=False)
    ways: list[tuple[str, Callable[[], Report]]] = [
        ("C-GET", lambda: cohort.retrieve(scratch / "get", method="get", verify="sha256", progress=False)),
        ("C-MOVE", lambda: cohort.retrieve(scratch / "move", method="move", verify="sha256", progress=False)),
        ("WADO-RS", lambda: over_web.retrieve(scratch / "wado", verify="sha256", progress=False)),
    ]
    media: MediaSet | None = None
    for name, pull in ways:
        with _timed(say) as tell, trace() as wire:
            report = pull()
            _whole(report)
            _check({o.sop_instance_uid for o in report} == set(sources), f"{name} brought other instances")
            same = sum(sent[o.sop_instance_uid] == o.sha256 for o in report)
            others = [o.sop_instance_uid for o in report if sent[o.sop_instance_uid] != o.sha256]
            tell(name, f"{same} of {len(report)} with identical octets; {_wire(wire)}")
            _check_rewritten(name, others, report, sources, say)
        say.show(f"Retrieved with {name}", partial(_same, report))
        if name == "C-GET":
            say.show("Which presentation contexts that took", wire.negotiation)
        arrived: MediaSet = report.media
        _check(len(arrived.instances) == len(sources), f"{name}: the folder holds another number of instances")
        media = media or arrived
    assert media is not None
    media.fictional = True
    return media


def _check_rewritten(name: str, uids: list[str], report: Report, sources: dict[str, Parcel], say: Say) -> None:
    """What arrived with other octets must say the same in Explicit VR LE, and must have had a reason."""
    where = {o.sop_instance_uid: o for o in report}
    reasons: Counter[str] = Counter()
    for uid in uids:
        source = sources[uid]
        _check(name == "WADO-RS" and source.meta.transfer_syntax_uid in NOT_FOR_THE_WEB, f"{name}: {uid} was changed")
        assert report.folder is not None
        arrived = next(parcels(report.folder / where[uid].path))
        if not isinstance(arrived, Parcel):
            raise DemoFailed(f"{name}: {arrived.name}: {arrived.reason}")
        _check(_explicit(arrived) == _explicit(source), f"{name}: {uid} says something else in Explicit VR LE")
        reasons[_name(source.meta.transfer_syntax_uid)] += 1
    for syntax, count in reasons.items():
        say(f"             {count} in {syntax}, which the web may not carry: equal data sets in Explicit VR LE")


def _step_media(pulled: MediaSet, cohort: Cohort, scratch: Path, say: _Teller) -> None:
    say("\n5 · The same tables from files")
    with _timed(say) as tell:
        for level in LEVELS:
            over_dimse = cohort if level == "study" else getattr(cohort, _PLURAL[level])()
            _check_equal(
                f"the {level} tables from files and over DIMSE",
                pulled.find(level, progress=False).to_dataframe(),
                over_dimse.to_dataframe(),
            )
        tell("MediaSet", f"{len(pulled.instances)} files indexed, equal to C-FIND's tables")
    with _timed(say) as tell:
        report = pulled.write(scratch / "disc", progress=False)
        _whole(report)
        disc: MediaSet = report.media
        disc.fictional = True
        checked = disc.verify()
        _check(bool(checked), f"the File-set that was written is not consistent: {checked}")
        tell("File-set", f"{report.count('done')} files and a DICOMDIR written; each record agrees with its file")
    for level in LEVELS:
        first, second = (m.find(level, progress=False).to_dataframe() for m in (pulled, disc))
        _check_equal(f"the {level} tables of the folder and of the File-set", first, second)
    say("    read back: equal")
    say.show("The same on a disc, with a DICOMDIR", lambda: disc)
    say.show("The DICOMDIR agrees with the files", lambda: checked)
    volumes = [one for one in disc.volumes() if one.regular and "sample" not in one.dims]
    if volumes:
        largest = max(volumes, key=lambda one: one.shape[-3])
        say.show("The images of a series as one volume", lambda: largest)
        say.show("Its planes, in millimetres and the patient's directions", largest.plot)


def _step_live(archive: Archive, scratch: Path, say: _Teller) -> None:
    say("\n6 · A synthetic endoscopy, live: video and its metadata over RTP, paired frame by frame, recorded")
    frames = list(endoscopy_frames(75, 192, 144, rate_hz=25))
    cast = Broadcast(frames, rate_hz=25, fictional=True, **ENDOSCOPY_PATIENT)
    with _timed(say) as tell, trace() as wire, LiveStream(cast) as live, cast:
        recorded = live.record(scratch / "live", seconds=30, form="uncompressed", progress=False)
        table, network = live.to_dataframe(), live.statistics()
        lost = int(network["lost"].sum())
        _check(not lost, f"{lost} packets were lost on this machine's own loopback")
        _check(bool(table["complete"].all() and table["paired"].all()), "a frame is not whole, or has no metadata")
        _check(len(table) == cast.sent, f"{cast.sent} frames were sent, {len(table)} were paired")
        packets = int(network["received"].sum())
        tell("RTP", f"{len(table)} frames in {packets} packets, each with the metadata of its own timestamp")
    say.show("A synthetic endoscopy, live", lambda: live)
    say.show("How the stream went", live.plot)
    say.show("Its packets: sender, network, receiver", lambda: wire)
    with _timed(say) as tell:
        _whole(recorded)
        _whole(archive.node.store(recorded.media, progress=False))
        kept, found = (
            path.find("instance", PatientID=ENDOSCOPY_PATIENT["PatientID"], progress=False).to_dataframe()
            for path in (recorded.media, archive.node)
        )
        columns = ["SOPInstanceUID", "SOPClassUID", "NumberOfFrames"]
        _check_equal("the recording and what the archive found", kept[columns], found[columns])
        count = int(found["NumberOfFrames"].sum())
        tell("C-STORE", f"the recording, {recorded.octets:,} octets, found again with its {count} frames")


_PLURAL = {"series": "series", "instance": "instances"}


def _same(shown: object) -> object:
    return shown


def _check(true: bool, otherwise: str) -> None:
    if not true:
        raise DemoFailed(otherwise)


def _check_equal(what: str, first: DataFrame, second: DataFrame) -> None:
    from pandas.testing import assert_frame_equal

    try:
        assert_frame_equal(first, second)
    except AssertionError as error:
        raise DemoFailed(f"{what} differ: {error}") from error


def _whole(report: Report) -> None:
    if report.complete and not report.failures:
        return
    reasons = "; ".join(f"{o.sop_instance_uid}: {o.status}" for o in report.failures[:3])
    raise DemoFailed(f"{report.title}: {report.note}: {reasons}")


def _digest(parcel: Parcel) -> str:
    with parcel.dataset() as octets:
        return hashlib.sha256(octets).hexdigest()


def _explicit(parcel: Parcel) -> bytes:
    """The data set in Explicit VR LE, every sequence written the same way, whatever it was sent as."""
    source = parcel.meta.transfer_syntax_uid
    _check(source in UNCOMPRESSED, f"{parcel.name} is compressed and must not have been changed")
    with parcel.dataset() as octets:
        implicit = transcode(octets, source, IMPLICIT_LE)
    return transcode(implicit, IMPLICIT_LE, EXPLICIT_LE)


def _name(transfer_syntax_uid: str) -> str:
    from pydicom.uid import UID

    return UID(transfer_syntax_uid).name


def _wire(wire: Trace) -> str:
    counts = ", ".join(f"{count} {kind}" for kind, count in wire.counts().most_common(3))
    return f"{wire.octets:,} octets on the wire ({counts})"


@contextmanager
def _timed(say: Say) -> Iterator[Callable[[str, str], None]]:
    started = time.monotonic()

    def tell(name: str, what: str) -> None:
        say(f"    {name:<8} {what}   [{time.monotonic() - started:.2f} s]")

    yield tell
