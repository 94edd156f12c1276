"""The verbs of a worklist of work items, the same over DIMSE, over the web and straight at an archive.

``archive.workitems``, ``node.workitems`` and ``endpoint.workitems`` are one class, :class:`WorkItems`, over three
services that carry its requests out.

Source
------
PS3.4 Annex CC (Unified Procedure Step Service); PS3.18 §11 (Worklist Service).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model import trace
from dicomlab.model.columns import Problem, TableBuilder
from dicomlab.model.path import Verdict
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.workitem import FILTERED, GLOBAL, TO_STATE, Done, EventReport, is_uid
from dicomlab.model.workitem_attributes import ATTRIBUTES
from dicomlab.model.workitem_service import EventChannel, WorkItemService, WorkQuery

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.model.cohort import Cohort

RECEIVER = "DICOMLAB"
"""The AE title under which events are received, where nobody says another."""


# --- the verbs -------------------------------------------------------------------------------------------------------


class WorkItems(Summarised):
    """The work items of an archive, a peer or a server.

    ::

        uid = pacs.workitems.create(ProcedureStepLabel="Read CT").uid
        mine = pacs.workitems.claim(uid).transaction_uid
        pacs.workitems.update(uid, {...}, mine)
        pacs.workitems.change_state(uid, "COMPLETED", mine)

    Each verb that changes something gives a :class:`~dicomlab.model.workitem.Done` with the peer's status.
    """

    def __init__(self, service: WorkItemService, name: str, receiver: str = RECEIVER) -> None:
        self._service, self._name, self._receiver = service, name, receiver

    def __str__(self) -> str:
        return f"work items of {self._name}"

    @property
    def fictional(self) -> bool:
        """Whether the patients are known to be synthetic."""
        return self._service.fictional

    def _summary_(self) -> Summary:
        return Summary("Work items", (("of", self._name), ("events to", self._receiver)))

    def search(
        self,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        progress: bool | OnProgress = True,
        **keywords: Any,
    ) -> Cohort:
        """Search: ``search(ProcedureStepState="SCHEDULED")``; keys are written as for ``find``.

        Parameters
        ----------
        match : mapping, optional
            Keys that are no Python names: ``{"ScheduledStationNameCodeSequence.CodeValue": "CT1"}``.
        include : iterable of str, optional
            Further attributes to return as columns.
        limit : int, optional
            Most rows; once reached the cohort says that it is cut off.

        Returns
        -------
        Cohort
            One row for each work item; ``level`` is ``"workitem"``.

        Raises
        ------
        UsageError
            Before anything is sent: an unknown keyword, an impossible value.
        Unreachable, Refused, Interrupted, ServiceError
            As for ``find``.

        Source
        ------
        PS3.4 §CC.2.8 (C-FIND), PS3.18 §11.9 (search).
        """
        query = WorkQuery.of(match, include=include, limit=limit, **keywords)
        work: Work[Cohort] = Work("search", "rows", lambda control: self._searched(query, control), progress=progress)
        found: Any = work.carry_out(background=False)
        return found  # type: ignore[no-any-return]

    def _searched(self, query: WorkQuery, control: Control) -> Cohort:
        table, verdict = TableBuilder(query.columns), Verdict()
        try:
            for row in self._service.search(query, control, verdict):
                if query.limit is not None and len(table) == query.limit:
                    verdict.cut(f"there are more than limit={query.limit}")
                    break
                table.add(row)
                control.advance()
                if control.cancelled:
                    break
        except DicomlabError as error:
            if not control.cancelled:
                verdict.cut(str(error))
                error.partial = self._cohort(table, verdict)
                error.trace = error.trace or trace.current()
                raise
        if control.cancelled:
            verdict.cut("cancelled")
        return self._cohort(table, verdict)

    def _cohort(self, table: TableBuilder, verdict: Verdict) -> Cohort:
        from dicomlab.model.cohort import Cohort

        problems = [*table.problems, *(Problem(None, "", "", text) for text in verdict.warnings)]
        return Cohort(
            table.frame(), level="workitem", source=self, complete=verdict.complete, note=verdict.note,
            problems=problems, trace=trace.current(),
        )  # fmt: skip

    def create(self, workitem: Dataset | Mapping[str, Any] | None = None, uid: str = "", **keywords: Any) -> Done:
        """Create a work item: ``create(ProcedureStepLabel="Read CT", PatientID="P1")``.

        Parameters
        ----------
        workitem : Dataset or mapping, optional
            A ready data set, which goes as it is; or keywords and values, a list of mappings for a sequence. Of these
            (and of keywords) is made a whole one: what must be there and is not given is put in empty, the state is
            SCHEDULED, and unless given otherwise the priority is MEDIUM, the input READY and the start now.
        uid : str, optional
            Its SOP Instance UID; none: a new one.

        Raises
        ------
        UsageError
            No such keyword, or no UID.
        ServiceError
            0111H (409): there is one with that UID; others: an attribute is missing, or can't be what it is.

        Source
        ------
        PS3.4 §CC.2.5 (N-CREATE), PS3.18 §11.4 (create).
        """
        from pydicom import Dataset

        if uid and not is_uid(uid):
            raise UsageError(f"{uid[:80]!r} is no UID")
        if isinstance(workitem, Dataset):
            if keywords:
                raise UsageError("a ready data set holds all attributes; keywords beside it have no place")
            return self._service.create(uid or str(workitem.get("SOPInstanceUID", "")) or new_uid(), workitem)
        return self._service.create(uid or new_uid(), scheduled({**(workitem or {}), **keywords}))

    def retrieve(self, uid: str) -> Dataset:
        """Give a work item, without its Transaction UID.

        Raises
        ------
        ServiceError
            C307H (404; 410: it was deleted): there is none.

        Source
        ------
        PS3.4 §CC.2.7 (N-GET), PS3.18 §11.5 (retrieve).
        """
        return self._service.retrieve(_uid(uid))

    def update(self, uid: str, changes: Dataset | Mapping[str, Any], transaction_uid: str = "") -> Done:
        """Set attributes of a work item; a sequence is replaced whole.

        Parameters
        ----------
        uid : str
        changes : Dataset or mapping
        transaction_uid : str
            What it was claimed with; none for one that is scheduled.

        Raises
        ------
        ServiceError
            C301H, C310H: not the right Transaction UID; C300H: it is final.

        Source
        ------
        PS3.4 §CC.2.6 (N-SET), PS3.18 §11.6 (update).
        """
        return self._service.update(_uid(uid), dataset_of(changes), transaction_uid)

    def claim(self, uid: str) -> Done:
        """Claim a work item: IN PROGRESS, under a new Transaction UID that nobody else has.

        Returns
        -------
        Done
            ``transaction_uid`` is what every later change needs.

        Raises
        ------
        ServiceError
            C301H, C302H, C300H: somebody else has it, or it is final.

        Source
        ------
        PS3.4 §CC.2.1 (Change UPS State), PS3.18 §11.7.
        """
        mine = new_uid()
        return replace(self.change_state(uid, "IN PROGRESS", mine), transaction_uid=mine)

    def change_state(self, uid: str, state: str, transaction_uid: str) -> Done:
        """Change the state: to IN PROGRESS, then to COMPLETED or CANCELED.

        Raises
        ------
        UsageError
            No such state.
        ServiceError
            C301H: not the right Transaction UID; C304H: something that this state needs is missing; C300H, C302H,
            C310H: not from the state that it is in.

        Source
        ------
        PS3.4 §CC.2.1 (N-ACTION Change UPS State), PS3.18 §11.7.
        """
        if state not in TO_STATE:
            raise UsageError(f"{state!r} is no state of a work item (one of: {', '.join(TO_STATE)})")
        return self._service.change_state(_uid(uid), state, transaction_uid)

    def request_cancel(self, uid: str, reason: str = "", *, contact: str = "", contact_uri: str = "") -> Done:
        """Request that a work item be canceled: at once where nobody has claimed it, else its performer is asked.

        Raises
        ------
        ServiceError
            C311H: it is completed; C312H: nobody listens who could be asked.

        Source
        ------
        PS3.4 §CC.2.2 (N-ACTION Request UPS Cancel), PS3.18 §11.8.
        """
        given = {"ReasonForCancellation": reason, "ContactDisplayName": contact, "ContactURI": contact_uri}
        information = dataset_of({name: value for name, value in given.items() if value})
        return self._service.request_cancel(_uid(uid), self._receiver, information)

    def subscribe(
        self,
        uid: str | None = None,
        match: Mapping[str | int, object] | None = None,
        *,
        deletion_lock: bool = False,
        **keywords: Any,
    ) -> Done:
        """Subscribe to the events of a work item; without a UID to all, now and later; with keys to those that match.

        Parameters
        ----------
        uid : str, optional
        match : mapping, optional
            Keys, as for :meth:`search`; also as keywords.
        deletion_lock : bool
            Keep the work items, once final, until unsubscribed.

        Source
        ------
        PS3.4 §CC.2.3 (N-ACTION Subscribe), PS3.18 §11.10.
        """
        query = WorkQuery.of(match, **keywords)
        if uid is not None and query.keys:
            raise UsageError("keys choose among all work items: leave the UID out, or the keys")
        target = _uid(uid) if uid is not None else FILTERED if query.keys else GLOBAL
        return self._service.subscribe(target, self._receiver, deletion_lock, query.keys)

    def unsubscribe(self, uid: str | None = None) -> Done:
        """End the subscription to a work item; without a UID to all of them.

        Source
        ------
        PS3.4 §CC.2.3 (N-ACTION Unsubscribe), PS3.18 §11.11.
        """
        return self._service.unsubscribe(GLOBAL if uid is None else _uid(uid), self._receiver)

    def suspend(self) -> Done:
        """Subscribe to no further work items; those that are subscribed to stay so.

        Source
        ------
        PS3.4 §CC.2.3 (N-ACTION Suspend Global Subscription), PS3.18 §11.12.
        """
        return self._service.suspend(GLOBAL, self._receiver)

    def events(self, seconds: float | None = None) -> Events:
        """Give the events that were subscribed to, as they come.

        ::

            with pacs.workitems.events(seconds=60) as events:
                for event in events:
                    ...

        Parameters
        ----------
        seconds : float, optional
            For how long, in seconds; None: until closed or interrupted.

        Source
        ------
        PS3.4 §CC.2.4 (N-EVENT-REPORT), PS3.18 §8.10.4 (open notification connection), §11.13.
        """
        return Events(self._service.listen(self._receiver), seconds)


class Events:
    """Events as they come: an iterator that ends with its time, with :meth:`close`, or at an interrupt."""

    def __init__(self, channel: EventChannel, seconds: float | None) -> None:
        self._channel = channel
        self._until = None if seconds is None else time.monotonic() + seconds

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EventReport:
        left = None if self._until is None else max(0.0, self._until - time.monotonic())
        try:
            event = self._channel.next(left)
        except KeyboardInterrupt:  # the first one ends the work cleanly
            event = None
        except BaseException:
            self.close()
            raise
        if event is None:
            self.close()
            raise StopIteration
        return event

    def close(self) -> None:
        """End it; may be called from another thread."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# --- data sets -------------------------------------------------------------------------------------------------------


def new_uid() -> str:
    """A new UID (PS3.5 §B.2)."""
    return f"2.25.{uuid.uuid4().int}"


def _uid(uid: str) -> str:
    if not is_uid(str(uid)):
        raise UsageError(f"{str(uid)[:80]!r} is no UID of a work item")
    return str(uid)


def scheduled(given: Mapping[str, Any]) -> Dataset:
    """Make a whole new work item of what is given of it.

    Source
    ------
    PS3.4 Table CC.2.5-3 (column N-CREATE).
    """
    now = datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000")
    whole: dict[str, Any] = {one.keyword: None for one in ATTRIBUTES if one.create in ("2", "0")}
    whole |= {
        "ScheduledProcedureStepPriority": "MEDIUM",
        "InputReadinessState": "READY",
        "ScheduledProcedureStepStartDateTime": now,
        "ProcedureStepState": "SCHEDULED",
    }
    return dataset_of({**whole, **given})


def dataset_of(given: Dataset | Mapping[str, Any]) -> Dataset:
    """Make a data set of keywords and values; a list of mappings is a sequence, None an empty value.

    Raises
    ------
    UsageError
        No such keyword, or a value that its VR can't hold.
    """
    from pydicom import DataElement, Dataset
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    if isinstance(given, Dataset):
        return given
    made = Dataset()
    for keyword, value in given.items():
        tag = tag_for_keyword(str(keyword))
        if tag is None:
            raise UsageError(f"{keyword!r} is no DICOM keyword")
        vr = dictionary_VR(tag)
        try:
            if vr == "SQ":
                items = [value] if isinstance(value, Mapping | Dataset) else list(value or ())
                made.add_new(tag, vr, [dataset_of(item) for item in items])
            else:
                made.add(DataElement(tag, vr, _moment(value, vr), validation_mode=RAISE))
        except (ValueError, TypeError, OverflowError) as error:
            raise UsageError(f"{keyword}: {str(error)[:200]}") from error
    if any(not str(element.value).isascii() for element in made.iterall() if element.VR != "SQ"):
        made.SpecificCharacterSet = "ISO_IR 192"
    return made


def _moment(value: Any, vr: str) -> Any:
    if isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime(value.year, value.month, value.day)
        return moment.strftime({"DA": "%Y%m%d", "TM": "%H%M%S"}.get(vr, "%Y%m%d%H%M%S%z"))
    return value
