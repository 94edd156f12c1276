"""Finer questions: an answer that ends at a round number may be capped in all, and no server says so.

What lies below a study or series is compared with the number that the server itself gives for it. Studies are asked
for again in shorter spans of dates: what then comes and did not come before was kept back.

Source
------
PS3.18 §8.3.4.4 (a server's own maximum), PS3.4 §C.2.2.2.5 (range matching), §C.3.4 (numbers of related instances).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, NamedTuple

from dicomlab.errors import DicomlabError
from dicomlab.model.columns import Column, column
from dicomlab.model.path import Row
from dicomlab.model.query import Key
from dicomlab.web.resources import Resource

if TYPE_CHECKING:
    from dicomlab.web.search import Searcher

ROUND = 50
"""A number of rows that this divides is round."""
MAX_SPLITS = 200
"""How many spans one search is split into at most."""
STUDY_DATE = column("StudyDate")


def count_of(searcher: Searcher, level: str, study: str, series: str = "") -> int | None:
    """How many series or instances the server says are in a study, or instances in a series.

    Returns
    -------
    int or None
        0 where it knows no such study or series; None where it doesn't say.
    """
    above = "Series" if series else "Study"
    counted = column(f"NumberOf{above}Related{'Series' if level == 'series' else 'Instances'}")
    key = Key(column(f"{above}InstanceUID"), "single", (series or study,))
    resource = Resource("search", "series", study) if series else Resource("search", "study")
    for row in searcher.search(resource, (key,), (key.column, counted)):
        value = next(iter(row[counted.name]), None)
        return value if isinstance(value, int) else None
    return 0


class Question(NamedTuple):
    """What a search asks of one resource."""

    resource: Resource
    keys: Sequence[Key]
    wanted: Sequence[Column]


def kept_back(searcher: Searcher, question: Question, seen: set[str], dates: Sequence[object]) -> Iterator[Row]:
    """Look for what an answer that seems whole lacks; give what is found, and say that there may be more.

    Parameters
    ----------
    searcher : Searcher
        Its verdict is told.
    question : Question
        What was asked.
    seen : set of str
        The unique keys that came; those found are added.
    dates : sequence
        The study dates that came, as they came.
    """
    received = len(seen)
    resource, keys, wanted = question
    try:
        if resource.study:
            asked = [key for key in keys if key.matching != "universal"]
            total = None if asked else count_of(searcher, resource.level, resource.study, resource.series)
            if total is not None and total > received:
                searcher.verdict.cut(f"the server gives {received} of the {total} that it counts in {resource.path}")
        elif resource.level == "study":
            others = [key for key in keys if key.column != STUDY_DATE]
            for span in _spans(next((key for key in keys if key.column == STUDY_DATE), None), dates):
                if searcher.splits >= MAX_SPLITS:
                    searcher.verdict.cut(
                        f"the server has more in each of {MAX_SPLITS} shorter spans of StudyDate: others may be missing"
                    )
                    return
                searcher.splits += 1
                for row in searcher.pages(resource, [*others, span], wanted):
                    uid = str(next(iter(row["StudyInstanceUID"]), ""))
                    if uid not in seen:
                        seen.add(uid)
                        yield row
            if len(seen) > received:
                searcher.verdict.cut(
                    f"the server gives no more than {received} studies for one search and does not say so;"
                    f" {len(seen) - received} more came by shorter spans of StudyDate, others may be missing"
                )
    except DicomlabError as error:
        searcher.http.channel.note(f"whether {received} rows are all can't be told: {error}")


def _spans(key: Key | None, dates: Sequence[object]) -> Iterator[Key]:
    """Split a span of dates at the middle of those that are known: before, that day, after."""
    if key is not None and key.matching not in ("universal", "range"):
        return
    known = sorted(day for text in dates if (day := _day(text)))
    first, last = key.values if key is not None and key.matching == "range" else ("", "")
    if not known or (first and first == last):
        return
    if (first and _text(known[0], 0) < first) or (last and _text(known[-1], 0) > last):
        return  # it takes no notice of dates
    middle = known[len(known) // 2]
    for start, end in (
        (first, _text(middle, -1)),
        (_text(middle, 0), _text(middle, 0)),
        (_text(middle, 1), last),
    ):
        if not (start and end) or start <= end:
            yield Key(STUDY_DATE, "range", (start, end))


def _day(text: object) -> date | None:
    try:
        return date.fromisoformat(str(text))
    except ValueError:
        return None


def _text(day: date, days: int) -> str:
    try:
        return (day + timedelta(days)).strftime("%Y%m%d")
    except OverflowError:
        return day.strftime("%Y%m%d")
