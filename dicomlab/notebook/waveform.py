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
_LEAD_MV = _LEAD_MM / PAPER_MM_PER_MV
_LEAD_IN_MM, _LETTER_MM = 15.0, 1.5
"""Paper before the first sample, for the calibration and the name; and for each letter of the longest name."""
_INK = "#1a1a1a"
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
        Of an ECG: seconds and millivolts, on a grid of 1 mm and 5 mm, each lead after its calibration of 1 mV. Channels
        in other units: each in a lane of its own, with its least and its greatest value.

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
    values, electrical = _millivolts(samples[:, : len(channels)], channels)
    names = [_name(channel, at) for at, channel in enumerate(channels)]
    if not electrical:
        values, names = _to_lanes(values, channels, names)
    shown_s = len(values) / rate_hz
    lead_mm = _LEAD_IN_MM + 5.0 * int(max(len(line) for name in names for line in name.split("\n")) * _LETTER_MM / 5)
    if ax is None:
        size = (shown_s * PAPER_MM_PER_S + lead_mm + 20, len(channels) * _LEAD_MM + 20)
        _, ax = plt.subplots(figsize=tuple(mm / _MM_PER_INCH for mm in size), layout="constrained")
    time_s, lead_s = np.arange(len(values)) / rate_hz, lead_mm / PAPER_MM_PER_S
    for at, name in enumerate(names):
        base = -at * _LEAD_MV
        if electrical:
            ax.plot(*_pulse(base), color=_INK, linewidth=0.9, label="1 mV, 0.2 s")
        ax.plot(time_s, values[:, at] + base, color=_INK, linewidth=0.7, label=name)
        style = {"fontsize": 8, "color": "#7a1f1f", "fontweight": "bold", "va": "top" if electrical else "center"}
        ax.text(0.06 - lead_s, base - (0.1 if electrical else 0.0), name, **style)
    ax.set_xlim(-lead_s, shown_s)
    ax.set_ylim(-(len(channels) - 0.5) * _LEAD_MV, 0.75 * _LEAD_MV)
    _paper(ax, electrical)
    ax.set_xlabel("s", fontsize=8)
    height = f"{PAPER_MM_PER_MV:g} mm/mV" if electrical else "each channel from its least to its greatest value"
    ax.set_title(f"{PAPER_MM_PER_S:g} mm/s, {height}, {rate_hz:g} samples/s", fontsize=8, loc="left")
    return ax


def _pulse(base: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The calibration before a lead: one millivolt for a fifth of a second, ten millimetres by five."""
    at_s = np.array([-0.4, -0.32, -0.32, -0.12, -0.12, -0.04])
    return at_s, base + np.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0])


def _to_lanes(
    values: NDArray[np.float64], channels: list[Any], names: list[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Channels of any units, each made as high as its lane; names that say what the height is."""
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    heights = np.where(high > low, high - low, 1.0)
    told = []
    for at, (name, channel) in enumerate(zip(names, channels, strict=True)):
        units: Any = channel.get("ChannelSensitivityUnitsSequence")
        unit = visible(str(units[0].get("CodeValue", "")) if units else "", 12).replace("$", r"\$")
        told.append(f"{name}\n{low[at]:.4g} to {high[at]:.4g}\n{unit}".rstrip())
    return (values - low) / heights * 0.8 * _LEAD_MV - 0.4 * _LEAD_MV, told


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


def _paper(ax: Any, electrical: bool) -> None:
    """The grid of ECG paper, 1 mm and 5 mm; across only the seconds, where the height of a lane is no voltage."""
    from matplotlib.ticker import MultipleLocator, NullLocator

    ax.set_facecolor("#fff8f5")
    mm_s, mm_mv = 1 / PAPER_MM_PER_S, 1 / PAPER_MM_PER_MV
    ax.xaxis.set_major_locator(MultipleLocator(5 * mm_s))
    ax.xaxis.set_minor_locator(MultipleLocator(mm_s))
    ax.yaxis.set_major_locator(MultipleLocator(5 * mm_mv) if electrical else NullLocator())
    ax.yaxis.set_minor_locator(MultipleLocator(mm_mv) if electrical else NullLocator())
    ax.grid(which="major", color="#e8a0a0", linewidth=0.7)
    ax.grid(which="minor", color="#f5d5d5", linewidth=0.35)
    ax.set_axisbelow(True)
    ax.set_aspect(PAPER_MM_PER_MV / PAPER_MM_PER_S)
    ax.tick_params(which="both", length=0, labelsize=7)
    ax.yaxis.set_major_formatter("")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}" if value > -mm_s and _whole(value) else "")


def _whole(value: float) -> bool:
    return abs(value - round(value)) < 1e-6


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
