"""The same workflow once through each door of an archive: after each step both hold the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from dicomlab import Archive, samples
from dicomlab.errors import ServiceError
from dicomlab.model.workitem import FILTERED, GLOBAL
from dicomlab.model.workitems import WorkItems

MINE, OTHERS, CODE = "1.2.840.1", "1.2.840.2", [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "x"}]
PERFORMED = {
    "UnifiedProcedureStepPerformedProcedureSequence": [
        {
            "PerformedStationNameCodeSequence": CODE, "PerformedProcedureStepStartDateTime": "20260105080000",
            "PerformedWorkitemCodeSequence": CODE, "PerformedProcedureStepEndDateTime": "20260105081500",
            "OutputInformationSequence": [],
        }
    ]
}  # fmt: skip
CANCELED = {
    "ProcedureStepProgressInformationSequence": [
        {
            "ProcedureStepCancellationDateTime": "20260105080000",
            "ProcedureStepDiscontinuationReasonCodeSequence": CODE,
        }
    ]
}
NEW = {"ScheduledProcedureStepStartDateTime": "20260105080000", "PatientName": "Ä^B", "PatientID": "P1"}
READ, SEND = "1.2.5.1", "1.2.5.2"

STEPS: dict[str, Callable[[WorkItems], Any]] = {
    "subscribe to all": lambda w: w.subscribe(),
    "create": lambda w: w.create({**NEW, "ProcedureStepLabel": "Read"}, READ),
    "create it again": lambda w: w.create({**NEW, "ProcedureStepLabel": "Read"}, READ),
    "create one without a label": lambda w: w.create(NEW, "1.2.5.9"),
    "create one that is done": lambda w: w.create({**NEW, "ProcedureStepLabel": "x", "ProcedureStepState": "COMPLETED"}),
    "change it before it is claimed": lambda w: w.update(READ, {"ProcedureStepLabel": "Read CT"}),
    "complete it before it is claimed": lambda w: w.change_state(READ, "COMPLETED", MINE),
    "claim": lambda w: w.change_state(READ, "IN PROGRESS", MINE),
    "claim for somebody else": lambda w: w.change_state(READ, "IN PROGRESS", OTHERS),
    "schedule it again": lambda w: w.change_state(READ, "SCHEDULED", MINE),
    "change it without the lock": lambda w: w.update(READ, PERFORMED),
    "change its patient": lambda w: w.update(READ, {"PatientID": "P2"}, MINE),
    "complete it too early": lambda w: w.change_state(READ, "COMPLETED", MINE),
    "say what was performed": lambda w: w.update(READ, PERFORMED, MINE),
    "ask that it be canceled": lambda w: w.request_cancel(READ, "not needed"),
    "complete": lambda w: w.change_state(READ, "COMPLETED", MINE),
    "complete it again": lambda w: w.change_state(READ, "COMPLETED", MINE),
    "change it afterwards": lambda w: w.update(READ, {"ProcedureStepLabel": "x"}, MINE),
    "cancel it afterwards": lambda w: w.change_state(READ, "CANCELED", MINE),
    "suspend": lambda w: w.suspend(),
    "create another": lambda w: w.create({**NEW, "ProcedureStepLabel": "Send"}, SEND),
    "subscribe to it": lambda w: w.subscribe(SEND, deletion_lock=True),
    "claim the other": lambda w: w.change_state(SEND, "IN PROGRESS", MINE),
    "say why it is canceled": lambda w: w.update(SEND, CANCELED, MINE),
    "cancel": lambda w: w.change_state(SEND, "CANCELED", MINE),
    "subscribe to what matches": lambda w: w.subscribe(PatientID="P1"),
    "cancel what nobody has": lambda w: w.request_cancel("1.2.5.8"),
    "unsubscribe": lambda w: w.unsubscribe(),
    "look for what is not there": lambda w: w.retrieve("1.2.5.8"),
}  # fmt: skip
_TIMES = ("ScheduledProcedureStepModificationDateTime",)


def state(archive: Archive) -> Any:
    """What it holds of work items, and what it has to tell."""
    kept = archive._opened().department.workitems
    items = []
    for dataset in kept.matches(()):
        for name in _TIMES:
            dataset.pop(name, None)
        held = kept._tables.get(str(dataset.SOPInstanceUID))
        items.append((dataset.to_json_dict(), held.state, held.transaction_uid) if held else None)
    events = [(e.uid, e.event_type, e.information.to_json_dict()) for e in kept.events("LAB1")]
    subscribed = [kept._tables.subscribers(uid) for uid in (READ, SEND, GLOBAL, FILTERED)]
    return items, events, subscribed, kept._tables.worklist_subscribers()


@pytest.fixture
def doors() -> Iterator[dict[str, tuple[Archive, WorkItems]]]:
    with ExitStack() as stack:
        archives = [stack.enter_context(Archive()) for _ in range(3)]
        for archive in archives:
            archive._opened().department.workitems.acknowledge = lambda *_: None  # type: ignore[method-assign]  # keep all
        services = [one.workitems._service for one in (archives[0].node, archives[1].web, archives[2])]
        names = ("DIMSE", "web", "straight")
        yield {
            name: (archive, WorkItems(service, name, "LAB1"))
            for name, archive, service in zip(names, archives, services, strict=True)
        }


def test_both_doors_lead_to_the_same(doors: dict[str, tuple[Archive, WorkItems]]) -> None:
    for name, step in STEPS.items():
        outcomes, states = {}, {}
        for door, (archive, items) in doors.items():
            before = state(archive)
            try:
                step(items)
                outcomes[door] = True
            except ServiceError:
                outcomes[door] = False
            states[door] = state(archive)
            if not outcomes[door]:
                assert states[door] == before, f"{name} was refused over {door} and changed something"
        assert len(set(outcomes.values())) == 1, f"{name}: {outcomes}"
        assert states["DIMSE"] == states["web"] == states["straight"], name


@pytest.mark.parametrize("door", ["DIMSE", "web"])
def test_a_day_read_through_each_door(door: str) -> None:
    """Acquired over DIMSE, as modalities do; ordered, claimed, retrieved, reported and completed through the door."""
    day = samples.department(seed=2, patients=2)
    with Archive() as archive:
        archive.worklist.fill(day.schedule)
        source: Any = archive.node if door == "DIMSE" else archive.web
        for item in archive.node.worklist():
            day.order_reading(source.workitems, day.modality(archive.node, slices=1).acquire(item))
        reader = day.reader(source)
        readings = [reader.read(task) for task in reader.tasks()]
        assert len(readings) == 2
        assert list(archive.workitems.search()["ProcedureStepState"]) == ["COMPLETED"] * 2
        assert (
            len(
                archive.node.find(
                    "series", Modality="SR", StudyInstanceUID=[r.document.StudyInstanceUID for r in readings]
                )
            )
            == 2
        )
