"""What every live face has in common: its channel to the browser, its static twin, and how it ends.

The browser's side is one ES module: ``kit.js`` and the face's own file, one after the other; its look is ``base.css``,
``summary.css``, ``widget.css`` and the face's own. ``state`` is what a view needs to start (also one that is opened
later, or after a reload), its text as it may be shown; everything else are messages, whose ``kind`` names the method
that takes them.

A face lives as long as somebody shows it or holds it. It stops when no view of it is visible and when the kernel is
interrupted; it ends with ``close()``, or with the last view and the last reference to it. Nothing here prints.

A view that is seen says so again and again, and is answered: so the page learns that its kernel is busy or has ended,
and the kernel that a page has gone without a word.
"""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, ClassVar

import anywidget
import traitlets

from dicomlab.errors import DicomlabError
from dicomlab.model.summary import Summary, as_text, visible
from dicomlab.notebook.html import Markup, render

_log = logging.getLogger(__name__)
_VIEW_MIME = "application/vnd.jupyter.widget-view+json"
_MAX_VIEWS = 32
_TEXT = 600
_LEASE_S = 30.0
"""So long a view that is seen is believed to be there; it says so every 10 s."""

_awake: weakref.WeakSet[Face] = weakref.WeakSet()
_shown: set[Face] = set()
"""Faces that a page shows: held here, since nobody need keep what is on the screen."""


@lru_cache(maxsize=16)
def _static(suffix: str, *names: str) -> str:
    folder = files("dicomlab.notebook").joinpath("static")
    return "\n".join(folder.joinpath(f"{name}.{suffix}").read_text("utf-8") for name in names)


class _Channel(anywidget.AnyWidget):
    """The widget as ipywidgets knows it."""

    state = traitlets.Dict().tag(sync=True)


@lru_cache(maxsize=16)
def _channel(name: str) -> type[_Channel]:
    """A class for each face, because a page holds one style for each class."""
    sides = {"_esm": _static("js", "kit", name), "_css": _static("css", "base", "summary", "widget", name)}
    return type(f"Channel_{name}", (_Channel,), sides)


class Face:
    """A live face in a notebook. Subclasses name their ``_script`` and take messages in methods ``_on_<kind>``."""

    _script: ClassVar[str]

    def __init__(self, **state: Any) -> None:
        self._lock = threading.RLock()  # messages may come in several threads
        self._views: dict[str, float] = {}
        """When each view last said that it is seen; never, for one that is hidden."""
        self._looked_at = False
        self._state = shown_as(state)
        self._channel: Any = _channel(self._script)(state=dict(self._state))
        self._channel.on_msg(_taker(weakref.ref(self)))
        self._closer = weakref.finalize(self, _close, self._channel)
        self._closer.atexit = False  # a kernel that ends need not say so of each: pages see it
        _awake.add(self)
        _watch_interrupts()

    # --- to the browser ------------------------------------------------------------------------------------------

    def _send(self, kind: str, buffers: Sequence[Any] = (), **content: Any) -> None:
        """Send a message to every view; nothing once closed."""
        if not self.closed:
            self._channel.send({"kind": kind, **content}, list(buffers))

    def _tell(self, **changes: Any) -> None:
        """Change the state, in every view there is and will be."""
        with self._lock:
            if not self.closed:
                self._state.update(shown_as(changes))
                self._show()

    def _follow(self, **changes: Any) -> None:
        """Change the state as something goes on by itself: where nobody looks it is told once somebody does."""
        with self._lock:
            if not self.closed:
                self._state.update(shown_as(changes))
                if self.visible:
                    self._show()

    def _show(self) -> None:
        """Bring the state to the page."""
        if not self.closed and self._state != self._channel.state:
            self._channel.state = dict(self._state)

    @property
    def state(self) -> dict[str, Any]:
        """What a view starts with: text as shown, patients masked, no pixels."""
        return dict(self._state)

    # --- from the browser ----------------------------------------------------------------------------------------

    def _take(self, content: Mapping[str, Any]) -> None:
        kind = content.get("kind")
        take = getattr(self, f"_on_{kind}", None) if isinstance(kind, str) and kind.isidentifier() else None
        if take is None or self.closed:
            return
        try:
            take(content)
        except DicomlabError as error:
            self._tell(note=str(error))
        except (KeyError, TypeError, ValueError, IndexError, OverflowError):  # no message that a page of ours sends
            _log.warning("%s: a message that can't be understood: %.80r", type(self).__name__, content)

    def _on_view(self, content: Mapping[str, Any]) -> None:
        """A view came, went, became visible or hidden, or says that it is still there."""
        with self._lock:
            name, seen = str(content["view"])[:40], bool(content.get("visible"))
            before = self._views.pop(name, -math.inf)
            if content.get("gone"):
                if not self._views:
                    _shown.discard(self)
            else:
                if len(self._views) >= _MAX_VIEWS:  # pages went without a word: the one that was heard least of late
                    del self._views[min(self._views, key=lambda one: self._views[one])]
                self._views[name] = time.monotonic() if seen else -math.inf
                _shown.add(self)
            if seen:
                self._show()
        self._look()
        if seen:
            self._send("here")
            if not _believed(before):
                self._appeared()

    @property
    def visible(self) -> bool:
        """Whether anybody can see it."""
        with self._lock:
            return any(map(_believed, self._views.values()))

    def _look(self) -> None:
        """See whether it became visible or hidden; a view that is no more heard of is hidden."""
        with self._lock:
            before, self._looked_at = self._looked_at, self.visible
            after = self._looked_at
        if before != after:
            self._seen(after)

    def _seen(self, visible: bool) -> None:
        """It became visible, or hidden."""

    def _appeared(self) -> None:
        """One more view is seen."""

    # --- life ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop what goes on in it by itself; it can be set going again. An interrupt of the kernel does this."""

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return not self._closer.alive

    def close(self) -> None:
        """End it: its views go, and so do its threads. What it gathered stays. May be called twice."""
        self.stop()
        with self._lock:
            self._show()  # this is what stays on the page
        _shown.discard(self)
        self._closer()

    def __enter__(self) -> Face:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- as an output --------------------------------------------------------------------------------------------

    def _twin(self) -> tuple[Summary, Markup | None]:
        """What a stored notebook shows in its place: facts, and a picture."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return as_text(self._twin()[0])

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        summary, picture = self._twin()
        if self.closed:
            summary = replace(summary, notes=(*summary.notes, "closed"))
        bundle: dict[str, Any] = {"text/plain": as_text(summary), "text/html": render(summary, picture)}
        if not self.closed:
            _shown.add(self)
            with self._lock:
                self._show()
            view = {"version_major": 2, "version_minor": 0, "model_id": self._channel.model_id}
            bundle[_VIEW_MIME] = view
        return bundle


def shown_as(value: Any) -> Any:
    """The same with each text in it as it may be shown, whoever wrote it: nothing invisible, nothing without end."""
    if isinstance(value, str):
        return visible(value, _TEXT)
    if isinstance(value, dict):
        return {name: shown_as(one) for name, one in value.items()}
    return [shown_as(one) for one in value] if isinstance(value, list | tuple) else value


def _believed(heard_s: float) -> bool:
    """Whether a view that was heard of then is still seen: a cell that runs may keep the kernel from hearing it."""
    return time.monotonic() - max(heard_s, _cell_ended_s) <= _LEASE_S and heard_s > -math.inf


def _close(channel: _Channel) -> None:
    """Close a channel, and the one that ipywidgets opened for its layout."""
    layout = channel.layout
    channel.close()
    layout.close()


def _taker(face: weakref.ref[Face]) -> Callable[[Any, Any, Any], None]:
    """Take messages without keeping the face alive."""

    def take(_channel: Any, content: Any, _buffers: Any) -> None:
        alive = face()
        if alive is not None and isinstance(content, dict):
            alive._take(content)

    return take


class Ticker:
    """Calls a method some times a second in a thread of its own, until stopped or until its object is gone."""

    def __init__(self, method: Callable[[], None], rate_hz: float, name: str) -> None:
        self._method = weakref.WeakMethod(method)
        self._period_s = 1 / rate_hz
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"dicomlab {name}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._end.wait(self._period_s):
            method = self._method()
            if method is None:
                return
            method()
            del method

    def stop(self) -> None:
        """No more calls; the last one has ended when this returns, unless it is the one that asks."""
        self._end.set()
        if self._thread is not threading.current_thread():
            self._thread.join(5)


# --- interrupts ------------------------------------------------------------------------------------------------------

_watching = False
_cell_ended_s = -math.inf
"""When the last cell ended; never, while one runs."""


def _watch_interrupts() -> None:
    """Have an interrupt of the kernel stop every face: in the midst of a cell, and when no cell runs."""
    global _watching
    if _watching:
        return
    _watching = True
    from IPython import get_ipython

    shell: Any = get_ipython()
    kernel = getattr(shell, "kernel", None)
    if kernel is None:
        return
    shell.events.register("pre_run_cell", _before_cell)
    shell.events.register("post_run_cell", _after_cell)
    loop = getattr(kernel, "io_loop", None)
    if loop is not None:
        loop.add_callback(_watch_idle)  # after this cell: while one runs, the handler is the kernel's own


def _before_cell(_: Any) -> None:
    global _cell_ended_s
    _cell_ended_s = math.inf


def _after_cell(result: Any) -> None:
    global _cell_ended_s
    _cell_ended_s = time.monotonic()
    if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt):
        stop_all()


def _watch_idle() -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupted(number: int, frame: Any) -> None:
        threading.Thread(target=stop_all, name="dicomlab interrupted", daemon=True).start()  # it may wait for a lock
        if callable(before) and before is not signal.default_int_handler:
            before(number, frame)

    try:
        signal.signal(signal.SIGINT, interrupted)
    except ValueError:  # not the main thread: somebody else's kernel
        return


def stop_all() -> None:
    """Stop whatever goes on in any face, as the kernel is interrupted."""
    for face in list(_awake):
        face._send("interrupted")  # first, as a page says so that sees something go on
        face.stop()
