"""What is to be done, and what is being done, asked of a remote AE: worklist, performed steps, work items.

Source
------
PS3.4 Annex K (Modality Worklist), Annex F (Modality Performed Procedure Step), Annex CC (UPS).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

from dicomlab.dimse import tables
from dicomlab.dimse.asker import Finder
from dicomlab.dimse.identifier import encode_tree
from dicomlab.dimse.listing import flat, nested, row_of, tree_of_keys
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.performing import PerformedStep, look
from dicomlab.dimse.tree import decode_tree
from dicomlab.dimse.workitems import RemoteWorkItems
from dicomlab.errors import DicomlabError, Refused, RemoteProtocolError
from dicomlab.model import trace
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import Problem, TableBuilder
from dicomlab.model.matching import matches
from dicomlab.model.path import Verdict
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.query import Query
from dicomlab.model.workitems import WorkItems
from dicomlab.model.worklist import StepQuery

if TYPE_CHECKING:
    from pydicom import Dataset

Row = dict[str, list[object]]


class WorkflowPath:
    """The workflow verbs of a Node."""

    _peer: Peer
    fictional: bool

    @overload
    def worklist(
        self, match: Mapping[str | int, object] | None = ..., *, include: Iterable[str | int] = ...,
        limit: int | None = ..., progress: bool | OnProgress = ..., background: Literal[False] = ..., **keywords: Any,
    ) -> Cohort: ...  # fmt: skip
    @overload
    def worklist(
        self, match: Mapping[str | int, object] | None = ..., *, include: Iterable[str | int] = ...,
        limit: int | None = ..., progress: bool | OnProgress = ..., background: Literal[True], **keywords: Any,
    ) -> Operation[Cohort]: ...  # fmt: skip
    def worklist(
        self,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        progress: bool | OnProgress = True,
        background: bool = False,
        **keywords: Any,
    ) -> Cohort | Operation[Cohort]:
        """Ask what is to be done: ``worklist(Modality="CT", ScheduledProcedureStepStartDate=today)``.

        Keys of the step go into the Scheduled Procedure Step Sequence by themselves; in the answer they stand beside
        the others.

        Parameters
        ----------
        match : mapping, optional
            Keys that are no Python names: ``{"ScheduledProtocolCodeSequence.CodeValue": "CTHEAD"}``.
        include : iterable of str, optional
            Further attributes to return as columns.
        limit : int, optional
            Most rows; once reached the peer is told to stop and the cohort says that it is cut off.
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.
        background : bool, optional
            Return an :class:`Operation` at once.
        **keywords
            A PS3.6 keyword and what it must match, as for ``find``.

        Returns
        -------
        Cohort
            One row for each step, in order of arrival; ``level`` is ``"step"``. ``perform(worklist[0])`` begins one.

        Raises
        ------
        UsageError
            Before anything is sent: an unknown keyword, an impossible value.
        Unreachable, Refused, Interrupted, ServiceError
            As for ``find``.

        Source
        ------
        PS3.4 §K.4.1, §K.6.1.
        """
        asked = StepQuery.of(match, include=include, limit=limit, **keywords)
        work: Work[Cohort] = Work("worklist", "steps", lambda control: self._listed(asked, control), progress=progress)
        return work.carry_out(background=background)

    def _listed(self, asked: StepQuery, control: Control) -> Cohort:
        table, verdict = TableBuilder(asked.columns), Verdict()
        limit = asked.query.limit
        seen: set[tuple[str, str]] = set()
        rows = self._steps(asked, control, verdict)

        def cohort() -> Cohort:
            problems = [*table.problems, *(Problem(None, "", "", text) for text in verdict.warnings)]
            return Cohort(
                table.frame(), level="step", source=self, complete=verdict.complete, note=verdict.note,
                problems=problems, trace=trace.current(),
            )  # fmt: skip

        try:
            for row in rows:
                key = _text(row, "StudyInstanceUID"), _text(row, "ScheduledProcedureStepID")
                if key in seen:
                    continue
                if limit is not None and len(table) == limit:
                    verdict.cut(f"there are more than limit={limit}")
                    break
                if all(key):
                    seen.add(key)
                table.add(row)
                control.advance()
                if control.cancelled:
                    break
        except DicomlabError as error:
            if not control.cancelled:
                verdict.cut(str(error))
                error.partial, error.trace = cohort(), error.trace or trace.current()
                raise
        finally:
            rows.close()
        if control.cancelled:
            verdict.cut("cancelled")
        return cohort()

    def _steps(self, asked: StepQuery, control: Control, verdict: Verdict) -> Generator[Row, None, None]:
        with self._peer.associate([Proposal(tables.WORKLIST, tables.UNCOMPRESSED)]) as association:
            context = association.context_for(tables.WORKLIST)
            if context is None:
                raise Refused("it does not offer the Modality Worklist (PS3.4 §K.5)", endpoint=association.endpoint)
            finder = Finder(association, context, control, verdict)
            for query in asked.query.single_valued(uid_lists=False):
                yield from _answers(finder, query, asked)

    def perform(self, item: Any = None, **keywords: Any) -> PerformedStep:
        """Perform a step: ``with node.perform(worklist[0]) as step:``.

        Entering the block creates a Modality Performed Procedure Step, IN PROGRESS; leaving it sets it COMPLETED, or,
        where an error ends it, DISCONTINUED with a reason. In between ``step.performed(datasets)`` notes what was
        made, ``step.set(...)`` tells the peer of changes, ``step.discontinue("110501")`` ends it otherwise.

        Parameters
        ----------
        item : Cohort of one row, row of a table, Dataset or mapping, optional
            What is to be done; None: something that nobody has scheduled.
        **keywords
            What the step says beside or otherwise: ``PerformedStationAETitle="CT1"``, ``PatientID="P1"``.

        Raises
        ------
        UsageError
            More than one row, no Modality, a keyword that there is none of.
        Unreachable, Refused, Interrupted, ServiceError
            On entering: the peer does not take it.

        Source
        ------
        PS3.4 §F.7.2, Table F.7.2-1.
        """
        return PerformedStep(self._peer, {} if item is None else item, keywords)

    def performed_step(self, uid: str, attributes: Collection[str | int] = ()) -> Dataset:
        """Retrieve a Modality Performed Procedure Step (N-GET).

        Parameters
        ----------
        uid : str
            Its SOP Instance UID.
        attributes : collection of str, optional
            Which ones, by keyword or tag; all where none is named.

        Raises
        ------
        ServiceError
            0112H: there is none of that UID.
        UsageError
            An unknown keyword.
        Unreachable, Refused, Interrupted
            As for every verb.

        Source
        ------
        PS3.4 §F.8.2.
        """
        return look(self._peer, uid, attributes)

    @property
    def workitems(self) -> WorkItems:
        """Its work items (Unified Procedure Steps): create, search, claim, update, complete, subscribe to.

        Source
        ------
        PS3.4 Annex CC.
        """
        return WorkItems(RemoteWorkItems(self), str(self._peer.address), self._peer.me.ae_title)


def _answers(finder: Finder, query: Query, asked: StepQuery) -> Iterator[Row]:
    keys = dict.fromkeys(asked.columns, "") | {key.column: key.text for key in query.keys}
    identifier = encode_tree(nested(tree_of_keys(keys)), finder.transfer_syntax)
    passed = 0
    for octets, whole in finder.ask(identifier):
        try:
            item = decode_tree(octets, finder.transfer_syntax)
        except RemoteProtocolError:
            finder.abort()
            raise
        for step in flat(item):
            row = row_of(step, asked.columns)
            strange = not whole and any(
                raws and not matches(key, raws) for key in query.keys if (raws := row.get(key.column.name))
            )
            if strange:
                passed += 1
            else:
                yield row
    if passed:
        finder.tell(f"{passed} steps that do not match are left out")


def _text(row: Row, name: str) -> str:
    return next((str(one).strip(" \0") for one in row.get(name, ()) if one is not None), "")
