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
    """Looks at an operation some times a second until it ends; tells how far it is, then that it has ended."""

    def __init__(
        self, operation: Operation[Any], tell: Callable[[dict[str, Any]], object], ended: Callable[[], None]
    ) -> None:
        self._operation, self._tell, self._ended = operation, tell, ended
        self._looks: deque[tuple[float, int, int]] = deque(maxlen=_SPAN)
        self.thread = threading.Thread(target=self._run, name="dicomlab progress", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        told = None
        while True:
            done = self._operation.wait(1 / LOOKS_HZ)
            line = self.line()
            if line != told:
                self._tell(line)
                told = line
            if done:
                self._ended()
                return

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
        me = weakref.ref(self)

        def tell(line: dict[str, Any]) -> None:
            if (alive := me()) is not None:
                alive._tell(progress=line)

        def ended() -> None:
            if (alive := me()) is not None:
                alive._tell(done=True, note=operation.outcome)

        self._watch = Watch(operation, tell, ended)

    def _on_stop(self, _: Mapping[str, Any]) -> None:
        self._tell(stopping=True)
        self.operation.cancel()

    def _twin(self) -> tuple[Summary, Markup | None]:
        return self.operation._summary_(), None


def watch(operation: Operation[Any]) -> TransferView:
    """Show an operation."""
    return TransferView(operation)
