"""Accept headers against what there is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.web.origin.negotiation import Accept

JSON, XML = "application/dicom+json", 'multipart/related; type="application/dicom+xml"'
JPEG_LOSSLESS, JPEG_2000, RLE = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5"
DICOM = 'multipart/related; type="application/dicom"'


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("application/*", JSON),
        (JSON, JSON),
        ("multipart/related", XML),
        ("multipart/*", XML),
        (XML, XML),
        ("multipart/related; type=application/dicom+xml", XML),
        (f"{XML}, {JSON}", XML),
        (f"{XML};q=0.5, {JSON};q=0.9", JSON),
        (f"{XML};q=0.5, {JSON};q=0.4", XML),
        ("*/*, application/dicom+json;q=0", XML),
        ("*/*;q=0.1, multipart/related;q=0", JSON),
        ("text/html", ""),
        ("text/html, */*;q=0.1", JSON),
        (f"{JSON};q=0", XML),
        ('multipart/related; type="application/dicom"', ""),
    ],
)
def test_the_best_of_two(accept: str, chosen: str) -> None:
    assert Accept.parse(accept).best([JSON, XML]) == chosen


@pytest.mark.parametrize(
    ("accept", "stored", "sent"),
    [
        ("", EXPLICIT_LE, EXPLICIT_LE),
        ("*/*", IMPLICIT_LE, EXPLICIT_LE),
        (DICOM, RLE, EXPLICIT_LE),
        (f"{DICOM}; transfer-syntax=*", RLE, RLE),
        (f"{DICOM}; transfer-syntax=*", IMPLICIT_LE, EXPLICIT_LE),
        (f"{DICOM}; transfer-syntax=*", EXPLICIT_BE, EXPLICIT_LE),
        (f"{DICOM}; transfer-syntax=*", DEFLATED_LE, DEFLATED_LE),
        (f"{DICOM}; transfer-syntax={IMPLICIT_LE}", IMPLICIT_LE, ""),
        (f"{DICOM}; transfer-syntax={JPEG_2000}", RLE, ""),
        (f"{DICOM}; transfer-syntax={JPEG_2000}, {DICOM}; transfer-syntax={RLE}", RLE, RLE),
        (f"{DICOM}; transfer-syntax={RLE};q=0.3, {DICOM}; transfer-syntax={EXPLICIT_LE};q=0.8", RLE, EXPLICIT_LE),
        (f'multipart/related; type="application/dicom; transfer-syntax={RLE}"', RLE, RLE),
        ("application/dicom; transfer-syntax=*", RLE, RLE),
        ("image/jpeg", EXPLICIT_LE, ""),
        ("application/dicom;q=0, */*", EXPLICIT_LE, ""),
        (DICOM, "1.2.840.10008.1.2.4.103", ""),
        ("*/*", "1.2.840.10008.1.2.4.103", "1.2.840.10008.1.2.4.103"),
    ],
)
def test_transfer_syntaxes(accept: str, stored: str, sent: str) -> None:
    assert Accept.parse(accept).syntax_for(stored) == sent


@pytest.mark.parametrize(
    ("accept", "stored", "chosen"),
    [
        ("", RLE, ("image/dicom-rle", RLE)),
        ('multipart/related; type="application/octet-stream"', RLE, ("application/octet-stream", EXPLICIT_LE)),
        ("multipart/related; type=application/octet-stream; transfer-syntax=*", RLE, ("image/dicom-rle", RLE)),
        ('multipart/related; type="image/*"', JPEG_LOSSLESS, ("image/jpeg", JPEG_LOSSLESS)),
        ('multipart/related; type="image/jpeg"', RLE, None),
        (f'multipart/related; type="image/jpeg"; transfer-syntax={JPEG_LOSSLESS}', JPEG_LOSSLESS, ("image/jpeg", JPEG_LOSSLESS)),
        ('multipart/related; type="image/jpeg"; transfer-syntax=1.2.840.10008.1.2.4.50', JPEG_LOSSLESS, None),
        ("*/*, image/dicom-rle;q=0", RLE, ("application/octet-stream", EXPLICIT_LE)),
        ("application/octet-stream", EXPLICIT_BE, ("application/octet-stream", EXPLICIT_LE)),
        ("text/plain", EXPLICIT_LE, None),
    ],
)  # fmt: skip
def test_frames(accept: str, stored: str, chosen: tuple[str, str] | None) -> None:
    assert Accept.parse(accept).frames_as(stored) == chosen


def test_one_part_alone_only_where_it_is_wanted_more() -> None:
    assert Accept.parse("application/dicom").wants_single("application/dicom")
    assert not Accept.parse("*/*").wants_single("application/dicom")
    assert not Accept.parse(f"application/dicom;q=0.5, {DICOM}").wants_single("application/dicom")


@given(st.text(max_size=200))
def test_any_header_is_read(text: str) -> None:
    accept = Accept.parse(text)
    assert accept.best([JSON, XML]) in ("", JSON, XML)
    assert accept.syntax_for(EXPLICIT_LE) in ("", EXPLICIT_LE)
