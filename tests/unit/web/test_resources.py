"""Paths and query strings of the Studies Service."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import columns
from dicomlab.model.query import Query
from dicomlab.web.resources import (
    Resource,
    chunks_of_uids,
    include_parameters,
    match_parameters,
    needs_encoding,
    parse_search,
    query_text,
    veiled,
)

PATHS = {
    "/studies": Resource("search", "study"),
    "/series": Resource("search", "series"),
    "/instances": Resource("search", "instance"),
    "/studies/1.2": Resource("retrieve", "study", "1.2"),
    "/studies/1.2/series": Resource("search", "series", "1.2"),
    "/studies/1.2/instances": Resource("search", "instance", "1.2"),
    "/studies/1.2/metadata": Resource("metadata", "study", "1.2"),
    "/studies/1.2/series/3": Resource("retrieve", "series", "1.2", "3"),
    "/studies/1.2/series/3/instances": Resource("search", "instance", "1.2", "3"),
    "/studies/1.2/series/3/metadata": Resource("metadata", "series", "1.2", "3"),
    "/studies/1.2/series/3/instances/4": Resource("retrieve", "instance", "1.2", "3", "4"),
    "/studies/1.2/series/3/instances/4/metadata": Resource("metadata", "instance", "1.2", "3", "4"),
    "/studies/1.2/series/3/instances/4/frames/1,7": Resource("frames", "instance", "1.2", "3", "4", (1, 7)),
    "/studies/1/series/3/instances/4/bulkdata/00091001": Resource(
        "bulkdata", "instance", "1", "3", "4", (), (0x91001,)
    ),
    "/studies/1/series/3/instances/4/bulkdata/00081199/2/7FE00010": Resource(
        "bulkdata", "instance", "1", "3", "4", (), (0x81199, 2, 0x7FE00010)
    ),
    "/studies/1/bulkdata": Resource("bulkdata", "study", "1"),
    "/studies/1/series/3/pixeldata": Resource("pixeldata", "series", "1", "3"),
    "/studies/1/rendered": Resource("rendered", "study", "1"),
    "/studies/1/series/3/instances/4/thumbnail": Resource("thumbnail", "instance", "1", "3", "4"),
    "/studies/1/series/3/instances/4/frames/2,3/rendered": Resource("rendered", "instance", "1", "3", "4", (2, 3)),
    "/studies/1/series/3/instances/4/frames/2/thumbnail": Resource("thumbnail", "instance", "1", "3", "4", (2,)),
}


@pytest.mark.parametrize("path", PATHS)
def test_paths_both_ways(path: str) -> None:
    assert Resource.parse(path) == PATHS[path]
    assert PATHS[path].path == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/patients", "/studies/x", "/studies/1.2/series/../instances", "/studies/1/studies", "/series/1",
        "/studies/1/series/2/series", "/studies/1/metadata/2", "/studies/1/frames/1", "/studies/" + "1" * 65,
        "/studies/1/series/2/instances/3/frames/0", "/studies/1/series/2/instances/3/frames/a",
        "/studies/1/series/2/instances/3/frames/" + ",".join(["1"] * 20_000),
        "/studies/1/series/2/instances/3/bulkdata/7FE00010/0", "/studies/1/series/2/instances/3/frames/1/metadata",
        "/studies/1/series/2/bulkdata/7FE00010", "/studies/1/rendered/frames/1", "/rendered",
        "/studies/1/series/2/instances/3/bulkdata/xyz", "/metadata", "/instances/1/2",
    ],
)  # fmt: skip
def test_what_is_no_resource(path: str) -> None:
    with pytest.raises(RemoteProtocolError):
        Resource.parse(path)


@given(st.text(max_size=60))
def test_any_path_fails_only_with_remote_protocol_error(text: str) -> None:
    with suppress(RemoteProtocolError):
        Resource.parse(text)


def sent(level: str, match: dict[str | int, object] | None = None, **keywords: Any) -> str:
    return query_text(match_parameters(Query.of(level, match, **keywords).keys))


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"PatientID": "S*"}, "PatientID=S*"),
        ({"PatientName": "Müller^J?"}, "PatientName=M%C3%BCller%5EJ?"),
        ({"StudyDate": ("2026-01-01", None)}, "StudyDate=20260101-"),
        ({"StudyDate": (None, date(2026, 1, 31))}, "StudyDate=-20260131"),
        ({"StudyInstanceUID": ["1.2", "1.3"]}, "StudyInstanceUID=1.2,1.3"),
        ({"PatientID": None}, ""),
        ({"StudyDescription": "a&b=c d#e+f%"}, "StudyDescription=a%26b%3Dc%20d%23e%2Bf%25"),
    ],
)
def test_matching_keys_as_parameters(keywords: dict[str, Any], text: str) -> None:
    assert sent("study", **keywords) == text


def test_tags_and_paths_as_parameters() -> None:
    path = "RequestAttributesSequence.ScheduledProcedureStepID"
    assert sent("series", {0x00091001: "x", path: "7"}) == f"00091001=x&{path}=7"


def test_includefield_only_for_what_is_not_returned_unasked() -> None:
    query = Query.of("study", include=["RequestingService", "ProcedureCodeSequence.CodeValue"])
    names = [value for _, value in include_parameters(query.columns, "study")]
    assert names == ["StudyDescription", "RequestingService", "ProcedureCodeSequence"]


def test_veiling_only_what_needs_encoding() -> None:
    by = {k.column.name: k for k in Query.of("study", PatientName="A^Ü*", PatientID="A*", StudyDescription="a b").keys}
    assert veiled(by["PatientName"]).values == ("A??*",)
    assert veiled(by["PatientID"]) is by["PatientID"]
    assert veiled(by["StudyDescription"]).matching == "wildcard"
    assert needs_encoding("^")
    assert not needs_encoding("*?,-")


@given(st.lists(st.from_regex(r"[0-9.]{1,64}", fullmatch=True), max_size=60))
def test_chunks_of_uids_lose_nothing(uids: list[str]) -> None:
    chunks = list(chunks_of_uids(uids, 200))
    assert [uid for chunk in chunks for uid in chunk] == uids
    assert all(len(",".join(chunk)) <= 200 for chunk in chunks)


# --- the origin's side


def asked(path: str, text: str) -> Any:
    return parse_search(Resource.parse(path), text)


def test_parameters_become_a_query() -> None:
    search = asked(
        "/studies", "00100010=M%C3%BCller*&StudyDate=20260101-20260131&limit=5&offset=10&fuzzymatching=true"
        "&StudyInstanceUID=1.2,1.3&includefield=StudyDescription&includefield=00100040&nonsense=7&PatientID="
    )  # fmt: skip
    keys = {k.column.name: (k.matching, k.values) for k in search.query.keys}
    assert keys == {
        "PatientName": ("wildcard", ("Müller*",)),
        "StudyDate": ("range", ("20260101", "20260131")),
        "StudyInstanceUID": ("list", ("1.2", "1.3")),
        "PatientID": ("universal", ()),
    }
    assert (search.limit, search.offset, search.fuzzy) == (5, 10, True)
    assert [c.name for c in search.query.include] == ["StudyDescription", "PatientSex"]


def test_parents_narrow_and_relational_searches_return_them() -> None:
    below = asked("/studies/1.2/series/3/instances", "")
    assert {k.column.name: k.values for k in below.query.keys} == {
        "StudyInstanceUID": ("1.2",),
        "SeriesInstanceUID": ("3",),
    }
    assert "PatientID" not in {c.name for c in below.query.columns}
    across = {c.name for c in asked("/instances", "").query.columns}
    assert {"PatientID", "StudyDate", "Modality", "SOPInstanceUID"} <= across


def test_backslash_lists_and_date_time_ranges() -> None:
    assert asked("/studies", "StudyInstanceUID=1.2%5C1.3").query.keys[0].values == ("1.2", "1.3")
    key = asked("/instances", "AcquisitionDateTime=20260101-20260102").query.keys[0]
    assert (key.matching, key.values) == ("range", ("20260101", "20260102"))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("20260101120000-0500", ("20260101120000-0500",)),  # one moment, five hours west of Greenwich
        ("20260101-0500", ("20260101-0500",)),
        ("20260101-20260102", ("20260101", "20260102")),
        ("20260101000000%2B0100-20260102000000%2B0100", ("20260101000000+0100", "20260102000000+0100")),
        ("20260101000000-0500-20260102000000-0500", ("20260101000000-0500", "20260102000000-0500")),
        ("-20260102.5", None),
        ("20260101-", ("20260101", "")),
        ("-20260102", ("", "20260102")),
    ],
)
def test_moments_and_ranges_of_them_with_offsets_from_utc(text: str, values: tuple[str, ...] | None) -> None:
    if values is None:
        with pytest.raises(RemoteProtocolError):
            asked("/instances", f"AcquisitionDateTime={text}")
        return
    key = asked("/instances", f"AcquisitionDateTime={text}").query.keys[0]
    assert (key.matching, key.values) == ("range" if len(values) == 2 else "single", values)


@pytest.mark.parametrize(
    "text", ["limit=x", "offset=-1", "StudyDate=yesterday", "StudyInstanceUID=a.b", "Modality=CT", "limit=99999999999"]
)
def test_what_makes_no_sense_is_told(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        asked("/studies", text)


def test_includefield_all_and_of_deeper_levels() -> None:
    names = {c.name for c in asked("/series", "includefield=all,Rows,NoSuch").query.columns}
    assert {"StudyDescription", "PatientName", "BodyPartExamined"} <= names
    assert "Rows" not in names


@given(st.text(max_size=100))
def test_any_query_string_fails_only_with_remote_protocol_error(text: str) -> None:
    with suppress(RemoteProtocolError):
        asked("/instances", text)


def test_too_many_parameters() -> None:
    with pytest.raises(RemoteProtocolError, match="1000"):
        asked("/studies", "&".join(["a=b"] * 1001))


def test_both_sides_agree() -> None:
    query = Query.of("series", PatientName="O'Neil^Ü*", StudyDate=("2026-01-01", "2026-02-01"), Modality="CT",
                     SeriesInstanceUID=["1.2", "1.3"], include=["PatientID"])  # fmt: skip
    text = query_text(match_parameters(query.keys) + include_parameters(query.columns, "series"))
    back = asked("/series", text).query
    assert set(back.keys) == set(query.keys)
    assert set(columns(["PatientID"])) <= set(back.columns)


def test_what_nobody_knows_is_told() -> None:
    text = (
        "nonsense=1&includefield=StudyDescription,Rubbish&accept=application/json&PatientID=P&includefield=all&x=1&x=2"
    )
    assert parse_search(Resource("search", "study"), text).ignored == ("nonsense", "Rubbish", "x")
