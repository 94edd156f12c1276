"""The receiving thread: ports, a fixed order of attention, and what has become of the stream."""

from __future__ import annotations

import selectors
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from dicomlab.errors import DicomlabError, Refused, RemoteProtocolError, Unreachable
from dicomlab.model.trace import Channel, open_channel
from dicomlab.rtv.audio import audio_format
from dicomlab.rtv.frames import AudioBlock, Frame
from dicomlab.rtv.reader import RtpReader, read_rtcp, read_sdp, rtcp_line, sdp_line
from dicomlab.rtv.reception import (
    KEPT_WARNINGS,
    AudioReception,
    ControlReception,
    MetadataReception,
    Reception,
    VideoReception,
    identifier_of,
    paired,
    ssrc_of,
)
from dicomlab.rtv.rtp import dissect
from dicomlab.rtv.sdp import Media, Session
from dicomlab.rtv.udp import BUFFER_OCTETS, MAX_BUFFER_OCTETS, ReceivingSocket, rest, tai_now_ns
from dicomlab.rtv.video import video_format

ENDED_AFTER_NS = 5_000_000_000
NO_STATIC_AFTER_NS = 3_000_000_000
_GATHER_S = 0.001
"""How long datagrams gather before they are taken together."""
_WAKE_S = 0.005
_US = "receiver"
_KINDS: dict[type[Any], str] = {VideoReception: "video", AudioReception: "audio", MetadataReception: "metadata"}
_TURNS = 32
"""Batches taken from one port before the others are looked at."""


class Station:
    """Receives the flows of one session until it is closed.

    Raises
    ------
    Refused, Unreachable
        A port or a group can't be had.
    RemoteProtocolError
        A flow of the session description can't be received: a format that can't be.
    """

    def __init__(
        self,
        session: Session,
        *,
        interface: str | None,
        pool_frames: int,
        buffer_octets: int | None,
        many: bool,
        on_frame: Callable[[Frame], None],
        on_audio: Callable[[AudioBlock], None],
        fictional: bool = False,
    ) -> None:
        self.warnings: deque[str] = deque(maxlen=KEPT_WARNINGS)
        self.receptions: list[Reception] = []
        self.goodbyes = 0
        self.first_ns = self.last_ns = 0
        self.started_ns = tai_now_ns()
        self.error: DicomlabError | None = None
        self._kept: list[dict[str, Any]] | None = None
        self._joined: list[object] = []
        self._sockets: dict[ReceivingSocket, Reception | ControlReception] = {}
        self._stop = threading.Event()
        self._handlers = on_frame, on_audio
        try:
            for paths in session.streams():
                self._open(paths, interface, pool_frames, buffer_octets, many)
            self._open_control(interface)
            if not self.receptions:
                raise RemoteProtocolError("no flow that could be received", section="PS3.22 §6")
        except BaseException:
            self._close_sockets()
            raise
        paired(self.receptions)
        self._channels = self._recorded(session, fictional=fictional)
        self._thread = threading.Thread(target=self._run, name="dicomlab live stream", daemon=True)
        self._thread.start()

    def _open(
        self, paths: tuple[Media, ...], interface: str | None, pool_frames: int, asked: int | None, many: bool
    ) -> None:
        media = paths[0]
        reception: Reception
        buffer_octets = asked or BUFFER_OCTETS
        if media.kind == "video":
            video = video_format(media)
            reception = VideoReception(paths, video, pool_frames, self._handlers[0], self._join)
            quarter = int(video.frame_octets * video.rate_hz / 4)
            buffer_octets = asked or min(max(BUFFER_OCTETS, quarter), MAX_BUFFER_OCTETS)
        elif media.kind == "audio":
            reception = AudioReception(paths, audio_format(media), self._handlers[1])
        elif media.encoding.lower() == "dicom":
            reception = MetadataReception(paths, self.warnings.append)
        else:
            self.warnings.append(f"a flow of {media.kind} {media.encoding} is not received")
            return
        self.receptions.append(reception)
        for path in paths:
            received = ReceivingSocket(
                path.address,
                path.port,
                interface=interface,
                sources=path.sources,
                buffer_octets=buffer_octets,
                many=many,
            )
            self._sockets[received] = reception
            if received.buffer_octets < buffer_octets and media.kind == "video":
                self.warnings.append(
                    f"{received.name}: the receive buffer has {received.buffer_octets:,} octets, not {buffer_octets:,}:"
                    " raise net.core.rmem_max, or packets may be lost at high rates"
                )

    def _open_control(self, interface: str | None) -> None:
        """RTCP of each flow. It is not needed, and its port may be another flow's, somebody else's, or none."""
        paths = [(path, one) for one in self.receptions for path in one.paths]
        taken = {(path.address, path.port) for path, _ in paths}
        for path, reception in paths:
            if (path.address, path.port + 1) in taken or path.port == 65_535:
                continue
            with suppress(Refused, Unreachable):
                control = ReceivingSocket(
                    path.address,
                    path.port + 1,
                    interface=interface,
                    sources=path.sources,
                    buffer_octets=65_536,
                    many=False,
                )
                self._sockets[control] = ControlReception(self._goodbye, partial(ssrc_of, reception))

    def _recorded(self, session: Session, *, fictional: bool) -> dict[ReceivingSocket, Channel]:
        """The channels on which a trace hears what each port receives; none where nobody traces."""
        channels = {}
        for one, reception in self._sockets.items():
            if isinstance(reception, ControlReception):
                channels[one] = open_channel("RTCP", _US, f"RTCP {one.name}", rtcp_line, lambda: read_rtcp)
            else:
                kind = _KINDS[type(reception)]
                reader = partial(RtpReader, kind)
                channels[one] = open_channel("RTP", _US, f"{kind} {one.name}", dissect, reader, fictional=fictional)
        described = open_channel("SDP", _US, session.name or "sender", sdp_line, lambda: read_sdp)
        if described.trace is None:
            return {}
        with suppress(DicomlabError):
            described.tap("received", str(session).encode("utf-8", "replace"))
        return channels

    def _goodbye(self) -> None:
        self.goodbyes += 1

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with selectors.DefaultSelector() as selector:
                order = {MetadataReception: 0, AudioReception: 1, VideoReception: 2, ControlReception: 3}
                for one in self._sockets:
                    selector.register(one, selectors.EVENT_READ)
                while not self._stop.is_set():
                    ready: list[Any] = [key.fileobj for key, _ in selector.select(_WAKE_S)]
                    ready.sort(key=lambda one: order[type(self._sockets[one])])
                    for one in ready:
                        self._drain(one)
                    self._tend()
                    if ready:
                        rest(_GATHER_S)
        except DicomlabError as error:
            self.error = error
        except OSError as error:  # the network went away
            self.error = Unreachable(f"nothing can be received any more: {error.strerror}", endpoint=_US)
        finally:
            self._finish()

    def _drain(self, one: ReceivingSocket) -> None:
        reception = self._sockets[one]
        feed, receive, channel = reception.feed, one.receive, self._channels.get(one)
        for _ in range(_TURNS):
            batch = receive()
            if batch is None:
                return
            now_ns = tai_now_ns()
            if not isinstance(reception, ControlReception):
                self.last_ns = now_ns
                self.first_ns = self.first_ns or now_ns
            if channel is not None:
                size = len(batch.octets) if batch.uniform else sum(batch.lengths or ())
                channel.tap("received", batch.datagram(0), size=size, train=batch.train())
            feed(batch, now_ns)
            if isinstance(reception, MetadataReception):
                self._join()  # before a frame is paired by what was known before

    def _tend(self) -> None:
        """What time alone brings: frames given up on, Grains that came after their frame."""
        now_ns = tai_now_ns()
        for one in self.receptions:
            if isinstance(one, VideoReception):
                one.assembler.expire(now_ns)
                one.pair(now_ns)

    def _join(self) -> None:
        """See again what belongs together, where something new is known of it."""
        known = [identifier_of(one) for one in self.receptions] if len(self.receptions) > 2 else []
        if known != self._joined:
            self._joined = known
            paired(self.receptions)

    def _finish(self) -> None:
        late_ns = tai_now_ns() + ENDED_AFTER_NS
        for one in self.receptions:
            if isinstance(one, VideoReception):
                one.assembler.finish()
                one.pair(late_ns)
            elif isinstance(one, AudioReception):
                one.finish()

    # --- seen from outside ---------------------------------------------------------------------------------------

    @property
    def metadata(self) -> list[MetadataReception]:
        """The metadata flows."""
        return [one for one in self.receptions if isinstance(one, MetadataReception)]

    @property
    def state(self) -> str:
        """``"waiting"``, ``"receiving"``, ``"no static part"``, ``"stalled"``, ``"ended"``."""
        now_ns = tai_now_ns()
        if self._stop.is_set() or not self._thread.is_alive():
            return "ended"
        if not self.last_ns:
            return "waiting"
        silent_ns = now_ns - self.last_ns
        period_ns = max(
            (int(1e9 / one.video.rate_hz) for one in self.receptions if isinstance(one, VideoReception)),
            default=100_000_000,
        )
        bulk = [one for one in self.receptions if not isinstance(one, MetadataReception)]
        leaving = self.goodbyes >= max(1, sum(len(one.paths) for one in bulk or self.receptions))
        if silent_ns > ENDED_AFTER_NS or (leaving and silent_ns > 2 * period_ns):
            return "ended"
        if silent_ns > max(3 * period_ns, 100_000_000):
            return "stalled"
        for one in self.metadata:
            if now_ns - (one.last_static_ns or self.first_ns) > NO_STATIC_AFTER_NS:
                return "no static part"
        return "receiving"

    def statistics(self) -> list[dict[str, Any]]:
        """One row for each flow; after the end, as it was then."""
        if self._kept is not None:
            return [dict(row) for row in self._kept]
        rows = []
        seconds = max(1e-9, (self.last_ns - self.first_ns) / 1e9)
        for one in self.receptions:
            sockets = [s for s, r in self._sockets.items() if r is one]
            row = one.row()
            drops = [drop for drop in (s.dropped for s in sockets) if drop is not None]
            kind = _KINDS[type(one)]
            rows.append(
                {
                    "flow": kind,
                    "address": ", ".join(s.name for s in sockets),
                    **row,
                    "bit_rate_mbps": row["octets"] * 8 / seconds / 1e6,
                    "buffer_octets": min((s.buffer_octets for s in sockets), default=0),
                    "dropped_by_system": sum(drops) if drops else None,
                }
            )
        return rows

    def close(self) -> None:
        """Leave the groups, close the ports, end the thread."""
        self._stop.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
        self._kept = self.statistics()
        self._close_sockets()

    def _close_sockets(self) -> None:
        for one in self._sockets:
            one.close()


class Caller:
    """Calls somebody's function with frames, in a thread of its own; keeps only the newest."""

    def __init__(self, callback: Callable[[Frame], None], warn: Callable[[str], None]) -> None:
        self._callback, self._warn = callback, warn
        self._next: deque[Frame] = deque(maxlen=1)
        self._wake = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="dicomlab on_frame", daemon=True)
        self._thread.start()

    def take(self, what: Frame | AudioBlock) -> None:
        """Take a frame, from the receiving thread."""
        if isinstance(what, Frame):
            self._next.append(what)
            self._wake.set()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._next:
                try:
                    self._callback(self._next.popleft())
                except Exception as error:  # noqa: BLE001  (somebody's function: it is told, and not called again)
                    self._warn(f"on_frame: {type(error).__name__}: {error}; it is not called any more")
                    return
            if self._closed:
                return

    def close(self) -> None:
        """Call it for what is left, then no more."""
        self._closed = True
        self._wake.set()
        if self._thread is not threading.current_thread():
            self._thread.join()
