"""Whole data sets as trees: octets, the JSON Model, pydicom and keywords, there and back."""

from __future__ import annotations

import contextlib
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.sequence import Sequence

from dicomlab.dimse.identifier import encode_tree
from dicomlab.dimse.tree import dataset_of, decode_tree, json_of, tree_of_json, tree_of_values, value_of
from dicomlab.errors import DicomlabError, RemoteProtocolError, UsageError
from dicomlab.part10.walk import Walker
from tests.unit.dimse.holdings import EXPLICIT, IMPLICIT

TREE = {
    0x00080050: ("SH", ["A1"]),
    0x00100010: ("PN", ["Müller^Jürgen=山田^太郎"]),
    0x00280010: ("US", [512]),
    0x00400270: ("SQ", [{0x0020000D: ("UI", ["1.2.3"]), 0x00400008: ("SQ", [])}, {0x00400009: ("SH", [])}]),
    0x00420011: ("OB", [b"\1\2\3\4"]),
}
LATIN_1 = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100\x10\x00\x10\x00PN\x06\x00M\xfcller"

_text = st.text(
    st.characters(codec="utf-8", exclude_characters="\\=^\0\x1b", exclude_categories=("C", "Z")), max_size=12
)
_leaf: Any = st.one_of(
    st.tuples(st.just(0x00081030), st.tuples(st.just("LO"), st.lists(_text.filter(bool), max_size=1))),
    st.tuples(st.just(0x00100010), st.tuples(st.just("PN"), st.lists(_text.filter(bool), max_size=1))),
    st.tuples(st.just(0x00280010), st.tuples(st.just("US"), st.lists(st.integers(0, 65535), max_size=3))),
    st.tuples(st.just(0x00420011), st.tuples(st.just("OB"), st.just([b"\0\1"]))),
)
_trees: Any = st.recursive(
    st.lists(_leaf, max_size=4).map(dict),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: {0x00400275: ("SQ", items)}),
    max_leaves=6,
)


@given(_trees, st.sampled_from([EXPLICIT, IMPLICIT]))
def test_octets_there_and_back(tree: Any, syntax: str) -> None:
    assert decode_tree(encode_tree(tree, syntax), syntax) == tree


@given(_trees)
def test_the_json_model_there_and_back(tree: Any) -> None:
    assert tree_of_json(json_of(tree)) == tree


@given(st.binary(max_size=200), st.sampled_from([EXPLICIT, IMPLICIT]))
def test_octets_of_anybody_are_a_tree_or_an_error(octets: bytes, syntax: str) -> None:
    with contextlib.suppress(DicomlabError):
        decode_tree(octets, syntax)


def test_a_whole_data_set() -> None:
    assert decode_tree(encode_tree(TREE, EXPLICIT), EXPLICIT) == TREE
    assert tree_of_values(dataset_of(TREE)) == TREE
    assert Dataset.from_json(json_of(TREE)).PatientName.ideographic == "山田^太郎"


@pytest.mark.parametrize(
    ("group", "entry"), [(b"\x08\0\x60\0", ("CS", ["abcd"])), (b"\x09\0\x60\x10", ("UN", [b"abcd"]))]
)
def test_a_vr_of_a_later_edition_is_what_the_dictionary_says_or_octets(group: bytes, entry: Any) -> None:
    tree = decode_tree(group + b"ZZ\0\0\x04\0\0\0abcd", EXPLICIT)
    assert list(tree.values()) == [entry]
    assert str(next(iter(dataset_of(tree))).VR) == entry[0]


def test_depth_costs_no_second_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each header is read once, however deep it lies: who nests deeply would cost us that many times otherwise."""
    looks: list[int] = []
    header = Walker.header

    def counted(walker: Walker, at: int, *, implicit: bool) -> Any:
        looks.append(at)
        return header(walker, at, implicit=implicit)

    monkeypatch.setattr(Walker, "header", counted)
    tree: Any = {0x00100020: ("LO", ["x"])}
    open_ended = encode_tree(tree, IMPLICIT)
    for _ in range(20):
        tree = {0x00400275: ("SQ", [tree])}
        start, end = b"\x40\0\x75\2\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0"
        open_ended = start + open_ended + end + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert decode_tree(open_ended, IMPLICIT) == tree
    assert len(looks) == len(set(looks)) == 1 + 20 * 4


def test_text_is_unicode_whatever_it_came_in() -> None:
    assert decode_tree(LATIN_1, EXPLICIT) == {0x00100010: ("PN", ["Müller"])}


def test_nothing_is_nested_without_end() -> None:
    tree: Any = {}
    for _ in range(30):
        tree = {0x00400275: ("SQ", [tree])}
    with pytest.raises(RemoteProtocolError, match="nested"):
        decode_tree(encode_tree(tree, EXPLICIT), EXPLICIT)
    with pytest.raises(UsageError, match="nested"):
        tree_of_json(json_of(tree))


def test_values_by_keyword() -> None:
    item = Dataset()
    item.CodeValue = "1"
    given = {"StudyDate": date(2026, 1, 31), "ProcedureCodeSequence": [item, {"CodeValue": "2"}], "Modality": None}
    assert tree_of_values(given) == {
        0x00080020: ("DA", ["20260131"]),
        0x00081032: ("SQ", [{0x00080100: ("SH", ["1"])}, {0x00080100: ("SH", ["2"])}]),
        0x00080060: ("CS", []),
    }
    nested = Dataset()
    nested.ProcedureCodeSequence = Sequence([item])
    assert value_of(tree_of_values(nested), 0x00081032, 0x00080100) == "1"
    assert not value_of({}, 0x00081032, 0x00080100)


@pytest.mark.parametrize("wrong", [{"NoKeyword": 1}, 5, "text"])
def test_what_is_no_data_set(wrong: Any) -> None:
    with pytest.raises(UsageError):
        tree_of_values(wrong)


@pytest.mark.parametrize("wrong", [{"0010": 5}, {"xx": {"vr": "LO"}}, {"00400275": {"vr": "SQ", "Value": [5]}}])
def test_what_is_no_json_model(wrong: Any) -> None:
    with pytest.raises(UsageError):
        tree_of_json(wrong)
