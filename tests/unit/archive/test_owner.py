"""The folder of an archive has one owner: real processes want the same one, live, stop and are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomlab import Archive
from dicomlab.archive.owner import MARK, owned, try_lock
from dicomlab.errors import Interrupted, Refused
from dicomlab.samples.phantom import phantom_datasets

if sys.platform == "win32":
    pytest.skip("signals", allow_module_level=True)

_HOLDS = """
import sys
from dicomlab import Archive
from dicomlab.model.protocols import Arrival
archive = Archive(sys.argv[1], web_port=None)
writer = archive.sink("SCANNER").begin(Arrival("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1"))
writer.write(bytes(1000))
print("half of it is here", flush=True)
{then}
sys.stdin.read()
writer.abandon()
archive.close()
"""


@contextmanager
def holder(folder: Path, then: str = "") -> Iterator[subprocess.Popen[str]]:
    """A process that has the archive open, and half an instance of somebody's arriving there."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS.replace("{then}", then), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "half of it is here\n"
        yield process
        process.stdin.close()


def arriving(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "incoming").iterdir())


def test_the_second_is_told_who_has_it_and_takes_nothing_from_the_first(tmp_path: Path) -> None:
    with holder(tmp_path) as first:
        before = arriving(tmp_path)
        assert len(before) == 1
        with pytest.raises(
            Refused, match=rf"process {first.pid} \(-c\) on .* since .* has that archive open"
        ) as caught:
            Archive(tmp_path).folder  # noqa: B018
        for told in ("close it there or end that process", "over the network", str(tmp_path / "instances")):
            assert told in str(caught.value)
        assert caught.value.endpoint == str(tmp_path)
        assert arriving(tmp_path) == before
    assert first.returncode == 0
    with Archive(tmp_path, web_port=None) as again:
        assert len(again) == 0


def test_two_processes_at_once(tmp_path: Path) -> None:
    with holder(tmp_path):
        command = [sys.executable, "-m", "dicomlab", "serve", str(tmp_path), "--address", "B@127.0.0.1:0"]
        second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode != 0
    assert "has that archive open" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_who_was_killed_keeps_nobody_out(tmp_path: Path, how: signal.Signals) -> None:
    with holder(tmp_path) as first:
        first.send_signal(how)
        assert first.wait(60) == -how
        with Archive(tmp_path, web_port=None) as second:
            assert arriving(tmp_path) == []
            second.add(phantom_datasets(patients=1, slices=1), progress=False).raise_for_failures()


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    fork = "import os, signal\nif (child := os.fork()) == 0: signal.pause()\nprint(child, flush=True)"
    with holder(tmp_path, fork) as first:
        assert first.stdout is not None
        child = int(first.stdout.readline())
        try:
            with pytest.raises(Refused):
                Archive(tmp_path).folder  # noqa: B018
            first.kill()
            first.wait(60)
            os.kill(child, 0)  # it lives
            with Archive(tmp_path, web_port=None) as second:
                assert len(second) == 0
        finally:
            os.kill(child, signal.SIGKILL)


def test_a_child_that_ends_does_not_let_go_of_it(tmp_path: Path) -> None:
    fork = "import os\nif (child := os.fork()) == 0: os._exit(0)\nos.waitpid(child, 0)\nprint(child, flush=True)"
    with holder(tmp_path, fork) as first:
        assert first.stdout is not None
        first.stdout.readline()
        with pytest.raises(Refused):
            Archive(tmp_path).folder  # noqa: B018


def test_the_same_process_twice(tmp_path: Path) -> None:
    with Archive(tmp_path, web_port=None) as first:
        with pytest.raises(Refused, match="this process has that archive open already"):
            Archive(tmp_path).folder  # noqa: B018
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(Refused, match="this process"):
            Archive(tmp_path / "link").folder  # noqa: B018
        assert len(first) == 0
    with Archive(tmp_path, web_port=None) as second:
        assert len(second) == 0


def test_a_mark_that_was_left_behind_says_nothing(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text(f"process {os.getpid()} (x) on here since ever")
    with Archive(tmp_path, web_port=None) as archive:
        assert len(archive) == 0
        assert re.fullmatch(rf"process {os.getpid()} \(.*\) on .* since .*", (tmp_path / MARK).read_text().strip())


def test_what_a_mark_says_is_hostile(tmp_path: Path) -> None:
    (tmp_path / MARK).write_bytes(b"\x1b[31m\xff" * 1000)
    lock = try_lock(os.open(tmp_path / MARK, os.O_RDWR))
    assert lock is not None
    lock._descriptor, hidden = None, lock._descriptor  # as if another process had it
    assert hidden is not None
    try:
        with pytest.raises(Refused) as caught, owned(tmp_path):
            pass
    finally:
        os.close(hidden)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 2000


def test_a_medium_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno
    import fcntl

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(Interrupted, match="no locks"), owned(tmp_path):
        pass


def test_where_nobody_may_write(tmp_path: Path) -> None:
    (tmp_path / MARK).mkdir()
    with pytest.raises((Interrupted, Refused)), owned(tmp_path):
        pass
