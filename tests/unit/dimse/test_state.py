"""The state table, against pynetdicom's and by some walks."""

from __future__ import annotations

import pytest
from pynetdicom.fsm import TRANSITION_TABLE

from dicomlab.dimse.state import NEXT, TRANSITIONS, Event, State, follow
from dicomlab.errors import LocalProtocolError


def test_the_table_is_the_one_that_others_know() -> None:
    ours = {(f"Evt{event.value}", f"Sta{state.value}"): action for (event, state), action in TRANSITIONS.items()}
    assert ours == TRANSITION_TABLE


def test_every_action_leads_somewhere() -> None:
    assert {*TRANSITIONS.values()} - {*NEXT} == {"AR-8"}


@pytest.mark.parametrize(
    ("requestor", "events", "end"),
    [
        (True, "ASSOCIATE_REQUEST TRANSPORT_CONFIRMED AC_RECEIVED DATA_REQUEST DATA_RECEIVED RELEASE_REQUEST", 7),
        (True, "ASSOCIATE_REQUEST TRANSPORT_CONFIRMED RJ_RECEIVED", 1),
        (False, "TRANSPORT_INDICATION RQ_RECEIVED ACCEPT RELEASE_RQ_RECEIVED RELEASE_RESPONSE TRANSPORT_CLOSED", 1),
        (False, "TRANSPORT_INDICATION DATA_RECEIVED", 13),
        (False, "TRANSPORT_INDICATION RQ_RECEIVED REJECT ARTIM_EXPIRED", 1),
        (True, "ASSOCIATE_REQUEST TRANSPORT_CONFIRMED AC_RECEIVED RQ_RECEIVED", 13),
        (True, "ASSOCIATE_REQUEST TRANSPORT_CONFIRMED AC_RECEIVED ABORT_RECEIVED", 1),
    ],
)
def test_a_conversation_ends_where_it_must(requestor: bool, events: str, end: int) -> None:
    state = State.IDLE
    for name in events.split():
        _, state = follow(state, Event[name], requestor=requestor)
    assert state == end


def test_when_both_ask_for_release_the_requestor_answers_first() -> None:
    assert follow(State.AWAITING_RELEASE_RP, Event.RELEASE_RQ_RECEIVED) == ("AR-8", State.COLLISION_REQUESTOR_LOCAL)
    assert follow(State.AWAITING_RELEASE_RP, Event.RELEASE_RQ_RECEIVED, requestor=False)[1] == 10
    assert follow(State.COLLISION_REQUESTOR_LOCAL, Event.RELEASE_RESPONSE) == ("AR-9", State.COLLISION_REQUESTOR_RP)
    assert follow(State.COLLISION_REQUESTOR_RP, Event.RELEASE_RP_RECEIVED) == ("AR-3", State.IDLE)


def test_what_cannot_happen_is_our_mistake() -> None:
    with pytest.raises(LocalProtocolError, match="Sta1 idle"):
        follow(State.IDLE, Event.DATA_REQUEST)
    assert State.DATA_TRANSFER.text.startswith("Sta6 association established")
