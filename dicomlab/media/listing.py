"""Listing a folder, folder by folder: every file with its size and time, and what can't be listed with the reason."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dicomlab.errors import Refused, Unreachable
from dicomlab.media.look import ErrorKind
from dicomlab.model.report import FRAMES_SUFFIX, LEDGER_NAME

INDEX_NAME = ".dicomlab-index"
"""The folder in which an index lies beside its data."""

Entry = tuple[str, int, int]
"""Path relative to the root, with ``/`` (``""``: the root itself, a file); octets; time of the last change in ns."""


class Unlisted(NamedTuple):
    """What is there and is no file to be read: a row of errors from the start."""

    path: str
    kind: ErrorKind
    message: str


class Folder(NamedTuple):
    """What lies directly in one folder, in order of the names."""

    entries: Sequence[Entry]
    unlisted: Sequence[Unlisted]


def list_folders(root: Path) -> Iterator[Folder]:
    """List every file below a folder, hidden ones too; the files of a folder before the folders in it.

    Folders behind symbolic links are not entered. What is ours is left out: the ledger of a retrieve, an index.

    Raises
    ------
    Unreachable, Refused
        The root itself can't be listed.
    """
    if root.is_file():
        status = root.stat()
        yield Folder([("", status.st_size, status.st_mtime_ns)], [])
        return
    inside = root.resolve()
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        place = root / prefix if prefix else root
        try:
            with os.scandir(place) as listing:
                listed = sorted(listing, key=lambda entry: entry.name)
        except (OSError, ValueError) as error:
            if not prefix and isinstance(error, OSError):
                raise unlistable(root, error) from error
            yield Folder([], [Unlisted(prefix.rstrip("/"), *reason(error))])
            continue
        entries: list[Entry] = []
        unlisted: list[Unlisted] = []
        folders: list[str] = []
        for entry in listed:
            path = prefix + entry.name
            if (not prefix and path in (LEDGER_NAME, INDEX_NAME)) or path.endswith(FRAMES_SUFFIX):
                continue
            try:
                if entry.is_symlink() and not _leads_to_a_file(Path(entry.path), inside):
                    text = "a symbolic link to a folder, out of the folder, or nowhere"
                    unlisted.append(Unlisted(path, "link", text))
                elif entry.is_dir(follow_symlinks=False):
                    folders.append(f"{path}/")
                else:
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        entries.append((path, status.st_size, status.st_mtime_ns))
                    else:
                        unlisted.append(Unlisted(path, "not_dicom", "no regular file"))
            except OSError as error:
                unlisted.append(Unlisted(path, *reason(error)))
        yield Folder(entries, unlisted)
        waiting += reversed(folders)


def _leads_to_a_file(path: Path, inside: Path) -> bool:
    try:
        target = path.resolve()
    except RuntimeError:  # links in a circle
        return False
    return target.is_relative_to(inside) and not target.is_dir() and target.exists()


def list_files(root: Path) -> Iterator[tuple[Path, Unlisted | None]]:
    """Each file below a folder; what can't be looked at comes with its reason. See :func:`list_folders`."""
    for folder in list_folders(root):
        found: list[tuple[str, Unlisted | None]] = [(path, None) for path, _, _ in folder.entries]
        found += [(one.path, one) for one in folder.unlisted]
        for path, unlisted in sorted(found, key=lambda pair: pair[0]):
            yield root / path, unlisted


def unlistable(root: Path, error: OSError) -> Unreachable | Refused:
    """Why a folder can't be listed at all."""
    if isinstance(error, PermissionError):
        return Refused("not allowed to read this folder; ask its owner for the permission", endpoint=str(root))
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unreachable("no such folder: is the path right, and the medium mounted?", endpoint=str(root))
    return Unreachable(f"the folder can't be listed: {error.strerror or error}", endpoint=str(root))


def reason(error: Exception) -> tuple[ErrorKind, str]:
    """The kind and message of an error of the operating system."""
    if isinstance(error, PermissionError):
        return "permission", "not allowed to read it"
    if isinstance(error, FileNotFoundError):
        return "unreadable", "it went away while the folder was looked through"
    return "unreadable", getattr(error, "strerror", None) or str(error)
