"""A waveform on paper: an ECG at 25 mm/s and 10 mm/mV, lead below lead; or the picture of a data set that has one.

Source
------
PS3.3 §C.10.9 (Waveform Module), §A.34 (Waveform IODs).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import DicomlabError, MissingExtra, RemoteProtocolError, UsageError
from dicomlab.model.summary import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pydicom import Dataset

PAPER_MM_PER_S, PAPER_MM_PER_MV = 25.0, 10.0
_MM_PER_INCH = 25.4
_LEAD_MM = 20.0
"""Paper for each lead."""
_MILLIVOLT = {"mV": 1.0, "uV": 1e-3, "V": 1e3, "nV": 1e-6}
_MAX_CHANNELS = 24


def plot(dataset: Dataset, *, group: int = 0, seconds: float = 10.0, ax: Axes | None = None) -> Any:
    """Draw a data set: its waveform on paper, or its picture.

    Parameters
    ----------
    dataset : Dataset
        With a Waveform Sequence, or with Pixel Data.
    group : int
        Which multiplex group of the waveform.
    seconds : float
        How much of it.
    ax : matplotlib Axes, optional
        Where to; one that is made has the size of the paper.

    Returns
    -------
    Axes
        Of an ECG: seconds and millivolts, on a grid of 1 mm and 5 mm.

    Raises
    ------
    UsageError
        Neither waveform nor picture, or no such group.
    RemoteProtocolError
        It can't be read.
    MissingExtra
        A decoder is not installed.
    """
    if "WaveformSequence" in dataset:
        return _waveform(dataset, group, seconds, ax)
    if "PixelData" in dataset:
        return _picture(dataset, ax)
    raise UsageError("this data set has neither a waveform nor a picture to be drawn")


def _waveform(dataset: Dataset, group: int, seconds: float, ax: Any) -> Any:
    import matplotlib.pyplot as plt

    groups: Any = dataset.WaveformSequence
    if not 0 <= group < len(groups):
        raise UsageError(f"group {group}: the waveform has {len(groups)}")
    if not seconds > 0:
        raise UsageError(f"{seconds} seconds of a waveform")
    item = groups[group]
    try:
        rate_hz = float(item.SamplingFrequency)
        samples = np.asarray(dataset.waveform_array(group), np.float64)[: max(1, int(seconds * rate_hz))]
        channels = list(item.ChannelDefinitionSequence)[:_MAX_CHANNELS]
    except (AttributeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise RemoteProtocolError(f"a waveform that can't be read: {error}", section="PS3.3 §C.10.9") from error
    volts, electrical = _millivolts(samples[:, : len(channels)], channels)
    shown_s = len(volts) / rate_hz
    offset = _LEAD_MM / PAPER_MM_PER_MV if electrical else float(np.nanmax(np.ptp(volts, axis=0)) or 1.0) * 1.1
    if ax is None:
        size = ((shown_s * PAPER_MM_PER_S + 20) / _MM_PER_INCH, (len(channels) * _LEAD_MM + 20) / _MM_PER_INCH)
        _, ax = plt.subplots(figsize=size, layout="constrained")
    time_s = np.arange(len(volts)) / rate_hz
    for at, channel in enumerate(channels):
        base = -at * offset
        ax.plot(time_s, volts[:, at] + base, color="#1a1a1a", linewidth=0.7)
        ax.text(0.02, base + 0.35 * offset, _name(channel, at), fontsize=8, color="#7a1f1f", fontweight="bold")
    ax.set_xlim(0, shown_s)
    ax.set_ylim(-(len(channels) - 0.5) * offset, 0.5 * offset)
    if electrical:
        _paper(ax)
    ax.set_xlabel("s", fontsize=8)
    said = f"{PAPER_MM_PER_S:g} mm/s, {PAPER_MM_PER_MV:g} mm/mV" if electrical else f"{rate_hz:g} samples/s"
    ax.set_title(said, fontsize=8, loc="left")
    return ax


def _millivolts(samples: NDArray[np.float64], channels: list[Any]) -> tuple[NDArray[np.float64], bool]:
    """The samples in millivolts where every channel says that it is in volts; else as they are."""
    factors = []
    for channel in channels:
        units: Any = channel.get("ChannelSensitivityUnitsSequence")
        factors.append(_MILLIVOLT.get(str(units[0].get("CodeValue", "")) if units else ""))
    if None in factors or not factors:
        return samples, False
    return samples * np.array(factors, np.float64), True


def _name(channel: Any, at: int) -> str:
    source: Any = channel.get("ChannelSourceSequence")
    name = str(channel.get("ChannelLabel", "") or (source[0].get("CodeMeaning", "") if source else ""))
    return visible(name.removeprefix("Lead ").replace("$", r"\$") or f"channel {at + 1}", 24)


def _paper(ax: Any) -> None:
    """The grid of ECG paper: 1 mm and 5 mm, as many of each as time and voltage make."""
    from matplotlib.ticker import MultipleLocator

    ax.set_facecolor("#fff8f5")
    for axis, mm in ((ax.xaxis, 1 / PAPER_MM_PER_S), (ax.yaxis, 1 / PAPER_MM_PER_MV)):
        axis.set_major_locator(MultipleLocator(5 * mm))
        axis.set_minor_locator(MultipleLocator(mm))
    ax.grid(which="major", color="#e8a0a0", linewidth=0.7)
    ax.grid(which="minor", color="#f5d5d5", linewidth=0.35)
    ax.set_axisbelow(True)
    ax.set_aspect(PAPER_MM_PER_MV / PAPER_MM_PER_S)
    ax.tick_params(which="both", length=0, labelsize=7)
    ax.set_yticklabels([])
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if abs(value - round(value)) < 1e-6 else "")


def _picture(dataset: Dataset, ax: Any) -> Any:
    import matplotlib.pyplot as plt
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    try:
        pixels: Any = dataset.pixel_array
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            pixels = pixels[len(pixels) // 2]
        grey = int(dataset.get("SamplesPerPixel", 1)) == 1
        if grey:
            pixels = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset)
    except (RuntimeError, NotImplementedError, ImportError) as error:
        raise MissingExtra(f'no decoder for this picture: pip install "dicomlab[codecs]" ({error})') from error
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise RemoteProtocolError(f"pixels that can't be read: {error}", section="PS3.3 §C.7.6.3") from error
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
    inverse = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    spacing = _spacing(dataset)
    rows, columns = pixels.shape[:2]
    extent = (0, columns * spacing[1], rows * spacing[0], 0)
    colours = {"cmap": "gray_r" if inverse else "gray"} if grey else {}
    ax.imshow(pixels, extent=extent, aspect="equal", interpolation="nearest", **colours)
    ax.set_xlabel("mm" if spacing != (1.0, 1.0) else "pixels", fontsize=8)
    return ax


def _spacing(dataset: Dataset) -> tuple[float, float]:
    for name in ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
        value: Any = dataset.get(name)
        try:
            if value is not None and len(value) == 2:
                return float(value[0]) or 1.0, float(value[1]) or 1.0
        except (TypeError, ValueError, DicomlabError):
            continue
    return 1.0, 1.0
