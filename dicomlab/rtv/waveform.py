"""What recorded sound becomes: General Audio Waveform.

Source
------
PS3.3 §A.34.10 (General Audio Waveform), §C.10.9 (Waveform); PS3.17 §PPPP.8.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dicomlab.model.report import Outcome
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.rtv.audio import AudioFormat, decode_samples
from dicomlab.rtv.device import new_uid
from dicomlab.rtv.storage import begin, code, common, judged

if TYPE_CHECKING:
    from pydicom import Dataset

GENERAL_AUDIO_STORAGE = "1.2.840.10008.5.1.4.1.1.9.4.2"


@dataclass(frozen=True, slots=True)
class Sound:
    """Sound of one flow and one SOP Instance, missing samples being 0.

    ``static`` is a text where it can't be stored, and why.
    """

    uid: str
    static: Dataset | str | None
    audio: AudioFormat
    octets: bytes
    gap_samples: int
    origin_ns: int


def store_audio(sound: Sound, folder: Path) -> Iterator[Outcome]:
    """Write sound as General Audio Waveform of 16 bit.

    Raises
    ------
    Interrupted, Refused
        The medium.
    """
    from pydicom import Dataset

    audio = sound.audio
    samples = decode_samples(sound.octets, audio)
    if not len(samples):
        return
    ds: Any = common(sound.static, GENERAL_AUDIO_STORAGE, (new_uid(), 1), sound.origin_ns)
    ds.Modality = "AU"
    wide = audio.bits == 24
    narrow = np.clip((samples + 128) >> 8, -32_768, 32_767) if wide else samples
    item: Any = Dataset()
    item.WaveformOriginality = "ORIGINAL"
    item.NumberOfWaveformChannels, item.NumberOfWaveformSamples = audio.channels, len(samples)
    item.SamplingFrequency = audio.rate_hz
    item.WaveformBitsAllocated, item.WaveformSampleInterpretation = 16, "SS"
    item.ChannelDefinitionSequence = [_channel(at) for at in range(audio.channels)]
    item.add_new(0x54001010, "OW", narrow.astype("<i2").tobytes())
    ds.WaveformSequence = [item]
    ds.AcquisitionContextSequence = ds.get("AcquisitionContextSequence", [])
    writer = begin(ds, EXPLICIT_LE, folder / f"{ds.SOPInstanceUID}.dcm")
    found = [f"{sound.gap_samples} samples missing, as silence"] if sound.gap_samples else []
    found += ["24 bit stored as 16"] if wide else []
    yield judged(writer.finish(), found)


def _channel(at: int) -> Dataset:
    from pydicom import Dataset

    item: Any = Dataset()
    item.ChannelLabel = f"Channel {at + 1}"
    item.ChannelSourceSequence = [code("109112", "DCM", "Ambient room environment")]
    item.WaveformBitsStored = 16
    return item  # type: ignore[no-any-return]
