"""What pydicom makes of octets that the lean walk refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.media.cells import Cells, plan_of
from dicomlab.media.fallback import read_by_pydicom
from dicomlab.media.walker import BIG, EXPLICIT, IMPLICIT
from dicomlab.model.columns import columns
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from tests.unit.media.test_header import encoded, example

WANTED = columns(["PatientName", "ImageType", "Rows", "SmallestImagePixelValue", "PatientComments", "StudyDate"])
PLAN = plan_of(WANTED)


@pytest.mark.parametrize(("syntax", "grammar"), [(EXPLICIT_LE, EXPLICIT), (IMPLICIT_LE, IMPLICIT), (EXPLICIT_BE, BIG)])
def test_raw_values_are_decoded_as_all_others(syntax: str, grammar: object) -> None:
    found = read_by_pydicom(encoded(example(), syntax), PLAN)
    assert found is not None
    assert found[0] is grammar
    texts, *_ = Cells(WANTED, PLAN).texts([found])
    assert texts == [["Äneas^R"], ["ORIGINAL\\PRIMARY"], ["512"], ["-3"], ["one\\two"], [None]]


@given(st.binary(max_size=300))
def test_nothing_escapes(octets: bytes) -> None:
    read_by_pydicom(octets, PLAN)
    read_by_pydicom(b"\0" * 128 + b"DICM" + octets, PLAN)


def test_no_warning_escapes(recwarn: pytest.WarningsRecorder) -> None:
    octets = encoded(example(), EXPLICIT_LE).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0")
    assert read_by_pydicom(octets, PLAN) is not None
    assert not list(recwarn)


def test_a_vr_beyond_ascii_says_nothing() -> None:
    octets = encoded(example(), EXPLICIT_LE).replace(b"\x28\0\x10\0US", b"\x28\0\x10\0U\x80")
    found = read_by_pydicom(octets, PLAN)
    assert found is None or Cells(WANTED, PLAN).texts([found]).columns[2] in (["512"], [None])
