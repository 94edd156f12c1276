"""What a request for storage commitment and its answer hold, as the DICOM JSON Model. No I/O.

Source
------
PS3.18 §13 (Storage Commitment Service); PS3.4 Tables J.3-1, J.3-2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.commitment import INSTANCES_PER_TRANSACTION, PROCESSING_FAILURE, Committed, Reference
from dicomlab.web.json_model import values_at

_SECTION = "PS3.18 §13"
_REFERENCED, _FAILED = 0x00081199, 0x00081198
_CLASS, _INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197


def _item(one: Reference, reason: int | None = None) -> dict[str, Any]:
    item = {f"{_CLASS:08X}": {"vr": "UI", "Value": [one[0]]}, f"{_INSTANCE:08X}": {"vr": "UI", "Value": [one[1]]}}
    return item if reason is None else {**item, f"{_REASON:08X}": {"vr": "US", "Value": [reason]}}


def _sequence(tag: int, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {f"{tag:08X}": {"vr": "SQ", "Value": list(items)}} if items else {}


def _references(model: Mapping[str, Any], tag: int) -> Iterator[tuple[Reference, int]]:
    for item in values_at(model, (tag,)):
        if not isinstance(item, Mapping):
            raise RemoteProtocolError("an item of a sequence is no data set", section=_SECTION)
        found = [next(iter(values_at(item, (one,))), None) for one in (_CLASS, _INSTANCE, _REASON)]
        if not all(isinstance(one, str) and 0 < len(one) <= 64 for one in found[:2]):
            raise RemoteProtocolError("a reference without SOP Class UID or SOP Instance UID", section=_SECTION)
        reason = found[2] if isinstance(found[2], int) else PROCESSING_FAILURE
        yield (str(found[0]), str(found[1])), reason & 0xFFFF


def request_to_json(references: Sequence[Reference]) -> dict[str, Any]:
    """Write a request.

    Source
    ------
    PS3.18 §13, PS3.4 Table J.3-1.
    """
    return _sequence(_REFERENCED, [_item(one) for one in references])


def request_from_json(model: Mapping[str, Any]) -> tuple[Reference, ...]:
    """Read a request.

    Raises
    ------
    RemoteProtocolError
        It names no instance, one without its UIDs, or too many.

    Source
    ------
    PS3.18 §13, PS3.4 Table J.3-1.
    """
    found = tuple(dict.fromkeys(one for one, _ in _references(model, _REFERENCED)))
    if not found:
        raise RemoteProtocolError("a request for commitment names no instance", section=_SECTION)
    if len(found) > INSTANCES_PER_TRANSACTION:
        raise RemoteProtocolError(f"more than {INSTANCES_PER_TRANSACTION} instances", section=_SECTION)
    return found


def answer_to_json(result: Committed) -> dict[str, Any]:
    """Write an answer: which are safe, and why others are not. It has no Transaction UID: its address is that.

    Source
    ------
    PS3.18 §13, PS3.4 Table J.3-2.
    """
    failed = _sequence(_FAILED, [_item(one, reason) for one, reason in result.failed.items()])
    return {**failed, **_sequence(_REFERENCED, [_item(one) for one in result.committed])}


def answer_from_json(model: Any) -> Committed:
    """Read an answer.

    Raises
    ------
    RemoteProtocolError
        It is none.

    Source
    ------
    PS3.18 §13, PS3.4 Table J.3-2.
    """
    if isinstance(model, list) and len(model) == 1:
        model = model[0]
    if not isinstance(model, Mapping):
        raise RemoteProtocolError("the answer to a request for commitment is no data set", section=_SECTION)
    return Committed(tuple(one for one, _ in _references(model, _REFERENCED)), dict(_references(model, _FAILED)))
