"""The folder of an archive that was given none: it goes with the archive, or with the next one where that was killed.

A process that is ended by a signal, or by a lack of memory, can't tidy up. So each folder holds a file that its process
keeps locked; the lock goes with the process, however it ends, and whoever makes such a folder next removes those whose
lock is free.
"""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dicomlab.archive.owner import MARK, Lock, try_lock
from dicomlab.part10.medium import medium_errors

PREFIX = "dicomlab-archive-"
_UNLOCKED = "not-yet"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder of our own in the folder for temporary files; leaving ``with`` removes it.

    Raises
    ------
    Interrupted, Refused
        There is no room for it, or no right to.
    """
    place = Path(tempfile.gettempdir())
    _remove_abandoned(place)
    with medium_errors(place):
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    lock = _locked(folder)
    try:
        yield folder
    finally:
        if lock is not None:
            lock.release()  # before: Windows removes no open file
        shutil.rmtree(folder, ignore_errors=True)


def _locked(folder: Path) -> Lock | None:
    """Mark it as in use. It gets its name when it is locked: nobody sees it free before."""
    lock: Lock | None = None
    with suppress(OSError):  # a medium without locks: what is left there stays
        lock = try_lock(os.open(folder / _UNLOCKED, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        if sys.platform != "win32":  # being open is lock enough there
            os.rename(folder / _UNLOCKED, folder / MARK)
    return lock


def _remove_abandoned(place: Path) -> None:
    with suppress(OSError):
        for folder in place.glob(f"{PREFIX}*"):
            if _is_ours(folder) and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "getuid") or found.st_uid == os.getuid())


def _is_abandoned(folder: Path) -> bool:
    if sys.platform == "win32":
        with suppress(OSError):
            (folder / _UNLOCKED).unlink()  # refused while another process has it open
            return True
        return False
    try:
        lock = try_lock(os.open(folder / MARK, os.O_RDWR | os.O_NOFOLLOW))
    except OSError:  # of another kind, or being made just now
        return False
    if lock is None:
        return False
    lock.release()
    return True
