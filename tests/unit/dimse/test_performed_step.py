"""The Modality Performed Procedure Step: every transition of the table, and what each state needs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse.performed_step import (
    ATTRIBUTES,
    ERROR_ID,
    STATES,
    STATUS,
    TAGS,
    TRANSITIONS,
    State,
    changed,
    created,
)
from dicomlab.dimse.tree import tree_of_values
from dicomlab.errors import ServiceError

STEP: dict[str, Any] = {
    "ScheduledStepAttributesSequence": [{"StudyInstanceUID": "1.2.3"}],
    "PerformedProcedureStepID": "P1",
    "PerformedStationAETitle": "CT1",
    "PerformedProcedureStepStartDate": "20260706",
    "PerformedProcedureStepStartTime": "0900",
    "PerformedProcedureStepStatus": "IN PROGRESS",
    "Modality": "CT",
}
END: dict[str, Any] = {
    "PerformedProcedureStepEndDate": "20260706",
    "PerformedProcedureStepEndTime": "0930",
    "PerformedSeriesSequence": [{"ProtocolName": "X", "SeriesInstanceUID": "1.2.3.4"}],
}


def new(**changes: Any) -> Any:
    return tree_of_values({**STEP, **changes})


def refused(status: int, *elements: int) -> Any:
    return pytest.raises(ServiceError, check=lambda e: (e.status, e.elements) == (status, elements))


@given(st.sampled_from(sorted(TRANSITIONS, key=str)), st.sampled_from([*STATES, "SCHEDULED", ""]))
def test_every_transition(row: tuple[str, State | None], asked: str) -> None:
    request, state = row
    whole, _, _ = created(None, new())

    def carry_out() -> State:
        if request == "N-CREATE":
            return created(state, new(PerformedProcedureStepStatus=asked))[1]
        return changed(state, whole, tree_of_values({**END, "PerformedProcedureStepStatus": asked}))[1]

    expected = TRANSITIONS[row].get(asked)
    if expected is None:  # a status that there is none of
        expected = {("N-CREATE", None): 0x0106 if asked else 0x0121, ("N-SET", "IN PROGRESS"): 0x0106}.get(
            row, next(iter(TRANSITIONS[row].values()))
        )
    if isinstance(expected, str):
        assert carry_out() == expected
        return
    with pytest.raises(ServiceError) as caught:
        carry_out()
    assert caught.value.status == expected
    assert caught.value.error_id == (ERROR_ID if expected == 0x0110 else None)


def test_a_final_state_never_changes() -> None:
    for state in ("COMPLETED", "DISCONTINUED"):
        for asked in STATES:
            assert TRANSITIONS["N-SET", state][asked] == 0x0110  # type: ignore[index]


def test_what_may_be_empty_is_put_in() -> None:
    whole, state, absent = created(None, new())
    assert state == "IN PROGRESS"
    assert "PatientName" in absent
    assert whole[0x00100010] == ("PN", [])


@pytest.mark.parametrize("keyword", [one.keyword for one in ATTRIBUTES if one.create == "1"])
def test_what_a_new_step_needs(keyword: str) -> None:
    without = {name: value for name, value in STEP.items() if name != keyword}
    with refused(0x0120, TAGS[keyword]):
        created(None, tree_of_values(without))
    with refused(0x0121, TAGS[keyword]):
        created(None, new(**{keyword: None}))


@pytest.mark.parametrize("keyword", list(END))
@pytest.mark.parametrize("state", ["COMPLETED", "DISCONTINUED"])
def test_what_a_final_state_needs(keyword: str, state: str) -> None:
    whole, _, _ = created(None, new())
    ends = {name: value for name, value in END.items() if name != keyword}
    with refused(0x0121, TAGS[keyword]):
        changed("IN PROGRESS", whole, tree_of_values({**ends, "PerformedProcedureStepStatus": state}))
    assert changed("IN PROGRESS", whole, tree_of_values({**END, "PerformedProcedureStepStatus": state}))[1] == state


def test_what_is_not_to_be_changed() -> None:
    whole, _, _ = created(None, new(PatientID="P1"))
    with refused(0x0105, 0x00100020):
        changed("IN PROGRESS", whole, tree_of_values({"PatientID": "P2"}))
    assert changed("IN PROGRESS", whole, tree_of_values({"PatientID": "P1"}))[0] == whole  # said again


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"PerformedProcedureStepEndDate": "tomorrow"}, 0x0106),
        ({"PerformedSeriesSequence": [{"ProtocolName": "X", "SeriesInstanceUID": "no uid"}]}, 0x0106),
        ({"PerformedSeriesSequence": [{"ProtocolName": "X"}]}, 0x0120),
        ({"PerformedSeriesSequence": [{"ProtocolName": "", "SeriesInstanceUID": "1.2"}]}, 0x0121),
    ],
)
def test_values_that_can_not_be(changes: dict[str, Any], status: int) -> None:
    whole, _, _ = created(None, new())
    with pytest.raises(ServiceError) as caught:
        changed("IN PROGRESS", whole, tree_of_values(changes))
    assert caught.value.status == status


def test_a_sequence_that_is_none() -> None:
    with pytest.raises(ServiceError) as caught:
        created(None, {**new(), TAGS["ScheduledStepAttributesSequence"]: ("LO", ["x"])})
    assert caught.value.status == 0x0106
    assert TAGS["PerformedProcedureStepStatus"] == STATUS
