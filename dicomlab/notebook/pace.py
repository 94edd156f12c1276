"""When the next picture may leave for a browser, and how little it has to weigh. No clock, no thread.

What may be under way is a time, not a count: the shortest round trip, and a little for who is late. The shortest trip
is that of a picture that travelled alone. One that others were ahead of tells how long the queue is, and a window made
of that grows by itself: what is under way makes trips long, and long trips let more be under way.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

LOST_S = 2.0
"""A picture that no view acknowledged in this time is given up, or in twice the last trip where that is longer."""
RUNGS = 4
"""As many ways to send a picture, each about a third of the one before."""
_LATE_S = 0.07
"""How long pictures may wait on their way in all, beyond the shortest trip."""
_FEWEST, _FIRST, _MOST = 2, 3, 8
SPAN_S = 2.0
"""Over which rates are taken."""
_ALONE_S = 30.0
"""How long the trip of a picture that travelled alone says something."""
_NARROW_S = 0.15
_QUEUE = 1.4
"""Round trips above this, and so many times as long as that of a picture that travelled alone, say that the way is
narrow, where pictures are passed over as well. Long ones alone say only that it is long."""
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
        self._changed_s = -math.inf
        self._climbed = False
        self._climb_s = _CLIMB_S

    # --- what happens --------------------------------------------------------------------------------------------

    def came(self, now_s: float) -> None:
        """A frame came from the stream."""
        if not self._arrivals:
            self._changed_s = now_s
        self._arrivals.append(now_s)

    def left(self, number: int, came_s: float, now_s: float) -> None:
        """A picture leaves, of a frame that came at `came_s`."""
        self._under_way[number] = _Sent(came_s, now_s, not self._under_way)

    def landed(self, number: int, now_s: float, *, shown: bool) -> bool | None:
        """A picture is acknowledged; whether it was under way, None where it had been given up."""
        sent = self._under_way.pop(number, None)
        late = self._given_up.pop(number, None) if sent is None else None
        known = sent or late
        if known is None:
            return False
        self._unheard = False
        if shown:
            trip_s = now_s - known.left_s
            self._since.append(trip_s)
            self._patience_s = min(max(LOST_S, 2 * trip_s), _LONGEST_PATIENCE_S)
            if sent is not None:
                self.trips.append(Trip(now_s, now_s - sent.came_s, trip_s))
                if sent.alone:
                    self._alone.append((now_s, trip_s))
            self._step(now_s)
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

    def restarted(self, now_s: float) -> None:
        """Pictures travel another way from now on."""
        self.rung, self._climbed, self._climb_s = 0, False, _CLIMB_S
        self._changed(now_s)

    # --- what follows --------------------------------------------------------------------------------------------

    def room(self, now_s: float) -> bool:
        """Whether one more may leave now. Now and then one waits until it travels alone."""
        if not self._under_way:
            return True
        known = self._alone and now_s - self._alone[-1][0] <= _ALONE_S / 2
        if not known and not self._unheard:
            return False
        return len(self._under_way) < self.window(now_s)

    @property
    def waits(self) -> bool:
        """Whether any picture is under way."""
        return bool(self._under_way)

    def window(self, now_s: float) -> int:
        """How many pictures may be under way."""
        alone = [trip_s for at_s, trip_s in self._alone if now_s - at_s <= _ALONE_S]
        if not alone:
            return _FIRST
        return min(_MOST, max(_FEWEST, math.ceil((min(alone) + _LATE_S) * self.shown_hz(now_s))))

    def received_hz(self, now_s: float) -> float:
        """Frames that came, in a second."""
        return _rate(self._arrivals, now_s, SPAN_S)

    def shown_hz(self, now_s: float) -> float:
        """Pictures that were shown, in a second."""
        return _rate((trip.at_s for trip in self.trips), now_s, SPAN_S)

    def _step(self, now_s: float) -> None:
        """Go a rung down where the way is narrow; up again where it has been wide for long enough."""
        span_s = now_s - self._changed_s
        if span_s < 1 or len(self._since) < 3:
            return
        span_s = min(span_s, SPAN_S)
        part = _rate((trip.at_s for trip in self.trips), now_s, span_s) / max(_rate(self._arrivals, now_s, span_s), 0.1)
        enough = len(self._since) >= 8 or min(self._since) > 4 * _NARROW_S
        queued = _QUEUE * min((trip_s for _, trip_s in self._alone), default=0.0)
        usual = statistics.median(list(self._since)[-8:])
        if enough and part < 0.8 and usual > max(_NARROW_S, queued) and self.rung < RUNGS - 1:
            if self._climbed:
                self._climb_s = min(2 * self._climb_s, _LONGEST_CLIMB_S)
            self.rung, self._climbed = self.rung + 1, False
            self._changed(now_s)
        elif self.rung and now_s - self._changed_s >= self._climb_s and part > 0.9 and max(self._since) < _NARROW_S:
            if self._climbed:
                self._climb_s = _CLIMB_S
            self.rung, self._climbed = self.rung - 1, True
            self._changed(now_s)

    def _changed(self, now_s: float) -> None:
        self._changed_s = now_s
        self._since.clear()
        self._alone.clear()


def _rate(times: Iterable[float], now_s: float, span_s: float) -> float:
    return sum(now_s - one <= span_s for one in times) / span_s
