"""Performed steps and work items with pynetdicom at the other end, both ways round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
)

from dicomlab import Archive, Node, samples
from dicomlab.errors import ServiceError
from dicomlab.model.workitem import GLOBAL
from tests.peers.processes import LOOPBACK
from tests.peers.pynetdicom_workflow import ASKED, Subscriber, WorkflowScp, values

DAY = samples.department(seed=3, patients=2)
CODE = [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "x"}]


# --- pynetdicom asks us ----------------------------------------------------------------------------------------------


@pytest.fixture
def archive(free_port: Callable[[], int]) -> Iterator[tuple[Archive, int]]:
    port = free_port()
    with Archive(web_port=None, known={"WATCHER": (LOOPBACK, port)}) as one:
        one.worklist.fill(DAY.schedule)
        yield one, port


@pytest.fixture
def asks(archive: tuple[Archive, int]) -> Iterator[Association]:
    ae = AE("CT1")
    for uid in ASKED:
        ae.add_requested_context(uid)
    association = ae.associate(LOOPBACK, archive[0].node.address.port, ae_title="DICOMLAB")
    assert association.is_established
    yield association
    association.release()


def step(archive: Archive, **changes: Any) -> Dataset:
    row = archive.worklist.to_dataframe().iloc[0]
    scheduled = {
        "StudyInstanceUID": row["StudyInstanceUID"], "ReferencedStudySequence": [], "AccessionNumber": "A1",
        "RequestedProcedureID": "R1", "RequestedProcedureDescription": "", "ScheduledProtocolCodeSequence": [],
        "ScheduledProcedureStepID": row["ScheduledProcedureStepID"], "ScheduledProcedureStepDescription": "",
    }  # fmt: skip
    return values(
        **{
            "ScheduledStepAttributesSequence": [scheduled], "PatientName": "A^B", "PatientID": "P1",
            "PerformedProcedureStepID": "P1", "PerformedStationAETitle": "CT1", "Modality": "CT",
            "PerformedProcedureStepStartDate": "20260105", "PerformedProcedureStepStartTime": "0800",
            "PerformedProcedureStepStatus": "IN PROGRESS", **changes,
        }
    )  # fmt: skip


END = {
    "PerformedProcedureStepStatus": "COMPLETED",
    "PerformedProcedureStepEndDate": "20260105",
    "PerformedProcedureStepEndTime": "0815",
    "PerformedSeriesSequence": [{"ProtocolName": "X", "SeriesInstanceUID": "1.2.3.4"}],
}


def statuses(archive: Archive) -> str:
    return str(archive.worklist.to_dataframe()["ScheduledProcedureStepStatus"][0])


def test_their_performed_step(archive: tuple[Archive, int], asks: Association) -> None:
    ours, sop_class = archive[0], ModalityPerformedProcedureStep
    status, _ = asks.send_n_create(step(ours, PerformedProcedureStepStatus="COMPLETED"), sop_class, "1.2.3")
    assert (status.Status, len(ours.performed_steps), statuses(ours)) == (0x0106, 0, "SCHEDULED")
    assert asks.send_n_set(values(**END), sop_class, "1.2.3")[0].Status == 0x0112
    assert asks.send_n_create(step(ours), sop_class, "1.2.3")[0].Status == 0x0000
    assert statuses(ours) == "STARTED"
    assert asks.send_n_create(step(ours), sop_class, "1.2.3")[0].Status == 0x0111
    status, _ = asks.send_n_set(values(PerformedProcedureStepStatus="COMPLETED"), sop_class, "1.2.3")
    assert (status.Status, statuses(ours)) == (0x0121, "STARTED")
    assert asks.send_n_set(values(PatientID="P2"), sop_class, "1.2.3")[0].Status == 0x0105
    assert asks.send_n_set(values(**END), sop_class, "1.2.3")[0].Status == 0x0000
    assert statuses(ours) == "COMPLETED"
    status, _ = asks.send_n_set(values(**END), sop_class, "1.2.3")
    assert (status.Status, status.ErrorID) == (0x0110, 0xA710)
    assert status.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    status, kept = asks.send_n_get([0x00400252, 0x00100020], ModalityPerformedProcedureStepRetrieve, "1.2.3")
    assert status.Status == 0x0000
    assert kept == values(PerformedProcedureStepStatus="COMPLETED", PatientID="P1")
    status, _ = asks.send_n_get([0x00101030], ModalityPerformedProcedureStepRetrieve, "1.2.3")
    assert status.Status == 0x0001
    assert asks.send_n_get([], ModalityPerformedProcedureStepRetrieve, "1.2.9")[0].Status == 0x0112


def workitem(**changes: Any) -> Dataset:
    return values(
        **{
            "ScheduledProcedureStepPriority": "HIGH", "ProcedureStepLabel": "Read", "WorklistLabel": "W",
            "ScheduledProcedureStepStartDateTime": "20260105080000", "InputReadinessState": "READY",
            "ProcedureStepState": "SCHEDULED", "PatientID": "P1", "PatientName": "A^B", **changes,
        }
    )  # fmt: skip


def test_their_work_item(archive: tuple[Archive, int], asks: Association) -> None:
    push, pull, watch = UnifiedProcedureStepPush, UnifiedProcedureStepPull, UnifiedProcedureStepWatch
    ours, port = archive
    with Subscriber(port) as subscriber:
        subscribed = values(ReceivingAE="WATCHER", DeletionLock="FALSE")
        assert asks.send_n_action(subscribed, 3, push, GLOBAL, meta_uid=watch)[0].Status == 0x0000
        stranger = values(ReceivingAE="STRANGER", DeletionLock="FALSE")
        assert asks.send_n_action(stranger, 3, push, GLOBAL, meta_uid=watch)[0].Status == 0xC308
        assert asks.send_n_create(workitem(ProcedureStepState="COMPLETED"), push, "1.2.3")[0].Status == 0xC309
        assert asks.send_n_create(workitem(), push, "1.2.3")[0].Status in (0x0000, 0xB300)
        uid, kind, information = subscriber.reports.get(timeout=30)
        assert (uid, kind, information.ProcedureStepState) == ("1.2.3", 1, "SCHEDULED")

        found = [one for s, one in asks.send_c_find(values(ProcedureStepState="SCHEDULED"), UnifiedProcedureStepQuery)]
        assert [one.ProcedureStepState for one in found if one] == ["SCHEDULED"]
        claim = values(ProcedureStepState="IN PROGRESS", TransactionUID="1.2.4")
        assert asks.send_n_action(claim, 1, push, "1.2.3", meta_uid=pull)[0].Status == 0x0000
        assert subscriber.reports.get(timeout=30)[2].ProcedureStepState == "IN PROGRESS"
        other = values(ProcedureStepState="IN PROGRESS", TransactionUID="1.2.5")
        assert asks.send_n_action(other, 1, push, "1.2.3", meta_uid=pull)[0].Status == 0xC301
        assert asks.send_n_action(None, 2, push, "1.2.3")[0].Status == 0x0000
        assert subscriber.reports.get(timeout=30)[1] == 2
        performed = {
            "PerformedStationNameCodeSequence": CODE, "PerformedProcedureStepStartDateTime": "20260105080000",
            "PerformedWorkitemCodeSequence": CODE, "PerformedProcedureStepEndDateTime": "20260105081500",
            "OutputInformationSequence": [],
        }  # fmt: skip
        changes = values(UnifiedProcedureStepPerformedProcedureSequence=[performed])
        assert asks.send_n_set(changes, push, "1.2.3", meta_uid=pull)[0].Status == 0xC301
        changes.TransactionUID = "1.2.4"
        assert asks.send_n_set(changes, push, "1.2.3", meta_uid=pull)[0].Status == 0x0000
        done = values(ProcedureStepState="COMPLETED", TransactionUID="1.2.4")
        assert asks.send_n_action(done, 1, push, "1.2.3", meta_uid=pull)[0].Status == 0x0000
        assert subscriber.reports.get(timeout=30)[2].ProcedureStepState == "COMPLETED"
        status, kept = asks.send_n_get([], push, "1.2.3", meta_uid=watch)
        assert (status.Status, kept.ProcedureStepState) == (0x0000, "COMPLETED")
        assert "TransactionUID" not in kept
        assert asks.send_n_action(None, 2, push, "1.2.3")[0].Status == 0xC311
        away = values(ReceivingAE="WATCHER")
        assert asks.send_n_action(away, 5, push, GLOBAL, meta_uid=watch)[0].Status == 0x0000
        assert asks.send_n_action(away, 4, push, GLOBAL, meta_uid=watch)[0].Status == 0x0000
    assert ours.workitems.retrieve("1.2.3").ProcedureStepState == "COMPLETED"


# --- we ask pynetdicom -----------------------------------------------------------------------------------------------


@pytest.fixture
def theirs(free_port: Callable[[], int]) -> Iterator[tuple[WorkflowScp, Node]]:
    port = free_port()
    with WorkflowScp({"LAB1": port}) as scp:
        yield scp, Node(scp.ae, me=f"LAB1:{port}")


def test_our_performed_step(theirs: tuple[WorkflowScp, Node]) -> None:
    scp, node = theirs
    row = DAY.schedule.iloc[0]
    with node.perform(row) as ours:
        assert scp.steps[ours.uid].PerformedProcedureStepStatus == "IN PROGRESS"
        ours.set(PerformedProcedureStepDescription="again")
    kept = scp.steps[ours.uid]
    assert kept.PerformedProcedureStepStatus == "COMPLETED"
    assert kept.PerformedProcedureStepDescription == "again"
    assert kept.PatientName == row["PatientName"]
    assert kept.PerformedSeriesSequence[0].ProtocolName
    assert node.performed_step(ours.uid).PatientID == row["PatientID"]
    with pytest.raises(ServiceError, match="0110H"):
        ours.set(PerformedProcedureStepDescription="late")
    with pytest.raises(ServiceError, match="0112H"):
        node.performed_step("1.2.9")


def test_our_work_item(theirs: tuple[WorkflowScp, Node]) -> None:
    scp, node = theirs
    items = node.workitems
    uid = items.create(ProcedureStepLabel="Read CT", PatientID="P1", PatientName="Ä^B").uid
    assert scp.workitems[uid].ProcedureStepState == "SCHEDULED"
    assert list(items.search(PatientID="P1")["PatientName"]) == ["Ä^B"]
    with items.events(seconds=30) as events:
        items.subscribe(deletion_lock=True)
        assert scp.actions[-1] == (3, values(ReceivingAE="LAB1", DeletionLock="TRUE"))
        mine = items.claim(uid).transaction_uid
        event = next(events)
        assert (event.uid, event.information.ProcedureStepState) == (uid, "IN PROGRESS")
        with pytest.raises(ServiceError, match="C301H"):
            items.claim(uid)
        with pytest.raises(ServiceError, match="C301H"):
            items.update(uid, {"ProcedureStepLabel": "x"}, "1.2.3")
        items.update(uid, {"ProcedureStepLabel": "Read it"}, mine)
        assert items.retrieve(uid).ProcedureStepLabel == "Read it"
        items.change_state(uid, "COMPLETED", mine)
        assert scp.workitems[uid].ProcedureStepState == "COMPLETED"
        items.request_cancel(uid, "too late")
        assert scp.actions[-1] == (2, values(ReasonForCancellation="too late"))
        items.suspend()
        items.unsubscribe()
        assert [action for action, _ in scp.actions[-2:]] == [5, 4]
        with pytest.raises(ServiceError, match="C307H"):
            items.retrieve("1.2.9")
