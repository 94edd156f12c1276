"""Packets of our own sender, caught before they reach a socket, and batches as sockets give them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.rtv.assembly import Assembled, FrameAssembler
from dicomlab.rtv.extension import GrainItems
from dicomlab.rtv.frames import Pool
from dicomlab.rtv.rtp import MAX_PACKET_OCTETS
from dicomlab.rtv.sender import Line, VideoSender
from dicomlab.rtv.udp import Batch
from dicomlab.rtv.video import VideoFormat
from tests.unit.rtv.vectors import AT_NS, FLOW, SOURCE

ITEMS = GrainItems(AT_NS, AT_NS, SOURCE, FLOW, 0x80)


class Caught:
    """Takes what a sender sends, as (octets, stride)."""

    def __init__(self) -> None:
        self.calls: list[tuple[bytes, int]] = []

    def send(self, datagram: bytes | memoryview) -> None:
        self.calls.append((bytes(datagram), len(datagram)))

    def send_many(self, octets: memoryview, stride: int) -> None:
        self.calls.append((bytes(octets), stride))

    def close(self) -> None:
        pass


def frames_of(video: VideoFormat, count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Random packed frames, none of whose octets is 0."""
    return list(np.random.default_rng(seed).integers(1, 256, (count, video.frame_octets), np.uint8))


def sent(
    video: VideoFormat, frames: Sequence[NDArray[np.uint8]], *, sequence32: int = 0, ssrc: int = 7, **options: Any
) -> list[list[tuple[bytes, int]]]:
    """What is sent for each frame; frame n has timestamp 1500 n, its second field 750 more."""
    caught = Caught()
    line = Line("video", 96, [caught], ssrc=ssrc, sequence32=sequence32)  # type: ignore[list-item]
    sender = VideoSender(line, video, options.pop("packet_octets", MAX_PACKET_OCTETS), **options)
    calls = []
    for number, frame in enumerate(frames):
        stamps = [number * 1500, number * 1500 + 750] if video.interlaced and not video.segmented else [number * 1500]
        sender.begin(frame, stamps, ITEMS)
        sender.advance(sender.count)
        calls.append(caught.calls)
        caught.calls = []
    return calls


def datagrams(calls: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """One by one."""
    return [octets[at : at + stride] for octets, stride in calls for at in range(0, len(octets), stride)]


def many(octets: bytes, stride: int) -> Batch:
    """A batch as UDP_GRO gives it."""
    return Batch(np.frombuffer(octets, np.uint8), stride, -(-len(octets) // stride), None)


def rows(single: Sequence[bytes], stride: int = 2048) -> Batch:
    """A batch of datagrams that came alone."""
    room = np.zeros((len(single), stride), np.uint8)
    for row, octets in enumerate(single):
        room[row, : len(octets)] = np.frombuffer(octets, np.uint8)
    return Batch(room.reshape(-1), stride, len(single), [len(one) for one in single])


def assembler(video: VideoFormat, *, pool: int = 8, paths: int = 1) -> FrameAssembler:
    """One for payload type 96."""
    return FrameAssembler(video, 96, Pool(pool, video.frame_octets), None, paths=paths)


def assembled(one: FrameAssembler) -> Iterator[tuple[int, NDArray[np.uint8], Assembled]]:
    """The frames that are ready: timestamp, octets, and the rest."""
    while one.ready:
        frame = one.ready.popleft()
        yield frame.timestamp, np.asarray(frame.lease).copy(), frame
