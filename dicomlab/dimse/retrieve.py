"""C-GET and C-MOVE as an SCU: the instances that are wanted arrive in a sink.

Source
------
PS3.4 §C.4.2 (C-MOVE), §C.4.3 (C-GET); PS3.7 §9.1.3, §9.1.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, get_args

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_query, keys_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.pdu import MAX_CONTEXTS
from dicomlab.dimse.reception import Senders, receiving
from dicomlab.dimse.search import Search
from dicomlab.dimse.storage import Taken, take_instance
from dicomlab.errors import CommunicationError, Interrupted, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model import trace
from dicomlab.model.columns import Cells, Level, column
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query

Method = Literal["auto", "get", "move"]

UIDS_PER_REQUEST = 64
_GET, _MOVE, _FIND = (tables.MODELS["study", verb] for verb in ("GET", "MOVE", "FIND"))
_MODELS = 3
_CLASSES_PER_ASSOCIATION = (MAX_CONTEXTS - _MODELS) // len(tables.GET_FAMILIES)
_HOPELESS = frozenset([0x0122, 0x0124, 0x0211, 0xA801])
"""Failures that every further request would meet too."""


def deliver(peer: Peer, wanted: Sequence[Wanted], sink: Sink, control: Control, method: Method) -> None:
    """Retrieve `wanted` into `sink`; :meth:`dicomlab.dimse.node.Node.deliver` documents it."""
    if method not in get_args(Method):
        raise UsageError(f"method is one of {', '.join(get_args(Method))}, not {method!r}")
    for storage, dealt in _batches(wanted, method):
        if control.cancelled:
            return
        models = {"get": [_GET, _FIND], "move": [_MOVE, _FIND], "auto": [_GET, _MOVE, _FIND]}[method]
        proposals = [Proposal(uid, tables.UNCOMPRESSED) for uid in models] + storage
        try:
            with peer.associate(proposals) as association:
                retrieval = _Retrieval(peer, association, sink, control, dealt)
                retrieval.carry_out(method)
            retrieval.raise_for_medium()
        except (CommunicationError, RemoteProtocolError):
            if not control.cancelled:
                raise


def _batches(wanted: Sequence[Wanted], method: Method) -> Iterator[tuple[list[Proposal], list[Wanted]]]:
    """As many SOP Classes for each association as have room, each in one context for each transfer syntax."""
    if method == "move":
        yield [], list(wanted)
        return
    known = iter(dict.fromkeys(one.sop_class_uid for one in wanted if one.sop_class_uid))
    while classes := list(islice(known, _CLASSES_PER_ASSOCIATION)):
        proposals = [Proposal(uid, family, scp=True) for uid in classes for family in tables.GET_FAMILIES]
        yield proposals, [one for one in wanted if one.sop_class_uid in classes]
    if unknown := [one for one in wanted if not one.sop_class_uid]:
        families = (*((uid,) for uid in tables.UNCOMPRESSED), tables.COMPRESSED)
        yield [Proposal(uid, family, scp=True) for uid in tables.COMMON_STORAGE for family in families], unknown


@dataclass
class _Retrieval:
    """What is wanted over one association."""

    peer: Peer
    association: Association
    sink: Sink
    control: Control
    wanted: list[Wanted]
    arrived: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    error: Exception | None = None
    _running: tuple[Context, int] | None = None

    def carry_out(self, method: Method) -> None:
        """Choose how, and do it."""
        getting = self.association.context_for(_GET)
        moving = self.association.context_for(_MOVE)
        takes = any(context.scp for context in self.association.contexts.values())
        if getting is not None and (takes or method == "get"):
            self.association.channel.note("C-GET, on this association")
            self._all("GET", getting)
        elif moving is not None:
            self._move(moving)
        else:
            other = {"get": 'method="move"', "move": 'method="get"', "auto": "another path"}[method]
            verbs = {"get": "C-GET", "move": "C-MOVE", "auto": "C-GET or C-MOVE"}[method]
            raise Refused(f"it does not offer {verbs}; try {other} (PS3.4 §C.6.2)", endpoint=self.association.endpoint)

    def raise_for_medium(self) -> None:
        """Raise what went wrong where the instances were to go; the peer has been told, and released."""
        if isinstance(self.error, OSError):
            text = f"what arrived could not be kept ({self.error.strerror or self.error})"
            raise Interrupted(text, endpoint=str(self.peer.address)) from self.error
        if self.error is not None:
            raise self.error

    def _move(self, context: Context) -> None:
        me = self.peer.me
        with ExitStack() as stack:
            listener = stack.enter_context(
                receiving(
                    self.sink,
                    ae_title=me.ae_title,
                    host=self.association.local_host,
                    port=me.port or 0,
                    wanted={one.sop_instance_uid for one in self.wanted},
                    classes={one.sop_class_uid for one in self.wanted},
                    on_taken=self._taken,
                    senders=Senders(self.peer.address.ae_title, self.association.peer_host, self.peer.senders),
                    security=self.peer.security,
                    trace=trace.current(),
                )
            )
            self.association.channel.note(f"C-MOVE to ourselves; {listener.address} listens")
            self.association.alive = lambda: listener.last_activity
            stack.callback(setattr, self.association, "alive", None)
            self._all("MOVE", context, f"register {me.ae_title} = {listener.host}:{listener.port}")

    def _all(self, verb: str, context: Context, register: str = "") -> None:
        for level, keys, uids in self._requests():
            if self.control.cancelled:
                return
            fields = {"MoveDestination": self.peer.me.ae_title} if verb == "MOVE" else {}
            data = encode_query(level, [(column(name), text) for name, text in keys], context.transfer_syntax)
            number = self.association.request(context, f"C-{verb}-RQ", data, Priority=0, **fields)
            self._running = (context, number)
            with self.control.on_cancel(self._stop):
                final = self._responses(verb, number)
            self._running = None
            self.association.cancel_ended()
            if self.error is not None:
                return
            self._account(verb, final, uids, register)

    def _responses(self, verb: str, number: int) -> Message:
        """Everything up to the final response; what arrives on this association goes into the sink."""
        while True:
            message = self.association.receive()
            if message is None:
                raise self.association.interrupted(f"released the association in the middle of a C-{verb}")
            context, command = message
            if command.name == "C-STORE-RQ" and context.scp and verb == "GET":
                source = self.peer.address.ae_title
                self._taken(take_instance(self.association, message, self.sink, source))
            elif command.name != f"C-{verb}-RSP" or command.number("MessageIDBeingRespondedTo") != number:
                raise self.association.broken(f"{command.name} during a C-{verb}", "PS3.7 §9.3")
            elif command.status not in tables.PENDING:
                return message

    def _stop(self) -> None:
        if (running := self._running) is not None:
            self.association.cancel(*running)

    def _taken(self, taken: Taken) -> None:
        """An instance came: it arrived, or the medium failed here, or it is not what it should be."""
        if taken.error is None:
            self.arrived.add(taken.sop_instance_uid)
        elif taken.fatal:
            self.error = self.error or taken.error
            self._stop()
        elif taken.sop_instance_uid:
            self._tell(taken.sop_instance_uid, tables.status_text(taken.status, "STORE", str(taken.error)))

    def _tell(self, uid: str, status: str) -> None:
        if uid not in self.told and uid not in self.arrived:
            self.told.add(uid)
            self.sink.failed(uid, status)

    def _account(self, verb: str, message: Message, uids: Sequence[str], register: str) -> None:
        """Tell the sink what will not arrive. A Success proves nothing: whoever asked compares what arrived."""
        context, final = message
        status = final.status
        text = tables.status_text(status, verb, final.comment)
        listed: list[str] = []
        if final.has_data:
            keys = keys_of(self.association.data(), context.transfer_syntax)
            listed = [
                uid for path, value in keys if path == (FAILED_SOP_INSTANCE_UID_LIST,) for uid in value.split("\\")
            ]
        if status in _HOPELESS:
            advice = tables.advice(status)
            if status == 0xA801:
                advice = f"ask the administrator of {self.peer.address.ae_title} to {register}"
            raise ServiceError(
                f"{self.association.endpoint} answered C-{verb} with {text}: {advice} (PS3.4 Table C.4-2)",
                status=status,
            )
        mine = set(uids)
        failed = [uid for uid in listed if uid in mine]
        if tables.category(status) == "failure" and not failed:
            failed = list(uids)
        for uid in failed:
            self._tell(uid, text)

    # --- what to ask for -------------------------------------------------------------------------------------------

    def _requests(self) -> Iterator[tuple[Level, list[tuple[str, str]], list[str]]]:
        """One request for each series that is wanted whole, else lists of instances."""
        by_series: dict[tuple[str, str], list[str]] = {}
        for one in self.wanted:
            by_series.setdefault((one.study_instance_uid, one.series_instance_uid), []).append(one.sop_instance_uid)
        for (study, series), uids in by_series.items():
            keys = [("StudyInstanceUID", study), ("SeriesInstanceUID", series)]
            if len(uids) > UIDS_PER_REQUEST and self._instances_in(study, series) == len(uids):
                yield "series", keys, uids
                continue
            for start in range(0, len(uids), UIDS_PER_REQUEST):
                part = uids[start : start + UIDS_PER_REQUEST]
                yield "instance", [*keys, ("SOPInstanceUID", "\\".join(part))], part

    def _instances_in(self, study: str, series: str) -> int | None:
        """How many instances a series has, where the peer can tell."""
        if self.association.context_for(_FIND) is None:
            return None
        query = Query.of(
            "series",
            {"StudyInstanceUID": study, "SeriesInstanceUID": series},
            include=["NumberOfSeriesRelatedInstances"],
        )
        try:
            rows = list(Search(self.association, query, self.control).rows())
        except ServiceError:
            return None
        at = query.columns.index(column("NumberOfSeriesRelatedInstances"))
        counts = [row.cells[at] for row in rows if isinstance(row, Cells)]
        return counts[0] if len(counts) == 1 and isinstance(counts[0], int) else None
