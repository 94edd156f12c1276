"""What one raw value becomes, by its VR. Pure; :mod:`dicomlab.model.columns` says what the rules are.

Every reader takes text or a number and gives a cell, or raises ValueError or OverflowError with what is wrong.

Source
------
PS3.5 §6.2, Table 6.2-1 (value representations).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from math import isfinite

INTEGER = frozenset("""IS US UL SS SL SV UV""".split())
DECIMAL = frozenset("""DS FD FL""".split())
_LINES = frozenset("""LT ST UT""".split())

PADDING = " \0\t\r\n"
"""What may stand around a value and means nothing; a value of nothing else is absent."""

_UID = re.compile(r"[0-9.]{1,64}")
TAG_TEXT = re.compile(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?")

_DATE = re.compile(r"([0-9]{4})[.-]?([0-9]{2})[.-]?([0-9]{2})")
_TIME = re.compile(r"([0-9]{2}):?(?:([0-9]{2}):?(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_DATE_TIME = re.compile(
    r"([0-9]{4})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:([0-9]{2})(?:\.([0-9]{1,6}))?)?)?)?)?)?"
    r"(?:([+-])([0-9]{2})([0-9]{2}))?"
)
_ISO_DATE_TIME = re.compile(  # as tables print it
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[ T]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]{1,6})0*)?)?)?"
    r"(?:([+-])([0-9]{2}):?([0-9]{2}))?"
)


def _date(raw: object) -> datetime:
    found = _DATE.fullmatch(_plain(raw))
    if not found:
        raise ValueError("not a date (DA)")
    year, month, day = map(int, found.groups())
    return datetime(year, month, day)


def _time(raw: object) -> str:
    found = _TIME.fullmatch(_plain(raw))
    if not found:
        raise ValueError("not a time (TM)")
    hours, minutes, seconds, fraction = found.groups(default="00")
    if int(hours) > 23 or int(minutes) > 59 or int(seconds) > 60:
        raise ValueError("not a time of day (TM)")
    return f"{hours}:{minutes}:{seconds}.{fraction.ljust(6, '0')}"


def _date_time(raw: object) -> datetime:
    text = _plain(raw)
    found = _DATE_TIME.fullmatch(text) or _ISO_DATE_TIME.fullmatch(text)
    if not found:
        raise ValueError("not a date and time (DT)")
    *parts, fraction, sign, zone_hours, zone_minutes = found.groups()
    year, month, day, hour, minute, second = (
        int(p) if p else d for p, d in zip(parts, (1, 1, 1, 0, 0, 0), strict=True)
    )
    leap = second == 60  # a leap second is the next second: no clock of ours counts it
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, int((fraction or "").ljust(6, "0")))
    if leap:
        moment += timedelta(seconds=1)
    if sign:
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes)) * (1 if sign == "+" else -1)
        moment = moment.replace(tzinfo=timezone(offset)).astimezone(UTC).replace(tzinfo=None)
    return moment


_WHOLE_TEXT = re.compile(r"([+-]?[0-9]{1,20})(?:\.0*)?")
_RANGE_OFINTEGER = {"UV": (0, 2**64 - 1)}


def _integer(raw: object, vr: str) -> int:
    if isinstance(raw, float):
        if not raw.is_integer():
            raise ValueError("not a whole number")
        value = int(raw)
    else:
        found = _WHOLE_TEXT.fullmatch(_plain(raw))
        if not found:
            raise ValueError("not a whole number")
        value = int(found[1])
    low, high = _RANGE_OFINTEGER.get(vr, (-(2**63), 2**63 - 1))
    if not low <= value <= high:
        raise ValueError("out of range")
    return value


_DECIMAL_TEXT = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _decimal(raw: object) -> float:
    if isinstance(raw, int | float) and not isinstance(raw, bool):
        value = float(raw)
    else:
        text = _plain(raw)
        if not _DECIMAL_TEXT.fullmatch(text):
            raise ValueError("not a number")
        value = float(text)
    if not isfinite(value):
        raise ValueError("not a finite number")
    return value


def _person(raw: object) -> str:
    if isinstance(raw, Mapping):  # the DICOM JSON Model (PS3.18 §F.2.2)
        raw = raw.get("Alphabetic") or ""
    return _plain(_text(raw).split("=", 1)[0])


def _tag_value(raw: object) -> str:
    if isinstance(raw, int) and 0 <= raw <= 0xFFFFFFFF:
        return f"{raw:08X}"
    found = TAG_TEXT.fullmatch(_plain(raw))
    if not found:
        raise ValueError("not a tag (AT)")
    return (found[1] + found[2]).upper()


def _text(raw: object) -> str:
    """Text that every table can hold: what is no text is refused, and half a surrogate pair becomes ``?``."""
    if isinstance(raw, str):
        return raw if raw.isascii() else raw.encode("utf-8", "replace").decode()
    if isinstance(raw, bool | bytes | bytearray | memoryview | Mapping | list | tuple | set):
        raise ValueError("not a value of text")
    return str(raw)


def _plain(raw: object) -> str:
    return _text(raw).strip(PADDING)


def _lines(raw: object) -> str:
    return _text(raw).rstrip(" \0")


def uid_like(text: str) -> bool:
    """Whether it can be a UID: digits and dots, at most 64; what devices make breaks finer rules (PS3.5 §9.1)."""
    return _UID.fullmatch(text) is not None


def shown(raw: object) -> str:
    """Print the raw text of a value that could not be read, bounded."""
    try:
        return str(raw)[:200]
    except ValueError:  # Python prints no integer of more than 4300 digits
        return f"({type(raw).__name__})"


def reader(vr: str) -> Callable[[object], object]:
    """Give the reader of a VR."""
    if vr in INTEGER:
        return lambda raw: _integer(raw, vr)
    if vr in DECIMAL:
        return _decimal
    if vr in _LINES:
        return _lines
    return {"DA": _date, "TM": _time, "DT": _date_time, "PN": _person, "AT": _tag_value}.get(vr, _plain)
