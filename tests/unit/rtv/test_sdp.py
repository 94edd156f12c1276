"""Session descriptions: the recommended one, those of peers, broken ones."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError, UsageError
from dicomlab.rtv.audio import audio_format
from dicomlab.rtv.sdp import Media, Session, joined, parse_sdp, write_sdp
from dicomlab.rtv.video import video_format

METADATA = """v=0
o=- 1764000000 1764000000 IN IP4 192.0.2.10
s=OR1 endoscope metadata
t=0 0
m=application 20004 RTP/AVP 104
c=IN IP4 239.10.1.4/32
a=source-filter: incl IN IP4 239.10.1.4 192.0.2.10
a=rtpmap:104 dicom/90000
a=extmap:1 urn:x-nmos:rtp-hdrext:origin-timestamp
a=extmap:3 urn:x-nmos:rtp-hdrext:flow-id
a=extmap:4 urn:x-nmos:rtp-hdrext:source-id
a=extmap:5 urn:x-nmos:rtp-hdrext:grain-flags
a=extmap:7 urn:x-nmos:rtp-hdrext:sync-timestamp
a=ts-refclk:ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:0
a=mediaclk:direct=0
a=mid:M1
"""
"""The recommended minimum for a metadata flow."""

FFMPEG = """v=0
o=- 0 0 IN IP4 127.0.0.1
s=No Name
c=IN IP4 127.0.0.1
t=0 0
a=tool:libavformat 59.27.100
m=video 52010 RTP/AVP 96
a=rtpmap:96 raw/90000
a=fmtp:96 sampling=YCbCr-4:2:2; width=640; height=480; depth=8
m=audio 57024 RTP/AVP 97
b=AS:2304
a=rtpmap:97 L24/48000/2
"""

FULL = """v=0
o=- 1 2 IN IP4 192.168.1.1
s=all of it
i=more words
t=0 0
a=group:DUP V1 V2
a=recvonly
a=ts-refclk:ptp=IEEE1588-2008:traceable
m=video 5000 RTP/AVP 96
c=IN IP4 239.1.1.1/64
a=source-filter:incl IN IP4 239.1.1.1 192.168.1.1
a=rtpmap:96 RAW/90000
a=fmtp:96 sampling=YCbCr-4:2:2; width=1920; height=1080; exactframerate=30000/1001; depth=10; TCS=SDR; \
colorimetry=BT2020; PM=2110BPM; SSN=ST2110-20:2017; RANGE=FULL; interlace=1; TP=2110TPN; MAXUDP=1460;
a=mediaclk:direct=963214424 rate=90000
a=mid:V1
m=video 5002/2 RTP/AVP 96
c=IN IP4 239.1.2.1/64
a=rtpmap:96 raw/90000
a=fmtp:96 sampling=YCbCr-4:2:2; width=1920; height=1080; exactframerate=30000/1001; depth=10; interlace
a=ts-refclk:localmac=00-11-22-33-44-55
a=mid:V2
a=something-new:42
m=application 5004 RTP/AVP 104
c=IN IP6 ff15::101
a=rtpmap:104 DICOM/90000
"""


def test_the_recommended_one_for_metadata() -> None:
    (media,) = parse_sdp(METADATA).media
    assert (media.kind, media.port, media.payload_type, media.encoding) == ("application", 20004, 104, "dicom")
    assert (media.address, media.ttl, media.sources) == ("239.10.1.4", 32, ("192.0.2.10",))
    assert media.extension_ids == {"origin": 1, "flow": 3, "source": 4, "flags": 5, "sync": 7}
    assert media.reference_clock == "ptp=IEEE1588-2008:39-A7-94-FF-FE-07-CB-D0:0"
    assert (media.mid, media.clock_offset, media.multicast) == ("M1", 0, True)


def test_it_is_written_as_it_stands() -> None:
    assert write_sdp(parse_sdp(METADATA)).replace("\r\n", "\n") == METADATA


def test_ffmpegs_has_no_rate_and_no_packing_mode() -> None:
    video, audio = parse_sdp(FFMPEG).media
    found = video_format(video)
    assert (found.width, found.height, found.sampling, found.depth, found.rate_hz) == (640, 480, "YCbCr-4:2:2", 8, 25)
    assert video.address == "127.0.0.1"
    assert video.extension_ids is None
    sound = audio_format(audio)
    assert (sound.bits, sound.channels, sound.rate_hz) == (24, 2, 48_000)


def test_a_full_one() -> None:
    session = parse_sdp(FULL.replace("\n", "\r\n"))
    first, second, data = session.media
    found = video_format(first)
    assert found.rate_hz == Fraction(30_000, 1001)
    assert (found.interlaced, found.range, found.colorimetry, found.packing) == (True, "FULL", "BT2020", "2110BPM")
    assert found.others == {"TP": "2110TPN", "MAXUDP": "1460"}
    assert video_format(second).interlaced
    assert first.sources == ("192.168.1.1",)
    assert first.clock_offset == 963_214_424
    assert first.reference_clock == "ptp=IEEE1588-2008:traceable"
    assert second.reference_clock == "localmac=00-11-22-33-44-55"
    assert data.address == "ff15::101"
    assert ("something-new", "42") in second.attributes
    assert list(session.streams()) == [(first, second), (data,)]
    assert parse_sdp(write_sdp(session)) == session


def test_rfc_4175_names_of_older_peers() -> None:
    text = FFMPEG.replace("depth=8", "depth=8; colorimetry=BT601-5; interlace").replace(
        "a=rtpmap:96", "a=framerate:29.97\na=rtpmap:96"
    )
    found = video_format(parse_sdp(text).media[0])
    assert (found.colorimetry, found.interlaced, found.rate_hz) == ("BT601", True, Fraction("29.97"))


def test_a_payload_type_of_rfc_3551_needs_no_rtpmap() -> None:
    text = "v=0\nc=IN IP4 127.0.0.1\nm=audio 5000 RTP/AVP 11 10\n"
    (media,) = parse_sdp(text).media
    assert (media.encoding, media.clock_rate_hz, media.channels, media.payload_type) == ("L16", 44_100, 1, 11)


@pytest.mark.parametrize(
    "text",
    [
        "", "m=video 1 RTP/AVP 96", "v=0\n", "v=0\nc=IN IP4 127.0.0.1\nm=video x RTP/AVP 96\n",
        "v=0\nm=video 5000 RTP/AVP 96\na=rtpmap:96 raw/90000\n", "v=0\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\n",
        "v=0\nc=IN IP4 host.example\nm=video 5000 RTP/AVP 96\na=rtpmap:96 raw/90000\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 0 RTP/AVP 96\na=rtpmap:96 raw/90000\n",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 5000 TCP/MSRP *\n", "v=0\n" + "a=x\n" * 20_000,
        "v=0\nc=IN IP4 127.0.0.1\n" + "m=video 5000 RTP/AVP 10\n" * 65,
    ],
)  # fmt: skip
def test_what_is_no_session_description(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_sdp(text)


@pytest.mark.parametrize(
    "change",
    [("width=640", "wide=640"), ("width=640", "width=0"), ("width=640", "width=641"), ("YCbCr-4:2:2", "YCbCr-9"),
     ("depth=8", "depth=9"), ("depth=8", "depth="), ("raw/90000", "jxsv/90000"), ("raw/90000", "raw/48000"),
     ("depth=8", "depth=8; exactframerate=1/0"), ("depth=8", "depth=8; exactframerate=x")],
)  # fmt: skip
def test_video_that_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        video_format(parse_sdp(FFMPEG.replace(*change)).media[0])


@pytest.mark.parametrize("change", [("L24/48000/2", "L24/48000/16"), ("L24/48000", "L24/8000"), ("L24", "opus")])
def test_audio_that_is_refused(change: tuple[str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        audio_format(parse_sdp(FFMPEG.replace(*change)).media[1])


def test_a_line_end_never_gets_into_a_line() -> None:
    media = Media("video", 5000, 96, encoding="raw")
    for session in (Session((media,), name="a\r\nm=evil"), Session((Media("video", 5000, 96, encoding="x\ny"),))):
        with pytest.raises(LocalProtocolError):
            write_sdp(session)
    with pytest.raises(LocalProtocolError):
        write_sdp(Session((Media("video", 0, 96),)))


def test_one_object_for_each_flow_or_one_for_all() -> None:
    whole = joined([parse_sdp(METADATA), parse_sdp(FFMPEG)])
    assert [m.kind for m in whole.media] == ["application", "video", "audio"]
    with pytest.raises(UsageError):
        joined([])


def test_descriptions_that_use_the_same_mids_keep_their_own_pairs() -> None:
    """Senders name the two paths of each flow alike; each description has one flow."""
    double = FULL[: FULL.index("m=")] + "a=group:DUP primary secondary\r\n"
    each = [
        parse_sdp(
            double
            + "".join(
                f"m={kind} {port} RTP/AVP 96\r\nc=IN IP4 239.1.{path}.1\r\na=rtpmap:96 {words}\r\na=mid:{mid}\r\n"
                for path, mid in enumerate(("primary", "secondary"))
            )
        )
        for kind, port, words in (("video", 5000, "raw/90000"), ("application", 5004, "dicom/90000"))
    ]
    pairs = [[(one.kind, one.address) for one in paths] for paths in joined(each).streams()]
    assert pairs == [[(kind, "239.1.0.1"), (kind, "239.1.1.1")] for kind in ("video", "application")]
    assert joined(each[:1]) == each[0]


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    try:
        parse_sdp("v=0\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 10\n" + text)
    except RemoteProtocolError:
        return


@given(st.integers(0, len(FULL)), st.sampled_from(["\n", "a=", ":", "/", "9" * 30, "\0", "é"]))
def test_a_description_with_something_in_it(at: int, text: str) -> None:
    try:
        for media in parse_sdp(FULL[:at] + text + FULL[at:]).media:
            if media.kind == "video":
                video_format(media)
    except RemoteProtocolError:
        return
