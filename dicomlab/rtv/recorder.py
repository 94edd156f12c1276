"""Record a live stream: packed octets go to one spool file first, conversion to DICOM comes after.

The spool takes what arrives, in order, from a bounded queue; a frame that finds the queue full is dropped, counted and
named. Conversion works from the spool, one frame at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from queue import Full, Queue
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import DicomlabError, ProtocolError, UsageError
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.report import LEDGER_NAME, Outcome, Report, ledger_head
from dicomlab.part10.medium import medium_errors
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.clock import NS_PER_S, instant_of
from dicomlab.rtv.frames import AudioBlock, Frame
from dicomlab.rtv.reception import VideoReception
from dicomlab.rtv.storage import Part, Stored, can_store, fillable, store_video
from dicomlab.rtv.video import VideoFormat
from dicomlab.rtv.waveform import Sound, store_audio

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.rtv.live_stream import LiveStream

Form = Literal["h264", "hevc", "uncompressed", "lossless"]
FORMS = ("h264", "hevc", "uncompressed", "lossless")
QUEUE_FRAMES = 8
"""Frames of the stream's pool that wait for the spool; all but :data:`LEFT_FRAMES` of a larger pool."""
LEFT_FRAMES = 8
MAX_SILENCE_S = 10
"""Missing sound in a row that is filled in; after a longer hole a further instance begins."""
MAX_INSTANCE_OCTETS = (1 << 32) - (1 << 20)
"""Of Pixel Data: rolled over before 4 GiB."""


def record(
    live: LiveStream,
    to: str | Path,
    *,
    seconds: float = 10.0,
    form: Form = "h264",
    spool: str | Path | None = None,
    max_instance_octets: int = MAX_INSTANCE_OCTETS,
    progress: bool | OnProgress = True,
    background: bool = False,
) -> Report | Operation[Report]:
    """Record what arrives, and write it as DICOM.

    Parameters
    ----------
    to : path
        A folder (made if absent); ``report.media`` opens it.
    seconds : float
        How long; it ends earlier with the stream, or by an interrupt. What was recorded is written in any case.
    form : str
        ``"h264"`` or ``"hevc"``: Video Endoscopic or Video Photographic Image Storage, 4:2:0 of 8 bit, lossy.
        ``"uncompressed"`` or ``"lossless"`` (JPEG-LS): Multi-frame True Color Secondary Capture, RGB of 8 bit.
    spool : path, optional
        The folder of the spool file; default `to`. It must keep up with the stream: a memory file system does.
    max_instance_octets : int
        A further instance begins before its Pixel Data would grow beyond.

    Returns
    -------
    Report
        One row for each instance: ``warning`` where frames are missing or bits were lost, with how many and which.
        Per-frame metadata is in the instance, where its IOD has functional groups, and in a Parquet table beside it.

    Raises
    ------
    UsageError
        Another form, or one that does not take a size, rate or colour of the stream.
    MissingExtra
        The form needs a codec that is not installed.
    Unreachable
        Nothing came.
    Interrupted, Refused
        The medium is full or can't be written; ``error.partial`` is the report of what is there.

    Source
    ------
    PS3.17 §PPPP.8.1; PS3.3 §A.32.5, §A.32.7, §A.8.5, §A.34.10.
    """
    if form not in FORMS:
        raise UsageError(f"form is one of {', '.join(FORMS)}")
    if seconds <= 0:
        raise UsageError("record at least some time")

    def run(control: Control) -> Report:
        return _record(live, Path(to), Path(spool or to), seconds, form, max_instance_octets, control)

    work = Work("record", "frames", run, progress=progress)
    return work.carry_out(background=background)


def _record(  # noqa: PLR0917
    live: LiveStream, folder: Path, spool: Path, seconds: float, form: Form, most: int, control: Control
) -> Report:
    for reception in live._opened().receptions:
        if isinstance(reception, VideoReception):
            can_store(reception.video, form)
    with medium_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        spool.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    with _spooled(spool, max(QUEUE_FRAMES, live.pool_frames - LEFT_FRAMES)) as tape:
        note = _fill(live, tape, seconds, control)
        try:
            everything: Iterator[Part | Sound] = chain(tape.parts(), tape.sounds())
            for one in everything:
                what = f"not stored: {one.static}" if isinstance(one.static, str) else ""
                try:
                    if isinstance(one, Part) and not what:
                        outcomes += store_video(one, folder, form, most)
                    elif isinstance(one, Sound) and not what:
                        outcomes += store_audio(one, folder)
                except (ProtocolError, UsageError) as error:  # of what this one is: the others are stored
                    what = f"not stored: {error}"
                if what:
                    outcomes.append(Outcome(one.uid or "unknown", "failed", what))
                control.advance(0)
        except DicomlabError as error:
            error.partial = _report(live, outcomes, folder, False, str(error))
            raise
    return _report(live, outcomes, folder, not note, note)


def _report(live: LiveStream, outcomes: list[Outcome], folder: Path, complete: bool, note: str) -> Report:
    ledger = folder / LEDGER_NAME
    with medium_errors(folder):
        fresh = not ledger.exists()
        with ledger.open("a", encoding="utf-8") as file:
            if fresh:
                file.write(ledger_head(str(live)) + "\n")
            file.writelines(one.to_line() + "\n" for one in outcomes)
    whole = complete and not any(one.result == "failed" for one in outcomes)
    return Report("record", tuple(outcomes), whole, note, folder)


def _fill(live: LiveStream, tape: Tape, seconds: float, control: Control) -> str:
    """Spool until the time is over; gives why not all of it is there."""
    station = live._opened()
    taking = threading.Thread(target=tape.run, name="dicomlab spool", daemon=True)
    taking.start()
    end = live.hear(tape.take)
    try:
        ends = time.monotonic() + seconds
        before = 0
        while time.monotonic() < ends and not control.cancelled and tape.error is None:
            control.advance(len(tape.entries) - before)
            before = len(tape.entries)
            if station.state == "ended":
                break
            control.wait(min(0.1, max(0.0, ends - time.monotonic())))
    finally:
        end()
        tape.end()
        taking.join()
    control.advance(len(tape.entries) - before)
    if tape.error is not None:
        raise tape.error
    if not tape.entries and not tape.blocks:
        from dicomlab.errors import Unreachable

        raise Unreachable(live._why_nothing(station, seconds), endpoint=str(live))
    notes = ["cancelled"] if control.cancelled else []
    if tape.dropped:
        listed = ", ".join(map(str, tape.dropped[:10])) + (", ..." if len(tape.dropped) > 10 else "")
        notes.append(
            f"{len(tape.dropped)} frames dropped, since the spool did not keep up: RTP timestamps {listed}; give"
            " spool= a faster file system"
        )
    return "; ".join(notes)


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame on the tape."""

    stream: int
    at: int
    facts: Stored
    uid: str


@dataclass(frozen=True, slots=True)
class Block:
    """One packet of sound on the tape, and how many samples before it never came."""

    stream: int
    at: int
    octets: int
    gap_samples: int
    timestamp: int
    received_ns: int
    uid: str


@dataclass
class Tape:
    """The spool: frames one after the other in one file, sound in another, and what there is to know of each."""

    pictures: IO[bytes]
    sound: IO[bytes]
    folder: Path
    queue_frames: int = QUEUE_FRAMES
    entries: list[Entry] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    error: DicomlabError | None = None

    def __post_init__(self) -> None:
        """Make the queue."""
        self._queue: Queue[Frame | AudioBlock | None] = Queue(self.queue_frames + 512)
        self._frames_waiting = threading.Semaphore(self.queue_frames)
        self._videos: list[tuple[Any, VideoFormat]] = []
        self._audios: list[AudioFormat] = []
        self._statics: dict[str, Dataset] = {}
        self._at = self._sound_at = 0

    def take(self, what: Frame | AudioBlock) -> None:
        """Take something, from the receiving thread: waits for nobody."""
        frame = isinstance(what, Frame)
        if frame and not self._frames_waiting.acquire(blocking=False):
            self.dropped.append(what.timestamp)
            return
        try:
            self._queue.put_nowait(what)
        except Full:
            self.dropped.append(what.timestamp)
            if frame:
                self._frames_waiting.release()

    def end(self) -> None:
        """Nothing more comes."""
        self._queue.put(None)

    def run(self) -> None:
        """Write what was taken, until the end; on an error, throw the rest away."""
        while (what := self._queue.get()) is not None:
            try:
                if self.error is None:
                    with medium_errors(self.folder):
                        self._write(what)
            except DicomlabError as error:
                self.error = error
            if isinstance(what, Frame):
                del what
                self._frames_waiting.release()

    def _write(self, what: Frame | AudioBlock) -> None:
        if what.metadata is not None and what.metadata.static is not None:
            self._statics[what.metadata.meta.sop_instance_uid] = what.metadata.static
        if isinstance(what, AudioBlock):
            if what.audio not in self._audios:
                self._audios.append(what.audio)
            self.sound.write(what.octets)
            stream, size = self._audios.index(what.audio), len(what.octets)
            self.blocks.append(
                Block(stream, self._sound_at, size, what.gap_samples, what.timestamp, what.received_ns, _uid_of(what))
            )
            self._sound_at += size
            return
        key = what.flow or what.video
        found = [at for at, (known, _) in enumerate(self._videos) if known == key]
        if not found:
            self._videos.append((key, what.video))
        stream = found[0] if found else len(self._videos) - 1
        self.pictures.write(what.packed.data)
        self.entries.append(Entry(stream, self._at, Stored.of(what), _uid_of(what)))
        self._at += what.packed.size

    # --- read again ----------------------------------------------------------------------------------------------

    def parts(self) -> Iterator[Part]:
        """Give the frames of each stream, split where the SOP Instance changes.

        A frame whose own is not known goes with its neighbours where both are of one.
        """
        self.pictures.flush()
        for stream, (_, video) in enumerate(self._videos):
            own = [one for one in self.entries if one.stream == stream]
            for uid, entries in _by_uid(own):
                static = self._static_of(uid, bool(self._statics), f"{len(entries)} frames")
                facts = [one.facts for one in entries]
                yield Part(uid, static, video, facts, [one.at for one in entries], self._read)

    def _static_of(self, uid: str, others_are_known: bool, what: str) -> Dataset | str | None:
        """Whose it is; a text where that is somebody's and never came."""
        static = self._statics.get(uid) if uid else None
        return f"{what} whose identity never came" if static is None and (uid or others_are_known) else static

    def _read(self, at: int, size: int) -> NDArray[np.uint8]:
        self.pictures.seek(at)
        return np.frombuffer(self.pictures.read(size), np.uint8)

    def sounds(self) -> Iterator[Sound]:
        """The sound of each stream, split where the SOP Instance changes and where a hole is too long to fill."""
        self.sound.flush()
        for stream, audio in enumerate(self._audios):
            own = [one for one in self.blocks if one.stream == stream]
            known = any(one.uid for one in own)
            for uid, blocks in _by_uid(own):
                static = self._static_of(uid, known, f"{len(blocks)} packets of sound")
                for run in _without_long_holes(blocks, audio):
                    yield self._sound_of(uid, static, audio, run)

    def _sound_of(self, uid: str, static: Dataset | str | None, audio: AudioFormat, run: list[Block]) -> Sound:
        octets = bytearray()
        for one in run:
            if octets:
                octets += bytes(one.gap_samples * audio.sample_octets)
            self.sound.seek(one.at)
            octets += self.sound.read(one.octets)
        first = run[0]
        origin_ns = instant_of(first.timestamp, audio.rate_hz, first.received_ns)
        if abs(origin_ns - first.received_ns) > NS_PER_S:  # its timestamps do not count from the epoch
            origin_ns = first.received_ns
        return Sound(uid, static, audio, bytes(octets), sum(one.gap_samples for one in run[1:]), origin_ns)


def _without_long_holes(blocks: list[Block], audio: AudioFormat) -> Iterator[list[Block]]:
    run: list[Block] = []
    there = 0
    for one in blocks:
        since_ns = one.received_ns - run[0].received_ns if run else 0
        if run and not fillable(
            one.gap_samples + 1, audio.rate_hz * MAX_SILENCE_S, there, since_ns, Fraction(audio.rate_hz)
        ):
            yield run
            run, there = [], 0
        there += (one.gap_samples if run else 0) + one.octets // audio.sample_octets
        run.append(one)
    if run:
        yield run


def _uid_of(what: Frame | AudioBlock) -> str:
    return what.metadata.meta.sop_instance_uid if what.metadata is not None else ""


Taped = TypeVar("Taped", Entry, Block)


def _by_uid(entries: list[Taped]) -> Iterator[tuple[str, list[Taped]]]:
    uids: list[str] = [one.uid for one in entries]
    after, later = [""] * len(uids), ""
    for at in range(len(uids) - 1, -1, -1):
        after[at] = later = uids[at] or later
    for at, uid in enumerate(uids):
        if not uid:
            before = uids[at - 1] if at else ""
            uids[at] = before if before == after[at] or not after[at] else after[at] if not before else ""
    run: list[Taped] = []
    for at, one in enumerate(entries):
        if run and uids[at] != uids[at - 1]:
            yield uids[at - 1], run
            run = []
        run.append(one)
    if run:
        yield uids[-1], run


@contextmanager
def _spooled(folder: Path, queue_frames: int = QUEUE_FRAMES) -> Iterator[Tape]:
    """A tape in files without a name: nothing of it is left, however it ends."""
    with ExitStack() as stack:
        with medium_errors(folder):
            pictures, sound = (stack.enter_context(TemporaryFile(dir=folder)) for _ in range(2))
        yield Tape(pictures, sound, folder, queue_frames)
