"""Parameters of rendered resources, and what octets really are."""

from __future__ import annotations

from typing import Any

import pytest

from dicomlab.errors import UsageError
from dicomlab.web.rendering import rendering_parameters, sniffed


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ({}, []),
        ({"window": (40, 400)}, [("window", "40,400,linear")]),
        ({"window": (-1024.5, 2, "sigmoid")}, [("window", "-1024.5,2,sigmoid")]),
        ({"viewport": (512, 256)}, [("viewport", "512,256")]),
        ({"viewport": (512, 256, None, None, -100, 50)}, [("viewport", "512,256,,,-100,50")]),
        ({"quality": 1}, [("quality", "1")]),
        ({"annotation": "patient"}, [("annotation", "patient")]),
        ({"annotation": ["technique", "patient"]}, [("annotation", "technique,patient")]),
        ({"iccprofile": "srgb"}, [("iccprofile", "srgb")]),
    ],
)
def test_parameters(given: dict[str, Any], written: list[tuple[str, str]]) -> None:
    assert rendering_parameters(**given) == written


@pytest.mark.parametrize(
    "given",
    [
        {"window": (40,)}, {"window": (40, 0)}, {"window": ("a", 4)}, {"window": (1, 2, "square")}, {"window": (1, True)},
        {"viewport": (0, 5)}, {"viewport": (5,)}, {"viewport": (None, 5)}, {"viewport": (5, 5, 1, 1, 1, 1, 1)},
        {"viewport": (5, 5, "x")}, {"quality": 0}, {"quality": 101}, {"quality": 50.0}, {"quality": True},
        {"annotation": "name"}, {"iccprofile": "cmyk"},
    ],
)  # fmt: skip
def test_what_can_not_be(given: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        rendering_parameters(**given)


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"GIF89a", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
        (b"\xff\x4f\xff\x51", "image/jp2"),
        (bytes(128) + b"DICM", "application/dicom"),
        (b"\0\0\0\x18ftypmp42", "video/mp4"),
        (b"", ""),
        (b"<html>", ""),
    ],
)
def test_what_octets_are(octets: bytes, kind: str) -> None:
    assert sniffed(octets) == kind
