"""What a line of a trace says, and what it must not say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.web.dissect import dissect


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (
            b"GET /dicom-web/studies?PatientID=4711&PatientName=M*&limit=5&includefield=StudyDescription HTTP/1.1\r\n\r\n",
            "GET: /dicom-web/studies?PatientID=…&PatientName=…&limit=5&includefield=StudyDescription",
        ),
        (b"POST /studies HTTP/1.1\r\nContent-Type: x\r\n\r\n", "POST: /studies"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\n\r\n", "200 OK: application/dicom+json"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "204 No Content: no content type"),
        (b"HTTP/1.1 500 A: B\r\n\r\n", "500 A  B: no content type"),
        (b"\0" * 1234, "body: 1,234 octets"),
        (b"\0" * 16384, "body: 16,384 octets or more"),
        (b"", "body: 0 octets"),
    ],
)
def test_lines(octets: bytes, line: str) -> None:
    assert dissect(octets) == line


@given(st.binary(max_size=200))
def test_any_octets(octets: bytes) -> None:
    assert ":" in dissect(octets)
    assert len(dissect(b"GET /" + octets + b" HTTP/1.1\r\n")) <= 400
