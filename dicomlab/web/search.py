"""QIDO-RS: how a query becomes requests, and how the whole of the answer is had from servers that cap it.

A search goes down from the studies: ``/studies``, ``/studies/{uid}/series``, ``/studies/{uid}/series/{uid}/instances``
are what every server has. Searches across parents, which few servers promise, are tried where no parent is known,
and replaced by the way down where the server declines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from dicomlab.errors import Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import UNIQUE_KEY, Column, Level, column
from dicomlab.model.matching import first, matches
from dicomlab.model.path import Row, Verdict
from dicomlab.model.query import Key, Query
from dicomlab.model.summary import visible
from dicomlab.web.finer import ROUND, STUDY_DATE, Question, kept_back
from dicomlab.web.http import MAX_JSON, Answer, Conversation
from dicomlab.web.json_columns import rows
from dicomlab.web.media_types import DICOM_JSON
from dicomlab.web.paging import Paging
from dicomlab.web.resources import (
    Resource,
    chunks_of_uids,
    include_parameters,
    match_parameters,
    query_text,
    veiled,
)
from dicomlab.web.servers import STANDARD, Server

_ACCEPT = f"{DICOM_JSON}, application/json;q=0.9"
_DECLINED = frozenset({400, 404, 405, 501})
"""What servers answer to a resource or a parameter that they don't have."""
_COUNTS = {
    "NumberOfPatientRelatedSeries": "NumberOfStudyRelatedSeries",
    "NumberOfPatientRelatedInstances": "NumberOfStudyRelatedInstances",
}


class _Declined(Exception):
    """The server does not search across parents."""


@dataclass(slots=True)
class Searcher:
    """Carries one query out. ``page`` is how many rows one request asks for."""

    http: Conversation
    verdict: Verdict
    page: int
    limit: int | None = None
    server: Server = STANDARD
    fuzzy: bool = False
    _whole: int = 0
    """The most rows of an answer after which the server was seen to have nothing more."""
    _granted: frozenset[str] = frozenset({"fuzzy"})
    """What the server grants of the options that were asked for, as long as it does not say otherwise."""
    splits: int = 0
    """Into how many spans a search was split."""

    def rows(self, query: Query) -> Iterator[Row]:
        """Give the matches of a query."""
        if query.level == "patient":
            yield from self._patients(query)
            return
        for single in query.single_valued(uid_lists=self.server.lists_of_uids):
            yield from self._level(single)

    def _level(self, query: Query) -> Iterator[Row]:
        if query.level == "study":
            yield from self._studies(query)
        elif query.level == "series":
            yield from self._series(query)
        else:
            yield from self._instances(query)

    # --- levels ------------------------------------------------------------------------------------------------------

    def _patients(self, query: Query) -> Iterator[Row]:
        """Web services search no patients: take them from their studies."""
        self.http.channel.note("patients are gathered from the studies (PS3.18 has no search for patients)")
        counted = tuple(column(name) for name in _COUNTS.values())
        wanted = tuple(c for c in query.columns if not c.name.startswith("NumberOfPatientRelated"))
        studies: dict[object, Row] = {}
        # each study is counted once, also where two values of a list match its patient
        keys = tuple(k for k in query.keys if not k.column.name.startswith("NumberOfPatientRelated"))
        below = Query("study", keys, (*wanted, *counted))
        for single in below.single_valued(uid_lists=True):
            for row in self._studies(single):
                studies.setdefault(tuple(row["StudyInstanceUID"]), row)
        patients: dict[str, list[Row]] = {}
        for row in studies.values():
            patients.setdefault(first(row, "PatientID"), []).append(row)
        for theirs in patients.values():
            counts: dict[str, Sequence[object]] = {"NumberOfPatientRelatedStudies": [len(theirs)]}
            for name, source in _COUNTS.items():
                numbers = [value for row in theirs for value in row[source] if isinstance(value, int)]
                counts[name] = [sum(numbers)] if len(numbers) == len(theirs) else []
            yield {**theirs[0], **counts}

    def _studies(self, query: Query, wanted: tuple[Column, ...] | None = None) -> Iterator[Row]:
        wanted = wanted or tuple(c for c in query.columns if c.level in (None, "patient", "study"))
        yield from self.search(Resource("search", "study"), query.matches_only(("patient", "study")), wanted)

    def _series(self, query: Query) -> Iterator[Row]:
        upper = self._beyond(query, ("patient", "study"))
        own = query.matches_only(("series",))
        wanted = tuple(c for c in query.columns if c.level in (None, "series") or c.name == "StudyInstanceUID")
        study = query.key("StudyInstanceUID")
        if not upper and not _given(study):
            try:
                yield from self._across(Resource("search", "series"), own, wanted, ("StudyInstanceUID",))
            except _Declined:
                upper = True
            else:
                return
        for parent in self._parents(query, from_studies=upper):
            resource = Resource("search", "series", str(parent["StudyInstanceUID"][0]))
            for row in self.below(resource, own, wanted):
                yield {**parent, **row}

    def _instances(self, query: Query) -> Iterator[Row]:
        upper = self._beyond(query, ("patient", "study"))
        middle = self._beyond(query, ("series",))
        own = query.matches_only(("instance",))
        levels = (None, "instance")
        wanted = tuple(c for c in query.columns if c.level in levels or c.name in _PARENTS)
        study, series = query.key("StudyInstanceUID"), query.key("SeriesInstanceUID")
        if not (upper or middle or _given(study) or _given(series)):
            try:
                yield from self._across(Resource("search", "instance"), own, wanted, _PARENTS)
            except _Declined:
                pass
            else:
                return
        one_study = _given(study) and study is not None and study.matching == "single"
        if one_study and _given(series) and series is not None and not upper and not middle and study is not None:
            for uid in series.values:
                resource = Resource("search", "instance", study.values[0], uid)
                yield from self._filled(resource, own, wanted, {})
            return
        if _given(study) and not upper and not middle and not _given(series) and study is not None:
            for uid in study.values:
                yield from self._instances_of_study(query, uid, own, wanted)
            return
        include = tuple(c for c in query.columns if c.level in ("patient", "study", "series"))
        keys = tuple(k for k in query.keys if k.column.level in ("patient", "study", "series"))
        for parent in self._series(Query("series", keys, include)):
            kept = {c.name: parent.get(c.name, ()) for c in include}
            resource = Resource(
                "search", "instance", str(parent["StudyInstanceUID"][0]), str(parent["SeriesInstanceUID"][0])
            )
            yield from self._filled(resource, own, wanted, kept)

    def _instances_of_study(
        self, query: Query, uid: str, own: Sequence[Key], wanted: Sequence[Column]
    ) -> Iterator[Row]:
        resource = Resource("search", "instance", uid)
        try:
            yield from self._across(resource, own, wanted, ("SeriesInstanceUID",))
        except _Declined:
            only = Query("series", (Key(column("StudyInstanceUID"), "single", (uid,)),))
            for parent in self._series(only):
                below = Resource("search", "instance", uid, str(parent["SeriesInstanceUID"][0]))
                yield from self._filled(below, own, wanted, {})

    def _beyond(self, query: Query, levels: tuple[Level, ...]) -> bool:
        """Whether something of those levels is matched or asked for beside their unique keys below the patient."""
        keys = {k.column.name for k in query.matches_only(levels) if k.column.level}
        shown = {c.name for c in query.columns if c.level in levels}
        return bool((keys | shown) - set(_PARENTS))

    def _parents(self, query: Query, *, from_studies: bool) -> Iterator[Row]:
        """The studies to go down from; searched for where more than their UIDs is matched or shown."""
        study = query.key("StudyInstanceUID")
        if not from_studies and study is not None:
            for uid in study.values:
                yield {"StudyInstanceUID": [uid]}
            return
        self.http.channel.note(f"{query.level} rows are searched study by study")
        keys = tuple(k for k in query.keys if k.column.level in ("patient", "study"))
        shown = [c for c in query.columns if c.level in ("patient", "study")]
        wanted = tuple(dict.fromkeys([column("StudyInstanceUID"), *shown]))
        yield from self._studies(Query("study", keys), wanted)

    def _filled(self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column], parent: Row) -> Iterator[Row]:
        """Search below one series, the columns of the levels above filled in."""
        above = {"StudyInstanceUID": [resource.study], "SeriesInstanceUID": [resource.series]}
        for row in self.below(resource, keys, wanted):
            yield {**parent, **row, **above}

    def below(self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column]) -> Iterator[Row]:
        """Search below a parent; a parent that the server does not have has nothing below it.

        Below a parent a list of unique keys is looked up here: one request, and no server need know lists.
        """
        unique = UNIQUE_KEY[resource.level]
        listed = next((k for k in keys if k.column.name == unique and k.matching == "list"), None)
        sent = [k for k in keys if k is not listed]
        among = None if listed is None else frozenset(listed.values)
        try:
            for row in self.search(resource, sent, wanted):
                if among is None or str(next(iter(row[unique]), "")) in among:
                    yield {**row, "StudyInstanceUID": [resource.study]}
        except ServiceError as error:
            if error.status not in (404, 410):
                raise

    def _across(
        self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column], needed: tuple[str, ...]
    ) -> Iterator[Row]:
        """Search across parents; raise ``_Declined`` where the server doesn't, before any row."""
        if not self.server.across and not resource.study:
            raise _Declined
        given = 0
        try:
            for row in self.search(resource, keys, wanted):
                filled = {**row, "StudyInstanceUID": [resource.study]} if resource.study else row
                if not all(filled.get(name) for name in needed):
                    if given:
                        raise RemoteProtocolError(
                            f"a row of {resource.path} names no {' and no '.join(needed)}", section="PS3.18 §10.6.3.3"
                        )
                    break
                given += 1
                yield filled
            else:
                return
        except ServiceError as error:
            if given or error.status not in _DECLINED:
                raise
        self.http.channel.note(f"the server does not search {resource.path}; going down from the studies")
        raise _Declined

    # --- one resource ------------------------------------------------------------------------------------------------

    def search(self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column]) -> Iterator[Row]:
        """Search one resource; long lists of UIDs become several requests."""
        lists = [k for k in keys if k.matching == "list"]
        if not lists:
            yield from self._matched(resource, keys, wanted)
            return
        longest = max(lists, key=lambda k: len(k.values))
        rest = [k for k in keys if k is not longest]
        for part in chunks_of_uids(longest.values):
            one = replace(longest, matching="list" if len(part) > 1 else "single", values=part)
            found = 0
            try:
                for row in self._matched(resource, [*rest, one], wanted):
                    found += 1
                    yield row
            except ServiceError as error:
                if found or error.status != 400 or len(part) == 1:
                    raise
            if not found and len(part) > 1:
                self.http.channel.note("nothing for a list of UIDs, which not every server knows; one by one")
                for uid in part:
                    single = replace(longest, matching="single", values=(uid,))
                    yield from self._matched(resource, [*rest, single], wanted)

    def _matched(self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column]) -> Iterator[Row]:
        """Search with these keys; where characters had to be encoded and nothing matched, with wild cards instead.

        What the server is known not to match is matched here.
        """
        here = [k for k in keys if self._is_for_us(k)]
        if here:
            self._note(f"matched here, not by a {self.server.name} server: {', '.join(k.column.name for k in here)}")
        hidden = [k for k in keys if k not in here and veiled(k) is not k]
        found = False
        if not hidden or self.server.decodes_values:
            sent = [k for k in keys if k not in here]
            for row in self.pages(resource, sent, _with(wanted, here)):
                found = True
                if _all_match(here, row):
                    yield row
        if found or not hidden:
            return
        self._note(
            f"{', '.join(k.column.name for k in hidden)}: some servers don't decode percent-encoded values;"
            " ask with '?' in their place and keep what matches"
        )
        sent = [veiled(k) for k in keys if k not in here]
        for row in self.pages(resource, sent, _with(wanted, [*here, *hidden])):
            if _all_match([*here, *hidden], row):
                yield row

    def _is_for_us(self, key: Key) -> bool:
        """Whether the server is known to refuse or ignore a key."""
        return key.column.name in self.server.refused_keys or (
            key.matching == "wildcard" and not self.server.wild_cards
        )

    def _note(self, text: str) -> None:
        self.http.channel.note(text)

    def pages(self, resource: Resource, keys: Sequence[Key], wanted: Sequence[Column]) -> Iterator[Row]:
        """Ask page by page until the server has nothing new; say so where it can't be had whole."""
        uid = UNIQUE_KEY[resource.level]
        asked = {k.column.name: frozenset(k.values) for k in keys if k.column.name in UNIQUE_KEY.values() and _given(k)}
        read = tuple(dict.fromkeys([*wanted, STUDY_DATE])) if resource.level == "study" else wanted
        dates: list[object] = []
        offered = [c for c in wanted if c.name not in self.server.refused_columns]
        fixed = match_parameters(keys) + include_parameters(offered, resource.level)
        if self.fuzzy and any(k.column.vr == "PN" for k in keys):
            fixed.append(("fuzzymatching", "true"))
            self.verdict.granted = self._granted
        page = self.page if self.limit is None else min(self.page, self.limit + 1)
        page = min(page, self.server.most_rows or page)
        paging = Paging(page, whole=self._whole, most=self.server.most_matches)
        while paging.offset is not None and not self.http.control.cancelled:
            offset = [("offset", str(paging.offset))] if paging.offset else []
            parameters = query_text([*fixed, ("limit", str(page)), *offset])
            try:
                found, more = self._ask(f"{resource.path}?{parameters}", read)
            except ServiceError as error:
                if not paging.received or error.status not in _DECLINED:
                    raise
                paging.declined(str(error.status))
                break
            identities = [str(row[uid][0]) if row[uid] and row[uid][0] is not None else "" for row in found]
            for at in paging.take(identities, more=more):
                row = found[at]
                dates += row.get(STUDY_DATE.name, ())
                if all(not row[name] or str(row[name][0]) in uids for name, uids in asked.items() if name in row):
                    yield row
        self._whole = max(self._whole, paging.whole)
        if paging.note:
            self.verdict.cut(paging.note)
        for remark in paging.remarks:
            self._note(f"{resource.path}: {remark}")
        if paging.received and paging.received % ROUND == 0 and not (paging.note or self.http.control.cancelled):
            yield from kept_back(self, Question(resource, keys, wanted), set(paging.seen), dates)

    def _ask(self, path: str, wanted: Sequence[Column]) -> tuple[list[dict[str, Sequence[object]]], bool]:
        """Make one request: the rows, and whether the server says that there are more."""
        with self.http.request("GET", path, accept=_ACCEPT) as answer:
            if answer.status not in (200, 204, 206):
                answer.refuse()
            warning = answer.headers.get("Warning", "")
            if warning:
                self._note(f"the server warns: {visible(warning)}")
                if "fuzzy" in warning.lower():
                    self._granted = self.verdict.granted = frozenset()
            if answer.status == 204:
                return [], False
            body = json_body(answer)
            more = answer.status == 206 or (warning.startswith("299") and "additional" in warning.lower())
        return rows(body, wanted) if body.strip() else [], more


def _with(wanted: Sequence[Column], keys: Sequence[Key]) -> tuple[Column, ...]:
    return tuple(dict.fromkeys([*wanted, *(k.column for k in keys)]))


def _all_match(keys: Sequence[Key], row: Row) -> bool:
    return all(matches(k, row[k.column.name]) for k in keys)


_PARENTS = ("StudyInstanceUID", "SeriesInstanceUID")


def _given(key: Key | None) -> bool:
    return key is not None and key.matching in ("single", "list")


def json_body(answer: Answer) -> bytes:
    """The body of an answer that must be JSON.

    Raises
    ------
    RemoteProtocolError
        It is something else: a log-in page, a web site, a multipart.
    """
    kind = answer.media_type
    if kind is not None and kind.name not in (DICOM_JSON, "application/json", "application/octet-stream", "text/json"):
        text = answer.start_of_body()[:80].decode("utf-8", "replace")
        if kind.name == "text/html":
            raise Refused(
                "a web page came where an answer to a search was due; is the base URL right, or is a log-in wanted?",
                endpoint=answer.url,
            )
        raise RemoteProtocolError(
            f"an answer of type {kind.name} where {DICOM_JSON} was due; it begins {visible(text)}",
            section="PS3.18 §8.7.2",
        )
    return answer.read(MAX_JSON)
