"""The fields of RTP, RTCP and SDP: where they lie and what they say; hostile octets are no error."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.reading import Field
from dicomlab.rtv.extension import GrainItems, encode_items
from dicomlab.rtv.fields import rtcp_fields, rtp_fields, sdp_fields
from dicomlab.rtv.metadata import RtvMeta, element, encode_meta
from dicomlab.rtv.reader import RtpReader, read_rtcp, read_sdp
from dicomlab.rtv.rtcp import Bye, SenderReport, encode_rtcp
from dicomlab.rtv.rtp import RtpPacket, encode_rtp

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
