"""The port of an archive: the services that it offers, put together.

Source
------
PS3.4 Annex A (Verification), B (Storage), C, Y, Z (Query/Retrieve), J (Storage Commitment).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomlab.dimse import tables
from dicomlab.dimse.association import Message
from dicomlab.dimse.commitment_scp import commitment_provider
from dicomlab.dimse.handlers import Asked, Handlers, check_handlers, status_of
from dicomlab.dimse.listener import Listener, Terms
from dicomlab.dimse.outward import Destination, Outward
from dicomlab.dimse.query_retrieve import query_retrieve
from dicomlab.dimse.secure import PLAIN, Security
from dicomlab.dimse.serving import CANNOT_PROCESS, Conversation, Service, Services, decline
from dicomlab.dimse.store_scp import limited, storage
from dicomlab.errors import ServiceError
from dicomlab.model.commitment import Inbox
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Holdings
from dicomlab.model.trace import Trace

MAX_INSTANCE_OCTETS = 4 << 30
"""Octets of an instance beyond which it is refused (A700H)."""


def verification(handlers: Handlers) -> Service:
    """The Verification service (PS3.4 Annex A)."""

    def answer(conversation: Conversation, message: Message) -> None:
        status = tables.SUCCESS
        if (handler := handlers.get("C-ECHO")) is not None:
            asked = Asked(verb="C-ECHO", caller=conversation.caller, sop_class_uid=tables.VERIFICATION)
            try:
                status = status_of(handler, asked)
            except ServiceError as error:
                status = error.status or CANNOT_PROCESS
        decline(conversation.association, message, status)

    return Service(sop_classes=(tables.VERIFICATION,), requests=("C-ECHO-RQ",), answer=answer)


def serve(
    holdings: Holdings,
    *,
    ae_title: str,
    host: str = "127.0.0.1",
    port: int = 0,
    destination: Destination,
    deflated: bool = False,
    terms: Terms = Terms(),  # noqa: B008  (never changed)
    handlers: Handlers | None = None,
    services: Sequence[Service] = (),
    faults: Faults | None = None,
    security: Security = PLAIN,
    max_instance_octets: int = MAX_INSTANCE_OCTETS,
    free_octets: Callable[[], int] | None = None,
    inbox: Inbox | None = None,
    trace: Trace | None = None,
) -> Listener:
    """Open a port that answers for an archive.

    Parameters
    ----------
    holdings : Holdings
        What it holds.
    ae_title : str
        What it is called; whoever calls somebody else is rejected.
    host : str
        The interface; only this machine can reach the default.
    port : int
        0: a free one.
    destination : callable
        Where an AE listens to which a C-MOVE or a commitment report goes, None for an unknown one.
    deflated : bool
        Whether to take Deflated Explicit VR Little Endian, of which a little can become a lot.
    terms : Terms
        Who may come in, and what is too much.
    handlers : mapping of str to callable, optional
        Functions that take over requests: see :mod:`dicomlab.dimse.handlers`.
    services : sequence of Service, optional
        Further services; one of them for a SOP Class that is served anyway takes its place.
    faults : Faults, optional
        What goes wrong on purpose.
    security : Security
        TLS, for those who come and for those we go to.
    max_instance_octets : int
        Octets of an instance beyond which it is refused.
    free_octets : callable, optional
        How much may still be stored; below 1 everything is refused (A700H).
    inbox : Inbox, optional
        Takes the results of commitments that somebody else asked for under our AE title.
    trace : Trace, optional
        Where what crosses is recorded.

    Returns
    -------
    Listener
        Has ``host``, ``port``, ``ae_title`` and ``close()``.

    Raises
    ------
    UsageError, Unreachable
        A handler for a request that there is none of; the port can't be opened.
    """
    own = check_handlers(handlers)
    wrong = faults or Faults()
    outward = Outward(ae_title, destination, security)
    holdings = limited(holdings, max_instance_octets, free_octets)
    table = Services(
        [
            verification(own),
            storage(holdings, own, wrong, deflated=deflated),
            *query_retrieve(holdings, own, wrong, outward),
            commitment_provider(holdings, own, outward, inbox),
            *services,
        ],
        idle_timeout_s=terms.idle_timeout_s,
        faults=wrong,
    )
    return Listener(
        table.run,
        table.offer,
        ae_title=ae_title,
        host=host,
        port=port,
        roles=table.roles,
        extended=table.extended,
        terms=terms,
        security=security,
        faults=wrong,
        trace=trace,
    )
