"""The answer to a store request: what was stored, what was not, and why. Read and written; no I/O.

Source
------
PS3.18 Annex I (Store Instances Response Module), Tables I.2-1 and I.2-2.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.json_model import decode, values_at

_RETRIEVE_URL, _CLASS, _INSTANCE = 0x00081190, 0x00081150, 0x00081155
_REFERENCED, _FAILED, _OTHER = 0x00081199, 0x00081198, 0x0008119A
_WARNING, _REASON = 0x00081196, 0x00081197

OUT_OF_RESOURCES = 0xA700
DATA_SET_MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
SYNTAX_NOT_SUPPORTED = 0xC122
PROCESSING_FAILURE = 0x0110

_WORDS = {
    PROCESSING_FAILURE: "Processing failure",
    0x0111: "Duplicate SOP Instance",
    0x0112: "No such SOP Instance",
    0x0117: "Invalid SOP Instance",
    0x0122: "Referenced SOP Class not supported",
    0x0124: "Not authorized",
    SYNTAX_NOT_SUPPORTED: "Referenced Transfer Syntax not supported",
    0xB000: "Coercion of data elements",
    0xB006: "Elements discarded",
    0xB007: "Data set does not match SOP Class",
}
_FAMILIES = {0xA700: "Out of resources", 0xA900: "Data set does not match SOP Class", 0xC000: "Cannot understand"}


def words(code: int) -> str:
    """Print a reason as the standard does: ``"A700H Out of resources"``."""
    family = _FAMILIES.get(code & 0xFF00) or (_FAMILIES[0xC000] if code & 0xF000 == 0xC000 else "Failure")
    return f"{code & 0xFFFF:04X}H {_WORDS.get(code, family)}"


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance, or a part without usable UIDs, that was not stored."""

    reason: int
    sop_instance_uid: str = ""
    sop_class_uid: str = ""


@dataclass(slots=True)
class StoreAnswer:
    """``stored`` maps SOP Instance UID to the warning reason, None where there is none."""

    stored: dict[str, int | None] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    others: list[Failure] = field(default_factory=list)


def parse_store_answer(octets: bytes) -> StoreAnswer:
    """Read the answer to a store request.

    Raises
    ------
    RemoteProtocolError
        It is no data set in JSON.

    Source
    ------
    PS3.18 Table I.2-1.
    """
    found = decode(octets)
    if isinstance(found, list) and len(found) == 1:  # some servers wrap it
        found = found[0]
    if not isinstance(found, dict):
        raise RemoteProtocolError("the answer to a store request is no data set", section="PS3.18 Annex I", offset=0)
    answer = StoreAnswer()
    for item in _items(found, _REFERENCED):
        if uid := _text(item, _INSTANCE):
            answer.stored[uid] = _number(item, _WARNING)
    for item in _items(found, _FAILED):
        reason = _number(item, _REASON)
        failure = Failure(PROCESSING_FAILURE if reason is None else reason, _text(item, _INSTANCE), _text(item, _CLASS))
        answer.failed[failure.sop_instance_uid] = failure
    answer.others = [Failure(_number(item, _REASON) or PROCESSING_FAILURE) for item in _items(found, _OTHER)]
    return answer


def _items(found: Mapping[str, Any], tag: int) -> Iterable[Mapping[str, Any]]:
    return [item for item in values_at(found, (tag,)) if isinstance(item, dict)]


def _text(item: Mapping[str, Any], tag: int) -> str:
    values = values_at(item, (tag,))
    return str(values[0]) if values and values[0] is not None else ""


def _number(item: Mapping[str, Any], tag: int) -> int | None:
    values = values_at(item, (tag,))
    one = values[0] if values else None
    return one & 0xFFFF if isinstance(one, int) else None


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """An instance that was stored, and where it can be had from."""

    sop_class_uid: str
    sop_instance_uid: str
    retrieve_url: str
    warning: int | None = None


def build_store_answer(stored: Iterable[StoredInstance], failed: Iterable[Failure], study_url: str) -> dict[str, Any]:
    """Write the answer to a store request; sequences without items are left out.

    Source
    ------
    PS3.18 Table I.2-1, Table I.2-2.
    """
    answer: dict[str, Any] = {}
    if study_url:
        answer[f"{_RETRIEVE_URL:08X}"] = {"vr": "UR", "Value": [study_url]}
    failures = list(failed)
    named = [_failure(one) for one in failures if one.sop_instance_uid]
    unnamed = [_failure(one) for one in failures if not one.sop_instance_uid]
    good = [
        _item(
            UI=((_CLASS, one.sop_class_uid), (_INSTANCE, one.sop_instance_uid)),
            UR=((_RETRIEVE_URL, one.retrieve_url),),
            US=((_WARNING, one.warning),),
        )
        for one in stored
    ]
    for tag, items in ((_FAILED, named), (_REFERENCED, good), (_OTHER, unnamed)):
        if items:
            answer[f"{tag:08X}"] = {"vr": "SQ", "Value": items}
    return dict(sorted(answer.items()))


def _failure(one: Failure) -> dict[str, Any]:
    return _item(UI=((_CLASS, one.sop_class_uid), (_INSTANCE, one.sop_instance_uid)), US=((_REASON, one.reason),))


def _item(**by_vr: tuple[tuple[int, Any], ...]) -> dict[str, Any]:
    pairs = ((tag, vr, value) for vr, values in by_vr.items() for tag, value in values)
    return {f"{tag:08X}": {"vr": vr, "Value": [value]} for tag, vr, value in sorted(pairs) if value not in ("", None)}
