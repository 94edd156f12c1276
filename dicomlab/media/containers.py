"""ZIP archives and ISO 9660 images as though they were folders: listed, and read where their octets lie.

Nothing is unpacked to a disc. What is stored is read at its place; what is deflated is unfolded piece by piece, never
beyond what its archive says, nor beyond a budget; an archive in an archive is held in memory while it is looked into. A
name that leads out of its archive, or that two members share, is an error and is never read.

Source
------
PS3.12 Annex V (ZIP over media), Annex F (CD-R: ISO 9660 level 1); PS3.10 §8.2 (names of files).
"""

from __future__ import annotations

import io
import os
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.inflate import Inflated
from dicomlab.media.look import ErrorKind, kind_of
from dicomlab.media.walker import HEAD_OCTETS, Read

Kind = Literal["zip", "iso"]

MAX_DEPTH = 4
"""Archives in archives beyond which nobody looks."""
MAX_INNER_OCTETS = 1 << 28
"""Octets of an archive in an archive, which is held in memory: 256 MiB."""
MAX_MEMBER_OCTETS = 1 << 32
"""Octets of one instance that is read out of an archive as a whole: 4 GiB."""
BUDGET_OCTETS, BUDGET_TIMES = 1 << 28, 100
"""What looking into one archive may unfold at most: 256 MiB and a hundred times its size."""

_ISO_MARK, _ISO_MARK_AT = b"CD001", 32769
_SUFFIXES: dict[Kind, frozenset[str]] = {"zip": frozenset({"", ".zip"}), "iso": frozenset({"", ".iso", ".img"})}
_STORED, _DEFLATED = 0, 8
_LOCAL_HEADER_OCTETS = 30


class UnfitMember(Exception):
    """An archive, or a member, that can't be read, as an error row says it; never leaves this room."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind: ErrorKind = kind


class Container(NamedTuple):
    """An archive that is open for reading."""

    kind: Kind
    read: Read
    size: int


class _Place(NamedTuple):
    """Where a member lies in its archive; or why it is not to be read."""

    name: str
    size: int
    offset: int = 0
    folded: int = 0
    method: int = _STORED
    crc: int = -1
    kind: ErrorKind | Literal[""] = ""
    message: str = ""


@dataclass(slots=True)
class Member:
    """One file in an archive. ``name`` leads to it through all archives, with ``/``."""

    name: str
    size: int
    read: Read
    kind: str = ""
    message: str = ""


@dataclass(slots=True)
class _Budget:
    left: int
    streams: list[Inflated] = field(default_factory=list)

    def spend(self) -> None:
        self.left -= sum(stream.unfolded for stream in self.streams)
        self.streams.clear()


def container_in(name: str, head: bytes, size: int, read: Read, *, root: bool) -> Kind | Literal[""]:
    """Tell whether a file is an archive that is to be looked into.

    Parameters
    ----------
    name : str
    head : bytes
        Its first octets.
    size : int
    read : callable
    root : bool
        It was named by the caller. Others need a suffix that says so, or none: a document of an office is a ZIP too.

    Source
    ------
    PS3.12 Annex F, Annex V.
    """
    suffix = os.path.splitext(name)[1].lower()
    if head[:4] in (b"PK\3\4", b"PK\5\6"):
        return "zip" if root or suffix in _SUFFIXES["zip"] else ""
    if size > _ISO_MARK_AT + 5 and (root or suffix in _SUFFIXES["iso"]) and read(_ISO_MARK_AT, 5) == _ISO_MARK:
        return "iso"
    return ""


def is_container(path: Path) -> bool:
    """Whether a file is an archive, whatever it is called.

    Raises
    ------
    OSError
        It can't be read.
    """
    with path.open("rb") as file:

        def read(offset: int, octets: int) -> bytes:
            file.seek(offset)
            return file.read(octets)

        return bool(container_in("", read(0, 8), os.fstat(file.fileno()).st_size, read, root=True))


def members_of(container: Container) -> Iterator[Member]:
    """Every file in an archive, and in archives in it.

    Raises
    ------
    UnfitMember
        It can't be opened.
    """
    budget = _Budget(BUDGET_OCTETS + BUDGET_TIMES * container.size)
    yield from _members(container, "", 1, budget)


def _members(container: Container, prefix: str, depth: int, budget: _Budget) -> Iterator[Member]:
    for place in _places(container):
        name = prefix + place.name
        if place.kind:
            yield Member(name, place.size, _nothing, place.kind, place.message)
            continue
        try:
            read = _reader(container, place, budget)
            head = read(0, min(HEAD_OCTETS, place.size))
            inner = container_in(place.name, head, place.size, read, root=False)
            if not inner:
                yield Member(name, place.size, read)
            elif depth == MAX_DEPTH:
                yield Member(name, place.size, _nothing, "nesting", f"archives nested deeper than {MAX_DEPTH}")
            else:
                yield from _members(_inner(inner, read, place), f"{name}/", depth + 1, budget)
        except UnfitMember as error:
            yield Member(name, place.size, _nothing, error.kind, str(error))
        except RemoteProtocolError as error:
            yield Member(name, place.size, _nothing, kind_of(error), str(error))
        budget.spend()


def _nothing(offset: int, octets: int) -> bytes:
    return b""


def _inner(kind: Kind, read: Read, place: _Place) -> Container:
    if place.method == _STORED:
        return Container(kind, read, place.size)
    if place.size > MAX_INNER_OCTETS:
        raise UnfitMember("inflate", f"an archive in an archive of more than {MAX_INNER_OCTETS} octets")
    octets = read(0, place.size)
    return Container(kind, lambda offset, count: octets[offset : offset + count], len(octets))


def _reader(container: Container, place: _Place, budget: _Budget | None = None) -> Read:
    """A function that reads octets of a member."""
    start = place.offset
    if container.kind == "zip":
        local = container.read(start, _LOCAL_HEADER_OCTETS)
        if len(local) < _LOCAL_HEADER_OCTETS or local[:4] != b"PK\3\4":
            raise UnfitMember("bad_archive", "the archive's directory leads to something that is no member")
        start += _LOCAL_HEADER_OCTETS + int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    end = start + place.folded
    if end > container.size:
        raise UnfitMember("truncated", f"{end - container.size} octets of it are missing in the archive")
    outer, size = container.read, place.size
    if place.method == _STORED:
        return lambda offset, octets: outer(start + offset, max(0, min(octets, size - offset)))
    stream = Inflated(outer, start, end, max(0, min(size, budget.left)) if budget else size)
    if budget:
        budget.streams.append(stream)
    return lambda offset, octets: stream.read(offset, max(0, min(octets, size - offset)))


# --- directories ---------------------------------------------------------------------------------------------------


class _File(io.RawIOBase):
    """What the libraries want to see: a file that can seek."""

    def __init__(self, read: Read, size: int) -> None:
        self._read, self._size, self._at = read, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        octets = self._read(self._at, max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(octets)] = octets
        self._at += len(octets)
        return len(octets)


def _places(container: Container) -> list[_Place]:
    """The directory of an archive, each name looked at."""
    with io.BufferedReader(_File(container.read, container.size)) as file:
        try:
            listed = _zip_places(file) if container.kind == "zip" else _iso_places(file)
        except (UnfitMember, MemoryError):
            raise
        except Exception as error:  # hostile octets: the libraries raise whatever their parsing runs into
            raise UnfitMember("bad_archive", f"the archive can't be opened: {error}") from error
    seen: set[str] = set()
    checked = []
    for place in listed:
        if not place.kind and _leads_out(place.name):
            text = "a name that leads out of the archive, or is none"
            checked.append(place._replace(kind="archive_path", message=text))
        elif place.name in seen:
            text = "another member of the archive has this name"
            checked.append(place._replace(kind="duplicate_member", message=text))
        else:
            checked.append(place)
        seen.add(place.name)
    return checked


def _leads_out(name: str) -> bool:
    parts = name.replace("\\", "/").split("/")
    return "\0" in name or ":" in parts[0] or any(part in ("", ".", "..") for part in parts)


def _zip_places(file: Any) -> list[_Place]:
    places = []
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            name, kind, message = info.orig_filename, "", ""
            if info.flag_bits & 0x1:
                kind, message = "permission", "encrypted"
            elif info.compress_type not in (_STORED, _DEFLATED):
                kind, message = (
                    "unreadable",
                    f"packed by method {info.compress_type}; PS3.12 has Stored and Deflated only",
                )
            elif info.compress_type == _STORED and info.compress_size != info.file_size:
                kind, message = "bad_archive", "stored, and yet of another size than it is packed to"
            where = (info.header_offset, info.compress_size, info.compress_type, info.CRC)
            places.append(_Place(name, info.file_size, *where, kind, message))  # type: ignore[arg-type]
    return places


def _iso_places(file: Any) -> list[_Place]:
    try:
        from pycdlib.pycdlib import PyCdlib
    except ImportError:
        raise UnfitMember("bad_archive", "an ISO 9660 image: pip install 'dicomlab[iso]' to look into it") from None
    image = PyCdlib()
    image.open_fp(file)
    try:
        where = "udf_path" if image.has_udf() and not any(True for _ in _iso_files(image, "iso_path")) else "iso_path"
        places = []
        for path in _iso_files(image, where):
            extents = image.get_file_byte_extents(**{where: path})
            name = path.lstrip("/")
            if where == "iso_path":
                folder, _, last = name.rpartition("/")
                name = f"{folder}/{last.partition(';')[0].rstrip('.')}".lstrip("/")
            size = sum(length for _, length in extents)
            joined = all(a + n == b for (a, n), (b, _) in pairwise(extents))
            offset = extents[0][0] if extents else 0
            kind, message = ("", "") if joined else ("unreadable", "in several parts of the image")
            places.append(_Place(name, size, offset, size, kind=kind, message=message))  # type: ignore[arg-type]
        return places
    finally:
        image.close()


def _iso_files(image: Any, where: str) -> Iterator[str]:
    for folder, _, files in image.walk(**{where: "/"}):
        for name in sorted(files):
            yield f"{folder.rstrip('/')}/{name}"


# --- one member ----------------------------------------------------------------------------------------------------


def container_above(path: Path) -> Path | None:
    """The archive in which a path leads on as though it were a folder."""
    return next((parent for parent in path.parents if parent.is_file()), None)


@contextmanager
def opened_member(container: Path, name: str) -> Iterator[memoryview]:
    """The octets of one member of an archive on disc, checked against its check sum.

    Raises
    ------
    OSError, ValueError
        There is no such archive or member (any more), or it is damaged.
    """
    with container.open("rb") as file:
        status = os.fstat(file.fileno())

        def read(offset: int, octets: int) -> bytes:
            file.seek(offset)
            return file.read(octets)

        try:
            opened = Container(_kind(read, status.st_size), read, status.st_size)
            octets = _octets(opened, name, (str(container), str(status.st_size), str(status.st_mtime_ns)))
        except (UnfitMember, RemoteProtocolError) as error:
            raise ValueError(str(error)) from error
    yield memoryview(octets)


def _kind(read: Read, size: int) -> Kind:
    kind = container_in("", read(0, 8), size, read, root=True)
    if not kind:
        raise UnfitMember("bad_archive", "no archive any more")
    return kind


def _octets(container: Container, name: str, key: tuple[str, ...]) -> bytes:
    """A member's octets; `key` tells this archive, in its present state, from all others."""
    directory = _remembered(container, key)
    place = directory.get(name)
    if place is not None:
        if place.size > MAX_MEMBER_OCTETS:
            raise UnfitMember("inflate", f"more than {MAX_MEMBER_OCTETS} octets")
        octets = _reader(container, place)(0, place.size)
        if len(octets) != place.size or (place.crc >= 0 and zlib.crc32(octets) != place.crc):
            raise UnfitMember("bad_archive", "it is damaged: size or check sum differ from the archive's directory")
        return octets
    within = next((directory[p.as_posix()] for p in Path(name).parents if p.as_posix() in directory), None)
    if within is None or len(key) > MAX_DEPTH + 2:
        raise UnfitMember("unreadable", "it is not in the archive any more")
    read = _reader(container, within)
    opened = _inner(_kind(read, within.size), read, within)
    return _octets(opened, name[len(within.name) + 1 :], (*key, within.name))


_directories: dict[tuple[str, ...], dict[str, _Place]] = {}
_directories_lock = threading.Lock()
_REMEMBERED = 8


def _remembered(container: Container, key: tuple[str, ...]) -> dict[str, _Place]:
    """The directory of an archive, kept for those that were looked into last: one instance after the other is read."""
    found = _directories.get(key)
    if found is None:
        found = {place.name: place for place in _places(container) if not place.kind}
        with _directories_lock:
            while len(_directories) >= _REMEMBERED:
                _directories.pop(next(iter(_directories)), None)
            _directories[key] = found
    return found
