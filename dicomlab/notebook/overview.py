"""Overviews as figures: what a cohort holds, and how a stream went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomlab.errors import UsageError
from dicomlab.model.summary import visible

if TYPE_CHECKING:
    from dicomlab.model.cohort import Cohort
    from dicomlab.rtv.live_stream import LiveStream

_BAR, _BAD = "#1976d2", "#c62828"
_MOST = 12
"""Bars of one panel."""
_WORD = 40
"""Letters of what a bar is called."""
_COUNTS = (
    "NumberOfPatientRelatedInstances", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances",
    "NumberOfFrames",
)  # fmt: skip


def plot_cohort(cohort: Cohort) -> Any:
    """Draw what a cohort holds: rows by modality, by date, and how many instances they have. No patient is named.

    Parameters
    ----------
    cohort : Cohort

    Returns
    -------
    array of Axes
        Of those three panels the ones that its columns allow.

    Raises
    ------
    UsageError
        It is empty, or has none of these columns.
    """
    import matplotlib.pyplot as plt

    panels = [draw for draw in (_modalities, _dates, _sizes) if draw(cohort, None)]
    if not len(cohort) or not panels:
        raise UsageError("nothing to draw: a cohort with rows, and with a modality, a date or a number of instances")
    _, places = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3), layout="constrained", squeeze=False)
    for draw, ax in zip(panels, places[0], strict=True):
        draw(cohort, ax)
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    places[0][0].figure.suptitle(f"{len(cohort):,} {cohort.level} rows" + ("" if cohort.complete else ", not complete"))
    return places[0]


def _modalities(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in ("Modality", "ModalitiesInStudy") if one in cohort.columns), None)
    if name is None:
        return False
    if ax is None:
        return True
    counts = cohort[name].explode().dropna().astype("str").value_counts()
    shown = counts.iloc[:_MOST][::-1]
    bars = ax.barh([visible(one, _WORD).replace("$", r"\$") for one in shown.index], shown.to_numpy(), color=_BAR)
    ax.bar_label(bars, fontsize=8, padding=2)
    ax.set_title("modality" if len(counts) <= _MOST else f"modality: {_MOST} of {len(counts)}", fontsize=10)
    ax.set_xlabel("rows", fontsize=8)
    return True


def _dates(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in ("StudyDate", "SeriesDate", "AcquisitionDate") if one in cohort.columns), None)
    if name is None or not bool(cohort[name].notna().any()):
        return False
    if ax is None:
        return True
    days = cohort[name].dropna()
    span = (days.max() - days.min()).days
    bins: Any = min(max(span // 30, 1), 36) if span > 60 else min(max(span + 1, 1), 31)
    ax.hist(days, bins=bins, color=_BAR, edgecolor="white")
    missing = len(cohort) - len(days)
    ax.set_title(f"{name}" + (f", {missing} without" if missing else ""), fontsize=10)
    ax.figure.canvas.draw_idle()
    for label in ax.get_xticklabels():
        label.set_rotation(30)
        label.set_ha("right")
    return True


def _sizes(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in _COUNTS if one in cohort.columns), None)
    if name is None or not bool(cohort[name].notna().any()):
        return False
    if ax is None:
        return True
    counts = cohort[name].dropna().astype("int64")
    ax.hist(counts, bins=min(30, max(1, counts.nunique())), color=_BAR, edgecolor="white")
    ax.set_title(f"{name.removeprefix('NumberOf')}: {int(counts.sum()):,} in all", fontsize=10)
    ax.set_xlabel("in one row", fontsize=8)
    return True


def plot_stream(live: LiveStream) -> Any:
    """Draw how a stream went: latency and missing octets of each frame, and the packets of each flow.

    Parameters
    ----------
    live : LiveStream
        Open or closed; what arrived stays.

    Returns
    -------
    array of Axes
        Latency over frames, missing octets over frames, packets by flow.

    Raises
    ------
    UsageError
        Nothing arrived.
    """
    import matplotlib.pyplot as plt

    frames, network = live.to_dataframe(), live.statistics()
    if not len(frames) and not len(network):
        raise UsageError("nothing arrived, so there is nothing to draw")
    _, places = plt.subplots(1, 3, figsize=(12.6, 3), layout="constrained")
    first, second, third = places
    latency = frames["latency_ms"].astype("float64").to_numpy(na_value=np.nan)
    first.plot(np.arange(len(frames)), latency, color=_BAR, linewidth=1)
    if len(latency) and np.isfinite(latency).any():
        middle = float(np.nanmedian(latency))
        first.axhline(middle, color="gray", linestyle="--", linewidth=0.8)
        first.set_title(f"latency: median {middle:.1f} ms", fontsize=10)
    second.bar(np.arange(len(frames)), frames["MissingOctets"].astype("float64"), color=_BAD, width=1.0)
    broken = int((~frames["complete"]).sum())
    second.set_title(f"missing octets: {broken} of {len(frames)} frames not whole", fontsize=10)
    for ax in (first, second):
        ax.set_xlabel("frame", fontsize=8)
    first.set_ylabel("ms", fontsize=8)
    names = [f"{flow}\n{address}" for flow, address in zip(network["flow"], network["address"], strict=True)]
    received = network["received"].astype("float64").to_numpy()
    lost = network["lost"].astype("float64").to_numpy()
    third.barh(names, received, color=_BAR, label="received")
    third.barh(names, lost, left=received, color=_BAD, label="lost")
    third.set_title(f"packets: {int(lost.sum())} lost", fontsize=10)
    third.legend(fontsize=8, frameon=False)
    for ax in places:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return places
