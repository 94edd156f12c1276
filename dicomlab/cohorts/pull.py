"""Retrieving a cohort: what is wanted, what is there already, what arrived, what is still missing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

from dicomlab.cohorts.folder import FolderSink, Layout, Verify
from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model import trace
from dicomlab.model.cohort import Cohort
from dicomlab.model.progress import Control, OnProgress, Operation, Work
from dicomlab.model.protocols import Arrival, Octets, Retrievable, Sink, Wanted, Writer
from dicomlab.model.report import Outcome, Report


class _Place(Protocol):
    """A sink that knows what it has, and ends."""

    outcomes: dict[str, Outcome]

    def begin(self, arrival: Arrival) -> Writer: ...
    def failed(self, sop_instance_uid: str, status: str) -> None: ...
    def found(self, wanted: Wanted) -> bool: ...
    def close(self) -> None: ...


def retrieve(
    cohort: Cohort,
    to: Any,
    *,
    layout: str | None,
    verify: Verify,
    progress: bool | OnProgress,
    background: bool,
    options: Mapping[str, Any],
) -> Report | Operation[Report]:
    """Carry out ``Cohort.retrieve``, which documents it."""
    source = cohort.source
    if not isinstance(source, Retrievable):
        raise UsageError(f"nothing can be retrieved from {source}")
    _check_options(source, options)
    if verify not in (None, "sha256"):
        raise UsageError(f'verify is "sha256" or None, not {verify!r}')
    where = Layout(layout)
    if isinstance(to, str | Path):
        folder: Path | None = Path(to)
        if folder is not None and folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder} is a file; retrieve into a folder, a MediaSet or an Archive")
    elif hasattr(to, "sink"):
        folder = None
        if layout is not None:
            raise UsageError("layout is for folders: a MediaSet and an Archive place their files themselves")
    else:
        raise UsageError(f"can't retrieve into a {type(to).__name__}: give a folder, a MediaSet or an Archive")

    def run(control: Control) -> Report:
        try:
            instances = _instances(cohort, where.beyond if folder is not None else ())
        except DicomlabError as error:  # what it has of the list is no report, and nothing has arrived
            error.partial = Report(f"Retrieved from {source}", (), False, str(error), folder, trace.current())
            raise
        wanted = [instance.wanted for instance in instances]
        control.total = len(wanted)
        rows = _rows(instances)
        place: _Place = (
            FolderSink(folder, str(source), where, rows, control, verify=verify)
            if folder is not None
            else _Elsewhere(to.sink(str(source)), control)
        )
        with closing(place):
            note = _fetch(source, wanted, place, control, options, "" if instances.complete else instances.note)
            return _report(source, wanted, place, folder, note)

    work: Work[Report] = Work("retrieve", "instances", run, progress=progress)
    return work.carry_out(background=background)


def _check_options(source: Retrievable, options: Mapping[str, Any]) -> None:
    try:
        inspect.signature(source.deliver).bind((), None, None, **options)
    except TypeError as error:
        known = [p.name for p in inspect.signature(source.deliver).parameters.values() if p.kind is p.KEYWORD_ONLY]
        offer = f"it has {', '.join(known)}" if known else "it has none"
        raise UsageError(f"retrieve() from {source}: {error} ({offer})") from error


def _instances(cohort: Cohort, beyond: Sequence[str]) -> Cohort:
    """The instances below a cohort, with the columns that the layout needs."""
    if cohort.level == "instance" and all(name in cohort.columns for name in beyond):
        return cohort
    return cohort.instances(include=list(beyond))


def _rows(instances: Cohort) -> dict[str, dict[str, Any]]:
    frame = instances.to_dataframe()
    records: list[dict[Any, Any]] = frame.to_dict("records")
    return {record["SOPInstanceUID"]: record for record in records}


def _fetch(  # noqa: PLR0917
    source: Any, wanted: Sequence[Wanted], place: _Place, control: Control, options: Mapping[str, Any], cut: str
) -> str:
    """Deliver what is not there yet, ask once more for what did not come; say why it is not complete, if so."""
    ask = [one for one in wanted if not place.found(one)]
    try:
        for _ in range(2):
            if ask and not control.cancelled:
                source.deliver(ask, place, control, **options)
            ask = [one for one in ask if one.sop_instance_uid not in place.outcomes]
    except DicomlabError as error:
        there = {uid for uid, o in place.outcomes.items() if o.result in ("done", "warning", "skipped")}
        arrived = sum(one.sop_instance_uid in there for one in wanted)
        if not control.cancelled and arrived < len(wanted):  # where all of it has come, nobody needs the last word
            note = f"{arrived} of {len(wanted)} instances are there: {error}"
            folder = place.folder if isinstance(place, FolderSink) else None
            error.partial = _report(source, wanted, place, folder, note)
            error.trace = error.trace or trace.current()
            if arrived:
                error.add_note(f"{arrived} of {len(wanted)} instances are there and stay; the same call resumes.")
            raise
    if control.cancelled:
        return "cancelled"
    for one in ask:
        place.failed(one.sop_instance_uid, "the peer did not deliver it")
    return cut


def _report(source: Retrievable, wanted: Sequence[Wanted], place: _Place, folder: Path | None, note: str) -> Report:
    order = dict.fromkeys([*(one.sop_instance_uid for one in wanted), *place.outcomes])
    outcomes = tuple(place.outcomes[uid] for uid in order if uid in place.outcomes)
    failed = sum(o.result == "failed" for o in outcomes)
    if failed and not note:
        note = f"{failed} instances failed"
    return Report(
        f"Retrieved from {source}",
        outcomes,
        complete=not note and len(outcomes) >= len(wanted),
        note=note,
        folder=folder,
        trace=trace.current(),
    )


class _Elsewhere:
    """A sink that is no folder (a File-set, an archive), with the outcomes kept."""

    def __init__(self, sink: Sink, control: Control) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self._sink = sink
        self._control = control

    def found(self, wanted: Wanted) -> bool:
        """Never: the place itself knows what it has."""
        return False

    def begin(self, arrival: Arrival) -> Writer:
        """Make room for one instance."""
        return _Kept(self._sink.begin(arrival), self)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive."""
        self._sink.failed(sop_instance_uid, status)
        self.keep(Outcome(sop_instance_uid, "failed", status))

    def keep(self, outcome: Outcome) -> None:
        """Keep an outcome."""
        self.outcomes[outcome.sop_instance_uid] = outcome
        failed = outcome.result == "failed"
        self._control.advance(int(not failed), failed=int(failed), octets=outcome.octets)

    def close(self) -> None:
        """End the sink, where it has an end."""
        if hasattr(self._sink, "close"):
            self._sink.close()


class _Kept:
    """A writer whose outcome is kept."""

    def __init__(self, writer: Writer, place: _Elsewhere) -> None:
        self._writer, self._place = writer, place

    def write(self, octets: Octets, /) -> object:
        """Take more octets of the data set."""
        return self._writer.write(octets)

    def finish(self) -> Outcome:
        """Make it durable."""
        outcome = self._writer.finish()
        self._place.keep(outcome)
        return outcome

    def abandon(self) -> None:
        """Leave no trace of it."""
        self._writer.abandon()
