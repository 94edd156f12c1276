"""A department on a laptop: the same seed gives the same day, and every step leaves its trace."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest

from dicomlab import Archive, samples, trace
from dicomlab.errors import ServiceError, UsageError


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive(web_port=None) as one:
        yield one


def test_the_same_seed_gives_the_same_day() -> None:
    first, again = (samples.department(seed=4, patients=5).schedule for _ in range(2))
    assert first.equals(again)
    assert not first.equals(samples.department(seed=5, patients=5).schedule)
    assert first["StudyInstanceUID"].is_unique
    assert set(samples.department(day=date(2026, 7, 6)).schedule["ScheduledProcedureStepStartDate"]) == {"20260706"}
    assert "5 scheduled steps" in repr(samples.department(patients=5))
    with pytest.raises(UsageError):
        samples.department(patients=0)


def test_a_day_from_worklist_to_report(archive: Archive) -> None:
    day = samples.department(seed=1, patients=3)
    archive.worklist.fill(day.schedule)
    node = archive.node
    with trace() as wire:
        made = [day.modality(node, slices=2).acquire(item) for item in node.worklist()]
        for one in made:
            day.order_reading(node.workitems, one)
        reader = day.reader(node)
        tasks = reader.tasks()
        readings = [reader.read(task) for task in tasks]
    assert list(archive.worklist.to_dataframe()["ScheduledProcedureStepStatus"]) == ["COMPLETED"] * 3
    assert list(archive.performed_steps.to_dataframe()["PerformedProcedureStepStatus"]) == ["COMPLETED"] * 3
    assert list(archive.workitems.search()["ProcedureStepState"]) == ["COMPLETED"] * 3
    assert [len(one.datasets) for one in made] == [2, 2, 1]
    assert all("safe" in outcome.status for one in made for outcome in one.report)
    counts = wire.counts()
    assert (counts["N-CREATE-RQ"], counts["N-SET-RQ"], counts["N-EVENT-REPORT-RQ"]) == (6, 6, 3)
    for one, reading, row in zip(made, readings, day.schedule.to_dict("records"), strict=True):
        image = one.datasets[0]
        assert (image.PatientID, image.AccessionNumber) == (row["PatientID"], row["AccessionNumber"])
        assert image.StudyInstanceUID == row["StudyInstanceUID"] == reading.document.StudyInstanceUID
        assert image.RequestAttributesSequence[0].ScheduledProcedureStepID == row["ScheduledProcedureStepID"]
        assert image.ReferencedPerformedProcedureStepSequence[0].ReferencedSOPInstanceUID == one.performed_step_uid
        output = archive.workitems.retrieve(reading.uid).UnifiedProcedureStepPerformedProcedureSequence[0]
        referenced = output.OutputInformationSequence[0].ReferencedSOPSequence[0]
        assert referenced.ReferencedSOPInstanceUID == reading.document.SOPInstanceUID
    assert len(archive.node.find("instance", StudyInstanceUID=made[0].study_instance_uid)) == 3


def test_what_fails_ends_as_such(archive: Archive) -> None:
    day = samples.department(seed=1, patients=2)
    archive.worklist.fill(day.schedule)
    item = archive.node.worklist()[0]
    with archive.faults.fail(0xA700, after=1), pytest.raises(ServiceError):
        day.modality(archive.node).acquire(item)  # begins, and can't store
    assert archive.worklist.to_dataframe()["ScheduledProcedureStepStatus"][0] != "COMPLETED"
    made = day.modality(archive.node).acquire(item)
    reader = day.reader(archive.node)
    uid = day.order_reading(archive.node.workitems, made).uid
    for held in archive._opened().store.select("study", [made.study_instance_uid]):
        archive._opened().store.remove(held)
    with pytest.raises(UsageError, match="no images"):
        reader.read(uid)
    assert archive.workitems.retrieve(uid).ProcedureStepState == "CANCELED"
    with pytest.raises(UsageError, match="one work item"):
        reader.read(reader.tasks())
    with pytest.raises(ServiceError, match="C30"):
        reader.read(uid)
    with pytest.raises(UsageError, match="this modality makes"):
        day.modality(archive.node).acquire(_as(archive, "US"))


def _as(archive: Archive, modality: str) -> object:
    archive.worklist.fill([{"Modality": modality}])
    return archive.node.worklist()[0]
