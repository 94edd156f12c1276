"""What ``Node``, ``WebEndpoint`` and ``MediaSet`` have in common: the shape of ``find`` and of ``store``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, overload

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model import trace
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import UNIQUE_KEY, Cells, Problem, TableBuilder, column
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.query import Query
from dicomlab.model.report import Report

Row = Mapping[str, Sequence[object]]
"""One match: column name to raw values."""

Match = Row | Cells
"""One match: raw values, or the cells of the query's columns where a path reads them at once."""


@dataclass(slots=True)
class Verdict:
    """What a path says about the whole of its answer while it gives rows."""

    complete: bool = True
    note: str = ""
    granted: frozenset[str] = frozenset()
    """The options that were asked for and that the peer has granted."""
    warnings: list[str] = field(default_factory=list)

    def cut(self, note: str) -> None:
        """The answer is not the whole answer."""
        self.complete, self.note = False, note

    def warn(self, text: str) -> None:
        """Something about the whole answer that its reader should know, once."""
        if text not in self.warnings:
            self.warnings.append(text)


class SearchPath:
    """A path that answers ``find``. A subclass gives raw rows from :meth:`_search`; the rest is the same for all."""

    fictional: bool = False
    _options: frozenset[str] = frozenset()
    """Options of ``find`` that this path alone has: ``find(..., relational=True)``."""

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Match]:
        """Ask the peer and give each match as raw values by column name.

        `query` may hold lists; duplicate rows (by the unique key of the level) are dropped by the caller, which also
        stops iterating (closing the generator) at the limit. A generator that sees ``control.cancelled`` ends.
        Raises what is in the error tree and nothing else.
        """
        raise NotImplementedError

    @overload
    def find(
        self, level: str = ..., /, match: Mapping[str | int, object] | None = ..., *,
        include: Iterable[str | int] = ..., limit: int | None = ..., progress: bool | OnProgress = ...,
        background: Literal[False] = ..., **keywords: Any,
    ) -> Cohort: ...  # fmt: skip
    @overload
    def find(
        self, level: str = ..., /, match: Mapping[str | int, object] | None = ..., *,
        include: Iterable[str | int] = ..., limit: int | None = ..., progress: bool | OnProgress = ...,
        background: Literal[True], **keywords: Any,
    ) -> Operation[Cohort]: ...  # fmt: skip
    def find(
        self,
        level: str | Query = "study",
        /,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        progress: bool | OnProgress = True,
        background: bool = False,
        **keywords: Any,
    ) -> Cohort | Operation[Cohort]:
        """Search: ``find("study", PatientID="P*", StudyDate=("2026-01-01", None))``.

        Parameters
        ----------
        level : str or Query
            ``"patient"``, ``"study"``, ``"series"`` or ``"instance"``, or a ready query.
        match : mapping, optional
            Matching keys that are no Python names: tags, private tags, sequence paths.
        include : iterable of str, optional
            Further attributes to return as columns.
        limit : int, optional
            Most rows; once reached the peer is told to stop and the cohort says that it is cut off.
        progress : bool or callable, optional
            A bar (when it takes longer than a second), nothing, or a function that gets each :class:`Progress`.
        background : bool, optional
            Return an :class:`Operation` at once.
        **keywords
            A PS3.6 keyword and what it must match: see :meth:`Query.of`. In lower case, an option of the path: see
            its class.

        Returns
        -------
        Cohort
            In order of arrival. An empty answer is an empty, complete cohort. After an interrupt it holds what had
            arrived and is marked incomplete.

        Raises
        ------
        UsageError
            Before anything is sent: unknown keyword, wrong level, impossible value, keywords beside a ready query.
        Unreachable, Refused
            Nobody answered, or said no.
        Interrupted
            The answer broke off; ``error.partial`` is the cohort of what had arrived.
        ServiceError
            The peer reported a failure.
        """
        if isinstance(level, Query):
            if match or include or limit is not None or keywords:
                raise UsageError("a ready query holds all that is asked: add to it with Query.of(...)")
            query = level
        else:
            own = tuple((name, bool(keywords.pop(name))) for name in sorted(self._options & set(keywords)))
            query = replace(Query.of(level, match, include=include, limit=limit, **keywords), options=own)
        work = Work("find", "rows", lambda control: self._answer(query, control), progress=progress)
        return work.carry_out(background=background)

    def _answer(self, query: Query, control: Control) -> Cohort:
        table = TableBuilder(query.columns)
        verdict = Verdict()
        key = UNIQUE_KEY[query.level]
        place = query.columns.index(column(key))
        seen: set[object] = set()
        rows = self._search(query, control, verdict)
        try:
            for row in rows:
                # a row without its unique key is like no other row
                identity = row.cells[place] if isinstance(row, Cells) else _first(row.get(key, ()))
                if identity is None:
                    identity = len(seen)
                if identity in seen:
                    continue
                if query.limit is not None and len(table) == query.limit:
                    verdict.cut(f"there are more than limit={query.limit}")
                    break
                seen.add(identity)
                table.add(row)
                control.advance()
                if control.cancelled:
                    break
        except DicomlabError as error:
            if not control.cancelled:
                verdict.cut(str(error))
                error.partial = self._cohort(table, query, verdict)
                error.trace = error.trace or trace.current()
                raise
        finally:
            close = getattr(rows, "close", None)
            if close is not None:
                close()
        if control.cancelled:
            verdict.cut("cancelled")
        return self._cohort(table, query, verdict)

    def _cohort(self, table: TableBuilder, query: Query, verdict: Verdict) -> Cohort:
        return Cohort(
            table.frame(),
            level=query.level,
            source=self,
            query=query,
            complete=verdict.complete,
            note=verdict.note,
            problems=[*table.problems, *(Problem(None, "", "", text) for text in verdict.warnings)],
            granted=verdict.granted,
            trace=trace.current(),
        )


def _first(raws: Sequence[object]) -> str | None:
    """What a unique key says, whatever stands around it."""
    return "\\".join(str(raw).strip(" \0") for raw in raws if raw is not None) or None


class StorePath:
    """A path that takes instances. A subclass stores them in :meth:`_store`; the shape is the same for all."""

    def _store(self, what: Any, control: Control) -> Report:
        """Store whatever ``store`` was given, and say what became of each instance.

        Stops after the message in flight once `control` is cancelled. Raises what is in the error tree; an error that
        comes after something was stored carries the report in ``partial``.
        """
        raise NotImplementedError

    @overload
    def store(
        self, what: Any, *, progress: bool | OnProgress = ..., background: Literal[False] = ...
    ) -> Report: ...  # fmt: skip
    @overload
    def store(
        self, what: Any, *, progress: bool | OnProgress = ..., background: Literal[True]
    ) -> Operation[Report]: ...  # fmt: skip
    def store(
        self, what: Any, *, progress: bool | OnProgress = True, background: bool = False
    ) -> Report | Operation[Report]:
        """Store instances: C-STORE, STOW-RS, or the File-set Updater (``MediaSet(path, mode="update")``).

        They go as they lie, unless the path may not carry their transfer syntax (PS3.18 §8.7.3) or the peer does not
        take it; then they are rewritten, values untouched, and the status says so.

        Parameters
        ----------
        what : path, Dataset, Cohort, MediaSet, or an iterable of these
            A folder stands for every file in it.
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.
        background : bool, optional
            Return an :class:`Operation` at once.

        Returns
        -------
        Report
            One row for each instance, by what the peer says of it. What is no whole DICOM file, or what the peer does
            not take, has failed, with the reason, and stops nothing. After an interrupt what is in flight is finished
            and the report is marked incomplete.

        Raises
        ------
        UsageError
            `what` is none of these; a MediaSet that is read only.
        Unreachable, Refused
            Nobody answers, or it takes none of it.
        Interrupted, RemoteProtocolError
            It broke off, or the medium is full; ``error.partial`` is the report of what was stored.

        Source
        ------
        PS3.4 Annex B (C-STORE), PS3.18 §10.5 (store), PS3.10 §8.4 (File-set Updater).
        """
        work = Work("store", "instances", lambda control: self._store(what, control), progress=progress)
        return work.carry_out(background=background)
