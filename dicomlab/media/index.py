"""What a scan knows of every file, column by column; in memory, or read from its Parquet parts when asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from dicomlab.media.cells import raws_of
from dicomlab.media.chunk import FACTS, Batch
from dicomlab.media.look import DIRECTORY, META_KEYWORDS
from dicomlab.model.columns import Column, column, read, series_of

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Sequence[object]]
Load = Callable[[str], list[Any]]


class Index:
    """One row for each file, or member of an archive, that was listed; a column is a list.

    Parameters
    ----------
    names : tuple of str
        The attributes that are held, beside :data:`~dicomlab.media.chunk.FACTS`.
    batch : Batch
        The columns.
    load : callable, optional
        Gives a column that is not in `batch`.
    """

    def __init__(self, names: tuple[str, ...], batch: Batch, load: Load | None = None) -> None:
        self.names = names
        self._columns = batch
        self._load = load
        self._lock = threading.Lock()
        self._instances: list[int] | None = None
        self._again: dict[int, int] = {}

    def __len__(self) -> int:
        """Count the rows, DICOMDIRs among them."""
        return len(self["path"])

    def __getitem__(self, name: str) -> list[Any]:
        """One column; an attribute as the text of :mod:`dicomlab.media.cells`."""
        with self._lock:
            if name not in self._columns and self._load is not None:
                self._columns[name] = self._load(name)
            return self._columns[name]

    def add(self, name: str, values: list[Any]) -> None:
        """Hold one more column."""
        with self._lock:
            self._columns[name] = values
            self.names = tuple(dict.fromkeys((*self.names, name)))

    def _sort_out(self) -> None:
        """Of several instances with one UID the first that was listed counts."""
        numbers = [number for number, kind in enumerate(self["kind"]) if not kind]
        uids = self.texts("SOPInstanceUID", numbers)
        if len(set(uids)) < len(uids):
            first: dict[str, int] = {}
            for number, uid in zip(numbers, uids, strict=True):
                if (before := first.setdefault(uid, number)) != number:
                    self._again[number] = before
            numbers = list(first.values())
        self._instances = numbers

    @property
    def instances(self) -> list[int]:
        """The numbers of the rows that are instances."""
        if self._instances is None:
            self._sort_out()
        assert self._instances is not None
        return self._instances

    @property
    def duplicates(self) -> dict[int, int]:
        """The numbers of the rows whose instance another row holds already, and of that row."""
        if self._instances is None:
            self._sort_out()
        return self._again

    @property
    def errors(self) -> list[int]:
        """The numbers of the rows that are neither instances nor DICOMDIRs."""
        again = self.duplicates
        return [number for number, kind in enumerate(self["kind"]) if (kind and kind != DIRECTORY) or number in again]

    @property
    def directories(self) -> list[int]:
        """The numbers of the rows that are DICOMDIRs."""
        return [number for number, kind in enumerate(self["kind"]) if kind == DIRECTORY]

    def place(self, number: int) -> str:
        """Where a file lies, relative to the root; through an archive as through a folder."""
        path, member = self["path"][number], self["member"][number]
        return path if member is None else f"{path}/{member}" if path else member

    def texts(self, name: str, numbers: Sequence[int]) -> list[Any]:
        """One column, of some rows."""
        values = self[name]
        return [values[number] for number in numbers]

    def rows(self, numbers: Sequence[int], columns: Iterable[Column]) -> Iterator[Row]:
        """Rows of raw values by column name; absent ones are left out."""
        wanted = [one for one in columns if one.name in self.names]
        gathered = []
        for one in wanted:
            texts = self.texts(one.name, numbers)
            table = {text: raws_of(one, text) for text in set(texts)}
            gathered.append(list(map(table.__getitem__, texts)))
        names = [one.name for one in wanted]
        for raws in zip(*gathered, strict=True):
            yield {name: raw for name, raw in zip(names, raws, strict=True) if raw}

    def typed(self, one: Column, numbers: Sequence[int]) -> pd.Series[Any]:
        """One attribute as the column of a table; each different text is read once."""
        texts = self.texts(one.name, numbers)
        table = {text: read(one, raws_of(one, text))[0] for text in set(texts)}
        return series_of(one, list(map(table.__getitem__, texts)))

    @property
    def columns(self) -> tuple[Column, ...]:
        """The attributes that are held."""
        return tuple(column(name) for name in self.names)


class Collector:
    """Gathers batches, in order, into an index in memory."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.all_names = (*FACTS, *dict.fromkeys((*META_KEYWORDS, *names)))
        self._columns: Batch = {name: [] for name in self.all_names}
        self.rows = 0

    def add(self, batch: Batch) -> None:
        """Add rows."""
        for name, values in self._columns.items():
            values.extend(batch[name])
        self.rows += len(batch["path"])

    def take(self) -> Batch:
        """Give what was gathered, and begin anew."""
        taken, self._columns, self.rows = self._columns, {name: [] for name in self.all_names}, 0
        return taken

    def index(self) -> Index:
        """The index of what was gathered."""
        return Index(self.all_names[len(FACTS) :], self.take())


def part_of(index: Index, start: int, stop: int, names: Iterable[str]) -> Batch:
    """Some rows of an index, as a batch."""
    return {name: index[name][start:stop] for name in names}
