"""Colour spaces of rendered images: ICC profiles of the spaces that the standard names, and conversion to them.

Source
------
PS3.18 §8.3.5.1.5 (ICC profile parameter), PS3.3 §C.11.15 (ICC Profile Module), ICC.1:2010 §7 to §10.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from io import BytesIO
from typing import Any

from PIL import Image, ImageCms

_PRIMARIES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "srgb": ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410)),
    "adobergb": ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)),
    "rommrgb": ((0.79767, 0.28804, 0.00000), (0.13519, 0.71188, 0.00000), (0.03134, 0.00009, 0.82491)),
    "displayp3": ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
"""Red, green and blue in CIE XYZ, adapted to D50."""
_GAMMA = {"adobergb": 2.19921875, "rommrgb": 1.8}
_WHITE = (0.9642, 1.0, 0.8249)


@lru_cache(maxsize=8)
def profile(space: str) -> bytes:
    """Write the ICC profile of a colour space: three primaries and one curve.

    Parameters
    ----------
    space : str
        ``srgb``, ``adobergb``, ``rommrgb`` or ``displayp3``.

    Source
    ------
    ICC.1:2010 §7.2 (header), §9.2 (tags), §10.5 (curve), §10.31 (XYZ).
    """
    text = space.encode() + b"\0"
    describe = b"desc" + struct.pack(">4xL", len(text)) + text + bytes(78)
    gamma = _GAMMA.get(space)
    if gamma is not None:
        curve = b"curv" + struct.pack(">4xLH", 1, round(gamma * 256))
    else:
        steps = [_srgb_to_linear(n / 1023) for n in range(1024)]
        curve = b"curv" + struct.pack(f">4xL{len(steps)}H", len(steps), *(round(v * 65535) for v in steps))
    red, green, blue = (_xyz(*one) for one in _PRIMARIES[space])
    tags = {
        b"desc": describe, b"cprt": b"text\0\0\0\0no copyright\0", b"wtpt": _xyz(*_WHITE),
        b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue, b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    table, data = struct.pack(">L", len(tags)), b""
    first = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">LL", first + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    head = struct.pack(">L4xL4s4s4s12x4s", first + len(data), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += bytes(68 - len(head)) + b"".join(struct.pack(">l", round(v * 65536)) for v in _WHITE)
    return head.ljust(128, b"\0") + table + data


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + struct.pack(">4x3l", *(round(v * 65536) for v in (x, y, z)))


def _srgb_to_linear(v: float) -> float:
    return v / 12.92 if v <= 0.04045 else float(((v + 0.055) / 1.055) ** 2.4)


def _own_profile(header: Any) -> bytes:
    """The profile that the data set brings with it, or that of its first optical path."""
    octets = header.get("ICCProfile")
    if not octets and (paths := header.get("OpticalPathSequence")):
        octets = paths[0].get("ICCProfile")
    return octets if isinstance(octets, bytes) else b""


def converted(image: Image.Image, header: Any, wanted: str) -> Image.Image:
    """Bring a picture into the colour space that is wanted, and note the profile that it then has.

    Parameters
    ----------
    image : Image
    header : Dataset
        Where the picture's own profile stands, if it has one.
    wanted : str
        ``""`` and ``no``: as it is, without a profile; ``yes``: with the profile that it has; else the space.

    Source
    ------
    PS3.18 §8.3.5.1.5.
    """
    if wanted in ("", "no") or image.mode != "RGB":
        return image
    own = _own_profile(header)
    try:
        given = ImageCms.ImageCmsProfile(BytesIO(own or profile("srgb")))
    except (ImageCms.PyCMSError, OSError, ValueError):
        own, given = b"", ImageCms.ImageCmsProfile(BytesIO(profile("srgb")))
    if wanted == "yes" or (wanted == "srgb" and not own):
        image.info["icc_profile"] = own or profile("srgb")
        return image
    target = profile(wanted)
    try:
        changed = ImageCms.profileToProfile(image, given, ImageCms.ImageCmsProfile(BytesIO(target)))
    except ImageCms.PyCMSError:
        image.info["icc_profile"] = own or profile("srgb")
        return image
    changed = changed or image
    changed.info["icc_profile"] = target
    return changed
