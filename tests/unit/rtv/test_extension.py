"""The header extension against the vectors A and B, in both forms, cut anywhere."""

from __future__ import annotations

from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv.extension import (
    ONE_BYTE,
    TWO_BYTE,
    GrainItems,
    decode_elements,
    decode_items,
    encode_elements,
    encode_items,
)
from tests.unit.rtv.vectors import AT_NS, FLOW, SOURCE, vector

IDS_A = {"origin": 1, "sync": 2, "flow": 3, "source": 4, "flags": 5}
IDS_B = {"origin": 1, "flow": 3, "source": 4, "flags": 5, "sync": 7, "duration": 9}
B_NS = 1_453_891_387_480_000_000


def split(octets: bytes) -> tuple[int, bytes]:
    profile, words = int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big")
    assert len(octets) == 4 + 4 * words
    return profile, octets[4:]


def test_vector_a_both_ways() -> None:
    items = GrainItems(AT_NS, AT_NS, SOURCE, FLOW, 0xC0)
    profile, octets = encode_items(items, IDS_A)
    assert profile.to_bytes(2, "big") + (len(octets) // 4).to_bytes(2, "big") + octets == vector("extension-a")
    assert decode_items(split(vector("extension-a")), IDS_A) == items
    assert items.starts
    assert items.ends


def test_vector_b_as_captured() -> None:
    first = decode_items(split(vector("extension-b-first")), IDS_B)
    flow, source = UUID(bytes=bytes(range(16))), UUID(bytes=bytes(range(240, 256)))
    assert first == GrainItems(B_NS, B_NS, source, flow, 0x80, Fraction(1920, 48_000))
    last = decode_items(split(vector("extension-b-last")), IDS_B)
    assert last == GrainItems(flags=0x40)
    assert not last.starts
    assert last.ends


def test_without_extmap_the_items_are_known_by_their_lengths() -> None:
    found = decode_items(split(vector("extension-a")), None)
    assert found == GrainItems(AT_NS, AT_NS, SOURCE, FLOW, 0xC0)
    duration = decode_items(split(vector("extension-b-first")), None)
    assert duration.duration_s == Fraction(1920, 48_000)


def test_an_id_that_the_extmap_does_not_name_is_passed_over() -> None:
    assert decode_items(split(vector("extension-a")), {"flow": 4}) == GrainItems(flow=SOURCE)
    assert decode_items(None, IDS_A) == GrainItems()


@pytest.mark.parametrize(
    ("profile", "octets", "found"),
    [
        (ONE_BYTE, "00 10 aa 00 00 21 bbcc", {1: b"\xaa", 2: b"\xbb\xcc"}),  # padding between elements
        (ONE_BYTE, "10 aa f0 21 bbcc 00 00", {1: b"\xaa"}),  # id 15 stops
        (ONE_BYTE, "10 aa 10 bb", {1: b"\xaa"}),  # the first of a pair counts
        (TWO_BYTE, "01 00 02 01 aa 00 00 00", {1: b"", 2: b"\xaa"}),  # an element of no octets
        (TWO_BYTE | 0xF, "ff 02 aabb", {255: b"\xaa\xbb"}),  # appbits
        (0x1234, "10 aa", {}),  # somebody else's
    ],
)
def test_the_two_forms(profile: int, octets: str, found: dict[int, bytes]) -> None:
    assert decode_elements(profile, bytes.fromhex(octets)) == found


def test_the_form_that_fits_is_chosen() -> None:
    assert encode_elements([(1, b"x" * 16)])[0] == ONE_BYTE
    assert encode_elements([(15, b"x")]) == (TWO_BYTE, b"\x0f\x01x\0")
    assert encode_elements([(1, b"x" * 17)])[0] == TWO_BYTE
    for element in [(0, b"x"), (256, b"x"), (1, b"x" * 256)]:
        with pytest.raises(LocalProtocolError):
            encode_elements([element])


@pytest.mark.parametrize("name", ["extension-a", "extension-b-first", "extension-b-last"])
def test_a_cut_extension_is_an_error_or_less(name: str) -> None:
    profile, octets = split(vector(name))
    whole = decode_elements(profile, octets)
    for at in range(len(octets)):
        try:
            found = decode_elements(profile, octets[:at])
        except RemoteProtocolError:
            continue
        assert found.items() <= whole.items()


@pytest.mark.parametrize("octets", ["10 aa", "18 000069248125 0000ff", "57 0000000100000000"])
def test_items_of_impossible_lengths_or_values(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_items((ONE_BYTE, bytes.fromhex(octets)), {"origin": 1, "duration": 5})


@given(st.sampled_from([ONE_BYTE, TWO_BYTE, 0x1003]), st.binary(max_size=80))
def test_any_octets_give_elements_or_an_error_of_ours(profile: int, octets: bytes) -> None:
    for ids in (IDS_A, None):
        try:
            decode_items((profile, octets), ids)
        except RemoteProtocolError:
            continue


@given(st.dictionaries(st.integers(1, 255), st.binary(min_size=1, max_size=40), max_size=8))
def test_elements_come_back(elements: dict[int, bytes]) -> None:
    profile, octets = encode_elements(elements.items())
    assert len(octets) % 4 == 0
    assert decode_elements(profile, octets) == elements
