"""What web services know of and change in an encoded data set."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from dicomlab.web.datasets import SERIES, SOP_CLASS, SOP_INSTANCE, STUDY, can_decode, to_explicit_le, uids_of


def octets_of(name: str) -> bytes:
    path = get_testdata_file(name)
    assert path is not None
    return Path(str(path)).read_bytes()


@pytest.mark.parametrize(
    "name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm", "image_dfl.dcm", "MR_small_RLE.dcm", "MR_small.dcm"]
)
def test_written_anew_it_is_the_same_data_set(name: str) -> None:
    before = dcmread(BytesIO(octets_of(name)))
    written = to_explicit_le(octets_of(name))
    after = dcmread(BytesIO(written))
    assert after.file_meta.TransferSyntaxUID == EXPLICIT_LE
    assert np.array_equal(before.pixel_array, after.pixel_array)
    for element in before:
        if element.tag != 0x7FE00010 and element.VR != "SQ" and element.tag.element:
            assert after[element.tag].value == element.value, element.tag
    uids = uids_of(written[decode_file_meta(written).length :], EXPLICIT_LE)
    assert uids == {
        SOP_CLASS: before.SOPClassUID, SOP_INSTANCE: before.SOPInstanceUID,
        STUDY: before.StudyInstanceUID, SERIES: before.SeriesInstanceUID,
    }  # fmt: skip


def test_uids_of_a_deflated_data_set() -> None:
    octets = octets_of("image_dfl.dcm")
    meta = decode_file_meta(octets)
    assert uids_of(octets[meta.length :], meta.transfer_syntax_uid)[SOP_INSTANCE] == meta.sop_instance_uid


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_implicit.dcm", "image_dfl.dcm"])
def test_what_is_broken_is_told(name: str) -> None:
    octets = octets_of(name)
    with pytest.raises(RemoteProtocolError):
        to_explicit_le(octets[: len(octets) // 2])


def test_what_can_be_decoded() -> None:
    assert can_decode(EXPLICIT_LE)
    assert can_decode("1.2.840.10008.1.2.5")
    assert not can_decode("1.2.3.4")
    assert not can_decode("1.2.840.10008.1.2.4.102")
