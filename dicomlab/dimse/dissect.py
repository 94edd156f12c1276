"""One line of text for each PDU, for the wire trace. No I/O, and no value that could name a patient.

The text before the first colon is the kind of message, by which :meth:`dicomlab.model.trace.Trace.counts` counts.

Source
------
PS3.8 §9.3, PS3.7 §9.3.
"""

from __future__ import annotations

from pydicom._uid_dict import UID_dictionary

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, decode_command
from dicomlab.errors import RemoteProtocolError


def dissect(octets: bytes) -> str:
    """Say in one line what a PDU says.

    Parameters
    ----------
    octets : bytes
        The start of one PDU, header included; a trace may have cut its end.

    Returns
    -------
    str
        Never an error: what can't be read is said to be so.

    Source
    ------
    PS3.8 §9.3, PS3.7 §9.3.
    """
    try:
        return _dissect(octets)
    except RemoteProtocolError as error:
        return f"unreadable: {error}"


def _dissect(octets: bytes) -> str:
    if len(octets) < pdu.HEADER_OCTETS:
        return f"unreadable: {len(octets)} octets"
    kind = octets[0]
    length = int.from_bytes(octets[2:6], "big")
    name = pdu.PDU_NAMES.get(kind, f"{kind:02X}H")
    if kind == pdu.P_DATA_TF:
        return _data(octets, length)
    if len(octets) - pdu.HEADER_OCTETS < length:
        return f"{name}: {length} octets, not all of them kept"
    match pdu.decode(octets):
        case pdu.AssociateRequest() as request:
            offers = {uid: None for context in request.contexts for uid in [context.abstract_syntax]}
            roles = f", SCP role asked for {sum(r.scp for r in request.user.roles)}" if request.user.roles else ""
            plural = "" if len(request.contexts) == 1 else "s"
            asked = f"{len(request.contexts)} context{plural} for {_few(list(offers))}{roles}"
            return f"{name}: {request.calling} -> {request.called}, {asked}, max PDU {request.user.max_pdu}"
        case pdu.AssociateAccept() as accept:
            accepted = sum(context.result == 0 for context in accept.contexts)
            who = accept.user.implementation_version_name or accept.user.implementation_class_uid
            plural = "" if len(accept.contexts) == 1 else "s"
            how_many = f"{accepted} of {len(accept.contexts)} context{plural} accepted"
            return f"{name}: {how_many}, by {who}, max PDU {accept.user.max_pdu}"
        case pdu.AssociateReject() as reject:
            return f"{name}: {reject.meaning}"
        case pdu.Abort() as abort:
            return f"{name}: {abort.meaning}"
    return name


def _data(octets: bytes, length: int) -> str:
    """Commands by name; data as a count."""
    texts: list[str] = []
    at = pdu.HEADER_OCTETS
    while at + 6 <= len(octets):
        size = int.from_bytes(octets[at : at + 4], "big") - 2
        control = octets[at + 5]
        fragment = octets[at + 6 : at + 6 + size]
        last = ", last" if control & pdu.LAST else ""
        if control & pdu.COMMAND:
            whole = control & pdu.LAST and len(fragment) == size and fragment[:4] == bytes(4)
            texts.append(_command(decode_command(fragment)) if whole else f"P-DATA-TF: {size} octets of command{last}")
        else:
            texts.append(f"P-DATA-TF: {size} octets of data set on context {octets[at + 4]}{last}")
        at += 6 + max(size, 0)
    return "; ".join(texts) or f"P-DATA-TF: {length} octets"


def _command(command: Command) -> str:
    facts: list[str] = [command.what] if command.what else []
    if uid := command.sop_class_uid:
        facts.append(name_of(uid))
    if uid := command.sop_instance_uid:
        facts.append(uid)
    if destination := command.text("MoveDestination"):
        facts.append(f"to {destination}")
    if command.is_response:
        facts.append(f"status {command.status:04X}H")
    counts = [
        f"{command.number(f'NumberOf{what}Suboperations')} {what.lower()}"
        for what in ("Remaining", "Completed", "Failed", "Warning")
        if f"NumberOf{what}Suboperations" in command.fields
    ]
    number = command.number("MessageID") or command.number("MessageIDBeingRespondedTo")
    return f"{command.name}: {', '.join([*facts, *counts, f'message {number}'])}"


def name_of(uid: str) -> str:
    """The name of a UID in PS3.6, or the UID."""
    return UID_dictionary[uid][0] if uid in UID_dictionary else uid


def _few(uids: list[str]) -> str:
    more = f" and {len(uids) - 2} more" if len(uids) > 2 else ""
    return ", ".join(map(name_of, uids[:2])) + more
