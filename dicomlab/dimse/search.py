"""C-FIND as an SCU: a query becomes a plan of requests that a baseline peer understands, and its answers become rows.

A baseline peer matches hierarchically: each request names one level, gives one value for the unique key of each
level above it, and no other key of those levels. So a query that matches or returns attributes of upper levels is
answered from above: the studies first, then the series of each, then their instances, over a few associations. What
a peer need not do, or does not do although it should, is made up for: lists become unions, what is refused or cut
off is asked in parts, and what does not match is passed over.

Source
------
PS3.4 §C.4.1 (C-FIND), §C.4.1.2.1 and §C.4.1.3.1 (hierarchical search), §C.6.2 (Study Root).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from contextvars import copy_context
from datetime import date, datetime
from queue import SimpleQueue

from dicomlab.dimse.asker import Asker
from dicomlab.dimse.association import Association
from dicomlab.dimse.cells import CellReader
from dicomlab.dimse.identifier import read_row
from dicomlab.dimse.splitting import MOST_PARTS, MOST_PARTS_DEEP, Span, day_of, looks_cut, span_of
from dicomlab.errors import CommunicationError, RemoteProtocolError, ServiceError
from dicomlab.model.columns import UNIQUE_KEY, Cells, Column, Level, column
from dicomlab.model.matching import matches
from dicomlab.model.path import Match, Row, Verdict
from dicomlab.model.progress import Control
from dicomlab.model.query import Key, Query

UIDS_PER_REQUEST = 100
"""Values in a list of UIDs; longer lists are asked for in parts."""
MOST_PROBES = 16
"""Values of a list that found nothing which are asked for by themselves: whether the peer takes lists is not known."""
ASSOCIATIONS = 3
"""At once, where there is much to be looked below."""
_BRANCHES_EACH = 4
"""Rows to be looked below for which another association is worth its while."""
_AHEAD = 8
"""Answers that may wait for their turn, for each association."""
_TOO_MUCH = (0xA700, 0xA701, 0xA702)
_COUNTS_OF_PATIENT = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
)
_STUDY_DATE, _STUDY_TIME = column("StudyDate"), column("StudyTime")

Above = Mapping[str, Sequence[object]]


class Search:
    """One query.

    Parameters
    ----------
    association : Association
        With a context for C-FIND.
    query : Query
    control : Control
    verdict : Verdict, optional
        Learns what the answer lacks.
    another : callable, optional
        Opens one more association like the first.

    Raises
    ------
    Refused
        There is no such context.
    """

    def __init__(
        self,
        association: Association,
        query: Query,
        control: Control,
        verdict: Verdict | None = None,
        another: Callable[[], Association] | None = None,
    ) -> None:
        self._query = query
        self._control = control
        self._verdict = verdict if verdict is not None else Verdict()
        self._another = another
        self._first = Asker(association, query.level, control, self._verdict)
        self._places = {one: place for place, one in enumerate(query.columns)}
        self._most: int | None = None
        """How many rows the peer gives at most, once that is known."""
        self._stuck: set[int] = set()
        """As many rows came where nothing could be cut further."""
        self._parted = 0
        """Into how many parts ranges of Study Date have been cut."""
        self._ranges = True
        """Whether the peer heeds ranges of Study Date, as far as is known."""
        self._probes = MOST_PROBES
        self._lists: bool | None = None
        """Whether the peer takes lists of UIDs, once that is known."""

    @property
    def granted(self) -> frozenset[str]:
        """The options of extended negotiation that the peer has granted."""
        return self._first.granted

    def rows(self) -> Iterator[Match]:
        """The matches, as they come. Closing the generator sends a C-CANCEL."""
        if "relational" in self.granted:
            self._first.note("relational queries are granted, so everything is asked at once")
            yield from self._ask(self._first, self._query.level, self._query.keys, self._query.columns, {}, last=True)
        elif self._first.by_patient:
            yield from self._ask(self._first, "patient", self._query.keys, self._query.columns, {}, last=True)
        elif self._query.level == "patient":
            self._first.note("no Patient Root here, so the patients are those of the studies")
            wanted = [one for one in self._query.columns if one.name not in _COUNTS_OF_PATIENT]
            yield from self._ask(self._first, "study", self._query.keys, wanted, {}, last=True)
        else:
            chain: tuple[Level, ...] = ("study", "series", "instance")
            yield from self._descend(self._first, chain[: chain.index(self._query.level) + 1], {})

    # --- plan ------------------------------------------------------------------------------------------------------

    def _descend(self, asker: Asker, chain: Sequence[Level], above: Above) -> Iterator[Match]:
        """The rows below `above`, level by level."""
        level, below = chain[0], chain[1:]
        keys = [key for key in self._query.keys if self._level(key.column) == level]
        shown = [one for one in self._query.columns if self._level(one) == level]
        if not below:
            yield from self._ask(asker, level, keys, shown, above, last=True)
            return
        branches: list[Above] = [{**above, **row} for row in self._parents(asker, level, keys, shown, above)]
        more = min(ASSOCIATIONS, len(branches) // _BRANCHES_EACH) if asker is self._first else 1
        if more > 1 and self._another is not None:
            yield from self._at_once(below, branches, more - 1, self._another)
            return
        for branch in branches:
            if self._control.cancelled:
                return
            yield from self._descend(asker, below, branch)

    def _at_once(
        self, below: Sequence[Level], branches: Sequence[Above], more: int, another: Callable[[], Association]
    ) -> Iterator[Match]:
        """Look below several rows at the same time; the order stays."""
        with ExitStack() as stack:
            askers = SimpleQueue[Asker]()
            askers.put(self._first)
            everybody = [self._first]
            for _ in range(more):
                try:
                    association = stack.enter_context(another())
                except CommunicationError as error:
                    self._first.note(f"no further association ({error}), so it goes on with {len(everybody)}")
                    break
                everybody.append(Asker(association, self._query.level, self._control, self._verdict))
                askers.put(everybody[-1])
            self._first.note(f"{len(branches)} rows are looked below over {len(everybody)} associations")

            def look(branch: Above) -> list[Match]:
                asker = askers.get()
                try:
                    return [] if self._control.cancelled else list(self._descend(asker, below, branch))
                finally:
                    askers.put(asker)

            threads = stack.enter_context(ThreadPoolExecutor(len(everybody), thread_name_prefix="dicomlab find"))
            waiting = deque[Future[list[Match]]]()
            try:
                for branch in branches:
                    waiting.append(threads.submit(copy_context().run, look, branch))
                    while len(waiting) > _AHEAD * len(everybody):
                        yield from waiting.popleft().result()
                while waiting:
                    yield from waiting.popleft().result()
            finally:  # whoever leaves early waits for nobody
                for future in waiting:
                    future.cancel()
                if waiting:
                    for asker in everybody:
                        asker.stop()

    def _over(self) -> bool:
        return self._control.cancelled

    def _parents(
        self, asker: Asker, level: Level, keys: Sequence[Key], shown: Sequence[Column], above: Above
    ) -> list[Row]:
        """What is to be looked below: read off the query where its unique keys say it all, else asked for."""
        unique = column(UNIQUE_KEY[level])
        given = next((key for key in keys if key.column == unique and key.matching in ("single", "list")), None)
        several_above = level != "study" and (study := self._query.key("StudyInstanceUID")) and len(study.values) > 1
        if given is not None and len(keys) == 1 and set(shown) <= {unique} and not several_above:
            return [{unique.name: [uid]} for uid in given.values]
        why = ", ".join(one.name for one in dict.fromkeys([*(k.column for k in keys), *shown])) or unique.name
        asker.note(f"{why} stand at the {level} level, so that level is asked first")
        rows: dict[object, Row] = {}
        for row in self._ask(asker, level, keys, [unique, *shown], above, last=False):
            assert not isinstance(row, Cells)
            if uid := [value for value in row.get(unique.name, ()) if value]:
                rows.setdefault(uid[0], row)
        return list(rows.values())

    def _level(self, one: Column) -> Level:
        """Where an attribute is asked for: those of the patient at the study level, as Study Root has it."""
        if one.level is None:
            return self._query.level
        return "study" if one.level == "patient" else one.level

    # --- one level -------------------------------------------------------------------------------------------------

    def _ask(
        self, asker: Asker, level: Level, keys: Sequence[Key], shown: Sequence[Column], above: Above, *, last: bool
    ) -> Iterator[Match]:
        """Ask at one level, in as many requests as the lists need; `last`: these rows are the answer."""
        upper = [(column(name), str(values[0])) for name, values in above.items() if name in UNIQUE_KEY.values()]
        upper = [(one, text) for one, text in upper if one.name != UNIQUE_KEY[level] and one.name != "PatientID"]
        question = _Question(self, asker, level, tuple(shown), dict(upper), above, last=last)
        query = Query(level, tuple(keys))
        for single in query.single_valued(uid_lists=self._lists is not False):  # where granted, a list means "and"
            for part in _requests(single.keys):
                if self._control.cancelled:
                    return
                yield from self._listed(question, part)

    def _listed(self, question: _Question, keys: Sequence[Key]) -> Iterator[Match]:
        """Ask, and see whether a list of UIDs was understood: what it does not name is passed over."""
        listed = next((key for key in keys if key.matching == "list" and key.column.vr == "UI"), None)
        if listed is None:
            yield from self._whole(question, keys)
            return
        wanted, seen, strange = set(listed.values), set[object](), 0
        try:
            for match in self._whole(question, keys):
                uid = question.value(match, listed.column)
                if uid in wanted:
                    seen.add(uid)
                    yield match
                else:
                    strange += 1
        except ServiceError as error:
            if error.status in _TOO_MUCH or seen:
                raise
            question.asker.note(f"it does not take a list of {listed.column.name} ({error})")
        if strange:
            text = f"it passed over a list of {listed.column.name}: {strange} rows that it does not name are left out"
            question.asker.tell(text)
        missing = [uid for uid in listed.values if uid not in seen]
        if len(seen) > 1:
            self._lists = True  # of several values that were asked for at once it has found two
        if self._lists or not missing:
            return
        probes = _spread(missing, self._probes)  # some are asked for by themselves: it may have none of them
        self._probes = max(2, self._probes - len(probes))
        others = [key for key in keys if key is not listed]
        for number, uid in enumerate(dict.fromkeys([*probes, *missing])):
            if self._over():
                return
            if number == len(probes) and self._lists is None:
                text = f"of a list of {len(listed.values)} {listed.column.name} it has found {len(seen)}"
                question.asker.tell(f"{text}, and none of {number} others that were asked for by themselves")
                return
            for match in self._whole(question, [*others, Key(listed.column, "single", (uid,))]):
                if question.value(match, listed.column) == uid:
                    if self._lists is None:
                        question.asker.tell(f"it takes no list of {listed.column.name}: each was asked for by itself")
                    self._lists = False
                    yield match

    def _whole(self, question: _Question, keys: Sequence[Key]) -> Iterator[Match]:
        """Ask, and go on in parts where the peer refuses the whole or gives the beginning of it only."""
        split = span_of(keys) if question.level == "study" else None
        if split is None:
            count = 0
            for match in question.ask(keys):
                count += 1
                yield match
            if self._most is not None and count == self._most:
                self._verdict.cut(f"{question.asker.name} gives at most {count} rows for a question")
            return
        span, others = split
        yield from self._span(question, span, [Key(_STUDY_DATE, "universal"), *others], 0, set())
        if self._most in self._stuck and self._parted <= MOST_PARTS:
            self._verdict.cut(f"{question.asker.name} gives at most {self._most} rows, and some days have more")

    def _span(
        self, question: _Question, span: Span, others: Sequence[Key], depth: int, seen: set[object]
    ) -> Iterator[Match]:
        """Ask for a range of dates, then for its parts if need be; `seen` gets what was the answer to the whole."""
        days: list[object] = []
        try:
            for match in question.ask([*others, *span.keys]):
                seen.add(question.identity(match))
                days.append(question.value(match, _STUDY_DATE))
                yield match
        except ServiceError as error:
            parts = self._parts(span, others, days, depth)
            if error.status not in _TOO_MUCH or not parts:
                raise
            if depth == 0:
                dateless = "" if span.start and span.end else "; studies without a Study Date are in no part of it"
                text = f"it refused the whole ({error.status:04X}H), so it was asked by Study Date{dateless}"
                question.asker.tell(text)
            for part in parts:
                if not self._another_part(question):
                    return
                yield from self._span(question, part, others, depth + 1, set())
            return
        count = len(days)
        if not (looks_cut(count) if self._most is None else count >= self._most) or self._over():
            return
        parts = self._parts(span, others, days, depth)
        if not parts:
            self._stuck.add(count)
            return
        question.asker.note(f"{count} rows may be all that it gives at once, so it is asked by Study Date too")
        answers: list[set[object]] = []
        for part in parts:
            if self._over() or not self._ranges or not self._another_part(question):
                return
            answers.append(set())
            for match in self._span(question, part, others, depth + 1, answers[-1]):
                if self._most is None and question.identity(match) not in seen:
                    self._most = count
                    question.asker.tell(f"it gives at most {count} rows at once, so it was asked by Study Date")
                yield match
            if len(answers) > 1 and answers[0] == answers[1] != set():  # what lies in one of them is in no other
                self._ranges = False
                question.asker.tell(f"it passes over ranges of Study Date, so {count} rows may not be all that it has")

    def _another_part(self, question: _Question) -> bool:
        """Whether one more part may be asked for; a peer that never comes to an end makes the answer incomplete."""
        self._parted += 1
        if self._parted > MOST_PARTS:
            name = question.asker.name
            self._verdict.cut(f"{name} has more in each of {MOST_PARTS:,} parts of the range of Study Date; narrow it")
        return self._parted <= MOST_PARTS

    def _parts(self, span: Span, others: Sequence[Key], days: Sequence[object], depth: int) -> list[Span]:
        """What a range is cut into; nothing where it can't be, or somebody has cancelled."""
        timed = any(key.column == _STUDY_TIME and key.matching != "universal" for key in others)
        one_day = span.start is not None and span.start == span.end
        if (timed and one_day) or depth >= MOST_PARTS_DEEP or self._over():
            return []
        return span.parts(filter(None, map(day_of, days)), date.today())


class _Question:
    """What is asked of one level, whatever the keys."""

    def __init__(  # noqa: PLR0917
        self, search: Search, asker: Asker, level: Level, shown: Sequence[Column],
        upper: Mapping[Column, str], above: Above, *, last: bool,
    ) -> None:  # fmt: skip
        self.asker, self.level = asker, level
        self._columns, self._places = search._query.columns, search._places
        self._shown, self._upper, self._above, self._last = shown, upper, above, last
        self._key = column(UNIQUE_KEY[search._query.level if last else level])

    def ask(self, keys: Sequence[Key]) -> Iterator[Match]:
        """Send one request; give what answers it."""
        asked = dict.fromkeys([column(UNIQUE_KEY[self.level]), *self._shown], "")
        asked.update(self._upper)
        asked.update({key.column: key.text for key in keys})
        if "timezone" in self.asker.granted:
            asked[column("TimezoneOffsetFromUTC")] = _offset_from_utc()
        syntax, wanted = self.asker.transfer_syntax, tuple(asked)
        cells = CellReader(self._columns, syntax, wanted, self._above) if self._last else None
        passed = 0
        for octets, whole in self.asker.find(self.level, asked):
            try:
                if not whole and _strange(read_row(octets, syntax, wanted), keys):
                    passed += 1
                    continue
                match = cells.read(octets) if cells is not None else read_row(octets, syntax, wanted)
            except RemoteProtocolError:
                self.asker.abort()
                raise
            yield match
        if passed:
            self.asker.tell(f"{passed} rows that do not match are left out")

    def identity(self, match: Match) -> object:
        """What tells it from others of its level: of the answer, or of the rows above it."""
        return self.value(match, self._key)

    def value(self, match: Match, one: Column) -> object:
        """The first value of a column, as it is compared."""
        if isinstance(match, Cells):
            place = self._places.get(one)
            return match.cells[place] if place is not None else None
        return next(iter(match.get(one.name, ())), None)


def _offset_from_utc() -> str:
    """The time zone of this machine, as ``+0100``."""
    return datetime.now().astimezone().strftime("%z")


def _spread(uids: Sequence[str], most: int) -> list[str]:
    """At most so many of them, from one end to the other."""
    if len(uids) <= most:
        return list(uids)
    return [uids[number * (len(uids) - 1) // (most - 1)] for number in range(most)]


def _strange(row: Row, keys: Sequence[Key]) -> bool:
    """Whether a peer that matches some keys only gave a row that another key does not match."""
    return any((raws := row.get(key.column.name)) and not matches(key, raws) for key in keys)


def _requests(keys: Sequence[Key]) -> Iterator[Sequence[Key]]:
    """Cut the longest list of UIDs into parts that one request can hold."""
    longest = max((k for k in keys if k.matching == "list"), key=lambda key: len(key.values), default=None)
    if longest is None or len(longest.values) <= UIDS_PER_REQUEST:
        yield keys
        return
    for start in range(0, len(longest.values), UIDS_PER_REQUEST):
        values = longest.values[start : start + UIDS_PER_REQUEST]
        part = Key(longest.column, "list" if len(values) > 1 else "single", values)
        yield [part if key is longest else key for key in keys]
