"""Answers as columns: the quick way gives what the long one gives; what is no answer is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import columns
from dicomlab.web import json_columns, json_model
from dicomlab.web.json_columns import Table, columns_of, rows
from dicomlab.web.json_model import decode, values_at

# --- rows of a search

WANTED = columns(["PatientName", "Rows", "ModalitiesInStudy", "RequestAttributesSequence.ScheduledProcedureStepID"])


def one_row(**elements: Any) -> dict[str, list[object]]:
    (row,) = rows(json.dumps([{f"{tag[1:]}": element for tag, element in elements.items()}]).encode(), WANTED)
    return row


@pytest.mark.parametrize("infinite", [False, True])
def test_rows_by_column_name(infinite: bool) -> None:
    step = {"00400009": {"vr": "SH", "Value": ["S1"]}}
    row = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "00280010": {"vr": "US", "Value": [512]},
        "00080061": {"vr": "CS", "Value": ["CT", None, "MR"]},
        "00400275": {"vr": "SQ", "Value": [step, {}, None]},
        "00409225": {"vr": "FD", "Value": [1]},
    }
    text = json.dumps([row])
    if infinite:
        text = text.replace('"vr": "FD", "Value": [1]', '"vr": "FD", "Value": [1e999]')
    assert list(rows(text.encode(), WANTED)) == [
        {
            "PatientName": [{"Alphabetic": "A^B"}],
            "Rows": [512],
            "ModalitiesInStudy": ["CT", None, "MR"],
            "RequestAttributesSequence.ScheduledProcedureStepID": ["S1", None, None],
        }
    ]


def test_what_broken_servers_send() -> None:
    row = one_row(
        t00100010={"vr": "PN", "Value": ["A^B", "", {}]},
        t00280010={"vr": "US", "Value": 512},
        t00080061={"vr": "CS"},
        t00400275="nonsense",
    )
    assert row["PatientName"] == ["A^B", None, None]
    assert row["Rows"] == [512]
    assert row["ModalitiesInStudy"] == []
    assert row["RequestAttributesSequence.ScheduledProcedureStepID"] == []


@pytest.mark.parametrize("text", ["{}", "[1]", "null", "[", "", "[" * 100_000, '"x"', "\xff"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        list(rows(text.encode("latin-1"), WANTED))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(["vr", "Value", "00100010", "00280010", "00400275", "00400009"]), c, max_size=4
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_fails_only_with_remote_protocol_error(value: Any) -> None:
    try:
        for row in rows(json.dumps(value).encode(), WANTED):
            assert set(row) == {c.name for c in WANTED}
    except RemoteProtocolError:
        pass


# --- the quick way and the long way

PLAIN = {"LO": st.text(max_size=4), "US": st.integers(0, 9), "DS": st.floats(allow_nan=False, allow_infinity=False)}
ELEMENTS = st.sampled_from(list(PLAIN)).flatmap(
    lambda vr: st.fixed_dictionaries(
        {"vr": st.just(vr)}, optional={"Value": st.lists(PLAIN[vr] | st.none(), max_size=3)}
    )
)
NAMES = st.fixed_dictionaries(
    {"vr": st.just("PN")},
    optional={"Value": st.lists(st.none() | st.just({"Alphabetic": "A^B", "Phonetic": "x"}), max_size=2)},
)
STEPS = st.fixed_dictionaries(
    {"vr": st.just("SQ")},
    optional={"Value": st.lists(st.fixed_dictionaries({}, optional={"00400009": ELEMENTS}), max_size=2)},
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "00100010": NAMES,
            "00280010": ELEMENTS,
            "00080061": ELEMENTS,
            "00400275": STEPS,
            "00080005": ELEMENTS,
        },
    ),
    max_size=4,
)


def blank(value: object) -> object:
    return None if value == "" or value == {} else value


@given(ROWS)
def test_the_quick_way_gives_what_the_long_way_gives(found: list[dict[str, Any]]) -> None:
    raws, count = columns_of(json.dumps(found).encode(), WANTED)
    assert count == len(found)
    for one in WANTED:
        long_way = [values_at(row, one.path) for row in found]
        assert [[blank(v) for v in values] for values in raws[one.name]] == long_way


def test_nothing_wanted_still_counts() -> None:
    assert rows(b"[{}, {}]", ()) == [{}, {}]


INSTANCES = [
    {
        "00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL"]},
        "00080018": {"vr": "UI", "Value": [f"1.{n}"]},
        "00080020": {"vr": "DA", "Value": ["20260131" if n else "2026"]},
        "00081115": {"vr": "SQ", "Value": [{}]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Doe^Jane"}]},
        "00180050": {"vr": "DS", "Value": [1.25]},
        "00291010": {"vr": "LO", "Value": ["private"]},
        "0029XX10": {"vr": "LO"},
        "7FE00010": {"vr": "OW", "BulkDataURI": "x"},
    }
    for n in range(2)
]


@pytest.mark.parametrize("infinite", [False, True])
def test_a_table_of_everything_that_fits_into_cells(infinite: bool) -> None:
    text = json.dumps(INSTANCES).replace("1.25", "1e999") if infinite else json.dumps(INSTANCES)
    frame, problems = Table(text.encode()).read()
    assert list(frame.columns) == [
        "ImageType", "SOPInstanceUID", "StudyDate", "PatientName", "SliceThickness", "00291010",
    ]  # fmt: skip
    assert frame["ImageType"].tolist() == [("ORIGINAL", None, "AXIAL")] * 2
    assert frame["PatientName"].tolist() == ["Doe^Jane"] * 2
    assert str(frame["SliceThickness"].dtype) == "Float64"
    assert [(p.row, p.column, p.raw) for p in problems if p.column == "StudyDate"] == [(0, "StudyDate", "2026")]
    assert sum(p.column == "SliceThickness" for p in problems) == (2 if infinite else 0)


def test_a_table_of_what_is_wanted() -> None:
    frame = Table(json.dumps(INSTANCES).encode()).read(columns(["SOPInstanceUID", "KVP"]))[0]
    assert frame["SOPInstanceUID"].tolist() == ["1.0", "1.1"]
    assert frame["KVP"].isna().all()


def test_objects_and_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = columns(["SOPInstanceUID"])
    monkeypatch.setattr(json_columns, "MAX_ROWS", 10)
    for bomb in (b"[" + b"{}," * 10 + b"{}]", b"[" + b"{}," * 9 + b'{"00080018":{"Value":1}},{}]'):
        with pytest.raises(RemoteProtocolError, match="11 rows"):
            rows(bomb, wanted)
    monkeypatch.setattr(json_model, "MAX_OBJECTS", 10)
    for bomb in (b"[" + b"{}," * 10 + b"{}]", b"[" + b"[]," * 11 + b"{}]"):
        for read in (lambda octets: rows(octets, wanted), decode, lambda octets: Table(octets).read()):
            with pytest.raises(RemoteProtocolError, match="objects"):
                read(bomb)


def test_cells_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_columns, "MAX_CELLS", 10)
    hostile = [{f"0029{n:04X}": {"vr": "LO"}} for n in range(0x1010, 0x1020)]
    with pytest.raises(RemoteProtocolError, match="name the columns"):
        Table(json.dumps(hostile).encode()).read()
