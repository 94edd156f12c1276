"""From the instances of a MediaSet to its volumes, and to what refers to them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Literal

from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError
from dicomlab.media.files import parcel_of
from dicomlab.media.found import Found, Scan
from dicomlab.media.geometry import stacks
from dicomlab.media.header import read_dataset_row
from dicomlab.media.planes import read_image, slices, walk_header
from dicomlab.media.volume import Source, Volume
from dicomlab.media.walker import HEAD_OCTETS, Walked
from dicomlab.model.columns import Column, columns
from dicomlab.model.matching import first, order
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.part10.files import Parcel, Unfit
from dicomlab.part10.meta import DEFLATED_LE

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from pandas import DataFrame

Choice = Literal["raise", "nan", "keep"]

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_REFERRING: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_SEGMENTATIONS, ("ReferencedSeriesSequence.SeriesInstanceUID",)),
    "1.2.840.10008.5.1.4.1.1.66.5": ("ReferencedSeriesSequence.SeriesInstanceUID",),
    "1.2.840.10008.5.1.4.1.1.30": ("ReferencedSeriesSequence.SeriesInstanceUID",),
    "1.2.840.10008.5.1.4.1.1.67": ("ReferencedSeriesSequence.SeriesInstanceUID",),
    "1.2.840.10008.5.1.4.1.1.481.3": (
        "ReferencedFrameOfReferenceSequence.RTReferencedStudySequence.RTReferencedSeriesSequence.SeriesInstanceUID",
    ),
    **{
        f"1.2.840.10008.5.1.4.1.1.11.{number}": ("ReferencedSeriesSequence.SeriesInstanceUID",)
        for number in range(1, 13)
    },
}
"""SOP Classes whose instances belong to images of another series, and where they say so."""
_FRAMES_OF_REFERENCE = ("FrameOfReferenceUID", "ReferencedFrameOfReferenceSequence.FrameOfReferenceUID")
_KEYS: tuple[Column, ...] = columns(
    """PatientID StudyInstanceUID SeriesInstanceUID InstanceNumber SOPInstanceUID SOPClassUID Modality
    FrameOfReferenceUID""".split()
)
REFERENCE_COLUMNS: tuple[Column, ...] = columns(
    dict.fromkeys([*(path for paths in _REFERRING.values() for path in paths), *_FRAMES_OF_REFERENCE])
)


class Volumes:
    """What a MediaSet offers beside its tables: arrays, and what refers to them."""

    def _scanned(self, control: Control | None = None) -> Scan:
        raise NotImplementedError

    def volumes(self, what: Any = None, *, progress: bool | OnProgress = True) -> list[Volume]:
        """The volumes of one series, of several, or of all; no pixel is read yet.

        Parameters
        ----------
        what : str, list of str, Cohort or None
            Series Instance UIDs, or a cohort of series or instances; None for every series here.
        progress : bool or callable, optional

        Returns
        -------
        list of Volume
            The series in the shared order, in each the largest volume first. Segmentations are none: they stand in
            ``references``. Images that can't be read are named in the notes of the first volume of their series.

        Raises
        ------
        UsageError
            No image of such a series here.
        """

        def run(control: Control) -> list[Volume]:
            held = self._scanned(control)
            wanted = _series_of(what)
            groups: dict[tuple[str, str], list[Found]] = defaultdict(list)
            rows = held.instances.rows(_KEYS)
            if wanted is not None:
                rows = [row for row in rows if first(row, "SeriesInstanceUID") in wanted]
            rows.sort(key=order)
            for row, found in zip(
                rows, held.instances.some([first(row, "SOPInstanceUID") for row in rows]), strict=True
            ):
                groups[first(row, "StudyInstanceUID"), first(row, "SeriesInstanceUID")].append(found)
            control.total = sum(map(len, groups.values()))
            referring = cache(partial(_references, held))
            unreadable: list[str] = []
            made = [
                volume for group in groups.values() for volume in _volumes_of(group, control, referring, unreadable)
            ]
            if not made:
                raise UsageError(_nothing(wanted, groups, unreadable))
            for volume in made:
                volume.fictional = bool(getattr(self, "fictional", False))
            return made

        result: Any = Work("volumes", "images", run, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]

    def volume(
        self,
        what: Any = None,
        *,
        gaps: Choice = "raise",
        duplicates: Literal["raise", "first"] = "raise",
        executor: Executor | None = None,
        progress: bool | OnProgress = True,
    ) -> Volume:
        """The one volume of a series, its pixels read: ``report.media.volume().array``.

        Parameters
        ----------
        what : str, Cohort or None
            As for :meth:`volumes`; None where there is one series.
        gaps : ``"raise"``, ``"nan"`` or ``"keep"``
            What to do about missing slices: refuse, put NaN in their place, or give the planes as they are, without
            affine.
        duplicates : ``"raise"`` or ``"first"``
            What to do about planes in the same place that nothing tells apart: refuse, or take the first of them.
        executor : concurrent.futures.Executor, optional
            Decodes compressed pixels: see :meth:`Volume.to_numpy`.
        progress : bool or callable, optional

        Raises
        ------
        UsageError
            No volume, or several: the message names them; gaps or duplicates, and no choice made.
        RemoteProtocolError, Interrupted, MissingExtra
            As for :meth:`Volume.to_numpy`.
        """
        if gaps not in ("raise", "nan", "keep") or duplicates not in ("raise", "first"):
            raise UsageError('gaps is "raise", "nan" or "keep", and duplicates is "raise" or "first"')
        found = self.volumes(what, progress=progress)
        if len(found) > 1:
            listed = "; ".join(f"{one.modality} {' x '.join(map(str, one.shape))}" for one in found[:5])
            raise UsageError(
                f"there are {len(found)} volumes here ({listed}{', ...' if len(found) > 5 else ''}): name a series, or"
                " choose one of .volumes(...)"
            )
        one = found[0]
        if one._stack.duplicates and duplicates == "raise":
            raise UsageError(f"{one._stack.duplicates} of its planes lie where others lie, and nothing tells them"
                             ' apart: duplicates="first" takes the first of each')  # fmt: skip
        one = one.without_duplicates()
        if one._stack.gaps and gaps == "raise":
            raise UsageError(f"{len(one._stack.gaps)} slices are missing: gaps=\"nan\" puts NaN in their place,"
                             ' gaps="keep" gives the planes as they are')  # fmt: skip
        if gaps == "nan":
            one = one.with_gaps_filled()
        one.array = one.to_numpy(None if "sample" in one.dims else "float32", executor=executor, progress=progress)
        return one

    @property
    def references(self) -> DataFrame:
        """Segmentations, RT structure sets, presentation states and the like, and the series that they belong to.

        One row for each instance and series that it refers to: its own UIDs and modality,
        ``ReferencedSeriesInstanceUID``, ``by`` (``"series"``, or ``"frame of reference"`` where it names no series but
        has one in common) and ``present`` (whether that series is here).
        """
        return _references(self._scanned())


def _series_of(what: Any) -> set[str] | None:
    if what is None:
        return None
    if isinstance(what, str):
        return {what}
    if hasattr(what, "to_dataframe"):
        if "SeriesInstanceUID" not in what.columns:
            what = what.series()
        return set(what["SeriesInstanceUID"].dropna())
    if isinstance(what, Iterable):
        return set(map(str, what))
    raise UsageError(f"a series is named by its UID, or a Cohort of series, not by a {type(what).__name__}")


def _nothing(wanted: set[str] | None, groups: Any, unreadable: Sequence[str]) -> str:
    if wanted is not None and not groups:
        return "no such series here: a series is named by its Series Instance UID (see .series)"
    if unreadable:
        return f"none of {len(unreadable)} images here can be read; the first is {unreadable[0]}"
    return "there are no images here to make a volume of"


def _volumes_of(
    group: Sequence[Found], control: Control, referring: Callable[[], DataFrame], all_unreadable: list[str]
) -> Iterator[Volume]:
    parcels: list[Parcel] = []
    unreadable: list[str] = []
    for found in group:
        if first(found.row, "SOPClassUID") in _SEGMENTATIONS:
            continue
        parcel = parcel_of(found)
        if isinstance(parcel, Unfit):
            unreadable.append(f"{found.name}: {parcel.reason}")
        else:
            parcels.append(parcel)
    sources = dict(_images(parcels, control, unreadable))
    notes: tuple[str, ...] = ()
    all_unreadable += unreadable
    if unreadable:
        notes = (f"{len(unreadable)} images of the series can't be read, the first is {unreadable[0]}",)
    for stack in stacks(plane for source in sources.values() for plane in source.image.planes):
        yield Volume(sources, stack, notes, referring)
        notes = ()


def _images(parcels: Sequence[Parcel], control: Control, unreadable: list[str]) -> Iterator[tuple[int, Source]]:
    """The images among these files, by number; plain slices by a lean walk over all headers, the rest one by one."""
    walked: list[Walked] = []
    lean: list[int] = []
    for number, parcel in enumerate(parcels):
        if control.cancelled:
            return
        control.advance()
        if parcel.path is not None and parcel.meta.transfer_syntax_uid != DEFLATED_LE:
            # the careful reader says what is wrong with it
            with suppress(RemoteProtocolError, ServiceError, OSError, ValueError):
                walked.append(_walked(parcel))
                lean.append(number)
    images = dict(zip(lean, slices(walked, [parcels[number].meta for number in lean], lean), strict=True))
    for number, parcel in enumerate(parcels):
        image = images.get(number)
        if image is None:
            try:
                with parcel.dataset() as octets:
                    image = read_image(octets, parcel.meta, number)
            except (RemoteProtocolError, ServiceError, OSError, ValueError) as error:
                unreadable.append(f"{parcel.name}: {error}")
        if image is not None:
            yield number, Source(parcel, image)


def _walked(parcel: Parcel) -> Walked:
    assert parcel.path is not None
    descriptor = os.open(parcel.path, os.O_RDONLY)
    try:
        head = os.pread(descriptor, HEAD_OCTETS, 0)
        status = os.fstat(descriptor)
        parcel.require_unchanged(status)
        read = lambda offset, octets: os.pread(descriptor, octets, offset)  # noqa: E731
        return walk_header(read, status.st_size, head, parcel.meta)
    finally:
        os.close(descriptor)


def _references(held: Scan) -> DataFrame:
    import pandas as pd

    every = held.instances.rows(_KEYS)
    referring = [row for row in every if first(row, "SOPClassUID") in _REFERRING]
    rows: list[tuple[Any, ...]] = []
    if referring:
        present = {first(row, "SeriesInstanceUID") for row in every}
        by_frame: dict[str, set[str]] = defaultdict(set)
        for row in every:
            if first(row, "SOPClassUID") not in _REFERRING and (uid := first(row, "FrameOfReferenceUID")):
                by_frame[uid].add(first(row, "SeriesInstanceUID"))
        for row, found in zip(
            referring, held.instances.some([first(r, "SOPInstanceUID") for r in referring]), strict=True
        ):
            said = _referred(found)
            named = _distinct(said, _REFERRING[first(row, "SOPClassUID")])
            frames = _distinct(said, _FRAMES_OF_REFERENCE)
            common = sorted({series for frame in frames for series in by_frame.get(frame, ())})
            own = tuple(first(row, name) for name in ("SOPInstanceUID", "SeriesInstanceUID", "Modality"))
            rows += [(*own, series, "series", series in present) for series in named]
            if not named:
                rows += [(*own, series, "frame of reference", True) for series in common]
    names = ["SOPInstanceUID", "SeriesInstanceUID", "Modality", "ReferencedSeriesInstanceUID", "by", "present"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype({**dict.fromkeys(names[:-1], "str"), "present": "bool"})


def _referred(found: Found) -> Mapping[str, Sequence[object]]:
    """What an instance refers to; nothing where it can't be read (any more)."""
    try:
        with found.opened() as octets:
            return read_dataset_row(octets[found.meta.length :], found.meta, REFERENCE_COLUMNS)
    except (RemoteProtocolError, ServiceError, OSError, ValueError):
        return {}


def _distinct(row: Mapping[str, Sequence[object]], names: Iterable[str]) -> list[str]:
    values = (str(value) for name in names for value in row.get(name, ()) if value)
    return list(dict.fromkeys(value for text in values for value in text.split("\\") if value))
