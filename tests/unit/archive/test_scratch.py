"""The folder of an archive that was given none: gone when its process is, however that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomlab import Archive
from dicomlab.archive.scratch import PREFIX, scratch_folder
from dicomlab.errors import DicomlabError

OPENS = """
import os, signal, sys, time
import dicomlab
archives = [dicomlab.Archive(), dicomlab.Archive()]
assert all(archive.node.verify() and archive.web.verify() for archive in archives)
print(*[archive.folder for archive in archives], flush=True)
"""
ENDS = {
    "normally": ("", 0),
    "closed": ("for archive in archives: archive.close()", 0),
    "collected": ("import gc; del archives; archive = None; gc.collect(); assert not os.listdir(sys.argv[1])", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise KeyError('nobody catches it')", 1),
    "an interrupt": ("os.kill(os.getpid(), signal.SIGINT); signal.pause()", -signal.SIGINT),
}
KILLED = {name: f"os.kill(os.getpid(), signal.{name}); signal.pause()" for name in ("SIGTERM", "SIGKILL")}


def ended(folder: Path, end: str) -> tuple[list[str], int]:
    """The folders that a process used, and how it ended."""
    done = subprocess.run(
        [sys.executable, "-c", OPENS + end, str(folder)], env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.split(), done.returncode


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, for this test alone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("how", ENDS)
def test_it_goes_with_the_process(how: str, tmp_path: Path) -> None:
    end, code = ENDS[how]
    used, returned = ended(tmp_path, end)
    assert returned == code
    assert len(used) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", KILLED)
def test_where_the_process_is_killed_it_goes_when_the_next_one_comes(how: str, place: Path) -> None:
    used, returned = ended(place, KILLED[how])
    assert returned == -getattr(signal, how)
    assert sorted(map(str, place.iterdir())) == sorted(used)
    with Archive() as archive:
        assert list(place.iterdir()) == [archive.folder]
    assert list(place.iterdir()) == []


def test_what_is_in_use_stays(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OPENS + "sys.stdin.read()"], env=os.environ | {"TMPDIR": str(place)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin
        assert other.stdout
        theirs = other.stdout.readline().split()
        with scratch_folder() as first, scratch_folder() as second:
            assert sorted(map(str, place.iterdir())) == sorted([*theirs, str(first), str(second)])
        other.stdin.close()
    assert list(place.iterdir()) == []


def test_what_is_not_surely_ours_stays(place: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "in-use").touch()
    (place / f"{PREFIX}link").symlink_to(elsewhere)
    (place / f"{PREFIX}file").touch()
    (place / f"{PREFIX}unmarked").mkdir()
    (place / f"{PREFIX}mark-is-a-link").mkdir()
    (place / f"{PREFIX}mark-is-a-link" / "in-use").symlink_to(elsewhere / "in-use")
    before = sorted(place.iterdir())
    with scratch_folder():
        pass
    assert sorted(place.iterdir()) == before
    assert (elsewhere / "in-use").exists()


def test_no_room_for_it_is_an_error_of_ours(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(place / "absent"))
    with pytest.raises(DicomlabError), scratch_folder():
        pass
