"""What passed by: whole, or torn, wherever it was cut and in whatever pieces it came."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from dicomlab.part10.meta import decode_file_meta
from dicomlab.part10.wholeness import Passing

WHOLE = """CT_small.dcm MR_small.dcm MR_small_implicit.dcm JPEG2000.dcm MR_small_RLE.dcm MR_small_bigendian.dcm image_dfl.dcm
rtplan.dcm reportsi.dcm test-SR.dcm nested_priv_SQ.dcm priv_SQ.dcm UN_sequence.dcm emri_small.dcm""".split()
TOLD = "CT_small.dcm MR_small_implicit.dcm JPEG2000.dcm MR_small_RLE.dcm rtplan.dcm test-SR.dcm".split()


def of(name: str) -> tuple[bytes, str]:
    with open(str(get_testdata_file(name)), "rb") as file:
        octets = file.read()
    meta = decode_file_meta(octets, final=True)
    return octets[meta.length :], meta.transfer_syntax_uid


def judged(octets: bytes, syntax: str, step: int = 4096) -> str:
    passing = Passing(syntax)
    for at in range(0, len(octets), step):
        passing.feed(memoryview(octets)[at : at + step])
    return passing.lack()


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("step", [1, 7, 4096, 1 << 20])
def test_what_is_whole(name: str, step: int) -> None:
    octets, syntax = of(name)
    assert judged(octets, syntax, max(step, len(octets) // 20_000)) == ""


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("cut", [1, 2, 7, 8, 9, 100, 1500])
@pytest.mark.parametrize("step", [13, 4096, 1 << 20])
def test_what_is_torn(name: str, cut: int, step: int) -> None:
    octets, syntax = of(name)
    assert re.search("missing|cut", judged(octets[:-cut], syntax, step))


def test_padding_of_a_medium_is_no_lack() -> None:
    octets, syntax = of("MR_small.dcm")
    assert judged(octets + bytes(512), syntax) == ""


@given(st.binary(max_size=200), st.integers(1, 20), st.booleans())
def test_any_octets_pass(octets: bytes, step: int, implicit: bool) -> None:
    syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
    assert judged(octets, syntax, step) == judged(octets, syntax, 1000)
