"""Values as texts of an index, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset

from dicomlab.media.cells import Cells, Texts, plan_of, raws_of, text_of
from dicomlab.media.header import read_row
from dicomlab.media.walker import Walked, grammar_of, walk
from dicomlab.model.columns import column, columns, read
from dicomlab.part10.meta import decode_file_meta
from tests.unit.media.test_header import ASKED, BIG, EXPLICIT, IMPLICIT, encoded, example

WANTED = tuple(one for one in ASKED if one.tag >> 16 != 2)
PLAN = plan_of(WANTED)


def texts(*files: bytes) -> Texts:
    looked = []
    for octets in files:
        meta = decode_file_meta(octets)
        found = Walked(PLAN.blank.copy())
        grammar = grammar_of(meta.transfer_syntax_uid)
        walk(found, lambda at, n, octets=octets: octets[at : at + n], (meta.length, len(octets)), grammar, PLAN)
        looked.append((grammar, found))
    return Cells(WANTED, PLAN).texts(looked)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
def test_the_same_cells_as_one_file_read_alone(syntax: str) -> None:
    octets = encoded(example(), syntax)
    (alone, together, _), raws = texts(octets), read_row(octets, WANTED)
    for one, column_texts in zip(WANTED, alone, strict=True):
        assert read(one, raws_of(one, column_texts[0])) == read(one, raws.get(one.name, ())), one.name
    assert not together


def test_many_files_are_decoded_each_by_its_own_rules() -> None:
    octets = [encoded(example(), syntax) for syntax in (IMPLICIT, EXPLICIT, BIG, EXPLICIT)]
    both, doubtful, _ = texts(*octets)
    assert all(len(set(values)) == 1 for values in both)
    assert not doubtful


def named(name: str, charset: object) -> bytes:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", "1.2.3"
    if charset:
        ds.SpecificCharacterSet = charset
    ds.PatientName = name
    return encoded(ds, EXPLICIT)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "山田^太郎=𝄞"),
        ("ISO_IR 144", "Люкceмбypг"),
        ("GB18030", "王^小东"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    ],
)
def test_each_file_has_its_own_character_set(charset: object, name: str) -> None:
    files = []
    for terms, text in ((charset, name), (None, "Plain^Name"), (charset, "Plain^Name")):
        files.append(named(text, terms))
    (names, *_), doubtful, _ = texts(*files)
    assert names == [name, "Plain^Name", "Plain^Name"]
    assert not doubtful


def test_text_that_is_none_in_its_character_set_is_told() -> None:
    octets = named("Müller", "ISO_IR 192")
    (names, *_), doubtful, _ = texts(octets, octets.replace("Müller".encode(), b"M\xfcller "))
    assert names == ["Müller", "M�ller"]
    assert doubtful == {1}


def test_a_sequence_that_is_broken_inside_is_told() -> None:
    octets = encoded(example(), EXPLICIT)
    at = octets.index(b"\x40\0\x75\x02SQ") + 12
    columns_, _, broken = texts(octets, octets[:at] + b"\xfe\xff\x00\xe1" + octets[at + 4 :])
    assert set(broken) == {1}
    assert columns_[WANTED.index(column("RequestAttributesSequence.ScheduledProcedureStepID"))][1] is None
    assert columns_[WANTED.index(column("PatientName"))] == ["Äneas^R", "Äneas^R"]


def test_signed_or_not_is_looked_up() -> None:
    assert texts(encoded(example(), IMPLICIT))[0][WANTED.index(column("SmallestImagePixelValue"))] == ["-3"]


RAWS = st.lists(st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\\\x1e"), min_size=1)))


@given(RAWS)
def test_items_come_back_from_their_text(raws: list[str | None]) -> None:
    one = column("RequestAttributesSequence.ScheduledProcedureStepID")
    back = raws_of(one, text_of(one, raws))
    assert back == (tuple(raws) if any(raws) or len(raws) > 1 else ())


@pytest.mark.parametrize(
    ("keyword", "raws", "text"),
    [
        ("Rows", (512,), "512"),
        ("PixelSpacing", ("0.5", "0.25"), "0.5\\0.25"),
        ("RescaleSlope", ("1 ",), "1 "),
        ("PatientComments", ("one\\two",), "one\\two"),
        ("PatientName", (), None),
    ],
)
def test_texts(keyword: str, raws: tuple[object, ...], text: str | None) -> None:
    one = column(keyword)
    assert text_of(one, raws) == text
    assert read(one, raws_of(one, text)) == read(one, raws)


def test_decimals_keep_every_digit() -> None:
    (one,) = columns(["RealWorldValueSlope"])
    assert read(one, raws_of(one, text_of(one, (0.1 + 0.2,))))[0] == 0.1 + 0.2


def test_no_file_gives_empty_columns() -> None:
    assert texts() == ([[] for _ in WANTED], set(), {})


def test_numbers_in_big_endian() -> None:
    wanted = columns(["Rows", "PatientName"])
    plan = plan_of(wanted)
    octets = encoded(example(), BIG)
    found = Walked(plan.blank.copy())
    meta = decode_file_meta(octets)
    walk(found, lambda at, n: octets[at : at + n], (meta.length, len(octets)), grammar_of(BIG), plan)
    assert found.vrs is None  # nothing else about it is unusual
    assert Cells(wanted, plan).texts([(grammar_of(BIG), found)])[0] == [["512"], ["Äneas^R"]]
