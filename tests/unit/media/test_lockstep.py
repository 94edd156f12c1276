"""Many data sets walked in step find what a walk of each finds."""

from __future__ import annotations

from itertools import accumulate
from struct import pack

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.lockstep import Values, gathered, numbers, trimmed, walk_in_step
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import elements

TAGS = (0x00041400, 0x00041500, 0x00080005, 0x00100010, 0x00200013)
SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, EXPLICIT_BE)

VALUES = st.tuples(
    st.sampled_from(TAGS), st.sampled_from([b"CS", b"UL", b"PN", b"UT", b"OB", b"ZZ"]), st.binary(max_size=9)
)


def encoded(tag: int, vr: bytes, value: bytes, syntax: str) -> bytes:
    order = ">" if syntax == EXPLICIT_BE else "<"
    if syntax == IMPLICIT_LE:
        return pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
    if vr in (b"UT", b"OB", b"ZZ"):
        return pack(f"{order}HH2sxxL", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    return pack(f"{order}HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def one_by_one(octets: bytes, start: int, end: int, syntax: str) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    try:
        for element in elements(octets[start:end], syntax):
            if element.tag in TAGS:
                found.setdefault(element.tag, (start + element.value, element.length))
    except RemoteProtocolError:
        pass
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
@given(sets=st.lists(st.lists(VALUES, max_size=6), max_size=60), noise=st.lists(st.integers(0, 10**6), max_size=5))
def test_the_same_as_one_by_one(syntax: str, sets: list[list[tuple[int, bytes, bytes]]], noise: list[int]) -> None:
    bodies = [b"".join(encoded(*value, syntax) for value in one) for one in sets]
    octets = bytearray(b"".join(bodies))
    for at in noise:
        if octets:
            octets[at % len(octets)] ^= 0x55
    ends = list(accumulate(map(len, bodies)))
    starts = [end - len(body) for end, body in zip(ends, bodies, strict=True)]
    walked = walk_in_step(bytes(octets), syntax, np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), TAGS)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        here = {
            tag: (int(values.starts[at]), int(values.lengths[at]))
            for tag, values in walked.values.items()
            for at in np.flatnonzero(values.rows == row)
        }
        expected = one_by_one(bytes(octets), start, end, syntax)
        if row not in walked.broken:
            assert here == expected
        else:  # zeros and delimiters end the one walk and break the other: never more is found, nothing else either
            assert all(expected.get(tag, place) == place for tag, place in here.items())
        assert all(start <= place and place + length <= end for place, length in here.values())


def test_of_one_that_stands_twice_the_first_counts() -> None:
    twice = encoded(0x00100010, b"PN", b"A ", EXPLICIT_LE) + encoded(0x00100010, b"PN", b"B ", EXPLICIT_LE)
    many = twice * 40
    starts = np.arange(40) * len(twice)
    walked = walk_in_step(many, EXPLICIT_LE, starts, starts + len(twice), TAGS)
    assert walked.values[0x00100010].starts.tolist() == (starts + 8).tolist()
    assert walked.values[0x00100010].rows.tolist() == list(range(40))


def test_no_value_reaches_into_the_next_data_set() -> None:
    one = encoded(0x00100010, b"PN", b"A ", EXPLICIT_LE)
    octets = bytearray(one * 40)
    octets[5 * len(one) + 6] = 200  # the length of the sixth
    starts = np.arange(40) * len(one)
    walked = walk_in_step(bytes(octets), EXPLICIT_LE, starts, starts + len(one), TAGS)
    assert list(walked.broken) == [5]
    assert walked.values[0x00100010].rows.tolist() == [row for row in range(40) if row != 5]


def test_an_endless_record_takes_linear_time_and_breaks_no_other() -> None:
    long = encoded(0x00041400, b"UL", b"", EXPLICIT_LE) * 20_000
    short = encoded(0x00100010, b"PN", b"A ", EXPLICIT_LE)
    octets = long + short * 50
    starts = np.array([0, *(len(long) + len(short) * n for n in range(50))])
    ends = np.array([len(long), *(len(long) + len(short) * (n + 1) for n in range(50))])
    walked = walk_in_step(octets, EXPLICIT_LE, starts, ends, TAGS)
    assert len(walked.values[0x00100010].rows) == 50
    assert not walked.broken


def test_padding_goes_on_both_sides() -> None:
    octets = np.frombuffer(b"  AB \0\0    ", dtype=np.uint8)
    found = trimmed(octets, Values(np.array([0, 1]), np.array([0, 7]), np.array([7, 4])))
    assert (found.starts[0], found.lengths.tolist()) == (2, [2, 0])
    offsets, text = gathered(octets, found)
    assert (offsets.tolist(), text.tobytes()) == ([0, 2, 2], b"AB")


def test_numbers_of_another_length_are_zero() -> None:
    octets = np.frombuffer(b"\x01\x02\x03\x04", dtype=np.uint8)
    values = Values(np.arange(3), np.array([0, 0, 2]), np.array([4, 2, 2]))
    assert numbers(octets, values, 4, big=False).tolist() == [0x04030201, 0, 0]
    assert numbers(octets, values, 2, big=True).tolist() == [0, 0x0102, 0x0304]
