"""STOW-RS: instances to a server, batch by batch, and what became of each by what the server says of it."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from dicomlab.errors import DicomlabError, Interrupted, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import column
from dicomlab.model.path import Verdict
from dicomlab.model.query import Key
from dicomlab.model.report import Outcome, Report
from dicomlab.part10.files import SUCCESS, Parcel, Unfit, parcels
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from dicomlab.web.datasets import NOT_ALLOWED, SERIES, STUDY, series_of, to_explicit_le, uids_of
from dicomlab.web.finer import count_of
from dicomlab.web.http import MAX_JSON, Answer, Conversation, Site
from dicomlab.web.media_types import DICOM, DICOM_JSON, RELATED, MediaType
from dicomlab.web.multipart import closing, new_boundary, part_head
from dicomlab.web.resources import Resource
from dicomlab.web.search import Searcher
from dicomlab.web.store_answer import StoreAnswer, parse_store_answer, words
from dicomlab.web.streams import Streams

BATCH_INSTANCES = 25
BATCH_OCTETS = 16 << 20
"""Where data sets are given, and no files, so much is in memory for each stream, and twice more for what waits."""
PAGE = 1000
"""Rows that one request of a search asks for."""
_UID = column("SOPInstanceUID")
_NO_SERVICE = frozenset({404, 405, 501})
_TRANSCODED = "sent in Explicit VR Little Endian: web services don't carry the stored one (PS3.18 §8.7.3)"


_Series = tuple[str, str]
"""Study and Series Instance UID; ``""`` where they can't be read."""


@dataclass(frozen=True, slots=True)
class _Item:
    """One instance as it is sent."""

    at: int
    """Its place in what was given."""
    parcel: Parcel
    series: _Series
    remark: str = ""

    @property
    def uid(self) -> str:
        return self.parcel.meta.sop_instance_uid


def _series_of(one: Parcel) -> _Series:
    try:
        with one.dataset() as octets:
            return series_of(octets, one.meta.transfer_syntax_uid)
    except (DicomlabError, OSError):  # it may be sent all the same: where it will lie is all that is not known
        return "", ""


def _count(http: Conversation, series: _Series) -> int | None:
    return count_of(Searcher(http, Verdict(), page=2), "instance", *series)


class _Unreadable(Exception):
    """One instance could not be read to its end while it was sent."""

    def __init__(self, item: _Item, reason: str) -> None:
        super().__init__(reason)
        self.item, self.reason = item, reason


class _Body:
    """The body of one request: sized, and given anew each time that it is iterated."""

    def __init__(self, items: Sequence[_Item], boundary: str) -> None:
        self._items, self._boundary = items, boundary
        self._sizes = [item.parcel.size for item in items]
        self._length = sum(len(self._head(at)) + size for at, size in enumerate(self._sizes)) + len(closing(boundary))

    def _head(self, at: int) -> bytes:
        headers = {"Content-Type": DICOM, "Content-Length": str(self._sizes[at])}
        return part_head(self._boundary, headers, first=at == 0)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        for at, item in enumerate(self._items):
            yield self._head(at)
            try:
                yield from item.parcel.pieces(self._sizes[at])
            except (ServiceError, OSError) as error:
                raise _Unreadable(item, str(error)) from error
        yield closing(self._boundary)


class Storer:
    """Stores instances, with several requests under way at once.

    Parameters
    ----------
    site : Site
    http : Conversation
        What searches go over.
    streams : int
    title : str
        Of the report.
    """

    def __init__(self, site: Site, http: Conversation, streams: int, title: str) -> None:
        self._site, self._http, self._streams, self._title = site, http, streams, title
        self._control = http.control
        self._lock = threading.Lock()
        self._outcomes: dict[int, Outcome] = {}
        """By the place of what was given."""
        self._named: dict[_Series, set[str]] = defaultdict(set)
        """Series to the instances that an answer names as stored."""
        self._new: set[_Series] = set()
        """Series of which the server had nothing before."""
        self._looked_for: set[_Series] = set()

    def store(self, what: Any) -> Report:
        """Send everything in batches; what can't be sent is reported and stops nothing."""
        with self._partial():
            Streams(self._site, self._control, self._send, self._streams, break_off=False).run(self._batches(what))
            if not self._control.cancelled:
                self._confirm()
        return self._report("cancelled" if self._control.cancelled else "")

    @contextmanager
    def _partial(self) -> Iterator[None]:
        try:
            yield
        except DicomlabError as error:
            if not (self._control.cancelled and isinstance(error, Interrupted)):
                error.partial = self._report(str(error))
                error.trace = error.trace or self._http.channel.trace
                raise

    def _confirm(self) -> None:
        """Look for what the answers name as stored: one search for each series. Without a search they are believed.

        Where the server had nothing of a series before and now counts as many instances as the answers name, that is
        all of them; else each is looked for by its UID.
        """
        unseen: set[str] = set()

        def look(http: Conversation, series: _Series) -> None:
            missing = self._missing(http, series)
            with self._lock:
                unseen.update(missing)

        try:
            streams = min(self._streams, len(self._named)) or 1
            Streams(self._site, self._control, look, streams, break_off=True).run(self._named)
        except DicomlabError as error:
            self._http.channel.note(f"what was stored can't be looked for: {error}")
        text = "the answer names it as stored, a search does not find it"
        for at, one in self._outcomes.items():
            if one.sop_instance_uid in unseen:
                self._outcomes[at] = replace(one, result="pending", status=f"{one.status}; {text}")

    def _missing(self, http: Conversation, series: _Series) -> set[str]:
        """What the answers name of a series and a whole search of it does not."""
        missing = set(self._named[series])
        if series in self._new and _count(http, series) == len(missing):
            return set()
        verdict = Verdict()
        resource = Resource("search", "instance", *series)
        for row in Searcher(http, verdict, page=PAGE).search(resource, (), (_UID,)):
            missing -= {str(uid) for uid in row["SOPInstanceUID"]}
            if not missing:
                break
        return missing if verdict.complete and not self._control.cancelled else set()

    def _look_before(self, batch: Sequence[_Item]) -> None:
        """See whether the server has something of a series that comes in whole batches."""
        series = batch[0].series
        if len(batch) < BATCH_INSTANCES or series in self._looked_for or any(one.series != series for one in batch):
            return
        self._looked_for.add(series)
        try:
            if all(series) and _count(self._http, series) == 0:
                self._new.add(series)
        except DicomlabError as error:
            self._http.channel.note(f"what is there of a series can't be looked for: {error}")

    def _report(self, note: str) -> Report:
        outcomes = tuple(self._outcomes[at] for at in sorted(self._outcomes))
        failed = sum(o.result == "failed" for o in outcomes)
        unsure = sum(o.result == "pending" for o in outcomes)
        note = note or (f"{failed} instances were not stored" if failed else "")
        note = note or (f"{unsure} instances are not found by a search" if unsure else "")
        return Report(self._title, outcomes, not note, note, trace=self._http.channel.trace)

    def _keep(self, at: int, outcome: Outcome) -> None:
        with self._lock:
            self._outcomes[at] = outcome
        failed = outcome.result == "failed"
        self._control.advance(int(not failed), failed=int(failed), octets=0 if failed else outcome.octets)

    # --- what is sent ------------------------------------------------------------------------------------------------

    def _batches(self, what: Any) -> Iterator[list[_Item]]:
        batch: list[_Item] = []
        octets = 0
        for at, one in enumerate(parcels(what)):
            item = self._item(at, one)
            if item is None:
                continue
            try:
                size = item.parcel.size
            except OSError as error:  # gone since it was looked at
                self._keep(at, Outcome(item.uid, "failed", f"can't be read: {error.strerror or error}"))
                continue
            again = any(item.uid == other.uid for other in batch)  # an answer names instances, not parts
            if batch and (again or len(batch) == BATCH_INSTANCES or octets + size > BATCH_OCTETS):
                self._look_before(batch)
                yield batch
                batch, octets = [], 0
            batch.append(item)
            octets += size
        if batch:
            yield batch

    def _item(self, at: int, one: Parcel | Unfit) -> _Item | None:
        if isinstance(one, Unfit):
            self._keep(at, Outcome("", "failed", f"{one.name}: {one.reason}"))
            return None
        item = _Item(at, one, _series_of(one))
        if one.meta.transfer_syntax_uid not in NOT_ALLOWED:
            return item
        try:
            with one.open() as octets:
                written = to_explicit_le(octets)
            meta = decode_file_meta(written, final=True)
        except RemoteProtocolError as error:
            self._keep(at, self._outcome(item, "failed", str(error)))
            return None
        return _Item(at, Parcel(meta, one.name, None, written), item.series, _TRANSCODED)

    # --- requests ----------------------------------------------------------------------------------------------------

    def _send(self, http: Conversation, batch: Sequence[_Item]) -> None:
        try:
            answer, status = self._post(http, batch)
        except _Unreadable as error:
            bad = error.item
            self._keep(bad.at, Outcome(bad.uid, "failed", f"{bad.parcel.name}: can't be read: {error.reason}"))
            if rest := [item for item in batch if item is not bad]:
                self._send(http, rest)
            return
        except (Refused, ServiceError, Interrupted) as error:
            for item in batch:
                self._keep(item.at, self._outcome(item, "failed", f"broken off: {error}"))
            raise
        if status.startswith("413") and len(batch) > 1:
            http.channel.note(f"{len(batch)} instances are too much for one request; in halves")
            self._send(http, batch[: len(batch) // 2])
            if not self._control.cancelled:
                self._send(http, batch[len(batch) // 2 :])
            return
        for item in batch:
            self._keep(item.at, self._judged(http, item, answer, status))

    def _post(self, http: Conversation, batch: Sequence[_Item]) -> tuple[StoreAnswer, str]:
        """Send one request; once more where the connection broke off, since storing twice stores once."""
        for again in (True, False):
            boundary = new_boundary()
            kind = str(MediaType(RELATED, {"type": DICOM, "boundary": boundary}))
            try:
                with http.request(
                    "POST", "/studies", accept=DICOM_JSON, body=_Body(batch, boundary), content_type=kind,
                    repeatable=True,
                ) as answer:  # fmt: skip
                    return self._read(http, answer)
            except Interrupted as error:
                if not again or self._control.cancelled:
                    raise
                http.channel.note(f"{error}; sending the batch once more")
        raise AssertionError("unreachable")

    def _read(self, http: Conversation, answer: Answer) -> tuple[StoreAnswer, str]:
        status = answer.status
        if status in _NO_SERVICE or status in (401, 403, 415):
            answer.refuse()
        kind = answer.media_type
        line = answer.status_line
        body = answer.read(MAX_JSON) if status in (200, 202) else answer.start_of_body(MAX_JSON)
        if kind is None or "json" in kind.name:
            try:
                return parse_store_answer(body), line
            except RemoteProtocolError:
                http.channel.note(f"{line}: the answer to the store request tells nothing")
        return StoreAnswer(), line

    def _judged(self, http: Conversation, item: _Item, answer: StoreAnswer, status: str) -> Outcome:
        """Stored is what was sent and is referenced in the answer, whatever the status line says."""
        if item.uid in answer.stored:
            warning = answer.stored[item.uid]
            if all(item.series):
                with self._lock:
                    self._named[item.series].add(item.uid)
            result = "done" if warning is None else "warning"
            return self._outcome(item, result, SUCCESS if warning is None else words(warning))
        if item.uid in answer.failed:
            return self._outcome(item, "failed", words(answer.failed[item.uid].reason))
        if self._found(http, item):
            return self._outcome(item, "done", f"{SUCCESS}, by a search: the answer ({status}) does not name it")
        reason = f"; {words(answer.others[0].reason)}" if answer.others else ""
        return self._outcome(
            item, "failed", f"{status}{reason}: the answer does not name it, nor does a search find it"
        )

    def _found(self, http: Conversation, item: _Item) -> bool:
        """Ask whether the server has an instance of which its answer said nothing."""
        try:
            with item.parcel.dataset() as octets:
                uids = uids_of(octets, item.parcel.meta.transfer_syntax_uid)
            if STUDY not in uids or SERIES not in uids:
                return False
            key = Key(column("SOPInstanceUID"), "single", (item.uid,))
            resource = Resource("search", "instance", uids[STUDY], uids[SERIES])
            searcher = Searcher(http, Verdict(), page=2)
            return any(True for _ in searcher.below(resource, (key,), (column("SOPInstanceUID"),)))
        except DicomlabError as error:
            http.channel.note(f"the search for a stored instance failed: {error}")
            return False

    def _outcome(self, item: _Item, result: Any, status: str) -> Outcome:
        meta = item.parcel.meta
        syntax = EXPLICIT_LE if item.remark else meta.transfer_syntax_uid
        text = f"{status}; {item.remark}" if item.remark else status
        return Outcome(meta.sop_instance_uid, result, text, meta.sop_class_uid, syntax, item.parcel.dataset_size)
