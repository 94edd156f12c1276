"""A data set without its bulk data."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.filereader import read_dataset

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.bulk import without_bulk_data
from dicomlab.part10.files import Parcel, parcel_of_file

IMPLICIT, EXPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
BULK = ("PixelData", "FloatPixelData", "DoubleFloatPixelData", "SpectroscopyData", "EncapsulatedDocument")


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "JPEG2000.dcm", "ExplVR_BigEnd.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "waveform_ecg.dcm",
     "MR-SIEMENS-DICOM-WithOverlays.dcm"],
)  # fmt: skip
def test_everything_else_stays(name: str) -> None:
    path = Path(str(get_testdata_file(name, download=False)))
    whole = dcmread(path)
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    syntax = parcel.meta.transfer_syntax_uid
    with parcel.dataset() as octets:
        kept = without_bulk_data(octets, syntax)
    left = read_dataset(BytesIO(kept), is_implicit_VR=syntax == IMPLICIT, is_little_endian=syntax != BIG_ENDIAN)
    gone = {e.tag for e in whole} - {e.tag for e in left}
    assert gone <= {whole[k].tag for k in BULK if k in whole} | {e.tag for e in whole if e.tag.group >> 8 == 0x60}
    assert not any(keyword in left for keyword in BULK)
    assert len(kept) < parcel.dataset_size or syntax == "1.2.840.10008.1.2.1.99"
    for element in left:
        if element.keyword == "WaveformSequence":
            for mine, theirs in zip(element.value, whole.WaveformSequence, strict=True):
                assert "WaveformData" not in mine
                assert {e.tag for e in mine} == {e.tag for e in theirs} - {theirs["WaveformData"].tag}
        else:
            assert element == whole[element.tag]


@pytest.mark.parametrize("undefined", [True, False])
def test_waveforms_however_their_items_are_written(undefined: bool) -> None:
    item, dataset = Dataset(), Dataset()
    item.NumberOfWaveformChannels, item.WaveformData = 1, b"\1\2\3\4"
    item["WaveformData"].VR = "OW"
    item.is_undefined_length_sequence_item = undefined
    dataset.PatientID, dataset.WaveformSequence = "P1", [item, item]
    dataset["WaveformSequence"].is_undefined_length = undefined
    buffer = BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    left = read_dataset(
        BytesIO(without_bulk_data(buffer.getvalue(), EXPLICIT)), is_implicit_VR=False, is_little_endian=True
    )
    assert left.PatientID == "P1"
    assert [list(one.keys()) for one in left.WaveformSequence] == [[0x003A0005]] * 2


@given(st.binary(max_size=200))
def test_no_octets_fail_in_another_way(octets: bytes) -> None:
    for syntax in (IMPLICIT, EXPLICIT, BIG_ENDIAN):
        with suppress(RemoteProtocolError):
            without_bulk_data(octets, syntax)
