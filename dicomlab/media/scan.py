"""Going through a folder: every file becomes an instance or a row of errors; nothing is passed over in silence."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from pydicom._uid_dict import UID_dictionary

from dicomlab.errors import Refused, RemoteProtocolError, Unreachable
from dicomlab.media.dicomdir import DIRECTORY_CLASS
from dicomlab.media.header import read_dataset_row, reader_of, row_of
from dicomlab.model.columns import STANDARD, UNIQUE_KEY, Column, columns
from dicomlab.model.matching import COMPUTED
from dicomlab.model.progress import Control
from dicomlab.model.reading import Direction
from dicomlab.model.report import FRAMES_SUFFIX, LEDGER_NAME
from dicomlab.model.trace import Channel
from dicomlab.part10.meta import DEFLATED_LE, PREFIX_END, FileMeta, decode_file_meta
from dicomlab.part10.walk import Octets

_MAP_FROM = 1 << 20
"""Octets from which a file is mapped into memory instead of read."""

ErrorKind = Literal[
    "not_dicom", "empty", "truncated", "bad_meta", "unknown_ts", "ts_mismatch", "bad_length", "nesting", "inflate",
    "missing_uid", "duplicate", "link", "permission", "unreadable",
]  # fmt: skip
"""Why a listed file is no instance.

========== =========================================================================================
kind       meaning
========== =========================================================================================
not_dicom  no ``DICM`` after the preamble, or no regular file
empty      no octet at all
truncated  the file ends before its data set does
bad_meta   File Meta Information that can't be, or no Transfer Syntax UID
unknown_ts a transfer syntax that PS3.6 does not list
ts_mismatch the data set is not encoded as the File Meta Information says
bad_length lengths that contradict one another
nesting    sequences in sequences beyond all measure
inflate    no deflate stream, or one that unfolds beyond all measure
missing_uid no SOP Class, SOP Instance, Series or Study Instance UID
duplicate  its SOP Instance UID is that of a file listed before
link       a symbolic link that leads to a folder, out of the folder, or nowhere
permission not allowed to read it
unreadable the medium failed
========== =========================================================================================
"""

BASE: tuple[Column, ...] = columns(
    dict.fromkeys([*(n for names in STANDARD.values() for n in names if n not in COMPUTED), "TransferSyntaxUID"])
)
"""What is read of each file at the first look; other columns are read when somebody asks for them."""
_BASE_NAMES = frozenset(one.name for one in BASE)
_REQUIRED = ("SOPClassUID", *(UNIQUE_KEY[level] for level in ("instance", "series", "study")))

# How the codecs below put it, and what it is called here; the first that fits.
_KINDS: tuple[tuple[str, ErrorKind], ...] = (
    ("deflate stream is cut", "truncated"),
    ("deflate stream", "inflate"),
    ("inflates to more", "inflate"),
    ("nested deeper", "nesting"),
    ("is no VR", "ts_mismatch"),
    ("are missing", "truncated"),
    ("cut", "truncated"),
)


@dataclass(frozen=True, slots=True)
class FileError:
    """A listed file that is no instance, and why. ``path`` is relative to the root."""

    path: str
    kind: ErrorKind
    message: str


@dataclass(slots=True)
class Found:
    """One SOP Instance of a folder: where it lies, and what was read of it."""

    path: Path
    """Absolute."""
    name: str
    """Relative to the root, with ``/``."""
    meta: FileMeta
    size: int
    """Octets of the file, without padding."""
    padding: int
    """Octets of zero that a medium put behind the data set."""
    row: dict[str, Sequence[object]]

    @property
    def sop_instance_uid(self) -> str:
        """Of the data set, which is what counts; the File Meta Information may say something else."""
        return str(self.row["SOPInstanceUID"][0])


@dataclass(slots=True)
class Scan:
    """What one look through a folder found."""

    root: Path
    listed: int = 0
    """Files listed; ``len(instances) + len(errors)`` once the scan is complete."""
    instances: dict[str, Found] = field(default_factory=dict)
    """By SOP Instance UID, in the order of their paths."""
    errors: list[FileError] = field(default_factory=list)
    directories: list[Path] = field(default_factory=list)
    """DICOMDIR files: neither instances nor errors."""
    complete: bool = False
    held: set[str] = field(default_factory=lambda: set(_BASE_NAMES))
    """The columns that have been read of every instance."""

    def require(self, wanted: Sequence[Column]) -> None:
        """Read columns that nobody asked for so far."""
        missing = [one for one in wanted if one.name not in self.held and one.name not in COMPUTED]
        if not missing:
            return
        for found in self.instances.values():
            try:
                with opened(found.path) as octets:
                    found.row |= read_dataset_row(octets[found.meta.length :], found.meta, missing)
            except (RemoteProtocolError, OSError, ValueError):
                continue  # gone or changed since the scan: what it had then stays, this is NA
        self.held |= {one.name for one in missing}


def scan(root: Path, control: Control, channel: Channel, *, single: Path | None = None) -> Scan:
    """Go through every file below `root`.

    Parameters
    ----------
    root : Path
        A folder.
    control : Control
        Gets the octets of each file read; cancelling it ends the scan with ``complete`` false.
    channel : Channel
        Of the trace.
    single : Path, optional
        Look at this one file only.

    Raises
    ------
    Unreachable
        There is no such folder.
    Refused
        Not allowed to read it.
    """
    result = Scan(root)
    for path, error in [(single, None)] if single is not None else list_files(root):
        if control.cancelled:
            return result
        name = path.relative_to(root).as_posix()
        if name == LEDGER_NAME or name.endswith(FRAMES_SUFFIX):
            continue  # written by retrieve or record beside the data: no part of them
        found = error or _look(path, name, channel)
        if found is None:
            result.directories.append(path)
            continue
        result.listed += 1
        if isinstance(found, FileError):
            result.errors.append(found)
        elif (first := result.instances.setdefault(found.sop_instance_uid, found)) is not found:
            result.errors.append(_duplicate(first, found))
        else:
            control.advance(0, octets=found.size)
    result.complete = True
    return result


def list_files(root: Path) -> Iterator[tuple[Path, FileError | None]]:
    """List every file below a folder, hidden ones too, in order of their paths.

    Folders behind symbolic links are not entered. What can't be looked at comes with its error.

    Raises
    ------
    Unreachable, Refused
        The root itself can't be listed.
    """
    inside = root.resolve()
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            if folder == root:
                raise _unlistable(root, error) from error
            yield folder, _os_error(folder.relative_to(root).as_posix(), error)
            continue
        folders = []
        for entry in entries:
            path = Path(entry.path)
            name = path.relative_to(root).as_posix()
            if entry.is_symlink():
                target = path.resolve()
                if not target.is_file() or not target.is_relative_to(inside):
                    yield path, FileError(name, "link", "a symbolic link to a folder, out of the folder, or nowhere")
                    continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            else:
                yield path, None
        waiting += reversed(folders)


def _unlistable(root: Path, error: OSError) -> Unreachable | Refused:
    if isinstance(error, PermissionError):
        return Refused("not allowed to read this folder; ask its owner for the permission", endpoint=str(root))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unreachable("no such folder: is the path right, and the medium mounted?", endpoint=str(root))
    return Unreachable(f"the folder can't be listed: {error.strerror or error}", endpoint=str(root))


def _os_error(name: str, error: OSError | ValueError) -> FileError:
    if isinstance(error, PermissionError):
        return FileError(name, "permission", "not allowed to read it")
    return FileError(name, "unreadable", getattr(error, "strerror", None) or str(error))


def trace_file(channel: Channel, direction: Direction, line: str, octets: Octets) -> None:
    """Leave one line in the trace for a file read or written: of its octets preamble and prefix only."""
    if channel.trace is not None:
        replace(channel, dissect=lambda _: line).tap(direction, memoryview(octets)[:PREFIX_END])


@contextmanager
def opened(path: Path) -> Iterator[memoryview]:
    """The octets of a file: a large one is mapped, so that only what is looked at is read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _MAP_FROM:
            yield memoryview(file.read())
            return
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        view = memoryview(mapped)
        try:
            yield view
        finally:
            view.release()
            with suppress(BufferError):  # the traceback of an error still holds a slice: freed with it
                mapped.close()


def _look(path: Path, name: str, channel: Channel) -> Found | FileError | None:
    """Read one file; None stands for a DICOMDIR."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return FileError(name, "not_dicom", "no regular file")
        if not status.st_size:
            return FileError(name, "empty", "the file holds no octet")
        with opened(path) as octets:
            trace_file(channel, "received", f"read: {name}", octets)
            return examine(path, name, octets)
    except (OSError, ValueError) as error:
        return _os_error(name, error)


def examine(path: Path, name: str, octets: Octets, more: Sequence[Column] = ()) -> Found | FileError | None:
    """Make an instance of the octets of one file, or say why it is none; None stands for a DICOMDIR.

    `more` names columns to read beside those that are always read.
    """
    try:
        meta = decode_file_meta(octets, final=True)
    except RemoteProtocolError as error:
        foreign = len(octets) < PREFIX_END or bytes(octets[128:PREFIX_END]) != b"DICM"
        return FileError(name, "not_dicom" if foreign else "bad_meta", str(error))
    if meta.sop_class_uid == DIRECTORY_CLASS:
        return None
    syntax = meta.transfer_syntax_uid
    if UID_dictionary.get(syntax, ("", ""))[1] != "Transfer Syntax":
        return FileError(name, "unknown_ts", f"transfer syntax {syntax[:64]} is not in PS3.6: it can't be read safely")
    asked = dict.fromkeys((*BASE, *more))
    try:
        reader = reader_of(memoryview(octets)[meta.length :], meta, {one.tag for one in asked})
        row = row_of(reader, meta, asked)
    except RemoteProtocolError as error:
        text = str(error)
        kind: ErrorKind = next((kind for phrase, kind in _KINDS if phrase in text), "bad_length")
        return FileError(name, kind, text)
    if missing := [uid for uid in _REQUIRED if not row.get(uid)]:
        return FileError(name, "missing_uid", f"no {', '.join(missing)}: no place in patient, study and series")
    padding = 0 if syntax == DEFLATED_LE else len(octets) - meta.length - reader.end
    return Found(path, name, meta, len(octets) - padding, padding, dict[str, "Sequence[object]"](row))


def _duplicate(first: Found, second: Found) -> FileError:
    try:
        with opened(first.path) as one, opened(second.path) as other:
            same = one[first.meta.length : first.size] == other[second.meta.length : second.size]
    except (OSError, ValueError):
        same = False
    what = "the same data set" if same else "ANOTHER data set with the same SOP Instance UID"
    return FileError(second.name, "duplicate", f"{what} as {first.name}")
