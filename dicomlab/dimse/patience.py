"""Trying again what may pass by itself: a connection that broke, a peer that is busy; never what will fail again."""

from __future__ import annotations

import random
from collections.abc import Callable

from dicomlab.errors import DicomlabError, Refused, UsageError
from dicomlab.model.progress import Control

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 20.0

TRANSIENT_STATUSES = frozenset([0xA700, 0xA701, 0xA702, 0x0213])
"""Failures for want of resources (PS3.4 Tables B.2-1, C.4-2, C.4-3; PS3.7 Annex C)."""


class Patience:
    """How often something is tried again, and how long to wait before: twice as long each time, more or less.

    Parameters
    ----------
    control : Control
        Whose cancelling ends the waiting.
    retries : int
        How often, until something gets on.
    note : callable
        Told what is waited for, for the trace.

    Raises
    ------
    UsageError
        A number of retries that can't be.
    """

    def __init__(self, control: Control, retries: int, note: Callable[[str], None] = lambda text: None) -> None:
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 100:
            raise UsageError(f"retries is a number from 0 to 100, not {retries!r}")
        self._control, self._retries, self._note = control, retries, note
        self._failed = 0
        self._reached = False

    def reached(self) -> None:
        """The peer was there once, so it may come back."""
        self._reached = True

    def got_on(self) -> None:
        """Something succeeded: what fails next is counted anew."""
        self._failed = 0

    def again(self, why: DicomlabError | str) -> bool:
        """Wait, and say whether to try again: not if it would fail again, too often, or somebody has cancelled.

        Nobody there at the very first try is no peer that went away, so that is not waited for.
        """
        if isinstance(why, DicomlabError) and not (why.transient and (self._reached or isinstance(why, Refused))):
            return False
        if self._failed >= self._retries or self._control.cancelled:
            return False
        seconds = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**self._failed) * random.uniform(0.5, 1.5)
        self._failed += 1
        self._note(f"{why}; try {self._failed} of {self._retries} again in {seconds:.1f} s")
        return not self._control.wait(seconds)
