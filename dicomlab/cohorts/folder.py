"""A folder as the place where instances arrive: where each file lies, and what the ledger says of it."""

from __future__ import annotations

import hashlib
import os
import re
import string
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from dicomlab.cohorts.ledger import Ledger, outcomes_of
from dicomlab.errors import UsageError
from dicomlab.model.columns import column, standard_columns
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Octets, Wanted, Watcher, Writer
from dicomlab.model.report import Outcome
from dicomlab.part10.files import FileWriter, Unfit, parcel_of_file, sha256_of_dataset
from dicomlab.part10.medium import remove_parts
from dicomlab.part10.wholeness import Passing

DEFAULT_LAYOUT = "{StudyInstanceUID:short}/{SeriesInstanceUID:short}/{SOPInstanceUID:short}.dcm"
_SHORT = 12
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")
_RESERVED = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{n}{i}" for n in ("COM", "LPT") for i in range(1, 10))})

Verify = Literal["sha256"] | None


class Layout:
    """Where each file lies in a folder: a template of keywords, ``"{PatientID}/{SOPInstanceUID}.dcm"``.

    ``{Keyword:short}`` gives twelve hexadecimal digits that stand for the value. Every value is made safe: no path
    leaves the folder, and no name is one that Windows reserves.
    """

    def __init__(self, template: str | None) -> None:
        self.template = template or DEFAULT_LAYOUT
        try:
            parts = self._parts = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise UsageError(f"layout {self.template!r}: {error}") from error
        self.keywords = tuple(dict.fromkeys(name for _, name, _, _ in parts if name is not None))
        for name in self.keywords:
            column(name)  # raises UsageError with the nearest keyword
        if any(spec not in ("", "short", None) or conversion for _, _, spec, conversion in parts):
            raise UsageError(f"layout {self.template!r}: only {{Keyword}} and {{Keyword:short}} are understood")
        fixed = self.template.replace("\\", "/")
        if fixed.startswith("/") or ".." in fixed.split("/") or ":" in fixed.split("{")[0]:
            raise UsageError(f"layout {self.template!r} leads out of the folder")
        if "SOPInstanceUID" not in self.keywords:
            raise UsageError(f"layout {self.template!r} needs {{SOPInstanceUID}}, or two files would share a name")

    @property
    def beyond(self) -> tuple[str, ...]:
        """The keywords that an instance table doesn't have by itself."""
        standard = {c.name for c in standard_columns("instance")}
        return tuple(name for name in self.keywords if name not in standard)

    def path(self, values: Mapping[str, Any], folder: Path | None = None) -> Path:
        """The path of one instance, relative, or below `folder`."""
        filled = []
        for literal, name, spec, _ in self._parts:
            filled.append(literal.replace("\\", "/"))
            if name is not None:
                text = _text(values.get(name))
                filled.append(_short(text) if spec == "short" else _safe(text))
        names = [p for p in "".join(filled).split("/") if p]
        names = ["_" + p if p.partition(".")[0].upper() in _RESERVED else p for p in names]
        return Path(folder, *names) if folder is not None else Path(*names)


def _text(value: Any) -> str:
    import pandas as pd

    if isinstance(value, pd.Timestamp):
        return value.strftime("%Y%m%d")
    return "" if not isinstance(value, tuple) and pd.isna(value) else str(value)


@lru_cache(maxsize=256)  # every instance of a series has the same study and series
def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_SHORT]


def _safe(text: str) -> str:
    cleaned = _UNSAFE.sub("_", text).strip(" .")
    return (cleaned if len(cleaned) <= 64 else f"{cleaned[:50]}-{_short(text)}") or "_"


def _names_in(folder: Path) -> frozenset[str] | None:
    """What lies in a folder; None where that can't be told, or where writers that were killed left something behind."""
    try:
        names = frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()
    except OSError:
        return None
    return None if any(name.endswith(".part") for name in names) else names


class FolderSink:
    """Stores what arrives in a folder, and writes each outcome to the ledger. Satisfies ``Sink``; thread-safe."""

    def __init__(
        self, folder: Path, source: str, layout: Layout, rows: Mapping[str, Mapping[str, Any]], control: Control,
        *, verify: Verify = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.outcomes: dict[str, Outcome] = {}
        self._layout = layout
        self._rows = rows
        self._control = control
        self._digest = verify == "sha256"
        self._lock = threading.Lock()
        self._started_s = time.time()
        self._places: dict[str, Path] = {}
        self._listed: dict[Path, frozenset[str] | None] = {}
        self._before = outcomes_of(folder) if folder.is_dir() else {}
        self._ledger = Ledger(folder, source)
        self._root = folder.resolve()

    def close(self) -> None:
        """End the ledger."""
        self._ledger.close()

    def found(self, wanted: Wanted) -> bool:
        """Whether the instance is there already, whole; if so it has the outcome ``skipped``."""
        uid = wanted.sop_instance_uid
        before = self._before.get(uid)
        known = before is not None and before.result in ("done", "warning", "skipped") and before.path
        path = self.folder / before.path if before is not None and known else self._place(uid)
        try:
            if self._seen_absent(path) or not path.resolve().is_relative_to(self._root):
                return False
            if not path.is_file():
                remove_parts(path, self._started_s)
                return False
        except (OSError, ValueError):  # no path at all, whatever a ledger says
            return False
        parcel = parcel_of_file(path)
        if isinstance(parcel, Unfit) or parcel.meta.sop_instance_uid != uid:
            return False
        if before is not None and known and parcel.dataset_size != before.octets:
            return False
        digest = sha256_of_dataset(path) if self._digest else ""
        if before is not None and known and before.sha256 and digest and before.sha256 != digest:
            return False
        outcome = Outcome(
            uid,
            "skipped",
            "there already",
            parcel.meta.sop_class_uid,
            parcel.meta.transfer_syntax_uid,
            parcel.dataset_size,
            path.relative_to(self.folder).as_posix(),
            digest or (before.sha256 if before is not None else ""),
        )
        self._keep(outcome, log=not known)
        return True

    def _seen_absent(self, path: Path) -> bool:
        """Whether one look at its folder, the same for all in it, showed neither that file nor the rest of a writer."""
        if path.parent not in self._listed:
            self._listed[path.parent] = _names_in(path.parent)
        names = self._listed[path.parent]
        return names is not None and path.name not in names

    def _place(self, uid: str) -> Path:
        """Where an instance lies; kept for those that were asked for, since it is wanted again when they arrive."""
        place = self._places.get(uid)
        if place is None:
            place = self._layout.path({**self._rows.get(uid, {}), "SOPInstanceUID": uid}, self.folder)
            if uid in self._rows:
                self._places[uid] = place
        return place

    def begin(self, arrival: Arrival) -> Writer:
        """Make room for one instance; what is there already is let pass, not written again."""
        there = self.outcomes.get(arrival.sop_instance_uid)
        if there is not None and there.result != "failed":
            return _Pass(there)
        path = self._place(arrival.sop_instance_uid)
        writer = FileWriter(path, arrival, digest=self._digest, root=self.folder)
        return _Writer(writer, self._keep, asked=arrival.sop_instance_uid in self._rows)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive, and why."""
        if sop_instance_uid not in self.outcomes:
            self._keep(Outcome(sop_instance_uid, "failed", status))

    def _keep(self, outcome: Outcome, *, log: bool = True) -> None:
        with self._lock:
            new = outcome.sop_instance_uid not in self.outcomes
            self.outcomes[outcome.sop_instance_uid] = outcome
        if log:
            self._ledger.append(outcome)
        failed = outcome.result == "failed"
        self._control.advance(int(new and not failed), failed=int(new and failed), octets=outcome.octets)


class _Writer:
    """A file writer whose outcome goes to the ledger."""

    def __init__(self, writer: FileWriter, keep: Callable[[Outcome], None], *, asked: bool) -> None:
        self._writer, self._keep, self._asked = writer, keep, asked
        passing = Passing(writer.arrival.transfer_syntax_uid)
        self._watcher: Watcher = writer.arrival.watcher or passing
        self._feed = passing.feed if writer.arrival.watcher is None else None

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._writer.write(octets)
        if self._feed is not None:
            self._feed(octets)

    def finish(self) -> Outcome:
        """Keep the file, and its outcome."""
        outcome = self._writer.finish()
        if lack := self._lack():  # it stays as it came, and the same call again fetches it anew
            outcome = replace(outcome, result="failed", status=f"it arrived broken: {lack}")
        elif not self._asked:
            outcome = replace(outcome, result="warning", status="the peer sent it without being asked")
        self._keep(outcome)
        return outcome

    def _lack(self) -> str:
        """What the instance lacks: by what passed, or by another look at the file where that doesn't tell."""
        if self._watcher.told:
            return self._watcher.lack()
        parcel = parcel_of_file(self._writer.path)
        return parcel.reason if isinstance(parcel, Unfit) else ""

    def abandon(self) -> None:
        """Leave no trace of it."""
        self._writer.abandon()


class _Pass:
    """Lets an instance pass that is there already: whole series come even where a part of one was asked for."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def write(self, octets: Octets, /) -> None:
        """Take no notice."""

    def finish(self) -> Outcome:
        """Say what became of it before."""
        return self._outcome

    def abandon(self) -> None:
        """Nothing was begun."""
