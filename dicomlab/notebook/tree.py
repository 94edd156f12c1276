"""A cohort as the tree that it is: patients, studies, series, instances. Groups, order, filter; nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dicomlab.errors import UsageError
from dicomlab.model.columns import LEVELS, UNIQUE_KEY, Level, column

if TYPE_CHECKING:
    from dicomlab.model.cohort import Cohort

Ints = NDArray[np.intp]
LABELS = {
    "patient": ("PatientName", "PatientID"),
    "study": ("StudyDate", "StudyDescription"),
    "series": ("SeriesNumber", "Modality", "SeriesDescription"),
    "instance": ("InstanceNumber",),
}
"""What a row of each level is called."""
MAX_COLUMNS = 7


@dataclass(frozen=True)
class Branches:
    """The nodes of one level. A node is a number; ``row`` is the first row of the table that lies in it."""

    level: Level
    of_row: Ints
    """The node of each row of the table."""
    row: Ints
    parent: Ints
    """The node above it; 0 for those of the uppermost level."""


class Tree:
    """The tree of a cohort, with an order, a filter, and what is open."""

    def __init__(self, cohort: Cohort) -> None:
        self.cohort = cohort
        self.frame = cohort.to_dataframe()
        upto = LEVELS.index(cohort.level) + 1
        self.levels: list[Level] = [one for one in LEVELS[:upto] if UNIQUE_KEY[one] in self.frame]
        self.branches = list(self._grown())
        self.named = {level: [name for name in LABELS[level] if name in self.frame] for level in self.levels}
        used = {name for names in self.named.values() for name in names}
        names = [str(name) for name in self.frame.columns if not str(name).endswith("UID") and name not in used]
        self.columns = [name for name in names if not bool(self.frame[name].isna().all())][:MAX_COLUMNS]
        self.level_of = {name: self._level(name) for name in self.columns}
        self.open: list[set[int]] = [set() for _ in self.levels]
        self.mask: NDArray[np.bool_] = np.ones(len(self.frame), bool)
        self._sort: tuple[str, bool] | None = None
        self._order: list[Ints] = []
        self._starts: list[Ints] = []
        self._arrange()
        for depth, branch in enumerate(self.branches[:-1]):  # nobody need click to see what there is but one of
            if len(branch.row) != 1:
                break
            self.open[depth].add(0)

    def _grown(self) -> Iterator[Branches]:
        above: Ints = np.zeros(len(self.frame), np.intp)
        for level in self.levels:
            codes = pd.factorize(self.frame[UNIQUE_KEY[level]])[0].astype(np.intp)
            if level == self.cohort.level:
                codes = np.arange(len(self.frame), dtype=np.intp)  # each row is one, whatever its key says
            of_row, unique = pd.factorize(above * (len(self.frame) + 2) + codes + 1)
            row = np.full(len(unique), len(self.frame), np.intp)
            np.minimum.at(row, of_row, np.arange(len(of_row)))
            branch = Branches(level, of_row.astype(np.intp), row, above[row] if len(row) else row)
            above = branch.of_row
            yield branch

    def _level(self, name: str) -> int:
        """The depth at which a column is shown."""
        try:
            level = column(name).level
        except UsageError:
            level = None
        return self.levels.index(level) if level in self.levels else len(self.levels) - 1

    # --- order and filter ----------------------------------------------------------------------------------------

    def sort(self, name: str | None, *, descending: bool = False) -> None:
        """Sort siblings: by a column those of its level, by ``""`` each level by what its rows are called."""
        if name is not None and name and name not in self.columns:
            return
        self._sort = None if name is None else (name, descending)
        self._arrange()

    def filter(self, words: str) -> None:
        """Keep rows in which each word stands somewhere."""
        mask = np.ones(len(self.frame), bool)
        for word in words.lower().split():
            mask &= self._holding(word)
        self.mask = mask
        self._arrange()

    def _holding(self, word: str) -> NDArray[np.bool_]:
        found = np.zeros(len(self.frame), bool)
        for name in self.frame.columns:
            codes, values = pd.factorize(self.frame[name])
            texts = pd.Series([str(value) for value in values], dtype="str").str.lower()
            hits = texts.str.contains(word, regex=False).to_numpy(bool)
            if hits.any():
                found |= np.append(hits, False)[codes]
        return found

    def _arrange(self) -> None:
        self._order, self._starts = [], []
        for depth, branch in enumerate(self.branches):
            kept = np.bincount(branch.of_row[self.mask], minlength=len(branch.row)) > 0
            nodes = np.flatnonzero(kept).astype(np.intp)
            rank = self._rank(depth)[nodes]
            parents = branch.parent[nodes]
            nodes = nodes[np.lexsort((rank, parents))]
            above = len(self.branches[depth - 1].row) if depth else 1
            counts = np.bincount(branch.parent[nodes], minlength=above)
            self._order.append(nodes)
            self._starts.append(np.concatenate([[0], np.cumsum(counts)]).astype(np.intp))

    def _rank(self, depth: int) -> NDArray[Any]:
        branch = self.branches[depth]
        plain = np.arange(len(branch.row))
        if self._sort is None:
            return plain
        name, descending = self._sort
        if name and self.level_of[name] != depth:
            return plain
        names = [name] if name else self.named[branch.level]
        keys = []
        for one in names:
            values = self.frame[one].iloc[branch.row]
            if values.dtype == object:
                values = values.astype("str")
            ranks = values.rank(method="dense", na_option="keep").to_numpy(np.float64)
            keys.append(np.where(np.isnan(ranks), np.inf, -ranks if descending else ranks))
        order = np.lexsort((plain, *reversed(keys)))
        ranked = np.empty(len(plain), np.intp)
        ranked[order] = plain
        return ranked

    # --- what is seen --------------------------------------------------------------------------------------------

    def children(self, depth: int, node: int) -> Ints:
        """The nodes of level `depth` in a node above, in order."""
        starts = self._starts[depth]
        return self._order[depth][starts[node] : starts[node + 1]]

    def seen(self) -> tuple[NDArray[np.int8], Ints]:
        """Depth and node of every row of the tree as it is open now."""
        pieces: list[tuple[int, Ints]] = []
        self._walk(0, 0, pieces)
        if not pieces:
            return np.empty(0, np.int8), np.empty(0, np.intp)
        depths = np.repeat([depth for depth, _ in pieces], [len(nodes) for _, nodes in pieces]).astype(np.int8)
        return depths, np.concatenate([nodes for _, nodes in pieces])

    def _walk(self, depth: int, node: int, pieces: list[tuple[int, Ints]]) -> None:
        nodes = self.children(depth, node)
        if depth + 1 == len(self.levels) or not self.open[depth]:
            pieces.append((depth, nodes))
            return
        opened = np.fromiter(self.open[depth], np.intp, len(self.open[depth]))
        start = 0
        for at in np.flatnonzero(np.isin(nodes, opened)).tolist():
            pieces.append((depth, nodes[start : at + 1]))
            self._walk(depth + 1, int(nodes[at]), pieces)
            start = at + 1
        pieces.append((depth, nodes[start:]))

    def open_all(self, *, opened: bool = True) -> None:
        """Open every node, or close them."""
        for depth, branch in enumerate(self.branches[:-1]):
            self.open[depth] = set(range(len(branch.row))) if opened else set()

    def rows_in(self, depth: int, nodes: Ints) -> NDArray[np.bool_]:
        """Which rows of the table lie in these nodes and pass the filter."""
        branch = self.branches[depth]
        chosen = np.zeros(len(branch.row), bool)
        chosen[nodes] = True
        return chosen[branch.of_row] & self.mask

    def counts(self, depth: int, mask: NDArray[np.bool_]) -> Ints:
        """How many rows of the table lie in each node, of those in `mask`."""
        branch = self.branches[depth]
        return np.bincount(branch.of_row[mask], minlength=len(branch.row)).astype(np.intp)

    def texts(self, depth: int, node: int) -> tuple[str, list[str]]:
        """What a row is called, and its cells, as they may be shown."""
        values = self.frame.iloc[int(self.branches[depth].row[node])]
        parts = [self.cohort.cell_text(name, values[name]) for name in self.named[self.levels[depth]]]
        label = "  ".join(part for part in parts if part not in ("—", ""))
        cells = [self.cohort.cell_text(n, values[n]) if self.level_of[n] == depth else "" for n in self.columns]
        return label or self.cohort.cell_text(key := UNIQUE_KEY[self.levels[depth]], values[key]), cells


def headings(names: Sequence[str]) -> list[str]:
    """Keywords as column headings."""
    return [name if len(name) <= 28 else f"{name[:27]}…" for name in names]
