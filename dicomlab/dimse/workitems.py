"""Work items (Unified Procedure Steps) of a remote AE, as an SCU of all five SOP Classes.

Source
------
PS3.4 Annex CC: §CC.2.1 to §CC.2.8, Table CC.2.3-1 (SOP Classes); every instance is of UPS Push (§CC.3.1).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from dicomlab.dimse import tables
from dicomlab.dimse.asker import Finder
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.identifier import Tree, encode_tree
from dicomlab.dimse.listing import row_of, tree_of_keys
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.normalized import Answered, operate
from dicomlab.dimse.reception import Event, Expected, Lease, Senders
from dicomlab.dimse.tree import dataset_of, decode_tree, tree_of_values
from dicomlab.errors import Refused, RemoteProtocolError, UsageError
from dicomlab.model import trace
from dicomlab.model.columns import column
from dicomlab.model.matching import matches
from dicomlab.model.query import Key, Query
from dicomlab.model.workitem import (
    CHANGE_STATE,
    REQUEST_CANCEL,
    SUBSCRIBE,
    SUSPEND,
    UNSUBSCRIBE,
    UPS_PUSH,
    Done,
    EventReport,
)
from dicomlab.model.workitem_service import WorkQuery

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.model.matching import Row
    from dicomlab.model.path import Verdict
    from dicomlab.model.progress import Control

_GRACE_S = 1.0
"""How long a peer may take to release the association on which it has reported, before our port closes."""
_UIDS = (0x00080016, 0x00080018)
"""SOP Class and Instance UID stand in the command, not in the data set (PS3.7 §10.1.5)."""
_TRANSACTION, _STATE = column("TransactionUID").tag, column("ProcedureStepState").tag
_RECEIVER, _LOCK = column("ReceivingAE").tag, column("DeletionLock").tag


class Owner(Protocol):
    """The Node whose work items these are."""

    _peer: Peer
    fictional: bool


class RemoteWorkItems:
    """Carries the requests of :class:`dicomlab.model.workitems.WorkItems` out. Satisfies ``WorkItemService``."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic."""
        return self._owner.fictional

    @contextmanager
    def _context(self, *classes: str) -> Iterator[tuple[Association, Context]]:
        """An association, and the context of the first of these services that the peer offers."""
        proposals = [Proposal(uid, tables.UNCOMPRESSED) for uid in classes]
        with self._owner._peer.associate(proposals) as association:
            found = (association.context_for(uid) for uid in classes)
            context = next((one for one in found if one is not None), None)
            if context is None:
                names = " or ".join(map(name_of, classes))
                raise Refused(f"it does not offer {names} (PS3.4 §CC.2.3)", endpoint=association.endpoint)
            yield association, context

    def _operate(self, name: str, uid: str, tree: Tree | None, *classes: str) -> Answered:
        with self._context(*classes) as (association, context):
            return operate(association, context, name, uid, tree, sop_class_uid=UPS_PUSH)

    def _act(self, action: int, uid: str, tree: Tree, *classes: str) -> Done:
        with self._context(*classes) as (association, context):
            answered = operate(association, context, "N-ACTION", uid, tree, sop_class_uid=UPS_PUSH, ActionTypeID=action)
        return _done(uid, answered)

    # --- requests ----------------------------------------------------------------------------------------------------

    def create(self, uid: str, workitem: Dataset, /) -> Done:
        """Create a work item (N-CREATE on UPS Push)."""
        tree = {tag: entry for tag, entry in tree_of_values(workitem).items() if tag not in _UIDS}
        answered = self._operate("N-CREATE", uid, tree, tables.UPS_PUSH)
        return _done(answered.command.sop_instance_uid or uid, answered)

    def retrieve(self, uid: str, /) -> Dataset:
        """Give a work item (N-GET on UPS Pull, Watch or Push)."""
        classes = (tables.UPS_PULL, tables.UPS_WATCH, tables.UPS_PUSH)
        return dataset_of(self._operate("N-GET", uid, None, *classes).tree)

    def update(self, uid: str, changes: Dataset, transaction_uid: str, /) -> Done:
        """Set attributes (N-SET on UPS Pull)."""
        tree = {tag: entry for tag, entry in tree_of_values(changes).items() if tag not in _UIDS}
        if transaction_uid:
            tree[_TRANSACTION] = ("UI", [transaction_uid])
        return _done(uid, self._operate("N-SET", uid, tree, tables.UPS_PULL))

    def change_state(self, uid: str, state: str, transaction_uid: str, /) -> Done:
        """Change the state (N-ACTION 1 on UPS Pull)."""
        tree: Tree = {_STATE: ("CS", [state])}
        if transaction_uid:
            tree[_TRANSACTION] = ("UI", [transaction_uid])
        return self._act(CHANGE_STATE, uid, tree, tables.UPS_PULL)

    def request_cancel(self, uid: str, requesting_ae: str, information: Dataset, /) -> Done:
        """Request that a work item be canceled (N-ACTION 2 on UPS Push or Watch)."""
        return self._act(REQUEST_CANCEL, uid, tree_of_values(information), tables.UPS_PUSH, tables.UPS_WATCH)

    def subscribe(self, uid: str, receiver: str, deletion_lock: bool, keys: Sequence[Key], /) -> Done:
        """Subscribe an AE (N-ACTION 3 on UPS Watch)."""
        tree = tree_of_keys({key.column: key.text for key in keys})
        tree |= {_RECEIVER: ("AE", [receiver]), _LOCK: ("LO", ["TRUE" if deletion_lock else "FALSE"])}
        return self._act(SUBSCRIBE, uid, tree, tables.UPS_WATCH)

    def unsubscribe(self, uid: str, receiver: str, /) -> Done:
        """End a subscription (N-ACTION 4 on UPS Watch)."""
        return self._act(UNSUBSCRIBE, uid, {_RECEIVER: ("AE", [receiver])}, tables.UPS_WATCH)

    def suspend(self, uid: str, receiver: str, /) -> Done:
        """Subscribe to no further work items (N-ACTION 5 on UPS Watch)."""
        return self._act(SUSPEND, uid, {_RECEIVER: ("AE", [receiver])}, tables.UPS_WATCH)

    def search(self, query: WorkQuery, control: Control, verdict: Verdict, /) -> Iterator[Row]:
        """Give the raw values of the work items that match (C-FIND on UPS Pull, Watch or Query)."""
        seen: set[object] = set()
        with self._context(tables.UPS_PULL, tables.UPS_WATCH, tables.UPS_QUERY) as (association, context):
            finder = Finder(association, context, control, verdict)
            for single in Query("instance", query.keys).single_valued():
                keys = dict.fromkeys(query.columns, "") | {key.column: key.text for key in single.keys}
                for octets, whole in finder.ask(encode_tree(tree_of_keys(keys), finder.transfer_syntax)):
                    try:
                        row = row_of(decode_tree(octets, finder.transfer_syntax), query.columns)
                    except RemoteProtocolError:
                        finder.abort()
                        raise
                    uid = next(iter(row.get("SOPInstanceUID", ())), None)
                    if uid in seen or (not whole and _strange(row, single.keys)):
                        continue
                    seen |= {uid} if uid else set()
                    yield row

    def listen(self, receiver: str, /) -> Reports:
        """Open our own port for the events that the peer reports to it (N-EVENT-REPORT on UPS Event)."""
        return Reports(self._owner._peer, receiver)


def _done(uid: str, answered: Answered) -> Done:
    comment = answered.command.comment
    return Done(uid, answered.command.status, (comment,) if comment else ())


def _strange(row: Row, keys: Sequence[Key]) -> bool:
    """Whether a peer that matches some keys only gave a row that another key does not match."""
    return any((raws := row.get(key.column.name)) and not matches(key, raws) for key in keys)


class Reports:
    """Events as they arrive at our own port. Satisfies ``EventChannel``.

    Raises
    ------
    UsageError
        We have no port that the peer could know.
    Unreachable
        The port can't be opened.
    """

    def __init__(self, peer: Peer, receiver: str) -> None:
        if peer.me.port is None:
            raise UsageError("events come to our own port: Node(..., me='LAB1:11112') names one that the peer knows")
        self._receiver = receiver
        self._arrived: deque[EventReport] = deque()
        self._more = threading.Condition()
        self._closed, self._count = False, 0
        ours, theirs = peer.route()
        senders = Senders(peer.address.ae_title, theirs, peer.senders)
        self._lease = Lease(
            Expected(senders, on_event=self._take),
            receiver,
            ours,
            peer.me.port,
            grace_s=_GRACE_S,
            security=peer.security,
            trace=trace.current(),
        )

    def _take(self, event: Event) -> None:
        with self._more:
            self._count += 1
            information = dataset_of(event.tree)
            self._arrived.append(EventReport(event.uid, event.number, information, self._receiver, self._count))
            self._more.notify()

    def next(self, timeout_s: float | None) -> EventReport | None:
        """Wait for the next event; None: none came in time, or it is closed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._more:
            while not self._arrived and not self._closed:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._more.wait(left)
            return self._arrived.popleft() if self._arrived else None

    def close(self) -> None:
        """Close our port, unless others use it."""
        with self._more:
            self._closed = True
            self._more.notify_all()
        self._lease.close()
