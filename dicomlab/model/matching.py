"""Attribute matching on raw values, and the rows of each level; shared by media and the embedded archive. No I/O.

An index holds one row of raw values for each SOP Instance. :func:`rows_at_level` makes of them the rows of patients,
studies, series or instances, in the order that all paths share, and :func:`matches` says whether such a row answers
a key::

    for row in rows_at_level("study", instance_rows):
        if answers(query.keys, row):
            ...

Source
------
PS3.4 §C.2.2.2 (attribute matching), §C.3.4 (additional attributes such as Modalities in Study).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from dicomlab.model.columns import Column, Level, read
from dicomlab.model.query import Key

Row = Mapping[str, Sequence[object]]
"""Column name to raw values, as in :data:`dicomlab.model.path.Row`."""

Test = Callable[[object], bool]

COMPUTED = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
    "ModalitiesInStudy",
    "SOPClassesInStudy",
    "NumberOfStudyRelatedSeries",
    "NumberOfStudyRelatedInstances",
    "NumberOfSeriesRelatedInstances",
)
"""Columns that :func:`rows_at_level` works out; no file holds them."""


# --- matching --------------------------------------------------------------------------------------------------------


def matches(key: Key, raws: Sequence[object]) -> bool:
    """Say whether the values of one attribute match a key.

    Of several values (or the values of several items, for a path through a sequence) any one is enough. An attribute
    that is absent or empty matches universal matching only. PN is compared without regard to case, and the key
    matches the whole name or any of its component groups; everything else is compared as it stands, except that
    dates, times and numbers are compared by what they mean, so that ``1`` is ``01`` and ``13`` o'clock is ``1300``.

    Parameters
    ----------
    key : Key
    raws : sequence
        Text, numbers, or for PN the JSON Model's object.

    Source
    ------
    PS3.4 §C.2.2.2.1 (single value), §C.2.2.2.2 (list), §C.2.2.2.3 (universal), §C.2.2.2.4 (wild card),
    §C.2.2.2.5 (range).
    """
    if key.matching == "universal":
        return True
    test = _test(key)
    return any(test(raw) for raw in raws if raw is not None and raw != "")


def answers(keys: Iterable[Key], row: Row) -> bool:
    """Say whether a row matches every key."""
    return all(matches(key, row.get(key.column.name, ())) for key in keys)


@lru_cache(maxsize=64)  # of keys whose values may be long
def _test(key: Key) -> Test:
    if key.matching == "range":
        return _range_test(key)
    if key.matching == "list" and key.column.vr == "UI":  # which may be long, and has no wild cards
        wanted = {_meaning(key.column, value) for value in key.values}
        return lambda raw: _meaning(key.column, raw) in wanted
    tests = [_wildcard_test(key.column, v) if _is_wild(key, v) else _single_test(key.column, v) for v in key.values]
    return tests[0] if len(tests) == 1 else lambda raw: any(test(raw) for test in tests)


def _is_wild(key: Key, value: str) -> bool:
    """In a list each value is matched as it would be alone; UIDs, dates and numbers have no wild cards."""
    if key.matching == "list":
        return key.column.dtype in ("str", "object") and key.column.vr != "UI" and ("*" in value or "?" in value)
    return key.matching == "wildcard"


def _meaning(column: Column, raw: object) -> object | None:
    """One raw value as the cell that it would be; None where it can't be read."""
    cell, _ = read(column, (raw,))
    return cell[0] if isinstance(cell, tuple) else cell


def _single_test(column: Column, value: str) -> Test:
    if column.vr == "PN":
        name = _name(value)
        return lambda raw: name in _names(raw)
    wanted = _meaning(column, value)
    return lambda raw: wanted is not None and _meaning(column, raw) == wanted


def _wildcard_test(column: Column, value: str) -> Test:
    if column.vr == "PN":
        pattern = wildcard(value.casefold())
        return lambda raw: any(pattern.fullmatch(name) for name in (*_names(raw), _whole_name(raw)))
    pattern = wildcard(value.strip(" "))
    return lambda raw: pattern.fullmatch(str(_meaning(column, raw) or "")) is not None


@lru_cache(maxsize=64)
def wildcard(pattern: str) -> re.Pattern[str]:
    """Compile ``*`` (any characters, also none) and ``?`` (any one character).

    Each part between two stars is tried once only (atomic groups), so that no pattern of a peer can make matching
    take more than linear time for each star.

    Source
    ------
    PS3.4 §C.2.2.2.4.
    """
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in pattern.split("*"))
    if not rest:
        return re.compile(first, re.DOTALL)
    middle = "".join(f"(?>.*?{part})" for part in rest[:-1] if part)
    return re.compile(f"{first}{middle}.*{rest[-1]}", re.DOTALL)


def _name(text: str) -> str:
    """A person name as it is compared: trailing empty components and groups mean nothing (PS3.5 §6.2)."""
    groups = [group.strip().rstrip("^").rstrip() for group in text.casefold().split("=")]
    return "=".join(groups).rstrip("=")


def _names(raw: object) -> tuple[str, ...]:
    """The whole of a person name, and its component groups."""
    whole = _name(_whole_name(raw))
    return tuple(dict.fromkeys((whole, *(group for group in whole.split("=") if group))))


def _whole_name(raw: object) -> str:
    """A person name as it stands, without regard to case."""
    if isinstance(raw, Mapping):  # the DICOM JSON Model (PS3.18 §F.2.2)
        raw = "=".join(str(raw.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return str(raw).casefold().strip(" \0")


def _range_test(key: Key) -> Test:
    column = key.column
    start = _meaning(column, key.values[0]) if key.values[0] else None
    end = _last_moment(column, key.values[1]) if key.values[1] else None
    if (key.values[0] and start is None) or (key.values[1] and end is None):
        return lambda raw: False

    def within(raw: object) -> bool:
        value = _meaning(column, raw)
        if isinstance(value, datetime):
            return (not isinstance(start, datetime) or start <= value) and (
                not isinstance(end, datetime) or value <= end
            )
        return isinstance(value, str) and str(start or "") <= value and (end is None or value <= str(end))

    return within


_LATEST_TIME = "235959.999999"


def _last_moment(column: Column, text: str) -> object | None:
    """The last moment that a value as precise as `text` names: until ``10`` o'clock means 10:59:59.999999."""
    if column.vr == "TM":
        return _meaning(column, _filled(text.replace(":", ""), _LATEST_TIME))
    moment = _meaning(column, text)
    if column.vr != "DT" or not isinstance(moment, datetime):
        return moment
    digits = re.split(r"[+\-]", text)[0]
    if "." in digits:
        return moment
    if len(digits) <= 4:
        after = moment.replace(year=moment.year + 1) if moment.year < 9999 else datetime.max
    elif len(digits) <= 6:
        after = (moment.replace(day=1) + timedelta(days=32)).replace(day=1)
    else:
        units = {8: timedelta(days=1), 10: timedelta(hours=1), 12: timedelta(minutes=1)}
        after = moment + units.get(len(digits), timedelta(seconds=1))
    return after - timedelta(microseconds=1)


def _filled(text: str, latest: str) -> str:
    whole, dot, fraction = text.partition(".")
    if dot:
        return f"{whole}.{fraction.ljust(6, '9')}"
    return whole + latest[len(whole) :]


# --- rows ------------------------------------------------------------------------------------------------------------


def first(row: Row, name: str) -> str:
    """The first value of a column as text, ``""`` where there is none."""
    values = row.get(name) or ("",)
    return "" if values[0] is None else str(values[0]).strip(" \0")


def order(row: Row) -> tuple[str, str, str, int, str]:
    """The order of instances that all paths share.

    By Patient ID, Study, Series, Instance Number (those without one first), SOP Instance UID.
    """
    number = first(row, "InstanceNumber")
    return (
        first(row, "PatientID"),
        first(row, "StudyInstanceUID"),
        first(row, "SeriesInstanceUID"),
        int(number) if re.fullmatch(r"[+-]?[0-9]{1,20}", number) else -1,
        first(row, "SOPInstanceUID"),
    )


class _Entity:
    """What one patient, study or series has below it."""

    __slots__ = ("classes", "instances", "modalities", "series", "studies")

    def __init__(self) -> None:
        self.studies: set[str] = set()
        self.series: set[tuple[str, str]] = set()
        self.instances = 0
        self.modalities: set[str] = set()
        self.classes: set[str] = set()

    def add(self, row: Row) -> None:
        study = first(row, "StudyInstanceUID")
        self.studies.add(study)
        self.series.add((study, first(row, "SeriesInstanceUID")))
        self.instances += 1
        self.modalities.add(first(row, "Modality"))
        self.classes.add(first(row, "SOPClassUID"))


def rows_at_level(level: Level, instance_rows: Iterable[Row]) -> Iterator[dict[str, Sequence[object]]]:
    """Make the rows of one level out of rows of instances.

    Parameters
    ----------
    level : str
    instance_rows : iterable of Row
        One for each SOP Instance, in any order. They need ``PatientID``, the three Instance UIDs, ``SOPClassUID``,
        ``Modality`` and ``InstanceNumber`` beside what is asked for. All of them must be given: a part of a study
        would be counted as the whole.

    Yields
    ------
    dict
        In the shared order (:func:`order`). The attributes of a patient, study or series are those of its first
        instance in that order; the columns named in :data:`COMPUTED` for this level and those above it are added.

    Source
    ------
    PS3.4 §C.3.4, Table C.3-1 ff. (additional query attributes), §C.6.1.1 (patient root levels).
    """
    rows = sorted(instance_rows, key=order)
    patients: dict[str, _Entity] = {}
    studies: dict[str, _Entity] = {}
    series: dict[tuple[str, str], _Entity] = {}
    for row in rows:
        study = first(row, "StudyInstanceUID")
        patients.setdefault(first(row, "PatientID"), _Entity()).add(row)
        studies.setdefault(study, _Entity()).add(row)
        series.setdefault((study, first(row, "SeriesInstanceUID")), _Entity()).add(row)
    seen: set[object] = set()
    for row in rows:
        patient_id, study, one_series = (first(row, n) for n in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID"))
        identity = {
            "patient": patient_id,
            "study": study,
            "series": (study, one_series),
            "instance": first(row, "SOPInstanceUID"),
        }[level]
        if identity in seen:
            continue
        seen.add(identity)
        result = {name: values for name, values in row.items() if name not in COMPUTED}
        patient = patients[patient_id]
        result["NumberOfPatientRelatedStudies"] = (len(patient.studies),)
        result["NumberOfPatientRelatedSeries"] = (len(patient.series),)
        result["NumberOfPatientRelatedInstances"] = (patient.instances,)
        if level != "patient":
            whole = studies[study]
            result["ModalitiesInStudy"] = tuple(sorted(whole.modalities - {""}))
            result["SOPClassesInStudy"] = tuple(sorted(whole.classes - {""}))
            result["NumberOfStudyRelatedSeries"] = (len(whole.series),)
            result["NumberOfStudyRelatedInstances"] = (whole.instances,)
        if level in ("series", "instance"):
            result["NumberOfSeriesRelatedInstances"] = (series[study, one_series].instances,)
        yield result
