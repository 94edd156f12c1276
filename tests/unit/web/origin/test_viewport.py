"""Parameters of rendered images: read, or declined with a sentence."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.origin.viewport import Region, Rendering, Window, parse_rendering, parse_uri_rendering


@pytest.mark.parametrize(
    ("viewport", "region", "size"),
    [
        ("", Region(0, 0, 40, 20), (40, 20)),
        ("20,20", Region(0, 0, 40, 20), (20, 10)),
        ("400,400", Region(0, 0, 40, 20), (400, 200)),
        ("10,10,20,10,20,10", Region(20, 10, 20, 10), (10, 5)),
        ("10,10,,,-40,", Region(0, 0, -40, 20), (10, 5)),
        ("10,10,30,,,", Region(30, 0, 10, 20), (5, 10)),
        ("8,8,0,0,-8,-8", Region(0, 0, -8, -8), (8, 8)),
    ],
)
def test_viewports(viewport: str, region: Region, size: tuple[int, int]) -> None:
    how = parse_rendering({"viewport": viewport})
    assert how.region(40, 20) == region
    assert how.size(abs(region.width), abs(region.height)) == size


@pytest.mark.parametrize(
    "parameters",
    [
        {"viewport": "10"}, {"viewport": "0,10"}, {"viewport": "a,b"}, {"viewport": "10,10,1"}, {"viewport": "1,1,-1,0,5,5"},
        {"viewport": "10,10,0,0,0,5"}, {"viewport": "9999999,1"}, {"viewport": "10,10,nan,0,1,1"},
        {"window": "40"}, {"window": "40,400,wrong"}, {"window": "40,0,linear"}, {"window": "40,0.5,linear"},
        {"window": "40,0,sigmoid"}, {"window": "inf,1,linear"}, {"window": "1,2,linear,4"},
        {"quality": "0"}, {"quality": "101"}, {"quality": "x"}, {"quality": "-5"},
        {"annotation": "secrets"}, {"iccprofile": "cmyk"},
    ],
)  # fmt: skip
def test_what_can_not_be_is_declined(parameters: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError, match="is not"):
        parse_rendering(parameters)


def test_the_rest() -> None:
    how = parse_rendering(
        {"window": "40,400,sigmoid", "quality": "7", "annotation": "patient,technique", "iccprofile": "sRGB"}
    )
    assert how.window == Window(40, 400, "sigmoid")
    assert (how.quality, how.annotation, how.icc_profile) == (7, ("patient", "technique"), "srgb")
    assert parse_rendering({"window": "40,400"}).window == Window(40, 400, "linear")
    assert parse_rendering({"window": "40,0.5,linear-exact"}).window == Window(40, 0.5, "linear-exact")
    assert parse_rendering({"quality": "7", "viewport": "9,9"}, thumbnail=True) == Rendering(width=9, height=9)
    with pytest.raises(RemoteProtocolError):
        parse_rendering({"viewport": "9,9,0,0,1,1"}, thumbnail=True)


def test_a_region_outside_the_image() -> None:
    for viewport in ("10,10,30,0,20,20", "1,1,1e99,,,", "1,1,0,0,0.5,1"):
        with pytest.raises(RemoteProtocolError, match="does not lie"):
            parse_rendering({"viewport": viewport}).region(40, 20)


def test_the_parameters_of_the_uri_service() -> None:
    how = parse_uri_rendering(
        {
            "rows": "10",
            "columns": "50",
            "windowCenter": "1",
            "windowWidth": "2",
            "region": "0.5,0,1,0.5",
            "imageQuality": "3",
        }
    )
    assert (how.width, how.height, how.window, how.quality) == (50, 10, Window(1, 2), 3)
    assert how.region(40, 20) == Region(20, 0, 20, 10)
    assert how.size(20, 10) == (20, 10)  # the URI Service gives maxima: nothing is enlarged
    assert how.size(200, 100) == (20, 10)


@pytest.mark.parametrize(
    "parameters",
    [
        {"rows": "0"}, {"columns": "x"}, {"windowCenter": "1"}, {"windowWidth": "1"}, {"region": "0,0,1"},
        {"region": "0.5,0,0.5,1"}, {"region": "0,0,2,1"}, {"imageQuality": "x"}, {"annotation": "x"},
    ],
)  # fmt: skip
def test_what_the_uri_service_declines(parameters: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_uri_rendering(parameters)


@given(
    st.dictionaries(
        st.sampled_from(["viewport", "window", "quality", "annotation", "iccprofile"]), st.text(max_size=30)
    )
)
def test_any_text(parameters: dict[str, str]) -> None:
    with suppress(RemoteProtocolError):
        parse_rendering(parameters)
