"""A deflate stream, read as though it lay there unfolded."""

from __future__ import annotations

import random
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.media import inflate
from dicomlab.media.inflate import Inflated

PLAIN = random.Random(7).randbytes(5000) * 80


def folded(octets: bytes) -> bytes:
    return zlib.compress(octets, wbits=-15)


def over(octets: bytes, cap: int = 1 << 30, *, before: bytes = b"") -> Inflated:
    whole = before + octets
    return Inflated(lambda at, n: whole[at : at + n], len(before), len(whole), cap)


@given(st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 9000)), max_size=12), st.booleans())
def test_any_octets_in_any_order(asked: list[tuple[int, int]], measured: bool) -> None:
    stream = over(folded(PLAIN), before=b"before")
    if measured:
        assert stream.measure() == len(PLAIN)
    for offset, count in asked:
        assert stream.read(offset, count) == PLAIN[offset : offset + count]


def test_going_on_unfolds_once() -> None:
    stream = over(folded(PLAIN))
    for offset in range(0, len(PLAIN), 10_000):
        stream.read(offset, 8192)
    assert stream.unfolded <= len(PLAIN)


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize(
    ("octets", "cap", "text"),
    [
        (folded(PLAIN)[:-40], 1 << 30, "cut"),
        (b"\xff\xff\xff", 1 << 30, "no deflate stream"),
        (folded(b"\0" * 100_000), 99_999, "inflates to more than 99999"),
    ],
)
def test_a_broken_stream_is_named(octets: bytes, cap: int, text: str, measured: bool) -> None:
    stream = over(octets, cap)
    with pytest.raises(RemoteProtocolError, match=text):
        stream.measure() if measured else stream.read(0, 1 << 20)


def test_a_bomb_is_unfolded_up_to_the_bound_only() -> None:
    stream = over(folded(b"\0" * (64 << 20)), 1 << 20)
    with pytest.raises(RemoteProtocolError, match="inflates to more"):
        stream.measure()
    assert stream.unfolded <= (1 << 20) + inflate._PIECE_OCTETS


def test_beyond_the_end_there_is_nothing() -> None:
    stream = over(folded(b"abc"))
    assert stream.read(1, 100) == b"bc"
    assert stream.read(7, 100) == b""
