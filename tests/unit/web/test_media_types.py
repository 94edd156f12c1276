"""Accept and Content-Type, as the standard writes them and as peers do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.web.media_types import (
    DICOM,
    FRAME_MEDIA_TYPES,
    MediaType,
    multipart_of,
    parse_accept,
    parse_content_type,
)


def test_the_transfer_syntax_stands_outside_the_quotes() -> None:
    assert multipart_of(DICOM, "*") == 'multipart/related; type="application/dicom"; transfer-syntax=*'
    assert multipart_of(DICOM) == 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    "text",
    [
        'multipart/related; type="application/dicom"; transfer-syntax=1.2.3',
        "multipart/related; type=application/dicom; transfer-syntax=1.2.3",
        'multipart/related; type="application/dicom; transfer-syntax=1.2.3"',
        'Multipart/Related;TYPE="application/dicom";Transfer-Syntax="1.2.3"',
        "multipart/related;;; type = application/dicom ; transfer-syntax= 1.2.3 ;",
    ],
)
def test_forms_of_one_range(text: str) -> None:
    (one,) = parse_accept(text)
    assert (one.name, one.part, one.transfer_syntax, one.q) == ("multipart/related", DICOM, "1.2.3", 1.0)


def test_preference_orders_and_zero_excludes() -> None:
    text = 'application/json;q=0.5, application/dicom+json, text/html;q=0, */*;q=0.001, a/b;q="x"'
    assert [one.name for one in parse_accept(text)] == ["application/dicom+json", "a/b", "application/json", "*/*"]


@pytest.mark.parametrize("text", ["", ",,,", ";", "nonsense", "*", '"'])
def test_nothing_accepts_everything(text: str) -> None:
    assert [one.name for one in parse_accept(text)] == ["*/*"]


def test_default_transfer_syntax() -> None:
    assert parse_accept("application/dicom")[0].transfer_syntax == EXPLICIT_LE


@pytest.mark.parametrize(
    ("text", "boundary"),
    [
        ("multipart/related; boundary=abc", "abc"),
        ('multipart/related; type="application/dicom"; boundary="a=b; c?\'"', "a=b; c?'"),
        ("multipart/related; boundary=a=b; type=application/dicom", "a=b"),
        (r'multipart/related; boundary="a\"b"', 'a"b'),
        ("multipart/related; BOUNDARY=" + "x" * 70, "x" * 70),
    ],
)
def test_boundaries(text: str, boundary: str) -> None:
    assert parse_content_type(text).boundary == boundary


@pytest.mark.parametrize(
    "text", ["multipart/related", 'multipart/related; boundary=""', "m/r; boundary=" + "x" * 300, "m/r; boundary=ü"]
)
def test_no_boundary_is_an_error(text: str) -> None:
    with pytest.raises(RemoteProtocolError, match="boundary"):
        _ = parse_content_type(text).boundary


def test_no_media_type_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError):
        parse_content_type(";;;")


@pytest.mark.parametrize(
    ("range_", "name", "covered"),
    [("*/*", DICOM, True), ("image/*", "image/jpeg", True), ("image/*", DICOM, False), (DICOM, DICOM, True)],
)
def test_covers(range_: str, name: str, covered: bool) -> None:
    assert MediaType(range_).covers(name) is covered


@given(
    st.dictionaries(
        st.sampled_from(["type", "boundary", "transfer-syntax"]),
        st.text(st.characters(codec="ascii", exclude_characters="\r\n\0"), min_size=1, max_size=30)
        .map(str.strip)
        .filter(bool),
    )
)
def test_what_is_written_is_read(parameters: dict[str, str]) -> None:
    written = str(MediaType("multipart/related", parameters))
    read = parse_content_type(written).parameters
    if ";" not in parameters.get("type", ""):
        assert read == parameters


@given(st.text(max_size=200))
def test_anything_can_be_read(text: str) -> None:
    assert parse_accept(text)


def test_frame_media_types() -> None:
    assert FRAME_MEDIA_TYPES["1.2.840.10008.1.2.4.90"] == "image/jp2"
    assert FRAME_MEDIA_TYPES["1.2.840.10008.1.2.4.201"] == "image/jphc"
