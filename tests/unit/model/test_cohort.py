"""A cohort as the table that it is, its way back from a DataFrame, drilling down, and what its repr hides."""

from __future__ import annotations

import io
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dicomlab.errors import UsageError
from dicomlab.model.cohort import SHOWN_COLUMNS, SHOWN_ROWS, Cohort
from dicomlab.model.columns import LEVELS, TableBuilder, standard_columns
from dicomlab.model.instance import Instance
from dicomlab.model.options import options
from dicomlab.model.path import SearchPath
from dicomlab.model.progress import Operation
from tests.unit.model.shelf import CT, ROWS, Shelf, instance_row


def find(shelf: SearchPath, *arguments: Any, **keywords: Any) -> Any:
    return shelf.find(*arguments, progress=False, **keywords)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def studies(shelf: Shelf) -> Cohort:
    cohort: Cohort = find(shelf)
    return cohort


def uids(cohort: Cohort, name: str = "StudyInstanceUID") -> list[str]:
    return cohort[name].tolist()


# ------------------------------------------------------------------------------------------------------------ as a table


def test_it_is_a_table(studies: Cohort) -> None:
    assert len(studies) == 4
    assert studies.columns.tolist() == [one.name for one in standard_columns("study")]
    assert uids(studies) == ["1.1.1", "1.1.2", "1.2.1", "1.2.2"]
    assert studies["StudyDate"].dt.year.tolist() == [2021, 2022, 2021, 2022]


def test_nobody_can_change_it_from_outside(studies: Cohort) -> None:
    frame, series = studies.to_dataframe(), studies["PatientID"]
    frame["PatientID"] = "changed"
    series[:] = "changed"
    assert set(studies["PatientID"]) == {"P1", "P2"}
    given = pd.DataFrame({"StudyInstanceUID": ["1.2"]})
    mine = Cohort.from_dataframe(given)
    given.loc[0, "StudyInstanceUID"] = "9.9"
    assert uids(mine) == ["1.2"]


def test_a_column_that_is_not_there(studies: Cohort) -> None:
    with pytest.raises(UsageError, match="no column 'Modality'; there are PatientID, "):
        studies["Modality"]


@pytest.mark.parametrize(
    ("key", "rows"),
    [
        (0, [0]), (-1, [3]), (np.int64(2), [2]), (slice(1, 3), [1, 2]), (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(9, None), []), ([True, False, False, True], [0, 3]), (np.array([False, True, False, False]), [1]),
        (pd.Series([True, False, pd.NA, True], dtype="boolean"), [0, 3]), (pd.Series([True, None, np.nan, False]), [0]),
        ([False] * 4, []), (pd.Series([None] * 4), []), ((True, False, False, False), [0]),
    ],
)  # fmt: skip
def test_parts(studies: Cohort, key: Any, rows: list[int]) -> None:
    part = studies[key]
    assert isinstance(part, Cohort)
    assert uids(part) == [uids(studies)[row] for row in rows]
    assert part.to_dataframe().index.tolist() == list(range(len(rows)))
    assert (part.level, part.source, part.query, part.complete) == ("study", studies.source, studies.query, True)
    assert part.to_dataframe().dtypes.equals(studies.to_dataframe().dtypes)


def test_masks_made_of_its_columns(studies: Cohort) -> None:
    assert uids(studies[studies["PatientID"] == "P2"]) == ["1.2.1", "1.2.2"]
    assert uids(studies[studies["StudyDate"] >= "2022-01-01"]) == ["1.1.2", "1.2.2"]
    assert uids(studies[studies["ModalitiesInStudy"].map(lambda kinds: "CT" in kinds)]) == uids(studies)
    frame = studies.to_dataframe()
    assert uids(studies[frame["StudyDescription"].str.contains("2")]) == ["1.1.2", "1.2.2"]
    empty = studies[[False] * 4]
    assert len(empty[empty["PatientID"] == "P1"]) == 0
    assert len(empty[[]]) == 0


@pytest.mark.parametrize(
    "key",
    [
        ["PatientID"], [0, 1], np.array([0, 1]), [True], [True] * 5, [], True, None, 1.5, {"a": True}, object(),
        pd.Series([True] * 4, index=[3, 2, 1, 0]), pd.Series([True] * 3), pd.Series(["a"] * 4), ["a", True, True, True],
        np.ones((4, 2), dtype=bool), pd.DataFrame({"a": [True] * 4}), lambda frame: [True] * 4,
    ],
    ids=range(18),
)  # fmt: skip
def test_what_cuts_no_part(studies: Cohort, key: Any) -> None:
    with pytest.raises(UsageError, match="mask"):
        studies[key]


@pytest.mark.parametrize("row", [4, -5])
def test_rows_beyond_the_end(studies: Cohort, row: int) -> None:
    with pytest.raises(IndexError):
        studies[row]


def test_warnings_go_with_their_rows() -> None:
    rows = [
        instance_row(1, n, 1, 1, StudyDate=(text,)) for n, text in enumerate(["20260101", "soon", "20260102", "never"])
    ]
    cohort = find(Shelf(rows))
    assert cohort.warnings.to_dict("list") == {
        "row": [1, 3], "column": ["StudyDate"] * 2, "raw": ["soon", "never"], "problem": ["not a date (DA)"] * 2,
    }  # fmt: skip
    assert cohort[2:].warnings[["row", "raw"]].to_numpy().tolist() == [[1, "never"]]
    assert cohort[::-1].warnings[["row", "raw"]].to_numpy().tolist() == [[2, "soon"], [0, "never"]]
    assert len(cohort[0].warnings) == 0
    assert cohort[0].warnings.columns.tolist() == ["row", "column", "raw", "problem"]
    assert "2 values could not be read: see .warnings" in repr(cohort)


@pytest.mark.parametrize("level", ["patient", "study", "series"])
def test_above_instances_iterating_gives_rows(shelf: Shelf, level: str) -> None:
    cohort = find(shelf, level)
    rows = list(cohort)
    assert len(rows) == len(cohort)
    assert all(isinstance(row, Cohort) and len(row) == 1 and row.level == level for row in rows)
    key = {"patient": "PatientID", "study": "StudyInstanceUID", "series": "SeriesInstanceUID"}[level]
    assert [row[key][0] for row in rows] == uids(cohort, key)


def test_iterating_instances(shelf: Shelf) -> None:
    cohort = find(shelf, "instance", PatientID="P1", Modality="CT")
    found = list(cohort)
    assert found[0] == Instance("1.1.1", "1.1.1.1", "1.1.1.1.1", CT)
    assert found[0].source is shelf
    assert len(found) == len(cohort) == 6
    assert list(cohort[0]) == found[:1]


def test_instances_with_gaps() -> None:
    frame = TableBuilder(standard_columns("instance"))
    frame.add({"SOPInstanceUID": ["1.2.3"]})
    [one] = Cohort(frame.frame(), level="instance")
    assert one == Instance("", "", "1.2.3", "")
    [one] = Cohort(frame.frame().drop(columns="SOPClassUID"), level="instance")
    assert one.sop_class_uid == ""


def test_only_what_delivers_is_the_source_of_an_instance() -> None:
    class Index(SearchPath):
        pass

    [one] = Cohort(find(Shelf(ROWS[:1]), "instance").to_dataframe(), level="instance", source=Index())
    assert one.source is None


# -------------------------------------------------------------------------------------------------------- from_dataframe


@pytest.mark.parametrize("level", LEVELS)
def test_there_and_back(shelf: Shelf, level: str) -> None:
    cohort = find(shelf, level, include=["PatientID"])
    back = Cohort.from_dataframe(cohort.to_dataframe(), source=shelf)
    assert (back.level, back.source, back.complete) == (level, shelf, True)
    pd.testing.assert_frame_equal(back.to_dataframe(), cohort.to_dataframe())
    text = io.StringIO(cohort.to_dataframe().to_csv())
    again = Cohort.from_dataframe(pd.read_csv(text, dtype=str, index_col=0))
    pd.testing.assert_frame_equal(again.to_dataframe(), cohort.to_dataframe())


def test_a_filtered_and_joined_table(studies: Cohort) -> None:
    frame = studies.to_dataframe()
    frame = frame[frame["PatientID"] == "P2"].merge(
        pd.DataFrame({"PatientID": ["P2"], "group": ["control"]}), on="PatientID"
    )
    back = Cohort.from_dataframe(frame, source=studies.source)
    assert back["group"].tolist() == ["control"] * 2
    assert len(back.series()) == 4


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"score": [1]}, "a cohort needs one of the columns PatientID, StudyInstanceUID"),
        ({"SeriesInstanceUID": ["1"]}, "a cohort of series rows needs the columns StudyInstanceUID too"),
        ({"SOPInstanceUID": ["1"]}, "needs the columns StudyInstanceUID, SeriesInstanceUID too"),
        ({"StudyInstanceUID": ["1", ""]}, "StudyInstanceUID is empty in some rows"),
        ({"StudyInstanceUID": ["1", None]}, "StudyInstanceUID is empty in some rows"),
        ({"PatientID": [" "]}, "PatientID is empty in some rows"),
        ({"StudyInstanceUID": [None, "1"], "SeriesInstanceUID": ["1", "2"]}, "StudyInstanceUID is empty in some rows"),
        ({"StudyInstanceUID": ["1"], "StudyDate": ["soon"]}, "column StudyDate, row 0: 'soon' can't be read"),
        ({"StudyInstanceUID": [("1", "2")]}, "2 values where one is allowed"),
    ],
)
def test_tables_that_are_no_cohort(table: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        Cohort.from_dataframe(pd.DataFrame(table))


def test_the_deepest_key_is_the_level() -> None:
    table = {"PatientID": [None], "StudyInstanceUID": ["1"], "SeriesInstanceUID": ["2"]}
    assert Cohort.from_dataframe(pd.DataFrame(table)).level == "series"
    assert Cohort.from_dataframe(pd.DataFrame({"PatientID": ["P"], "mine": [1]})).level == "patient"
    assert len(Cohort.from_dataframe(pd.DataFrame({"StudyInstanceUID": []}))) == 0


# ----------------------------------------------------------------------------------------------------------- drilling down


def test_down_the_levels(shelf: Shelf) -> None:
    patients = find(shelf, "patient", PatientID="P1")
    assert len(patients.studies()) == 2
    assert len(patients.series()) == 4
    assert len(patients.instances()) == 12
    assert len(patients.studies().series().instances()) == 12
    assert len(patients.series(Modality="CT").instances(InstanceNumber=1)) == 2
    assert set(patients.series()["SeriesInstanceUID"].str[:3]) == {"1.1"}
    drilled = patients.studies({"(0008,0020)": ("2022-01-01", None)}, include=["StudyComments"])
    assert uids(drilled) == ["1.1.2"]
    assert "StudyComments" in drilled.columns
    assert drilled.source is shelf


def test_the_keys_of_the_rows_are_what_is_asked(studies: Cohort, shelf: Shelf) -> None:
    studies[1:3].series()
    asked = shelf.asked[-1]
    assert [(k.column.name, k.values) for k in asked.keys] == [("StudyInstanceUID", ("1.1.2", "1.2.1"))]
    find(shelf, "series")[0].instances()
    assert [k.column.name for k in shelf.asked[-1].keys] == ["StudyInstanceUID", "SeriesInstanceUID"]


def test_up_is_not_down(shelf: Shelf, studies: Cohort) -> None:
    for verb in (find(shelf, "series").studies, find(shelf, "instance").series):
        with pytest.raises(UsageError, match="rows lie above it, not below"):
            verb()


def test_the_same_level_is_the_same_cohort_or_a_part_of_it(studies: Cohort) -> None:
    assert studies.studies() is studies
    assert uids(studies.studies(StudyDate="20220131")) == ["1.1.2", "1.2.2"]


def test_without_a_source(studies: Cohort) -> None:
    mine = Cohort.from_dataframe(studies.to_dataframe())
    for call in (mine.series, lambda: mine.retrieve("x"), mine.datasets):
        with pytest.raises(UsageError, match=r"no source to ask: Cohort\.from_dataframe\(df, source"):
            call()


def test_options_go_along(studies: Cohort, shelf: Shelf) -> None:
    seen: list[int] = []
    series = studies.series(limit=3, progress=lambda progress: seen.append(progress.done))
    assert (len(series), series.complete, series.note) == (3, False, "there are more than limit=3")
    assert seen == [1, 2, 3]
    assert shelf.asked[-1].limit == 3


def test_in_the_background(studies: Cohort) -> None:
    operation: Any = studies[0].series(background=True, include=["StudyDate"])
    assert isinstance(operation, Operation)
    below = operation.result()
    assert below["StudyDate"].dt.year.tolist() == [2021, 2021]
    assert operation.progress.done == 2


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"Modlity": "CT"}, "did you mean Modality"),
        ({"SliceThickness": 1}, "instance level"),
        ({"speed": 3}, "has no option 'speed'"),
        ({"include": "StudyDate"}, r"include=\['StudyDate'\]"),
        ({"StudyInstanceUID": "1"}, "StudyInstanceUID comes from this table"),
        ({"match": {0x0020000D: "1"}}, "StudyInstanceUID is given twice"),
        ({"limit": 0}, "limit must be"),
    ],
)
def test_mistakes_come_out_before_anything_is_asked(
    studies: Cohort, shelf: Shelf, wrong: dict[str, Any], says: str, empty: bool
) -> None:
    cohort = studies[[False] * 4] if empty else studies
    asked = len(shelf.asked)
    if empty and "match" in wrong:
        return  # nothing is asked, so nothing is asked twice
    for background in (False, True):
        with pytest.raises(UsageError, match=says):
            cohort.series(**wrong, background=background)
    assert len(shelf.asked) == asked


def test_below_nothing_is_nothing(studies: Cohort, shelf: Shelf) -> None:
    none, asked = studies[[False] * 4], len(shelf.asked)
    below = none.series(Modality="CT", include=["StudyDate", "ProtocolName"], progress=False)
    full = studies.series(Modality="CT", include=["StudyDate", "ProtocolName"])
    assert (len(below), below.complete, below.level, below.source) == (0, True, "series", shelf)
    assert set(below.columns) == set(full.columns)
    assert len(shelf.asked) == asked + 1  # the full one
    assert len(none.instances(InstanceNumber=1)) == 0


def test_columns_of_the_table_above_are_carried_down(studies: Cohort, shelf: Shelf) -> None:
    frame = studies.to_dataframe()
    frame["StudyDescription"] = ["a", "b", "c", None]
    mine = Cohort.from_dataframe(frame, source=shelf)
    below = mine.series(include=["StudyDescription", "ModalitiesInStudy", "StudyInstanceUID", "ProtocolName"])
    assert below["StudyDescription"].tolist()[:6] == ["a", "a", "b", "b", "c", "c"]
    assert below["StudyDescription"].isna().sum() == 2
    assert below["ModalitiesInStudy"].tolist()[0] == ("CT", "MR")
    assert "ProtocolName" in below.columns
    assert [one.name for one in shelf.asked[-1].include] == ["StudyInstanceUID", "ProtocolName"]
    assert below.to_dataframe()["StudyDescription"].dtype == "str"


def test_rows_that_stand_twice_do_not_multiply(studies: Cohort, shelf: Shelf) -> None:
    twice = Cohort.from_dataframe(pd.concat([studies.to_dataframe()] * 2), source=shelf)
    assert len(twice) == 8
    below = twice.series(include=["StudyDate"])
    assert len(below) == 8
    assert below["SeriesInstanceUID"].is_unique


def test_below_what_is_cut_off_is_cut_off(shelf: Shelf) -> None:
    some = find(shelf, limit=2)
    below = some.series()
    assert (some.complete, below.complete) == (False, False)
    assert below.note == "the study table above it is not complete: there are more than limit=2"
    assert some.series(limit=1).note == "there are more than limit=1"  # its own reason is the nearer one
    assert not some[[False, False]].series().complete


def test_patients_without_an_id_are_not_lost_in_silence() -> None:
    rows = [instance_row(1, 1, 1, 1), instance_row(2, 1, 1, 1, PatientID=("",))]
    shelf = Shelf(rows)
    patients = find(shelf, "patient")
    assert len(patients) == 2
    below = patients.studies()
    assert (len(below), below.complete, below.note) == (1, False, "1 patient rows have no PatientID to ask for")
    only = patients[patients["PatientID"].isna()].studies()
    assert (len(only), only.complete) == (0, False)


def test_a_star_in_a_patient_id_is_no_wild_card() -> None:
    """No patient but the one of that row is asked about or, worse, retrieved."""
    rows = [instance_row(n, 1, 1, 1, PatientID=(name,)) for n, name in enumerate(["P*", "P1", "P2"], 1)]
    patients = find(Shelf(rows), "patient")
    assert uids(patients[patients["PatientID"] == "P*"].studies()) == ["1.1.1"]
    assert len(patients.studies()) == 3


def test_peek_takes_a_list(studies: Cohort) -> None:
    with pytest.raises(UsageError, match=r"peek\(\['SliceThickness'\]\)"):
        studies.peek("SliceThickness")
    with pytest.raises(UsageError, match="did you mean SliceThickness"):
        studies.peek(["SliceThicknes"])


# ---------------------------------------------------------------------------------------------------------------- repr


SECRETS = ["Secret", "Name1", "P1", "P2", "ACC", "1970", "0101"]


def everything(cohort: Cohort) -> str:
    return repr(cohort) + repr(cohort._summary_()) + str(cohort) + cohort._repr_html_() + repr(cohort.query)


@pytest.mark.parametrize("level", LEVELS)
def test_no_repr_tells_who_the_patients_are(shelf: Shelf, level: str) -> None:
    cohort = find(shelf, level, PatientName="Secret*", include=["PatientID", "PatientBirthDate"])
    assert len(cohort)
    for shown in (
        everything(cohort),
        everything(cohort[0]),
        everything(next(iter(cohort))) if level != "instance" else "",
    ):
        for secret in SECRETS:
            assert secret not in shown
    assert "Secret^Name1" in cohort["PatientName"].tolist()  # the table itself is plain


def test_what_identifies_nobody_is_shown(studies: Cohort) -> None:
    shown = repr(studies)
    for plain in ("1.1.1", "2021-01-31", "PatientName", "Cohort of 4 studies", "source  Shelf"):
        assert plain in shown


def test_synthetic_patients_are_shown() -> None:
    cohort = find(Shelf(fictional=True))
    assert cohort.fictional
    assert "Secret^Name1" in repr(cohort)
    assert "Secret^Name1" in cohort._repr_html_()


def test_options_phi(studies: Cohort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "phi", "show")
    assert "Secret^Name1" in repr(studies)
    monkeypatch.setattr(options, "phi", "hash")
    assert "Secret" not in repr(studies)
    digests = re.findall(r"#[0-9a-f]{8}", repr(studies))
    assert len(digests) > len(set(digests)) >= 4  # the same patient is the same digest


def test_columns_of_ones_own_are_masked_too() -> None:
    frame = pd.DataFrame({"StudyInstanceUID": ["1.2"], "nickname": ["Secret"], 7: ["Secret"], "00191001": ["Secret"]})
    shown = everything(Cohort.from_dataframe(frame, source=Shelf()))
    assert "Secret" not in shown
    assert "nickname" in shown
    assert "Secret" not in everything(Cohort.from_dataframe(frame))  # no source: nobody knows whose they are


def test_cells_of_every_kind_have_a_face() -> None:
    frame = pd.DataFrame(
        {
            "StudyInstanceUID": ["1.2"], "list": [[1, 2]], "array": [np.array([1, 2])], "dict": [{"a": 1}], "none": [None],
            "time": [pd.Timestamp("2026-01-31 13:00")], "object": [object], "frame": [pd.DataFrame({"a": [1]})],
        }
    )  # fmt: skip
    text = repr(Cohort.from_dataframe(frame, source=Shelf(fictional=True)))
    for shown in ("[1, 2]", "[1 2]", "{'a': 1}", "—", "2026-01-31 13:00:00"):
        assert shown in text


def test_a_repr_is_bounded_and_escapes() -> None:
    evil = "<script>\x1b[2J\u202e" + "x" * 100_000
    rows = [instance_row(1, n, 1, 1, StudyDescription=(evil,)) for n in range(50)]
    cohort = find(Shelf(rows))
    text = repr(cohort)
    assert len(text) < 20_000
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert f"… {50 - SHOWN_ROWS} more rows" in text
    assert f"… {len(cohort.columns) - SHOWN_COLUMNS} more columns" in text
    assert "<script>" not in cohort._repr_html_()
    assert "not complete" not in text


def test_a_repr_says_that_it_is_not_all(shelf: Shelf) -> None:
    assert "! not complete: there are more than limit=1" in repr(find(shelf, limit=1))
    assert repr(find(shelf, limit=1)).startswith("Cohort of 1 study\n")
    assert repr(find(shelf, "series", limit=1)).startswith("Cohort of 1 series\n")
    assert repr(find(Shelf(()), "patient")).startswith("Cohort of 0 patients\n")
