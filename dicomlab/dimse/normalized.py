"""The DIMSE-N services, asked and answered: N-CREATE, N-SET, N-GET, N-ACTION, N-DELETE, N-EVENT-REPORT.

Whoever asks calls :func:`operate`; a service of a port is a function of an :class:`Operation` that says what was
:class:`Done`, made a row of the table by :func:`normalized`.

Source
------
PS3.7 §10.1 (services), §10.3 (protocol), Annex C (statuses).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.command import Command, Value, about_class
from dicomlab.dimse.identifier import Tree, encode_tree
from dicomlab.dimse.listener import Caller
from dicomlab.dimse.serving import Conversation, Service, refused
from dicomlab.dimse.tree import decode_tree
from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError

INVALID_ATTRIBUTE_VALUE, NO_SUCH_INSTANCE, NO_SUCH_EVENT, INVALID_ARGUMENT = 0x0106, 0x0112, 0x0113, 0x0115
INVALID_INSTANCE, NO_SUCH_ACTION, RESOURCE_LIMITATION = 0x0117, 0x0123, 0x0213
_ECHOED = {"N-ACTION": "ActionTypeID", "N-EVENT-REPORT": "EventTypeID"}
"""The number of the request that its answer repeats."""


# --- asking ----------------------------------------------------------------------------------------------------------


class Answered(NamedTuple):
    """The answer to an operation, its status no failure."""

    command: Command
    tree: Tree


def operate(
    association: Association, context: Context, name: str, instance_uid: str = "", tree: Tree | bytes | None = None,
    *, sop_class_uid: str = "", on_report: Callable[[Association, Message], None] | None = None, **fields: Value,
) -> Answered:  # fmt: skip
    """Carry one operation out and wait for its answer.

    Parameters
    ----------
    association, context : Association, Context
    name : str
        ``"N-CREATE"``, ``"N-SET"``, ...
    instance_uid : str
        The SOP Instance; ``""`` where the peer is to choose one.
    tree : Tree or bytes, optional
        The data set that goes with it; octets are encoded already.
    sop_class_uid : str
        Where it is another than that of the context (UPS, PS3.4 §CC.3.1).
    on_report : callable, optional
        Takes and answers an N-EVENT-REPORT that comes before the answer.
    **fields
        Further command elements.

    Raises
    ------
    ServiceError
        A status that is a failure; ``elements`` are the attributes it names.
    Interrupted, RemoteProtocolError
        The association broke off.

    Source
    ------
    PS3.7 §10.1, §10.3.
    """
    data = encode_tree(tree, context.transfer_syntax) if isinstance(tree, dict) else tree
    about = about_class(name, sop_class_uid or context.abstract_syntax, instance_uid)
    number = association.request(context, f"{name}-RQ", data, **{**about, **fields})
    while True:
        message = association.receive()
        if message is None:
            raise association.interrupted(f"released the association where an {name}-RSP was due")
        command = message.command
        if command.name == "N-EVENT-REPORT-RQ" and on_report is not None:  # faster than its own answer
            on_report(association, message)
            continue
        if command.name != f"{name}-RSP" or command.number("MessageIDBeingRespondedTo") != number:
            raise association.broken(f"{command.name} where an {name}-RSP was due", "PS3.7 §10.3")
        octets = association.data() if command.has_data else b""
        if tables.category(command.status) == "failure":
            text = tables.status_text(command.status, name.removeprefix("N-"), command.comment, context.abstract_syntax)
            elements = command.tags("AttributeIdentifierList") or command.tags("OffendingElement")
            advice = tables.advice(command.status)
            told = f"{association.endpoint} answered {name} with {text}: {advice}"
            error = ServiceError(told, status=command.status, elements=elements)
            error.error_id = command.number("ErrorID") or None
            raise error
        return Answered(command, decode_tree(octets, message.context.transfer_syntax))


# --- answering -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One request, as whoever answers it sees it.

    Attributes
    ----------
    name : str
        ``"N-CREATE"``, ``"N-SET"``, ...
    service_uid : str
        The SOP Class of its context; ``sop_class_uid`` may be another.
    sop_class_uid, instance_uid : str
    octets : bytes
        Its data set as it came; empty where it has none.
    number : int
        Action Type ID or Event Type ID.
    attributes : tuple of int
        N-GET: the tags that are asked for; none: all.
    caller : Caller
    conversation : Conversation
    transfer_syntax_uid : str
    """

    name: str
    service_uid: str
    sop_class_uid: str
    instance_uid: str
    conversation: Conversation = field(repr=False)
    transfer_syntax_uid: str
    octets: bytes = field(default=b"", repr=False)
    number: int = 0
    attributes: tuple[int, ...] = ()

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return self.conversation.caller

    @property
    def tree(self) -> Tree:
        """Its data set, decoded now.

        Raises
        ------
        ServiceError
            It can't be read.
        """
        try:
            return decode_tree(self.octets, self.transfer_syntax_uid)
        except RemoteProtocolError as error:
            wrong = INVALID_ATTRIBUTE_VALUE if self.name in ("N-CREATE", "N-SET") else INVALID_ARGUMENT
            raise ServiceError(f"the data set can't be read: {error}", status=wrong) from error


@dataclass(frozen=True, slots=True)
class Done:
    """What an operation came to: a status that is no failure, and what the answer carries."""

    tree: Tree | None = None
    status: int = tables.SUCCESS
    instance_uid: str = ""
    comment: str = ""


Perform = Callable[[Operation], Done]


def normalized(
    sop_classes: Collection[str], requests: Collection[str], perform: Perform, *, requestor_may_provide: bool = False
) -> Service:
    """Make a service of a port out of a function that performs its operations.

    Parameters
    ----------
    sop_classes : collection of str
    requests : collection of str
        ``"N-CREATE"``, ``"N-SET"``, ...: those that it answers.
    perform : callable
        What it raises as ``ServiceError`` is the answer; then nothing may have changed.
    requestor_may_provide : bool
        As for :class:`Service`.
    """

    def answer(conversation: Conversation, message: Message) -> None:
        serve_operation(conversation, message, perform)

    return Service(
        sop_classes=sop_classes,
        requests=tuple(f"{name}-RQ" for name in requests),
        answer=answer,
        requestor_may_provide=requestor_may_provide,
    )


def serve_operation(conversation: Conversation, message: Message, perform: Perform) -> None:
    """Read one request, have it performed, and answer it.

    Source
    ------
    PS3.7 §10.3, Annex C.
    """
    association, (context, command) = conversation.association, message
    name = command.name.removesuffix("-RQ")
    octets = association.data() if command.has_data else b""
    operation = Operation(
        name=name,
        service_uid=context.abstract_syntax,
        sop_class_uid=command.sop_class_uid,
        instance_uid=command.sop_instance_uid,
        conversation=conversation,
        transfer_syntax_uid=context.transfer_syntax,
        octets=octets,
        number=command.number(_ECHOED.get(name, "")),
        attributes=command.tags("AttributeIdentifierList"),
    )
    try:
        done = perform(operation)
    except ServiceError as error:
        refused(association, message, error)
        return
    about: dict[str, Value] = {"ErrorComment": done.comment[:64]} if done.comment else {}
    if uid := done.instance_uid or command.sop_instance_uid:
        about["AffectedSOPInstanceUID"] = uid
    if number := _ECHOED.get(name):
        about[number] = command.number(number)
    data = encode_tree(done.tree, context.transfer_syntax) if done.tree is not None else None
    association.send(context, command.response(done.status, data=data is not None, **about), data)


def selected(tree: Tree, attributes: tuple[int, ...]) -> Done:
    """The answer to an N-GET: the attributes that were asked for, or all; 0001H where one is not there.

    Source
    ------
    PS3.7 §10.1.2, PS3.4 Table F.8.2-1, Table CC.2.7-1.
    """
    if not attributes:
        return Done(tree)
    found = {tag: tree[tag] for tag in attributes if tag in tree}
    missing = [tag for tag in attributes if tag not in found]
    return Done(found, ATTRIBUTES_NOT_SUPPORTED if missing else tables.SUCCESS)


ATTRIBUTES_NOT_SUPPORTED = 0x0001
"""Requested optional Attributes are not supported: a warning."""


def tag_list(attributes: Collection[str | int]) -> tuple[int, ...]:
    """Attributes of an N-GET by keyword or tag.

    Raises
    ------
    UsageError
        An unknown keyword.
    """
    from pydicom.datadict import tag_for_keyword

    found = []
    for one in attributes:
        tag = one if isinstance(one, int) else tag_for_keyword(one)
        if tag is None:
            raise UsageError(f"{one!r} is no DICOM keyword (PS3.6 lists them)")
        found.append(tag)
    return tuple(found)
