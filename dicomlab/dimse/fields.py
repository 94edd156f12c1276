"""The fields of one PDU, each with its octets and its place in the standard, for people to read.

This is a second look at octets that :mod:`dicomlab.dimse.pdu` decodes for the association: it keeps what the codec
throws away (reserved octets, lengths, where things lie) and stops, without an error, where the octets make no sense.

Source
------
PS3.8 §9.3, Annex D; PS3.7 §9.3, Annex D.3, Annex E; PS3.5 §7.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydicom.datadict import keyword_for_tag

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, decode_command, meaning_of, name_of_element
from dicomlab.dimse.dissect import name_of
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import format_tag
from dicomlab.model.reading import Field
from dicomlab.part10.fields import MAX_FIELDS, data_set_fields, private_parts

_SHOWN_TEXT = 200
_SHOWN_TAGS = 20
_ITEMS = {
    0x10: ("Application Context", "PS3.8 §9.3.2.1"),
    0x20: ("Presentation Context", "PS3.8 §9.3.2.2"),
    0x21: ("Presentation Context", "PS3.8 §9.3.3.2"),
    0x30: ("Abstract Syntax", "PS3.8 §9.3.2.2.1"),
    0x40: ("Transfer Syntax", "PS3.8 §9.3.2.2.2"),
    0x50: ("User Information", "PS3.8 §9.3.2.3"),
    0x51: ("Maximum Length", "PS3.8 §D.1"),
    0x52: ("Implementation Class UID", "PS3.7 §D.3.3.2.1"),
    0x53: ("Asynchronous Operations Window", "PS3.7 §D.3.3.3"),
    0x54: ("SCP/SCU Role Selection", "PS3.7 §D.3.3.4"),
    0x55: ("Implementation Version Name", "PS3.7 §D.3.3.2.3"),
    0x56: ("SOP Class Extended Negotiation", "PS3.7 §D.3.3.5"),
    0x57: ("SOP Class Common Extended Negotiation", "PS3.7 §D.3.3.6"),
    0x58: ("User Identity", "PS3.7 §D.3.3.7"),
    0x59: ("User Identity (answer)", "PS3.7 §D.3.3.7"),
}
_UIDS, _TEXTS, _SECRET = frozenset({0x10, 0x30, 0x40, 0x52}), frozenset({0x55}), frozenset({0x58, 0x59})


def pdu_fields(octets: bytes, syntaxes: Mapping[int, str] | None = None) -> tuple[Field, ...]:
    """Take one PDU apart.

    Parameters
    ----------
    octets : bytes
        The PDU from its first octet; its end may be missing.
    syntaxes : mapping, optional
        The accepted transfer syntax of each presentation context, by which data sets are read.

    Returns
    -------
    tuple of Field
        Offsets count from the first octet of the PDU. Never an error.

    Source
    ------
    PS3.8 §9.3.2 to §9.3.8.
    """
    if len(octets) < pdu.HEADER_OCTETS:
        return ()
    kind, length = octets[0], int.from_bytes(octets[2:6], "big")
    head = (
        Field("PDU-type", f"{kind:02X}H", pdu.PDU_NAMES.get(kind, "no PDU type"), "PS3.8 §9.3.1", 0, 1),
        Field("PDU-length", str(length), "octets after this field", "PS3.8 §9.3.1", 2, 6),
    )
    if kind in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC):
        return (*head, *_associate(octets, kind))
    if kind == pdu.ASSOCIATE_RJ and len(octets) >= 10:
        reject = pdu.AssociateReject(octets[7], octets[8], octets[9])
        result = {1: "rejected, permanent", 2: "rejected, transient"}.get(reject.result, "reserved")
        source = {1: "service user", 2: "service provider (ACSE)", 3: "service provider (presentation)"}
        return (
            *head,
            Field("Result", str(reject.result), result, "PS3.8 Table 9-21", 7, 8),
            Field("Source", str(reject.source), source.get(reject.source, "reserved"), "PS3.8 Table 9-21", 8, 9),
            Field("Reason", str(reject.reason), reject.meaning, "PS3.8 Table 9-21", 9, 10),
        )
    if kind == pdu.ABORT and len(octets) >= 10:
        source = {0: "service user", 2: "service provider"}
        meaning = pdu.Abort(octets[8], octets[9]).meaning
        return (
            *head,
            Field("Source", str(octets[8]), source.get(octets[8], "reserved"), "PS3.8 Table 9-26", 8, 9),
            Field("Reason", str(octets[9]), meaning, "PS3.8 Table 9-26", 9, 10),
        )
    if kind == pdu.P_DATA_TF:
        return (*head, *_values(octets, syntaxes or {}))
    return head


def private_octets(octets: bytes, syntaxes: Mapping[int, str] | None = None) -> tuple[tuple[int, int], ...]:
    """Say which octets of a PDU hold values that may name a patient, or the identity of a user.

    Of a data set that can be read in its accepted transfer syntax these are the values of identifying attributes;
    of any other it is everything, for nobody knows what lies in it.

    Parameters
    ----------
    octets, syntaxes
        As for :func:`pdu_fields`.

    Returns
    -------
    tuple of (int, int)
        From, to; counted from the first octet of the PDU.
    """
    if len(octets) < pdu.HEADER_OCTETS:
        return ()
    if octets[0] == pdu.P_DATA_TF:
        found: list[tuple[int, int]] = []
        for at, end, control in _pdvs(octets):
            if not control & pdu.COMMAND:
                found += private_parts(octets, at + 6, end, (syntaxes or {}).get(octets[at + 4], ""))
        return tuple(found)
    if octets[0] in (pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC):
        return tuple(_secrets(octets, 74))
    return ()


def _secrets(octets: bytes, at: int) -> Iterator[tuple[int, int]]:
    for kind, start, end in _items(octets, at, len(octets)):
        if kind == 0x50:
            yield from _secrets(octets[:end], start)
        elif kind in _SECRET:
            yield start, end


# --- association -----------------------------------------------------------------------------------------------------


def _associate(octets: bytes, kind: int) -> Iterator[Field]:
    section = "PS3.8 §9.3.2" if kind == pdu.ASSOCIATE_RQ else "PS3.8 §9.3.3"
    if len(octets) < 74:
        return
    yield Field("Protocol-version", str(int.from_bytes(octets[6:8], "big")), "bit 0: version 1", section, 6, 8)
    yield Field("Called-AE-title", _text(octets[10:26]), "who is asked", section, 10, 26)
    yield Field("Calling-AE-title", _text(octets[26:42]), "who asks", section, 26, 42)
    for item, start, end in _items(octets, 74, len(octets)):
        yield _item(octets, item, start, end)


def _items(octets: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Walk items as far as they make sense: type, start of the body, its end."""
    for _ in range(MAX_FIELDS):
        if at + 4 > end:
            return
        length = int.from_bytes(octets[at + 2 : at + 4], "big")
        yield octets[at], at + 4, min(at + 4 + length, end)
        at += 4 + length


def _item(octets: bytes, kind: int, start: int, end: int) -> Field:
    name, section = _ITEMS.get(kind, ("Item", "PS3.8 §9.3"))
    body = octets[start:end]
    value, meaning = f"{len(body)} octets", f"item {kind:02X}H"
    children: tuple[Field, ...] = ()
    if kind in _UIDS:
        value = _text(body)
        meaning = name_of(value) if name_of(value) != value else ""
    elif kind in _TEXTS:
        value, meaning = _text(body), "name of the software"
    elif kind == 0x20 and len(body) >= 4:
        value, meaning = f"ID {body[0]}", "one service, and the encodings offered for it"
    elif kind == 0x21 and len(body) >= 4:
        value, meaning = f"ID {body[0]}", pdu.AnsweredContext(body[0], body[2], "").meaning
    elif kind == 0x51 and len(body) == 4:
        number = int.from_bytes(body, "big")
        value, meaning = str(number), "octets of a P-DATA-TF PDU that it takes" if number else "no limit"
    elif kind == 0x53 and len(body) == 4:
        value = f"{int.from_bytes(body[:2], 'big')} and {int.from_bytes(body[2:], 'big')}"
        meaning = "operations invoked and performed at a time"
    elif kind in (0x54, 0x56) and len(body) >= 2:
        uid_end = 2 + int.from_bytes(body[:2], "big")
        value, rest = name_of(_text(body[2:uid_end])), body[uid_end:]
        meaning = rest.hex(" ")[:_SHOWN_TEXT]
        if kind == 0x54 and len(rest) == 2:
            roles = [role for role, granted in zip(("SCU", "SCP"), rest, strict=True) if granted]
            meaning = f"the requestor may be {' and '.join(roles) or 'neither'}"
    elif kind in _SECRET:
        value, meaning = "•••", "never shown"
    if kind in (0x20, 0x21, 0x50):
        inner = start if kind == 0x50 else start + 4
        children = tuple(_item(octets, *one) for one in _items(octets, inner, end))
    return Field(name, value, meaning, section, start - 4, end, children)


# --- messages --------------------------------------------------------------------------------------------------------


def _pdvs(octets: bytes) -> Iterator[tuple[int, int, int]]:
    """Walk presentation data values: start, end, message control header."""
    at = pdu.HEADER_OCTETS
    while at + 6 <= len(octets):
        length = int.from_bytes(octets[at : at + 4], "big")
        yield at, min(at + 4 + length, len(octets)), octets[at + 5]
        at += 4 + max(length, 2)


def _values(octets: bytes, syntaxes: Mapping[int, str]) -> Iterator[Field]:
    for number, (at, end, control) in enumerate(_pdvs(octets)):
        if number == MAX_FIELDS:
            return
        context, last = octets[at + 4], bool(control & pdu.LAST)
        what = "command" if control & pdu.COMMAND else "data set"
        part = "last fragment" if last else "more fragments follow"
        yield Field(
            "Presentation-data-value",
            f"{end - at - 6} octets of {what}",
            part,
            "PS3.8 §9.3.5.1",
            at,
            end,
            (
                Field("Item-length", str(int.from_bytes(octets[at : at + 4], "big")), "", "PS3.8 §9.3.5.1", at, at + 4),
                Field(
                    "Presentation-context-ID", str(context), _named(syntaxes, context), "PS3.8 §9.3.5.1", at + 4, at + 5
                ),
                Field(
                    "Message-control-header", f"{control:02X}H", f"{what}, {part}", "PS3.8 Annex E.2", at + 5, at + 6
                ),
                *(
                    _command(octets, at + 6, end)
                    if control & pdu.COMMAND
                    else data_set_fields(octets, at + 6, end, syntaxes.get(context, ""))
                ),
            ),
        )


def _named(syntaxes: Mapping[int, str], context: int) -> str:
    return name_of(syntaxes[context]) if context in syntaxes else ""


def _command(octets: bytes, start: int, end: int) -> Iterator[Field]:
    try:
        command: Command | None = decode_command(octets[start:end])
    except RemoteProtocolError:
        command = None  # a fragment of one; its elements are shown as far as they go
    at = start
    while at + 8 <= end:
        tag = int.from_bytes(octets[at + 2 : at + 4], "little")
        length = int.from_bytes(octets[at + 4 : at + 8], "little")
        if octets[at : at + 2] != b"\0\0" or at + 8 + length > end:
            return
        keyword, vr = name_of_element(tag)
        body = octets[at + 8 : at + 8 + length]
        if vr in ("US", "UL"):
            number = int.from_bytes(body, "little")
            value, meaning = str(number), ""
            if keyword in ("CommandField", "Status", "CommandDataSetType"):
                value = f"{number:04X}H"
            if keyword == "CommandField" and command is not None:
                meaning = command.name
            elif keyword == "CommandDataSetType":
                meaning = "no data set follows" if number == 0x0101 else "a data set follows"
            elif command is not None:
                meaning = meaning_of(keyword, number, command.sop_class_uid)
        elif vr == "AT":
            value, meaning = _tags(body)
        else:
            value = _text(body)
            meaning = name_of(value) if vr == "UI" and name_of(value) != value else ""
        yield Field(f"(0000,{tag:04X}) {keyword}", value, meaning, "PS3.7 Annex E", at, at + 8 + length)
        at += 8 + length


def _tags(body: bytes) -> tuple[str, str]:
    """The attributes that a list names: as tags, and by their keywords."""
    words = [int.from_bytes(body[at : at + 2], "little") for at in range(0, len(body) // 4 * 4, 2)]
    tags = [high << 16 | low for high, low in zip(words[::2], words[1::2], strict=True)][:_SHOWN_TAGS]
    return " ".join(map(format_tag, tags)), ", ".join(keyword_for_tag(tag) or "unknown" for tag in tags)


def _text(octets: bytes) -> str:
    text = octets[: _SHOWN_TEXT + 1].decode("utf-8", "replace").strip(" \0")
    return text if len(octets) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]}…"
