"""The table of the Modality Worklist: where its attributes stand, and what a query of it shows."""

from __future__ import annotations

import pytest

from dicomlab.errors import UsageError
from dicomlab.model.columns import column
from dicomlab.model.worklist import OVER, STANDARD_COLUMNS, STATUSES, STEP_KEYWORDS, STEP_SEQUENCE, StepQuery


def test_every_keyword_is_one() -> None:
    from pydicom.datadict import tag_for_keyword

    assert all(tag_for_keyword(name) for name in STEP_KEYWORDS)
    assert tag_for_keyword("ScheduledProcedureStepSequence") == STEP_SEQUENCE
    assert set(STATUSES) > OVER


def test_a_query_shows_what_it_asks_for() -> None:
    query = StepQuery.of({"ScheduledProtocolCodeSequence.CodeValue": "H"}, Modality="CT", include=["PatientWeight"])
    assert query.columns[: len(STANDARD_COLUMNS)] == STANDARD_COLUMNS
    assert query.columns[-1] == column("PatientWeight")
    assert [key.column.name for key in query.query.keys] == ["ScheduledProtocolCodeSequence.CodeValue", "Modality"]


@pytest.mark.parametrize("wrong", [{"modality": "CT"}, {"Modalty": "CT"}, {"ScheduledProcedureStepStartDate": "soon"}])
def test_what_can_not_be_asked(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        StepQuery.of(**wrong)
