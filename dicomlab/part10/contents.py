"""A file as memory: read at once or mapped."""

from __future__ import annotations

import mmap
import os
from contextlib import suppress
from pathlib import Path

SMALL_OCTETS = 1 << 20
"""Octets of a file up to which reading it is no more work than mapping it, and what is read can't change any more."""
READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)


def contents(path: Path) -> memoryview:
    """A file as memory: mapped, or read at once where that is less work. End it with :func:`close_contents`.

    Raises
    ------
    OSError
        It can't be opened.
    """
    descriptor = os.open(path, READ)
    try:
        size = os.fstat(descriptor).st_size
        if size <= SMALL_OCTETS:
            return memoryview(os.read(descriptor, size))
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    finally:
        os.close(descriptor)


def close_contents(view: memoryview) -> None:
    """Let go of a file that :func:`contents` gave."""
    beneath = view.obj
    view.release()
    if isinstance(beneath, mmap.mmap):
        with suppress(BufferError):  # the traceback of an error still holds a slice: freed with it
            beneath.close()


def shrunk(octets: object) -> bool:
    """Whether a mapped file has become shorter than it was: what is missing reads as zeros, or not at all."""
    beneath = octets.obj if isinstance(octets, memoryview) else None
    return isinstance(beneath, mmap.mmap) and beneath.size() < len(beneath)
