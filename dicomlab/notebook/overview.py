"""Overviews as figures: what a cohort holds, and how a stream went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomlab.errors import UsageError
from dicomlab.model.summary import visible

if TYPE_CHECKING:
    from pandas import DataFrame

    from dicomlab.model.cohort import Cohort
    from dicomlab.rtv.live_stream import LiveStream

_BAR, _BAD, _REST = "#1976d2", "#c62828", "#8a8a8a"
_MOST = 12
"""Bars of the modalities."""
_SLOTS = 5
"""Bars that a panel has room for at least: a lone one does not fill it."""
_PERIODS = (("D", 31), ("M", 36), ("Y", 40))
"""What a bar of the dates stands for, and how many there are at most; then several years."""
_WORD = 40
"""Letters of what a bar is called."""
_COUNTS = (
    "NumberOfPatientRelatedInstances", "NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances",
    "NumberOfFrames",
)  # fmt: skip
_PLURALS = {"study": "studies", "series": "series"}


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
    count = cohort.level if len(cohort) == 1 else _plural(cohort)
    places[0][0].figure.suptitle(
        f"{len(cohort):,} {count}" + ("" if cohort.complete else ", not complete"), fontsize=11
    )
    return places[0]


def _plural(cohort: Cohort) -> str:
    return _PLURALS.get(cohort.level, f"{cohort.level}s")


def _without(cohort: Cohort, known: int) -> str:
    """What a title says of the rows that have no value."""
    return f", {len(cohort) - known:,} without" if known < len(cohort) else ""


def _whole_numbers(axis: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(5, integer=True))
    axis.set_major_formatter("{x:,.0f}")


def _modalities(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in ("Modality", "ModalitiesInStudy") if one in cohort.columns), None)
    if name is None:
        return False
    if ax is None:
        return True
    values = cohort[name].explode().dropna().astype("str")
    counts = values.value_counts()
    shown = list(counts.iloc[:_MOST].items())
    if len(counts) > _MOST:
        shown.append((f"{len(counts) - _MOST} others", counts.iloc[_MOST:].sum()))
    bars = ax.barh(
        [visible(str(one), _WORD).replace("$", r"\$") for one, _ in shown[::-1]],
        [n for _, n in shown[::-1]],
        color=_BAR,
    )
    if len(counts) > _MOST:
        bars[0].set_color(_REST)
    ax.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    ax.set_ylim(min(-0.6, len(shown) - _SLOTS - 0.4), len(shown) - 0.4)
    ax.set_title("modality" + _without(cohort, values.index.nunique()), fontsize=10)
    ax.set_xlabel(_plural(cohort), fontsize=8)
    _whole_numbers(ax.xaxis)
    return True


def _dates(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in ("StudyDate", "SeriesDate", "AcquisitionDate") if one in cohort.columns), None)
    if name is None or not bool(cohort[name].notna().any()):
        return False
    if ax is None:
        return True
    days = cohort[name].dropna()
    labels, counts = _by_period(days)
    ax.bar(range(len(labels)), counts, width=0.9, color=_BAR)
    ax.set_xlim(*_room(len(labels)))
    every = -(-len(labels) // 8)
    ax.set_xticks(range(0, len(labels), every), labels[::every], rotation=30, ha="right", rotation_mode="anchor")
    ax.set_title(f"{name}{_without(cohort, len(days))}", fontsize=10)
    ax.set_ylabel(_plural(cohort), fontsize=8)
    _whole_numbers(ax.yaxis)
    return True


def _by_period(days: Any) -> tuple[list[str], list[int]]:
    """Rows by day, month, year or more years, as the span allows; periods without any are there too."""
    at = days.to_numpy()
    for unit, most in _PERIODS:
        number = at.astype(f"datetime64[{unit}]").astype(np.int64)
        if number.max() - number.min() < most:
            break
    step = int((number.max() - number.min()) // most) + 1
    number //= step
    least = int(number.min())
    counts = np.bincount(number - least)
    periods = ((least + np.arange(len(counts))) * step).astype(f"datetime64[{unit}]")
    return periods.astype(str).tolist(), counts.tolist()


def _room(bars: int) -> tuple[float, float]:
    """The limits of an axis with so many bars."""
    spare = max(0, _SLOTS - bars) / 2
    return -0.6 - spare, bars - 0.4 + spare


def _sizes(cohort: Cohort, ax: Any) -> bool:
    name = next((one for one in _COUNTS if one in cohort.columns), None)
    if name is None or not bool(cohort[name].notna().any()):
        return False
    if ax is None:
        return True
    counts = cohort[name].dropna().astype("int64")
    least, most = int(counts.min()), int(counts.max())
    many = least > 0 and most > 50 * least  # a few large ones would leave one bar for all others
    if many:
        ax.set_xscale("log")
    bins = (
        np.geomspace(least, most + 1, 25)
        if many
        else np.linspace(least - 0.5, most + 0.5, min(25, most - least + 1) + 1)
    )
    ax.hist(counts, bins=bins, color=_BAR, rwidth=0.9)
    if not many:
        spare = max(0.0, _SLOTS - (most - least + 1)) / 2
        ax.set_xlim(least - 0.6 - spare, most + 0.6 + spare)
        _whole_numbers(ax.xaxis)
    else:
        ax.xaxis.set_major_formatter("{x:,.0f}")
    noun = "frames" if name == "NumberOfFrames" else "instances"
    ax.set_title(f"{noun}: {int(counts.sum()):,} in all{_without(cohort, len(counts))}", fontsize=10)
    ax.set_xlabel(f"{noun} of one {cohort.level}", fontsize=8)
    ax.set_ylabel(_plural(cohort), fontsize=8)
    _whole_numbers(ax.yaxis)
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
    missing = frames["MissingOctets"].astype("float64").to_numpy(na_value=0.0)
    second.bar(np.arange(len(frames)), missing, color=_BAD, width=1.0)
    second.set_ylim(0, max(1.0, 1.05 * missing.max(initial=0.0)))
    broken = int((~frames["complete"]).sum())
    told = f"{broken:,} of {len(frames):,} frames not whole" if broken else f"all {len(frames):,} frames whole"
    second.set_title(told, fontsize=10)
    second.set_ylabel("missing octets", fontsize=8)
    _whole_numbers(second.yaxis)
    for ax in (first, second):
        ax.set_xlabel("frame", fontsize=8)
        _whole_numbers(ax.xaxis)
    first.set_ylabel("ms", fontsize=8)
    first.set_ylim(bottom=min(0.0, *first.get_ylim()))
    _packets(network, third)
    for ax in places:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=8)
    return places


def _packets(network: DataFrame, ax: Any) -> None:
    """Packets of each flow, those lost in red; what the network did to them in words."""
    names = [f"{flow}\n{address}" for flow, address in zip(network["flow"], network["address"], strict=True)]
    received, lost = (network[name].astype("float64").to_numpy(na_value=0.0) for name in ("received", "lost"))
    ax.barh(names, received, height=0.5, color=_BAR, label="received")
    ends = ax.barh(names, lost, left=received, height=0.5, color=_BAD, label="lost")
    ax.bar_label(ends, [_told(row) for _, row in network.iterrows()], fontsize=8, padding=4)
    ax.set_title(f"packets: {int(lost.sum()):,} of {int((received + lost).sum()):,} lost", fontsize=10)
    ax.legend(fontsize=8, frameon=False, loc="upper right")
    ax.set_xlim(0, 1.5 * max(1.0, (received + lost).max(initial=0.0)))  # room for the words
    ax.set_ylim(-0.6, max(len(names), 2) - 0.2)
    _whole_numbers(ax.xaxis)


def _told(row: Any) -> str:
    """What the network did to one flow: the share that was lost, its rate, how unevenly its packets came."""
    import pandas as pd

    sent = int(row["received"]) + int(row["lost"])
    lost = f"{row['lost']:,} lost ({100 * row['lost'] / sent:.2g} %)" if row["lost"] and sent else "0 lost"
    words = [lost]
    if not pd.isna(row["bit_rate_mbps"]):
        words.append(f"{row['bit_rate_mbps']:.3g} Mbit/s")
    if not pd.isna(row["jitter_ms"]):
        words.append(f"jitter {row['jitter_ms']:.2g} ms")
    return "\n".join(words)
