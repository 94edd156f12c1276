"""Processes that are replaced when they give no answer; and a scan on them, whatever its files do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import pytest

from dicomlab.errors import UsageError
from dicomlab.media import chunk
from dicomlab.media import scan as scanning
from dicomlab.media.media_set import MediaSet
from dicomlab.media.workers import Processes
from dicomlab.model.trace import trace
from dicomlab.samples.phantom import phantom_datasets
from tests.unit.media import stuck


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    """What starts the processes stays as long as this one."""
    with Processes(1) as one:
        one.submit(stuck.process).result(60)
        yield


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    folder = tmp_path / "pile"
    folder.mkdir()
    for number, ds in enumerate(phantom_datasets(patients=1, slices=12)):
        ds.save_as(folder / f"{number:02}", enforce_file_format=True)
    return folder


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "CHUNK_FILES", 4)
    monkeypatch.setattr(scanning, "_TASK_TIMEOUT_S", 0.5)
    monkeypatch.setattr(scanning, "read_chunk", stuck.read_chunk_or_hang)


def test_a_process_answers_again_and_again_and_tells_what_went_wrong() -> None:
    with Processes(1) as one:
        first, second = one.submit(stuck.process), one.submit(stuck.process)
        assert first.result(60) == second.result(60) != os.getpid()
        with pytest.raises(BrokenExecutor, match="ValueError: what it was given"):
            one.submit(stuck.wrong).result(60)
        assert one.submit(stuck.process).result(60) == first.result()
        assert one.answers == 3


def test_one_that_gives_no_answer_is_ended_and_replaced() -> None:
    with Processes(1) as one:
        before = one.submit(stuck.process).result(60)
        with pytest.raises(TimeoutError, match=r"no answer in 0\.2 s"):
            one.submit_within(0.2, stuck.forever).result(60)
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)
        with pytest.raises(BrokenExecutor, match="died"):
            one.submit(os._exit, 3).result(60)
        assert one.submit(stuck.process).result(60) != before
    with pytest.raises(BrokenExecutor, match="no more work"):
        one.submit(stuck.process)


def test_what_has_not_begun_can_be_cancelled() -> None:
    one = Processes(1)
    running, waiting = one.submit_within(0.3, stuck.forever), one.submit(stuck.process)
    one.shutdown(cancel_futures=True)
    assert running.cancelled() or isinstance(running.exception(0), TimeoutError)
    assert waiting.cancelled()


@pytest.mark.usefixtures("small_tasks")
def test_the_same_rows_as_alone(pile: Path) -> None:
    media = MediaSet(pile, cache=False).scan(executor=2, progress=False)
    assert media.instances.equals(MediaSet(pile, cache=False).instances)


@pytest.mark.usefixtures("small_tasks")
@pytest.mark.parametrize("name", ["05 hangs", "05 kills"])
def test_a_file_that_takes_forever_or_the_process_with_it_is_one_row(name: str, pile: Path, tmp_path: Path) -> None:
    (pile / name).write_bytes((pile / "05").read_bytes())
    media = MediaSet(pile, cache=tmp_path / "index").scan(executor=2, file_timeout_s=1, progress=False)
    assert (media.errors["path"].tolist(), media.errors["kind"].tolist()) == ([name], ["unreadable"])
    assert len(media.instances) == 13
    (pile / name).rename(pile / "05 again")
    again = MediaSet(pile, cache=tmp_path / "index").scan(progress=False)
    assert again.errors["kind"].tolist() == ["duplicate"]


@pytest.mark.usefixtures("small_tasks")
def test_a_file_that_gave_no_answer_is_asked_again_the_next_time(pile: Path, tmp_path: Path, monkeypatch: Any) -> None:
    (pile / "05").rename(pile / "05 hangs")
    os.utime(pile / "05 hangs", (1_700_000_000, 1_700_000_000))  # long unchanged: known again, were it not for that
    media = MediaSet(pile, cache=tmp_path / "index").scan(executor=1, file_timeout_s=1, progress=False)
    assert media.errors["path"].tolist() == ["05 hangs"]
    monkeypatch.undo()
    assert MediaSet(pile, cache=tmp_path / "index").scan(progress=False).errors.empty


@pytest.mark.usefixtures("small_tasks")
def test_a_medium_that_went_away_costs_some_patience_and_no_row(pile: Path) -> None:
    for path in sorted(pile.iterdir()):
        path.rename(pile / f"{path.name} hangs")
    media = MediaSet(pile, cache=False).scan(executor=1, file_timeout_s=0.2, progress=False)
    assert len(media.errors) == 13
    assert media.errors["message"].str.contains("not tried").sum() == 13 - scanning._SILENT_FILES


class Silent(Executor):
    """Somebody's executor that never answers."""

    def __init__(self) -> None:
        self.given = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        return Future()


@pytest.mark.usefixtures("small_tasks")
def test_an_executor_that_gives_no_answer_is_left(pile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "_ELSEWHERE", 1)
    monkeypatch.setattr(scanning, "_IN_FLIGHT", 1)
    silent = Silent()
    with trace() as wire:
        media = MediaSet(pile, cache=False).scan(executor=silent, progress=False)
    assert (len(media.instances), len(media.errors)) == (13, 0)
    assert silent.given <= 3
    assert any("one by one" in event.text for event in wire)


def test_a_file_that_is_read_too_long_is_an_error_without_any_process(
    pile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its time runs between two reads: here each read takes as long as it may."""
    clock = iter(range(1_000_000))
    monkeypatch.setattr(chunk.time, "monotonic", lambda: next(clock) * 0.6)
    octets = (pile / "05").read_bytes()
    start = octets.index(b"\x20\x00\x13\x00IS")
    long = b"\x09\x00\x10\x10OB\0\0" + (20_000).to_bytes(4, "little") + bytes(20_000)
    (pile / "05").write_bytes(octets[:start] + long * 9 + octets[start:])  # further than one read reaches, nine times
    media = MediaSet(pile, cache=False).scan(file_timeout_s=2, progress=False)
    assert media.errors["path"].tolist() == ["05"]
    assert media.errors["message"].tolist() == ["not read to its end in 2 s"]
    assert len(media.instances) == 12


@pytest.mark.parametrize("options", [{"executor": 0}, {"file_timeout_s": 0}])
def test_no_process_and_no_time_are_refused(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        MediaSet(tmp_path, cache=False).scan(progress=False, **options)
