"""The receiver: live pictures, sound and metadata of a DICOM-RTV sender."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from dicomlab.errors import Unreachable, UsageError
from dicomlab.model.links import above
from dicomlab.model.matching import answers, rows_at_level
from dicomlab.model.path import Row, SearchPath, Verdict
from dicomlab.model.progress import Control, OnProgress, Operation
from dicomlab.model.query import Query
from dicomlab.model.report import Report
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.verification import Verification
from dicomlab.part10.medium import medium_errors
from dicomlab.rtv.frames import AudioBlock, Frame
from dicomlab.rtv.iods import bulk_flows_of, references_of
from dicomlab.rtv.metadata import RENDITION_SELECTION
from dicomlab.rtv.reception import MetadataReception, VideoReception
from dicomlab.rtv.sdp import Session, joined, parse_sdp
from dicomlab.rtv.station import Caller, Station
from dicomlab.rtv.tables import flows_table, frame_row, frames_table, instance_row, statistics_table

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

KEPT_ROWS = 36_000
"""Of per-frame metadata: ten minutes at 60 frames per second."""
KEPT_AUDIO_BLOCKS = 10_000
OnFrame = Callable[[Frame], None]


class LiveStream(SearchPath, Summarised):
    """A DICOM-RTV sender, seen from the receiver.

    ::

        with LiveStream("or1.sdp") as live:
            for frame in live:
                plt.imshow(frame.to_rgb())

    Constructing one opens nothing; ports open and groups are joined with ``with``, or when somebody first asks for
    what arrives. Frames come with the metadata of their own RTP timestamp. Nothing is shown before the first static
    part of the metadata; when the patient changes, the identity is blank until the new static part is whole.

    Parameters
    ----------
    source : path, str, Session, Broadcast, or a list of these
        The session description: a file, its text, or who has one.
    interface : str, optional
        Our address on the network of the multicast groups; for IPv6 the name of that network.
    pool_frames : int
        Buffers for frames; memory is theirs and no more. A frame that is kept keeps its buffer: see ``frame.copy()``.
    queue_frames : int
        Finished frames that wait for whoever iterates; the oldest is dropped (and counted) when more come.
    buffer_octets : int, optional
        Of the socket's receive buffer; default what a quarter of a second brings, 32 to 512 MiB. Without the right to
        administer the network, the system's ``rmem_max`` is what one gets; ``warnings`` says so.
    many : bool
        Take many datagrams in one system call where the system can.

    Source
    ------
    PS3.22 §6, §7; SMPTE ST 2110-10, -20, -30; ST 2022-7.
    """

    def __init__(
        self,
        source: Any,
        *,
        interface: str | None = None,
        pool_frames: int = 16,
        queue_frames: int = 4,
        buffer_octets: int | None = None,
        many: bool = True,
    ) -> None:
        if pool_frames < 4 or not 0 < queue_frames < pool_frames - 2:
            raise UsageError("pool_frames is at least 4, and queue_frames at most pool_frames - 3")
        self._source = source
        self.pool_frames = pool_frames
        self._how: dict[str, Any] = {
            "interface": interface, "pool_frames": pool_frames, "buffer_octets": buffer_octets, "many": many,
        }  # fmt: skip
        self._session: Session | None = source if isinstance(source, Session) else None
        self._station: Station | None = None
        self._arrived = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._queue_frames = queue_frames
        self._latest: Frame | None = None
        self._audio: deque[AudioBlock] = deque(maxlen=KEPT_AUDIO_BLOCKS)
        self._rows: deque[tuple[Any, ...]] = deque(maxlen=KEPT_ROWS)
        self._latencies: deque[float] = deque(maxlen=KEPT_ROWS)
        self._taps: list[Callable[[Frame | AudioBlock], None]] = []
        self._callbacks: list[Caller] = []
        self._iterating = 0
        self.not_taken = 0
        """Frames that nobody took in time, while somebody was iterating."""
        self.fictional = bool(getattr(source, "fictional", False))

    # --- the session ---------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session description.

        Raises
        ------
        UsageError
            There is none at that place.
        RemoteProtocolError
            It is none.
        """
        if self._session is None:
            given = self._source if isinstance(self._source, list | tuple) else [self._source]
            self._session = joined(_session_of(one) for one in given)
        return self._session

    def start(self) -> Self:
        """Open the ports and join the groups; nothing happens where that is done already.

        Raises
        ------
        Refused, Unreachable
            A port or a group can't be had.
        RemoteProtocolError
            A flow that can't be received.
        """
        if self._station is None:
            self._station = Station(
                self.session, on_frame=self._take, on_audio=self._take_audio, fictional=self.fictional, **self._how
            )
            for one in self._station.receptions:
                if isinstance(one, VideoReception):
                    one.fictional = self.fictional
        return self

    def close(self) -> None:
        """Leave the groups and close the ports. What arrived stays."""
        if self._station is not None:
            self._station.close()
        for caller in self._callbacks:
            caller.close()
        with self._arrived:
            self._arrived.notify_all()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _opened(self) -> Station:
        self.start()
        assert self._station is not None
        if self._station.error is not None:
            raise self._station.error
        return self._station

    # --- what arrives --------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        """From the receiving thread: short, and waits for nobody."""
        self._rows.append(frame_row(frame))
        if frame.latency_ms is not None:
            self._latencies.append(frame.latency_ms)
        for call in self._taps:
            call(frame)
        with self._arrived:
            self._latest = frame
            if self._iterating:
                self._frames.append(frame)
                if len(self._frames) > self._queue_frames:
                    self._frames.popleft()
                    self.not_taken += 1
            self._arrived.notify_all()

    def _take_audio(self, block: AudioBlock) -> None:
        for call in self._taps:
            call(block)
        with self._arrived:
            self._audio.append(block)
            self._arrived.notify_all()

    @property
    def state(self) -> str:
        """``"closed"``, ``"waiting"``, ``"receiving"``, ``"no static part"``, ``"stalled"`` or ``"ended"``."""
        return self._station.state if self._station is not None else "closed"

    @property
    def latest(self) -> Frame | None:
        """The newest frame; None before the first."""
        return self._latest

    def frames(self, limit: int | None = None, *, timeout_s: float = 10.0) -> Iterator[Frame]:
        """Iterate over frames as they come, until the stream ends, it is closed, or `limit` are there.

        Parameters
        ----------
        limit : int, optional
        timeout_s : float
            How long to wait for the first frame.

        Raises
        ------
        Unreachable
            No frame in that time, or the network went away.
        """
        station = self._opened()
        deadline = time.monotonic() + timeout_s
        count = 0
        with self._arrived:
            self._iterating += 1
        try:
            while limit is None or count < limit:
                with self._arrived:
                    if not self._frames:
                        ended = station.state == "ended"
                        if not ended:
                            self._arrived.wait(0.05)
                    frame = self._frames.popleft() if self._frames else None
                if frame is not None:
                    count += 1
                    yield frame
                    del frame
                elif ended:
                    if station.error is not None:
                        raise station.error
                    return
                elif not count and time.monotonic() > deadline:
                    raise Unreachable(self._why_nothing(station, timeout_s), endpoint=str(self))
        finally:
            with self._arrived:
                self._iterating -= 1
                if not self._iterating:
                    self._frames.clear()

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    def _why_nothing(self, station: Station, timeout_s: float) -> str:
        if station.state == "waiting":
            return (
                f"no packet in {timeout_s:g} s: does the sender run, does it send here, does a firewall drop UDP,"
                " and is interface= on the network of the group?"
            )
        hidden = sum(one.before_static for one in station.receptions if isinstance(one, VideoReception))
        if hidden:
            return f"{hidden} frames came, but no static part in {timeout_s:g} s: it is due each second (PS3.22 §6.2.2)"
        return f"packets came, but no frame in {timeout_s:g} s: does the format of the SDP agree with what is sent?"

    def pairs(self, limit: int | None = None, *, timeout_s: float = 10.0) -> Iterator[tuple[Frame, Frame]]:
        """Iterate over stereo pairs: frames of the two video flows with the same timestamp, left first.

        Raises
        ------
        UsageError
            The session has not two video flows.
        Unreachable
            No frame in that time.
        """
        videos = [one for one in self._opened().receptions if isinstance(one, VideoReception)]
        if len(videos) != 2:
            raise UsageError(f"the session has {len(videos)} video flows, not the two of a stereo pair")
        waiting: dict[int, Frame] = {}
        count = 0
        for frame in self.frames(timeout_s=timeout_s):
            other = waiting.pop(frame.timestamp, None)
            if other is None:
                waiting[frame.timestamp] = frame
                while len(waiting) > 2:
                    waiting.pop(next(iter(waiting)))
                continue
            second_first = other.flow is not None and other.flow == videos[1].flow_id
            yield (frame, other) if second_first else (other, frame)
            count += 1
            if count == limit:
                return

    def on_frame(self, callback: OnFrame) -> None:
        """Have `callback` called with each frame, in a thread of its own; while it is busy, frames are passed over."""
        caller = Caller(callback, self._opened().warnings.append)
        self._callbacks.append(caller)
        self.hear(caller.take)

    def watch(self, take: OnFrame) -> Callable[[], None]:
        """Have `take` called with each frame in the receiving thread, which it must not hold up; the result ends it."""
        return self.hear(lambda what: take(what) if isinstance(what, Frame) else None)

    def hear(self, take: Callable[[Frame | AudioBlock], None]) -> Callable[[], None]:
        """Like ``watch``, of sound too."""

        def end() -> None:
            with self._arrived:
                self._taps = [one for one in self._taps if one is not take]

        with self._arrived:
            self._taps = [*self._taps, take]  # a new list: the receiving thread may be going through the old one
        return end

    def counters(self) -> list[dict[str, Any]]:
        """What ``statistics()`` says, as plain numbers, for who asks often: one mapping for each flow."""
        return self._station.statistics() if self._station is not None else []

    @property
    def audio(self) -> list[AudioBlock]:
        """The audio that came last, up to 10,000 blocks."""
        with self._arrived:
            return list(self._audio)

    # --- tables --------------------------------------------------------------------------------------------------

    def to_dataframe(self) -> DataFrame:
        """Per-frame metadata: one row for each frame that was delivered, the last 36,000."""
        return frames_table(self._rows.copy())

    def statistics(self) -> DataFrame:
        """Network statistics: one row for each flow.

        Counts are of packets: ``received`` (once each), ``lost``, ``reordered``, ``duplicates``, ``malformed``,
        ``foreign`` (another sender's), ``late``; of frames or Grains: ``frames``, ``damaged``, ``unpaired`` (without
        metadata), ``before_static``. ``dropped_by_system``: the receive buffer was full, so it was not the network; of
        what one call would have brought, one is counted.
        """
        return statistics_table(self._opened_or_closed().statistics(), self._latencies.copy())

    def _opened_or_closed(self) -> Station:
        if self._station is None:
            return self._opened()
        return self._station

    @property
    def warnings(self) -> list[str]:
        """What was not as it should be, the last 100."""
        return list(self._station.warnings) if self._station is not None else []

    @property
    def instances(self) -> list[Dataset]:
        """The static parts that are whole now, one for each metadata flow."""
        found = [one.identity.static for one in self._opened_or_closed().metadata]
        return [one for one in found if one is not None]

    def flows(self) -> DataFrame:
        """The bulk data flows that the instances on air tell of: one row for each, by SOP Instance UID."""
        return flows_table(self.instances)

    def renditions(self) -> list[dict[str, Any]]:
        """Renditions on air: the code of the title, and the flows that it refers to.

        Each flow is ``(SOP Instance UID, MetadataReception or None, [its bulk flows])``; None: not on air here.
        """
        running = {one.identity.uid: one for one in self._opened_or_closed().metadata}
        found = []
        for one in running.values():
            static = one.identity.static
            if one.identity.class_uid != RENDITION_SELECTION or static is None:
                continue
            title, uids = references_of(static)
            flows = []
            for uid in uids:
                known = running.get(uid)
                told = known.identity.static if known is not None else None
                flows.append((uid, known, bulk_flows_of(told) if told is not None else []))
            found.append({"title": title, "flows": flows})
        return found

    # --- the shape of all paths ----------------------------------------------------------------------------------

    def verify(self, timeout_s: float = 5.0) -> Verification:
        """See whether flows arrive and metadata and bulk data belong together. Never raises for a negative finding.

        Parameters
        ----------
        timeout_s : float
            How long to wait until all of it is so.
        """
        from dicomlab.errors import DicomlabError

        started = time.monotonic()
        try:
            station = self._opened()
        except DicomlabError as error:
            return Verification(False, str(self), time.monotonic() - started, advice=str(error))
        while (lacks := self._lacks(station)) is not None and time.monotonic() - started < timeout_s:
            with self._arrived:
                self._arrived.wait(0.05)
        facts = tuple(
            (f"{row['flow']} {row['address']}", f"{row['received']} packets, {row['lost']} lost")
            for row in station.statistics()
        )
        return Verification(lacks is None, str(self), time.monotonic() - started, facts, lacks or "")

    def _lacks(self, station: Station) -> str | None:
        for one in station.receptions:
            counts = one.row()
            if not counts["received"]:
                return f"nothing comes on {one.media.address}:{one.media.port} ({one.media.kind})"
            if isinstance(one, MetadataReception) and one.identity.static is None:
                return f"no static part comes on {one.media.address}:{one.media.port}"
            if isinstance(one, VideoReception) and not counts["frames"]:
                return f"no whole frame comes on {one.media.address}:{one.media.port}: does its format agree?"
        has_video = any(isinstance(one, VideoReception) for one in station.receptions)
        if has_video and station.metadata and (self._latest is None or self._latest.metadata is None):
            return "frames come, but no metadata with their timestamps"
        return None

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
        for row in rows_at_level(query.level, [instance_row(ds, query.columns) for ds in self.instances]):
            if answers(query.keys, row):
                yield row

    @overload
    def record(
        self, to: str | Path, *, seconds: float = ..., background: Literal[False] = ..., **options: Any
    ) -> Report: ...
    @overload
    def record(
        self, to: str | Path, *, seconds: float = ..., background: Literal[True], **options: Any
    ) -> Operation[Report]: ...
    def record(
        self,
        to: str | Path,
        *,
        seconds: float = 10.0,
        progress: bool | OnProgress = True,
        background: bool = False,
        **options: Any,
    ) -> Report | Operation[Report]:
        """Record to DICOM: see :func:`dicomlab.rtv.recorder.record`.

        Returns
        -------
        Report
            One row for each instance written; ``report.media`` opens the folder.
        """
        from dicomlab.rtv.recorder import record

        result: Report | Operation[Report] = record(
            self, to, seconds=seconds, progress=progress, background=background, **options
        )
        return result

    def plot(self) -> Any:
        """Draw how the stream went with matplotlib: latency and missing octets frame by frame, packets by flow."""
        return above("plot_stream")(self)

    # --- face ----------------------------------------------------------------------------------------------------

    def play(self, to: str | Path | None = None, **options: Any) -> Any:
        """Play it in the notebook: see :func:`dicomlab.notebook.player.play`."""
        return above("play")(self, to, **options)

    def __str__(self) -> str:
        return f"LiveStream({self._session.name if self._session is not None else 'not opened'})"

    def _summary_(self) -> Summary:
        facts = [("state", self.state)]
        if self._session is not None:
            facts += [
                (one.kind, f"{one.address}:{one.port}, {one.encoding}/{one.clock_rate_hz}")
                for one in self._session.media[:8]
            ]
        if self._latest is not None:
            facts.append(("frames", str(len(self._rows))))
        return Summary("LiveStream", tuple(facts), notes=tuple(self.warnings[-3:]))


def _session_of(one: Any) -> Session:
    if isinstance(one, Session):
        return one
    session = getattr(one, "session", None)
    if isinstance(session, Session):
        return session
    if isinstance(one, str) and one.lstrip().startswith("v=0"):
        return parse_sdp(one.lstrip())
    if isinstance(one, str | Path):
        path = Path(one)
        if not path.is_file():
            raise UsageError(f"no session description at {str(path)[:200]!r}")
        with medium_errors(path):
            octets = path.read_bytes()[: 1 << 18]
        return parse_sdp(octets.decode("utf-8", "replace"))
    raise UsageError(f"a session description is a file, a text, or a Broadcast; not {type(one).__name__}")
