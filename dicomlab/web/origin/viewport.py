"""The query parameters of rendered resources: viewport, window, quality, annotation, colour profile. No I/O.

Source
------
PS3.18 §8.3.5 (rendering query parameters), Table 8.3.5-1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.rendering import ANNOTATIONS, FUNCTIONS, PROFILES

Function = Literal["linear", "linear-exact", "sigmoid"]
_SECTION = "PS3.18 §8.3.5"
_DECIMAL = re.compile(r"[+-]?(\d{1,12}\.?\d{0,12}|\.\d{1,12})([eE][+-]?\d{1,2})?")


@dataclass(frozen=True, slots=True)
class Window:
    """A window of stored values after the modality transformation: centre, width and the function between."""

    center: float
    width: float
    function: Function = "linear"


@dataclass(frozen=True, slots=True)
class Region:
    """A part of the source image, in its pixels; negative sizes flip it."""

    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Rendering:
    """How an image is to be rendered; None where nothing was said."""

    width: int | None = None
    height: int | None = None
    left: float | None = None
    top: float | None = None
    source_width: float | None = None
    source_height: float | None = None
    fraction: tuple[float, float, float, float] | None = None
    """A region in parts of the image, as WADO-URI gives it: left, top, right, bottom."""
    window: Window | None = None
    quality: int = 90
    annotation: tuple[str, ...] = ()
    icc_profile: str = ""
    enlarge: bool = True
    """Whether an image that is smaller than the viewport is made as large."""

    def region(self, columns: int, rows: int) -> Region:
        """The part of an image of that size which is shown.

        Raises
        ------
        RemoteProtocolError
            It does not lie in the image.

        Source
        ------
        PS3.18 §8.3.5.1.3 (viewport: what is left out is the whole), §9.4.1.2.5 (region).
        """
        if self.fraction is not None:
            left, top, right, bottom = self.fraction
            found = Region(left * columns, top * rows, (right - left) * columns, (bottom - top) * rows)
        else:
            left, top = self.left or 0.0, self.top or 0.0
            width = columns - left if self.source_width is None else self.source_width
            height = rows - top if self.source_height is None else self.source_height
            found = Region(left, top, width, height)
        within = found.left + abs(found.width) <= columns + 1e-6 and found.top + abs(found.height) <= rows + 1e-6
        if not within or abs(found.width) < 1 or abs(found.height) < 1:
            raise RemoteProtocolError(f"the region does not lie in the image of {columns} x {rows}", section=_SECTION)
        return found

    def size(self, width: float, height: float) -> tuple[int, int]:
        """The size at which a source of that size is shown: as large as fits the viewport, its shape kept.

        Source
        ------
        PS3.18 §8.3.5.1.3.
        """
        if self.width is None and self.height is None:
            return max(round(width), 1), max(round(height), 1)
        scales = (limit / of for limit, of in ((self.width, width), (self.height, height)) if limit is not None)
        scale = min(scales)
        if not self.enlarge:
            scale = min(scale, 1.0)
        return max(round(width * scale), 1), max(round(height * scale), 1)


def parse_rendering(parameters: Mapping[str, str], *, thumbnail: bool = False) -> Rendering:
    """Read the query parameters of a rendered resource, or of a thumbnail, which has a viewport's size only.

    Raises
    ------
    RemoteProtocolError
        A value that can't be.

    Source
    ------
    PS3.18 §8.3.5.1, Table 8.3.5-1; §10.4.1.1.4 (thumbnails).
    """
    found = Rendering()
    if text := parameters.get("viewport", ""):
        found = _viewport(found, text, thumbnail=thumbnail)
    if thumbnail:
        return found
    if text := parameters.get("window", ""):
        found = replace(found, window=_window(text))
    if text := parameters.get("quality", ""):
        found = replace(found, quality=_quality(text))
    if text := parameters.get("annotation", ""):
        found = replace(found, annotation=_annotation(text))
    if text := parameters.get("iccprofile", ""):
        if text.lower() not in PROFILES:
            raise _bad("iccprofile", text, f"one of {', '.join(PROFILES)}")
        found = replace(found, icc_profile=text.lower())
    return found


def parse_uri_rendering(parameters: Mapping[str, str]) -> Rendering:
    """Read the parameters of WADO-URI.

    Raises
    ------
    RemoteProtocolError
        A value that can't be.

    Source
    ------
    PS3.18 §9.4.1.2 (query parameters of the URI Service, rendered images).
    """
    found = Rendering(enlarge=False)
    found = replace(found, width=_pixels(parameters, "columns"), height=_pixels(parameters, "rows"))
    center, width = parameters.get("windowCenter", ""), parameters.get("windowWidth", "")
    if bool(center) != bool(width):
        raise RemoteProtocolError("windowCenter and windowWidth go together", section="PS3.18 §9.4.1.2.6")
    if center:
        found = replace(found, window=_window(f"{center},{width},linear"))
    if text := parameters.get("region", ""):
        numbers = [_number("region", one) for one in text.split(",")]
        corners = (numbers[0], numbers[1], numbers[2], numbers[3]) if len(numbers) == 4 else None
        if corners is None or not (0 <= corners[0] < corners[2] <= 1 and 0 <= corners[1] < corners[3] <= 1):
            raise _bad("region", text, "left,top,right,bottom between 0 and 1")
        found = replace(found, fraction=corners)
    if text := parameters.get("imageQuality", ""):
        found = replace(found, quality=_quality(text))
    if text := parameters.get("annotation", ""):
        found = replace(found, annotation=_annotation(text))
    return found


def _pixels(parameters: Mapping[str, str], name: str) -> int | None:
    text = parameters.get(name, "")
    if text and not re.fullmatch(r"[1-9]\d{0,5}", text):
        raise _bad(name, text, "a number of pixels")
    return int(text) if text else None


def _viewport(found: Rendering, text: str, *, thumbnail: bool) -> Rendering:
    members = text.split(",")
    if len(members) not in ((2,) if thumbnail else (2, 6)) or not all(re.fullmatch(r"\d{1,6}", m) for m in members[:2]):
        raise _bad("viewport", text, "width,height" + ("" if thumbnail else "[,left,top,width,height]"))
    width, height = int(members[0]), int(members[1])
    if not width or not height:
        raise _bad("viewport", text, "a width and a height above 0")
    numbers = [_number("viewport", one) if one.strip() else None for one in members[2:]] or [None] * 4
    left, top, source_width, source_height = numbers
    if (left or 0) < 0 or (top or 0) < 0 or source_width == 0 or source_height == 0:
        raise _bad("viewport", text, "a corner in the image and sizes other than 0")
    return replace(
        found, width=width, height=height, left=left, top=top, source_width=source_width, source_height=source_height
    )


def _window(text: str) -> Window:
    members = text.split(",")
    function = members[2].strip().lower() if len(members) == 3 else "linear" if len(members) == 2 else ""
    if function not in FUNCTIONS:
        raise _bad("window", text, "center,width,linear or linear-exact or sigmoid")
    center, width = (_number("window", one) for one in members[:2])
    if (width < 1 and function == "linear") or width <= 0:
        raise _bad("window", text, "a width of at least 1 (linear), or above 0")
    return Window(center, width, function)  # type: ignore[arg-type]  # one of the three


def _quality(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or not 1 <= int(text) <= 100:
        raise _bad("quality", text, "a number from 1 to 100")
    return int(text)


def _annotation(text: str) -> tuple[str, ...]:
    words = tuple(one.strip().lower() for one in text.split(","))
    if bad := [one for one in words if one not in ANNOTATIONS]:
        raise _bad("annotation", bad[0], " or ".join(ANNOTATIONS))
    return words


def _number(name: str, text: str) -> float:
    if not _DECIMAL.fullmatch(text.strip()) or not math.isfinite(float(text)):
        raise _bad(name, text, "a number")
    return float(text)


def _bad(name: str, text: str, wanted: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{name}={text[:60]!r} is not {wanted}", section=_SECTION)
