"""The Modality Worklist as a table: which attributes stand in the step, and which a cohort of steps shows. No I/O.

In a worklist item the attributes of the step lie in the Scheduled Procedure Step Sequence; here, as in every table,
they stand beside those of the patient and the request, and no keyword stands in both places.

Source
------
PS3.4 §K.6.1.2, Table K.6-1 (attributes of the Modality Worklist information model).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from dicomlab.model.columns import Column, columns
from dicomlab.model.query import Query

STEP_SEQUENCE = 0x00400100
"""Scheduled Procedure Step Sequence."""

STEP_KEYWORDS = frozenset(
    """Modality AnatomicalOrientationType RequestedContrastAgent ScheduledStationAETitle
    ScheduledProcedureStepStartDate ScheduledProcedureStepStartTime ScheduledProcedureStepEndDate
    ScheduledProcedureStepEndTime ScheduledPerformingPhysicianName
    ScheduledPerformingPhysicianIdentificationSequence ScheduledProcedureStepDescription
    ScheduledProtocolCodeSequence ScheduledProcedureStepID ScheduledStationName ScheduledProcedureStepLocation
    PreMedication ScheduledProcedureStepStatus CommentsOnTheScheduledProcedureStep
    ScheduledSpecimenSequence ScheduledProcedureStepModificationDateTime ReferencedDefinedProtocolSequence""".split()
)
"""What stands in the Scheduled Procedure Step Sequence; everything else stands beside it."""

_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
STANDARD_COLUMNS = columns(
    (
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "Modality", "ScheduledStationAETitle",
        "ScheduledProcedureStepStartDate", "ScheduledProcedureStepStartTime", "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepID", "ScheduledProcedureStepStatus", "ScheduledPerformingPhysicianName",
        "AccessionNumber", "RequestedProcedureID", "RequestedProcedureDescription", "ReferringPhysicianName",
        "StudyInstanceUID",
        *(f"RequestedProcedureCodeSequence.{name}" for name in _CODE),
        *(f"ScheduledProtocolCodeSequence.{name}" for name in _CODE),
        "ReferencedStudySequence.ReferencedSOPClassUID", "ReferencedStudySequence.ReferencedSOPInstanceUID",
    )
)  # fmt: skip
"""The columns of every cohort of steps."""

STATUSES = (
    "SCHEDULED", "ARRIVED", "READY", "STARTED", "DEPARTED", "CANCELED", "DISCONTINUED", "COMPLETED",
)  # fmt: skip
"""Scheduled Procedure Step Status (0040,0020) (PS3.3 Table C.4-10)."""
OVER = frozenset({"DEPARTED", "CANCELED", "DISCONTINUED", "COMPLETED"})
"""Those of steps that nobody is to do any more."""


@dataclass(frozen=True, slots=True)
class StepQuery:
    """What ``worklist`` asks: a query whose columns are those of steps."""

    query: Query

    @classmethod
    def of(
        cls,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        **keywords: object,
    ) -> Self:
        """Check and normalise the keys, as :meth:`Query.of` does; an attribute of any level may be one."""
        return cls(Query.of("instance", match, include=include, limit=limit, **keywords))

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the cohort shows."""
        asked = (key.column for key in self.query.keys)
        return tuple(dict.fromkeys((*STANDARD_COLUMNS, *asked, *self.query.include)))
