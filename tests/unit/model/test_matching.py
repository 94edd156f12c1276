"""Attribute matching (PS3.4 C.2.2.2) and the rows of each level."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.matching import answers, matches, order, rows_at_level, wildcard
from dicomlab.model.query import Key, Query


def key(keyword: str, value: object) -> Key:
    (made,) = Query.of("instance", {keyword: value}).keys
    return made


@pytest.mark.parametrize(
    ("keyword", "value", "raws", "expected"),
    [
        # single value: as it stands, padding aside
        ("PatientID", "A1", ("A1",), True),
        ("PatientID", "A1", ("A1 ",), True),
        ("PatientID", "A1", ("a1",), False),
        ("PatientID", "A1", ("A12",), False),
        ("PatientID", "A1", (), False),
        ("PatientID", "A1", ("",), False),
        ("PatientID", "A1", (None,), False),
        ("StudyInstanceUID", "1.2", ("1.2\0",), True),
        ("InstanceNumber", 1, ("01 ",), True),
        ("InstanceNumber", 1, (1,), True),
        ("InstanceNumber", 1, ("one",), False),
        ("SliceThickness", 2.5, ("2.50",), True),
        ("StudyDate", "2026-01-31", ("20260131",), True),
        ("StudyDate", "2026-01-31", ("2026.01.31",), True),
        ("StudyTime", "1300", ("130000.000",), True),
        # universal
        ("PatientID", None, (), True),
        ("PatientID", "*", (), True),
        ("PatientID", "", ("X",), True),
        # wild cards
        ("PatientID", "A*", ("A",), True),
        ("PatientID", "A*", ("BA",), False),
        ("PatientID", "?1", ("A1",), True),
        ("PatientID", "?1", ("1",), False),
        ("PatientID", "A*Z", ("A*Z and more Z",), True),
        ("PatientID", "A[1]*", ("A[1]b",), True),
        ("PatientID", "A[1]*", ("A1b",), False),
        ("PatientID", "a*", ("A",), False),
        ("PatientID", "A?", (), False),
        ("StudyDescription", "*\u00e9*", ("caf\u00e9 au lait",), True),
        # person names: no case, any group, trailing empty components mean nothing
        ("PatientName", "doe^john", ("DOE^JOHN",), True),
        ("PatientName", "Doe^John", ("Doe^John^^^",), True),
        ("PatientName", "Doe", ("Doe^John",), False),
        ("PatientName", "doe^j*", ("DOE^JOHN",), True),
        ("PatientName", "DOE^J*", ("Doe^John",), True),
        ("PatientName", "Doe^*", ("Doe^",), True),  # a value as it stands counts for wild cards too
        ("PatientName", "Doe^*", ({"Alphabetic": "Doe^"},), True),
        ("PatientName", "Doe^*", ("Doe",), False),
        ("PatientName", "Yamada^Tarou", ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce=\u3084\u307e\u3060",), True),
        ("PatientName", "\u5c71\u7530^\u592a\u90ce", ("Yamada^Tarou=\u5c71\u7530^\u592a\u90ce",), True),
        ("PatientName", "Yamada^Tarou", ({"Alphabetic": "Yamada^Tarou"},), True),
        ("PatientName", "Yamada", ({"Ideographic": "\u5c71\u7530"},), False),
        # ranges: inclusive; an end as precise as it is written
        ("StudyDate", ("2026-01-01", "2026-01-31"), ("20260101",), True),
        ("StudyDate", ("2026-01-01", "2026-01-31"), ("20260131",), True),
        ("StudyDate", ("2026-01-01", "2026-01-31"), ("20260201",), False),
        ("StudyDate", ("2026-01-01", None), ("20991231",), True),
        ("StudyDate", ("2026-01-01", None), ("20251231",), False),
        ("StudyDate", (None, "2026-01-01"), ("20251231",), True),
        ("StudyDate", (None, "2026-01-01"), ("no date",), False),
        ("StudyDate", (None, "2026-01-01"), (), False),
        ("StudyTime", ("0900", "10"), ("105959.5",), True),
        ("StudyTime", ("0900", "10"), ("110000",), False),
        ("StudyTime", ("0900", "1000"), ("100059",), True),
        ("StudyTime", ("0900", "1000"), ("0859",), False),
        ("AcquisitionDateTime", ("2026", "202602"), ("20260228235959.9",), True),
        ("AcquisitionDateTime", ("2026", "202602"), ("20260301",), False),
        ("AcquisitionDateTime", ("2026", "2026"), ("20261231235959",), True),
        ("AcquisitionDateTime", ("20260101", "20260101"), ("20260101235959",), True),
        ("AcquisitionDateTime", ("2026010112", "2026010112"), ("20260101125959+0000",), True),
        ("AcquisitionDateTime", ("2026010112", "2026010112"), ("20260101125959-0200",), False),
        # lists: any of
        ("StudyInstanceUID", ["1.2", "1.3"], ("1.3",), True),
        ("StudyInstanceUID", ["1.2", "1.3"], ("1.4",), False),
        ("Modality", ["CT", "M?"], ("MR",), True),
        ("Modality", ["CT", "M?"], ("US",), False),
        ("PatientName", ["doe*", "roe^jane"], ("ROE^Jane",), True),
        # multiplicity: any value
        ("ModalitiesInStudy", "CT", ("MR", "CT"), True),
        ("ModalitiesInStudy", ["SR", "US"], ("MR", "CT"), False),
        ("ImageType", "AX*", ("ORIGINAL", "PRIMARY", "AXIAL"), True),
        ("RequestAttributesSequence.ScheduledProcedureStepID", "S2", (None, "S2"), True),
    ],
)  # fmt: skip
def test_matches(keyword: str, value: object, raws: tuple[object, ...], expected: bool) -> None:
    assert matches(key(keyword, value), raws) is expected


@given(st.text("AB*?[.\\", max_size=12), st.text("AB[.", max_size=12))
def test_a_wildcard_is_what_the_standard_says(pattern: str, text: str) -> None:
    reached = {0}  # how much of the text the pattern so far may have eaten
    for char in pattern:
        if char == "*":
            reached = {end for start in reached for end in range(start, len(text) + 1)}
        else:
            reached = {at + 1 for at in reached if at < len(text) and (char == "?" or text[at] == char)}
    assert (wildcard(pattern).fullmatch(text) is not None) == (len(text) in reached)


def test_no_pattern_of_a_peer_takes_for_ever() -> None:
    hostile = key("PatientComments", "*a" * 32 + "b")
    assert not matches(hostile, ("a" * 4000,))


def row(patient: str, study: str, series: str, sop: str, **more: Any) -> dict[str, tuple[object, ...]]:
    uids = {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": series, "SOPInstanceUID": sop}
    return {name: (value,) for name, value in {**uids, **more}.items()}


ROWS = [
    row("P2", "1.9", "1.9.1", "1.9.1.1", Modality="US", SOPClassUID="1.2.3", StudyDate="20260102"),
    row("P1", "1.1", "1.1.2", "1.1.2.1", Modality="MR", SOPClassUID="1.2.4", StudyDescription="second series"),
    row("P1", "1.1", "1.1.1", "1.1.1.2", Modality="CT", SOPClassUID="1.2.2", InstanceNumber="10"),
    row("P1", "1.1", "1.1.1", "1.1.1.9", Modality="CT", SOPClassUID="1.2.2", InstanceNumber=" 2 ",
        StudyDescription="first instance"),
    row("P1", "1.0", "1.0.1", "1.0.1.1", Modality="CT", SOPClassUID="1.2.2"),
]  # fmt: skip


def test_rows_of_a_study_are_counted_and_come_from_its_first_instance() -> None:
    studies = list(rows_at_level("study", ROWS))
    assert [s["StudyInstanceUID"] for s in studies] == [("1.0",), ("1.1",), ("1.9",)]
    second = studies[1]
    assert second["StudyDescription"] == ("first instance",)
    assert second["ModalitiesInStudy"] == ("CT", "MR")
    assert second["SOPClassesInStudy"] == ("1.2.2", "1.2.4")
    assert second["NumberOfStudyRelatedSeries"] == (2,)
    assert second["NumberOfStudyRelatedInstances"] == (3,)
    assert second["NumberOfPatientRelatedStudies"] == (2,)


def test_rows_of_the_other_levels() -> None:
    patients = list(rows_at_level("patient", ROWS))
    assert [(p["PatientID"], p["NumberOfPatientRelatedSeries"]) for p in patients] == [(("P1",), (3,)), (("P2",), (1,))]
    assert patients[0]["NumberOfPatientRelatedInstances"] == (4,)
    assert "ModalitiesInStudy" not in patients[0]
    series = list(rows_at_level("series", ROWS))
    assert [s["NumberOfSeriesRelatedInstances"] for s in series] == [(1,), (2,), (1,), (1,)]
    instances = list(rows_at_level("instance", ROWS))
    assert [i["SOPInstanceUID"][0] for i in instances] == ["1.0.1.1", "1.1.1.9", "1.1.1.2", "1.1.2.1", "1.9.1.1"]
    assert instances[1]["ModalitiesInStudy"] == ("CT", "MR")


def test_the_order_does_not_depend_on_the_order_of_arrival() -> None:
    assert list(rows_at_level("instance", ROWS)) == list(rows_at_level("instance", ROWS[::-1]))
    assert list(rows_at_level("study", ROWS)) == list(rows_at_level("study", ROWS[::-1]))
    numbered = [row("P", "1", "1", str(n), InstanceNumber=n) for n in ("10", "9", "", "x", "2")]
    assert [r["InstanceNumber"][0] for r in sorted(numbered, key=order)] == ["", "x", "2", "9", "10"]


def test_what_a_file_claims_to_have_counted_is_not_believed() -> None:
    (study,) = rows_at_level("study", [row("P", "1", "1", "1", NumberOfStudyRelatedInstances=99, Modality="CT")])
    assert study["NumberOfStudyRelatedInstances"] == (1,)


def test_every_key_has_to_match() -> None:
    keys = Query.of("study", PatientID="P*", ModalitiesInStudy="MR", StudyDate=None).keys
    found = [r for r in rows_at_level("study", ROWS) if answers(keys, r)]
    assert [r["StudyInstanceUID"] for r in found] == [("1.1",)]
