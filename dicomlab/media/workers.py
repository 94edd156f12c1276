"""Processes that read files for a scan, and are replaced when one of them gives no answer.

A process can be ended where a thread can't: one that waits for a medium that has gone, or never comes to an end of a
file, costs the scan its patience and no more.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import suppress
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

_START_S = 60.0
"""What a process may take to start and import."""
_Task = tuple[Future[Any], float, Callable[[], Any]]


class Processes(Executor):
    """So many processes, each started at its first task.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._closed = False
        self.answers = 0
        """Tasks that were answered: none where processes can't even start."""
        self._threads = [
            threading.Thread(target=self._drive, name="dicomlab worker", daemon=True) for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a function of an importable module called, however long it takes."""
        return self.submit_within(float("inf"), fn, *args, **kwargs)

    def submit_within(self, timeout_s: float, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Have a function called; without an answer in that time its process is ended and the future a TimeoutError."""
        if self._closed:
            raise BrokenExecutor("these processes take no more work")
        future: Future[Any] = Future()
        self._tasks.put((future, timeout_s, partial(fn, *args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more work; end the processes when what was given is done, or at once what has not begun."""
        if self._closed:
            return
        self._closed = True
        while cancel_futures and not self._tasks.empty():
            if (task := self._tasks.get()) is not None:
                task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _drive(self) -> None:
        """Give one process its tasks; this thread waits for it."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, timeout_s, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                worker = worker or _Worker()
                found = worker.answer(call, timeout_s)
                self.answers += 1
                future.set_result(found)
            except Exception as error:  # noqa: BLE001  (the future tells it to whoever asked)
                if worker is not None and not isinstance(error, _Raised):
                    worker.end()
                    worker = None
                future.set_exception(error)
        if worker is not None:
            worker.end()


class _Raised(BrokenExecutor):
    """The function itself raised; its process is well."""


class _Worker:
    def __init__(self) -> None:
        forks = "forkserver" in get_all_start_methods()
        context: Any = get_context("forkserver" if forks else "spawn")
        if forks:  # imported once, for all
            context.set_forkserver_preload(["dicomlab.media.chunk"])
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="dicomlab worker", daemon=True)
        self._process.start()
        theirs.close()
        self._started = False

    def answer(self, call: Callable[[], Any], timeout_s: float) -> Any:
        try:
            if not self._started and not self._pipe.poll(_START_S):
                raise BrokenExecutor("a process does not start")
            self._started = self._started or bool(self._pipe.recv())
            self._pipe.send(call)  # once it listens: a long task does not fit into a pipe that nobody reads
            if not self._pipe.poll(None if timeout_s == float("inf") else timeout_s):
                raise TimeoutError(f"no answer in {timeout_s:g} s")
            raised, found = self._pipe.recv()
        except (EOFError, ConnectionError) as error:
            raise BrokenExecutor("the process has died") from error
        if raised:
            raise _Raised(found)
        return found

    def end(self) -> None:
        """End it, whatever it does; one that the system itself can't end is not waited for."""
        self._process.kill()
        self._process.join(1)
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """Answer until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who interrupts means the scan, which then ends us
    with suppress(EOFError, ConnectionError):
        pipe.send(True)
        while True:
            call = pipe.recv()
            try:
                found = False, call()
            except Exception as error:  # noqa: BLE001  (told to whoever asked)
                found = True, f"{type(error).__name__}: {error}"
            pipe.send(found)
