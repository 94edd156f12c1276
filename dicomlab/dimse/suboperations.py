"""The C-STOREs that one C-GET or C-MOVE causes: sent, counted, and told of as they go.

Source
------
PS3.4 §C.4.2.2, §C.4.3.2; PS3.7 §9.1.3, §9.1.4 (counts of sub-operations).
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_tree
from dicomlab.dimse.negotiation import Peer
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.serving import CANNOT_PROCESS
from dicomlab.dimse.storage import batches, fitting, recode, send_instance
from dicomlab.errors import CommunicationError, RemoteProtocolError, ServiceError
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Held
from dicomlab.part10.bulk import without_bulk_data
from dicomlab.part10.files import Parcel, parcels
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE

_NO_SUBOPERATION, _SOME_FAILED = 0xA702, 0xB000
_MOST_WAITING = 0xFFFF


class Outgoing(NamedTuple):
    """One instance to be sent; ``open`` gives its data set while the block runs."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    open: Callable[[], AbstractContextManager[Octets]]

    @classmethod
    def held(cls, one: Held) -> Outgoing:
        """One that the archive holds."""

        @contextmanager
        def opened() -> Iterator[Octets]:
            with (
                one.path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
                memoryview(mapped) as view,
                view[one.meta_length :] as octets,
            ):
                yield octets

        return cls(one.sop_class_uid, one.sop_instance_uid, one.transfer_syntax_uid, opened)


def outgoing(given: Iterable[Any]) -> Iterator[Outgoing]:
    """What a handler gives to be sent: paths, data sets, or anything else that can be stored somewhere.

    Raises
    ------
    ServiceError
        Something that is no whole instance.
    """
    for parcel in parcels(given):
        if not isinstance(parcel, Parcel):
            raise ServiceError(f"can't be sent: {parcel.reason}", status=CANNOT_PROCESS)
        meta = parcel.meta
        yield Outgoing(meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, parcel.dataset)


def cancelled(association: Association, number: int) -> bool:
    """Whether what has just come in is a C-CANCEL-RQ of operation `number`, or the end; nothing else may come now.

    One that is late, and means an operation that has ended, is passed over.
    """
    message = association.receive()
    if message is None:
        return True
    if message.command.name != "C-CANCEL-RQ":
        raise association.broken(f"{message.command.name} during another operation", "PS3.7 §D.3.3.3")
    return message.command.number("MessageIDBeingRespondedTo") == number


@dataclass
class Suboperations:
    """The C-STOREs that one C-GET or C-MOVE causes, and their count."""

    association: Association
    message: Message
    items: list[Outgoing]
    faults: Faults
    bulk: bool = True
    """Whether bulk data goes with them (PS3.4 Annex Z)."""
    completed: int = 0
    warned: int = 0
    failed: list[str] = field(default_factory=list)
    cancelled: bool = False
    comment: str = ""

    @property
    def _number(self) -> int:
        """The Message ID of what was asked."""
        return self.message.command.number("MessageID")

    def get(self) -> None:
        """Send everything on the association that asked (PS3.4 §C.4.3.3)."""
        for one in self.items:
            if self._asked_to_stop():
                break
            self._store(self.association, one, None, scp=True)
        self._end()

    def move(self, peer: Peer, originator: tuple[str, int]) -> None:
        """Send everything to somebody else, on as many associations as the contexts need (PS3.4 §C.4.2.3)."""
        for proposals, dealt in batches(self.items, lambda one: (one.sop_class_uid, one.transfer_syntax_uid)):
            if self._asked_to_stop():
                break
            left = list(dealt)
            try:
                with peer.associate(proposals) as other:
                    while left and not self._asked_to_stop():
                        self._store(other, left[0], originator)
                        del left[0]
            except (CommunicationError, RemoteProtocolError) as error:
                if isinstance(error, CommunicationError) and error.endpoint == self.association.endpoint:
                    raise
                self.comment = str(error)
                self.failed += [one.sop_instance_uid for one in left]
        self._end()

    def _store(
        self, other: Association, one: Outgoing, originator: tuple[str, int] | None, *, scp: bool = False
    ) -> None:
        syntax = one.transfer_syntax_uid if self.bulk else _plain(one.transfer_syntax_uid)
        fit = fitting(other, one.sop_class_uid, syntax, scp=scp)
        status = CANNOT_PROCESS
        if fit is None:
            self.comment = f"no context accepted for {syntax}"
        else:
            try:
                status = self._send(other, fit.context, one, originator, anew=bool(fit.change))
            except (OSError, ServiceError, ValueError) as error:
                self.comment = str(error) if isinstance(error, ServiceError) else "a file can't be read"
        kind = tables.category(status)
        self.completed += kind == "success"
        self.warned += kind == "warning"
        if kind not in ("success", "warning"):
            self.failed.append(one.sop_instance_uid)
        if not self.cancelled:
            self._respond(tables.PENDING[0])

    def _send(
        self, other: Association, context: Context, one: Outgoing, originator: tuple[str, int] | None, *, anew: bool
    ) -> int:
        on_cancel = self._cancel if originator is None else None
        with one.open() as octets:
            data, syntax = octets, one.transfer_syntax_uid
            if not self.bulk:
                try:
                    data, syntax = without_bulk_data(data, syntax), _plain(syntax)
                except RemoteProtocolError as error:  # it lies here broken, which is not the association's fault
                    raise ServiceError(f"cannot understand: {error}", status=CANNOT_PROCESS) from error
                anew = syntax != context.transfer_syntax
            if anew:
                data = recode(data, syntax, context.transfer_syntax)
            if (fault := self.faults.strikes("truncate", "dimse")) is not None:
                data = bytes(data)[: max(0, len(data) - fault.numbers["octets"])]
            status, comment = send_instance(
                other, context, one.sop_instance_uid, data, originator=originator, on_cancel=on_cancel
            )
        self.comment = comment or self.comment
        return status

    def _cancel(self, number: int) -> None:
        self.cancelled |= number == self._number

    def _asked_to_stop(self) -> bool:
        if not self.cancelled and self.association.waiting():
            self.cancelled = cancelled(self.association, self._number)
        return self.cancelled

    def _end(self) -> None:
        done = self.completed + self.warned + len(self.failed)
        if self.cancelled and done < len(self.items):
            self._respond(tables.CANCEL)
        elif not self.failed and not self.warned:
            self._respond(tables.SUCCESS)
        else:
            self._respond(_SOME_FAILED if self.completed or self.warned else _NO_SUBOPERATION)

    def _respond(self, status: int) -> None:
        """Tell how many are left, done, failed and done with a warning (PS3.7 §9.1.3, §9.1.4)."""
        counts: dict[str, int | str] = {
            "NumberOfCompletedSuboperations": self.completed,
            "NumberOfFailedSuboperations": len(self.failed),
            "NumberOfWarningSuboperations": self.warned,
        }
        left = len(self.items) - self.completed - self.warned - len(self.failed)
        if status in (*tables.PENDING, tables.CANCEL):
            counts["NumberOfRemainingSuboperations"] = left
        counts = {name: min(int(number), _MOST_WAITING) for name, number in counts.items()}
        data: bytes | None = None
        context, command = self.message
        if status not in tables.PENDING and self.failed:
            counts["ErrorComment"] = self.comment[:64]
            data = encode_tree({FAILED_SOP_INSTANCE_UID_LIST: ("UI", list(self.failed))}, context.transfer_syntax)
        self.association.send(context, command.response(status, data=data is not None, **counts), data)


def _plain(syntax: str) -> str:
    """The transfer syntax of what is left without its bulk data: what is encapsulated is Explicit VR LE otherwise."""
    return syntax if syntax in (IMPLICIT_LE, EXPLICIT_BE, EXPLICIT_LE) else EXPLICIT_LE
