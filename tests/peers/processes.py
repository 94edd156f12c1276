"""Start a peer, wait for it by asking it, end it by its id; and the ports all that happens on."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pytest

LOOPBACK = "127.0.0.1"

NEEDS: Mapping[str, tuple[str, ...]] = {
    "chromium": ("chromium",),
    "dcmtk": ("echoscu", "findscu", "getscu", "movescu", "storescu", "storescp", "dcmqrscp", "dcmdump", "dcmmkdir"),
    "dicom3tools": ("dciodvfy",),
    "ffmpeg": ("ffmpeg",),
    "gstreamer": ("gst-launch-1.0",),
    "node": ("node", "npm"),
    "openssl": ("openssl",),
    "orthanc": ("Orthanc",),
    "tshark": ("tshark",),
}
"""The commands that make up each peer."""

ABSENT = "peer absent: "
"""How the reason of a skip for a peer's absence begins; the summary folds these into one line."""


def command(name: str) -> str | None:
    """Where a command lies; servers may lie in /usr/sbin, which not every PATH has."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def missing(peer: str) -> list[str]:
    """The commands of `peer` that are not installed."""
    return [name for name in NEEDS[peer] if command(name) is None]


def need(*peers: str) -> None:
    """Skip the test unless all `peers` are installed."""
    absent = [peer for peer in peers if missing(peer)]
    if absent:
        pytest.skip(ABSENT + ", ".join(absent))


# ------------------------------------------------------------------------------------------------------------ ports

_FIRST, _LAST = 20_000, 32_000  # below what the kernel hands out by itself, so that no client's port can be ours
_RESERVED = Path(tempfile.gettempdir()) / f"dicomlab-test-ports-{os.getuid()}"
_held: dict[int, IO[str]] = {}


def free_port() -> int:
    """Reserve a TCP and UDP port for the rest of the run.

    The reservation is a locked file, so that two runs at the same time on one machine don't choose the same port,
    and the lock goes when the process goes, however it ends.
    """
    _RESERVED.mkdir(exist_ok=True)
    start = os.getpid() * 97 % (_LAST - _FIRST)
    for step in range(_LAST - _FIRST):
        port = _FIRST + (start + step) % (_LAST - _FIRST)
        if port in _held:
            continue
        lock = (_RESERVED / str(port)).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        if _unused(port):
            _held[port] = lock
            return port
        lock.close()
    raise RuntimeError("no free port between 20000 and 32000")


def release_ports() -> None:
    """Give all reserved ports back."""
    for lock in _held.values():
        lock.close()
    _held.clear()


def _unused(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        for host in (LOOPBACK, "0.0.0.0"):  # some peers listen on every address
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is free
                try:
                    probe.bind((host, port))
                except OSError as error:
                    if error.errno != errno.EADDRINUSE:
                        raise
                    return False
    return True


# -------------------------------------------------------------------------------------------------------- processes

ENVIRONMENT = {**os.environ, "TCP_NODELAY": "1", "LC_ALL": "C.UTF-8"}
"""DCMTK and Orthanc leave Nagle's algorithm on otherwise, and each message then waits 40 ms."""

_number = count(1)


class Peer:
    """A running peer. ``with`` ends it."""

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        answers: Callable[[], bool],
        starts_s: float = 30,
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self.folder = folder
        self.log = folder / f"peer-{next(_number)}.log"
        self._name = Path(arguments[0]).name
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                arguments,
                cwd=folder,
                env={
                    **environment,
                    "TMPDIR": str(folder),
                },  # so that what it leaves, killed perhaps, goes with its folder
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_for(answers, time.monotonic() + starts_s)
        except BaseException:
            self.stop()
            raise

    def _wait_for(self, answers: Callable[[], bool], deadline: float) -> None:
        while not answers():
            try:
                status = self._process.wait(timeout=0.05)  # between two questions: unless it is gone already
            except subprocess.TimeoutExpired:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{self._name} does not answer:\n{self.tail()}") from None
            else:
                raise RuntimeError(f"{self._name} ended at once with {status}:\n{self.tail()}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def tail(self, lines: int = 20) -> str:
        """The end of what it wrote."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End it and whatever it started, by id."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._signal(signal.SIGKILL)  # children that outlived it

    def kill(self) -> None:
        """End it as a power cut would, in the middle of whatever it does."""
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self._process.pid, number)
        except ProcessLookupError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def children() -> Iterator[int]:
    """The ids of the running child processes of this one."""
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            pids = task.read_text().split()
        except OSError:  # the thread is gone
            continue
        for pid in pids:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if state != "Z":
                yield int(pid)
