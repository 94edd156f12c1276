"""The one door to PyAV: video files and cameras in, H.264 and HEVC out. Needs ``dicomlab[video]``."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import Interrupted, MissingExtra, RemoteProtocolError, Unreachable, UsageError

H264 = "1.2.840.10008.1.2.4.102"
"""MPEG-4 AVC/H.264 High Profile / Level 4.1."""
H264_42 = "1.2.840.10008.1.2.4.104"
"""MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video."""
HEVC = "1.2.840.10008.1.2.4.107"
"""HEVC/H.265 Main Profile / Level 5.1."""
ENCODERS = {"h264": ("libx264", H264), "hevc": ("libx265", HEVC)}


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtra("video files, cameras and H.264 need PyAV: pip install 'dicomlab[video]'") from error
    return av


def transfer_syntax(codec: str, width: int, height: int, rate_hz: Fraction) -> str:
    """The Transfer Syntax of a video: H.264 level 4.1 up to 1080p30, 4.2 up to 1080p60; HEVC level 5.1 to 4K60.

    Raises
    ------
    UsageError
        Another codec, an odd size, or more than its level allows (PS3.5 §8.2.7, §8.2.8, §8.2.11).
    """
    if codec not in ENCODERS:
        raise UsageError(f"{codec!r} is none of {', '.join(ENCODERS)}")
    if width % 2 or height % 2:
        raise UsageError(f"{width} x {height} has no whole 4:2:0 chroma: form='lossless' takes any size")
    if codec == "hevc":
        if width > 4096 or height > 2304 or rate_hz > 60:
            raise UsageError(f"{width} x {height} at {rate_hz} Hz is beyond HEVC level 5.1 (PS3.5 §8.2.11)")
        return HEVC
    if width > 1920 or height > 1088 or rate_hz > 60:
        raise UsageError(
            f"{width} x {height} at {rate_hz} Hz is beyond H.264 level 4.2: 'hevc' takes more (PS3.5 §8.2.7)"
        )
    return H264_42 if rate_hz > 30 and height > 720 else H264


def can_encode(codec: str, width: int, height: int, rate_hz: Fraction) -> None:
    """See whether a video of that size can be encoded, before there is one.

    Raises
    ------
    UsageError
        The codec does not take that size or rate.
    MissingExtra
        PyAV is not installed, or its FFmpeg has no such encoder.
    """
    transfer_syntax(codec, width, height, rate_hz)
    av = _av()
    name = ENCODERS[codec][0]
    if name not in av.codecs_available:
        raise MissingExtra(f"this PyAV has no encoder {name}: pip install 'dicomlab[video]'")


def open_video(what: str | Path, *, camera: bool = False) -> tuple[int, int, Fraction, Iterator[NDArray[np.uint8]]]:
    """Open a video file or a camera: width, height, frames per second, and its frames in RGB.

    Raises
    ------
    MissingExtra
        PyAV is not installed.
    Unreachable
        There is no such file or camera, or nothing in it that is video.
    """
    av = _av()
    try:
        container = av.open(str(what), format="v4l2" if camera else None)
        stream = container.streams.video[0]
    except (av.FFmpegError, OSError, IndexError, ValueError) as error:  # ValueError: an FFmpeg without cameras
        kind = "no camera that gives video" if camera else "no video can be read here"
        raise Unreachable(f"{kind}: {error}", endpoint=str(what)) from error
    rate = Fraction(stream.average_rate or stream.base_rate or 25)
    return stream.width, stream.height, rate, _decoded(container)


def _decoded(container: Any) -> Iterator[NDArray[np.uint8]]:
    av = _av()
    with container:
        try:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except av.FFmpegError as error:
            raise Interrupted(f"the video breaks off: {error}", endpoint=str(container.name)) from error


def decode_stream(octets: bytes) -> Iterator[NDArray[np.uint8]]:
    """Decode an H.264, HEVC or MPEG-2 stream of an encapsulated DICOM instance to RGB.

    Raises
    ------
    MissingExtra
        PyAV is not installed.
    RemoteProtocolError
        It can't be decoded.
    """
    av = _av()
    try:
        container = av.open(BytesIO(octets))
    except (av.FFmpegError, OSError) as error:
        raise RemoteProtocolError(f"no video stream: {error}", section="PS3.5 §8.2") from error
    return _decoded(container)


class VideoEncoder:
    """Encodes RGB frames to an H.264 or HEVC stream in a file, in constant memory.

    Raises
    ------
    MissingExtra
        PyAV is not installed, or its FFmpeg has no such encoder.
    """

    def __init__(self, path: Path, codec: str, width: int, height: int, rate_hz: Fraction) -> None:
        self._av = av = _av()
        name, self.transfer_syntax_uid = ENCODERS[codec][0], transfer_syntax(codec, width, height, rate_hz)
        try:
            self._container = av.open(str(path), "w", format="mpegts")
            self._stream = self._container.add_stream(name, rate=rate_hz)
        except (av.FFmpegError, ValueError, OSError) as error:
            raise MissingExtra(f"this PyAV has no encoder {name}: pip install 'dicomlab[video]' ({error})") from error
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 2
        common = {"crf": "18", "preset": "veryfast"}
        level = {H264: "4.1", H264_42: "4.2"}.get(self.transfer_syntax_uid)
        if level is not None:
            self._stream.options = {**common, "profile": "high", "level": level, "bf": "2"}
        else:
            self._stream.options = {**common, "x265-params": "log-level=none:level-idc=5.1:profile=main"}
        self.frames = 0

    def add(self, rgb: NDArray[np.uint8]) -> None:
        """Encode one more frame."""
        frame = self._av.VideoFrame.from_ndarray(rgb, format="rgb24")
        frame.pts = self.frames
        frame.time_base = 1 / Fraction(self._stream.average_rate or self._stream.rate)
        self.frames += 1
        self._write(frame)

    def finish(self) -> None:
        """Encode what is left and close the file."""
        self._write(None)
        self._container.close()

    def _write(self, frame: Any) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (self._av.FFmpegError, OSError) as error:
            raise Interrupted(f"the encoder or its medium failed: {error}", endpoint="encoder") from error


class LiveEncoder:
    """Encodes pictures that are looked at now: H.264 access units (Annex B), each as soon as its frame is there.

    Raises
    ------
    MissingExtra
        PyAV is not installed, or its FFmpeg has no such encoder.

    Source
    ------
    ITU-T H.264 Annex B.
    """

    def __init__(self, width: int, height: int, rate_hz: Fraction, *, kbit_s: int = 4_000) -> None:
        self._av = av = _av()
        self.size = (width - width % 2, height - height % 2)
        try:
            self._context = context = av.CodecContext.create("libx264", "w")
            context.width, context.height = self.size
            context.pix_fmt = "yuvj420p"  # full range
            context.framerate, context.time_base = rate_hz, 1 / Fraction(rate_hz)
            context.bit_rate = kbit_s * 1000
            context.options = {
                "preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1",
                "x264-params": f"repeat-headers=1:annexb=1:vbv-maxrate={kbit_s}:vbv-bufsize={kbit_s // 4}"
                ":colormatrix=smpte170m:fullrange=on",
            }  # fmt: skip
            context.open()
        except (av.FFmpegError, ValueError) as error:
            raise MissingExtra(f"this PyAV has no encoder libx264: pip install 'dicomlab[video]' ({error})") from error
        self._count = 0

    def encode(self, planes: tuple[NDArray[np.uint8], ...], *, key: bool) -> bytes:
        """Encode one picture of Y, Cb, Cr (BT.601, full range; chroma of all pixels, or of half of them each way).

        Raises
        ------
        Interrupted
            The encoder failed.
        """
        width, height = self.size
        y, *chroma = planes
        down, across = (max(1, round(2 * part / all_)) for part, all_ in zip(chroma[0].shape, y.shape, strict=True))
        small = [plane[::down, ::across] for plane in chroma]
        whole = np.concatenate(
            [y[:height, :width].reshape(-1), *(p[: height // 2, : width // 2].reshape(-1) for p in small)]
        )
        frame = self._av.VideoFrame.from_ndarray(whole.reshape(height * 3 // 2, width), format="yuvj420p")
        frame.pts, frame.time_base = self._count, self._context.time_base
        frame.pict_type = self._av.video.frame.PictureType.I if key else self._av.video.frame.PictureType.NONE
        self._count += 1
        try:
            return b"".join(bytes(packet) for packet in self._context.encode(frame))
        except self._av.FFmpegError as error:
            raise Interrupted(f"H.264 can't be encoded: {error}", endpoint="encoder") from error
