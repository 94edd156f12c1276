"""The worklist of an archive: what is to be done, filled from a table, a file or a function."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.archive.workflow import Workflow
from dicomlab.dimse.handlers import Handler
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listing import Listing, flat, nested, row_of, tree_of_row
from dicomlab.dimse.tree import is_dataset, json_of, tree_of_json, tree_of_values, unreadable, value_of
from dicomlab.errors import UsageError
from dicomlab.model.columns import TableBuilder, column
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.worklist import OVER, STANDARD_COLUMNS, STATUSES, STEP_SEQUENCE

if TYPE_CHECKING:
    from pandas import DataFrame

_STUDY, _ACCESSION, _REQUEST_ID, _STEP_ID, _STATUS = (
    column(name).tag
    for name in (
        "StudyInstanceUID", "AccessionNumber", "RequestedProcedureID", "ScheduledProcedureStepID",
        "ScheduledProcedureStepStatus",
    )
)  # fmt: skip
_REQUIRED = tuple(one for one in STANDARD_COLUMNS if len(one.path) == 1)
"""What every item has, if without a value (PS3.4 Table K.6-1)."""


class Worklist(Summarised):
    """What is to be done: ``archive.worklist.fill(df)``; over DIMSE ``archive.node.worklist(...)`` asks for it.

    A step leaves what C-FIND gives once it is over, unless somebody asks for that status; performed steps
    (:class:`dicomlab.archive.performed.PerformedSteps`) move its status on.
    """

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self.handler: Handler | None = None

    def fill(self, what: DataFrame | str | Path | Iterable[Mapping[str, Any]] | Handler | None) -> None:
        """Put steps in the place of all that is there.

        Parameters
        ----------
        what : DataFrame, path of a CSV file, iterable of data sets or mappings, or callable
            A table has one row for each step; its columns are PS3.6 keywords, or paths such as
            ``ScheduledProtocolCodeSequence.CodeValue``. Those of the step go into its sequence by themselves. Absent
            UIDs and IDs are made up. A function answers instead: it gets one
            :class:`dicomlab.dimse.handlers.Asked` and gives data sets or mappings. None takes a function away, or
            else empties the list.

        Raises
        ------
        UsageError
            A column that is no keyword, a value that can't be, a file that can't be read. Nothing has changed then.

        Source
        ------
        PS3.4 Table K.6-1.
        """
        if callable(what) or (what is None and self.handler is not None):
            self.handler = what
            return
        items = [] if what is None else list(_items(what))
        with self._workflow.change():
            self._workflow.rows("DELETE FROM steps")
            for item in items:
                self._put(item)
        self.handler = None

    def add(self, what: DataFrame | str | Path | Iterable[Mapping[str, Any]] | Mapping[str, Any]) -> None:
        """Put further steps in; one of the same study and ID takes the place of the one that is there.

        Parameters
        ----------
        what : as for :meth:`fill`, or one data set or mapping
        """
        items = list(_items([what] if isinstance(what, Mapping) or is_dataset(what) else what))
        with self._workflow.change():
            for item in items:
                self._put(item)

    def _put(self, item: Tree) -> None:
        step = next(flat(item))
        key = value_of(step, _STUDY), value_of(step, _STEP_ID)
        self._workflow.rows(
            "INSERT INTO steps (study_uid, step_id, status, item) VALUES (?,?,?,?) ON CONFLICT (study_uid, step_id)"
            " DO UPDATE SET status=excluded.status, item=excluded.item",
            (*key, value_of(step, _STATUS), json.dumps(json_of(item))),
        )

    def set_status(self, study_instance_uid: str, step_id: str, status: str) -> bool:
        """Set the Scheduled Procedure Step Status of one step; False where there is no such step.

        Raises
        ------
        UsageError
            No status of PS3.3 Table C.4-10.
        """
        if status not in STATUSES:
            raise UsageError(f"{status!r} is no status of a scheduled step (one of: {', '.join(STATUSES)})")
        statement = "UPDATE steps SET status=? WHERE study_uid=? AND step_id=? RETURNING number"
        return bool(self._workflow.rows(statement, (status, study_instance_uid, step_id)))

    # --- out -------------------------------------------------------------------------------------------------------

    def search(self, listing: Listing) -> Iterator[Tree]:
        """The items that match; those that are over only where their status is asked for."""
        over = bool(listing.key(STEP_SEQUENCE, _STATUS).strip("*"))
        for status, item in self._stored():
            if (over or status not in OVER) and listing.matches(item):
                yield item

    def _stored(self) -> Iterator[tuple[str, Tree]]:
        for status, model in self._workflow.rows("SELECT status, item FROM steps ORDER BY number"):
            step: Tree = next(flat(tree_of_json(json.loads(model))))
            yield status, nested({**step, _STATUS: ("CS", [status])})

    def to_dataframe(self) -> DataFrame:
        """Every step, over or not, as ``node.worklist()`` shows it."""
        table = TableBuilder(STANDARD_COLUMNS)
        for _, item in self._stored():
            table.add(row_of(next(flat(item)), STANDARD_COLUMNS))
        return table.frame()

    def __len__(self) -> int:
        return int(self._workflow.rows("SELECT count(*) FROM steps")[0][0])

    def __bool__(self) -> bool:
        return True

    def _summary_(self) -> Summary:
        counts = self._workflow.rows("SELECT status, count(*) FROM steps GROUP BY status ORDER BY status")
        facts = tuple((status, str(count)) for status, count in counts)
        notes = ("a function answers in its place",) if self.handler is not None else ()
        return Summary(f"Worklist of {len(self)} steps", facts, notes=notes)


def _items(what: Any) -> Iterator[Tree]:
    for row in _rows(what):
        tree = tree_of_row(row) if isinstance(row, Mapping) else tree_of_values(row)
        for step in flat(tree):
            for one in _REQUIRED:
                step.setdefault(one.tag, (one.vr, []))
            made_up = uuid.uuid4().int
            for tag, vr, value in (
                (_STUDY, "UI", f"2.25.{made_up}"),
                (_STEP_ID, "SH", f"S{made_up % 10**12}"),
                (_REQUEST_ID, "SH", value_of(step, _ACCESSION) or f"R{made_up % 10**12}"),
                (_STATUS, "CS", "SCHEDULED"),
            ):
                if not value_of(step, tag):
                    step[tag] = (vr, [value])
            if value_of(step, _STATUS) not in STATUSES:
                raise UsageError(f"a ScheduledProcedureStepStatus is one of {', '.join(STATUSES)} (PS3.3 Table C.4-10)")
            if problem := unreadable(step):
                raise UsageError(problem)
            yield nested(step)


def _rows(what: Any) -> Iterator[Any]:
    import pandas as pd

    if isinstance(what, str | Path):
        try:
            what = pd.read_csv(what, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:
            raise UsageError(f"{what} can't be read as CSV: {error}") from error
    if isinstance(what, pd.DataFrame):
        for row in what.to_dict("records"):
            yield {str(name): value for name, value in row.items() if not _nothing(value)}
        return
    if isinstance(what, Mapping) or not isinstance(what, Iterable):
        raise UsageError(f"a worklist is filled from a table, a CSV file or data sets, not {type(what).__name__}")
    yield from what


def _nothing(value: Any) -> bool:
    import pandas as pd

    return value is None or value == "" or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))
