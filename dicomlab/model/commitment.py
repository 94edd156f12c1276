"""Storage commitment as every door speaks it: references, reasons, results. No I/O.

Source
------
PS3.4 Annex J (Storage Commitment Service Class), Tables J.3-1, J.3-2; PS3.18 §13 (Storage Commitment Service);
PS3.3 §C.14 (Failure Reason).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

PROCESSING_FAILURE, NO_SUCH_INSTANCE, RESOURCE_LIMITATION = 0x0110, 0x0112, 0x0213
CLASS_NOT_SUPPORTED, CLASS_INSTANCE_CONFLICT, DUPLICATE_TRANSACTION = 0x0122, 0x0119, 0x0131
REASONS = {
    PROCESSING_FAILURE: "processing failure",
    NO_SUCH_INSTANCE: "no such object instance",
    RESOURCE_LIMITATION: "resource limitation",
    CLASS_NOT_SUPPORTED: "referenced SOP Class not supported",
    CLASS_INSTANCE_CONFLICT: "class/instance conflict",
    DUPLICATE_TRANSACTION: "duplicate transaction UID",
}
"""Failure Reason (0008,1197) in the standard's words."""
INSTANCES_PER_TRANSACTION = 10_000
"""So that no request comes near the largest data set that peers take at once."""

Reference = tuple[str, str]
"""SOP Class UID and SOP Instance UID."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What became of one transaction: what is safe, and why the rest is not."""

    committed: tuple[Reference, ...]
    failed: Mapping[Reference, int]


class Inbox(Protocol):
    """Where results wait that come when nobody is there who asked."""

    @property
    def place(self) -> str:
        """Where it is, so that it is found again tomorrow."""

    def expect(self, uid: str, references: Sequence[Reference], /) -> None:
        """A transaction is about to be asked for: only what was asked for is taken."""

    def take(self, uid: str, result: Committed, /) -> bool:
        """Take a result; False where nobody asked for that transaction."""

    def result(self, uid: str, /) -> Committed | None:
        """The result of a transaction, if it has come."""


class Commitments(Protocol):
    """Whoever commits to the safe keeping of instances: an archive."""

    def commit(self, uid: str, references: Sequence[Reference], /) -> Committed:
        """Answer a request for commitment, and remember the answer.

        Raises ``ServiceError`` with 0131H where the transaction was asked for already.
        """

    def answered(self, uid: str, /) -> Committed | None:
        """What was answered to a transaction; None: it was never asked for."""


def parts(references: Iterable[Reference]) -> Iterator[tuple[Reference, ...]]:
    """Split references into transactions."""
    ordered = sorted(references)
    for start in range(0, len(ordered), INSTANCES_PER_TRANSACTION):
        yield tuple(ordered[start : start + INSTANCES_PER_TRANSACTION])
