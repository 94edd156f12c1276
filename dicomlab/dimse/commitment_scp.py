"""Storage commitment as an SCP: what is asked for is looked up, and the report goes to the one who asked.

The report goes out on the association that asked, once it is quiet; where that has ended, on one of our own to the AE
that asked, if it is known where that listens.

Source
------
PS3.4 Annex J (Storage Commitment Service Class), §J.3.2, §J.3.3.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.command import Command
from dicomlab.dimse.handlers import Asked, Handlers, many
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.normalized import INVALID_ARGUMENT, NO_SUCH_ACTION, Done, Operation, normalized
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.serving import Conversation, Service
from dicomlab.dimse.transaction import REQUEST_ACTION, Result, Transaction
from dicomlab.errors import CommunicationError, DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.model.commitment import (
    CLASS_INSTANCE_CONFLICT,
    CLASS_NOT_SUPPORTED,
    DUPLICATE_TRANSACTION,
    NO_SUCH_INSTANCE,
    PROCESSING_FAILURE,
    Inbox,
    Reference,
)
from dicomlab.model.protocols import Held, Holdings

_log = logging.getLogger(__name__)


def commitment_provider(
    holdings: Holdings, handlers: Handlers, outward: Outward, inbox: Inbox | None = None
) -> Service:
    """The service: an archive commits to what it really holds, and takes the results that others wait for."""
    provider = _Provider(holdings, handlers, outward, inbox)
    requests = ("N-ACTION",) if inbox is None else ("N-ACTION", "N-EVENT-REPORT")
    return normalized((tables.COMMITMENT,), requests, provider.take, requestor_may_provide=inbox is not None)


class _Provider:
    def __init__(self, holdings: Holdings, handlers: Handlers, outward: Outward, inbox: Inbox | None) -> None:
        self._holdings, self._handlers, self._outward, self._inbox = holdings, handlers, outward, inbox
        self._lock, self._open = threading.Lock(), set[str]()
        """The transactions that have no report yet."""

    def take(self, operation: Operation) -> Done:
        """Take a request (N-ACTION), whose report comes later; or a report (N-EVENT-REPORT) for somebody else."""
        if operation.name == "N-EVENT-REPORT":
            return self._reported(operation)
        if operation.number != REQUEST_ACTION:
            raise ServiceError(f"no action {operation.number} here", status=NO_SUCH_ACTION)
        if operation.instance_uid != tables.COMMITMENT_INSTANCE:
            raise ServiceError("commitment has one SOP Instance, another was named", status=NO_SUCH_INSTANCE)
        try:
            transaction = Transaction.decode(operation.octets, operation.transfer_syntax_uid)
        except RemoteProtocolError as error:
            raise ServiceError(f"no request for commitment: {error}", status=INVALID_ARGUMENT) from error
        conversation = operation.conversation
        with self._lock:
            duplicate = transaction.uid in self._open
            self._open.add(transaction.uid)
        if duplicate:
            refused = Result(transaction.uid, (), dict.fromkeys(transaction.instances, DUPLICATE_TRANSACTION))
            conversation.later.append(lambda still: self._report(refused, conversation, still))
            return Done()
        try:
            result = self._result(operation, transaction)
        except BaseException:
            self._close(transaction.uid)
            raise

        def report(still: Association | None) -> None:
            self._close(result.uid)
            self._report(result, conversation, still)

        conversation.later.append(report)
        return Done()

    def _close(self, uid: str) -> None:
        with self._lock:
            self._open.discard(uid)

    def _reported(self, operation: Operation) -> Done:
        try:
            result = Result.decode(operation.octets, operation.transfer_syntax_uid)
        except RemoteProtocolError as error:
            raise ServiceError(f"no result of a commitment: {error}", status=INVALID_ARGUMENT) from error
        if self._inbox is None or not self._inbox.take(result.uid, result.outcome):
            raise ServiceError("nobody here has asked for that transaction", status=NO_SUCH_INSTANCE)
        return Done()

    def _result(self, operation: Operation, transaction: Transaction) -> Result:
        """What is held, whole and of the class that was named; the reason for everything else."""

        def usual() -> dict[str, int]:
            return {one[1]: reason for one, reason in missing(self._holdings, transaction.instances).items()}

        handler = self._handlers.get("N-ACTION")
        if handler is None:
            failed: Mapping[Reference, int] = missing(self._holdings, transaction.instances)
        else:
            asked = Asked(
                verb="N-ACTION",
                caller=operation.caller,
                sop_class_uid=tables.COMMITMENT,
                transfer_syntax_uid=operation.transfer_syntax_uid,
                uids=tuple(uid for _, uid in transaction.instances),
                octets=operation.octets,
                usual=usual,
            )
            said = [one for one in many(handler, asked) if isinstance(one, Mapping)]
            reasons = {str(uid): int(reason) for one in said for uid, reason in one.items()}
            failed = {one: reasons[one[1]] for one in transaction.instances if one[1] in reasons}
        return Result(transaction.uid, tuple(one for one in transaction.instances if one not in failed), failed)

    # --- the report ------------------------------------------------------------------------------------------------

    def _report(self, result: Result, conversation: Conversation, still: Association | None) -> None:
        context = still.context_for(tables.COMMITMENT) if still is not None else None
        if context is None:
            self._report_anew(result, conversation.caller.ae_title)
            return

        def answered(command: Command | None) -> None:
            if command is None or command.status != tables.SUCCESS:
                conversation.later.append(lambda still: self._report_anew(result, conversation.caller.ae_title))

        data, fields = result.encode(context.transfer_syntax), _fields(result)
        try:
            conversation.ask(context, "N-EVENT-REPORT-RQ", data, answered, **fields)
        except CommunicationError:
            answered(None)

    def _report_anew(self, result: Result, title: str) -> None:
        """Report on an association of our own, as its SCP."""
        peer = self._outward.peer(title)
        if peer is None:
            _log.warning("commitment %s: it is not known where %s listens, so it gets no report", result.uid, title)
            return
        try:
            with peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED, scp=True)]) as association:
                context = association.context_for(tables.COMMITMENT)
                if context is None:
                    return
                data = result.encode(context.transfer_syntax)
                number = association.request(context, "N-EVENT-REPORT-RQ", data, **_fields(result))
                association.answer("N-EVENT-REPORT-RSP", number)
        except (CommunicationError, RemoteProtocolError) as error:
            _log.warning("commitment %s: no report to %s: %s", result.uid, title, error)


def _fields(result: Result) -> dict[str, int | str]:
    return {"AffectedSOPInstanceUID": tables.COMMITMENT_INSTANCE, "EventTypeID": result.event_type}


def missing(holdings: Holdings, references: Sequence[Reference]) -> dict[Reference, int]:
    """The instances that can't be committed to, and why: held, whole, of that class and on the medium, each can."""
    try:
        held = holdings.select("instance", [uid for _, uid in references])
    except DicomlabError:
        _log.exception("the archive can't be looked into")
        return dict.fromkeys(references, PROCESSING_FAILURE)
    by_uid = {one.sop_instance_uid: one for one in held}
    found = {one: _reason(one[0], by_uid.get(one[1])) for one in references}
    good = dict.fromkeys(uid for (_, uid), reason in found.items() if not reason)
    safe = {one.sop_instance_uid for one in holdings.secure([by_uid[uid] for uid in good])}
    unsafe = {one: PROCESSING_FAILURE for one, reason in found.items() if not reason and one[1] not in safe}
    return {one: reason for one, reason in found.items() if reason} | unsafe


def _reason(sop_class: str, held: Held | None) -> int:
    """Why one instance can't be committed to; 0 where it can."""
    if held is None:
        return NO_SUCH_INSTANCE if sop_class in tables.STORAGE else CLASS_NOT_SUPPORTED
    if held.sop_class_uid != sop_class:
        return CLASS_INSTANCE_CONFLICT
    try:
        return 0 if held.path.stat().st_size == held.size else PROCESSING_FAILURE
    except OSError:
        return NO_SUCH_INSTANCE
