"""The performed steps of an archive: what is being done or has been done; scheduled steps move with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, cast

from dicomlab.archive.workflow import Workflow
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listing import row_of
from dicomlab.dimse.normalized import RESOURCE_LIMITATION
from dicomlab.dimse.performed_step import SCHEDULED, STEP_ID, STUDY_UID, State, changed, created
from dicomlab.dimse.tree import dataset_of, json_of, tree_of_json, value_of
from dicomlab.errors import ServiceError, UsageError
from dicomlab.model.columns import TableBuilder, columns
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.worklist import OVER

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

_COLUMNS = columns(
    (
        "PerformedProcedureStepStatus", "PatientID", "PatientName", "Modality", "PerformedStationAETitle",
        "PerformedProcedureStepID", "PerformedProcedureStepDescription", "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime", "PerformedProcedureStepEndDate", "PerformedProcedureStepEndTime",
        "PerformedProcedureStepDiscontinuationReasonCodeSequence.CodeMeaning",
        "PerformedSeriesSequence.SeriesInstanceUID", "ScheduledStepAttributesSequence.StudyInstanceUID",
        "ScheduledStepAttributesSequence.ScheduledProcedureStepID", "ScheduledStepAttributesSequence.AccessionNumber",
    )
)  # fmt: skip
_STATUS_OF_STEP: dict[State, str] = {
    "IN PROGRESS": "STARTED", "COMPLETED": "COMPLETED", "DISCONTINUED": "DISCONTINUED",
}  # fmt: skip
"""What becomes of the scheduled steps that a performed step refers to."""
_STAY = tuple(sorted(OVER - {"DISCONTINUED"}))
"""What they stay then; one that was discontinued can be taken up again."""


MAX_STEPS, MAX_OCTETS = 100_000, 1 << 20
"""Performed steps that an archive keeps, and octets of one of them, as JSON."""


class PerformedSteps(Summarised):
    """What modalities have said they do (MPPS): ``archive.performed_steps.to_dataframe()``."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow

    # --- for the SCP -----------------------------------------------------------------------------------------------

    def create(self, uid: str, tree: Tree) -> tuple[str, ...]:
        """Keep a new step; see :func:`dicomlab.dimse.performed_step.created`."""
        with self._workflow.change():
            before = self._row(uid)
            whole, state, absent = created(before[0] if before else None, tree)
            if len(self) >= MAX_STEPS:
                raise ServiceError(f"{MAX_STEPS} performed steps are kept", status=RESOURCE_LIMITATION)
            statement = "INSERT INTO performed (uid, status, step) VALUES (?,?,?)"
            self._workflow.rows(statement, (uid, state, _text(whole)))
            self._move(whole, state)
        return absent

    def change(self, uid: str, changes: Tree) -> None:
        """Set attributes of a step; see :func:`dicomlab.dimse.performed_step.changed`."""
        with self._workflow.change():
            before = self._row(uid)
            whole, state = changed(before[0] if before else None, before[1] if before else {}, changes)
            statement = "UPDATE performed SET status=?, step=? WHERE uid=?"
            self._workflow.rows(statement, (state, _text(whole), uid))
            self._move(whole, state)

    def get(self, uid: str) -> Tree | None:
        """A step, whole; None where there is none of that UID."""
        row = self._row(uid)
        return row[1] if row else None

    def _move(self, tree: Tree, state: State) -> None:
        """The scheduled steps go with the performed one, in the same change; what is over stays so."""
        marks = ",".join("?" * len(_STAY))
        for item in tree.get(SCHEDULED, ("SQ", []))[1]:
            key = value_of(item, STUDY_UID), value_of(item, STEP_ID)
            self._workflow.rows(
                f"UPDATE steps SET status=? WHERE study_uid=? AND step_id=? AND status NOT IN ({marks})",
                (_STATUS_OF_STEP[state], *key, *_STAY),
            )

    def _row(self, uid: str) -> tuple[State, Tree] | None:
        rows = self._workflow.rows("SELECT status, step FROM performed WHERE uid=?", (uid,))
        return (cast("State", rows[0][0]), tree_of_json(json.loads(rows[0][1]))) if rows else None

    # --- for people ------------------------------------------------------------------------------------------------

    def __getitem__(self, uid: str) -> Dataset:
        tree = self.get(uid)
        if tree is None:
            raise UsageError(f"no performed step has the UID {uid}")
        return dataset_of(tree)

    def __iter__(self) -> Iterator[str]:
        return iter([row[0] for row in self._workflow.rows("SELECT uid FROM performed ORDER BY number")])

    def __len__(self) -> int:
        return int(self._workflow.rows("SELECT count(*) FROM performed")[0][0])

    def __bool__(self) -> bool:
        return True

    def to_dataframe(self) -> DataFrame:
        """One row for each step, by its SOP Instance UID."""
        table = TableBuilder(columns(("SOPInstanceUID",)) + _COLUMNS)
        for uid, text in self._workflow.rows("SELECT uid, step FROM performed ORDER BY number"):
            row: dict[str, Any] = row_of(tree_of_json(json.loads(text)), _COLUMNS)
            table.add({**row, "SOPInstanceUID": [uid]})
        return table.frame()

    def _summary_(self) -> Summary:
        counts = self._workflow.rows("SELECT status, count(*) FROM performed GROUP BY status ORDER BY status")
        return Summary(f"{len(self)} performed steps", tuple((status, str(count)) for status, count in counts))


def _text(tree: Tree) -> str:
    text = json.dumps(json_of(tree))
    if len(text) > MAX_OCTETS:
        raise ServiceError(f"a performed step has at most {MAX_OCTETS >> 10} KiB", status=RESOURCE_LIMITATION)
    return text
