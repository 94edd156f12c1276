"""What a port answers, as a table: each service has its SOP Classes, how they are negotiated, and who answers.

Another module adds a service by giving a :class:`Service` to :func:`dicomlab.dimse.services.serve`; nothing else knows
of it.

Source
------
PS3.4 §6 (service classes), PS3.7 §9.3 (DIMSE-C), §10.3 (DIMSE-N); PS3.7 §D.3.3.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.command import Command, Value
from dicomlab.dimse.faulty import FaultyAssociation
from dicomlab.dimse.handlers import PROCESSING_FAILURE
from dicomlab.dimse.listener import Caller, kind_of
from dicomlab.dimse.state import State
from dicomlab.errors import DicomlabError, ServiceError
from dicomlab.model.faults import Faults

_log = logging.getLogger(__name__)

UNRECOGNIZED_OPERATION, WRONG_CLASS, CANNOT_PROCESS = 0x0211, 0x0122, 0xC000
MAX_LISTED = 64
"""Attributes that a refusal names."""
QUIET_S = 0.5
"""How long an association must be silent before we ask something of it ourselves."""

Later = Callable[[Association | None], None]
"""Something to be done once the association is quiet, or (None) has ended."""


OnAnswer = Callable[[Command | None], None]
"""Told the answer to a request of our own."""


@dataclass(slots=True)
class Conversation:
    """One association being served: who is there, and what is to be done later."""

    association: Association
    caller: Caller
    later: list[Later] = field(default_factory=list)
    asked: dict[int, OnAnswer] = field(default_factory=dict)
    """Requests of our own, by Message ID; their answers may come after further requests of the other side."""

    def ask(self, context: Context, name: str, data: bytes, on_answer: OnAnswer, **fields: Value) -> None:
        """Send a request of our own; `on_answer` is told the answer, or None where there will be none."""
        number = self.association.request(context, name, data, **fields)
        self.asked[number] = on_answer

    def end(self) -> None:
        """The association is over: do what is left."""
        while self.asked:
            _, on_answer = self.asked.popitem()
            on_answer(None)
        while self.later:
            self.later.pop(0)(None)


Answer = Callable[[Conversation, Message], None]
"""Answers one request; its data set is still to be read from the association."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service of a port.

    Attributes
    ----------
    sop_classes : collection of str
        Also the UID of a service class, for SOP Classes that a requestor says are of it (PS3.7 §D.3.3.6).
    requests : collection of str
        The requests that it answers: ``"C-FIND-RQ"``. Any other gets 0211H.
    answer : callable
        Answers one of these.
    transfer_syntaxes : collection of str
        In which it is offered.
    requestor_may_provide : bool
        Whether a requestor may be the SCP of these SOP Classes (role selection).
    extended : callable, optional
        Answers their extended negotiation.
    """

    sop_classes: Collection[str]
    requests: Collection[str]
    answer: Answer
    transfer_syntaxes: Collection[str] = tables.UNCOMPRESSED
    requestor_may_provide: bool = False
    extended: Callable[[bytes], bytes] | None = None


class Services:
    """The table of services of one port, and the loop that serves an association by it."""

    def __init__(self, services: Iterable[Service], *, idle_timeout_s: float, faults: Faults | None = None) -> None:
        self._by_class = {uid: service for service in services for uid in service.sop_classes}
        self._idle_timeout_s = idle_timeout_s
        self._faults = faults or Faults()

    def offer(self, uid: str) -> Collection[str]:
        """The transfer syntaxes of a SOP Class; none where there is no service for it."""
        service = self._by_class.get(uid)
        return service.transfer_syntaxes if service is not None else ()

    def roles(self, uid: str) -> bool:
        """Whether a requestor may be the SCP of a SOP Class."""
        service = self._by_class.get(uid)
        return service is not None and service.requestor_may_provide

    def extended(self, uid: str, information: bytes) -> bytes | None:
        """Answer the extended negotiation of a SOP Class."""
        service = self._by_class.get(uid)
        return service.extended(information) if service is not None and service.extended is not None else None

    def run(self, association: Association, caller: Caller) -> None:
        """Serve one association until it ends; what was left for later is done then at the latest."""
        conversation = Conversation(association, caller)
        try:
            while True:
                if conversation.later and not association.readable(QUIET_S):
                    conversation.later.pop(0)(association)
                    continue
                if not association.readable(self._idle_timeout_s):
                    association.release()
                    return
                message = association.receive()
                if message is None:
                    return
                self._one(conversation, message)
        finally:
            conversation.end()

    def _one(self, conversation: Conversation, message: Message) -> None:
        command, association = message.command, conversation.association
        if command.name == "C-CANCEL-RQ":
            return  # what it cancels has ended meanwhile
        if command.is_response and (on_answer := conversation.asked.pop(_number(command), None)) is not None:
            on_answer(command)
            return
        if command.is_response or not command.name.endswith("-RQ"):
            raise association.broken(f"{command.name} where a request was due", "PS3.7 §9.3")
        if isinstance(association, FaultyAssociation):
            association.begin_answer()
        uid = message.context.abstract_syntax
        service = self._by_class.get(uid) or self._by_class.get(kind_of(uid, association.peer))
        if (fault := self._faults.strikes("fail", "dimse")) is not None:
            decline(association, message, fault.numbers["status"])
        elif service is None or command.name not in service.requests:
            wrong = command.name in {name for one in self._by_class.values() for name in one.requests}
            decline(
                association, message, WRONG_CLASS if wrong and not _stores(command.name) else UNRECOGNIZED_OPERATION
            )
        else:
            answered(conversation, message, service.answer)


def answered(conversation: Conversation, message: Message, answer: Answer) -> None:
    """Have a request answered; what fails here, and not on the association, is a processing failure (0110H).

    Source
    ------
    PS3.7 Annex C.5.
    """
    association = conversation.association
    try:
        answer(conversation, message)
    except Exception as error:
        if association.state is not State.DATA_TRANSFER:
            raise  # nobody is there who could be told
        text, known = "%s of %s could not be answered", isinstance(error, DicomlabError)
        _log.warning(f"{text}: %s", message.command.name, conversation.caller, error, exc_info=not known)
        decline(association, message, PROCESSING_FAILURE, type(error).__name__)


def _number(command: Command) -> int:
    return command.number("MessageIDBeingRespondedTo")


def _stores(name: str) -> bool:
    return name == "C-STORE-RQ"


def decline(association: Association, message: Message, status: int, comment: str = "", **fields: Value) -> None:
    """Answer a request with a status, its data set passed over."""
    for _ in association.fragments():
        pass
    about: dict[str, Value] = {"ErrorComment": comment[:64]} if comment else {}
    association.send(message.context, message.command.response(status, data=False, **about, **fields))


def refused(association: Association, message: Message, error: ServiceError) -> None:
    """Answer a request with what went wrong, and the attributes that it is about."""
    listed = "AttributeIdentifierList" if message.command.name.startswith("N-") else "OffendingElement"
    fields: dict[str, Value] = {listed: error.elements[:MAX_LISTED]} if error.elements else {}
    if error.error_id is not None:
        fields["ErrorID"] = error.error_id
    status = error.status or CANNOT_PROCESS
    said = tables.status_text(status, message.command.name[2:-3], sop_class_uid=message.context.abstract_syntax)
    comment = str(error).removeprefix(said).removeprefix(": ")  # the status says that much by itself
    decline(association, message, status, comment, **fields)
