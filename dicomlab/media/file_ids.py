"""File IDs: the only names that files of a File-set may have. No I/O.

Source
------
PS3.10 §8.2 (File IDs), §8.5 (character set), §8.6 (DICOMDIR is reserved); PS3.12 Annexes F, R, V (8 levels, no
extension).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from dicomlab.errors import RemoteProtocolError, UsageError

FileId = tuple[str, ...]
r"""One to eight components; ``("PT000001", "ST000001")`` is written ``PT000001\ST000001`` in a record."""

_COMPONENT = re.compile(r"[A-Z0-9_]{1,8}")
_HOSTILE = re.compile(r'[\x00-\x1f/\\:*?"<>|]')
MAX_COMPONENTS = 8
_MAX_NUMBER = 999_999
_LEVELS = ("PT", "ST", "SE")


def is_file_id(components: Sequence[str]) -> bool:
    """Whether these are the components of a File ID that a conformant File-set may hold.

    Source
    ------
    PS3.10 §8.2, §8.5.
    """
    return (
        0 < len(components) <= MAX_COMPONENTS
        and all(_COMPONENT.fullmatch(component) for component in components)
        and tuple(components) != ("DICOMDIR",)
    )


def relative_path(components: Sequence[str]) -> PurePosixPath:
    """The path that a File ID of somebody else's DICOMDIR stands for, below the folder of that DICOMDIR.

    Names that the standard does not allow (lower case, extensions) are followed, since real discs have them; names
    that could lead anywhere else are not.

    Raises
    ------
    RemoteProtocolError
        No component, too many, or one that is absolute, ``..`` or no name.

    Source
    ------
    PS3.10 §8.2 (a File ID names a file inside its File-set).
    """
    if not 0 < len(components) <= 4 * MAX_COMPONENTS:
        raise RemoteProtocolError(f"a File ID of {len(components)} components", section="PS3.10 §8.2")
    for component in components:
        name = component.strip(" ")
        if name in ("", ".", "..") or _HOSTILE.search(name) or len(name) > 255:
            raise RemoteProtocolError(
                f"{component[:40]!r} in a File ID leads out of the File-set", section="PS3.10 §8.2"
            )
    return PurePosixPath(*(component.strip(" ") for component in components))


class FileIds:
    r"""Gives out File IDs: ``PT000001\ST000001\SE000001\IM000001``. The names say nothing about anybody.

    Parameters
    ----------
    taken : iterable of File IDs
        What is there already; none of it is given out again.
    """

    def __init__(self, taken: Iterable[Sequence[str]] = ()) -> None:
        self._taken: set[FileId] = set()
        self._folders: dict[tuple[str, ...], FileId] = {}
        self._next: dict[tuple[FileId, str], int] = {}
        for components in taken:
            self.take(components)

    def take(self, components: Sequence[str]) -> None:
        """Never give out this one, nor a folder on its way (whatever the case of its letters)."""
        upper = tuple(component.upper() for component in components)
        self._taken |= {upper[:end] for end in range(1, len(upper) + 1)}

    def lies(self, components: Sequence[str], patient_id: str, study_uid: str, series_uid: str) -> None:
        """Learn where an instance lies, so that others of its patient, study and series join it."""
        self.take(components)
        if len(components) == len(_LEVELS) + 1 and is_file_id(components):
            for end in range(1, len(_LEVELS) + 1):
                self._folders.setdefault((patient_id, study_uid, series_uid)[:end], tuple(components[:end]))

    def next(self, patient_id: str, study_uid: str, series_uid: str) -> FileId:
        """Give out the File ID of one more instance.

        Raises
        ------
        UsageError
            More than 999,999 in one folder.
        """
        place: FileId = ()
        for depth, letters in enumerate(_LEVELS, start=1):
            key = (patient_id, study_uid, series_uid)[:depth]
            if key not in self._folders:
                self._folders[key] = self._free(place, letters)
            place = self._folders[key]
        return self._free(place, "IM")

    def alone(self) -> FileId:
        """Give out the File ID of one that belongs to no patient: at the root."""
        return self._free((), "NP")

    def _free(self, place: FileId, letters: str) -> FileId:
        number = self._next.get((place, letters), 1)
        while (free := (*place, f"{letters}{number:06d}")) in self._taken:
            number += 1
        if number > _MAX_NUMBER:
            raise UsageError(f"more than {_MAX_NUMBER:,} entries in one folder of a File-set")
        self._next[place, letters] = number + 1
        return free
