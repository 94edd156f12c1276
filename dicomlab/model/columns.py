"""The one table of columns: which attribute stands at which level, and how its values become typed cells.

Every path hands over raw values (text, numbers) by column; what they become is decided here and nowhere else, so
that the same cohort is the same DataFrame over DIMSE, over the web and from media. Pure: no I/O. The dictionary of
attributes is pydicom's (PS3.6); the typing rules are:

========================  ==============================================================================
VR                        cell
========================  ==============================================================================
DA                        ``datetime64[s]``
TM                        text, ``HH:MM:SS.ffffff``
DT                        ``datetime64[us]``, in UTC where the value carries an offset
IS US UL SS SL SV         ``Int64`` (UV: ``UInt64``)
DS FD FL                  ``Float64``
PN                        text: the alphabetic group
every other text, UI, AT  text
multiplicity above 1      a tuple (``None`` where absent)
========================  ==============================================================================

A value that can't be read is NA, never ``""`` or 0, and its raw text is kept as a :class:`Problem`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword

from dicomlab.errors import UsageError

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Level = Literal["patient", "study", "series", "instance"]
"""Query/Retrieve Level (PS3.4 Table C.6-1); ``instance`` is what (0008,0052) calls IMAGE."""

LEVELS: tuple[Level, ...] = get_args(Level)

UNIQUE_KEY: dict[Level, str] = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}
"""The unique key of each level (PS3.4 §C.6.1.1, §C.6.2.1)."""

STANDARD: dict[Level, tuple[str, ...]] = {
    "patient": (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
        "NumberOfPatientRelatedStudies", "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances",
    ),
    "study": (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex",
        "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber", "StudyID", "StudyDescription",
        "ReferringPhysicianName", "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances",
    ),
    "series": (
        "StudyInstanceUID", "SeriesInstanceUID", "Modality", "SeriesNumber", "SeriesDescription",
        "SeriesDate", "SeriesTime", "BodyPartExamined", "NumberOfSeriesRelatedInstances",
    ),
    "instance": (
        "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "InstanceNumber",
        "Rows", "Columns", "NumberOfFrames",
    ),
}  # fmt: skip
"""The columns of a cohort at each level, in order; what a caller asks for beside them follows."""

_PATIENT = frozenset(
    """PatientName PatientID IssuerOfPatientID TypeOfPatientID PatientBirthDate PatientBirthTime PatientSex
    OtherPatientIDs OtherPatientIDsSequence OtherPatientNames EthnicGroup EthnicGroups PatientComments
    PatientSpeciesDescription PatientBreedDescription ResponsiblePerson ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod QualityControlSubject NumberOfPatientRelatedStudies
    NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances""".split()
)
_STUDY = frozenset(
    """StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName
    ModalitiesInStudy SOPClassesInStudy AnatomicRegionsInStudyCodeSequence ConsultingPhysicianName
    PhysiciansOfRecord NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize
    PatientWeight Occupation AdditionalPatientHistory AdmissionID ProcedureCodeSequence ReasonForStudy
    RequestingService StudyStatusID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances""".split()
)
_SERIES = frozenset(
    """SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined
    ProtocolName Laterality PatientPosition FrameOfReferenceUID PositionReferenceIndicator Manufacturer
    ManufacturerModelName StationName InstitutionName InstitutionAddress InstitutionalDepartmentName
    DeviceSerialNumber SoftwareVersions OperatorsName PerformingPhysicianName SeriesDescriptionCodeSequence
    RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepStartDate
    PerformedProcedureStepStartTime PerformedProcedureStepDescription PerformedProtocolCodeSequence
    NumberOfSeriesRelatedInstances""".split()
)
_ANY = frozenset(
    """SpecificCharacterSet TimezoneOffsetFromUTC RetrieveAETitle RetrieveURL InstanceAvailability
    StorageMediaFileSetID StorageMediaFileSetUID QueryRetrieveLevel""".split()
)

_IDENTIFYING = frozenset(
    """PatientID IssuerOfPatientID OtherPatientIDs PatientBirthDate PatientBirthTime PatientComments
    PatientAddress PatientTelephoneNumbers CountryOfResidence RegionOfResidence EthnicGroup Occupation
    MilitaryRank MedicalRecordLocator AdditionalPatientHistory AdmissionID AccessionNumber StudyID
    InstitutionName InstitutionAddress InstitutionalDepartmentName StationName DeviceSerialNumber
    ResponsibleOrganization RequestingService DeidentificationMethod""".split()
)

_TEXT = frozenset("""AE AS AT CS LO LT PN SH ST TM UC UI UR UT""".split())
_INTEGER = frozenset("""IS US UL SS SL SV UV""".split())
_DECIMAL = frozenset("""DS FD FL""".split())
_LINES = frozenset("""LT ST UT""".split())


@dataclass(frozen=True, slots=True)
class Column:
    """One column: an attribute, or a path through sequences to one.

    ``name`` is the PS3.6 keyword, keywords joined by dots for a path, or eight hexadecimal digits for a tag without
    keyword. ``level`` is None for attributes that may stand in an answer of any level.
    """

    name: str
    path: tuple[int, ...]
    vr: str
    vm: str
    level: Level | None

    @property
    def tag(self) -> int:
        """The first (or only) tag of the path, as a 32-bit number."""
        return self.path[0]

    @property
    def multiple(self) -> bool:
        """Whether a cell is a tuple: multiplicity above 1, or one value for each item of a sequence."""
        return self.vm != "1" or len(self.path) > 1

    @property
    def identifying(self) -> bool:
        """Whether a repr masks it unless the patients are known to be synthetic."""
        return self.vr == "PN" or any(part in _IDENTIFYING for part in self.name.split("."))

    @property
    def dtype(self) -> str:
        """The pandas dtype of the column."""
        if self.multiple:
            return "object"
        if self.vr in _INTEGER:
            return "UInt64" if self.vr == "UV" else "Int64"
        if self.vr in _DECIMAL:
            return "Float64"
        return {"DA": "datetime64[s]", "DT": "datetime64[us]"}.get(self.vr, "str")


def format_tag(tag: int) -> str:
    """Print a tag as the standard does: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def level_of(keyword: str) -> Level | None:
    """Tell at which level of the information model an attribute stands; None: at any."""
    if keyword in _ANY:
        return None
    if keyword in _PATIENT:
        return "patient"
    if keyword in _STUDY:
        return "study"
    return "series" if keyword in _SERIES else "instance"


_TAG_TEXT = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")


@lru_cache(maxsize=4096)
def column(name: str | int) -> Column:
    """Look a column up by keyword, by tag (``0x00100020``, ``"(0010,0020)"``, ``"00100020"``) or by path with dots.

    Raises
    ------
    UsageError
        No such keyword (the nearest ones are named), a sequence without a path into it, or a binary attribute,
        which is no cell of a table.

    Source
    ------
    PS3.6 §6 (registry of data elements).

    """
    if isinstance(name, int):
        return _column_of((name,))
    return _column_of(tuple(_tag(part) for part in name.split(".")))


def _tag(part: str) -> int:
    if found := _TAG_TEXT.fullmatch(part):
        return int(found[1] + found[2], 16)
    tag = tag_for_keyword(part)
    if tag is None:
        near = get_close_matches(part, _keywords(), n=3, cutoff=0.75)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"{part!r} is no DICOM keyword{hint} (PS3.6 lists them; tags go in match={{...}})")
    return tag


@lru_cache(maxsize=1)
def _keywords() -> tuple[str, ...]:
    return tuple(entry[4] for entry in DicomDictionary.values() if entry[4])


def _column_of(path: tuple[int, ...]) -> Column:
    if path[0] >> 16 == 0x0002:
        vr, vm = dictionary_VR(path[0]), "1"  # File Meta Information: only media hold it
    elif (path[-1] >> 16) % 2:
        vr, vm = "LO", "1"  # private, and no dictionary can know it: read and sent as text
    elif path[-1] not in DicomDictionary:
        raise UsageError(f"{format_tag(path[-1])} is not in the registry of data elements (PS3.6)")
    else:
        vr, vm = dictionary_VR(path[-1]).split(" or ")[0], dictionary_VM(path[-1])
    keywords = [keyword_for_tag(tag) or f"{tag:08X}" for tag in path]
    name = ".".join(keywords)
    for tag in path[:-1]:
        if dictionary_VR(tag) != "SQ":
            raise UsageError(f"{name}: {keyword_for_tag(tag)} is no sequence, so no path leads through it")
    if vr == "SQ":
        raise UsageError(f"{name} is a sequence: name an attribute in it, as {name}.CodeValue")
    if vr not in _TEXT | _INTEGER | _DECIMAL | {"DA", "DT"}:
        raise UsageError(f"{name} ({vr}) is binary and no cell of a table: read it from Instance.dataset")
    return Column(name, path, vr, vm, level_of(keywords[0]))


def columns(names: Iterable[str | int]) -> tuple[Column, ...]:
    """Look several columns up, each once, in order."""
    return tuple(dict.fromkeys(column(name) for name in names))


def standard_columns(level: Level) -> tuple[Column, ...]:
    """The columns that every cohort of that level has."""
    return columns(STANDARD[level])


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that a peer sent and nobody could read."""

    row: int
    column: str
    raw: str
    text: str


# --- values --------------------------------------------------------------------------------------------------------

_DATE = re.compile(r"(\d{4})[.-]?(\d{2})[.-]?(\d{2})")
_TIME = re.compile(r"(\d{2}):?(?:(\d{2}):?(?:(\d{2})(?:\.(\d{1,6}))?)?)?")
_DATE_TIME = re.compile(r"(\d{4})(\d{2})?(\d{2})?(\d{2})?(\d{2})?(\d{2})?(?:\.(\d{1,6}))?(?:([+-])(\d{2})(\d{2}))?")


def _date(raw: object) -> datetime:
    found = _DATE.fullmatch(str(raw).strip())
    if not found:
        raise ValueError("not a date (DA)")
    year, month, day = map(int, found.groups())
    return datetime(year, month, day)


def _time(raw: object) -> str:
    found = _TIME.fullmatch(str(raw).strip())
    if not found:
        raise ValueError("not a time (TM)")
    hours, minutes, seconds, fraction = found.groups(default="00")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 60:
        raise ValueError("not a time of day (TM)")
    return f"{hours}:{minutes}:{seconds}.{fraction.ljust(6, '0')}"


def _date_time(raw: object) -> datetime:
    found = _DATE_TIME.fullmatch(str(raw).strip())
    if not found:
        raise ValueError("not a date and time (DT)")
    *parts, fraction, sign, zone_hours, zone_minutes = found.groups()
    year, month, day, hour, minute, second = (
        int(p) if p else d for p, d in zip(parts, (1, 1, 1, 0, 0, 0), strict=True)
    )
    moment = datetime(year, month, day, hour, minute, min(second, 59), int((fraction or "").ljust(6, "0")))
    if second == 60:
        moment += timedelta(seconds=1)
    if sign:
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes)) * (1 if sign == "+" else -1)
        moment = moment.replace(tzinfo=timezone(offset)).astimezone(UTC).replace(tzinfo=None)
    return moment


_RANGE_OF_INTEGER = {"UV": (0, 2**64 - 1)}


def _integer(raw: object, vr: str) -> int:
    if isinstance(raw, float):
        if not raw.is_integer():
            raise ValueError("not a whole number")
        value = int(raw)
    else:
        text = str(raw).strip()
        if len(text) > 20 or not re.fullmatch(r"[+-]?\d+", text):
            raise ValueError("not a whole number")
        value = int(text)
    low, high = _RANGE_OF_INTEGER.get(vr, (-(2**63), 2**63 - 1))
    if not low <= value <= high:
        raise ValueError("out of range")
    return value


_DECIMAL_TEXT = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def _decimal(raw: object) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        return float(raw)
    text = str(raw).strip()
    if not _DECIMAL_TEXT.fullmatch(text):
        raise ValueError("not a number")
    return float(text)


def _person(raw: object) -> str:
    if isinstance(raw, Mapping):  # the DICOM JSON Model (PS3.18 §F.2.2)
        raw = raw.get("Alphabetic") or ""
    return str(raw).split("=", 1)[0].strip()


def _plain(raw: object) -> str:
    return str(raw).strip(" \0")


def _lines(raw: object) -> str:
    return str(raw).rstrip(" \0")


def _reader(vr: str) -> Callable[[object], object]:
    if vr in _INTEGER:
        return lambda raw: _integer(raw, vr)
    if vr in _DECIMAL:
        return _decimal
    if vr in _LINES:
        return _lines
    return {"DA": _date, "TM": _time, "DT": _date_time, "PN": _person}.get(vr, _plain)


def read(column: Column, raws: Sequence[object]) -> tuple[object | None, list[tuple[str, str]]]:
    """Turn the raw values of one attribute into one cell.

    Parameters
    ----------
    column : Column
    raws : sequence
        Text, numbers, or for PN the JSON Model's object; ``None`` or ``""`` stand for an empty value.

    Returns
    -------
    (cell, problems)
        The cell is None for NA. ``problems`` holds ``(raw text, what is wrong)`` for each value that could not be
        read, or that the multiplicity has no room for.

    Source
    ------
    PS3.5 §6.2 (value representations), §6.4 (multiplicity).

    """
    reader = _reader(column.vr)
    cells: list[object | None] = []
    problems: list[tuple[str, str]] = []
    for raw in raws:
        cell: object | None = None
        if raw is not None and raw != "":
            try:
                cell = reader(raw)
            except (ValueError, OverflowError) as error:
                problems.append((str(raw)[:200], str(error)))
        cells.append(None if cell == "" else cell)
    if column.multiple:
        empty = all(cell is None for cell in cells)
        return (None if empty else tuple(cells)), problems
    if len(cells) > 1:
        text = "\\".join(str(raw) for raw in raws)[:200]
        problems.append((text, f"{len(cells)} values where one is allowed (VM 1)"))
        return ("\\".join(str(c) for c in cells if c is not None) if column.dtype == "str" else None), problems
    return (cells[0] if cells else None), problems


def series_of(column: Column, cells: Sequence[object | None]) -> Series[Any]:
    """Make the typed pandas column of ready cells."""
    import numpy as np
    import pandas as pd

    if column.dtype == "object":
        array = np.empty(len(cells), dtype=object)
        array[:] = cells
        return pd.Series(array, dtype="object", name=column.name)
    if column.dtype.startswith("datetime64"):
        moments = np.array([np.datetime64("NaT") if c is None else c for c in cells], dtype=column.dtype)
        return pd.Series(moments, name=column.name)
    return pd.Series(list(cells), dtype=cast(Any, column.dtype), name=column.name)


@dataclass(slots=True)
class TableBuilder:
    """Collects rows of raw values, gives one typed DataFrame.

    ``add`` takes a mapping from column name to raw values; a name that is absent is NA.
    """

    columns: tuple[Column, ...]
    problems: list[Problem] = field(default_factory=list)
    _cells: list[list[object | None]] = field(init=False)

    def __post_init__(self) -> None:
        """Make one list for each column."""
        self._cells = [[] for _ in self.columns]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._cells[0])

    def add(self, row: Mapping[str, Sequence[object]]) -> None:
        """Add one row."""
        number = len(self)
        for column, cells in zip(self.columns, self._cells, strict=True):
            cell, problems = read(column, row.get(column.name, ()))
            cells.append(cell)
            self.problems += [Problem(number, column.name, raw, text) for raw, text in problems]

    def frame(self) -> DataFrame:
        """The rows so far, typed."""
        import pandas as pd

        return pd.DataFrame(
            {column.name: series_of(column, cells) for column, cells in zip(self.columns, self._cells, strict=True)}
        )


def retyped(frame: DataFrame) -> DataFrame:
    """Give a DataFrame that came from elsewhere (CSV, Parquet, a join) the dtypes of its DICOM columns.

    Columns that are no DICOM keyword are left as they are.

    Raises
    ------
    UsageError
        A cell that can't be what its column says.

    """
    result = frame.copy()
    for name in map(str, frame.columns):
        try:
            known = column(name)
        except UsageError:
            continue
        cells: list[object | None] = []
        for value in frame[name]:
            cell, problems = read(known, _raws(value))
            if problems:
                raise UsageError(f"column {name}: {problems[0][0]!r} is {problems[0][1]}")
            cells.append(cell)
        result[name] = series_of(known, cells).set_axis(frame.index)
    return result


def _raws(value: Any) -> Sequence[object]:
    import pandas as pd

    if isinstance(value, str):
        return (value,)
    if isinstance(value, Iterable):
        return tuple(value)
    if pd.isna(value):
        return ()
    if isinstance(value, datetime):
        return (value.strftime("%Y%m%d%H%M%S.%f" if value.time() != time.min else "%Y%m%d"),)
    return (value,)
