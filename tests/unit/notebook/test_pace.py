"""How pictures are paced, on ways whose width and length are known: virtual time, no thread."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import ClassVar

import pytest

from dicomlab.notebook.pace import LOST_S, RUNGS, Pace

MBIT = 125_000.0
"""Octets in a second."""


AROUND = 700
"""Octets around a picture, in a message of Jupyter's."""
STATUSES = 2 * 550
"""Octets by which a kernel says that it was busy with a message and is idle again."""
HELD_S = 0.3
"""How long a page keeps an acknowledgement that may come with a later one."""


@dataclass
class Way:
    """A source, a link that is a queue, a browser: all by one clock that nobody waits for."""

    octets_s: Callable[[float], float]
    delay_s: float = 0.01
    source_hz: float = 30.0
    octets_of: ClassVar[Sequence[int]] = (56_000, 16_500, 5_000, 1_700)
    octets: Sequence[int] = octets_of
    draws_s: float = 0.01
    computes: tuple[float, float] = (0.006, 0.006)
    """Seconds that encoding takes, and those of them for which it has a processor."""
    pace: Pace = field(default_factory=Pace)
    sent: int = 0
    messages: int = 0
    most_under_way: int = 0
    """That were not drawn yet."""
    rungs: list[tuple[float, int]] = field(default_factory=lambda: [(0.0, 0)])

    def run(self, seconds: float) -> Way:
        """Frames for so long."""
        waiting: float | None = None
        free_s = drawn_s = looks_s = 0.0
        events: list[tuple[float, str, list[tuple[int, float]]]] = [
            (at / self.source_hz, "frame", []) for at in range(int(seconds * self.source_hz))
        ]
        heapq.heapify(events)
        under_way: set[int] = set()
        in_company: dict[int, bool] = {}
        kept: list[tuple[int, float]] = []
        while events:
            now, what, pictures = heapq.heappop(events)
            if what == "frame":
                self.pace.came(now)
                waiting = now
            elif what == "drawn":
                kept += pictures
                under_way -= {number for number, _ in pictures}
                (number, _), hold = pictures[0], in_company.pop(pictures[0][0])
                heapq.heappush(events, (now + HELD_S, "flush", [(number, now)]) if hold else (now, "flush", pictures))
            elif what == "flush":
                if set(pictures) & set(kept):
                    heapq.heappush(events, (now + self.delay_s, "told", kept))
                    kept = []
            elif what == "told":
                self.messages += 1
                free_s = max(free_s, now) + STATUSES / self.octets_s(now)
                for number, at_s in pictures:
                    self.pace.landed(number, at_s + self.delay_s, shown=True)
            under_way -= set(self.pace.given_up(now))
            if waiting is not None and self.pace.room(now):
                self.sent += 1
                self.pace.made(*self.computes)
                in_company[self.sent] = self.pace.left(self.sent, waiting, now)
                under_way.add(self.sent)
                waiting = None
                free_s = max(free_s, now) + (self.octets[self.pace.rung] + AROUND) / self.octets_s(now)
                drawn_s = max(drawn_s, free_s + self.delay_s) + self.draws_s
                heapq.heappush(events, (drawn_s, "drawn", [(self.sent, drawn_s)]))
            elif waiting is not None and not looks_s > now and (wait_s := self.pace.wait_s(now)) is not None:
                looks_s = now + wait_s
                heapq.heappush(events, (looks_s, "look", []))
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


def fits(mbit: float, rung: int) -> bool:
    """Whether a line carries thirty pictures of that rung in a second, with what travels around them."""
    return 30 * (Way.octets_of[rung] + AROUND + STATUSES / 2) <= mbit * MBIT


@pytest.mark.parametrize("source_hz", [30, 60])
@pytest.mark.parametrize("mbit", [50, 20, 6, 2, 0.8])
def test_a_narrow_way_is_gone_down_to_where_thirty_a_second_fit(mbit: float, source_hz: float) -> None:
    way = Way(lambda _: mbit * MBIT, source_hz=source_hz).run(10)  # before it is tried again
    heaviest = next((rung for rung in range(RUNGS) if fits(mbit, rung)), RUNGS - 1)
    assert way.rungs[-1][1] == heaviest
    assert way.pace.shown_hz(10.0) >= 28
    assert way.latencies(7)[-1] < 0.25


def test_where_nothing_fits_a_few_pictures_are_under_way() -> None:
    way = Way(lambda _: 0.2 * MBIT).run(60)
    assert way.pace.rung == RUNGS - 1
    assert way.latencies(0)[-1] < 6 * 56_000 / (0.2 * MBIT) + 0.2
    assert way.latencies(40)[-1] < 0.6


def test_what_is_passed_over_of_a_fast_source_makes_no_way_narrow() -> None:
    """A page that draws 33 a second gets them as they were asked for, and no later than it must."""
    way = Way(wide, draws_s=0.03, source_hz=60).run(30)
    assert way.rungs == [(0.0, 0)]
    assert way.pace.shown_hz(30.0) >= 30
    assert way.latencies(5)[-1] < 0.055 + 3 * 0.03


def test_lighter_pictures_are_taken_back_where_they_are_no_use() -> None:
    way = Way(wide, draws_s=0.1).run(300)
    tries = [at for at, rung in way.rungs if rung]
    assert way.pace.rung == 0 or way.rungs[-1][0] > 298
    assert 2 <= len(tries) <= 7
    light_s = sum(end - start for (start, rung), (end, _) in pairwise(way.rungs) if rung)
    assert light_s < 0.05 * 300


def test_a_machine_without_time_to_spare_is_no_narrow_way() -> None:
    """Lighter pictures would take more of what is missing; where but a third is shown, they are tried all the same."""
    busy = Way(wide, draws_s=0.055, computes=(0.016, 0.008)).run(60)
    assert busy.rungs == [(0.0, 0)]
    assert Way(wide, draws_s=0.055).run(60).rungs != busy.rungs
    assert Way(lambda _: 2 * MBIT, computes=(0.016, 0.008)).run(10).pace.rung > 0


def test_a_machine_without_time_to_spare_goes_back_to_what_is_soonest_made() -> None:
    way = Way(lambda now: (2 if now < 5 else 100) * MBIT, draws_s=0.05, computes=(0.016, 0.008)).run(60)
    assert 0 < way.rungs[1][0] < 5
    assert way.pace.rung == 0


def test_a_clock_that_ticks_in_steps_makes_no_machine_busy() -> None:
    assert Way(lambda _: 2 * MBIT, computes=(0.006, 0.0)).run(10).rungs == Way(lambda _: 2 * MBIT).run(10).rungs


def test_a_pause_says_nothing_of_the_way() -> None:
    """What came while nobody looked was not to be shown."""
    pace = Pace()
    for number in range(300):
        now = number / 30
        pace.came(now)
        if number == 60:
            pace.stopped()
        if not 60 <= number < 240:
            pace.left(number, now, now)
            pace.landed(number, now + 0.03 + (0.1 if number > 240 else 0), shown=True)
        assert pace.rung == 0


def test_where_pictures_are_many_two_are_acknowledged_at_once() -> None:
    many, few = Way(wide).run(20), Way(wide, source_hz=10).run(20)
    assert many.messages < 0.6 * many.sent
    assert few.messages == few.sent


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
