"""The archive's work items: one table of SQLite beside the index, and one state machine behind both doors.

Each request is one transaction: the item, the subscriptions that it makes and the events that it causes are durable
together or not at all, and only then is anybody woken or answered.

Source
------
PS3.4 Annex CC (Unified Procedure Step Service).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.archive.workitem_tables import Tables
from dicomlab.errors import ServiceError
from dicomlab.model.matching import answers
from dicomlab.model.progress import Control
from dicomlab.model.query import Key
from dicomlab.model.workitem import (
    ASSIGNED,
    CANCEL_REQUESTED,
    EVENT_ATTRIBUTES,
    FILTERED,
    FINAL,
    GLOBAL,
    INVALID_ARGUMENT,
    INVALID_VALUE,
    NO_PERFORMER,
    NOT_APPROPRIATE,
    PROGRESS_REPORT,
    RESOURCE_LIMITATION,
    SCP_STATUS_CHANGE,
    STATE_REPORT,
    SUCCESS,
    TO_STATE,
    UNKNOWN,
    UPS_PUSH,
    WITH_MODIFICATIONS,
    Cell,
    Done,
    EventReport,
    Request,
    State,
    compared,
    failed,
    is_uid,
    refusal,
    transition,
)
from dicomlab.model.workitem_attributes import Model, created, element, final, tag_of, text, updated, values
from dicomlab.model.workitem_service import MAX_EVENTS, WorkQuery
from dicomlab.model.workitems import new_uid
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import to_json, values_at

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.archive.workitem_channel import StoreChannel
    from dicomlab.model.matching import Row
    from dicomlab.model.path import Verdict

_log = logging.getLogger(__name__)

MAX_OCTETS = 1 << 20
"""Octets of one work item, as JSON."""
MAX_ITEMS = 100_000
"""Work items that an archive keeps, those included that are final."""
MAX_AE = 16
DEFAULT_LABEL = "DICOMLAB"
"""The Worklist Label of items that come without one, which the SCP fills in (PS3.4 Table CC.2.5-3)."""
_NO_REASON = {
    **element("CodeValue", "110513"),
    **element("CodingSchemeDesignator", "DCM"),
    **element("CodeMeaning", "Discontinued for unspecified reason"),
}
_OURS = ("SOPClassUID", "SOPInstanceUID", "TransactionUID")
_STATION = "ScheduledStationNameCodeSequence"
_HUMANS = "ScheduledHumanPerformersSequence"
_PROGRESS = "ProcedureStepProgressInformationSequence"


class WorkItemStore:
    """Work items, subscriptions and undelivered events. Satisfies ``WorkItemHoldings``; thread-safe.

    Parameters
    ----------
    path : Path
        The file of the tables.
    now : callable, optional
        Gives the time, for Modification DateTime.
    """

    def __init__(self, path: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._tables = Tables(path)
        self._wakes: list[Callable[[str], object]] = []
        self.fictional = False
        """Whether its patients are known to be synthetic."""
        self._restarted()

    def close(self) -> None:
        """Close the tables."""
        self._tables.close()

    def __len__(self) -> int:
        return self._tables.count()

    @contextmanager
    def _change(self) -> Iterator[Tables]:
        """One transaction; who is to be told is told after it."""
        with self._tables.transaction() as receivers:
            yield self._tables
        for receiver in receivers:
            for wake in tuple(self._wakes):
                try:
                    wake(receiver)
                except Exception:  # noqa: BLE001  (a deliverer's fault is its own: the change stands)
                    _log.exception("an event for %s could not be announced", receiver)

    # --- requests ----------------------------------------------------------------------------------------------------

    def create(self, uid: str, workitem: Dataset, /) -> Done:
        """Create a work item (N-CREATE).

        Source
        ------
        PS3.4 §CC.2.5.
        """
        given = _model(workitem)
        uid = uid or text(given, "SOPInstanceUID") or new_uid()
        if not is_uid(uid) or text(given, "SOPInstanceUID") not in ("", uid):
            raise refusal(INVALID_VALUE, "the SOP Instance UID is no UID, or another than in the request")
        with self._change() as tables:
            _settled(transition("create", "none", _state(tables.get(uid))))
            model, remarks = created(given)
            if tables.is_gone(uid):
                raise refusal(INVALID_VALUE, "there was a work item with that UID, which was deleted")
            if tables.count() >= MAX_ITEMS:
                raise refusal(RESOURCE_LIMITATION, f"{MAX_ITEMS} work items are kept: purge final ones")
            label = () if values(model, "WorklistLabel") else element("WorklistLabel", DEFAULT_LABEL)
            model = {**model, **dict(label), **element("ProcedureStepState", "SCHEDULED"), **self._modified()}
            tables.put(uid, _capped(_without(model, _OURS)), "SCHEDULED", "")
            self._subscribe_newcomer(tables, uid, model)
            self._report_state(tables, uid, model)
            self._report_changes(tables, uid, {}, model)
        return Done(uid, WITH_MODIFICATIONS if remarks else SUCCESS, remarks)

    def retrieve(self, uid: str, /) -> Dataset:
        """Give a work item, without its Transaction UID (N-GET)."""
        found = self._tables.get(uid)
        if found is None:
            raise self._unknown(uid)
        return from_json(_shown(uid, found.model))

    def _unknown(self, uid: str) -> ServiceError:
        gone = self._tables.is_gone(uid)
        return refusal(UNKNOWN, "it was deleted" if gone else "")

    def is_gone(self, uid: str, /) -> bool:
        """Whether there was a work item with that UID, which was deleted."""
        return self._tables.is_gone(uid)

    def update(self, uid: str, changes: Dataset, transaction_uid: str, /) -> Done:
        """Set attributes (N-SET).

        Source
        ------
        PS3.4 §CC.2.6.
        """
        given = _model(changes)
        transaction_uid = transaction_uid or text(given, "TransactionUID")
        with self._change() as tables:
            before = tables.get(uid)
            self._looked_up("update", uid, before, transaction_uid)
            assert before is not None
            updated(_without(given, ("TransactionUID",)))
            model = {**before.model, **_without(given, _OURS), **self._modified()}
            tables.put(uid, _capped(model), before.state, before.transaction_uid)
            for receiver in self._subscribe_newcomer(tables, uid, model):
                self._report_state(tables, uid, model, [receiver])
            if text(before.model, "InputReadinessState") != text(model, "InputReadinessState"):
                self._report_state(tables, uid, model)
            self._report_changes(tables, uid, before.model, model)
        return Done(uid)

    def change_state(self, uid: str, state: str, transaction_uid: str, /) -> Done:
        """Change the state (N-ACTION 1).

        Source
        ------
        PS3.4 §CC.2.1.
        """
        if state not in TO_STATE:
            raise refusal(INVALID_ARGUMENT, f"{state[:40]!r} is no state")
        if transaction_uid and not is_uid(transaction_uid):
            raise refusal(INVALID_ARGUMENT, "the Transaction UID is no UID")
        with self._change() as tables:
            before = tables.get(uid)
            cell = self._looked_up(TO_STATE[state], uid, before, transaction_uid)
            if isinstance(cell, int):
                return Done(uid, cell)
            assert before is not None
            model = {**before.model, **element("ProcedureStepState", cell), **self._modified()}
            if cell == "CANCELED":
                model = self._with_cancellation_time(model)
            if cell in FINAL:
                final(_shown(uid, model), cell)
            tables.put(uid, _capped(model), cell, transaction_uid)
            self._report_state(tables, uid, model)
        return Done(uid)

    def request_cancel(self, uid: str, requesting_ae: str, information: Dataset, /) -> Done:
        """Request that a work item be canceled (N-ACTION 2): at once, or by whoever performs it.

        Source
        ------
        PS3.4 §CC.2.2.
        """
        given = _model(information)
        with self._change() as tables:
            before = tables.get(uid)
            cell = self._looked_up("request cancel", uid, before, "")
            if before is None or (isinstance(cell, int) and cell != SUCCESS):
                return Done(uid, int(cell))
            if cell == SUCCESS:
                listeners = tables.subscribers(uid)
                if not listeners:
                    raise refusal(NO_PERFORMER, "nobody is subscribed to its events")
                said = {**given, **element("RequestingAE", requesting_ae)}
                self._report(tables, uid, CANCEL_REQUESTED, said, listeners)
                return Done(uid, remarks=("its performer is asked, who need not agree",))
            begun = {**before.model, **element("ProcedureStepState", "IN PROGRESS"), **self._modified()}
            self._report_state(tables, uid, begun)
            model = {**begun, **element("ProcedureStepState", "CANCELED")}
            model = self._with_cancellation_time(model, given)
            tables.put(uid, _capped(model), "CANCELED", "")
            self._report_state(tables, uid, model)
        return Done(uid)

    def _looked_up(self, request: Request, uid: str, before: Any, transaction_uid: str) -> Cell:
        if before is None:
            raise self._unknown(uid)
        return _settled(transition(request, compared(transaction_uid, before.transaction_uid), before.state))

    def _modified(self) -> Model:
        return element("ScheduledProcedureStepModificationDateTime", _moment(self._now()))

    def _with_cancellation_time(self, model: Model, request: Model | None = None) -> dict[str, Any]:
        """Fill in when it was canceled; of one that nobody had claimed, also why, as far as that was said."""
        items = [dict(one) for one in values(model, _PROGRESS) if isinstance(one, Mapping)]
        if request is not None:
            items = items or [{}]
            reason = request.get(tag_of("ProcedureStepDiscontinuationReasonCodeSequence"))
            codes = values(request, "ProcedureStepDiscontinuationReasonCodeSequence") if reason else []
            items[0] |= element("ProcedureStepDiscontinuationReasonCodeSequence", *(codes or [_NO_REASON]))
            if said := text(request, "ReasonForCancellation"):
                items[0] |= element("ReasonForCancellation", said)
        if items and not values(items[0], "ProcedureStepCancellationDateTime"):
            items[0] |= element("ProcedureStepCancellationDateTime", _moment(self._now()))
        return {**model, **(element(_PROGRESS, *items) if items else {})}

    # --- search ------------------------------------------------------------------------------------------------------

    def search(self, query: WorkQuery, control: Control, verdict: Verdict, /) -> Iterator[Row]:
        """Give the raw values of the work items that match."""
        for uid, model in self._tables.all():
            shown = _shown(uid, model)
            if answers(query.keys, _row(shown, query.keys)):
                yield {one.name: values_at(shown, one.path) for one in query.columns}

    def matches(self, keys: Sequence[Key], /) -> Iterator[Dataset]:
        """Give the work items that match, whole but without their Transaction UIDs, in the order of their making."""
        for uid, model in self._tables.all():
            shown = _shown(uid, model)
            if answers(keys, _row(shown, keys)):
                yield from_json(shown)

    def purge(self) -> int:
        """Delete the work items that are final and that no deletion lock keeps; give how many they were.

        Source
        ------
        PS3.4 §CC.2.3.1 (deletion locks).
        """
        with self._change() as tables:
            return tables.purge()

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, uid: str, receiver: str, deletion_lock: bool, keys: Sequence[Key], /) -> Done:
        """Subscribe an AE (N-ACTION 3).

        Source
        ------
        PS3.4 §CC.2.3, Table CC.2.3-2.
        """
        receiver = _ae_title(receiver)
        if uid == FILTERED and not any(key.matching != "universal" for key in keys):
            raise refusal(INVALID_ARGUMENT, "a filtered subscription needs a key")
        if uid != FILTERED and keys:
            raise refusal(NOT_APPROPRIATE, "keys belong to the filtered subscription alone")
        with self._change() as tables:
            if uid in (GLOBAL, FILTERED):
                tables.subscribe_worklist(receiver, uid, keys, locked=deletion_lock)
                items = [(one, model) for one, model in tables.all() if answers(keys, _row(_shown(one, model), keys))]
            else:
                found = tables.get(uid)
                if found is None:
                    raise self._unknown(uid)
                items = [(uid, found.model)]
            for one, model in items:
                if tables.subscribe(one, receiver, locked=deletion_lock):
                    self._report_state(tables, one, model, [receiver])
        return Done(uid)

    def unsubscribe(self, uid: str, receiver: str, /) -> Done:
        """End a subscription (N-ACTION 4); of the worklist: all of them.

        Source
        ------
        PS3.4 §CC.2.3.
        """
        receiver = _ae_title(receiver)
        with self._change() as tables:
            if uid in (GLOBAL, FILTERED):
                existed = tables.unsubscribe_worklist(receiver, uid)
            else:
                if tables.get(uid) is None:
                    raise self._unknown(uid)
                existed = tables.unsubscribe(uid, receiver)
        return Done(uid, existed=existed)

    def suspend(self, uid: str, receiver: str, /) -> Done:
        """Subscribe an AE to no further work items (N-ACTION 5).

        Source
        ------
        PS3.4 §CC.2.3.
        """
        receiver = _ae_title(receiver)
        if uid not in (GLOBAL, FILTERED):
            raise refusal(NOT_APPROPRIATE, "only a subscription to the worklist can be suspended")
        with self._change() as tables:
            return Done(uid, existed=tables.suspend(receiver, uid))

    def _subscribe_newcomer(self, tables: Tables, uid: str, model: Model) -> list[str]:
        """Subscribe those who subscribed to the worklist, as far as it matches; give who was not yet."""
        shown = _shown(uid, model)
        return [
            receiver
            for receiver, keys, locked in tables.worklist_subscribers()
            if answers(keys, _row(shown, keys)) and tables.subscribe(uid, receiver, locked=locked, again=False)
        ]

    # --- events ------------------------------------------------------------------------------------------------------

    def _report_state(self, tables: Tables, uid: str, model: Model, receivers: Sequence[str] | None = None) -> None:
        progress = next((one for one in values(model, _PROGRESS) if isinstance(one, Mapping)), {})
        self._report(tables, uid, STATE_REPORT, {**progress, **model}, receivers)

    def _report_changes(self, tables: Tables, uid: str, before: Model, after: Model) -> None:
        """Report progress and who was assigned, where those have changed."""
        if before and before.get(tag_of(_PROGRESS)) != after.get(tag_of(_PROGRESS)):
            self._report(tables, uid, PROGRESS_REPORT, after)
        assigned = [one for one in (_STATION, _HUMANS) if values(after, one)]
        if any(before.get(tag_of(one)) != after.get(tag_of(one)) for one in assigned):
            human = next((one for one in values(after, _HUMANS) if isinstance(one, Mapping)), {})
            self._report(tables, uid, ASSIGNED, {**after, **human})

    def _report(
        self, tables: Tables, uid: str, event_type: int, model: Model, receivers: Sequence[str] | None = None
    ) -> None:
        tags = {tag_of(keyword) for keyword in EVENT_ATTRIBUTES[event_type]}
        information = {tag: one for tag, one in sorted(model.items()) if tag in tags}
        for receiver in tables.subscribers(uid) if receivers is None else receivers:
            tables.keep_event(receiver, uid, event_type, information)

    def _restarted(self) -> None:
        """Tell those who are subscribed that we are there again, and have lost nothing."""
        said = {
            **element("SCPStatus", "RESTARTED"),
            **element("SubscriptionListStatus", "WARM START"),
            **element("UnifiedProcedureStepListStatus", "WARM START"),
        }
        with self._change() as tables:
            if receivers := tables.everybody():
                self._report(tables, GLOBAL, SCP_STATUS_CHANGE, said, receivers)

    def watch(self, wake: Callable[[str], object], /) -> Callable[[], None]:
        """Have ``wake(receiver)`` called whenever an event for it has been kept."""
        self._wakes.append(wake)

        def end() -> None:
            if wake in self._wakes:
                self._wakes.remove(wake)

        return end

    def receivers(self) -> list[str]:
        """The AEs for which there are events that nobody has acknowledged."""
        return self._tables.waiting()

    def events(self, receiver: str, after: int | None = None, limit: int = MAX_EVENTS, /) -> list[EventReport]:
        """The next events for an AE: after one of them, or from the first that is not acknowledged."""
        return [
            EventReport(uid, event_type, from_json(information), receiver, sequence)
            for sequence, uid, event_type, information in self._tables.events(receiver, after, limit)
        ]

    def acknowledged(self, receiver: str, /) -> int:
        """Up to which event those for an AE have been delivered."""
        return self._tables.acknowledged(receiver)

    def acknowledge(self, receiver: str, sequence: int, /) -> None:
        """All events for that AE up to this one have been delivered."""
        self._tables.acknowledge(receiver, sequence)

    def listen(self, receiver: str, /) -> StoreChannel:
        """Open a channel of the events for an AE, in this process."""
        from dicomlab.archive.workitem_channel import StoreChannel

        return StoreChannel(self, _ae_title(receiver))


def _settled(cell: Cell) -> Cell:
    """What the table says, raised where it is a failure."""
    if isinstance(cell, int) and failed(cell):
        raise refusal(cell)
    return cell


def _state(found: Any) -> State | None:
    state: State | None = found.state if found is not None else None
    return state


def _model(dataset: Dataset) -> dict[str, Any]:
    return to_json(dataset, exact=True)


def _without(model: Model, keywords: Sequence[str]) -> dict[str, Any]:
    tags = {tag_of(keyword) for keyword in keywords}
    return {tag: one for tag, one in model.items() if tag not in tags}


def _shown(uid: str, model: Model) -> dict[str, Any]:
    """A work item as everybody may see it: with its UIDs, without the Transaction UID, which is its lock."""
    ours = {**element("SOPClassUID", UPS_PUSH), **element("SOPInstanceUID", uid)}
    return dict(sorted({**_without(model, _OURS), **ours}.items()))


def _row(model: Model, keys: Sequence[Key]) -> Row:
    return {key.column.name: values_at(model, key.column.path) for key in keys}


def _capped(model: Model) -> str:
    import json

    octets = json.dumps(dict(sorted(model.items())), separators=(",", ":"))
    if len(octets) > MAX_OCTETS:
        raise refusal(RESOURCE_LIMITATION, f"a work item has at most {MAX_OCTETS >> 10} KiB")
    return octets


def _moment(now: datetime) -> str:
    return now.strftime("%Y%m%d%H%M%S.%f%z")


def _ae_title(title: str) -> str:
    found = title.strip(" ")
    if not found or len(found) > MAX_AE or not found.isascii() or not found.isprintable() or "\\" in found:
        raise refusal(INVALID_ARGUMENT, "the receiver is no AE title")
    return found
