"""A reader of files that never comes back from some, and dies of others; importable, so that processes can call it."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any

from dicomlab.media.chunk import Batch, read_chunk
from dicomlab.media.listing import Entry


def read_chunk_or_hang(root: str, entries: Sequence[Entry], names: tuple[str, ...], **options: Any) -> Batch:
    for path, _, _ in entries:
        if "hangs" in path:
            threading.Event().wait()
        if "kills" in path:
            os._exit(9)
    return read_chunk(root, entries, names, **options)


def forever() -> None:
    threading.Event().wait()


def process() -> int:
    return os.getpid()


def wrong() -> None:
    raise ValueError("what it was given")
