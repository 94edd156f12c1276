"""The archive's store: files as received, written atomically, with an index. Both doors stand on it."""

from __future__ import annotations

import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dicomlab.archive.index import INDEXED, Entry, Index
from dicomlab.errors import DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.media.header import read_row
from dicomlab.model.columns import LEVELS, UNIQUE_KEY, Column, Level
from dicomlab.model.matching import COMPUTED, Row, answers, order, rows_at_level
from dicomlab.model.protocols import Arrival, Held, Octets
from dicomlab.model.query import Query
from dicomlab.model.report import Outcome
from dicomlab.model.values import uid_like
from dicomlab.part10.files import FileWriter, Parcel, Unfit, parcel_of_file, read_file_meta, sha256_of_dataset
from dicomlab.part10.medium import medium_errors, synced
from dicomlab.part10.meta import DEFLATED_LE
from dicomlab.part10.walk import elements

_log = logging.getLogger(__name__)
_PIXELS = 0x7FE00000
_HEADER_CAP = 16 << 20
"""Octets of header that are read for the index, however large the data set is."""
_SYNCS_AT_ONCE = 8

CANNOT_UNDERSTAND = 0xC000
DATA_SET_MISMATCH = 0xA900
DUPLICATE_INSTANCE = 0x0111

OnStore = Callable[[Held], None]


@dataclass(frozen=True, slots=True)
class Arrived:
    """An instance that was stored just now: from whom (an AE title, an address, ``"add"``), what its header says."""

    held: Held
    source: str
    header: Row


class Store:
    """Files in a folder and their index. Satisfies ``Holdings``; thread-safe.

    A file is in the folder, whole and under its name, before it is in the index; what a crash leaves between the two
    is indexed the next time the store is opened. What a loss of power has cut short is not held any more; what was
    made :meth:`secure` before is not cut short.
    """

    def __init__(self, folder: Path, on_store: OnStore | None = None) -> None:
        self.folder = folder
        self.instances = folder / "instances"
        self._incoming = folder / "incoming"
        self._on_store = on_store
        self._watchers: tuple[Callable[[Arrived], None], ...] = ()
        self._lock = threading.Lock()
        with medium_errors(folder):
            self.instances.mkdir(parents=True, exist_ok=True)
            self._incoming.mkdir(exist_ok=True)
        self.index = Index(folder / "index.sqlite", self.instances)
        self._recover()

    def watch(self, take: Callable[[Arrived], None]) -> Callable[[], None]:
        """Have `take` called with each instance stored, in the thread that stored it; the result ends it."""

        def watcher(arrived: Arrived) -> None:
            take(arrived)

        def end() -> None:
            self._watchers = tuple(one for one in self._watchers if one is not watcher)

        self._watchers = (*self._watchers, watcher)
        return end

    def close(self) -> None:
        """Close the index."""
        self.index.close()

    def _recover(self) -> None:
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)
        sizes = self.index.sizes()
        there = {
            path.relative_to(self.instances).as_posix(): path.stat().st_size for path in self.instances.rglob("*.dcm")
        }
        known = {relative for relative, size in sizes.items() if there.get(relative) == size}
        for relative in sizes.keys() - known:
            self.index.forget(relative)
        for relative in sorted(there.keys() - known):
            path = self.instances / relative
            parcel = parcel_of_file(path)
            if isinstance(parcel, Parcel):
                with suppress(ServiceError):  # somebody else's file: it stays where it is, unindexed
                    self.index.add(_entry(parcel, path, sha256_of_dataset(path)))

    # --- in --------------------------------------------------------------------------------------------------------

    def sink(self, source: str) -> StoreSink:
        """Where what `source` sends is stored."""
        return StoreSink(self, source)

    def admit(self, path: Path, arrival: Arrival, outcome: Outcome, source: str = "") -> Outcome:
        """Take a whole file, which came from `source`, from the incoming folder into the store.

        Raises
        ------
        ServiceError
            It can't be understood (C000H), is not the instance it was said to be (A900H), or another data set lies
            under its UID (0111H).
        """
        parcel = parcel_of_file(path)
        if isinstance(parcel, Unfit):
            raise ServiceError(f"cannot understand: {parcel.reason}", status=CANNOT_UNDERSTAND)
        entry = _entry(parcel, path, outcome.sha256)
        if entry.held.sop_instance_uid != arrival.sop_instance_uid or entry.held.sop_class_uid != arrival.sop_class_uid:
            raise ServiceError("the data set is not the instance it was announced as", status=DATA_SET_MISMATCH)
        with self._lock, medium_errors(self.folder):
            before = self.index.get(arrival.sop_instance_uid)
            if before is not None and not _is_whole(before.held):
                before = None  # what lies there is no longer what was stored: it comes anew
            if before is not None and before.sha256 != outcome.sha256:
                raise ServiceError(
                    "another data set is stored under this SOP Instance UID; it is kept", status=DUPLICATE_INSTANCE
                )
            if before is None:
                final = self._place(arrival.sop_instance_uid)
                final.parent.mkdir(exist_ok=True)
                path.replace(final)
                entry = replace(entry, held=replace(entry.held, path=final))
                self.index.add(entry)
                before = entry
        if before is entry:
            self._tell(Arrived(entry.held, source, entry.header))
        return Outcome(
            arrival.sop_instance_uid,
            "done",
            outcome.status,
            arrival.sop_class_uid,
            arrival.transfer_syntax_uid,
            outcome.octets,
            before.held.path.relative_to(self.folder).as_posix(),
            outcome.sha256,
        )

    def remove(self, held: Held) -> None:
        """Delete a stored instance; one that is gone already is no error."""
        with self._lock, medium_errors(self.folder):
            held.path.unlink(missing_ok=True)
            self.index.forget(held.path.relative_to(self.instances).as_posix())

    def secure(self, held: Sequence[Held]) -> list[Held]:
        """Put instances on the medium, where no loss of power takes them; give those of which that is sure.

        What is there already costs nothing to speak of; several at a time share the turns of the medium.
        """

        def is_synced(path: Path) -> bool:
            try:
                synced(path)
            except OSError as error:
                _log.error("can't be put on the medium: %s: %s", path, error)
                return False
            return True

        if not held:
            return []
        folders = [*dict.fromkeys(one.path.parent for one in held), self.instances, self.folder]
        with ThreadPoolExecutor(_SYNCS_AT_ONCE) as several:
            files = list(several.map(is_synced, [one.path for one in held]))
            named = dict(zip(folders, several.map(is_synced, folders), strict=True))
        above = named[self.instances] and named[self.folder]
        return [one for one, whole in zip(held, files, strict=True) if whole and above and named[one.path.parent]]

    def _place(self, sop_instance_uid: str) -> Path:
        """Name files by a digest, so that no UID of a peer ever names a path."""
        digest = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:16]
        return self.instances / digest[:2] / f"{digest}.dcm"

    def _tell(self, arrived: Arrived) -> None:
        try:
            for watcher in self._watchers:
                watcher(arrived)
            if self._on_store is not None:
                self._on_store(arrived.held)
        except Exception:  # noqa: BLE001  (the user's own callback; the instance is stored whatever it does)
            _log.exception("on_store failed for %s", arrived.held.sop_instance_uid)

    # --- out -------------------------------------------------------------------------------------------------------

    def select(self, level: Level, uids: Sequence[str]) -> list[Held]:
        """Give the stored instances below those unique keys, in the order that all paths share."""
        entries = self.index.select({level: uids})
        entries.sort(key=lambda entry: order(entry.header))
        return [entry.held for entry in entries]

    def search(self, query: Query) -> Iterator[Row]:
        """Give the matches of a query as raw values, in the order that all paths share."""
        entries = self.index.select(_narrowed(query))
        beyond = [c for c in query.columns if c not in INDEXED and c.name not in COMPUTED]
        for row in rows_at_level(query.level, [self._row(entry, beyond) for entry in entries]):
            if answers(query.keys, row):
                yield row

    def _row(self, entry: Entry, beyond: Sequence[Column]) -> Row:
        if not beyond:
            return entry.header
        path = entry.held.path
        try:
            return {**entry.header, **read_row(_header(Parcel(read_file_meta(path), "", path)), tuple(beyond))}
        except (DicomlabError, OSError):  # gone or broken since: it still stands in the index as it was
            return entry.header


def _is_whole(held: Held) -> bool:
    try:
        return held.path.stat().st_size == held.size
    except OSError:
        return False


def _narrowed(query: Query) -> dict[Level, Sequence[str]]:
    """The unique keys that narrow what is looked at; never so far that a count would miss something."""
    counted = [LEVELS.index(c.level) for c in query.columns if c.name in COMPUTED and c.level is not None]
    narrow: dict[Level, Sequence[str]] = {}
    for level in LEVELS[: min(counted, default=len(LEVELS)) + 1]:
        key = query.key(UNIQUE_KEY[level])
        if key is not None and key.matching in ("single", "list"):
            narrow[level] = key.values
    return narrow


def _header(parcel: Parcel) -> bytes:
    """The octets of a file up to its pixel data."""
    with parcel.open() as view:
        end = len(view)
        if parcel.meta.transfer_syntax_uid != DEFLATED_LE:
            with view[parcel.meta.length :] as octets:
                for element in elements(octets, parcel.meta.transfer_syntax_uid):
                    if element.tag >= _PIXELS or element.end > _HEADER_CAP:
                        end = parcel.meta.length + element.offset
                        break
        return bytes(view[:end])


def _entry(parcel: Parcel, path: Path, sha256: str) -> Entry:
    try:
        header = read_row(_header(parcel), INDEXED)
    except RemoteProtocolError as error:
        raise ServiceError(f"cannot understand: {error}", status=CANNOT_UNDERSTAND) from error
    study, series, instance, sop_class, patient = (
        str(next(iter(header.get(name, ())), "") or "")
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "PatientID")
    )
    for name, uid in (("Study", study), ("Series", series), ("SOP", instance)):
        if not uid_like(uid):
            raise ServiceError(f"cannot understand: {name} Instance UID is {uid[:64]!r}", status=CANNOT_UNDERSTAND)
    meta = parcel.meta
    syntax = meta.transfer_syntax_uid
    held = Held(path, study, series, instance, sop_class, syntax, meta.length, path.stat().st_size)
    return Entry(held, patient, sha256, {name: list(raws) for name, raws in header.items()})


class StoreSink:
    """Where one sender's instances arrive. Satisfies ``Sink``."""

    def __init__(self, store: Store, source: str) -> None:
        self._store, self._source = store, source

    def begin(self, arrival: Arrival) -> _Writer:
        """Make room for one instance."""
        if not uid_like(arrival.sop_instance_uid):
            raise ServiceError("the SOP Instance UID is no UID (digits and dots, at most 64)", status=CANNOT_UNDERSTAND)
        path = self._store._incoming / f"{secrets.token_hex(8)}.dcm"
        return _Writer(FileWriter(path, arrival, digest=True), self._store, self._source)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Nothing to do: what did not arrive is not here."""


class _Writer:
    """Takes one instance into the store when it is whole."""

    def __init__(self, writer: FileWriter, store: Store, source: str) -> None:
        self._writer, self._store, self._source = writer, store, source

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._writer.write(octets)

    def finish(self) -> Outcome:
        """Check it, take it into the store, and say where it lies."""
        outcome = self._writer.finish()
        try:
            return self._store.admit(self._writer.path, self._writer.arrival, outcome, self._source)
        finally:
            self._writer.path.unlink(missing_ok=True)

    def abandon(self) -> None:
        """Leave no trace of it."""
        self._writer.abandon()
