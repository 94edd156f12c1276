"""Asking for an association: who is asked what, and what its refusal means in words.

Source
------
PS3.8 §7.1 (A-ASSOCIATE), §9.3.2 to §9.3.4; PS3.7 §D.3.3 (negotiation items).
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dicomlab.dimse import pdu
from dicomlab.dimse.association import Association, accepted
from dicomlab.dimse.connection import MAX_PDU
from dicomlab.dimse.dissect import dissect, name_of
from dicomlab.dimse.items import Role, UserInformation
from dicomlab.dimse.reader import AssociationReader
from dicomlab.errors import LocalProtocolError, Refused, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.address import AEAddress, OwnAE
from dicomlab.model.trace import open_channel
from dicomlab.part10.meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME


class Proposal(NamedTuple):
    """A service and the encodings offered for it in one context; ``scp``: we want to play the SCP in it."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    scp: bool = False


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is asked, by whom, and how patiently."""

    address: AEAddress
    me: OwnAE
    timeout_s: float = 30.0
    connect_timeout_s: float = 5.0
    max_pdu: int = MAX_PDU

    def connect(self) -> socket.socket:
        """Open the transport connection.

        Raises
        ------
        Unreachable
            Nobody answers there, and why.
        """
        where = (self.address.host, self.address.port)
        try:
            return socket.create_connection(where, timeout=self.connect_timeout_s)
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

    def associate(self, proposals: Sequence[Proposal], *, none_is_refused: bool = True) -> Association:
        """Ask for an association.

        Parameters
        ----------
        proposals : sequence of Proposal
            At most 128.
        none_is_refused : bool
            Whether an association without any accepted context is an error.

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
        request = pdu.AssociateRequest(
            self.address.ae_title, self.me.ae_title, contexts, own_information(self.max_pdu, tuple(scp))
        )
        channel = open_channel("DIMSE", self.me.ae_title, self.address.ae_title, dissect, AssociationReader)
        association = Association(
            self.connect(),
            channel,
            endpoint=str(self.address),
            requestor=True,
            timeout_s=self.timeout_s,
            max_pdu=self.max_pdu,
        )
        try:
            association.send_pdu(request)
            answer = association.answer_to_request()
            if isinstance(answer, pdu.AssociateReject):
                association.close()
                raise Refused(self._rejected(answer), endpoint=str(self.address))
            association.peer, association.proposed, association.answered = answer.user, contexts, answer.contexts
            association.contexts = accepted(contexts, answer.contexts, answer.user.roles)
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

    def _rejected(self, reject: pdu.AssociateReject) -> str:
        advice = {
            (1, 3): f"it does not know us: ask its administrator to register the AE title {self.me.ae_title}",
            (1, 7): f"it is not called {self.address.ae_title}: check the AE title in the address",
            (3, 1): "it is busy: try again later",
            (3, 2): "it has too many associations: try again later, or end some",
        }.get((reject.source, reject.reason), "its log may say why")
        return f"association rejected: {reject.meaning}; {advice} (PS3.8 §9.3.4)"


def own_information(max_pdu: int, scp: Sequence[str] = ()) -> UserInformation:
    """What we tell of ourselves; `scp`: the SOP Classes in which we, who ask, want to be the SCP."""
    return UserInformation(
        max_pdu,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION_NAME,
        roles=tuple(Role(uid, scu=False, scp=True) for uid in scp),
    )


def _none_accepted(asked: Sequence[pdu.ProposedContext], answered: Sequence[pdu.AnsweredContext]) -> str:
    answers = {one.id: one.meaning for one in answered}
    lines = dict.fromkeys(f"{name_of(one.abstract_syntax)}: {answers.get(one.id, 'no answer')}" for one in asked)
    shown = "; ".join(list(lines)[:5]) + (f"; and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f"it accepted none of the presentation contexts ({shown}): it does not offer this service (PS3.8 §9.3.3.2)"


def peer_of(
    address: str | AEAddress, me: str | OwnAE, timeout_s: float, connect_timeout_s: float, max_pdu: int
) -> Peer:
    """Check the values of a caller before anything is sent.

    Raises
    ------
    UsageError
        An address, an AE title or a number that can't be.
    """
    for name, value in (("timeout_s", timeout_s), ("connect_timeout_s", connect_timeout_s)):
        if not isinstance(value, int | float) or not 0 < value < 86_400:
            raise UsageError(f"{name} is a number of seconds above 0, not {value!r}")
    if not isinstance(max_pdu, int) or not 4096 <= max_pdu <= 16 << 20:
        raise UsageError(f"max_pdu is a number of octets from 4096 to 16777216, not {max_pdu!r}")
    where = address if isinstance(address, AEAddress) else AEAddress.parse(address)
    us = me if isinstance(me, OwnAE) else OwnAE.parse(me)
    return Peer(where, us, timeout_s, connect_timeout_s, max_pdu)
