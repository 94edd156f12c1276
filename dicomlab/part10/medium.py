"""What a medium does to a file: its errors in the tree's words, and names that are given when a file is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

from dicomlab.errors import Interrupted, Refused


@contextmanager
def medium_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into the tree's: full, gone, not allowed."""
    try:
        yield
    except OSError as error:
        raise medium_error(error, path) from error


def medium_error(error: OSError, path: Path) -> Interrupted | Refused:
    """What an error of the operating system means for who writes to `path`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Interrupted("no space left; free some and call again: what arrived whole is kept", endpoint=str(path))
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refused(f"not allowed to write here ({error.strerror})", endpoint=str(path))
    return Interrupted(f"the medium failed: {error.strerror or error}", endpoint=str(path))


def synced(path: Path) -> None:
    """Have what was written to a file, or the names in a folder, on the medium before this returns; OSError if not."""
    if os.name == "nt":
        if path.is_dir():  # Windows keeps names by itself, and syncs no folder
            return
        mode = os.O_RDWR | os.O_BINARY  # type: ignore[attr-defined,unused-ignore]
    else:
        mode = os.O_RDONLY
    descriptor = os.open(path, mode)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def part_of(path: Path) -> str:
    """The name under which a file is written until it is whole."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f".{name[:40]}.{os.urandom(4).hex()}.part")


def remove_parts(path: Path, before_s: float) -> None:
    """Remove what writers of that file left behind that were killed: parts not touched since `before_s` (Unix time)."""
    with suppress(OSError):
        for part in path.parent.glob(f".{escape(path.name[:40])}.*.part"):
            if part.stat().st_mtime < before_s:
                part.unlink()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that has its name only when it is whole; else nothing is left of it.

    Raises
    ------
    Interrupted, Refused
        The medium is full or gone; not allowed to write there.
    """
    part = Path(part_of(path))
    try:
        with medium_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                yield file
            part.replace(path)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise
