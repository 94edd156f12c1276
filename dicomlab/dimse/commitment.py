"""Storage commitment as an SCU: ask a peer to keep safe what it was sent, and believe only its report.

The report may come on the association that asked or, minutes or hours later, on one that the peer opens to us; so our
own port stays open until everything has been reported or nobody holds the report any more.

Source
------
PS3.4 Annex J (Storage Commitment Service Class).
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.normalized import operate
from dicomlab.dimse.reception import Expected, Lease, Senders, take_report
from dicomlab.dimse.transaction import REASONS, REQUEST_ACTION, Reference, Result, Transaction
from dicomlab.errors import CommunicationError, Refused, RemoteProtocolError, ServiceError
from dicomlab.model import trace
from dicomlab.model.progress import Control
from dicomlab.model.report import Outcome, Report

_GRACE_S = 1.0
"""How long a peer may take to release the association on which it has reported, before our port closes."""
_NOTES = ("wait for their commitment: report.refresh() asks again", "were not committed to")
INSTANCES_PER_TRANSACTION = 10_000
"""So that no request comes near the largest data set that peers take with a command."""


class Commitment:
    """What was asked of one peer, and what it has reported so far."""

    def __init__(self, peer: Peer, wait_s: float) -> None:
        self._peer, self._wait_s = peer, wait_s
        self._results: dict[Reference, str] = {}
        """What was reported of each instance: ``""`` where it is safe, else the reason."""
        self._open: dict[str, Transaction] = {}
        self._lock = threading.Lock()
        self._woken, self._wake = socket.socketpair()
        self._lease: Lease | None = None
        weakref.finalize(self, _close, [self._woken, self._wake])
        self._refused = ""

    # --- asking ----------------------------------------------------------------------------------------------------

    def of(self, report: Report, control: Control) -> Report:
        """Ask for what was stored by `report`, wait a while, and give the report with what came back."""
        kept = [one for one in report if one.result in ("done", "warning") and one.sop_class_uid]
        self._ask({(one.sop_class_uid, one.sop_instance_uid) for one in kept}, control)
        return self._told(report)

    def refresh(self, report: Report) -> Report:
        """Look what has come meanwhile; if something is still missing, ask again."""
        with self._lock:
            missing = {one for transaction in self._open.values() for one in transaction.instances}
            if self._lease is None:
                self._open.clear()  # nobody can report those any more
        self._refused = ""
        self._ask(missing - set(self._results), Control())
        return self._told(report)

    def _ask(self, references: set[Reference], control: Control) -> None:
        if not references:
            return
        transactions = [Transaction(f"2.25.{uuid.uuid4().int}", part) for part in _parts(sorted(references))]
        with self._lock:
            self._open.update({one.uid: one for one in transactions})
        try:
            with (
                control.on_cancel(self._nudge),
                self._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association,
            ):
                self._listen(association)
                context = association.context_for(tables.COMMITMENT)
                for transaction in transactions if context is not None else ():
                    self._request(association, context, transaction)  # type: ignore[arg-type]
                self._wait(association, control)
        except (CommunicationError, RemoteProtocolError, ServiceError) as error:
            self._refused = str(error)
            if isinstance(error, ServiceError) or (isinstance(error, Refused) and not error.transient):
                with self._lock:
                    for transaction in transactions:
                        self._open.pop(transaction.uid, None)

    def _listen(self, association: Association) -> None:
        """Open our own port, where the peer knows one of us."""
        me = self._peer.me
        if self._lease is not None or me.port is None:
            return
        alive = weakref.WeakMethod(self._take)
        senders = Senders(self._peer.address.ae_title, association.peer_host, self._peer.senders)
        what = Expected(senders, transactions=_Ours(self), on_result=lambda result: _call(alive, result))
        self._lease = Lease(
            what,
            me.ae_title,
            association.local_host,
            me.port,
            grace_s=_GRACE_S,
            security=self._peer.security,
            trace=trace.current(),
        )
        weakref.finalize(self, self._lease.close)

    def _request(self, association: Association, context: Context, transaction: Transaction) -> None:
        operate(
            association,
            context,
            "N-ACTION",
            tables.COMMITMENT_INSTANCE,
            transaction.encode(context.transfer_syntax),
            on_report=lambda association, message: take_report(association, message, self._take),
            ActionTypeID=REQUEST_ACTION,
        )

    def _wait(self, association: Association, control: Control) -> None:
        """Wait for reports, here or on our own port."""
        deadline = time.monotonic() + self._wait_s
        while self._open and not control.cancelled and (left := deadline - time.monotonic()) > 0:
            if not association.readable(left, self._woken.fileno()):
                return
            if not association.readable(0):
                self._woken.recv(4096)
                continue
            message = association.receive()
            if message is None:
                self._wait_apart(deadline, control)
                return
            if message.command.name != "N-EVENT-REPORT-RQ":
                raise association.broken(f"{message.command.name} where a report was due", "PS3.4 §J.3.3")
            take_report(association, message, self._take)

    def _wait_apart(self, deadline: float, control: Control) -> None:
        """The peer has released the association; what comes now comes on our own port."""
        self._woken.settimeout(max(0.001, deadline - time.monotonic()))
        with suppress(TimeoutError):
            while self._lease and self._open and not control.cancelled and time.monotonic() < deadline:
                self._woken.recv(4096)

    # --- what comes back -------------------------------------------------------------------------------------------

    def _take(self, result: Result) -> bool:
        """Take a report; False where it is of no transaction of ours."""
        with self._lock:
            transaction = self._open.pop(result.uid, None)
            if transaction is None:
                return False
            mine = set(transaction.instances)
            reasons = {one: f"{code:04X}H {REASONS.get(code, 'failed')}" for one, code in result.failed.items()}
            said = {**dict.fromkeys(result.committed, ""), **reasons}
            self._results.update({one: said.get(one, "not mentioned in the report") for one in mine})
        self._nudge()
        return True

    def _nudge(self) -> None:
        with suppress(OSError):
            self._wake.send(b"\0")

    def _told(self, report: Report) -> Report:
        """The report with what is known now."""
        if not self._open and self._lease is not None:
            self._lease.close()
            self._lease = None
        with self._lock:
            waiting = {one for transaction in self._open.values() for one in transaction.instances}
            outcomes = tuple(self._outcome(one, waiting) for one in report)
        pending = sum(one.result == "pending" for one in outcomes)
        failed = sum(one.result == "failed" for one in outcomes)
        unsafe = sum(" not committed: " in one.status for one in outcomes)
        note = "" if report.note.endswith(_NOTES) else report.note
        if not note and pending:
            note = f"{pending} of {len(outcomes)} {_NOTES[0]}"
        elif not note and (failed or unsafe):
            note = f"{max(failed, unsafe)} of {len(outcomes)} {_NOTES[1]}"
        return replace(
            report, outcomes=outcomes, complete=not note, note=note, refresh_with=self.refresh if pending else None
        )

    def _outcome(self, outcome: Outcome, waiting: set[Reference]) -> Outcome:
        reference = (outcome.sop_class_uid, outcome.sop_instance_uid)
        stored = outcome.status.partition("; commitment")[0]
        if reference in self._results:
            reason = self._results[reference]
            if reason:
                return replace(outcome, result="failed", status=f"{stored}; commitment: not committed: {reason}")
            result = "done" if outcome.result == "pending" else outcome.result
            return replace(outcome, result=result, status=f"{stored}; commitment: safe")
        if reference in waiting:
            why = f": {self._refused}" if self._refused else ""
            return replace(outcome, result="pending", status=f"{stored}; commitment: pending{why}")
        if outcome.result in ("done", "warning") and self._refused:
            text = f"{stored}; commitment: not committed: {self._refused}"
            return replace(outcome, result="warning", status=text)
        return outcome


class _Ours:
    """The transactions that wait for a report, without keeping the one who waits alive."""

    def __init__(self, commitment: Commitment) -> None:
        self._commitment = weakref.ref(commitment)

    def _now(self) -> Mapping[str, Transaction]:
        commitment = self._commitment()
        return commitment._open if commitment is not None else {}

    def __contains__(self, uid: object) -> bool:
        return uid in self._now()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._now()))

    def __len__(self) -> int:
        return len(self._now())


def _call(method: weakref.WeakMethod[Any], result: Result) -> None:
    alive = method()
    if alive is not None:
        alive(result)


def _close(sockets: Iterable[socket.socket]) -> None:
    for one in sockets:
        one.close()


def _parts(references: list[Reference]) -> Iterator[tuple[Reference, ...]]:
    for start in range(0, len(references), INSTANCES_PER_TRANSACTION):
        yield tuple(references[start : start + INSTANCES_PER_TRANSACTION])
