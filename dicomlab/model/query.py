"""A query: which level, which attributes must match how, which to return. Checked whole before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from itertools import product
from typing import Literal, Self

from dicomlab.errors import UsageError
from dicomlab.model.columns import LEVELS, Column, Level, column, columns, standard_columns

Matching = Literal["universal", "single", "wildcard", "range", "list"]
"""Attribute Matching (PS3.4 §C.2.2.2): single value, list of UID, universal, wild card, range."""

_WILD = frozenset(["AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"])
_NEARER = {
    ("Modality", "study"): "ModalitiesInStudy",
    ("SOPClassUID", "study"): "SOPClassesInStudy",
}
_RANGE_TEXT = re.compile(r"[^-]*-[^-]*")


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Query:
    """What ``find`` asks, independent of the path that asks it. Make one with :meth:`of`."""

    level: Level
    keys: tuple[Key, ...] = ()
    include: tuple[Column, ...] = ()
    limit: int | None = None

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
            Unknown level, keyword or option; a keyword of a deeper level; a value its VR can't hold.

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
        given: dict[str | int, object] = dict(match or {})
        given.update(keywords)
        wanted = {column(k): v for k, v in given.items()}
        extra = columns(include)
        for one in (*wanted, *extra):
            _check_level(one, level)
        keys = tuple(_key(one, value) for one, value in wanted.items())
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

        Source
        ------
        PS3.4 §C.2.2.2.2 (list of UID matching).

        """
        split = [k for k in self.keys if k.matching == "list" and not (uid_lists and k.column.vr == "UI")]
        for values in product(*(key.values for key in split)):
            chosen = dict(zip(split, values, strict=True))
            keys = tuple(_single(k.column, chosen[k]) if k in chosen else k for k in self.keys)
            yield replace(self, keys=keys)

    def __str__(self) -> str:
        """Say it in one line, values left out: they may identify a patient."""
        keys = ", ".join(f"{k.column.name} ({k.matching})" for k in self.keys)
        return f"{self.level} by {keys}" if keys else f"every {self.level}"


def _check_level(one: Column, level: Level) -> None:
    if one.level is None or LEVELS.index(one.level) <= LEVELS.index(level):
        return
    nearer = _NEARER.get((one.name, level))
    advice = f"use {nearer}" if nearer else f'ask with find("{one.level}", ...)'
    peek = f', or read it afterwards with peek(["{one.name}"])' if level == "series" else ""
    raise UsageError(f"{one.name} is an attribute of the {one.level} level, the query is for {level}: {advice}{peek}")


def _key(one: Column, value: object) -> Key:
    if value is None or (isinstance(value, str) and not value):
        return Key(one, "universal")
    if isinstance(value, tuple) and one.vr in ("DA", "TM", "DT"):
        if len(value) != 2 or value == (None, None):
            raise UsageError(f"{one.name}: a range is a pair (start, end), None for an open end")
        start, end = (_text(one, v) if v is not None else "" for v in value)
        if start and end and start > end:
            raise UsageError(f"{one.name}: the range starts ({start}) after its end ({end})")
        return Key(one, "range", (start, end))
    if isinstance(value, tuple):
        raise UsageError(f"{one.name} ({one.vr}): only dates and times have ranges; a list means any of its values")
    if isinstance(value, list | set | frozenset) or (
        type(value).__module__.startswith(("numpy", "pandas"))
        and hasattr(value, "tolist")
        and not isinstance(value, datetime)
    ):
        items = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(items, Iterable) or isinstance(items, str):
            return _key(one, items)
        texts = tuple(dict.fromkeys(_text(one, item) for item in items))
        if not texts:
            raise UsageError(f"{one.name}: an empty list matches nothing; None means any value")
        return Key(one, "list", texts) if len(texts) > 1 else _single(one, texts[0])
    if isinstance(value, str) and one.vr in ("DA", "TM") and _RANGE_TEXT.fullmatch(value):
        start, _, end = value.partition("-")
        return _key(one, (start.strip() or None, end.strip() or None))
    return _single(one, _text(one, value))


def _single(one: Column, text: str) -> Key:
    wild = one.vr in _WILD and ("*" in text or "?" in text)
    if wild and set(text) == {"*"}:
        return Key(one, "universal")
    return Key(one, "wildcard" if wild else "single", (text,))


def _text(one: Column, value: object) -> str:
    """One value as DICOM text."""
    where = f"{one.name} ({one.vr})"
    if isinstance(value, bool | bytes) or value is None:
        raise UsageError(f"{where} can't match {value!r}")
    if one.vr == "DA":
        return _date_text(where, value)
    if one.vr == "TM":
        return _time_text(where, value)
    if one.vr == "DT" and isinstance(value, date):
        moment = value if isinstance(value, datetime) else datetime.combine(value, time.min)
        return moment.strftime("%Y%m%d%H%M%S.%f%z")
    text = str(value)
    if "\\" in text:
        raise UsageError(f"{where}: a backslash separates values in DICOM; give a list")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise UsageError(f"{where}: control characters can't be matched")
    if one.vr == "UI" and (len(text) > 64 or not re.fullmatch(r"[0-9.]+", text)):
        raise UsageError(f"{where}: {text[:80]!r} is no UID (digits and dots, at most 64)")
    if one.vr in ("IS", "DS", "US", "UL", "SS", "SL", "FD", "FL", "SV", "UV"):
        try:
            float(text)
        except ValueError:
            raise UsageError(f"{where}: {text[:80]!r} is no number") from None
    return text


def _date_text(where: str, value: object) -> str:
    if isinstance(value, date):
        return value.strftime("%Y%m%d")
    found = re.fullmatch(r"(\d{4})-?(\d{2})-?(\d{2})", str(value).strip())
    try:
        if not found:
            raise ValueError
        return date(*map(int, found.groups())).strftime("%Y%m%d")
    except ValueError:
        raise UsageError(f"{where}: {str(value)[:80]!r} is no date (2026-01-31, 20260131 or a date)") from None


def _time_text(where: str, value: object) -> str:
    if isinstance(value, time | datetime):
        return value.strftime("%H%M%S.%f" if value.microsecond else "%H%M%S")
    if not re.fullmatch(r"([01]\d|2[0-3])(:?[0-5]\d(:?[0-6]\d(\.\d{1,6})?)?)?", str(value).strip()):
        raise UsageError(f"{where}: {str(value)[:80]!r} is no time (13:30, 133000 or a time)")
    return str(value).strip().replace(":", "")
