"""RTP on the wire: fields with their octets, trains, losses, Grains; patients masked; hostile octets are no error."""

from __future__ import annotations

import numpy as np
import pytest

import dicomlab
from dicomlab.model.trace import Trace
from dicomlab.rtv.reader import RtpReader
from dicomlab.rtv.train import cars_of, train_of
from dicomlab.rtv.udp import Batch
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames

from .test_fields import grain, packet


def test_patients_of_a_grain_and_pictures_are_private() -> None:
    reading = RtpReader("metadata")("received", grain())
    hidden = b"".join(grain()[a:b] for a, b in reading.private)
    assert hidden == b"Doe^Jane"
    assert "Doe" not in reading.text + reading.sentence
    video = RtpReader("video")("received", packet(1))
    assert [packet(1)[a:b] for a, b in video.private] == [b"x" * 20]


def test_losses_and_late_packets_are_counted_by_sequence() -> None:
    read = RtpReader("video")
    said = [read("received", packet(number)) for number in (65534, 65535, 2, 1, 3)]
    assert [one.trouble for one in said] == ["", "", "2 packets lost", "1 packet late or repeated", ""]
    assert said[2].sentence.startswith("2 packets lost: the sequence numbers tell")
    assert (read.lost, read.late) == (2, 1)


def test_a_train_is_one_message_that_knows_its_packets() -> None:
    rows = [packet(number, marker=number == 13) for number in (10, 12, 13)]
    block = np.frombuffer(b"".join(rows) + b"tail-not-there", np.uint8)[: 3 * 32]
    batch = Batch(block, 32, 3, None)
    assert [size for size, _ in cars_of(batch.train())] == [32, 32]
    reading = RtpReader("video")("received", rows[0], batch.train())
    assert reading.text == "RTP video: 3 packets, sequence 10–13, timestamp 9, marker; 1 packet lost"
    assert "A video frame is whole" in reading.sentence
    assert cars_of(train_of(block.reshape(3, 32)[1:], [32, 5]))[1] == (5, rows[2][:5])


def test_a_short_last_datagram_is_no_error() -> None:
    block = np.frombuffer(packet(1) + packet(2)[:6], np.uint8)
    batch = Batch(block, 32, 2, None)
    assert cars_of(batch.train()) == [(6, packet(2)[:6])]
    assert RtpReader("video")("received", packet(1), batch.train()).text.startswith("RTP video: sequence 1")


def test_a_broadcast_is_a_ladder_over_the_network_address() -> None:
    cast = dicomlab.Broadcast(list(endoscopy_frames(4, 64, 48, rate_hz=25)), rate_hz=25, fictional=True, **PATIENT)
    with dicomlab.trace() as wire, dicomlab.LiveStream(cast) as live, cast:
        assert len(list(live.frames(3))) == 3
    messages = list(wire.read())
    parties = {name for one in messages for name in one.event.parties}
    assert {"dicomlab broadcast", "receiver"} <= parties
    assert any(name.startswith("video 127.0.0.1:") for name in parties)
    assert {one.event.channel.protocol for one in messages} >= {"RTP", "SDP"}
    sent = sum(
        1 + len(cars_of(m.event.train)) for m in messages if m.event.direction == "sent" and "video" in m.reading.text
    )
    assert sent >= 3 * 5
    assert any("PatientName" in one.name for m in messages for _, one, _ in m.rows())
    assert "Grain" in wire._repr_html_()


@pytest.mark.parametrize("fictional", [False, True])
def test_a_lossy_stream_says_what_is_lost(fictional: bool, tmp_path: object) -> None:
    cast = dicomlab.Broadcast(list(endoscopy_frames(6, 64, 48, rate_hz=50)), rate_hz=50, fictional=fictional, **PATIENT)
    cast.faults.drop(every=7, flow="video")
    with dicomlab.trace() as wire, dicomlab.LiveStream(cast) as live, cast:
        list(live.frames(3))
    assert any("1 packet lost" in m.reading.trouble for m in wire.read() if m.event.direction == "received")
    shown = " ".join(value for m in wire.read() for _, _, value in m.rows())
    assert (PATIENT["PatientID"] in shown) is fictional
    path = wire.save(f"{tmp_path}/a.pcapng")
    back = Trace.load(path)
    datagrams = [m.event for m in wire.read() if m.event.channel.protocol in ("RTP", "RTCP")]
    assert len(back) == sum(1 + len(cars_of(event.train)) for event in datagrams)
    assert back.octets == sum(event.size for event in datagrams)
    assert {e.channel.protocol for e in back} >= {"RTP"}
    assert (PATIENT["PatientID"].encode() in path.read_bytes()) is fictional
