"""An association by hand, for teaching and for whatever has no verb of its own.

Source
------
PS3.8 §7 (association services), §9.2 (state machine); PS3.7 §9 (DIMSE-C), §10 (DIMSE-N).
"""

from __future__ import annotations

from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dicomlab.dimse import tables
from dicomlab.dimse.agreement import Agreement, Contexts, proposals_of, uid_of
from dicomlab.dimse.association import Association, Context, Message
from dicomlab.dimse.command import COMMAND_FIELDS, Command, Value, about_class
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.identifier import encode_tree, tree_of
from dicomlab.dimse.negotiation import Peer
from dicomlab.dimse.state import TRANSITIONS, Event, State, follow
from dicomlab.errors import LocalProtocolError, Refused, UsageError
from dicomlab.model.summary import Summarised, Summary
from dicomlab.part10.meta import IMPLICIT_LE

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

_ROOT_OF_LEVEL = {"PATIENT": "patient", "STUDY": "study", "SERIES": "study", "IMAGE": "study"}
_REQUESTS = tuple(name.removesuffix("-RQ") for name in COMMAND_FIELDS if name.endswith("-RQ"))
_QUERY_RETRIEVE = ("C-FIND", "C-GET", "C-MOVE")
_WITH_DATA = ("C-STORE", *_QUERY_RETRIEVE, "N-SET", "N-EVENT-REPORT")
_WITHOUT_DATA = ("C-ECHO", "C-CANCEL", "N-GET", "N-DELETE")
_WITH_PRIORITY = ("C-STORE", *_QUERY_RETRIEVE)


class Response(NamedTuple):
    """One message from the peer.

    Attributes
    ----------
    status : str
        Of an answer, in the standard's words; ``""`` for a request, which :meth:`Session.respond` answers.
    dataset : Dataset or None
    message : str
        ``"C-FIND-RSP"``, or ``"C-STORE-RQ"`` where the peer asks something of us.
    fields : dict
        The whole command set, by keyword.
    """

    status: str
    dataset: Any = None
    message: str = ""
    fields: Any = None


class Session(Summarised):
    """An established association. Leaving the ``with`` block releases it; an error in it aborts it."""

    def __init__(self, peer: Peer, contexts: Contexts, *, scp: bool = False) -> None:
        self._proposals = proposals_of(contexts, every_service=scp)
        if scp:
            self._proposals = [one._replace(scp=one.abstract_syntax in tables.STORAGE) for one in self._proposals]
        self._peer = peer
        self._steps: list[tuple[Event, State, str, State]] = []
        for event, before in ((Event.ASSOCIATE_REQUEST, State.IDLE), (Event.TRANSPORT_CONFIRMED, State(4))):
            self._stepped(event, before, *follow(before, event))
        self._association: Association = peer.associate(self._proposals, on_step=self._stepped)
        self._waiting: tuple[str, int, Context] | None = None
        self._asked: Message | None = None

    def _stepped(self, event: Event, before: State, action: str, after: State) -> None:
        self._steps.append((event, before, action, after))

    # --- where it is -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """Where this end is in the state machine: ``"Sta6 association established, ..."`` (PS3.8 §9.2)."""
        return self._association.state.text

    @property
    def history(self) -> DataFrame:
        """A DataFrame of the steps so far: event, state before, action and state after (PS3.8 Table 9-10).

        A run of P-DATA-TF PDUs in one direction is one row, counted in ``times``.
        """
        import pandas as pd

        rows: list[list[Any]] = []
        for event, before, action, after in self._steps:
            row = [f"Evt{event.value} {event.name}", f"Sta{before.value}", action, f"Sta{after.value}"]
            if rows and rows[-1][:4] == row and before == after:
                rows[-1][4] += 1
            else:
                rows.append([*row, 1])
        return pd.DataFrame(rows, columns=["event", "state", "action", "next state", "times"])

    @property
    def contexts(self) -> Any:
        """A DataFrame of what was proposed and what came back: :meth:`Agreement.to_dataframe`."""
        return Agreement.of(str(self._peer.address), self._association).to_dataframe()

    # --- asking ----------------------------------------------------------------------------------------------------

    def send(
        self, command: str, dataset: Dataset | None = None, *, sop_class: str | None = None, **fields: Value
    ) -> int:
        """Send one request and give its Message ID; its answers are read with :meth:`receive`.

        Parameters
        ----------
        command : str
            Any request of DIMSE: ``"C-ECHO"``, ``"C-STORE"``, ``"C-FIND"``, ``"C-GET"``, ``"C-MOVE"``, ``"N-GET"``,
            ``"N-SET"``, ``"N-ACTION"``, ``"N-CREATE"``, ``"N-DELETE"``, ``"N-EVENT-REPORT"``.
        dataset : Dataset, optional
            The instance, the Identifier (with a QueryRetrieveLevel), or what a DIMSE-N request carries.
        sop_class : str, optional
            The SOP Class on whose context it goes, by UID or PS3.6 keyword. None: that of the instance, the
            information model of the level, or Verification.
        **fields
            Further command elements by keyword: ``Priority=1``, ``ActionTypeID=1``.

        Raises
        ------
        UsageError
            No such command, a data set is missing, or a keyword that is no command element.
        Refused
            No context was accepted for it.

        Source
        ------
        PS3.7 §9.3, §10.3.
        """
        name = command.removesuffix("-RQ")
        if name not in _REQUESTS or name == "C-CANCEL":
            raise UsageError(f"{command!r} is no request of this kind: {', '.join(_REQUESTS)} (cancel() has its own)")
        if (dataset is None and name in _WITH_DATA) or (dataset is not None and name in _WITHOUT_DATA):
            raise UsageError(f"{name} goes {'with' if dataset is None else 'without'} a data set (PS3.7 §9.3, §10.3)")
        context = self._context(name, dataset, sop_class)
        data = None if dataset is None else _encoded(name, dataset, context.transfer_syntax)
        number = self._association.next_message_id()
        values: dict[str, Value] = {**about_class(name, context.abstract_syntax), "MessageID": number}
        if name in _WITH_PRIORITY:
            values["Priority"] = 0
        if name == "C-STORE" and dataset is not None:
            values["AffectedSOPInstanceUID"] = str(dataset.SOPInstanceUID)
        if name == "C-MOVE":
            values["MoveDestination"] = self._peer.me.ae_title
        try:
            asked = Command.of(f"{name}-RQ", data=data is not None, **{**values, **fields})
            self._association.send(context, asked, data)
        except LocalProtocolError as error:
            raise UsageError(str(error)) from error
        self._waiting = (f"{name}-RSP", asked.number("MessageID"), context)
        return asked.number("MessageID")

    def receive(self) -> Response:
        """Wait for the next message: an answer to the last request, or a request of the peer.

        A request (the C-STOREs of a C-GET) is to be answered with :meth:`respond`.

        Raises
        ------
        UsageError
            Nothing was asked, or everything has been answered; or a request of the peer still waits for its answer.
        Interrupted, RemoteProtocolError
            The association broke off.
        """
        if self._asked is not None:
            raise UsageError(f"the peer's {self._asked.command.name} waits for its answer: respond() first")
        if self._waiting is None:
            raise UsageError("no answer is due: send a request first")
        message = self._association.receive()
        if message is None:
            raise self._association.interrupted(f"released the association where a {self._waiting[0]} was due")
        context, command = message
        octets = self._association.whole_data() if command.has_data else None
        dataset = None if octets is None else _decoded(octets, context.transfer_syntax)
        if not command.is_response:
            self._asked = message
            return Response("", dataset, command.name, dict(command.fields))
        if (command.name, command.number("MessageIDBeingRespondedTo")) == self._waiting[:2]:
            self._waiting = self._waiting if command.status in tables.PENDING else None
        verb = command.name.split("-")[1]
        text = tables.status_text(command.status, verb, command.comment)
        return Response(text, dataset, command.name, dict(command.fields))

    def respond(self, status: int = 0x0000, **fields: Value) -> None:
        """Answer the request of the peer that :meth:`receive` has just given.

        Parameters
        ----------
        status : int
            As in PS3.7 Annex C.
        **fields
            Further command elements by keyword.

        Raises
        ------
        UsageError
            The peer has asked nothing, or a keyword that is no command element.
        """
        if self._asked is None:
            raise UsageError("the peer has asked nothing")
        (context, command), self._asked = self._asked, None
        uid = command.text("AffectedSOPInstanceUID")
        about: dict[str, Value] = {"AffectedSOPInstanceUID": uid} if uid else {}
        try:
            self._association.send(context, command.response(status, data=False, **{**about, **fields}))
        except LocalProtocolError as error:
            raise UsageError(str(error)) from error

    def request(
        self, command: str, dataset: Dataset | None = None, *, sop_class: str | None = None, **fields: Value
    ) -> list[Response]:
        """Send one request and wait for all of its answers; parameters and errors as for :meth:`send`.

        What the peer asks meanwhile is answered with Success, and is in the list too.
        """
        self.send(command, dataset, sop_class=sop_class, **fields)
        responses: list[Response] = []
        while self._waiting is not None:
            responses.append(self.receive())
            if self._asked is not None:
                self.respond()
        return responses

    def cancel(self) -> None:
        """Ask the peer to end the C-FIND, C-GET or C-MOVE that is going on (C-CANCEL); its last answer says so.

        Raises
        ------
        UsageError
            Nothing is going on.
        """
        if self._waiting is None:
            raise UsageError("nothing is going on that could be cancelled")
        _, number, context = self._waiting
        self._association.send(context, Command.of("C-CANCEL-RQ", MessageIDBeingRespondedTo=number))

    # --- ending ----------------------------------------------------------------------------------------------------

    def release(self) -> None:
        """End in order (A-RELEASE)."""
        self._association.release()

    def abort(self) -> None:
        """End at once (A-ABORT)."""
        self._association.abort()

    def _context(self, name: str, dataset: Any, sop_class: str | None) -> Context:
        if sop_class is not None:
            uid = uid_of(sop_class)
        elif name == "C-ECHO":
            uid = tables.VERIFICATION
        elif name == "C-STORE":
            uid = str(dataset.get("SOPClassUID", ""))
        elif name in _QUERY_RETRIEVE:
            level = str(dataset.get("QueryRetrieveLevel", ""))
            if level not in _ROOT_OF_LEVEL:
                raise UsageError(f"the Identifier needs a QueryRetrieveLevel: {', '.join(_ROOT_OF_LEVEL)}")
            uid = tables.MODELS[_ROOT_OF_LEVEL[level], name[2:]]  # type: ignore[index]
        else:
            raise UsageError(f"{name} needs the SOP Class that it is about: sop_class=")
        context = self._association.context_for(uid)
        if context is None:
            raise Refused(f"no context was accepted for {name_of(uid)}", endpoint=str(self._peer.address))
        return context

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._association.__exit__(kind, error, trace)

    def _summary_(self) -> Summary:
        user = self._association.peer
        facts = (
            ("with", str(self._peer.address)),
            ("state", self.state),
            ("implementation", user.implementation_version_name or user.implementation_class_uid),
            ("max PDU", str(user.max_pdu)),
            ("contexts", f"{len(self._association.contexts)} of {len(self._proposals)} accepted"),
        )
        return Summary("Association", facts)


def state_table() -> DataFrame:
    """The whole state machine as a table: a row for each event, a column for each state, and the action in between.

    Returns
    -------
    DataFrame
        ``""`` where the event cannot happen in that state.

    Source
    ------
    PS3.8 Table 9-10.
    """
    import pandas as pd

    names = {event: f"Evt{event.value} {event.name}" for event in Event}
    rows = {name: [TRANSITIONS.get((event, state), "") for state in State] for event, name in names.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[f"Sta{state.value}" for state in State])


def _encoded(name: str, dataset: Any, transfer_syntax: str) -> bytes:
    if name in _QUERY_RETRIEVE:
        return encode_tree(tree_of(dataset), transfer_syntax)
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset

    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, transfer_syntax == IMPLICIT_LE
    try:
        write_dataset(buffer, dataset)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise UsageError(f"the data set can't be encoded: {error}") from error
    return buffer.getvalue()


def _decoded(octets: bytes, transfer_syntax: str) -> Any:
    from pydicom.filereader import read_dataset

    return read_dataset(BytesIO(octets), is_implicit_VR=transfer_syntax == IMPLICIT_LE, is_little_endian=True)
