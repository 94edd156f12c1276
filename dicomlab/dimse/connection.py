"""One TCP connection that speaks PDUs: its socket, its buffer, its deadlines, and where it is in the state table.

Source
------
PS3.8 §9 (protocol over TCP/IP), §9.2 (state machine).
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from struct import Struct
from types import TracebackType
from typing import Self

from dicomlab.dimse import pdu
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.secure import SecureSocket, wait_for
from dicomlab.dimse.state import ABORTS, RECEIVED, Event, State, follow
from dicomlab.dimse.tap import Tap
from dicomlab.errors import (
    CommunicationError,
    Interrupted,
    LocalProtocolError,
    Refused,
    RemoteProtocolError,
    ServiceError,
)
from dicomlab.model.trace import Channel

MAX_PDU = 131_072
"""What we offer: nothing is gained beyond it, and some peers never send more."""
BUFFER_OCTETS = 256 << 10
_LINGER_S = 1.0
_LINGER_OCTETS = 8 << 20
"""What may still be on its way when we have said our last word; who sends more than that is reset."""
_LAST_WORD_S = 0.2
_RELEASE_S = 5.0
"""How long a peer may take to agree that an association ends, whatever it sends meanwhile."""
_IN_ORDER = (GeneratorExit, ServiceError, Refused)
"""What ends a block without anything being wrong with the conversation itself."""
_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


OnStep = Callable[[Event, State, str, State], None]
"""Told of a step of the state machine: event, state before, action, state after."""


_LENGTH = Struct(">I")


class Connection:
    """One end of a connection, from the first octet of the association request to the last of its release.

    Parameters
    ----------
    sock : socket
        Connected.
    channel : Channel
        Where the trace taps.
    endpoint : str
        The other side, for messages.
    requestor : bool
        Whether this end asks for the association.
    timeout_s : float
        Longest time without progress.
    max_pdu : int
        Most octets of a P-DATA-TF PDU that we take, header left out.
    """

    def __init__(
        self,
        sock: socket.socket | SecureSocket,
        channel: Channel,
        *,
        endpoint: str,
        requestor: bool,
        timeout_s: float,
        max_pdu: int = MAX_PDU,
    ) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.endpoint = endpoint
        self.channel = channel
        self.timeout_s = timeout_s
        self.max_pdu = max_pdu
        self.state = State.AWAITING_TRANSPORT if requestor else State.IDLE
        self.received_octets = 0
        self.last_activity = time.monotonic()
        self.alive: Callable[[], float] | None = None
        """Tells when something last moved that counts as progress of this association (C-MOVE sub-operations)."""
        self.on_step: OnStep | None = None
        """Told of each step of the state machine."""
        self._socket = sock
        self._requestor = requestor
        self._buffer = memoryview(bytearray(max(BUFFER_OCTETS, max_pdu + pdu.HEADER_OCTETS)))
        self._armed_s = 0.0
        self._taps = Tap("received"), Tap("sent")
        self._start = self._end = 0
        self._lock = threading.Lock()
        self.step(Event.TRANSPORT_CONFIRMED if requestor else Event.TRANSPORT_INDICATION)

    @property
    def local_host(self) -> str:
        """The address of the interface that leads to the peer."""
        host: str = self._socket.getsockname()[0]
        return host

    @property
    def encryption(self) -> str:
        """The version of TLS and the cipher suite; ``""`` in plaintext."""
        return self._socket.version if isinstance(self._socket, SecureSocket) else ""

    @property
    def peer_host(self) -> str:
        """The address of the peer."""
        host: str = self._socket.getpeername()[0]
        return host

    def step(self, event: Event) -> str:
        """Follow the state table; gives the action that the event causes."""
        before = self.state
        action, self.state = follow(before, event, requestor=self._requestor)
        if self.on_step is not None:
            self.on_step(event, before, action, self.state)
        return action

    # --- receiving -------------------------------------------------------------------------------------------------

    def read_pdu(self, timeout_s: float | None = None) -> memoryview:
        """Read one whole PDU, a view that lives until the next call; the state follows it.

        One that may not come in this state is answered with A-ABORT and raised.
        """
        if self.state is State.IDLE:  # ended by us; what had come by then is nobody's any more
            raise self.interrupted("the association has ended")
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        if self._end - self._start < pdu.HEADER_OCTETS:
            self._fill(pdu.HEADER_OCTETS, timeout_s)
        try:
            kind, length = pdu.decode_header(self._buffer, self.max_pdu, self._start)
        except RemoteProtocolError as error:
            self._abort_by_table(self.step(Event.INVALID_PDU), 6 if error.offset else 1)
            raise error
        size = pdu.HEADER_OCTETS + length
        if self._end - self._start < size:
            self._fill(size, timeout_s)
        octets = self._buffer[self._start : self._start + size]
        self._start += size
        if kind == pdu.P_DATA_TF and self.state is State.DATA_TRANSFER and self.on_step is None:  # it stays (DT-2)
            if self.channel.trace is not None:
                self._taps[0].pdu(self.channel, octets, size)
            return octets
        if kind == pdu.ASSOCIATE_RQ:  # only now is it known who calls
            us, peer = self.channel.parties
            self.channel = replace(self.channel, parties=(us, pdu.calling_title(octets) or peer))
        if self.channel.trace is not None:
            self._taps[0].pdu(self.channel, octets, size)
        if (action := self.step(RECEIVED[kind])) in ABORTS:
            self._abort_by_table(action, 2)
            raise RemoteProtocolError(
                f"{self.endpoint} sent an unexpected {pdu.PDU_NAMES[kind]}", section="PS3.8 Table 9-10", offset=0
            )
        return octets

    def _fill(self, wanted: int, timeout_s: float) -> None:
        """Have `wanted` octets in the buffer, before the deadline."""
        deadline = time.monotonic() + timeout_s
        if self._start == self._end:
            self._start = self._end = 0
        if self._start + wanted > len(self._buffer):
            rest = self._buffer[self._start : self._end]
            if wanted > len(self._buffer):
                self._buffer = memoryview(bytearray(wanted))
            self._buffer[: len(rest)] = rest  # they may overlap
            self._start, self._end = 0, len(rest)
        while self._end - self._start < wanted:
            self._end += self._read_some(self._buffer[self._end :], deadline, timeout_s)

    def _read_some(self, free: memoryview, deadline: float, timeout_s: float) -> int:
        while True:
            latest = deadline if self.alive is None else max(deadline, self.alive() + timeout_s)
            left = latest - time.monotonic()
            if left <= 0:
                self.abort()
                raise self.interrupted(f"nothing came for {timeout_s:g} s")
            try:
                self._arm(left)
                if _QUICKACK is not None:  # not sticky; without it each message waits 40 ms on peers that keep Nagle
                    self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
                count = self._socket.recv_into(free)
            except TimeoutError:
                continue
            except OSError as error:
                raise self._lost(f"the connection broke off ({error.strerror or error})") from error
            if count == 0:
                raise self._lost("it closed the connection without releasing the association")
            self.received_octets += count
            self.last_activity = time.monotonic()
            return count

    def _arm(self, left_s: float) -> None:
        """Have the socket wait no longer than that; a deadline that has hardly moved costs no system call."""
        if not 0.9 * left_s <= self._armed_s <= left_s:
            self._socket.settimeout(left_s)
            self._armed_s = left_s

    def waiting(self) -> bool:
        """Whether something has arrived that nobody has read yet; never waits."""
        if self._end > self._start:
            return True
        try:
            self._armed_s = 0.0
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def readable(self, timeout_s: float, *others: int) -> bool:
        """Wait, but read nothing, until something has arrived, or one of the `others` (descriptors) can be read."""
        deadline = time.monotonic() + timeout_s
        while self._end == self._start:
            if isinstance(self._socket, SecureSocket) and self.waiting():
                return True  # what can be read beneath may be no data yet
            if not wait_for(self._socket.fileno(), *others, timeout_s=deadline - time.monotonic()):
                return False
            if not isinstance(self._socket, SecureSocket) or (others and wait_for(*others, timeout_s=0)):
                return True
        return True

    # --- sending ---------------------------------------------------------------------------------------------------

    def send_pdu(self, value: pdu.PDU) -> None:
        """Send one PDU that is no P-DATA-TF."""
        self._transmit(pdu.encode(value))

    def _transmit(self, *buffers: Octets) -> None:
        """Hand whole PDUs to the socket, P-DATA-TF in pairs of header and fragment, else one buffer.

        The one place where octets leave, and where sending is tapped.
        """
        if self.channel.trace is None:
            pass
        elif len(buffers) > 1:
            self._taps[1].message(self.channel, buffers)
        else:
            self._tap_sent(buffers[0])
        left: Sequence[Octets] = buffers
        try:
            while left:
                self._arm(self.timeout_s)
                sent = self._socket.sendmsg(left) if hasattr(self._socket, "sendmsg") else self._socket.send(left[0])
                self.last_activity = time.monotonic()
                left = _rest(left, sent)
        except TimeoutError as error:
            raise self._lost(f"it took nothing for {self.timeout_s:g} s") from error
        except OSError as error:
            raise self._lost(f"the connection broke off ({error.strerror or error})") from error
        finally:
            if left is not buffers:
                release_views(list(left[:1]))

    def _tap_sent(self, octets: Octets) -> None:
        """One event for each of the PDUs in `octets`."""
        at = 0
        while at < len(octets):
            size = pdu.HEADER_OCTETS + _LENGTH.unpack_from(octets, at + 2)[0]
            self._taps[1].pdu(self.channel, octets[at : at + size], size)
            at += size

    # --- ending ----------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """End in order (A-RELEASE). Whatever goes wrong, the connection is closed."""
        with suppress(CommunicationError, RemoteProtocolError):  # it was over anyway
            if self.state is State.DATA_TRANSFER:
                self.step(Event.RELEASE_REQUEST)
                self._transmit(pdu.encode(pdu.ReleaseRequest()))
                self._await_release()
        self.close()

    def _await_release(self) -> None:
        deadline = time.monotonic() + min(self.timeout_s, _RELEASE_S)
        while self.state is not State.IDLE:  # data on its way is passed over (AR-6), but not for ever
            self.read_pdu(max(0.0, deadline - time.monotonic()))
            if self.state is State.COLLISION_REQUESTOR_LOCAL:
                self._transmit(pdu.encode(pdu.ReleaseReply()))
                self.step(Event.RELEASE_RESPONSE)

    def abort(self, *, provider_reason: int | None = None) -> None:
        """End at once (A-ABORT), as the service user or, with a reason, as the service provider."""
        if self._socket.fileno() < 0:
            return
        source, reason = (0, 0) if provider_reason is None else (2, provider_reason)
        with suppress(CommunicationError):
            self._transmit(pdu.encode(pdu.Abort(source, reason)))
        self.linger()
        self.close()

    def _abort_by_table(self, action: str, reason: int) -> None:
        """Abort as the state table has it: before an association is asked for as the user (AA-1), then as provider."""
        self.abort(provider_reason=None if action == "AA-1" else reason)

    def linger(self) -> None:
        """Let the peer read our last word before the connection goes: unread octets of its own would reset it."""
        deadline = time.monotonic() + _LINGER_S
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            scrap, passed_over = bytearray(64 << 10), 0
            while passed_over < _LINGER_OCTETS and (left := deadline - time.monotonic()) > 0:
                self._socket.settimeout(left)
                if not (count := self._socket.recv_into(scrap)):
                    return
                passed_over += count

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        self.state = State.IDLE
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes whoever still waits for it
        with suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None or issubclass(kind, _IN_ORDER):
            self.release()
        else:
            self.abort()

    def shut(self) -> None:
        """End the connection under the thread that reads it, from another one; hardly waits for its last word."""
        self.timeout_s = min(self.timeout_s, _LAST_WORD_S)
        over = self.state in (State.IDLE, State.AWAITING_CLOSE)
        if not over and self._lock.acquire(blocking=False):
            try:
                with suppress(CommunicationError):
                    self._transmit(pdu.encode(pdu.Abort()))
            finally:
                self._lock.release()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    # --- failures --------------------------------------------------------------------------------------------------

    def _lost(self, what: str) -> Interrupted:
        if self.state is not State.IDLE:
            self.close()
        return self.interrupted(what)

    def interrupted(self, what: str) -> Interrupted:
        """The error for a conversation that broke off, with how much of it there was."""
        return Interrupted(f"{what}; {self.received_octets:,} octets had arrived", endpoint=self.endpoint)

    def broken(self, what: str, section: str) -> RemoteProtocolError:
        """Tell the peer by A-ABORT, and us by the error."""
        self.abort(provider_reason=6)
        return RemoteProtocolError(f"{self.endpoint} sent {what}", section=section)

    def _unexpected(self, octets: memoryview) -> Exception:
        """What an A-ABORT (or, never, anything else) in the middle of data transfer means."""
        value = pdu.decode(octets)
        self.close()
        if isinstance(value, pdu.Abort):
            return self.interrupted(f"the association was aborted {value.meaning}")
        return LocalProtocolError(f"{pdu.PDU_NAMES[octets[0]]} passed the state table", section="PS3.8 Table 9-10")

    def answer_to_request(self, timeout_s: float | None = None) -> pdu.AssociateAccept | pdu.AssociateReject:
        """Read the answer to our A-ASSOCIATE-RQ.

        Raises
        ------
        Interrupted
            Aborted or closed instead.
        """
        value = pdu.decode(self.read_pdu(timeout_s))
        if isinstance(value, pdu.Abort):
            self.close()
            raise self.interrupted(f"the association was aborted {value.meaning} before it was answered")
        if not isinstance(value, pdu.AssociateAccept | pdu.AssociateReject):
            raise self._unexpected(memoryview(pdu.encode(value)))
        return value


def _rest(buffers: Sequence[Octets], gone: int) -> Sequence[Octets]:
    """What is left of buffers when that many of their octets have gone."""
    for number, one in enumerate(buffers):
        if gone < len(one):
            return [memoryview(one)[gone:], *buffers[number + 1 :]]
        gone -= len(one)
    return ()


def release_views(buffers: list[Octets] | list[memoryview]) -> None:
    """Let go of views, so that the memory map behind them can be closed even while an error is on its way."""
    for one in buffers:
        if isinstance(one, memoryview):
            one.release()
    buffers.clear()
