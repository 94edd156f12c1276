"""Asking for an association: who is asked what, and what its refusal means in words.

Source
------
PS3.8 §7.1 (A-ASSOCIATE), §9.3.2 to §9.3.4; PS3.7 §D.3.3 (negotiation items).
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import NamedTuple

from dicomlab.dimse import pdu, tables
from dicomlab.dimse.association import Association, accepted
from dicomlab.dimse.connection import MAX_PDU, OnStep
from dicomlab.dimse.dissect import dissect, name_of
from dicomlab.dimse.extended import OPTIONS, decode_options, encode_options
from dicomlab.dimse.items import Extended, Identity, Role, UserInformation
from dicomlab.dimse.reaching import CANCELLED, connected
from dicomlab.dimse.reader import AssociationReader
from dicomlab.dimse.secure import PLAIN, SecureSocket, Security, explained
from dicomlab.errors import Interrupted, LocalProtocolError, Refused, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.address import AEAddress, OwnAE
from dicomlab.model.progress import ended_by_cancel
from dicomlab.model.trace import open_channel
from dicomlab.part10.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


class Proposal(NamedTuple):
    """A service and the encodings offered for it in one context; ``scp``: we want to play the SCP in it."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is asked, by whom, how patiently, and on what terms.

    Attributes
    ----------
    address, me : AEAddress, OwnAE
    timeout_s : float
        Longest time without progress, in seconds.
    connect_timeout_s : float
        Longest time for the TCP connection, and again for the TLS handshake.
    max_pdu : int
        Longest P-DATA-TF PDU that we take, in octets.
    acse_timeout_s : float
        Longest time for the answer to a request for an association.
    security : Security
        Whether TLS is spoken, and how.
    identity : Identity or None
        Who the user is.
    options : frozenset of str
        What extended negotiation of Query/Retrieve asks for.
    senders : tuple of str
        Addresses and networks that may send us what we move, beside the peer's own.
    fictional : bool
        Whether its patients are known to be synthetic, so that a trace may show them.
    """

    address: AEAddress
    me: OwnAE
    timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    max_pdu: int = MAX_PDU
    acse_timeout_s: float = 15.0
    security: Security = PLAIN
    identity: Identity | None = field(default=None, repr=False)
    options: frozenset[str] = frozenset()
    senders: tuple[str, ...] = ()
    fictional: bool = False

    def note(self, text: str) -> None:
        """Say in the trace, if one is on, what is planned or has come about beside an association."""
        open_channel("DIMSE", self.me.ae_title, self.address.ae_title, dissect).note(text)

    def connect(self) -> socket.socket:
        """Open the transport connection; :meth:`secure` is what comes next.

        Raises
        ------
        Unreachable
            Nobody answers there, and why.
        Interrupted
            The verb that is carried out here was cancelled meanwhile.
        """
        where = (self.address.host, self.address.port)
        try:
            return connected(*where, self.connect_timeout_s, endpoint=str(self.address))
        except ConnectionRefusedError as error:
            text = f"nobody listens on port {where[1]}: is the peer running, and is that its DICOM port?"
            raise Unreachable(text, endpoint=str(self.address)) from error
        except TimeoutError as error:
            text = (
                f"no answer within {self.connect_timeout_s:g} s: is the host right, and does a firewall stand between?"
            )
            raise Unreachable(text, endpoint=str(self.address)) from error
        except (socket.gaierror, UnicodeError) as error:
            raise Unreachable(f"no host is called {where[0]!r}", endpoint=str(self.address)) from error
        except OSError as error:
            raise Unreachable(f"no way there ({error.strerror or error})", endpoint=str(self.address)) from error

    def route(self) -> tuple[str, str]:
        """Our address on the way there, and the peer's, without anything being sent.

        Raises
        ------
        Unreachable
            There is no such host, or no way.
        """
        try:
            family, kind, proto, _, where = socket.getaddrinfo(
                self.address.host, self.address.port, type=socket.SOCK_DGRAM
            )[0]
            with socket.socket(family, kind, proto) as probe:
                probe.connect(where)
                return str(probe.getsockname()[0]), str(probe.getpeername()[0])
        except (OSError, UnicodeError) as error:
            raise Unreachable(f"no way there ({error})", endpoint=str(self.address)) from error

    def secure(self, sock: socket.socket) -> socket.socket | SecureSocket:
        """Speak TLS on a connection just opened, where that is wanted.

        Raises
        ------
        Refused
            No agreement on TLS, or one side does not accept the certificate of the other; no plaintext instead.
        Unreachable
            Nothing came in time.
        Interrupted
            The verb that is carried out here was cancelled meanwhile.

        Source
        ------
        PS3.15 B.12, B.13.
        """
        if self.security.client is None:
            return sock
        endpoint, secured = str(self.address), None
        try:
            secured = SecureSocket(sock, self.security.client, self.address.host)
            with ended_by_cancel(secured.give_up):
                secured.handshake(self.connect_timeout_s)
        except TimeoutError as error:
            sock.close()
            text = f"no TLS handshake within {self.connect_timeout_s:g} s: is that a TLS port?"
            raise Unreachable(text, endpoint=endpoint) from error
        except (OSError, ValueError) as error:
            sock.close()
            if secured is not None and secured.given_up:
                raise Interrupted(CANCELLED, endpoint=endpoint) from error
            why = explained(error) if isinstance(error, OSError) else f"TLS failed: {error}"
            raise Refused(f"{why} (PS3.15 B.12)", endpoint=endpoint) from error
        return secured

    def associate(
        self, proposals: Sequence[Proposal], *, none_is_refused: bool = True, on_step: OnStep | None = None
    ) -> Association:
        """Ask for an association.

        Parameters
        ----------
        proposals : sequence of Proposal
            At most 128.
        none_is_refused : bool
            Whether an association without any accepted context is an error.
        on_step : callable, optional
            Told of each step of the state machine from here on.

        Returns
        -------
        Association
            Established.

        Raises
        ------
        Unreachable
            Nobody answers there.
        Refused
            It answers, and rejects the association or every context.
        Interrupted, RemoteProtocolError
            It broke off, or speaks something else.

        Source
        ------
        PS3.8 §7.1, §9.3.2.
        """
        if not 0 < len(proposals) <= pdu.MAX_CONTEXTS:
            raise LocalProtocolError(f"{len(proposals)} presentation contexts", section="PS3.8 §9.3.2.2")
        contexts = pdu.numbered((one.abstract_syntax, one.transfer_syntaxes) for one in proposals)
        scp = dict.fromkeys(one.abstract_syntax for one in proposals if one.scp)
        user = own_information(self.max_pdu, tuple(scp), self._extended(proposals), self.identity)
        request = pdu.AssociateRequest(self.address.ae_title, self.me.ae_title, contexts, user)
        names = self.me.ae_title, self.address.ae_title
        channel = open_channel("DIMSE", *names, dissect, AssociationReader, fictional=self.fictional)
        association = Association(
            self.secure(self.connect()),
            channel,
            endpoint=str(self.address),
            requestor=True,
            timeout_s=self.timeout_s,
            max_pdu=self.max_pdu,
        )
        association.on_step = on_step
        try:
            answer = self._ask(association, request)
            if isinstance(answer, pdu.AssociateReject):
                association.close()
                raise self._rejected(answer)
            association.peer, association.proposed, association.answered = answer.user, contexts, answer.contexts
            association.contexts = accepted(contexts, answer.contexts, answer.user.roles)
            self._note_refusals(association, request.user)
            if none_is_refused and not association.contexts:
                association.release()
                raise Refused(_none_accepted(contexts, answer.contexts), endpoint=str(self.address))
        except RemoteProtocolError:
            association.abort(provider_reason=6)
            raise
        except BaseException:
            association.close()
            raise
        return association

    def _ask(
        self, association: Association, request: pdu.AssociateRequest
    ) -> pdu.AssociateAccept | pdu.AssociateReject:
        """What comes back, or why nothing does: on TLS 1.3 our certificate is looked at only now."""
        try:
            with ended_by_cancel(association.shut):
                association.send_pdu(request)
                return association.answer_to_request(min(self.acse_timeout_s, self.timeout_s))
        except Interrupted as error:
            cause = error.__cause__
            if isinstance(cause, ssl.SSLError):
                raise Refused(f"{explained(cause)} (PS3.15 B.12)", endpoint=str(self.address)) from error
            if not association.received_octets:
                plain = "A port that speaks TLS is silent too, or closes: tls= may be what it wants."
                secure = (
                    "A peer that does not accept our certificate may say so by closing now: does it know who signed?"
                )
                error.add_note(secure if self.security else plain)
            raise

    @staticmethod
    def _note_refusals(association: Association, asked: UserInformation) -> None:
        """Say in the trace which options were asked for and not granted."""
        for uid, information in asked.extended:
            if verb := tables.VERB_OF.get(uid):
                missing = decode_options(information, verb) - granted(association, uid)
                if missing:
                    association.channel.note(f"not granted for C-{verb}: {', '.join(sorted(missing))} (PS3.4 §C.5)")

    def _extended(self, proposals: Iterable[Proposal]) -> tuple[Extended, ...]:
        found = {one.abstract_syntax: tables.VERB_OF.get(one.abstract_syntax) for one in proposals}
        asked = ((uid, encode_options(self.options, verb)) for uid, verb in found.items() if verb)
        return tuple(Extended(uid, octets) for uid, octets in asked if octets)

    def _rejected(self, reject: pdu.AssociateReject) -> Refused:
        """The rejection in words; what is transient is marked so."""
        advice = {
            (1, 1): "it gives no reason" + (": does it know the user?" if self.identity else "; its log may say why"),
            (1, 2): "it speaks another application context: is it a DICOM peer of our days?",
            (1, 3): f"it does not know us: ask its administrator to register the AE title {self.me.ae_title}",
            (1, 7): f"it is not called {self.address.ae_title}: check the AE title in the address",
            (2, 1): "its lower layer gives no reason" + (": does it know the user?" if self.identity else ""),
            (2, 2): "it wants another version of the protocol than 1, the only one there is",
            (3, 1): "it is busy: try again later",
            (3, 2): "it has too many associations: try again later, or end some",
        }.get((reject.source, reject.reason), "its log may say why")
        text = f"association rejected: {reject.meaning}; {advice} (PS3.8 §9.3.4)"
        refused = Refused(text, endpoint=str(self.address))
        refused.transient = reject.result == 2 or reject.source == 3
        return refused


def granted(association: Association, sop_class_uid: str) -> frozenset[str]:
    """What the peer granted of the options that were asked for one SOP Class (PS3.4 §C.5)."""
    verb = tables.VERB_OF.get(sop_class_uid, "FIND")
    return decode_options(association.peer.extended_for(sop_class_uid), verb)


def own_information(
    max_pdu: int,
    scp: Sequence[str] = (),
    extended: tuple[Extended, ...] = (),
    identity: Identity | None = None,
) -> UserInformation:
    """What we tell of ourselves; `scp`: the SOP Classes in which we, who ask, want to be the SCP."""
    return UserInformation(
        max_pdu,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        roles=tuple(Role(uid, scu=False, scp=True) for uid in scp),
        extended=extended,
        identity=identity,
    )


def _none_accepted(asked: Sequence[pdu.ProposedContext], answered: Sequence[pdu.AnsweredContext]) -> str:
    answers = {one.id: one.meaning for one in answered}
    lines = dict.fromkeys(f"{name_of(one.abstract_syntax)}: {answers.get(one.id, 'no answer')}" for one in asked)
    shown = "; ".join(list(lines)[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f"it accepted none of the presentation contexts ({shown}): it does not offer this service (PS3.8 §9.3.3.2)"


def peer_of(
    address: str | AEAddress,
    me: str | OwnAE,
    timeout_s: float = 60.0,
    connect_timeout_s: float = 5.0,
    max_pdu: int = MAX_PDU,
    *,
    acse_timeout_s: float = 15.0,
    security: Security = PLAIN,
    identity: Identity | None = None,
    options: Collection[str] = (),
    senders: Collection[str] = (),
) -> Peer:
    """Check the values of a caller before anything is sent.

    Raises
    ------
    UsageError
        An address, an AE title, a number or a name that can't be.
    """
    timeouts = {"timeout_s": timeout_s, "connect_timeout_s": connect_timeout_s, "acse_timeout_s": acse_timeout_s}
    for name, value in timeouts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 86_400:
            raise UsageError(f"{name} is a number of seconds above 0, not {value!r}")
    if not isinstance(max_pdu, int) or not 4096 <= max_pdu <= 16 << 20:
        raise UsageError(f"max_pdu is a number of octets from 4096 to 16777216, not {max_pdu!r}")
    if isinstance(options, str) or set(options) - set(OPTIONS):
        raise UsageError(f"extended takes names out of {', '.join(OPTIONS)} (PS3.4 §C.5)")
    try:
        networks = tuple(str(ip_network(one, strict=False)) for one in senders)
    except ValueError as error:
        raise UsageError(f"senders takes addresses and networks, such as 10.0.0.0/8: {error}") from None
    where = address if isinstance(address, AEAddress) else AEAddress.parse(address)
    us = me if isinstance(me, OwnAE) else OwnAE.parse(me)
    return Peer(
        where, us, timeout_s, connect_timeout_s, max_pdu, acse_timeout_s,
        security=security, identity=identity, options=frozenset(options), senders=networks,
    )  # fmt: skip
