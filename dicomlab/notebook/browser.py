"""The cohort browser: a tree that is searched, sorted and picked from; what is picked is a cohort, and is retrieved."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import DicomlabError, UsageError
from dicomlab.model.columns import LEVELS
from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.html import Markup
from dicomlab.notebook.transfer import Watch
from dicomlab.notebook.tree import Tree, headings
from dicomlab.notebook.widget import Face, shown_as

if TYPE_CHECKING:
    from dicomlab.model.cohort import Cohort
    from dicomlab.model.progress import Operation
    from dicomlab.model.report import Report

MAX_ROWS = 400
"""Of one message."""
_OPEN_FOUND = 500
"""So many matches of a search are shown opened."""
_PLURALS = {"patient": "patients", "study": "studies", "series": "series", "instance": "instances"}


class CohortBrowser(Face):
    """Browse a cohort: see :func:`browse`.

    Attributes
    ----------
    report : Report or None
        Of the retrieve that ended last.
    """

    _script = "browser"

    def __init__(self, cohort: Cohort, to: Any = None, **options: Any) -> None:
        self._tree = Tree(cohort)
        self._above: list[Tree] = []
        self._to, self._options = to, options
        self._picked: NDArray[np.bool_] = np.zeros(len(cohort), bool)
        self._anchor: int | None = None
        self._seen_rows = self._tree.seen()
        self._version = 0
        self._words, self._sorted = "", ["", 0]
        self._work: Operation[Any] | None = None
        self._title = ""
        self._then: Callable[[CohortBrowser, Any], None] = CohortBrowser._retrieved
        self._watch: Watch | None = None
        self.report: Report | None = None
        super().__init__(progress=None, note="", said="", retrieves=to is not None)
        self._changed()

    # --- verbs ---------------------------------------------------------------------------------------------------

    @property
    def cohort(self) -> Cohort:
        """What is browsed now: the cohort given, or one opened below it."""
        return self._tree.cohort

    @property
    def selected(self) -> Cohort:
        """What is picked, as a cohort; picking a patient, study or series picks what lies in it."""
        with self._lock:
            return self.cohort[self._picked.copy()]

    def search(self, words: str) -> None:
        """Keep what has each of these words in some column; ``""`` keeps everything. What is picked stays picked."""
        with self._lock:
            self._words = words
            self._tree.filter(words)
            if words and int(self._tree.mask.sum()) <= _OPEN_FOUND:
                self._tree.open_all()
            self._changed()

    def sort(self, name: str, *, descending: bool = False) -> None:
        """Sort by a column; ``""`` by what rows are called.

        Raises
        ------
        UsageError
            There is no such column.
        """
        if name and name not in self._tree.columns:
            raise UsageError(f"no column {name!r}; there are {', '.join(self._tree.columns)}")
        with self._lock:
            self._tree.sort(name, descending=descending)
            self._sorted = [name, -1 if descending else 1]
            self._changed()

    def retrieve(self) -> Operation[Report]:
        """Retrieve what is picked, to where ``browse(to=...)`` said; ``report`` holds the result.

        Raises
        ------
        UsageError
            It said nothing; nothing is picked; one is going on.
        """
        if self._to is None:
            raise UsageError('a retrieve needs somewhere to go: cohort.browse(to="folder")')
        if not self._picked.any():
            raise UsageError("nothing is picked")
        going: Operation[Report] = self._start("retrieve", lambda: self.selected.retrieve(
            self._to, progress=False, background=True, **self._options
        ), CohortBrowser._retrieved)  # fmt: skip
        return going

    def stop(self) -> None:
        """End the retrieve that goes on; what arrived is in ``report``."""
        if self._work is not None:
            self._work.cancel()

    # --- work beside ---------------------------------------------------------------------------------------------

    def _start(
        self, title: str, begin: Callable[[], Operation[Any]], then: Callable[[CohortBrowser, Any], None]
    ) -> Any:
        with self._lock:
            if self._work is not None:
                raise UsageError(f"{self._work.title} is going on")
            self._work = work = begin()
            self._title, self._then = title, then
        self._watch = Watch(work, weakref.WeakMethod(self._progressed), weakref.WeakMethod(self._finished))
        return work

    def _progressed(self, line: dict[str, Any]) -> None:
        self._follow(progress={**line, "title": self._title})

    def _finished(self) -> None:
        assert self._work is not None
        note = ""
        try:
            result = self._work.result()
        except DicomlabError as error:
            note, result = str(error), error.partial
        with self._lock:
            self._work = None
            if result is not None:
                self._then(self, result)
            self._tell(progress=None, **({"note": note} if note else {}))

    def _retrieved(self, report: Report) -> None:
        self.report = report
        counts = ", ".join(f"{count} {name}" for name, count in sorted(report.counts.items())) or "nothing"
        cut = "" if report.complete else f"not complete: {visible(report.note or 'instances failed', 300)}"
        self._tell(said=f"retrieved: {counts}", note=cut)

    # --- deeper --------------------------------------------------------------------------------------------------

    def _below(self) -> str:
        level = LEVELS.index(self.cohort.level)
        return LEVELS[level + 1] if level + 1 < len(LEVELS) and self.cohort.source is not None else ""

    def _on_deeper(self, _: Mapping[str, Any]) -> None:
        """Ask for what lies in the picked rows, one level below."""
        below = self._below()
        if not below or not self._picked.any():
            return
        chosen, tree = self.selected, self._tree
        upper = [
            name
            for level in tree.levels
            for name in (*tree.named[level], *(["PatientID"] if level == "patient" else []))
        ]
        include = list(dict.fromkeys(upper))

        def begin() -> Operation[Any]:
            method = getattr(chosen, {"study": "studies", "series": "series", "instance": "instances"}[below])
            return method(include=include, progress=False, background=True)  # type: ignore[no-any-return]

        self._start(f"find {_PLURALS[below]}", begin, CohortBrowser._deepened)

    def _deepened(self, cohort: Cohort) -> None:
        self._above.append(self._tree)
        tree = Tree(cohort)
        if len(cohort) <= _OPEN_FOUND:
            tree.open_all()
        self._put(tree)

    def _on_back(self, _: Mapping[str, Any]) -> None:
        with self._lock:
            if self._above:
                self._put(self._above.pop())

    def _put(self, tree: Tree) -> None:
        self._tree, self._anchor, self._words, self._sorted = tree, None, "", ["", 0]
        tree.filter("")
        self._picked = np.zeros(len(tree.frame), bool)
        self._changed()

    # --- from the browser ----------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Other rows are seen now."""
        self._seen_rows = self._tree.seen()
        self._version += 1
        tree = self._tree
        found = int(tree.mask.sum())
        self._tell(
            version=self._version, rows=len(self._seen_rows[0]), columns=tree.columns, headings=headings(tree.columns),
            levels=list(tree.levels), words=self._words, sort=list(self._sorted), total=len(tree.frame), found=found,
            plural=_PLURALS[self.cohort.level], below=_PLURALS.get(self._below(), ""), back=bool(self._above),
            source=visible(str(self.cohort.source or ""), 80), cut="" if self.cohort.complete else self.cohort.note,
            picked=int(self._picked.sum()),
        )  # fmt: skip

    def _on_rows(self, content: Mapping[str, Any]) -> None:
        """Rows that come into sight."""
        with self._lock:
            if content["version"] != self._version:
                return
            depths, nodes = self._seen_rows
            start = min(max(int(content["start"]), 0), len(depths))
            stop = min(max(int(content["stop"]), start), len(depths), start + MAX_ROWS)
            tree, last = self._tree, len(self._tree.levels) - 1
            within = {depth: tree.counts(depth, tree.mask) for depth in set(depths[start:stop].tolist())}
            picked = {depth: tree.counts(depth, self._picked & tree.mask) for depth in within}
            rows = []
            for depth, node in zip(depths[start:stop].tolist(), nodes[start:stop].tolist(), strict=True):
                label, cells = tree.texts(depth, node)
                some, every = int(picked[depth][node]), int(within[depth][node])
                mark = 0 if not some else 2 if some == every else 1
                opened = -1 if depth == last else int(node in tree.open[depth])
                rows.append(
                    [
                        depth,
                        opened,
                        mark,
                        0 if depth == last else every,
                        visible(label, 120),
                        *(visible(c, 80) for c in cells),
                    ]
                )
            self._send("rows", version=self._version, start=start, rows=rows)

    def _on_toggle(self, content: Mapping[str, Any]) -> None:
        """Open or close one row."""
        with self._lock:
            place = self._place(content)
            if place is None or place[0] + 1 >= len(self._tree.levels):
                return
            depth, node = place
            opened = self._tree.open[depth]
            if content.get("open", node not in opened):
                opened.add(node)
            else:
                opened.discard(node)
            self._changed()

    def _on_all(self, content: Mapping[str, Any]) -> None:
        with self._lock:
            self._tree.open_all(opened=bool(content["open"]))
            self._changed()

    def _on_search(self, content: Mapping[str, Any]) -> None:
        self.search(str(content["words"])[:200])

    def _on_sort(self, content: Mapping[str, Any]) -> None:
        name = str(content["name"])
        asked = next((one for one in self._tree.columns if shown_as(one) == name), name)
        self.sort(asked, descending=bool(content["descending"]))

    def _on_pick(self, content: Mapping[str, Any]) -> None:
        """Pick one row alone, add or take away one, or all from the last one to this one."""
        with self._lock:
            how = content["how"]
            if how in ("all", "none"):
                self._picked = self._picked | self._tree.mask if how == "all" else np.zeros_like(self._picked)
            else:
                place = self._place(content)
                if place is None:
                    return
                row = int(content["row"])
                rows = self._tree.rows_in(place[0], np.array([place[1]]))
                if how == "range" and self._anchor is not None:
                    rows = self._between(self._anchor, row)
                elif how == "only":
                    self._picked = np.zeros_like(self._picked)
                if how == "toggle" and bool(self._picked[rows].all()):
                    self._picked = self._picked & ~rows
                else:
                    self._picked = self._picked | rows
                if how != "range":
                    self._anchor = row
            self._tell(picked=int(self._picked.sum()))
            self._send("picked")

    def _between(self, first: int, last: int) -> NDArray[np.bool_]:
        depths, nodes = self._seen_rows
        low, high = sorted((min(first, len(depths) - 1), last))
        rows = np.zeros(len(self._picked), bool)
        for depth in set(depths[low : high + 1].tolist()):
            here = nodes[low : high + 1][depths[low : high + 1] == depth]
            if depth == int(depths[low : high + 1].max()):  # the rows above them are there for their sake
                rows |= self._tree.rows_in(depth, here)
        return rows

    def _place(self, content: Mapping[str, Any]) -> tuple[int, int] | None:
        depths, nodes = self._seen_rows
        row = int(content["row"])
        if content["version"] != self._version or not 0 <= row < len(depths):
            return None
        return int(depths[row]), int(nodes[row])

    def _on_retrieve(self, _: Mapping[str, Any]) -> None:
        self._tell(note="", said="")
        self.retrieve()

    def _on_stop(self, _: Mapping[str, Any]) -> None:
        self.stop()

    # --- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End it, and the retrieve that goes on."""
        super().close()
        if self._watch is not None:
            self._watch.stop(at_end=True)

    def _twin(self) -> tuple[Summary, Markup | None]:
        summary = self.cohort._summary_()
        facts = [*summary.facts]
        if self._picked.any():
            facts.append(("picked", f"{int(self._picked.sum())} of {len(self._picked)}"))
        if self.report is not None:
            facts.append(("retrieved", ", ".join(f"{n} {what}" for what, n in sorted(self.report.counts.items()))))
        return (
            Summary(
                summary.title, tuple(facts), summary.columns, summary.rows, summary.hidden_rows,
                summary.hidden_columns, summary.notes,
            ),
            None,
        )  # fmt: skip


def browse(cohort: Cohort, to: Any = None, **options: Any) -> CohortBrowser:
    """Browse a cohort: open, search, sort, pick; ``browser.selected`` is what is picked, as a cohort.

    Arrows move and open, space picks, Shift and Ctrl with it as everywhere; ``/`` goes to the search. Rows come as
    they are scrolled into sight, so a hundred thousand are no more work than ten.

    Parameters
    ----------
    cohort : Cohort
    to : path, MediaSet or Archive, optional
        Where the retrieve button brings what is picked; without it there is no such button.
    **options
        Of ``cohort.retrieve``.

    Returns
    -------
    CohortBrowser
    """
    return CohortBrowser(cohort, to, **options)
