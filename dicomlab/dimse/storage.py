"""The Storage service on one association, both ways: octets go out as they lie, and are taken in as they come.

Source
------
PS3.4 Annex B (Storage Service Class), PS3.7 §9.1.1, §9.3.1 (C-STORE).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple, TypeVar

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.command import Value
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.pdu import MAX_CONTEXTS, Octets
from dicomlab.errors import CommunicationError, DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.model.protocols import Arrival, Sink, Writer
from dicomlab.model.report import Outcome
from dicomlab.model.values import uid_like
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.transcode import UNCOMPRESSED, transcode
from dicomlab.part10.walk import inflated

T = TypeVar("T")

OUT_OF_RESOURCES, CANNOT_UNDERSTAND, NOT_AUTHORISED = 0xA700, 0xC000, 0x0124
RECODABLE = frozenset({*UNCOMPRESSED, DEFLATED_LE})
"""The transfer syntaxes whose data sets can be encoded anew without touching a pixel."""

# --- out -------------------------------------------------------------------------------------------------------------


def batches(
    items: Iterable[T], pair: Callable[[T], tuple[str, str]], *, decompress: bool = False
) -> Iterator[tuple[list[Proposal], list[T]]]:
    """Deal items out to associations: at most 128 contexts each, one for each (SOP Class, transfer syntax).

    For what is not compressed (or may be decompressed), Explicit and Implicit VR Little Endian are offered too, in
    contexts of their own; Implicit VR Little Endian always (PS3.5 §10.1).
    """
    proposals: dict[Proposal, None] = {}
    dealt: list[T] = []
    met: set[tuple[str, str]] = set()
    for item in items:
        sop_class, syntax = both = pair(item)
        if both in met:
            dealt.append(item)
            continue
        own = dict.fromkeys([syntax, *(tables.UNCOMPRESSED if syntax in RECODABLE or decompress else (IMPLICIT_LE,))])
        more = [one for name in own if (one := Proposal(sop_class, (name,))) not in proposals]
        if len(proposals) + len(more) > MAX_CONTEXTS:
            yield list(proposals), dealt
            proposals, dealt, met = {}, [], set()
            more = [Proposal(sop_class, (name,)) for name in own]
        met.add(both)
        proposals.update(dict.fromkeys(more))
        dealt.append(item)
    if dealt:
        yield list(proposals), dealt


class Fit(NamedTuple):
    """An accepted context for an instance, and what has to be done to its data set before."""

    context: Context
    change: Literal["", "recode", "decompress"] = ""


def fitting(
    association: Association, sop_class: str, syntax: str, *, scp: bool = False, decompress: bool = False
) -> Fit | None:
    """The context that carries an instance as it lies, else one that carries it changed, else None.

    Its data set may be encoded anew; pixel data is decompressed only with `decompress`.
    """
    context = association.context_for(sop_class, syntax, scp=scp)
    if context is not None:
        return Fit(context)
    for other in tables.UNCOMPRESSED if syntax in RECODABLE or decompress else ():
        context = association.context_for(sop_class, other, scp=scp)
        if context is not None:
            return Fit(context, "recode" if syntax in RECODABLE else "decompress")
    return None


def send_instance(
    association: Association,
    context: Context,
    sop_instance: str,
    octets: Octets,
    *,
    originator: tuple[str, int] | None = None,
    on_cancel: Callable[[int], None] | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Send one instance (C-STORE) and wait for the answer.

    Parameters
    ----------
    association, context : Association, Context
    sop_instance : str
        Its UID.
    octets : bytes or memoryview
        The data set in the context's transfer syntax; a view into a memory map goes out without a copy.
    originator : (str, int), optional
        AE title and Message ID of the C-MOVE that caused it.
    on_cancel : callable, optional
        Called with a Message ID when the peer cancels an operation, which may be the one that this is a part of.
    meanwhile : callable, optional
        Called once all of it has left, while the peer still works: what it does costs no time.

    Returns
    -------
    (int, str)
        Status and ErrorComment.
    """
    fields: dict[str, int | str] = {"AffectedSOPInstanceUID": sop_instance, "Priority": 0}
    if originator is not None:
        title, fields["MoveOriginatorMessageID"] = originator  # the title came from a wire, and may be no ASCII
        fields["MoveOriginatorApplicationEntityTitle"] = title.encode("ascii", "replace").decode()
    number = association.request(context, "C-STORE-RQ", octets, **fields)
    if meanwhile is not None:
        meanwhile()
    command = association.answer("C-STORE-RSP", number, on_cancel).command
    return command.status, command.comment


def recode(octets: Octets, source: str, target: str) -> bytes:
    """Encode an uncompressed (or deflated) data set anew in Explicit or Implicit VR Little Endian.

    Raises
    ------
    ServiceError
        It is broken (C000H).
    """
    try:
        if source == DEFLATED_LE:
            return transcode(inflated(octets), EXPLICIT_LE, target)
        return transcode(octets, source, target)
    except RemoteProtocolError as error:
        text = f"can't be encoded anew from {source} to {target}: {error}"
        raise ServiceError(text, status=CANNOT_UNDERSTAND) from error


# --- in --------------------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """What became of an instance that came in: its outcome, or what went wrong here."""

    sop_instance_uid: str
    status: int
    outcome: Outcome | None = None
    error: Exception | None = None

    @property
    def fatal(self) -> bool:
        """Whether the place itself failed (full, gone), so that more of the same has no sense."""
        return isinstance(self.error, CommunicationError | OSError)


def take_instance(
    association: Association, message: Message, sink: Sink, source: str, wanted: Callable[[str], bool] | None = None
) -> Taken:
    """Take the instance of a C-STORE-RQ into `sink`, undecoded, and answer the request.

    Parameters
    ----------
    association, message : Association, Message
        The request just received; its data set is still to be read.
    sink : Sink
    source : str
        Who sends it.
    wanted : callable, optional
        Says of a SOP Instance UID whether it may come; others are answered with 0124H.

    Raises
    ------
    Interrupted, RemoteProtocolError
        The association broke off; nothing of the instance stays. What goes wrong in the sink is not raised but told
        to the peer and returned.

    Source
    ------
    PS3.4 Table B.2-1 (statuses).
    """
    command, context = message.command, message.context
    sop_class, uid = command.text("AffectedSOPClassUID"), command.text("AffectedSOPInstanceUID")
    if not (uid_like(uid) and uid_like(sop_class)):
        bad = ServiceError("an Affected SOP Class or Instance UID is no UID", status=CANNOT_UNDERSTAND)
        taken = Taken(uid, bad.status, error=bad)
    elif not command.has_data:
        bad = ServiceError("a C-STORE-RQ without a data set", status=CANNOT_UNDERSTAND)
        taken = Taken(uid, bad.status, error=bad)
    elif wanted is not None and not wanted(uid):
        bad = ServiceError("nobody asked for this instance", status=NOT_AUTHORISED)
        taken = Taken(uid, bad.status, error=bad)
    else:
        taken = _write(association, Arrival(sop_class, uid, context.transfer_syntax, source=source), sink)
    for _ in association.fragments():
        pass
    about: dict[str, Value] = {"AffectedSOPInstanceUID": uid} if uid_like(uid) else {}
    if taken.error is not None:
        about["ErrorComment"] = _comment(taken.error)
    association.send(context, command.response(taken.status, data=False, **about))
    return taken


def _write(association: Association, arrival: Arrival, sink: Sink) -> Taken:
    writer: Writer | None = None
    uid = arrival.sop_instance_uid
    try:
        try:
            writer = sink.begin(arrival)
        except (DicomlabError, OSError) as error:
            return _failed(uid, error)
        for fragment in association.fragments():
            try:
                writer.write(fragment)
            except (DicomlabError, OSError) as error:
                return _failed(uid, error)
        ending, writer = writer, None
        try:
            return Taken(uid, tables.SUCCESS, ending.finish())
        except (DicomlabError, OSError) as error:
            return _failed(uid, error)
    finally:
        if writer is not None:
            writer.abandon()


def _failed(uid: str, error: DicomlabError | OSError) -> Taken:
    if isinstance(error, ServiceError):
        return Taken(uid, error.status or CANNOT_UNDERSTAND, error=error)
    return Taken(uid, CANNOT_UNDERSTAND if isinstance(error, RemoteProtocolError) else OUT_OF_RESOURCES, error=error)


def _comment(error: Exception) -> str:
    """The first 64 characters, which is what an LO holds; never a path of this machine."""
    return str(error)[:64] if isinstance(error, ServiceError) else type(error).__name__
