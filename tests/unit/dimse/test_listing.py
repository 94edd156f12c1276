"""Keys in sequences: what matches a worklist item, and what is given of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse.identifier import encode_tree
from dicomlab.dimse.listing import Listing, flat, nested, read_listing, row_of, tree_of_keys, tree_of_row
from dicomlab.dimse.tree import tree_of_values
from dicomlab.errors import ServiceError, UsageError
from dicomlab.model.columns import column, columns
from tests.unit.dimse.holdings import EXPLICIT, IMPLICIT

CODES = [
    {"CodeValue": "H", "CodingSchemeDesignator": "99X", "CodeMeaning": "Head"},
    {"CodeValue": "N", "CodingSchemeDesignator": "99Y", "CodeMeaning": "Neck"},
]
STEP = {
    "Modality": "CT",
    "ScheduledStationAETitle": "CT1\\CT2",
    "ScheduledProcedureStepStartDate": "20260706",
    "ScheduledProcedureStepStartTime": "0900",
    "ScheduledProtocolCodeSequence": CODES,
}
ITEM = tree_of_values({"PatientName": "Müller^Jürgen", "PatientID": "P1", "ScheduledProcedureStepSequence": [STEP]})


def asked(syntax: str = EXPLICIT, **step: Any) -> Listing:
    around = {name: step.pop(name) for name in list(step) if name.startswith("Patient")}
    keys = tree_of_values({**around, "ScheduledProcedureStepSequence": [step] if step else []})
    return read_listing(encode_tree(keys, syntax), syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"PatientName": "m*"},
        {"PatientID": None, "Modality": "CT"},
        {"Modality": "C?"},
        {"ScheduledStationAETitle": "CT2"},
        {"ScheduledProcedureStepStartDate": "20260701-20260731"},
        {"ScheduledProcedureStepStartDate": "-20260731", "ScheduledProcedureStepStartTime": "-0800"},
        {"ScheduledProtocolCodeSequence": [{"CodeValue": "N", "CodingSchemeDesignator": "99Y"}]},
        {"ScheduledProtocolCodeSequence": [{"CodeValue": None}]},
        {"ScheduledPerformingPhysicianName": None},
    ],
)
def test_what_matches(keys: dict[str, Any], syntax: str) -> None:
    assert asked(syntax, **keys).matches(ITEM)


@pytest.mark.parametrize(
    "keys",
    [
        {"PatientID": "P2"},
        {"Modality": "MR"},
        {"ScheduledProcedureStepStartDate": "20260701-20260705"},
        {"ScheduledPerformingPhysicianName": "A"},
        {"ScheduledProtocolCodeSequence": [{"CodeValue": "H", "CodingSchemeDesignator": "99Y"}]},
        {"ScheduledSpecimenSequence": [{"SpecimenIdentifier": "1"}]},
    ],
)
def test_what_does_not(keys: dict[str, Any]) -> None:
    """Keys of one item must match in one item (PS3.4 §C.2.2.2.6): there is no H of 99Y."""
    assert not asked(**keys).matches(ITEM)


@given(st.integers(5, 8), st.integers(0, 23))
def test_dates_and_times_are_one_range(day: int, hour: int) -> None:
    """From the 5th, 10 o'clock, to the 7th, 18 o'clock: on the 6th every hour lies within (PS3.4 Table K.6-1)."""
    step = {"ScheduledProcedureStepStartDate": f"2026070{day}", "ScheduledProcedureStepStartTime": f"{hour:02}0000"}
    keys = {
        "ScheduledProcedureStepStartDate": "20260705-20260707",
        "ScheduledProcedureStepStartTime": "100000-180000",
    }
    item = tree_of_values({"ScheduledProcedureStepSequence": [step]})
    assert asked(**keys).matches(item) == ((5, 10, 0) <= (day, hour, 0) <= (7, 18, 0))


def test_what_is_given() -> None:
    listing = asked(PatientID=None, PatientSex=None, Modality=None, ScheduledProtocolCodeSequence=[{"CodeValue": None}])
    codes = [{0x00080100: ("SH", ["H"])}, {0x00080100: ("SH", ["N"])}]
    step = {0x00080060: ("CS", ["CT"]), 0x00400008: ("SQ", codes)}
    assert listing.answer(ITEM) == {
        0x00100020: ("LO", ["P1"]),
        0x00100040: ("CS", []),
        0x00400100: ("SQ", [step]),
    }
    assert asked().answer(ITEM)[0x00400100] == ITEM[0x00400100]  # a sequence without an item asks for all of it


def test_a_moment_with_an_offset_is_no_range() -> None:
    def keys(text: str) -> Listing:
        return read_listing(encode_tree({0x00404005: ("DT", [text])}, EXPLICIT), EXPLICIT)

    item = tree_of_values({"ScheduledProcedureStepStartDateTime": "20260706090000"})
    assert keys("20260101-20260707").matches(item)
    assert keys("20260101-").matches(item)
    assert not keys("20260101-0500").matches(item)


def test_keys_that_nobody_knows_are_passed_over() -> None:
    tree = {0x00091001: ("LO", ["x"]), 0x00100020: ("LO", ["P1"])}
    listing = read_listing(encode_tree(tree, EXPLICIT), EXPLICIT)
    assert listing.ignored
    assert listing.matches(ITEM)
    assert not read_listing(encode_tree({0x00100020: ("LO", ["P1"])}, EXPLICIT), EXPLICIT).ignored


@pytest.mark.parametrize("octets", [b"\x10", encode_tree({0x00400002: ("DA", ["soon"])}, EXPLICIT)])
def test_what_can_not_be_asked(octets: bytes) -> None:
    with pytest.raises(ServiceError) as caught:
        read_listing(octets, EXPLICIT)
    assert caught.value.status == 0xA900


def test_steps_flat_and_nested() -> None:
    (step,) = flat(ITEM)
    assert step[0x00080060] == ("CS", ["CT"])
    assert step[0x00100020] == ("LO", ["P1"])
    assert nested(step) == ITEM
    assert nested(ITEM) == ITEM
    assert list(flat({})) == [{}]


def test_rows_there_and_back() -> None:
    shown = columns(["PatientID", "Modality", "ScheduledProtocolCodeSequence.CodeValue", "AccessionNumber"])
    (step,) = flat(ITEM)
    row = row_of(step, shown)
    assert row == {"PatientID": ["P1"], "Modality": ["CT"], "ScheduledProtocolCodeSequence.CodeValue": ["H", "N"]}
    back = tree_of_row({"PatientID": "P1", "ScheduledProtocolCodeSequence.CodeValue": ("H", "N"), "Modality": "CT"})
    assert row_of(back, shown) == row
    assert tree_of_row({"ScheduledProtocolCodeSequence.CodeValue": None}) == {0x00400008: ("SQ", [])}
    with pytest.raises(UsageError):
        tree_of_row({"Nothing.CodeValue": "1"})


def test_keys_of_columns() -> None:
    keys = tree_of_keys({column("Modality"): "CT", column("ScheduledProtocolCodeSequence.CodeValue"): ""})
    assert keys == {0x00080060: ("CS", ["CT"]), 0x00400008: ("SQ", [{0x00080100: ("SH", [])}])}
