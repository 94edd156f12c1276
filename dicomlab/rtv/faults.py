"""What a ``Broadcast`` does wrong on purpose, for teaching and for tests. Patterns, never chance."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary

Switch = TypeVar("Switch")
FLOWS = ("video", "audio", "metadata")


class StreamFaults(Summarised):
    """The switches of one broadcast: ``cast.faults.drop(every=100)``, ``cast.faults.clear()``.

    ``flow`` is ``"video"``, ``"audio"`` or ``"metadata"``; None: all of them. Packets are counted for each flow from
    the moment the switch is turned. While a switch on packets is on, packets are sent one by one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lose: list[tuple[str | None, Sequence[bool]]] = []
        self._overtaken: list[tuple[str | None, int, int]] = []
        self._twice: list[tuple[str | None, int]] = []
        self._counts: Counter[str] = Counter()
        self._held: dict[str, list[tuple[int, bytes]]] = {}
        self._static_held_until_s: float = 0.0
        self.struck: Counter[str] = Counter()
        """How often each has struck."""

    @property
    def on_packets(self) -> bool:
        """Whether a switch on packets is on, or a packet is still held back."""
        return bool(self._lose or self._overtaken or self._twice or any(self._held.values()))

    def drop(self, every: int | None = None, *, pattern: Sequence[bool] = (), flow: str | None = None) -> None:
        """Lose packet number `every`, and so on; or those where `pattern`, which repeats, is true."""
        if (every is None) == (not pattern) or (every is not None and every < 2) or all(pattern or [False]):
            raise UsageError("drop(every=n) with n of at least 2, or drop(pattern=[False, True]) that lets some pass")
        self._add(self._lose, (_flow(flow), list(pattern) or [False] * ((every or 2) - 1) + [True]))

    def reorder(self, every: int, *, overtaken_by: int = 1, flow: str | None = None) -> None:
        """Send packet number `every`, and so on, after the `overtaken_by` that follow it."""
        if every < 2 or not 0 < overtaken_by < every:
            raise UsageError("reorder(every, overtaken_by) with overtaken_by below every")
        self._add(self._overtaken, (_flow(flow), every, overtaken_by))

    def duplicate(self, every: int, *, flow: str | None = None) -> None:
        """Send packet number `every`, and so on, twice."""
        if every < 1:
            raise UsageError("duplicate(every) counts from 1")
        self._add(self._twice, (_flow(flow), every))

    def late_static(self, seconds: float) -> None:
        """Send no static part in the first `seconds` after each start of a SOP Instance."""
        if seconds <= 0:
            raise UsageError("late_static(seconds) takes more than 0")
        with self._lock:
            self._static_held_until_s = seconds

    def holds_static(self, since_start_s: float) -> bool:
        """Whether the static part is held back now."""
        held = since_start_s < self._static_held_until_s
        self.struck["late_static"] += held
        return held

    def clear(self) -> None:
        """Turn everything off. What is held back is sent with the next packet of its flow."""
        with self._lock:
            self._lose.clear()
            self._overtaken.clear()
            self._twice.clear()
            self._counts.clear()
            self._static_held_until_s = 0.0

    def _add(self, switches: list[Switch], one: Switch) -> None:
        with self._lock:
            switches.append(one)
            self._counts.clear()

    def filter(self, flow: str, datagram: bytes) -> list[bytes]:
        """Decide what is sent instead of a packet."""
        with self._lock:
            count = self._counts[flow]
            self._counts[flow] += 1
            held = self._held.setdefault(flow, [])
            for pattern_flow, pattern in self._lose:
                if pattern_flow in (None, flow) and pattern[count % len(pattern)]:
                    self.struck["drop"] += 1
                    return []
            leaving = [datagram]
            for twice_flow, every in self._twice:
                if twice_flow in (None, flow) and (count + 1) % every == 0:
                    self.struck["duplicate"] += 1
                    leaving.append(datagram)
            for late_flow, every, behind in self._overtaken:
                if late_flow in (None, flow) and (count + 1) % every == 0:
                    self.struck["reorder"] += 1
                    held.extend((count + behind, one) for one in leaving)
                    return []
            due = [one for after, one in held if after <= count or not self._overtaken]
            self._held[flow] = [(after, one) for after, one in held if after > count and self._overtaken]
            return leaving + due

    def _summary_(self) -> Summary:
        facts = [(name, str(count)) for name, count in sorted(self.struck.items()) if count]
        notes = ("packets are tampered with",) if self.on_packets else ()
        return Summary("Faults of a broadcast", tuple(facts), notes=notes)


def _flow(name: str | None) -> str | None:
    if name is not None and name not in FLOWS:
        raise UsageError(f"{name!r} is none of {', '.join(FLOWS)}")
    return name
