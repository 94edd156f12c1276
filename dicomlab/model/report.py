"""What became of each SOP Instance of a retrieve or a store: one row each, whatever the path."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

from dicomlab.errors import DicomlabError, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.links import above
from dicomlab.model.summary import Summarised, Summary

if TYPE_CHECKING:
    from pandas import DataFrame

    from dicomlab.model.trace import Trace

Result = Literal["done", "warning", "failed", "skipped", "pending"]

LEDGER_NAME = "dicomlab-ledger.jsonl"
FRAMES_SUFFIX = ".frames.parquet"
"""How the name of a table of frames ends, which a recording leaves beside an instance."""
LEDGER_FORMAT = 1
_LINE = json.JSONEncoder(separators=(",", ":"))
_HEAD = {"dicomlab-ledger": LEDGER_FORMAT}
MAX_LEDGER_LINE = 16_384


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one SOP Instance.

    Attributes
    ----------
    result : str
        ``done``, ``warning`` (there, but not quite as sent), ``failed``, ``skipped`` (was there already),
        ``pending`` (nobody knows yet).
    status : str
        The peer's status in the standard's words, as ``"0000H Success"``.
    octets : int
        Octets after the File Meta Information.
    path : str
        Where it lies, relative to the folder of the report; ``""`` if nowhere here.
    sha256 : str
        Digest of the octets after the File Meta Information, in ``transfer_syntax_uid``; ``""`` if not asked for.
    transaction_uid : str
        The storage commitment that is waited for, while it is ``pending``.
    """

    sop_instance_uid: str
    result: Result
    status: str = ""
    sop_class_uid: str = ""
    transfer_syntax_uid: str = ""
    octets: int = 0
    path: str = ""
    sha256: str = ""
    transaction_uid: str = ""

    def to_line(self) -> str:
        """One line of a ledger, without the line end."""
        values = ((name, getattr(self, name)) for name in _OUTCOME_FIELDS)
        return _LINE.encode({name: value for name, value in values if value != ""})

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Read one line of a ledger.

        Raises
        ------
        ValueError
            It is no such line.
        """
        try:
            entry = json.loads(line)
        except RecursionError as error:
            raise ValueError("not an outcome") from error
        kinds = {f.name: int if f.name == "octets" else str for f in fields(cls)}
        if not isinstance(entry, dict) or any(type(v) is not kinds.get(k, type(v)) for k, v in entry.items()):
            raise ValueError("not an outcome")
        known = {k: v for k, v in entry.items() if k in kinds}
        if known.get("result") not in get_args(Result):
            raise ValueError("no result")
        if not known.get("sop_instance_uid") or known.get("octets", 0) < 0:
            raise ValueError("no instance, or one of less than nothing")
        return cls(**known)


_OUTCOME_FIELDS = tuple(field.name for field in fields(Outcome))


def _number(status: str) -> int:
    """The number at the start of a status: ``A700H ...`` (DIMSE) or ``409 ...`` (HTTP); 0 where there is none."""
    found = re.match(r"(?:([0-9A-Fa-f]{4})H|([1-5][0-9]{2}))\b", status)
    if not found:
        return 0
    return int(found[1], 16) if found[1] else int(found[2])


def ledger_head(source: str, title: str = "", follow: Mapping[str, str] | None = None) -> str:
    """The first line of a ledger: the format, and who the instances came from. Never a credential.

    That of a saved report has its title, and whom to ask about pending outcomes.
    """
    more = {**({"title": title} if title else {}), **({"follow": dict(follow)} if follow else {})}
    return _LINE.encode({**_HEAD, "source": source, **more})


def read_head(line: str) -> tuple[str, dict[str, str]]:
    """What the head of a ledger says beside its source: the title of a saved report, and whom to ask again."""
    try:
        head = json.loads(line[:MAX_LEDGER_LINE])
    except (ValueError, RecursionError):
        return "", {}
    follow = head.get("follow") if isinstance(head, dict) else None
    asked = {str(k): str(v) for k, v in follow.items()} if isinstance(follow, dict) else {}
    return (str(head.get("title", "")), asked) if isinstance(head, dict) else ("", {})


def read_ledger(lines: Iterable[str]) -> tuple[str, dict[str, Outcome], int]:
    """Read a ledger: who it came from, the last outcome of each instance, and how many lines were unreadable.

    A last line cut by a crash, or any other line that is no outcome, is passed over and counted.

    Raises
    ------
    RemoteProtocolError
        The first line is not the head of a ledger that this version reads.
    """
    outcomes: dict[str, Outcome] = {}
    source, broken = "", 0
    for number, line in enumerate(lines):
        try:
            if len(line) > MAX_LEDGER_LINE:
                raise ValueError("line too long")
            if number == 0:
                head = json.loads(line)
                if not isinstance(head, dict) or head.get("dicomlab-ledger") != LEDGER_FORMAT:
                    raise ValueError("no head")
                source = str(head.get("source", ""))
                continue
            outcome = Outcome.from_line(line)
        except (ValueError, RecursionError) as error:
            if number == 0:
                raise RemoteProtocolError(
                    f"not a ledger of format {LEDGER_FORMAT}", section="dicomlab ledger", offset=0
                ) from error
            broken += 1
            continue
        outcomes[outcome.sop_instance_uid] = outcome
    return source, outcomes, broken


@dataclass(eq=False, repr=False)
class Report(Summarised):
    """One row for each SOP Instance of a retrieve or a store.

    Behaves like the table that it is: ``len``, iteration over :class:`Outcome`, ``to_dataframe()``.
    """

    title: str
    outcomes: tuple[Outcome, ...]
    complete: bool = True
    """Whether every instance that was asked for has an outcome other than failed or pending, as far as anybody
    knows."""
    note: str = ""
    """Why it is not complete."""
    folder: Path | None = None
    """The folder that ``path`` of each outcome is relative to."""
    trace: Trace | None = None
    refresh_with: Callable[[Report], Report] | None = field(default=None)
    follow: Mapping[str, str] = field(default_factory=dict)
    """Whom to ask about pending outcomes, for who loads the report tomorrow; never a credential."""

    def __len__(self) -> int:
        return len(self.outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __bool__(self) -> bool:
        return self.complete

    def count(self, result: Result) -> int:
        """How many instances ended that way."""
        return self.counts[result]

    @property
    def counts(self) -> Counter[str]:
        """How many instances ended each way."""
        return Counter(outcome.result for outcome in self.outcomes)

    @property
    def octets(self) -> int:
        """Data set octets that are there now, skipped ones included."""
        return sum(o.octets for o in self.outcomes if o.result in ("done", "warning", "skipped"))

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The instances that failed."""
        return tuple(o for o in self.outcomes if o.result == "failed")

    def to_dataframe(self) -> DataFrame:
        """One row for each instance, its outcome and where it lies."""
        import pandas as pd

        names = {
            "sop_instance_uid": "SOPInstanceUID",
            "sop_class_uid": "SOPClassUID",
            "transfer_syntax_uid": "TransferSyntaxUID",
        }
        shown = [f.name for f in fields(Outcome) if f.name != "transaction_uid"]
        frame = pd.DataFrame([asdict(o) for o in self.outcomes], columns=shown)
        texts = [c for c in frame.columns if c != "octets"]
        frame[texts] = frame[texts].astype("str")
        return frame.astype({"octets": "Int64"}).rename(columns=names)

    @property
    def media(self) -> Any:
        """The ``MediaSet`` of what arrived.

        Raises
        ------
        UsageError
            The instances did not go into a folder.
        """
        if self.folder is None:
            raise UsageError("these instances did not go into a folder, so there is no MediaSet of them")
        return above("media")(self.folder)

    def view(self) -> Any:
        """View the images that arrived, in the notebook: see :func:`dicomlab.notebook.viewer.view`."""
        return above("view_report")(self)

    def refresh(self, source: Any = None) -> Report:
        """Ask again about pending outcomes; the report itself, where none is pending.

        Parameters
        ----------
        source : Node or WebEndpoint, optional
            Whom to ask, of a report that was loaded and whose peer wants credentials or TLS: neither is stored.

        Raises
        ------
        UsageError
            `source` is not whom it was stored to.
        Unreachable, Refused
            As for ``store``, from a web server; over DIMSE that is in the rows.
        """
        if not self.count("pending"):
            return self
        if source is not None and self.follow:
            again: Report = above("follow")(self, source)
            return again
        return self.refresh_with(self) if self.refresh_with else self

    def save(self, path: str | Path) -> Path:
        """Write it as a ledger, for :meth:`load`: also what is pending, so that ``refresh`` can ask tomorrow.

        Parameters
        ----------
        path : path
            The file; one that is there is replaced, whole or not at all.

        Raises
        ------
        Interrupted
            The medium is full, or gone.
        """
        saved: Path = above("save_report")(self, Path(path))
        return saved

    def raise_for_failures(self) -> Self:
        """Raise :class:`ServiceError` if an instance failed or is missing; else give the report back."""
        if failed := self.failures:
            error = ServiceError(
                f"{len(failed)} of {len(self)} instances failed; the first: {failed[0].sop_instance_uid}"
                f" ({failed[0].status})",
                status=_number(failed[0].status),
            )
            error.partial = self
            raise error
        if not self.complete:
            why = self.note or f"{self.count('pending')} instances are pending"
            short: DicomlabError = ServiceError(f"{self.title} is not complete: {why}", status=0)
            short.partial = self
            raise short
        return self

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read the ledger that a retrieve left beside its data; `path` is the folder or the ledger itself.

        Raises
        ------
        UsageError
            There is none.
        RemoteProtocolError
            It is not one.
        """
        report: Report = above("report")(Path(path))
        return report

    def relabelled(self, **changes: Any) -> Self:
        """A copy with some attributes changed."""
        return replace(self, **changes)

    def _summary_(self) -> Summary:
        counts = self.counts
        facts = [
            (name, str(counts[name])) for name in ("done", "warning", "failed", "skipped", "pending") if counts[name]
        ]
        facts.append(("octets", f"{self.octets:,}"))
        if self.folder:
            facts.append(("folder", self.folder.name))
        shown = [o for o in self.outcomes if o.result == "failed"] + [o for o in self.outcomes if o.result != "failed"]
        rows = tuple((o.sop_instance_uid or "none was read", o.result, o.status, str(o.octets)) for o in shown[:10])
        notes = () if self.complete else (f"not complete: {self.note or 'instances failed'}",)
        return Summary(
            self.title,
            tuple(facts),
            ("SOPInstanceUID", "result", "status", "octets"),  # no path: a layout may put patients into it
            rows,
            max(0, len(shown) - 10),
            notes=notes,
        )
