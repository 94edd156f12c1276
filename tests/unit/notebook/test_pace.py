"""How pictures are paced, on ways whose width and length are known: virtual time, no thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from dicomlab.notebook.pace import LOST_S, RUNGS, Pace

MBIT = 125_000.0
"""Octets in a second."""


@dataclass
class Way:
    """A source, a link that is a queue, a browser: all by one clock that nobody waits for."""

    octets_s: Callable[[float], float]
    delay_s: float = 0.01
    source_hz: float = 30.0
    octets: Sequence[int] = (56_000, 16_000, 6_000, 2_000)
    draws_s: float = 0.01
    pace: Pace = field(default_factory=Pace)
    sent: int = 0
    most_under_way: int = 0
    rungs: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])

    def run(self, seconds: float) -> Way:
        """Frames for so long."""
        waiting: float | None = None
        free_s = drawn_s = now = 0.0
        events: list[tuple[float, int, int]] = [
            (at / self.source_hz, 0, at) for at in range(int(seconds * self.source_hz))
        ]
        heapq.heapify(events)
        under_way: set[int] = set()
        while events:
            now, kind, number = heapq.heappop(events)
            if kind == 0:
                self.pace.came(now)
                waiting = now
            else:
                self.pace.landed(number, now, shown=True)
                under_way.discard(number)
            under_way -= set(self.pace.given_up(now))
            if waiting is not None and self.pace.room(now):
                self.sent += 1
                self.pace.left(self.sent, waiting, now)
                under_way.add(self.sent)
                waiting = None
                free_s = max(free_s, now) + self.octets[self.pace.rung] / self.octets_s(now)
                drawn_s = max(drawn_s, free_s + self.delay_s) + self.draws_s
                heapq.heappush(events, (drawn_s + self.delay_s, 1, self.sent))
            self.most_under_way = max(self.most_under_way, len(under_way))
            if self.rungs[-1][1] != self.pace.rung:
                self.rungs.append((now, self.pace.rung))
        return self

    def latencies(self, after_s: float) -> list[float]:
        """Of what was shown after that moment, in order of size."""
        return sorted(trip.latency_s for trip in self.pace.trips if trip.at_s > after_s)


def wide(_: float) -> float:
    return 100 * MBIT


@pytest.mark.parametrize("source_hz", [5, 25, 30, 60])
@pytest.mark.parametrize("delay_s", [0.001, 0.01, 0.03])
def test_a_wide_way_shows_every_frame(source_hz: float, delay_s: float) -> None:
    way = Way(wide, delay_s=delay_s, source_hz=source_hz).run(20)
    assert way.sent >= 0.95 * 20 * source_hz  # all but some of the first
    assert way.pace.shown_hz(20.0) == pytest.approx(source_hz, abs=2)
    assert way.latencies(5)[-1] < 0.12
    assert way.pace.rung == 0


@pytest.mark.parametrize("draws_s", [0.04, 0.1, 0.3])
def test_a_slow_page_gets_no_queue(draws_s: float) -> None:
    """What is under way doesn't grow by the trips that it makes long itself."""
    way = Way(wide, draws_s=draws_s, octets=(56_000,) * RUNGS).run(30)
    alone_s = 56_000 / wide(0) + 0.02 + draws_s
    assert way.most_under_way <= 4
    assert way.latencies(5)[-1] <= alone_s + 0.07 + 2 * draws_s + 1 / 30
    assert way.pace.shown_hz(30.0) >= 0.75 / draws_s


@pytest.mark.parametrize(
    ("mbit", "rung"),
    [(50, 0), (20, 0), (5, 1), (2, 2), (0.8, 3), (0.2, 3)],
)
def test_a_narrow_way_is_gone_down_by(mbit: float, rung: int) -> None:
    way = Way(lambda _: mbit * MBIT).run(30)
    lowest = max(one for _, one in way.rungs)
    assert lowest == rung
    assert way.latencies(0)[-1] < 6 * 56_000 / (mbit * MBIT) + 0.2  # a few pictures, however narrow it is
    if rung < RUNGS - 1:
        assert way.latencies(20)[-1] < 0.6


def test_it_comes_back_when_the_way_is_wide_again() -> None:
    way = Way(lambda now: 0.8 * MBIT if now < 15 else 100 * MBIT).run(80)
    assert max(rung for _, rung in way.rungs) == 3
    assert way.pace.rung == 0
    first_up = next(at for (_, a), (at, b) in pairwise(way.rungs) if b < a)
    assert first_up >= 10


def test_it_tries_less_and_less_often_where_the_way_stays_narrow() -> None:
    way = Way(lambda _: 4.5 * MBIT).run(600)
    tries = [at for (_, a), (at, b) in pairwise(way.rungs) if b < a]
    gaps = [b - a for a, b in pairwise(tries)]
    assert 3 <= len(tries) <= 8
    assert all(later > 1.5 * sooner for sooner, later in pairwise(gaps))


def test_a_long_wide_way_is_not_narrow() -> None:
    way = Way(wide, delay_s=0.15).run(20)
    assert way.pace.rung == 0
    assert way.pace.window(20.0) == 8
    assert way.pace.shown_hz(20.0) >= 22


def test_what_nobody_acknowledges_is_given_up() -> None:
    pace = Pace()
    pace.came(0)
    pace.left(1, 0, 0)
    assert not pace.room(1)
    assert pace.given_up(LOST_S - 0.1) == []
    assert pace.given_up(LOST_S + 0.1) == [1]
    assert pace.room(LOST_S + 0.1)
    assert pace.landed(1, 5, shown=True) is None  # late, and now known to be slow
    pace.left(2, 5, 5)
    assert pace.given_up(14) == []
    assert pace.given_up(16) == [2]
    assert pace.landed(3, 16, shown=True) is False


def test_what_is_not_shown_is_no_trip() -> None:
    pace = Pace()
    pace.came(0)
    pace.left(1, 0, 0)
    assert pace.landed(1, 0.5, shown=False)
    assert not pace.trips
    assert pace.room(0.5)
