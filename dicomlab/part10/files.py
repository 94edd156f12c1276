"""DICOM files on disc: written atomically, opened with suspicion."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from copy import copy, deepcopy
from dataclasses import dataclass
from io import BytesIO, FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

from dicomlab.errors import LocalProtocolError, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.links import above
from dicomlab.model.protocols import Arrival, Octets
from dicomlab.model.report import Outcome
from dicomlab.part10.contents import READ, close_contents, contents
from dicomlab.part10.medium import medium_error, medium_errors, part_of
from dicomlab.part10.meta import EXPLICIT_LE, MAX_META, FileMeta, NeedMore, decode_file_meta, encode_file_meta
from dicomlab.part10.walk import begins_whole, length_of_whole

CHUNK_OCTETS = 1 << 18
HEAD_OCTETS = 8 << 10
"""Octets of a file in which most of them show whether they are whole."""
SUCCESS = "0000H Success"
CANNOT_UNDERSTAND = 0xC000
CHANGED = "it has changed since it was looked at, and is not handed on; scan() looks again"
MEDIA_STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"


class FileWriter:
    """Writes one instance to a temporary name and renames it when it is whole.

    Satisfies :class:`~dicomlab.model.protocols.Writer`. Nobody ever sees half a file; a failed or abandoned one
    leaves nothing behind. Errors name the folder and not the file, whose name may hold what identifies a patient.

    Raises
    ------
    Interrupted, Refused
        The medium is full or gone; not allowed to write there.
    ServiceError
        C000H: the sender announced UIDs that no file could hold.
    """

    def __init__(self, path: Path, arrival: Arrival, *, digest: bool = False, root: Path | None = None) -> None:
        self.path = path
        self.arrival = arrival
        self.octets = 0
        self._root = root or path.parent
        self._digest = hashlib.sha256() if digest else None
        self._part = part_of(path)
        meta = meta_octets(arrival)
        with medium_errors(self._root):
            try:
                self._file = FileIO(self._part, "xb")
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(self._part, "xb")
        try:
            self._put(meta)
        except BaseException:
            self.abandon()
            raise

    def _put(self, octets: Octets) -> None:
        try:
            written = self._file.write(octets)
            while written < len(octets):
                written += self._file.write(memoryview(octets)[written:])
        except OSError as error:
            raise medium_error(error, self._root) from error

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._put(octets)
        self.octets += len(octets)
        if self._digest:
            self._digest.update(octets)

    def finish(self) -> Outcome:
        """Rename it to its name and say where it lies."""
        try:
            with medium_errors(self._root):
                self._file.close()
                os.replace(self._part, self.path)
        except BaseException:
            self.abandon()
            raise
        return Outcome(
            self.arrival.sop_instance_uid,
            "done",
            SUCCESS,
            self.arrival.sop_class_uid,
            self.arrival.transfer_syntax_uid,
            self.octets,
            self._below_root(),
            self._digest.hexdigest() if self._digest else "",
        )

    def _below_root(self) -> str:
        text, root = str(self.path), f"{self._root}{os.sep}"
        if not text.startswith(root):
            return self.path.relative_to(self._root).as_posix()
        return text[len(root) :].replace(os.sep, "/")

    def abandon(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            os.unlink(self._part)


def read_file_meta(path: Path) -> FileMeta:
    """Read the File Meta Information of a file.

    Raises
    ------
    RemoteProtocolError
        Not a DICOM file, or a broken one.
    OSError
        It can't be opened.
    """
    size = 4096
    with path.open("rb") as file:
        while True:
            octets = file.read(size)
            try:
                return decode_file_meta(octets, final=len(octets) < size)
            except NeedMore:
                if size > MAX_META:
                    raise RemoteProtocolError("no end of group 0002", section="PS3.10 §7.1", offset=size) from None
                size *= 4
                file.seek(0)


def sha256_of_dataset(path: Path) -> str:
    """The digest of the octets after the File Meta Information."""
    meta = read_file_meta(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(meta.length)
        while chunk := file.read(CHUNK_OCTETS):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Parcel:
    """One SOP Instance ready to be stored somewhere: a file as it lies, or octets in memory.

    ``name`` says where it came from, for messages and reports. ``padding`` counts octets of zero at the end of the
    file that are no part of the data set; they are left behind. ``looked_at`` counts the octets of the file when it
    was found to be whole, ``changed_ns`` is the time of its last change then (0: not known): one that has become
    shorter, or changed, is not opened any more (ServiceError, C000H).
    """

    meta: FileMeta
    name: str
    path: Path | None = None
    octets: bytes = b""
    padding: int = 0
    looked_at: int = 0
    changed_ns: int = 0
    opener: Callable[[], AbstractContextManager[memoryview]] | None = None
    """Gives the whole Part 10 file, without padding, where it has no path of its own: in an archive, say."""
    whole: int = 0
    """Octets that `opener` gives."""

    @property
    def size(self) -> int:
        """Octets of the whole Part 10 file, without padding."""
        if self.opener is not None:
            return self.whole
        return (self.path.stat().st_size if self.path else len(self.octets)) - self.padding

    @property
    def dataset_size(self) -> int:
        """Octets after the File Meta Information."""
        return self.size - self.meta.length

    def open(self) -> AbstractContextManager[memoryview]:
        """The whole Part 10 file as memory while a block runs, without padding; a large file is mapped."""
        return _Opened(self, 0)

    def pieces(self, octets: int) -> Iterator[bytes]:
        """The first `octets` of the Part 10 file as they are read, a piece in memory; raises as :meth:`open` does.

        C000H where there are fewer.
        """
        left = octets
        if self.path is None or self.opener is not None:
            with self.open() as whole:
                for at in range(0, min(left, len(whole)), CHUNK_OCTETS):
                    yield bytes(whole[at : min(at + CHUNK_OCTETS, octets)])
                left -= len(whole)
        else:
            with self.path.open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                self.require_unchanged(status)
                fit = status.st_size >= self.looked_at
                while fit and left and (piece := file.read(min(left, CHUNK_OCTETS))):
                    left -= len(piece)
                    yield piece
        if left > 0:
            raise ServiceError("it has become shorter since it was looked at", status=CANNOT_UNDERSTAND)

    def require_unchanged(self, status: os.stat_result) -> None:
        """See that the file, which is open, is still the one that was looked at.

        Raises
        ------
        ServiceError
            C000H: it has changed, and what is known of it may hold no longer.
        """
        if self.changed_ns and status.st_mtime_ns != self.changed_ns:
            raise ServiceError(CHANGED, status=CANNOT_UNDERSTAND)

    def dataset(self) -> AbstractContextManager[memoryview]:
        """The octets after the File Meta Information, as memory while a block runs."""
        return _Opened(self, self.meta.length)


class _Opened(AbstractContextManager[memoryview]):
    """A parcel as memory, from `start` to its padding. No view outlives the block.

    Raises
    ------
    OSError
        It can't be opened.
    ServiceError
        C000H: the file has become shorter, or changed, since it was looked at.
    """

    __slots__ = ("_parcel", "_start", "_under", "_view", "_whole")

    def __init__(self, parcel: Parcel, start: int) -> None:
        self._parcel, self._start = parcel, start
        self._under: AbstractContextManager[memoryview] | None = None

    def __enter__(self) -> memoryview:
        parcel = self._parcel
        if parcel.opener is not None:
            self._under = parcel.opener()
            self._whole = self._under.__enter__()
            self._view = self._whole[self._start :]
            return self._view
        self._whole = contents(parcel.path) if parcel.path is not None else memoryview(parcel.octets)
        end = len(self._whole)
        if end < parcel.looked_at:
            close_contents(self._whole)
            raise ServiceError("it has become shorter since it was looked at", status=CANNOT_UNDERSTAND)
        if parcel.changed_ns and parcel.path is not None:
            try:
                parcel.require_unchanged(parcel.path.stat())
            except BaseException:
                close_contents(self._whole)
                raise
        self._view = self._whole[self._start : end - parcel.padding]
        return self._view

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._view.release()
        if self._under is not None:
            self._under.__exit__(kind, error, trace)
        else:
            close_contents(self._whole)


@dataclass(frozen=True, slots=True)
class Unfit:
    """Something that was to be stored and can't be, and why."""

    name: str
    reason: str


def parcels(what: Any) -> Iterator[Parcel | Unfit]:
    """Open whatever ``store`` was given.

    Parameters
    ----------
    what : path, Dataset, Cohort, MediaSet, or an iterable of these
        A folder stands for every file in it and below it, sorted; hidden files and folders, DICOMDIR and ledgers are
        left out.

    Yields
    ------
    Parcel or Unfit
        Everything is accounted for: what is not a whole DICOM file, or can't be looked into, comes as ``Unfit`` and
        never stops the rest.

    Raises
    ------
    UsageError
        At once, before anything is opened: `what` (or something in a list) is none of these, or a path that does not
        exist. What a generator gives is looked at as it comes: there a missing path is ``Unfit``.
    """
    _check(what)
    return _opened(what)


def _check(what: Any) -> None:
    from pydicom import Dataset

    if isinstance(what, str | os.PathLike):
        if not os.path.lexists(what):
            raise UsageError(f"no such file or folder: {os.fspath(what)}")
    elif isinstance(what, list | tuple | set | frozenset):
        for one in what:
            _check(one)
    elif not isinstance(what, Dataset | Parcel | Unfit) and not _gives_parcels(what) and not _is_listing(what):
        raise UsageError(f"can't store a {type(what).__name__}: give a path, a Dataset, a Cohort or a MediaSet")


def _gives_parcels(what: Any) -> bool:
    return hasattr(what, "parcels") or hasattr(what, "retrieve")


def _is_listing(what: Any) -> bool:
    return isinstance(what, Iterable) and not isinstance(what, bytes | bytearray | memoryview | Mapping)


def _opened(what: Any) -> Iterator[Parcel | Unfit]:
    from pydicom import Dataset

    if isinstance(what, str | os.PathLike):
        yield from _from_path(Path(what))
    elif isinstance(what, Dataset):
        yield _from_dataset(what)
    elif isinstance(what, Parcel | Unfit):
        yield what
    elif hasattr(what, "parcels"):  # a MediaSet knows its files
        yield from what.parcels()
    elif hasattr(what, "retrieve"):  # a Cohort
        yield from above("parcels")(what)
    else:
        for one in what:
            if isinstance(one, str | os.PathLike):
                yield from _from_path(Path(one))
            else:
                yield from parcels(one)


def _from_path(path: Path) -> Iterator[Parcel | Unfit]:
    if not path.is_dir():
        yield parcel_of_file(path)
        return
    closed: list[OSError] = []
    for folder, folders, files in os.walk(path, onerror=closed.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if Path(folder, name).is_symlink():
                yield Unfit(
                    str(Path(folder, name)), "a link to a folder, which is not followed: name the folder itself"
                )
        for name in sorted(files):
            if not name.startswith(".") and name.upper() != "DICOMDIR" and not name.endswith(".jsonl"):
                yield parcel_of_file(Path(folder, name))
    for error in closed:
        yield Unfit(str(error.filename), f"can't be looked into: {error.strerror}")


def parcel_of_file(path: Path) -> Parcel | Unfit:
    """Open one file; broken and foreign ones come back as :class:`Unfit`."""
    name = str(path)
    try:
        if not stat.S_ISREG(os.stat(name).st_mode):
            return Unfit(name, "no regular file")  # opening a pipe would wait for ever
        found = _glanced_at(name, path)
        if found is not None:
            return found
        whole = contents(path)
        try:
            return _parcel_of(whole, name, path)
        finally:
            close_contents(whole)
    except RemoteProtocolError as error:
        return Unfit(name, str(error))
    except OSError as error:
        return Unfit(name, f"can't be read: {error.strerror or error}")
    except ValueError as error:
        return Unfit(name, f"can't be read: {error}")


def _glanced_at(name: str, path: Path) -> Parcel | None:
    """The parcel of a file whose beginning shows that it is whole, as that of most does."""
    descriptor = os.open(name, READ)
    try:
        size, head = os.fstat(descriptor).st_size, os.read(descriptor, HEAD_OCTETS)
    finally:
        os.close(descriptor)
    try:
        meta = decode_file_meta(head)
    except NeedMore:
        return None
    if _is_no_instance(meta) or not begins_whole(head[meta.length :], size - meta.length, meta.transfer_syntax_uid):
        return None
    return Parcel(meta, name, path, looked_at=size)


def _is_no_instance(meta: FileMeta) -> str:
    """Why this is nothing to store; ``""`` where it is."""
    if not meta.sop_instance_uid or not meta.sop_class_uid:
        return "its File Meta Information names no SOP Class or SOP Instance (PS3.10 §7.1)"
    if meta.sop_class_uid == MEDIA_STORAGE_DIRECTORY:
        return "a DICOMDIR, which is a directory of files and no instance to store (PS3.3 §F)"
    return ""


def _parcel_of(file: memoryview, name: str, path: Path) -> Parcel | Unfit:
    meta = decode_file_meta(file, final=True)
    if why := _is_no_instance(meta):
        return Unfit(name, why)
    with file[meta.length :] as octets:
        whole = length_of_whole(octets, meta.transfer_syntax_uid)
        if not whole:
            return Unfit(name, "nothing follows its File Meta Information: cut short")
        return Parcel(meta, name, path, padding=len(octets) - whole, looked_at=len(file))


def _from_dataset(dataset: Any) -> Parcel | Unfit:
    """Encode a data set; the File Meta Information follows the data set, and the caller's object stays as it is."""
    from pydicom.dataset import FileMetaDataset

    uid = str(dataset.get("SOPInstanceUID") or "")
    name = f"data set {uid}".rstrip()
    if not uid or not dataset.get("SOPClassUID"):
        return Unfit(name, "it has no SOP Class UID or no SOP Instance UID")
    buffer = BytesIO()
    try:
        encoded = copy(dataset)
        encoded.file_meta = deepcopy(getattr(dataset, "file_meta", None)) or FileMetaDataset()
        encoded.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        encoded.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        if "TransferSyntaxUID" not in encoded.file_meta:
            encoded.file_meta.TransferSyntaxUID = EXPLICIT_LE
        encoded.save_as(buffer, enforce_file_format=True)
        octets = buffer.getvalue()
        return Parcel(decode_file_meta(octets, final=True), name, None, octets)
    except RemoteProtocolError as error:
        return Unfit(name, str(error))
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError, NotImplementedError, OSError) as error:
        first_line = str(error).partition("\n")[0]  # pydicom's further lines show values and a traceback
        return Unfit(name, f"can't be encoded: {first_line[:300]}")


def meta_octets(arrival: Arrival) -> bytes:
    """The File Meta Information that an instance arrived with, or one for it; C000H where there can't be any."""
    if arrival.file_meta:
        return arrival.file_meta
    uids = arrival.sop_class_uid, arrival.sop_instance_uid, arrival.transfer_syntax_uid
    try:
        return encode_file_meta(*uids, source_ae_title=arrival.source)
    except LocalProtocolError as error:  # it is the sender who announced it
        raise ServiceError(f"cannot understand: {error}", status=CANNOT_UNDERSTAND) from error
