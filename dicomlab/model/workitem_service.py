"""Who carries out requests for work items, and who keeps them: what the doors of an archive and the verbs stand on.

Source
------
PS3.4 Annex CC (Unified Procedure Step Service); PS3.18 §11 (Worklist Service).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

from dicomlab.model.columns import Column, columns
from dicomlab.model.query import Key, Query
from dicomlab.model.workitem import Done, EventReport

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.model.matching import Row
    from dicomlab.model.path import Verdict
    from dicomlab.model.progress import Control

STANDARD_COLUMNS = columns(
    (
        "SOPInstanceUID", "ProcedureStepState", "ProcedureStepLabel", "WorklistLabel", "ScheduledProcedureStepPriority",
        "ScheduledProcedureStepStartDateTime", "InputReadinessState", "PatientID", "PatientName", "StudyInstanceUID",
        "ScheduledStationNameCodeSequence.CodeValue", "ScheduledWorkitemCodeSequence.CodeMeaning",
    )
)  # fmt: skip
"""The columns of every cohort of work items."""
MAX_EVENTS = 100
"""Events that a reader takes from an archive at a time."""


@dataclass(frozen=True, slots=True)
class WorkQuery:
    """What a search for work items asks: keys, and the columns that it shows."""

    keys: tuple[Key, ...] = ()
    include: tuple[Column, ...] = ()
    limit: int | None = None

    @classmethod
    def of(
        cls,
        match: Mapping[str | int, object] | None = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        **keywords: object,
    ) -> Self:
        """Check and normalise the keys, as :meth:`Query.of` does; an attribute of any level may be one."""
        query = Query.of("instance", match, include=include, limit=limit, **keywords)
        return cls(query.keys, query.include, limit)

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the cohort shows."""
        return tuple(dict.fromkeys((*STANDARD_COLUMNS, *(key.column for key in self.keys), *self.include)))


class EventChannel(Protocol):
    """Events as they come."""

    def next(self, timeout_s: float | None) -> EventReport | None:
        """Wait for the next one; None: none came in time (None: no end of time), or the channel is closed."""

    def close(self) -> None:
        """Let it go; may be called twice, and from another thread, whose ``next`` then ends."""


class WorkItemService(Protocol):
    """Whoever carries the requests out: an archive's store, a peer over DIMSE, a server over the web.

    Failures are raised: :class:`ServiceError` with the DIMSE status (an HTTP status from a server), and what the
    conversation itself may raise.
    """

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic."""

    def create(self, uid: str, workitem: Dataset, /) -> Done:
        """Create a work item; ``""``: whoever keeps it gives it a UID."""

    def retrieve(self, uid: str, /) -> Dataset:
        """Give a work item, without its Transaction UID."""

    def update(self, uid: str, changes: Dataset, transaction_uid: str, /) -> Done:
        """Set attributes."""

    def change_state(self, uid: str, state: str, transaction_uid: str, /) -> Done:
        """Change the state."""

    def request_cancel(self, uid: str, requesting_ae: str, information: Dataset, /) -> Done:
        """Request that a work item be canceled."""

    def search(self, query: WorkQuery, control: Control, verdict: Verdict, /) -> Iterator[Row]:
        """Give the raw values of the work items that match."""

    def subscribe(self, uid: str, receiver: str, deletion_lock: bool, keys: Sequence[Key], /) -> Done:
        """Subscribe an AE to a work item, the worklist (:data:`GLOBAL`) or what matches (:data:`FILTERED`)."""

    def unsubscribe(self, uid: str, receiver: str, /) -> Done:
        """End a subscription; of the worklist: all of them."""

    def suspend(self, uid: str, receiver: str, /) -> Done:
        """Subscribe to no further work items; those that are subscribed to stay so."""

    def listen(self, receiver: str, /) -> EventChannel:
        """Open a channel of the events for an AE."""


class WorkItemHoldings(WorkItemService, Protocol):
    """What both doors of an archive stand on: a service that also keeps events until they are delivered.

    A deliverer (N-EVENT-REPORT, WebSocket) is woken by :meth:`watch` when there is something for somebody, takes it
    with :meth:`events` and says with :meth:`acknowledge` how far it came; what nobody acknowledges is there after a
    restart. Events of one receiver are kept up to a bound, the oldest are dropped first.
    """

    def is_gone(self, uid: str, /) -> bool:
        """Whether there was a work item with that UID, which was deleted."""

    def matches(self, keys: Sequence[Key], /) -> Iterator[Dataset]:
        """Give the work items that match, whole but without their Transaction UIDs, in the order of their making."""

    def watch(self, wake: Callable[[str], object], /) -> Callable[[], None]:
        """Have ``wake(receiver)`` called whenever an event for it has been kept; gives a function that ends it.

        It is called after the change is durable, in the thread that made it, and must return at once.
        """

    def receivers(self) -> list[str]:
        """The AEs for which there are events that nobody has acknowledged."""

    def events(self, receiver: str, after: int | None = None, limit: int = MAX_EVENTS, /) -> list[EventReport]:
        """The next events for an AE: after one of them, or from the first that is not acknowledged."""

    def acknowledged(self, receiver: str, /) -> int:
        """Up to which event those for an AE have been delivered: where one more channel of it begins."""

    def acknowledge(self, receiver: str, sequence: int, /) -> None:
        """All events for that AE up to this one have been delivered."""
