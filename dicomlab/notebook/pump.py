"""Frames on their way to a browser: acknowledged, never more than a few under way, the newest always next."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dicomlab.errors import DicomlabError
from dicomlab.rtv.encode import LiveEncoder
from dicomlab.rtv.preview import Planes, jpeg_planes
from dicomlab.rtv.samples import planes_of

if TYPE_CHECKING:
    from dicomlab.rtv.frames import Frame

Mode = Literal["auto", "jpeg", "h264", "lossless"]
MODES = ("auto", "jpeg", "h264", "lossless")
LOST_S = 2.0
"""A picture that no view acknowledged in this time never will be."""
_SPAN_S = 2.0
_SHORT_MS = 250.0
"""Round trips above this say that the way to the browser is narrow."""
_FEWEST, _MOST = 3, 8

Send = Callable[[dict[str, Any], list[Any]], None]


@dataclass(slots=True)
class _Sent:
    came_s: float
    sent_s: float


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
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=512))
    shows: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=512))
    """When it was acknowledged, how long after it came, how long after it was sent."""


class Pump:
    """Sends the newest frame whenever the browser has room for one more. Holds at most one frame."""

    def __init__(self, send: Send, mode: Mode, quality: int) -> None:
        self._send = send
        self._mode: Mode = mode
        self._quality = quality
        self._change = threading.Condition()
        self._frame: tuple[Frame, float] | None = None
        self._waiting = False
        self._under_way: dict[int, _Sent] = {}
        self._late: deque[int] = deque(maxlen=256)
        self._number = 0
        self._encoder: LiveEncoder | None = None
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
        self._narrow = False
        self._thread = threading.Thread(target=self._run, name="dicomlab player", daemon=True)
        self._thread.start()

    # --- from the stream, from the browser -----------------------------------------------------------------------

    def take(self, frame: Frame) -> None:
        """Take a frame, in the receiving thread."""
        now = time.monotonic()
        with self._change:
            self.counts.received += 1
            self.counts.arrivals.append(now)
            if self._closed:
                return
            self.latest = frame
            if self._waiting:
                self.counts.passed_over += 1
            self._frame, self._waiting = (frame, now), True
            self._change.notify_all()

    def acknowledge(self, number: int, *, shown: bool, broken: bool = False) -> None:
        """A picture was shown, or was not."""
        now = time.monotonic()
        with self._change:
            sent = self._under_way.pop(number, None)
            if broken:
                self._key = True
            if sent is None:
                if shown and number in self._late:  # a kernel without subshells hears of it when its cell has ended
                    self._late.remove(number)
                    self.counts.lost -= 1
                    self.counts.shown += 1
                return
            if shown:
                self.counts.shown += 1
                self.counts.shows.append((now, now - sent.came_s, now - sent.sent_s))
            self._change.notify_all()

    def set(self, **changes: Any) -> None:
        """Change ``playing``, ``visible``, ``width``, ``decodes_h264`` or ``mode``."""
        with self._change:
            if "mode" in changes:
                self._mode, self._narrow, self._key = changes.pop("mode"), False, True
            for name, value in changes.items():
                setattr(self, name, value)
            if not (self.playing and self.visible):
                self._waiting = False  # what came before is not shown when it goes on
                self._under_way.clear()
            self._change.notify_all()

    def refresh(self) -> None:
        """Send the newest frame once more, to a view that came later."""
        with self._change:
            self._waiting, self._key = self._frame is not None, True
            self._change.notify_all()

    @property
    def mode(self) -> str:
        """What pictures travel as now."""
        if self._mode != "auto":
            return self._mode
        return "h264" if self._narrow else "jpeg"

    # --- to the browser ------------------------------------------------------------------------------------------

    @property
    def window(self) -> int:
        """How many pictures may be under way: what is shown while the shortest round trip lasts, and one more."""
        trips = [trip for _, _, trip in list(self.counts.shows)[-60:]]
        if not trips:
            return _FEWEST
        shown_hz = self._rate([at for at, *_ in list(self.counts.shows)])
        return min(_MOST, max(_FEWEST, round(min(trips) * shown_hz) + 1))

    def _room(self) -> bool:
        return self.playing and self.visible and self._waiting and len(self._under_way) < self.window

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._closed and not self._room():
                    self._change.wait(0.5 if self._under_way else None)
                    self._forget()
                if self._closed:
                    return
                assert self._frame is not None
                frame, came_s = self._frame
                self._waiting = False
            try:
                self._one(frame, came_s)
            except DicomlabError as error:
                self.error = str(error)[:300]
                with self._change:
                    self._mode, self._narrow = "jpeg", False
            del frame

    def _forget(self) -> None:
        now = time.monotonic()
        late = [number for number, sent in self._under_way.items() if now - sent.sent_s > LOST_S]
        for number in late:
            del self._under_way[number]
            self._key = True
        self._late.extend(late)
        self.counts.lost += len(late)

    def _one(self, frame: Frame, came_s: float) -> None:
        began = time.monotonic()
        mode = self.mode
        content, buffers = self._encoded(frame, mode)
        now = time.monotonic()
        octets = sum(memoryview(one).nbytes for one in buffers)
        with self._change:
            self._number += 1
            number = self._number
            self._under_way[number] = _Sent(came_s, now)
            self.counts.sent += 1
            self.counts.octets += octets
            self.counts.encode_ms += ((now - began) * 1000 - self.counts.encode_ms) / min(self.counts.sent, 30)
        self._send({"kind": "picture", "n": number, "mode": mode, **content}, buffers)

    def _encoded(self, frame: Frame, mode: str) -> tuple[dict[str, Any], list[Any]]:
        if mode == "lossless":
            luma = np.ascontiguousarray(planes_of(frame.packed, frame.video)[0])
            kind = luma.dtype.str.lstrip("<>|=")
            return {"width": luma.shape[1], "height": luma.shape[0], "depth": frame.video.depth, "type": kind}, [luma]
        shrink = max(1, frame.video.width // self.width) if self.width else 1
        planes = shown_planes(frame, shrink)
        if mode == "h264":
            with self._change:
                key, self._key = self._key, False
            height, width = planes[0].shape
            if self._encoder is None or self._encoder.size != (width - width % 2, height - height % 2):
                self._encoder, key = LiveEncoder(width, height, frame.video.rate_hz), True
            octets = self._encoder.encode(planes, key=key)
            return {"width": self._encoder.size[0], "height": self._encoder.size[1], "key": key}, [octets]
        self._encoder = None
        return {"height": planes[0].shape[0], "width": planes[0].shape[1]}, [jpeg(planes, self._quality)]

    # --- what the statistics say ---------------------------------------------------------------------------------

    @staticmethod
    def _rate(times: Sequence[float]) -> float:
        now = time.monotonic()
        return sum(now - one <= _SPAN_S for one in list(times)) / _SPAN_S

    def figures(self) -> dict[str, float]:
        """Rates, latency from the receiver to the acknowledged picture, octets."""
        shows = list(self.counts.shows)
        now = time.monotonic()
        recent = sorted(wait * 1000 for at, wait, _ in shows if now - at <= _SPAN_S)
        trips = sorted(trip * 1000 for at, _, trip in shows[-20:] if now - at <= _SPAN_S)
        if self._mode == "auto" and len(trips) >= 10 and trips[len(trips) // 2] > _SHORT_MS and self.decodes_h264:
            self._narrow = True
        found = {
            "received_hz": self._rate(self.counts.arrivals),
            "shown_hz": self._rate([at for at, *_ in shows]),
            "encode_ms": self.counts.encode_ms,
            "octets": self.counts.octets / max(1, self.counts.sent),
            "window": self.window,
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


def shown_planes(frame: Frame, shrink: int = 1) -> Planes:
    """The planes of a frame's JPEG; what never came is magenta."""
    if frame.complete:
        return jpeg_planes(frame.packed, frame.video, shrink)
    y, blue, red = (plane.copy() for plane in jpeg_planes(frame.packed, frame.video, shrink))
    gaps = frame.missing[::shrink, ::shrink][: y.shape[0], : y.shape[1]]
    y[gaps] = 105
    small = gaps[:, :: max(1, y.shape[1] // blue.shape[1])][:, : blue.shape[1]]
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
