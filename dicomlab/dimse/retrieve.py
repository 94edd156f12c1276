"""C-GET and C-MOVE as an SCU: the instances that are wanted arrive in a sink.

Source
------
PS3.4 §C.4.2 (C-MOVE), §C.4.3 (C-GET); PS3.7 §9.1.3, §9.1.4.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple, get_args

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_query, keys_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.patience import TRANSIENT_STATUSES, Patience
from dicomlab.dimse.pdu import MAX_CONTEXTS
from dicomlab.dimse.reception import Senders, Shared, receiving
from dicomlab.dimse.search import Search
from dicomlab.dimse.sending import checked
from dicomlab.dimse.storage import Taken, take_instance
from dicomlab.errors import CommunicationError, Interrupted, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model import trace
from dicomlab.model.columns import Cells, Level, column
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query

Method = Literal["auto", "get", "move"]
Model = Literal["study", "instance", "without bulk data"]

UIDS_PER_REQUEST = 64
LATE_S = 2.0
"""How long something that a C-MOVE should have brought may be late, after the peer has said that all is done."""
_INSTANCES_EACH = 20
"""Instances for which another association is worth its while."""
_FIND = tables.MODELS["study", "FIND"]
_MODELS = 3
_CLASSES_PER_ASSOCIATION = (MAX_CONTEXTS - _MODELS) // len(tables.GET_FAMILIES)
_SUBOPERATIONS_FAILED = (0xA702, 0xB000)
_HOPELESS = frozenset([0x0122, 0x0124, 0x0211, 0xA801])
"""Failures that every further request would meet too."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How instances are to be retrieved; :meth:`dicomlab.dimse.node.Node.deliver` documents each of them.

    Raises
    ------
    UsageError
        A value that can't be, or a combination.
    """

    method: Method = "auto"
    model: Model = "study"
    associations: int = 2
    retries: int = 3

    def __post_init__(self) -> None:
        """Check the values of a caller before anything is sent."""
        for name, value, known in (("method", self.method, get_args(Method)), ("model", self.model, get_args(Model))):
            if value not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}")
        if self.model == "without bulk data" and self.method == "move":
            raise UsageError("without bulk data there is C-GET only (PS3.4 §Z.1)")
        checked(self.associations)

    @property
    def get(self) -> str:
        """The SOP Class of C-GET."""
        if self.model == "study":
            return tables.MODELS["study", "GET"]
        return tables.COMPOSITE["GET"] if self.model == "instance" else tables.WITHOUT_BULK_DATA

    @property
    def move(self) -> str:
        """The SOP Class of C-MOVE."""
        return tables.MODELS["study", "MOVE"] if self.model == "study" else tables.COMPOSITE["MOVE"]

    @property
    def services(self) -> list[Proposal]:
        """What is proposed beside Storage."""
        uids = [self.get] if self.method != "move" else []
        uids += [self.move] if self.method != "get" and self.model != "without bulk data" else []
        return [Proposal(uid, tables.UNCOMPRESSED) for uid in (*uids, _FIND)]


def deliver(peer: Peer, wanted: Sequence[Wanted], sink: Sink, control: Control, manner: Manner) -> None:
    """Retrieve `wanted` into `sink`; :meth:`dicomlab.dimse.node.Node.deliver` documents it."""
    shares = _shares(wanted, manner)
    if len(shares) == 1:
        _Share(peer, sink, control, manner).fetch(shares[0])
        return
    ours = Control()  # a medium that fails under one of them ends the others, and nobody else
    shared = Shared(sink)
    with control.on_cancel(ours.cancel), ThreadPoolExecutor(len(shares), thread_name_prefix="dicomlab get") as threads:
        works = [
            threads.submit(copy_context().run, _Share(peer, shared, ours, manner).fetch, share) for share in shares
        ]
        errors = [error for work in as_completed(works) if (error := work.exception()) is not None]
    if errors and not control.cancelled:
        raise errors[0]


def _shares(wanted: Sequence[Wanted], manner: Manner) -> list[list[Wanted]]:
    """Deal whole series out to associations, as evenly as they can be."""
    series: dict[str, list[Wanted]] = {}
    for one in wanted:
        series.setdefault(one.series_instance_uid, []).append(one)
    many = min(manner.associations, len(series), len(wanted) // _INSTANCES_EACH)
    if many < 2:
        return [list(wanted)]
    shares: list[list[Wanted]] = [[] for _ in range(many)]
    for one_series in sorted(series.values(), key=len, reverse=True):
        min(shares, key=len).extend(one_series)
    return shares


class Request(NamedTuple):
    """What one C-GET or C-MOVE asks for: its level and keys, and the instances that it should bring."""

    level: Level
    keys: list[tuple[str, str]]
    uids: list[str]

    @property
    def above(self) -> list[tuple[str, str]]:
        """The keys above the instances."""
        return [one for one in self.keys if one[0] != "SOPInstanceUID"]


@dataclass
class _Share:
    """What is fetched over one association at a time."""

    peer: Peer
    sink: Sink
    control: Control
    manner: Manner

    def fetch(self, wanted: Sequence[Wanted]) -> None:
        """Fetch, and go on where it broke off, as long as that makes sense."""
        for storage, dealt in _batches(wanted, self.manner.method):
            unsent = self._fetch(storage, dealt, first=True)
            if unsent and not self._over():
                self._once_more([one for one in dealt if one.sop_instance_uid in unsent], unsent)

    def _once_more(self, wanted: Sequence[Wanted], unsent: Mapping[str, str]) -> None:
        """Ask again for what the peer could not send, each SOP Class in one context.

        Some send on the first context that was accepted for a SOP Class, whatever its transfer syntax is.
        """
        self.peer.note(f"{len(wanted)} could not be sent; asked for once more, with one context for each SOP Class")
        classes = dict.fromkeys(one.sop_class_uid for one in wanted)
        uids = tables.COMMON_STORAGE if "" in classes else classes
        syntaxes = (*tables.COMPRESSED, *tables.UNCOMPRESSED)
        known: set[str] = set()
        try:
            self._fetch([Proposal(uid, syntaxes, scp=True) for uid in uids], wanted, first=False, known=known)
        except (CommunicationError, RemoteProtocolError) as error:
            self.peer.note(f"that failed too: {error}")
        if not self._over():
            for uid in unsent.keys() - known:
                self.sink.failed(uid, unsent[uid])

    def _fetch(
        self, storage: list[Proposal], wanted: Sequence[Wanted], *, first: bool, known: set[str] | None = None
    ) -> dict[str, str]:
        """Fetch over one association after the other; gives what could not be sent, and what was said of it."""
        patience = Patience(self.control, self.manner.retries, self.peer.note)
        known = set() if known is None else known
        unsent: dict[str, str] = {}
        left = list(wanted)
        while left and not self.control.cancelled:
            retrieval = _Retrieval(self.peer, self.sink, self.control, self.manner, left, patience, first)
            try:
                with self.peer.associate(self.manner.services + storage) as association:
                    patience.reached()
                    retrieval.carry_out(association)
                retrieval.raise_for_medium()
                left = []
            except (CommunicationError, RemoteProtocolError) as error:
                if retrieval.medium_failed:
                    raise
                if self._over():
                    return {}
                left = [one for one in left if one.sop_instance_uid not in retrieval.known]
                if left and not patience.again(error):
                    raise
            finally:
                known |= retrieval.known
                unsent |= retrieval.unsent
        return unsent

    def _over(self) -> bool:
        return self.control.cancelled


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
    sink: Sink
    control: Control
    manner: Manner
    wanted: list[Wanted]
    patience: Patience
    first: bool
    """Whether what the peer can't send will be asked for once more."""
    unsent: dict[str, str] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    told: set[str] = field(default_factory=set)
    error: Exception | None = None
    association: Association = field(init=False)
    _running: tuple[Context, int] | None = None
    _news: threading.Event = field(default_factory=threading.Event)

    @property
    def medium_failed(self) -> bool:
        """Whether what went wrong did so where the instances were to go."""
        return self.error is not None

    @property
    def known(self) -> set[str]:
        """The instances of which somebody knows what has become."""
        return self.arrived | self.told | self.unsent.keys()

    def carry_out(self, association: Association) -> None:
        """Choose how, and do it."""
        self.association = association
        getting = association.context_for(self.manner.get)
        moving = association.context_for(self.manner.move)
        takes = any(context.scp for context in association.contexts.values())
        method = self.manner.method
        if getting is not None and (takes or method == "get"):
            association.channel.note("C-GET, on this association")
            for request in self._requests(self.wanted):
                self._ask("GET", getting, request)
        elif moving is not None:
            self._move(moving)
        else:
            other = {"get": 'method="move"', "move": 'method="get"', "auto": "another path"}[method]
            verbs = {"get": "C-GET", "move": "C-MOVE", "auto": "C-GET or C-MOVE"}[method]
            model = "" if self.manner.model == "study" else f" for model={self.manner.model!r}"
            text = f"it does not offer {verbs}{model}; try {other} (PS3.4 §C.6.2)"
            raise Refused(text, endpoint=association.endpoint)

    def raise_for_medium(self) -> None:
        """Raise what went wrong where the instances were to go; the peer has been told, and released."""
        if isinstance(self.error, OSError):
            text = f"what arrived could not be kept ({self.error.strerror or self.error})"
            full = Interrupted(text, endpoint=str(self.peer.address))
            full.transient = False
            raise full from self.error
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
            register = f"register {me.ae_title} = {listener.host}:{listener.port}"
            left = self.wanted
            if len(left) > 1:  # one of them is the proof that the way back is open
                self._ask("MOVE", context, self._single(left[0]), register)
                if self.arrived or self.told:
                    left = left[1:]
                elif not self._ended():
                    raise self._nothing_came(register)
            for request in self._requests(left):
                self._ask("MOVE", context, request, register)

    def _nothing_came(self, register: str) -> ServiceError:
        text = (
            f"{self.association.endpoint} says that it has sent an instance to {self.peer.me.ae_title}, but nothing"
            f" has come: it may know another address of ours, or a firewall stands between; ask its administrator to"
            f" {register} (PS3.4 §C.4.2)"
        )
        return ServiceError(text, status=0)

    def _single(self, one: Wanted) -> Request:
        keys = [("StudyInstanceUID", one.study_instance_uid), ("SeriesInstanceUID", one.series_instance_uid)]
        keys = keys if self.manner.model == "study" else []
        return Request("instance", [*keys, ("SOPInstanceUID", one.sop_instance_uid)], [one.sop_instance_uid])

    def _ask(self, verb: str, context: Context, request: Request, register: str = "") -> None:
        """Send one request and take what comes; once more for what is missing where the peer lacked the means."""
        while not self._ended():
            final, octets = self._operation(verb, context, request)
            if self.medium_failed:
                return
            status = final.command.status
            if verb == "MOVE" and status == tables.SUCCESS:
                self._wait_for_the_late(request.uids)
            missing = [uid for uid in request.uids if uid not in self.known]
            again = missing and status in TRANSIENT_STATUSES and not self._unsendable(verb, status)
            if not again or not self.patience.again(f"it answered {tables.status_text(status, verb)}"):
                self._account(verb, final, octets, request.uids, register)
                return
            if len(missing) <= UIDS_PER_REQUEST:
                request = Request("instance", [*request.above, ("SOPInstanceUID", "\\".join(missing))], missing)

    def _ended(self) -> bool:
        return self.control.cancelled or self.error is not None

    def _unsendable(self, verb: str, status: int) -> bool:
        """Whether the contexts may be to blame, so that others are tried before anything else."""
        return self.first and verb == "GET" and status in _SUBOPERATIONS_FAILED

    def _operation(self, verb: str, context: Context, request: Request) -> tuple[Message, bytes]:
        fields = {"MoveDestination": self.peer.me.ae_title} if verb == "MOVE" else {}
        keys = [(column(name), text) for name, text in request.keys]
        data = encode_query(request.level, keys, context.transfer_syntax)
        number = self.association.request(context, f"C-{verb}-RQ", data, Priority=0, **fields)
        self._running = (context, number)
        with self.control.on_cancel(self._cancelled):
            final = self._responses(verb, number)
            self._running = None
            octets = self.association.data() if final.command.has_data else b""
        self.association.cancel_ended()
        return final, octets

    def _cancelled(self) -> None:
        """End the operation; where only the end of its last response is awaited, the association."""
        if self._running is None:
            self.association.shut()
        else:
            self._stop()

    def _wait_for_the_late(self, uids: Sequence[str]) -> None:
        """Some peers say that all is done before it is: what is on its way may come in."""
        while not self.known.issuperset(uids) and not self._ended():
            self._news.clear()
            if self.known.issuperset(uids) or not self._news.wait(LATE_S):
                return

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
            self.patience.got_on()
            self._news.set()
        elif taken.fatal:
            self.error = self.error or taken.error
            self._stop()
        elif taken.sop_instance_uid:
            self._tell(taken.sop_instance_uid, tables.status_text(taken.status, "STORE", str(taken.error)))

    def _tell(self, uid: str, status: str) -> None:
        if uid not in self.told and uid not in self.arrived:
            self.told.add(uid)
            self.sink.failed(uid, status)

    def _account(self, verb: str, message: Message, octets: bytes, uids: Sequence[str], register: str) -> None:
        """Tell the sink what will not arrive. A Success proves nothing: whoever asked compares what arrived."""
        context, final = message
        status = final.status
        text = tables.status_text(status, verb, final.comment)
        keys = keys_of(octets, context.transfer_syntax)
        listed = [uid for path, value in keys if path == (FAILED_SOP_INSTANCE_UID_LIST,) for uid in value.split("\\")]
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
            if self._unsendable(verb, status) and uid not in self.known:
                self.unsent[uid] = text
            else:
                self._tell(uid, text)

    # --- what to ask for -------------------------------------------------------------------------------------------

    def _requests(self, wanted: Sequence[Wanted]) -> Iterator[Request]:
        """One request for each series that is wanted whole, else lists of instances."""
        if self.manner.model != "study":
            for part in _parts([one.sop_instance_uid for one in wanted]):
                yield Request("instance", [("SOPInstanceUID", "\\".join(part))], part)
            return
        by_series: dict[tuple[str, str], list[str]] = {}
        for one in wanted:
            by_series.setdefault((one.study_instance_uid, one.series_instance_uid), []).append(one.sop_instance_uid)
        for (study, series), uids in by_series.items():
            keys = [("StudyInstanceUID", study), ("SeriesInstanceUID", series)]
            if len(uids) > UIDS_PER_REQUEST and self._instances_in(study, series) == len(uids):
                yield Request("series", keys, uids)
                continue
            for part in _parts(uids):
                yield Request("instance", [*keys, ("SOPInstanceUID", "\\".join(part))], part)

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


def _parts(uids: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(uids), UIDS_PER_REQUEST):
        yield uids[start : start + UIDS_PER_REQUEST]
