"""Reports the events of work items to those who are subscribed: on an association of its own, to where they listen.

What could not be delivered stays with whoever keeps it, and is tried again: with the next event, and after a while.

Source
------
PS3.4 §CC.2.4 (N-EVENT-REPORT), §CC.2.4.3 (the SCP opens the association).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

from dicomlab.dimse import tables
from dicomlab.dimse.identifier import encode_tree
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.tree import tree_of_values
from dicomlab.errors import CommunicationError, DicomlabError, Refused, RemoteProtocolError
from dicomlab.model.workitem import UPS_PUSH, EventReport
from dicomlab.model.workitem_service import WorkItemHoldings

_log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 60.0
"""How long to wait before another try: at first, and at most."""
_CLOSE_S = 10.0


class Reporter:
    """One thread for each receiver that has events and whose address is known; it ends when there are no more."""

    def __init__(self, holdings: WorkItemHoldings, outward: Outward) -> None:
        self._holdings, self._outward = holdings, outward
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._woken: dict[str, threading.Event] = {}
        """Receivers that somebody delivers to, and how that one is told of more."""
        self._threads: list[threading.Thread] = []
        self._unwatch = holdings.watch(self.wake)
        for receiver in holdings.receivers():
            self.wake(receiver)

    def wake(self, receiver: str) -> None:
        """There is an event for that one."""
        if self._outward.destination(receiver) is None:
            return  # it listens elsewhere, over the web
        with self._lock:
            if self._closing.is_set():
                return
            if (running := self._woken.get(receiver)) is not None:
                running.set()
                return
            woken = self._woken[receiver] = threading.Event()
            self._threads = [one for one in self._threads if one.is_alive()]
            name = f"dicomlab events for {receiver}"
            thread = threading.Thread(target=self._run, args=(receiver, woken), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def close(self) -> None:
        """Deliver no more; what was not delivered stays kept."""
        self._unwatch()
        with self._lock:
            self._closing.set()
            for woken in self._woken.values():
                woken.set()
            threads = list(self._threads)
        for thread in threads:
            thread.join(_CLOSE_S)

    def _run(self, receiver: str, woken: threading.Event) -> None:
        wait_s = FIRST_WAIT_S
        while not self._closing.is_set():
            woken.clear()
            try:
                events = self._holdings.events(receiver)
                if events:
                    self._deliver(receiver, events)
            except (CommunicationError, RemoteProtocolError) as error:
                _log.info("events for %s are kept: %s", receiver, error)
                woken.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                continue
            except DicomlabError:
                _log.exception("the events for %s can't be read", receiver)
                events = []
            wait_s = FIRST_WAIT_S
            with self._lock:
                if not events and not woken.is_set():
                    del self._woken[receiver]
                    return

    def _deliver(self, receiver: str, events: Sequence[EventReport]) -> None:
        peer: Peer | None = self._outward.peer(receiver)
        if peer is None:
            raise Refused("it is not known any more where it listens", endpoint=receiver)
        with peer.associate([Proposal(tables.UPS_EVENT, tables.UNCOMPRESSED, scp=True)]) as association:
            context = association.context_for(tables.UPS_EVENT)
            if context is None:
                raise Refused("it takes no event reports", endpoint=association.endpoint)
            for event in events:
                if self._closing.is_set():
                    return
                data = encode_tree(tree_of_values(event.information), context.transfer_syntax)
                number = association.request(
                    context, "N-EVENT-REPORT-RQ", data, AffectedSOPClassUID=UPS_PUSH,
                    AffectedSOPInstanceUID=event.uid, EventTypeID=event.event_type,
                )  # fmt: skip
                command = association.answer("N-EVENT-REPORT-RSP", number).command
                for _ in association.fragments():
                    pass
                if command.status != tables.SUCCESS:
                    text = tables.status_text(command.status, "EVENT", command.comment, tables.UPS_EVENT)
                    _log.warning("%s answered an event report with %s", receiver, text)
                self._holdings.acknowledge(receiver, event.sequence)
