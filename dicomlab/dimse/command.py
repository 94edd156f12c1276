"""Command sets: what a DIMSE message asks or answers, octets to values and back. No I/O.

Source
------
PS3.7 §6.3.1 (structure: Implicit VR Little Endian), §9.3 and §10.3 (messages), Annex E (dictionary).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct

from dicomlab.dimse.pdu import Octets
from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.model.values import uid_like

_SECTION = "PS3.7 §6.3.1"
MAX_COMMAND = 64 << 10
"""Octets of a command set beyond which it is called broken."""

NO_DATA_SET = 0x0101
RESPONSE = 0x8000
"""The bit of the Command Field that tells a response from its request."""

Value = int | str | tuple[int, ...]

_MESSAGES = {
    0x0001: "C-STORE",
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0030: "C-ECHO",
    0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET",
    0x0120: "N-SET",
    0x0130: "N-ACTION",
    0x0140: "N-CREATE",
    0x0150: "N-DELETE",
}
COMMAND_FIELDS = {
    **{f"{name}-RQ": code for code, name in _MESSAGES.items()},
    **{f"{name}-RSP": code | RESPONSE for code, name in _MESSAGES.items()},
    "C-CANCEL-RQ": 0x0FFF,
}
"""The Command Field (0000,0100) of each message (PS3.7 Table E.1-1)."""
_CANCEL = COMMAND_FIELDS["C-CANCEL-RQ"]
_NAMES = {code: name for name, code in COMMAND_FIELDS.items()}
_REQUESTED = ("N-GET", "N-SET", "N-ACTION", "N-DELETE")


def about_class(name: str, uid: str, instance_uid: str = "") -> dict[str, Value]:
    """Name the SOP Class (and Instance) that a request is about: *requested* by some, *affected* by the others.

    Source
    ------
    PS3.7 Table E.1-1, §10.3.
    """
    kind = "Requested" if name.removesuffix("-RQ") in _REQUESTED else "Affected"
    instance: dict[str, Value] = {f"{kind}SOPInstanceUID": instance_uid} if instance_uid else {}
    return {f"{kind}SOPClassUID": uid, **instance}


_FIELDS: dict[int, tuple[str, str]] = {
    0x0000: ("CommandGroupLength", "UL"),
    0x0002: ("AffectedSOPClassUID", "UI"),
    0x0003: ("RequestedSOPClassUID", "UI"),
    0x0100: ("CommandField", "US"),
    0x0110: ("MessageID", "US"),
    0x0120: ("MessageIDBeingRespondedTo", "US"),
    0x0600: ("MoveDestination", "AE"),
    0x0700: ("Priority", "US"),
    0x0800: ("CommandDataSetType", "US"),
    0x0900: ("Status", "US"),
    0x0901: ("OffendingElement", "AT"),
    0x0902: ("ErrorComment", "LO"),
    0x0903: ("ErrorID", "US"),
    0x1000: ("AffectedSOPInstanceUID", "UI"),
    0x1001: ("RequestedSOPInstanceUID", "UI"),
    0x1002: ("EventTypeID", "US"),
    0x1005: ("AttributeIdentifierList", "AT"),
    0x1008: ("ActionTypeID", "US"),
    0x1020: ("NumberOfRemainingSuboperations", "US"),
    0x1021: ("NumberOfCompletedSuboperations", "US"),
    0x1022: ("NumberOfFailedSuboperations", "US"),
    0x1023: ("NumberOfWarningSuboperations", "US"),
    0x1030: ("MoveOriginatorApplicationEntityTitle", "AE"),
    0x1031: ("MoveOriginatorMessageID", "US"),
}
_ELEMENTS = {keyword: (element, vr) for element, (keyword, vr) in _FIELDS.items()}


def name_of_element(element: int) -> tuple[str, str]:
    """Keyword and VR of a command element; of a retired or unknown one, a description and UN."""
    return _FIELDS.get(element, ("retired or unknown", "UN"))


_COMMITMENT, _UPS = "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.34.6"
_STEP_NOTIFICATION = "1.2.840.10008.3.1.2.3.5"
_ACTIONS = {
    _COMMITMENT: {1: "Request Storage Commitment"},
    _UPS: {
        1: "Change UPS State",
        2: "Request UPS Cancel",
        3: "Subscribe to Receive UPS Event Reports",
        4: "Unsubscribe from Receiving UPS Event Reports",
        5: "Suspend Global Subscription",
    },
}
_EVENTS = {
    _COMMITMENT: {
        1: "Storage Commitment Request Successful",
        2: "Storage Commitment Request Complete - Failures Exist",
    },
    _STEP_NOTIFICATION: {1: "In Progress", 2: "Completed", 3: "Discontinued", 4: "Updated", 5: "Deleted"},
    _UPS: {
        1: "UPS State Report",
        2: "UPS Cancel Requested",
        3: "UPS Progress Report",
        4: "SCP Status Change",
        5: "UPS Assigned",
    },
}


def meaning_of(keyword: str, number: int, sop_class_uid: str) -> str:
    """What an Action Type ID or Event Type ID stands for, ``""`` where nobody knows.

    Source
    ------
    PS3.4 Table J.3-1, J.3-2, F.9.2-1, CC.2.4-1, §CC.2.1 to §CC.2.3.
    """
    by_class = {"ActionTypeID": _ACTIONS, "EventTypeID": _EVENTS}.get(keyword, {})
    family = _UPS if sop_class_uid.startswith(f"{_UPS}.") else sop_class_uid
    return by_class.get(family, {}).get(number, "")


_ELEMENT, _GROUP_LENGTH = Struct("<HHL"), Struct("<HHLL")


@dataclass(frozen=True, slots=True)
class Command:
    """One command set: the values of group 0000 by keyword."""

    fields: Mapping[str, Value]

    @classmethod
    def of(cls, name: str, *, data: bool = False, **fields: Value) -> Command:
        """Make one: ``Command.of("C-ECHO-RQ", MessageID=1, AffectedSOPClassUID=...)``; `data`: a data set follows."""
        kind = 0x0000 if data else NO_DATA_SET
        return cls({**fields, "CommandField": COMMAND_FIELDS[name], "CommandDataSetType": kind})

    def response(self, status: int, *, data: bool = False, **fields: Value) -> Command:
        """Answer this request: its SOP Class (if it can be one), its message ID, the status, and what else is given."""
        name = self.name.removesuffix("-RQ") + "-RSP"
        uid = self.sop_class_uid
        about: dict[str, Value] = {"AffectedSOPClassUID": uid} if uid_like(uid) else {}
        return Command.of(
            name, data=data, **about, MessageIDBeingRespondedTo=self.number("MessageID"), Status=status, **fields
        )

    @property
    def code(self) -> int:
        """The Command Field."""
        return self.number("CommandField")

    @property
    def name(self) -> str:
        """The message in the standard's words: ``C-FIND-RQ``; a number where nobody knows it."""
        return _NAMES.get(self.code, f"{self.code:04X}H")

    @property
    def has_data(self) -> bool:
        """Whether a data set follows."""
        return self.number("CommandDataSetType") != NO_DATA_SET

    @property
    def is_response(self) -> bool:
        """Whether it answers a request."""
        return bool(self.code & RESPONSE)

    @property
    def status(self) -> int:
        """The Status of a response."""
        return self.number("Status")

    @property
    def comment(self) -> str:
        """What a response says in its own words: its Error Comment, and the elements that offend."""
        elements = self.tags("OffendingElement") or self.tags("AttributeIdentifierList")
        tags = [f"({tag >> 16:04X},{tag & 0xFFFF:04X})" for tag in elements]
        words = [self.text("ErrorComment"), f"offending: {', '.join(tags[:8])}" if tags else ""]
        return "; ".join(filter(None, words))

    def number(self, keyword: str, default: int = 0) -> int:
        """The value of a numeric field."""
        value = self.fields.get(keyword, default)
        return value if isinstance(value, int) else default

    def text(self, keyword: str) -> str:
        """The value of a text field, ``""`` where absent."""
        value = self.fields.get(keyword, "")
        return value if isinstance(value, str) else ""

    def tags(self, keyword: str) -> tuple[int, ...]:
        """The attributes that a field lists."""
        value = self.fields.get(keyword, ())
        return value if isinstance(value, tuple) else ()

    @property
    def what(self) -> str:
        """What an N-ACTION or N-EVENT-REPORT is about, in the standard's words."""
        for keyword in ("ActionTypeID", "EventTypeID"):
            if keyword in self.fields:
                number = self.number(keyword)
                return meaning_of(keyword, number, self.sop_class_uid) or f"{keyword} {number}"
        return ""

    @property
    def sop_class_uid(self) -> str:
        """The SOP Class that it is about, requested or affected."""
        return self.text("AffectedSOPClassUID") or self.text("RequestedSOPClassUID")

    @property
    def sop_instance_uid(self) -> str:
        """The SOP Instance that it is about, requested or affected."""
        return self.text("AffectedSOPInstanceUID") or self.text("RequestedSOPInstanceUID")


def encode_command(command: Command) -> bytes:
    """Encode a command set, group length first.

    Raises
    ------
    LocalProtocolError
        A keyword that is no command element, or a value that its VR can't hold.

    Source
    ------
    PS3.7 §6.3.1.
    """
    fields = command.fields
    parts = [b""]
    for keyword in sorted(fields, key=_element):
        element, vr = _ELEMENTS[keyword]
        if element:
            octets = _encode(keyword, vr, fields[keyword])
            parts += (_ELEMENT.pack(0, element, len(octets)), octets)
    parts[0] = _GROUP_LENGTH.pack(0, 0, 4, sum(map(len, parts)))
    return b"".join(parts)


def _element(keyword: str) -> int:
    if keyword not in _ELEMENTS:
        raise LocalProtocolError(f"{keyword} is no command element", section="PS3.7 §E.1")
    return _ELEMENTS[keyword][0]


def _encode(keyword: str, vr: str, value: Value) -> bytes:
    try:
        if vr in ("US", "UL") and isinstance(value, int):
            return value.to_bytes(2 if vr == "US" else 4, "little")
        if vr == "AT" and isinstance(value, tuple):
            return b"".join((tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little") for tag in value)
        if isinstance(value, str) and vr not in ("US", "UL", "AT"):
            octets = value.encode("ascii", "replace")[:64] if vr == "LO" else value.encode("ascii")
            if len(octets) <= (16 if vr == "AE" else 64):
                return octets + (b"\0" if vr == "UI" else b" ") * (len(octets) % 2)
    except (OverflowError, UnicodeError) as error:
        raise LocalProtocolError(f"{keyword} ({vr}) can't be {value!r}", section=_SECTION) from error
    raise LocalProtocolError(f"{keyword} ({vr}) can't be {value!r}", section=_SECTION)


def decode_command(octets: Octets) -> Command:
    """Decode a whole command set.

    Elements that nobody knows are passed over: retired ones still travel, and Orthanc puts the Failed SOP Instance UID
    List of a retrieve here, of another group though it is. The group length is not trusted.

    Raises
    ------
    RemoteProtocolError
        Cut short, a number of the wrong size, or no Command Field, Message ID, Command
        Data Set Type or (in a response) Status.

    Source
    ------
    PS3.7 §6.3.1, Annex E.1.
    """
    if len(octets) > MAX_COMMAND:
        raise RemoteProtocolError(f"a command set of {len(octets)} octets", section=_SECTION, offset=MAX_COMMAND)
    return _decoded(bytes(octets))


@lru_cache(maxsize=16)
def _decoded(octets: bytes) -> Command:
    """The pending responses of one operation are all alike, so the last few command sets are remembered."""
    fields: dict[str, Value] = {}
    at, size = 0, len(octets)
    while at < size:
        if at + 8 > size:
            raise RemoteProtocolError("cut inside the header of a command element", section=_SECTION, offset=at)
        group, element, length = _ELEMENT.unpack_from(octets, at)
        end = at + 8 + length
        if end > size:
            raise RemoteProtocolError(f"({group:04X},{element:04X}) is cut", section=_SECTION, offset=at)
        if group == 0 and element in _FIELDS:
            keyword, vr = _FIELDS[element]
            fields[keyword] = _decode(vr, octets[at + 8 : end], at)
        at = end
    code = fields.get("CommandField", 0)
    answers = isinstance(code, int) and (code & RESPONSE or code == _CANCEL)
    required = ("CommandField", "CommandDataSetType", "MessageIDBeingRespondedTo" if answers else "MessageID")
    for keyword in (*required, "Status") if answers and code != _CANCEL else required:
        if keyword not in fields:
            raise RemoteProtocolError(f"no {keyword} in a command set", section="PS3.7 §E.1", offset=at)
    return Command(fields)


def _decode(vr: str, octets: bytes, at: int) -> Value:
    if vr in ("US", "UL"):
        if len(octets) != (2 if vr == "US" else 4):
            raise RemoteProtocolError(f"a {vr} of {len(octets)} octets", section=_SECTION, offset=at)
        return int.from_bytes(octets, "little")
    if vr == "AT":
        if len(octets) % 4:
            raise RemoteProtocolError(f"an AT of {len(octets)} octets", section=_SECTION, offset=at)
        words = [int.from_bytes(octets[i : i + 2], "little") for i in range(0, len(octets), 2)]
        return tuple(high << 16 | low for high, low in zip(words[::2], words[1::2], strict=True))
    return octets.decode("latin-1").strip(" \0")
