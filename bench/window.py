"""A browser that runs by itself: Playwright looks in to set things up, and is away while pictures are counted.

Whoever has Playwright attached has the browser write down each message of each WebSocket for it, pictures too, which
takes a good part of a core at thirty pictures a second: from the browser, from the kernel, and from what is measured.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.peers.lab import FLAGS, NOWHERE_ELSE
from tests.peers.processes import LOOPBACK, Peer, command, need


class Window(Peer):
    """Chromium without a screen, as large as asked. ``with`` ends it."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        need("chromium")
        folder.mkdir()
        self._port = folder / "profile" / "DevToolsActivePort"
        arguments = [
            command("chromium"), *FLAGS, NOWHERE_ELSE, "--headless=new", "--remote-debugging-port=0",
            f"--user-data-dir={self._port.parent}", f"--window-size={width},{height}", "about:blank",
        ]  # fmt: skip
        self.page: Any = None
        self._playwright = sync_playwright().start()
        super().__init__(arguments, folder, lambda: self._port.exists() and "\n" in self._port.read_text())
        try:
            self._look_in()
        except BaseException:
            self.stop()
            raise

    def _look_in(self) -> None:
        port = self._port.read_text().split()[0]
        self._browser = self._playwright.chromium.connect_over_cdp(f"http://{LOOPBACK}:{port}")
        self.page = self._browser.contexts[0].pages[0]
        self.page.asked, self.page.complaints = [], []

    def alone(self, seconds: float) -> None:
        """Leave it to itself for so long; ``page`` is another object afterwards."""
        self._browser.close()  # of a browser that one has only joined, this takes leave
        time.sleep(seconds)
        self._look_in()

    def stop(self) -> None:
        """Take leave, and end it."""
        try:
            self._playwright.stop()
        finally:
            super().stop()
