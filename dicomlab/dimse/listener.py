"""Our listening port: who may come in, which contexts are accepted, and an end to everything that was started.

Everything that comes in is hostile until proven otherwise: connections are counted before they are read, TLS is
negotiated in the connection's own thread, every read has a deadline, every length a cap.

Source
------
PS3.8 §7.1.1, §9.3.2 to §9.3.4; PS3.7 §D.3.3 (roles, extended negotiation, user identity); PS3.15 B.12.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from types import TracebackType
from typing import Self

from dicomlab.dimse import pdu
from dicomlab.dimse.association import Association, accepted
from dicomlab.dimse.connection import MAX_PDU
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.faulty import FaultyAssociation
from dicomlab.dimse.items import Extended, Identity, Role, UserInformation
from dicomlab.dimse.negotiation import own_information
from dicomlab.dimse.reader import AssociationReader
from dicomlab.dimse.secure import PLAIN, PLAINTEXT_ALERT, SecureSocket, Security, speaks_tls
from dicomlab.dimse.state import Event
from dicomlab.errors import CommunicationError, Interrupted, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.address import AEAddress
from dicomlab.model.faults import Faults
from dicomlab.model.trace import Channel, Trace

_log = logging.getLogger(__name__)

MAX_ASSOCIATIONS = 256
REQUEST_DEADLINE_S = 10.0
"""How long a connection may take for its TLS handshake, and again to ask for an association."""
IDLE_S = 60.0
_END_S = 5.0
_LAST_WORD_S = 1.0
_BACKLOG = 512
_TURNED_AWAY = 64
"""Connections turned away that may read on before they are closed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked for an association.

    Attributes
    ----------
    ae_title : str
        What it calls itself. That is identification, not authentication.
    host : str
        The address that it comes from.
    identity : Identity or None
        The user, as accepted by ``on_identity``.
    encrypted : bool
        Whether it came over TLS.
    """

    ae_title: str
    host: str
    identity: Identity | None = None
    encrypted: bool = False

    def __str__(self) -> str:
        return f"{self.ae_title} at {self.host}"


Offer = Callable[[str], Collection[str]]
"""The transfer syntaxes in which we offer a service; none where we don't offer it."""
Handler = Callable[[Association, Caller], None]
"""Serves one association; is told who calls."""
OnIdentity = Callable[[Identity | None, Caller], bool | bytes]
"""Says whether a user may come in (None: nobody named one); octets go back to it as the server's own answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On what terms a port takes associations.

    Parameters
    ----------
    callers : collection of str, optional
        The AE titles that may call; None: all.
    hosts : collection of str, optional
        The addresses and networks (``"10.0.0.0/8"``) that may connect; None: all.
    check_called : bool
        Whether to reject those who call somebody else.
    on_identity : callable, optional
        Asked about the user of each association; None: all are welcome, named or not.
    max_associations : int
        More at a time are rejected (local limit exceeded).
    timeout_s : float
        Longest time without progress inside a message, in seconds.
    idle_timeout_s : float
        Longest time between two messages, in seconds; then the association is released.

    Raises
    ------
    UsageError
        A host that is no address or network, or a number that can't be.
    """

    callers: Collection[str] | None = None
    hosts: Collection[str] | None = None
    check_called: bool = True
    on_identity: OnIdentity | None = None
    max_associations: int = MAX_ASSOCIATIONS
    timeout_s: float = 60.0
    idle_timeout_s: float = IDLE_S

    def __post_init__(self) -> None:
        """Check what was given."""
        for name, texts in (("callers", self.callers), ("hosts", self.hosts)):
            if isinstance(texts, str):
                raise UsageError(f"{name} takes a list: {name}=[{texts!r}]")
        if self.max_associations < 1 or not (self.timeout_s > 0 and self.idle_timeout_s > 0):
            raise UsageError("max_associations is at least 1, and a time-out above 0 seconds")
        self.networks()

    def networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks that may connect."""
        try:
            return [ip_network(one, strict=False) for one in self.hosts or ()]
        except ValueError as error:
            raise UsageError(f"hosts takes addresses and networks, such as 10.0.0.0/8: {error}") from None


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
    extended : callable, optional
        Answers the extended negotiation of a SOP Class; None: not at all.
    admit : callable, optional
        Says whether somebody may come in who fulfils the terms.
    terms : Terms
        Who may come in, and what is too much.
    security : Security
        Whether TLS is spoken, and nothing else, and how.
    faults : Faults, optional
        What goes wrong on purpose.
    trace : Trace, optional
        Where what crosses is recorded.

    Raises
    ------
    UsageError
        TLS without a certificate of our own.
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
        extended: Callable[[str, bytes], bytes | None] = lambda uid, information: None,
        admit: Callable[[Caller], bool] = lambda caller: True,
        terms: Terms = Terms(),
        security: Security = PLAIN,
        faults: Faults | None = None,
        trace: Trace | None = None,
    ) -> None:
        self.ae_title = ae_title
        self._tls = security.for_listening()
        self.terms = terms
        self._networks = terms.networks()
        self._handler, self._offer, self._roles, self._extended = handler, offer, roles, extended
        self._admit = admit
        self._faults, self._trace = faults or Faults(), trace
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._live: dict[threading.Thread, _Guest] = {}
        self._turned_away: deque[socket.socket] = deque()
        self._last_activity = 0.0
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            self._socket = socket.create_server((host, port), family=family, backlog=_BACKLOG)
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
            live = [one.association.last_activity for one in self._live.values() if one.association is not None]
            return max([self._last_activity, *live])

    def close(self, grace_s: float = 0.0) -> None:
        """Stop listening, and end every association that goes on after `grace_s` seconds. May be called twice."""
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
        while self._turned_away:
            self._turned_away.popleft().close()
        with self._lock:
            live = dict(self._live)
        deadline = time.monotonic() + grace_s
        for thread in live:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))
        for guest in live.values():
            guest.shut()
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
            host = str(where[0])
            with self._lock:
                full = len(self._live) >= self.terms.max_associations
            if self._closing.is_set() or not self._may_connect(host):
                sock.close()
            elif full:
                self._turn_away(sock)
            else:
                self._start(sock, host)

    def _may_connect(self, host: str) -> bool:
        address = ip_address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        return not self._networks or any(address in network for network in self._networks)

    def _turn_away(self, sock: socket.socket) -> None:
        """Say that there are too many; it stays open for a while, since closing it at once could take that back."""
        with suppress(OSError):
            sock.settimeout(0)
            if self._tls is None:
                sock.sendall(pdu.encode(pdu.AssociateReject(2, 3, 2)))
            sock.shutdown(socket.SHUT_WR)
        self._turned_away.append(sock)
        while len(self._turned_away) > _TURNED_AWAY:
            self._turned_away.popleft().close()

    def _start(self, sock: socket.socket, host: str) -> None:
        guest = _Guest(sock)
        thread = threading.Thread(
            target=self._serve, args=(guest, host), name=f"dicomlab association {self.ae_title}", daemon=True
        )
        with self._lock:
            self._live[thread] = guest
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads now; it may have some for the next one
            with self._lock:
                del self._live[thread]
            self._turn_away(sock)

    def _serve(self, guest: _Guest, host: str) -> None:
        try:
            self._converse(guest, host)
        except (CommunicationError, RemoteProtocolError) as error:
            _log.debug("association with %s ended: %s", host, error)
        except OSError as error:  # the TLS handshake, or it was gone before it was ours
            _log.debug("connection from %s ended: %s", host, error)
        finally:
            association = guest.association
            if association is not None:
                association.abort()
            guest.sock.close()
            with self._lock:
                self._live.pop(threading.current_thread(), None)
                if association is not None:
                    self._last_activity = max(self._last_activity, association.last_activity)

    def _converse(self, guest: _Guest, host: str) -> None:
        if self._tls is not None and isinstance(guest.sock, socket.socket):
            if not speaks_tls(guest.sock, REQUEST_DEADLINE_S):
                _say(guest.sock, PLAINTEXT_ALERT)
                return
            guest.sock = secure = SecureSocket(guest.sock, self._tls, None)
            secure.handshake(REQUEST_DEADLINE_S)
        association = FaultyAssociation(
            guest.sock,
            Channel("DIMSE", (self.ae_title, host), dissect, self._trace, AssociationReader),
            endpoint=host,
            requestor=False,
            timeout_s=self.terms.timeout_s,
            max_pdu=MAX_PDU,
            faults=self._faults,
        )
        guest.association = association
        if self._closing.is_set():  # closed during the handshake, when there was no association to end
            return
        caller = self._negotiate(association, Caller("", host, encrypted=self._tls is not None))
        if caller is not None:
            self._handler(association, caller)

    def _negotiate(self, association: Association, caller: Caller) -> Caller | None:
        """Answer the request for an association; None if it was declined."""
        octets = association.read_pdu(REQUEST_DEADLINE_S)
        try:
            request = pdu.decode(octets)
        except RemoteProtocolError:
            association.abort(provider_reason=6)
            raise
        if not isinstance(request, pdu.AssociateRequest):
            raise Interrupted("aborted before it asked", endpoint=association.endpoint)
        caller = replace(caller, ae_title=request.calling, identity=request.user.identity)
        association.endpoint = str(caller)
        reject = self._reason_to_reject(request, caller)
        answer: bool | bytes = b""
        if reject is None and self.terms.on_identity is not None:
            answer = self._identified(caller)
            reject = None if answer is not False else pdu.AssociateReject(1, 1, 1)
        if reject is not None:
            association.step(Event.REJECT)
            association.send_pdu(reject)
            association.linger()
            association.close()
            return None
        answers = tuple(self._answer(context, request.user) for context in request.contexts)
        who = request.user.identity
        user = replace(
            own_information(association.max_pdu),
            asynchronous=(1, 1) if request.user.asynchronous is not None else None,
            roles=tuple(role for role in request.user.roles if role.scp and self._may_provide(role, request.user)),
            extended=self._extended_answers(request.user, answers, request.contexts),
            identity_answer=(answer if isinstance(answer, bytes) else b"") if who and who.wants_answer else None,
        )
        association.peer = request.user
        association.proposed, association.answered = request.contexts, answers
        association.contexts = accepted(request.contexts, answers, user.roles)
        association.step(Event.ACCEPT)
        association.send_pdu(pdu.AssociateAccept(request.called, request.calling, answers, user))
        return caller

    def _reason_to_reject(self, request: pdu.AssociateRequest, caller: Caller) -> pdu.AssociateReject | None:
        if not request.version & 1:
            return pdu.AssociateReject(1, 2, 2)
        if request.application_context != pdu.APPLICATION_CONTEXT:
            return pdu.AssociateReject(1, 1, 2)
        if self.terms.check_called and request.called != self.ae_title:
            return pdu.AssociateReject(1, 1, 7)
        known = self.terms.callers is None or request.calling in self.terms.callers
        if not known or not self._admit(caller):
            return pdu.AssociateReject(1, 1, 3)
        if (fault := self._faults.strikes("reject", "dimse")) is not None:
            return pdu.AssociateReject(*(fault.numbers[name] for name in ("result", "source", "reason")))
        return None

    def _identified(self, caller: Caller) -> bool | bytes:
        """Ask the one who knows the users; whatever goes wrong there keeps everybody out."""
        try:
            answer = self.terms.on_identity(caller.identity, caller)  # type: ignore[misc]
        except Exception:  # noqa: BLE001  (the user's own function)
            _log.exception("on_identity failed for %s", caller.ae_title)
            return False
        return answer if isinstance(answer, bytes) else bool(answer)

    def _answer(self, context: pdu.ProposedContext, user: UserInformation) -> pdu.AnsweredContext:
        """Take the first transfer syntax of the requestor that we have."""
        offered = self._offer(context.abstract_syntax) or self._offer(kind_of(context.abstract_syntax, user))
        if self._faults.strikes("refuse_context", "dimse", context.abstract_syntax) is not None:
            offered = ()
        for syntax in context.transfer_syntaxes:
            if syntax in offered:
                return pdu.AnsweredContext(context.id, 0, syntax)
        return pdu.AnsweredContext(context.id, 4 if offered else 3, context.transfer_syntaxes[0])

    def _may_provide(self, role: Role, user: UserInformation) -> bool:
        return self._roles(role.sop_class_uid) or self._roles(kind_of(role.sop_class_uid, user))

    def _extended_answers(
        self,
        user: UserInformation,
        answers: Collection[pdu.AnsweredContext],
        contexts: Collection[pdu.ProposedContext],
    ) -> tuple[Extended, ...]:
        taken = {one.id for one in answers if one.result == 0}
        classes = {one.abstract_syntax for one in contexts if one.id in taken}
        asked = {one.sop_class_uid: one.information for one in user.extended if one.sop_class_uid in classes}
        said = ((uid, self._extended(uid, information)) for uid, information in asked.items())
        return tuple(Extended(uid, information) for uid, information in said if information is not None)


def kind_of(uid: str, user: UserInformation) -> str:
    """The service class that a requestor names for a SOP Class that few know; else the SOP Class itself."""
    found = next((one for one in user.common if one.sop_class_uid == uid), None)
    return found.service_class_uid if found is not None else uid


def _say(sock: socket.socket, last_word: bytes) -> None:
    """Send a last word, and let it be read: unread octets of the other side would reset the connection."""
    deadline = time.monotonic() + _LAST_WORD_S
    sock.settimeout(_LAST_WORD_S)
    sock.sendall(last_word)
    sock.shutdown(socket.SHUT_WR)
    while (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        if not sock.recv(4096):
            return


class _Guest:
    """One connection, from the moment it was accepted."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock: socket.socket | SecureSocket = sock
        self.association: Association | None = None

    def shut(self) -> None:
        """End it, from another thread."""
        if self.association is not None:
            self.association.shut()
            return
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
