"""Work with one server that several conversations share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from queue import Queue
from typing import Generic, TypeVar

from dicomlab.errors import UsageError
from dicomlab.model.progress import Control
from dicomlab.web.http import Conversation, Site

MAX_STREAMS = 32
T = TypeVar("T")


def checked(streams: int) -> int:
    """Check a number of streams.

    Raises
    ------
    UsageError
        It is none, or too many.
    """
    if isinstance(streams, bool) or not isinstance(streams, int) or not 1 <= streams <= MAX_STREAMS:
        raise UsageError(f"streams is a number from 1 to {MAX_STREAMS}, not {streams!r}")
    return streams


class Streams(Generic[T]):
    """Does `work` for each unit, on as many conversations as there are streams; the first failure ends all.

    Parameters
    ----------
    site : Site
    control : Control
        Once it is cancelled no unit is begun.
    work : callable
        Gets a conversation and a unit; in a thread of its own, unless there is one stream.
    streams : int
        Conversations at once, at most.
    break_off : bool
        Whether what is under way breaks off when somebody cancels or a stream fails; else it is finished.
    """

    def __init__(
        self, site: Site, control: Control, work: Callable[[Conversation, T], None], streams: int, *, break_off: bool
    ) -> None:
        self._site, self._control, self._work, self._streams = site, control, work, streams
        self._break_off = break_off
        self._waiting: Queue[T | None] = Queue(1)
        self._threads: list[threading.Thread] = []
        self._open: list[Conversation] = []
        self._failures: list[BaseException] = []

    def run(self, units: Iterable[T]) -> None:
        """Run through the units in the caller's thread, one ahead of the streams, and wait for the end of all.

        Raises
        ------
        Exception
            What the first failing stream, or `units`, raised.
        """
        if self._streams == 1:
            with self._conversation() as http:
                for unit in units:
                    if not self._control.cancelled:
                        self._work(http, unit)
                    if self._control.cancelled:
                        return
            return
        try:
            for unit in units:
                if not self._ending:
                    self._give(unit)
                if self._ending:
                    break
        finally:
            self._join()
        if self._failures:
            raise self._failures[0]

    @property
    def _ending(self) -> bool:
        return bool(self._failures) or self._control.cancelled

    @contextmanager
    def _conversation(self) -> Iterator[Conversation]:
        with Conversation(self._site, self._control) as http:
            self._open.append(http)
            if not self._break_off:
                yield http
                return
            with self._control.on_cancel(http.shut):
                yield http

    def _give(self, unit: T) -> None:
        if len(self._threads) < self._streams:
            thread = threading.Thread(target=copy_context().run, args=(self._stream,), name="dicomlab web", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._waiting.put(unit)

    def _stream(self) -> None:
        """Take units until there are no more; after a failure take them and do nothing, so that nobody waits."""
        with self._conversation() as http:
            while (unit := self._waiting.get()) is not None:
                if self._ending:
                    continue
                try:
                    self._work(http, unit)
                except Exception as error:  # noqa: BLE001  (carried to the caller's thread)
                    self._failures.append(error)
                    if self._break_off:
                        self._shut()

    def _shut(self) -> None:
        for one in self._open:
            one.shut()

    def _join(self) -> None:
        try:
            for _ in self._threads:
                self._waiting.put(None)
            for thread in self._threads:
                thread.join()
        except BaseException:  # somebody waits no longer
            self._shut()
            raise
