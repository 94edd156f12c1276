"""The events of an archive's work items, read in the process that keeps them."""

from __future__ import annotations

import threading
import time
from collections import deque

from dicomlab.model.workitem import EventReport
from dicomlab.model.workitem_service import WorkItemHoldings


class StoreChannel:
    """Events for one receiver as they are kept; each is acknowledged when it is taken. Satisfies ``EventChannel``."""

    def __init__(self, holdings: WorkItemHoldings, receiver: str) -> None:
        self._holdings, self._receiver = holdings, receiver
        self._after = holdings.acknowledged(receiver)
        self._ready: deque[EventReport] = deque()
        self._more = threading.Event()
        self._more.set()
        self._closed = False
        self._end = holdings.watch(self._wake)

    def _wake(self, receiver: str) -> None:
        if receiver == self._receiver:
            self._more.set()

    def next(self, timeout_s: float | None) -> EventReport | None:
        """Wait for the next event."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._closed:
            if not self._ready:
                self._more.clear()
                self._ready.extend(self._holdings.events(self._receiver, self._after))
            if self._ready:
                event = self._ready.popleft()
                self._after = event.sequence
                self._holdings.acknowledge(self._receiver, event.sequence)
                return event
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._more.wait(left)
        return None

    def close(self) -> None:
        """Let it go."""
        self._closed = True
        self._end()
        self._more.set()
