"""How far a transfer is, with a button that ends it: the face of an ``Operation``."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.html import Markup
from dicomlab.notebook.widget import Face

if TYPE_CHECKING:
    from dicomlab.model.progress import Operation

LOOKS_HZ = 5.0
_SPAN = 15
"""Looks over which the rate is taken."""


class Watch:
    """Looks at an operation some times a second until it ends, is told to stop, or nobody is there to be told.

    Parameters
    ----------
    operation : Operation
    tell, ended : weakref.WeakMethod
        Take how far it is, and that it has ended.
    """

    def __init__(
        self,
        operation: Operation[Any],
        tell: weakref.WeakMethod[Callable[[dict[str, Any]], None]],
        ended: weakref.WeakMethod[Callable[[], None]],
    ) -> None:
        self._operation, self._tell, self._ended = operation, tell, ended
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=_SPAN)
        self._end = False
        self._thread = threading.Thread(target=self._run, name="dicomlab progress", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        told = None
        while not self._end:
            done = self._operation.wait(1 / LOOKS_HZ)
            tell, ended = self._tell(), self._ended()
            if tell is None or ended is None:
                return
            line = self.line()
            if line != told:
                tell(line)
                told = line
            if done:
                ended()
                return
            del tell, ended

    def stop(self, *, at_end: bool = False) -> None:
        """Look no more, or once it has ended; that is so when this returns."""
        self._end = self._end or not at_end
        if self._thread is not threading.current_thread():
            self._thread.join(10)

    def line(self) -> dict[str, Any]:
        """How far it is, with its rate over the last seconds."""
        progress = self._operation.progress
        self._looks.append((progress.elapsed_s, progress.done, progress.octets))
        then, done, octets = self._looks[0]
        span = progress.elapsed_s - then
        rate_hz = (progress.done - done) / span if span > 0 else 0.0
        left = (progress.total - progress.done) / rate_hz if progress.total is not None and rate_hz > 0 else None
        return {
            "done": progress.done, "failed": progress.failed, "total": progress.total, "octets": progress.octets,
            "rate_hz": round(rate_hz, 1), "octets_per_s": round((progress.octets - octets) / span) if span > 0 else 0,
            "left_s": None if left is None else round(left), "elapsed_s": round(progress.elapsed_s),
        }  # fmt: skip


class TransferView(Face):
    """Shows an operation that goes on: a bar, rates, failures, and a button that ends it."""

    _script = "transfer"

    def __init__(self, operation: Operation[Any]) -> None:
        self.operation = operation
        super().__init__(
            title=visible(operation.title, 80), progress=None, done=operation.done, note="", stopping=False
        )
        self._watch = Watch(operation, weakref.WeakMethod(self._progressed), weakref.WeakMethod(self._finished))

    def _progressed(self, line: dict[str, Any]) -> None:
        self._follow(progress=line)

    def _finished(self) -> None:
        self._tell(done=True, note=self.operation.outcome)

    def _on_stop(self, _: Mapping[str, Any]) -> None:
        self._tell(stopping=True)
        self.operation.cancel()

    def close(self) -> None:
        """End it; the operation goes on."""
        self._watch.stop()
        super().close()

    def _twin(self) -> tuple[Summary, Markup | None]:
        return self.operation._summary_(), None


def watch(operation: Operation[Any]) -> TransferView:
    """Show an operation."""
    return TransferView(operation)
