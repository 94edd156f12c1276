"""Work items over DIMSE, our SCU against our SCP: what each SOP Class offers, statuses, events to our own port."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node
from dicomlab.dimse import tables
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.normalized import operate
from dicomlab.dimse.tree import tree_of_values
from dicomlab.dimse.workitems_scp import SERVICES
from dicomlab.errors import Refused, ServiceError, UsageError
from dicomlab.model.workitem import FILTERED, GLOBAL, UPS_PUSH, Done

CODE = [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "x"}]
PERFORMED = {
    "UnifiedProcedureStepPerformedProcedureSequence": [
        {
            "PerformedStationNameCodeSequence": CODE,
            "PerformedProcedureStepStartDateTime": "20260706090000",
            "PerformedWorkitemCodeSequence": CODE,
            "PerformedProcedureStepEndDateTime": "20260706093000",
            "OutputInformationSequence": [],
        }
    ]
}


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive(web_port=None) as one:
        yield one


@pytest.fixture(scope="module")
def untouched() -> Iterator[Archive]:
    """One for all tests that change nothing, as they show."""
    with Archive(web_port=None) as one:
        yield one


def refused(status: int) -> Any:
    return pytest.raises(ServiceError, check=lambda error: error.status == status)


def test_from_push_to_completed(archive: Archive) -> None:
    items = archive.node.workitems
    uid = items.create(ProcedureStepLabel="Read CT", PatientID="P1", PatientName="Müller^Jürgen").uid
    assert str(items.retrieve(uid).PatientName) == "Müller^Jürgen"
    mine = items.claim(uid).transaction_uid
    with refused(0xC301):
        items.claim(uid)
    with refused(0xC304):
        items.change_state(uid, "COMPLETED", mine)
    with refused(0xC301):
        items.update(uid, PERFORMED)
    assert items.update(uid, PERFORMED, mine) == Done(uid)
    assert items.change_state(uid, "COMPLETED", mine) == Done(uid)
    assert items.change_state(uid, "COMPLETED", mine).status == 0xB306
    with refused(0xC300):
        items.update(uid, PERFORMED, mine)
    with refused(0xC311):
        items.request_cancel(uid)
    assert archive.workitems.retrieve(uid) == items.retrieve(uid)
    assert "TransactionUID" not in items.retrieve(uid)


def test_searching(archive: Archive) -> None:
    items = archive.node.workitems
    station = [{"CodeValue": "CT1", "CodingSchemeDesignator": "99X", "CodeMeaning": "CT 1"}]
    made = [
        items.create(ProcedureStepLabel=f"Read {number}", PatientID=f"P{number}", PatientName=f"A^{number}").uid
        for number in range(3)
    ]
    made.append(items.create(ProcedureStepLabel="Late", ScheduledStationNameCodeSequence=station).uid)
    items.claim(made[0])
    found = items.search(ProcedureStepState="SCHEDULED")
    assert list(found["SOPInstanceUID"]) == made[1:]
    assert found.level == "workitem"
    assert list(items.search(PatientID=["P0", "P2"])["PatientID"]) == ["P0", "P2"]
    assert len(items.search(PatientName="a^*")) == 3
    assert list(items.search({"ScheduledStationNameCodeSequence.CodeValue": "CT1"})["SOPInstanceUID"]) == made[3:]
    assert items.search(limit=2).note == "there are more than limit=2"
    assert items.search().to_dataframe().equals(archive.workitems.search().to_dataframe())


def test_events_reach_our_own_port(archive: Archive) -> None:
    items = archive.node.workitems
    with items.events(seconds=30) as events:
        items.subscribe()
        uid = items.create(ProcedureStepLabel="Read CT").uid
        assert [(e.uid, e.name, e.information.ProcedureStepState) for e in (next(events),)] == [
            (uid, "UPS State Report", "SCHEDULED")
        ]
        items.claim(uid)
        assert next(events).information.ProcedureStepState == "IN PROGRESS"
        items.request_cancel(uid, "not needed")
        asked = next(events)
        assert (asked.name, asked.information.ReasonForCancellation) == ("UPS Cancel Requested", "not needed")
        assert items.suspend().status == 0
        items.unsubscribe()
        items.subscribe(PatientID="P1")
        items.create(ProcedureStepLabel="Nobody's", PatientID="P2")
        mine = items.create(ProcedureStepLabel="Mine", PatientID="P1").uid
        assert next(events).uid == mine


def test_what_nobody_took_comes_later(archive: Archive) -> None:
    """The port was closed when it happened; it is tried again."""
    items = archive.node.workitems
    uid = items.create(ProcedureStepLabel="Read CT").uid
    items.subscribe(uid)
    with items.events(seconds=30) as events:
        assert next(events).uid == uid


def test_who_has_no_port_hears_nothing(archive: Archive) -> None:
    node = Node(str(archive.node.address), me="LAB1")
    with pytest.raises(UsageError, match="own port"):
        node.workitems.events()
    with refused(0xC308):
        Node(str(archive.node.address), me="STRANGER:11112").workitems.subscribe()


@pytest.mark.parametrize(
    ("service", "name", "uid", "fields", "values", "status"),
    [
        (tables.UPS_PUSH, "N-CREATE", "1.2.3", {}, {}, 0x0120),
        (tables.UPS_PUSH, "N-CREATE", "no uid", {}, {}, 0x0106),
        (tables.UPS_PUSH, "N-GET", "1.2.3", {}, None, 0xC307),
        (tables.UPS_PUSH, "N-ACTION", "1.2.3", {"ActionTypeID": 1}, {"ProcedureStepState": "IN PROGRESS"}, 0x0123),
        (tables.UPS_PUSH, "N-SET", "1.2.3", {}, {}, 0x0122),
        (tables.UPS_PULL, "N-ACTION", "1.2.3", {"ActionTypeID": 3}, {"ReceivingAE": "LAB1"}, 0x0123),
        (tables.UPS_PULL, "N-ACTION", "1.2.3", {"ActionTypeID": 1}, {"ProcedureStepState": "DONE"}, 0x0115),
        (tables.UPS_PULL, "N-ACTION", "1.2.3", {"ActionTypeID": 1}, {"ProcedureStepState": "IN PROGRESS"}, 0xC307),
        (tables.UPS_PULL, "N-SET", "1.2.3", {}, {"PatientID": "P1"}, 0xC307),
        (tables.UPS_WATCH, "N-ACTION", GLOBAL, {"ActionTypeID": 3}, {"ReceivingAE": "LAB1"}, 0x0115),
        (tables.UPS_WATCH, "N-ACTION", FILTERED, {"ActionTypeID": 3},
         {"ReceivingAE": "LAB1", "DeletionLock": "FALSE"}, 0x0115),
        (tables.UPS_WATCH, "N-ACTION", FILTERED, {"ActionTypeID": 3},
         {"ReceivingAE": "LAB1", "DeletionLock": "FALSE", "PatientBirthDate": "soon"}, 0x0115),
        (tables.UPS_WATCH, "N-ACTION", "1.2.3", {"ActionTypeID": 5}, {"ReceivingAE": "LAB1"}, 0xC314),
        (tables.UPS_WATCH, "N-ACTION", "1.2.3", {"ActionTypeID": 9}, {}, 0x0123),
        (tables.UPS_WATCH, "N-CREATE", "1.2.3", {}, {}, 0x0122),
        (tables.UPS_QUERY, "N-GET", "1.2.3", {}, None, 0x0122),
    ],
)  # fmt: skip
def test_what_does_not_belong_gets_its_status(
    untouched: Archive, service: str, name: str, uid: str, fields: dict[str, Any], values: Any, status: int
) -> None:
    tree = tree_of_values(values) if values is not None else None
    with untouched.node._peer.associate([Proposal(service, tables.UNCOMPRESSED)]) as association:
        context = association.context_for(service)
        assert context is not None
        with refused(status):
            operate(association, context, name, uid, tree, sop_class_uid=UPS_PUSH, **fields)
    assert len(untouched.workitems.search()) == 0


def test_every_class_is_there(archive: Archive) -> None:
    agreed = archive.node.negotiate(list(SERVICES))
    assert all(agreed.accepted(uid) for uid in SERVICES)


def test_a_peer_that_does_not_offer_it(archive: Archive) -> None:
    archive.faults.refuse_context(tables.UPS_PUSH)
    with pytest.raises(Refused, match="none of the presentation contexts"):
        archive.node.workitems.create(ProcedureStepLabel="x")


def test_events_outlive_the_archive(tmp_path: Path, free_port: Callable[[], int]) -> None:
    """Nobody listened while it happened, and the archive was closed; the next one tells."""
    port = free_port()
    known = {"WATCHER": ("127.0.0.1", port)}
    with Archive(tmp_path, web_port=None, known=known) as archive:
        watcher = Node(str(archive.node.address), me=f"WATCHER:{port}")
        watcher.workitems.subscribe()
        uid = archive.node.workitems.create(ProcedureStepLabel="Read CT").uid
    with Archive(tmp_path, web_port=None, known=known) as archive:
        watcher = Node(str(archive.node.address), me=f"WATCHER:{port}")
        with watcher.workitems.events(seconds=30) as events:
            told = [next(events) for _ in range(2)]
        assert [(one.uid, one.name) for one in told] == [(uid, "UPS State Report"), (GLOBAL, "SCP Status Change")]
        assert told[1].information.SCPStatus == "RESTARTED"


def test_only_the_peer_reports_events(archive: Archive, free_port: Callable[[], int]) -> None:
    """Our port takes events of the peer that was asked, and those that there are."""
    port = free_port()
    node = Node(str(archive.node.address), me=f"LAB2:{port}")
    with node.workitems.events(seconds=30) as events:
        liar = Node(f"LAB2@127.0.0.1:{port}", me="LIAR")
        with pytest.raises(Refused):
            liar.negotiate([tables.UPS_EVENT])
        peer = Node(f"LAB2@127.0.0.1:{port}", me="DICOMLAB")
        proposal = Proposal(tables.UPS_EVENT, tables.UNCOMPRESSED, scp=True)
        with peer._peer.associate([proposal]) as association:
            context = association.context_for(tables.UPS_EVENT)
            assert context is not None
            with refused(0x0113):
                operate(association, context, "N-EVENT-REPORT", "1.2.3", {}, sop_class_uid=UPS_PUSH, EventTypeID=9)
            with refused(0x0115):
                operate(association, context, "N-EVENT-REPORT", "1.2.3", b"\x10", sop_class_uid=UPS_PUSH, EventTypeID=1)
            tree = tree_of_values({"ProcedureStepState": "COMPLETED"})
            operate(association, context, "N-EVENT-REPORT", "1.2.3", tree, sop_class_uid=UPS_PUSH, EventTypeID=1)
        assert next(events).information.ProcedureStepState == "COMPLETED"
