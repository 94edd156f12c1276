"""A volume as a viewer wants it: whole numbers of 16 bit, cut in three planes. Nothing is resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import UsageError

if TYPE_CHECKING:
    from dicomlab.media.volume import Volume

AXES = ("z", "y", "x")
_STEPS = 65_534
_NAMES = ("sagittal", "coronal", "axial")
"""Of the plane whose normal is the patient's x, y, z."""
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))
"""Where the patient's x, y, z grow to (LPS), and where they come from."""


@dataclass(frozen=True)
class Block:
    """The pixels of one volume.

    ``codes`` has the axes step, z, y, x (and 3 samples of colour behind); a value is ``code * slope + intercept``.
    """

    codes: NDArray[Any]
    slope: float
    intercept: float
    exact: bool
    """Whether codes are the stored values; else the rescaled ones, in 65,534 steps."""
    missing: int | None = None
    """The code of what was never there."""

    @property
    def colour(self) -> bool:
        """Whether it has samples of colour."""
        return self.codes.ndim == 5

    def plane(self, step: int, axis: str, index: int) -> NDArray[Any]:
        """Cut one plane: its rows and columns, contiguous."""
        at: list[Any] = [step, slice(None), slice(None), slice(None)]
        at[1 + AXES.index(axis)] = index
        return np.ascontiguousarray(self.codes[tuple(at)])

    def value(self, at: Sequence[int]) -> float | list[int]:
        """The value of one voxel, by step, z, y, x; of colour its samples."""
        code = self.codes[tuple(at)]
        return [int(one) for one in code] if self.colour else float(code) * self.slope + self.intercept

    def usual(self, step: int, index: int) -> tuple[float, float]:
        """A centre and a width in which that slice shows most of what is in it."""
        codes = self.codes[step, index].astype(np.float64)
        if self.missing is not None:
            codes = codes[codes != self.missing]
        if not codes.size:
            return 0.0, 1.0
        low, high = np.percentile(codes, (1, 99)) * self.slope + self.intercept
        return float(low + high) / 2, float(max(high - low, abs(self.slope), 1e-9))


def block_of(volume: Volume, progress: Any = False) -> Block:
    """Read the pixels of a volume.

    Raises
    ------
    UsageError, RemoteProtocolError, Interrupted, MissingExtra
        As for ``volume.to_numpy``.
    """
    colour = "sample" in volume.dims
    common = volume.rescale
    if common is not None or colour:
        try:
            codes = volume.to_numpy(None, progress=progress)
        except UsageError:  # gaps, or stored values of several types: both go as they are rescaled
            codes = None
        if codes is not None and (colour or (codes.dtype.kind in "iu" and codes.dtype.itemsize <= 2)):
            if colour and codes.dtype != np.uint8:
                codes = (codes >> (8 * codes.dtype.itemsize - 8)).astype(np.uint8)
            if codes.dtype == np.int8:
                codes = codes.astype(np.int16)
            slope, intercept = common or (1.0, 0.0)
            return Block(_four(codes, volume), slope, intercept, exact=True)
    return _coded(_four(volume.to_numpy("float32", progress=progress), volume))


def _four(array: NDArray[Any], volume: Volume) -> NDArray[Any]:
    """With an axis for the steps in front, where there is none."""
    return array if volume.dims[0] != "z" else array[None]


def _coded(values: NDArray[Any]) -> Block:
    known = np.isfinite(values)
    whole = bool(known.all())
    low = float(values.min(where=known, initial=np.inf)) if known.any() else 0.0
    high = float(values.max(where=known, initial=-np.inf)) if known.any() else 0.0
    step = (high - low) / _STEPS or 1.0
    codes = np.empty(values.shape, np.uint16)
    for at in np.ndindex(values.shape[:2]):  # slice by slice: no second volume of floats
        codes[at] = np.rint((np.where(known[at], values[at], low) - low) / step)
        codes[at][~known[at]] = 65_535
    return Block(codes, step, low, exact=False, missing=None if whole else 65_535)


@dataclass(frozen=True)
class View:
    """One of the planes in which a volume can be cut."""

    axis: str
    name: str
    count: int
    rows: int
    columns: int
    pixel_mm: tuple[float, float]
    """Between rows, between columns."""
    edges: tuple[str, str, str, str]
    """What of the patient lies left, right, above and below; empty where nobody knows."""
    flip: tuple[bool, bool]
    """Whether it is shown with its rows, its columns turned round, so that head and front come first."""


def views_of(volume: Volume) -> list[View]:
    """The planes in which a volume can be cut: the one it was acquired in first; the others where it has a geometry."""
    slices, rows, columns = volume.shape[volume.dims.index("z") : volume.dims.index("z") + 3]
    sizes = (slices, rows, columns)
    if not volume.regular or slices < 2:
        return [View("z", "slice", slices, rows, columns, _pixel_mm(volume), ("",) * 4, (False, False))]
    affine = volume.affine
    ways = [affine[:3, column] / np.linalg.norm(affine[:3, column]) for column in (2, 1, 0)]  # of z, y, x
    spacing = tuple(reversed(volume.spacing_mm))
    found = []
    for at, axis in enumerate(AXES):
        down, across = (one for one in range(3) if one != at)
        flip = (axis != "z" and _first(ways[down]), axis != "z" and _first(ways[across], across=True))
        y, x = ways[down] * (-1 if flip[0] else 1), ways[across] * (-1 if flip[1] else 1)
        edges = (_letters(-x), _letters(x), _letters(-y), _letters(y))
        normal = np.cross(ways[across], ways[down])
        name = _NAMES[int(np.argmax(np.abs(normal)))]
        found.append(
            View(axis, name, sizes[at], sizes[down], sizes[across], (spacing[down], spacing[across]), edges, flip)
        )
    return found


def _first(way: NDArray[Any], *, across: bool = False) -> bool:
    """Whether an axis of a cut runs the wrong way: head belongs above, front above or left, right to the left."""
    main = int(np.argmax(np.abs(way)))
    towards_low = way[main] < 0
    if main == 2:  # feet to head: head above
        return bool(not towards_low) if not across else False
    return bool(towards_low)


def _letters(way: NDArray[Any]) -> str:
    """The directions of the patient in which a way goes, the main one first.

    Source
    ------
    PS3.3 §C.7.6.1.1.1 (Patient Orientation).
    """
    order = np.argsort(-np.abs(way))
    return "".join(_LETTERS[one][0 if way[one] > 0 else 1] for one in order if abs(way[one]) > 0.2)


def _pixel_mm(volume: Volume) -> tuple[float, float]:
    try:
        x, y, _ = volume.spacing_mm
    except UsageError:
        labels = volume.coords
        y, x = (float(labels[name][1] - labels[name][0]) if len(labels[name]) > 1 else 1.0 for name in ("y", "x"))
    return y, x


def labels_on(overlay: Any, volume: Volume) -> NDArray[np.uint8]:
    """Check labels for a volume: 0 is nothing, 1 to 255 are segments.

    Raises
    ------
    UsageError
        Of another shape, or no whole numbers up to 255.
    """
    at = volume.dims.index("z")
    shape = volume.shape[at : at + 3]
    labels = np.asarray(overlay)
    if labels.shape != shape:
        raise UsageError(f"the overlay has the shape {labels.shape}, the volume {shape} (slices, rows, columns)")
    if labels.dtype.kind not in "biu" or (labels.size and (labels.min() < 0 or labels.max() > 255)):
        raise UsageError("an overlay has labels: whole numbers, 0 where there is nothing, up to 255")
    return labels.astype(np.uint8)
