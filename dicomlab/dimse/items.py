"""The items inside A-ASSOCIATE PDUs, octets to values and back: names, and what two ends tell of themselves. No I/O.

Source
------
PS3.8 §9.3.2, Annex D (user information), PS3.7 Annex D.3 (extended negotiation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from dicomlab.errors import RemoteProtocolError

_ITEM = Struct(">BxH")


MAX_ITEMS = 1024
"""Items in a row: of a PDU (128 contexts and a few), of a context (its transfer syntaxes), of the user information."""


class Role(NamedTuple):
    """SCP/SCU role selection of one SOP Class (PS3.7 §D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


class Extended(NamedTuple):
    """SOP Class extended negotiation: what the octets mean is the service's affair (PS3.7 §D.3.3.5)."""

    sop_class_uid: str
    information: bytes


class CommonExtended(NamedTuple):
    """SOP Class common extended negotiation: what a SOP Class that few know is a kind of (PS3.7 §D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    general_sop_class_uids: tuple[str, ...] = ()


IDENTITY_TYPES = {1: "user name", 2: "user name and passcode", 3: "Kerberos ticket", 4: "SAML assertion", 5: "JWT"}
"""User identity types (PS3.7 Table D.3-14)."""


@dataclass(frozen=True, slots=True, repr=False)
class Identity:
    """Who the user is, as the requestor says (PS3.7 §D.3.3.7). Its repr holds no name and no secret.

    Attributes
    ----------
    kind : int
        1 user name, 2 user name and passcode, 3 Kerberos service ticket, 4 SAML assertion, 5 JSON Web Token.
    primary : bytes
        The user name (UTF-8), the ticket, the assertion or the token.
    secondary : bytes
        The passcode; empty but for kind 2.
    wants_answer : bool
        Whether the requestor asks the acceptor to say that it has seen this.
    """

    kind: int
    primary: bytes
    secondary: bytes = b""
    wants_answer: bool = False

    @property
    def user(self) -> str:
        """The user name of kinds 1 and 2, ``""`` for the others."""
        return self.primary.decode("utf-8", "replace") if self.kind in (1, 2) else ""

    @property
    def passcode(self) -> str:
        """The passcode of kind 2, ``""`` for the others."""
        return self.secondary.decode("utf-8", "replace")

    def __repr__(self) -> str:
        return f"<Identity: {IDENTITY_TYPES.get(self.kind, f'type {self.kind}')}>"


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What two ends tell each other about themselves (PS3.8 Annex D, PS3.7 Annex D.3)."""

    max_pdu: int = 0
    """Most octets of a P-DATA-TF PDU after its header that the sender of this item takes; 0 = no limit."""
    implementation_class_uid: str = ""
    implementation_version_name: str = ""
    asynchronous: tuple[int, int] | None = None
    """Operations invoked and performed at a time; None where not negotiated, which is 1 and 1."""
    roles: tuple[Role, ...] = ()
    extended: tuple[Extended, ...] = ()
    common: tuple[CommonExtended, ...] = ()
    identity: Identity | None = None
    """Who the user is; in a request only."""
    identity_answer: bytes | None = field(default=None, repr=False)
    """What the acceptor says to that: nothing for names, a ticket or an assertion of its own for the other kinds."""
    other: tuple[tuple[int, bytes], ...] = ()
    """Items that nobody knows, kept as they came, by type."""

    def extended_for(self, sop_class_uid: str) -> bytes:
        """The extended negotiation of one SOP Class, empty where there is none."""
        return next((one.information for one in self.extended if one.sop_class_uid == sop_class_uid), b"")


def item(kind: int, body: bytes) -> bytes:
    """Encode one item: type, length, body."""
    return _ITEM.pack(kind, len(body)) + body


def encode_user(user: UserInformation) -> bytes:
    """Encode the body of the user information item (PS3.8 §D.1, PS3.7 §D.3.3)."""
    items = [item(0x51, user.max_pdu.to_bytes(4, "big")), item(0x52, user.implementation_class_uid.encode("ascii"))]
    if user.asynchronous is not None:
        items.append(item(0x53, b"".join(n.to_bytes(2, "big") for n in user.asynchronous)))
    items += [item(0x54, _sized(r.sop_class_uid) + bytes((r.scu, r.scp))) for r in user.roles]
    if user.implementation_version_name:
        items.append(item(0x55, user.implementation_version_name.encode("ascii")))
    items += [item(0x56, _sized(e.sop_class_uid) + e.information) for e in user.extended]
    items += [item(0x57, _common(one)) for one in user.common]
    if user.identity is not None:
        who = user.identity
        items.append(item(0x58, bytes((who.kind, who.wants_answer)) + _counted(who.primary) + _counted(who.secondary)))
    if user.identity_answer is not None:
        items.append(item(0x59, _counted(user.identity_answer)))
    items += [item(kind, octets) for kind, octets in user.other]
    return b"".join(items)


def _common(one: CommonExtended) -> bytes:
    general = b"".join(map(_sized, one.general_sop_class_uids))
    return _sized(one.sop_class_uid) + _sized(one.service_class_uid) + _counted(general)


def _sized(uid: str) -> bytes:
    return _counted(uid.encode("ascii"))


def _counted(octets: bytes) -> bytes:
    return len(octets).to_bytes(2, "big") + octets


def items(view: memoryview, at: int, base: int, section: str) -> Iterator[tuple[int, int, memoryview]]:
    """Walk items: type, octet of the body counted from the start of the PDU, body."""
    count = 0
    while at < len(view):
        count += 1
        if count > MAX_ITEMS:  # each is an object here, of many times its octets there
            raise RemoteProtocolError(f"more than {MAX_ITEMS} items", section=section, offset=base + at)
        if at + 4 > len(view):
            raise RemoteProtocolError("cut inside the header of an item", section=section, offset=base + at)
        kind, length = _ITEM.unpack_from(view, at)
        if at + 4 + length > len(view):
            raise RemoteProtocolError(
                f"item {kind:02X}H announces {length} octets, {len(view) - at - 4} are there",
                section=section,
                offset=base + at + 2,
            )
        yield kind, base + at + 4, view[at + 4 : at + 4 + length]
        at += 4 + length


def decode_user(view: memoryview, base: int) -> UserInformation:
    """Decode the body of the user information item, which starts at octet `base` of the PDU."""
    section = "PS3.7 §D.3.3"
    max_pdu, names, asynchronous = 0, {0x52: "", 0x55: ""}, None
    roles: list[Role] = []
    extended: list[Extended] = []
    common: list[CommonExtended] = []
    identity: Identity | None = None
    answer: bytes | None = None
    other: list[tuple[int, bytes]] = []
    for kind, at, body in items(view, 0, base, section):
        if kind in (0x51, 0x53):
            if len(body) != 4:
                raise RemoteProtocolError(f"item {kind:02X}H has {len(body)} octets, not 4", section=section, offset=at)
            if kind == 0x51:
                max_pdu = int.from_bytes(body, "big")
            else:
                asynchronous = (int.from_bytes(body[:2], "big"), int.from_bytes(body[2:], "big"))
        elif kind in names:
            names[kind] = ascii_text(bytes(body))
        elif kind in (0x54, 0x56):
            end = 2 + int.from_bytes(body[:2], "big")
            if end > len(body) or (kind == 0x54 and end + 2 != len(body)):
                raise RemoteProtocolError(f"item {kind:02X}H: its UID doesn't fit", section=section, offset=at)
            uid = uid_text(body[2:end], at + 2)
            if kind == 0x54:
                roles.append(Role(uid, body[end] == 1, body[end + 1] == 1))
            else:
                extended.append(Extended(uid, bytes(body[end:])))
        elif kind == 0x57:
            common.append(_read_common(body, at))
        elif kind == 0x58:
            primary, end = _counted_at(body, 2, at)
            secondary, end = _counted_at(body, end, at)
            identity = Identity(body[0], primary, secondary, body[1] == 1)
        elif kind == 0x59:
            answer, _ = _counted_at(body, 0, at)
        else:
            other.append((kind, bytes(body)))
    return UserInformation(
        max_pdu,
        names[0x52],
        names[0x55],
        asynchronous,
        tuple(roles),
        tuple(extended),
        tuple(common),
        identity,
        answer,
        tuple(other),
    )


def _read_common(body: memoryview, at: int) -> CommonExtended:
    uid, end = _counted_at(body, 0, at)
    service, end = _counted_at(body, end, at)
    general, _ = _counted_at(body, end, at)
    view, place = memoryview(general), 0
    uids: list[str] = []
    while place < len(view):
        one, place = _counted_at(view, place, at)
        uids.append(uid_text(memoryview(one), at))
    return CommonExtended(uid_text(memoryview(uid), at), uid_text(memoryview(service), at), tuple(uids))


def _counted_at(body: memoryview, start: int, at: int) -> tuple[bytes, int]:
    """A field with its length before it, and where it ends."""
    first = start + 2
    end = first + int.from_bytes(body[start:first], "big")
    if first > len(body) or end > len(body):
        raise RemoteProtocolError("a field is longer than its item", section="PS3.7 §D.3.3", offset=at + start)
    return bytes(body[first:end]), end


def secret_fields(view: memoryview) -> Iterator[tuple[int, int]]:
    """Where in the body of the user information item secrets stand: passcodes, tickets, assertions, tokens.

    Source
    ------
    PS3.7 §D.3.3.7.
    """
    for kind, at, body in items(view, 0, 0, "PS3.7 §D.3.3"):
        if kind == 0x58:
            _, end = _counted_at(body, 2, at)
            start = end if body[0] == 2 else len(body) if body[0] == 1 else 2  # the length stays, the field goes
            if start < len(body):
                yield at + start + 2, at + len(body)
        elif kind == 0x59:
            yield at + 2, at + len(body)


def ascii_text(octets: bytes) -> str:
    """Text of the default repertoire, padding removed; what is not ASCII, or a control character, is made visible."""
    text = octets.decode("ascii", "replace").strip(" \0")
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)


def uid_text(body: memoryview, at: int) -> str:
    """A UID, leniently padded; anything longer than 64 characters or unprintable is an error."""
    text = ascii_text(bytes(body))
    if len(text) > 64 or not text.isascii() or not text.isprintable():
        raise RemoteProtocolError(f"{text[:80]!r} is no UID", section="PS3.5 §9", offset=at)
    return text
