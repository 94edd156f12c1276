"""The Modality Worklist as an SCP, over whatever holds the steps or over a function that answers.

Source
------
PS3.4 Annex K (Basic Worklist Management), §K.4.1.3, §K.6.1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dicomlab.dimse import tables
from dicomlab.dimse.association import Message
from dicomlab.dimse.finding import as_dataset, listing_service
from dicomlab.dimse.handlers import Asked, Handler, many
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listing import Listing, nested
from dicomlab.dimse.serving import Conversation, Service
from dicomlab.dimse.tree import dataset_of, tree_of_values
from dicomlab.model.faults import Faults


class Steps(Protocol):
    """What the service stands on."""

    @property
    def handler(self) -> Handler | None:
        """A function that answers in its place."""

    def search(self, listing: Listing) -> Iterator[Tree]:
        """The worklist items that match, whole, in a stable order."""


def worklist_provider(steps: Steps, faults: Faults) -> Service:
    """The service: what is to be done, to whoever asks."""

    def find(conversation: Conversation, message: Message, listing: Listing, octets: bytes) -> Iterator[Tree]:
        handler = steps.handler
        if handler is None:
            yield from map(listing.answer, steps.search(listing))
            return
        asked = Asked(
            verb="C-FIND",
            caller=conversation.caller,
            sop_class_uid=tables.WORKLIST,
            transfer_syntax_uid=message.context.transfer_syntax,
            octets=octets,
            usual=lambda: map(dataset_of, map(listing.answer, steps.search(listing))),
        )
        for given in many(handler, asked):
            yield nested(tree_of_values(as_dataset(given)))

    return listing_service(tables.WORKLIST, find, faults)
