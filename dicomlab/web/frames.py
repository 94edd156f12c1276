"""The frames of a WebSocket on the wire, each field with its octets and what it is for, for people to read.

Source
------
RFC 6455 §5.2 (frame), PS3.18 §11.13 (work item event reports).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.reading import Direction, Field, Reading
from dicomlab.model.workitem import EVENT_ATTRIBUTES, EVENTS
from dicomlab.model.workitem_attributes import text
from dicomlab.web.dissect import dissect
from dicomlab.web.event_reports import event_from_json
from dicomlab.web.fields import HttpReader
from dicomlab.web.json_model import decode

_OPCODES = {0: "continuation", 1: "text", 2: "binary", 8: "close", 9: "ping", 10: "pong"}
_STATES = ("ProcedureStepState", "InputReadinessState")
MAX_FRAMES = 100


@dataclass(frozen=True, slots=True)
class WireFrame:
    """One frame, or the part of it that is there: where its parts lie."""

    opcode: int
    fin: bool
    start: int
    head: int
    """Octets of its head."""
    size: int
    """Octets of its payload, as the head says."""
    payload: bytes
    """What is there of it, unmasked."""


def frames(octets: bytes) -> Iterator[WireFrame]:
    """Read frames from their first octet on; what is left, or is none, ends it."""
    at = 0
    for _ in range(MAX_FRAMES):
        if len(octets) - at < 2 or octets[at] & 0x0F not in _OPCODES:
            return
        size, head = octets[at + 1] & 0x7F, 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size = int.from_bytes(octets[at + 2 : at + 2 + extended], "big")
            head += extended
        mask = octets[at + head : at + head + 4] if octets[at + 1] & 0x80 else b""
        head += len(mask)
        payload = octets[at + head : at + head + size]
        if mask:
            payload = bytes(one ^ mask[place % len(mask)] for place, one in enumerate(payload))
        yield WireFrame(octets[at] & 0x0F, bool(octets[at] & 0x80), at, head, size, payload)
        at += head + size


def dissect_frames(octets: bytes) -> str:
    """Say in one line what a tapped run of octets is: a head of the handshake, or frames."""
    if octets[:4] in (b"GET ", b"HTTP"):
        return dissect(octets)
    found = [_said(one) for one in frames(octets)]
    return f"frame: {'; '.join(found)[:280]}" if found else f"frame: {len(octets):,} octets more"


def _said(frame: WireFrame) -> str:
    if frame.opcode in (1, 2) and frame.fin and len(frame.payload) == frame.size:
        try:
            event = event_from_json(frame.payload, "")
        except RemoteProtocolError:
            pass
        else:
            return f"{event.name} of {event.uid[:64]}"
    return f"{_OPCODES[frame.opcode]}, {frame.size:,} octets"


class WebSocketReader:
    """Reads the messages of one notification connection. Never fails, whatever they are."""

    def __init__(self) -> None:
        self._http = HttpReader()

    def __call__(self, direction: Direction, octets: bytes) -> Reading:
        """Read the next run of octets: a head of the handshake, or frames."""
        if octets[:4] in (b"GET ", b"HTTP"):
            return self._http(direction, octets)
        found = list(frames(octets))
        fields = tuple(_fields(one) for one in found)
        private = tuple((one.start + one.head, min(one.start + one.head + one.size, len(octets))) for one in found)
        who = "The server" if direction == "received" else "The client"
        sentence = f"{who} sends {_said(found[0])} (PS3.18 §8.10.5)." if found else ""
        return Reading(dissect_frames(octets), fields, "", sentence, private or ((0, len(octets)),))


def _fields(frame: WireFrame) -> Field:
    start, end = frame.start, frame.start + frame.head + len(frame.payload)
    body = frame.start + frame.head
    children = [
        Field("FIN", "1" if frame.fin else "0", "whether it ends the message", "RFC 6455 §5.2", start, start + 1),
        Field("Opcode", str(frame.opcode), _OPCODES[frame.opcode], "RFC 6455 §5.2", start, start + 1),
        Field("Payload length", str(frame.size), "octets", "RFC 6455 §5.2", start + 1, body),
    ]
    if frame.opcode in (1, 2):
        children += _event_fields(frame.payload, body)
    return Field("Frame", _OPCODES[frame.opcode], "", "RFC 6455 §5.2", start, end, tuple(children))


def _event_fields(payload: bytes, at: int) -> list[Field]:
    end = at + len(payload)
    try:
        event = event_from_json(payload, "")
    except RemoteProtocolError:
        return [Field("Payload", f"{len(payload)} octets", "", "RFC 6455 §5.2", at, end)]
    model = decode(payload)
    model = model[0] if isinstance(model, list) else model
    said = ((keyword, text(model, keyword)) for keyword in EVENT_ATTRIBUTES[event.event_type])
    return [
        Field("Event Type ID", str(event.event_type), EVENTS[event.event_type], "PS3.4 Table CC.2.4-1", at, end),
        Field("Affected SOP Instance UID", event.uid[:64], "the work item", "PS3.7 §10.3.1", at, end),
        *(
            Field(keyword, value[:64], "", "PS3.4 Table CC.2.4-1", at, end, (), keyword not in _STATES)
            for keyword, value in said
            if value and not keyword.endswith("Sequence")
        ),
    ]
