"""What a scan before found, and which files have not changed since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from operator import eq

from dicomlab.media.index import Index
from dicomlab.media.listing import Entry

Run = tuple[int, int]
"""Rows of the index from, and up to before, a number."""


class Known:
    """The files of an index, in the order in which they were listed.

    A folder of which nothing changed is known again by one comparison; else file by file.

    Parameters
    ----------
    index : Index
    whole : bool
        It is of a scan that came to its end.
    """

    def __init__(self, index: Index, *, whole: bool = True) -> None:
        self.index = index
        self.whole = whole
        self._files: list[Entry] = list(zip(index["path"], index["size"], index["mtime_ns"], strict=True))
        self._starts: Sequence[int] = range(len(self._files))
        self._stops: Sequence[int] = range(1, len(self._files) + 1)
        self.unlisted: set[str] = set()
        """Paths of what was no file to be read."""
        if 0 in index["mtime_ns"] or any(map(eq, self._files, islice(self._files, 1, None))):
            self._merge(self._files)
        self._at = 0
        self._by_path: dict[str, int] | None = None
        self.seen = 0
        """Files that were found unchanged."""

    def _merge(self, listed: list[Entry]) -> None:
        """Several rows are members of one archive, others no files to be read."""
        files: list[Entry] = []
        starts: list[int] = []
        stops: list[int] = []
        for number, one in enumerate(listed):
            if not one[2]:
                self.unlisted.add(one[0])
            elif files and one == files[-1] and stops[-1] == number:
                stops[-1] = number + 1
            else:
                files.append(one)
                starts.append(number)
                stops.append(number + 1)
        self._files, self._starts, self._stops = files, starts, stops

    def __len__(self) -> int:
        """Count the files, archives once."""
        return len(self._files)

    def divide(self, entries: Sequence[Entry]) -> Iterator[Run | list[Entry]]:
        """Divide the files of one folder, in order, into those that are known and others."""
        at, count = self._at, len(entries)
        if not count:
            return
        if self._files[at : at + count] == entries:
            self._at += count
            self.seen += count
            yield self._starts[at], self._stops[at + count - 1]
            return
        if self._by_path is None:
            self._by_path = {path: place for place, (path, _, _) in enumerate(self._files)}
        fresh: list[Entry] = []
        for entry in entries:
            place = self._by_path.get(entry[0])
            if place is None or self._files[place] != entry:
                fresh.append(entry)
                continue
            if fresh:
                yield fresh
                fresh = []
            self._at = place + 1
            self.seen += 1
            yield self._starts[place], self._stops[place]
        if fresh:
            yield fresh
