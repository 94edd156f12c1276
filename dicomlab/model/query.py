"""A query: which level, which attributes must match how, which to return. Checked whole before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from itertools import product
from math import prod
from typing import Any, Literal, Self

from pydicom.valuerep import PersonName

from dicomlab.errors import UsageError
from dicomlab.model.columns import LEVELS, Column, Level, column, columns, format_tag, read, standard_columns
from dicomlab.model.options import options
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.values import DECIMAL, INTEGER, uid_like

MAX_QUERIES = 10_000
"""What several lists may multiply to."""

Matching = Literal["universal", "single", "wildcard", "range", "list"]
"""Attribute Matching (PS3.4 §C.2.2.2): single value, list of UID, universal, wild card, range."""

_WILD = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_RANGED = ("DA", "TM", "DT")
_NO_LIST = (str, bytes, bytearray, memoryview, Mapping, PersonName)
"""What can be iterated and yet is one value, or none at all."""
_NEARER = {
    ("Modality", "study"): "ModalitiesInStudy",
    ("SOPClassUID", "study"): "SOPClassesInStudy",
}
_RANGE_TEXT = re.compile(r"[^-]*-[^-]*")
_MOMENT = r"([0-9]{4,14}(?:\.[0-9]{1,6})?(?:[+-][0-9]{4})?)?"
_DT_RANGE = re.compile(f"{_MOMENT}-{_MOMENT}")
_DT_OFFSET = re.compile(r"[0-9]{4,14}(?:\.[0-9]{1,6})?-(?:0[0-9]|1[0-4])[0-5][0-9]")
"""A minus before four digits that can be an offset from UTC is one (PS3.5 §6.2, DT)."""
MAX_CHARACTERS = 10_240
"""Of one value that is to be matched: what the longest VR but those without a limit holds (LT, PS3.5 Table 6.2-1)."""


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """One matching key: a column and what it must match.

    ``values`` holds DICOM text: one value for ``single`` and ``wildcard``, none for ``universal``, the two ends for
    ``range`` (``""`` = open), any number for ``list``.
    """

    column: Column
    matching: Matching
    values: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The value as it stands in an Identifier (PS3.4 §C.2.2.2)."""
        return ("-" if self.matching == "range" else "\\").join(self.values)

    def __repr__(self) -> str:
        return f"<Key {self.column.name} ({self.matching})>"  # no value: it may identify a patient


@dataclass(frozen=True, slots=True, repr=False)
class Query(Summarised):
    """What ``find`` asks, independent of the path that asks it. Make one with :meth:`of`."""

    level: Level
    keys: tuple[Key, ...] = ()
    include: tuple[Column, ...] = ()
    limit: int | None = None
    options: tuple[tuple[str, bool], ...] = ()
    """Options of one path alone, by name: what a peer may be asked to do beyond the common ground."""

    @classmethod
    def of(
        cls,
        level: str,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        **keywords: object,
    ) -> Self:
        """Check and normalise one call of ``find``.

        Parameters
        ----------
        level : str
            ``"patient"``, ``"study"``, ``"series"`` or ``"instance"``.
        match : mapping, optional
            Keys that are no Python names: tags (``0x00100020``, ``"(0010,0020)"``), sequence paths
            (``"RequestAttributesSequence.ScheduledProcedureStepID"``).
        include : iterable of str
            Further attributes to return.
        limit : int, optional
            Most rows to return, at least 1.
        **keywords
            A PS3.6 keyword and its value: text (``*`` and ``?`` are wild cards), a number, a ``date``,
            a ``(start, end)`` pair of dates or times with None for open, a list for "any of", None for "return it".

        Raises
        ------
        UsageError
            Unknown level, keyword or option; a keyword of a deeper level, or given twice; a value its VR can't hold.

        Source
        ------
        PS3.4 §C.2.2.2 (matching), §C.6 (levels).
        """
        if level not in LEVELS:
            hint = {"image": "instance", "studies": "study", "patients": "patient", "instances": "instance"}
            near = f"; did you mean {hint[str(level).lower()]!r}?" if str(level).lower() in hint else ""
            raise UsageError(f"{level!r} is no level{near} (one of: {', '.join(LEVELS)})")
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise UsageError(f"limit must be a whole number of at least 1, not {limit!r}")
        for name in keywords:
            if not name[:1].isupper():
                raise UsageError(f"find() has no option {name!r} (DICOM keywords are written as in PS3.6: PatientID)")
        if isinstance(include, str):
            raise UsageError(f"include takes a list of keywords: include=[{include!r}]")
        wanted: dict[Column, object] = {}
        for given, value in (*(match or {}).items(), *keywords.items()):
            if (one := column(given)) in wanted:
                raise UsageError(f"{one.name} is given twice, as a keyword and in match={{...}}")
            wanted[one] = value
        extra = columns(include)
        for one in (*wanted, *extra):
            _check_level(one, level)
        keys = tuple(key_of(one, value) for one, value in wanted.items())
        return cls(level, keys, extra, limit)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the cohort will show: the standard columns of the level, then what was matched or included."""
        shown = [*standard_columns(self.level), *(key.column for key in self.keys), *self.include]
        return tuple(dict.fromkeys(shown))

    def key(self, keyword: str) -> Key | None:
        """The matching key on that column, if there is one."""
        return next((key for key in self.keys if key.column.name == keyword), None)

    def matches_only(self, levels: Iterable[Level]) -> tuple[Key, ...]:
        """The keys whose attributes stand at those levels (or at any), universal ones left out."""
        allowed = {*levels, None}
        return tuple(k for k in self.keys if k.matching != "universal" and k.column.level in allowed)

    def single_valued(self, *, uid_lists: bool = True) -> Iterator[Query]:
        """Split lists into queries that a baseline peer understands; the union of their answers is the answer.

        Baseline matching has lists of UIDs only, so each other list becomes one query for each value.

        Parameters
        ----------
        uid_lists : bool
            False splits lists of UIDs too, for peers that don't take them.

        Raises
        ------
        UsageError
            Several lists would make more than 10,000 queries.

        Source
        ------
        PS3.4 §C.2.2.2.2 (list of UID matching).
        """
        split = [k for k in self.keys if k.matching == "list" and not (uid_lists and k.column.vr == "UI")]
        count = prod(len(key.values) for key in split)
        if len(split) > 1 and count > MAX_QUERIES:
            names = ", ".join(key.column.name for key in split)
            raise UsageError(f"the lists of {names} make {count} queries, at most {MAX_QUERIES}: cut them down")
        for values in product(*(key.values for key in split)):
            chosen = dict(zip(split, values, strict=True))
            keys = tuple(_single(k.column, chosen[k]) if k in chosen else k for k in self.keys)
            yield replace(self, keys=keys)

    def __str__(self) -> str:
        """Say it in one line, values left out: they may identify a patient."""
        keys = ", ".join(f"{k.column.name} ({k.matching})" for k in self.keys)
        return f"{self.level} by {keys}" if keys else f"every {self.level}"

    def _summary_(self) -> Summary:
        facts = [("level", self.level), ("limit", "none" if self.limit is None else str(self.limit))]
        if self.include:
            facts.append(("returned too", ", ".join(one.name for one in self.include)))
        facts += [(name, "yes" if on else "no") for name, on in self.options]
        rows = tuple(
            (key.column.name, format_tag(key.column.tag), key.column.vr, key.matching,
             options.shown(key.text, fictional=not key.column.identifying))
            for key in self.keys
        )  # fmt: skip
        names = ("keyword", "tag", "VR", "matching", "value") if rows else ()
        return Summary(f"Query: {self}", tuple(facts), names, rows[:50], max(0, len(rows) - 50))


def _check_level(one: Column, level: Level) -> None:
    if one.level is None or LEVELS.index(one.level) <= LEVELS.index(level):
        return
    nearer = _NEARER.get((one.name, level))
    advice = f"use {nearer}" if nearer else f'ask with find("{one.level}", ...)'
    peek = f', or read it afterwards with peek(["{one.name}"])' if level == "series" else ""
    raise UsageError(f"{one.name} is an attribute of the {one.level} level, the query is for {level}: {advice}{peek}")


def range_of(text: str) -> tuple[str | None, str | None] | None:
    """Read a range of DT as peers write it: its ends, None for an open one; None for what is no range.

    Source
    ------
    PS3.4 §C.2.2.2.5 (range matching), PS3.5 §6.2 (DT).
    """
    found = None if _DT_OFFSET.fullmatch(text) else _DT_RANGE.fullmatch(text)
    return (found[1], found[2]) if found and any(found.groups()) else None


def key_of(one: Column, value: object) -> Key:
    """Check and normalise what one attribute must match, as :meth:`Query.of` says.

    Raises
    ------
    UsageError
        A value that its VR can't hold, or that can't be matched.

    Source
    ------
    PS3.4 §C.2.2.2.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return Key(one, "universal")
    if isinstance(value, tuple) and one.vr in _RANGED:
        if len(value) != 2 or all(end is None for end in value):
            raise UsageError(f"{one.name}: a range is a pair (start, end), None for an open end")
        start, end = (_text(one, v) if v is not None else "" for v in value)
        if start and end and _after(one, start, end):
            raise UsageError(f"{one.name}: the range starts ({start}) after its end ({end})")
        return Key(one, "range", (start, end))
    if isinstance(value, tuple):
        raise UsageError(f"{one.name} ({one.vr}): only dates and times have ranges; a list means any of its values")
    value = _native(value)
    if isinstance(value, Iterable) and not isinstance(value, _NO_LIST):
        texts = tuple(dict.fromkeys(_text(one, item) for item in value))
        texts = tuple(sorted(texts)) if isinstance(value, AbstractSet) else texts
        if not texts:
            raise UsageError(f"{one.name}: an empty list matches nothing; None means any value")
        return Key(one, "list", texts) if len(texts) > 1 else _single(one, texts[0])
    if isinstance(value, str) and one.vr in ("DA", "TM") and _RANGE_TEXT.fullmatch(value):
        start, _, end = value.partition("-")
        return key_of(one, (start.strip() or None, end.strip() or None))
    return _single(one, _text(one, value))


def _native(value: Any) -> object:
    """A value or list of numpy or pandas as Python's own; anything else as it is."""
    if not hasattr(value, "tolist") or isinstance(value, _NO_LIST):
        return value
    if type(value).__module__ == "numpy" and value.dtype.kind == "M":
        value = value.astype("datetime64[us]")  # finer ones would become bare numbers
    native: object = value.tolist()
    return native


def _after(one: Column, start: str, end: str) -> bool:
    """Whether a range is the wrong way round; an end as short as ``10`` reaches to 10:59."""
    if start.startswith(end):
        return False
    return bool(_moment(one, start) > _moment(one, end)) if one.vr == "DT" else start > end


def _moment(one: Column, text: str) -> Any:
    cell, _ = read(one, (text,))
    return cell[0] if isinstance(cell, tuple) else cell


def _single(one: Column, text: str) -> Key:
    wild = one.vr in _WILD and ("*" in text or "?" in text)
    if wild and set(text) == {"*"}:
        return Key(one, "universal")
    return Key(one, "wildcard" if wild else "single", (text,))


def _text(one: Column, value: object) -> str:
    """One value as DICOM text."""
    value = _native(value)
    where = f"{one.name} ({one.vr})"
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:  # noqa: PLR0124  (NaN)
        raise UsageError(f"{where}: a missing value can't be matched; drop it from the list")
    if isinstance(value, bool | bytes | bytearray | memoryview | Mapping) or (
        isinstance(value, Iterable) and not isinstance(value, _NO_LIST)
    ):
        raise UsageError(f"{where} can't match a {type(value).__name__}")
    if one.vr == "DA":
        return _date_text(where, value)
    if one.vr == "TM":
        return _time_text(where, value)
    if one.vr == "DT":
        return _date_time_text(one, value)
    if one.vr in INTEGER | DECIMAL:
        return _number_text(one, value)
    if one.vr == "AT" and isinstance(value, int):
        return f"{value:08X}"
    text = str(value)
    if not text.strip():
        raise UsageError(f"{where}: an empty value can't be matched; None means any value")
    if len(text) > MAX_CHARACTERS:
        raise UsageError(f"{where}: {len(text)} characters can't be matched, at most {MAX_CHARACTERS}")
    if "\\" in text:
        raise UsageError(f"{where}: a backslash separates values in DICOM; give a list")
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) < 0xE000 for c in text):
        raise UsageError(f"{where}: control characters can't be matched")
    if one.vr == "UI" and not uid_like(text):
        raise UsageError(f"{where}: {text[:80]!r} is no UID (digits and dots, at most 64)")
    return text


def _number_text(one: Column, value: object) -> str:
    _, problems = read(one, (value,))
    text = str(value).strip()
    if problems or not text:
        why = problems[0][1] if problems else "it is empty"
        raise UsageError(f"{one.name} ({one.vr}): {text[:80]!r} is no number that it can hold: {why}")
    return text.partition(".")[0] if one.vr in INTEGER else text


def _date_text(where: str, value: object) -> str:
    if isinstance(value, date):
        return f"{value.year:04}{value.month:02}{value.day:02}"
    found = re.fullmatch(r"([0-9]{4})-?([0-9]{2})-?([0-9]{2})", str(value).strip())
    try:
        if not found:
            raise ValueError
        return _date_text(where, date(*map(int, found.groups())))
    except ValueError:
        raise UsageError(f"{where}: {str(value)[:80]!r} is no date (2026-01-31, 20260131 or a date)") from None


def _time_text(where: str, value: object) -> str:
    if isinstance(value, time | datetime):
        return value.strftime("%H%M%S.%f" if value.microsecond else "%H%M%S")
    text = str(value).strip()
    if not re.fullmatch(r"([01][0-9]|2[0-3])(:?[0-5][0-9](:?([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?", text):
        raise UsageError(f"{where}: {text[:80]!r} is no time (13:30, 133000 or a time)")
    return text.replace(":", "")


def _date_time_text(one: Column, value: object) -> str:
    if isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time.min)
        return _date_text("", moment) + moment.strftime("%H%M%S.%f%z")
    text = str(value).strip()
    if not text or read(one, (text,))[1]:
        hint = "20260131133000, 2026-01-31 13:30:00 or a datetime; for a range a pair (start, end)"
        raise UsageError(f"{one.name} (DT): {text[:80]!r} is no date and time ({hint})")
    if re.match(r"[0-9]{4}-[0-9]{2}-", text):  # as people write it
        day, clock = text[:10], text[11:]
        digits = re.sub(r"[+-].*", "", clock)
        return day.replace("-", "") + digits.replace(":", "") + clock[len(digits) :].replace(":", "")
    return text
