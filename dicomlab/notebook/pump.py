"""Frames on their way to a browser: acknowledged, never more than a few under way, the newest always next."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dicomlab.errors import DicomlabError
from dicomlab.model.summary import visible
from dicomlab.notebook.pace import RUNGS, SPAN_S, Pace
from dicomlab.rtv.encode import LiveEncoder
from dicomlab.rtv.preview import Planes, Preview
from dicomlab.rtv.samples import planes_of

if TYPE_CHECKING:
    from dicomlab.rtv.frames import Frame

Mode = Literal["auto", "jpeg", "h264", "lossless"]
MODES = ("auto", "jpeg", "h264", "lossless")
_BITS = (0.15, 0.15, 0.045, 0.015)
_SMALLER = ((100, 1), (60, 2), (50, 3), (35, 4))
"""For each rung of the ladder: of H.264, bits for a pixel; of JPEG, the best quality and how many times smaller."""
_LEAST_KBIT_S, _MOST_KBIT_S = 150, 100_000
"""Less is no picture any more, and little beside what Jupyter says around it."""

Send = Callable[[dict[str, Any], list[Any]], None]


@dataclass
class Counts:
    """What happened to the frames."""

    received: int = 0
    sent: int = 0
    shown: int = 0
    passed_over: int = 0
    """Frames that were not sent, since a newer one was there first."""
    lost: int = 0
    """Pictures that nobody acknowledged."""
    octets: int = 0
    encode_ms: float = 0.0


class Pump:
    """Sends the newest frame whenever the browser has room for one more. Holds at most one frame."""

    def __init__(self, send: Send, mode: Mode, quality: int) -> None:
        self._send = send
        self._mode: Mode = mode
        self._quality = quality
        self._change = threading.Condition()
        self._frame: tuple[Frame, float] | None = None
        self._waiting = False
        self._still = False
        """Whether a view came that has no picture yet: it gets one though pictures don't move."""
        self.pace = Pace()
        self._number = 0
        self._preview = Preview()
        self._encoder: LiveEncoder | None = None
        self._encodes: tuple[int, int, int] | None = None
        self._key = True
        self.counts = Counts()
        self.playing = True
        self.visible = False
        self.width = 0
        """Of the place where it is shown, in pixels of the screen; 0 where nobody has said."""
        self.decodes_h264 = False
        self.latest: Frame | None = None
        self.error = ""
        self._closed = False
        self._encodes_h264 = True
        self._thread = threading.Thread(target=self._run, name="dicomlab player", daemon=True)
        self._thread.start()

    # --- from the stream, from the browser -----------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """Take a frame, in the receiving thread."""
        now = time.monotonic()
        with self._change:
            self.counts.received += 1
            self.pace.came(now)
            if self._closed:
                return
            self.latest = frame
            if self._waiting:
                self.counts.passed_over += 1
            self._frame, self._waiting = (frame, now), True
            self._change.notify_all()

    def acknowledge(self, number: int, *, shown: bool, broken: bool = False, ago_s: float = 0.0) -> None:
        """A picture was shown so long ago, or was not."""
        with self._change:
            if broken:
                self._key = True
            was_under_way = self.pace.landed(number, time.monotonic() - ago_s, shown=shown)
            if was_under_way is None and shown:  # a kernel without subshells hears of it when its cell has ended
                self.counts.lost -= 1
            if was_under_way is not False:
                self.counts.shown += shown
            self._change.notify_all()

    def set(self, **changes: Any) -> None:
        """Change ``playing``, ``visible``, ``width``, ``decodes_h264`` or ``mode``."""
        with self._change:
            if "mode" in changes:
                self._mode, self._key = changes.pop("mode"), True
                self.pace.restarted(time.monotonic())
            for name, value in changes.items():
                setattr(self, name, value)
            if not (self.playing and self.visible) and not changes.keys().isdisjoint(("playing", "visible")):
                self._waiting = self._waiting and self._still  # what came before is not shown when it goes on
                self.pace.stopped()
            self._change.notify_all()

    def refresh(self) -> None:
        """Send the newest frame once more, or the first that comes, to a new view: it has a picture though paused."""
        with self._change:
            if self._frame is not None:
                self._frame, self._waiting = (self._frame[0], time.monotonic()), True
            self._still = self._key = True
            self._change.notify_all()

    @property
    def mode(self) -> str:
        """What pictures travel as now."""
        if self._mode != "auto":
            return self._mode
        return "h264" if self.pace.rung and self.decodes_h264 and self._encodes_h264 else "jpeg"

    @property
    def travels(self) -> str:
        """The same in words, with how little it is made to weigh."""
        mode, rung = self.mode, self.pace.rung
        if mode == "h264":
            return f"h264, {self._encodes[2] / 1000:.2g} Mbit/s" if self._encodes else mode
        return f"jpeg, 1/{_SMALLER[rung][1]}" if rung and self._mode == "auto" else mode

    # --- to the browser ------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many pictures may be under way."""
        return self.pace.window(time.monotonic())

    def _room(self) -> bool:
        return self._shows() and self._waiting and self.pace.room(time.monotonic())

    def _shows(self) -> bool:
        return self.visible and (self.playing or self._still)

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._closed and not self._room():
                    self._change.wait(self.pace.wait_s(time.monotonic()))
                    self._forget()
                if self._closed:
                    return
                assert self._frame is not None
                frame, came_s = self._frame
                self._waiting = False
            try:
                self._one(frame, came_s)
            except DicomlabError as error:
                with self._change:
                    if self._mode == "auto":
                        self._encodes_h264 = False
                    else:
                        self._mode, self.error = "jpeg", visible(str(error), 300)
            del frame

    def _forget(self) -> None:
        late = self.pace.given_up(time.monotonic())
        self._key = self._key or bool(late)
        self.counts.lost += len(late)

    def _one(self, frame: Frame, came_s: float) -> None:
        began, computed_s = time.monotonic(), time.thread_time()
        mode = self.mode
        content, buffers = self._encoded(frame, mode)
        now, computed_s = time.monotonic(), time.thread_time() - computed_s
        octets = sum(memoryview(one).nbytes for one in buffers)
        with self._change:
            self.pace.made(now - began, computed_s)
            if not self._shows():  # it was stopped while this one was encoded
                self._key = True
                return
            self._still = False
            self._number += 1
            number = self._number
            later = self.pace.left(number, came_s, now)
            self.counts.sent += 1
            self.counts.octets += octets
            self.counts.encode_ms += ((now - began) * 1000 - self.counts.encode_ms) / min(self.counts.sent, 30)
        self._send({"kind": "picture", "n": number, "mode": mode, "later": later, **content}, buffers)

    def _encoded(self, frame: Frame, mode: str) -> tuple[dict[str, Any], list[Any]]:
        if mode == "lossless":
            luma = np.ascontiguousarray(planes_of(frame.packed, frame.video)[0])
            kind = luma.dtype.str.lstrip("<>|=")
            return {"width": luma.shape[1], "height": luma.shape[0], "depth": frame.video.depth, "type": kind}, [luma]
        shrink = max(1, frame.video.width // self.width) if self.width else 1
        rung = self.pace.rung
        if mode == "jpeg":
            self._encoder = None
            best, smaller = _SMALLER[rung if self._mode == "auto" else 0]
            planes = shown_planes(frame, self._preview, max(shrink, smaller))
            height, width = planes[0].shape
            return {"height": height, "width": width}, [jpeg(planes, min(self._quality, best))]
        planes = shown_planes(frame, self._preview, shrink)
        with self._change:
            key, self._key = self._key, False
        height, width = planes[0].shape
        bits = _BITS[rung if self._mode == "auto" else min(rung + 1, RUNGS - 1)]
        kbit_s = round(bits * width * height * float(frame.video.rate_hz) / 1000)
        kbit_s = min(_MOST_KBIT_S, max(_LEAST_KBIT_S, kbit_s))
        if self._encoder is None or self._encodes != (width, height, kbit_s):
            self._encoder = LiveEncoder(width, height, frame.video.rate_hz, kbit_s=kbit_s)
            self._encodes, key = (width, height, kbit_s), True
        octets = self._encoder.encode(planes, key=key)
        return {"width": self._encoder.size[0], "height": self._encoder.size[1], "key": key}, [octets]

    # --- what the statistics say ---------------------------------------------------------------------------------

    def figures(self) -> dict[str, float]:
        """Rates, latency from the receiver to the acknowledged picture, octets."""
        now = time.monotonic()
        with self._change:
            recent = sorted(trip.latency_s * 1000 for trip in self.pace.trips if now - trip.at_s <= SPAN_S)
            found = {
                "received_hz": self.pace.received_hz(now),
                "shown_hz": self.pace.shown_hz(now),
                "encode_ms": self.counts.encode_ms,
                "octets": self.counts.octets / max(1, self.counts.sent),
                "window": self.pace.window(now),
                "rung": self.pace.rung,
            }
        if recent:
            found["p50_ms"], found["p95_ms"] = recent[len(recent) // 2], recent[int(len(recent) * 0.95)]
        return found

    def close(self) -> None:
        """Have the thread end, and let go of the frame; waits for nobody, so that it may be called by the collector."""
        with self._change:
            self._closed = True
            self._frame = None
            self._change.notify_all()

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._thread is not threading.current_thread():
            self._thread.join(5)


def shown_planes(frame: Frame, preview: Preview, shrink: int = 1) -> Planes:
    """The planes of a frame's JPEG; what never came is magenta."""
    y, blue, red = preview.planes(frame.packed, frame.video, shrink)
    if frame.complete:
        return y, blue, red
    gaps = frame.missing[::shrink, ::shrink][: y.shape[0], : y.shape[1]]
    y[gaps] = 105
    down, across = (max(1, round(whole / part)) for whole, part in zip(y.shape, blue.shape, strict=True))
    small = gaps[::down, ::across][:, : blue.shape[1]]
    blue[small], red[small] = 212, 235
    return y, blue, red


def jpeg(planes: Planes, quality: int) -> bytes:
    """Encode planes as JPEG: by simplejpeg where it is installed."""
    y, blue, red = (np.ascontiguousarray(plane) for plane in planes)
    try:
        from simplejpeg import encode_jpeg_yuv_planes
    except ImportError:
        from PIL import Image

        parts = [Image.fromarray(plane).resize((y.shape[1], y.shape[0])) for plane in (y, blue, red)]
        out = io.BytesIO()
        Image.merge("YCbCr", parts).save(out, "JPEG", quality=quality)
        return out.getvalue()
    encoded: bytes = encode_jpeg_yuv_planes(y, blue, red, quality=quality, fastdct=True)
    return encoded
