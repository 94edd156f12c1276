"""How a long verb says how far it is, and how it is stopped. The same on every path."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from dicomlab.model.links import above
from dicomlab.model.summary import Summarised, Summary, visible

T = TypeVar("T")

OnProgress = Callable[["Progress"], None]


@dataclass(frozen=True, slots=True)
class Progress:
    """A snapshot. ``total`` is None while nobody knows it; ``octets`` counts data set octets."""

    done: int
    failed: int
    total: int | None
    octets: int
    elapsed_s: float


class Control:
    """What a long verb shares with the path that carries it out: progress in, cancellation out.

    Thread-safe, and :meth:`cancel` is safe in a signal handler: it takes no lock, which the interrupted thread or one
    that waits for it might hold. A path calls :meth:`advance`; it looks at :attr:`cancelled` between messages, and
    registers with :meth:`on_cancel` what must happen at once when somebody cancels while it waits for the peer.
    """

    def __init__(self, on_progress: OnProgress | None = None, total: int | None = None) -> None:
        self._lock = threading.RLock()  # of the counters only
        self._cancelled = False
        self._wake: SimpleQueue[None] = SimpleQueue()  # threading.Event.set() in a signal handler can wait for ever
        self._callbacks: list[Callable[[], None]] = []
        self._started = time.monotonic()
        self._on_progress = on_progress
        self._done = self._failed = self._octets = 0
        self.total = total

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        elapsed = time.monotonic() - self._started
        return Progress(self._done, self._failed, self.total, self._octets, elapsed)

    def advance(self, done: int = 1, *, failed: int = 0, octets: int = 0) -> None:
        """Count what was finished since the last call."""
        with self._lock:
            self._done += done
            self._failed += failed
            self._octets += octets
            if self._on_progress:
                self._on_progress(self.progress)

    def cancel(self) -> None:
        """Ask to stop; what arrived is kept. May be called from any thread and more than once."""
        self._cancelled = True
        self._wake.put(None)
        with ExitStack() as stack:  # one that fails keeps none of the others from being called
            for callback in reversed(self._callbacks.copy()):
                stack.callback(callback)

    @contextmanager
    def on_cancel(self, callback: Callable[[], None]) -> Iterator[None]:
        """Have `callback` called once if cancellation comes inside the block (or has come already).

        It may run in any thread and in a signal handler: it must be short and must not wait. Where another thread
        cancels as the block ends, it may run just after the block.
        """
        pending = deque([callback])  # taken out by whoever calls it: threads, and a signal in the midst of this

        def once() -> None:
            try:
                call = pending.pop()
            except IndexError:
                return
            call()

        self._callbacks.append(once)  # before looking: whoever cancels now finds it
        try:
            if self.cancelled:
                once()
            yield
        finally:
            self._callbacks.remove(once)

    def wait(self, seconds: float) -> bool:
        """Sleep, but wake when cancelled; True if cancelled."""
        with suppress(Empty):
            self._wake.get(timeout=max(0.0, seconds))
            self._wake.put(None)  # others may wait too
        return self._cancelled


_running: ContextVar[Control | None] = ContextVar("dicomlab_running", default=None)
"""The verb that is being carried out here, so that the verbs it uses end with it."""


def pause(seconds: float) -> bool:
    """Sleep as a part of the verb that is carried out here; wake when it is cancelled, and say so."""
    control = _running.get()
    if control is None:
        time.sleep(seconds)
        return False
    return control.wait(seconds)


@contextmanager
def ended_by_cancel(callback: Callable[[], None]) -> Iterator[None]:
    """Have `callback` called if the verb that is carried out here is cancelled inside the block."""
    control = _running.get()
    if control is None:
        yield
        return
    with control.on_cancel(callback):
        yield


@contextmanager
def _first_interrupt_cancels(control: Control) -> Iterator[None]:
    """In the main thread: the first SIGINT cancels `control`, a second one raises KeyboardInterrupt."""

    def handle(signum: int, frame: Any) -> None:
        if control.cancelled:
            raise KeyboardInterrupt
        control.cancel()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before if before is not None else signal.default_int_handler)


def _bar(control: Control, title: str, unit: str) -> ExitStack:
    """A tqdm bar that appears when the work takes longer than a second, unless ``TQDM_DISABLE`` is set."""
    from tqdm.auto import tqdm

    stack = ExitStack()
    off = os.environ.get("TQDM_DISABLE", "") not in ("", "0")  # which tqdm passes over in notebooks
    bar = stack.enter_context(
        tqdm(desc=title, unit=f" {unit}", total=control.total, delay=1.0, leave=False, disable=off)
    )

    def show(progress: Progress) -> None:
        bar.total = progress.total
        bar.update(progress.done - bar.n)

    control._on_progress = show
    return stack


class Operation(Summarised, Generic[T]):
    """A verb that goes on in the background.

    ``result()`` waits for it, ``progress`` tells how far it is, ``cancel()`` ends it cleanly: ``result()`` then
    returns what arrived.
    """

    def __init__(self, title: str, work: Callable[[Control], T], control: Control) -> None:
        self.title = title
        self._control = control
        self._result: T | None = None
        self._error: BaseException | None = None
        context = copy_context()
        self._thread = threading.Thread(
            target=context.run, args=(self._run, work), name=f"dicomlab {title}", daemon=True
        )
        self._thread.start()

    def _run(self, work: Callable[[Control], T]) -> None:
        try:
            self._result = work(self._control)
        except BaseException as error:  # noqa: BLE001  (carried to the thread that asks for the result)
            self._error = error

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        return self._control.progress

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait for the end, at most so long; whether it has come."""
        self._thread.join(timeout_s)
        return self.done

    def cancel(self) -> None:
        """End it cleanly; what arrived is in ``result()``."""
        self._control.cancel()

    def result(self, timeout_s: float | None = None) -> T:
        """Wait for the end and give the result, or raise what it raised.

        Raises
        ------
        TimeoutError
            It goes on after `timeout_s` seconds.
        """
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.title} goes on after {timeout_s} s")
        if self._error is not None:
            raise self._error
        return self._result  # type: ignore[return-value]

    @property
    def outcome(self) -> str:
        """How it ended, in one line; empty while it goes on."""
        if not self.done:
            return ""
        if self._error is not None:
            return visible(str(self._error), 500) or type(self._error).__name__
        if getattr(self._result, "complete", True):
            return "ended"
        note = visible(str(getattr(self._result, "note", "")), 300)
        return f"not complete: {note}" if note else "not complete"

    def _summary_(self) -> Summary:
        progress, outcome = self.progress, self.outcome
        state = "running"
        if outcome:
            state = "ended" if self._error is None else f"✗ ended with {type(self._error).__name__}"
        of = f" of {progress.total}" if progress.total is not None else ""
        facts = (
            ("state", state),
            ("done", f"{progress.done}{of}"),
            ("failed", str(progress.failed)),
            ("octets", f"{progress.octets:,}"),
        )
        notes = (outcome,) if outcome not in ("", "ended") else ()
        return Summary(f"Operation: {self.title}", facts, notes=notes)

    def _repr_mimebundle_(self, **_: Any) -> Any:
        return above("transfer")(self)._repr_mimebundle_()


@dataclass(slots=True)
class Work(Generic[T]):
    """One long verb, ready to be carried out in front or in the background."""

    title: str
    unit: str
    run: Callable[[Control], T]
    total: int | None = None
    progress: bool | OnProgress = field(default=True)

    def carry_out(self, *, background: bool = False) -> T | Operation[T]:
        """Do it: wait with a bar and an interrupt that cancels, or return the running :class:`Operation`."""
        given = self.progress if callable(self.progress) else None
        control = Control(given, self.total)
        outer = _running.get()
        if background:
            return Operation(self.title, self._run, control)
        with ExitStack() as stack:
            if outer is not None:
                stack.enter_context(outer.on_cancel(control.cancel))
            else:
                stack.enter_context(_first_interrupt_cancels(control))
                if self.progress is True:
                    stack.enter_context(_bar(control, self.title, self.unit))
            return self._run(control)

    def _run(self, control: Control) -> T:
        token = _running.set(control)
        try:
            return self.run(control)
        finally:
            _running.reset(token)
