"""DICOM files on disc: written atomically, opened with suspicion."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, UsageError
from dicomlab.model.links import above
from dicomlab.model.protocols import Arrival, Octets
from dicomlab.model.report import Outcome
from dicomlab.part10.meta import MAX_META, FileMeta, NeedMore, decode_file_meta, encode_file_meta
from dicomlab.part10.walk import require_whole

CHUNK_OCTETS = 1 << 18
SUCCESS = "0000H Success"


@contextmanager
def medium_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into the tree's: full, gone, not allowed."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            text = "no space left; free some and call again: what arrived whole is kept"
            raise Interrupted(text, endpoint=str(path)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise Refused(f"not allowed to write here ({error.strerror})", endpoint=str(path)) from error
        raise Interrupted(f"the medium failed: {error.strerror or error}", endpoint=str(path)) from error


class FileWriter:
    """Writes one instance to a temporary name and renames it when it is whole.

    Satisfies :class:`~dicomlab.model.protocols.Writer`. Nobody ever sees half a file; a failed or abandoned one
    leaves nothing behind.
    """

    def __init__(self, path: Path, arrival: Arrival, *, digest: bool = False, root: Path | None = None) -> None:
        self.path = path
        self.arrival = arrival
        self.octets = 0
        self._root = root or path.parent
        self._digest = hashlib.sha256() if digest else None
        self._part = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}.part")
        meta = arrival.file_meta or encode_file_meta(
            arrival.sop_class_uid,
            arrival.sop_instance_uid,
            arrival.transfer_syntax_uid,
            source_ae_title=arrival.source,
        )
        with medium_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("xb")
        try:
            self._put(meta)
        except BaseException:
            self.abandon()
            raise

    def _put(self, octets: Octets) -> None:
        with medium_errors(self.path):
            self._file.write(octets)

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._put(octets)
        self.octets += len(octets)
        if self._digest:
            self._digest.update(octets)

    def finish(self) -> Outcome:
        """Rename it to its name and say where it lies."""
        try:
            with medium_errors(self.path):
                self._file.close()
                self._part.replace(self.path)
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
            self.path.relative_to(self._root).as_posix(),
            self._digest.hexdigest() if self._digest else "",
        )

    def abandon(self) -> None:
        """Remove what was written."""
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._part.unlink()


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

    ``name`` says where it came from, for messages and reports.
    """

    meta: FileMeta
    name: str
    path: Path | None = None
    octets: bytes = b""

    @property
    def size(self) -> int:
        """Octets of the whole Part 10 file."""
        return self.path.stat().st_size if self.path else len(self.octets)

    @property
    def dataset_size(self) -> int:
        """Octets after the File Meta Information."""
        return self.size - self.meta.length

    @contextmanager
    def open(self) -> Iterator[memoryview]:
        """The whole Part 10 file as memory; a file is mapped, not read."""
        if self.path is None:
            yield memoryview(self.octets)
            return
        with self.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            view = memoryview(mapped)
            try:
                yield view
            finally:
                view.release()

    @contextmanager
    def dataset(self) -> Iterator[memoryview]:
        """The octets after the File Meta Information, as memory."""
        with self.open() as view, view[self.meta.length :] as octets:
            yield octets


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
        A folder stands for every file in it, sorted, hidden files and DICOMDIR left out.

    Yields
    ------
    Parcel or Unfit
        Everything is accounted for: what is not a whole DICOM file comes as ``Unfit`` and never stops the rest.

    Raises
    ------
    UsageError
        `what` is none of these, or a path that does not exist.

    """
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
    elif isinstance(what, Iterable) and not isinstance(what, bytes):
        for one in what:
            yield from parcels(one)
    else:
        raise UsageError(f"can't store a {type(what).__name__}: give a path, a Dataset, a Cohort or a MediaSet")


def _from_path(path: Path) -> Iterator[Parcel | Unfit]:
    if path.is_dir():
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                if not name.startswith(".") and name != "DICOMDIR" and not name.endswith(".jsonl"):
                    yield parcel_of_file(Path(folder, name))
    elif path.exists():
        yield parcel_of_file(path)
    else:
        raise UsageError(f"no such file or folder: {path}")


def parcel_of_file(path: Path) -> Parcel | Unfit:
    """Open one file; broken and foreign ones come back as :class:`Unfit`."""
    name = str(path)
    try:
        meta = read_file_meta(path)
        parcel = Parcel(meta, name, path)
        if not meta.sop_instance_uid or not meta.sop_class_uid:
            return Unfit(name, "its File Meta Information names no SOP Class or SOP Instance (PS3.10 §7.1)")
        with parcel.dataset() as octets:
            require_whole(octets, meta.transfer_syntax_uid)
    except RemoteProtocolError as error:
        return Unfit(name, str(error))
    except (OSError, ValueError) as error:
        return Unfit(name, f"can't be read: {error}")
    return parcel


def _from_dataset(dataset: Any) -> Parcel | Unfit:
    name = f"data set {dataset.get('SOPInstanceUID', '')}"
    buffer = BytesIO()
    try:
        dataset.save_as(buffer, enforce_file_format=True)
        octets = buffer.getvalue()
        return Parcel(decode_file_meta(octets, final=True), name, None, octets)
    except RemoteProtocolError as error:
        return Unfit(name, str(error))
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        return Unfit(name, f"can't be encoded: {error}")


def parcel_of_octets(arrival: Arrival, octets: bytes) -> Parcel:
    """A parcel of a data set that is in memory."""
    meta_octets = arrival.file_meta or encode_file_meta(
        arrival.sop_class_uid, arrival.sop_instance_uid, arrival.transfer_syntax_uid, source_ae_title=arrival.source
    )
    meta = decode_file_meta(meta_octets, final=True)
    return Parcel(meta, f"instance {arrival.sop_instance_uid}", None, meta_octets + octets)
