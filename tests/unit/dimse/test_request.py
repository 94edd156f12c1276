"""What a request asks of us: hierarchical rules, keys that nobody knows, and what an answer shows."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse.identifier import Tree, encode_tree
from dicomlab.dimse.request import read_find, read_retrieve
from dicomlab.errors import ServiceError

LE = "1.2.840.10008.1.2.1"
LEVEL, PATIENT_ID, NAME, STUDY, SERIES, INSTANCE = (
    0x00080052, 0x00100020, 0x00100010, 0x0020000D, 0x0020000E, 0x00080018,
)  # fmt: skip


def identifier(level: str, more: Tree | None = None, **keys: str) -> bytes:
    tags = {
        "patient": (PATIENT_ID, "LO"),
        "study": (STUDY, "UI"),
        "series": (SERIES, "UI"),
        "instance": (INSTANCE, "UI"),
    }
    tree: Tree = {LEVEL: ("CS", [level]), **(more or {})}
    tree.update({tags[k][0]: (tags[k][1], v.split("\\") if v else []) for k, v in keys.items()})
    return encode_tree(tree, LE)


def test_a_search_becomes_a_query() -> None:
    more: Tree = {
        NAME: ("PN", ["Doe*"]), 0x00080020: ("DA", ["20260101-"]), 0x00080061: ("CS", ["CT", "MR"]),
        0x00080005: ("CS", []), 0x00200010: ("SH", ["7"]),
    }  # fmt: skip
    request = read_find(identifier("STUDY", more, study="1.2\\1.3"), LE, "study")
    query = request.query
    assert query.level == "study"
    assert {k.column.name: (k.matching, k.values) for k in query.keys} == {
        "StudyDate": ("range", ("20260101", "")),
        "ModalitiesInStudy": ("list", ("CT", "MR")),
        "PatientName": ("wildcard", ("Doe*",)),
        "StudyInstanceUID": ("list", ("1.2", "1.3")),
        "StudyID": ("single", ("7",)),
    }
    assert not request.ignored


@pytest.mark.parametrize(
    ("text", "matching", "values"),
    [
        ("20260101-20260131", "range", ("20260101", "20260131")),
        ("-20260131120000", "range", ("", "20260131120000")),
        ("20260131+0100-", "range", ("20260131+0100", "")),
        ("20260131-0500", "single", ("20260131-0500",)),  # an offset from UTC (PS3.5 §6.2)
    ],
)
def test_a_moment_is_matched_by_a_range_too(text: str, matching: str, values: tuple[str, ...]) -> None:
    found = identifier("IMAGE", {0x0008002A: ("DT", [text])}, study="1.2", series="1.2.3", instance="")
    key = read_find(found, LE, "study").query.key("AcquisitionDateTime")
    assert key is not None
    assert (key.matching, key.values) == (matching, values)


@pytest.mark.parametrize("values", [["A*" * 6000], ["A" * 20_000], [f"P{n}" for n in range(200_000)]])
def test_a_key_that_nobody_means_is_refused_before_it_costs_anything(values: list[str]) -> None:
    with pytest.raises(ServiceError, match="at most") as caught:
        read_find(identifier("STUDY", {PATIENT_ID: ("UN", list(values))}), LE, "study")
    assert caught.value.status == 0xA900


def test_an_answer_shows_every_key_that_was_asked() -> None:
    more: Tree = {NAME: ("PN", []), 0x00400275: ("SQ", [{0x00400009: ("SH", [])}])}
    request = read_find(identifier("SERIES", more, study="1.2", series=""), LE, "study")
    assert request.answer({"SeriesInstanceUID": ("1.2.3",), "Modality": ("CT",)}, "PACS") == {
        LEVEL: ("CS", ["SERIES"]), 0x00080054: ("AE", ["PACS"]), NAME: ("PN", []), STUDY: ("UI", []),
        SERIES: ("UI", ["1.2.3"]), 0x00400275: ("SQ", []),
    }  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {0x00091001: ("LO", ["private"])},
        {0x00080018: ("UI", ["1.2"])},  # of a deeper level
        {0x00280010: ("US", [512])},
        {0x00400275: ("SQ", [])},  # a sequence without keys
    ],
)
def test_keys_that_we_cannot_match_are_passed_over_and_said_so(more: Tree) -> None:
    request = read_find(identifier("STUDY", more, study=""), LE, "study")
    assert request.ignored
    assert [key.column.name for key in request.query.keys] == ["StudyInstanceUID"]


@pytest.mark.parametrize(
    ("level", "root", "keys"),
    [
        ("SERIES", "study", {}),
        ("SERIES", "study", {"study": "1.2\\1.3"}),
        ("IMAGE", "study", {"study": "1.2"}),
        ("STUDY", "patient", {"study": "1.2"}),
        ("STUDY", "patient", {"patient": "P*"}),
        ("PATIENT", "study", {"patient": "P"}),
        ("", "study", {}),
        ("FRAME", "study", {}),
    ],
)
def test_what_hierarchical_search_forbids_is_a900(level: str, root: str, keys: dict[str, str]) -> None:
    for read in (read_find, read_retrieve):
        with pytest.raises(ServiceError) as caught:
            read(identifier(level, **keys), LE, root)  # type: ignore[arg-type]
        assert caught.value.status == 0xA900


@pytest.mark.parametrize("more", [{0x00080020: ("DA", ["yesterday"])}, {STUDY: ("UI", ["1.2.x"])}])
def test_a_value_that_cannot_be_matched_is_a900(more: Tree) -> None:
    with pytest.raises(ServiceError, match="no ") as caught:
        read_find(identifier("STUDY", more), LE, "study")
    assert caught.value.status == 0xA900


def test_a_retrieve_names_its_unique_keys() -> None:
    request = read_retrieve(identifier("IMAGE", study="1.2", series="1.3", instance="1.4\\1.5"), LE, "study")
    assert (request.level, request.uids) == ("instance", ("1.4", "1.5"))
    assert request.above == (("study", "1.2"), ("series", "1.3"))
    with pytest.raises(ServiceError, match="missing"):
        read_retrieve(identifier("STUDY", study=""), LE, "study")


@given(st.binary(max_size=120))
def test_no_octets_fail_in_another_way(octets: bytes) -> None:
    for read in (read_find, read_retrieve):
        with suppress(ServiceError):
            read(octets, LE, "study")
        with suppress(ServiceError):
            read(identifier("STUDY", study="1.2") + octets, LE, "study")
