"""One worklist, three ways to it: straight, over DIMSE, over the web. What each step leaves, and who is told, is the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import Archive, WebEndpoint
from dicomlab.errors import ServiceError
from dicomlab.model.workitem import EventReport
from dicomlab.model.workitems import WorkItems
from tests.unit.archive.test_workitems import PERFORMED

WAYS = ("straight", "DIMSE", "web")
_OUR_OWN = ("SOPInstanceUID", "ScheduledProcedureStepModificationDateTime", "ScheduledProcedureStepStartDateTime")


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive() as opened:
        yield opened


def items_of(archive: Archive, way: str) -> WorkItems:
    return {"straight": archive, "DIMSE": archive.node, "web": archive.web}[way].workitems  # type: ignore[attr-defined]


def kept(archive: Archive, uid: str) -> str:
    """A work item as the archive keeps it, without what is its own."""
    found = archive.workitems.retrieve(uid)
    for keyword in _OUR_OWN:
        if keyword in found:
            del found[keyword]
    return found.to_json()


def steps(archive: Archive, items: WorkItems, owner: str) -> list[object]:
    """A workflow with everything that is refused on its way; what each step answers and leaves."""
    story: list[object] = []
    uid = items.create(ProcedureStepLabel="Read CT", PatientName="Müller^Jürgen", PatientID="P1").uid

    def step(do: Any) -> None:
        try:
            said: object = do().status
        except ServiceError as error:
            said = next((word for word in str(error).replace('"', " ").split() if word[:2] in ("C3", "01")), str(error))
        story.append((said, kept(archive, uid)))

    step(lambda: items.update(uid, {"WorklistLabel": "READING"}))
    step(lambda: items.change_state(uid, "COMPLETED", owner))
    step(lambda: items.change_state(uid, "IN PROGRESS", owner))
    step(lambda: items.change_state(uid, "IN PROGRESS", owner))
    step(lambda: items.update(uid, {"WorklistLabel": "MINE"}))
    step(lambda: items.change_state(uid, "COMPLETED", owner))
    step(lambda: items.update(uid, PERFORMED, owner))
    step(lambda: items.change_state(uid, "COMPLETED", "1.2.3"))
    step(lambda: items.change_state(uid, "COMPLETED", owner))
    step(lambda: items.change_state(uid, "COMPLETED", owner))
    step(lambda: items.request_cancel(uid))
    story.append(items.search(SOPInstanceUID=uid)["ProcedureStepState"].tolist())
    story.append([str(items.retrieve(uid).get(name, "")) for name in ("ProcedureStepState", "TransactionUID")])
    return story


def test_the_same_steps_leave_the_same(archive: Archive) -> None:
    stories = {way: steps(archive, items_of(archive, way), "2.25.7") for way in WAYS}
    assert stories["DIMSE"] == stories["straight"]
    said = [one[0] if isinstance(one, tuple) else one for one in stories["web"]]
    assert [one[1] for one in stories["web"][:-2]] == [one[1] for one in stories["straight"][:-2]]  # type: ignore[index]
    assert [str(one)[:5] for one in said] == [
        str(one[0] if isinstance(one, tuple) else one)[:5] for one in stories["straight"]
    ]


def test_subscribers_of_both_doors_are_told_alike(archive: Archive) -> None:
    web = WebEndpoint(archive.web.url, me="READER").workitems
    node = archive.node.workitems
    with node.events(seconds=60) as at_node, web.events(seconds=60) as at_web:
        for items in (node, web):
            items.subscribe(PatientID="BOTH")
        uid = archive.workitems.create(ProcedureStepLabel="Read", PatientID="BOTH").uid
        mine = web.claim(uid).transaction_uid
        node.update(uid, PERFORMED, mine)
        archive.workitems.request_cancel(uid, "why")
        web.change_state(uid, "COMPLETED", mine)
        told = [[_told(next(events)) for _ in range(4)] for events in (at_node, at_web)]
    assert told[0] == told[1]
    assert [kind for _, kind, _ in told[0]] == [1, 1, 2, 1]
    assert {one for one, _, _ in told[0]} == {uid}


def _told(event: EventReport) -> tuple[str, int, str]:
    information: Dataset = event.information
    return event.uid, event.event_type, information.to_json()
