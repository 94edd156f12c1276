"""Rendered resources and thumbnails: which images, in which media type, alone or as parts."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset

from dicomlab.web.origin import Limits, Setting
from tests.unit.dimse.holdings import FolderHoldings, instance
from tests.unit.web.origin.conftest import Local, parts_of
from tests.unit.web.origin.images import image, ramp, report

Hold = Callable[[Dataset], str]
FRAMES = np.stack([np.full((8, 8), value, "u1") for value in (10, 20, 30)])
WINDOW = {"WindowCenter": "128", "WindowWidth": "256"}


def picture(octets: bytes) -> Any:
    return Image.open(BytesIO(octets))


@pytest.fixture
def empty(holdings: FolderHoldings) -> FolderHoldings:
    for path in holdings.files():
        path.unlink()
    return holdings


@pytest.mark.parametrize(
    ("accept", "kind", "format"),
    [
        ("", "image/jpeg", "JPEG"),
        ("*/*", "image/jpeg", "JPEG"),
        ("image/*", "image/jpeg", "JPEG"),
        ("image/png", "image/png", "PNG"),
        ("image/gif", "image/gif", "GIF"),
        ("image/jp2", "image/jp2", "JPEG2000"),
        ("image/jpeg;q=0.5, image/png", "image/png", "PNG"),
    ],
)
def test_one_image_in_the_media_type_that_is_wanted(
    local: Local, hold: Hold, accept: str, kind: str, format: str
) -> None:
    answer = local.get(f"{hold(image(ramp(), **WINDOW))}/rendered", accept)
    assert answer.headers["Content-Type"] == kind
    shown = picture(answer.content)
    assert shown.format == format
    assert np.abs(np.asarray(shown.convert("L"))[0].astype(int) - np.arange(256)).max() <= 12


def test_quality_makes_it_smaller(local: Local, hold: Hold) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (64, 64), dtype="u1")
    path = hold(image(noise, **WINDOW))
    sizes = [len(local.get(f"{path}/rendered?quality={quality}").content) for quality in (1, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_frames_of_a_multi_frame_instance(local: Local, hold: Hold) -> None:
    path = hold(image(FRAMES, **WINDOW))
    related = 'multipart/related; type="image/png"'
    found = parts_of(local.get(f"{path}/rendered", related))
    assert [np.asarray(picture(body)).max() for _, body in found] == [10, 20, 30]
    assert found[1][0]["content-location"].endswith("/frames/2/rendered")
    (one,) = parts_of(local.get(f"{path}/frames/3/rendered", related))
    assert np.asarray(picture(one[1])).max() == 30
    single = local.get(f"{path}/frames/2/rendered", "image/png")
    assert np.asarray(picture(single.content)).max() == 20
    first = local.get(f"{path}/rendered", "image/png")
    assert "one image of 3" in first.headers["Warning"]
    assert np.asarray(picture(first.content)).max() == 10
    assert local.get(f"{path}/frames/4/rendered").status_code == 404
    animated = picture(local.get(f"{path}/rendered", "image/gif").content)
    assert animated.n_frames == 3


def test_a_series_is_many_parts_and_says_what_it_leaves_out(local: Local, empty: Any, hold: Hold) -> None:
    for number in (1, 2):
        hold(image(ramp(), number=number, **WINDOW))
    hold(report(number=3))
    answer = local.get("/studies/1.2.3.1/series/1.2.3.1.1/rendered")
    assert len(parts_of(answer)) == 2
    assert local.get("/studies/1.2.3.1/rendered", "image/png").headers["Warning"].count("one image of 2") == 1
    assert local.get("/studies/1.2.3.1/rendered", "image/tiff").status_code == 406


def test_too_many_images(holdings: Any, open_local: Any, hold: Hold) -> None:
    path = hold(image(FRAMES, **WINDOW))
    small = open_local(holdings, Setting(Limits(renditions=2)))
    assert small.get(f"{path}/rendered").status_code == 413
    assert small.get(f"{path}/frames/1,2/rendered").status_code == 200
    narrow = open_local(holdings, Setting(Limits(pixels=100)))
    assert narrow.get(f"{path}/rendered", "image/gif").status_code == 413


@pytest.mark.parametrize(
    "level",
    [
        "",
        "/series/1.2.3.1.1",
        "/series/1.2.3.1.1/instances/1.2.3.1.1.2",
        "/series/1.2.3.1.1/instances/1.2.3.1.1.2/frames/1",
    ],
)
def test_thumbnails_at_four_levels(local: Local, empty: Any, hold: Hold, level: str) -> None:
    for number in (1, 2, 3):
        hold(image(np.full((300, 600), number * 50, "u1"), number=number, **WINDOW))
    answer = local.get(f"/studies/1.2.3.1{level}/thumbnail", "image/png")
    shown = picture(answer.content)
    assert shown.size == (128, 64)
    assert np.asarray(shown).max() == 100  # the middle one
    assert picture(local.get(f"/studies/1.2.3.1{level}/thumbnail?viewport=30,30").content).size == (30, 15)
    assert local.get(f"/studies/1.2.3.1{level}/thumbnail?viewport=x").status_code == 400
    assert local.get(f"/studies/1.2.3.1{level}/thumbnail", "text/plain").status_code == 406


def test_a_thumbnail_of_what_has_no_image_is_its_modality(local: Local, empty: Any, hold: Hold) -> None:
    path = hold(report())
    shown = picture(local.get(f"{path}/thumbnail", "image/png").content)
    assert shown.size == (128, 128)
    assert np.asarray(shown).std() > 5
    assert local.get(f"{path}/frames/1/thumbnail").status_code == 404


def test_what_can_not_be_rendered(local: Local, empty: Any, hold: Hold) -> None:
    nothing = instance(1)
    del nothing.PixelData
    answer = local.get(f"{hold(nothing)}/rendered")
    assert answer.status_code == 406
    assert "neither pixels nor a document" in answer.json()["error"]
    assert local.get(f"{hold(image(ramp(), number=2))}/rendered", "video/mp4").status_code == 406
