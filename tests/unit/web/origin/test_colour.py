"""Colour profiles: read by a colour management module that is not ours, with colours known from elsewhere."""

from __future__ import annotations

from io import BytesIO

import pytest
from PIL import Image, ImageCms

from dicomlab.web.origin.colour import converted, profile

SPACES = ("srgb", "adobergb", "rommrgb", "displayp3")


@pytest.mark.parametrize("space", SPACES)
def test_profiles_are_read_by_littlecms(space: str) -> None:
    found = ImageCms.ImageCmsProfile(BytesIO(profile(space)))
    assert ImageCms.getProfileDescription(found).strip() == space
    assert found.profile.xcolor_space.strip() == "RGB"


@pytest.mark.parametrize(
    ("space", "colour"),
    [
        ("srgb", (200, 100, 50)),
        ("adobergb", (177, 100, 57)),
        ("rommrgb", (143, 95, 50)),
        ("displayp3", (187, 105, 62)),
    ],
)
def test_colours_are_converted(space: str, colour: tuple[int, int, int]) -> None:
    shown = converted(Image.new("RGB", (2, 2), (200, 100, 50)), {}, space)
    pixel = shown.getpixel((0, 0))
    assert isinstance(pixel, tuple)
    assert max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= 2
    assert shown.info["icc_profile"] == profile(space)


def test_our_srgb_is_theirs() -> None:
    theirs = ImageCms.createProfile("sRGB")
    ours = ImageCms.ImageCmsProfile(BytesIO(profile("srgb")))
    for colour in ((0, 0, 0), (255, 255, 255), (10, 200, 90)):
        shown = ImageCms.profileToProfile(Image.new("RGB", (1, 1), colour), ours, theirs)
        assert shown is not None
        pixel = shown.getpixel((0, 0))
        assert isinstance(pixel, tuple)
        assert max(abs(a - b) for a, b in zip(pixel, colour, strict=True)) <= 1


def test_yes_brings_the_profile_that_the_image_has() -> None:
    image = Image.new("RGB", (1, 1))
    assert converted(image.copy(), {"ICCProfile": profile("adobergb")}, "yes").info["icc_profile"] == profile(
        "adobergb"
    )
    assert converted(image.copy(), {}, "yes").info["icc_profile"] == profile("srgb")
    assert converted(image.copy(), {"ICCProfile": b"rubbish"}, "yes").info["icc_profile"] == profile("srgb")
    assert "icc_profile" not in converted(image.copy(), {"ICCProfile": profile("adobergb")}, "no").info
    assert "icc_profile" not in converted(Image.new("L", (1, 1)), {}, "srgb").info
    changed = converted(Image.new("RGB", (1, 1), (200, 100, 50)), {"ICCProfile": profile("adobergb")}, "srgb")
    assert changed.getpixel((0, 0)) != (200, 100, 50)
