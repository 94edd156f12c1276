"""The live player: what a stream brings, shown as it comes, with what the network does to it beside."""

from __future__ import annotations

import io
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model.options import options
from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.curves import Curves, drawing, numbers_of
from dicomlab.notebook.html import Markup, el, picture
from dicomlab.notebook.pump import MODES, Mode, Pump, jpeg, shown_planes
from dicomlab.notebook.widget import Face, Ticker
from dicomlab.rtv.preview import Preview

if TYPE_CHECKING:
    from dicomlab.model.progress import Operation
    from dicomlab.model.report import Report
    from dicomlab.rtv.frames import Frame
    from dicomlab.rtv.live_stream import LiveStream

_TICKS_HZ = 20.0
_WITH_PICTURES_S, _WITHOUT_S = 0.12, 0.22
"""Statistics follow acknowledgements, at most so often, for what both make a page draw is drawn once; or come alone."""
KEPT_SNAPSHOTS = 50
_BESIDE = "display:inline-block;margin:4px 12px 4px 0"
_MOST_AT_ONCE, _LONGEST_AGO_S = 32, 1.0
LONGEST_S = 3600.0
"""Of a recording that nobody stops."""


class Player(Face):
    """Plays a stream: see :func:`play`.

    Attributes
    ----------
    stream : LiveStream
    snapshots : deque of Frame
        What was kept with the snapshot button or :meth:`snapshot`, the last 50.
    recordings : list of Report
        What was recorded, one for each time.
    """

    _script = "player"

    def __init__(self, stream: LiveStream, to: str | Path | None, mode: Mode, quality: int, form: str) -> None:
        if mode not in MODES:
            raise UsageError(f"mode is one of {', '.join(MODES)}")
        if not 1 <= quality <= 100:
            raise UsageError("quality is from 1 to 100")
        self.stream = stream
        self.snapshots: deque[Frame] = deque(maxlen=KEPT_SNAPSHOTS)
        self.recordings: list[Report] = []
        self._to, self._form = to, form
        self._recording: Operation[Report] | None = None
        self._ended_with = ""
        super().__init__(playing=True, mode=mode, records=to is not None, recording=False, snapshots=0)
        opens = stream.state == "closed"
        stream.start()
        self._pump = Pump(_sender(weakref.ref(self._channel)), mode, quality)
        end = stream.watch(self._pump.take)
        self._let_go = weakref.finalize(self, _let_go, end, self._pump, stream if opens else None)
        self._curves, self._network = Curves(), Curves()
        self._lost_before: tuple[float, int] = (time.monotonic(), 0)
        self._told_s = -math.inf
        self._telling = threading.Lock()
        self._ticker = Ticker(self._tick, _TICKS_HZ, "player statistics")

    # --- verbs ---------------------------------------------------------------------------------------------------

    @property
    def playing(self) -> bool:
        """Whether pictures are shown as they come. The stream goes on in any case."""
        return self._pump.playing

    def play(self) -> None:
        """Go on."""
        self._play(True)

    def pause(self) -> None:
        """Leave the picture that is shown; frames are received and counted as before."""
        self._play(False)

    def _play(self, on: bool) -> None:
        self._pump.set(playing=on)
        self._tell(playing=on)

    def stop(self) -> None:
        """Pause, and end a recording; what was recorded is written."""
        if self.playing:
            self.pause()
        self.stop_recording()

    def snapshot(self) -> Frame:
        """Keep the frame that came last.

        Raises
        ------
        UsageError
            None has come.
        """
        frame = self._pump.latest
        if frame is None:
            raise UsageError("no frame has come yet")
        kept = frame.copy()
        with self._lock:
            self.snapshots.append(kept)
            self._tell(snapshots=len(self.snapshots), note="")
        return kept

    def record(self) -> None:
        """Begin to record what arrives, into the folder that ``play(to=...)`` named.

        Raises
        ------
        UsageError
            It named none.
        """
        if self._to is None:
            raise UsageError('recordings need a folder: stream.play(to="folder")')
        with self._lock:
            if self._recording is None:
                folder = Path(self._to) / f"recording-{len(self.recordings) + 1:03}"
                self._recording = self.stream.record(
                    folder, seconds=LONGEST_S, form=self._form, progress=False, background=True
                )
                self._tell(recording=True, note="")

    def stop_recording(self) -> None:
        """End the recording; its report joins ``recordings`` when it is written."""
        if self._recording is not None:
            self._recording.cancel()

    @property
    def figures(self) -> dict[str, float]:
        """Rates, latency and counts as they are now: ``sent``, ``shown``, ``passed_over``, ``p95_ms``, ..."""
        counts = self._pump.counts
        names = ("received", "sent", "shown", "passed_over", "lost")
        return {**{name: getattr(counts, name) for name in names}, **self._pump.figures()}

    # --- from the browser ----------------------------------------------------------------------------------------

    def _seen(self, visible: bool) -> None:
        self._pump.set(visible=visible)

    def _appeared(self) -> None:
        self._pump.refresh()

    def _on_ack(self, content: Mapping[str, Any]) -> None:
        """Pictures that were shown, or were not, the oldest first."""
        for one in content["pictures"][:_MOST_AT_ONCE]:
            ago_s = min(_LONGEST_AGO_S, max(0.0, float(one["ago_ms"]) / 1000))
            told = {"shown": bool(one["shown"]), "broken": bool(one.get("broken"))}
            self._pump.acknowledge(int(one["n"]), **told, ago_s=ago_s)
        self._tell_statistics(_WITH_PICTURES_S)

    def _on_place(self, content: Mapping[str, Any]) -> None:
        """How wide it is shown, and whether the browser decodes H.264."""
        width = min(max(int(content["width"]), 1), 16_384)
        self._pump.set(width=width, decodes_h264=bool(content.get("h264")))

    def _on_play(self, content: Mapping[str, Any]) -> None:
        self._play(bool(content["on"]))

    def _on_mode(self, content: Mapping[str, Any]) -> None:
        mode = content["mode"]
        if mode in MODES:
            self._pump.set(mode=mode)
            self._pump.error = ""
            self._tell(mode=mode)

    def _on_snapshot(self, _: Mapping[str, Any]) -> None:
        self.snapshot()

    def _on_record(self, content: Mapping[str, Any]) -> None:
        if content["on"]:
            self.record()
        else:
            self.stop_recording()

    # --- what happens by itself ----------------------------------------------------------------------------------

    def _tick(self) -> None:
        recording = self._recording
        if recording is not None and recording.done:
            self._recorded(recording)
        self._look()
        self._tell_statistics(_WITHOUT_S)

    def _tell_statistics(self, after_s: float) -> None:
        """Tell them where they were not told for so long."""
        with self._telling:
            now = time.monotonic()
            if now - self._told_s < after_s or self.closed or not self.visible:
                return
            self._told_s = now
            self._send("statistics", **self._statistics(), figures=self._pump.figures(), travels=self._pump.travels)

    def _recorded(self, recording: Operation[Report]) -> None:
        try:
            self.recordings.append(recording.result())
            note = ""
        except DicomlabError as error:
            note = str(error)
        with self._lock:
            self._recording = None
            self._tell(recording=False, note=note)

    def _statistics(self) -> dict[str, Any]:
        rows = self.stream.counters()
        video = next((row for row in rows if row["flow"] == "video"), {})
        now, lost = time.monotonic(), sum(int(row.get("lost", 0)) for row in rows)
        then, before = self._lost_before
        self._lost_before = (now, lost)
        counts = self._pump.counts
        frame = self._pump.latest
        lost_hz = (lost - before) / max(now - then, 1e-3)
        jitter_ms = float(video.get("jitter_ms", 0.0))
        numbers = numbers_of(frame) if frame is not None else {}
        self._curves.add(numbers)
        self._network.add({"jitter, ms": jitter_ms, "packets lost, /s": lost_hz})
        return {
            "state": self.stream.state,
            "note": self._pump.error,
            "lost_hz": lost_hz,
            "jitter_ms": jitter_ms,
            "numbers": list(numbers.items()),
            "counts": [counts.received, counts.sent, counts.shown, counts.passed_over, lost],
            "facts": facts_of(frame) if frame is not None else [],
        }

    # --- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End it; the stream is closed too where this player opened it. A recording is written up to here."""
        self.stop_recording()
        self._ticker.stop()
        if self._recording is not None:
            self._recording.wait(30)
            self._recorded(self._recording)
        self._let_go()
        self._pump.join()
        super().close()

    def _twin(self) -> tuple[Summary, Markup | None]:
        counts, frame = self._pump.counts, self._pump.latest
        facts = [
            ("stream", str(self.stream)),
            ("state", self.stream.state),
            ("frames", f"{counts.received} received, {counts.shown} shown, {counts.passed_over} passed over"),
        ]
        drawn = None
        if frame is not None:
            facts += [(name, value) for name, value in facts_of(frame) if value]
            octets = jpeg(shown_planes(frame, Preview(), max(1, frame.video.width // 320)), 75)
            curves = [*self._network.kept(), *self._curves.drawn()]
            drawn = el(
                "div",
                picture(_small(octets), "image/jpeg", "The frame that came last"),
                *(_drawn(*one) for one in curves),
            )
        if self.recordings:
            facts.append(("recordings", str(len(self.recordings))))
        return Summary("Live player", tuple(facts)), drawn


def _drawn(title: str, values: list[float | None]) -> Markup:
    """A curve with its name above and its last value beside, which stand where no picture is shown."""
    last = next((value for value in reversed(values) if value is not None), None)
    return el(
        "div", el("div", title if last is None else f"{title}: {last:.4g}"), drawing(title, values), style=_BESIDE
    )


def _small(octets: bytes, most: int = 9_000) -> bytes:
    """Make a JPEG small enough to be stored in an output."""
    from PIL import Image

    image = Image.open(io.BytesIO(octets))
    for quality in (75, 60, 45, 30, 20):
        image.thumbnail((320, 320))
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        if out.tell() <= most:
            break
    return out.getvalue()


def facts_of(frame: Frame) -> list[list[str]]:
    """What the metadata of a frame say, patients masked."""
    video = frame.video
    rows = [
        ["format", f"{video.width} x {video.height}, {video.sampling}, {video.depth} bit, {float(video.rate_hz):g} Hz"]
    ]
    metadata = frame.metadata
    if metadata is None:
        return [*rows, ["metadata", "none came with this frame"]]
    if metadata.static is None:
        rows.append(["identity", "not known yet"])
    else:
        for name in ("PatientName", "PatientID"):
            text = visible(str(metadata.static.get(name, "")), 80)
            rows.append([name, options.shown(text, fictional=frame.fictional)])
        rows += [[name, visible(str(metadata.static.get(name, "")), 80)] for name in ("Modality", "StudyDescription")]
    content: Any = metadata.dynamic.get("FrameContentSequence") if metadata.dynamic is not None else None
    if content:
        rows.append(["frame", visible(str(content[0].get("FrameAcquisitionNumber", "")), 20)])
    rows.append(["SOPInstanceUID", visible(metadata.meta.sop_instance_uid, 64)])
    if not frame.complete:
        rows.append(["missing", f"{sum(stop - start for start, stop in frame.gaps):,} octets: magenta"])
    return [row for row in rows if row[1]]


def _sender(channel: weakref.ref[Any]) -> Any:
    """Send without keeping the channel alive; nothing where it is closed."""

    def send(content: dict[str, Any], buffers: list[Any]) -> None:
        alive = channel()
        if alive is not None and alive.comm is not None:
            alive.send(content, buffers)

    return send


def _let_go(end: Any, pump: Pump, stream: LiveStream | None) -> None:
    end()
    pump.close()
    if stream is not None:
        stream.close()


def play(
    stream: LiveStream, to: str | Path | None = None, *, mode: Mode = "auto", quality: int = 80, form: str = "h264"
) -> Player:
    """Play a live stream.

    The newest frame is sent whenever the page has shown what is under way, so the picture can't fall behind. It stops
    while nobody can see it. ``space`` plays and pauses, ``s`` keeps a snapshot, ``r`` records.

    Parameters
    ----------
    stream : LiveStream
        Opened if it is not open; then :meth:`Player.close` closes it.
    to : path, optional
        The folder for recordings; without it there is no record button.
    mode : str
        What pictures travel as: ``"jpeg"``; ``"h264"``, for narrow ways (needs ``dicomlab[video]``); ``"lossless"``:
        luma as it came; ``"auto"``: JPEG, and once pictures take too long, H.264, of fewer bits where that is not
        enough, or smaller JPEG where the browser or this machine has no H.264; and back, when the way is wide again.
    quality : int
        Of JPEG, 1 to 100.
    form : str
        Of recordings: see :func:`dicomlab.rtv.recorder.record`.

    Returns
    -------
    Player

    Raises
    ------
    UsageError
        Another mode or quality.
    Refused, Unreachable, RemoteProtocolError
        The stream can't be opened.
    """
    return Player(stream, to, mode, quality, form)
