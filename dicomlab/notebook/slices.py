"""Slices of a volume as a figure: in millimetres, the patient's directions at the edges, a dose over them.

Source
------
PS3.3 §C.7.6.2.1.1 (the patient's coordinates), §C.7.6.1.1.1 (letters of directions), §C.11.2.1.2 (window), §C.8.8.3
(RT Dose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import UsageError
from dicomlab.model.summary import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dicomlab.media.volume import Volume

WINDOWS = {"soft tissue": (40, 400), "lung": (-600, 1500), "bone": (480, 2500), "brain": (40, 80)}
"""Centre and width in Hounsfield units."""
_PLANES = ("z", "y", "x")
_TITLES = {"z": "slice", "y": "row", "x": "column"}
_AXES = {"z": ("y", "x"), "y": ("z", "x"), "x": ("z", "y")}
_LEVELS = (0.2, 0.5, 0.8, 0.95)
_WORD = 40
"""Letters of a word that an image says, in a title."""
_LEAST = 0.25
"""Share of a direction below which its letter is left out."""
_FLATTEST = 0.3
"""Height of a picture, in widths; what is flatter gets black above and below it, where its letters have room."""
_THIN = 0.05
"""Height below which the labels of both edges would lie on one another."""
_DOSE_COLOURS = "plasma"
"""Also told apart by who sees no red or no green."""
_UNITS = {"GY": "Gy", "RELATIVE": "relative"}


@dataclass(frozen=True)
class _Cut:
    """One plane of a volume as it is drawn: values, millimetres, directions."""

    values: NDArray[Any]
    extent: tuple[float, float, float, float]
    """Left, right, bottom, top in millimetres (pixels, where there is no spacing)."""
    letters: tuple[str, str, str, str] | None
    """Left, right, top, bottom."""
    flipped: bool


@dataclass(frozen=True)
class _How:
    """What is drawn of every plane."""

    volume: Volume
    window: str | tuple[float, float] | None
    step: int
    dose: Volume | None


def plot(
    volume: Volume,
    plane: str | None = None,
    index: int | None = None,
    *,
    window: str | tuple[float, float] | None = None,
    step: int = 0,
    dose: Volume | None = None,
    ax: Axes | None = None,
) -> Any:
    """Draw slices of a volume.

    Parameters
    ----------
    volume : Volume
    plane : str, optional
        ``"z"`` (the slices as they were acquired), ``"y"`` or ``"x"``; None: all three, side by side.
    index : int, optional
        Which one; the middle, or with a dose the one where the dose is highest.
    window : str or (centre, width), optional
        Of grey values: a name in ``WINDOWS``, or numbers in the volume's unit; default soft tissue for CT, else from
        the 1st to the 99th percentile.
    step : int
        Which step of a volume with a fourth dimension.
    dose : Volume, optional
        Drawn over it in colour with isodose lines; looked up between its points for the figure only.
    ax : matplotlib Axes, optional
        Where to, for one plane.

    Returns
    -------
    Axes, or array of three
        Millimetres along both axes; letters at the edges are the patient's directions (R L A P H F).

    Raises
    ------
    UsageError
        No such plane, index or window; a dose or a volume that lies on no regular grid; a dose in another frame of
        reference (PS3.3 §C.7.4.1), or nowhere near the volume.
    """
    import matplotlib.pyplot as plt

    if plane is not None and plane not in _PLANES:
        raise UsageError(f"plane is one of {', '.join(_PLANES)}, not {plane!r}")
    if dose is not None:
        _together(volume, dose)
    how = _How(volume, window, step, dose)
    if plane is None:
        if ax is not None:
            raise UsageError("three planes need three axes: choose a plane for ax")
        _, places = plt.subplots(1, 3, figsize=(12, 4.6), layout="constrained")
        doses = [
            _draw(how, name, index if name == "z" else None, place) for name, place in zip(_PLANES, places, strict=True)
        ]
        _scale(dose, doses, places)
        return places
    if ax is None:
        _, ax = plt.subplots(figsize=(5, 5), layout="constrained")
    _scale(dose, [_draw(how, plane, index, ax)], ax)
    return ax


def _draw(how: _How, plane: str, index: int | None, ax: Any) -> Any:
    """One plane; the picture of its dose, if any."""
    from matplotlib.patheffects import withStroke

    volume, dose = how.volume, how.dose
    array = _steps(volume, how.step)
    axis = _PLANES.index(plane)
    count = array.shape[axis]
    at = _middle(how, axis, count) if index is None else index
    if not -count <= at < count:
        raise UsageError(f"{_TITLES[plane]} {at}: there are {count}")
    cut = _cut(volume, array, plane, at % count)
    low, high = _limits(volume, array, how.window)
    colour = "sample" in volume.dims
    ax.set_facecolor("black")
    grey = {} if colour else {"cmap": "gray", "vmin": low, "vmax": high}
    ax.imshow(cut.values, extent=cut.extent, aspect="equal", interpolation="nearest", **grey)
    over = _overlay(dose, dose_on(volume, dose, plane, at % count), cut, ax) if dose is not None else None
    _frame(cut, ax)
    which = f"{_TITLES[plane]} {at % count + 1} of {count} ({plane} {at % count})"
    title = f"{visible(volume.modality, _WORD)} {which}"
    ax.set_title(title.strip(), fontsize=10, parse_math=False)
    known = volume.regular
    ax.set_xlabel("mm" if known else "mm or pixels", fontsize=8)
    ax.tick_params(labelsize=8)
    for letter, place in zip(cut.letters or (), ((0.02, 0.5), (0.98, 0.5), (0.5, 0.97), (0.5, 0.03)), strict=False):
        side = {0.02: "left", 0.98: "right"}.get(place[0], "center")
        high_low = {0.97: "top", 0.03: "bottom"}.get(place[1], "center")
        edge = withStroke(linewidth=2, foreground="black")  # on a bright picture too
        style = {"color": "gold", "fontsize": 11, "fontweight": "bold", "path_effects": [edge]}
        ax.text(*place, letter, transform=ax.transAxes, ha=side, va=high_low, **style)
    return over


def _middle(how: _How, axis: int, count: int) -> int:
    """The plane to show where nobody has chosen."""
    if how.dose is None:
        return count // 2
    values = _steps(how.dose, 0)
    z, y, x = np.unravel_index(int(np.nanargmax(values)), values.shape)
    at = np.linalg.inv(how.volume.affine) @ how.dose.affine @ np.array([x, y, z, 1.0])
    return int(np.clip(round(float(at[2 - axis])), 0, count - 1))


def _frame(cut: _Cut, ax: Any) -> None:
    """The edges of the picture, with room for the letters of a flat one."""
    from matplotlib.ticker import FixedLocator

    left, right, bottom, top = cut.extent
    width, height = abs(right - left), abs(bottom - top)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    if (room := _FLATTEST * width - height) > 0:
        ax.yaxis.set_major_locator(FixedLocator([0.0, height] if height > _THIN * width else []))
        ax.yaxis.set_major_formatter("{x:.3g}")
        ax.set_ylim(bottom + room / 2, top - room / 2)


def _steps(volume: Volume, step: int) -> NDArray[Any]:
    array: NDArray[Any] = volume.array
    spatial = 4 if "sample" in volume.dims else 3
    if array.ndim == spatial:
        return array
    if not 0 <= step < array.shape[0]:
        raise UsageError(f"step {step}: the volume has {array.shape[0]}")
    chosen: NDArray[Any] = array[step]
    return chosen


def _cut(volume: Volume, array: NDArray[Any], plane: str, at: int) -> _Cut:
    axis = _PLANES.index(plane)
    values = np.take(array, at, axis)
    down, across = _AXES[plane]
    height, width = (_length(volume, array, name) for name in (down, across))
    directions = _directions(volume)
    flipped = down == "z" and (directions is None or directions["z"][2] > 0)  # the head is up
    if flipped:
        values = values[::-1]
    letters = None
    if directions is not None:
        toward_right, toward_bottom = directions[across], directions[down] * (-1 if flipped else 1)
        names = (_letters(-toward_right), _letters(toward_right), _letters(-toward_bottom), _letters(toward_bottom))
        letters = names
    return _Cut(values, (0.0, width, height, 0.0), letters, flipped)


def _length(volume: Volume, array: NDArray[Any], name: str) -> float:
    """How long an edge is, in millimetres; from the outer edge of the first voxel to that of the last."""
    labels = np.asarray(volume.coords[name], dtype=float)
    count = array.shape[_PLANES.index(name)]
    pitch = abs(labels[-1] - labels[0]) / (len(labels) - 1) if len(labels) > 1 else 1.0
    return float((pitch or 1.0) * count)


def _directions(volume: Volume) -> dict[str, NDArray[np.float64]] | None:
    """The direction in which each index grows, in the patient's coordinates; None where nobody knows."""
    try:
        affine = volume.affine
    except UsageError:
        return None
    columns = {"x": affine[:3, 0], "y": affine[:3, 1], "z": affine[:3, 2]}
    return {name: column / (np.linalg.norm(column) or 1.0) for name, column in columns.items()}


def _letters(direction: NDArray[np.float64]) -> str:
    """The letters of a direction, the strongest first (PS3.3 §C.7.6.1.1.1)."""
    names = (("L", "R"), ("P", "A"), ("H", "F"))
    order = sorted(range(3), key=lambda i: -abs(float(direction[i])))
    return "".join(names[i][0 if direction[i] > 0 else 1] for i in order if abs(float(direction[i])) > _LEAST)


def _limits(
    volume: Volume, array: NDArray[Any], window: str | tuple[float, float] | None
) -> tuple[float | None, float | None]:
    if "sample" in volume.dims:
        return None, None
    if isinstance(window, str):
        if window not in WINDOWS:
            raise UsageError(f"window is one of {', '.join(WINDOWS)}, or (centre, width); not {window!r}")
        window = WINDOWS[window]
    elif window is None and volume.modality == "CT":
        window = WINDOWS["soft tissue"]
    if window is not None:
        centre, width = window
        if not width > 0:
            raise UsageError(f"a window of width {width}")
        return centre - width / 2, centre + width / 2
    low, high = np.nanpercentile(array, (1, 99))
    return float(low), float(high) if high > low else float(low) + 1.0


# --- dose ------------------------------------------------------------------------------------------------------------


def _together(volume: Volume, dose: Volume) -> None:
    """That a dose lies where the volume lies: over other images it would be a wrong picture, not an empty one."""
    to_dose = np.linalg.inv(dose.affine) @ volume.affine  # both must have one: these say why not
    here, there = volume.frame_of_reference_uid, dose.frame_of_reference_uid
    if here and there and here != there:
        raise UsageError(
            f"the dose lies in frame of reference {there}, the volume in {here}: only a registration says how they lie"
            " to each other"
        )
    edges = [(0, count - 1) for count in _steps(volume, 0).shape[2::-1]]
    corners = np.stack(np.meshgrid(*edges, [1]), -1).reshape(-1, 4) @ to_dose.T
    last = np.array(_steps(dose, 0).shape[2::-1]) - 1
    if (corners[:, :3].max(0) < 0).any() or (corners[:, :3].min(0) > last).any():
        raise UsageError("no voxel of the volume lies within the grid of the dose: are they of one patient?")


def _overlay(dose: Volume, found: NDArray[np.float64], cut: _Cut, ax: Any) -> Any:
    from matplotlib.patheffects import withStroke

    if cut.flipped:
        found = found[::-1]
    most = _most(dose)
    shown = np.ma.masked_invalid(np.where(found < 0.05 * most, np.nan, found))
    picture = ax.imshow(shown, extent=cut.extent, cmap=_DOSE_COLOURS, vmin=0, vmax=most, alpha=0.45, aspect="equal")
    levels = [part * most for part in _LEVELS if part * most <= np.nanmax(found, initial=0.0)]
    if levels:
        rows, columns = found.shape
        left, right, bottom, top = cut.extent
        x = (np.arange(columns) + 0.5) / columns * (right - left) + left
        y = (np.arange(rows) + 0.5) / rows * (bottom - top) + top
        how = {"cmap": _DOSE_COLOURS, "vmin": 0, "vmax": most, "linewidths": 1.4}
        lines = ax.contour(x, y, np.nan_to_num(found), levels, **how)
        for text in ax.clabel(lines, fmt=lambda value: f"{value / most:.0%}", fontsize=8, colors="white"):
            text.set_path_effects([withStroke(linewidth=2, foreground="black")])
    return picture


def _most(dose: Volume) -> float:
    return float(np.nanmax(dose.array)) or 1.0


def _scale(dose: Volume | None, pictures: list[Any], places: Any) -> None:
    """One scale of the dose for all planes."""
    if dose is None:
        return
    figure = pictures[0].figure
    unit = _UNITS.get(dose.unit, visible(dose.unit, _WORD))
    most = f"{_most(dose):.3g}" + (f" {unit}" if unit == "Gy" else "")
    bar = figure.colorbar(pictures[0], ax=places, shrink=0.8, pad=0.02)
    bar.set_label(f"dose ({unit or 'unit unknown'}); lines: % of the highest, {most}", fontsize=8, parse_math=False)
    bar.ax.tick_params(labelsize=8)


def dose_on(volume: Volume, dose: Volume, plane: str, at: int) -> NDArray[np.float64]:
    """The dose at the voxels of one plane of a volume, between its own points by their distances.

    Parameters
    ----------
    volume, dose : Volume
        In one frame of reference, both on regular grids.
    plane : str
    at : int

    Returns
    -------
    array of float
        Of the plane's shape; NaN outside the dose grid.
    """
    axis = _PLANES.index(plane)
    sizes = [size for name, size in zip(volume.dims, volume.shape, strict=True) if name in _PLANES]
    grids = np.meshgrid(
        *(np.arange(size) if i != axis else np.array([at]) for i, size in enumerate(sizes)), indexing="ij"
    )
    z, y, x = (np.squeeze(grid, axis) for grid in grids)
    ones = np.ones_like(x)
    points = np.stack([x, y, z, ones], axis=-1).astype(np.float64)
    where = points @ (np.linalg.inv(dose.affine) @ volume.affine).T
    return _between(_steps(dose, 0).astype(np.float64), where[..., 2], where[..., 1], where[..., 0])


def _between(array: NDArray[np.float64], *at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values between the points of a grid, linear along each axis; NaN outside."""
    inside = np.ones(at[0].shape, bool)
    lower, share = [], []
    for places, size in zip(at, array.shape, strict=True):
        near = np.round(places, 6)
        inside &= (near >= 0) & (near <= size - 1)
        low = np.clip(np.floor(near), 0, max(size - 2, 0)).astype(int)
        lower.append(low)
        share.append(np.clip(near - low, 0, 1))
    found = np.zeros(at[0].shape)
    for corner in np.ndindex(2, 2, 2):
        weight = np.ones(at[0].shape)
        index = []
        for one, low, part, size in zip(corner, lower, share, array.shape, strict=True):
            weight = weight * (part if one else 1 - part)
            index.append(np.minimum(low + one, size - 1))
        found += weight * array[tuple(index)]
    return np.where(inside, found, np.nan)
