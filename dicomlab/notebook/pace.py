"""When the next picture may leave for a browser, and how little it has to weigh. No clock, no thread.

What may be under way is a time, not a count: the shortest round trip, and a little for who is late. The shortest trip
is that of a picture that travelled alone. One that others were ahead of tells how long the queue is, and a window made
of that grows by itself: what is under way makes trips long, and long trips let more be under way.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

LOST_S = 2.0
"""A picture that no view acknowledged in this time is given up, or in twice the last trip where that is longer."""
RUNGS = 4
"""As many ways to send a picture, each about a third of the one before."""
_THIRD = 3.0
ENOUGH_HZ = 30.0
"""More pictures than these need not be shown: a way that takes them is not narrow, however fast the source."""
_FEWEST, _FIRST, _MOST = 2, 3, 8
SPAN_S = 2.0
"""Over which rates are taken."""
_ALONE_S = 30.0
"""How long the trip of a picture that travelled alone says something."""
_FEW, _ALL = 0.8, 0.9
"""Parts of what is wanted: below the one the way is narrow, above the other a heavier picture may be tried."""
_FEW_OF_A_BUSY_MACHINE = 0.35
"""The same where the machine has no time to spare, which lighter pictures take more of: what one rung makes up for."""
_BUSY = 1.6
"""So many times as long as it computes does a machine without time to spare take for a picture."""
_TELLS_S = 0.02
"""Of computing: less tells nothing of a clock that ticks in steps."""
_HELPED = 1.2
"""So many times as many pictures have to be shown, or lighter ones are no use."""
_HELD_S = 0.15
"""How long acknowledgements may wait for each other where pictures are many: about six messages a second."""
_IN_COMPANY_HZ = 15.0
_RECENT = 8
"""So many trips say how long one takes now."""
_LOOK_S = 0.5
"""How often it is looked for pictures that nobody acknowledged."""
_CLIMB_S, _LONGEST_CLIMB_S = 10.0, 300.0
_LONGEST_PATIENCE_S = 32.0
_MOST_GIVEN_UP = 256


@dataclass(frozen=True, slots=True)
class Trip:
    """A picture that was shown: when its acknowledgement came, how long after its frame, how long after it left."""

    at_s: float
    latency_s: float
    trip_s: float


@dataclass(frozen=True, slots=True)
class _Sent:
    came_s: float
    left_s: float
    alone: bool
    in_company: bool


class Pace:
    """What is known of the way to a browser."""

    def __init__(self) -> None:
        self.rung = 0
        """How far down the ladder: 0 is a picture as it was asked for."""
        self.trips: deque[Trip] = deque(maxlen=512)
        self._arrivals: deque[float] = deque(maxlen=512)
        self._alone: deque[tuple[float, float]] = deque(maxlen=64)
        self._since: deque[float] = deque(maxlen=32)
        self._under_way: dict[int, _Sent] = {}
        self._given_up: dict[int, _Sent] = {}
        self._patience_s = LOST_S
        self._unheard = False
        self._fresh = True
        self._changed_s = -math.inf
        self._climbed = False
        self._climb_s = _CLIMB_S
        self._prompt_s = -math.inf
        self._made: deque[tuple[float, float]] = deque(maxlen=24)
        self._came_down: tuple[int, float] | None = None
        self._no_use_until_s = -math.inf

    # --- what happens --------------------------------------------------------------------------------------------

    def came(self, now_s: float) -> None:
        """A frame came from the stream."""
        self._arrivals.append(now_s)

    def made(self, took_s: float, computed_s: float) -> None:
        """A picture was encoded, which took so long, and so much of a processor's time."""
        self._made.append((took_s, computed_s))

    def left(self, number: int, came_s: float, now_s: float) -> bool:
        """A picture leaves, of a frame that came at `came_s`; whether its acknowledgement may come with a later one's.

        A kernel answers each message of a page with two that say busy and idle: where pictures are many, these are as
        many, and each makes a notebook draw itself anew, from its tab to the line at its lower end.
        """
        alone = not self._under_way
        in_company = not alone and now_s - self._prompt_s < _HELD_S and self.shown_hz(now_s) > _IN_COMPANY_HZ
        if not in_company:
            self._prompt_s = now_s
        self._under_way[number] = _Sent(came_s, now_s, alone, in_company)
        return in_company

    def landed(self, number: int, now_s: float, *, shown: bool) -> bool | None:
        """A picture was shown at that moment, or was not. Whether it was under way; None where it had been given up."""
        sent = self._under_way.pop(number, None)
        late = self._given_up.pop(number, None) if sent is None else None
        known = sent or late
        if known is None:
            return False
        self._unheard = False
        if shown:
            trip_s = now_s - known.left_s
            self._patience_s = min(max(LOST_S, 2 * trip_s), _LONGEST_PATIENCE_S)
            if sent is not None:
                self.trips.append(Trip(now_s, now_s - sent.came_s, trip_s))
            if known.left_s >= self._changed_s:
                self._learn(trip_s, now_s, alone=sent is not None and sent.alone)
        return None if sent is None else True

    def given_up(self, now_s: float) -> list[int]:
        """The pictures that nobody acknowledged in time; they are under way no more."""
        late = [number for number, sent in self._under_way.items() if now_s - sent.left_s > self._patience_s]
        for number in late:
            self._given_up[number] = self._under_way.pop(number)
            self._unheard = True
        while len(self._given_up) > _MOST_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]
        return late

    def stopped(self) -> None:
        """Nobody looks: what is under way is waited for no more."""
        self._under_way.clear()
        self._fresh = True

    def restarted(self, now_s: float) -> None:
        """Pictures travel another way from now on."""
        self._climbed, self._climb_s = False, _CLIMB_S
        self._came_down, self._no_use_until_s = None, -math.inf
        self._go(0, now_s)

    # --- what follows --------------------------------------------------------------------------------------------

    def room(self, now_s: float) -> bool:
        """Whether one more may leave now. Now and then one waits until it travels alone."""
        if not self._under_way:
            return True
        known = self._alone and now_s - self._alone[-1][0] <= _ALONE_S / 2
        if not known and not self._unheard:
            return False
        usual_s = self._usual_s()
        drawn = sum(sent.in_company and now_s - sent.left_s > usual_s for sent in self._under_way.values())
        return len(self._under_way) - drawn < self.window(now_s)

    def wait_s(self, now_s: float) -> float | None:
        """After how long :meth:`room` or :meth:`given_up` may say something else by time alone; None: never."""
        if not self._under_way:
            return None
        usual_s = self._usual_s()
        ages = (now_s - sent.left_s for sent in self._under_way.values() if sent.in_company)
        return min((usual_s - age + 0.001 for age in ages if age <= usual_s), default=_LOOK_S)

    def _usual_s(self) -> float:
        """How long pictures take now, queue and all: who waits for company and left before that was drawn by now."""
        recent = list(itertools.islice(reversed(self.trips), _RECENT))
        return statistics.median(trip.trip_s for trip in recent) if recent else math.inf

    def window(self, now_s: float) -> int:
        """How many pictures may be under way."""
        alone = [trip_s for at_s, trip_s in self._alone if now_s - at_s <= _ALONE_S]
        if not alone:
            return _FIRST
        shown_hz = max(self.shown_hz(now_s, span_s) for span_s in (SPAN_S, SPAN_S / 4))  # soon, when they get more
        return min(_MOST, max(_FEWEST, math.ceil((statistics.median(alone) + self._late_s(now_s)) * shown_hz)))

    def _late_s(self, now_s: float) -> float:
        """How long a picture may wait for those ahead of it: a frame of the source, and no more of a slow one's."""
        return 1 / max(self.received_hz(now_s), ENOUGH_HZ)

    def received_hz(self, now_s: float) -> float:
        """Frames that came, in a second."""
        return _rate(self._arrivals, now_s, SPAN_S)

    def shown_hz(self, now_s: float, span_s: float = SPAN_S) -> float:
        """Pictures that were shown, in a second."""
        return _rate((trip.at_s for trip in self.trips), now_s, span_s)

    def _learn(self, trip_s: float, now_s: float, *, alone: bool) -> None:
        """From a picture that left since the last change; the first one begins the time over which is counted."""
        if self._fresh:
            self._changed_s, self._fresh = now_s, False
        self._since.append(trip_s)
        if alone:
            self._alone.append((now_s, trip_s))
        span_s = now_s - self._changed_s
        if self._busy():  # with a page that begins, perhaps
            enough = span_s >= 2 * SPAN_S
        else:
            enough = span_s >= SPAN_S or (span_s >= SPAN_S / 2 and len(self._since) >= 8)
        if enough:
            self._step(now_s, min(span_s, SPAN_S))

    def _step(self, now_s: float, span_s: float) -> None:
        """Go down where too few are shown, as far as the missing part says; back where that is no use; up in time."""
        shown_hz = self.shown_hz(now_s, span_s)
        part = shown_hz / min(max(_rate(self._arrivals, now_s, span_s), 0.1), ENOUGH_HZ)
        busy = self._busy()
        if part >= _FEW:
            self._came_down = None
        if part < (_FEW_OF_A_BUSY_MACHINE if busy else _FEW) and self._queued(now_s):
            if self._came_down is not None and shown_hz < _HELPED * self._came_down[1]:
                self._no_use_until_s = now_s + self._later()
                self._go(self._came_down[0], now_s)
                self._came_down = None
            elif self.rung < RUNGS - 1 and now_s >= self._no_use_until_s:
                rungs = 1 if self._climbed else max(1, round(math.log(1 / max(part, 0.01), _THIRD)))
                if self._climbed:
                    self._later()
                self._came_down, self._climbed = (self.rung, shown_hz), False
                self._go(min(RUNGS - 1, self.rung + rungs), now_s)
        elif self.rung and (part > _ALL or busy) and now_s - self._changed_s >= self._climb_s:
            if self._climbed:
                self._climb_s = _CLIMB_S
            self._climbed = True
            self._go(self.rung - 1, now_s)

    def _busy(self) -> bool:
        took_s, computed_s = (sum(times) for times in zip(*self._made, strict=True)) if self._made else (0.0, 0.0)
        return computed_s >= _TELLS_S and took_s > _BUSY * computed_s

    def _queued(self, now_s: float) -> bool:
        """Whether pictures wait for each other on the way. Trips that are long by themselves say only that it is."""
        if not self._alone:
            return False
        alone_s = statistics.median(trip_s for _, trip_s in self._alone)
        return statistics.median(list(self._since)[-8:]) > alone_s + self._late_s(now_s) / 2

    def _later(self) -> float:
        """After a try that failed: how long it was to the next, which is twice as far away from now on."""
        was, self._climb_s = self._climb_s, min(2 * self._climb_s, _LONGEST_CLIMB_S)
        return was

    def _go(self, rung: int, now_s: float) -> None:
        """Pictures weigh something else from now on; what is known of the way is of those that left before."""
        self.rung, self._changed_s, self._fresh = rung, now_s, True
        self._since.clear()
        self._alone.clear()


def _rate(times: Iterable[float], now_s: float, span_s: float) -> float:
    return sum(now_s - one <= span_s for one in times) / span_s
