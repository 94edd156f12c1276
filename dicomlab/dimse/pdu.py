"""The seven Protocol Data Units of the Upper Layer, octets to values and back. No I/O.

Strict about lengths, since everything after a wrong one is noise; lenient about reserved octets, which receivers
must not test. Items that nobody knows are kept, not refused.

Source
------
PS3.8 §9.3 (PDU structures), Annex D (user information items), PS3.7 Annex D.3 (extended negotiation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from struct import Struct
from typing import NamedTuple

from dicomlab.dimse.items import (
    UserInformation,
    ascii_text,
    decode_user,
    encode_user,
    item,
    items,
    secret_fields,
    uid_text,
)
from dicomlab.errors import RemoteProtocolError

APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"
MAX_ASSOCIATE = 1 << 20
"""Octets of an A-ASSOCIATE PDU beyond which it is called broken."""
MAX_CONTEXTS = 128
HEADER_OCTETS = 6
DATA_OVERHEAD = 6
"""Octets of a P-DATA-TF PDU that are no fragment: item length, context ID, message control header."""

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA_TF, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
PDU_NAMES = {
    ASSOCIATE_RQ: "A-ASSOCIATE-RQ",
    ASSOCIATE_AC: "A-ASSOCIATE-AC",
    ASSOCIATE_RJ: "A-ASSOCIATE-RJ",
    P_DATA_TF: "P-DATA-TF",
    RELEASE_RQ: "A-RELEASE-RQ",
    RELEASE_RP: "A-RELEASE-RP",
    ABORT: "A-ABORT",
}
COMMAND, LAST = 0x01, 0x02
"""Bits of the message control header (PS3.8 Annex E.2)."""

Octets = bytes | bytearray | memoryview

_HEADER = Struct(">BxL")
_ASSOCIATE = Struct(">Hxx16s16s32x")
_PDV = Struct(">LBB")
_DATA_HEADER = Struct(">BxLLBB")
_VERSION_1 = 1

_REJECT_REASONS = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
_ABORT_REASONS = {
    0: "reason not specified",
    1: "unrecognized PDU",
    2: "unexpected PDU",
    4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter",
    6: "invalid PDU parameter value",
}
_CONTEXT_RESULTS = {
    0: "acceptance",
    1: "user rejection",
    2: "no reason",
    3: "abstract syntax not supported",
    4: "transfer syntaxes not supported",
}


class ProposedContext(NamedTuple):
    """One presentation context of a request: a service, and the encodings offered for it."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


class AnsweredContext(NamedTuple):
    """The answer to one presentation context; ``transfer_syntax`` counts only where ``result`` is 0."""

    id: int
    result: int
    transfer_syntax: str

    @property
    def meaning(self) -> str:
        """The result in the standard's words (PS3.8 Table 9-18)."""
        return _CONTEXT_RESULTS.get(self.result, f"reserved result {self.result}")


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """A-ASSOCIATE-RQ."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    version: int = _VERSION_1


@dataclass(frozen=True, slots=True)
class AssociateAccept:
    """A-ASSOCIATE-AC."""

    called: str
    calling: str
    contexts: tuple[AnsweredContext, ...]
    user: UserInformation
    application_context: str = APPLICATION_CONTEXT
    version: int = _VERSION_1


@dataclass(frozen=True, slots=True)
class AssociateReject:
    """A-ASSOCIATE-RJ. ``result`` 1 is permanent, 2 transient."""

    result: int
    source: int
    reason: int

    @property
    def meaning(self) -> str:
        """The reason in the standard's words, or its number where reserved (PS3.8 Table 9-21)."""
        known = _REJECT_REASONS.get((self.source, self.reason), f"reserved reason {self.source}/{self.reason}")
        return f"{known} ({'permanent' if self.result == 1 else 'transient'})"


class PDV(NamedTuple):
    """A presentation data value: a fragment of a command set or of a data set."""

    context_id: int
    control: int
    fragment: Octets


@dataclass(frozen=True, slots=True)
class DataTransfer:
    """P-DATA-TF."""

    values: tuple[PDV, ...]


@dataclass(frozen=True, slots=True)
class ReleaseRequest:
    """A-RELEASE-RQ."""


@dataclass(frozen=True, slots=True)
class ReleaseReply:
    """A-RELEASE-RP."""


@dataclass(frozen=True, slots=True)
class Abort:
    """A-ABORT. ``source`` 0 is the service user, 2 the service provider; ``reason`` counts for the provider."""

    source: int = 0
    reason: int = 0

    @property
    def meaning(self) -> str:
        """Who aborted and why, in the standard's words (PS3.8 Table 9-26)."""
        if self.source == 0:
            return "by the service user"
        return f"by the service provider: {_ABORT_REASONS.get(self.reason, f'reserved reason {self.reason}')}"


PDU = AssociateRequest | AssociateAccept | AssociateReject | DataTransfer | ReleaseRequest | ReleaseReply | Abort


# --- encoding ------------------------------------------------------------------------------------------------------


def encode(pdu: PDU) -> bytes:
    """Encode one PDU, header included.

    Source
    ------
    PS3.8 §9.3.2 to §9.3.8.
    """
    match pdu:
        case AssociateRequest():
            return _pdu(ASSOCIATE_RQ, _associate(pdu, b"".join(map(_proposed, pdu.contexts))))
        case AssociateAccept():
            return _pdu(ASSOCIATE_AC, _associate(pdu, b"".join(map(_answered, pdu.contexts))))
        case AssociateReject():
            return _pdu(ASSOCIATE_RJ, bytes((0, pdu.result, pdu.source, pdu.reason)))
        case DataTransfer():
            return _pdu(P_DATA_TF, b"".join(_value(one) for one in pdu.values))
        case ReleaseRequest():
            return _pdu(RELEASE_RQ, bytes(4))
        case ReleaseReply():
            return _pdu(RELEASE_RP, bytes(4))
        case Abort():
            return _pdu(ABORT, bytes((0, 0, pdu.source, pdu.reason)))


def data_header(context_id: int, control: int, length: int) -> bytes:
    """The 12 octets that make `length` octets of a fragment a P-DATA-TF PDU with one value (PS3.8 §9.3.5)."""
    return _DATA_HEADER.pack(P_DATA_TF, length + DATA_OVERHEAD, length + 2, context_id, control)


def _pdu(kind: int, body: bytes) -> bytes:
    return _HEADER.pack(kind, len(body)) + body


def _associate(pdu: AssociateRequest | AssociateAccept, contexts: bytes) -> bytes:
    return (
        _ASSOCIATE.pack(pdu.version, _title(pdu.called), _title(pdu.calling))
        + item(0x10, pdu.application_context.encode("ascii"))
        + contexts
        + item(0x50, encode_user(pdu.user))
    )


def _title(text: str) -> bytes:
    return text.encode("ascii", "replace").ljust(16)  # of what came and is sent back, an octet may be no ASCII


def _proposed(context: ProposedContext) -> bytes:
    syntaxes = b"".join(item(0x40, uid.encode("ascii")) for uid in context.transfer_syntaxes)
    return item(0x20, bytes((context.id, 0, 0, 0)) + item(0x30, context.abstract_syntax.encode("ascii")) + syntaxes)


def _answered(context: AnsweredContext) -> bytes:
    syntax = item(0x40, context.transfer_syntax.encode("ascii"))
    return item(0x21, bytes((context.id, 0, context.result, 0)) + syntax)


def _value(pdv: PDV) -> bytes:
    return _PDV.pack(len(pdv.fragment) + 2, pdv.context_id, pdv.control) + bytes(pdv.fragment)


# --- decoding ------------------------------------------------------------------------------------------------------


def decode_header(octets: Octets, max_data: int, at: int = 0) -> tuple[int, int]:
    """Read type and length of a PDU from its first six octets, and refuse what may not be read on.

    Parameters
    ----------
    octets : bytes
        At least six, from `at` on.
    max_data : int
        Most octets of a P-DATA-TF PDU after the header: what we told the peer.
    at : int
        Where the PDU starts.

    Raises
    ------
    RemoteProtocolError
        No PDU type (offset 0), or longer than allowed (offset 2).

    Source
    ------
    PS3.8 §9.3.1, §D.1 (maximum length).
    """
    kind, length = _HEADER.unpack_from(octets, at)
    if kind == P_DATA_TF and length <= max_data:
        return kind, length
    if kind not in PDU_NAMES:
        hint = "; this looks like TLS" if kind in (0x15, 0x16) else "; this looks like HTTP" if kind == 0x48 else ""
        raise RemoteProtocolError(f"{kind:02X}H is no PDU type{hint}", section="PS3.8 §9.3.1", offset=0)
    limit = max_data if kind == P_DATA_TF else MAX_ASSOCIATE if kind <= ASSOCIATE_AC else 4
    if length > limit:
        raise RemoteProtocolError(
            f"a {PDU_NAMES[kind]} announces {length} octets, at most {limit} are allowed",
            section="PS3.8 §9.3.1",
            offset=2,
        )
    return kind, length


def decode(octets: Octets) -> PDU:
    """Decode one whole PDU, header included.

    Returns
    -------
    PDU
        Fragments of a P-DATA-TF are views into `octets`.

    Raises
    ------
    RemoteProtocolError
        Not exactly one PDU, or one whose lengths don't fit; ``offset`` counts from its first octet.

    Source
    ------
    PS3.8 §9.3.2 to §9.3.8.
    """
    view = memoryview(octets)
    if len(view) < HEADER_OCTETS:
        raise RemoteProtocolError("cut inside the header of a PDU", section="PS3.8 §9.3.1", offset=len(view))
    kind, length = decode_header(view, len(view))
    if length != len(view) - HEADER_OCTETS:
        raise RemoteProtocolError(
            f"length {length}, but {len(view) - HEADER_OCTETS} octets follow", section="PS3.8 §9.3.1", offset=2
        )
    if kind == ASSOCIATE_RQ:
        return _decode_request(view)
    if kind == ASSOCIATE_AC:
        return _decode_accept(view)
    if kind == P_DATA_TF:
        return DataTransfer(tuple(values(view)))
    if length != 4:
        raise RemoteProtocolError(f"length {length}, expected 4", section="PS3.8 §9.3.1", offset=2)
    if kind == ASSOCIATE_RJ:
        return AssociateReject(view[7], view[8], view[9])
    if kind == ABORT:
        return Abort(view[8], view[9])
    return ReleaseRequest() if kind == RELEASE_RQ else ReleaseReply()


def calling_title(octets: Octets) -> str:
    """The calling AE title of an A-ASSOCIATE-RQ, ``""`` if it is cut before that (PS3.8 §9.3.2)."""
    return ascii_text(bytes(octets[26:42]))


def without_secrets(octets: Octets) -> Octets:
    """One whole PDU as it may be kept: passcodes, tickets and tokens of a user identity become zeros.

    Of an A-ASSOCIATE PDU that can't be read, where one may be, only the fixed fields stay.

    Source
    ------
    PS3.7 §D.3.3.7, PS3.8 §9.3.2.
    """
    if not octets or octets[0] not in (ASSOCIATE_RQ, ASSOCIATE_AC):
        return octets
    start = HEADER_OCTETS + _ASSOCIATE.size
    after = bytes(octets[start:])
    if b"\x58" not in after and b"\x59" not in after:  # nothing that could begin such an item: most have none
        return octets
    kept = bytearray(octets)
    try:
        for kind, at, body in items(memoryview(bytes(octets)), start, 0, "PS3.8 §9.3.2"):
            for first, end in secret_fields(body) if kind == 0x50 else ():
                kept[at + first : at + end] = bytes(end - first)
    except (RemoteProtocolError, IndexError):
        kept[start:] = bytes(max(0, len(kept) - start))
    return kept


def values(octets: Octets) -> Iterator[PDV]:
    """Give the values of one whole P-DATA-TF PDU, fragments as views into `octets`.

    Raises
    ------
    RemoteProtocolError
        A value longer than the PDU, or shorter than its own header.

    Source
    ------
    PS3.8 §9.3.5, Annex E.2.
    """
    view = memoryview(octets)
    at = HEADER_OCTETS
    while at < len(view):
        context_id, control, start, at = value_at(view, at)
        yield PDV(context_id, control, view[start:at])


def value_at(octets: memoryview, at: int) -> tuple[int, int, int, int]:
    """Read the header of the value that starts at octet `at` of a P-DATA-TF PDU.

    Returns
    -------
    (int, int, int, int)
        Context ID, message control header, and where its fragment starts and ends.

    Raises
    ------
    RemoteProtocolError
        It is longer than the PDU, or shorter than its own header.

    Source
    ------
    PS3.8 §9.3.5.1, Annex E.2.
    """
    if at + 6 > len(octets):
        raise RemoteProtocolError("cut inside the header of a value", section="PS3.8 §9.3.5.1", offset=at)
    length, context_id, control = _PDV.unpack_from(octets, at)
    end = at + 4 + length
    if length < 2 or end > len(octets):
        raise RemoteProtocolError(f"a value of {length} octets can't be", section="PS3.8 §9.3.5.1", offset=at)
    return context_id, control, at + 6, end


def _decode_request(view: memoryview) -> AssociateRequest:
    contexts: list[ProposedContext] = []
    found = _associate_items(view)
    for at, body in found.contexts(0x20):
        names = dict[int, list[str]]({0x30: [], 0x40: []})
        for kind, start, part in items(body, 4, at, "PS3.8 §9.3.2.2"):
            names.setdefault(kind, []).append(uid_text(part, start))
        if len(names[0x30]) != 1 or not names[0x40]:
            raise RemoteProtocolError("no abstract or no transfer syntax", section="PS3.8 §9.3.2.2", offset=at)
        contexts.append(ProposedContext(body[0], names[0x30][0], tuple(names[0x40])))
    return AssociateRequest(*found.titles, tuple(contexts), found.user, found.application_context, found.version)


def _decode_accept(view: memoryview) -> AssociateAccept:
    contexts: list[AnsweredContext] = []
    found = _associate_items(view)
    for at, body in found.contexts(0x21):
        uids = [uid_text(part, start) for kind, start, part in items(body, 4, at, "PS3.8 §9.3.3.2") if kind == 0x40]
        if body[2] == 0 and not uids:
            raise RemoteProtocolError("accepted without a transfer syntax", section="PS3.8 §9.3.3.2", offset=at)
        contexts.append(AnsweredContext(body[0], body[2], uids[0] if uids else ""))
    return AssociateAccept(*found.titles, tuple(contexts), found.user, found.application_context, found.version)


@dataclass(slots=True)
class _Associate:
    """The parts that A-ASSOCIATE-RQ and -AC share."""

    version: int
    titles: tuple[str, str]
    items: list[tuple[int, int, memoryview]]
    application_context: str = ""
    user: UserInformation = field(default_factory=UserInformation)

    def contexts(self, wanted: int) -> Iterator[tuple[int, memoryview]]:
        """The presentation context items: where each starts, and its body."""
        chosen = [(at, body) for kind, at, body in self.items if kind == wanted]
        if len(chosen) > MAX_CONTEXTS:
            raise RemoteProtocolError(f"{len(chosen)} presentation contexts", section="PS3.8 §9.3.2.2", offset=74)
        for at, body in chosen:
            if len(body) < 4:
                raise RemoteProtocolError("a presentation context is cut", section="PS3.8 §9.3.2.2", offset=at)
            yield at, body


def _associate_items(view: memoryview) -> _Associate:
    if len(view) < HEADER_OCTETS + _ASSOCIATE.size:
        raise RemoteProtocolError("an A-ASSOCIATE PDU is cut", section="PS3.8 §9.3.2", offset=len(view))
    version, called, calling = _ASSOCIATE.unpack_from(view, HEADER_OCTETS)
    titles = (ascii_text(called), ascii_text(calling))
    found = _Associate(version, titles, list(items(view, HEADER_OCTETS + _ASSOCIATE.size, 0, "PS3.8 §9.3.2")))
    for kind, at, body in found.items:
        if kind == 0x10:
            found.application_context = uid_text(body, at)
        elif kind == 0x50:
            found.user = decode_user(body, at)
    return found


def numbered(syntaxes: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[ProposedContext, ...]:
    """Give presentation contexts their odd IDs (PS3.8 §9.3.2.2)."""
    return tuple(ProposedContext(2 * i + 1, uid, transfer) for i, (uid, transfer) in enumerate(syntaxes))
