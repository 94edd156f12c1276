"""An index between scans: only what changed is read, a killed scan goes on, and whatever lies there is not believed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pandas.testing import assert_frame_equal

from dicomlab.errors import Interrupted, UsageError
from dicomlab.media import cache, chunk, scan
from dicomlab.media.cache import Parts, load, place_of
from dicomlab.media.found import BASE
from dicomlab.media.listing import INDEX_NAME
from dicomlab.media.media_set import MediaSet
from dicomlab.model.progress import Progress
from dicomlab.samples.phantom import write_phantom

LONG_AGO = (1_700_000_000, 1_700_000_000)


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """Instances, junk, an archive, a link out, in several folders."""
    folder = tmp_path / "pile"
    for name in ("a", "b/c", "d"):
        write_phantom(folder / name, patients=1, slices=2)
    with zipfile.ZipFile(folder / "b" / "more.zip", "w") as archive:
        for path in sorted((folder / "d").iterdir()):
            archive.write(path, path.name)
            path.unlink()
    (folder / "d" / "readme.txt").write_text("no DICOM")
    (folder / "b" / "link").symlink_to("/etc/hosts")
    for number, path in enumerate(sorted((folder / "b" / "c").iterdir())):  # other instances than those of "a"
        octets = path.read_bytes()
        path.write_bytes(octets.replace(b"2.25.", b"2.26.") if number else octets)
    return settled(folder)


def settled(folder: Path) -> Path:
    """As though nothing had changed for long."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            os.utime(path, LONG_AGO)
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read since."""
    seen: list[str] = []
    plain = chunk._read

    def reading(root: str, entry: tuple[str, int, int], rows: chunk.Rows, timeout_s: float) -> None:
        seen.append(entry[0])
        plain(root, entry, rows, timeout_s)

    monkeypatch.setattr(chunk, "_read", reading)
    return seen


def files(folder: Path) -> list[str]:
    paths = (p for p in folder.rglob("*") if p.is_file() and not p.is_symlink())
    return sorted(p.relative_to(folder).as_posix() for p in paths if INDEX_NAME not in p.parts)


def same(one: MediaSet, other: MediaSet) -> None:
    for name in ("instances", "series", "studies", "patients", "errors", "findings"):
        assert_frame_equal(getattr(one, name), getattr(other, name))
    assert one.paths == other.paths


@pytest.mark.parametrize("kind", ["beside", "path", "memory"])
def test_what_is_unchanged_is_not_read_again(kind: str, pile: Path, tmp_path: Path, read: list[str]) -> None:
    where = {"beside": "beside", "path": tmp_path / "caches", "memory": False}[kind]
    media = MediaSet(pile, cache=where)
    media.scan(progress=False)
    assert sorted(read) == files(pile)
    read.clear()
    again = media if kind == "memory" else MediaSet(pile, cache=where)
    again.scan(progress=False)
    assert read == []
    same(again, MediaSet(pile, cache=False))
    read.clear()
    (pile / "a" / "0001.dcm").unlink()
    (pile / "new.txt").write_text("new")
    os.utime(pile / "b" / "more.zip", (1, 1))
    (pile / "b" / "link").unlink()
    again.scan(progress=False)
    assert sorted(read) == ["b/more.zip", "new.txt"]
    same(again, MediaSet(pile, cache=False))


def test_what_only_went_is_seen(pile: Path, tmp_path: Path, read: list[str]) -> None:
    MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    read.clear()
    (pile / "a" / "0001.dcm").unlink()
    again = MediaSet(pile, cache=tmp_path / "caches")
    same(again, MediaSet(pile, cache=False))
    assert "a/0001.dcm" not in list(again.instances["path"])
    (pile / "b" / "link").unlink()
    assert len(MediaSet(pile, cache=tmp_path / "caches").errors) == len(again.errors) - 1


def test_a_file_changed_a_moment_ago_is_not_trusted(pile: Path, tmp_path: Path, read: list[str]) -> None:
    path = pile / "a" / "0001.dcm"
    os.utime(path)
    MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    read.clear()
    MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    assert read == ["a/0001.dcm"]


def test_an_index_that_lacks_a_column_is_no_help(pile: Path, tmp_path: Path, read: list[str]) -> None:
    media = MediaSet(pile, cache=tmp_path / "caches")
    media.scan(progress=False)
    read.clear()
    other = MediaSet(pile, cache=tmp_path / "caches").scan(["WindowCenter", "(0019,1010)"], progress=False)
    assert sorted(read) == files(pile)
    assert other.instances["WindowCenter"].notna().all()
    read.clear()
    assert "WindowCenter" in MediaSet(pile, cache=tmp_path / "caches").instances
    assert read == []


@pytest.mark.parametrize("rows", [1, 3, 1000])
def test_parts_of_any_size(rows: int, pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PART_ROWS", rows)
    where = tmp_path / "caches"
    same(MediaSet(pile, cache=where).scan(progress=False), MediaSet(pile, cache=False))
    same(MediaSet(pile, cache=where), MediaSet(pile, cache=False))
    monkeypatch.setattr(cache, "_HELD_OCTETS", 0)
    same(MediaSet(pile, cache=where), MediaSet(pile, cache=False))
    (place,) = where.iterdir()
    assert not list(place.glob("*.part"))
    assert place.stat().st_mode & 0o077 == 0


def test_a_cancelled_scan_goes_on(pile: Path, tmp_path: Path, read: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "PART_ROWS", 1)
    monkeypatch.setattr(scan, "CHUNK_FILES", 1)
    media = MediaSet(pile, cache=tmp_path / "caches")

    def interrupt(progress: Progress) -> None:
        if progress.done == 4:
            signal.raise_signal(signal.SIGINT)

    media.scan(progress=interrupt)
    assert len(read) == 4
    media.scan(progress=False)
    assert sorted(read) == files(pile)  # each once
    same(media, MediaSet(pile, cache=False))


KILLED = """
import os, signal, sys
from dicomlab.media import cache, chunk, scan
from dicomlab.media.media_set import MediaSet
cache.PART_ROWS = scan.CHUNK_FILES = 1
plain, seen = chunk._read, []
def reading(*given):
    if len(seen) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    seen.append(given)
    plain(*given)
chunk._read = reading
MediaSet(sys.argv[1], cache=sys.argv[2]).scan(progress=False)
"""


def test_a_killed_scan_goes_on(pile: Path, tmp_path: Path, read: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, pile, tmp_path / "caches"], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    (place,) = (tmp_path / "caches").iterdir()
    assert list(place.glob("*.part/part-*.parquet"))
    media = MediaSet(pile, cache=tmp_path / "caches")
    media.scan(progress=False)
    assert 0 < len(read) <= len(files(pile)) - 3
    same(media, MediaSet(pile, cache=False))
    assert not list(place.glob("*.part"))


def damaged(place: Path, how: str) -> None:
    for path in place.rglob("part-*.parquet"):
        octets = path.read_bytes()
        if how == "cut":
            path.write_bytes(octets[:-40])
        elif how == "foreign":
            import pyarrow as pa
            import pyarrow.parquet as pq

            pq.write_table(pa.table({"path": ["a"]}), path)
        elif how == "pages":
            path.write_bytes(octets[:4] + b"\xff" * 2000 + octets[2004:])
        elif how == "gone":
            path.unlink()


@pytest.mark.parametrize("how", ["cut", "foreign", "pages", "gone"])
def test_a_damaged_index_is_made_anew(how: str, pile: Path, tmp_path: Path) -> None:
    MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    damaged(tmp_path / "caches", how)
    same(MediaSet(pile, cache=tmp_path / "caches"), MediaSet(pile, cache=False))


def test_an_index_that_is_damaged_later_says_so(pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_HELD_OCTETS", 0)
    MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    media = MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
    damaged(tmp_path / "caches", "gone")
    with pytest.raises(Interrupted, match="cache=False"):
        media.find()
    media.scan(cache=False, progress=False)
    assert len(media.find())


def test_two_scans_of_one_folder_at_once(pile: Path, tmp_path: Path) -> None:
    place = tmp_path / "caches"
    first, second = (Parts(place, BASE) for _ in range(2))
    batch = chunk.read_chunk(str(pile), [("a/0001.dcm", (pile / "a" / "0001.dcm").stat().st_size, 1)], BASE)
    for parts in (first, second):
        parts.add(batch)
        parts._flush()
    assert not first.broken
    assert "can't be kept" in second.broken
    assert len(second.finish()) == len(first.finish()) == 1
    index, whole = load(place, BASE)
    assert index is not None
    assert whole


def test_where_nothing_can_be_written_the_scan_goes_on(pile: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    media = MediaSet(pile, cache=tmp_path / "file")
    same(media, MediaSet(pile, cache=False))
    assert "can't be kept" in media._scanned().note


def test_the_index_beside_the_data_is_no_part_of_them(pile: Path) -> None:
    media = MediaSet(pile, cache="beside").scan(progress=False)
    assert (pile / INDEX_NAME).is_dir()
    listed = media._scanned().listed
    media.scan(cache=False, progress=False)
    assert media._scanned().listed == listed


def test_names_that_are_no_text(pile: Path, tmp_path: Path) -> None:
    path = os.fsencode(pile) + b"/a/\xff\xfe.dcm"
    os.rename(pile / "a" / "0001.dcm", path)
    for _ in range(2):
        media = MediaSet(pile, cache=tmp_path / "caches").scan(progress=False)
        assert os.fsencode(media.paths[0]) == path
        assert media.instances["path"][0] == "a/??.dcm"


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of(tmp_path, False) is None
    assert place_of(tmp_path, "beside") == tmp_path / INDEX_NAME
    assert place_of(tmp_path / "file", "beside") is None
    monkeypatch.setenv("DICOMLAB_CACHE", "off")
    assert place_of(tmp_path, True) is None
    monkeypatch.setenv("DICOMLAB_CACHE", str(tmp_path / "named"))
    named = place_of(tmp_path, True)
    assert named is not None
    assert named.parent == tmp_path / "named"
    assert named != place_of(tmp_path.parent, True)
    monkeypatch.delenv("DICOMLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    home = place_of(tmp_path, True)
    assert home is not None
    assert "dicomlab" in home.parts
    with pytest.raises(UsageError, match="beside"):
        place_of(tmp_path, 7)  # type: ignore[arg-type]


def test_by_default_a_small_folder_is_not_kept(pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMLAB_CACHE", str(tmp_path / "named"))
    MediaSet(pile).scan(progress=False)
    assert not (tmp_path / "named").exists()
    monkeypatch.setattr(scan, "CACHE_FROM_ROWS", 3)
    MediaSet(pile).scan(progress=False)
    assert list((tmp_path / "named").rglob("part-*.parquet"))
