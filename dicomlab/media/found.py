"""What was found on a medium: instances and errors, as single values and as one whole."""

from __future__ import annotations

import mmap
import os
from collections import Counter
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from dicomlab.errors import RemoteProtocolError, ServiceError
from dicomlab.media.chunk import Rows, read_chunk
from dicomlab.media.containers import container_above, opened_member
from dicomlab.media.fields import FILE_START, FileReader
from dicomlab.media.index import Collector, Index, Row
from dicomlab.media.look import DIRECTORY, META_KEYWORDS, ErrorKind
from dicomlab.media.records import ROOT_TYPES, record_type
from dicomlab.media.walker import HEAD_OCTETS
from dicomlab.model.columns import STANDARD, Column, columns
from dicomlab.model.matching import COMPUTED
from dicomlab.model.reading import Direction
from dicomlab.model.trace import Channel
from dicomlab.part10.files import CANNOT_UNDERSTAND, CHANGED
from dicomlab.part10.meta import FileMeta, encode_file_meta
from dicomlab.part10.walk import Octets

_MAP_FROM = 1 << 20
"""Octets from which a file is mapped into memory instead of read."""

BASE: tuple[str, ...] = tuple(
    dict.fromkeys(
        [
            *(name for names in STANDARD.values() for name in names if name not in COMPUTED),
            *"""SpecificCharacterSet ImageType AcquisitionDate AcquisitionTime AcquisitionNumber Manufacturer
            ManufacturerModelName StationName ProtocolName FrameOfReferenceUID SliceThickness SliceLocation PixelSpacing
            ImagePositionPatient ImageOrientationPatient SamplesPerPixel PhotometricInterpretation BitsAllocated
            BitsStored PixelRepresentation RescaleIntercept RescaleSlope""".split(),
        ]
    )
)
"""What is read of each file at the first look; other attributes are read when somebody asks for them."""

ANOTHER = "ANOTHER data set with the same SOP Instance UID"
"""How the message of an error ``duplicate`` begins that is no mere copy."""
UNSOUND = ("ts_mismatch", "unknown_ts", "bad_meta", "bad_length", "missing_uid")
"""Notes of files that only another reader understands, or nobody for sure: not to be handed on."""


@dataclass(frozen=True, slots=True)
class FileError:
    """A listed file that is no instance, and why; ``path`` leads through archives as through folders."""

    path: str
    kind: ErrorKind
    message: str
    size: int = 0
    offset: int | None = None
    """Octet at which it breaks, where it is known."""
    uids: tuple[str, str, str] = ("", "", "")
    """Study, Series and SOP Instance UID, as far as they could be read."""


@dataclass(slots=True)
class Found:
    """One SOP Instance of a folder: where it lies, and what was read of it."""

    path: Path
    """Absolute; through an archive as through a folder."""
    name: str
    """Relative to the root, with ``/``."""
    meta: FileMeta
    size: int
    """Octets of the file, without padding."""
    padding: int
    """Octets of zero that a medium put behind the data set."""
    row: dict[str, Sequence[object]]
    notes: tuple[str, ...] = ()
    """``kind: text``, each something that is not as it should be."""
    pixels: tuple[int, int] = (0, 0)
    """Offset and octets of the value of Pixel Data; 0 where there is none, or where it is deflated."""
    changed_ns: int = 0
    """When the file, or the archive in which it lies, had last changed as it was looked at; 0: not known."""

    @property
    def sop_instance_uid(self) -> str:
        """Of the data set, which is what counts; the File Meta Information may say something else."""
        return str(self.row["SOPInstanceUID"][0])

    @property
    def unfit(self) -> str:
        """Why it must not be handed on as it lies; ``""`` if it may."""
        return next((note for note in self.notes if note.startswith(UNSOUND)), "")

    @property
    def bare(self) -> bool:
        """Whether preamble, or all of the File Meta Information, is missing in front of the data set."""
        return any(note.startswith(("no_preamble", "no_meta")) for note in self.notes)

    @contextmanager
    def opened(self) -> Iterator[memoryview]:
        """Its octets as they lie; see :func:`opened`.

        Raises
        ------
        ServiceError
            C000H: the file has changed since it was looked at.
        """
        with opened(self.path) as octets:
            if self.changed_ns:
                file = self.path if self.path.is_file() else container_above(self.path)
                if file is None or file.stat().st_mtime_ns != self.changed_ns:
                    raise ServiceError(CHANGED, status=CANNOT_UNDERSTAND)
            yield octets

    def file_meta(self) -> bytes:
        """Preamble and File Meta Information for a bare data set."""
        class_uid = str(self.row["SOPClassUID"][0])
        return encode_file_meta(class_uid, self.sop_instance_uid, self.meta.transfer_syntax_uid)

    @contextmanager
    def part10(self) -> Iterator[memoryview]:
        """Its octets as a whole Part 10 file, padding left out; what it lacks in front is written."""
        with self.opened() as octets:
            if not self.bare:
                yield octets[: self.size]
            else:
                yield memoryview(self.file_meta() + bytes(octets[self.meta.length : self.size]))


@contextmanager
def opened(path: Path) -> Iterator[memoryview]:
    """The octets of a file, also of one in an archive; a large one is mapped, so that only what is looked at is read.

    Raises
    ------
    OSError, ValueError
        It can't be opened (any more).
    """
    try:
        file = path.open("rb")
    except (FileNotFoundError, NotADirectoryError):
        container = container_above(path)
        if container is None:
            raise
        with opened_member(container, path.relative_to(container).as_posix()) as view:
            yield view
        return
    with file:
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


def trace_file(channel: Channel, direction: Direction, line: str, octets: Octets) -> None:
    """Leave one line in the trace for a file read or written, with its first octets: File Meta Information and more."""
    if channel.trace is not None:
        one = replace(channel, dissect=lambda _: line, reader=lambda: FileReader(line), conversation=object())
        one.tap(direction, memoryview(octets)[:FILE_START])


def examine(path: Path, name: str, octets: Octets, more: Sequence[Column] = ()) -> Found | FileError | None:
    """Make an instance of the octets of one file, or say why it is none; None stands for a DICOMDIR.

    `more` names columns to read beside those that are always read.
    """
    names = tuple(dict.fromkeys((*BASE, *(one.name for one in more))))
    rows = Rows(names)
    view = memoryview(octets)

    def read(offset: int, count: int) -> bytes:
        return bytes(view[offset : offset + count])

    if not len(octets):
        return FileError(name, "empty", "the file holds no octet")
    rows.look(read, (name, len(octets), 0), None, len(octets), read(0, HEAD_OCTETS))
    index = Index((*META_KEYWORDS, *names), rows.batch())
    kind = index["kind"][0]
    if kind:
        return None if kind == DIRECTORY else error_of(index, 0, name)
    return found_of(index, 0, path, name, next(index.rows([0], index.columns)))


def error_of(index: Index, number: int, name: str) -> FileError:
    """The error that a row of an index is."""
    uids = [index[keyword][number] or "" for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    offset = index["offset"][number]
    return FileError(
        name,
        index["kind"][number],
        index["message"][number],
        index["octets"][number] + index["padding"][number],
        None if offset < 0 else offset,
        (uids[0], uids[1], uids[2]),
    )


def found_of(index: Index, number: int, path: Path, name: str, row: Row) -> Found:
    """The instance that a row of an index is."""
    class_uid, uid, syntax, version, source = (index[keyword][number] or "" for keyword in META_KEYWORDS)
    notes = index["notes"][number]
    return Found(
        path,
        name,
        FileMeta(class_uid, uid, syntax, index["meta_length"][number], source, version),
        index["octets"][number],
        index["padding"][number],
        row,
        tuple(notes.split("\n")) if notes else (),
        (index["pixel_offset"][number], index["pixel_length"][number]),
        changed_ns if (changed_ns := abs(index["mtime_ns"][number])) > 1 else 0,
    )


def patientless(scan: Scan) -> list[Found]:
    """Instances that belong to no patient, study or series: hanging protocols, palettes, implant templates.

    They are no rows of any table here, and so errors (``missing_uid``); a File-set holds them all the same.
    """
    index = scan.index
    numbers = [
        number
        for number in index.errors
        if index["kind"][number] == "missing_uid"
        and record_type(index["SOPClassUID"][number] or "") in ROOT_TYPES
        and index["SOPInstanceUID"][number]
    ]
    rows = zip(numbers, index.rows(numbers, index.columns), strict=True)
    return [found_of(index, n, scan.root / index.place(n), index.place(n), row) for n, row in rows]


class Instances(MutableMapping[str, Found]):
    """The instances of an index by SOP Instance UID, in the order of the listing, each made when it is asked for."""

    def __init__(self, root: Path, index: Index) -> None:
        self._root, self._index = root, index
        self._numbers = {index["SOPInstanceUID"][number]: number for number in index.instances}
        self._set: dict[str, Found] = {}

    def __len__(self) -> int:
        return len(self._numbers.keys() | self._set.keys()) if self._set else len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        yield from self._numbers
        yield from (uid for uid in self._set if uid not in self._numbers)

    def __getitem__(self, uid: str) -> Found:
        if uid in self._set:
            return self._set[uid]
        number = self._numbers[uid]
        return self._found(number, next(self._index.rows([number], self._index.columns)))

    def __contains__(self, uid: object) -> bool:
        return uid in self._set or uid in self._numbers

    def __setitem__(self, uid: str, found: Found) -> None:
        self._set[uid] = found

    def __delitem__(self, uid: str) -> None:
        known = self._numbers.pop(uid, None) is not None
        if self._set.pop(uid, None) is None and not known:
            raise KeyError(uid)

    def values(self) -> Sequence[Found]:  # type: ignore[override]
        """All of them, made at once."""
        numbers = [number for uid, number in self._numbers.items() if uid not in self._set]
        made = [
            self._found(number, row)
            for number, row in zip(numbers, self._index.rows(numbers, self._index.columns), strict=True)
        ]
        return [*made, *self._set.values()]

    def some(self, uids: Sequence[str]) -> list[Found]:
        """Those of some UIDs, in their order, made at once."""
        numbers = [self._numbers[uid] for uid in uids if uid not in self._set]
        rows = zip(numbers, self._index.rows(numbers, self._index.columns), strict=True)
        made = (self._found(number, row) for number, row in rows)
        return [self._set[uid] if uid in self._set else next(made) for uid in uids]

    def rows(self, wanted: Sequence[Column]) -> list[Row]:
        """Their raw values, of some columns only."""
        numbers = [number for uid, number in self._numbers.items() if uid not in self._set]
        return [*self._index.rows(numbers, wanted), *(found.row for found in self._set.values())]

    def brief(self, wanted: Sequence[Column]) -> Iterator[tuple[str, str, Row]]:
        """Name, transfer syntax and raw values of some columns of each, without making it."""
        numbers = self.numbers
        syntaxes = self._index["TransferSyntaxUID"]
        for number, row in zip(numbers, self._index.rows(numbers, wanted), strict=True):
            yield self._index.place(number), syntaxes[number] or "", row
        for found in self._set.values():
            yield found.name, found.meta.transfer_syntax_uid, found.row

    @property
    def numbers(self) -> list[int]:
        """The rows of the index that they are; those that came since are not among them."""
        return [number for uid, number in self._numbers.items() if uid not in self._set]

    @property
    def added(self) -> list[Found]:
        """Those that came since."""
        return list(self._set.values())

    def _found(self, number: int, row: Row) -> Found:
        name = self._index.place(number)
        return found_of(self._index, number, self._root / name, name, row)


@dataclass
class Scan:
    """What one look through a folder found."""

    root: Path
    index: Index = field(default_factory=lambda: Collector(BASE).index())
    complete: bool = False
    note: str = ""
    """Why the index could not be kept."""

    @cached_property
    def instances(self) -> Instances:
        """By SOP Instance UID, in the order of their paths."""
        return Instances(self.root, self.index)

    @cached_property
    def directories(self) -> list[Path]:
        """DICOMDIR files: neither instances nor errors."""
        return [self.root / self.index.place(number) for number in self.index.directories]

    @property
    def listed(self) -> int:
        """Files listed, members of archives instead of archives, without DICOMDIRs."""
        return len(self.index) - len(self.index.directories) + len(self.instances.added)

    @cached_property
    def errors(self) -> list[FileError]:
        """Every listed file that is no instance."""
        again = self.index.duplicates
        return [
            self._duplicate(number, again[number]) if number in again else self._error(number)
            for number in self.index.errors
        ]

    def _error(self, number: int) -> FileError:
        return error_of(self.index, number, self.index.place(number) or self.root.name)

    def _duplicate(self, number: int, before: int) -> FileError:
        first, second = (self.index.place(one) for one in (before, number))
        meta, octets = self.index["meta_length"], self.index["octets"]
        try:
            with opened(self.root / first) as one, opened(self.root / second) as other:
                same = one[meta[before] : octets[before]] == other[meta[number] : octets[number]]
        except (OSError, ValueError):
            same = False
        what = "the same data set" if same else ANOTHER
        return replace(error_of(self.index, number, second), kind="duplicate", message=f"{what} as {first}")

    def kinds(self) -> Counter[str]:
        """How many errors there are of each kind."""
        kinds, again = self.index["kind"], self.index.duplicates
        return Counter("duplicate" if number in again else kinds[number] for number in self.index.errors)

    def _as_it_was(self, path: str, size: int, mtime_ns: int) -> bool:
        try:
            status = (self.root / path).stat()
        except (OSError, ValueError):
            return False
        return status.st_size == size and abs(mtime_ns) in (status.st_mtime_ns, 1)

    @property
    def held(self) -> set[str]:
        """The columns that have been read of every instance."""
        return set(self.index.names)

    def require(self, wanted: Sequence[Column]) -> None:
        """Read columns that nobody asked for so far."""
        missing = tuple(one.name for one in wanted if one.name not in self.held and one.name not in COMPUTED)
        if not missing:
            return
        index = self.index
        files = {(index["path"][n], index["size"][n], index["mtime_ns"][n]): None for n in self.instances.numbers}
        batch = read_chunk(str(self.root), [one for one in files if self._as_it_was(*one)], missing, whole=False)
        places = {
            (path, member): n
            for n, (path, member, kind) in enumerate(zip(batch["path"], batch["member"], batch["kind"], strict=True))
            if not kind
        }
        numbers = [places.get(place) for place in zip(index["path"], index["member"], strict=True)]
        for name in missing:  # of what went or changed since the scan there is nothing: NA
            texts = batch[name]
            index.add(name, [None if number is None else texts[number] for number in numbers])
        for found in self.instances.added:
            with suppress(RemoteProtocolError, ServiceError, OSError, ValueError), found.opened() as octets:
                again = examine(found.path, found.name, octets, columns(missing))
                if isinstance(again, Found):
                    found.row |= {name: again.row[name] for name in missing if name in again.row}
