"""Paging against every kind of server: what is had is the whole, or is said not to be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.web.paging import Paging

Serving = Callable[[int, int], tuple[Sequence[str], bool]]
"""Offset and limit to the rows of one answer, and whether the server says that there are more."""


def run(
    serve: Serving, page: int = 10, *, whole: int = 0, most: int = 0, requests: int = 500
) -> tuple[Paging, list[str]]:
    paging, got = Paging(page, whole=whole, most=most), list[str]()
    for _ in range(requests):
        if paging.offset is None:
            return paging, got
        found, more = serve(paging.offset, page)
        got += [found[at] for at in paging.take(found, more=more)]
    raise AssertionError("it goes on for ever")


def rows(count: int) -> list[str]:
    return [f"1.{n}" for n in range(count)]


@given(st.integers(0, 60), st.integers(1, 25), st.integers(1, 70), st.booleans())
def test_caps_are_paged_over(count: int, page: int, cap: int, warns: bool) -> None:
    held = rows(count)

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        found = held[offset : offset + min(limit, cap)]
        return found, warns and offset + len(found) < count

    paging, got = run(serve, page)
    assert got == held
    assert not paging.note
    assert not paging.remarks


@given(st.integers(1, 40), st.integers(1, 45))
def test_an_ignored_offset_ends(count: int, page: int) -> None:
    paging, got = run(lambda offset, limit: (rows(count)[:limit], False), page)
    assert got == rows(count)[:page]
    assert bool(paging.note) == (page <= count)  # a full page may be a part of more


def test_an_ignored_limit_and_offset_give_everything() -> None:
    paging, got = run(lambda offset, limit: (rows(25), False), 26)
    assert got == rows(25)
    assert not paging.note


@pytest.mark.parametrize("at", range(1, 6))
def test_a_row_that_comes_while_they_are_read(at: int) -> None:
    """New rows at the front move the others on, so that some come twice."""
    held = rows(30)
    calls = iter(range(100))

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        if next(calls) == at:
            held.insert(0, "9.9")
        return held[offset : offset + limit], False

    paging, got = run(serve, 7)
    assert sorted(got) == sorted(held)
    assert not paging.note
    assert len(got) == len(set(got))


@pytest.mark.parametrize("at", range(1, 6))
def test_a_row_that_goes_while_they_are_read(at: int) -> None:
    """A row that goes at the front moves the others back, so that one would be jumped over."""
    held = rows(30)
    calls = iter(range(100))

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        if next(calls) == at:
            del held[0]
        return held[offset : offset + limit], False

    paging, got = run(serve, 7)
    assert set(got) >= set(held)
    assert not paging.note


@given(st.integers(0, 2**32))
def test_an_order_that_is_never_the_same(seed: int) -> None:
    chance = random.Random(seed)
    held = rows(30)

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        chance.shuffle(held)
        return held[offset : offset + limit], False

    paging, got = run(serve, 7)
    assert len(got) == len(set(got))
    assert set(got) == set(held) or paging.note


def test_a_set_that_never_rests_is_told() -> None:
    count = iter(range(1000))

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        held = [f"9.{n}" for n in range(next(count), 0, -1)] + rows(30)
        return held[offset : offset + limit], False

    paging, _ = run(serve, 7)
    assert "kept moving" in paging.note


def test_a_total_that_is_capped_is_told() -> None:
    paging, got = run(lambda offset, limit: (rows(20)[offset : offset + limit], False), 7, most=20)
    assert len(got) == 20
    assert "no more than 20" in paging.note


def test_more_that_never_comes_is_told() -> None:
    paging, _ = run(lambda offset, limit: (rows(5)[offset : offset + limit], True), 10)
    assert "gives nothing" in paging.note


def test_what_a_server_was_seen_to_give_whole_is_asked_for_once() -> None:
    asked = []

    def serve(offset: int, limit: int) -> tuple[Sequence[str], bool]:
        asked.append(offset)
        return rows(5)[offset : offset + limit], False

    run(serve, 10, whole=8)
    assert asked == [0]


def test_rows_without_a_key_are_told() -> None:
    paging, got = run(lambda offset, limit: (["1.1", "", "1.2"][offset : offset + limit], False), 10)
    assert got == ["1.1", "1.2"]
    assert "without a unique key" in paging.remarks[0]


def test_declining_to_go_on() -> None:
    paging = Paging(10)
    paging.take(rows(10), more=False)
    paging.declined("400")
    assert "declines to go on (400)" in paging.note
    paging = Paging(100)
    paging.take(rows(10), more=False)
    paging.declined("400")
    assert not paging.note
