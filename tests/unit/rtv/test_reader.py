"""RTP on the wire: fields with their octets, trains, losses, Grains; patients masked; hostile octets are no error."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import dicomlab
from dicomlab.model.reading import Field
from dicomlab.model.trace import Trace
from dicomlab.rtv.extension import GrainItems, encode_items
from dicomlab.rtv.fields import rtcp_fields, rtp_fields, sdp_fields
from dicomlab.rtv.metadata import RtvMeta, element, encode_meta
from dicomlab.rtv.reader import RtpReader, read_rtcp, read_sdp
from dicomlab.rtv.rtcp import Bye, SenderReport, encode_rtcp
from dicomlab.rtv.rtp import RtpPacket, encode_rtp
from dicomlab.rtv.train import cars_of, train_of
from dicomlab.rtv.udp import Batch
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames

META = RtvMeta("1.2.840.10008.10.1", "1.2.3", UUID(int=1), UUID(int=2), "1.2.840.10008.1.2.7.1", 90_000, 40.0)


def flat(fields: tuple[Field, ...]) -> list[Field]:
    return [one for field in fields for one in (field, *flat(field.children))]


def packet(sequence: int, *, marker: bool = False, payload: bytes = b"x" * 20, timestamp: int = 9) -> bytes:
    return encode_rtp(RtpPacket(96, sequence, timestamp, 7, payload, marker))


def grain() -> bytes:
    static = element(0x00080016, "UI", b"1.2.840.10008.10.1") + element(0x00100010, "PN", b"Doe^Jane")
    items = encode_items(
        GrainItems(origin_ns=1_700_000_000_000_000_000, sync_ns=1, source=META.source, flow=META.flow, flags=0xC0)
    )
    return encode_rtp(RtpPacket(104, 5, 9, 7, encode_meta(META) + static, True, (), items))


def test_a_metadata_packet_opens_to_its_grain() -> None:
    octets = grain()
    fields = {one.name: one for one in flat(rtp_fields(octets, "metadata"))}
    assert fields["Sequence number"].value == "5"
    assert octets[fields["SSRC"].start : fields["SSRC"].end] == (7).to_bytes(4, "big")
    assert "2023-11-14" in fields["1: origin"].value
    assert fields["3: flow"].value == str(META.flow)
    assert fields["5: flags"].value == "C0H first packet, last packet"
    assert next(one.value for name, one in fields.items() if name.startswith("(0002,0032)")) == "1.2.840.10008.10.1"
    name = fields["(0010,0010) PatientName"]
    assert (name.value, name.identifying) == ("Doe^Jane", True)
    assert octets[name.start : name.end].endswith(b"Doe^Jane")


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


def test_control_packets_and_session_descriptions_are_read() -> None:
    octets = encode_rtcp([SenderReport(7, 1 << 40, 99, 5, 400), Bye((7,))])
    fields = {one.name: one for one in flat(rtcp_fields(octets))}
    assert (fields["RTP timestamp"].value, fields["Packets sent"].value) == ("99", "5")
    assert octets[fields["Octets sent"].start : fields["Octets sent"].end] == (400).to_bytes(4, "big")
    assert read_rtcp("received", octets).sentence.startswith("The sender leaves")
    sdp = b"v=0\r\ns=<b>theatre</b>\r\nm=video 5004 RTP/AVP 96\r\n"
    described = sdp_fields(sdp)
    assert [sdp[one.start : one.end].rstrip() for one in described] == sdp.split(b"\r\n")[:3]
    assert read_sdp("received", sdp).text == f"SDP: 1 flows, {len(sdp)} octets"


@given(st.binary(max_size=200), st.sampled_from(["video", "audio", "metadata"]), st.binary(max_size=60))
def test_nothing_makes_it_fail(octets: bytes, kind: str, train: bytes) -> None:
    for one in (octets, b"\x80" + octets, b"\x90" + octets):
        for field in flat(rtp_fields(one, kind)):
            assert 0 <= field.start <= field.end <= len(one)
        assert RtpReader(kind)("received", one, train).text
        rtcp_fields(one)
        sdp_fields(one)


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
    assert {e.channel.protocol for e in back} >= {"RTP"}
    assert (PATIENT["PatientID"].encode() in path.read_bytes()) is fictional
