"""Image planes in space: which of them make a volume, in which order, and what is wrong with it. No I/O.

Nothing is ever resampled or left out here: what does not fit a regular grid is said.

Source
------
PS3.3 §C.7.6.2 (Image Plane Module), §C.7.6.16.2 (functional groups), §C.8.8.3.2 (Grid Frame Offset Vector).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SAME_MM = 0.01
"""Two planes nearer than this lie in the same place."""
_OFF_GRID = 0.01
"""How far a plane may lie off the regular grid, as a part of the distance between planes."""
_TILT_DEGREES = 0.1
_COSINE_DIGITS, _SPACING_DIGITS = 3, 4
"""Decimals to which directions and spacings (mm) are the same."""
_MIDDLE = 0.1
"""How near to the middle between two of them a value is taken for either."""

SPLITTERS = (
    "ImageType", "StackID", "EchoTime", "DiffusionBValue", "DiffusionGradientOrientation", "TemporalPositionIndex",
    "CardiacCyclePosition", "TriggerTime", "AcquisitionNumber", "AcquisitionTime", "ContentTime",
)  # fmt: skip
"""What tells planes in the same place apart, in the order in which it is tried; the first is no dimension: images of
another type are another volume."""


@dataclass(frozen=True, slots=True)
class Plane:
    """One image plane: a single-frame image, or one frame of a multi-frame image."""

    source: int
    """Which file, by its number in the list that the caller keeps."""
    frame: int
    """Which frame of it, from 0."""
    size: tuple[int, int]
    """Rows, columns."""
    position_mm: tuple[float, ...] | None = None
    """Centre of the first pixel, in the patient's coordinates (LPS)."""
    orientation: tuple[float, ...] | None = None
    """Direction cosines of a row and of a column."""
    spacing_mm: tuple[float, ...] | None = None
    """Between rows, between columns."""
    thickness_mm: float | None = None
    frame_of_reference_uid: str = ""
    pixels: tuple[Any, ...] = ()
    """What must be the same for planes to share an array: samples, photometric interpretation."""
    slope: float = 1.0
    intercept: float = 0.0
    number: int = 0
    """Instance Number."""
    traits: Mapping[str, Any] = field(default_factory=dict)
    """Values of :data:`SPLITTERS`."""


@dataclass(frozen=True, slots=True)
class Stack:
    """Planes that make one array: ``planes[n]`` are those of its n-th step along the first axis.

    A 3-D volume has one step. A ``None`` among the planes is a gap: a place of the grid where no plane is.
    """

    planes: tuple[tuple[Plane | None, ...], ...]
    dimension: str = ""
    """What changes from step to step, a keyword; ``""`` for a 3-D volume."""
    values: tuple[Any, ...] = ()
    """Its value for each step."""
    affine: Floats | None = None
    """(column, row, slice, 1) to millimetres in LPS; None where no regular grid has these planes."""
    gaps: tuple[int, ...] = ()
    """Places of the grid where a plane is missing."""
    duplicates: int = 0
    """Planes that lie where another lies, and that nothing tells apart."""
    tilt_degrees: float = 0.0
    """Between the normal of the planes and the way from one to the next."""
    notes: tuple[str, ...] = ()

    @property
    def slices(self) -> int:
        """Places along the slice axis, gaps included."""
        return len(self.planes[0])

    def filled(self) -> Stack:
        """The same planes on the whole grid: where one is missing, there is None."""
        if not self.gaps:
            return self
        missing = set(self.gaps)
        steps = []
        for step in self.planes:
            given = iter(step)
            steps.append(tuple(None if at in missing else next(given) for at in range(len(step) + len(missing))))
        return replace(self, planes=tuple(steps), gaps=())

    def without_duplicates(self) -> Stack:
        """Of planes in the same place, the first only."""
        if not self.duplicates:
            return self
        steps = [[plane for plane in step if plane is not None] for step in self.planes]
        sizes = [len(place) for place in _places(steps[0])]
        firsts = [sum(sizes[:at]) for at in range(len(sizes))]
        found = _on_a_grid([[step[at] for at in firsts] for step in steps], self.dimension, self.values, self.notes)
        return replace(found, notes=tuple(dict.fromkeys(found.notes)))


def stacks(planes: Iterable[Plane]) -> list[Stack]:
    """Sort planes into volumes.

    Planes belong together when they have the same frame of reference, orientation, size and spacing. Several in the
    same place are told apart by what changes between them (echo, b-value, time, ...): if the same places come with
    each value, that is a fourth dimension; else each is a volume of its own.

    Parameters
    ----------
    planes : iterable of Plane
        Of one series, in any order.

    Returns
    -------
    list of Stack
        The largest first. Every plane is in exactly one.

    Source
    ------
    PS3.3 §C.7.6.2.1.1 (position and orientation).
    """
    groups: dict[Any, list[Plane]] = {}
    for plane in planes:
        keys = _geometries(plane)
        first = next(keys)
        key = first if first in groups else next((one for one in keys if one in groups), first)
        groups.setdefault(key, []).append(plane)
    found: list[Stack] = []
    for group in groups.values():
        group.sort(key=lambda plane: (plane.number, plane.source, plane.frame))
        found += _stacks_of(group)
    return sorted(found, key=lambda stack: -sum(map(len, stack.planes)))


def _geometries(plane: Plane) -> Iterator[Any]:
    """What planes of one volume have in common, rounded; then the same as it would be, had it been a trifle otherwise.

    Scanners write the same direction with other last digits from slice to slice, also on both sides of where it is
    rounded up or down.
    """
    orientation = [_roundings(one, _COSINE_DIGITS) for one in plane.orientation or ()]
    spacing = [_roundings(one, _SPACING_DIGITS) for one in plane.spacing_mm or ()]
    same = (plane.frame_of_reference_uid, plane.size, plane.position_mm is None, plane.pixels)
    for rounded in product(*orientation, *spacing):
        yield (*same, len(orientation), rounded)


def _roundings(value: float, digits: int) -> tuple[float, ...]:
    """The whole number that is nearest, and the other one where the value lies about in the middle."""
    scaled = value * 10.0**digits
    nearest = round(scaled, 0) + 0.0
    away = scaled - nearest
    if abs(away) < 0.5 - _MIDDLE:
        return (nearest,)
    return (nearest, nearest + (1 if away > 0 else -1))


def _stacks_of(group: list[Plane]) -> list[Stack]:
    """Volumes of planes with the same geometry."""
    if _normal(group[0]) is None:
        notes = ("no position and orientation in space: in the order of their numbers",)
        return [Stack((tuple(group),), notes=notes)]
    parts = _told_apart(group, SPLITTERS, ())
    by_type: dict[Any, list[tuple[tuple[tuple[str, Any], ...], list[Plane]]]] = defaultdict(list)
    for labels, part in parts:
        by_type[dict(labels).get("ImageType")].append((labels, part))
    found = []
    for alike in by_type.values():
        found += _joined(alike)
    return found


def _told_apart(
    group: list[Plane], splitters: Sequence[str], labels: tuple[tuple[str, Any], ...]
) -> list[tuple[tuple[tuple[str, Any], ...], list[Plane]]]:
    """Split planes until no two lie in the same place, as far as something tells them apart."""
    crowd = max(map(len, _places(group)))
    if crowd == 1:
        return [(labels, group)]
    for number, name in enumerate(splitters):
        parts: dict[Any, list[Plane]] = defaultdict(list)
        for plane in group:
            parts[plane.traits.get(name)].append(plane)
        if len(parts) > 1 and max(max(map(len, _places(part))) for part in parts.values()) < crowd:
            found = []
            for value, part in sorted(parts.items(), key=lambda item: _sortable(item[0])):
                found += _told_apart(part, splitters[number + 1 :], (*labels, (name, value)))
            return found
    return [(labels, group)]


def _sortable(value: Any) -> tuple[int, float, str]:
    if value is None:
        return (0, 0.0, "")
    return (1, float(value), "") if isinstance(value, int | float) else (2, 0.0, str(value))


def _joined(parts: list[tuple[tuple[tuple[str, Any], ...], list[Plane]]]) -> list[Stack]:
    """One 4-D volume where all parts have the same places, else each for itself."""
    ordered = [[plane for place in _places(part) for plane in place] for _, part in parts]
    same = len(parts) > 1 and len({len(part) for part in ordered}) == 1
    if same:
        first = np.array([plane.position_mm for plane in ordered[0]])
        same = all(
            bool(np.abs(np.array([plane.position_mm for plane in part]) - first).max() < SAME_MM)
            for part in ordered[1:]
        )
    varying = [name for name, _ in parts[0][0] if name != "ImageType"]
    if not same or not varying:
        return [
            _on_a_grid([part], "", (), tuple(f"{name} {value}" for name, value in labels))
            for part, (labels, _) in zip(ordered, parts, strict=True)
        ]
    values = [tuple(value for name, value in labels if name != "ImageType") for labels, _ in parts]
    if len(varying) == 1:
        return [_on_a_grid(ordered, varying[0], tuple(value[0] for value in values), ())]
    return [_on_a_grid(ordered, " ".join(varying), tuple(values), ())]


def _normal(plane: Plane) -> Floats | None:
    if plane.position_mm is None or plane.orientation is None:
        return None
    normal = np.cross(plane.orientation[:3], plane.orientation[3:])
    length = float(np.linalg.norm(normal))
    return normal / length if length > 0.1 else None


def _places(group: list[Plane]) -> list[list[Plane]]:
    """The planes by where they lie, along their normal."""
    normal = _normal(group[0])
    if normal is None:
        return [[plane] for plane in group]
    positions = np.array([plane.position_mm for plane in group])
    order = np.argsort(positions @ normal, kind="stable")
    apart = np.abs(np.diff(positions[order], axis=0)).max(axis=1, initial=0.0) >= SAME_MM
    ordered = [group[at] for at in order.tolist()]
    bounds = [0, *(np.flatnonzero(apart) + 1).tolist(), len(group)]
    return [ordered[start:end] for start, end in pairwise(bounds)]


def _on_a_grid(steps: list[list[Plane]], dimension: str, values: tuple[Any, ...], notes: tuple[str, ...]) -> Stack:
    """Find the grid that the planes of a step lie on, if they lie on one."""
    planes = steps[0]
    first = planes[0]
    said = list(notes)
    whole = tuple(map(tuple, steps))
    normal = _normal(first)
    assert normal is not None
    assert first.orientation is not None
    if any("MOSAIC" in (plane.traits.get("ImageType") or ()) for plane in planes):
        said.append("a mosaic: each image shows many slices side by side, and its position is of none of them")
        return Stack(whole, dimension, values, notes=tuple(said))
    if first.spacing_mm is None:
        said.append("no Pixel Spacing: no affine")
        return Stack(whole, dimension, values, notes=tuple(said))
    corner = np.array(first.position_mm)
    gaps: tuple[int, ...] = ()
    places = _places(planes)
    duplicates = len(steps) * (len(planes) - len(places))
    affine: Floats | None
    if len(places) == 1:
        thickness = first.thickness_mm or 1.0
        if not first.thickness_mm:
            said.append("one slice of unknown thickness: 1 mm stands in the affine")
        step = normal * thickness
    else:
        positions = np.array([place[0].position_mm for place in places])
        step, gaps, even = _step(positions, normal)
        if not even:
            distances = np.diff(positions @ normal)
            said.append(f"uneven: from {distances.min():.4g} to {distances.max():.4g} mm between slices; no affine")
            return Stack(whole, dimension, values, None, (), duplicates, 0.0, tuple(said))
    if duplicates:
        said.append(f"{duplicates} planes lie where others lie, and nothing tells them apart")
    if gaps:
        said.append(f"{len(gaps)} slices are missing, at {_listed(gaps)}")
    tilt = float(np.degrees(np.arccos(min(1.0, float(step @ normal) / float(np.linalg.norm(step))))))
    if tilt > _TILT_DEGREES:
        said.append(f"tilted by {tilt:.1f} degrees (gantry tilt): the affine shears, nothing is resampled")
    affine = np.eye(4)
    affine[:3, 0] = np.array(first.orientation[:3]) * first.spacing_mm[1]
    affine[:3, 1] = np.array(first.orientation[3:]) * first.spacing_mm[0]
    affine[:3, 2] = step
    affine[:3, 3] = corner
    return Stack(whole, dimension, values, affine, gaps, duplicates, tilt if tilt > _TILT_DEGREES else 0.0, tuple(said))


def _step(positions: Floats, normal: Floats) -> tuple[Floats, tuple[int, ...], bool]:
    """The way from slice to slice, the places left out, and whether all planes lie on that grid."""
    along = positions @ normal
    distances = np.diff(along)
    nearest = float(np.median(distances))
    if distances.min() < 0.75 * nearest:
        nearest = float(distances.min())
    if nearest < SAME_MM or float(along[-1] - along[0]) / nearest > 50 * len(positions):
        return normal, (), False  # side by side, or a handful of planes far apart: no grid with holes
    counts = np.rint(distances / nearest).astype(np.int64)
    index = np.concatenate(([0], np.cumsum(np.maximum(counts, 1))))
    step: Floats = (positions[-1] - positions[0]) / index[-1]
    off = np.linalg.norm(positions - (positions[0] + index[:, None] * step), axis=1).max()
    even = bool(off <= max(SAME_MM, _OFF_GRID * nearest))
    gaps = tuple(np.setdiff1d(np.arange(index[-1] + 1), index).tolist())
    return step, gaps, even


def _listed(numbers: Sequence[int]) -> str:
    shown = ", ".join(map(str, numbers[:8]))
    return f"{shown}, ..." if len(numbers) > 8 else shown
