"""Looking at some hundreds of files at once, here or in another process: names in, columns of text out.

What comes back is lists of plain text and numbers, one for each column, so that it crosses to another process, or
another machine, as cheaply as can be.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.cells import Cells, plan_of
from dicomlab.media.containers import Container, UnfitMember, container_in, members_of
from dicomlab.media.listing import Entry, Unlisted, reason
from dicomlab.media.look import DIRECTORY, META_KEYWORDS, Looked, kind_of, look, missing_uids
from dicomlab.media.walker import EXPLICIT, HEAD_OCTETS, Plan, Read, Walked, walk
from dicomlab.model.columns import Column, columns

FACTS = (
    "path", "size", "mtime_ns", "member", "octets", "padding", "kind", "offset", "message", "notes", "meta_length",
    "pixel_offset", "pixel_length",
)  # fmt: skip
"""What every row says beside its attributes.

``path`` is relative to the root; ``size`` and ``mtime_ns`` are those of that file when it was listed; the time is
negative where it is too recent for the next scan to go by. ``member`` is the
name inside an archive, else None. ``octets`` counts the whole Part 10 file without ``padding``. ``kind`` is ``""`` for
an instance, ``"directory"`` for a DICOMDIR, else an error kind, with its ``message`` and ``offset``.
"""

REQUIRED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")

Batch = dict[str, list[Any]]
"""Column to values, all of one length."""

FILE_TIMEOUT_S = 30.0
"""Seconds after which a file, or a member of an archive, is given up that is not read to its end."""

_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # what became a pipe since it was listed makes nobody wait
    | getattr(os, "O_NOFOLLOW", 0)
)


class _Asked(NamedTuple):
    """The columns of a scan, made ready once for each process."""

    columns: tuple[Column, ...]
    plan: Plan
    cells: Cells
    required: tuple[int, ...]
    meta: tuple[Column, ...]
    """Of the File Meta Information, beside what is always kept of it."""
    meta_plan: Plan
    meta_cells: Cells


@lru_cache(maxsize=8)
def _asked(names: tuple[str, ...], whole: bool) -> _Asked:
    others = columns(name for name in names if name not in META_KEYWORDS)
    meta = tuple(one for one in others if one.tag >> 16 == 0x0002)
    wanted = tuple(one for one in others if one not in meta)
    plan, meta_plan = plan_of(wanted), plan_of(meta)
    required = tuple(plan.tags.index(one.tag) for one in columns(REQUIRED)) if whole else ()
    return _Asked(wanted, plan, Cells(wanted, plan), required, meta, meta_plan, Cells(meta, meta_plan))


class Rows:
    """Gathers what was found, row by row, and gives it column by column."""

    def __init__(self, names: tuple[str, ...], *, whole: bool = True) -> None:
        self._names = names
        self._asked = _asked(names, whole)
        self._facts: list[tuple[object, ...]] = []
        self._looked: list[Looked] = []
        self._metas: list[Walked] = []

    @property
    def plan(self) -> Plan:
        """What is wanted of each file."""
        return self._asked.plan

    def look(self, read: Read, entry: Entry, member: str | None, size: int, head: bytes) -> None:
        """Add a row for the octets of one file or member."""
        looked = look(read, size, self._asked.plan, head, self._asked.required)
        end = looked.walked.end or size
        self._facts.append((*entry, member, end, size - end))
        self._looked.append(looked)
        if self._asked.meta:
            self._metas.append(self._meta_of(read, head, looked.meta_length))

    def _meta_of(self, read: Read, head: bytes, length: int) -> Walked:
        """More of the File Meta Information than is always kept."""
        found = Walked(self._asked.meta_plan.blank.copy())
        start = 132 if head[128:132] == b"DICM" else 0
        with suppress(RemoteProtocolError):  # what is there before it breaks
            if length:
                walk(found, read, (start, length), EXPLICIT, self._asked.meta_plan)
        return found

    @property
    def failed(self) -> bool:
        """Whether the last row is an error."""
        return self._looked[-1].kind not in ("", DIRECTORY)

    def forget(self) -> None:
        """Take the last row back."""
        for rows in (self._looked, self._facts, self._metas):
            if rows:
                rows.pop()

    def fail(self, entry: Entry, member: str | None, size: int, kind: Any, message: str) -> None:
        """Add a row for what can't be read at all."""
        looked = Looked()
        looked.walked.values = self._asked.plan.blank
        self._facts.append((*entry, member, size, 0))
        self._looked.append(looked.fail(kind, message))
        if self._asked.meta:
            self._metas.append(Walked(self._asked.meta_plan.blank))

    def batch(self) -> Batch:
        """All rows, column by column."""
        looked = self._looked
        batch: Batch = {name: [facts[place] for facts in self._facts] for place, name in enumerate(FACTS[:6])}
        texts, doubtful, broken = self._asked.cells.texts([(one.grammar, one.walked) for one in looked])
        for number, error in broken.items():
            if not looked[number].kind:
                looked[number].fail(kind_of(error), str(error), -1 if error.offset is None else error.offset)
        for number in doubtful:
            looked[number].notes.append("encoding: text that is none in the character set of the data set")
        self._check(texts)
        batch["kind"] = [one.kind for one in looked]
        batch["offset"] = [one.offset for one in looked]
        batch["message"] = [one.message for one in looked]
        batch["meta_length"] = [one.meta_length for one in looked]
        batch["pixel_offset"] = [one.walked.pixel_offset for one in looked]
        batch["pixel_length"] = [one.walked.pixel_length for one in looked]
        for place, name in enumerate(META_KEYWORDS):
            batch[name] = _meta_texts([one.meta[place] for one in looked])
        batch |= {one.name: column for one, column in zip(self._asked.columns, texts, strict=True)}
        if self._asked.meta:
            metas, *_ = self._asked.meta_cells.texts([(EXPLICIT, walked) for walked in self._metas])
            batch |= {one.name: column for one, column in zip(self._asked.meta, metas, strict=True)}
        batch["notes"] = self._notes(batch)
        return batch

    def _check(self, texts: Sequence[Sequence[str | None]]) -> None:
        """A required value may be there and yet be nothing but padding."""
        asked = self._asked
        if not asked.required:
            return
        places = [next(n for n, one in enumerate(asked.columns) if one.name == name) for name in REQUIRED]
        for one, uids in zip(self._looked, zip(*(texts[place] for place in places), strict=True), strict=True):
            if not one.kind and not all(uids):
                values = dict(zip(asked.required, uids, strict=True))
                one.fail("missing_uid", missing_uids(asked.plan, values, asked.required))

    def _notes(self, batch: Batch) -> list[str]:
        notes = ["\n".join(one.notes) for one in self._looked]
        if self._asked.required:
            pairs = zip(batch["MediaStorageSOPInstanceUID"], batch["SOPInstanceUID"], batch["kind"], strict=True)
            for number, (meta, uid, kind) in enumerate(pairs):
                if meta != uid and meta is not None and not kind:
                    text = "meta_uid: the File Meta Information names another SOP Instance"
                    notes[number] = f"{notes[number]}\n{text}".lstrip()
        return notes


def _meta_texts(values: Sequence[bytes | None]) -> list[str | None]:
    table: dict[bytes | None, str | None] = {None: None}
    for value in set(values):
        if value is not None:
            table[value] = value.decode("ascii", "replace").strip(" \0") or None
    return list(map(table.get, values))


def unlisted_rows(unlisted: Sequence[Unlisted], names: tuple[str, ...]) -> Batch:
    """The rows of what could not even be listed."""
    rows = Rows(names)
    for one in unlisted:
        rows.fail((one.path, 0, 0), None, 0, one.kind, one.message)
    return rows.batch()


def failed_rows(entries: Sequence[Entry], names: tuple[str, ...], message: str) -> Batch:
    """The rows of files that gave no answer; no time is kept of them, so that the next scan asks again."""
    rows = Rows(names)
    for path, size, _ in entries:
        rows.fail((path, size, -1), None, size, "unreadable", message)
    return rows.batch()


def read_chunk(
    root: str,
    entries: Sequence[Entry],
    names: tuple[str, ...],
    *,
    whole: bool = True,
    file_timeout_s: float = FILE_TIMEOUT_S,
) -> Batch:
    """Look at some files.

    Parameters
    ----------
    root : str
        The folder that the paths are relative to.
    entries : sequence of Entry
    names : tuple of str
        The columns.
    whole : bool
        Whether what lacks its UIDs is an error; not where only further columns are read of known instances.
    file_timeout_s : float
        A file that is not read to its end in that time is an error. It is looked at between two reads: one read that
        never comes back stays a matter of whoever waits for this process.

    Returns
    -------
    Batch
        One row for each file; for a ZIP or ISO 9660 image one for each member. Nothing is raised for any file.
    """
    rows = Rows(names, whole=whole)
    for entry in entries:
        try:
            _read(root, entry, rows, file_timeout_s)
        except (OSError, ValueError) as error:
            rows.fail(entry, None, entry[1], *reason(error))
    return rows.batch()


def opened_descriptor(root: str, path: str) -> int:
    """Open a file of the root for reading; a link only if it leads to a file in the root.

    Raises
    ------
    OSError, ValueError
        It can't be opened, or leads elsewhere.
    """
    place = f"{root}/{path}" if path else root
    try:
        return os.open(place, _FLAGS)
    except OSError:
        if not os.path.islink(place):
            raise
    target = Path(place).resolve()
    if not target.is_relative_to(Path(root).resolve()):
        raise ValueError("a link that leads out of the folder")
    return os.open(target, _FLAGS)


class Reader:
    """Reads octets of an open file, so long as its time has not run out."""

    __slots__ = ("_descriptor", "_timeout_s", "_until_s")

    def __init__(self, descriptor: int, timeout_s: float = FILE_TIMEOUT_S) -> None:
        self._descriptor, self._timeout_s = descriptor, timeout_s
        self.renew()

    def renew(self) -> None:
        """Count the time anew: another member of an archive begins."""
        self._until_s = time.monotonic() + self._timeout_s

    def __call__(self, offset: int, octets: int) -> bytes:
        """Read.

        Raises
        ------
        OSError
            It can't be read, or its time has run out.
        """
        if time.monotonic() > self._until_s:
            raise TimeoutError(f"not read to its end in {self._timeout_s:g} s")
        if hasattr(os, "pread"):
            return os.pread(self._descriptor, octets, offset)
        os.lseek(self._descriptor, offset, os.SEEK_SET)
        return os.read(self._descriptor, octets)


def _read(root: str, entry: Entry, rows: Rows, timeout_s: float) -> None:
    path, size, _ = entry
    descriptor = opened_descriptor(root, path)
    try:
        head = os.read(descriptor, HEAD_OCTETS)
        if not size:
            rows.fail(entry, None, 0, "empty", "the file holds no octet")
            return
        read = Reader(descriptor, timeout_s)
        if head[128:132] != b"DICM":
            kind = container_in(path or root, head, size, read, root=not path)
            if kind:
                _read_container(Container(kind, read, size), entry, rows, read)
                return
        rows.look(read, entry, None, size, head)
        if rows.failed and (now := _now(descriptor)) != size:  # still being written: as it is now
            rows.forget()
            rows.look(read, entry, None, now, head)
    finally:
        os.close(descriptor)


def _now(descriptor: int) -> int:
    """The size of a file that changed since it was listed."""
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("no regular file any more")
    return status.st_size


def _read_container(container: Container, entry: Entry, rows: Rows, reader: Reader) -> None:
    try:
        for member in members_of(container):
            reader.renew()
            if member.kind:
                rows.fail(entry, member.name, member.size, member.kind, member.message)
                continue
            try:
                head = member.read(0, min(HEAD_OCTETS, member.size))
                if not member.size:
                    rows.fail(entry, member.name, 0, "empty", "the file holds no octet")
                else:
                    rows.look(member.read, entry, member.name, member.size, head)
            except (OSError, ValueError) as error:
                rows.fail(entry, member.name, member.size, *reason(error))
            except RemoteProtocolError as error:  # its first octets do not unfold
                rows.fail(entry, member.name, member.size, kind_of(error), str(error))
    except UnfitMember as error:
        rows.fail(entry, None, entry[1], error.kind, str(error))
