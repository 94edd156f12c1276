"""Storage commitment as an SCU: ask a peer to keep safe what it was sent, and believe only its report.

The report may come on the association that asked or, minutes or hours later, on one that the peer opens to us; so our
own port stays open until everything has been reported or nobody holds the report any more; or an inbox takes what comes
in our name, and keeps it.

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
from typing import Any

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.normalized import operate
from dicomlab.dimse.reception import Expected, Lease, Senders, take_report
from dicomlab.dimse.transaction import REQUEST_ACTION, Result, Transaction
from dicomlab.errors import CommunicationError, Refused, RemoteProtocolError, ServiceError
from dicomlab.model import trace
from dicomlab.model.commitment import Inbox, Reference, parts
from dicomlab.model.committing import Ledger, references_of
from dicomlab.model.progress import Control
from dicomlab.model.report import Report

_GRACE_S = 1.0
"""How long a peer may take to release the association on which it has reported, before our port closes."""
_LOOKS_S = 0.1
"""How often an inbox is looked into while we wait."""


class Commitment:
    """What was asked of one peer, and what it has reported so far."""

    def __init__(self, peer: Peer, wait_s: float, inbox: Inbox | None = None) -> None:
        self._peer, self._wait_s, self._inbox = peer, wait_s, inbox
        self._ledger = Ledger()
        self._lock = threading.Lock()
        self._woken, self._wake = socket.socketpair()
        self._lease: Lease | None = None
        weakref.finalize(self, _close, [self._woken, self._wake])

    # --- asking ----------------------------------------------------------------------------------------------------

    def of(self, report: Report, control: Control) -> Report:
        """Ask for what was stored by `report`, wait a while, and give the report with what came back."""
        self._ask(set(references_of(report)), control)
        return self._told(report)

    def resume(self, report: Report) -> Report:
        """Take up what a report says is still to come, in another process maybe: look, and ask again if need be."""
        with self._lock:
            self._ledger = Ledger.of(report)
        return self.refresh(report)

    def refresh(self, report: Report) -> Report:
        """Look what has come meanwhile; if something is still missing, ask again."""
        self._look()
        with self._lock:
            missing = self._ledger.missing
            if self._lease is None and self._inbox is None:
                self._ledger.open.clear()  # nobody can report those any more
        self._ledger.refused = ""
        self._ask(missing, Control())
        return self._told(report)

    def _ask(self, references: set[Reference], control: Control) -> None:
        if not references:
            return
        transactions = [Transaction(f"2.25.{uuid.uuid4().int}", part) for part in parts(references)]
        with self._lock:
            self._ledger.open.update({one.uid: one.instances for one in transactions})
        for one in transactions if self._inbox is not None else ():
            self._inbox.expect(one.uid, one.instances)  # type: ignore[union-attr]
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
            self._ledger.refused = str(error)
            if isinstance(error, ServiceError) or (isinstance(error, Refused) and not error.transient):
                with self._lock:
                    for transaction in transactions:
                        self._ledger.open.pop(transaction.uid, None)

    def _listen(self, association: Association) -> None:
        """Open our own port, where the peer knows one of us."""
        me = self._peer.me
        if self._lease is not None or me.port is None or self._inbox is not None:
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
        """Wait for reports: here, on our own port, or in the inbox."""
        deadline = time.monotonic() + self._wait_s
        while self._waiting(control) and (left := deadline - time.monotonic()) > 0:
            if not association.readable(self._step(left), self._woken.fileno()):
                continue
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
        """The peer has released the association; what comes now comes on our own port, or into the inbox."""
        while (self._lease or self._inbox) and self._waiting(control) and (left := deadline - time.monotonic()) > 0:
            self._woken.settimeout(self._step(left))
            with suppress(TimeoutError):
                self._woken.recv(4096)

    def _step(self, left_s: float) -> float:
        return left_s if self._inbox is None else min(left_s, _LOOKS_S)

    def _waiting(self, control: Control) -> bool:
        self._look()
        return bool(self._ledger.open) and not control.cancelled

    def _look(self) -> None:
        """Look what the inbox has."""
        for uid in list(self._ledger.open) if self._inbox is not None else ():
            found = self._inbox.result(uid)  # type: ignore[union-attr]
            if found is not None:
                with self._lock:
                    self._ledger.take(uid, found)

    # --- what comes back -------------------------------------------------------------------------------------------

    def _take(self, result: Result) -> bool:
        """Take a report; False where it is of no transaction of ours."""
        with self._lock:
            taken = self._ledger.take(result.uid, result.outcome)
        self._nudge()
        return taken

    def _nudge(self) -> None:
        with suppress(OSError):
            self._wake.send(b"\0")

    def _told(self, report: Report) -> Report:
        """The report with what is known now."""
        if not self._ledger.open and self._lease is not None:
            self._lease.close()
            self._lease = None
        me = self._peer.me
        whom = {
            "door": "DIMSE",
            "peer": str(self._peer.address),
            "me": f"{me.ae_title}:{me.port}" if me.port else me.ae_title,
        }
        if self._inbox is not None:
            whom["inbox"] = self._inbox.place
        with self._lock:
            return self._ledger.told(report, self.refresh, whom)


class _Ours:
    """The transactions that wait for a report, without keeping the one who waits alive."""

    def __init__(self, commitment: Commitment) -> None:
        self._commitment = weakref.ref(commitment)

    def _now(self) -> Mapping[str, object]:
        commitment = self._commitment()
        return commitment._ledger.open if commitment is not None else {}

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
