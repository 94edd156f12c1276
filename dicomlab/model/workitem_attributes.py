"""Which attributes a work item must have, and when: the standard's table, and the checks that go by it. No I/O.

The checks read data sets as objects of the DICOM JSON Model, whose values stand as text and numbers, so that nothing
a peer sends can fail to be decoded.

Source
------
PS3.4 Table CC.2.5-3 (UPS SOP Class attributes), §CC.2.5.1.3 (final state codes).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomlab.model.values import reader
from dicomlab.model.workitem import (
    INVALID_VALUE,
    MISSING,
    MISSING_VALUE,
    NEVER_SCHEDULED,
    NOT_FINAL,
    NOT_SCHEDULED,
    State,
    refusal,
)

Model = Mapping[str, Any]
"""An object of the DICOM JSON Model (PS3.18 §F.2)."""

_TABLE = """
# keyword, each > one sequence deeper         N-CREATE N-SET final
TransactionUID                                    0    key   O
ScheduledProcedureStepPriority                    1    3/1   R
ScheduledProcedureStepModificationDateTime        -    -     R
ProcedureStepLabel                                1    3/1   O
WorklistLabel                                     2    3/1   O
ScheduledProcessingParametersSequence             2    3     O
ScheduledStationNameCodeSequence                  2    3     O
ScheduledStationClassCodeSequence                 2    3     O
ScheduledStationGeographicLocationCodeSequence    2    3     O
ScheduledHumanPerformersSequence                  2    3     O
>HumanPerformerCodeSequence                       1    1     O
>HumanPerformerName                               1    1     O
>HumanPerformerOrganization                       1    1     O
ScheduledProcedureStepStartDateTime               1    3/1   R
ExpectedCompletionDateTime                        3/1  3/1   O
ScheduledProcedureStepExpirationDateTime          3    3     O
ScheduledWorkitemCodeSequence                     2    3/1   O
CommentsOnTheScheduledProcedureStep               2    3/1   O
InputReadinessState                               1    3/1   R
InputInformationSequence                          2    3     O
StudyInstanceUID                                  2    3     O
OutputDestinationSequence                         3    3     O
PatientName                                       2    no    O
PatientID                                         2    no    O
IssuerOfPatientID                                 2    no    O
IssuerOfPatientIDQualifiersSequence               2    no    O
OtherPatientIDsSequence                           2    3     O
>PatientID                                        1    1     O
PatientBirthDate                                  2    no    O
PatientSex                                        2    no    O
AdmissionID                                       2    no    O
IssuerOfAdmissionIDSequence                       2    no    O
AdmittingDiagnosesDescription                     2    no    O
AdmittingDiagnosesCodeSequence                    2    no    O
ReferencedRequestSequence                         2    no    O
>StudyInstanceUID                                 1    no    O
ReplacedProcedureStepSequence                     3/1  no    O
MedicalAlerts                                     3    3     O
PregnancyStatus                                   3    3     O
SpecialNeeds                                      3    3     O
ProcedureStepState                                1    state R
ProcedureStepProgressInformationSequence          0    3     X
>ProcedureStepProgress                            -    3/1   O
>ProcedureStepProgressDescription                 -    3/1   O
>ProcedureStepCommunicationsURISequence           -    3/1   O
>>ContactURI                                      -    1     O
>ProcedureStepCancellationDateTime                -    3/1   X
>ReasonForCancellation                            -    3/1   O
>ProcedureStepDiscontinuationReasonCodeSequence   -    3/1   X
UnifiedProcedureStepPerformedProcedureSequence    0    3     P
>ActualHumanPerformersSequence                    -    3/1   O
>PerformedStationNameCodeSequence                 -    3     P
>PerformedStationClassCodeSequence                -    3     O
>PerformedProcedureStepStartDateTime              -    3/1   P
>PerformedProcedureStepDescription                -    3/1   O
>CommentsOnThePerformedProcedureStep              -    3/1   O
>PerformedWorkitemCodeSequence                    -    3/1   P
>PerformedProcedureStepEndDateTime                -    3/1   P
>OutputInformationSequence                        -    2     P0
"""
"""N-CREATE and N-SET: 1 with a value, 2 there but may be empty, 3 may be absent, 3/1 with a value where it is there,
0 there and empty, ``no`` not allowed, ``-`` not for the SCU to say. Final: R needed for both final states, P for
COMPLETED, X for CANCELED, O for neither; P0 must be there and may have no items."""

_VALUES = {
    "ScheduledProcedureStepPriority": ("HIGH", "MEDIUM", "LOW"),
    "InputReadinessState": ("INCOMPLETE", "UNAVAILABLE", "READY"),
}
"""The enumerated values (PS3.3 §C.30.1, §C.30.2)."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the table, with the rows below it where it is a sequence."""

    keyword: str
    tag: str
    create: str
    update: str
    final: str
    below: tuple[Attribute, ...] = ()


def _attributes() -> tuple[Attribute, ...]:
    rows: list[tuple[int, list[str]]] = []
    for line in _TABLE.strip().splitlines():
        if not line.startswith("#"):
            name, *codes = line.split()
            rows.append((len(name) - len(name.lstrip(">")), [name.lstrip(">"), *codes]))
    return tuple(_nested(rows, 0))


def _nested(rows: list[tuple[int, list[str]]], depth: int) -> Iterator[Attribute]:
    at = 0
    while at < len(rows):
        end = at + 1
        while end < len(rows) and rows[end][0] > depth:
            end += 1
        keyword, create, update, final = rows[at][1]
        tag = tag_for_keyword(keyword)
        yield Attribute(keyword, f"{tag:08X}", create, update, final, tuple(_nested(rows[at + 1 : end], depth + 1)))
        at = end


ATTRIBUTES = _attributes()
BY_TAG = {one.tag: one for one in ATTRIBUTES}


def tag_of(keyword: str) -> str:
    """The key of an attribute in the DICOM JSON Model."""
    return f"{tag_for_keyword(keyword):08X}"


def values(model: Model, keyword: str) -> list[Any]:
    """The values of an attribute; none where it is absent or empty."""
    return _values(model.get(tag_of(keyword)))


def text(model: Model, keyword: str) -> str:
    """The first value of an attribute as text, ``""`` where there is none."""
    return next((str(one).strip(" \0") for one in values(model, keyword)), "")


def element(keyword: str, *content: Any) -> dict[str, dict[str, Any]]:
    """Make one attribute of the DICOM JSON Model, to be put among others."""
    vr = dictionary_VR(keyword)
    return {tag_of(keyword): {"vr": vr, **({"Value": list(content)} if content else {})}}


def _values(found: Any) -> list[Any]:
    given = found.get("Value") if isinstance(found, Mapping) else None
    return [one for one in given or () if one not in (None, "", {}) and str(one).strip(" \0")]


def _filled(found: Any) -> bool:
    return bool(_values(found)) or bool(isinstance(found, Mapping) and found.get("InlineBinary"))


def created(model: Model) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Check what an N-CREATE brings, and fill in what may be empty.

    Returns
    -------
    (model, remarks)
        Attributes that must be there, if empty, and were left out, are put in, and named in ``remarks``.

    Raises
    ------
    ServiceError
        0120H, 0121H: something is missing; 0106H: a value that can't be; C309H: another state than SCHEDULED.

    Source
    ------
    PS3.4 §CC.2.5.2, Table CC.2.5-3 (column N-CREATE).
    """
    state = text(model, "ProcedureStepState")
    if state and state != "SCHEDULED":
        raise refusal(NOT_SCHEDULED, state[:40])
    absent = _check(model, ATTRIBUTES, "create", "")
    filled = {**model, **{tag_of(keyword): {"vr": dictionary_VR(keyword)} for keyword in absent}}
    return filled, tuple(f"{keyword} was left out and is empty" for keyword in absent)


def updated(changes: Model) -> None:
    """Check what an N-SET brings.

    Raises
    ------
    ServiceError
        0106H: not to be changed, or a value that can't be; 0121H: a value is missing; C303H: it would be scheduled.

    Source
    ------
    PS3.4 §CC.2.6.2, Table CC.2.5-3 (column N-SET).
    """
    for one in ATTRIBUTES:
        if one.tag not in changes:
            continue
        if one.update == "state":
            if text(changes, one.keyword) == "SCHEDULED":
                raise refusal(NEVER_SCHEDULED)
            raise refusal(INVALID_VALUE, "the state is changed by Change UPS State")
        if one.update == "no":
            raise refusal(INVALID_VALUE, f"{one.keyword} can't be changed: cancel the item and create another")
    _check(changes, tuple(one for one in ATTRIBUTES if one.tag in changes), "update", "")


def _check(model: Model, attributes: tuple[Attribute, ...], column: str, where: str) -> list[str]:
    """Check one level; give the keywords of those that are absent and may be empty."""
    absent: list[str] = []
    for one in attributes:
        code: str = getattr(one, column)
        found, name = model.get(one.tag), f"{where}{one.keyword}"
        if code == "1" and found is None:
            raise refusal(MISSING, name)
        if code in ("1", "3/1") and found is not None and not _filled(found):
            raise refusal(MISSING_VALUE, name)
        if code == "0" and _filled(found):
            raise refusal(INVALID_VALUE, f"{name} must be empty in a new item")
        if code in ("0", "2") and found is None:
            if where:
                continue
            absent.append(one.keyword)
        _check_values(one.keyword, found, name)
        if one.below and found is not None:
            for item in _values(found):
                if not isinstance(item, Mapping):
                    raise refusal(INVALID_VALUE, f"{name} is no sequence")
                _check(item, one.below, column, f"{name}.")
    return absent


def _check_values(keyword: str, found: Any, name: str) -> None:
    allowed = _VALUES.get(keyword)
    given = _values(found)
    if allowed and any(one not in allowed for one in given):
        raise refusal(INVALID_VALUE, f"{name} is one of {', '.join(allowed)}")
    if keyword.endswith("DateTime"):
        read = reader("DT")
        for one in given:
            try:
                read(one)
            except (ValueError, OverflowError) as error:
                raise refusal(INVALID_VALUE, f"{name}: {error}") from error


def final(model: Model, state: State) -> None:
    """Check whether an item has what it needs to be COMPLETED or CANCELED.

    Raises
    ------
    ServiceError
        C304H, naming what is missing.

    Source
    ------
    PS3.4 §CC.2.1.3, Table CC.2.5-3 (column Final State).
    """
    lacking = list(_lacking(model, ATTRIBUTES, ("R", "P", "P0") if state == "COMPLETED" else ("R", "X"), ""))
    if lacking:
        raise refusal(NOT_FINAL, f"to be {state} it needs {', '.join(lacking)}")


def _lacking(model: Model, attributes: tuple[Attribute, ...], needed: tuple[str, ...], where: str) -> Iterator[str]:
    for one in attributes:
        if one.final not in needed:
            continue
        found = model.get(one.tag)
        if found is None or (one.final != "P0" and not _filled(found)):
            yield f"{where}{one.keyword}"
            continue
        for item in _values(found) if one.below else ():
            yield from _lacking(item, one.below, needed, f"{one.keyword}.")
