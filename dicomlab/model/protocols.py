"""What the rooms expect of one another; a class implements what its medium can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from dicomlab.model.columns import Level
from dicomlab.model.matching import Row
from dicomlab.model.progress import Control
from dicomlab.model.query import Query

if TYPE_CHECKING:
    from dicomlab.model.cohort import Cohort
    from dicomlab.model.report import Outcome

Octets = bytes | bytearray | memoryview


class Watcher(Protocol):
    """Sees, while a data set passes by, whether it is whole."""

    @property
    def told(self) -> bool:
        """Whether :meth:`lack` can tell."""

    def lack(self) -> str:
        """Say what is missing; ``""`` where it is whole, or where it can't be told."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One SOP Instance that begins to arrive.

    ``file_meta`` holds preamble and File Meta Information where they travelled with it (web, media); where only
    the data set travels (DIMSE) it is None and whoever stores it writes its own. ``watcher`` is there where whoever
    delivers looks at what passes, so that nobody need look a second time.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    file_meta: bytes | None = None
    source: str = ""
    watcher: Watcher | None = field(default=None, compare=False, repr=False)


class Writer(Protocol):
    """Takes the octets of one data set as they come. Exactly one of ``finish`` and ``abandon`` ends it."""

    def write(self, octets: Octets, /) -> object:
        """Take more octets after the File Meta Information: good until it returns, so what is kept is copied."""

    def finish(self) -> Outcome:
        """It is whole: make it durable and say what became of it.

        Raises ``Interrupted`` (medium full or gone), ``ServiceError`` (refused, with a DIMSE status).
        """

    def abandon(self) -> None:
        """It will never be whole: leave no trace of it."""


class Sink(Protocol):
    """Where instances arrive: a folder, a File-set, an archive, memory.

    Called from one thread at a time for each association or response, from several at once for a server.
    """

    def begin(self, arrival: Arrival) -> Writer:
        """Make room for one instance.

        Raises ``Interrupted`` (medium full or gone), ``ServiceError`` (refused, with a DIMSE status).
        """

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive, and why, in the peer's words."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One SOP Instance to be delivered; ``sop_class_uid`` is ``""`` where nobody knows it."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """One stored SOP Instance of an archive."""

    path: Path
    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    meta_length: int
    """Octets before the data set."""
    size: int
    """Octets of the whole file."""


class Holdings(Protocol):
    """What both doors of an archive (SCP and origin server) stand on."""

    def search(self, query: Query) -> Iterator[Row]:
        """The matches as raw values by column name, absent or without values where there are none; in a stable order.

        A row may hold more than the columns of the query. A path through sequences has one value for each item.
        """

    def select(self, level: Level, uids: Sequence[str]) -> list[Held]:
        """The stored instances below those unique keys, in a stable order."""

    def sink(self, source: str) -> Sink:
        """Where what ``source`` (an AE title or an address) sends is stored."""

    def remove(self, held: Held) -> None:
        """Delete a stored instance; one that is gone already is no error."""

    def secure(self, held: Sequence[Held]) -> list[Held]:
        """Put instances on the medium, where no loss of power takes them; give those of which that is sure."""


class Source(Protocol):
    """Where the rows of a table came from."""

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic, so that reprs may show them."""


@runtime_checkable
class Searchable(Source, Protocol):
    """Answers ``find``."""

    def find(
        self,
        level: str = "study",
        /,
        match: Any = None,
        *,
        include: Iterable[str | int] = (),
        limit: int | None = None,
        **keywords: Any,
    ) -> Cohort:
        """Search."""


@runtime_checkable
class Retrievable(Searchable, Protocol):
    """Delivers instances."""

    def deliver(self, wanted: Sequence[Wanted], sink: Sink, control: Control, /) -> None:
        """Push every wanted instance into `sink`, in any order; stop cleanly when `control` is cancelled.

        A path may have options of its own beside these, by keyword. What cannot be delivered is told to
        ``sink.failed`` with the peer's words; what breaks the conversation itself is raised (``Unreachable``,
        ``Refused``, ``Interrupted``, ``RemoteProtocolError``).
        """
