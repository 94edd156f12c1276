"""PCM audio by octets, and the limits of PS3.5 §A.10."""

from __future__ import annotations

import numpy as np
import pytest

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.rtv.audio import AudioFormat, decode_samples, encode_samples

# two samples of two channels: 1, -1; the highest and the lowest
L16 = bytes.fromhex("0001 ffff 7fff 8000")
L24 = bytes.fromhex("000001 ffffff 7fffff 800000")


def test_samples_by_octets() -> None:
    assert decode_samples(L16, AudioFormat(bits=16)).tolist() == [[1, -1], [32767, -32768]]
    assert decode_samples(L24, AudioFormat(bits=24)).tolist() == [[1, -1], [8388607, -8388608]]
    assert encode_samples(np.array([[1, -1], [32767, -32768]]), AudioFormat(bits=16)) == L16
    assert encode_samples(np.array([[1, -1], [8388607, -8388608]]), AudioFormat(bits=24)) == L24


@pytest.mark.parametrize("bits", [16, 24])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_samples_come_back(bits: int, channels: int) -> None:
    audio = AudioFormat(channels, bits=bits)
    half = 1 << (bits - 1)
    samples = np.random.default_rng(bits).integers(-half, half, (48, channels))
    octets = encode_samples(samples, audio)
    assert len(octets) == 48 * audio.sample_octets
    assert decode_samples(octets, audio).tolist() == samples.tolist()


def test_packets_of_one_millisecond() -> None:
    assert AudioFormat().packet_samples == 48
    assert 48 * AudioFormat().sample_octets == 288
    assert AudioFormat(rate_hz=96_000, packet_time_ms=0.125).packet_samples == 12
    assert AudioFormat(rate_hz=96_000, channels=2).packet_samples == 96
    for audio in (AudioFormat(rate_hz=96_000, channels=15), AudioFormat(packet_time_ms=5)):
        with pytest.raises(UsageError):
            _ = audio.packet_samples


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"channels": 16}, {"rate_hz": 8000}, {"bits": 20}])
def test_beyond_the_limits(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        AudioFormat(**wrong)  # type: ignore[arg-type]


def test_what_are_no_samples() -> None:
    with pytest.raises(RemoteProtocolError):
        decode_samples(b"12345", AudioFormat())
    for samples in (np.zeros((4, 3), int), np.zeros(4, int), np.zeros((4, 2)), np.full((1, 2), 1 << 23)):
        with pytest.raises(UsageError):
            encode_samples(samples, AudioFormat())
