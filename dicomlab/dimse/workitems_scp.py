"""Work items (Unified Procedure Steps) as an SCP of all five SOP Classes, over whoever keeps them.

Source
------
PS3.4 Annex CC: §CC.2.1 to §CC.2.8, Table CC.2.3-1 (which services each SOP Class has).
"""

from __future__ import annotations

from collections.abc import Iterator

from dicomlab.dimse import tables
from dicomlab.dimse.association import Message
from dicomlab.dimse.finding import serve_listing
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listing import Listing, read_keys
from dicomlab.dimse.normalized import NO_SUCH_ACTION, Done, Operation, selected, serve_operation
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.serving import WRONG_CLASS, Conversation, Service
from dicomlab.dimse.tree import dataset_of, tree_of_values, value_of
from dicomlab.errors import ServiceError
from dicomlab.model import workitem as ups
from dicomlab.model.columns import column
from dicomlab.model.faults import Faults
from dicomlab.model.workitem_service import WorkItemHoldings

_TRANSACTION, _STATE = column("TransactionUID").tag, column("ProcedureStepState").tag
_RECEIVER, _LOCK = column("ReceivingAE").tag, column("DeletionLock").tag

SERVICES: dict[str, tuple[tuple[str, ...], frozenset[int]]] = {
    tables.UPS_PUSH: (("N-CREATE", "N-ACTION", "N-GET"), frozenset({ups.REQUEST_CANCEL})),
    tables.UPS_PULL: (("C-FIND", "N-GET", "N-SET", "N-ACTION"), frozenset({ups.CHANGE_STATE})),
    tables.UPS_WATCH: (
        ("C-FIND", "N-GET", "N-ACTION"),
        frozenset({ups.REQUEST_CANCEL, ups.SUBSCRIBE, ups.UNSUBSCRIBE, ups.SUSPEND}),
    ),
    tables.UPS_QUERY: (("C-FIND",), frozenset()),
}
"""What each SOP Class offers: requests, and the actions of its N-ACTION (PS3.4 Table CC.2.3-1)."""


def workitem_provider(holdings: WorkItemHoldings, outward: Outward, faults: Faults) -> Iterator[Service]:
    """The services of the four SOP Classes that are asked; events go out by :mod:`dicomlab.dimse.reporter`."""
    provider = _Provider(holdings, outward)

    def answer(conversation: Conversation, message: Message) -> None:
        if message.command.name == "C-FIND-RQ":
            serve_listing(conversation, message, provider.find, faults)
        else:
            serve_operation(conversation, message, provider.perform)

    for uid, (requests, _) in SERVICES.items():
        yield Service(sop_classes=(uid,), requests=tuple(f"{name}-RQ" for name in requests), answer=answer)


class _Provider:
    def __init__(self, holdings: WorkItemHoldings, outward: Outward) -> None:
        self._holdings, self._outward = holdings, outward

    def find(self, conversation: Conversation, message: Message, listing: Listing, octets: bytes) -> Iterator[Tree]:
        """The work items that match (C-FIND)."""
        for dataset in self._holdings.matches(listing.plain_keys):
            tree = tree_of_values(dataset)
            if listing.matches(tree):
                yield listing.answer(tree)

    def perform(self, operation: Operation) -> Done:
        """Carry one DIMSE-N request out."""
        if operation.sop_class_uid not in (ups.UPS_PUSH, operation.service_uid):
            raise ServiceError("instances are of UPS Push", status=WRONG_CLASS)
        holdings, uid = self._holdings, operation.instance_uid
        if operation.name == "N-GET":
            return selected(tree_of_values(holdings.retrieve(uid)), operation.attributes)
        if operation.name == "N-ACTION":
            return _said(self._act(operation))
        tree = operation.tree
        if operation.name == "N-CREATE":
            return _said(holdings.create(uid, dataset_of(tree)))
        return _said(holdings.update(uid, dataset_of(tree), value_of(tree, _TRANSACTION)))

    def _act(self, operation: Operation) -> ups.Done:
        """Carry an action out (N-ACTION)."""
        _, actions = SERVICES[operation.service_uid]
        if operation.number not in actions:
            raise ServiceError(f"no action {operation.number} here", status=NO_SUCH_ACTION)
        holdings, uid, tree = self._holdings, operation.instance_uid, operation.tree
        if operation.number == ups.CHANGE_STATE:
            return holdings.change_state(uid, value_of(tree, _STATE), value_of(tree, _TRANSACTION))
        if operation.number == ups.REQUEST_CANCEL:
            return holdings.request_cancel(uid, operation.caller.ae_title, dataset_of(tree))
        receiver = value_of(tree, _RECEIVER)
        if operation.number == ups.UNSUBSCRIBE:
            return holdings.unsubscribe(uid, receiver)
        if operation.number == ups.SUSPEND:
            return holdings.suspend(uid, receiver)
        lock = value_of(tree, _LOCK)
        if lock not in ("TRUE", "FALSE"):
            raise ups.refusal(ups.INVALID_ARGUMENT, "Deletion Lock is TRUE or FALSE")
        if self._outward.peer(receiver) is None:
            raise ups.refusal(ups.UNKNOWN_RECEIVER, receiver[:16])
        keys = {tag: entry for tag, entry in tree.items() if tag not in (_RECEIVER, _LOCK)}
        try:
            asked = read_keys(keys)
        except ServiceError as error:  # of a C-FIND it would be A900H
            raise ups.refusal(ups.INVALID_ARGUMENT, str(error)) from error
        return holdings.subscribe(uid, receiver, lock == "TRUE", asked)


def _said(done: ups.Done) -> Done:
    return Done(status=done.status, instance_uid=done.uid, comment="; ".join(done.remarks))
