"""The table of columns: look-up, typing of every VR, and the way back from files of tables."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from datetime import date, datetime, time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.tag import Tag

from dicomlab.errors import UsageError
from dicomlab.model.columns import (
    LEVELS,
    STANDARD,
    UNIQUE_KEY,
    Column,
    TableBuilder,
    column,
    columns,
    format_tag,
    level_of,
    read,
    retyped,
    series_of,
    standard_columns,
)

D = datetime

# one attribute for each VR that is a cell, multiplicity 1
SINGLE = {
    "AE": "ScheduledStationAETitle",
    "AS": "PatientAge",
    "AT": "SelectorAttribute",
    "CS": "Modality",
    "DA": "StudyDate",
    "DS": "SliceThickness",
    "DT": "FrameAcquisitionDateTime",
    "FD": "TagThickness",
    "FL": "ExaminedBodyThickness",
    "IS": "InstanceNumber",
    "LO": "StudyDescription",
    "LT": "PatientComments",
    "PN": "PatientName",
    "SH": "StudyID",
    "SL": "ReferencePixelX0",
    "SS": "TagAngleSecondAxis",
    "ST": "InstitutionAddress",
    "SV": "SelectorSVValue",
    "TM": "StudyTime",
    "UC": "LongCodeValue",
    "UI": "StudyInstanceUID",
    "UL": "SimpleFrameList",
    "UR": "PixelDataProviderURL",
    "US": "Rows",
    "UT": "TextValue",
    "UV": "FileOffsetInContainer",
}


def of_vr(vr: str, vm: str = "1") -> Column:
    """A column of that VR, whether PS3.6 has one of that multiplicity or not."""
    known = column(SINGLE[vr])
    assert known.vr == vr
    return Column(known.name, known.path, vr, vm, known.level)


# ------------------------------------------------------------------------------------------------------------ look-up


@pytest.mark.parametrize("name", ["PatientID", 0x00100020, "(0010,0020)", "00100020", "0010,0020", Tag(0x10, 0x20)])
def test_one_column_has_many_names(name: Any) -> None:
    assert column(name) == Column("PatientID", (0x00100020,), "LO", "1", "patient")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("PatientId", "PatientID"), ("StudyInstanceUid", "StudyInstanceUID"), ("SliceThicknes", "SliceT")],
)
def test_an_unknown_keyword_names_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(UsageError, match=f"'{wrong}' is no DICOM keyword; did you mean .*{right}"):
        column(wrong)


def test_nothing_near_is_no_suggestion() -> None:
    with pytest.raises(UsageError, match="is no DICOM keyword") as caught:
        column("Xyzzy")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "PatientID.", "patientid", "PatientID ", "0010002", "(0010,0020", "\ud800"])
def test_what_is_no_name_is_a_usage_error(name: str) -> None:
    if name == "(0010,0020":
        assert column(name).name == "PatientID"  # a bracket more or less is no reason to stop
        return
    with pytest.raises(UsageError):
        column(name)


@pytest.mark.parametrize(
    "tag", [-1, 1 << 32, True, 0x00000110, 0x00021234, 0x00100023, 0xFFFEE000, 0xFFFFFFFF, 0x00010010, 0x60003000]
)
def test_tags_that_are_no_column(tag: int) -> None:
    with pytest.raises(UsageError):
        column(tag)


@pytest.mark.parametrize("name", ["PixelData", "EncapsulatedDocument", 0x00020001])
def test_binary_is_no_cell(name: Any) -> None:
    with pytest.raises(UsageError, match=r"binary and no cell of a table: read it from Instance\.dataset"):
        column(name)


def test_a_private_tag_is_text_at_any_level() -> None:
    private = column(0x00191001)
    assert (private.name, private.vr, private.vm, private.level, private.dtype) == ("00191001", "LO", "1", None, "str")
    assert column(private.name) == private
    assert private.identifying  # nobody knows what it holds


def test_a_path_leads_through_sequences() -> None:
    path = column("RequestAttributesSequence.ScheduledProtocolCodeSequence.CodeValue")
    assert path.path == (0x00400275, 0x00400008, 0x00080100)
    assert (path.vr, path.level, path.multiple, path.dtype, path.tag) == ("SH", "series", True, "object", 0x00400275)
    assert column("00400275.00400008.00080100") == path
    private = column("00191001.CodeValue")
    assert (private.path, private.level, private.identifying) == ((0x00191001, 0x00080100), None, True)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("PatientID.CodeValue", "PatientID is no sequence"),
        ("RequestAttributesSequence", "is a sequence: name an attribute in it, as RequestAttributesSequence.CodeValue"),
        ("RequestAttributesSequence.ScheduledProtocolCodeSequence", "is a sequence"),
        ("RequestAttributesSequence.PixelData", "binary"),
        ("00100023.CodeValue", r"\(0010,0023\) is not in the registry"),
        ("RequestAttributesSequence.Codevalue", "did you mean CodeValue"),
    ],
)
def test_paths_that_lead_nowhere(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        column(name)


def test_columns_are_each_once_and_in_order() -> None:
    found = columns(["Modality", 0x00100020, "PatientID", "00080060"])
    assert [one.name for one in found] == ["Modality", "PatientID"]


def test_standard_columns_are_what_their_level_says() -> None:
    for level in LEVELS:
        standard = standard_columns(level)
        assert [one.name for one in standard] == list(STANDARD[level])
        assert UNIQUE_KEY[level] in STANDARD[level]
        assert all(one.level is None or LEVELS.index(one.level) <= LEVELS.index(level) for one in standard)


@pytest.mark.parametrize(
    ("keyword", "level"),
    [
        ("PatientBirthDate", "patient"),
        ("PatientMotherBirthName", "patient"),
        ("AccessionNumber", "study"),
        ("PatientAge", "study"),  # Patient Study Module, PS3.3 C.7.2.2
        ("Modality", "series"),
        ("SOPClassUID", "instance"),
        ("SliceThickness", "instance"),
        ("SpecificCharacterSet", None),
        ("TimezoneOffsetFromUTC", None),
        ("00191001", None),
    ],
)
def test_levels(keyword: str, level: str | None) -> None:
    assert level_of(keyword) == level


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("PatientName", True),
        ("PatientID", True),
        ("PatientBirthDate", True),
        ("ReferringPhysicianName", True),  # every PN
        ("OtherPatientIDsSequence.PatientID", True),
        ("RequestAttributesSequence.RequestedProcedureID", True),
        ("AccessionNumber", True),
        ("InstitutionName", True),
        ("ImageComments", True),
        ("StudyInstanceUID", False),
        ("Modality", False),
        ("StudyDate", False),
        ("SliceThickness", False),
        ("PatientSex", False),
    ],
)
def test_what_identifies(name: str, masked: bool) -> None:
    assert column(name).identifying is masked


def test_tags_print_as_in_the_standard() -> None:
    assert format_tag(0x0010002A) == "(0010,002A)"


# ------------------------------------------------------------------------------------------------------------- typing


@pytest.mark.parametrize(
    ("vr", "dtype"),
    [
        *((vr, "str") for vr in "AE AS AT CS LO LT PN SH ST TM UC UI UR UT".split()),
        *((vr, "Int64") for vr in "IS US UL SS SL SV".split()),
        ("UV", "UInt64"),
        *((vr, "Float64") for vr in "DS FD FL".split()),
        ("DA", "datetime64[s]"),
        ("DT", "datetime64[us]"),
    ],
)
def test_dtype_of_every_vr(vr: str, dtype: str) -> None:
    one = of_vr(vr)
    assert one.dtype == dtype
    for cells in ([], [None], [None, None]):
        made = series_of(one, cells)
        assert str(made.dtype) == dtype
        assert made.isna().all()
        assert made.name == one.name
    assert of_vr(vr, "1-n").dtype == "object"
    assert series_of(of_vr(vr, "2"), []).dtype == object


CELLS: list[tuple[str, object, object]] = [
    ("AE", " STORE ", "STORE"),
    ("AS", "045Y", "045Y"),
    ("AT", "00100020", "00100020"),
    ("AT", "(0018,106a)", "0018106A"),
    ("AT", 0x00100020, "00100020"),
    ("AT", Tag(0x0018, 0x106A), "0018106A"),
    ("CS", "CT\0", "CT"),
    ("DA", "20260131", D(2026, 1, 31)),
    ("DA", "20260131\0", D(2026, 1, 31)),
    ("DA", " 20260131 ", D(2026, 1, 31)),
    ("DA", "2026.01.31", D(2026, 1, 31)),  # ACR-NEMA, PS3.5 6.2
    ("DA", "2026-01-31", D(2026, 1, 31)),
    ("DA", "99991231", D(9999, 12, 31)),
    ("DA", "00010101", D(1, 1, 1)),
    ("DA", "20240229", D(2024, 2, 29)),
    ("DS", "0.5", 0.5),
    ("DS", " -1.25e2\0", -125.0),
    ("DS", ".5", 0.5),
    ("DS", "5.", 5.0),
    ("DS", "+0", 0.0),
    ("DS", 0, 0.0),
    ("DS", "1" * 300, float("1" * 300)),
    ("DT", "2026", D(2026, 1, 1)),
    ("DT", "202602", D(2026, 2, 1)),
    ("DT", "2026013113", D(2026, 1, 31, 13)),
    ("DT", "20260131130405.25", D(2026, 1, 31, 13, 4, 5, 250000)),
    ("DT", "20260131130405+0200", D(2026, 1, 31, 11, 4, 5)),
    ("DT", "2026-0500", D(2026, 1, 1, 5)),  # a year and an offset
    ("DT", "20260131235960", D(2026, 2, 1)),  # leap second
    ("DT", "2026-01-31 13:04:05.250000", D(2026, 1, 31, 13, 4, 5, 250000)),
    ("DT", "2026-01-31T13:04+02:00", D(2026, 1, 31, 11, 4)),
    ("DT", "20260131130405\0", D(2026, 1, 31, 13, 4, 5)),
    ("FD", 0.1, 0.1),
    ("FD", np.float32(0.5), 0.5),
    ("FL", -0.0, 0.0),
    ("IS", "12 ", 12),
    ("IS", "-0012", -12),
    ("IS", "+7", 7),
    ("IS", "1.0", 1),
    ("IS", "1.", 1),
    ("IS", 1.0, 1),
    ("IS", np.int64(5), 5),
    ("IS", "0", 0),
    ("LO", "  both ends  ", "both ends"),
    ("LO", "Grüße 日本 \U0001f9e0", "Grüße 日本 \U0001f9e0"),
    ("LO", "half \ud83e a pair", "half ? a pair"),
    ("LO", "a\0b", "a\0b"),
    ("LO", 5, "5"),
    ("LT", "  leading counts \r\n second ", "  leading counts \r\n second"),
    ("PN", "Doe^Jane=漢字^名=かな", "Doe^Jane"),
    ("PN", "Doe^Jane^^^ ", "Doe^Jane^^^"),
    ("PN", {"Alphabetic": "Doe^Jane", "Ideographic": "漢字"}, "Doe^Jane"),
    ("SL", -(2**31), -(2**31)),
    ("SV", str(-(2**63)), -(2**63)),
    ("TM", "13", "13:00:00.000000"),
    ("TM", "1304", "13:04:00.000000"),
    ("TM", "130405", "13:04:05.000000"),
    ("TM", "130405.5", "13:04:05.500000"),
    ("TM", "13:04:05.25 ", "13:04:05.250000"),
    ("TM", "235960", "23:59:60.000000"),
    ("TM", "000000\0", "00:00:00.000000"),
    ("UI", "1.2.840\0", "1.2.840"),
    ("UL", 2**32 - 1, 2**32 - 1),
    ("US", 0, 0),
    ("UT", " text\0", " text"),
    ("UV", str(2**64 - 1), 2**64 - 1),
]


@pytest.mark.parametrize(("vr", "raw", "cell"), CELLS)
def test_a_readable_value(vr: str, raw: object, cell: object) -> None:
    assert read(of_vr(vr), (raw,)) == (cell, [])
    assert read(of_vr(vr, "1-n"), (raw, None)) == ((cell, None), [])
    made = series_of(of_vr(vr), [cell, None])
    assert str(made.dtype) == of_vr(vr).dtype
    assert made[0] == cell
    assert made.isna().tolist() == [False, True]


PROBLEMS: list[tuple[str, object]] = [
    ("AT", "0010002"),
    ("AT", -1),
    ("DA", "20260132"),
    ("DA", "00000101"),  # no year 0
    ("DA", "20230229"),
    ("DA", "202601"),
    ("DA", "20260101-20260201"),
    ("DA", "２０２６０１０１"),  # digits of another script
    ("DA", {"Alphabetic": "20260101"}),
    ("DS", "1,5"),
    ("DS", "nan"),
    ("DS", "Infinity"),
    ("DS", "1e400"),
    ("DS", "1_000"),
    ("DS", "0x10"),
    ("DS", True),
    ("DT", "20260131136000"),
    ("DT", "20260131130475"),
    ("DT", "2026.5"),
    ("DT", "99991231235960"),
    ("DT", "99991231235959-0100"),
    ("DT", "00010101000000+0100"),
    ("DT", "20260131130405+9959"),
    ("DT", "0000"),
    ("FD", math.nan),
    ("FD", math.inf),
    ("FD", 10**400),
    ("IS", "1.5"),
    ("IS", 1.5),
    ("IS", math.inf),
    ("IS", "1e3"),
    ("IS", "٣"),
    ("IS", True),
    ("IS", str(2**63)),
    ("IS", "9" * 500),
    ("IS", 10**5000),
    ("LO", {"a": 1}),
    ("LO", b"octets"),
    ("LO", [1]),
    ("LO", False),
    ("PN", ["Doe"]),
    ("PN", {"Alphabetic": ["Doe"]}),
    ("TM", "24"),
    ("TM", "1360"),
    ("TM", "130461"),
    ("TM", "1304.5"),
    ("TM", "noon"),
    ("TM", "١٣"),
    ("UV", "-1"),
    ("UV", str(2**64)),
]


@pytest.mark.parametrize(("vr", "raw"), PROBLEMS, ids=range(len(PROBLEMS)))  # pytest can't print one of them
def test_an_unreadable_value_is_na_and_kept(vr: str, raw: object) -> None:
    cell, problems = read(of_vr(vr), (raw,))
    assert cell is None
    [(text, what)] = problems
    assert text
    assert len(text) <= 200
    assert what
    if isinstance(raw, str):
        assert text == raw[:200]
    assert read(of_vr(vr, "1-n"), (None, raw))[0] is None


@pytest.mark.parametrize("vr", SINGLE)
@pytest.mark.parametrize("raws", [(), (None,), ("",), (" ",), ("\0",), ("      ",), (" \0\r\n",)])
def test_absent_is_na_and_no_problem(vr: str, raws: Sequence[object]) -> None:
    assert read(of_vr(vr), raws) == (None, [])
    assert read(of_vr(vr, "1-n"), (*raws, None)) == (None, [])


@pytest.mark.parametrize(
    "raw", [{}, {"Alphabetic": None}, {"Alphabetic": ""}, {"Ideographic": "漢字"}, "=漢字^名=かな"]
)
def test_a_name_without_alphabetic_group_is_na(raw: object) -> None:
    assert read(of_vr("PN"), (raw,)) == (None, [])


def test_more_than_one_value_is_a_tuple() -> None:
    kinds = column("ModalitiesInStudy")
    assert read(kinds, ("CT", None, "MR\0", "")) == (("CT", None, "MR", None), [])
    assert read(kinds, ("CT",)) == (("CT",), [])
    spacing = column("PixelSpacing")
    assert read(spacing, ("0.5", "wide")) == ((0.5, None), [("wide", "not a number")])
    made = series_of(spacing, [(0.5, 0.5), None, (1.0, 2.0)])  # equal lengths tempt numpy into two dimensions
    assert made.tolist() == [(0.5, 0.5), None, (1.0, 2.0)]


def test_more_values_than_the_multiplicity_has_room_for() -> None:
    assert read(column("PatientID"), ("A", "B")) == (
        "A\\B",
        [("A\\B", "2 values where one is allowed (VM 1)")],
    )
    cell, problems = read(column("Rows"), (1, 2))
    assert cell is None
    assert problems[0][0] == "1\\2"


def test_big_integers_stay_exact() -> None:
    assert series_of(of_vr("SV"), [None, 2**63 - 1, -(2**63)]).tolist() == [pd.NA, 2**63 - 1, -(2**63)]
    assert series_of(of_vr("UV"), [None, 2**64 - 1]).tolist() == [pd.NA, 2**64 - 1]


def test_dates_beyond_nanoseconds() -> None:
    made = series_of(of_vr("DA"), [D(1, 1, 1), None, D(9999, 12, 31)])
    assert made.dropna().dt.year.tolist() == [1, 9999]


def test_a_table_of_rows() -> None:
    table = TableBuilder(columns(["PatientID", "StudyDate", "Rows", "ModalitiesInStudy"]))
    assert len(table) == 0
    assert table.frame().dtypes.astype(str).tolist() == ["str", "datetime64[s]", "Int64", "object"]
    table.add(
        {"PatientID": ["P1"], "StudyDate": ["yesterday"], "Rows": [512], "ModalitiesInStudy": ["CT"], "More": ["x"]}
    )
    table.add({})
    table.add({"PatientID": [""], "Rows": ["many"]})
    frame = table.frame()
    assert frame.columns.tolist() == ["PatientID", "StudyDate", "Rows", "ModalitiesInStudy"]
    assert frame.dtypes.astype(str).tolist() == ["str", "datetime64[s]", "Int64", "object"]
    assert frame.isna().to_numpy().tolist() == [[False, True, False, False], [True] * 4, [True] * 4]
    assert [(p.row, p.column, p.raw) for p in table.problems] == [(0, "StudyDate", "yesterday"), (2, "Rows", "many")]


raw_values = st.one_of(
    st.none(), st.text(), st.characters(), st.integers(), st.floats(), st.booleans(), st.binary(max_size=9),
    st.from_regex(r"[0-9.:+\-]{0,26}"), st.dictionaries(st.sampled_from(["Alphabetic", "x"]), st.text(max_size=5)),
    st.text(alphabet=st.characters(categories=["Nd", "Cs", "Zs", "Cc"])),
)  # fmt: skip


@settings(max_examples=200)
@given(vr=st.sampled_from(sorted(SINGLE)), raws=st.lists(raw_values, max_size=4))
def test_no_value_of_a_peer_raises(vr: str, raws: list[object]) -> None:
    for one in (of_vr(vr), of_vr(vr, "1-n")):
        cell, problems = read(one, raws)
        assert cell != ""
        assert all(len(raw) <= 200 for raw, _ in problems)
        made = series_of(one, [cell, None])
        assert str(made.dtype) == one.dtype
        assert (cell is None) == bool(made.isna()[0])


# ---------------------------------------------------------------------------------------------------------- the way back


def typical() -> pd.DataFrame:
    table = TableBuilder(
        columns(
            "PatientID PatientName StudyDate StudyTime FrameAcquisitionDateTime InstanceNumber SliceThickness FileOffsetInContainer"
            " ModalitiesInStudy PixelSpacing DateOfLastCalibration AcquisitionDateTime FrameIncrementPointer 00191001".split()
        )
    )
    table.add(
        {
            "PatientID": ["0007"], "PatientName": ["Doe^Jane"], "StudyDate": ["00010203"], "StudyTime": ["130405"],
            "FrameAcquisitionDateTime": ["20260131130405.25"], "InstanceNumber": ["1"], "SliceThickness": ["0.1"],
            "FileOffsetInContainer": [2**64 - 1], "ModalitiesInStudy": ["CT", None, "M'R, \"x\""], "PixelSpacing": [0.1, None],
            "DateOfLastCalibration": ["20260101", "20260102"], "AcquisitionDateTime": ["20260131"],
            "FrameIncrementPointer": ["00181063"], "00191001": ["p"],
        }
    )  # fmt: skip
    table.add({})
    table.add({"StudyDate": ["99991231"], "ModalitiesInStudy": ["CT"], "FrameAcquisitionDateTime": ["20260131"]})
    assert not table.problems
    return table.frame()


def same(a: pd.DataFrame, b: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(a, b)
    for name in a:
        assert [type(v) for v in a[name]] == [type(v) for v in b[name]]


def test_retyped_changes_nothing_that_is_right() -> None:
    same(retyped(typical()), typical())


@pytest.mark.parametrize("options", [{"dtype": str}, {"dtype": {"PatientID": str, "FileOffsetInContainer": str}}])
def test_csv_and_back(options: dict[str, Any]) -> None:
    text = re.sub(
        r"(?<!\d)1-02-03", "0001-02-03", typical().to_csv(index=False)
    )  # pandas before 3.1 writes year 1 as 1
    same(retyped(pd.read_csv(io.StringIO(text), **options)), typical())


def test_parquet_and_back(tmp_path: Any) -> None:
    typical().to_parquet(tmp_path / "a.parquet")
    same(retyped(pd.read_parquet(tmp_path / "a.parquet")), typical())


def test_numbers_where_text_belongs() -> None:
    table = pd.DataFrame({"AccessionNumber": [1234.0, None], "StudyID": [1, 2], "InstanceNumber": [1.0, None]})
    back = retyped(table)
    assert back["AccessionNumber"].tolist()[0] == "1234"
    assert back["StudyID"].tolist() == ["1", "2"]
    assert back["InstanceNumber"].tolist() == [1, pd.NA]
    assert back.dtypes.astype(str).tolist() == ["str", "str", "Int64"]


def test_after_a_join_with_gaps() -> None:
    left = typical()[["PatientID", "InstanceNumber"]].iloc[[0]]
    right = pd.DataFrame({"PatientID": ["0007", "0008"], "Rows": [512, 256], "mine": [object(), 1]}, index=[5, 5])
    joined = right.merge(left, on="PatientID", how="left")
    back = retyped(joined)
    assert back["InstanceNumber"].tolist() == [1, pd.NA]
    assert back["Rows"].dtype == "Int64"
    assert back["mine"].tolist() == joined["mine"].tolist()  # left as it is
    stacked = retyped(pd.concat([right, right]))  # an index that says nothing
    assert stacked.index.tolist() == [5, 5, 5, 5]
    assert stacked["Rows"].tolist() == [512, 256, 512, 256]


def test_other_kinds_of_moments() -> None:
    table = pd.DataFrame(
        {
            "StudyDate": [
                date(2026, 1, 31),
                np.datetime64("2026-01-31"),
                pd.Timestamp("2026-01-31"),
                "2026-01-31",
                pd.NaT,
            ],
            "StudyTime": [time(13, 4, 5), "13:04:05.000000", None, "1304", np.nan],
        }
    )
    back = retyped(table)
    assert back["StudyDate"].tolist()[:4] == [pd.Timestamp("2026-01-31")] * 4
    assert back["StudyTime"].tolist()[0] == "13:04:05.000000"
    zoned = pd.DataFrame(
        {"FrameAcquisitionDateTime": pd.to_datetime(["2026-01-31 13:00"]).tz_localize("Europe/Berlin")}
    )
    assert retyped(zoned)["FrameAcquisitionDateTime"].tolist() == [pd.Timestamp("2026-01-31 12:00")]


def test_text_of_many_values() -> None:
    frame = pd.DataFrame(
        {"ImageType": [r"ORIGINAL\PRIMARY", "('A', 'B')", "['A']", "(A)", "(1", "[", "", None, ("A", pd.NA)]}
    )
    assert retyped(frame)["ImageType"].tolist() == [
        ("ORIGINAL", "PRIMARY"), ("A", "B"), ("A",), ("(A)",), ("(1",), ("[",), None, None, ("A", None),
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["(" * 500, "[" * 100_000, "((1,),)", "(datetime.datetime(0, 0, 0),)", "('\\ud800',)"])
def test_hostile_text_of_many_values(text: str) -> None:
    try:
        retyped(pd.DataFrame({"ImageType": [text], "DateOfLastCalibration": [None]}))
        retyped(pd.DataFrame({"DateOfLastCalibration": [text]}))
    except UsageError:
        pass


def test_foreign_columns_are_left_alone() -> None:
    frame = pd.DataFrame({0: ["a"], "score": [1.5], "12345678": ["x"], ("a", "b"): [None], 11110010: [2]})
    same(retyped(frame), frame)


def test_a_cell_that_cannot_be_read_names_column_and_row() -> None:
    frame = pd.DataFrame({"StudyDate": ["2026-01-31", "soon"]}, index=["a", "b"])
    with pytest.raises(UsageError, match="column StudyDate, row b: 'soon' can't be read: not a date"):
        retyped(frame)


def test_an_identifying_cell_is_not_shown_in_the_error() -> None:
    with pytest.raises(UsageError, match="column PatientBirthDate, row 0") as caught:
        retyped(pd.DataFrame({"PatientBirthDate": ["31/01/1970"]}))
    assert "1970" not in str(caught.value)


def test_a_column_that_is_there_twice() -> None:
    frame = pd.concat([pd.DataFrame({"Modality": ["CT"]})] * 2, axis=1)
    with pytest.raises(UsageError, match="Modality is there twice"):
        retyped(frame)
