"""Query/Retrieve as an SCP, over whatever holds instances or over a function that answers.

Source
------
PS3.4 Annex C (Query/Retrieve), Y (Composite Instance Root), Z (Without Bulk Data), §C.5 (extended negotiation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Message
from dicomlab.dimse.extended import answer_options, decode_options
from dicomlab.dimse.finding import as_dataset, give
from dicomlab.dimse.handlers import Asked, Handlers, many
from dicomlab.dimse.identifier import LEVEL_WORDS, QUERY_RETRIEVE_LEVEL, Tree, tree_of
from dicomlab.dimse.outward import Outward
from dicomlab.dimse.request import FindRequest, RetrieveRequest, read_composite, read_find, read_retrieve
from dicomlab.dimse.serving import Conversation, Service, decline, refused
from dicomlab.dimse.storage import OUT_OF_RESOURCES
from dicomlab.dimse.suboperations import Outgoing, Suboperations, outgoing
from dicomlab.dimse.tree import dataset_of
from dicomlab.errors import ServiceError
from dicomlab.model.columns import UNIQUE_KEY, Level, column
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Held, Holdings
from dicomlab.model.query import Key, Query

_UNKNOWN_DESTINATION, _NO_SUBOPERATION = 0xA801, 0xA702
ABLE = {"FIND": ("relational",), "GET": ("relational",), "MOVE": ("relational",)}
"""The options of extended negotiation that an archive really has."""
_HELD = {"study": "study_instance_uid", "series": "series_instance_uid", "instance": "sop_instance_uid"}


def query_retrieve(holdings: Holdings, handlers: Handlers, faults: Faults, outward: Outward) -> Iterator[Service]:
    """The services of Query/Retrieve: C-FIND, C-GET and C-MOVE of each information model."""
    provider = _Provider(holdings, handlers, faults, outward)
    for (root, verb), uid in tables.MODELS.items():
        yield provider.service(uid, root, verb)
    for verb, uid in tables.COMPOSITE.items():
        yield provider.service(uid, "composite", verb)
    yield provider.service(tables.WITHOUT_BULK_DATA, "composite", "GET", bulk=False)


class _Provider:
    """The SCP of one archive."""

    def __init__(self, holdings: Holdings, handlers: Handlers, faults: Faults, outward: Outward) -> None:
        self._holdings, self._handlers, self._faults, self._outward = holdings, handlers, faults, outward

    def service(self, uid: str, root: str, verb: str, *, bulk: bool = True) -> Service:
        """One SOP Class."""

        def answer(conversation: Conversation, message: Message) -> None:
            if verb == "FIND":
                self._find(conversation, message, root)  # type: ignore[arg-type]
            else:
                self._retrieve(conversation, message, root, verb, bulk=bulk)

        able = ABLE[verb] if root != "composite" else ()
        return Service(
            sop_classes=(uid,),
            requests=(f"C-{verb}-RQ",),
            answer=answer,
            extended=lambda information: answer_options(information, verb, able),
        )

    def _options(self, association: Association, uid: str, verb: str) -> frozenset[str]:
        """What was granted for a SOP Class on this association."""
        return decode_options(association.peer.extended_for(uid), verb) & frozenset(ABLE[verb])

    # --- C-FIND ----------------------------------------------------------------------------------------------------

    def _find(self, conversation: Conversation, message: Message, root: Level) -> None:
        association, context = conversation.association, message.context
        if self._faults.strikes("unavailable", "dimse") is not None:
            decline(association, message, OUT_OF_RESOURCES, "out of resources")
            return
        octets = association.data()
        options = self._options(association, context.abstract_syntax, "FIND")
        try:
            request = read_find(octets, context.transfer_syntax, root, relational="relational" in options)
        except ServiceError as error:
            refused(association, message, error)
            return
        answers = self._answers(conversation, message, request, octets)
        give(association, message, answers, tables.PENDING[request.ignored], self._faults)

    def _answers(
        self, conversation: Conversation, message: Message, request: FindRequest, octets: bytes
    ) -> Iterator[Tree]:
        def usual() -> Iterator[Tree]:
            for row in self._holdings.search(request.query):
                yield request.answer(row, self._outward.ae_title)

        handler = self._handlers.get("C-FIND")
        if handler is None:
            yield from usual()
            return
        asked = Asked(
            verb="C-FIND",
            caller=conversation.caller,
            sop_class_uid=message.context.abstract_syntax,
            transfer_syntax_uid=message.context.transfer_syntax,
            query=request.query,
            level=request.query.level,
            octets=octets,
            usual=lambda: map(dataset_of, usual()),
        )
        for given in many(handler, asked):
            tree = tree_of(as_dataset(given))
            tree.setdefault(QUERY_RETRIEVE_LEVEL, ("CS", [LEVEL_WORDS[request.query.level]]))
            yield tree

    # --- C-GET, C-MOVE ---------------------------------------------------------------------------------------------

    def _retrieve(self, conversation: Conversation, message: Message, root: str, verb: str, *, bulk: bool) -> None:
        association, command = conversation.association, message.command
        octets = association.data()
        moving = verb == "MOVE"
        try:
            if self._faults.strikes("unavailable", "dimse") is not None:
                raise ServiceError("out of resources", status=_NO_SUBOPERATION)
            request = self._read(association, message, octets, root, verb)
            title = command.text("MoveDestination") if moving else ""
            peer = self._outward.peer(title) if moving else None
            if moving and peer is None:
                raise ServiceError(f"{title} is not known here", status=_UNKNOWN_DESTINATION)
            items = list(self._items(conversation, message, request, octets, title))
            if self._faults.strikes("lie", "dimse") is not None:
                items = []
            work = Suboperations(association, message, items, self._faults, bulk=bulk)
        except ServiceError as error:
            refused(association, message, error)
            return
        if peer is not None:
            work.move(peer, (conversation.caller.ae_title, command.number("MessageID")))
        else:
            work.get()

    def _read(self, association: Association, message: Message, octets: bytes, root: str, verb: str) -> RetrieveRequest:
        uid, syntax = message.context.abstract_syntax, message.context.transfer_syntax
        if root == "composite":
            return read_composite(octets, syntax)
        relational = "relational" in self._options(association, uid, verb)
        return read_retrieve(octets, syntax, root, relational=relational)  # type: ignore[arg-type]

    def _items(
        self, conversation: Conversation, message: Message, request: RetrieveRequest, octets: bytes, destination: str
    ) -> Iterable[Outgoing]:
        verb = "C-MOVE" if destination else "C-GET"
        handler = self._handlers.get(verb)
        if handler is None:
            return map(Outgoing.held, self._select(request))
        asked = Asked(
            verb=verb,  # type: ignore[arg-type]
            caller=conversation.caller,
            sop_class_uid=message.context.abstract_syntax,
            transfer_syntax_uid=message.context.transfer_syntax,
            uids=request.uids,
            level=request.level,
            destination=destination,
            octets=octets,
            usual=lambda: [one.path for one in self._select(request)],
        )
        return outgoing(many(handler, asked))

    def _select(self, request: RetrieveRequest) -> list[Held]:
        found = self._holdings.select(request.level, request.uids)
        for level, uid in request.above:
            if level == "patient":
                theirs = self._of_patient(request, uid)
                found = [one for one in found if getattr(one, _HELD[request.level]) in theirs]
            else:
                found = [one for one in found if getattr(one, _HELD[level]) == uid]
        return found

    def _of_patient(self, request: RetrieveRequest, patient_id: str) -> set[object]:
        """The unique keys that are asked for, as far as they are that patient's."""
        unique = UNIQUE_KEY[request.level]
        keys = (Key(column("PatientID"), "single", (patient_id,)), Key(column(unique), "list", request.uids))
        return {value for row in self._holdings.search(Query(request.level, keys)) for value in row.get(unique, ())}
