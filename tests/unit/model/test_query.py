"""Queries: what is refused before anything is sent, and the DICOM text that the rest becomes (PS3.4 C.2.2.2)."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.multival import MultiValue
from pydicom.uid import UID
from pydicom.valuerep import IS, PersonName

from dicomlab.errors import UsageError
from dicomlab.model.columns import column
from dicomlab.model.query import Query


def key(keyword: str, value: object, level: str = "instance") -> tuple[str, str]:
    """Kind of matching and the text in the Identifier of one key."""
    [one] = Query.of(level, {keyword: value}).keys
    return one.matching, one.text


# ------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("level", "hint"),
    [
        ("image", "'instance'"),
        ("IMAGE", "'instance'"),
        ("studies", "'study'"),
        ("instances", "'instance'"),
        ("exam", ""),
    ],
)
def test_a_level_that_is_none(level: str, hint: str) -> None:
    with pytest.raises(UsageError, match=f"is no level.*{hint}") as caught:
        Query.of(level)
    assert "patient, study, series, instance" in str(caught.value)
    assert ("did you mean" in str(caught.value)) == bool(hint)


@pytest.mark.parametrize("level", [None, 3, ["study"], ""])
def test_a_level_that_is_no_text(level: Any) -> None:
    with pytest.raises(UsageError, match="is no level"):
        Query.of(level)


@pytest.mark.parametrize(
    ("level", "keyword", "advice"),
    [
        ("study", "Modality", "series level, the query is for study: use ModalitiesInStudy"),
        ("study", "SOPClassUID", "use SOPClassesInStudy"),
        ("study", "SeriesDescription", r'ask with find\("series", ...\)'),
        ("patient", "Modality", r'ask with find\("series", ...\)'),
        ("patient", "StudyDate", r'ask with find\("study", ...\)'),
        (
            "series",
            "SliceThickness",
            r'ask with find\("instance", ...\), or read it afterwards with peek\(\["SliceThickness"\]\)',
        ),
    ],
)
@pytest.mark.parametrize("as_key", [True, False])
def test_a_keyword_of_a_deeper_level(level: str, keyword: str, advice: str, as_key: bool) -> None:
    options: dict[str, Any] = {keyword: None} if as_key else {"include": [keyword]}
    with pytest.raises(UsageError, match=advice) as caught:
        Query.of(level, **options)
    assert ("peek" in str(caught.value)) == (level == "series")


@pytest.mark.parametrize("keyword", ["PatientName", "StudyDate", "Modality", "SliceThickness", "SpecificCharacterSet"])
def test_upper_levels_may_be_asked_for(keyword: str) -> None:
    assert Query.of("instance", include=[keyword]).include[0].name == keyword


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_private_tags_may_be_asked_for_at_any_level(level: str) -> None:
    assert key("00191001", "x", level) == ("single", "x")


def test_unknown_keywords_and_options() -> None:
    with pytest.raises(UsageError, match="did you mean PatientID"):
        Query.of("study", PatientId="1")
    with pytest.raises(UsageError, match="did you mean PatientID"):
        Query.of("study", {"PatientId": "1"})
    with pytest.raises(UsageError, match=r"find\(\) has no option 'limits'"):
        Query.of("study", limits=5)
    with pytest.raises(UsageError, match="has no option '_x'"):
        Query.of("study", _x=5)
    with pytest.raises(UsageError, match=r"include=\['PatientID'\]"):
        Query.of("study", include="PatientID")
    with pytest.raises(UsageError, match="is a sequence"):
        Query.of("series", RequestAttributesSequence=None)


@pytest.mark.parametrize("match", [{0x00100020: "A"}, {"00100020": "A"}, {"PatientID": "A"}])
def test_one_attribute_given_twice(match: Any) -> None:
    with pytest.raises(UsageError, match="PatientID is given twice"):
        Query.of("study", match, PatientID="B")


@pytest.mark.parametrize("limit", [0, -1, True, 1.0, "5"])
def test_limits_that_are_none(limit: Any) -> None:
    with pytest.raises(UsageError, match="limit must be"):
        Query.of("study", limit=limit)


def test_limit() -> None:
    assert Query.of("study", limit=1).limit == 1
    assert Query.of("study").limit is None


@pytest.mark.parametrize(
    "value", [True, b"x", bytearray(b"x"), {"a": 1}, ["a", ["b"]], [("a", "b")], [{}], [True], ("a", "b")]
)
def test_values_of_no_use(value: object) -> None:
    with pytest.raises(UsageError, match="PatientID"):
        Query.of("study", PatientID=value)


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT, np.nan, np.datetime64("NaT")])
@pytest.mark.parametrize("keyword", ["PatientID", "StudyDate", "StudyInstanceUID", "PatientSize"])
def test_a_missing_value_in_a_list(keyword: str, missing: object) -> None:
    with pytest.raises(UsageError, match=f"{keyword}.*missing value can't be matched"):
        Query.of("study", {keyword: [missing]})


def test_a_missing_value_alone() -> None:
    for missing in (float("nan"), pd.NA, pd.NaT):
        with pytest.raises(UsageError, match="missing value"):
            Query.of("study", PatientID=missing)
        with pytest.raises(UsageError, match="missing value"):
            Query.of("study", StudyDate=(missing, None))


@pytest.mark.parametrize("text", ["a\\b", "a\nb", "\x1b$B", "\x7f", "a\0", "half \ud800 a pair"])
def test_text_that_no_key_can_hold(text: str) -> None:
    for value in (text, [text, "b"]):
        with pytest.raises(UsageError, match=r"backslash|control"):
            Query.of("study", StudyDescription=value)


@pytest.mark.parametrize("uid", ["1.2.x", "1" * 65, "*", "1.2.*", "１.2", "1.2 "])
def test_what_is_no_uid(uid: str) -> None:
    with pytest.raises(UsageError, match="is no UID"):
        Query.of("study", StudyInstanceUID=uid)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("InstanceNumber", "one"), ("InstanceNumber", "1.5"), ("InstanceNumber", 1.5), ("InstanceNumber", "1_000"),
        ("InstanceNumber", float("inf")), ("InstanceNumber", "1*"), ("SliceThickness", "nan"), ("SliceThickness", "1,5"),
        ("SliceThickness", "٣"), ("Rows", "1e400"), ("InstanceNumber", ["1", "x"]),
    ],
)  # fmt: skip
def test_what_is_no_number(keyword: str, value: object) -> None:
    with pytest.raises(UsageError, match="is no number"):
        Query.of("instance", {keyword: value})


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", "2026"), ("StudyDate", "20260132"), ("StudyDate", "2026-01-01-2026-02-01"), ("StudyDate", "2026*"),
        ("StudyDate", "00000101"), ("StudyDate", 20260132), ("StudyDate", "٢٠٢٦٠١٠١"), ("StudyDate", time(1)),
        ("StudyDate", ["20260101-20260102"]), ("StudyTime", "25"), ("StudyTime", "1360"), ("StudyTime", "130461"),
        ("StudyTime", "1"), ("StudyTime", date(2026, 1, 1)), ("StudyTime", "13.5"), ("StudyTime", "130000.1234567"),
        ("AcquisitionDateTime", "noon"), ("AcquisitionDateTime", "20260101-20260201"), ("AcquisitionDateTime", ["", "2026"]),
        ("AcquisitionDateTime", time(1)),
    ],
)  # fmt: skip
def test_what_is_no_moment(keyword: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"is no (date|time)|empty value"):
        Query.of("instance", {keyword: value})


@pytest.mark.parametrize("empty", [[], (), set(), np.array([]), pd.Series([], dtype="str"), iter([])])
def test_an_empty_list_matches_nothing(empty: object) -> None:
    with pytest.raises(UsageError, match=r"an empty list matches nothing|only dates"):
        Query.of("study", PatientID=empty)


def test_an_empty_value_in_a_list() -> None:
    for value in (["", "A"], ["A", "  "]):
        with pytest.raises(UsageError, match="empty value can't be matched"):
            Query.of("study", PatientID=value)


# ------------------------------------------------------------------------------------------------------ kinds of matching


@pytest.mark.parametrize("value", [None, "", "   ", "*", "**", ["*"]])
def test_universal(value: object) -> None:
    """C.2.2.2.3: a zero-length value; nothing but stars says the same."""
    assert key("PatientID", value) == ("universal", "")


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("PatientID", "0007", "0007"),
        ("PatientID", 7, "7"),
        ("PatientID", np.str_("x"), "x"),
        ("PatientName", PersonName("Doe^Jane"), "Doe^Jane"),
        ("PatientName", "Müller^Jörg", "Müller^Jörg"),
        ("StudyInstanceUID", UID("1.2.840"), "1.2.840"),
        ("InstanceNumber", 5, "5"),
        ("InstanceNumber", 5.0, "5"),
        ("InstanceNumber", "5.0", "5"),
        ("InstanceNumber", " 005 ", "005"),
        ("InstanceNumber", IS("12"), "12"),
        ("InstanceNumber", np.int64(5), "5"),
        ("InstanceNumber", np.float64(5), "5"),
        ("SliceThickness", 0.5, "0.5"),
        ("SliceThickness", "1e-3", "1e-3"),
        ("FrameIncrementPointer", 0x00181063, "00181063"),
        ("StudyDate", "20260131", "20260131"),
        ("StudyDate", "2026-01-31", "20260131"),
        ("StudyDate", 20260131, "20260131"),
        ("StudyDate", date(2026, 1, 31), "20260131"),
        ("StudyDate", date(999, 1, 31), "09990131"),
        ("StudyDate", datetime(2026, 1, 31, 12), "20260131"),
        ("StudyDate", pd.Timestamp("2026-01-31"), "20260131"),
        ("StudyDate", np.datetime64("2026-01-31"), "20260131"),
        ("StudyDate", np.datetime64("2026-01-31T00:00:00.000000000"), "20260131"),
        ("StudyTime", "13:30", "1330"),
        ("StudyTime", "13", "13"),
        ("StudyTime", "235960", "235960"),
        ("StudyTime", "13:30:05.25", "133005.25"),
        ("StudyTime", time(13, 30), "133000"),
        ("StudyTime", time(13, 30, 5, 250000), "133005.250000"),
        ("AcquisitionDateTime", "20260131133000", "20260131133000"),
        ("AcquisitionDateTime", "2026-01-31 13:30", "202601311330"),
        ("AcquisitionDateTime", "2026-01-31T13:30:00.5+01:00", "20260131133000.5+0100"),
        ("AcquisitionDateTime", date(2026, 1, 31), "20260131000000.000000"),
        ("AcquisitionDateTime", datetime(2026, 1, 31, 13, tzinfo=UTC), "20260131130000.000000+0000"),
        ("AcquisitionDateTime", datetime(999, 1, 31), "09990131000000.000000"),
    ],
)
def test_single_value(keyword: str, value: object, text: str) -> None:
    assert key(keyword, value) == ("single", text)
    assert key(keyword, [value]) == ("single", text)  # a list of one is that one


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("PatientName", "Doe*"), ("PatientID", "P?"), ("Modality", "*R"), ("StudyDescription", "*a*?")],
)
def test_wild_card(keyword: str, text: str) -> None:
    assert key(keyword, text) == ("wildcard", text)


@pytest.mark.parametrize(
    ("keyword", "value", "text"),
    [
        ("StudyDate", ("2026-01-01", date(2026, 1, 31)), "20260101-20260131"),
        ("StudyDate", ("2026-01-01", None), "20260101-"),
        ("StudyDate", (None, "20260101"), "-20260101"),
        ("StudyDate", ("20260101", "20260101"), "20260101-20260101"),
        ("StudyDate", (date(999, 1, 1), "10000101"), "09990101-10000101"),
        ("StudyDate", "20260101-20260131", "20260101-20260131"),
        ("StudyDate", "20260101 - 20260131", "20260101-20260131"),
        ("StudyDate", "20260101-", "20260101-"),
        ("StudyDate", "-20260101", "-20260101"),
        ("StudyTime", "10:00-11:30", "1000-1130"),
        ("StudyTime", (time(10), None), "100000-"),
        ("StudyTime", ("1030", "10"), "1030-10"),  # until 10:59
        ("StudyTime", ("0930", "10"), "0930-10"),
        ("AcquisitionDateTime", ("2026", "2027"), "2026-2027"),
        ("AcquisitionDateTime", ("20260215", "202602"), "20260215-202602"),
        ("AcquisitionDateTime", (datetime(2026, 1, 1), None), "20260101000000.000000-"),
        (
            "AcquisitionDateTime",
            (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, 11, tzinfo=UTC)),
            "20260101120000.000000+0200-20260101110000.000000+0000",
        ),
    ],
)
def test_range(keyword: str, value: object, text: str) -> None:
    """C.2.2.2.5: both ends count, an open end matches everything on that side."""
    assert key(keyword, value) == ("range", text)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("StudyDate", ("2026-02-01", "2026-01-01")),
        ("StudyDate", "20260201-20260101"),
        ("StudyTime", ("11", "10:30")),
        ("StudyTime", ("1100", "10")),
        ("AcquisitionDateTime", ("2027", "2026")),
        (
            "AcquisitionDateTime",
            (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=timezone(timedelta(hours=2)))),
        ),
    ],
)
def test_a_range_the_wrong_way_round(keyword: str, value: object) -> None:
    with pytest.raises(UsageError, match=r"starts .* after its end"):
        Query.of("instance", {keyword: value})


@pytest.mark.parametrize("value", [(None, None), ("20260101",), (), ("20260101", None, None), "-"])
def test_what_is_no_range(value: object) -> None:
    with pytest.raises(UsageError, match="a range is a pair"):
        Query.of("study", StudyDate=value)


def test_only_moments_have_ranges() -> None:
    for keyword in ("PatientID", "PatientSize"):
        with pytest.raises(UsageError, match="only dates and times have ranges; a list means any of"):
            Query.of("study", {keyword: ("1", "2")})


@pytest.mark.parametrize(
    "value",
    [
        ["CT", "MR"],
        ["CT", "MR", "CT"],
        {"MR", "CT"},
        frozenset({"CT", "MR"}),
        np.array(["CT", "MR"]),
        np.array(["CT", "MR"], dtype=object),
        pd.Series(["CT", "MR"], index=[7, 7]),
        pd.Series(["CT", "MR"], dtype="category"),
        pd.Index(["CT", "MR"]),
        MultiValue(str, ["CT", "MR"]),
        (kind for kind in ("CT", "MR")),
        {"CT": 1, "MR": 2}.keys(),
    ],
)
def test_lists_of_every_kind(value: object) -> None:
    assert key("Modality", value) == ("list", "CT\\MR")


def test_lists_of_moments_and_numbers() -> None:
    days = pd.Series(pd.to_datetime(["2026-01-01", "2026-01-02"]))
    assert key("StudyDate", days) == ("list", "20260101\\20260102")
    assert key("StudyDate", days.to_numpy()) == ("list", "20260101\\20260102")
    assert key("StudyDate", days.dt.date.tolist()) == ("list", "20260101\\20260102")
    assert key("InstanceNumber", np.array([1.0, 2.0])) == ("list", "1\\2")
    assert key("InstanceNumber", range(1, 4)) == ("list", "1\\2\\3")
    assert key("StudyInstanceUID", ["1.2", UID("1.3")]) == ("list", "1.2\\1.3")


def test_sets_have_an_order() -> None:
    """The same set is the same query in every process, whatever its hash seed."""
    assert key("PatientID", {str(n) for n in range(20)})[1].split("\\") == sorted(str(n) for n in range(20))


# ---------------------------------------------------------------------------------------------------------- the whole


def test_columns_are_standard_then_matched_then_included() -> None:
    query = Query.of(
        "patient", {"00191001": None}, PatientComments="x", PatientID="P", include=["EthnicGroup", "PatientSex"]
    )
    assert [one.name for one in query.columns] == [
        "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries", "NumberOfPatientRelatedInstances", "00191001", "PatientComments", "EthnicGroup",
    ]  # fmt: skip


def test_match_takes_what_is_no_python_name() -> None:
    query = Query.of(
        "series", {0x00100020: "P", "(0008,0060)": "CT", "RequestAttributesSequence.ScheduledProcedureStepID": "S"}
    )
    assert [(k.column.name, k.text) for k in query.keys] == [
        ("PatientID", "P"), ("Modality", "CT"), ("RequestAttributesSequence.ScheduledProcedureStepID", "S"),
    ]  # fmt: skip


def test_key_and_matches_only() -> None:
    query = Query.of("series", PatientID="P", StudyDate=None, Modality="CT", SpecificCharacterSet="x")
    found = query.key("Modality")
    assert found is not None
    assert found.text == "CT"
    assert query.key("Rows") is None
    assert [k.column.name for k in query.matches_only(["series"])] == ["Modality", "SpecificCharacterSet"]
    assert [k.column.name for k in query.matches_only(["patient", "study"])] == ["PatientID", "SpecificCharacterSet"]


def texts(query: Query) -> list[str]:
    return [one.text for one in query.keys]


def test_lists_split_into_their_product() -> None:
    query = Query.of(
        "series",
        Modality=["CT", "MR"],
        StudyInstanceUID=["1.2", "1.3"],
        PatientID=["A", "B*", "*"],
        StudyDate="20260101-",
        limit=3,
    )
    split = list(query.single_valued())
    assert [texts(one) for one in split] == [
        [kind, "1.2\\1.3", patient, "20260101-"] for kind in ("CT", "MR") for patient in ("A", "B*", "")
    ]
    assert {one.limit for one in split} == {3}
    assert {one.columns for one in split} == {query.columns}
    assert [one.keys[2].matching for one in split[:3]] == ["single", "wildcard", "universal"]
    assert all(one.keys[1].matching == "list" for one in split)


def test_lists_of_uids_split_for_those_who_do_not_take_them() -> None:
    query = Query.of("study", StudyInstanceUID=["1.2", "1.3"])
    assert list(query.single_valued()) == [query]
    split = list(query.single_valued(uid_lists=False))
    assert [(one.keys[0].matching, one.keys[0].text) for one in split] == [("single", "1.2"), ("single", "1.3")]


def test_without_lists_there_is_one_query() -> None:
    query = Query.of("study", PatientID="A", StudyDate=("20260101", None))
    assert list(query.single_valued()) == [query]


def test_no_repr_shows_a_value() -> None:
    query = Query.of(
        "study", PatientID="P-4711", PatientName=["Doe^Jane", "Roe^*"], PatientBirthDate="19700101-19701231"
    )
    assert str(query) == "study by PatientID (single), PatientName (list), PatientBirthDate (range)"
    assert str(Query.of("series")) == "every series"
    for text in (str(query), repr(query), repr(query.keys), f"{query.keys[0]}", repr([query])):
        for secret in ("4711", "Doe", "Roe", "1970"):
            assert secret not in text


def test_queries_are_values() -> None:
    a, b = (Query.of("study", PatientID="A", include=["StudyID"]) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Query.of("study", PatientID="B", include=["StudyID"])
    assert a.keys[0].column is column("PatientID")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=4) | st.dates() | st.times()
    | st.datetimes() | st.from_regex(r"[0-9:.\-]{0,16}"),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=5,
)  # fmt: skip


@given(
    st.sampled_from(["PatientID", "PatientName", "StudyDate", "StudyTime", "AcquisitionDateTime", "InstanceNumber",
                     "SliceThickness", "StudyInstanceUID", "Modality", "00191001", "FrameIncrementPointer"]),
    anything,
)  # fmt: skip
def test_whatever_is_given_is_refused_or_can_be_sent(keyword: str, value: object) -> None:
    try:
        [one] = Query.of("instance", {keyword: value}).keys
    except UsageError:
        return
    assert one.text.encode("utf-8") is not None
    assert not any(c == "\\" or ord(c) < 32 or ord(c) == 127 for text in one.values for c in text)
    assert (one.matching == "universal") == (not one.values)
    assert len(one.values) == {"universal": 0, "single": 1, "wildcard": 1, "range": 2}.get(
        one.matching, len(one.values)
    )


def test_lists_that_multiply_beyond_reason_are_refused() -> None:
    many = [f"A{n}" for n in range(200)]
    query = Query.of("study", PatientID=many, AccessionNumber=many)
    with pytest.raises(UsageError, match="40000 queries"):
        next(query.single_valued())
    assert sum(1 for _ in Query.of("study", PatientID=[str(n) for n in range(20_000)]).single_valued()) == 20_000
