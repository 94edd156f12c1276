"""The sender: video, audio and DICOM metadata of one device, over RTP."""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary
from dicomlab.part10.medium import medium_errors
from dicomlab.rtv.audio import AudioFormat
from dicomlab.rtv.device import Device, Flow, described
from dicomlab.rtv.faults import StreamFaults
from dicomlab.rtv.metadata import VIDEO_ENDOSCOPIC, VIDEO_PHOTOGRAPHIC, FrameGroups
from dicomlab.rtv.pacing import Pacer
from dicomlab.rtv.rtp import MAX_PACKET_OCTETS
from dicomlab.rtv.sdp import Session, write_sdp
from dicomlab.rtv.sources import VideoSource, video_source
from dicomlab.rtv.video import VideoFormat

if TYPE_CHECKING:
    from pydicom import Dataset

SOP_CLASSES = {"endoscopic": VIDEO_ENDOSCOPIC, "photographic": VIDEO_PHOTOGRAPHIC}
FIRST_PORT = 20_000
FrameFacts = Callable[[int], Mapping[str, Any]]


class Broadcast(Summarised):
    """One device that sends: its video (one flow, or a stereo pair), audio, and the metadata of each.

    ::

        with Broadcast(pictures, rate_hz=25, PatientName="Synthetic^Ada") as cast, LiveStream(cast) as live:
            frame = next(iter(live))

    Constructing one sends nothing. ``with``, or ``start()``, begins; it ends with its pictures, or with ``close()``.

    Parameters
    ----------
    video : array, iterable, path, optional
        RGB pictures (rows x columns x 3, uint8), packed frames, a generator of either, a video file, a camera
        (``"/dev/video0"``), or a stored DICOM instance, which is replayed with its own Origin timestamps.
    right : the same, optional
        The right picture of a stereo pair: a second flow, joined with the first by a Rendition.
    audio : array of int, samples x channels, or iterable of such, optional
        Signed, right-aligned; sent from the first frame on.
    format : VideoFormat, optional
        On the wire; default YCbCr-4:2:2, 10 bit, BT709, in the size of the first picture.
    audio_format : AudioFormat, optional
        Default L24 at 48 kHz in packets of 1 ms.
    rate_hz : number, optional
        Frames per second; default what a file says, else 60.
    to : str or pair of str
        Where to: an address or group. Two: every packet goes both ways (ST 2022-7).
    port : int, optional
        The first of the even ports; default free ones on loopback, 20000 elsewhere.
    interface : str, optional
        Our address on the network of a multicast group; for IPv6 the name of that network.
    loop : bool
        Begin again when arrays or a file end.
    sop_class : str
        ``"endoscopic"`` or ``"photographic"``.
    about : Dataset, optional
        Patient, study, series, equipment; `keywords` add to it.
    per_frame : callable, optional
        Gives, for each frame number from 0, what :class:`~dicomlab.rtv.metadata.FrameGroups` takes:
        ``includes_subject``, ``includes_information``, ``camera``.
    metadata : bool
        Send metadata; without it, plain ST 2110.
    rendition : bool, optional
        Send a Rendition Selection Document; default where there is more than one bulk flow.
    stereo : bool
        Each frame of `video` holds a left and a right picture (Stereo Pairs Present).
    identified : bool
        The first packet of each frame and sound names its source and flow in the header extension.
    static_every_s : float
        The period of the static part; the standard wants it each second.
    packet_octets : int
        Most octets of an RTP packet.
    rtcp : bool
        Send sender reports every five seconds. A goodbye is always sent.
    time_source : str
        The identity of the PTP grandmaster where this machine's clock is locked to it; ``""``: it is not, and the
        stream says so.
    **keywords
        PS3.6 keywords, as ``PatientID="SYN-1"``.

    Raises
    ------
    UsageError
        Nothing to send, pictures of the wrong size, an unknown keyword.

    Source
    ------
    PS3.22 §6, §7; SMPTE ST 2110-10, -20, -30; ST 2022-7.
    """

    def __init__(
        self,
        video: Any = None,
        *,
        right: Any = None,
        audio: Any = None,
        format: VideoFormat | None = None,
        audio_format: AudioFormat | None = None,
        rate_hz: float | Fraction | None = None,
        to: str | Sequence[str] = "127.0.0.1",
        port: int | None = None,
        interface: str | None = None,
        ttl: int = 32,
        loop: bool = False,
        sop_class: str = "endoscopic",
        about: Dataset | None = None,
        per_frame: FrameFacts | None = None,
        metadata: bool = True,
        rendition: bool | None = None,
        stereo: bool = False,
        identified: bool = True,
        static_every_s: float = 0.5,
        packet_octets: int = MAX_PACKET_OCTETS,
        rtcp: bool = False,
        time_source: str = "",
        name: str = "dicomlab broadcast",
        fictional: bool = False,
        **keywords: Any,
    ) -> None:
        if video is None and audio is None:
            raise UsageError("nothing to send: give video= or audio=")
        if sop_class not in SOP_CLASSES:
            raise UsageError(f"sop_class is one of {', '.join(SOP_CLASSES)}")
        if not 0 < static_every_s <= 1:
            raise UsageError("the static part is due each second: static_every_s is at most 1 (PS3.22 §6.2.2)")
        self.name, self.fictional = name, fictional
        self.faults = StreamFaults()
        rate = Fraction(rate_hz).limit_denominator(1001) if rate_hz is not None else None
        self._videos: list[VideoSource] = [
            video_source(one, format, rate, loop=loop) for one in (video, right) if one is not None
        ]
        formats = [one.video for one in self._videos]
        if len({one.rate_hz for one in formats}) > 1:
            raise UsageError("the two flows of a stereo pair have one rate")
        self._audio = _sound(audio, loop=loop)
        sound = (audio_format or AudioFormat(channels=self._audio[0])) if self._audio else None
        where = [to] if isinstance(to, str) else list(to)
        if not 0 < len(where) < 3:
            raise UsageError("one path or two")
        self.device = Device(
            name=name,
            formats=formats,
            audio=sound,
            sop_class_uid=SOP_CLASSES[sop_class],
            about=described(about, keywords),
            metadata=metadata,
            rendition=rendition if rendition is not None else metadata and len(formats) + (sound is not None) > 1,
            stereo=stereo,
            time_source=time_source,
            paths=where,
            port=port if port is not None else _free_ports(where),
            interface=interface,
            ttl=ttl,
            identified=identified,
        )
        self._per_frame = per_frame
        self._static_every_s, self._packet_octets, self._rtcp = static_every_s, packet_octets, rtcp
        self._pacer: Pacer | None = None
        self._lock = threading.Lock()

    # --- the session ---------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The session description of the whole."""
        return self.device.session()

    @property
    def sdp(self) -> str:
        """The session description of the whole, as text."""
        return write_sdp(self.session)

    def write_sdp(self, folder: str | Path) -> list[Path]:
        """Write ``all.sdp`` and one description for each flow, as ST 2110-10 has it, into a folder (made if absent).

        Raises
        ------
        Interrupted, Refused
            The folder can't be written.
        """
        target = Path(folder)
        written = []
        with medium_errors(target):
            target.mkdir(parents=True, exist_ok=True)
            for name, session in (("all", self.session), *self.device.sessions_by_flow()):
                path = target / f"{name}.sdp"
                path.write_text(write_sdp(session), encoding="utf-8", newline="")
                written.append(path)
        return written

    @property
    def flows(self) -> list[Flow]:
        """The flows, bulk data first."""
        return self.device.flows

    # --- sending -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Begin to send; nothing happens where that is done already.

        Raises
        ------
        Unreachable
            Nothing can be sent there.
        """
        with self._lock:
            if self._pacer is None:
                self._pacer = Pacer(
                    self.device,
                    self._videos,
                    self._audio[1] if self._audio else None,
                    faults=self.faults,
                    per_frame=self._groups if self._per_frame else None,
                    static_every_s=self._static_every_s,
                    packet_octets=self._packet_octets,
                    rtcp=self._rtcp,
                    fictional=self.fictional,
                )
        return self

    def _groups(self, number: int, groups: FrameGroups) -> FrameGroups:
        from dataclasses import replace

        assert self._per_frame is not None
        return replace(groups, **dict(self._per_frame(number)))

    def change_patient(self, about: Dataset | None = None, **keywords: Any) -> None:
        """Another patient from the next frame on: new SOP Instances and a new SSRC for the metadata (PS3.22 §7.1).

        Parameters
        ----------
        about : Dataset, optional
        **keywords
            PS3.6 keywords that differ, as ``PatientID="SYN-2"``.
        """
        self.device.change(described(about, keywords))

    @property
    def sent(self) -> int:
        """Frames that are out."""
        return self._pacer.frames if self._pacer is not None else 0

    @property
    def skipped(self) -> int:
        """Frames that were left out, since this machine was late."""
        return self._pacer.skipped if self._pacer is not None else 0

    @property
    def on_air(self) -> bool:
        """Whether it sends."""
        return self._pacer is not None and self._pacer.running

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is out; whether it is. Raises what broke it off."""
        pacer = self._pacer
        if pacer is None:
            return False
        ended = pacer.wait(timeout_s)
        if pacer.error is not None:
            raise pacer.error
        return ended

    def close(self) -> None:
        """Say goodbye and send nothing more."""
        if self._pacer is not None:
            self._pacer.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __str__(self) -> str:
        return f"Broadcast({self.name})"

    def _summary_(self) -> Summary:
        facts = [("state", "on air" if self.on_air else "silent"), ("frames sent", str(self.sent))]
        rows = tuple((one.kind, f"{one.paths[0]}:{one.port}", one.what) for one in self.flows)
        notes = (f"{self.skipped} frames left out: this machine was late",) if self.skipped else ()
        return Summary(f"Broadcast: {self.name}", tuple(facts), ("flow", "to", "what"), rows, notes=notes)


def _sound(audio: Any, *, loop: bool) -> tuple[int, Any] | None:
    """Number of channels, and an iterator of arrays of samples."""
    import itertools

    if audio is None:
        return None
    blocks = iter([audio] if isinstance(audio, np.ndarray) else audio)
    first: NDArray[Any] | None = next(blocks, None)
    if first is None or not isinstance(first, np.ndarray) or first.ndim != 2 or first.dtype.kind not in "iu":
        raise UsageError("audio is an array of integers, samples x channels")
    if loop and isinstance(audio, np.ndarray):
        return int(first.shape[1]), itertools.repeat(first)
    return int(first.shape[1]), itertools.chain([first], blocks)


def _free_ports(where: Sequence[str], count: int = 32) -> int:
    """A run of ports that are free here, where packets go to this machine; else 20000."""
    if not all(one.startswith("127.") for one in where):
        return FIRST_PORT
    start = FIRST_PORT + (uuid.uuid4().int + time.monotonic_ns()) % 5_000 * 2
    for offset in range(0, 10_000, count):
        first = FIRST_PORT + (start - FIRST_PORT + offset) % 10_000
        if all(_unused(one, first + at) for one in where for at in range(count)):
            return first
    return FIRST_PORT


def _unused(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
