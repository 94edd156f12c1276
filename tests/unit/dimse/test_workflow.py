"""Worklist and performed steps over DIMSE, our SCU against our SCP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydicom import Dataset

from dicomlab import Archive
from dicomlab.dimse import tables
from dicomlab.dimse.handlers import Asked
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.normalized import operate
from dicomlab.dimse.tree import tree_of_values
from dicomlab.errors import Refused, ServiceError, UsageError
from tests.unit.dimse.holdings import CT, SR, instance

DAY = pd.DataFrame(
    {
        "PatientID": ["P1", "P2", "P3"],
        "PatientName": ["Müller^Jürgen", "B^B", "C^C"],
        "PatientBirthDate": ["1970-01-31"] * 3,
        "Modality": ["CT", "MR", "CT"],
        "ScheduledStationAETitle": ["CT1", "MR1", "CT1\\CT2"],
        "ScheduledProcedureStepStartDate": ["20260706", "20260706", "20260707"],
        "ScheduledProcedureStepStartTime": ["09:00", "10:00", "11:00"],
        "ScheduledProcedureStepID": ["S1", "S2", "S3"],
        "ScheduledProtocolCodeSequence.CodeValue": ["H", "K", "C"],
        "ScheduledProtocolCodeSequence.CodingSchemeDesignator": ["99X"] * 3,
        "ScheduledProtocolCodeSequence.CodeMeaning": ["Head", "Knee", "Chest"],
    }
)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive(web_port=None) as one:
        one.worklist.fill(DAY)
        yield one


@pytest.fixture(scope="module")
def untouched() -> Iterator[Archive]:
    """One for all tests that change nothing, as they show."""
    with Archive(web_port=None) as one:
        one.worklist.fill(DAY)
        yield one


def statuses(archive: Archive) -> list[str]:
    return list(archive.worklist.to_dataframe()["ScheduledProcedureStepStatus"])


# --- worklist --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({}, ["S1", "S2", "S3"]),
        ({"Modality": "CT"}, ["S1", "S3"]),
        ({"Modality": ["CT", "MR"]}, ["S1", "S3", "S2"]),
        ({"PatientName": "müll*"}, ["S1"]),
        ({"ScheduledProcedureStepStartDate": date(2026, 7, 7)}, ["S3"]),
        ({"ScheduledProcedureStepStartDate": ("2026-07-06", None)}, ["S1", "S2", "S3"]),
        ({"ScheduledStationAETitle": "CT2"}, ["S3"]),
        ({"match": {"ScheduledProtocolCodeSequence.CodeValue": "K"}}, ["S2"]),
        ({"Modality": "CT", "PatientID": "P2"}, []),
    ],
)
def test_a_worklist(untouched: Archive, keys: dict[str, Any], found: list[str]) -> None:
    worklist = untouched.node.worklist(**keys, progress=False)
    assert list(worklist["ScheduledProcedureStepID"]) == found
    assert (worklist.level, worklist.complete) == ("step", True)


def test_the_step_is_flat(untouched: Archive) -> None:
    row = untouched.node.worklist(PatientID="P1", include=["PatientWeight"]).to_dataframe().iloc[0]
    assert row["PatientName"] == "Müller^Jürgen"
    assert row["ScheduledProcedureStepStartDate"] == pd.Timestamp("2026-07-06")
    assert row["ScheduledProtocolCodeSequence.CodeMeaning"] == ("Head",)
    assert pd.isna(row["PatientWeight"])
    assert untouched.node.worklist().to_dataframe().equals(untouched.worklist.to_dataframe())


def test_a_worklist_cut_off(untouched: Archive) -> None:
    worklist = untouched.node.worklist(limit=2)
    assert (len(worklist), worklist.note) == (2, "there are more than limit=2")
    operation = untouched.node.worklist(background=True)
    assert len(operation.result(30)) == 3


def test_a_worklist_of_somebody_cancelled(archive: Archive) -> None:
    """C-CANCEL between two answers: what had come is there, and the node stays usable."""
    many = pd.concat([DAY.iloc[:1]] * 500).assign(ScheduledProcedureStepID=[f"S{n}" for n in range(500)])
    archive.worklist.fill(many)
    operations: list[Any] = []
    ready = threading.Event()

    def on_progress(progress: Any) -> None:
        ready.wait(30)
        if progress.done == 10:
            operations[0].cancel()

    operations.append(archive.node.worklist(background=True, progress=on_progress))
    ready.set()
    worklist = operations[0].result(30)
    assert (worklist.complete, worklist.note) == (False, "cancelled")
    assert 10 <= len(worklist) < 500
    assert len(archive.node.worklist()) == 500


def test_filling(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "day.csv"
    DAY.iloc[:2].to_csv(path, index=False)
    archive.worklist.fill(path)
    assert list(archive.node.worklist()["PatientName"]) == ["Müller^Jürgen", "B^B"]
    nested = Dataset()
    nested.PatientID, step = "P9", Dataset()
    step.Modality = "US"
    nested.ScheduledProcedureStepSequence = [step]
    archive.worklist.add([nested, {"PatientID": "P8", "Modality": "XA"}])
    assert list(archive.node.worklist()["Modality"]) == ["CT", "MR", "US", "XA"]
    archive.worklist.add({**DAY.iloc[0].to_dict(), "StudyInstanceUID": "1.2.3"})
    archive.worklist.add({**DAY.iloc[0].to_dict(), "StudyInstanceUID": "1.2.3", "PatientID": "P7"})
    assert list(archive.node.worklist(StudyInstanceUID="1.2.3")["PatientID"]) == ["P7"]
    back = archive.node.worklist().to_dataframe()
    archive.worklist.fill(back)
    assert archive.worklist.to_dataframe().equals(back)
    archive.worklist.fill(None)
    assert len(archive.node.worklist()) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        "nowhere.csv",
        {"PatientID": "P1"},
        [{"NoKeyword": "x"}],
        [{"ScheduledProcedureStepStartDate": "soon"}],
        [{"ScheduledProcedureStepStatus": "DONE"}],
        [{"StudyInstanceUID": "../x"}],
        5,
    ],
)
def test_what_fills_no_worklist(untouched: Archive, wrong: Any) -> None:
    with pytest.raises(UsageError):
        untouched.worklist.fill(wrong)
    assert statuses(untouched) == ["SCHEDULED"] * 3


def test_a_function_answers(archive: Archive) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> Any:
        asked.append(one)
        yield {"PatientID": "X", "Modality": "NM", "StudyInstanceUID": "1.2"}
        yield from one.usual()

    archive.worklist.fill(answer)
    found = archive.node.worklist(Modality="CT", limit=10)
    assert list(found["Modality"]) == ["NM", "CT", "CT"]
    assert asked[0].sop_class_uid == tables.WORKLIST
    assert asked[0].dataset.ScheduledProcedureStepSequence[0].Modality == "CT"
    archive.worklist.fill(None)  # takes the function away, not the steps
    assert len(archive.node.worklist()) == 3


def test_what_is_over_is_given_to_who_asks_for_it(archive: Archive) -> None:
    study = archive.worklist.to_dataframe()["StudyInstanceUID"][0]
    assert archive.worklist.set_status(study, "S1", "COMPLETED")
    assert not archive.worklist.set_status(study, "S9", "COMPLETED")
    with pytest.raises(UsageError):
        archive.worklist.set_status(study, "S1", "DONE")
    assert list(archive.node.worklist()["ScheduledProcedureStepID"]) == ["S2", "S3"]
    done = archive.node.worklist(ScheduledProcedureStepStatus="COMPLETED")
    assert list(done["ScheduledProcedureStepID"]) == ["S1"]


def test_faults_of_the_worklist(archive: Archive) -> None:
    with archive.faults.cap(1):
        assert len(archive.node.worklist()) == 1
    with archive.faults.unavailable(), pytest.raises(ServiceError, match="A700H"):
        archive.node.worklist()
    with archive.faults.refuse_context(tables.WORKLIST), pytest.raises(Refused):
        archive.node.worklist()


# --- performed steps -------------------------------------------------------------------------------------------------


def test_a_step_is_performed(archive: Archive) -> None:
    worklist = archive.node.worklist(Modality="CT")
    with archive.node.perform(worklist[0], PerformedStationAETitle="CT1") as step:
        assert (step.status, statuses(archive)[0]) == ("IN PROGRESS", "STARTED")
        step.performed([instance(1), instance(2), instance(3, series="1.2.3.1.2", sop_class=SR)])
        step.performed(instance(1))
        step.set(PerformedProcedureStepDescription="Head, again")
    assert (step.status, statuses(archive)[0]) == ("COMPLETED", "COMPLETED")
    kept = archive.performed_steps[step.uid]
    assert kept.PerformedProcedureStepStatus == "COMPLETED"
    assert str(kept.PatientName) == "Müller^Jürgen"
    scheduled = kept.ScheduledStepAttributesSequence[0]
    assert (scheduled.StudyInstanceUID, scheduled.ScheduledProcedureStepID) == (step.study_instance_uid, "S1")
    assert scheduled.ScheduledProtocolCodeSequence[0].CodeMeaning == "Head"
    series = kept.PerformedSeriesSequence
    assert [len(one.ReferencedImageSequence) for one in series] == [2, 1]
    assert series[0].ReferencedImageSequence[0].ReferencedSOPClassUID == CT
    assert archive.node.performed_step(step.uid) == kept
    assert list(archive.performed_steps) == [step.uid]
    assert archive.performed_steps.to_dataframe()["PerformedProcedureStepStatus"][0] == "COMPLETED"


def test_a_step_that_fails_is_discontinued(archive: Archive) -> None:
    step = archive.node.perform(archive.node.worklist()[0])
    with pytest.raises(RuntimeError, match="tube"), step:
        raise RuntimeError("the tube is broken")
    assert statuses(archive)[0] == "DISCONTINUED"
    (reason,) = archive.performed_steps[step.uid].PerformedProcedureStepDiscontinuationReasonCodeSequence
    assert (reason.CodeValue, reason.CodingSchemeDesignator) == ("110513", "DCM")
    with archive.node.perform(archive.worklist.to_dataframe().iloc[0]) as again:  # taken up again
        assert statuses(archive)[0] == "STARTED"
        again.discontinue("110505")
    assert again.status == "DISCONTINUED"


def test_an_error_is_told_even_where_the_peer_is_gone(archive: Archive) -> None:
    def perform() -> None:
        with archive.node.perform(Modality="CT"):
            archive.close()
            raise RuntimeError("x")

    with pytest.raises(RuntimeError) as caught:
        perform()
    assert "could not be discontinued" in caught.value.__notes__[0]


def test_what_can_not_be_performed(archive: Archive) -> None:
    worklist = archive.node.worklist()
    for wrong in (lambda: archive.node.perform(worklist), lambda: archive.node.perform(PatientID="P1"),
                  lambda: archive.node.perform({"NoKeyword": 1}), lambda: archive.node.perform(5)):  # fmt: skip
        with pytest.raises(UsageError):
            wrong()
    step = archive.node.perform(worklist[0])
    for early in (step.complete, step.set, step.discontinue):
        with pytest.raises(UsageError):
            early()
    with step:
        with pytest.raises(UsageError):
            step.begin()
        with pytest.raises(UsageError):
            step.discontinue("1")
    with pytest.raises(UsageError):
        step.discontinue()
    with pytest.raises(ServiceError) as caught:
        step.set(PerformedProcedureStepDescription="late")
    assert (caught.value.status, caught.value.error_id) == (0x0110, 0xA710)
    assert len(archive.performed_steps) == 1


def test_a_step_is_looked_at(archive: Archive) -> None:
    with archive.node.perform(archive.node.worklist()[0]) as step:
        seen = archive.node.performed_step(step.uid, ["PatientID", "PatientName"])
        assert [one.keyword for one in seen if one.keyword != "SpecificCharacterSet"] == ["PatientName", "PatientID"]
        assert "PatientWeight" not in archive.node.performed_step(step.uid, ["PatientWeight"])  # 0001H, a warning
    with pytest.raises(UsageError):
        archive.node.performed_step(step.uid, ["NoKeyword"])
    with pytest.raises(ServiceError, match="0112H"):
        archive.node.performed_step("1.2.3")


STEP: dict[str, Any] = {
    "ScheduledStepAttributesSequence": [{"StudyInstanceUID": "1.2.3", "ScheduledProcedureStepID": "S1"}],
    "PerformedProcedureStepID": "P1", "PerformedStationAETitle": "CT1", "Modality": "CT",
    "PerformedProcedureStepStartDate": "20260706", "PerformedProcedureStepStartTime": "0900",
    "PerformedProcedureStepStatus": "IN PROGRESS",
}  # fmt: skip


@pytest.mark.parametrize(
    ("service", "name", "tree", "status"),
    [
        (tables.PERFORMED_STEP, "N-CREATE", {**STEP, "PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
        (tables.PERFORMED_STEP, "N-CREATE", {**STEP, "PerformedProcedureStepID": None}, 0x0121),
        (tables.PERFORMED_STEP, "N-CREATE", {}, 0x0120),
        (tables.PERFORMED_STEP, "N-CREATE", b"\x10\x00\x10\x00\xff\xff\xff\x7f", 0x0106),
        (tables.PERFORMED_STEP, "N-SET", {"PerformedProcedureStepStatus": "COMPLETED"}, 0x0112),
        (tables.PERFORMED_STEP, "N-GET", None, 0x0122),
        (tables.PERFORMED_STEP_RETRIEVE, "N-CREATE", STEP, 0x0122),
        (tables.PERFORMED_STEP, "N-DELETE", None, 0x0211),
        (tables.WORKLIST, "N-GET", None, 0x0122),
    ],
)
def test_what_is_out_of_order_gets_its_status(
    untouched: Archive, service: str, name: str, tree: Any, status: int
) -> None:
    sent: Tree | bytes | None = tree_of_values(tree) if isinstance(tree, dict) else tree
    with untouched.node._peer.associate([Proposal(service, tables.UNCOMPRESSED)]) as association:
        context = association.context_for(service)
        assert context is not None
        with pytest.raises(ServiceError) as caught:
            operate(association, context, name, "1.2.3", sent)
    assert caught.value.status == status
    assert len(untouched.performed_steps) == 0
    assert statuses(untouched) == ["SCHEDULED"] * 3


def test_nobody_fills_an_archive_with_steps(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    with archive.node._peer.associate([Proposal(tables.PERFORMED_STEP, tables.UNCOMPRESSED)]) as association:
        context = association.context_for(tables.PERFORMED_STEP)
        assert context is not None

        def create(uid: str, **changes: Any) -> None:
            operate(association, context, "N-CREATE", uid, tree_of_values({**STEP, **changes}))  # type: ignore[arg-type]

        with pytest.raises(ServiceError, match="0213H"):
            create("1.2.3", ScheduledStepAttributesSequence=[{"StudyInstanceUID": "1.2.3"}] * 30_000)
        with pytest.raises(ServiceError, match="0117H"):
            create("../1.2.3")
        create("1.2.3")
        monkeypatch.setattr("dicomlab.archive.performed.MAX_STEPS", 1)
        with pytest.raises(ServiceError, match="0213H"):
            create("1.2.4")
    assert list(archive.performed_steps) == ["1.2.3"]


def test_a_step_of_no_uid_gets_one_and_a_second_of_it_is_refused(archive: Archive) -> None:
    with archive.node._peer.associate([Proposal(tables.PERFORMED_STEP, tables.UNCOMPRESSED)]) as association:
        context = association.context_for(tables.PERFORMED_STEP)
        assert context is not None
        made = operate(association, context, "N-CREATE", "", tree_of_values(STEP)).command
        (uid,) = archive.performed_steps
        assert made.sop_instance_uid == uid
        assert made.comment.startswith("taken as empty: PatientName")
        with pytest.raises(ServiceError, match="0111H"):
            operate(association, context, "N-CREATE", uid, tree_of_values(STEP))
