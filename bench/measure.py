"""Measuring side by side: ours and theirs take turns in one run, medians are compared, results are checked."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the peers are those of the tests

Timed = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """How much work one call of a bench does."""

    rounds: int
    slices: int
    rows: int
    only: str = ""
    """The one job that is asked for; all of them where it is empty."""

    def chosen(self, job: str) -> bool:
        """Whether a job is to be run."""
        return self.only in ("", job)


SIZES = {
    "smoke": Size(rounds=1, slices=3, rows=20),
    "quick": Size(rounds=3, slices=60, rows=1_000),
    "whole": Size(rounds=7, slices=400, rows=1_000),
}


@dataclass(frozen=True)
class Row:
    """One comparison, of seconds unless ``unit`` says otherwise."""

    what: str
    ours: str
    theirs: str
    ours_s: float
    theirs_s: float
    rounds: int
    unit: str = "s"
    must: float | None = None
    """How many times as fast as theirs we have to be."""
    by_turn: float | None = None
    """The median of the ratios of each turn alone: for sides so close that a change of the machine's pace would tell more."""

    @property
    def ratio(self) -> float:
        """Our time as a part of theirs: below 1 we are faster."""
        return self.ours_s / self.theirs_s if self.by_turn is None else self.by_turn


def side_by_side(
    what: str, ours: tuple[str, Timed], theirs: tuple[str, Timed], rounds: int, between: Timed = lambda: None
) -> Row:
    """Time both, in turns, whoever began the last round coming second in the next; `between` is not timed."""
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    turns: list[tuple[str, Timed]] = [("ours", ours[1]), ("theirs", theirs[1])]
    for _ in range(rounds):
        for who, work in turns:
            between()
            began = time.perf_counter()
            work()
            times[who].append(time.perf_counter() - began)
        turns.reverse()
    return Row(what, ours[0], theirs[0], statistics.median(times["ours"]), statistics.median(times["theirs"]), rounds)


Other = tuple[str, Timed, int, float | None]
"""Whom we are compared with, at most how many rounds that is run (slow ones: once), and how fast we must be."""


def in_turns(
    what: str, ours: tuple[str, Timed], others: Sequence[Other], rounds: int, between: Timed = lambda: None
) -> Iterator[Row]:
    """Time us and several others in turns, who begins changing with each round; one row for each of them."""
    names = [ours[0], *(name for name, *_ in others)]
    works = [ours[1], *(work for _, work, *_ in others)]
    most = [rounds, *(at_most for _, _, at_most, _ in others)]
    times: list[list[float]] = [[] for _ in works]
    for done in range(rounds):
        for turn in range(len(works)):
            at = (turn + done) % len(works)
            if done >= most[at]:
                continue
            between()
            began = time.perf_counter()
            works[at]()
            times[at].append(time.perf_counter() - began)
    between()
    mine, *theirs = (statistics.median(one) for one in times)
    for (_, _, _, must), name, their_s, measured in zip(others, names[1:], theirs, times[1:], strict=True):
        yield Row(what, names[0], name, mine, their_s, len(measured), must=must)


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that is gone afterwards; in memory where there is room, so that no disk is measured."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2 << 30
    with tempfile.TemporaryDirectory(prefix="dicomlab-bench-", dir=memory if roomy else None) as folder:
        yield Path(folder)


def table(rows: Sequence[Row]) -> str:
    """The rows to be read."""
    head = ("what", "ours", "", "theirs", "", "ours/theirs", "times as fast", "must")
    lines = [
        (
            r.what, r.ours, f"{r.ours_s:.3f} {r.unit}", r.theirs, f"{r.theirs_s:.3f} {r.unit}", f"{r.ratio:.2f}",
            f"{1 / r.ratio:.2f}", "" if r.must is None else f"{r.must:g}",
        )
        for r in rows
    ]  # fmt: skip
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *lines]
    )


def main(bench: Callable[[Size, Path], Iterator[Row]], peers: Sequence[str], argv: Sequence[str] | None = None) -> None:
    """Run one bench from the command line: ``[--quick | --smoke] [--json]``."""
    parser = argparse.ArgumentParser()
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--quick", dest="size", action="store_const", const="quick", help="fewer and smaller rounds")
    how.add_argument("--smoke", dest="size", action="store_const", const="smoke", help="only whether it runs")
    parser.add_argument("--only", default="", help="one job by its name, where the bench has several")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args(argv)

    from tests.peers.processes import missing

    if absent := [peer for peer in peers if missing(peer)]:
        raise SystemExit(f"peers absent: {', '.join(absent)}")
    with scratch() as folder:
        rows = list(bench(replace(SIZES[arguments.size or "whole"], only=arguments.only), folder))
    if arguments.json:
        print(json.dumps([asdict(row) | {"ratio": row.ratio} for row in rows]))
    else:
        print(table(rows))
