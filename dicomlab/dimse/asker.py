"""C-FIND on one association: one request after the other, and the Identifiers of their answers.

Source
------
PS3.4 §C.4.1 (C-FIND), Table C.4-1 (statuses); PS3.7 §9.1.2, §9.3.2.3 (C-CANCEL-FIND-RQ).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.identifier import encode_query
from dicomlab.dimse.negotiation import granted
from dicomlab.errors import CommunicationError, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import Column, Level
from dicomlab.model.path import Verdict
from dicomlab.model.progress import Control

CANCEL_GRACE_S = 0.3
"""How long a peer may go on with a search that was cancelled before it is aborted."""
LIMIT_REACHED = 0xB001
"""Matching reached response limit (PS3.4 Table C.4-1)."""


class Finder:
    """Asks over one association, whatever the information model: Identifiers in, Identifiers out."""

    def __init__(self, association: Association, context: Context, control: Control, verdict: Verdict) -> None:
        self._association, self._control, self._verdict = association, control, verdict
        self._context = context
        self._running = 0
        self.name = association.endpoint
        self.transfer_syntax = context.transfer_syntax
        """That of Identifiers."""

    def ask(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """Send one request with that Identifier, and give the Identifiers of its answers as they come.

        Closing the generator sends a C-CANCEL.

        Yields
        ------
        (bytes, bool)
            An Identifier, and whether the peer matched every key that it was given (not FF01H).

        Raises
        ------
        ServiceError
            A final status that is a failure.
        Interrupted, RemoteProtocolError
            The association broke off.
        """
        association, context = self._association, self._context
        number = association.request(context, "C-FIND-RQ", data, Priority=0)
        self._running = number
        every, some = tables.PENDING
        answer, read = association.answer, association.data
        ended = False
        try:
            with self._control.on_cancel(self.stop):
                while not ended:
                    command = answer("C-FIND-RSP", number).command
                    status = command.status
                    if status in (every, some):
                        if not command.has_data:
                            raise association.broken("a pending C-FIND-RSP without an Identifier", "PS3.7 §9.1.2.1")
                        if status == some:
                            self.tell(f"{tables.status_text(status, 'FIND')}: some of the keys are not matched there")
                        yield read(), status == every
                        continue
                    ended = True
                    association.cancel_ended()
                    self._finish(status, command.comment)
        except GeneratorExit:
            if not ended:
                self.stop()
                with suppress(CommunicationError, RemoteProtocolError):  # ended by us, one way or the other
                    while answer("C-FIND-RSP", number).command.status in tables.PENDING:
                        pass
                association.cancel_ended()
            raise
        finally:
            self._running = 0

    def stop(self) -> None:
        """End the search that is going on, if one is; from any thread."""
        if number := self._running:
            self._association.cancel(self._context, number, grace_s=CANCEL_GRACE_S)

    def abort(self) -> None:
        """End the association at once: what came can't be read."""
        self._association.abort()

    def note(self, text: str) -> None:
        """Say in the trace what is planned, or what has come about."""
        self._association.channel.note(text)

    def tell(self, text: str) -> None:
        """Say it in the trace and in the warnings of the answer, once."""
        text = f"{self._association.endpoint}: {text}"
        if text not in self._verdict.warnings:
            self.note(text)
            self._verdict.warn(text)

    def _finish(self, status: int, comment: str) -> None:
        if tables.category(status) == "failure":
            text = tables.status_text(status, "FIND", comment, self._context.abstract_syntax)
            why = f"{tables.advice(status)} (PS3.4 Table C.4-1)"
            raise ServiceError(f"{self._association.endpoint} answered C-FIND with {text}: {why}", status=status)
        if status == LIMIT_REACHED:
            self._verdict.cut(f"{self._association.endpoint} reached its limit of responses (B001H)")
        if status not in (tables.SUCCESS, tables.CANCEL):
            self.tell(f"{tables.status_text(status, 'FIND', comment)}: the search has ended")


class Asker(Finder):
    """Asks by the levels of Query/Retrieve.

    Raises
    ------
    Refused
        It has no context for C-FIND.
    """

    def __init__(self, association: Association, level: Level, control: Control, verdict: Verdict) -> None:
        patient = association.context_for(tables.MODELS["patient", "FIND"])
        study = association.context_for(tables.MODELS["study", "FIND"])
        self.by_patient = level == "patient" and patient is not None
        """Whether patients are asked for by Patient Root."""
        context = patient if self.by_patient else study
        if context is None:
            raise Refused("it does not offer C-FIND (PS3.4 §C.6.2)", endpoint=association.endpoint)
        super().__init__(association, context, control, verdict)
        self.granted = granted(association, context.abstract_syntax)
        """The options of extended negotiation that the peer has granted."""

    def find(self, level: Level, asked: Mapping[Column, str]) -> Iterator[tuple[bytes, bool]]:
        """Send one request for rows of a level; as :meth:`Finder.ask`."""
        return self.ask(encode_query(level, asked.items(), self.transfer_syntax))
