"""``Volume``: images of one series as one array, with where each voxel lies in the patient."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dicomlab.errors import Interrupted, MissingExtra, RemoteProtocolError, UsageError
from dicomlab.media.geometry import Plane, Stack
from dicomlab.media.pixels import Coded, NativeReader, check_length, coded, decode, is_plain, readable, stored_type
from dicomlab.media.planes import Image
from dicomlab.model.links import above
from dicomlab.model.progress import Control, OnProgress, Work
from dicomlab.model.summary import Summarised, Summary
from dicomlab.part10.files import Parcel
from dicomlab.part10.meta import DEFLATED_LE
from dicomlab.part10.walk import inflated

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

_THREADS = min(4, os.cpu_count() or 1)
_WORTH_THREADS = 32 << 20
"""Octets of pixels from which several threads read faster than one."""
_PALETTE = "PALETTE COLOR: each value is the number of a colour in a palette, and measures nothing"
_AHEAD = 8
"""Files that are handed to an executor before the first comes back, for each of its workers or so."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file of a volume."""

    parcel: Parcel
    image: Image


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one frame goes."""

    at: tuple[int, ...]
    plane: Plane


class Volume(Summarised):
    """Images of one series as one array; ``media.volume()`` gives the one, ``media.volumes()`` those that there are.

    Indices are ``array[slice, row, column]``, with a dimension more in front where planes come several times (echoes,
    b-values, time: see :attr:`dims`) and one behind for colour. Pixels are read when :attr:`array` is first asked for.
    Nothing is resampled, ever: what lies on no regular grid has no :attr:`affine`, and :attr:`notes` say why.

    Attributes
    ----------
    series_uid : str
        Series Instance UID.
    frame_of_reference_uid : str
        Whose millimetres those of :attr:`affine` are (PS3.3 §C.7.4.1); empty where none is said.
    modality : str
    shape : tuple of int
        (slices, rows, columns), with a dimension before it and the samples behind where there are several.
    dims : tuple of str
        The names of these axes: ``("z", "y", "x")``, ``("EchoTime", "z", "y", "x")``.
    notes : tuple of str
        Everything that somebody who computes with it should know: gaps, tilt, duplicates, missing geometry.

    Source
    ------
    PS3.3 §C.7.6.2 (Image Plane), §C.7.6.16 (functional groups), §C.11.1 (Modality LUT).
    """

    def __init__(
        self, sources: Mapping[int, Source], stack: Stack, notes: Sequence[str], references: Callable[[], DataFrame]
    ) -> None:
        self._sources = sources
        self._stack = stack
        self._references = references
        image = self._image
        self.fictional = False
        self.series_uid: str = image.value("SeriesInstanceUID", "")
        self.frame_of_reference_uid = self._first.frame_of_reference_uid
        self.modality: str = image.value("Modality", "")
        self.description: str = image.value("SeriesDescription", "")
        self.notes = (*stack.notes, *notes, *([_PALETTE] if self._palette else []))
        samples = image.value("SamplesPerPixel", 1)
        steps = (len(stack.planes),) if stack.dimension else ()
        rows_columns = self._first.size
        self.shape: tuple[int, ...] = (*steps, stack.slices, *rows_columns, *((samples,) if samples > 1 else ()))
        named = (stack.dimension.replace(" ", "_"),) if stack.dimension else ()
        self.dims: tuple[str, ...] = (*named, "z", "y", "x", *(("sample",) if samples > 1 else ()))

    @property
    def _first(self) -> Plane:
        return next(plane for plane in self._stack.planes[0] if plane is not None)

    @property
    def _image(self) -> Image:
        return self._sources[self._first.source].image

    # --- geometry --------------------------------------------------------------------------------------------------

    @property
    def regular(self) -> bool:
        """Whether the planes lie on a regular grid without holes, so that :attr:`affine` is exact."""
        return self._stack.affine is not None and not self._stack.gaps and not self._stack.duplicates

    @property
    def affine(self) -> NDArray[np.float64]:
        """(column, row, slice, 1) to millimetres in LPS, the patient's coordinates; a gantry tilt shears.

        Raises
        ------
        UsageError
            The planes lie on no regular grid; the message says why. :attr:`frames` has the position of each.
        """
        if self._stack.affine is None or not self.regular:
            raise UsageError(f"this volume has no affine: {'; '.join(self.notes) or 'not regular'}. Positions of its"
                             " planes are in .frames; nothing is resampled here")  # fmt: skip
        return self._stack.affine.copy()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between columns, rows and slices; along the edges of the grid, sheared or not.

        Raises
        ------
        UsageError
            No regular grid: see :attr:`affine`.
        """
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0).tolist()
        return x, y, z

    @property
    def tilt_degrees(self) -> float:
        """Between the normal of the slices and the way from one to the next."""
        return self._stack.tilt_degrees

    @property
    def frames(self) -> DataFrame:
        """One row for each plane of :attr:`array`, in its order: file, instance, frame and position."""
        import pandas as pd

        rows = []
        for place in self._places():
            source = self._sources[place.plane.source]
            position = place.plane.position_mm or (float("nan"),) * 3
            uid = source.image.value("SOPInstanceUID", "")
            rows.append((*place.at, source.parcel.name, uid, place.plane.frame, *position))
        names = [name for name in self.dims if name not in ("y", "x", "sample")]
        frame = pd.DataFrame(rows, columns=[*names, "path", "SOPInstanceUID", "frame", "x_mm", "y_mm", "z_mm"])
        return frame.astype({"path": "str", "SOPInstanceUID": "str"})

    @property
    def coords(self) -> dict[str, Any]:
        """Labels of the axes for xarray: ``xarray.DataArray(v.array, v.coords, v.dims)``.

        ``x`` and ``y`` count millimetres from the first pixel along its row and its column, ``z`` millimetres along
        the normal of the planes from the first of them; without geometry they count pixels and planes.
        """
        rows, columns = self._first.size
        down, right = self._first.spacing_mm or (1.0, 1.0)
        labels: dict[str, Any] = {"y": np.arange(rows) * down, "x": np.arange(columns) * right, "z": self._depths()}
        if self._stack.dimension:
            values = self._stack.values
            plain = all(isinstance(value, int | float | str) for value in values)
            labels[self.dims[0]] = np.array(values) if plain else np.arange(len(values))
        return labels

    def _depths(self) -> NDArray[np.float64]:
        affine, planes = self._stack.affine, self._stack.planes[0]
        first = self._first
        if first.position_mm is None or first.orientation is None:
            return np.arange(len(planes), dtype=np.float64)
        normal = np.cross(first.orientation[:3], first.orientation[3:])
        if affine is not None and any(plane is None for plane in planes):
            return np.arange(len(planes), dtype=np.float64) * float(affine[:3, 2] @ normal)
        positions = np.array([plane.position_mm for plane in planes if plane is not None])
        depths: NDArray[np.float64] = (positions - positions[0]) @ normal
        return depths

    @property
    def references(self) -> DataFrame:
        """Segmentations, RT structure sets and the like that refer to this volume: see ``MediaSet.references``."""
        every = self._references()
        return every[every["ReferencedSeriesInstanceUID"] == self.series_uid].reset_index(drop=True)

    def header(self, *at: int) -> Dataset:
        """Read the header of the file in which a plane lies, by its place in :attr:`array`; without pixels.

        Raises
        ------
        UsageError
            There is no such plane.
        Interrupted
            The file is gone or broken.
        """
        from pydicom import dcmread

        place = next((one for one in self._places() if one.at == at), None)
        if place is None:
            raise UsageError(f"no plane at {at} of {self.shape[:-2]}")
        source = self._sources[place.plane.source]
        with readable(source.parcel.name), source.parcel.open() as octets:
            return dcmread(BytesIO(octets[: source.parcel.meta.length + source.image.offset]), stop_before_pixels=True)

    # --- pixels ----------------------------------------------------------------------------------------------------

    @property
    def rescale(self) -> tuple[float, float] | None:
        """Slope and intercept from stored values to :attr:`array`; None where planes differ or have a table."""
        found = {(place.plane.slope, place.plane.intercept) for place in self._places()}
        tables = any(self._sources[place.plane.source].image.lut for place in self._places())
        return found.pop() if len(found) == 1 and not tables else None

    @property
    def _palette(self) -> bool:
        return bool(self._image.value("PhotometricInterpretation") == "PALETTE COLOR")

    @property
    def inverted(self) -> bool:
        """Whether the lowest value is white (MONOCHROME1)."""
        return bool(self._image.value("PhotometricInterpretation") == "MONOCHROME1")

    @cached_property
    def array(self) -> NDArray[Any]:
        """The rescaled values (Hounsfield units, dose, ...: see :attr:`unit`) as float32; colour as RGB."""
        return self.to_numpy(None if "sample" in self.dims else "float32")

    @property
    def unit(self) -> str:
        """What the values are: ``HU``, ``BQML``, ``GY``; ``""`` where the images don't say."""
        image = self._image
        for name in ("RescaleType", "ModalityLUTSequence.ModalityLUTType", "Units", "DoseUnits"):
            if value := image.value(name):
                return str(value[0] if isinstance(value, tuple) else value)
        return "HU" if self.modality == "CT" and self._first.intercept else ""

    def to_numpy(
        self,
        dtype: DTypeLike | None = "float32",
        *,
        executor: Executor | None = None,
        progress: bool | OnProgress = True,
    ) -> NDArray[Any]:
        """Read the pixels into a new array.

        Parameters
        ----------
        dtype : dtype or None
            A floating type gets the values of the modality (stored value times slope plus intercept, or by its Modality
            LUT, each plane by its own); None the stored values, in their own type. Colour is RGB.
        executor : concurrent.futures.Executor, optional
            Decodes compressed pixels: a ``ProcessPoolExecutor``, or ``Client.get_executor()`` of dask. Decoders hold
            Python's lock, so threads don't help.
        progress : bool or callable, optional

        Returns
        -------
        array, of :attr:`shape`
            Gaps are NaN.

        Raises
        ------
        UsageError
            An integer type, or more memory than this machine has; gaps, and no floating type to say so.
        RemoteProtocolError, Interrupted
            Pixels that are not what the header says; a file that is gone.
        MissingExtra
            A decoder is not installed.
        """
        kind = stored_type(self._image).newbyteorder("=") if dtype is None else np.dtype(dtype)
        if dtype is not None and kind.kind != "f":
            raise UsageError(f"{kind} can't hold rescaled values: ask for a floating type, or None for stored values")
        if dtype is None and len({stored_type(self._sources[p.plane.source].image) for p in self._places()}) > 1:
            raise UsageError("its images store values of different types: ask for a floating type")
        holes = any(plane is None for step in self._stack.planes for plane in step)
        if holes and dtype is None and kind.kind != "f":
            raise UsageError("its gaps can only be NaN: ask for a floating type")
        octets = int(np.prod(self.shape, dtype=object)) * kind.itemsize
        if octets > (memory := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")):
            raise UsageError(f"{octets / 2**30:.1f} GiB of pixels, on a machine with {memory / 2**30:.1f}: take a part")

        def run(control: Control) -> NDArray[Any]:
            out = np.full(self.shape, np.nan, dtype=kind) if holes else np.empty(self.shape, dtype=kind)
            _Filling(self._sources, out, rescaled=dtype is not None).run(self._places(), executor, control)
            return out

        total = len(list(self._places()))
        result: Any = Work("read volume", "planes", run, total, progress=progress).carry_out()
        return result  # type: ignore[no-any-return]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self.array.astype(dtype or self.array.dtype, copy=bool(copy))

    def __len__(self) -> int:
        return self.shape[0]

    def _places(self) -> Iterator[_Place]:
        for number, step in enumerate(self._stack.planes):
            for at, plane in enumerate(step):
                if plane is not None:
                    yield _Place((number, at) if self._stack.dimension else (at,), plane)

    def to_nifti(self, path: str | os.PathLike[str] | None = None) -> Any:
        """Make a NIfTI-1 image of it; in RAS, as NIfTI wants it. A sheared grid (gantry tilt) stands in the sform.

        Parameters
        ----------
        path : path, optional
            Where to save it, as ``.nii`` or ``.nii.gz``.

        Returns
        -------
        nibabel.Nifti1Image
            Its data are :attr:`array` transposed to (column, row, slice, step).

        Raises
        ------
        UsageError
            Colour, or no regular grid: see :attr:`affine`.
        MissingExtra
            nibabel is not installed.
        """
        try:
            import nibabel
        except ImportError as error:
            raise MissingExtra('NIfTI needs nibabel: pip install "dicomlab[nifti]"') from error
        if "sample" in self.dims:
            raise UsageError("a volume in colour is no NIfTI image here")
        ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.affine
        image: Any = nibabel.Nifti1Image(self.array.T, ras)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm", "msec" if self._stack.dimension == "TriggerTime" else "unknown")
        image.set_sform(ras, code=1)
        image.set_qform(None if self.tilt_degrees else ras, code=0 if self.tilt_degrees else 1)
        if path is not None:
            try:
                nibabel.save(image, os.fspath(path))
            except OSError as error:
                raise Interrupted(f"can't be written: {error.strerror or error}", endpoint=os.fspath(path)) from error
        return image

    # --- choices ---------------------------------------------------------------------------------------------------

    def plot(self, plane: str | None = None, index: int | None = None, **how: Any) -> Any:
        """Draw slices in millimetres, with directions; ``window``, ``step``, ``dose``, ``ax`` as slices.py says."""
        return above("plot_volume")(self, plane, index, **how)

    def with_gaps_filled(self) -> Volume:
        """The same planes on their whole grid: a missing slice is NaN, and the affine holds again."""
        return self._again(self._stack.filled())

    def without_duplicates(self) -> Volume:
        """Of planes that lie in the same place, the first alone (by Instance Number)."""
        return self._again(self._stack.without_duplicates())

    def _again(self, stack: Stack) -> Volume:
        own = tuple(note for note in self.notes[len(self._stack.notes) :] if note != _PALETTE)
        return self if stack is self._stack else Volume(self._sources, stack, own, self._references)

    # --- face ------------------------------------------------------------------------------------------------------

    def view(self, *, overlay: Any = None, names: Sequence[str] = ()) -> Any:
        """View it in the notebook: see :func:`dicomlab.notebook.viewer.view`."""
        return above("view")(self, overlay=overlay, names=names)

    def _summary_(self) -> Summary:
        facts = [("modality", self.modality or "unknown"), ("shape", " x ".join(map(str, self.shape)))]
        facts.append(("axes", ", ".join(self.dims)))
        if self.regular:
            facts.append(("spacing", " x ".join(f"{one:.4g}" for one in self.spacing_mm) + " mm"))
        facts += [("unit", self.unit)] if self.unit else []
        facts.append(("pixels", "read" if "array" in self.__dict__ else "not read yet"))
        return Summary("Volume", tuple(facts), notes=self.notes)


class _Filling:
    """Reads planes into their places in an array."""

    def __init__(self, sources: Mapping[int, Source], out: NDArray[Any], *, rescaled: bool) -> None:
        self._sources = sources
        self._out = out
        self._rescaled = rescaled

    def run(self, places: Iterator[_Place], executor: Executor | None, control: Control) -> None:
        """Fill all of them."""
        by_source: dict[int, list[_Place]] = defaultdict(list)
        for place in places:
            by_source[place.plane.source].append(place)
        native = {number: mine for number, mine in by_source.items() if not self._sources[number].image.encapsulated}
        self._native(native, control)
        packed = [(number, mine) for number, mine in by_source.items() if number not in native]
        self._packed(packed, executor, control)
        if control.cancelled:
            raise Interrupted("cancelled before all of it was read", endpoint="volume")

    def _native(self, by_source: Mapping[int, list[_Place]], control: Control) -> None:
        items = list(by_source.items())
        threads = _THREADS if self._out.nbytes >= _WORTH_THREADS and len(items) > 1 else 1

        def part(mine: Sequence[tuple[int, list[_Place]]]) -> None:
            reader = NativeReader()
            for number, places in mine:
                if control.cancelled:
                    return
                self._one_native(self._sources[number], places, reader)
                control.advance(len(places))

        if threads == 1:
            part(items)
            return
        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(part, [items[n::threads] for n in range(threads)]):
                pass

    def _one_native(self, source: Source, places: Sequence[_Place], reader: NativeReader) -> None:
        image, parcel = source.image, source.parcel
        check_length(image, parcel.name)
        with readable(parcel.name):
            if is_plain(image, parcel.path):
                assert parcel.path is not None
                descriptor = os.open(parcel.path, os.O_RDONLY)
                try:
                    parcel.require_unchanged(os.fstat(descriptor))
                    for place in places:
                        at = parcel.meta.length + image.offset
                        self._put(place, reader.from_file(descriptor, at, image, place.plane.frame))
                finally:
                    os.close(descriptor)
                return
            with parcel.dataset() as octets:
                whole = inflated(octets) if image.transfer_syntax_uid == DEFLATED_LE else octets
                for place in places:
                    self._put(place, reader.from_octets(whole, image, place.plane.frame))

    def _packed(self, items: Sequence[tuple[int, list[_Place]]], executor: Executor | None, control: Control) -> None:
        waiting = iter(items)

        def job(number: int, places: Sequence[_Place]) -> tuple[Coded, list[int]]:
            source = self._sources[number]
            with readable(source.parcel.name), source.parcel.dataset() as octets:
                return coded(octets, source.image, source.parcel.name), [place.plane.frame for place in places]

        if executor is None:
            for number, places in waiting:
                if control.cancelled:
                    return
                self._all(places, decode(*job(number, places)), control)
            return
        running: list[tuple[list[_Place], Future[list[NDArray[Any]]]]] = []

        def fill_up() -> None:
            for number, places in islice(waiting, _AHEAD - len(running)):
                running.append((places, executor.submit(decode, *job(number, places))))

        fill_up()
        try:
            while running and not control.cancelled:
                places, future = running.pop(0)
                self._all(places, _decoded(future), control)
                fill_up()
        finally:
            for _, future in running:
                future.cancel()

    def _all(self, places: Sequence[_Place], arrays: Sequence[NDArray[Any]], control: Control) -> None:
        for place, array in zip(places, arrays, strict=True):
            self._put(place, array)
        control.advance(len(places))

    def _put(self, place: _Place, stored: NDArray[Any]) -> None:
        target = self._out[place.at]
        if target.shape != stored.shape:
            raise RemoteProtocolError(f"pixels of shape {stored.shape}, not {target.shape}", section="PS3.3 §C.7.6.3")
        lut = self._sources[place.plane.source].image.lut if self._rescaled else None
        np.copyto(target, stored if lut is None else lut(stored), casting="unsafe")
        if self._rescaled and lut is None:
            if place.plane.slope != 1.0:
                target *= target.dtype.type(place.plane.slope)
            if place.plane.intercept != 0.0:
                target += target.dtype.type(place.plane.intercept)


def _decoded(future: Future[list[NDArray[Any]]]) -> list[NDArray[Any]]:
    try:
        return future.result()
    except (RemoteProtocolError, MissingExtra):
        raise
    except Exception as error:
        raise Interrupted(f"a worker failed: {error!r:.200}", endpoint="executor") from error
