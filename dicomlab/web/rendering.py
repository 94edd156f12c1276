"""How a rendered resource is asked for: the parameters of the URL, and what the octets that come really are. No I/O.

Source
------
PS3.18 §8.3.5 (rendering query parameters), §9.1.2 (URI Service), §8.7.4 (rendered media types).
"""

from __future__ import annotations

from collections.abc import Sequence

from dicomlab.errors import UsageError

PROFILES = ("no", "yes", "srgb", "adobergb", "rommrgb", "displayp3")
FUNCTIONS = ("linear", "linear-exact", "sigmoid")
ANNOTATIONS = ("patient", "technique")

Window = tuple[float, float] | tuple[float, float, str]
Viewport = tuple[int, int] | tuple[int | None, ...]

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"\xff\x4f\xff\x51", "image/jp2"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"RIFF", "image/webp"),
)


def rendering_parameters(
    *,
    window: Window | None = None,
    viewport: Viewport | None = None,
    quality: int | None = None,
    annotation: str | Sequence[str] = (),
    iccprofile: str | None = None,
) -> list[tuple[str, str]]:
    """Write the query parameters of a rendered resource.

    Parameters
    ----------
    window : (center, width) or (center, width, function), optional
        In the units of the modality (HU for CT); the function is ``"linear"``, ``"linear-exact"`` or ``"sigmoid"``.
    viewport : (width, height) or with a source region (width, height, x, y, width, height), optional
        In pixels; None in the region leaves it to the server, a negative size of the region flips the image.
    quality : int, optional
        1 to 100, of lossy images.
    annotation : str or sequence of str
        ``"patient"``, ``"technique"``: burnt into the image.
    iccprofile : str, optional
        ``"no"``, ``"yes"``, ``"srgb"``, ``"adobergb"``, ``"rommrgb"`` or ``"displayp3"``.

    Raises
    ------
    UsageError
        A value that can't be.

    Source
    ------
    PS3.18 §8.3.5.1, Tables 8.3.5-1 and 8.3.5-2.
    """
    found = []
    if window is not None:
        found.append(("window", _window(window)))
    if viewport is not None:
        found.append(("viewport", _viewport(viewport)))
    if quality is not None:
        if not isinstance(quality, int) or isinstance(quality, bool) or not 1 <= quality <= 100:
            raise UsageError(f"quality goes from 1 to 100, not {quality!r} (PS3.18 §8.3.5.1.2)")
        found.append(("quality", str(quality)))
    notes = (annotation,) if isinstance(annotation, str) else tuple(annotation)
    if notes:
        if not set(notes) <= set(ANNOTATIONS):
            raise UsageError(f"annotation is any of {', '.join(ANNOTATIONS)}, not {notes} (PS3.18 §8.3.5.1.1)")
        found.append(("annotation", ",".join(notes)))
    if iccprofile is not None:
        if iccprofile not in PROFILES:
            raise UsageError(f"iccprofile is one of {', '.join(PROFILES)}, not {iccprofile!r} (PS3.18 §8.3.5.1.5)")
        found.append(("iccprofile", iccprofile))
    return found


def _window(window: Window) -> str:
    function = window[2] if len(window) == 3 else FUNCTIONS[0]
    if len(window) not in (2, 3) or not all(_is_number(one) for one in window[:2]) or function not in FUNCTIONS:
        raise UsageError(f"window is (center, width) or (center, width, one of {', '.join(FUNCTIONS)}), not {window!r}")
    if window[1] <= 0:
        raise UsageError("the width of a window is above 0 (PS3.18 §8.3.5.1.4)")
    return f"{_number(window[0])},{_number(window[1])},{function}"


def _viewport(viewport: Viewport) -> str:
    size, region = viewport[:2], viewport[2:]
    if len(size) != 2 or not all(_is_number(one) and one is not None and one > 0 for one in size) or len(region) > 4:
        raise UsageError(f"viewport is (width, height[, x, y, width, height]) in pixels, not {viewport!r}")
    if not all(one is None or _is_number(one) for one in region):
        raise UsageError(f"viewport: a region is of numbers, not {region!r} (PS3.18 §8.3.5.1.3)")
    return ",".join("" if one is None else _number(one) for one in viewport)


def _is_number(one: object) -> bool:
    return isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e9


def _number(one: float) -> str:
    return f"{one:g}" if abs(one) < 1e6 else str(int(one))


def sniffed(octets: bytes) -> str:
    """Tell what octets are by how they begin; ``""`` where that tells nothing. Some servers name another type.

    Source
    ------
    PS3.18 §8.7.4 (rendered media types), PS3.10 §7.1 (prefix).
    """
    if octets[128:132] == b"DICM":
        return "application/dicom"
    found = next((kind for start, kind in _SIGNATURES if octets.startswith(start)), "")
    if not found and octets[4:8] == b"ftyp":
        return "video/mp4"
    return found
