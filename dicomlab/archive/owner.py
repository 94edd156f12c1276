"""Who has the folder of an archive open: one process at a time, for as long as it lives.

An archive sweeps what never arrived whole when it opens, and has one index: two on one folder would take from each
other. The lock is the operating system's, on a file in the folder, and goes with its process, however that ends: one
that is left behind never keeps anybody out. What the file says is there for people alone.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from dicomlab.errors import Interrupted, Refused
from dicomlab.model.summary import visible
from dicomlab.part10.medium import medium_errors

MARK = "in-use"
_SAID = 200
"""Octets of the file."""
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_AT = 1 << 30
"""Where Windows, whose locks nobody can read through, has the octet that it locks: far behind what the file says."""


class Lock:
    """An open file with a lock on it. A forked child lets it go: the lock is the parent's alone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        _locks.add(self)

    def release(self) -> None:
        """Let go of it; may be called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def is_on(self, status: os.stat_result) -> bool:
        """Whether it is on that file."""
        return self._descriptor is not None and os.path.samestat(os.fstat(self._descriptor), status)


_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _let_go() -> None:
    for one in _locks:
        one.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def try_lock(descriptor: int) -> Lock | None:
    """Lock an open file, without waiting; None, with the file closed, where another has it.

    Raises
    ------
    OSError
        There are no locks on that medium; the file is closed.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _AT, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in _TAKEN:
            return None
        raise
    return Lock(descriptor)


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """Own a folder, which is made where it is not there, as long as a block runs.

    Raises
    ------
    Refused
        Somebody else has it, and who; or nobody may write there.
    Interrupted
        The medium failed, or has no locks.
    """
    path = folder / MARK
    with medium_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        mark = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    try:
        lock = try_lock(mark)
    except OSError as error:
        text = f"this medium has no locks ({error.strerror}), which an archive needs: give it a folder on a local disc"
        raise Interrupted(text, endpoint=str(folder)) from error
    if lock is None:
        raise _held(folder, path)
    try:
        with medium_errors(folder):
            os.lseek(mark, 0, os.SEEK_SET)
            os.write(mark, _ourselves().encode()[:_SAID].ljust(_SAID))
        yield
    finally:
        lock.release()


def _ourselves() -> str:
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    now = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} ({program}) on {socket.gethostname()} since {now}"


def _held(folder: Path, path: Path) -> Refused:
    """Say who has it, and what can be done."""
    if any(one.is_on(path.stat()) for one in _locks):
        text = "this process has that archive open already: use that one, or close() it first"
        return Refused(text, endpoint=str(folder))
    try:
        with path.open("rb") as file:
            said = visible(file.read(_SAID).decode("utf-8", "replace").strip())
    except OSError:
        said = ""
    text = (
        f"{said or 'another process'} has that archive open, and one at a time can: close it there or end that process,"
        f' or ask it over the network; MediaSet("{folder / "instances"}") reads its files meanwhile'
    )
    return Refused(text, endpoint=str(folder))
