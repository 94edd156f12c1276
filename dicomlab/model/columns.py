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
AT                        text, eight hexadecimal digits
every other text, UI      text
multiplicity above 1      a tuple (``None`` where absent)
========================  ==============================================================================

Padding (spaces, NUL) is no part of a value, and a value of nothing else is absent. A value that can't be read is NA,
never ``""`` or 0, and its raw text is kept as a :class:`Problem`; so is a number that is not finite, for which not
every path has a representation.
"""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag, tag_for_keyword

from dicomlab.errors import UsageError
from dicomlab.model.values import DECIMAL, INTEGER, PADDING, TAG_TEXT, reader, shown

if TYPE_CHECKING:
    from pandas import DataFrame, Series

Level = Literal["patient", "study", "series", "instance"]
"""Query/Retrieve Level (PS3.4 Table C.6-1); ``instance`` is what (0008,0052) calls IMAGE."""

LEVELS: tuple[Level, ...] = get_args(Level)

WorkLevel = Literal["workitem", "step"]
"""What the rows of a worklist are: Unified Procedure Steps, or the Scheduled Procedure Steps of a modality."""

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
    OtherPatientIDs OtherPatientIDsSequence OtherPatientNames EthnicGroup PatientComments
    PatientSpeciesDescription PatientBreedDescription ResponsiblePerson ResponsibleOrganization
    PatientIdentityRemoved DeidentificationMethod QualityControlSubject NumberOfPatientRelatedStudies
    NumberOfPatientRelatedSeries NumberOfPatientRelatedInstances IssuerOfPatientIDQualifiersSequence
    PatientBirthDateInAlternativeCalendar PatientDeathDateInAlternativeCalendar PatientAlternativeCalendar
    PatientSpeciesCodeSequence PatientBreedCodeSequence BreedRegistrationSequence ResponsiblePersonRole
    DeidentificationMethodCodeSequence PatientBirthName PatientMotherBirthName PatientAddress
    PatientTelephoneNumbers PatientTelecomInformation CountryOfResidence RegionOfResidence
    PatientReligiousPreference MilitaryRank BranchOfService MedicalRecordLocator
    PatientPrimaryLanguageCodeSequence PatientInsurancePlanCodeSequence""".split()
)
_STUDY = frozenset(
    """StudyInstanceUID StudyDate StudyTime AccessionNumber StudyID StudyDescription ReferringPhysicianName
    ModalitiesInStudy SOPClassesInStudy AnatomicRegionsInStudyCodeSequence ConsultingPhysicianName
    PhysiciansOfRecord NameOfPhysiciansReadingStudy AdmittingDiagnosesDescription PatientAge PatientSize
    PatientWeight Occupation AdditionalPatientHistory AdmissionID ProcedureCodeSequence ReasonForStudy
    RequestingService StudyStatusID NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances
    IssuerOfAccessionNumberSequence ReferringPhysicianIdentificationSequence ReferringPhysicianAddress
    ReferringPhysicianTelephoneNumbers ConsultingPhysicianIdentificationSequence
    PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence
    RequestingServiceCodeSequence ReasonForPerformedProcedureCodeSequence AdmittingDiagnosesCodeSequence
    PatientBodyMassIndex PatientSexNeutered MedicalAlerts Allergies SmokingStatus PregnancyStatus
    LastMenstrualDate PatientState IssuerOfAdmissionIDSequence ServiceEpisodeID ServiceEpisodeDescription
    StudyComments""".split()
)
_SERIES = frozenset(
    """SeriesInstanceUID Modality SeriesNumber SeriesDescription SeriesDate SeriesTime BodyPartExamined
    ProtocolName Laterality PatientPosition FrameOfReferenceUID PositionReferenceIndicator Manufacturer
    ManufacturerModelName StationName InstitutionName InstitutionAddress InstitutionalDepartmentName
    DeviceSerialNumber SoftwareVersions OperatorsName PerformingPhysicianName SeriesDescriptionCodeSequence
    RequestAttributesSequence PerformedProcedureStepID PerformedProcedureStepStartDate
    PerformedProcedureStepStartTime PerformedProcedureStepDescription PerformedProtocolCodeSequence
    NumberOfSeriesRelatedInstances AnatomicalOrientationType PerformedProcedureStepEndDate
    PerformedProcedureStepEndTime CommentsOnThePerformedProcedureStep PerformingPhysicianIdentificationSequence
    OperatorIdentificationSequence GantryID DateOfLastCalibration TimeOfLastCalibration
    SynchronizationFrameOfReferenceUID""".split()
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
    ResponsibleOrganization RequestingService DeidentificationMethod PatientTelecomInformation
    PatientReligiousPreference BranchOfService PatientBirthDateInAlternativeCalendar
    PatientDeathDateInAlternativeCalendar PatientInstitutionResidence CurrentPatientLocation ServiceEpisodeID
    InsurancePlanIdentification ReferringPhysicianAddress ReferringPhysicianTelephoneNumbers PersonAddress
    PersonTelephoneNumbers PersonTelecomInformation RequestedProcedureID ScheduledProcedureStepID
    PerformedProcedureStepID PlacerOrderNumberImagingServiceRequest FillerOrderNumberImagingServiceRequest
    ScheduledStationName ImageComments StudyComments RequestedProcedureComments VisitComments
    CommentsOnThePerformedProcedureStep ReasonForStudy""".split()
)

_TEXT = frozenset("""AE AS AT CS LO LT PN SH ST TM UC UI UR UT""".split())


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
        """Whether a repr masks it unless the patients are known to be synthetic; nobody knows of private ones."""
        private = any((tag >> 16) % 2 for tag in self.path)
        return private or self.vr == "PN" or any(part in _IDENTIFYING for part in self.name.split("."))

    @property
    def dtype(self) -> str:
        """The pandas dtype of the column."""
        if self.multiple:
            return "object"
        if self.vr in INTEGER:
            return "UInt64" if self.vr == "UV" else "Int64"
        if self.vr in DECIMAL:
            return "Float64"
        return {"DA": "datetime64[s]", "DT": "datetime64[us]"}.get(self.vr, "str")


def format_tag(tag: int) -> str:
    """Print a tag as the standard does: ``(0010,0020)``."""
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"


def level_of(keyword: str) -> Level | None:
    """Tell at which level of the information model an attribute stands; None: at any (nobody knows of private ones)."""
    if keyword in _ANY or TAG_TEXT.fullmatch(keyword):
        return None
    if keyword in _PATIENT:
        return "patient"
    if keyword in _STUDY:
        return "study"
    return "series" if keyword in _SERIES else "instance"


_NEVER_HERE = frozenset({0x0000, 0x0001, 0x0003, 0x0005, 0x0007, 0xFFFE, 0xFFFF})
"""Groups that no data set may hold: commands, delimiters, and odd ones that are no private groups."""


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
    PS3.6 §6 (registry of data elements); PS3.5 §7.8 (private data elements).
    """
    if isinstance(name, int):
        if isinstance(name, bool) or not 0 <= name <= 0xFFFFFFFF:
            raise UsageError(f"{name!r} is no tag: tags go from 0x00020000 to 0xFFFFFFFF")
        return _column_of((name,))
    return _column_of(tuple(_tag(part) for part in name.split(".")))


def _tag(part: str) -> int:
    if found := TAG_TEXT.fullmatch(part):
        return int(found[1] + found[2], 16)
    tag = tag_for_keyword(part) if part else None  # some retired elements have no keyword
    if tag is None:
        near = get_close_matches(part, _keywords(), n=3, cutoff=0.75)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"{part!r} is no DICOM keyword{hint} (PS3.6 lists them; tags go in match={{...}})")
    return tag


@lru_cache(maxsize=1)
def _keywords() -> tuple[str, ...]:
    return tuple(entry[4] for entry in DicomDictionary.values() if entry[4])


def _column_of(path: tuple[int, ...]) -> Column:
    *way, last = path
    for tag in path:
        if not _known(tag):
            raise UsageError(f"{format_tag(tag)} is not in the registry of data elements (PS3.6)")
    if (last >> 16) % 2:
        vr, vm = "LO", "1"  # private, and no dictionary can know it: read and sent as text
    else:
        vr, vm = dictionary_VR(last).split(" or ")[0], dictionary_VM(last)
        vm = "1" if last >> 16 == 0x0002 else vm  # File Meta Information: only media hold it
    keywords = [keyword_for_tag(tag) or f"{tag:08X}" for tag in path]
    name = ".".join(keywords)
    for tag in way:
        if not (tag >> 16) % 2 and dictionary_VR(tag) != "SQ":
            raise UsageError(f"{name}: {keyword_for_tag(tag)} is no sequence, so no path leads through it")
    if vr == "SQ":
        raise UsageError(f"{name} is a sequence: name an attribute in it, as {name}.CodeValue")
    if vr not in _TEXT | INTEGER | DECIMAL | {"DA", "DT"}:
        raise UsageError(f"{name} ({vr}) is binary and no cell of a table: read it from Instance.dataset")
    return Column(name, path, vr, vm, level_of(keywords[0]))


def _known(tag: int) -> bool:
    group = tag >> 16
    return group not in _NEVER_HERE and (bool(group % 2) or tag in DicomDictionary)


def columns(names: Iterable[str | int]) -> tuple[Column, ...]:
    """Look several columns up, each once, in order."""
    return tuple(dict.fromkeys(column(name) for name in names))


def standard_columns(level: Level) -> tuple[Column, ...]:
    """The columns that every cohort of that level has."""
    return columns(STANDARD[level])


@dataclass(frozen=True, slots=True)
class Problem:
    """A value that a peer sent and nobody could read; without a row, something about the whole answer."""

    row: int | None
    column: str
    raw: str
    text: str


class Cells(NamedTuple):
    """A row that is typed already: a cell for each column, and what could not be read.

    Each of the latter is the place of its column, the raw text, and what is wrong with it.
    """

    cells: list[object | None]
    problems: Sequence[tuple[int, str, str]] = ()


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
    read_one = reader(column.vr)
    cells: list[object | None] = []
    problems: list[tuple[str, str]] = []
    for raw in raws:
        cell: object | None = None
        if raw is not None and not (isinstance(raw, str) and not raw.strip(PADDING)):
            try:
                cell = read_one(raw)
            except (ValueError, OverflowError) as error:
                problems.append((shown(raw), str(error)))
        cells.append(None if cell == "" else cell)
    if column.multiple:
        empty = all(cell is None for cell in cells)
        return (None if empty else tuple(cells)), problems
    if len(cells) > 1:
        text = "\\".join(map(shown, raws))[:200]
        problems.append((text, f"{len(cells)} values where one is allowed (VM 1)"))
        joined = "\\".join(str(c) for c in cells if c is not None) if column.dtype == "str" else ""
        return joined or None, problems
    return (cells[0] if cells else None), problems


def series_of(column: Column, cells: Sequence[object | None]) -> Series[Any]:
    """Make the typed pandas column of ready cells."""
    import pandas as pd

    return pd.Series(array_of(column, cells), name=column.name)


def array_of(column: Column, cells: Sequence[object | None]) -> Any:
    """The typed array of ready cells; numbers and moments go straight into theirs, past the guesses of pandas."""
    import numpy as np
    import pandas as pd

    if column.dtype == "object":
        array = np.empty(len(cells), dtype=object)
        array[:] = cells
        return array
    if column.dtype == "str":
        return pd.array(list(cells), dtype=cast(Any, "str"))
    gaps = [cell is None for cell in cells]
    if column.dtype.startswith("datetime64"):
        nothing = np.array("NaT", column.dtype)[()]  # with a unit: one without will be an error of NumPy
        return np.array([nothing if c is None else c for c in cells] if True in gaps else cells, dtype=column.dtype)
    numbers = np.array([0 if c is None else c for c in cells] if True in gaps else cells, dtype=column.dtype.lower())
    kind = pd.arrays.FloatingArray if column.dtype == "Float64" else pd.arrays.IntegerArray
    return kind(numbers, np.array(gaps, dtype=bool))


@dataclass(slots=True)
class TableBuilder:
    """Collects rows of raw values, gives one typed DataFrame.

    ``add`` takes a mapping from column name to raw values, where an absent one is NA, or a row typed already.
    """

    columns: tuple[Column, ...]
    problems: list[Problem] = field(default_factory=list)
    _rows: list[list[object | None]] = field(default_factory=list)

    def __len__(self) -> int:
        """Count the rows."""
        return len(self._rows)

    def add(self, row: Mapping[str, Sequence[object]] | Cells) -> None:
        """Add one row."""
        cells, wrong = row if isinstance(row, Cells) else self._typed(row)
        if wrong:
            number = len(self)
            self.problems += [Problem(number, self.columns[at].name, raw, text) for at, raw, text in wrong]
        self._rows.append(cells)

    def _typed(self, row: Mapping[str, Sequence[object]]) -> Cells:
        cells: list[object | None] = []
        wrong: list[tuple[int, str, str]] = []
        for place, column in enumerate(self.columns):
            cell, problems = read(column, row.get(column.name, ()))
            cells.append(cell)
            wrong += [(place, raw, text) for raw, text in problems]
        return Cells(cells, wrong)

    def frame(self) -> DataFrame:
        """The rows so far, typed."""
        import pandas as pd

        by_column = list(zip(*self._rows, strict=True)) or [()] * len(self.columns)
        return pd.DataFrame(
            {column.name: series_of(column, cells) for column, cells in zip(self.columns, by_column, strict=True)}
        )


def retyped(frame: DataFrame) -> DataFrame:
    """Give a DataFrame that came from elsewhere (CSV, Parquet, a join) the dtypes of its DICOM columns.

    Columns that are no DICOM keyword are left as they are. Tuples come back from the lists of a Parquet file and from
    the text that CSV makes of them. Read CSV with ``dtype=str``: what pandas takes for a number has lost its leading
    zeros before it comes here.

    Raises
    ------
    UsageError
        A cell that can't be what its column says; a column that is there twice.
    """
    result = frame.copy()
    for name in frame.columns:
        try:
            known = column(name) if isinstance(name, str) else None
        except UsageError:
            known = None
        if known is None:
            continue
        if list(frame.columns).count(name) > 1:
            raise UsageError(f"the column {name} is there twice")
        cells: list[object | None] = []
        for row, value in zip(frame.index, frame[name], strict=True):
            cell, problems = read(known, _raws(known, value))
            if problems:
                raw = "its value" if known.identifying else repr(problems[0][0])
                raise UsageError(f"column {name}, row {row}: {raw} can't be read: {problems[0][1]}")
            cells.append(cell)
        result[name] = series_of(known, cells).set_axis(frame.index)
    return result


def _raws(column: Column, value: Any) -> Sequence[object]:
    """The raw values of one cell of a table."""
    if isinstance(value, str):
        value = _listed(value) if column.multiple else (value,)
    elif not isinstance(value, Iterable) or isinstance(value, bytes | Mapping):
        value = (value,)
    raws = tuple(_raw(column, one) for one in value)
    return () if raws == (None,) else raws


def _raw(column: Column, value: Any) -> object:
    """One value of a table as a peer would have sent it."""
    import numpy as np
    import pandas as pd

    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, datetime | np.datetime64):
        moment = pd.Timestamp(value)
        text = moment.isoformat(" ", "microseconds")
        return text[:10] if column.vr == "DA" and moment == moment.normalize() else text
    if isinstance(value, float) and value.is_integer() and column.dtype == "str" and abs(value) < 2**53:
        return int(value)  # a column of numbers with a gap, which pandas reads as decimals
    return value


def _listed(text: str) -> Sequence[object]:
    """The values of one text: a tuple as Python prints it into CSV, or values between backslashes."""
    if text[:1] in ("(", "["):
        try:
            found = literal_eval(text.replace("datetime.datetime(", "("))
            if isinstance(found, tuple | list):
                return [datetime(*one) if isinstance(one, tuple) else one for one in found]
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass  # it only looked like one
    return text.split("\\")
