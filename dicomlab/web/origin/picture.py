"""One frame as a picture: decoded, put through modality and VOI transformations, coloured, cut, scaled, annotated.

Source
------
PS3.3 §C.11.1 (Modality LUT), §C.11.2 (VOI LUT), §C.11.6 (Presentation LUT Shape), §C.7.6.3.1.2 (photometric
interpretation), §C.7.9 (palette colour); PS3.18 §8.3.5 (rendering).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.origin.answer import Problem
from dicomlab.web.origin.colour import converted
from dicomlab.web.origin.stored import DECODING_FAILED, Stored
from dicomlab.web.origin.viewport import Rendering, Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Values = Callable[[NDArray[Any]], NDArray[Any]]

BLOCK_PIXELS = 1 << 20
AT_ONCE = 2
"""Images that are rendered at a time; more wait, since each takes memory."""
_turn = threading.BoundedSemaphore(AT_ONCE)
_FUNCTIONS = {"LINEAR": "linear", "LINEAR_EXACT": "linear-exact", "SIGMOID": "sigmoid"}
_SHOWN_TEXT = 64


def picture(stored: Stored, number: int, how: Rendering, most_pixels: int) -> Image.Image:
    """Render one frame, 8 bits a channel, as grey or RGB.

    Parameters
    ----------
    stored : Stored
    number : int
        The frame, from 1.
    how : Rendering
    most_pixels : int
        Pixels beyond which neither a source nor a viewport is taken.

    Raises
    ------
    Problem
        413: too large.
    RemoteProtocolError
        It can't be decoded, or the region does not lie in it.

    Source
    ------
    PS3.18 §8.3.5, §10.4.1.1.4 (rendered instances).
    """
    columns, rows = stored.number("Columns"), stored.number("Rows")
    if columns * rows > most_pixels or (how.width or 1) * (how.height or 1) > most_pixels:
        raise Problem(413, f"an image or viewport of more than {most_pixels} pixels is not rendered")
    with _turn:
        return _picture(stored, number, how)


def _picture(stored: Stored, number: int, how: Rendering) -> Image.Image:
    array, facts = stored.decoded(number, raw=False)
    try:
        image = _placed(_image(stored, number, array, facts, how.window), how)
        if how.annotation:
            image = _annotated(image, stored.header, how.annotation)
        return converted(image, stored.header, how.icc_profile)
    except DECODING_FAILED as error:
        raise RemoteProtocolError(f"frame {number} can't be shown: {error}", section="PS3.3 §C.7.6.3") from error


# --- from stored values to 8 bits ------------------------------------------------------------------------------------


def _image(
    stored: Stored, number: int, array: NDArray[Any], facts: Mapping[str, Any], window: Window | None
) -> Image.Image:
    colours = str(facts.get("photometric_interpretation", ""))
    if array.ndim == 3:
        return Image.fromarray(_bytes_of(array, stored.number("BitsStored", 8)), "RGB")
    if colours == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return Image.fromarray(_bytes_of(apply_color_lut(array, stored.header), 0)[..., :3], "RGB")
    groups = _functional_groups(stored.header, number)
    show = _transformation(array, stored, groups, window)
    dark = (colours == "MONOCHROME1") != (str(stored.header.get("PresentationLUTShape", "")) == "INVERSE")
    grey = np.empty(array.shape, np.uint8)
    for rows in _blocks(array):
        grey[rows] = 255 - show(array[rows]) if dark else show(array[rows])
    return Image.fromarray(grey, "L")


def _blocks(array: NDArray[Any]) -> Iterator[slice]:
    """Rows by rows, so that no large image is held as large numbers."""
    step = max(BLOCK_PIXELS // max(array.shape[1], 1), 1)
    return (slice(at, at + step) for at in range(0, array.shape[0], step))


def _bytes_of(array: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    shift = max((bits or array.dtype.itemsize * 8) - 8, 0)
    return np.ascontiguousarray((array >> shift).clip(0, 255).astype(np.uint8))


def _functional_groups(header: Any, number: int) -> list[Any]:
    """The functional groups of a frame of an enhanced instance: its own, then the shared ones."""
    own = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    return [*(own[number - 1 : number] if len(own) >= number else ()), *shared[:1]]


def _of_groups(groups: list[Any], sequence: str) -> Any:
    return next((one[sequence].value[0] for one in groups if one.get(sequence)), None)


def _modality(header: Any, groups: list[Any]) -> Values:
    """From stored values to those of the modality."""
    inside = _of_groups(groups, "PixelValueTransformationSequence")
    source = header if inside is None else inside
    if header.get("ModalityLUTSequence") and inside is None:
        from pydicom.pixels.processing import apply_modality_lut

        return lambda raw: apply_modality_lut(raw, header)
    slope, intercept = _float(source, "RescaleSlope", 1.0), _float(source, "RescaleIntercept", 0.0)
    return lambda raw: raw if (slope, intercept) == (1.0, 0.0) else raw.astype(np.float64) * slope + intercept


def _float(source: Any, keyword: str, absent: float) -> float:
    value = source.get(keyword)
    found = absent if value is None or value == "" else float(value)
    return found if math.isfinite(found) else absent


def _transformation(raw: NDArray[Any], stored: Stored, groups: list[Any], window: Window | None) -> Values:
    """From stored values to 0 ... 255: the window that was asked for, else what the data set proposes, else all."""
    modality = _modality(stored.header, groups)
    if window is None:
        inside = _of_groups(groups, "FrameVOILUTSequence")
        source = stored.header if inside is None else inside
        window = _first_window(source)
        if window is None and source.get("VOILUTSequence"):
            from pydicom.pixels.processing import apply_voi

            table = source.VOILUTSequence[0].LUTDescriptor
            most = float((1 << min(int(table[2]), 16)) - 1)
            return lambda some: _between(apply_voi(modality(some).astype(some.dtype), source), 0.0, most)
    if window is not None:
        chosen = window
        return lambda some: through(modality(some), chosen)
    if stored.number("BitsStored", 8) == 1:
        return lambda some: (modality(some) > 0).astype(np.uint8) * 255
    low, high = _extremes(raw, modality, stored.header)
    return lambda some: _between(modality(some), low, high)


def _first_window(source: Any) -> Window | None:
    """The first window that the data set itself proposes (PS3.3 §C.11.2.1.2)."""
    centers, widths = source.get("WindowCenter"), source.get("WindowWidth")
    if centers in (None, "") or widths in (None, ""):
        return None
    center, width = (float(one[0] if hasattr(one, "__iter__") else one) for one in (centers, widths))
    function = _FUNCTIONS.get(str(source.get("VOILUTFunction", "") or "LINEAR"), "linear")
    possible = math.isfinite(center) and math.isfinite(width) and (width >= 1 or (width > 0 and function != "linear"))
    return Window(center, width, function) if possible else None  # type: ignore[arg-type]  # one of the three


def through(values: NDArray[Any], window: Window) -> NDArray[np.uint8]:
    """Put values through a window, to 0 ... 255.

    Source
    ------
    PS3.3 §C.11.2.1.2.1 (LINEAR), §C.11.2.1.3.2 (LINEAR_EXACT), §C.11.2.1.3.1 (SIGMOID).
    """
    x = values.astype(np.float64)
    center, width = window.center, window.width
    if window.function == "sigmoid":
        with np.errstate(over="ignore"):
            y = 255.0 / (1.0 + np.exp(-4.0 * (x - center) / width))
    elif window.function == "linear-exact":
        y = ((x - center) / width + 0.5) * 255.0
    elif width == 1:
        y = np.where(x <= center - 0.5, 0.0, 255.0)
    else:
        y = ((x - (center - 0.5)) / (width - 1) + 0.5) * 255.0
    return np.nan_to_num(np.rint(y)).clip(0, 255).astype(np.uint8)


def _extremes(raw: NDArray[Any], modality: Values, header: Any) -> tuple[float, float]:
    """The smallest and the largest value, padding left out (PS3.3 §C.7.5.1.1.2): for images without a window."""
    value, limit = header.get("PixelPaddingValue"), header.get("PixelPaddingRangeLimit")
    ends = sorted((value, limit if isinstance(limit, int) else value)) if isinstance(value, int) else None
    lows, highs = [], []
    for padded in (True, False):
        for rows in _blocks(raw):
            some = raw[rows]
            kept = some[(some < ends[0]) | (some > ends[1])] if ends and padded else some.ravel()
            if kept.size:
                values = np.nan_to_num(modality(kept.reshape(1, -1)).astype(np.float64), posinf=0.0, neginf=0.0)
                lows.append(float(values.min()))
                highs.append(float(values.max()))
        if lows:
            break  # else all of it is padding, and that is what there is to be shown
    return min(lows, default=0.0), max(highs, default=0.0)


def _between(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    finite = np.nan_to_num(values.astype(np.float64), posinf=0.0, neginf=0.0)
    scale = 255.0 / (high - low) if high > low else 0.0
    return np.rint((finite - low) * scale).clip(0, 255).astype(np.uint8)


# --- in the viewport -------------------------------------------------------------------------------------------------


def _placed(image: Image.Image, how: Rendering) -> Image.Image:
    region = how.region(image.width, image.height)
    whole = (0.0, 0.0, float(image.width), float(image.height))
    box = (region.left, region.top, region.left + abs(region.width), region.top + abs(region.height))
    size = how.size(abs(region.width), abs(region.height))
    if box != whole or size != image.size:
        shrinks = size[0] < abs(region.width)
        image = image.resize(size, Image.Resampling.BOX if shrinks else Image.Resampling.BILINEAR, box=box)
    if region.width < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if region.height < 0:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    return image


def _annotated(image: Image.Image, header: Any, wanted: tuple[str, ...]) -> Image.Image:
    """Burn text into the corners: about the patient on the left, about the technique on the right."""
    size = max(min(image.height // 24, 20), 8)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(image)
    for word, keywords in (
        ("patient", ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")),
        ("technique", ("Modality", "StudyDate", "SeriesDescription", "KVP", "SliceThickness", "InstanceNumber")),
    ):
        lines = [str(header.get(one, "") or "")[:_SHOWN_TEXT] for one in keywords] if word in wanted else []
        for at, line in enumerate(filter(None, lines)):
            text = "".join(c if c.isprintable() else " " for c in line)
            x = 4 if word == "patient" else image.width - 4 - round(draw.textlength(text, font=font))
            draw.text((x + 1, 5 + at * (size + 2)), text, fill=0, font=font)
            draw.text((x, 4 + at * (size + 2)), text, fill=255 if image.mode == "L" else (255, 255, 255), font=font)
    return image


def icon(text: str, side: int) -> Image.Image:
    """A picture for what has none: its modality in letters."""
    image = Image.new("L", (side, side), 40)
    font = ImageFont.load_default(max(side // 4, 8))
    shown = "".join(c for c in text[:4] if c.isprintable()) or "?"
    ImageDraw.Draw(image).text((side / 2, side / 2), shown, fill=220, font=font, anchor="mm")
    return image
