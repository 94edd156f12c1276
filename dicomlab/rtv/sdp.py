"""Session descriptions: which flows there are, where they go, and how to read them. No I/O.

Source
------
RFC 8866 (SDP), RFC 4570 (source-filter), RFC 5888 and 7104 (mid, group:DUP), RFC 7273 (ts-refclk, mediaclk), RFC 8285
§5 (extmap); SMPTE ST 2110-10 §8; PS3.22 §6.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from dicomlab.errors import LocalProtocolError, RemoteProtocolError, UsageError
from dicomlab.rtv.extension import URIS

MAX_CHARACTERS = 1 << 16
MAX_MEDIA = 64
_SECTION = "RFC 8866 §5"
_STATIC = {10: ("L16", 44100, 2), 11: ("L16", 44100, 1)}
"""Payload types that need no rtpmap (RFC 3551 §6)."""
_TAKEN = {"rtpmap", "fmtp", "source-filter", "extmap", "mid", "ts-refclk", "mediaclk", "ptime", "group"}


@dataclass(frozen=True, slots=True)
class Media:
    """One media section: one RTP stream.

    Attributes
    ----------
    kind : str
        ``"video"``, ``"audio"`` or ``"application"``.
    address : str
        Where the packets go: a multicast group, or the receiver.
    sources : tuple of str
        Addresses of the senders to take packets from (RFC 4570); empty: anybody.
    encoding : str
        As in rtpmap: ``"raw"``, ``"L24"``, ``"dicom"``.
    parameters : mapping
        Of fmtp; a flag has the value ``""``.
    extmap : mapping of int to str
        Id of a header extension element to its URI, without its attributes.
    attributes : tuple of (name, value)
        All others, as they stand.
    """

    kind: str
    port: int
    payload_type: int
    address: str = "127.0.0.1"
    encoding: str = ""
    clock_rate_hz: int = 90_000
    channels: int = 1
    ttl: int | None = None
    sources: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    extmap: Mapping[int, str] = field(default_factory=dict)
    mid: str = ""
    reference_clock: str = ""
    media_clock: str = ""
    packet_time_ms: float | None = None
    attributes: tuple[tuple[str, str], ...] = ()

    @property
    def extension_ids(self) -> dict[str, int] | None:
        """Item of the header extension to id; None where the SDP names none of them."""
        items = {uri: item for item, uri in URIS.items()}
        return {items[uri]: number for number, uri in self.extmap.items() if uri in items} or None

    @property
    def clock_offset(self) -> int:
        """Ticks that ``mediaclk:direct=`` adds to the RTP timestamp of an instant."""
        found = re.match(r"direct=(\d{1,10})", self.media_clock)
        return int(found[1]) & 0xFFFFFFFF if found else 0

    @property
    def multicast(self) -> bool:
        """Whether it goes to a group."""
        return ip_address(self.address).is_multicast


@dataclass(frozen=True, slots=True)
class Session:
    """A session description. ``groups`` holds (semantics, mids), as ``("DUP", ("V1", "V2"))``."""

    media: tuple[Media, ...]
    name: str = "-"
    session_id: int = 0
    version: int = 0
    origin_address: str = "127.0.0.1"
    groups: tuple[tuple[str, tuple[str, ...]], ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def streams(self) -> Iterator[tuple[Media, ...]]:
        """Each stream with all its paths: media sections that ``group:DUP`` joins are copies of one."""
        by_mid = {one.mid: one for one in self.media if one.mid}
        copies = [tuple(by_mid[mid] for mid in mids if mid in by_mid) for kind, mids in self.groups if kind == "DUP"]
        done: set[int] = set()
        for one in self.media:
            together = next((group for group in copies if one in group), (one,))
            if id(together[0]) not in done:
                done.add(id(together[0]))
                yield together

    def __str__(self) -> str:
        return write_sdp(self)


def write_sdp(session: Session) -> str:
    """Write a session description, with CRLF.

    Raises
    ------
    LocalProtocolError
        A text that would break its line, a port or a payload type that can't be.

    Source
    ------
    RFC 8866 §5; ST 2110-10 §8.1.
    """
    family = _family(session.origin_address)
    lines = [
        "v=0",
        f"o=- {session.session_id} {session.version} IN {family} {session.origin_address}",
        f"s={session.name or '-'}",
        "t=0 0",
        *(f"a=group:{kind} {' '.join(mids)}" for kind, mids in session.groups),
        *(_attribute(name, value) for name, value in session.attributes),
    ]
    for media in session.media:
        lines += _media_lines(media)
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise LocalProtocolError("a line end inside a line of SDP", section=_SECTION)
    return "\r\n".join(lines) + "\r\n"


def _attribute(name: str, value: str) -> str:
    return f"a={name}:{value}" if value else f"a={name}"


def _family(address: str) -> str:
    return "IP6" if ":" in address else "IP4"


def _media_lines(media: Media) -> Iterator[str]:
    if not 0 < media.port < 65536 or not 0 <= media.payload_type < 128:
        raise LocalProtocolError(f"port {media.port}, payload type {media.payload_type}", section=_SECTION)
    number, family = media.payload_type, _family(media.address)
    yield f"m={media.kind} {media.port} RTP/AVP {number}"
    yield f"c=IN {family} {media.address}" + (f"/{media.ttl}" if media.ttl is not None and family == "IP4" else "")
    if media.sources:
        yield f"a=source-filter: incl IN {family} {media.address} {' '.join(media.sources)}"
    channels = f"/{media.channels}" if media.kind == "audio" else ""
    yield f"a=rtpmap:{number} {media.encoding}/{media.clock_rate_hz}{channels}"
    if media.parameters:
        words = (f"{name}={value}" if value else name for name, value in media.parameters.items())
        yield f"a=fmtp:{number} {'; '.join(words)}"
    if media.packet_time_ms is not None:
        yield f"a=ptime:{media.packet_time_ms:g}"
    yield from (f"a=extmap:{one} {uri}" for one, uri in media.extmap.items())
    if media.reference_clock:
        yield f"a=ts-refclk:{media.reference_clock}"
    if media.media_clock:
        yield f"a=mediaclk:{media.media_clock}"
    yield from (_attribute(name, value) for name, value in media.attributes)
    if media.mid:
        yield f"a=mid:{media.mid}"


# ------------------------------------------------------------------------------------------------------------ parsing


def parse_sdp(text: str) -> Session:
    """Parse a session description; what it does not know it keeps or passes over.

    Raises
    ------
    RemoteProtocolError
        No session description, no media section, or one of more than 65,536 characters.

    Source
    ------
    RFC 8866 §5, §9.
    """
    if len(text) > MAX_CHARACTERS:
        raise RemoteProtocolError(f"a session description of {len(text)} characters", section=_SECTION)
    lines = [line for line in re.split(r"\r\n|\n|\r", text) if line.strip()]
    if not lines or lines[0].strip() != "v=0":
        raise RemoteProtocolError("no session description: it does not begin with v=0", section=_SECTION, offset=0)
    starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
    if not starts or len(starts) > MAX_MEDIA:
        raise RemoteProtocolError(f"{len(starts)} media sections", section=_SECTION)
    head = list(_fields(lines[: starts[0]]))
    parts = [lines[at:end] for at, end in zip(starts, [*starts[1:], None], strict=True)]
    shared = _named(head)
    origin = next((value.split() for kind, value in head if kind == "o"), [])
    kept = tuple((name, value) for name, value in _attributes(head) if name not in _TAKEN)
    groups = [value.split() for name, value in _attributes(head) if name == "group"]
    return Session(
        media=tuple(_media(list(_fields(part)), head, shared) for part in parts),
        name=next((value.strip() for kind, value in head if kind == "s"), "-"),
        session_id=_number(origin[1]) if len(origin) == 6 else 0,
        version=_number(origin[2]) if len(origin) == 6 else 0,
        origin_address=origin[5] if len(origin) == 6 else "127.0.0.1",
        groups=tuple((words[0], tuple(words[1:])) for words in groups if words),
        attributes=kept,
    )


def _fields(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        kind, equals, value = line.partition("=")
        if len(kind) == 1 and equals:
            yield kind, value.rstrip()


def _attributes(fields: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for kind, value in fields:
        if kind == "a":
            name, _, rest = value.partition(":")
            yield name.strip(), rest.strip()


def _named(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Attributes by name; of one that comes twice the first."""
    found: dict[str, str] = {}
    for name, value in _attributes(fields):
        found.setdefault(name, value)
    return found


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"[0-9]{1,20}", text) else 0


def _media(fields: list[tuple[str, str]], head: list[tuple[str, str]], shared: Mapping[str, str]) -> Media:
    found = re.fullmatch(r"(\S+)\s+(\d{1,5})(?:/\d+)?\s+(\S+)((?:\s+\d{1,3})+)", fields[0][1]) if fields else None
    if not found or not found[3].upper().startswith("RTP/"):
        raise RemoteProtocolError(f"no media of RTP: {fields[0][1][:80]!r}", section=f"{_SECTION}.14")
    formats = [int(one) for one in found[4].split()]
    own = {**shared, **_named(fields)}
    number, encoding, clock, channels = _rtpmap(fields, formats)
    address, ttl = _connection(fields, head)
    port = int(found[2])
    if not 0 < port < 65536 or number > 127:
        raise RemoteProtocolError(f"port {port}, payload type {number}", section=f"{_SECTION}.14")
    ptime = re.fullmatch(r"\d{1,5}(\.\d{1,6})?", own.get("ptime", ""))
    return Media(
        kind=found[1].lower(),
        port=port,
        payload_type=number,
        address=address,
        encoding=encoding,
        clock_rate_hz=clock,
        channels=channels,
        ttl=ttl,
        sources=_sources(own.get("source-filter", ""), address),
        parameters=_parameters(fields, number),
        extmap=_extmap([*head, *fields]),
        mid=own.get("mid", ""),
        reference_clock=own.get("ts-refclk", ""),
        media_clock=own.get("mediaclk", ""),
        packet_time_ms=float(ptime[0]) if ptime else None,
        attributes=tuple((name, value) for name, value in _attributes(fields) if name not in _TAKEN),
    )


def _rtpmap(fields: list[tuple[str, str]], formats: list[int]) -> tuple[int, str, int, int]:
    for name, value in _attributes(fields):
        found = re.match(r"(\d{1,3})\s+([^/\s]+)/(\d{1,9})(?:/(\d{1,3}))?", value) if name == "rtpmap" else None
        if found and int(found[1]) in formats and int(found[3]):
            return int(found[1]), found[2], int(found[3]), int(found[4] or 1)
    for number in formats:
        if number in _STATIC:
            return (number, *_STATIC[number])
    raise RemoteProtocolError(f"no rtpmap for payload type {formats[0]}", section="RFC 8866 §6.6")


def _connection(fields: list[tuple[str, str]], head: list[tuple[str, str]]) -> tuple[str, int | None]:
    for kind, value in [*fields, *head]:
        if kind != "c":
            continue
        words = value.split()
        if len(words) == 3:
            address, _, rest = words[2].partition("/")
            try:
                return str(ip_address(address)), int(rest.partition("/")[0]) if rest and ":" not in address else None
            except ValueError as error:
                what = f"no address that can be received on: {value[:80]!r}"
                raise RemoteProtocolError(what, section="RFC 8866 §5.7") from error
    raise RemoteProtocolError("a media section without an address (c=)", section="RFC 8866 §5.7")


def _sources(value: str, address: str) -> tuple[str, ...]:
    words = value.split()
    if len(words) < 5 or words[0].lower() != "incl" or words[3] not in ("*", address):
        return ()
    try:
        return tuple(str(ip_address(word)) for word in words[4:])
    except ValueError as error:
        raise RemoteProtocolError(f"source-filter {value[:80]!r}", section="RFC 4570 §3") from error


def _parameters(fields: list[tuple[str, str]], number: int) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _attributes(fields):
        which, _, rest = value.partition(" ")
        if name == "fmtp" and which == str(number):
            for word in filter(None, (one.strip() for one in rest.split(";"))):
                key, _, content = word.partition("=")
                found.setdefault(key.strip(), content.strip())
    return found


def _extmap(fields: list[tuple[str, str]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for name, value in _attributes(fields):
        match = re.match(r"(\d{1,5})(?:/\w+)?\s+(\S+)", value) if name == "extmap" else None
        if match:
            found[int(match[1])] = match[2]
    return found


def joined(sessions: Iterable[Session]) -> Session:
    """Join the descriptions of several flows, one SDP object each, as ST 2110-10 has it, to one.

    A ``mid`` is unique in its own description only: where two use the same, as many senders do, they are numbered.

    Raises
    ------
    UsageError
        There are none.

    Source
    ------
    ST 2110-10 §8.
    """
    every = list(sessions)
    if not every:
        raise UsageError("no session description")
    mids = [one.mid for session in every for one in session.media if one.mid]
    if len(set(mids)) < len(mids):
        every = [_renamed(session, f"{number}-") for number, session in enumerate(every, 1)]
    media = tuple(one for session in every for one in session.media)
    groups = tuple(group for session in every for group in session.groups)
    return replace(every[0], media=media, groups=groups)


def _renamed(session: Session, before: str) -> Session:
    media = tuple(replace(one, mid=before + one.mid) if one.mid else one for one in session.media)
    groups = tuple((kind, tuple(before + mid for mid in mids)) for kind, mids in session.groups)
    return replace(session, media=media, groups=groups)
