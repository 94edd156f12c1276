"""What a pump sends to views that come early, late, and to a player that is paused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dicomlab.notebook.pump import Pump
from dicomlab.rtv.frames import Frame
from dicomlab.rtv.video import VideoFormat

SMALL = VideoFormat(64, 48, depth=8, sampling="RGB", range="FULL")


class Page:
    """What was sent, each shown at once."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.step = threading.Event()
        """Never set: a wait that ends by itself."""
        self.pump = Pump(self._take, "jpeg", 80)

    def _take(self, content: dict[str, Any], _: list[Any]) -> None:
        self.shown.append(content["n"])
        self.pump.acknowledge(content["n"], shown=True)

    def takes(self, frames: int = 3) -> None:
        for _ in range(frames):
            self.pump.take(Frame(SMALL, 0, np.zeros(SMALL.frame_octets, np.uint8)))

    def has(self, pictures: int) -> None:
        """So many pictures come, and then no more."""
        deadline = time.monotonic() + 10
        while len(self.shown) < pictures and time.monotonic() < deadline:
            self.step.wait(0.01)
        self.step.wait(0.1)
        assert len(self.shown) == pictures


@pytest.fixture
def page() -> Iterator[Page]:
    page = Page()
    yield page
    page.pump.close()
    page.pump.join()


def test_a_view_that_is_paused_before_a_frame_came_gets_the_first(page: Page) -> None:
    page.pump.set(visible=True)
    page.pump.refresh()
    page.pump.set(playing=False)
    page.takes()
    page.has(1)


def test_a_view_that_comes_while_it_is_paused_gets_the_newest(page: Page) -> None:
    page.takes()
    page.pump.set(playing=False)
    page.pump.set(visible=True)
    page.has(0)
    page.pump.refresh()
    page.has(1)


def test_a_paused_view_that_is_hidden_gets_its_picture_when_it_is_seen(page: Page) -> None:
    page.pump.set(playing=False, visible=True)
    page.pump.refresh()
    page.pump.set(visible=False)
    page.takes()
    page.has(0)
    page.pump.set(visible=True)
    page.has(1)


def test_a_paused_player_sends_nothing_by_itself(page: Page) -> None:
    page.pump.set(visible=True)
    page.takes(1)
    page.has(1)
    page.pump.set(playing=False)
    page.takes()
    page.has(1)
    page.pump.set(playing=True)
    page.has(2)  # the newest, at once
