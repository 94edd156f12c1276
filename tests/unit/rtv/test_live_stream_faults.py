"""The bad network: what the fault proxy loses, doubles and delays is counted as it did it."""

from __future__ import annotations

import random
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicomlab import Broadcast, LiveStream
from dicomlab.rtv.rtp import RtpPacket, encode_rtp
from dicomlab.rtv.sdp import Session
from dicomlab.rtv.udp import SendingSocket
from dicomlab.rtv.video import VideoFormat
from tests.faults.plans import Datagrams, Order
from tests.faults.proxy import UdpProxy
from tests.peers.processes import free_port

SMALL = VideoFormat(64, 48, depth=8)
FRAMES = list(np.random.default_rng(4).integers(1, 256, (24, SMALL.frame_octets), np.uint8))

PATTERNS = {
    "nothing": Datagrams(),
    "one in seven lost": Datagrams(lose=([False] * 6 + [True]) * 400),
    "a burst lost": Datagrams(lose=[False] * 300 + [True] * 90),
    "one in three doubled": Datagrams(duplicate=[0, 0, 1] * 400),
    "one in five late": Datagrams(overtaken=[0, 0, 0, 0, 4] * 300),
    "all of it": Datagrams(
        lose=([False] * 30 + [True]) * 60, duplicate=[0, 1] * 600, overtaken=([0] * 9 + [3]) * 120
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_every_lost_packet_is_counted_and_every_intact_frame_delivered(name: str) -> None:
    pattern = PATTERNS[name]
    port = free_port()
    with UdpProxy(port, to_server=pattern) as proxy:
        cast = Broadcast(FRAMES, format=SMALL, rate_hz=40, port=proxy.port, metadata=False, packet_octets=400)
        (media,) = cast.session.media
        session = Session((replace(media, port=port),))
        frames: list[Any] = []
        with LiveStream(session, pool_frames=64, queue_frames=60) as live:
            live.hear(lambda frame: frames.append(frame.copy()))  # type: ignore[union-attr]
            with cast:
                assert cast.wait(20)
            assert cast._pacer is not None
            count = cast._pacer._senders[0].count * cast.sent
            order = Order(pattern)
            leaving = [int(octets) for n in range(count) for _, octets in order.feed(str(n).encode())]
            arrived = threading.Event()
            while live.statistics().loc[0, "received"] < len(set(leaving)) or proxy.to_server.sent < len(leaving):
                arrived.wait(0.05)  # between two questions; the test's own time-out ends it
        row = live.statistics().loc[0]
    assert row["received"] == len(set(leaving))
    assert row["duplicates"] == len(leaving) - len(set(leaving))
    assert row["lost"] == max(leaving) + 1 - len(set(leaving))
    whole = [frame for frame in frames if frame.complete]
    assert all(any((frame.packed == sent).all() for sent in FRAMES) for frame in whole)
    packets = count // cast.sent
    intact = {n // packets for n in range(count)} - {n // packets for n in set(range(count)) - set(leaving)}
    if name != "one in five late":  # where the last of a frame waits for the next one, which may be too long
        assert len(whole) >= len(intact) - ("late" in name or name == "all of it") * 6
    assert row["dropped_by_system"] == 0


def test_rubbish_on_every_port_is_counted_and_changes_nothing() -> None:
    """Ten thousand datagrams of noise, of RTP of others and of broken Grains, while a stream goes on."""
    cast = Broadcast(
        FRAMES, format=SMALL, rate_hz=40, loop=True, PatientID="SYN-1", audio=np.zeros((4800, 2), np.int32)
    )
    random_ = random.Random(1)
    with LiveStream(cast, pool_frames=64, queue_frames=60) as live, cast:
        frames = live.frames()
        next(frames)
        doors = [
            (media, SendingSocket(media.address, media.port + at)) for media in cast.session.media for at in (0, 1)
        ]
        for number in range(2500):
            for media, door in doors[number % 2 :: 2]:
                noise = random_.randbytes(random_.randrange(1, 200))
                packet = RtpPacket(media.payload_type, number * 7 & 0xFFFF, number, random_.randrange(1 << 32), noise)
                door.send(noise if number % 3 else encode_rtp(packet))
        for _, door in doors:
            door.close()
        after: list[Any] = []
        while len(after) < 10 or not after[-1].complete:  # the noise may have pushed packets out of a full buffer
            after.append(next(frames).copy())
        statistics = live.statistics()
        assert live.state == "receiving"
    assert all(any((frame.packed == sent).all() for sent in FRAMES) for frame in after if frame.complete)
    assert (statistics["foreign"] + statistics["malformed"]).sum() > 1000
    assert statistics["restarts"].sum() == 0
