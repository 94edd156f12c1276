"""The lean walk: the same elements as the plain walk finds, from small heads, and never an octet beyond the end."""

from __future__ import annotations

from contextlib import suppress
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.media import walker
from dicomlab.media.walker import BIG, EXPLICIT, IMPLICIT, Grammar, Plan, Walked, grammar_of, walk
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, decode_file_meta
from dicomlab.part10.walk import elements
from tests.unit.media.test_header import encoded, example

WANTED = [
    (0x00080005, "CS"), (0x00080016, "UI"), (0x00080018, "UI"), (0x00100010, "PN"), (0x00280010, "US"),
    (0x00280106, "SS"), (0x00400275, "SQ"), (0x00104000, "LT"),
]  # fmt: skip
PLAN = Plan(WANTED)
SYNTAXES = [IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE]


def dataset(syntax: str, *, undefined: bool = False) -> bytes:
    octets = encoded(example(), syntax, undefined=undefined)
    return octets[decode_file_meta(octets).length :]


class Source:
    """Gives octets, and fails a walk that asks for any beyond the end."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self.asked = 0

    def __call__(self, offset: int, octets: int) -> bytes:
        assert 0 <= offset <= offset + octets <= len(self.octets)
        self.asked += octets
        return self.octets[offset : offset + octets]


def walked(octets: bytes, grammar: Grammar, plan: Plan = PLAN) -> Walked:
    found = Walked(plan.blank.copy())
    walk(found, Source(octets), (0, len(octets)), grammar, plan)
    return found


def plainly(octets: bytes, syntax: str) -> tuple[dict[int, bytes], int, tuple[int, int]]:
    """What the walk that knows no hurry finds."""
    values: dict[int, bytes] = {}
    end, pixels = 0, (0, 0)
    for one in elements(octets, syntax):
        if one.length and one.tag in PLAN.tags:
            values[one.tag] = octets[one.value : one.end]
        if one.length and one.tag in walker.PIXELS:
            pixels = one.value, one.length
        end = one.end
    return values, end, pixels


def lean(octets: bytes, syntax: str) -> tuple[dict[int, bytes], int, tuple[int, int]]:
    found = walked(octets, grammar_of(syntax))
    values = {tag: value for tag, value in zip(PLAN.tags, found.values, strict=True) if value is not None}
    return values, found.end, (found.pixel_offset, found.pixel_length)


@pytest.fixture(params=[8192, 64, 16])
def head(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is read at once."""
    monkeypatch.setattr(walker, "HEAD_OCTETS", request.param)
    monkeypatch.setattr(walker, "_FAR_OCTETS", min(request.param, 512))


@pytest.mark.usefixtures("head")
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_it_finds_what_the_plain_walk_finds(syntax: str, undefined: bool) -> None:
    octets = dataset(syntax, undefined=undefined)
    values, end, pixels = lean(octets, syntax)
    assert (values, end, pixels) == plainly(octets, syntax)
    assert end == len(octets)
    assert len(values) >= 7
    assert pixels[1] == 64


@given(st.data())
def test_damaged_anywhere_both_walks_agree(data: st.DataObject) -> None:
    syntax = data.draw(st.sampled_from(SYNTAXES))
    octets = bytearray(dataset(syntax, undefined=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(0, 4))):
        octets[data.draw(st.integers(8, len(octets) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    with pytest.MonkeyPatch.context() as patch:
        size = data.draw(st.sampled_from([16, 40, 200, 8192]))
        patch.setattr(walker, "HEAD_OCTETS", size)
        patch.setattr(walker, "_FAR_OCTETS", min(size, 512))
        try:
            expected = plainly(cut, syntax)
        except RemoteProtocolError:
            with pytest.raises(RemoteProtocolError):
                lean(cut, syntax)
            return
        assert lean(cut, syntax) == expected


@given(st.binary(max_size=300), st.sampled_from([EXPLICIT, IMPLICIT, BIG]))
def test_anything_at_all_fails_only_in_one_way(octets: bytes, grammar: Grammar) -> None:
    with suppress(RemoteProtocolError):
        assert walked(octets, grammar).end <= len(octets)


def test_a_long_value_is_stepped_over_and_not_read() -> None:
    octets = pack("<HH2sxxL", 0x0009, 0x1010, b"OB", 1 << 20) + b"\1" * (1 << 20) + dataset(EXPLICIT_LE)
    source, found = Source(octets), Walked(PLAN.blank.copy())
    walk(found, source, (0, len(octets)), EXPLICIT, PLAN)
    assert found.end == len(octets)
    assert source.asked <= 2 * walker.HEAD_OCTETS


def test_what_is_at_hand_is_not_read_again() -> None:
    octets = dataset(EXPLICIT_LE)
    found = Walked(PLAN.blank.copy())
    walk(found, Source(b""), (0, len(octets)), EXPLICIT, PLAN, head=octets)
    assert found.end == len(octets)


def test_a_vr_other_than_expected_is_told() -> None:
    octets = pack("<HH2sHL", 0x0028, 0x0010, b"UL", 4, 512) + pack("<HH2sH4s", 0x0028, 0x0011, b"US", 2, b"\0\1")
    found = walked(octets[:12], EXPLICIT)
    slot = PLAN.tags.index(0x00280010)
    assert found.vrs == {slot: EXPLICIT.code("UL")}
    assert walked(dataset(EXPLICIT_LE), EXPLICIT).vrs is None


def test_of_two_elements_with_one_tag_the_last_counts() -> None:
    one = pack("<HH2sH2s", 0x0010, 0x0010, b"PN", 2, b"A ")
    found = walked(one + one.replace(b"A ", b"B "), EXPLICIT)
    assert found.values[PLAN.tags.index(0x00100010)] == b"B "


ITEM, SEQUENCE = b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("octets", "grammar", "text"),
    [
        ((SEQUENCE + ITEM) * 2000, EXPLICIT, "nested deeper"),
        (SEQUENCE + ITEM, EXPLICIT, "cut inside"),
        (SEQUENCE + b"ABCDEFGH" * 2, EXPLICIT, "other than an item"),
        (SEQUENCE + b"\xfe\xff\x00\xe0\x40\0\0\0" + b"\0" * 8, EXPLICIT, "an item is cut"),
        (SEQUENCE + ITEM + b"\x08\0\x16\0UI\xff\x00" + b"1" * 9, EXPLICIT, "are missing"),
        (b"\x08\0\x16\0UI\x08\x00" + b"1" * 7, EXPLICIT, "1 of them are missing"),
        (b"\x08\0\x16\0??\x08\x00" + b"1" * 8, EXPLICIT, "is no VR, at"),
        (b"\0\x08\0\x16UI\0\x08" + b"1" * 8, EXPLICIT, "swapped.*is no VR"),
        (b"\x08\0\x16\0UI\x08\x00" + b"1" * 8, BIG, "swapped.*is no VR"),
        (b"\x08\0\x16\0UI\x08\x00" + b"1" * 8, IMPLICIT, "is no VR of Implicit VR"),
        (b"\x08\0\x16\0OB\0\0", EXPLICIT, "cut inside"),
        (b"\x08\0\x16\0UI\x02\x001\0" + b"\0\0\0\0UL\4\0\1\2\3\4", EXPLICIT, "group 0000"),
        (b"\x08\0\x16\0\x02\0\0\0" + b"1\0" + b"\0\0\0\0\4\0\0\0" + b"\1\2\3\4", IMPLICIT, "group 0000"),
    ],
)  # fmt: skip
def test_broken_octets_are_named(octets: bytes, grammar: Grammar, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        walked(octets, grammar)


@pytest.mark.parametrize("zeros", [2, 4, 6, 8, 10, 12, 300, walker.MAX_PADDING])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_zeros_at_the_end_are_padding(syntax: str, zeros: int) -> None:
    octets = dataset(syntax)
    assert walked(octets + b"\0" * zeros, grammar_of(syntax)).end == len(octets)


def test_odd_or_endless_zeros_are_none() -> None:
    octets = dataset(EXPLICIT_LE)
    for zeros in (1, 9, walker.MAX_PADDING + 2):
        with pytest.raises(RemoteProtocolError):
            walked(octets + b"\0" * zeros, EXPLICIT)


def test_values_without_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walker, "MAX_VALUES", 10_000)
    octets = pack("<HH2sxxL", 0x0010, 0x4000, b"UT", 20_000) + b"A" * 20_000
    with pytest.raises(RemoteProtocolError, match="the limit is 10000"):
        walked(octets, EXPLICIT)


def test_a_file_that_shrinks_while_it_is_read_is_told() -> None:
    octets = dataset(EXPLICIT_LE)
    with pytest.raises(RemoteProtocolError, match="shorter than it was"):
        walk(Walked(PLAN.blank.copy()), lambda at, n: octets[at : at + n // 2], (0, len(octets)), EXPLICIT, PLAN)
