"""Follows one association on the wire: what each PDU says, in a sentence, and where our state machine stands.

Source
------
PS3.8 §9.2 (state machine), §9.3 (PDUs); PS3.7 §9.3 (messages).
"""

from __future__ import annotations

from contextlib import suppress

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, decode_command
from dicomlab.dimse.dissect import dissect, name_of
from dicomlab.dimse.fields import pdu_fields, private_octets
from dicomlab.dimse.state import RECEIVED, Event, State, follow
from dicomlab.dimse.tables import SUCCESS, category, status_text
from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.model.reading import Direction, Reading

_SENT = {
    pdu.ASSOCIATE_RQ: (Event.TRANSPORT_CONFIRMED,),
    pdu.ASSOCIATE_AC: (Event.ACCEPT,),
    pdu.ASSOCIATE_RJ: (Event.REJECT,),
    pdu.P_DATA_TF: (Event.DATA_REQUEST,),
    pdu.RELEASE_RQ: (Event.RELEASE_REQUEST,),
    pdu.RELEASE_RP: (Event.RELEASE_RESPONSE,),
    pdu.ABORT: (Event.ABORT_REQUEST,),
}
_ASKS = {
    "C-ECHO-RQ": "asks whether the other side is there",
    "C-STORE-RQ": "asks to store an instance, which follows",
    "C-FIND-RQ": "asks for matches; the Identifier with the keys follows",
    "C-GET-RQ": "asks for instances on this same association",
    "C-MOVE-RQ": "asks to send instances to another Application Entity",
    "C-CANCEL-RQ": "asks to stop the operation that is under way",
    "N-ACTION-RQ": "asks for an action",
    "N-EVENT-REPORT-RQ": "reports an event",
    "N-CREATE-RQ": "asks to create an instance",
    "N-SET-RQ": "asks to change an instance",
    "N-GET-RQ": "asks for attributes of an instance",
    "N-DELETE-RQ": "asks to delete an instance",
}


class AssociationReader:
    """Reads the PDUs of one association in the order in which they crossed. Never fails, whatever they are."""

    def __init__(self) -> None:
        self._state: State | None = None
        self._requestor = True
        self._syntaxes: dict[int, str] = {}

    def __call__(self, direction: Direction, octets: bytes) -> Reading:
        """Read the next PDU, which `direction` says we sent or received."""
        kind = octets[0] if octets else 0
        if kind == pdu.ASSOCIATE_RQ:
            self._requestor = direction == "sent"
            self._state = State.AWAITING_TRANSPORT if self._requestor else State.AWAITING_RQ
        fields = pdu_fields(octets, self._syntaxes)
        sentence, trouble = self._said(octets)
        state = self._step(direction, kind)
        private = private_octets(octets, self._syntaxes)
        return Reading(dissect(octets), fields, state, sentence, private, trouble)

    def _step(self, direction: Direction, kind: int) -> str:
        if self._state is None or kind not in _SENT:
            return ""
        events = _SENT[kind] if direction == "sent" else (RECEIVED[kind],)
        for event in events:
            try:
                _, self._state = follow(self._state, event, requestor=self._requestor)
            except LocalProtocolError:  # part of the conversation is not on record, or it broke the standard
                self._state = None
                return ""
        return self._state.text

    def _said(self, octets: bytes) -> tuple[str, str]:
        """What a PDU says in a sentence, and what of it is not as it should be."""
        try:
            value = pdu.decode(octets)
        except RemoteProtocolError:
            return "", ""
        return self._sentence(value), _trouble(value)

    def _sentence(self, value: pdu.PDU) -> str:
        match value:
            case pdu.AssociateRequest():
                plural = "" if len(value.contexts) == 1 else "s"
                return (
                    f"{value.calling} asks {value.called} for an association and proposes {len(value.contexts)}"
                    f" presentation context{plural}: which services, in which encodings (PS3.8 §7.1.1)."
                )
            case pdu.AssociateAccept():
                self._syntaxes = {c.id: c.transfer_syntax for c in value.contexts if c.result == 0}
                refused = [c for c in value.contexts if c.result]
                why = f"; refused: {', '.join(sorted({c.meaning for c in refused}))}" if refused else ""
                plural = "" if len(value.contexts) == 1 else "s"
                return (
                    f"The association is accepted, with {len(self._syntaxes)} of {len(value.contexts)} presentation"
                    f" context{plural}{why}. Each accepted one has exactly one transfer syntax (PS3.8 §9.3.3.2)."
                )
            case pdu.AssociateReject():
                return f"The association is rejected: {value.meaning} (PS3.8 §9.3.4)."
            case pdu.ReleaseRequest():
                return "One side is done and asks to end the association in order (PS3.8 §7.2)."
            case pdu.ReleaseReply():
                return "The other side agrees; the connection may close."
            case pdu.Abort():
                return f"The association is aborted {value.meaning}; what was under way is lost (PS3.8 §7.3)."
            case pdu.DataTransfer(values):
                return " ".join(filter(None, map(self._of_value, values)))

    def _of_value(self, value: pdu.PDV) -> str:
        if not value.control & pdu.COMMAND:
            return ""
        if not value.control & pdu.LAST:
            return "A part of a command."
        try:
            return _of_command(decode_command(value.fragment))
        except RemoteProtocolError:
            return "The end of a command."


def _trouble(value: pdu.PDU) -> str:
    """What of a PDU is not as it should be: an end out of order, or a status that is a failure or a warning."""
    match value:
        case pdu.AssociateReject():
            return "rejected"
        case pdu.Abort():
            return "aborted"
        case pdu.DataTransfer(values):
            for one in values:
                if one.control & pdu.COMMAND and one.control & pdu.LAST:
                    with suppress(RemoteProtocolError):
                        command = decode_command(one.fragment)
                        kind = category(command.status) if command.is_response else ""
                        if kind in ("failure", "warning", "cancel"):
                            return kind
    return ""


def _of_command(command: Command) -> str:
    about = name_of(command.sop_class_uid)
    if not command.is_response:
        what = _ASKS.get(command.name, "asks for something that PS3.7 does not define")
        named = f": {command.what}" if command.what else ""
        return f"{command.name} {what}{named}{f' ({about})' if about else ''}."
    verb = command.name.split("-")[1]
    kind = category(command.status)
    text = status_text(command.status, verb, sop_class_uid=command.sop_class_uid)
    if command.status == SUCCESS:
        return f"{command.name}: {text}; the operation is complete."
    if kind == "pending":
        more = "; a match follows" if verb == "FIND" else "; sub-operations go on"
        return f"{command.name}: {text}{more}."
    return f"{command.name}: {text}."
