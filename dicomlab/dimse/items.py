"""The items inside A-ASSOCIATE PDUs, octets to values and back: names, and what two ends tell of themselves. No I/O.

Source
------
PS3.8 §9.3.2, Annex D (user information), PS3.7 Annex D.3 (extended negotiation).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import NamedTuple

from dicomlab.errors import RemoteProtocolError

_ITEM = Struct(">BxH")


class Role(NamedTuple):
    """SCP/SCU role selection of one SOP Class (PS3.7 §D.3.3.4)."""

    sop_class_uid: str
    scu: bool
    scp: bool


class Extended(NamedTuple):
    """SOP Class extended negotiation: what the octets mean is the service's affair (PS3.7 §D.3.3.5)."""

    sop_class_uid: str
    information: bytes


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
    other: tuple[tuple[int, bytes], ...] = ()
    """Items kept as they came, by type: user identity (58H, 59H) and those nobody knows."""


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
    items += [item(kind, octets) for kind, octets in user.other]
    return b"".join(items)


def _sized(uid: str) -> bytes:
    return len(uid).to_bytes(2, "big") + uid.encode("ascii")


def items(view: memoryview, at: int, base: int, section: str) -> Iterator[tuple[int, int, memoryview]]:
    """Walk items: type, octet of the body counted from the start of the PDU, body."""
    while at < len(view):
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
        else:
            other.append((kind, bytes(body)))
    return UserInformation(max_pdu, names[0x52], names[0x55], asynchronous, tuple(roles), tuple(extended), tuple(other))


def ascii_text(octets: bytes) -> str:
    """Text of the default repertoire, padding removed; what is not ASCII is made visible."""
    return octets.decode("ascii", "replace").strip(" \0")


def uid_text(body: memoryview, at: int) -> str:
    """A UID, leniently padded; anything longer than 64 characters or unprintable is an error."""
    text = ascii_text(bytes(body))
    if len(text) > 64 or not text.isascii() or not text.isprintable():
        raise RemoteProtocolError(f"{text[:80]!r} is no UID", section="PS3.5 §9", offset=at)
    return text
