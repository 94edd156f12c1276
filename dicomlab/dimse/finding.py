"""The answers to a C-FIND as they go out, whatever the information model.

Source
------
PS3.4 §C.4.1.3 (C-FIND SCP), §K.4.1.3 (Modality Worklist), §CC.2.8.3 (UPS).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Message
from dicomlab.dimse.identifier import Tree, encode_tree
from dicomlab.dimse.listing import Listing, read_listing
from dicomlab.dimse.serving import CANNOT_PROCESS, Conversation, Service, decline, refused
from dicomlab.dimse.storage import OUT_OF_RESOURCES
from dicomlab.dimse.suboperations import cancelled
from dicomlab.errors import ServiceError
from dicomlab.model.faults import Faults


def give(association: Association, message: Message, answers: Iterable[Tree], pending: int, faults: Faults) -> None:
    """Send each answer, heed a C-CANCEL between them, and end with the final status; as many as faults leave."""
    context, command = message
    fault = faults.strikes("cap", "dimse")
    most = fault.numbers["rows"] if fault is not None else None
    try:
        for count, answer in enumerate(answers):
            if most is not None and count >= most:
                break
            if association.waiting() and cancelled(association, command.number("MessageID")):
                association.send(context, command.response(tables.CANCEL))
                return
            encoded = encode_tree(answer, context.transfer_syntax)
            association.send(context, command.response(pending, data=True), encoded)
    except ServiceError as error:
        refused(association, message, error)
    else:
        association.send(context, command.response(tables.SUCCESS))


Find = Callable[[Conversation, Message, Listing, bytes], Iterator[Tree]]
"""Gives the answers to one request: who asks, the request, its keys, and its octets."""


def listing_service(sop_class_uid: str, find: Find, faults: Faults) -> Service:
    """Make a service of a port out of a function that looks a worklist through (C-FIND without levels)."""

    def answer(conversation: Conversation, message: Message) -> None:
        serve_listing(conversation, message, find, faults)

    return Service(sop_classes=(sop_class_uid,), requests=("C-FIND-RQ",), answer=answer)


def serve_listing(conversation: Conversation, message: Message, find: Find, faults: Faults) -> None:
    """Read one request and give what matches it.

    Source
    ------
    PS3.4 §K.4.1.3, §CC.2.8.3.
    """
    association = conversation.association
    if faults.strikes("unavailable", "dimse") is not None:
        decline(association, message, OUT_OF_RESOURCES, "out of resources")
        return
    octets = association.data()
    try:
        listing = read_listing(octets, message.context.transfer_syntax)
    except ServiceError as error:
        refused(association, message, error)
        return
    answers = find(conversation, message, listing, octets)
    give(association, message, answers, tables.PENDING[listing.ignored], faults)


def as_dataset(given: Any) -> Any:
    """What a handler gives as an answer: a data set, or values by keyword."""
    from pydicom import Dataset

    if isinstance(given, Dataset):
        return given
    if not isinstance(given, Mapping):
        text = f"a handler of C-FIND gives data sets or mappings, not {type(given).__name__}"
        raise ServiceError(text, status=CANNOT_PROCESS)
    dataset = Dataset()
    for keyword, value in given.items():
        setattr(dataset, str(keyword), list(value) if isinstance(value, tuple) else value)
    return dataset
