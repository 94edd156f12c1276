"""PCM audio on the wire: L16 and L24, interleaved, in network order. No I/O.

Source
------
SMPTE ST 2110-30 §6, §7; AES67 §7; RFC 3551 §4.5.11 (L16), RFC 3190 §4 (L24); PS3.5 §A.10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.rtv.rtp import HEADER_OCTETS, MAX_PACKET_OCTETS
from dicomlab.rtv.sdp import Media

PCM = "1.2.840.10008.1.2.7.3"
RATES_HZ = (44_100, 48_000, 96_000)
MAX_CHANNELS = 15
MAX_SAMPLES = 96
"""In one Grain (PS3.5 §A.10): 1 ms at 96 kHz."""


@dataclass(frozen=True)
class AudioFormat:
    """One format of PCM audio.

    Parameters
    ----------
    channels : int
        At most 15.
    rate_hz : int
        44100, 48000 or 96000 samples per second.
    bits : int
        16 or 24.
    packet_time_ms : float
        Of one packet: 1 or 0.125.
    parameters : mapping
        Of fmtp, as ``{"channel-order": "SMPTE2110.(ST)"}``.

    Raises
    ------
    UsageError
        What PS3.5 §A.10 does not allow.

    Source
    ------
    PS3.5 §A.10; SMPTE ST 2110-30 §6.2.
    """

    channels: int = 2
    rate_hz: int = 48_000
    bits: int = 24
    packet_time_ms: float = 1.0
    parameters: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if not 0 < self.channels <= MAX_CHANNELS or self.rate_hz not in RATES_HZ or self.bits not in (16, 24):
            what = f"{self.channels} channels of {self.bits} bit at {self.rate_hz} Hz"
            raise UsageError(f"{what}: 1 to 15 channels, 16 or 24 bit, 44100, 48000 or 96000 Hz (PS3.5 §A.10)")

    @property
    def sample_octets(self) -> int:
        """Octets of one sample of all channels."""
        return self.channels * self.bits // 8

    @property
    def packet_samples(self) -> int:
        """Samples in a packet that we send; at 44.1 kHz the packet time is not exact.

        Raises
        ------
        UsageError
            More than a Grain or a datagram may hold.
        """
        count = round(self.rate_hz * self.packet_time_ms / 1000)
        if not 0 < count <= MAX_SAMPLES or HEADER_OCTETS + count * self.sample_octets > MAX_PACKET_OCTETS:
            raise UsageError(f"packets of {self.packet_time_ms} ms hold {count} samples: too many (PS3.5 §A.10)")
        return count

    @property
    def encoding(self) -> str:
        """The name in rtpmap."""
        return f"L{self.bits}"


def audio_format(media: Media) -> AudioFormat:
    """Read the format of an audio flow from its media section.

    Raises
    ------
    RemoteProtocolError
        Not L16 or L24, or beyond what PS3.5 §A.10 allows.

    Source
    ------
    PS3.5 §A.10; RFC 3190 §4; ST 2110-30 §7.
    """
    encoding = media.encoding.upper()
    if media.kind != "audio" or encoding not in ("L16", "L24"):
        raise RemoteProtocolError(f"{media.kind} {media.encoding!r} is no PCM audio", section="PS3.5 §A.10")
    try:
        return AudioFormat(
            media.channels, media.clock_rate_hz, int(encoding[1:]), media.packet_time_ms or 1.0, media.parameters
        )
    except UsageError as error:
        raise RemoteProtocolError(str(error), section="PS3.5 §A.10") from error


def encode_samples(samples: NDArray[Any], audio: AudioFormat) -> bytes:
    """Encode samples as they travel.

    Parameters
    ----------
    samples : array of int, samples x channels
        Signed, right-aligned.

    Raises
    ------
    UsageError
        Another number of channels, or a sample that does not fit.

    Source
    ------
    RFC 3190 §4; RFC 3551 §4.5.11.
    """
    if samples.ndim != 2 or samples.shape[1] != audio.channels or samples.dtype.kind not in "iu":
        raise UsageError(f"samples of shape {samples.shape} for {audio.channels} channels")
    most = 1 << (audio.bits - 1)
    if samples.size and (int(samples.max()) >= most or int(samples.min()) < -most):
        raise UsageError(f"samples beyond {audio.bits} bit")
    if audio.bits == 16:
        return samples.astype(">i2").tobytes()
    wide = np.ascontiguousarray(samples.astype(">i4"))
    return wide.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()


def decode_samples(octets: bytes | bytearray | memoryview | NDArray[np.uint8], audio: AudioFormat) -> NDArray[Any]:
    """Decode samples: int16 for L16, int32 for L24, samples x channels.

    Raises
    ------
    RemoteProtocolError
        No whole number of samples.

    Source
    ------
    RFC 3190 §4; RFC 3551 §4.5.11.
    """
    flat = np.frombuffer(octets, np.uint8)
    if len(flat) % audio.sample_octets:
        what = f"{len(flat)} octets are no whole number of samples of {audio.sample_octets}"
        raise RemoteProtocolError(what, section="RFC 3190 §4")
    if audio.bits == 16:
        return flat.view(">i2").astype(np.int16).reshape(-1, audio.channels)
    three = flat.reshape(-1, 3).astype(np.int32)
    value = three[:, 0] << 16 | three[:, 1] << 8 | three[:, 2]
    return ((value ^ 0x800000) - 0x800000).reshape(-1, audio.channels)
