"""Ranges of dates, cut until a peer that gives so much at once has given everything."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse.splitting import MOST_PARTS_DEEP, Span, day_of, looks_cut, span_of
from dicomlab.model.query import Query

TODAY = date(2026, 6, 1)
_days = st.dates(date(1950, 1, 1), date(2049, 1, 1))


def within(span: Span, day: date) -> bool:
    return (span.start is None or span.start <= day) and (span.end is None or day <= span.end)


@given(st.none() | _days, st.none() | _days, st.lists(_days, max_size=5), _days)
def test_parts_cover_the_whole_once_and_are_smaller(
    start: date | None, end: date | None, known: list[date], probe: date
) -> None:
    if start is not None and end is not None and start > end:
        start, end = end, start
    whole = Span(start, end)
    parts = whole.parts([day for day in known if within(whole, day)], TODAY)
    if start is not None and start == end:
        assert [one.start for one in parts] == [start, start]
        assert (parts[0].from_s, parts[-1].to_s, parts[0].to_s + 1) == (0, 86_399, parts[1].from_s)
        return
    assert sum(within(part, probe) for part in parts) == within(whole, probe)
    assert whole not in parts
    assert all(part.start is None or part.end is None or part.start <= part.end for part in parts)


def test_a_day_is_cut_down_to_a_second_and_no_further() -> None:
    span = Span(TODAY, TODAY)
    depth = 0
    while parts := span.parts([], TODAY):
        span, depth = parts[-1], depth + 1
    assert span.keys[1].text == "235959-235959.999999"
    assert depth + 15 < MOST_PARTS_DEEP + 10
    assert Span(TODAY, TODAY).keys[0].text == "20260601"
    assert len(Span(TODAY, TODAY).keys) == 1


def test_keys_of_open_and_closed_ranges() -> None:
    assert Span(None, None).keys == ()
    assert Span(TODAY, None).keys[0].text == "20260601-"
    assert Span(None, TODAY).keys[0].text == "-20260601"
    assert Span(TODAY, TODAY + timedelta(days=1)).keys[0].text == "20260601-20260602"


@pytest.mark.parametrize(
    ("asked", "span"),
    [
        ({}, Span(None, None)),
        ({"StudyDate": None}, Span(None, None)),
        ({"StudyDate": "2026-06-01"}, Span(TODAY, TODAY)),
        ({"StudyDate": (None, "2026-06-01")}, Span(None, TODAY)),
        ({"StudyDate": ("2026-06-01", None), "StudyTime": ("10", "11")}, Span(TODAY, None)),
        ({"StudyDate": "2026-06-01", "StudyTime": ("10", "11")}, None),
        ({"StudyDate": ["2026-06-01", "2026-06-02"]}, None),
        ({"StudyInstanceUID": ["1.2", "1.3"]}, None),
    ],
)
def test_what_a_query_leaves_to_be_cut(asked: dict[str, object], span: Span | None) -> None:
    found = span_of(Query.of("study", PatientID="P1", **asked).keys)
    assert (found and found[0]) == span
    if found is not None:
        assert "PatientID" in [key.column.name for key in found[1]]


def test_limits_are_round_numbers() -> None:
    assert [n for n in (50, 64, 99, 100, 101, 128, 250, 300, 512, 777, 1000, 1024, 4999, 5000) if looks_cut(n)] == [
        100, 128, 250, 300, 512, 1000, 1024, 5000,
    ]  # fmt: skip


def test_days_as_they_come() -> None:
    assert day_of("20260601") == day_of("2026.06.01") == day_of(datetime(2026, 6, 1)) == TODAY
    assert [day_of(text) for text in (None, "", "20261301", "later", "2026")] == [None] * 5
