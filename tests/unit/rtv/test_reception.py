"""What a sender says of itself may be anything: it is read, or refused as a whole, and nothing that reads it breaks."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import columns
from dicomlab.rtv import iods, tables
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.extension import encode_elements
from dicomlab.rtv.frames import AudioBlock, Frame
from dicomlab.rtv.metadata import CURRENT_FRAME, decode_grain, element, encode_dataset, sequence
from dicomlab.rtv.reception import AudioReception, Identity, MetadataReception, VideoReception
from dicomlab.rtv.rtp import RtpPacket, decode_rtp, encode_rtp
from dicomlab.rtv.sdp import Media
from tests.unit.rtv.test_assembly import SMALL
from tests.unit.rtv.test_metadata import static
from tests.unit.rtv.vectors import vector
from tests.unit.rtv.wire import assembled, assembler, datagrams, frames_of, rows, sent

TIME_OF_FRAME, ORIGIN = 0x0034000D, 0x00340007
SHORT_VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()


def read(octets: bytes) -> bool:
    """Read a Grain as a stream does, and ask for all that it can be asked; whether it was taken."""
    try:
        grain = decode_grain(octets)
    except RemoteProtocolError:
        return False
    known: Any = Identity(lambda _: None).take(grain)
    frame = Frame(SMALL, 0, np.zeros(SMALL.frame_octets, np.uint8), metadata=known)
    tables.frames_table([tables.frame_row(frame)])
    assert frame.dataset is None or len(frame.dataset)
    str(frame)
    if known.static is not None:
        iods.bulk_flows_of(known.static)
        iods.references_of(known.static)
        tables.flows_table([known.static])
        tables.instance_row(known.static, columns(["PatientName", "StudyDate"]))
    return True


@pytest.mark.parametrize(
    "dynamic",
    [
        element(TIME_OF_FRAME, "LO", b"text"),
        element(0x00209111, "LO", b"text"),
        sequence(TIME_OF_FRAME, element(ORIGIN, "LO", b"0123456789")),
        sequence(TIME_OF_FRAME, element(ORIGIN, "OB", b"\0" * 8)),
        sequence(TIME_OF_FRAME, element(ORIGIN, "OB", b"\0" * 6 + b"\xff" * 4)),
        sequence(TIME_OF_FRAME, element(ORIGIN, "OB", b"\xff" * 6 + b"\0" * 4)),
        sequence(TIME_OF_FRAME, b""),
    ],
    ids=["text for items", "text for content", "text for octets", "eight octets", "nanoseconds", "far", "empty"],
)
def test_a_dynamic_part_that_can_not_be_is_no_grain(dynamic: bytes) -> None:
    assert not read(vector("meta") + sequence(CURRENT_FRAME, dynamic))


def test_a_frame_number_that_is_none_is_not_told() -> None:
    for value in (element(0x00209156, "LO", b"seven!"), element(0x00209156, "US", struct.pack("<2H", 1, 2))):
        assert read(vector("meta") + sequence(CURRENT_FRAME, sequence(0x00209111, value)))


@pytest.mark.filterwarnings("ignore")  # pydicom warns of values that can't be
def test_any_value_representation_anywhere_is_taken_or_refused() -> None:
    taken = 0
    whole = vector("meta") + vector("dynamic") + encode_dataset(static())
    assert read(whole)
    for at in _short_elements(whole):
        for vr in SHORT_VRS:
            taken += read(whole[: at + 4] + vr.encode() + whole[at + 6 :])
    assert taken > 50


def _short_elements(octets: bytes) -> Iterator[int]:
    """Where an element with a length of 16 bits begins, as far as its VR tells."""
    for at in range(132, len(octets) - 8):
        if octets[at + 4 : at + 6].decode("latin-1") in SHORT_VRS and octets[at + 1] in (0, 0x10, 0x20, 0x34):
            yield at


def test_an_extension_that_says_nonsense_leaves_its_packet_whole() -> None:
    """A plain sender's own element of ten octets is no time of ours, and its frame is whole."""
    one, frames = assembler(SMALL), frames_of(SMALL, 3)
    for number, calls in enumerate(sent(SMALL, frames, identified=False)):
        single = datagrams(calls)
        first = decode_rtp(single[0])
        extension = encode_elements([(1, b"\xff" * 10)]) if number else (0xBEDE, b"\x1f\0\0\0")  # the first one is cut
        single[0] = encode_rtp(
            RtpPacket(96, first.sequence, first.timestamp, first.ssrc, first.payload, extension=extension)
        )
        one.feed(rows(single), number)
    one.finish()
    assert [(octets == frames[at]).all() for at, (_, octets, _) in enumerate(assembled(one))] == [True] * 3
    assert (one.malformed, one.damaged) == (0, 0)


@pytest.mark.parametrize("length", [0, 4])
def test_a_frame_without_end_takes_no_more_than_its_buffer(length: int) -> None:
    """The same pixel group, or none, again and again: neither what is known of the frame nor the work for it grows."""
    one = assembler(SMALL)
    for number in range(0, 200_000, 200):
        payloads = [struct.pack(">4H", 0, length, 7, n % 2 * 8) + bytes(length) + bytes(8) for n in range(200)]
        one.feed(rows([encode_rtp(RtpPacket(96, number + n & 0xFFFF, 1, 7, p)) for n, p in enumerate(payloads)]), 0)
    (frame,) = one._open
    assert len(frame.spans) <= 1024
    assert not frame.heads
    one.finish()
    ((_, octets, rest),) = assembled(one)
    assert not octets.any()
    assert sum(stop - start for start, stop in rest.gaps) == SMALL.frame_octets - 2 * length


def metadata_of(*sequences: int) -> MetadataReception:
    """What becomes of a metadata flow, a Grain in each packet."""
    reception = MetadataReception((Media("application", 20_004, 104, encoding="dicom"),), lambda _: None)
    for number, sequence16 in enumerate(sequences):
        packet = RtpPacket(104, sequence16 & 0xFFFF, number, 7, vector("meta") + vector("dynamic"), True)
        reception.feed(rows([encode_rtp(packet)]), number)
    return reception


def test_metadata_is_heard_again_after_the_numbers_began_anew_under_the_same_ssrc() -> None:
    """A sender that is started again with its SSRC, or that nobody heard for a while."""
    before, after = range(60_000, 200_000, 20_000), range(155_000, 155_050)
    reception = metadata_of(*before, *range(180_001, 180_040), *after)
    assert reception.flow.tracker.restarts >= 1
    assert max(reception.grains) == len(before) + 39 + 50 - 1
    assert len(reception.grains) >= 49


def test_sound_that_waits_for_a_lost_packet_is_given_when_another_sender_begins() -> None:
    given: list[AudioBlock] = []
    audio = AudioFormat(1, 48_000, 16)
    reception = AudioReception((Media("audio", 20_002, 97, encoding="L16"),), audio, given.append)
    numbers = [(7, 0), (7, 1), (7, 3), (7, 4), (8, 0), (8, 1), (8, 2)]
    for ssrc, number in numbers:
        packet = RtpPacket(97, number, number * 48 + (ssrc == 8) * 10_000, ssrc, bytes(96))
        reception.feed(rows([encode_rtp(packet)]), 0)
    assert [block.timestamp for block in given] == [0, 48, 144, 192, 10_000, 10_048, 10_096]
    assert [block.gap_samples for block in given] == [0, 0, 48, 0, 0, 0, 0]


def test_a_clock_that_is_set_back_holds_no_frame_back() -> None:
    """An hour: neither a frame that lacks its Grain nor one that lacks a packet waits until it is made up for."""
    hour_ns = 3_600_000_000_000
    given: list[Frame] = []
    media = Media("video", 20_000, 96, encoding="raw")
    reception = VideoReception((media,), SMALL, 8, given.append, lambda: None)
    reception.metadata = metadata_of(1)
    reception.metadata.grains.clear()
    reception.metadata.last_static_ns = 1
    whole, hurt = (datagrams(calls) for calls in sent(SMALL, frames_of(SMALL, 2)))
    reception.feed(rows(whole), hour_ns)
    assert given == []
    reception.pair(0)
    assert [frame.complete for frame in given] == [True]
    reception.feed(rows(hurt[:-1]), hour_ns)
    reception.assembler.expire(0)
    reception.pair(0)
    assert [frame.complete for frame in given] == [True, False]
