"""The Unified Procedure Step as a state machine: states, requests, statuses, events, all as data. No I/O.

:data:`TRANSITIONS` says what each request does in each state; :func:`transition` looks it up. What a status means over
HTTP is in :data:`HTTP`. Nothing here keeps a work item: :mod:`dicomlab.archive.workitems` does, behind both doors.

Source
------
PS3.4 Annex CC (Unified Procedure Step Service), Table CC.1.1-2 (states), §CC.2.1 to §CC.2.6 (requests and statuses),
Table CC.2.4-1 (events); PS3.18 §11 (Worklist Service).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from dicomlab.errors import ServiceError

if TYPE_CHECKING:
    from pydicom import Dataset

State = Literal["SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED"]
"""Procedure Step State (0074,1000)."""
STATES: tuple[State, ...] = get_args(State)
FINAL: tuple[State, ...] = ("COMPLETED", "CANCELED")

UPS_PUSH = "1.2.840.10008.5.1.4.34.6.1"
"""The SOP Class of every work item, whichever of the five (Push, Watch, Pull, Event, Query) a peer works with."""
GLOBAL = "1.2.840.10008.5.1.4.34.5"
"""The well-known SOP Instance of the worklist: subscribing to it subscribes to every work item, now and later."""
FILTERED = "1.2.840.10008.5.1.4.34.5.1"
"""The same for the work items that match keys."""

Request = Literal["create", "update", "claim", "schedule", "complete", "cancel", "request cancel"]
"""N-CREATE, N-SET, N-ACTION 1 to each of the four states, N-ACTION 2."""
TO_STATE: dict[str, Request] = {
    "IN PROGRESS": "claim",
    "SCHEDULED": "schedule",
    "COMPLETED": "complete",
    "CANCELED": "cancel",
}
"""The request by the state that a Change UPS State asks for (PS3.4 Table CC.2.1-1)."""

Transaction = Literal["right", "wrong", "none"]
"""How a Transaction UID compares: the one that claimed the item (any, of an item that nobody has claimed), another, or
none given."""

CHANGE_STATE, REQUEST_CANCEL, SUBSCRIBE, UNSUBSCRIBE, SUSPEND = 1, 2, 3, 4, 5
"""Action Type IDs (PS3.4 Table CC.2.1-1, §CC.2.2, §CC.2.3)."""
STATE_REPORT, CANCEL_REQUESTED, PROGRESS_REPORT, SCP_STATUS_CHANGE, ASSIGNED = 1, 2, 3, 4, 5
"""Event Type IDs (PS3.4 Table CC.2.4-1)."""
EVENTS = {
    STATE_REPORT: "UPS State Report",
    CANCEL_REQUESTED: "UPS Cancel Requested",
    PROGRESS_REPORT: "UPS Progress Report",
    SCP_STATUS_CHANGE: "SCP Status Change",
    ASSIGNED: "UPS Assigned",
}
EVENT_ATTRIBUTES: dict[int, tuple[str, ...]] = {
    STATE_REPORT: (
        "ProcedureStepState", "InputReadinessState", "ReasonForCancellation",
        "ProcedureStepDiscontinuationReasonCodeSequence",
    ),
    CANCEL_REQUESTED: (
        "RequestingAE", "ReasonForCancellation", "ProcedureStepDiscontinuationReasonCodeSequence", "ContactURI",
        "ContactDisplayName",
    ),
    PROGRESS_REPORT: ("ProcedureStepProgressInformationSequence",),
    SCP_STATUS_CHANGE: ("SCPStatus", "SubscriptionListStatus", "UnifiedProcedureStepListStatus"),
    ASSIGNED: ("ScheduledStationNameCodeSequence", "HumanPerformerCodeSequence", "HumanPerformerOrganization"),
}  # fmt: skip
"""What the Event Information of each event holds (PS3.4 Table CC.2.4-1)."""

SUCCESS = 0x0000
WITH_MODIFICATIONS, LOCK_NOT_GRANTED, ALREADY_CANCELED, ALREADY_COMPLETED = 0xB300, 0xB301, 0xB304, 0xB306
INVALID_VALUE, DUPLICATE, INVALID_ARGUMENT, MISSING, MISSING_VALUE = 0x0106, 0x0111, 0x0115, 0x0120, 0x0121
RESOURCE_LIMITATION = 0x0213
NO_LONGER_UPDATED, WRONG_TRANSACTION, ALREADY_IN_PROGRESS, NEVER_SCHEDULED = 0xC300, 0xC301, 0xC302, 0xC303
NOT_FINAL, UNKNOWN, UNKNOWN_RECEIVER, NOT_SCHEDULED = 0xC304, 0xC307, 0xC308, 0xC309
NOT_IN_PROGRESS, IS_COMPLETED, NO_PERFORMER, PERFORMER_DECLINES = 0xC310, 0xC311, 0xC312, 0xC313
NOT_APPROPRIATE, NO_EVENTS = 0xC314, 0xC315

STATUSES = {
    SUCCESS: "Success",
    0x0001: "Requested optional attributes are not supported",
    0x0105: "No such attribute",
    INVALID_VALUE: "Invalid attribute value",
    0x0110: "Processing failure",
    DUPLICATE: "Duplicate SOP Instance",
    INVALID_ARGUMENT: "Invalid argument value",
    MISSING: "Missing attribute",
    MISSING_VALUE: "Missing attribute value",
    RESOURCE_LIMITATION: "Resource limitation",
    WITH_MODIFICATIONS: "The UPS was created with modifications",
    LOCK_NOT_GRANTED: "Deletion lock not granted",
    ALREADY_CANCELED: "The UPS is already in the requested state of CANCELED",
    0xB305: "Coerced invalid values to valid values",
    ALREADY_COMPLETED: "The UPS is already in the requested state of COMPLETED",
    NO_LONGER_UPDATED: "The UPS may no longer be updated",
    WRONG_TRANSACTION: "The correct Transaction UID was not provided",
    ALREADY_IN_PROGRESS: "The UPS is already IN PROGRESS",
    NEVER_SCHEDULED: "The UPS may only become SCHEDULED via N-CREATE, not N-SET or N-ACTION",
    NOT_FINAL: "The UPS has not met final state requirements for the requested state change",
    UNKNOWN: "Specified SOP Instance UID does not exist or is not a UPS Instance managed by this SCP",
    UNKNOWN_RECEIVER: "Receiving AE-TITLE is unknown to this SCP",
    NOT_SCHEDULED: "The provided value of UPS State was not SCHEDULED",
    NOT_IN_PROGRESS: "The UPS is not yet in the IN PROGRESS state",
    IS_COMPLETED: "The UPS is already COMPLETED",
    NO_PERFORMER: "The performer cannot be contacted",
    PERFORMER_DECLINES: "Performer chooses not to cancel",
    NOT_APPROPRIATE: "Specified action not appropriate for specified instance",
    NO_EVENTS: "SCP does not support event reports",
}
"""The statuses of the service in the standard's words (PS3.4 §CC.2.1.4 to §CC.2.6.4; PS3.7 Annex C)."""

# --- the table -------------------------------------------------------------------------------------------------------

Cell = State | int
"""What a request does in one state: the state that it leads to, or the status with which nothing changes."""

_ANY: tuple[Transaction, ...] = get_args(Transaction)
_BY_STATE = (None, *STATES)


def _row(*cells: Cell) -> dict[State | None, Cell]:
    return dict(zip(_BY_STATE, cells, strict=True))


_UNCLAIMED = _row(UNKNOWN, WRONG_TRANSACTION, WRONG_TRANSACTION, WRONG_TRANSACTION, WRONG_TRANSACTION)

TRANSITIONS: dict[tuple[Request, Transaction], dict[State | None, Cell]] = {
    # what happens where the item is: nowhere, SCHEDULED, IN PROGRESS, COMPLETED, CANCELED
    **{("create", t): _row("SCHEDULED", DUPLICATE, DUPLICATE, DUPLICATE, DUPLICATE) for t in _ANY},
    ("claim", "right"): _row(UNKNOWN, "IN PROGRESS", ALREADY_IN_PROGRESS, NO_LONGER_UPDATED, NO_LONGER_UPDATED),
    ("claim", "wrong"): _UNCLAIMED,
    ("claim", "none"): _UNCLAIMED,
    **{
        ("schedule", t): _row(UNKNOWN, NEVER_SCHEDULED, NEVER_SCHEDULED, NEVER_SCHEDULED, NEVER_SCHEDULED) for t in _ANY
    },
    ("complete", "right"): _row(UNKNOWN, NOT_IN_PROGRESS, "COMPLETED", ALREADY_COMPLETED, NO_LONGER_UPDATED),
    ("complete", "wrong"): _UNCLAIMED,
    ("complete", "none"): _UNCLAIMED,
    ("cancel", "right"): _row(UNKNOWN, NOT_IN_PROGRESS, "CANCELED", NO_LONGER_UPDATED, ALREADY_CANCELED),
    ("cancel", "wrong"): _UNCLAIMED,
    ("cancel", "none"): _UNCLAIMED,
    **{("request cancel", t): _row(UNKNOWN, "CANCELED", SUCCESS, IS_COMPLETED, ALREADY_CANCELED) for t in _ANY},
    # (nobody owns a scheduled item, so a Transaction UID has no place there)
    ("update", "right"): _row(UNKNOWN, NOT_IN_PROGRESS, SUCCESS, NO_LONGER_UPDATED, NO_LONGER_UPDATED),
    ("update", "wrong"): _row(UNKNOWN, NOT_IN_PROGRESS, WRONG_TRANSACTION, NO_LONGER_UPDATED, NO_LONGER_UPDATED),
    ("update", "none"): _row(UNKNOWN, SUCCESS, WRONG_TRANSACTION, NO_LONGER_UPDATED, NO_LONGER_UPDATED),
}
"""PS3.4 Table CC.1.1-2, and §CC.2.6.3 for updates. An item that is scheduled and whose cancellation is requested goes
through IN PROGRESS."""


def compared(given: str, recorded: str) -> Transaction:
    """Compare a Transaction UID with the one that an item was claimed with (``""``: nobody has).

    Source
    ------
    PS3.4 §CC.1.1 (the Transaction UID as an access lock).
    """
    if not given:
        return "none"
    return "right" if not recorded or given == recorded else "wrong"


def transition(request: Request, transaction: Transaction, state: State | None) -> Cell:
    """Look up what a request does to an item in that state; None: there is no such item.

    Source
    ------
    PS3.4 Table CC.1.1-2.
    """
    return TRANSITIONS[request, transaction][state]


def failed(status: int) -> bool:
    """Whether a status is a failure: neither success nor one of the warnings (PS3.7 §C.1)."""
    return status not in (SUCCESS, 0x0001, 0x0107, 0x0116) and status >> 12 != 0xB


def status_line(status: int) -> str:
    """Print a status as the standard does: ``"C302H The UPS is already IN PROGRESS"``."""
    return f"{status:04X}H {STATUSES.get(status, 'Failure' if failed(status) else 'Warning')}"


def refusal(status: int, why: str = "") -> ServiceError:
    """Make the error of a request that was refused; whoever catches it finds the status there."""
    return ServiceError(f"{status_line(status)}{f': {why}' if why else ''}", status=status)


_UID = re.compile(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*))+")


def is_uid(text: str) -> bool:
    """Whether a text is a UID (PS3.5 §9.1)."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


# --- over HTTP -------------------------------------------------------------------------------------------------------

Transact = Literal["create", "retrieve", "update", "state", "cancel", "subscribe", "unsubscribe", "suspend"]
"""The transactions of the Worklist Service (PS3.18 Table 11.3-1)."""

_INCONSISTENT = "The submitted request is inconsistent with the current state of the Workitem."
_OF_INSTANCE = "The submitted request is inconsistent with the state of the UPS Instance."
_OK: dict[Transact, int] = {"create": 201, "cancel": 202, "subscribe": 201}
HTTP: dict[tuple[Transact | None, int], tuple[int, str]] = {
    ("create", WITH_MODIFICATIONS): (201, "The Workitem was created with modifications."),
    (None, DUPLICATE): (409, ""),
    (None, UNKNOWN): (404, ""),
    (None, RESOURCE_LIMITATION): (413, ""),
    ("update", NO_LONGER_UPDATED): (400, _INCONSISTENT),
    ("update", WRONG_TRANSACTION): (400, _INCONSISTENT),
    ("update", NOT_IN_PROGRESS): (409, "The target URI did not reference a claimed Workitem."),
    ("update", 0xB305): (200, "The Workitem was updated with modifications."),
    ("state", ALREADY_CANCELED): (200, "The UPS is already in the requested state of CANCELED."),
    ("state", ALREADY_COMPLETED): (200, "The UPS is already in the requested state of COMPLETED."),
    ("state", WRONG_TRANSACTION): (400, ""),  # missing or incorrect: said by whoever knows
    ("state", NEVER_SCHEDULED): (400, _OF_INSTANCE),
    ("state", NO_LONGER_UPDATED): (409, _OF_INSTANCE),
    ("state", ALREADY_IN_PROGRESS): (409, _OF_INSTANCE),
    ("state", NOT_FINAL): (409, _OF_INSTANCE),
    ("state", NOT_IN_PROGRESS): (409, _OF_INSTANCE),
    ("cancel", ALREADY_CANCELED): (202, "The UPS is already in the requested state of CANCELED."),
    ("cancel", IS_COMPLETED): (409, _INCONSISTENT),
    ("cancel", NO_PERFORMER): (409, _INCONSISTENT),
    ("cancel", PERFORMER_DECLINES): (409, _INCONSISTENT),
    ("subscribe", LOCK_NOT_GRANTED): (201, "Deletion Lock not granted."),
    (None, UNKNOWN_RECEIVER): (403, ""),
    (None, NO_EVENTS): (403, ""),
}  # fmt: skip
"""Transaction (None: any) and DIMSE status to HTTP status and Warning."""


def http_status(transact: Transact, status: int) -> tuple[int, str]:
    """Give the HTTP status and the text of the Warning that say over the web what a status says over DIMSE.

    Source
    ------
    PS3.18 Tables 11.4.3-1, 11.6.3-1, 11.7.3-1, 11.8.3-1, 11.10.3-1, 11.11.3-1, 11.12.3-1.
    """
    found = HTTP.get((transact, status)) or HTTP.get((None, status))
    return found or ((400, "") if failed(status) else (_OK.get(transact, 200), ""))


# --- what comes back -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """What a request to a work item came to.

    Attributes
    ----------
    uid : str
        The work item.
    status : int
        0000H, or a warning: a failure is raised as :class:`ServiceError`.
    remarks : tuple of str
        What was changed on the way, or said beside it.
    transaction_uid : str
        What a claim was made with: whoever has it owns the item.
    existed : bool
        Whether there was a subscription to be removed.
    """

    uid: str
    status: int = SUCCESS
    remarks: tuple[str, ...] = ()
    transaction_uid: str = ""
    existed: bool = True

    def __str__(self) -> str:
        return "; ".join((status_line(self.status), *self.remarks))


@dataclass(frozen=True, slots=True, repr=False)
class EventReport:
    """One event, for one receiver (an AE title).

    Attributes
    ----------
    uid : str
        Affected SOP Instance UID: the work item; for a status change of the SCP that of the worklist.
    event_type : int
        Event Type ID.
    information : Dataset
        The Event Information (PS3.4 Table CC.2.4-1).
    sequence : int
        Grows from event to event of one archive.
    """

    uid: str
    event_type: int
    information: Dataset
    receiver: str = ""
    sequence: int = 0

    @property
    def name(self) -> str:
        """What happened, in the standard's words."""
        return EVENTS.get(self.event_type, f"event {self.event_type}")

    def __repr__(self) -> str:
        state = self.information.get("ProcedureStepState", "") if self.event_type == STATE_REPORT else ""
        return f"<EventReport: {self.name}{f' {state}' if state in STATES else ''} of {self.uid}>"
