"""Uncompressed video and audio with GStreamer and FFmpeg, both ways round: bytes compared. And tshark on our headers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dicomlab import Broadcast, LiveStream
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.extension import decode_items
from dicomlab.rtv.frames import Frame
from dicomlab.rtv.rtp import decode_rtp
from dicomlab.rtv.samples import planes_of, woven
from dicomlab.rtv.sdp import Media, Session, write_sdp
from dicomlab.rtv.udp import ReceivingSocket
from dicomlab.rtv.video import VideoFormat
from tests.peers.processes import ENVIRONMENT, LOOPBACK, Peer, free_port, need

WIDTH, HEIGHT, RATE = 320, 240, 25
Bytes = NDArray[np.uint8]


def even_port() -> int:
    """A free port with an even number; RTCP goes to the next one."""
    while (port := free_port()) % 2:
        pass
    return port


def bound(port: int) -> Callable[[], bool]:
    """Whether somebody receives there."""
    return lambda: f":{port:04X} " in Path("/proc/net/udp").read_text()


def pictures(video: VideoFormat, count: int = 6) -> list[Bytes]:
    return list(np.random.default_rng(8).integers(0, 256, (count, video.frame_octets), np.uint8))


def video(sampling: str, depth: int = 8, **more: Any) -> VideoFormat:
    return VideoFormat(WIDTH, HEIGHT, Fraction(RATE), sampling, depth, **more)


def cut(path: Path, size: int) -> list[bytes]:
    octets = path.read_bytes()
    return [octets[at : at + size] for at in range(0, len(octets) - size + 1, size)]


def planar(packed: Bytes, of: VideoFormat, kind: str = "u1") -> bytes:
    """Planes one after the other, as FFmpeg and GStreamer keep them in a file."""
    return b"".join(plane.astype(kind).tobytes() for plane in planes_of(packed, of))


# ---------------------------------------------------------------------------------------------------- we send


def received_by(peer: Callable[[int, Path], tuple[list[str], dict[str, Any]]], tmp_path: Path, what: VideoFormat,
                frames: Sequence[Bytes], **options: Any) -> Path:  # fmt: skip
    """Let a peer receive what we send; gives the file that it wrote."""
    port = even_port()
    cast = Broadcast(list(frames), format=what, port=port, loop=True, metadata=False, **options)
    (tmp_path / "v.sdp").write_text(cast.sdp, newline="")
    arguments, _ = peer(port, tmp_path)
    with Peer(["timeout", "20", *arguments], tmp_path, bound(port)) as process, cast:
        process._process.wait(timeout=25)
        assert process._process.returncode == 0, process.tail()
    return tmp_path / "out.raw"


def ffmpeg_receives(pix_fmt: str) -> Callable[[int, Path], tuple[list[str], dict[str, Any]]]:
    def arguments(port: int, folder: Path) -> tuple[list[str], dict[str, Any]]:
        return [
            "ffmpeg", "-loglevel", "error", "-y", "-protocol_whitelist", "file,udp,rtp", "-i", str(folder / "v.sdp"),
            "-map", "0:v", "-frames:v", "3", "-pix_fmt", pix_fmt, "-c:v", "rawvideo", "-f", "rawvideo",
            str(folder / "out.raw"),
        ], {}  # fmt: skip

    return arguments


def gstreamer_receives(sampling: str, depth: int) -> Callable[[int, Path], tuple[list[str], dict[str, Any]]]:
    def arguments(port: int, folder: Path) -> tuple[list[str], dict[str, Any]]:
        caps = (
            "application/x-rtp,media=video,clock-rate=90000,encoding-name=RAW,payload=96,"
            f"sampling=(string){sampling},depth=(string){depth},width=(string){WIDTH},height=(string){HEIGHT}"
        )
        source = f"udpsrc address={LOOPBACK} port={port} buffer-size=4000000 caps={caps}"
        rest = "rtpjitterbuffer latency=100 ! rtpvrawdepay ! identity eos-after=4 ! filesink location=out.raw"
        return ["gst-launch-1.0", "-q", *source.split(" "), "!", *rest.split(" ")], {}

    return arguments


@pytest.mark.parametrize(
    ("what", "pix_fmt", "size", "form"),
    [
        (video("YCbCr-4:2:2"), "uyvy422", 4 * 160 * 240, lambda p, v: p.tobytes()),
        (video("YCbCr-4:2:2", 10), "yuv422p10le", 4 * 320 * 240, lambda p, v: planar(p, v, "<u2")),
        (video("RGB", range="FULL"), "rgb24", 3 * 320 * 240, lambda p, v: p.tobytes()),
        (video("YCbCr-4:2:2", interlaced=True), "uyvy422", 4 * 160 * 240,
         lambda p, v: woven(p.reshape(HEIGHT, -1), v).tobytes()),
    ],
    ids=["422-8", "422-10", "rgb", "422-8-interlaced"],
)  # fmt: skip
@pytest.mark.parametrize("identified", [True, False])
def test_ffmpeg_receives_what_we_send(
    what: VideoFormat, pix_fmt: str, size: int, form: Callable[[Bytes, VideoFormat], bytes], identified: bool,
    tmp_path: Path,
) -> None:  # fmt: skip
    need("ffmpeg")
    frames = pictures(what)
    got = cut(received_by(ffmpeg_receives(pix_fmt), tmp_path, what, frames, identified=identified), size)
    known = {form(frame, what) for frame in frames}
    assert len(got) == 3
    assert all(frame in known for frame in got[0 if not what.interlaced else 1 :])


@pytest.mark.parametrize(
    ("what", "size", "form"),
    [
        (video("YCbCr-4:2:2"), 4 * 160 * 240, lambda p, v: p.tobytes()),
        (video("YCbCr-4:2:2", 10), 5 * 160 * 240, lambda p, v: p.tobytes()),
        (video("RGB"), 3 * 320 * 240, lambda p, v: p.tobytes()),
        (video("YCbCr-4:2:0"), 320 * 240 * 3 // 2, planar),
        (video("YCbCr-4:4:4"), 4 * 320 * 240, lambda p, v: np.stack(planes_of(p, v), -1).tobytes()),
    ],
    ids=["422-8", "422-10", "rgb", "420-8", "444-8"],
)
@pytest.mark.parametrize("identified", [True, False])
def test_gstreamer_receives_what_we_send(
    what: VideoFormat, size: int, form: Callable[[Bytes, VideoFormat], bytes], identified: bool, tmp_path: Path
) -> None:
    need("gstreamer")
    frames = pictures(what)
    peer = gstreamer_receives(what.sampling, what.depth)
    got = cut(received_by(peer, tmp_path, what, frames, identified=identified), size)
    if what.sampling.endswith("4:4:4"):  # AYUV, whose alpha is left 0
        got = [np.frombuffer(one, np.uint8).reshape(-1, 4)[:, 1:].tobytes() for one in got]
    known = {form(frame, what) for frame in frames}
    assert len(got) >= 3
    assert all(frame in known for frame in got)


def test_ffmpeg_opens_video_with_its_metadata_beside(tmp_path: Path) -> None:
    need("ffmpeg")
    what = video("YCbCr-4:2:2")
    frames = pictures(what)
    port = even_port()
    cast = Broadcast(frames, format=what, port=port, loop=True, PatientID="SYN-1")
    (tmp_path / "v.sdp").write_text(cast.sdp, newline="")
    arguments, _ = ffmpeg_receives("uyvy422")(port, tmp_path)
    with Peer(["timeout", "20", *arguments], tmp_path, bound(port)) as process, cast:
        process._process.wait(timeout=25)
    got = cut(tmp_path / "out.raw", what.frame_octets)
    assert len(got) == 3
    assert {frame.tobytes() for frame in frames} >= set(got)


# ------------------------------------------------------------------------------------------------- we receive


def received_from(
    arguments: Sequence[str], tmp_path: Path, port: int, what: VideoFormat, least: int = 4
) -> list[Frame]:
    """Receive what a peer sends; gives whole frames, copied."""
    media = Media("video", port, 96, encoding="raw", parameters=what.parameters())
    with LiveStream(Session((media,)), pool_frames=64, queue_frames=60) as live:
        process = subprocess.Popen(["timeout", "20", *arguments], cwd=tmp_path, env=ENVIRONMENT)
        try:
            got = [frame.copy() for frame, _ in zip(live.frames(), range(least + 2), strict=False)]
        finally:
            process.terminate()
            process.wait()
        row = live.statistics().loc[0]
        assert row["foreign"] == 0
        assert row["malformed"] <= 200 * what.interlaced  # rows of the first frame, until it is known how they count
        assert row["lost"] in range(-1, 2000 * int(row["damaged"]) + 1)
    return [frame for frame in got if frame.complete]


def gstreamer_sends(form: str, port: int, location: Path, extra: str = "") -> list[str]:
    parsed = f"rawvideoparse format={form} width={WIDTH} height={HEIGHT} framerate={RATE}/1"
    sent = (
        f"rtpvrawpay pt=96 mtu=1428 seqnum-offset=65530 timestamp-offset=1000 ssrc=305419896 ! udpsink host={LOOPBACK}"
    )
    line = f"gst-launch-1.0 -q filesrc location={location} ! {parsed} {extra} ! {sent} port={port}"
    return line.split()


@pytest.mark.parametrize(
    ("what", "form"),
    [(video("YCbCr-4:2:2"), "uyvy"), (video("RGB"), "rgb"), (video("YCbCr-4:2:0"), "i420"),
     (video("YCbCr-4:4:4"), "ayuv"), (video("YCbCr-4:2:2", 10), "uyvp")],
    ids=["422-8", "rgb", "420-8", "444-8", "422-10"],
)  # fmt: skip
def test_we_receive_what_gstreamer_sends(what: VideoFormat, form: str, tmp_path: Path) -> None:
    """Its sequence number wraps in the sixth packet, and its extended one stays 0."""
    need("gstreamer")
    frames = pictures(what, 30)
    with (tmp_path / "in.raw").open("wb") as file:
        for frame in frames:
            if form == "ayuv":
                planes = planes_of(frame, what)
                file.write(np.stack([np.full_like(planes[0], 255), *planes], -1).tobytes())
            else:
                file.write(planar(frame, what) if form == "i420" else frame.tobytes())
    port = even_port()
    got = received_from(gstreamer_sends(form, port, tmp_path / "in.raw"), tmp_path, port, what)
    known = {frame.tobytes() for frame in frames}
    assert len(got) >= 3
    assert all(frame.packed.tobytes() in known for frame in got)


def test_we_receive_gstreamers_interlaced_video(tmp_path: Path) -> None:
    """Rows numbered by their place in the frame, a timestamp for each field."""
    need("gstreamer")
    what = video("YCbCr-4:2:2", interlaced=True)
    frames = pictures(what, 30)
    (tmp_path / "in.raw").write_bytes(b"".join(frame.tobytes() for frame in frames))
    port = even_port()
    parsed = "interlaced=true top-field-first=true"
    line = gstreamer_sends("uyvy", port, tmp_path / "in.raw")
    line[line.index("!") + 2 : line.index("!") + 2] = parsed.split()
    got = received_from(line, tmp_path, port, what, least=8)
    known = {frame.tobytes() for frame in frames}
    assert len(got) >= 3
    assert all(woven(frame.packed.reshape(HEIGHT, -1), what).tobytes() in known for frame in got)


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (video("YCbCr-4:2:2"), ["-pix_fmt", "uyvy422", "-c:v", "rawvideo"]),
        (video("RGB", range="FULL"), ["-pix_fmt", "rgb24", "-c:v", "rawvideo"]),
        (video("YCbCr-4:2:2", 10), ["-pix_fmt", "yuv422p10le", "-c:v", "bitpacked", "-strict", "-2"]),
    ],
    ids=["422-8", "rgb", "422-10"],
)
def test_we_receive_what_ffmpeg_sends(what: VideoFormat, options: list[str], tmp_path: Path) -> None:
    need("ffmpeg")
    frames = pictures(what, 30)
    ten = what.depth == 10
    octets = b"".join(planar(frame, what, "<u2") if ten else frame.tobytes() for frame in frames)
    (tmp_path / "in.raw").write_bytes(octets)
    port = even_port()
    arguments = [
        "ffmpeg", "-loglevel", "error", "-re", "-f", "rawvideo", "-pix_fmt", options[1],
        "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE), "-i", str(tmp_path / "in.raw"), *options, "-payload_type", "96",
        "-seq", "65530", "-sdp_file", str(tmp_path / "v.sdp"), "-f", "rtp", f"rtp://{LOOPBACK}:{port}?pkt_size=1452",
    ]  # fmt: skip
    got = received_from(arguments, tmp_path, port, what)
    known = {frame.tobytes() for frame in frames}
    assert len(got) >= 3
    assert all(frame.packed.tobytes() in known for frame in got)


# ------------------------------------------------------------------------------------------------------ audio

RAMP = np.arange(-24_000, 24_000)


def sound(bits: int) -> NDArray[np.int32]:
    """Each sample's value says where it stands."""
    return np.stack([RAMP, -RAMP], axis=1).astype(np.int32) * (1 if bits == 16 else 200)


def continues(samples: NDArray[Any], bits: int) -> bool:
    step = 1 if bits == 16 else 200
    return set(np.diff(samples[:, 0].astype(np.int64)).tolist()) <= {step, -47_999 * step}


@pytest.mark.parametrize("bits", [16, 24])
def test_gstreamer_and_ffmpeg_receive_our_audio(bits: int, tmp_path: Path) -> None:
    need("gstreamer", "ffmpeg")
    audio = AudioFormat(2, 48_000, bits)
    lines = {
        "gst": lambda port: (
            f"gst-launch-1.0 -q udpsrc address={LOOPBACK} port={port} buffer-size=4000000 caps=application/x-rtp,media=audio,"
            f"clock-rate=48000,encoding-name=L{bits},channels=2,payload=97 ! rtpjitterbuffer latency=100 !"
            f" rtpL{bits}depay ! identity eos-after=300 ! filesink location=out.raw"
        ),
        "ffmpeg": lambda port: (
            "ffmpeg -loglevel error -y -protocol_whitelist file,udp,rtp -i a.sdp -t 0.2"
            f" -c:a pcm_s{bits}be -f s{bits}be out.raw"
        ),
    }
    for name, line in lines.items():
        folder = tmp_path / name
        folder.mkdir()
        port = even_port()
        cast = Broadcast(audio=sound(bits), audio_format=audio, port=port, loop=True, metadata=False)
        (folder / "a.sdp").write_text(cast.sdp, newline="")
        with Peer(["timeout", "20", *line(port).split()], folder, bound(port)) as process, cast:
            process._process.wait(timeout=25)
        octets = (folder / "out.raw").read_bytes()
        from dicomlab.rtv.audio import decode_samples

        samples = decode_samples(octets[: len(octets) // audio.sample_octets * audio.sample_octets], audio)
        assert len(samples) > 5000, name
        assert continues(samples, bits), name


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("peer", ["gstreamer", "ffmpeg"])
def test_we_receive_their_audio(peer: str, bits: int, tmp_path: Path) -> None:
    """FFmpeg's packets are irregular and longer than 1 ms; GStreamer's first one has the marker bit."""
    need(peer)
    audio = AudioFormat(2, 48_000, bits)
    port = even_port()
    from dicomlab.rtv.audio import encode_samples

    (tmp_path / "in.raw").write_bytes(encode_samples(sound(bits), audio) * 2)
    raw = f"s{bits}be"
    lines = {
        "gstreamer": (
            f"gst-launch-1.0 -q filesrc location=in.raw ! rawaudioparse format=pcm pcm-format={raw} sample-rate=48000"
            f" num-channels=2 ! rtpL{bits}pay pt=97 min-ptime=1000000 max-ptime=1000000 ! udpsink host={LOOPBACK} port={port}"
        ),
        "ffmpeg": (
            f"ffmpeg -loglevel error -re -f {raw} -ar 48000 -ac 2 -i in.raw -c:a pcm_{raw} -payload_type 97"
            f" -f rtp rtp://{LOOPBACK}:{port}?pkt_size=1452"
        ),
    }
    media = Media("audio", port, 97, encoding=f"L{bits}", clock_rate_hz=48_000, channels=2)
    with LiveStream(write_sdp(Session((media,)))) as live:
        process = subprocess.Popen(["timeout", "20", *lines[peer].split()], cwd=tmp_path, env=ENVIRONMENT)
        try:
            with live._arrived:
                assert live._arrived.wait_for(lambda: sum(map(len, live._audio)) > 20_000, timeout=20)
        finally:
            process.terminate()
            process.wait()
        blocks = live.audio
    samples = np.concatenate([block.samples for block in blocks])
    assert continues(samples, bits)
    assert sum(block.gap_samples for block in blocks) == 0
    lengths = {len(block) for block in blocks}
    assert lengths == {48} if peer == "gstreamer" else max(lengths) > 96


# ----------------------------------------------------------------------------------------------------- tshark

FIELDS = "rtp.p_type rtp.seq rtp.timestamp rtp.ssrc rtp.marker rtp.ext rtp.ext.profile rtp.ext.len".split()


def test_tshark_reads_our_headers_as_we_do(tmp_path: Path) -> None:
    need("tshark")
    what = video("YCbCr-4:2:2")
    cast = Broadcast(pictures(what, 2), format=what, rate_hz=50, PatientID="SYN-1", audio=sound(24))
    datagrams: list[tuple[int, bytes]] = []
    sockets = [(media, ReceivingSocket(media.address, media.port)) for media in cast.session.media]
    with cast:
        cast.wait(20)
        for media, one in sockets:
            while (batch := one.receive()) is not None:
                datagrams += [(media.payload_type, bytes(batch.datagram(row))) for row in range(batch.count)]
            one.close()
    assert {kind for kind, _ in datagrams} == {96, 97, 104}
    lines = [f"{at:06x} {octet.hex(' ')}" for _, octet in datagrams for at in (0,)]
    (tmp_path / "rtp.txt").write_text("\n".join(lines) + "\n")
    text2pcap = shutil.which("text2pcap")
    assert text2pcap is not None
    subprocess.run([text2pcap, "-q", "-u", "5004,5004", "rtp.txt", "rtp.pcap"], cwd=tmp_path, check=True, timeout=60,
                   capture_output=True)  # fmt: skip
    wanted = [word for field in FIELDS for word in ("-e", field)]
    said = subprocess.run(
        ["tshark", "-r", "rtp.pcap", "-d", "udp.port==5004,rtp", "-T", "fields", *wanted],
        cwd=tmp_path, check=True, timeout=60, capture_output=True, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    rows = [line.split("\t") for line in said.stdout.splitlines()]
    assert len(rows) == len(datagrams)
    for row, (kind, octets) in zip(rows, datagrams, strict=True):
        packet = decode_rtp(octets)
        assert [int(row[0]), int(row[1]), int(row[2]), int(row[3], 16)] == [
            kind, packet.sequence, packet.timestamp, packet.ssrc,
        ]  # fmt: skip
        assert row[4] in ("1", "True") if packet.marker else row[4] in ("0", "False")
        assert (row[5] in ("1", "True")) == (packet.extension is not None)
        if packet.extension is not None:
            assert int(row[6], 16) == packet.extension[0]
            assert int(row[7]) == len(packet.extension[1]) // 4
            decode_items(packet.extension, None)
    assert all(decode_rtp(octets).extension is not None for kind, octets in datagrams if kind == 104)  # X shall be 1
