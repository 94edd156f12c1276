"""A department on a laptop: a scheduled day, a simulated modality, a reader. The same seed gives the same day.

The modality takes what is scheduled, says that it performs it, makes a phantom, stores it, has it committed to, and
says that it is done. A reading is ordered as a work item; the reader claims it, retrieves the images, stores a report
and completes it. Everything goes over the wire, so a trace shows each step.

Source
------
PS3.4 Annexes K, F, J, CC; PS3.3 §A.35.1 (Basic Text SR).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.samples.phantom import NAMES, ct_slice, derived_uid, mr_slice

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

    from dicomlab.model.cohort import Cohort
    from dicomlab.model.workitem import Done
    from dicomlab.model.workitems import WorkItems

SR_STORAGE = "1.2.840.10008.5.1.4.1.1.88.11"
PERFORMED_STEP = "1.2.840.10008.3.1.2.3.3"
_FIRST_DAY = date(2026, 1, 5)
_EVERY = timedelta(minutes=20)
_SCHEME = "99DICOMLAB"
_PROCEDURES = {
    "CT": (("CTHEAD", "CT of the head"), ("CTCHEST", "CT of the chest"), ("CTABD", "CT of the abdomen")),
    "MR": (("MRHEAD", "MR of the head"), ("MRKNEE", "MR of the knee"), ("MRSPINE", "MR of the spine")),
}
_READ = ("READ", "Read and report")
_UNSPECIFIED = ("110513", "DCM", "Discontinued for unspecified reason")


class Peer(Protocol):
    """Where the modality works: a Node."""

    def perform(self, item: Any = None, **keywords: Any) -> Any:
        """Perform a step."""

    def store(self, what: Any, /, *, commit: bool = ..., progress: Any = ...) -> Report:
        """Store instances."""


class Source(Protocol):
    """Where the reader works: a Node or a WebEndpoint."""

    @property
    def workitems(self) -> WorkItems:
        """Its work items."""

    def find(self, level: str = ..., /, match: Any = ..., *, progress: Any = ..., **keywords: Any) -> Any:
        """Search."""

    def store(self, what: Any, /, *, progress: Any = ...) -> Report:
        """Store instances."""


class Department(Summarised):
    """A scheduled day; make one with :func:`dicomlab.samples.department`.

    Attributes
    ----------
    schedule : DataFrame
        One row for each scheduled step, for ``archive.worklist.fill(day.schedule)``.
    """

    def __init__(self, seed: int, patients: int, day: date | None) -> None:
        if patients < 1:
            raise UsageError("a department needs at least one patient")
        self.seed = seed
        self.day = day or _FIRST_DAY
        self._patients = patients

    @property
    def schedule(self) -> DataFrame:
        """Patients, orders and steps, one row for each step."""
        import pandas as pd

        return pd.DataFrame([self._step(number) for number in range(1, self._patients + 1)])

    def _step(self, number: int) -> dict[str, Any]:
        import numpy as np

        chance = np.random.default_rng([abs(self.seed), number])
        modality = ("CT", "MR")[number % 3 == 0]
        code, text = _PROCEDURES[modality][int(chance.integers(3))]
        start = datetime.combine(self.day, datetime.min.time()) + timedelta(hours=8) + (number - 1) * _EVERY
        born = date(1930, 1, 1) + timedelta(days=int(chance.integers(30_000)))
        accession = f"A{self.seed % 1000:03d}{number:04d}"
        return {
            "PatientID": f"SYN-{number:03d}",
            "PatientName": f"{NAMES[(number - 1) % len(NAMES)]}^^^{number}",
            "PatientBirthDate": born.strftime("%Y%m%d"),
            "PatientSex": "FMO"[int(chance.integers(3))],
            "AccessionNumber": accession,
            "RequestedProcedureID": f"R{accession[1:]}",
            "RequestedProcedureDescription": text,
            "RequestedProcedureCodeSequence.CodeValue": code,
            "RequestedProcedureCodeSequence.CodingSchemeDesignator": _SCHEME,
            "RequestedProcedureCodeSequence.CodeMeaning": text,
            "ReferringPhysicianName": "Synthetic^Referrer",
            "StudyInstanceUID": derived_uid(self.seed, "department", self.day, number, "study"),
            "Modality": modality,
            "ScheduledStationAETitle": f"{modality}1",
            "ScheduledProcedureStepStartDate": start.strftime("%Y%m%d"),
            "ScheduledProcedureStepStartTime": start.strftime("%H%M%S"),
            "ScheduledProcedureStepID": f"S{accession[1:]}",
            "ScheduledProcedureStepDescription": text,
            "ScheduledProcedureStepStatus": "SCHEDULED",
            "ScheduledPerformingPhysicianName": "Synthetic^Radiographer",
            "ScheduledProtocolCodeSequence.CodeValue": code,
            "ScheduledProtocolCodeSequence.CodingSchemeDesignator": _SCHEME,
            "ScheduledProtocolCodeSequence.CodeMeaning": text,
        }

    def modality(self, node: Peer, slices: int = 4) -> Modality:
        """The one who makes images, and stores them there."""
        return Modality(node, self.seed, slices)

    def order_reading(self, workitems: WorkItems, acquired: Acquired) -> Done:
        """Order that something acquired be read: a work item whose input are its instances (N-CREATE, or over the web).

        Source
        ------
        PS3.4 Table CC.2.5-3.
        """
        first = acquired.datasets[0]
        return workitems.create(
            {
                "ProcedureStepLabel": f"Read {first.StudyDescription}",
                "WorklistLabel": "READING",
                "ScheduledWorkitemCodeSequence": [_code(_READ[0], _SCHEME, _READ[1])],
                "PatientName": str(first.PatientName),
                "PatientID": str(first.PatientID),
                "PatientBirthDate": str(first.PatientBirthDate),
                "PatientSex": str(first.PatientSex),
                "StudyInstanceUID": acquired.study_instance_uid,
                "InputInformationSequence": [_referenced(acquired.datasets)],
            }
        )

    def reader(self, source: Source) -> Reader:
        """The one who reads: over DIMSE with a Node, over the web with a WebEndpoint."""
        return Reader(source, self.seed)

    def _summary_(self) -> Summary:
        frame = self.schedule
        names = ("PatientID", "Modality", "ScheduledProcedureStepStartTime", "ScheduledProcedureStepDescription")
        rows = tuple(tuple(map(str, row)) for row in frame[list(names)].itertuples(index=False, name=None))
        facts = (("day", self.day.isoformat()), ("seed", str(self.seed)))
        return Summary(f"Department with {len(frame)} scheduled steps", facts, names, rows[:10], max(0, len(rows) - 10))


@dataclass(frozen=True, slots=True)
class Acquired:
    """What the modality made of one step.

    Attributes
    ----------
    study_instance_uid : str
    performed_step_uid : str
        Of the Modality Performed Procedure Step.
    datasets : tuple of Dataset
    report : Report
        How each was stored, and committed to.
    """

    study_instance_uid: str
    performed_step_uid: str
    datasets: tuple[Dataset, ...] = field(repr=False)
    report: Report = field(repr=False)


class Modality:
    """A simulated modality: worklist item in, performed step and images out."""

    def __init__(self, node: Peer, seed: int, slices: int) -> None:
        self._node, self._seed, self._slices = node, seed, slices

    def acquire(self, item: Cohort) -> Acquired:
        """Perform one scheduled step: begin, make the images, store them, have them committed to, complete.

        Parameters
        ----------
        item : Cohort of one row
            ``node.worklist(...)[0]``.

        Raises
        ------
        UsageError
            More than one row, or a modality that this one is not.
        ServiceError, CommunicationError
            The peer does not take part; the step is discontinued then.
        """
        row = item.to_dataframe().iloc[0]
        modality = str(row["Modality"])
        if modality not in _PROCEDURES:
            raise UsageError(f"this modality makes {' and '.join(_PROCEDURES)}, not {modality}")
        with self._node.perform(item, PerformedStationName=f"Simulated {modality}") as step:
            datasets = tuple(self._images(row, modality, step))
            report = self._node.store(list(datasets), commit=True, progress=False)
            report.raise_for_failures()
            step.performed(datasets)
        return Acquired(step.study_instance_uid, step.uid, datasets, report)

    def _images(self, row: Any, modality: str, step: Any) -> Iterator[Dataset]:
        digits = "".join(c for c in str(row["PatientID"]) if c.isdigit())
        number = int(digits[-6:] or 1) or 1
        for index in range(self._slices if modality == "CT" else 1):
            made = (
                ct_slice(number, index, self._slices, self._seed) if modality == "CT" else mr_slice(number, self._seed)
            )
            yield self._scheduled(made, row, step, index)

    def _scheduled(self, ds: Dataset, row: Any, step: Any, index: int) -> Dataset:
        """Give an image the attributes of what was scheduled and of the step that is performed."""
        study = step.study_instance_uid
        day = row["ScheduledProcedureStepStartDate"]
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = f"{day:%Y%m%d}"
        clock = str(row["ScheduledProcedureStepStartTime"]).replace(":", "")[:6]
        ds.StudyTime = ds.SeriesTime = clock
        for name in _COPIED:
            setattr(ds, name, _plain(row.get(name), name))
        ds.StudyID = _plain(row.get("RequestedProcedureID"), "")
        ds.StudyDescription = _plain(row.get("RequestedProcedureDescription"), "")
        ds.ProtocolName = ds.SeriesDescription = _plain(row.get("ScheduledProcedureStepDescription"), "")
        ds.StudyInstanceUID = study
        ds.SeriesInstanceUID = derived_uid(self._seed, study, ds.Modality, "series")
        ds.FrameOfReferenceUID = derived_uid(self._seed, study, "frame of reference")
        ds.SOPInstanceUID = derived_uid(self._seed, study, ds.Modality, "instance", index)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.PerformedProcedureStepID = _plain(row.get("ScheduledProcedureStepID"), "")
        ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = ds.StudyDate, clock
        request = {
            "RequestedProcedureID": _plain(row.get("RequestedProcedureID"), ""),
            "ScheduledProcedureStepID": _plain(row.get("ScheduledProcedureStepID"), ""),
        }
        ds.RequestAttributesSequence = [_item(request)]
        reference = {"ReferencedSOPClassUID": PERFORMED_STEP, "ReferencedSOPInstanceUID": step.uid}
        ds.ReferencedPerformedProcedureStepSequence = [_item(reference)]
        return ds


_OF_STUDY = ("SpecificCharacterSet", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription")
_COPIED = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "ReferringPhysicianName")


@dataclass(frozen=True, slots=True)
class Reading:
    """What came of one work item: its UID, and the report that was stored."""

    uid: str
    document: Dataset = field(repr=False)


class Reader:
    """Reads what is to be read: claims a work item, looks at its images, stores a report, completes it."""

    def __init__(self, source: Source, seed: int) -> None:
        self._source, self._seed = source, seed

    def tasks(self) -> Cohort:
        """What is to be read and nobody has claimed."""
        keys: dict[str | int, object] = {"ScheduledWorkitemCodeSequence.CodeValue": _READ[0]}
        return self._source.workitems.search(keys, ProcedureStepState="SCHEDULED", progress=False)

    def read(self, task: Cohort | str) -> Reading:
        """Carry one work item out: claim, retrieve, report, complete; after an error it is canceled.

        Parameters
        ----------
        task : Cohort of one row, or str
            ``reader.tasks()[0]``, or the UID of the work item.

        Raises
        ------
        UsageError
            More than one row.
        ServiceError
            Somebody else has claimed it.
        """
        if not isinstance(task, str):
            if len(task) != 1:
                raise UsageError(f"one work item is read at a time, and this cohort has {len(task)}: tasks[0]")
            task = str(task["SOPInstanceUID"].iloc[0])
        items = self._source.workitems
        mine = items.claim(task).transaction_uid
        try:
            wanted = items.retrieve(task)
            study = str(wanted.InputInformationSequence[0].StudyInstanceUID)
            found = self._source.find("instance", StudyInstanceUID=study, progress=False)
            document = self._document(list(found.datasets()))
            self._source.store([document], progress=False).raise_for_failures()
            items.update(task, _performed(document), mine)
        except BaseException as error:
            try:
                items.update(task, _discontinued(error), mine)
                items.change_state(task, "CANCELED", mine)
            except DicomlabError as problem:
                error.add_note(f"and the work item {task} could not be canceled: {problem}")
            raise
        items.change_state(task, "COMPLETED", mine)
        return Reading(task, document)

    def _document(self, images: Sequence[Dataset]) -> Dataset:
        """A Basic Text SR with what was measured in the images."""
        from pydicom import Dataset
        from pydicom.dataset import FileMetaDataset
        from pydicom.uid import UID, ExplicitVRLittleEndian

        images = [one for one in images if "PixelData" in one]
        if not images:
            raise UsageError("the study holds no images to be read")
        first = images[0]
        brightest = max(float(one.pixel_array.mean()) for one in images)
        ds = Dataset()
        for name in (*_OF_STUDY, *_COPIED):
            if name in first:
                ds[name] = first[name]
        ds.SOPClassUID = SR_STORAGE
        ds.SOPInstanceUID = derived_uid(self._seed, first.StudyInstanceUID, "report")
        ds.SeriesInstanceUID = derived_uid(self._seed, first.StudyInstanceUID, "report series")
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "SR", 100, 1
        ds.Manufacturer, ds.SeriesDescription = "dicomlab", "Report"
        ds.CompletionFlag, ds.VerificationFlag = "COMPLETE", "UNVERIFIED"
        ds.ContentDate, ds.ContentTime = first.StudyDate, first.StudyTime
        ds.ReferencedPerformedProcedureStepSequence = []
        ds.PerformedProcedureCodeSequence = []
        ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(images)]
        ds.ValueType, ds.ContinuityOfContent = "CONTAINER", "SEPARATE"
        ds.ConceptNameCodeSequence = [_item(_code("18748-4", "LN", "Diagnostic imaging report"))]
        finding = _item({"RelationshipType": "CONTAINS", "ValueType": "TEXT"})
        finding.ConceptNameCodeSequence = [_item(_code("121071", "DCM", "Finding"))]
        finding.TextValue = (
            f"Phantom, {len(images)} images; brightest mean stored value {brightest:.1f}. No such person."
        )
        ds.ContentSequence = [finding]
        ds.file_meta = FileMetaDataset()
        ds.file_meta.MediaStorageSOPClassUID = UID(SR_STORAGE)
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        return ds


# --- small data sets -------------------------------------------------------------------------------------------------


def _plain(value: Any, name: str) -> str:
    import pandas as pd

    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return ""
    return f"{value:%Y%m%d}" if name.endswith("Date") else str(value)


def _code(value: str, scheme: str, meaning: str) -> dict[str, Any]:
    return {"CodeValue": value, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning}


def _item(values: dict[str, Any]) -> Dataset:
    from pydicom import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _referenced(datasets: Sequence[Any]) -> dict[str, Any]:
    """One item of Input or Output Information: a series and its instances (PS3.3 §10.28)."""
    first = datasets[0]
    return {
        "TypeOfInstances": "DICOM",
        "StudyInstanceUID": str(first.StudyInstanceUID),
        "SeriesInstanceUID": str(first.SeriesInstanceUID),
        "ReferencedSOPSequence": [
            {"ReferencedSOPClassUID": str(one.SOPClassUID), "ReferencedSOPInstanceUID": str(one.SOPInstanceUID)}
            for one in datasets
        ],
    }


def _evidence(images: Sequence[Any]) -> Dataset:
    series: dict[str, list[Dataset]] = {}
    for one in images:
        reference = {"ReferencedSOPClassUID": one.SOPClassUID, "ReferencedSOPInstanceUID": one.SOPInstanceUID}
        series.setdefault(str(one.SeriesInstanceUID), []).append(_item(reference))
    below = [_item({"SeriesInstanceUID": uid, "ReferencedSOPSequence": refs}) for uid, refs in series.items()]
    return _item({"StudyInstanceUID": images[0].StudyInstanceUID, "ReferencedSeriesSequence": below})


def _performed(document: Any) -> dict[str, Any]:
    """What a completed work item needs (PS3.4 Table CC.2.5-3)."""
    now = datetime.now().strftime("%Y%m%d%H%M%S")
    item = {
        "PerformedStationNameCodeSequence": [_code("READER", _SCHEME, "Simulated reader")],
        "PerformedProcedureStepStartDateTime": now,
        "PerformedProcedureStepEndDateTime": now,
        "PerformedWorkitemCodeSequence": [_code(_READ[0], _SCHEME, _READ[1])],
        "OutputInformationSequence": [_referenced([document])],
    }
    return {"UnifiedProcedureStepPerformedProcedureSequence": [item]}


def _discontinued(error: BaseException) -> dict[str, Any]:
    """What a canceled one needs."""
    item = {
        "ProcedureStepCancellationDateTime": datetime.now().strftime("%Y%m%d%H%M%S"),
        "ReasonForCancellation": type(error).__name__,
        "ProcedureStepDiscontinuationReasonCodeSequence": [_code(*_UNSPECIFIED)],
    }
    return {"ProcedureStepProgressInformationSequence": [item]}
