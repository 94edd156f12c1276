"""C-FIND as an SCU: a query becomes a plan of requests that a baseline peer understands, and its answers become rows.

A baseline peer matches hierarchically: each request names one level, gives one value for the unique key of each
level above it, and no other key of those levels. So a query that matches or returns attributes of upper levels is
answered from above: the studies first, then the series of each, then their instances, on one association.

Source
------
PS3.4 §C.4.1 (C-FIND), §C.4.1.2.1 and §C.4.1.3.1 (hierarchical search), §C.6.2 (Study Root).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.identifier import encode_query, read_row
from dicomlab.dimse.negotiation import granted
from dicomlab.errors import CommunicationError, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import UNIQUE_KEY, Column, Level, column
from dicomlab.model.path import Row
from dicomlab.model.progress import Control
from dicomlab.model.query import Key, Query

UIDS_PER_REQUEST = 100
"""Values in a list of UIDs; longer lists are asked for in parts."""
_COUNTS_OF_PATIENT = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
)


class Search:
    """One query on one association."""

    def __init__(self, association: Association, query: Query, control: Control) -> None:
        self._association = association
        self._query = query
        self._control = control
        patient = association.context_for(tables.MODELS["patient", "FIND"])
        study = association.context_for(tables.MODELS["study", "FIND"])
        by_patient = query.level == "patient" and patient is not None
        context = patient if by_patient else study
        if context is None:
            raise Refused("it does not offer C-FIND (PS3.4 §C.6.2)", endpoint=association.endpoint)
        self._context: Context = context
        self._by_patient = by_patient
        self.granted = granted(association, context.abstract_syntax)
        self._told: set[int] = set()

    def rows(self) -> Iterator[Row]:
        """The matches, as they come. Closing the generator sends a C-CANCEL."""
        if "relational" in self.granted:
            self._note("relational queries are granted, so everything is asked at once")
            yield from self._ask(self._query.level, self._query.keys, self._query.columns, {})
        elif self._by_patient:
            yield from self._ask("patient", self._query.keys, self._query.columns, {})
        elif self._query.level == "patient":
            yield from self._patients_of_studies()
        else:
            chain: tuple[Level, ...] = ("study", "series", "instance")
            yield from self._descend(chain[: chain.index(self._query.level) + 1], {})

    def _patients_of_studies(self) -> Iterator[Row]:
        self._note("no Patient Root here, so the patients are those of the studies")
        wanted = [one for one in self._query.columns if one.name not in _COUNTS_OF_PATIENT]
        seen: set[object] = set()
        for row in self._ask("study", self._query.keys, wanted, {}):
            identity = tuple(row.get("PatientID", ()))
            if identity not in seen:
                seen.add(identity)
                yield row

    # --- plan ------------------------------------------------------------------------------------------------------

    def _descend(self, chain: Sequence[Level], above: Mapping[str, Sequence[object]]) -> Iterator[Row]:
        """The rows below `above`, level by level."""
        level, below = chain[0], chain[1:]
        keys = [key for key in self._query.keys if self._level(key.column) == level]
        shown = [one for one in self._query.columns if self._level(one) == level]
        if not below:
            for row in self._ask(level, keys, shown, above):
                yield {**above, **row}
            return
        for row in self._parents(level, keys, shown, above):
            if self._control.cancelled:
                return
            yield from self._descend(below, {**above, **row})

    def _parents(
        self, level: Level, keys: Sequence[Key], shown: Sequence[Column], above: Mapping[str, Sequence[object]]
    ) -> list[Row]:
        """What is to be looked below: read off the query where its unique keys say it all, else asked for."""
        unique = column(UNIQUE_KEY[level])
        given = next((key for key in keys if key.column == unique and key.matching in ("single", "list")), None)
        several_above = level != "study" and (study := self._query.key("StudyInstanceUID")) and len(study.values) > 1
        if given is not None and len(keys) == 1 and set(shown) <= {unique} and not several_above:
            return [{unique.name: [uid]} for uid in given.values]
        why = ", ".join(one.name for one in dict.fromkeys([*(k.column for k in keys), *shown])) or unique.name
        self._note(f"{why} stand at the {level} level, so that level is asked first")
        rows: dict[object, Row] = {}
        for row in self._ask(level, keys, [unique, *shown], above):
            if uid := [value for value in row.get(unique.name, ()) if value]:
                rows.setdefault(uid[0], row)
        return list(rows.values())

    def _level(self, one: Column) -> Level:
        """Where an attribute is asked for: those of the patient at the study level, as Study Root has it."""
        if one.level is None:
            return self._query.level
        return "study" if one.level == "patient" else one.level

    def _ask(
        self, level: Level, keys: Sequence[Key], shown: Sequence[Column], above: Mapping[str, Sequence[object]]
    ) -> Iterator[Row]:
        """Ask at one level, in as many requests as the lists need."""
        upper = [(column(name), str(values[0])) for name, values in above.items() if name in UNIQUE_KEY.values()]
        upper = [(one, text) for one, text in upper if one.name != UNIQUE_KEY[level] and one.name != "PatientID"]
        query = Query(level, tuple(keys))
        for single in query.single_valued() if "multiple" not in self.granted else [query]:
            for part in _parts(single.keys):
                if self._control.cancelled:
                    return
                asked = dict.fromkeys([column(UNIQUE_KEY[level]), *shown], "")
                asked.update(upper)
                asked.update({key.column: key.text for key in part})
                if "timezone" in self.granted:
                    asked[column("TimezoneOffsetFromUTC")] = _offset_from_utc()
                yield from self._find(level, asked)

    # --- one request -----------------------------------------------------------------------------------------------

    def _find(self, level: Level, asked: Mapping[Column, str]) -> Iterator[Row]:
        association, context = self._association, self._context
        data = encode_query(level, asked.items(), context.transfer_syntax)
        number = association.request(context, "C-FIND-RQ", data, Priority=0)
        ended = False
        try:
            with self._control.on_cancel(lambda: association.cancel(context, number)):
                while not ended:
                    command = association.answer("C-FIND-RSP", number).command
                    if command.status not in tables.PENDING:
                        ended = True
                        association.cancel_ended()
                        self._finish(command.status, command.comment)
                        return
                    if not command.has_data:
                        raise association.broken("a pending C-FIND-RSP without an Identifier", "PS3.7 §9.1.2.1")
                    self._tell(command.status)
                    try:
                        row = read_row(association.data(), context.transfer_syntax, tuple(asked))
                    except RemoteProtocolError:
                        association.abort()
                        raise
                    yield row
        except GeneratorExit:
            if not ended:
                association.cancel(context, number)
                with suppress(CommunicationError, RemoteProtocolError):  # ended by us, one way or the other
                    while association.answer("C-FIND-RSP", number).command.status in tables.PENDING:
                        pass
                association.cancel_ended()
            raise

    def _finish(self, status: int, comment: str) -> None:
        if tables.category(status) == "failure":
            text = tables.status_text(status, "FIND", comment)
            why = f"{tables.advice(status)} (PS3.4 Table C.4-1)"
            raise ServiceError(f"{self._association.endpoint} answered C-FIND with {text}: {why}", status=status)
        if status != tables.SUCCESS:
            self._tell(status)

    def _tell(self, status: int) -> None:
        if status not in (tables.SUCCESS, tables.PENDING[0]) and status not in self._told:
            self._told.add(status)
            text = "some keys can't be matched" if status == tables.PENDING[1] else "the search has ended"
            self._note(f"{tables.status_text(status, 'FIND')}: {text}")

    def _note(self, text: str) -> None:
        self._association.channel.note(text)


def _offset_from_utc() -> str:
    """The time zone of this machine, as ``+0100``."""
    return datetime.now().astimezone().strftime("%z")


def _parts(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Cut the longest list of UIDs into parts that one request can hold."""
    longest = max((k for k in keys if k.matching == "list"), key=lambda key: len(key.values), default=None)
    if longest is None or len(longest.values) <= UIDS_PER_REQUEST:
        yield keys
        return
    for start in range(0, len(longest.values), UIDS_PER_REQUEST):
        part = Key(longest.column, "list", longest.values[start : start + UIDS_PER_REQUEST])
        yield [part if key is longest else key for key in keys]
