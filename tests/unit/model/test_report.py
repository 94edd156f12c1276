"""Outcomes, their ledger lines, and the report as a table."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.report import MAX_LEDGER_LINE, Outcome, Report, Result, ledger_head, read_ledger

DONE = Outcome(
    "1.2.3", "done", "0000H Success", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1", 512, "a/b.dcm", "ab" * 32
)
FAILED = Outcome("1.2.4", "failed", "A700H Refused: Out of Resources")
PENDING = Outcome("1.2.5", "pending")
HEAD = ledger_head("PACS@host:104")

outcomes = st.builds(
    Outcome,
    st.text(min_size=1, max_size=64),
    st.sampled_from(get_args(Result)),
    *[st.text(max_size=20)] * 3,
    st.integers(min_value=0, max_value=2**60),
    *[st.text(max_size=20)] * 2,
)


# -------------------------------------------------------------------------------------------------------------- lines


def test_a_line() -> None:
    assert (
        FAILED.to_line()
        == '{"sop_instance_uid":"1.2.4","result":"failed","status":"A700H Refused: Out of Resources","octets":0}'
    )
    assert json.loads(DONE.to_line()) == {name: value for name, value in asdict(DONE).items() if value != ""}


@given(outcomes)
def test_lines_round_trip(outcome: Outcome) -> None:
    line = outcome.to_line()
    assert "\n" not in line
    assert line.isascii()  # so that no encoding of a file can break it
    assert Outcome.from_line(line) == outcome
    assert Outcome.from_line(line + "\n") == outcome


def test_fields_of_later_versions_are_passed_over() -> None:
    assert Outcome.from_line('{"sop_instance_uid":"1","result":"done","colour":{"of":[1]}}') == Outcome("1", "done")


HOSTILE = [
    "", "\n", "{", "null", "[]", "7", '"x"', "NaN", "{}", '{"sop_instance_uid":"1"}', '{"result":"done"}',
    '{"sop_instance_uid":"","result":"done"}', '{"sop_instance_uid":"1","result":"gone"}',
    '{"sop_instance_uid":1,"result":"done"}', '{"sop_instance_uid":"1","result":["done"]}',
    '{"sop_instance_uid":"1","result":"done","octets":"5"}', '{"sop_instance_uid":"1","result":"done","octets":5.0}',
    '{"sop_instance_uid":"1","result":"done","octets":true}', '{"sop_instance_uid":"1","result":"done","octets":-1}',
    '{"sop_instance_uid":"1","result":"done","path":null}', '{"sop_instance_uid":"1","result":"done","octets":' + "9" * 5000 + "}",
    '{"a":' * 3000, "[" * 100_000, DONE.to_line()[:-1], DONE.to_line()[5:], DONE.to_line() * 2,
]  # fmt: skip


@pytest.mark.parametrize("line", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_outcome(line: str) -> None:
    with pytest.raises(ValueError):  # that one class and no other is what matters
        Outcome.from_line(line)
    assert read_ledger([HEAD, DONE.to_line(), line, FAILED.to_line()]) == (
        "PACS@host:104",
        {"1.2.3": DONE, "1.2.4": FAILED},
        1,
    )


@given(st.text(max_size=80) | st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists).map(json.dumps))
def test_no_line_raises_anything_else(line: str) -> None:
    with suppress(ValueError):
        Outcome.from_line(line)
    read_ledger([HEAD, line])


# ------------------------------------------------------------------------------------------------------------- ledger


def test_a_ledger_says_who_and_the_last_of_each() -> None:
    again = Outcome("1.2.4", "done", octets=7)
    source, found, broken = read_ledger(
        line + "\n" for line in (HEAD, FAILED.to_line(), DONE.to_line(), again.to_line())
    )
    assert source == "PACS@host:104"
    assert found == {"1.2.4": again, "1.2.3": DONE}
    assert broken == 0


def test_a_torn_last_line_loses_one_outcome_only() -> None:
    whole = DONE.to_line()
    for cut in range(1, len(whole)):
        source, found, broken = read_ledger([HEAD, FAILED.to_line(), whole[:cut]])
        assert found == {"1.2.4": FAILED}
        assert broken == 1
        assert source


@pytest.mark.parametrize(
    "head",
    ["", "{", "[]", "{}", '{"dicomlab-ledger":2,"source":""}', '{"dicomlab-ledger":"1"}', DONE.to_line(), "[" * 100_000,
     '{"dicomlab-ledger":1,"source":"' + "x" * MAX_LEDGER_LINE + '"}'],
    ids=range(9),
)  # fmt: skip
def test_what_is_no_ledger(head: str) -> None:
    with pytest.raises(RemoteProtocolError, match="not a ledger of format 1") as caught:
        read_ledger([head, DONE.to_line()])
    assert caught.value.offset == 0


def test_an_empty_file_is_an_empty_ledger() -> None:
    assert read_ledger([]) == ("", {}, 0)
    assert read_ledger([HEAD]) == ("PACS@host:104", {}, 0)


def test_endless_lines_are_passed_over() -> None:
    long = Outcome("1.2.3", "done", "x" * MAX_LEDGER_LINE).to_line()
    assert read_ledger([HEAD, long])[1:] == ({}, 1)


def test_the_head_is_one_line() -> None:
    assert "\n" not in ledger_head("a\nb")
    assert read_ledger([ledger_head("a\nb")])[0] == "a\nb"


# -------------------------------------------------------------------------------------------------------------- report


def report(*outcomes: Outcome, **options: Any) -> Report:
    return Report("Retrieved from PACS", outcomes, **options)


def test_it_is_the_table_that_it_is() -> None:
    some = report(
        DONE, FAILED, PENDING, Outcome("1", "skipped", octets=8), Outcome("2", "warning", octets=1), complete=False
    )
    assert len(some) == 5
    assert list(some) == list(some.outcomes)
    assert not some
    assert report()
    assert some.counts == {"done": 1, "failed": 1, "pending": 1, "skipped": 1, "warning": 1}
    assert (some.count("done"), report().count("failed")) == (1, 0)
    assert some.octets == 521
    assert some.failures == (FAILED,)


@pytest.mark.parametrize("outcomes", [(), (DONE, FAILED)])
def test_to_dataframe(outcomes: tuple[Outcome, ...]) -> None:
    frame = report(*outcomes).to_dataframe()
    assert frame.columns.tolist() == [
        "SOPInstanceUID", "result", "status", "SOPClassUID", "TransferSyntaxUID", "octets", "path", "sha256",
    ]  # fmt: skip
    assert frame.dtypes.astype(str).tolist() == ["str"] * 5 + ["Int64"] + ["str"] * 2
    assert len(frame) == len(outcomes)
    assert len(frame.columns) == len(fields(Outcome)) - 1, "the Transaction UID is for refresh, not for people"
    if outcomes:
        assert frame["octets"].tolist() == [512, 0]


def test_raise_for_failures() -> None:
    good = report(DONE)
    assert good.raise_for_failures() is good
    bad = report(DONE, FAILED, FAILED, complete=False)
    with pytest.raises(ServiceError, match=r"2 of 3 instances failed; the first: 1\.2\.4 \(A700H Refused") as caught:
        bad.raise_for_failures()
    assert caught.value.status == 0xA700
    assert caught.value.partial is bad


@pytest.mark.parametrize(
    ("status", "number"),
    [
        ("A700H Refused", 0xA700), ("a700H x", 0xA700), ("409 Conflict", 409), ("C000H", 0xC000), ("0110H: x", 0x110),
        ("SomeHow", 0), ("Lost", 0), ("", 0), ("4091 x", 0), ("999 x", 0), ("ABCGH x", 0), ("A700Hx", 0), ("x 409", 0),
    ],
)  # fmt: skip
def test_the_status_of_a_failure_is_the_peers_number(status: str, number: int) -> None:
    with pytest.raises(ServiceError) as caught:
        report(Outcome("1", "failed", status)).raise_for_failures()
    assert caught.value.status == number


def test_what_is_not_complete_is_a_failure_too() -> None:
    cut = report(DONE, complete=False, note="cancelled")
    with pytest.raises(ServiceError, match="Retrieved from PACS is not complete: cancelled") as caught:
        cut.raise_for_failures()
    assert caught.value.partial is cut
    with pytest.raises(ServiceError, match="1 instances are pending"):
        report(PENDING, complete=False).raise_for_failures()


def test_refresh_asks_only_about_what_is_pending() -> None:
    later = report(DONE)
    waiting = report(PENDING, complete=False, refresh_with=lambda old: later)
    assert waiting.refresh() is later
    settled = report(DONE, refresh_with=lambda old: pytest.fail("nothing to ask"))
    assert settled.refresh() is settled
    nobody = report(PENDING, complete=False)
    assert nobody.refresh() is nobody


def test_media_needs_a_folder() -> None:
    with pytest.raises(UsageError, match="did not go into a folder"):
        _ = report(DONE).media


def test_relabelled_is_a_copy() -> None:
    first = report(DONE)
    second = first.relabelled(title="other")
    assert (first.title, second.title, second.outcomes) == ("Retrieved from PACS", "other", first.outcomes)


def test_repr_shows_failures_first_and_no_path() -> None:
    many = [Outcome(f"1.{n}", "done", octets=1000, path=f"Doe^Jane/{n}.dcm") for n in range(30)]
    some = report(*many, FAILED, complete=False, folder=Path("/home/doe/out"))
    lines = repr(some).splitlines()
    assert lines[0] == "Retrieved from PACS"
    assert [line.split() for line in lines[1:5]] == [
        ["done", "30"],
        ["failed", "1"],
        ["octets", "30,000"],
        ["folder", "out"],
    ]
    assert lines[8].startswith("1.2.4")
    assert lines[-2:] == ["… 21 more rows", "! not complete: instances failed"]
    assert "Jane" not in repr(some)  # a layout may put patients into it
    assert "not complete" not in repr(report(DONE))
    assert "! not complete: why" in repr(report(DONE, complete=False, note="why"))
