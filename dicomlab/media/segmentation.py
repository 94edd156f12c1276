"""A segmentation as labels in the places of a volume's voxels. Nothing is resampled: what does not meet is refused."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.media.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
MAX_SEGMENTS = 255
_SAME_MM = 0.1
_SAME_COSINE = 1e-4


def labels_of(segmentation: Dataset, volume: Volume) -> tuple[NDArray[np.uint8], list[str]]:
    """Lay a segmentation over a volume: 0 where there is nothing, else the Segment Number.

    Where segments overlap, the one of the later frame is seen. Of a fractional one, what is at least half there.

    Parameters
    ----------
    segmentation : Dataset
        A Segmentation instance on the planes of the volume.
    volume : Volume
        Without a dimension before its slices.

    Returns
    -------
    labels : array of uint8, (slices, rows, columns)
    names : list of str
        The Segment Label of 1, 2, 3, ...; ``""`` where there is no such segment.

    Raises
    ------
    UsageError
        No Segmentation; planes of another size or orientation, or in other places.
    RemoteProtocolError
        It is broken.

    Source
    ------
    PS3.3 §A.51 (Segmentation IOD), §C.8.20.2 (Segmentation Image Module).
    """
    if str(segmentation.get("SOPClassUID", "")) != SEGMENTATION:
        raise UsageError("an overlay is an array of labels, or a Segmentation: this data set is another")
    at = volume.dims.index("z")
    shape = volume.shape[at : at + 3]
    if (segmentation.get("Rows"), segmentation.get("Columns")) != shape[1:]:
        raise UsageError(
            f"the segmentation has {segmentation.get('Rows')} x {segmentation.get('Columns')} pixels, the volume"
            f" {shape[1]} x {shape[2]}; nothing is resampled here"
        )
    places = volume.frames[["x_mm", "y_mm", "z_mm"]].to_numpy(np.float64)[: shape[0]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values that are not quite as they should be
            frames = np.asarray(segmentation.pixel_array).reshape(-1, *shape[1:])
            found = [_frame(segmentation, number) for number in range(len(frames))]
            names = {int(one.SegmentNumber): str(one.get("SegmentLabel", "")) for one in segmentation.SegmentSequence}
            way = [float(one) for one in volume.header(*(0,) * (at + 1)).ImageOrientationPatient]
    except (AttributeError, KeyError, IndexError, TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RemoteProtocolError(f"the segmentation can't be read: {error}", section="PS3.3 §C.8.20") from error
    most = int(segmentation.get("MaximumFractionalValue") or 1)
    labels = np.zeros(shape, np.uint8)
    for pixels, (number, position, orientation) in zip(frames, found, strict=True):
        if np.abs(np.subtract(orientation, way)).max() > _SAME_COSINE:
            raise UsageError("the segmentation lies in planes of another orientation; nothing is resampled here")
        away = np.abs(places - position).max(axis=1)
        if not 0 < number <= MAX_SEGMENTS:
            raise UsageError(f"segment {number}: an overlay shows the numbers 1 to {MAX_SEGMENTS}")
        if not away.min(initial=np.inf) <= _SAME_MM:
            where = ", ".join(f"{one:g}" for one in position)
            raise UsageError(f"a frame of the segmentation lies at ({where}) mm, where the volume has no plane")
        labels[int(away.argmin())][2 * pixels.astype(np.int64) >= most] = number
    last = max((number for number, *_ in found), default=0)
    return labels, [names.get(number, "") for number in range(1, last + 1)]


def _frame(segmentation: Dataset, number: int) -> tuple[int, list[float], list[float]]:
    """Segment Number, position and orientation of a frame: its own, or what all share."""
    own = segmentation.PerFrameFunctionalGroupsSequence[number]
    shared = segmentation.SharedFunctionalGroupsSequence[0]

    def item(name: str) -> Any:
        return (own.get(name) or shared[name].value)[0]

    return (
        int(item("SegmentIdentificationSequence").ReferencedSegmentNumber),
        [float(one) for one in item("PlanePositionSequence").ImagePositionPatient],
        [float(one) for one in item("PlaneOrientationSequence").ImageOrientationPatient],
    )
