"""Event reports as they travel over a notification connection: one data set of DICOM JSON each. No I/O.

Source
------
PS3.18 §11.13 (work item event reports), §8.10.5; PS3.7 Table 10.3-1 (N-EVENT-REPORT).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.workitem import EVENTS, UPS_PUSH, EventReport
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import decode, to_json, values_at

_SECTION = "PS3.18 §11.13"
_CLASS, _MESSAGE_ID, _INSTANCE, _EVENT_TYPE = 0x00000002, 0x00000110, 0x00001000, 0x00001002


def is_ae_title(text: str) -> bool:
    """Whether a text can be an AE title.

    Source
    ------
    PS3.5 §6.2.
    """
    return 0 < len(text.strip(" ")) <= 16 and text.isascii() and text.isprintable() and "\\" not in text


def event_to_json(event: EventReport, message_id: int) -> dict[str, Any]:
    """Write an event: command elements and Event Information in one object.

    Source
    ------
    PS3.18 §11.13.
    """
    command = {
        f"{_CLASS:08X}": {"vr": "UI", "Value": [UPS_PUSH]},
        f"{_MESSAGE_ID:08X}": {"vr": "US", "Value": [message_id]},
        f"{_INSTANCE:08X}": {"vr": "UI", "Value": [event.uid]},
        f"{_EVENT_TYPE:08X}": {"vr": "US", "Value": [event.event_type]},
    }
    return {**command, **to_json(event.information)}


def event_from_json(octets: bytes, receiver: str) -> EventReport:
    """Read an event.

    Raises
    ------
    RemoteProtocolError
        It is no event report.

    Source
    ------
    PS3.18 §11.13.
    """
    model = decode(octets)
    if isinstance(model, list) and len(model) == 1:
        model = model[0]
    if not isinstance(model, Mapping):
        raise RemoteProtocolError("a message over the notification connection is no data set", section=_SECTION)
    uid, kind = (next(iter(values_at(model, (tag,))), None) for tag in (_INSTANCE, _EVENT_TYPE))
    if not isinstance(uid, str) or not isinstance(kind, int) or isinstance(kind, bool):
        raise RemoteProtocolError("an event report names no instance or no event type", section=_SECTION)
    if kind not in EVENTS:
        raise RemoteProtocolError(f"{kind} is no event type of work items", section="PS3.4 Table CC.2.4-1")
    information = {tag: one for tag, one in model.items() if not tag.startswith("0000")}
    return EventReport(uid, kind, from_json(information), receiver)
