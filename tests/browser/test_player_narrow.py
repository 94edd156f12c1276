"""The live player where the way from the server to the browser is narrow: it carries 60,000 octets in a second."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.faults.plans import Narrow, Plan
from tests.faults.proxy import TcpProxy
from tests.peers.lab import Chromium, Desk, Lab, Notebook

pytestmark = pytest.mark.browser

SETUP = """
import dicomlab
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames

cast = dicomlab.Broadcast(list(endoscopy_frames(12, 320, 240)), rate_hz=25, loop=True, fictional=True, **PATIENT)
live = dicomlab.LiveStream(cast, pool_frames=24)
player = live.play(quality=95)
cast.start()
player
"""
NARROW = Plan(to_client=[Narrow(60_000)])
RECONNECT = "() => window.shown.context.sessionContext.session.kernel.reconnect()"
NO_DECODER = "delete window.VideoDecoder;"


@contextmanager
def narrow(lab: Lab, chromium: Chromium, script: str = "") -> Iterator[tuple[Notebook, TcpProxy]]:
    """The player in a page of its own; the page itself came by a wide way."""
    with TcpProxy(lab.port) as proxy, chromium.page() as page:
        if script:
            page.add_init_script(script)
        desk = Desk(lab, page, proxy.port)
        proxy.from_now_on(NARROW)
        with desk.cells("narrow", SETUP) as book:
            yield book, proxy
            assert book.ask("player._pump.error") == "''"
            assert page.complaints == []
            book.run("player.close(); cast.close()")


def never_more_under_way_than_there_is_room_for(book: Notebook) -> None:
    """What bounds the latency: a few pictures, each as light as its rung says."""
    book.run("before = player.figures['shown']")
    for count in range(5, 20, 5):
        book.until(f"player.figures['shown'] >= before + {count}", seconds=60)
        assert book.ask("len(player._pump.pace._under_way) <= 9") == "True"  # eight, and one that is drawn and not told


def test_auto_goes_over_to_h264_and_back(lab: Lab, chromium: Chromium) -> None:
    with narrow(lab, chromium) as (book, proxy):
        book.until("player._pump.decodes_h264", seconds=60)
        book.until("player._pump.mode", "'h264'", seconds=60)
        never_more_under_way_than_there_is_room_for(book)
        assert book.ask("player.figures['rung'] >= 1, player._pump.mode") == "(True, 'h264')"
        proxy.from_now_on(Plan())
        book.page.evaluate(RECONNECT)
        book.run("player._pump.pace._climb_s = 0.5")
        book.until("player.figures['rung']", "0", seconds=60)
        book.until("player._pump.mode", "'jpeg'")
        book.run("before = player.figures['shown']")
        book.until("player.figures['shown'] >= before + 10")


def test_auto_sends_smaller_jpeg_to_a_browser_without_a_decoder(lab: Lab, chromium: Chromium) -> None:
    with narrow(lab, chromium, NO_DECODER) as (book, _):
        book.until("player.figures['rung'] >= 1", seconds=60)
        assert book.ask("player._pump.decodes_h264, player._pump.mode") == "(False, 'jpeg')"
        never_more_under_way_than_there_is_room_for(book)
        canvas = book.output(0).locator(".dl-screen canvas")
        assert canvas.evaluate("canvas => canvas.width") <= 160
