"""The state machine of the Upper Layer, as the table that the standard prints. No I/O.

Source
------
PS3.8 §9.2, Tables 9-1 to 9-10.
"""

from __future__ import annotations

from enum import IntEnum

from dicomlab.dimse import pdu
from dicomlab.errors import LocalProtocolError


class State(IntEnum):
    """Where one end of an association is (Tables 9-1 to 9-5)."""

    IDLE = 1
    AWAITING_RQ = 2
    AWAITING_LOCAL_RESPONSE = 3
    AWAITING_TRANSPORT = 4
    AWAITING_AC_OR_RJ = 5
    DATA_TRANSFER = 6
    AWAITING_RELEASE_RP = 7
    AWAITING_LOCAL_RELEASE = 8
    COLLISION_REQUESTOR_LOCAL = 9
    COLLISION_ACCEPTOR_RP = 10
    COLLISION_REQUESTOR_RP = 11
    COLLISION_ACCEPTOR_LOCAL = 12
    AWAITING_CLOSE = 13

    @property
    def text(self) -> str:
        """The standard's number beside its meaning: ``Sta6 association established, ready for data transfer``."""
        return f"Sta{self.value} {_MEANINGS[self.value - 1]}"


_MEANINGS = (
    "idle",
    "transport connection open, awaiting A-ASSOCIATE-RQ",
    "awaiting local A-ASSOCIATE response",
    "awaiting transport connection",
    "awaiting A-ASSOCIATE-AC or -RJ",
    "association established, ready for data transfer",
    "awaiting A-RELEASE-RP",
    "awaiting local A-RELEASE response",
    "release collision, requestor: awaiting local A-RELEASE response",
    "release collision, acceptor: awaiting A-RELEASE-RP",
    "release collision, requestor: awaiting A-RELEASE-RP",
    "release collision, acceptor: awaiting local A-RELEASE response",
    "awaiting transport connection close",
)


class Event(IntEnum):
    """What may happen (rows of Table 9-10)."""

    ASSOCIATE_REQUEST = 1
    TRANSPORT_CONFIRMED = 2
    AC_RECEIVED = 3
    RJ_RECEIVED = 4
    TRANSPORT_INDICATION = 5
    RQ_RECEIVED = 6
    ACCEPT = 7
    REJECT = 8
    DATA_REQUEST = 9
    DATA_RECEIVED = 10
    RELEASE_REQUEST = 11
    RELEASE_RQ_RECEIVED = 12
    RELEASE_RP_RECEIVED = 13
    RELEASE_RESPONSE = 14
    ABORT_REQUEST = 15
    ABORT_RECEIVED = 16
    TRANSPORT_CLOSED = 17
    ARTIM_EXPIRED = 18
    INVALID_PDU = 19


RECEIVED = {
    pdu.ASSOCIATE_RQ: Event.RQ_RECEIVED,
    pdu.ASSOCIATE_AC: Event.AC_RECEIVED,
    pdu.ASSOCIATE_RJ: Event.RJ_RECEIVED,
    pdu.P_DATA_TF: Event.DATA_RECEIVED,
    pdu.RELEASE_RQ: Event.RELEASE_RQ_RECEIVED,
    pdu.RELEASE_RP: Event.RELEASE_RP_RECEIVED,
    pdu.ABORT: Event.ABORT_RECEIVED,
}
"""Which event the arrival of each PDU type is."""

# One row for each event, one column for each state, Sta1 first; "." where the event cannot happen.
_TABLE = """
AE-1 .    .    .    .    .    .    .    .    .     .    .    .
.    .    .    AE-2 .    .    .    .    .    .     .    .    .
.    AA-1 AA-8 .    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    AA-1 AA-8 .    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
AE-5 .    .    .    .    .    .    .    .    .     .    .    .
.    AE-6 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
.    .    AE-7 .    .    .    .    .    .    .     .    .    .
.    .    AE-8 .    .    .    .    .    .    .     .    .    .
.    .    .    .    .    DT-1 .    AR-7 .    .     .    .    .
.    AA-1 AA-8 .    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    .    .    .    .    AR-1 .    .    .    .     .    .    .
.    AA-1 AA-8 .    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    AA-1 AA-8 .    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6
.    .    .    .    .    .    .    AR-4 AR-9 .     .    AR-4 .
.    .    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 .
.    AA-2 AA-3 .    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2
.    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5
.    AA-2 .    .    .    .    .    .    .    .     .    .    AA-2
.    AA-1 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
"""

TRANSITIONS: dict[tuple[Event, State], str] = {
    (Event(row), State(column)): action
    for row, line in enumerate(_TABLE.strip().splitlines(), 1)
    for column, action in enumerate(line.split(), 1)
    if action != "."
}
"""Table 9-10: which action an event causes in a state."""

NEXT: dict[str, State] = {
    action: State(number)
    for number, actions in {
        1: "AE-4 AR-3 AR-5 AA-2 AA-3 AA-4 AA-5",
        2: "AE-5",
        3: "AE-6",
        4: "AE-1",
        5: "AE-2",
        6: "AE-3 AE-7 DT-1 DT-2",
        7: "AR-1 AR-6",
        8: "AR-2 AR-7",
        11: "AR-9",
        12: "AR-10",
        13: "AE-8 AR-4 AA-1 AA-6 AA-7 AA-8",
    }.items()
    for action in actions.split()
}
"""Tables 9-6 to 9-9: the state that each action leads to (AR-8 depends on the role, AE-6 on the answer)."""

ABORTS = frozenset({"AA-1", "AA-7", "AA-8"})
"""The actions that send an A-ABORT."""


def follow(state: State, event: Event, *, requestor: bool = True) -> tuple[str, State]:
    """Say which action `event` causes in `state`, and which state comes next.

    Parameters
    ----------
    state : State
    event : Event
    requestor : bool
        Whether this end asked for the association; it decides who yields when both ask for release (AR-8).

    Raises
    ------
    LocalProtocolError
        The event cannot happen in that state: we were about to break the standard.

    Source
    ------
    PS3.8 §9.2.3, Table 9-10.
    """
    action = TRANSITIONS.get((event, state))
    if action is None:
        raise LocalProtocolError(
            f"Evt{event.value} ({event.name}) cannot happen in {state.text}", section="PS3.8 Table 9-10"
        )
    if action == "AR-8":
        return action, State.COLLISION_REQUESTOR_LOCAL if requestor else State.COLLISION_ACCEPTOR_RP
    return action, NEXT[action]
