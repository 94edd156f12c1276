"""The archive is killed in the midst of a workflow: what was answered is there afterwards, what was not is whole or not.

The archive runs in a process of its own that kills itself (SIGKILL) as it begins a given statement of its tables, so
that every point inside and between its transactions can be struck.
"""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node, samples
from dicomlab.errors import CommunicationError
from tests.peers.processes import LOOPBACK, free_port

_CHILD = """
import os, signal, sys
from dicomlab import Archive
folder, port, fatal = sys.argv[1:]
archive = Archive(folder, f"DICOMLAB@127.0.0.1:{port}", web_port=None, known={"WATCHER": ("127.0.0.1", 9)})
archive.node
count = 0
def struck(statement):
    global count
    count += 1
    if str(count) == fatal or (not fatal.isdigit() and statement.startswith(fatal)):
        os.kill(os.getpid(), signal.SIGKILL)
department = archive._opened().department
for tables in (department.worklist._workflow, department.workitems._tables):
    tables._db.set_trace_callback(struck)
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.read()
"""
DAY = samples.department(seed=5, patients=2).schedule
MINE, CODE = "1.2.840.1", [{"CodeValue": "1", "CodingSchemeDesignator": "99X", "CodeMeaning": "x"}]
PERFORMED = {
    "UnifiedProcedureStepPerformedProcedureSequence": [
        {
            "PerformedStationNameCodeSequence": CODE, "PerformedProcedureStepStartDateTime": "20260105080000",
            "PerformedWorkitemCodeSequence": CODE, "PerformedProcedureStepEndDateTime": "20260105081500",
            "OutputInformationSequence": [],
        }
    ]
}  # fmt: skip


def steps(node: Node) -> list[Callable[[], Any]]:
    """A workflow, one request each; those that refer to an object of before can go on with another archive."""
    first, second = (node.perform(DAY.iloc[number]) for number in range(2))
    first.uid, second.uid = "1.2.3.1", "1.2.3.2"
    first.status = second.status = ""
    items = node.workitems

    def resumed(one: Any, end: Callable[[], Any]) -> Callable[[], Any]:
        def carry_out() -> Any:
            one.status = "IN PROGRESS"
            return end()

        return carry_out

    watcher = Node(str(node.address), me="WATCHER").workitems
    return [
        first.begin,
        watcher.subscribe,
        lambda: items.create(ProcedureStepLabel="Read", uid="1.2.5.1"),
        resumed(first, first.complete),
        lambda: items.change_state("1.2.5.1", "IN PROGRESS", MINE),
        second.begin,
        lambda: items.update("1.2.5.1", PERFORMED, MINE),
        resumed(second, second.discontinue),
        lambda: items.create(ProcedureStepLabel="Read on", uid="1.2.5.2"),
        lambda: items.request_cancel("1.2.5.2", "not needed"),
        lambda: items.change_state("1.2.5.1", "COMPLETED", MINE),
    ]


def state(archive: Archive) -> Any:
    """What an archive holds of it, times left out."""
    kept = archive._opened().department.workitems
    events = [(e.uid, e.event_type, e.information.get("ProcedureStepState", "")) for e in kept.events("WATCHER")]
    return (
        list(archive.worklist.to_dataframe()["ScheduledProcedureStepStatus"]),
        [(uid, archive.performed_steps[uid].PerformedProcedureStepStatus,
          len(archive.performed_steps[uid].PerformedSeriesSequence)) for uid in archive.performed_steps],
        [(uid, found.state, found.transaction_uid, "Performed" in str(kept.retrieve(uid)))
         for uid, _ in kept._tables.all() if (found := kept._tables.get(uid))],
        [one for one in events if one[1] != 4],  # that it has been restarted
    )  # fmt: skip


def undisturbed(folder: Path) -> tuple[list[Any], int]:
    """The states that the workflow goes through, and how many statements it takes."""
    count = 0

    def seen(statement: str) -> None:
        nonlocal count
        count += 1

    with Archive(folder, web_port=None, known={"WATCHER": (LOOPBACK, 9)}) as archive:
        archive.worklist.fill(DAY)
        states = [state(archive)]
        department = archive._opened().department
        for step in steps(archive.node):
            for tables in (department.worklist._workflow, department.workitems._tables):
                tables._db.set_trace_callback(seen)
            step()
            for tables in (department.worklist._workflow, department.workitems._tables):
                tables._db.set_trace_callback(None)
            states.append(state(archive))
    return states, count


def child(folder: Path, fatal: int | str) -> tuple[subprocess.Popen[str], Node]:
    port = free_port()
    command = [sys.executable, "-c", _CHILD, str(folder), str(port), str(fatal)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process, Node(f"DICOMLAB@{LOOPBACK}:{port}", me="LAB1")


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], int]:
    """The states, and how many statements the whole workflow takes."""
    return undisturbed(tmp_path_factory.mktemp("undisturbed") / "a")


def prepared(folder: Path) -> None:
    with Archive(folder, web_port=None) as archive:
        archive.worklist.fill(DAY)


def struck(folder: Path, fatal: int | str, states: list[Any]) -> None:
    prepared(folder)
    process, node = child(folder, fatal)
    done = 0
    with process:
        try:
            for step in steps(node):
                step()
                done += 1
        except CommunicationError:
            pass
        process.kill() if done == len(states) - 1 else None
        assert process.wait(60) == -signal.SIGKILL
    with Archive(folder, web_port=None, known={"WATCHER": (LOOPBACK, 9)}) as archive:
        found = state(archive)
        assert found in states[done : done + 2]  # the request that was under way took place, or it did not
        reached = done + states[done : done + 2].index(found)
        for step in steps(archive.node)[reached:]:
            step()
        assert state(archive) == states[-1]


def test_nothing_is_lost_or_half_set(tmp_path: Path, expected: tuple[list[Any], int]) -> None:
    states, statements = expected
    struck(tmp_path / "a", random.Random(3).randint(1, statements), states)


def test_a_scheduled_step_goes_with_the_performed_one_or_neither(
    tmp_path: Path, expected: tuple[list[Any], int]
) -> None:
    struck(tmp_path / "a", "UPDATE steps", expected[0])


@pytest.mark.full
def test_wherever_it_is_struck(tmp_path: Path, expected: tuple[list[Any], int]) -> None:
    states, statements = expected
    for fatal in range(1, statements + 1):
        struck(tmp_path / f"{fatal}", fatal, states)
