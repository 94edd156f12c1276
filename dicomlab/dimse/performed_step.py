"""The Modality Performed Procedure Step as a state machine: states, required attributes, statuses, as data. No I/O.

Source
------
PS3.4 §F.7.2.1, §F.7.2.2, Table F.7.2-1; PS3.7 Annex C.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.tree import unreadable, value_of
from dicomlab.errors import ServiceError
from dicomlab.model.columns import format_tag

State = Literal["IN PROGRESS", "COMPLETED", "DISCONTINUED"]
"""Performed Procedure Step Status (0040,0252)."""
STATES: tuple[State, ...] = get_args(State)

INVALID_VALUE, PROCESSING_FAILURE, DUPLICATE, NO_SUCH_INSTANCE = 0x0106, 0x0110, 0x0111, 0x0112
NO_SUCH_ATTRIBUTE, MISSING, MISSING_VALUE = 0x0105, 0x0120, 0x0121
NO_LONGER_UPDATED = "Performed Procedure Step Object may no longer be updated"
"""The Error Comment of a 0110H to a step in a final state, whose Error ID is A710H (Table F.7.2-2)."""
ERROR_ID = 0xA710

TRANSITIONS: Mapping[tuple[str, State | None], Mapping[str, State | int]] = {
    ("N-CREATE", None): {"IN PROGRESS": "IN PROGRESS", "COMPLETED": INVALID_VALUE, "DISCONTINUED": INVALID_VALUE},
    **{("N-CREATE", state): dict.fromkeys(STATES, DUPLICATE) for state in STATES},
    ("N-SET", None): dict.fromkeys(STATES, NO_SUCH_INSTANCE),
    ("N-SET", "IN PROGRESS"): {state: state for state in STATES},
    ("N-SET", "COMPLETED"): dict.fromkeys(STATES, PROCESSING_FAILURE),
    ("N-SET", "DISCONTINUED"): dict.fromkeys(STATES, PROCESSING_FAILURE),
}
"""What a request does to a step (None: there is none), by the status that it asks for: the state that the step is in
then, or the status of the answer, and nothing has changed."""

_TABLE = """
# keyword, each > one sequence deeper            N-CREATE N-SET final
ScheduledStepAttributesSequence           00400270  1  no  -
>StudyInstanceUID                         0020000D  1  no  -
>ReferencedStudySequence                  00081110  2  no  -
>>ReferencedSOPClassUID                   00081150  1  no  -
>>ReferencedSOPInstanceUID                00081155  1  no  -
>AccessionNumber                          00080050  2  no  -
>RequestedProcedureID                     00401001  2  no  -
>RequestedProcedureDescription            00321060  2  no  -
>ScheduledProcedureStepID                 00400009  2  no  -
>ScheduledProcedureStepDescription        00400007  2  no  -
>ScheduledProtocolCodeSequence            00400008  2  no  -
PatientName                               00100010  2  no  -
PatientID                                 00100020  2  no  -
PatientBirthDate                          00100030  2  no  -
PatientSex                                00100040  2  no  -
ReferencedPatientSequence                 00081120  2  no  -
PerformedProcedureStepID                  00400253  1  no  -
PerformedStationAETitle                   00400241  1  no  -
PerformedStationName                      00400242  2  no  -
PerformedLocation                         00400243  2  no  -
PerformedProcedureStepStartDate           00400244  1  no  -
PerformedProcedureStepStartTime           00400245  1  no  -
PerformedProcedureStepStatus              00400252  1  3   1
PerformedProcedureStepDescription         00400254  2  3   -
PerformedProcedureTypeDescription         00400255  2  3   -
ProcedureCodeSequence                     00081032  2  3   -
PerformedProcedureStepEndDate             00400250  2  3   1
PerformedProcedureStepEndTime             00400251  2  3   1
PerformedProcedureStepDiscontinuationReasonCodeSequence 00400281 3 3 -
Modality                                  00080060  1  no  -
StudyID                                   00200010  2  no  -
PerformedProtocolCodeSequence             00400260  2  3   -
PerformedSeriesSequence                   00400340  2  3   1
>PerformingPhysicianName                  00081050  2  2   -
>ProtocolName                             00181030  1  1   1
>OperatorsName                            00081070  2  2   -
>SeriesInstanceUID                        0020000E  1  1   1
>SeriesDescription                        0008103E  2  2   -
>RetrieveAETitle                          00080054  2  2   -
>ReferencedImageSequence                  00081140  2  2   -
>>ReferencedSOPClassUID                   00081150  1  1   1
>>ReferencedSOPInstanceUID                00081155  1  1   1
>ReferencedNonImageCompositeSOPInstanceSequence 00400220 2 2 -
"""
"""1 with a value, 2 may be empty, 3 may be absent, ``no``: not to be changed any more; final: 1 must have a value by
then."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table, with the rows below it where it is a sequence."""

    keyword: str
    tag: int
    create: str
    update: str
    final: str
    below: tuple[Attribute, ...] = ()


def _nested(rows: list[tuple[int, list[str]]], depth: int) -> Iterator[Attribute]:
    at = 0
    while at < len(rows):
        end = at + 1
        while end < len(rows) and rows[end][0] > depth:
            end += 1
        keyword, tag, create, update, final = rows[at][1]
        yield Attribute(keyword, int(tag, 16), create, update, final, tuple(_nested(rows[at + 1 : end], depth + 1)))
        at = end


def _attributes() -> tuple[Attribute, ...]:
    lines = [line for line in _TABLE.strip().splitlines() if not line.startswith("#")]
    return tuple(_nested([(len(one) - len(one.lstrip(">")), one.lstrip(">").split()) for one in lines], 0))


ATTRIBUTES = _attributes()
"""PS3.4 Table F.7.2-1, as far as something depends on it."""
TAGS = {one.keyword: one.tag for one in ATTRIBUTES}
STATUS = TAGS["PerformedProcedureStepStatus"]
SCHEDULED = TAGS["ScheduledStepAttributesSequence"]
STUDY_UID, STEP_ID = 0x0020000D, 0x00400009


def created(state: State | None, tree: Tree) -> tuple[Tree, State, tuple[str, ...]]:
    """Check what an N-CREATE brings.

    Parameters
    ----------
    state : str or None
        Of the step that is there already under that UID.
    tree : Tree

    Returns
    -------
    (tree, state, absent)
        What is kept: attributes that may be empty and were left out are put in empty, and named in ``absent``.

    Raises
    ------
    ServiceError
        0111H: it is there; 0106H: not IN PROGRESS, or a value that can't be; 0120H, 0121H: something is missing.

    Source
    ------
    PS3.4 §F.7.2.1, Table F.7.2-1 (column N-CREATE).
    """
    if state is not None:
        _moved("N-CREATE", state, state)
    absent = _check(tree, ATTRIBUTES, "create")
    after = _moved("N-CREATE", state, value_of(tree, STATUS))
    _check_values(tree)
    filled = {**tree, **{one.tag: (_vr(one), []) for one in absent}}
    return filled, after, tuple(one.keyword for one in absent)


def changed(state: State | None, tree: Tree, changes: Tree) -> tuple[Tree, State]:
    """Check what an N-SET brings to the step that is there.

    Returns
    -------
    (tree, state)
        The whole step afterwards.

    Raises
    ------
    ServiceError
        0112H: there is none; 0110H: it is in a final state; 0105H: an attribute that is not to be changed; 0106H: a
        value that can't be; 0120H, 0121H: what the final state needs is missing.

    Source
    ------
    PS3.4 §F.7.2.2, Table F.7.2-1 (columns N-SET, Final State).
    """
    if state != "IN PROGRESS":
        _moved("N-SET", state, "IN PROGRESS")
    asked = value_of(changes, STATUS) if STATUS in changes else "IN PROGRESS"
    after = _moved("N-SET", state, asked)
    fixed = [one for one in ATTRIBUTES if one.update == "no" and one.tag in changes]
    if wrong := [one for one in fixed if changes[one.tag][1] != tree.get(one.tag, ("", []))[1]]:
        raise _refusal(NO_SUCH_ATTRIBUTE, "not to be changed", wrong)
    _check(changes, tuple(one for one in ATTRIBUTES if one.tag in changes and one not in fixed), "update")
    _check_values(changes)
    whole = {**tree, **changes}
    if after != "IN PROGRESS":
        _check(whole, ATTRIBUTES, "final")
    return whole, after


def _moved(request: str, state: State | None, asked: str) -> State:
    found = TRANSITIONS[request, state].get(asked, INVALID_VALUE)
    if isinstance(found, int):
        text = {
            DUPLICATE: "there is a step of that UID",
            NO_SUCH_INSTANCE: "there is no step of that UID",
            PROCESSING_FAILURE: NO_LONGER_UPDATED,
        }.get(found, f"{asked[:16]!r} is no status that this request can ask for")
        error = ServiceError(text, status=found, elements=(STATUS,) if found == INVALID_VALUE else ())
        error.error_id = ERROR_ID if found == PROCESSING_FAILURE else None
        raise error
    return found


def _check(tree: Tree, attributes: tuple[Attribute, ...], column: str) -> list[Attribute]:
    """Check one level; gives those that may be empty and are absent."""
    codes = {one: getattr(one, column) for one in attributes}
    missing = [one for one in attributes if codes[one] == "1" and one.tag not in tree]
    if missing:
        raise _refusal(MISSING, "missing", missing)
    empty = [one for one in attributes if codes[one] == "1" and not _filled(tree, one.tag)]
    if empty:
        raise _refusal(MISSING_VALUE, "without a value", empty)
    for one in attributes:
        if one.below:
            for item in tree.get(one.tag, ("SQ", []))[1]:
                if not isinstance(item, dict):
                    raise _refusal(INVALID_VALUE, "no sequence", [one])
                _check(item, one.below, column)
    return [one for one in attributes if codes[one] == "2" and one.tag not in tree]


def _filled(tree: Tree, tag: int) -> bool:
    vr, values = tree[tag]
    return bool(values) and (vr == "SQ" or any(str(one).strip(" \0") for one in values))


def _check_values(tree: Tree) -> None:
    if problem := unreadable(tree):
        raise ServiceError(problem, status=INVALID_VALUE)


def _vr(one: Attribute) -> str:
    from pydicom.datadict import dictionary_VR

    return dictionary_VR(one.tag)


def _refusal(status: int, why: str, about: list[Attribute]) -> ServiceError:
    names = ", ".join(f"{one.keyword} {format_tag(one.tag)}" for one in about[:3])
    return ServiceError(f"{why}: {names}", status=status, elements=tuple(one.tag for one in about))
