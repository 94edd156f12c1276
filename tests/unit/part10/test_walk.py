"""Walking data sets: vectors by hand, pydicom as the oracle, every cut found, hostile octets bounded."""

from __future__ import annotations

import tracemalloc
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import (
    FREE_OF_RATIO,
    MAX_DEPTH,
    MAX_PADDING,
    Element,
    begins_whole,
    elements,
    inflated,
    length_of_whole,
)
from tests.unit.part10.vectors import names, vector

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
JPEG = "1.2.840.10008.1.2.4.50"

GOOD: dict[str, list[tuple[int, str, int, int, int]]] = {
    "dataset-good-nested": [
        (0x00080060, "CS", 0, 8, 2), (0x00081111, "SQ", 10, 22, 82), (0x00200013, "IS", 104, 112, 2),
    ],
    "dataset-good-un-holds-implicit": [(0x00091001, "UN", 0, 12, 34), (0x00200013, "IS", 46, 54, 2)],
    "dataset-good-encapsulated": [
        (0x00280010, "US", 0, 8, 2), (0x7FE00010, "OB", 10, 22, 28), (0xFFFCFFFC, "OB", 50, 62, 4),
    ],
    "dataset-good-bigendian": [
        (0x00080060, "CS", 0, 8, 2), (0x00081111, "SQ", 10, 22, 26), (0x00200013, "IS", 48, 56, 2),
    ],
}  # fmt: skip
BROKEN = {
    "dataset-broken-item-beyond-the-end": ("an item is cut", 20),
    "dataset-broken-no-item-in-sequence": ("something other than an item in a sequence", 12),
    "dataset-broken-never-ends": ("cut inside an element's header", 20),
    "dataset-broken-no-vr": (r"is no VR, at \(0008,0070\)", 10),
    "dataset-broken-garbage-after": ("is no VR", 10),
    "dataset-broken-command-group": ("group 0000, which no data set has", 0),
}


def syntax_of(name: str) -> str:
    return EXPLICIT_BE if "bigendian" in name else EXPLICIT_LE


def walked(octets: bytes, syntax: str) -> list[Element]:
    return list(elements(octets, syntax))


def test_every_vector_is_used() -> None:
    assert {*GOOD, *BROKEN} == set(names("dataset-"))


@pytest.mark.parametrize("name", GOOD)
def test_good(name: str) -> None:
    octets = vector(name)
    expected = [Element(*one) for one in GOOD[name]]
    for kind in (bytes, bytearray, memoryview):
        assert list(elements(kind(octets), syntax_of(name))) == expected
    assert expected[-1].end == len(octets) == length_of_whole(octets, syntax_of(name))


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    says, offset = BROKEN[name]
    with pytest.raises(RemoteProtocolError, match=says) as caught:
        length_of_whole(vector(name), EXPLICIT_LE)
    assert caught.value.offset == offset
    assert caught.value.section.startswith("PS3.5")


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_is_found(name: str) -> None:
    octets, syntax = vector(name), syntax_of(name)
    ends = {0, *(one[3] + one[4] for one in GOOD[name])}
    for cut in range(len(octets)):
        if cut in ends:  # between two elements nothing shows that more was to come
            assert length_of_whole(octets[:cut], syntax) == cut
        else:
            with pytest.raises(RemoteProtocolError) as caught:
                length_of_whole(octets[:cut], syntax)
            assert caught.value.offset is not None
            assert caught.value.offset <= cut


# ------------------------------------------------------------------------------------------------------ real files


def whole_files() -> list[Path]:
    return [p for p in sorted(FOLDER.rglob("*")) if p.is_file() and isinstance(parcel_of_file(p), Parcel)]


def data_set(path: Path) -> tuple[bytes, str]:
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    return path.read_bytes()[parcel.meta.length :], parcel.meta.transfer_syntax_uid


@pytest.mark.parametrize("path", whole_files(), ids=lambda p: p.name)
def test_pydicom_finds_the_same_elements(path: Path) -> None:
    octets, syntax = data_set(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own opinion of these files
        oracle = pydicom.dcmread(path)
    if syntax == DEFLATED_LE:
        octets, syntax = inflated(octets), EXPLICIT_LE
    found = walked(octets, syntax)
    assert [one.tag for one in found] == sorted(int(tag) for tag in oracle.keys())  # noqa: SIM118  (a Dataset gives elements)
    assert [one.offset for one in found[1:]] == [one.end for one in found[:-1]]
    assert found[-1].end == len(octets)
    for one in found:
        raw = oracle.get_item(one.tag)
        if isinstance(raw, pydicom.dataelem.RawDataElement) and raw.value is not None and raw.length != 0xFFFFFFFF:
            assert octets[one.value : one.end] == raw.value


def test_there_are_enough_of_them() -> None:
    assert len(whole_files()) > 40
    assert {data_set(path)[1] for path in whole_files()} >= {IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, JPEG}


@pytest.mark.parametrize(
    "name",
    ["JPEG2000-embedded-sequence-delimiter.dcm", "test-SR.dcm", "rtplan.dcm", "ExplVR_BigEnd.dcm", "image_dfl.dcm"],
)
def test_every_cut_of_a_real_file_is_found(name: str) -> None:
    octets, syntax = data_set(FOLDER / name)
    stop = min(len(octets), 2500)
    ends = {0} if syntax == DEFLATED_LE else {0, *(one.end for one in elements(octets, syntax))}
    view = memoryview(octets)
    for cut in range(1, stop):
        if cut not in ends:
            with pytest.raises(RemoteProtocolError):
                length_of_whole(view[:cut], syntax)


# --------------------------------------------------------------------------------------------------- after the last one


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("zeros", [2, 6, 8, 10, 512, MAX_PADDING])
def test_zeros_after_the_last_element_are_padding(syntax: str, zeros: int) -> None:
    octets = {
        EXPLICIT_LE: vector("dataset-good-nested"),
        EXPLICIT_BE: vector("dataset-good-bigendian"),
        IMPLICIT_LE: bytes.fromhex("08006000 02000000 4354"),
    }[syntax]
    padded = octets + b"\0" * zeros
    assert length_of_whole(padded, syntax) == len(octets)
    assert walked(padded, syntax) == walked(octets, syntax)


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize(
    "tail", [b"\0" * (MAX_PADDING + 2), b"\0", b"\0" * 9, b"\0" * 511 + b"\1", b"\0\0\0\0x", b"\n", b"\xff" * 16]
)
def test_anything_else_after_it_is_broken(syntax: str, tail: bytes) -> None:
    octets = vector("dataset-good-bigendian" if syntax == EXPLICIT_BE else "dataset-good-nested")
    if syntax == IMPLICIT_LE:
        octets = bytes.fromhex("08006000 02000000 4354")
    with pytest.raises(RemoteProtocolError):
        length_of_whole(octets + tail, syntax)


def test_nothing_but_zeros_is_nothing() -> None:
    assert length_of_whole(b"", EXPLICIT_LE) == 0
    assert length_of_whole(b"\0" * 64, IMPLICIT_LE) == 0


# -------------------------------------------------------------------------------------------------------------- deflated


def deflated(octets: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(octets) + stream.flush()


def test_a_beginning_says_nothing_of_what_is_not_plain() -> None:
    plain = pack("<HH2sH", 8, 0x60, b"CS", 2) + b"CT" + pack("<HH2sH", 0x20, 0x13, b"IS", 12) + b"1           "
    assert begins_whole(plain, len(plain), EXPLICIT_LE)
    assert not begins_whole(plain, len(plain) + 2, EXPLICIT_LE)
    assert not begins_whole(plain, len(plain), DEFLATED_LE)  # whatever a stream looks like, nobody has inflated it
    assert not begins_whole(plain, len(plain), EXPLICIT_BE)
    endless = plain + pack("<HH2sHL", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF)
    assert not begins_whole(endless, len(endless) + 0xFFFFFFFF, EXPLICIT_LE)  # no length: it ends where items do


def test_deflated() -> None:
    octets = vector("dataset-good-nested")
    for tail in (b"", b"\0", b"checksum"):  # zlib's trailers stay where they are
        whole = deflated(octets) + tail
        assert length_of_whole(whole, DEFLATED_LE) == len(whole)
        assert inflated(memoryview(whole)) == octets
    with pytest.raises(RemoteProtocolError, match="can't be walked"):
        walked(deflated(octets), DEFLATED_LE)


def test_broken_deflated() -> None:
    octets = deflated(vector("dataset-good-nested"))
    for cut in range(len(octets)):
        with pytest.raises(RemoteProtocolError, match="deflate"):
            length_of_whole(octets[:cut], DEFLATED_LE)
    with pytest.raises(RemoteProtocolError, match="no deflate stream"):
        inflated(b"\xff" * 20)
    with pytest.raises(RemoteProtocolError, match="is no VR"):
        length_of_whole(deflated(b"\x08\0\x08\0 no elements"), DEFLATED_LE)


def test_a_deflated_bomb_is_bounded() -> None:
    bomb = deflated(b"\0" * 1_000_000)
    assert len(bomb) < 2000
    assert len(inflated(bomb, 1_000_000)) == 1_000_000
    with pytest.raises(RemoteProtocolError, match="inflates to more than 999999 octets"):
        inflated(bomb, 999_999)
    bomb = deflated(b"\0" * (FREE_OF_RATIO + 1))
    with pytest.raises(RemoteProtocolError, match=f"inflates to more than {FREE_OF_RATIO} octets"):
        inflated(bomb)
    bomb = deflated(b"\0" * 20_000_000)
    assert len(inflated(bomb)) == 20_000_000  # what is not large may be nothing but zeros
    tracemalloc.start()
    try:
        with pytest.raises(RemoteProtocolError):
            inflated(bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


# --------------------------------------------------------------------------------------------------------------- hostile

ITEM, SEQUENCE = bytes.fromhex("feff00e0 ffffffff"), bytes.fromhex("08001111 5351 0000 ffffffff")
ITEM_END, SEQUENCE_END = bytes.fromhex("feff0de0 00000000"), bytes.fromhex("feffdde0 00000000")


def nested(depth: int) -> bytes:
    return (SEQUENCE + ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth


def test_depth() -> None:
    assert len(walked(nested(MAX_DEPTH), EXPLICIT_LE)) == 1
    for bomb in (nested(MAX_DEPTH + 1), (SEQUENCE + ITEM) * 100_000):
        with pytest.raises(RemoteProtocolError, match=f"nested deeper than {MAX_DEPTH}"):
            walked(bomb, EXPLICIT_LE)


class Counted(bytes):
    """Octets that count how many of them are copied out."""

    copied = 0

    def __getitem__(self, key: object) -> object:  # type: ignore[override]
        found = super().__getitem__(key)  # type: ignore[index]
        type(self).copied += len(found) if isinstance(found, bytes) else 1
        return found


@pytest.mark.parametrize(
    "make",
    [
        lambda n: bytes.fromhex("08006000 4353 0200 4354") * n,
        lambda n: bytes.fromhex("08006000 4353 0000") * n,
        lambda n: bytes.fromhex("0008 0060 4353 0000") * n,  # the first octet of each is zero, as padding's is
        lambda n: SEQUENCE + bytes.fromhex("feff00e0 00000000") * n + SEQUENCE_END,
        lambda n: nested(60) * (n // 60),
    ],
    ids=["values", "empty", "big endian", "items", "nested"],
)
def test_the_work_grows_as_the_data_does(make: Callable[[int], bytes], request: pytest.FixtureRequest) -> None:
    """No clock: what is looked at is counted, and twice the data may cost twice as much."""
    syntax = EXPLICIT_BE if "big endian" in request.node.name else EXPLICIT_LE
    cost = []
    for count in (600, 1200, 2400):
        Counted.copied = 0
        octets = Counted(make(count))
        length_of_whole(octets, syntax)
        cost.append(Counted.copied)
        assert Counted.copied <= 4 * len(octets)
    assert cost[2] <= 2.1 * cost[1] <= 4.5 * cost[0] + 100


octets_of_anybody = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.one_of(
            st.sampled_from([SEQUENCE, ITEM, ITEM_END, SEQUENCE_END, b"\0" * 8, bytes.fromhex("09000110 554e 0000 ffffffff")]),
            st.builds(
                lambda tag, vr, length, value: pack("<L2sH", tag, vr, length) + value,
                st.integers(0, 2**32 - 1), st.sampled_from([b"CS", b"OB", b"US", b"ZZ", b"\0\0"]), st.integers(0, 20),
                st.binary(max_size=20),
            ),
        ),
        max_size=12,
    ).map(b"".join),
)  # fmt: skip


@given(octets_of_anybody, st.sampled_from([IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE, DEFLATED_LE, JPEG, "", "nonsense"]))
def test_octets_of_anybody_fail_in_one_way_only(octets: bytes, syntax: str) -> None:
    try:
        end = length_of_whole(octets, syntax)
    except RemoteProtocolError:
        return
    assert 0 <= end <= len(octets)
    if syntax != DEFLATED_LE:
        found = walked(octets, syntax)
        assert [one.offset for one in found] == [0, *(one.end for one in found)][: len(found)]
        assert not any(octets[end:])
