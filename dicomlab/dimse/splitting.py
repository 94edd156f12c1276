"""A question that a peer won't answer as a whole is asked in parts of its range of dates. No I/O.

Peers refuse what is too much (A700H), or give the first so many matches and say Success. The parts of a range have
all the answers but those of studies without a Study Date, which no range matches.

Source
------
PS3.4 §C.4.1.1.4 (statuses of C-FIND), §C.2.2.2.5 (range matching).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple

from dicomlab.model.columns import column
from dicomlab.model.query import Key

MOST_PARTS_DEEP = 24
"""How often a range is cut in two before we give up: enough for every second of a century."""
MOST_PARTS = 10_000
"""Into how many parts one search is cut: what a peer that gives 500 at once needs for a million of studies, and an end
for one that has something new for each part."""
_DATE, _TIME, _STUDY = column("StudyDate"), column("StudyTime"), column("StudyInstanceUID")
_EARLIEST = date(1990, 1, 1)
_STEP = timedelta(days=3650)
_DAY_S = 86_400
_DAY = timedelta(days=1)


class Span(NamedTuple):
    """A range of days, None where open, or of seconds of the one day that it has narrowed down to."""

    start: date | None
    end: date | None
    from_s: int = 0
    to_s: int = _DAY_S - 1

    @property
    def keys(self) -> tuple[Key, ...]:
        """What matches it."""
        if self.start is not None and self.start == self.end:
            day = Key(_DATE, "single", (_text(self.start),))
            if (self.from_s, self.to_s) == (0, _DAY_S - 1):
                return (day,)
            return day, Key(_TIME, "range", (_clock(self.from_s), f"{_clock(self.to_s)}.999999"))
        ends = tuple(_text(one) if one is not None else "" for one in (self.start, self.end))
        return (Key(_DATE, "range", ends),) if any(ends) else ()

    def parts(self, days: Iterable[date], today: date) -> list[Span]:
        """Cut it, in the middle of what is known of it; nothing where it can't be cut.

        Parameters
        ----------
        days : iterable of date
            Of matches in it.
        today : date
            Where an open range ends, as far as anybody knows.
        """
        known = sorted(days)
        if self.start is not None and self.start == self.end:
            middle = (self.from_s + self.to_s) // 2
            if self.from_s >= self.to_s:
                return []
            return [self._replace(to_s=middle), self._replace(from_s=middle + 1)]
        low = self.start or (known[0] if known else min(_EARLIEST, (self.end or today) - _STEP))
        high = self.end or (known[-1] if known else max(today, low + _STEP))
        if low < high:
            day = low + (high - low) // 2
            return [Span(self.start, day), Span(day + _DAY, self.end)]
        around = [Span(None, low - _DAY)] if self.start is None else []
        around += [Span(low, low)]
        return around + ([Span(low + _DAY, None)] if self.end is None else [])


def _text(day: date) -> str:
    return f"{day.year:04}{day.month:02}{day.day:02}"


def _clock(second: int) -> str:
    return f"{second // 3600:02}{second // 60 % 60:02}{second % 60:02}"


def day_of(value: object) -> date | None:
    """A Study Date as it came, None where it is none."""
    if isinstance(value, datetime):
        return value.date()
    digits = str(value).replace(".", "").replace("-", "").strip()
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:8])) if digits.isdecimal() else None
    except ValueError:
        return None


def span_of(keys: Sequence[Key]) -> tuple[Span, list[Key]] | None:
    """The range of dates of some keys, and the other keys; None where it can't be narrowed down.

    A Study Time that is asked for keeps days whole; who names the studies has as many answers as he named.

    Source
    ------
    PS3.4 §C.2.2.2.5.
    """
    span, others = Span(None, None), list[Key]()
    if any(key.column == _STUDY and key.matching != "universal" for key in keys):
        return None
    for key in keys:
        if key.column != _DATE or key.matching == "universal":
            others.append(key)
        elif key.matching in ("single", "range"):
            ends = [day_of(text) if text else None for text in (key.values[0], key.values[-1])]
            if any(end is None and text for end, text in zip(ends, (key.values[0], key.values[-1]), strict=True)):
                return None
            span = Span(ends[0], ends[1])
        else:
            return None
    if any(key.column == _TIME and key.matching != "universal" for key in others):
        return None if span.start is not None and span.start == span.end else (span, others)
    return span, others


def looks_cut(count: int) -> bool:
    """Whether an answer of so many rows may have been cut off: limits are round numbers.

    A number that is round by chance costs one more look.

    Source
    ------
    PS3.4 §C.4.1.1.4: B001H says so, but most peers do not know it.
    """
    return count >= 100 and (count % 100 == 0 or count % 250 == 0 or count & (count - 1) == 0)
