"""The ledger that every retrieve keeps beside its data: one JSON line for each outcome, appended, never rewritten."""

from __future__ import annotations

import os
import threading
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.committing import waiting_note
from dicomlab.model.links import above
from dicomlab.model.report import LEDGER_NAME, Outcome, Report, ledger_head, read_head, read_ledger
from dicomlab.part10.medium import medium_errors

_LINES_PER_SYNC = 64


class Ledger:
    """Appends outcomes to the ledger of a folder.

    Each line is one write, so a crash can cut the last line only, and readers pass over a cut line. The file is
    forced to the disc every 64 lines and at the end.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.path = folder / LEDGER_NAME
        self._lock = threading.Lock()
        self._unsynced = 0
        with medium_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = self.path.open("ab", buffering=0)
            size = self.path.stat().st_size
            if size == 0:
                self._file.write(ledger_head(source).encode() + b"\n")
            elif not _ends_with_newline(self.path):
                self._file.write(b"\n")  # a crash cut the last line; what follows must not be glued to it

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, outcome: Outcome) -> None:
        """Write one outcome."""
        with self._lock, medium_errors(self.path):
            self._file.write(outcome.to_line().encode() + b"\n")
            self._unsynced += 1
            if self._unsynced >= _LINES_PER_SYNC:
                os.fsync(self._file.fileno())
                self._unsynced = 0

    def close(self) -> None:
        """Force it to the disc and close it."""
        with self._lock, medium_errors(self.path):
            if not self._file.closed:
                os.fsync(self._file.fileno())
                self._file.close()


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def outcomes_of(folder: Path) -> dict[str, Outcome]:
    """What the ledger of a folder says of each instance; empty where there is none."""
    try:
        with (folder / LEDGER_NAME).open(encoding="utf-8", errors="replace") as lines:
            return read_ledger(lines)[1]
    except FileNotFoundError:
        return {}
    except RemoteProtocolError as error:
        raise UsageError(f"{folder / LEDGER_NAME} is no ledger of dicomlab; retrieve into another folder") from error


def load(path: Path) -> Report:
    """Read a ledger as a report; `path` is the folder or the ledger itself.

    Raises
    ------
    UsageError
        There is none.
    RemoteProtocolError
        It is none.
    """
    place = path / LEDGER_NAME if path.is_dir() else path
    try:
        with place.open(encoding="utf-8", errors="replace") as lines:
            head = lines.readline()
            source, outcomes, broken = read_ledger(chain([head], lines))
    except OSError as error:
        raise UsageError(f"no ledger at {place}: {error.strerror}") from error
    notes = [f"{broken} lines of the ledger are unreadable"] if broken else []
    title, asked = read_head(head)
    pending = sum(o.result == "pending" for o in outcomes.values())
    missing = sum(o.result == "failed" for o in outcomes.values()) + (0 if asked else pending)
    if missing:
        notes.append(f"{missing} instances are not there")
    if asked and pending:
        notes.append(waiting_note(pending, len(outcomes)))
    again = above("follow") if asked and pending else None
    return Report(
        title or f"Retrieved from {source}", tuple(outcomes.values()), not notes, "; ".join(notes),
        folder=None if title else place.parent, refresh_with=again, follow=asked,
    )  # fmt: skip


def save(report: Report, path: Path) -> Path:
    """Write a report as a ledger, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with medium_errors(path):
        try:
            with unfinished.open("wb") as file:
                file.write(ledger_head("", report.title, report.follow).encode() + b"\n")
                for outcome in report:
                    file.write(outcome.to_line().encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path
