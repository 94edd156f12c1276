"""An association by hand, for teaching and for whatever has no verb of its own.

Source
------
PS3.8 §7 (association services), PS3.7 §9 (DIMSE-C).
"""

from __future__ import annotations

from io import BytesIO
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from dicomlab.dimse import tables
from dicomlab.dimse.agreement import Agreement, Contexts, proposals_of
from dicomlab.dimse.association import Association, Context
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.identifier import encode_tree, tree_of
from dicomlab.dimse.negotiation import Peer
from dicomlab.errors import LocalProtocolError, Refused, UsageError
from dicomlab.model.summary import Summarised, Summary
from dicomlab.part10.meta import IMPLICIT_LE

if TYPE_CHECKING:
    from pydicom import Dataset

_FIND_LEVELS = {"PATIENT": "patient", "STUDY": "study", "SERIES": "study", "IMAGE": "study"}
_REQUESTS = ("C-ECHO", "C-STORE", "C-FIND")


class Response(NamedTuple):
    """One answer: its status in the standard's words, and its data set where it has one."""

    status: str
    dataset: Any = None


class Session(Summarised):
    """An established association. Leaving the ``with`` block releases it; an error in it aborts it."""

    def __init__(self, peer: Peer, contexts: Contexts) -> None:
        self._proposals = proposals_of(contexts)
        self._peer = peer
        self._association: Association = peer.associate(self._proposals)
        self._waiting: tuple[str, int] | None = None

    @property
    def state(self) -> str:
        """Where this end is in the state machine: ``"Sta6 association established, ..."`` (PS3.8 §9.2)."""
        return self._association.state.text

    @property
    def contexts(self) -> Any:
        """A DataFrame of what was proposed and what came back: :meth:`Agreement.to_dataframe`."""
        return Agreement.of(str(self._peer.address), self._association).to_dataframe()

    def send(self, command: str, dataset: Dataset | None = None, **fields: int | str) -> int:
        """Send one request and give its Message ID; its answers are read with :meth:`receive`.

        Parameters
        ----------
        command : str
            ``"C-ECHO"``, ``"C-STORE"`` or ``"C-FIND"``.
        dataset : Dataset, optional
            The instance, or the Identifier (with a QueryRetrieveLevel).
        **fields
            Further command elements by keyword: ``Priority=1``.

        Raises
        ------
        UsageError
            No such command, a data set is missing, or a keyword that is no command element.
        Refused
            No context was accepted for it.
        """
        name = command.removesuffix("-RQ")
        if name not in _REQUESTS:
            raise UsageError(f"{command!r} is no request of this kind: {', '.join(_REQUESTS)}")
        if (dataset is None) != (name == "C-ECHO"):
            raise UsageError(f"{name} goes {'without' if name == 'C-ECHO' else 'with'} a data set (PS3.7 §9.3)")
        context = self._context(name, dataset)
        values: dict[str, int | str] = {} if name == "C-ECHO" else {"Priority": 0}
        data: bytes | None = None
        if dataset is not None:
            if name == "C-STORE":
                values["AffectedSOPInstanceUID"] = str(dataset.SOPInstanceUID)
                data = _encoded(dataset, context.transfer_syntax)
            else:
                data = encode_tree(tree_of(dataset), context.transfer_syntax)
        try:
            number = self._association.request(context, f"{name}-RQ", data, **{**values, **fields})
        except LocalProtocolError as error:
            raise UsageError(str(error)) from error
        self._waiting = (f"{name}-RSP", number)
        return number

    def receive(self) -> Response:
        """Wait for the next answer to the last request.

        Raises
        ------
        UsageError
            Nothing was asked, or everything has been answered.
        Interrupted, RemoteProtocolError
            The association broke off.
        """
        if self._waiting is None:
            raise UsageError("no answer is due: send a request first")
        context, command = self._association.answer(*self._waiting)
        if command.status not in tables.PENDING:
            self._waiting = None
        octets = self._association.data() if command.has_data else None
        text = tables.status_text(command.status, command.name[2:].split("-")[0], command.text("ErrorComment"))
        return Response(text, None if octets is None else _decoded(octets, context.transfer_syntax))

    def request(self, command: str, dataset: Dataset | None = None, **fields: int | str) -> list[Response]:
        """Send one request and wait for all of its answers; parameters and errors as for :meth:`send`."""
        self.send(command, dataset, **fields)
        responses = [self.receive()]
        while self._waiting is not None:
            responses.append(self.receive())
        return responses

    def release(self) -> None:
        """End in order (A-RELEASE)."""
        self._association.release()

    def abort(self) -> None:
        """End at once (A-ABORT)."""
        self._association.abort()

    def _context(self, name: str, dataset: Any) -> Context:
        if name == "C-ECHO":
            uid = tables.VERIFICATION
        elif name == "C-STORE":
            uid = str(dataset.get("SOPClassUID", ""))
        else:
            level = str(dataset.get("QueryRetrieveLevel", ""))
            if level not in _FIND_LEVELS:
                raise UsageError(f"the Identifier needs a QueryRetrieveLevel: {', '.join(_FIND_LEVELS)}")
            uid = tables.MODELS["patient" if level == "PATIENT" else "study", "FIND"]
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


def _encoded(dataset: Any, transfer_syntax: str) -> bytes:
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
