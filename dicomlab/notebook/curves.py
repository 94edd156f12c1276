"""Numbers that a flow carries with its frames, over time: read, kept, and drawn for a page that stands still."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from dicomlab.model.summary import visible
from dicomlab.notebook.html import Markup, picture

if TYPE_CHECKING:
    from dicomlab.rtv.frames import Frame

MOST_CURVES = 24
DRAWN = 4
"""As many curves of metadata are drawn where nobody has chosen: the first whose values change."""
KEPT = 60
"""Values of a curve: twelve seconds."""
_DEPTH, _ITEMS, _VALUES, _ELEMENTS = 3, 4, 6, 64
_NUMBERS = frozenset("DS FD FL IS SL SS SV UL US UV".split())
_WIDTH, _HEIGHT = 240, 40
_COMPONENTS = "xyz"


def numbers_of(frame: Frame) -> dict[str, float]:
    """The numbers that the metadata of one frame hold, by keyword; of several values each with its letter or number.

    Beside them how long the frame took from capture to here, in ms, where both clocks say.

    Source
    ------
    PS3.3 §C.7.6.27 (Current Frame Functional Groups).
    """
    found: dict[str, float] = {}
    if frame.latency_ms is not None and math.isfinite(frame.latency_ms):
        found["capture to arrival, ms"] = frame.latency_ms
    dynamic = frame.metadata.dynamic if frame.metadata is not None else None
    if dynamic is not None:
        for name, value in _numbers(dynamic, _DEPTH):
            if len(found) >= MOST_CURVES:
                break
            found.setdefault(name, value)
    return found


def _numbers(item: Any, depth: int) -> Iterator[tuple[str, float]]:
    for element in islice(item, _ELEMENTS):
        try:
            name = element.keyword or str(element.tag)
            if element.VR == "SQ" and depth:
                for one in list(element.value)[:_ITEMS]:
                    yield from _numbers(one, depth - 1)
            elif element.VR in _NUMBERS and element.value is not None:
                values = [element.value] if element.VM <= 1 else list(element.value)[:_VALUES]
                numbers = [float(value) for value in values]
                marks = _COMPONENTS if len(numbers) == len(_COMPONENTS) else "123456"
                for number, mark in zip(numbers, marks, strict=False):
                    if math.isfinite(number):
                        yield visible(f"{name} {mark}" if len(numbers) > 1 else name, 40), number
        except (ValueError, TypeError, OverflowError):  # a value that can't be read draws nothing
            continue


class Curves:
    """What was said last, a value for each time that was asked; safe to use from several threads."""

    def __init__(self) -> None:
        self._kept: dict[str, deque[float | None]] = {}
        self._change = threading.Lock()

    def add(self, values: Mapping[str, float]) -> None:
        """Take the values of now; None for a curve that has none."""
        with self._change:
            for name in values:
                if len(self._kept) < MOST_CURVES + 2:
                    self._kept.setdefault(name, deque(maxlen=KEPT))
            for name, kept in self._kept.items():
                kept.append(values.get(name))

    def kept(self) -> list[tuple[str, list[float | None]]]:
        """All of them."""
        with self._change:
            return [(name, list(kept)) for name, kept in self._kept.items()]

    def drawn(self) -> list[tuple[str, list[float | None]]]:
        """The curves that change, the first four; of a still flow the first four."""
        known = self.kept()
        changing = [one for one in known if len({value for value in one[1] if value is not None}) > 1]
        return (changing or known)[:DRAWN]


def drawing(title: str, values: list[float | None]) -> Markup:
    """A curve as a picture, in colours that both a light and a dark page show; its name and last value in words.

    Parameters
    ----------
    values : list of float or None
        From the oldest on; None where there was none.
    """
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    span = high - low or 1.0
    lines, pen = [], False
    for at, value in enumerate(values):
        if value is not None:
            x = _WIDTH * (1 if len(values) == 1 else at / (len(values) - 1))
            lines.append(f"{'L' if pen else 'M'}{x:.0f} {_HEIGHT - 3 - (value - low) / span * (_HEIGHT - 6):.1f}")
        pen = value is not None
    says = f"{title}: {known[-1]:.4g}, between {low:.4g} and {high:.4g}" if known else f"{title}: nothing yet"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<path d="{"".join(lines)}" fill="none" stroke="#3f8fd9" stroke-width="1.5"/></svg>'
    )
    return picture(svg.encode(), "image/svg+xml", says)
