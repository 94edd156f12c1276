"""The shape of find, shared by all paths: duplicates, limits, cancellation, errors with what had arrived."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from dicomlab.errors import Cancelled, Interrupted, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.path import Row, SearchPath, Verdict
from dicomlab.model.progress import Control, Operation
from dicomlab.model.query import Query
from dicomlab.model.trace import open_channel, trace
from tests.unit.model.shelf import ROWS, Shelf

LONG_S = 30.0


class Scripted(SearchPath):
    """Plays the steps that a test gives: a row, an error, or something to do."""

    def __init__(self, *steps: Any) -> None:
        self.steps = steps
        self.given = 0
        self.ended = ""

    def __str__(self) -> str:
        return "Scripted"

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                if callable(step):
                    step(control, verdict)
                    if control.cancelled:
                        self.ended = "cancelled"
                        return
                else:
                    self.given += 1
                    yield step
            self.ended = "to the end"
        except GeneratorExit:
            self.ended = "closed"
            raise


def uids(cohort: Cohort) -> list[Any]:
    return cohort["StudyInstanceUID"].tolist()


def study(uid: Any, **more: Any) -> Row:
    return {"StudyInstanceUID": (uid,), **more}


def find(path: SearchPath, *arguments: Any, **options: Any) -> Any:
    return path.find(*arguments, progress=False, **options)


def test_rows_become_a_typed_cohort() -> None:
    path = Scripted(
        study("1.2", StudyDate=("20260131",), NumberOfStudyRelatedSeries=(3,)), study("1.3", StudyDate=("x",))
    )
    cohort = find(path, StudyDescription=None)
    assert (cohort.level, cohort.source, cohort.complete, cohort.note, cohort.trace) == ("study", path, True, "", None)
    assert cohort.columns.tolist() == [one.name for one in cohort.query.columns]
    assert cohort["StudyDate"].isna().tolist() == [False, True]
    assert cohort.warnings.to_numpy().tolist() == [[1, "StudyDate", "x", "not a date (DA)"]]
    assert path.ended == "to the end"


def test_nothing_found_is_a_complete_cohort_with_the_same_columns() -> None:
    empty, full = find(Scripted()), find(Scripted(study("1.2")))
    assert (len(empty), empty.complete) == (0, True)
    assert empty.to_dataframe().dtypes.equals(full.to_dataframe().dtypes)


def test_duplicates_are_dropped_by_the_unique_key() -> None:
    path = Scripted(study("1.2"), study("1.3"), study("1.2", StudyID=("later",)), study("1.2\0"), study("1.3 "))
    assert uids(find(path)) == ["1.2", "1.3"]


def test_rows_without_their_unique_key_are_no_duplicates() -> None:
    path = Scripted({}, study(""), study(None), study("\0"), {"StudyInstanceUID": ()}, {"StudyID": ("5",)})
    assert len(find(path)) == 6


def test_hostile_keys_are_no_crash() -> None:
    assert len(find(Scripted(study({"a": 1}), study(["1.2"]), study(b"x"), study(7)))) == 4


def test_limit_says_so_and_stops_the_peer() -> None:
    path = Scripted(study("1.2"), study("1.2"), study("1.3"), study("1.3"), study("1.4"), study("1.5"))
    cohort = find(path, limit=2)
    assert uids(cohort) == ["1.2", "1.3"]
    assert (cohort.complete, cohort.note) == (False, "there are more than limit=2")
    assert (path.given, path.ended) == (5, "closed")


def test_a_limit_that_is_just_met_cuts_nothing() -> None:
    path = Scripted(study("1.2"), study("1.3"), study("1.2"))  # a duplicate is nothing more
    cohort = find(path, limit=2)
    assert (len(cohort), cohort.complete, path.ended) == (2, True, "to the end")


def test_the_path_may_say_that_there_is_more() -> None:
    path = Scripted(study("1.2"), lambda control, verdict: verdict.cut("the server gives 1 at most"))
    cohort = find(path)
    assert (len(cohort), cohort.complete, cohort.note) == (1, False, "the server gives 1 at most")


def test_the_first_interrupt_returns_what_arrived() -> None:
    path = Scripted(study("1.2"), lambda *_: signal.raise_signal(signal.SIGINT), study("1.3"))
    cohort = find(path)
    assert (uids(cohort), cohort.complete, cohort.note, path.ended) == (["1.2"], False, "cancelled", "cancelled")


def test_a_path_that_looks_away_is_closed() -> None:
    class Deaf(Scripted):
        def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
            try:
                yield study("1.2")
                control.cancel()
                yield study("1.3")
                yield study("1.4")
            finally:
                self.ended = "closed"

    path = Deaf()
    cohort = find(path)
    assert (uids(cohort), cohort.complete, path.ended) == (["1.2", "1.3"], False, "closed")


@pytest.mark.parametrize("options", [{"limit": 1}, {}])
def test_the_conversation_is_closed_before_find_returns(options: dict[str, Any]) -> None:
    """Although somebody else still holds the generator."""

    class Held(Scripted):
        def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
            self.held = super()._search(query, control, verdict)
            return self.held

    path = Held(study("1.2"), study("1.3"), study("1.4"))
    if options:
        find(path, **options)
    else:
        with pytest.raises(LookupError):
            path.find(progress=fail)
    assert path.ended == "closed"


def fail(progress: object) -> None:
    raise LookupError


def test_an_error_that_follows_a_cancellation_is_none() -> None:
    """Whoever hangs up hears a broken line."""

    def hang_up(control: Control, verdict: Verdict) -> None:
        control.cancel()
        raise Interrupted("connection lost", endpoint="PACS")

    cohort = find(Scripted(study("1.2"), hang_up))
    assert (len(cohort), cohort.complete, cohort.note) == (1, False, "cancelled")


@pytest.mark.parametrize(
    "error", [Interrupted("connection lost", endpoint="PACS"), Cancelled("by the peer", endpoint="PACS")]
)
def test_an_error_carries_what_had_arrived(error: Interrupted) -> None:
    with trace() as wire, pytest.raises(type(error)) as caught:
        find(Scripted(study("1.2", StudyDate=("x",)), study("1.3"), error))
    assert caught.value is error
    partial = caught.value.partial
    assert uids(partial) == ["1.2", "1.3"]
    assert (partial.complete, partial.note) == (False, str(error))
    assert len(partial.warnings) == 1
    assert caught.value.trace is wire


def test_an_error_at_once_carries_an_empty_cohort() -> None:
    with pytest.raises(Interrupted) as caught:
        find(Scripted(Interrupted("connection lost", endpoint="PACS")))
    assert len(caught.value.partial) == 0
    assert caught.value.trace is None


def test_a_usage_error_comes_before_anything_is_asked() -> None:
    path = Scripted(study("1.2"))
    for wrong in ({"PatientId": "x"}, {"Modality": "CT"}, {"limit": 0}, {"StudyDate": "soon"}):
        with pytest.raises(UsageError):
            find(path, **wrong)
        with pytest.raises(UsageError):
            find(path, background=True, **wrong)
    assert path.given == 0


def test_a_ready_query_is_all_that_is_asked() -> None:
    shelf = Shelf()
    query = Query.of("series", Modality="CT", PatientID="P1", include=["StudyDate"])
    cohort = find(shelf, query)
    assert cohort.query is query
    assert shelf.asked == [query]
    assert set(cohort["Modality"]) == {"CT"}


@pytest.mark.parametrize(
    "more", [{"PatientID": "P1"}, {"limit": 3}, {"include": ["StudyID"]}, {"match": {0x00100020: "x"}}]
)
def test_nothing_stands_beside_a_ready_query(more: dict[str, Any]) -> None:
    shelf = Shelf()
    with pytest.raises(UsageError, match="a ready query holds all that is asked"):
        find(shelf, Query.of("study"), **more)
    assert not shelf.asked


def test_progress_counts_rows_and_not_duplicates() -> None:
    seen: list[int] = []
    Scripted(study("1.2"), study("1.2"), study("1.3")).find(progress=lambda progress: seen.append(progress.done))
    assert seen == [1, 2]


def test_the_trace_is_that_of_the_call() -> None:
    def speak(control: Control, verdict: Verdict) -> None:
        open_channel("test", "us", "them", lambda octets: "X").tap("sent", b"12")

    with trace() as wire:
        operation = find(Scripted(speak, study("1.2")), background=True)
    cohort = operation.result()
    assert cohort.trace is wire
    assert wire.octets == 2


def test_in_the_background() -> None:
    started = threading.Event()

    def linger(control: Control, verdict: Verdict) -> None:
        started.set()
        control.wait(LONG_S)

    operation = find(Scripted(study("1.2"), linger, study("1.3")), background=True)
    assert isinstance(operation, Operation)
    started.wait(LONG_S)
    assert operation.progress.done == 1
    operation.cancel()
    cohort = operation.result()
    assert (uids(cohort), cohort.note) == (["1.2"], "cancelled")


def test_an_error_in_the_background_carries_what_had_arrived() -> None:
    operation = find(Scripted(study("1.2"), Interrupted("lost", endpoint="PACS")), background=True)
    with pytest.raises(Interrupted) as caught:
        operation.result()
    assert uids(caught.value.partial) == ["1.2"]


def test_every_level_by_default_studies() -> None:
    shelf = Shelf()
    assert [len(find(shelf, level)) for level in ("patient", "study", "series", "instance")] == [2, 4, 8, len(ROWS)]
    assert find(shelf).level == "study"
    assert shelf.closed == 5
