"""Our listening port: who may come in, which contexts are accepted, and an end to everything that was started.

Everything that comes in is hostile until proven otherwise: connections are counted before they are read, every read
has a deadline, every length a cap.

Source
------
PS3.8 §7.1.1, §9.3.2 to §9.3.4; PS3.7 §D.3.3.4 (role selection).
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from types import TracebackType
from typing import Self

from dicomlab.dimse import pdu
from dicomlab.dimse.association import Association, accepted
from dicomlab.dimse.connection import MAX_PDU
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.items import UserInformation
from dicomlab.dimse.negotiation import own_information
from dicomlab.dimse.reader import AssociationReader
from dicomlab.dimse.state import Event
from dicomlab.errors import CommunicationError, Interrupted, RemoteProtocolError, Unreachable
from dicomlab.model.address import AEAddress
from dicomlab.model.trace import Channel, Trace

_log = logging.getLogger(__name__)

MAX_ASSOCIATIONS = 64
REQUEST_DEADLINE_S = 10.0
"""How long a connection may take to ask for an association."""
_END_S = 5.0

Offer = Callable[[str], Collection[str]]
"""The transfer syntaxes in which we offer a service; none where we don't offer it."""
Handler = Callable[[Association, str], None]
"""Serves one association; is told the calling AE title."""


class Listener:
    """A port on which associations are accepted, each in a thread of its own. ``close`` ends all of them.

    Parameters
    ----------
    handler : callable
        Serves one association until the peer releases it.
    offer : callable
        Says which transfer syntaxes a service is offered in.
    ae_title : str
        What we are called.
    host : str
        The interface; only this machine can reach the default.
    port : int
        0: a free one.
    roles : callable, optional
        Says of a SOP Class whether a requestor may be its SCP.
    check_called : bool
        Whether to reject those who call somebody else.
    callers : collection of str, optional
        The AE titles that may call; None: all.
    timeout_s : float
        How long an association may be silent.
    trace : Trace, optional
        Where what crosses is recorded.

    Raises
    ------
    Unreachable
        The port can't be opened: taken, or not of this machine.
    """

    def __init__(
        self,
        handler: Handler,
        offer: Offer,
        *,
        ae_title: str,
        host: str = "127.0.0.1",
        port: int = 0,
        roles: Callable[[str], bool] = lambda uid: False,
        check_called: bool = True,
        callers: Collection[str] | None = None,
        timeout_s: float = 60.0,
        trace: Trace | None = None,
    ) -> None:
        self.ae_title = ae_title
        self._handler, self._offer, self._roles = handler, offer, roles
        self._check_called, self._callers = check_called, callers
        self._timeout_s, self._trace = timeout_s, trace
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, Association] = {}
        self._last_activity = 0.0
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family, backlog=128)
        except OSError as error:
            text = (
                f"can't listen there ({error.strerror or error}): is the port taken, or the address another machine's?"
            )
            raise Unreachable(text, endpoint=f"{ae_title}@{host}:{port}") from error
        self.host = host
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name=f"dicomlab listener {ae_title}", daemon=True)
        self._thread.start()

    @property
    def address(self) -> AEAddress:
        """Where it can be reached."""
        return AEAddress(self.ae_title, self.host, self.port)

    @property
    def last_activity(self) -> float:
        """When something last moved on any of its associations (monotonic clock, seconds)."""
        with self._lock:
            return max([self._last_activity, *(one.last_activity for one in self._live.values())])

    def close(self) -> None:
        """End every association and stop listening. May be called twice."""
        if self._closing.is_set():
            return
        self._closing.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept on Linux
        near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        with suppress(OSError):
            socket.create_connection((near, self.port), timeout=1.0).close()  # wakes it elsewhere
        self._socket.close()
        self._thread.join(_END_S)
        with self._lock:
            live = dict(self._live)
        for association in live.values():
            association.shut()
        for thread in live:
            if thread is not threading.current_thread():
                thread.join(_END_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- one connection --------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                sock, where = self._socket.accept()
            except OSError:
                self._closing.wait(0.1)  # out of file descriptors, or about to close
                continue
            with self._lock:
                full = len(self._live) >= MAX_ASSOCIATIONS
            if full or self._closing.is_set():
                with suppress(OSError), sock:
                    sock.settimeout(1.0)
                    sock.sendall(pdu.encode(pdu.AssociateReject(2, 3, 2)))
                continue
            self._start(sock, str(where[0]))

    def _start(self, sock: socket.socket, peer: str) -> None:
        channel = Channel("DIMSE", (self.ae_title, peer), dissect, self._trace, AssociationReader)
        try:
            association = Association(
                sock, channel, endpoint=peer, requestor=False, timeout_s=self._timeout_s, max_pdu=MAX_PDU
            )
        except OSError:  # it was gone before it was ours
            sock.close()
            return
        thread = threading.Thread(
            target=self._serve, args=(association,), name=f"dicomlab association {self.ae_title}", daemon=True
        )
        with self._lock:
            self._live[thread] = association
        thread.start()

    def _serve(self, association: Association) -> None:
        try:
            calling = self._negotiate(association)
            if calling is not None:
                self._handler(association, calling)
        except (CommunicationError, RemoteProtocolError) as error:
            _log.debug("association with %s ended: %s", association.endpoint, error)
        finally:
            association.abort()
            with self._lock:
                self._live.pop(threading.current_thread(), None)
                self._last_activity = max(self._last_activity, association.last_activity)

    def _negotiate(self, association: Association) -> str | None:
        """Answer the request for an association; None if it was declined."""
        octets = association.read_pdu(REQUEST_DEADLINE_S)
        try:
            request = pdu.decode(octets)
        except RemoteProtocolError:
            association.abort(provider_reason=6)
            raise
        if not isinstance(request, pdu.AssociateRequest):
            raise Interrupted("aborted before it asked", endpoint=association.endpoint)
        association.endpoint = f"{request.calling} at {association.endpoint}"
        reject = self._reason_to_reject(request)
        if reject is not None:
            association.step(Event.REJECT)
            association.send_pdu(reject)
            association.linger()
            association.close()
            return None
        answers = tuple(self._answer(context) for context in request.contexts)
        roles = tuple(role for role in request.user.roles if role.scp and self._roles(role.sop_class_uid))
        own = own_information(association.max_pdu)
        asynchronous = (1, 1) if request.user.asynchronous is not None else None
        user = UserInformation(
            own.max_pdu, own.implementation_class_uid, own.implementation_version_name, asynchronous, roles
        )
        association.peer = request.user
        association.contexts = accepted(request.contexts, answers, roles)
        association.step(Event.ACCEPT)
        association.send_pdu(pdu.AssociateAccept(request.called, request.calling, answers, user))
        return request.calling

    def _reason_to_reject(self, request: pdu.AssociateRequest) -> pdu.AssociateReject | None:
        if not request.version & 1:
            return pdu.AssociateReject(1, 2, 2)
        if request.application_context != pdu.APPLICATION_CONTEXT:
            return pdu.AssociateReject(1, 1, 2)
        if self._check_called and request.called != self.ae_title:
            return pdu.AssociateReject(1, 1, 7)
        if self._callers is not None and request.calling not in self._callers:
            return pdu.AssociateReject(1, 1, 3)
        return None

    def _answer(self, context: pdu.ProposedContext) -> pdu.AnsweredContext:
        """Take the first transfer syntax of the requestor that we have."""
        offered = self._offer(context.abstract_syntax)
        for syntax in context.transfer_syntaxes:
            if syntax in offered:
                return pdu.AnsweredContext(context.id, 0, syntax)
        return pdu.AnsweredContext(context.id, 4 if offered else 3, context.transfer_syntaxes[0])
