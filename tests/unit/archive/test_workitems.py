"""The archive's work items: what is kept, who is told, what a request that can't be leaves as it was."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from dicomlab.archive.workitem_tables import MAX_KEPT_EVENTS
from dicomlab.archive.workitems import WorkItemStore
from dicomlab.errors import Interrupted, ServiceError, UsageError
from dicomlab.model.query import Query
from dicomlab.model.workitem import FILTERED, GLOBAL, Done
from dicomlab.model.workitems import WorkItems, dataset_of, scheduled
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import to_json

PERFORMED = {
    "UnifiedProcedureStepPerformedProcedureSequence": [
        {
            "PerformedStationNameCodeSequence": [{"CodeValue": "CT1", "CodingSchemeDesignator": "99X"}],
            "PerformedProcedureStepStartDateTime": "20260101120000",
            "PerformedProcedureStepEndDateTime": "20260101121000",
            "PerformedWorkitemCodeSequence": [{"CodeValue": "110005", "CodingSchemeDesignator": "DCM"}],
            "OutputInformationSequence": [],
        }
    ]
}
REASON = {
    "ProcedureStepProgressInformationSequence": [
        {
            "ProcedureStepDiscontinuationReasonCodeSequence": [
                {"CodeValue": "110514", "CodingSchemeDesignator": "DCM", "CodeMeaning": "Incorrect worklist entry"}
            ]
        }
    ]
}


@pytest.fixture
def store(tmp_path: Path):
    opened = WorkItemStore(tmp_path / "workitems.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def items(store: WorkItemStore) -> WorkItems:
    return WorkItems(store, "the store", "LAB1")


def refused(status: int):
    return pytest.raises(ServiceError, match=f"^{status:04X}H")


def told(store: WorkItemStore, receiver: str) -> list[tuple[str, str]]:
    events = store.events(receiver)
    if events:
        store.acknowledge(receiver, events[-1].sequence)
    return [(one.name, str(one.information.get("ProcedureStepState", ""))) for one in events]


def test_an_item_from_its_making_to_its_end(store: WorkItemStore, items: WorkItems) -> None:
    items.subscribe()
    made = items.create(ProcedureStepLabel="Read CT", PatientName="Müller^Jürgen", PatientID="P1")
    assert str(made) == "0000H Success"
    mine = items.claim(made.uid).transaction_uid
    items.update(made.uid, PERFORMED, mine)
    items.change_state(made.uid, "COMPLETED", mine)
    found = items.retrieve(made.uid)
    assert (str(found.PatientName), found.ProcedureStepState) == ("Müller^Jürgen", "COMPLETED")
    assert "TransactionUID" not in found, "it is the lock, and its owner's alone (PS3.18 §11.5.3.3)"
    states = ["SCHEDULED", "IN PROGRESS", "COMPLETED"]
    assert told(store, "LAB1") == [("UPS State Report", state) for state in states]
    cohort = items.search(ProcedureStepState="COMPLETED", PatientName="müller*")
    assert (cohort.level, list(cohort["SOPInstanceUID"])) == ("workitem", [made.uid])
    with pytest.raises(UsageError, match="not instances"):
        cohort.series()


def test_nobody_else_may_touch_what_was_claimed(items: WorkItems) -> None:
    uid = items.create(ProcedureStepLabel="Read").uid
    mine = items.claim(uid).transaction_uid
    with refused(0xC301):
        items.claim(uid)
    with refused(0xC302):
        items.change_state(uid, "IN PROGRESS", mine)
    with refused(0xC301):
        items.update(uid, {"ProcedureStepLabel": "Mine now"}, "1.2.3")
    with refused(0xC301):
        items.update(uid, {"ProcedureStepLabel": "Mine now"})
    assert items.retrieve(uid).ProcedureStepLabel == "Read"


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ProcedureStepState": "COMPLETED"}, 0xC309),
        ({"ProcedureStepLabel": ""}, 0x0121),
        ({"ScheduledProcedureStepPriority": "SOON"}, 0x0106),
        ({"TransactionUID": "1.2.3"}, 0x0106),
        (PERFORMED, 0x0106),
        ({"ScheduledHumanPerformersSequence": [{"HumanPerformerName": "A^B"}]}, 0x0120),
        ({"SOPInstanceUID": "1.2.9"}, 0x0106),
    ],
)
def test_what_can_t_be_created(items: WorkItems, store: WorkItemStore, change: dict, status: int) -> None:
    with refused(status):
        store.create("1.2.3", scheduled({"ProcedureStepLabel": "Read", **change}))
    assert len(store) == 0


def test_what_must_be_there(store: WorkItemStore) -> None:
    whole = scheduled({"ProcedureStepLabel": "Read"})
    for keyword, status in (("ProcedureStepLabel", 0x0120), ("InputReadinessState", 0x0120)):
        lacking = dataset_of({e.keyword: e.value for e in whole if e.keyword != keyword})
        with refused(status):
            store.create("1.2.3", lacking)
    lacking = dataset_of({e.keyword: e.value for e in whole if e.keyword != "PatientName"})
    assert store.create("1.2.3", lacking) == Done("1.2.3", 0xB300, ("PatientName was left out and is empty",))
    assert store.retrieve("1.2.3")["PatientName"].value == ""
    with refused(0x0111):
        store.create("1.2.3", whole)


def test_what_can_t_be_read_is_refused_too(store: WorkItemStore) -> None:
    hostile = {
        **to_json(scheduled({"ProcedureStepLabel": "Read"})),
        "00404005": {"vr": "DT", "Value": ["the day before"]},
    }
    with refused(0x0106):
        store.create("1.2.3", from_json(hostile))
    with pytest.raises(UsageError, match="ScheduledProcedureStepStartDateTime"):
        scheduled({"ScheduledProcedureStepStartDateTime": "the day before"})
    with pytest.raises(UsageError, match="NoSuchThing"):
        scheduled({"NoSuchThing": 1})
    large = scheduled({"ProcedureStepLabel": "Read", "CommentsOnTheScheduledProcedureStep": "x" * 10_000})
    large.add_new(0x00091001, "OB", bytes(1 << 20))
    with refused(0x0213):
        store.create("1.2.3", large)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"ProcedureStepState": "SCHEDULED"}, 0xC303),
        ({"ProcedureStepState": "COMPLETED"}, 0x0106),
        ({"PatientName": "Other^One"}, 0x0106),
        ({"ProcedureStepLabel": ""}, 0x0121),
        ({"ProcedureStepProgressInformationSequence": [{"ProcedureStepProgress": None}]}, 0x0121),
    ],
)
def test_what_can_t_be_set(items: WorkItems, change: dict, status: int) -> None:
    uid = items.create(ProcedureStepLabel="Read").uid
    before = items.retrieve(uid)
    with refused(status):
        items.update(uid, change)
    assert items.retrieve(uid) == before


def test_a_final_state_needs_what_the_table_says(items: WorkItems) -> None:
    uid = items.create(ProcedureStepLabel="Read").uid
    mine = items.claim(uid).transaction_uid
    with refused(0xC304) as caught:
        items.change_state(uid, "COMPLETED", mine)
    assert "UnifiedProcedureStepPerformedProcedureSequence" in str(caught.value)
    half = dict(PERFORMED["UnifiedProcedureStepPerformedProcedureSequence"][0])
    del half["PerformedProcedureStepEndDateTime"]
    items.update(uid, {"UnifiedProcedureStepPerformedProcedureSequence": [half]}, mine)
    with refused(0xC304) as caught:
        items.change_state(uid, "COMPLETED", mine)
    assert "UnifiedProcedureStepPerformedProcedureSequence.PerformedProcedureStepEndDateTime" in str(caught.value)
    with refused(0xC304):
        items.change_state(uid, "CANCELED", mine)  # no reason given
    items.update(uid, REASON, mine)
    items.change_state(uid, "CANCELED", mine)
    assert items.retrieve(uid).ProcedureStepProgressInformationSequence[0].ProcedureStepCancellationDateTime
    assert str(items.change_state(uid, "CANCELED", mine)).startswith("B304H")


def test_a_cancel_request(store: WorkItemStore, items: WorkItems) -> None:
    nobody_s = items.create(ProcedureStepLabel="Read").uid
    items.subscribe(nobody_s)
    items.request_cancel(nobody_s, "the patient has left")
    progress = items.retrieve(nobody_s).ProcedureStepProgressInformationSequence[0]
    assert progress.ReasonForCancellation == "the patient has left"
    assert progress.ProcedureStepDiscontinuationReasonCodeSequence[0].CodeValue == "110513"
    assert told(store, "LAB1") == [("UPS State Report", s) for s in ("SCHEDULED", "IN PROGRESS", "CANCELED")]
    assert items.request_cancel(nobody_s).status == 0xB304

    claimed = items.create(ProcedureStepLabel="Read").uid
    items.claim(claimed)
    with refused(0xC312):
        items.request_cancel(claimed)
    items.subscribe(claimed)
    told(store, "LAB1")
    assert items.request_cancel(claimed, "why", contact="Dr. A", contact_uri="tel:+1").status == 0
    (event,) = store.events("LAB1")
    assert (event.name, event.information.RequestingAE, event.information.ContactDisplayName) == (
        "UPS Cancel Requested", "LAB1", "Dr. A",
    )  # fmt: skip
    assert items.retrieve(claimed).ProcedureStepState == "IN PROGRESS"


def test_who_is_told_of_what(store: WorkItemStore, items: WorkItems) -> None:
    keys = Query.of("instance", ScheduledProcedureStepPriority="HIGH").keys
    store.subscribe(GLOBAL, "ALL", False, ())
    store.subscribe(FILTERED, "URGENT", False, keys)
    first = items.create(ProcedureStepLabel="A", ScheduledProcedureStepPriority="HIGH").uid
    second = items.create(ProcedureStepLabel="B").uid
    store.subscribe(second, "ONE", False, ())
    assert [len(told(store, who)) for who in ("ALL", "URGENT", "ONE")] == [2, 1, 1]
    items.update(second, {"ScheduledProcedureStepPriority": "HIGH"})
    assert told(store, "URGENT") == [("UPS State Report", "SCHEDULED")], "it matches from now on"
    station = {"ScheduledStationNameCodeSequence": [{"CodeValue": "CT1", "CodingSchemeDesignator": "99X"}]}
    items.update(first, station)
    assert told(store, "ALL") == told(store, "URGENT") == [("UPS Assigned", "")]
    store.suspend(GLOBAL, "ALL")
    third = items.create(ProcedureStepLabel="C").uid
    items.update(first, {"InputReadinessState": "UNAVAILABLE"})
    assert told(store, "ALL") == [("UPS State Report", "SCHEDULED")], "of the first, not of the third"
    store.unsubscribe(GLOBAL, "ALL")
    items.update(first, {"InputReadinessState": "READY"})
    assert told(store, "ALL") == []
    assert not store.unsubscribe(third, "ALL").existed
    with refused(0x0115):
        store.subscribe(FILTERED, "URGENT", False, ())
    with refused(0xC314):
        store.suspend(first, "ALL")
    with refused(0xC307):
        store.subscribe("1.2.3", "ALL", False, ())


def test_deletion_locks_keep_what_is_final(store: WorkItemStore, items: WorkItems) -> None:
    locked, free, open_ = (items.create(ProcedureStepLabel=label).uid for label in "ABC")
    items.subscribe(locked, deletion_lock=True)
    for uid in (locked, free):
        items.request_cancel(uid)
    assert store.purge() == 1
    assert items.retrieve(locked)
    assert items.retrieve(open_)
    with refused(0xC307) as caught:
        items.retrieve(free)
    assert "deleted" in str(caught.value)
    assert store.is_gone(free)
    with refused(0x0106):
        items.create(scheduled({"ProcedureStepLabel": "A"}), free)
    items.unsubscribe(locked)
    assert store.purge() == 1


def test_what_was_not_delivered_is_there_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "workitems.sqlite"
    store = WorkItemStore(path)
    items = WorkItems(store, "the store", "LAB1")
    items.subscribe()
    items.create(ProcedureStepLabel="A")
    items.create(ProcedureStepLabel="B")
    first = store.events("LAB1", None, 1)[0]
    store.acknowledge("LAB1", first.sequence)
    store.close()
    again = WorkItemStore(path)
    assert again.receivers() == ["LAB1"]
    kept = again.events("LAB1")
    assert [one.name for one in kept] == ["UPS State Report", "SCP Status Change"]
    assert (kept[1].uid, kept[1].information.SCPStatus) == (GLOBAL, "RESTARTED")
    assert again.events("LAB1", first.sequence) == kept
    again.close()


def test_events_are_bounded(store: WorkItemStore, items: WorkItems) -> None:
    items.subscribe()
    uid = items.create(ProcedureStepLabel="A").uid
    for at in range(MAX_KEPT_EVENTS // 2 + 5):
        items.update(uid, {"InputReadinessState": "UNAVAILABLE"})
        items.update(uid, {"InputReadinessState": "READY"})
        if at == 1:
            early = store.events("LAB1")[0].sequence
    kept = store.events("LAB1", None, 10 * MAX_KEPT_EVENTS)
    assert len(kept) == MAX_KEPT_EVENTS
    assert kept[0].sequence > early


def test_a_channel_in_this_process(store: WorkItemStore, items: WorkItems) -> None:
    items.subscribe()
    with items.events(seconds=30) as events:
        uid = items.create(ProcedureStepLabel="A").uid
        assert next(events).uid == uid
    with pytest.raises(StopIteration):
        next(events)
    assert list(items.events(seconds=0)) == []


def test_a_deliverer_that_fails_changes_nothing(store: WorkItemStore, items: WorkItems, caplog) -> None:
    end = store.watch(lambda receiver: 1 / 0)
    items.subscribe()
    items.create(ProcedureStepLabel="A")
    assert "could not be announced" in caplog.text
    end()
    assert len(store) == 1


def test_what_breaks_in_the_middle_is_undone(store: WorkItemStore, items: WorkItems, tmp_path: Path) -> None:
    items.subscribe()
    uid = items.create(ProcedureStepLabel="A").uid
    with sqlite3.connect(tmp_path / "workitems.sqlite") as other:  # a medium that takes items, and no events
        other.execute("CREATE TRIGGER broken BEFORE INSERT ON events BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.close()
    before = store.retrieve(uid)
    for change in (
        lambda: items.create(ProcedureStepLabel="B"),
        lambda: items.claim(uid),
        lambda: items.request_cancel(uid),
        lambda: items.update(uid, {"InputReadinessState": "UNAVAILABLE"}),
    ):
        with pytest.raises(Interrupted, match="disk full"):
            change()
    assert store.retrieve(uid) == before
    assert len(store) == 1
    assert len(store.events("LAB1")) == 1
