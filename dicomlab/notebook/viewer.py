"""The stack viewer: slices of 16 bit go to the browser once each; windowing, zoom and overlay happen there."""

from __future__ import annotations

import io
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom import Dataset

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.media.segmentation import labels_of
from dicomlab.model.options import options
from dicomlab.model.progress import Progress
from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.cutting import AXES, Block, block_of, labels_on, views_of
from dicomlab.notebook.html import Markup, picture
from dicomlab.notebook.widget import Face

if TYPE_CHECKING:
    from dicomlab.media.volume import Volume
    from dicomlab.model.report import Report

MAX_PLANES = 64
"""Asked for in one message."""
MAX_ROWS = 200
"""Of a header that is shown."""
_VALUE = 120
PRESETS: Mapping[str, Sequence[tuple[str, float, float]]] = {
    "CT": (
        ("soft tissue", 40, 400), ("lung", -600, 1500), ("bone", 480, 2500), ("brain", 40, 80), ("liver", 60, 160),
        ("mediastinum", 50, 350),
    ),
}  # fmt: skip
"""By modality: name, centre, width."""


class StackViewer(Face):
    """Scroll, window, measure: see :func:`view`.

    Attributes
    ----------
    volumes : list of Volume
        What can be chosen.
    """

    _script = "viewer"

    def __init__(self, volumes: Sequence[Volume], overlay: Any = None, names: Sequence[str] = ()) -> None:
        if not volumes:
            raise UsageError("nothing to view: no images in here")
        self.volumes = list(volumes)
        self._labels = None
        if overlay is not None:
            if len(self.volumes) > 1:
                raise UsageError("an overlay belongs to one volume: volume.view(overlay=...)")
            if isinstance(overlay, Dataset):
                overlay, told = labels_of(overlay, self.volumes[0])
                names = names or told
            self._labels = labels_on(overlay, self.volumes[0])
            most = int(self._labels.max(initial=0))
            names = [*names, *(f"segment {n}" for n in range(len(names) + 1, most + 1))]
        self._names = [visible(str(one), 60) for one in names]
        self._chosen = 0
        self._block: Block | None = None
        self._reader: threading.Thread | None = None
        self._left = threading.Event()
        self._at: dict[str, Any] = {"step": 0, "z": 0, "y": 0, "x": 0, "axis": "z"}
        self._window: tuple[float, float] = (0.0, 1.0)
        super().__init__(series=[_title(one) for one in self.volumes], ready=False)
        self._choose(0)

    # --- what is shown -------------------------------------------------------------------------------------------

    @property
    def volume(self) -> Volume:
        """The one on show."""
        return self.volumes[self._chosen]

    @property
    def position(self) -> dict[str, int]:
        """Where the viewer stands: ``z``, ``y``, ``x`` (and ``step``), from 0."""
        return {name: self._at[name] for name in (("step",) if self.volume.dims[0] != "z" else ()) + AXES}

    @property
    def plane(self) -> str:
        """The axis across which one scrolls: ``"z"``, ``"y"`` or ``"x"``."""
        return str(self._at["axis"])

    @property
    def window(self) -> tuple[float, float]:
        """Centre and width, in the unit of the volume."""
        return self._window

    def show(self, *, window: tuple[float, float] | None = None, **position: int) -> StackViewer:
        """Go somewhere: ``show(z=40, window=(40, 400))``.

        Raises
        ------
        UsageError
            No such axis, no such place, no width.
        """
        shape = dict(zip(("step", *AXES), self._shape(), strict=True))
        for name, index in position.items():
            if name not in shape or not 0 <= index < shape[name]:
                raise UsageError(
                    f"{name}={index} is not in {', '.join(f'{k} (0 to {n - 1})' for k, n in shape.items())}"
                )
        if window is not None and not window[1] > 0:
            raise UsageError("a window is (centre, width), and the width is above 0")
        self._at.update(position)
        self._window = tuple(window) if window is not None else self._window  # type: ignore[assignment]
        self._tell(at=dict(self._at), window=list(self._window))
        self._send("go", at=dict(self._at), window=list(self._window))
        return self

    def _shape(self) -> tuple[int, ...]:
        at = self.volume.dims.index("z")
        return (self.volume.shape[0] if at else 1, *self.volume.shape[at : at + 3])

    # --- reading -------------------------------------------------------------------------------------------------

    def _choose(self, number: int) -> None:
        """Put a volume on show; its pixels are read beside whatever the notebook does."""
        self._left.set()
        self._left = threading.Event()
        self._chosen, self._block = number, None
        volume = self.volume
        views = views_of(volume)
        _, slices, rows, columns = self._shape()
        self._at = {"step": 0, "z": slices // 2, "y": rows // 2, "x": columns // 2, "axis": "z"}
        self._tell(
            ready=False, chosen=number, at=dict(self._at), views=[asdict(one) for one in views], note="",
            steps=self._shape()[0], step_name=volume.dims[0] if volume.dims[0] != "z" else "", unit=volume.unit,
            notes=list(volume.notes), names=self._names, labels=self._labels is not None, facts=_facts(volume),
        )  # fmt: skip
        work = threading.Thread(
            target=_read, args=(weakref.ref(self), volume, self._left), name="dicomlab viewer", daemon=True
        )
        self._reader = work
        work.start()

    def _reading(self, progress: Progress) -> None:
        if self.visible:
            self._send("reading", done=progress.done, total=progress.total)

    def _have(self, volume: Volume, block: Block) -> None:
        step, z = self._at["step"], self._at["z"]
        usual = block.usual(step, z) if not block.colour else (128.0, 256.0)
        told = _told_windows(volume, z)
        presets = [*told, *PRESETS.get(volume.modality, ()), ("whole slice", *usual)] if not block.colour else []
        self._window = (presets[0][1], presets[0][2]) if told else usual
        with self._lock:
            self._block = block
            self._tell(
                ready=True, slope=block.slope, intercept=block.intercept, missing=block.missing, colour=block.colour,
                kind=block.codes.dtype.str.lstrip("<>|="), exact=block.exact, window=list(self._window),
                presets=[list(one) for one in presets], inverted=volume.inverted,
            )  # fmt: skip

    def wait(self, timeout_s: float | None = None) -> StackViewer:
        """Wait until the pixels are there."""
        if self._reader is not None:
            self._reader.join(timeout_s)
        return self

    # --- from the browser ----------------------------------------------------------------------------------------

    def _on_planes(self, content: Mapping[str, Any]) -> None:
        """Pictures that a view does not have yet: [step, axis, index] each, the most wanted first."""
        block = self._block
        if block is None or content["chosen"] != self._chosen:
            return
        shape = dict(zip(("step", *AXES), self._shape(), strict=True))
        for asked in content["planes"][:MAX_PLANES]:
            step, axis, index = int(asked[0]), asked[1], int(asked[2])
            if not (axis in AXES and 0 <= step < shape["step"] and 0 <= index < shape[axis]):
                continue
            buffers = [block.plane(step, axis, index)]
            if self._labels is not None:
                buffers.append(np.ascontiguousarray(np.take(self._labels, index, AXES.index(axis))))
            self._send("plane", buffers, chosen=self._chosen, step=step, axis=axis, index=index)

    def _on_at(self, content: Mapping[str, Any]) -> None:
        """Where the view stands now."""
        shape = dict(zip(("step", *AXES), self._shape(), strict=True))
        at = {name: min(max(int(content["at"][name]), 0), size - 1) for name, size in shape.items()}
        axis = str(content["at"]["axis"])
        centre, width = (float(one) for one in content["window"])
        if axis in AXES and np.isfinite([centre, width]).all() and width > 0:
            with self._lock:
                self._at = {**at, "axis": axis}
                self._window = (centre, width)
                self._state.update(at=dict(self._at), window=[centre, width])  # for views to come; no echo

    def _on_choose(self, content: Mapping[str, Any]) -> None:
        number = int(content["number"])
        if 0 <= number < len(self.volumes) and number != self._chosen:
            self._choose(number)

    def _on_header(self, content: Mapping[str, Any]) -> None:
        """What the header of the slice on show says."""
        shape = self._shape()
        step, z = (min(max(int(content[name]), 0), shape[at] - 1) for at, name in enumerate(("step", "z")))
        self._send("header", step=step, z=z, rows=header_rows(self.volume, step, z))

    # --- life ----------------------------------------------------------------------------------------------------

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        self.wait(2.0)  # so that what is stored has its picture
        return super()._repr_mimebundle_()

    def stop(self) -> None:
        """Stop the cine, and the reading of pixels that nobody has seen yet."""
        self._send("stop")

    def close(self) -> None:
        """End it; a volume that is still being read is read no further."""
        self._left.set()
        super().close()

    def _twin(self) -> tuple[Summary, Markup | None]:
        block = self._block
        facts = list(self.volume._summary_().facts)
        where = ", ".join(f"{name} {index}" for name, index in self.position.items())
        facts.append(("on show", where))
        drawn = None
        if block is not None:
            centre, width = self._window
            if not block.colour:
                facts.append(("window", f"centre {centre:g}, width {width:g} {self.volume.unit}".rstrip()))
            drawn = picture(*_drawn(block, self._at, self._window, inverted=self.volume.inverted), f"Slice at {where}")
        if self._labels is not None:
            facts.append(("overlay", ", ".join(self._names) or "empty"))
        if len(self.volumes) > 1:
            facts.append(("volume", f"{self._chosen + 1} of {len(self.volumes)}"))
        return Summary("Stack viewer", tuple(facts), notes=self.volume.notes), drawn


def _read(viewer: weakref.ref[StackViewer], volume: Volume, left: threading.Event) -> None:
    """Read pixels for a viewer without keeping it alive."""

    def tell(progress: Progress) -> None:
        alive = viewer()
        if alive is not None and not left.is_set() and progress.done % 16 == 0:
            alive._reading(progress)

    try:
        block = block_of(volume, tell)
    except DicomlabError as error:
        alive = viewer()
        if alive is not None and not left.is_set():
            alive._tell(note=str(error))
        return
    alive = viewer()
    if alive is not None and not left.is_set():
        alive._have(volume, block)


def _title(volume: Volume) -> str:
    shape = " x ".join(map(str, volume.shape))
    return visible(f"{volume.modality or 'image'} {volume.description} ({shape})".replace("  ", " "), 80)


def _facts(volume: Volume) -> list[list[str]]:
    return [[name, value] for name, value in volume._summary_().facts if name != "pixels"]


def _told_windows(volume: Volume, z: int) -> list[tuple[str, float, float]]:
    """The windows that the image itself asks for.

    Source
    ------
    PS3.3 §C.11.2 (VOI LUT Module).
    """
    try:
        header = volume.header(z)
    except DicomlabError:
        return []
    try:
        centres, widths = (_several(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
        pairs = [(float(c), float(w)) for c, w in zip(centres, widths, strict=False)]
    except (TypeError, ValueError):
        return []
    usable = [pair for pair in pairs if np.isfinite(pair).all() and pair[1] > 0]
    return [("as stored" if n == 0 else f"as stored {n + 1}", *pair) for n, pair in enumerate(usable[:3])]


def _several(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


def header_rows(volume: Volume, step: int, z: int) -> list[list[str]]:
    """The header of one slice as rows of tag, keyword and value; what identifies a patient masked."""
    from dicomlab.model.columns import column

    rows = []
    for element in volume.header(*((step, z) if volume.dims[0] != "z" else (z,))):
        if element.VR in ("SQ", "OB", "OW", "UN", "OF", "OD", "OL", "OV"):
            value = f"{len(element.value or ())} items" if element.VR == "SQ" else "octets"
        else:
            several = _several(element.value) if element.VM > 1 else [element.value]
            value = "\\".join(visible(str(one), _VALUE) for one in several[:16])
            try:
                hidden = column(element.tag).identifying
            except UsageError:
                hidden = True
            value = options.shown(visible(value, _VALUE), fictional=volume.fictional or not hidden)
        tag = f"({element.tag.group:04X},{element.tag.element:04X})"
        rows.append([tag, visible(element.keyword or "private", 64), value])
        if len(rows) == MAX_ROWS:
            break
    return rows


def _drawn(block: Block, at: Mapping[str, Any], window: tuple[float, float], *, inverted: bool) -> tuple[bytes, str]:
    """The slice as a small JPEG, for the static twin."""
    from PIL import Image

    axis = str(at["axis"])
    codes = block.plane(at["step"], axis, at[axis])
    if block.colour:
        grey = codes[..., :3]
    else:
        values = codes.astype(np.float32) * block.slope + block.intercept
        centre, width = window
        scaled = np.clip((values - centre) / max(width, 1e-9) + 0.5, 0, 1)
        if block.missing is not None:
            scaled[codes == block.missing] = 0
        grey = (255 * (1 - scaled if inverted else scaled)).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(grey))
    image.thumbnail((256, 256))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=80)
    return out.getvalue(), "image/jpeg"


def view(volume: Volume | Sequence[Volume], *, overlay: Any = None, names: Sequence[str] = ()) -> StackViewer:
    """View a volume, or several of which one is chosen.

    Wheel and arrows scroll, dragging changes the window, ``1`` to ``9`` are its presets, ``z``, ``y``, ``x`` choose the
    plane and ``t`` shows all three, space plays, ``m`` shows the header, ``o`` the overlay; ``?`` names them all.

    Parameters
    ----------
    volume : Volume, or list of Volume
    overlay : Dataset, or array of whole numbers (slices, rows, columns), optional
        A Segmentation on the planes of the volume; or labels in the places of its voxels, 0 where there is nothing.
    names : sequence of str, optional
        Of the labels 1, 2, 3, ...; a Segmentation brings its own.

    Returns
    -------
    StackViewer

    Raises
    ------
    UsageError
        Nothing to view; an overlay that does not fit.
    """
    return StackViewer([volume] if not isinstance(volume, Sequence) else volume, overlay, names)


def view_report(report: Report) -> StackViewer:
    """View the images that a retrieve brought.

    Raises
    ------
    UsageError
        They did not go into a folder, or none is an image.
    """
    return view(report.media.volumes(progress=False))
