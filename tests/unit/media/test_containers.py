"""ZIP archives and ISO 9660 images: as folders, without unpacking, and whatever is in them."""

from __future__ import annotations

import io
import random
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from dicomlab.errors import Interrupted, MissingExtra
from dicomlab.media import containers
from dicomlab.media.found import opened
from dicomlab.media.media_set import MediaSet
from dicomlab.model.progress import Control
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import need
from tests.unit.media.test_header import encoded
from tests.unit.media.test_media_set import Memory, wanted

INSTANCES = list(phantom_datasets(patients=1, slices=3))

OCTETS = [encoded(ds, EXPLICIT_LE) for ds in INSTANCES]
NAMES = ["PT1/ST1/SE1/IM1", "PT1/ST1/SE1/IM2", "README.TXT"]
FILES = dict(zip(NAMES, [*OCTETS[:2], b"Insert disc."], strict=True))


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice
        for name, octets in files.items():
            archive.writestr(name, octets)
    return buffer.getvalue()


def imaged(files: dict[str, bytes]) -> bytes:
    from pycdlib.pycdlib import PyCdlib

    image = PyCdlib()
    image.new(interchange_level=1)
    made: set[str] = set()
    for name, octets in files.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            if (folder := "/" + "/".join(parts[:depth])) not in made:
                image.add_directory(folder)
                made.add(folder)
        image.add_fp(io.BytesIO(octets), len(octets), f"/{name}{'' if '.' in name else '.'};1")
    buffer = io.BytesIO()
    image.write_fp(buffer)
    image.close()
    return buffer.getvalue()


MAKERS = {
    "deflated.zip": zipped,
    "stored.zip": lambda files: zipped(files, zipfile.ZIP_STORED),
    "disc.iso": imaged,
    "outer.zip": lambda files: zipped({"inner.zip": zipped(files)}),
    "tray.zip": lambda files: zipped({"disc.iso": imaged(files)}, zipfile.ZIP_STORED),
}


@pytest.fixture(params=MAKERS)
def archive(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "place" / str(request.param)
    path.parent.mkdir()
    path.write_bytes(MAKERS[str(request.param)](FILES))
    return path


def kinds(media: MediaSet) -> dict[str, str]:
    held = media._scanned()
    assert held.listed == len(held.instances) + len(held.errors)
    return {error.path: error.kind for error in held.errors}


@pytest.mark.parametrize("within", [False, True])
def test_it_is_looked_into_as_a_folder(archive: Path, within: bool, tmp_path: Path) -> None:
    media = MediaSet(archive.parent if within else archive, cache=False)
    before = {"outer.zip": "inner.zip/", "tray.zip": "disc.iso/"}.get(archive.name, "")
    prefix = f"{archive.name}/{before}" if within else before
    assert sorted(media.instances["path"]) == [f"{prefix}{name}" for name in NAMES[:2]]
    assert kinds(media) == {f"{prefix}README.TXT": "not_dicom"}
    assert len(media.find("instance", PatientID=INSTANCES[0].PatientID)) == 2
    report = media.find("study").retrieve(tmp_path / "out", progress=False)
    assert report.complete
    assert sorted(path.read_bytes() for path in (tmp_path / "out").rglob("*.dcm")) == sorted(OCTETS[:2])
    assert list(archive.parent.iterdir()) == [archive]  # nothing was unpacked beside it


def test_data_sets_are_read_out_of_it(archive: Path) -> None:
    got = list(MediaSet(archive, cache=False).find("study").datasets())
    assert {ds.SOPInstanceUID for ds in got} == {ds.SOPInstanceUID for ds in INSTANCES[:2]}
    assert all(isinstance(ds, Dataset) and ds.pixel_array.size for ds in got)


def test_further_columns_are_read_out_of_it(archive: Path) -> None:
    found = MediaSet(archive, cache=False).find("instance", include=["WindowCenter"])
    assert found["WindowCenter"].notna().all()


def test_what_is_written_from_it_is_a_file_set(archive: Path, tmp_path: Path) -> None:
    report = MediaSet(archive, cache=False).write(tmp_path / "set", progress=False)
    assert report.complete
    assert report.media.verify()


def test_it_is_stored_elsewhere(archive: Path) -> None:
    from dicomlab import Archive

    with Archive() as shelf:
        for door in (shelf.node, shelf.web):
            assert door.store(MediaSet(archive, cache=False), progress=False).count("done") == 2


def test_a_file_set_in_an_archive_agrees_with_its_dicomdir(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    for number, octets in enumerate(OCTETS):
        (tmp_path / "files" / str(number)).write_bytes(octets)
    MediaSet(tmp_path / "files").write(tmp_path / "set", progress=False)
    files = {
        path.relative_to(tmp_path / "set").as_posix(): path.read_bytes()
        for path in sorted((tmp_path / "set").rglob("*"))
        if path.is_file()
    }
    for name, octets in (("disc.zip", zipped(files)), ("disc.iso", imaged(files))):
        (tmp_path / name).write_bytes(octets)
        assert MediaSet(tmp_path / name, cache=False).verify(), name


# --- what is wrong with it -------------------------------------------------------------------------------------------


def scanned(tmp_path: Path, octets: bytes, name: str = "a.zip") -> dict[str, str]:
    (tmp_path / name).write_bytes(octets)
    return kinds(MediaSet(tmp_path, cache=False))


@pytest.mark.parametrize(
    "name", ["../out.dcm", "/etc/out.dcm", "a/../../out.dcm", "C:/out.dcm", "..\\out.dcm", "a//out.dcm", "./out.dcm"]
)
def test_no_name_leads_out(name: str, tmp_path: Path) -> None:
    assert scanned(tmp_path, zipped({name: OCTETS[0], "in.dcm": OCTETS[1]})) == {f"a.zip/{name}": "archive_path"}


def test_of_two_members_with_one_name_the_first_is_read(tmp_path: Path) -> None:
    octets = zipped({"a.dcm": OCTETS[0], "b.dcm": OCTETS[1]}).replace(b"b.dcm", b"a.dcm")
    assert scanned(tmp_path, octets) == {"a.zip/a.dcm": "duplicate_member"}
    assert list(MediaSet(tmp_path, cache=False).find("instance")["SOPInstanceUID"]) == [INSTANCES[0].SOPInstanceUID]


def flagged(octets: bytes, offset: int, value: bytes) -> bytes:
    """With a field of the central directory overwritten."""
    at = octets.index(b"PK\1\2") + offset
    return octets[:at] + value + octets[at + len(value) :]


ONE = zipped({"a.dcm": OCTETS[0]})
DAMAGED = {
    "encrypted": (flagged(ONE, 8, b"\1\0"), "a.zip/a.dcm", "permission"),
    "method": (flagged(ONE, 10, b"\x0e\0"), "a.zip/a.dcm", "unreadable"),
    "stored, two sizes": (flagged(ONE, 10, b"\0\0"), "a.zip/a.dcm", "bad_archive"),
    "directory cut": (ONE[:-30], "a.zip", "bad_archive"),
    "cut in the middle": (ONE[:200], "a.zip", "bad_archive"),
    "offset into nowhere": (flagged(ONE, 42, b"\5\0\0\0"), "a.zip/a.dcm", "bad_archive"),
    "says less": (flagged(ONE, 24, struct.pack("<L", 2000)), "a.zip/a.dcm", "truncated"),
    "says more": (flagged(ONE, 24, struct.pack("<L", 1 << 20)), "a.zip/a.dcm", "unreadable"),
    "folded less": (flagged(ONE, 20, struct.pack("<L", 100)), "a.zip/a.dcm", "truncated"),
    "no member": (zipped({}), None, None),
    "no deflate": (flagged(ONE, 0, b"PK\1\2").replace(ONE[40:60], b"\xff" * 20), "a.zip/a.dcm", "inflate"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_each_defect_has_its_kind(name: str, tmp_path: Path) -> None:
    octets, path, kind = DAMAGED[name]
    assert scanned(tmp_path, octets) == ({path: kind} if path else {})


def test_a_member_that_breaks_after_the_scan_is_no_instance(tmp_path: Path) -> None:
    octets = bytearray(zipped({"a.dcm": OCTETS[0]}, zipfile.ZIP_STORED))
    octets[octets.index(OCTETS[0]) + len(OCTETS[0]) - 5] ^= 1  # in the pixels, where a scan does not look
    (tmp_path / "a.zip").write_bytes(octets)
    media = MediaSet(tmp_path / "a.zip", cache=False)
    assert len(media.instances) == 1
    with pytest.raises(Interrupted, match="check sum"):
        media.find("instance").retrieve(tmp_path / "out", progress=False)
    assert not list((tmp_path / "out").rglob("*.dcm"))
    with pytest.raises(ValueError, match="check sum"), opened(tmp_path / "a.zip" / "a.dcm"):
        pass
    with pytest.raises(ValueError, match="not in the archive"), opened(tmp_path / "a.zip" / "b.dcm"):
        pass
    with pytest.raises(OSError, match=r"absent"), opened(tmp_path / "absent" / "b.dcm"):
        pass


def test_archives_in_archives_end_somewhere(tmp_path: Path) -> None:
    octets = zipped({"a.dcm": OCTETS[0]})
    for _ in range(containers.MAX_DEPTH):
        octets = zipped({"a.zip": octets})
    assert list(scanned(tmp_path, octets).values()) == ["nesting"]


def test_a_large_archive_in_an_archive_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_INNER_OCTETS", 1000)
    assert scanned(tmp_path, zipped({"in.zip": zipped(FILES)})) == {"a.zip/in.zip": "inflate"}


def test_bombs_end_at_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "BUDGET_OCTETS", 1 << 16)
    monkeypatch.setattr(containers, "BUDGET_TIMES", 0)
    head = OCTETS[0][: OCTETS[0].rindex(b"\xe0\x7f\x10\0")]
    bomb = head + b"\x09\0\x10\0UN\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\0\0\0\0" * (1 << 20)
    found = scanned(tmp_path, zipped({f"{n}.dcm": bomb for n in range(6)}))
    assert set(found.values()) == {"inflate"}
    assert len(found) == 6


def test_a_document_is_no_archive_to_be_looked_into(tmp_path: Path) -> None:
    assert scanned(tmp_path, zipped(FILES), "letter.docx") == {"letter.docx": "not_dicom"}


def test_images_need_their_library_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    octets = imaged(FILES)
    monkeypatch.setitem(sys.modules, "pycdlib.pycdlib", None)
    assert scanned(tmp_path, octets, "a.iso") == {"a.iso": "bad_archive"}
    with pytest.raises(MissingExtra, match=r"dicomlab\[iso\]"):
        MediaSet(tmp_path / "a.iso", cache=False).find()


def test_an_image_whose_folders_form_a_loop(tmp_path: Path) -> None:
    octets = bytearray(imaged({"DIR1/SUB/IM1": OCTETS[0]}))
    sub, folder = (octets.index(mark) - 32 for mark in (b"\x03SUB", b"\x04DIR1"))
    octets[sub + 2 : sub + 10] = octets[folder + 2 : folder + 10]
    assert set(scanned(tmp_path, bytes(octets), "a.iso").values()) <= {"bad_archive", "unreadable"}


def test_an_image_with_versions_of_one_file(tmp_path: Path) -> None:
    octets = imaged({"IM1": OCTETS[0], "IM2": OCTETS[1]}).replace(b"IM2.;1", b"IM1.;2")
    assert scanned(tmp_path, octets, "a.iso") == {"a.iso/IM1": "duplicate_member"}


SOME = st.sampled_from([zipped(FILES), zipped(FILES, zipfile.ZIP_STORED), zipped({"in.zip": zipped(FILES)})])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(octets=SOME, seed=st.integers(0, 1 << 32), cut=st.booleans())
def test_damaged_anywhere_every_member_is_accounted_for(octets: bytes, seed: int, cut: bool, tmp_path: Path) -> None:
    chance = random.Random(seed)
    damaged = bytearray(octets)
    for _ in range(chance.randrange(1, 12)):
        near = chance.choice([0, octets.index(b"PK\1\2")])
        damaged[min(len(damaged) - 1, near + chance.randrange(200))] = chance.randrange(256)
    scanned(tmp_path, bytes(damaged[: chance.randrange(len(damaged))] if cut else damaged))


@pytest.mark.full
@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_image_is_accounted_for(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    octets = bytearray(imaged(FILES))
    for _ in range(chance.randrange(1, 8)):
        octets[chance.randrange(0x8000, len(octets) - 1)] = chance.randrange(256)
    scanned(tmp_path, bytes(octets), "a.iso")


def test_dcmtk_reads_what_came_out(archive: Path, tmp_path: Path) -> None:
    import subprocess

    need("dcmtk")
    memory, media = Memory(), MediaSet(archive, cache=False)
    media.deliver(wanted(media), memory, Control())
    for number, octets in enumerate(memory.files.values()):
        (tmp_path / str(number)).write_bytes(octets)
        assert subprocess.run(["dcmdump", tmp_path / str(number)], capture_output=True, check=False).returncode == 0
        assert dcmread(tmp_path / str(number)).PatientID == INSTANCES[0].PatientID


def members(octets: bytes, kind: Any = "zip") -> Iterator[str]:
    read = lambda at, n: octets[at : at + n]  # noqa: E731
    for member in containers.members_of(containers.Container(kind, read, len(octets))):
        yield member.name


def test_members_come_in_the_order_of_the_archive() -> None:
    assert list(members(zipped(FILES))) == NAMES
