"""Files on disc: written whole or not at all, opened with suspicion, none lost."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import warnings
from collections.abc import Callable, Iterator
from io import BytesIO, FileIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset

from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.protocols import Arrival
from dicomlab.model.report import Outcome
from dicomlab.part10 import files
from dicomlab.part10.files import (
    FileWriter,
    Parcel,
    Unfit,
    parcel_of_file,
    parcels,
    read_file_meta,
    sha256_of_dataset,
)
from dicomlab.part10.memory import Gathering
from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE, encode_file_meta
from tests.unit.part10.vectors import vector

FOLDER = Path(pydicom.__file__).parent / "data" / "test_files"
CT = "1.2.840.10008.5.1.4.1.1.2"
DATA = vector("dataset-good-nested")
ARRIVAL = Arrival(CT, "1.2.3", EXPLICIT_LE, source="PACS")


def whole_file(uid: str = "1.2.3", data: bytes = DATA) -> bytes:
    return encode_file_meta(CT, uid, EXPLICIT_LE) + data


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


# ------------------------------------------------------------------------------------------------------------- writing


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "one.dcm"
    writer = FileWriter(path, ARRIVAL, digest=True, root=tmp_path)
    for at in range(0, len(DATA), 7):
        writer.write(memoryview(DATA)[at : at + 7])
        assert not path.exists()
        assert all(Path(name).name.startswith(".") and name.endswith(".part") for name in listing(tmp_path))
    outcome = writer.finish()
    assert listing(tmp_path) == ["a/b/one.dcm"]
    assert path.read_bytes() == encode_file_meta(CT, "1.2.3", EXPLICIT_LE, source_ae_title="PACS") + DATA
    digest = hashlib.sha256(DATA).hexdigest()
    assert outcome == Outcome("1.2.3", "done", "0000H Success", CT, EXPLICIT_LE, len(DATA), "a/b/one.dcm", digest)
    assert sha256_of_dataset(path) == digest
    assert pydicom.dcmread(path).Modality == "CT"


def test_meta_that_came_along_stays_as_it_is(tmp_path: Path) -> None:
    theirs = vector("meta-good")[:220]
    writer = FileWriter(tmp_path / "x", Arrival("1.2", "1.3", EXPLICIT_LE, theirs))
    writer.write(DATA)
    outcome = writer.finish()
    assert (tmp_path / "x").read_bytes() == theirs + DATA
    assert (outcome.octets, outcome.path, outcome.sha256) == (len(DATA), "x", "")


def test_an_abandoned_file_leaves_nothing(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path / "x", ARRIVAL)
    writer.write(DATA)
    writer.abandon()
    assert listing(tmp_path) == []
    writer.abandon()


def test_the_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"older")
    abandoned = FileWriter(path, ARRIVAL)
    abandoned.write(DATA)
    abandoned.abandon()
    assert path.read_bytes() == b"older"
    writer = FileWriter(path, ARRIVAL)
    writer.write(DATA)
    assert path.read_bytes() == b"older"
    writer.finish()
    writer.abandon()  # too late, and no harm
    assert path.read_bytes()[-len(DATA) :] == DATA


def test_two_at_once_for_the_same_name(tmp_path: Path) -> None:
    one, other = FileWriter(tmp_path / "x", ARRIVAL), FileWriter(tmp_path / "x", ARRIVAL)
    one.write(b"11")
    other.write(b"2222")
    one.finish()
    other.finish()
    assert listing(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes().endswith(b"2222")


class Failing:
    """A file on a medium that fails after some octets."""

    def __init__(self, file: Any, code: int, room: int, *, at_close: bool = False) -> None:
        self._file, self._code, self._room, self._at_close = file, code, room, at_close

    def write(self, octets: Any) -> int:
        self._room -= len(octets)
        if self._room < 0 and not self._at_close:
            raise OSError(self._code, os.strerror(self._code))
        written: int = self._file.write(octets)
        return written

    def close(self) -> None:
        self._file.close()
        if self._at_close:
            raise OSError(self._code, os.strerror(self._code))


class InPieces:
    """A file that takes a few octets at once, as write(2) may."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def write(self, octets: Any) -> int:
        written: int = self._file.write(octets[:7])
        return written

    def close(self) -> None:
        self._file.close()


def test_a_medium_that_takes_a_part_gets_the_rest(tmp_path: Path) -> None:
    writer = FileWriter(tmp_path / "x", ARRIVAL)
    writer._file = InPieces(writer._file)  # type: ignore[assignment]
    writer.write(DATA)
    assert writer.finish().octets == len(DATA)
    assert (tmp_path / "x").read_bytes().endswith(DATA)


def test_what_a_full_medium_takes_a_part_of_is_not_taken_for_written(tmp_path: Path) -> None:
    """Where space ends within a write, the system takes what fits and says so by its count alone."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    writer = FileWriter(tmp_path / "1.dcm", ARRIVAL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, limits[1]))
    try:
        with pytest.raises(Interrupted, match="no space left"):
            writer.write(bytes(5 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        writer.abandon()
    assert listing(tmp_path) == []


SENTENCES = {
    errno.ENOSPC: (Interrupted, "no space left; free some and call again: what arrived whole is kept"),
    errno.EDQUOT: (Interrupted, "no space left"),
    errno.EIO: (Interrupted, "the medium failed: Input/output error"),
    errno.EACCES: (Refused, r"not allowed to write here \(Permission denied\)"),
    errno.EROFS: (Refused, r"not allowed to write here \(Read-only file system\)"),
}


@pytest.mark.parametrize("code", SENTENCES)
def test_the_medium_fails_while_writing(tmp_path: Path, code: int) -> None:
    kind, says = SENTENCES[code]
    first = FileWriter(tmp_path / "first", ARRIVAL)
    first.write(DATA)
    first.finish()
    writer = FileWriter(tmp_path / "Doe^Jane" / "second", ARRIVAL, root=tmp_path)
    writer._file = Failing(writer._file, code, 50)  # type: ignore[assignment]
    writer.write(DATA[:50])
    with pytest.raises(kind, match=says) as caught:
        writer.write(DATA[50:])
    assert isinstance(caught.value.__cause__, OSError)
    writer.abandon()
    assert listing(tmp_path) == ["first"]
    assert caught.value.endpoint == str(tmp_path)
    assert "Doe" not in str(caught.value)  # a layout may put patients into paths


@pytest.mark.parametrize("code", SENTENCES)
def test_the_medium_fails_at_the_end(tmp_path: Path, code: int) -> None:
    """What was buffered is written when the file is closed."""
    kind, says = SENTENCES[code]
    writer = FileWriter(tmp_path / "x", ARRIVAL)
    writer.write(DATA)
    writer._file = Failing(writer._file, code, 0, at_close=True)  # type: ignore[assignment]
    with pytest.raises(kind, match=says):
        writer.finish()
    assert listing(tmp_path) == []


@pytest.mark.parametrize("code", SENTENCES)
def test_the_medium_fails_at_the_start(tmp_path: Path, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, says = SENTENCES[code]

    def open_failing(*arguments: Any) -> Any:
        return Failing(FileIO(*arguments), code, 0)

    with monkeypatch.context() as patch:
        patch.setattr("dicomlab.part10.files.FileIO", open_failing)
        with pytest.raises(kind, match=says):
            FileWriter(tmp_path / "x", ARRIVAL)
    assert listing(tmp_path) == []


def test_renaming_fails(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    writer = FileWriter(tmp_path / "x", ARRIVAL)
    writer.write(DATA)
    with pytest.raises(Interrupted, match="the medium failed"):
        writer.finish()
    assert listing(tmp_path) == []


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(Interrupted, match="the medium failed"):
        FileWriter(tmp_path / "file" / "x", ARRIVAL)
    assert listing(tmp_path) == ["file"]


@pytest.mark.parametrize("arrival", [Arrival(CT, "1.2.ä", EXPLICIT_LE), Arrival("1" * 99, "1.2", EXPLICIT_LE)])
def test_a_sender_who_announces_nonsense(tmp_path: Path, arrival: Arrival) -> None:
    with pytest.raises(ServiceError, match="cannot understand") as caught:
        FileWriter(tmp_path / "x", arrival)
    assert caught.value.status == 0xC000
    assert listing(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------- reading


@pytest.mark.parametrize("size", [4096, 16384, 65536])
def test_meta_longer_than_one_read(tmp_path: Path, size: int) -> None:
    """Private Information (0002,0102) may be long; the file ends where a read does, one before, one after."""
    for more in (-2, 0, 2):
        head = vector("meta-good")[:220]
        filler = size + more - len(head) - 12
        octets = head + bytes.fromhex("02000201 4f42 0000") + filler.to_bytes(4, "little") + b"\1" * filler
        path = tmp_path / "x"
        path.write_bytes(octets)
        assert read_file_meta(path).length == len(octets) == size + more
        path.write_bytes(octets + DATA)
        assert read_file_meta(path).length == len(octets)
        path.write_bytes(octets[:-1])
        with pytest.raises(RemoteProtocolError, match="is cut"):
            read_file_meta(path)


def test_meta_that_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"\0" * 128 + b"DICM" + bytes.fromhex("02001600 4145 0000") * 200_000)
    with pytest.raises(RemoteProtocolError, match="beyond 1 MiB"):
        read_file_meta(path)


def test_a_parcel_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(whole_file())
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    assert (parcel.name, parcel.path, parcel.padding) == (str(path), path, 0)
    assert (parcel.size, parcel.dataset_size) == (len(whole_file()), len(DATA))
    for _ in range(2):
        with parcel.open() as octets:
            assert octets == whole_file()
        with parcel.dataset() as octets:
            assert octets == DATA


def test_padding_of_a_medium_is_left_behind(tmp_path: Path) -> None:
    """Peers get the data set, not the rest of a sector."""
    path = tmp_path / "x.dcm"
    path.write_bytes(whole_file() + b"\0" * 512)
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    assert (parcel.padding, parcel.dataset_size, parcel.size) == (512, len(DATA), len(whole_file()))
    with parcel.dataset() as octets:
        assert octets == DATA
    with parcel.open() as octets:
        assert octets == whole_file()


def test_a_slice_that_somebody_kept_is_an_error_in_the_open(tmp_path: Path) -> None:
    """No view of a file outlives its block, so nothing reads a map that is gone."""
    path = tmp_path / "x.dcm"
    path.write_bytes(whole_file())
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel)
    with parcel.dataset() as octets:
        pass
    with pytest.raises(ValueError, match="released"):
        octets[0]


BROKEN: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "too short for a preamble: not a DICOM file"),
    "text": (b"no DICOM file " * 20, "no DICM after the preamble"),
    "short": (b"\0" * 131, "too short for a preamble"),
    "prefix only": (b"\0" * 128 + b"DICM", "no Transfer Syntax UID"),
    "no data set": (whole_file(data=b""), "nothing follows its File Meta Information"),
    "zeros only": (whole_file(data=b"\0" * 64), "nothing follows its File Meta Information"),
    "cut in meta": (whole_file()[:200], "is cut"),
    "cut in data": (whole_file()[:-1], r"announces 2 octets, 1 of them are missing"),
    "garbage after": (whole_file() + b"\xff" * 20, "is no VR"),
    "no uids": (vector("meta-no-group-length"), "names no SOP Class or SOP Instance"),
    "directory": (encode_file_meta("1.2.840.10008.1.3.10", "1.2", EXPLICIT_LE) + DATA, "a DICOMDIR"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_whole_dicom_file(tmp_path: Path, name: str) -> None:
    octets, says = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(octets)
    unfit = parcel_of_file(path)
    assert isinstance(unfit, Unfit)
    assert unfit.name == str(path)
    assert re.search(says, unfit.reason)


def refuse(path: Path) -> Callable[..., int]:
    opened = os.open

    def open_or_not(name: Any, *arguments: Any, **options: Any) -> int:
        if os.fspath(name) == str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(name, *arguments, **options)

    return open_or_not


def test_what_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    path.write_bytes(whole_file())
    monkeypatch.setattr(os, "open", refuse(path))  # root may open everything, and tests may run as root
    assert parcel_of_file(path) == Unfit(str(path), "can't be read: Permission denied")
    assert parcel_of_file(tmp_path / "gone") == Unfit(
        str(tmp_path / "gone"), "can't be read: No such file or directory"
    )
    assert parcel_of_file(tmp_path) == Unfit(str(tmp_path), "no regular file")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert list(parcels(tmp_path)) == [Unfit(str(tmp_path / "pipe"), "no regular file")]


# ------------------------------------------------------------------------------------------------------------- parcels


def names_of(found: Iterator[Parcel | Unfit]) -> list[tuple[type, str]]:
    return [(type(one), Path(one.name).name) for one in found]


def test_a_folder_is_every_file_in_it(tmp_path: Path) -> None:
    for place in (
        "b/2.dcm",
        "b/1.dcm",
        "a.dcm",
        "c/d/e/3",
        "b/.hidden",
        ".git/4.dcm",
        "DICOMDIR",
        "b/dicomdir",
        "ledger.jsonl",
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(whole_file())
    for name, (octets, _) in BROKEN.items():
        (tmp_path / "c" / f"{name}.dcm").write_bytes(octets)
    (tmp_path / "away").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "link.dcm").symlink_to(tmp_path / "a.dcm")
    found = list(parcels(tmp_path))
    assert [one.name for one in found if isinstance(one, Parcel)] == [
        str(tmp_path / name) for name in ("a.dcm", "link.dcm", "b/1.dcm", "b/2.dcm", "c/d/e/3")
    ]
    unfit = {one.name: one.reason for one in found if isinstance(one, Unfit)}
    assert set(unfit) == {str(tmp_path / name) for name in ("away", "linked", "loop", *(f"c/{n}.dcm" for n in BROKEN))}
    assert "a link to a folder" in unfit[str(tmp_path / "linked")]
    assert "No such file" in unfit[str(tmp_path / "away")]
    assert list(parcels(tmp_path)) == found  # in the same order


def test_a_folder_that_cannot_be_looked_into_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open" / "x").write_bytes(whole_file())
    (tmp_path / "shut").mkdir()
    looked = os.scandir

    def look(path: Any) -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return looked(path)

    monkeypatch.setattr(os, "scandir", look)
    first, second = parcels(tmp_path)
    assert isinstance(first, Parcel)
    assert second == Unfit(str(tmp_path / "shut"), "can't be looked into: Permission denied")


def test_lists_of_everything(tmp_path: Path) -> None:
    path, broken = tmp_path / "x", tmp_path / "broken"
    path.write_bytes(whole_file())
    broken.write_bytes(b"")
    ready, unfit = Gathering(ARRIVAL).parcel(), Unfit("5", "not here")
    data_set = pydicom.dcmread(FOLDER / "CT_small.dcm")
    found = list(parcels([str(path), broken, [ready, (unfit,)], data_set, iter([path])]))
    assert [type(one) for one in found] == [Parcel, Unfit, Parcel, Unfit, Parcel, Parcel]
    assert found[2:4] == [ready, unfit]
    assert list(parcels([])) == []
    assert list(parcels(ready)) == [ready]


def test_who_knows_its_files_gives_them() -> None:
    class Medium:
        def parcels(self) -> Iterator[Parcel | Unfit]:
            yield Unfit("mine", "x")

    assert list(parcels(Medium())) == [Unfit("mine", "x")]
    assert list(parcels([Medium()])) == [Unfit("mine", "x")]


@pytest.mark.parametrize(
    "what", ["no/such/place", Path("no/such/place"), 5, None, b"path", bytearray(b"path"), {"a": 1}, object(), ""]
)
def test_what_can_be_no_instance_is_said_before_anything_is_opened(tmp_path: Path, what: object) -> None:
    path = tmp_path / "x"
    path.write_bytes(whole_file())
    for whole in (what, [path, what], [path, (path, {5, "x"} if what == 5 else [what])]):
        with pytest.raises(UsageError, match=r"no such file or folder|can't store a"):
            parcels(whole)  # not even asked for the first one


def test_what_a_generator_gives_is_looked_at_as_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(whole_file())
    found = list(parcels(one for one in (path, tmp_path / "gone", path)))
    assert [type(one) for one in found] == [Parcel, Unfit, Parcel]


def test_every_file_of_the_wheel_is_accounted_for() -> None:
    found = list(parcels(FOLDER))
    on_disc = [p for p in FOLDER.rglob("*") if p.is_file() and p.name != "DICOMDIR" and "__pycache__" not in p.parts]
    assert len(found) == len(on_disc) == len({one.name for one in found})
    assert sum(isinstance(one, Parcel) for one in found) > 40


# ------------------------------------------------------------------------------------------------------------ data sets


def encoded(what: Dataset) -> Parcel:
    [parcel] = parcels(what)
    assert isinstance(parcel, Parcel), parcel
    return parcel


def test_a_data_set_in_memory() -> None:
    data_set = Dataset()
    data_set.SOPClassUID, data_set.SOPInstanceUID, data_set.PatientName = CT, "1.2.3", "Doe^Jane"
    parcel = encoded(data_set)
    assert parcel.meta.transfer_syntax_uid == EXPLICIT_LE
    assert (parcel.meta.sop_class_uid, parcel.meta.sop_instance_uid) == (CT, "1.2.3")
    assert pydicom.dcmread(BytesIO(parcel.octets)).PatientName == "Doe^Jane"
    assert not hasattr(data_set, "file_meta")  # the caller's object stays as it is


def test_a_data_set_of_a_file_keeps_its_syntax_and_octets() -> None:
    path = FOLDER / "MR_small_implicit.dcm"
    parcel = encoded(pydicom.dcmread(path))
    assert parcel.meta.transfer_syntax_uid == IMPLICIT_LE
    with parcel.dataset() as octets:
        assert octets == path.read_bytes()[read_file_meta(path).length :]


def test_the_uid_of_the_data_set_is_the_one_that_counts() -> None:
    data_set = pydicom.dcmread(FOLDER / "CT_small.dcm")
    before = data_set.file_meta.MediaStorageSOPInstanceUID
    data_set.SOPInstanceUID = "1.2.3.4"
    assert encoded(data_set).meta.sop_instance_uid == "1.2.3.4"
    assert data_set.file_meta.MediaStorageSOPInstanceUID == before


def wrong_number(data_set: Dataset) -> None:
    data_set["Rows"].value = 70_000


def wrong_text(data_set: Dataset) -> None:
    data_set.add_new(0x00091001, "US", "Secret^Name")


def no_uid(data_set: Dataset) -> None:
    del data_set.SOPInstanceUID


def no_class(data_set: Dataset) -> None:
    data_set.SOPClassUID = None


def not_compressed(data_set: Dataset) -> None:
    data_set.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"


def command(data_set: Dataset) -> None:
    data_set.add_new(0x00000100, "US", 1)


@pytest.mark.parametrize("spoil", [wrong_number, wrong_text, no_uid, no_class, not_compressed, command])
def test_a_data_set_that_cannot_be_encoded_is_unfit_and_stops_nothing(spoil: Callable[[Dataset], None]) -> None:
    good, bad = (pydicom.dcmread(FOLDER / "CT_small.dcm") for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's own word on it
        spoil(bad)
        first, second = parcels([bad, good])
    assert isinstance(first, Unfit)
    assert isinstance(second, Parcel)
    assert first.name.startswith("data set")
    assert "\n" not in first.reason
    assert "Secret" not in first.reason
    assert len(first.reason) < 400


def test_file_meta_without_a_syntax_is_completed() -> None:
    data_set = pydicom.dcmread(FOLDER / "CT_small.dcm")
    data_set.file_meta = FileMetaDataset()
    assert encoded(data_set).meta.transfer_syntax_uid == EXPLICIT_LE


def test_chunks_are_a_fair_size() -> None:
    assert 1 << 16 <= files.CHUNK_OCTETS <= 1 << 22
