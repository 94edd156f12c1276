"""The archive's dashboard: what arrives, from whom, how fast."""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from dicomlab.errors import DicomlabError
from dicomlab.model.options import options
from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.html import Markup
from dicomlab.notebook.widget import Face, Ticker

if TYPE_CHECKING:
    from dicomlab.archive.archive import Archive
    from dicomlab.archive.store import Arrived

LOOKS_HZ = 4.0
RECENT = 50
MAX_SOURCES = 100
"""Who sent is a peer's own word: beyond these all are one."""
_OTHERS = "others"


@dataclass
class _Source:
    """What one sender brought."""

    instances: int = 0
    octets: int = 0
    last: str = ""


class Dashboard(Face):
    """Shows what an archive receives: see :func:`dashboard`."""

    _script = "dashboard"

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self._sources: dict[str, _Source] = {}
        self._recent: deque[tuple[str, ...]] = deque(maxlen=RECENT)
        self._arrived = self._told = 0
        self._rate_before = (time.monotonic(), 0)
        totals = archive.totals()  # opens it, where that has not happened
        summary = archive._summary_()
        doors = [[name, value] for name, value in summary.facts if name in ("DIMSE", "DICOMweb", "folder")]
        super().__init__(doors=doors, notes=list(summary.notes), totals=totals, sources=[], recent=[], open=True)
        self._let_go = weakref.finalize(self, archive.watch(_taker(weakref.WeakMethod(self._take_arrival))))
        self._ticker = Ticker(self._tick, LOOKS_HZ, "dashboard")

    # --- what arrives --------------------------------------------------------------------------------------------

    def _take_arrival(self, arrived: Arrived) -> None:
        """One more, in the thread that stored it: short."""
        now = datetime.now().strftime("%H:%M:%S")
        name = visible(arrived.source, 64) or "unknown"
        header = arrived.header
        with self._lock:
            if name not in self._sources and len(self._sources) >= MAX_SOURCES:
                name = _OTHERS
            source = self._sources.setdefault(name, _Source())
            source.instances += 1
            source.octets += arrived.held.size
            source.last = now
            self._arrived += 1
            who = options.shown(_first(header.get("PatientName", ())), fictional=self.archive.fictional)
            what = (_first(header.get(key, ())) for key in ("Modality", "StudyDescription", "SeriesDescription"))
            self._recent.appendleft((now, name, who, *what, str(arrived.held.size)))

    def _tick(self) -> None:
        with self._lock:
            arrived, changed = self._arrived, self._arrived != self._told
            self._told = arrived
            then, before = self._rate_before
            now = time.monotonic()
            self._rate_before = (now, arrived)
        if changed:
            self._follow(**self._content())
        elif self.archive._open is None and self.state["open"]:
            self._tell(open=False)
        if self.visible:
            self._send("rate", rate_hz=(arrived - before) / max(now - then, 1e-3))

    def _content(self) -> dict[str, Any]:
        with self._lock:
            ranked = sorted(self._sources.items(), key=lambda one: -one[1].instances)
            sources = [[name, one.instances, one.octets, one.last] for name, one in ranked]
            recent = [list(row) for row in self._recent]
        try:
            totals = self.archive.totals() if self.archive._open is not None else self.state["totals"]
        except DicomlabError:
            totals = self.state["totals"]
        return {"sources": sources, "recent": recent, "totals": totals}

    @property
    def sources(self) -> dict[str, int]:
        """How many instances each sender brought since the dashboard is there."""
        with self._lock:
            return {name: one.instances for name, one in self._sources.items()}

    # --- life ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End it; the archive goes on."""
        self._ticker.stop()
        self._let_go()
        super().close()

    def _twin(self) -> tuple[Summary, Markup | None]:
        content = {**self.state, **self._content()}
        totals = content["totals"]
        facts = [*((str(name), str(value)) for name, value in content["doors"])]
        facts.append(
            ("holds", ", ".join(f"{totals[one]} {one}" for one in ("patients", "studies", "series", "instances")))
        )
        rows = tuple((name, str(count), f"{octets:,}", last) for name, count, octets, last in content["sources"])
        columns = ("from", "instances", "octets", "last") if rows else ()
        return Summary("Archive dashboard", tuple(facts), columns, rows[:20], max(0, len(rows) - 20)), None


def _first(values: Sequence[object]) -> str:
    return visible(str(next((one for one in values if one is not None), "")), 64)


def _taker(method: weakref.WeakMethod[Callable[[Arrived], None]]) -> Callable[[Arrived], None]:
    """Take arrivals without keeping the dashboard alive."""

    def take(arrived: Arrived) -> None:
        alive = method()
        if alive is not None:
            alive(arrived)

    return take


def dashboard(archive: Archive) -> Dashboard:
    """Watch an archive: its doors, what it holds, who brought how much, what came last.

    Parameters
    ----------
    archive : Archive
        Opened if it is not open.

    Returns
    -------
    Dashboard
    """
    return Dashboard(archive)
