"""Servers that give so many matches in all and no more, without a word: found out where one can."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest

from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.finer import MAX_SPLITS
from tests.unit.web.scripted import INSTANCE, SERIES, STUDY, Asked, rows, scripted

DATE, SERIES_COUNT, STUDY_SERIES, STUDY_INSTANCES = "00080020", "00201209", "00201206", "00201208"
STUDIES = [{STUDY: f"1.{n}", DATE: f"202601{n % 28 + 1:02}"} for n in range(180)]


def capped(cap: int, found: list[dict[str, Any]]) -> Callable[[Asked], bytes]:
    """Answers searches for studies by date, page by page, out of the first `cap` matches."""

    def answer(asked: Asked) -> bytes:
        start, _, end = asked.query.get("StudyDate", ["-"])[0].partition("-")
        matches = [one for one in found if not (start or end) or (start <= one.get(DATE, "") <= (end or "9"))]
        matches = matches[:cap]
        offset = int(asked.query.get("offset", ["0"])[0])
        return rows(*matches[offset : offset + int(asked.query["limit"][0])])

    return answer


def find(url: str, *args: Any, **keywords: Any) -> Any:
    return WebEndpoint(url).find(*args, progress=False, **keywords)


@pytest.mark.parametrize("cap", [50, 100, 150])
def test_studies_beyond_a_silent_cap_come_by_shorter_spans(cap: int) -> None:
    with scripted(capped(cap, STUDIES)) as server:
        found = find(server.url, "study")
    assert sorted(found["StudyInstanceUID"]) == sorted(one[STUDY] for one in STUDIES)
    assert not found.complete
    assert f"no more than {cap} studies" in found.note
    assert f"{180 - cap} more came" in found.note


def test_a_span_that_was_asked_for_is_kept() -> None:
    with scripted(capped(50, STUDIES)) as server:
        found = find(server.url, "study", StudyDate=("2026-01-01", "2026-01-14"))
        assert all(one.query["StudyDate"][0] >= "20260101" for one in server.asked)
    assert len(found) == sum(one[DATE] <= "20260114" for one in STUDIES)
    assert not found.complete


def test_a_round_number_that_is_all_is_complete() -> None:
    with scripted(capped(1000, STUDIES[:100])) as server:
        found = find(server.url, "study")
    assert len(found) == 100
    assert found.complete


def test_a_server_that_ignores_dates_and_offset_is_not_called_capped() -> None:
    with scripted(lambda asked: rows(*STUDIES[:50])) as server:
        found = find(server.url, "study")
        assert len(server.asked) < 10
    assert len(found) == 50
    assert found.complete


def test_studies_of_one_day_end() -> None:
    same = [{**one, DATE: "20260105"} for one in STUDIES]
    with scripted(capped(50, same)) as server:
        found = find(server.url, "study")
        assert len(server.asked) < 20
    assert len(found) == 50


def test_a_server_that_has_something_new_for_each_span_is_asked_so_often_and_no_more() -> None:
    def invent(asked: Asked) -> bytes:
        start, _, end = asked.query.get("StudyDate", ["-"])[0].partition("-")
        first, last = date.fromisoformat(start or "19000101"), date.fromisoformat(end or "21000101")
        days = [first + (last - first) * n // 49 for n in range(50)]
        made = [{STUDY: f"2.{start or 1}.{end or 1}.{n}", DATE: f"{day:%Y%m%d}"} for n, day in enumerate(days)]
        return rows(*made[int(asked.query.get("offset", ["0"])[0]) :])

    with scripted(invent) as server:
        found = find(server.url, "study")
        asked = {one.query.get("StudyDate", ["-"])[0] for one in server.asked}
    assert len(asked) == MAX_SPLITS + 1
    assert len(found) == 50 * (MAX_SPLITS + 1)
    assert not found.complete
    assert f"in each of {MAX_SPLITS} shorter spans" in found.note


def test_a_server_that_has_more_in_each_span_is_asked_so_often_and_no_more() -> None:
    far = [{STUDY: f"1.{n}", DATE: f"{date(1990, 1, 1) + timedelta(days=n // 4):%Y%m%d}"} for n in range(40_000)]
    with scripted(capped(50, far)) as server:
        found = find(server.url, "study")
        assert len({one.query.get("StudyDate", ["-"])[0] for one in server.asked}) <= MAX_SPLITS + 1
    assert not found.complete


def test_studies_without_dates_end() -> None:
    with scripted(capped(50, [{STUDY: one[STUDY]} for one in STUDIES])) as server:
        assert len(find(server.url, "study")) == 50


def below(count: int, said: dict[str, int]) -> Callable[[Asked], bytes]:
    """A study of one series that gives so many instances, or so many series, and says that it has others."""

    def answer(asked: Asked) -> bytes:
        offset = int(asked.query.get("offset", ["0"])[0])
        if asked.path.endswith("/studies"):
            return rows({STUDY: "1", **said})
        if asked.path.endswith("/instances"):
            found = [{INSTANCE: f"1.2.{n}", SERIES: "1.2"} for n in range(count)]
        elif "SeriesInstanceUID" in asked.query:
            found = [{SERIES: "1.2", **said}]
        else:
            found = [{SERIES: f"1.{n}"} for n in range(count)]
        return rows(*found[offset : offset + int(asked.query["limit"][0])])

    return answer


@pytest.mark.parametrize(
    ("level", "keys", "counted"),
    [
        ("instance", {"StudyInstanceUID": "1", "SeriesInstanceUID": "1.2"}, SERIES_COUNT),
        ("instance", {"StudyInstanceUID": "1"}, STUDY_INSTANCES),
        ("series", {"StudyInstanceUID": "1"}, STUDY_SERIES),
    ],
)
def test_what_lies_below_is_compared_with_the_number_that_the_server_gives(
    level: str, keys: dict[str, str], counted: str
) -> None:
    with scripted(below(50, {counted: 73})) as server:
        found = find(server.url, level, **keys)
    assert len(found) == 50
    assert not found.complete
    assert "gives 50 of the 73" in found.note
    with scripted(below(50, {counted: 50})) as server:
        assert find(server.url, level, **keys).complete
    with scripted(below(49, {counted: 73})) as server:  # no round number: nobody asks
        find(server.url, level, **keys)
        assert not any(one.path.endswith("/studies") for one in server.asked)


def test_some_of_a_series_proves_nothing() -> None:
    with scripted(below(50, {SERIES_COUNT: 73})) as server:
        assert find(server.url, "instance", StudyInstanceUID="1", SeriesInstanceUID="1.2", InstanceNumber=4).complete


# --- an option of one search


def test_fuzzy_is_an_option_of_one_search() -> None:
    warning = "299 x: The fuzzymatching parameter is not supported. Only literal matching has been performed."
    for headers, granted in (({}, {"fuzzy"}), ({"Warning": warning}, set())):
        with scripted(lambda asked, headers=headers: rows({STUDY: "1"}, **headers)) as server:
            web = WebEndpoint(server.url)
            assert web.find("study", PatientName="Doe", fuzzy=True, progress=False).granted == granted
            assert web.find("study", PatientName="Doe", progress=False).granted == set()
            asked = [one.query.get("fuzzymatching") for one in server.asked if "offset" not in one.query]
        assert asked == [["true"], None]


def test_fuzzy_of_the_endpoint_can_be_declined_for_one_search() -> None:
    with scripted(lambda asked: rows()) as server:
        web = WebEndpoint(server.url, fuzzy=True)
        web.find("study", PatientName="Doe", fuzzy=False, progress=False)
        assert all("fuzzymatching" not in one.query for one in server.asked)
