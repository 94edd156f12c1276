"""File Meta Information: vectors by hand, pydicom both ways round, every cut, hostile octets."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_file_meta_info

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.part10.meta import (
    EXPLICIT_LE,
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION_NAME,
    IMPLICIT_LE,
    MAX_META,
    FileMeta,
    NeedMore,
    decode_file_meta,
    encode_file_meta,
)
from tests.unit.part10.vectors import names, vector

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
CT = "1.2.840.10008.5.1.4.1.1.2"

GOOD = {
    "meta-good": FileMeta("1.2", "1.3", EXPLICIT_LE, 220, "", "V1"),
    "meta-no-group-length": FileMeta("", "1.3", IMPLICIT_LE, 170),
    "meta-lying-group-length": FileMeta("", "", IMPLICIT_LE, 170),
    "meta-no-data-set": FileMeta("", "", IMPLICIT_LE, 166),
    "meta-short-data-set": FileMeta("", "", IMPLICIT_LE, 158),
    "meta-ae-and-padding": FileMeta("", "1.3.4", EXPLICIT_LE, 188, "LAB1"),
}
BROKEN = {
    "meta-broken-no-transfer-syntax": ("no Transfer Syntax UID", 144),
    "meta-broken-implicit-vr": ("VR b'.*' in group 0002", 136),
    "meta-broken-huge-element": (r"\(0002,0001\) announces 4294967295 octets", 132),
    "meta-broken-cut-value": (r"\(0002,0010\) is cut", 132),
    "meta-broken-cut-header": ("cut inside group 0002", 158),
    "meta-broken-cut-long-header": ("cut inside group 0002", 158),
}


def decoded(octets: bytes | bytearray) -> FileMeta | RemoteProtocolError:
    """What a whole file gives: an answer, or the one error there is."""
    try:
        return decode_file_meta(octets, final=True)
    except RemoteProtocolError as error:
        return error


def test_every_vector_is_used() -> None:
    assert {*GOOD, *BROKEN} == set(names("meta-"))


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    for kind in (bytes, bytearray, memoryview):
        assert decode_file_meta(kind(vector(name)), final=True) == GOOD[name]


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    says, offset = BROKEN[name]
    with pytest.raises(RemoteProtocolError, match=says) as caught:
        decode_file_meta(vector(name), final=True)
    assert caught.value.offset == offset
    assert caught.value.section == "PS3.10 §7.1"


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_asks_for_more_and_then_for_nothing(name: str) -> None:
    """Before the end NeedMore; from where another group shows, the answer, and never another one."""
    octets, good = vector(name), GOOD[name]
    shown = min(good.length + 2, len(octets))  # the group of the next element is two octets
    for end in range(len(octets) + 1):
        if end < shown or (end == good.length == len(octets)):
            with pytest.raises(NeedMore):
                decode_file_meta(octets[:end])
        else:
            assert decode_file_meta(octets[:end]) == good


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_of_a_whole_file_is_an_answer_or_an_error(name: str) -> None:
    octets, good = vector(name), GOOD[name]
    for end in range(good.length):
        found = decoded(octets[:end])
        if isinstance(found, RemoteProtocolError):
            assert found.offset is not None
            assert found.offset <= end
        else:  # a cut between two elements of group 0002 shows nothing missing
            assert (found.length, found.transfer_syntax_uid) == (end, good.transfer_syntax_uid)
    assert decode_file_meta(octets, final=True) == good


@pytest.mark.parametrize(
    ("octets", "offset"),
    [(b"", 0), (b"\0" * 131, 131), (b"\0" * 132, 128), (b"\0" * 128 + b"dicm", 128), (b"DICM" + b"\0" * 200, 128)],
)
def test_what_is_no_dicom_file(octets: bytes, offset: int) -> None:
    with pytest.raises(RemoteProtocolError, match="not a DICOM file") as caught:
        decode_file_meta(octets, final=True)
    assert caught.value.offset == offset


def test_a_flood_of_elements_ends() -> None:
    flood = b"\0" * 128 + b"DICM" + bytes.fromhex("02001600 4145 0000") * (MAX_META // 8 + 100)
    with pytest.raises(RemoteProtocolError, match="beyond 1 MiB"):
        decode_file_meta(flood)


@given(st.binary(max_size=200))
def test_octets_of_anybody_fail_in_one_way_only(octets: bytes) -> None:
    for whole in (octets, b"\0" * 128 + b"DICM" + octets, b"\0" * 128 + b"DICM\x02\0" + octets):
        with suppress(NeedMore, RemoteProtocolError):
            assert decode_file_meta(whole).length <= len(whole)
        found = decoded(whole)
        assert found.offset is not None if isinstance(found, RemoteProtocolError) else found.length <= len(whole)


@given(st.integers(min_value=132, max_value=219), st.integers(min_value=0, max_value=255))
def test_one_wrong_octet(at: int, octet: int) -> None:
    octets = bytearray(vector("meta-good"))
    octets[at] = octet
    found = decoded(octets)
    assert isinstance(found, RemoteProtocolError) or 132 < found.length <= len(octets)


# ------------------------------------------------------------------------------------------------------------- encoding


@pytest.mark.parametrize("source", ["", "LAB1", "ODD", "A" * 16])
@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34", "1" * 64])
def test_what_is_written_is_read_by_pydicom(uid: str, source: str) -> None:
    octets = encode_file_meta(CT, uid, EXPLICIT_LE, source_ae_title=source)
    assert len(octets) % 2 == 0
    data_set = bytes.fromhex("08006000 4353 0200 4354")
    read = pydicom.dcmread(BytesIO(octets + data_set))
    meta = read.file_meta
    assert read.Modality == "CT"
    assert meta.FileMetaInformationGroupLength == len(octets) - 144
    assert meta.FileMetaInformationVersion == b"\0\1"
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID) == (
        CT,
        uid,
        EXPLICIT_LE,
    )
    assert meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
    assert meta.ImplementationVersionName == IMPLEMENTATION_VERSION_NAME
    assert meta.get("SourceApplicationEntityTitle", "") == source
    assert decode_file_meta(octets, final=True) == FileMeta(
        CT, uid, EXPLICIT_LE, len(octets), source, IMPLEMENTATION_VERSION_NAME
    )


@pytest.mark.parametrize("source", ["http://host/dicom-web", "A" * 17, "PÄCS", "a\\b", "a\nb", "   "])
def test_what_is_no_ae_title_is_left_out(source: str) -> None:
    assert encode_file_meta(CT, "1.2", EXPLICIT_LE, source_ae_title=source) == encode_file_meta(CT, "1.2", EXPLICIT_LE)


@pytest.mark.parametrize("wrong", ["1" * 65, "1.2.ä", "1.2\0", "1.2\n", "x" * 70_000, "\ud800"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_uids_that_no_file_could_hold(wrong: str, place: int) -> None:
    uids = ["1.2", "1.3", "1.4"]
    uids[place] = wrong
    with pytest.raises(LocalProtocolError, match=r"\(0002,00(02|03|10)\) can't be"):
        encode_file_meta(*uids)


def test_our_own_names_fit() -> None:
    assert len(IMPLEMENTATION_CLASS_UID) <= 64
    assert 1 <= len(IMPLEMENTATION_VERSION_NAME) <= 16


@pytest.mark.parametrize("path", [p for p in sorted(FOLDER.rglob("*")) if p.is_file()], ids=lambda p: p.name)
def test_pydicom_reads_the_same(path: Path) -> None:
    octets = path.read_bytes()
    try:
        found = decode_file_meta(octets[: 16 * 1024], final=len(octets) <= 16 * 1024)
    except RemoteProtocolError as error:
        if "not a DICOM file" in str(error):
            with pytest.raises(pydicom.errors.InvalidDicomError):
                pydicom.dcmread(path)
        else:
            assert "TransferSyntaxUID" not in read_file_meta_info(path)
        return
    meta = read_file_meta_info(path)
    assert found.transfer_syntax_uid == meta.TransferSyntaxUID
    assert found.sop_instance_uid == meta.get("MediaStorageSOPInstanceUID", "")
    assert found.sop_class_uid == meta.get("MediaStorageSOPClassUID", "")
    assert found.source_ae_title == meta.get("SourceApplicationEntityTitle", "")
    assert octets[found.length : found.length + 2] != b"\x02\0"
