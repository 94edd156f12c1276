"""Event reports as a notification connection carries them, and what is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.workitem import EventReport
from dicomlab.model.workitems import dataset_of
from dicomlab.web.event_reports import event_from_json, event_to_json, is_ae_title
from dicomlab.web.fields import HttpReader
from dicomlab.web.frames import WebSocketReader, dissect_frames, frames

INFORMATION = dataset_of({"ProcedureStepState": "SCHEDULED", "InputReadinessState": "READY"})
EVENT = EventReport("1.2.3", 1, INFORMATION)


def test_an_event_as_the_standard_shows_it() -> None:
    model = event_to_json(EVENT, 23)
    assert model == {
        "00000002": {"vr": "UI", "Value": ["1.2.840.10008.5.1.4.34.6.1"]},
        "00000110": {"vr": "US", "Value": [23]},
        "00001000": {"vr": "UI", "Value": ["1.2.3"]},
        "00001002": {"vr": "US", "Value": [1]},
        "00404041": {"vr": "CS", "Value": ["READY"]},
        "00741000": {"vr": "CS", "Value": ["SCHEDULED"]},
    }
    again = event_from_json(json.dumps([model]).encode(), "LAB1")
    assert (again.uid, again.name, again.receiver) == ("1.2.3", "UPS State Report", "LAB1")
    assert again.information == INFORMATION
    assert repr(again) == "<EventReport: UPS State Report SCHEDULED of 1.2.3>"


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"[]", b"{}", b"nonsense", b"[{},{}]", b'{"00001000":{"vr":"UI","Value":["1.2"]}}',
        b'{"00001000":{"vr":"UI","Value":["1.2"]},"00001002":{"vr":"US","Value":[77]}}',
        b'{"00001000":{"vr":"UI","Value":[12]},"00001002":{"vr":"US","Value":[1]}}',
        b'{"00001000":{"vr":"UI","Value":["1.2"]},"00001002":{"vr":"US","Value":[true]}}',
        b'{"00001000":{"vr":"UI","Value":["1.2"]},"00001002":{"vr":"US","Value":[1]},"00741000":{"vr":"US","Value":["x"]}}',
    ],
)  # fmt: skip
def test_what_is_no_event(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        event_from_json(octets, "LAB1")


@pytest.mark.parametrize(
    ("title", "good"), [("LAB1", True), ("", False), ("  ", False), ("A" * 17, False), ("ä", False)]
)
def test_ae_titles(title: str, good: bool) -> None:
    assert is_ae_title(title) is good


def frame(payload: bytes, opcode: int = 1, mask: bytes = b"", fin: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | opcode])
    flag = 0x80 if mask else 0
    head += bytes([flag | size]) if size < 126 else bytes([flag | 126]) + size.to_bytes(2, "big")
    masked = bytes(one ^ mask[at % 4] for at, one in enumerate(payload)) if mask else payload
    return head + mask + masked


def test_frames_are_read_for_people() -> None:
    payload = json.dumps(event_to_json(EVENT, 1)).encode()
    octets = frame(payload) + frame(b"hi", 9, b"\1\2\3\4")
    assert dissect_frames(octets) == "frame: UPS State Report of 1.2.3; ping, 2 octets"
    first, second = frames(octets)
    assert (first.payload, second.payload, second.head) == (payload, b"hi", 6)
    reading = WebSocketReader()("received", octets)
    assert reading.sentence == "The server sends UPS State Report of 1.2.3 (PS3.18 §8.10.5)."
    names = {field.name: field.value for field in reading.fields[0].children}
    assert (names["Event Type ID"], names["ProcedureStepState"]) == ("1", "SCHEDULED")
    assert reading.private[0] == (first.head, first.head + len(payload)), "its octets may name somebody"
    request = b"GET /dicom-web/subscribers/LAB1 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n"
    assert WebSocketReader()("sent", request).fields[0].value == "GET"
    assert dissect_frames(request) == "GET: /dicom-web/subscribers/LAB1"


@given(st.binary(max_size=200))
def test_no_octets_stop_the_reader(octets: bytes) -> None:
    reading = WebSocketReader()("received", octets)
    assert isinstance(reading.text, str)
    for whole in reading.fields:
        assert 0 <= whole.start <= whole.end <= len(octets) + 14
    assert dissect_frames(octets)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("PUT /rs/workitems/1.2/state", "changes the state of a work item (PUT, PS3.18 §11.7)"),
        ("POST /rs/workitems?1.2", "creates a work item (POST, PS3.18 §11.4)"),
        ("POST /rs/workitems/1.2?1.3", "updates a work item (POST, PS3.18 §11.6)"),
        ("GET /rs/workitems?PatientID=X", "searches for work items (GET, PS3.18 §11.9)"),
        ("DELETE /rs/workitems/1.2/subscribers/LAB1", "ends a subscription to events (DELETE, PS3.18 §11.11)"),
        ("GET /rs/subscribers/LAB1", "opens a notification connection (GET, PS3.18 §8.10.4)"),
        ("POST /rs/commitment-requests/1.2", "requests storage commitment (POST, PS3.18 §13)"),
        ("GET /rs/studies", "asks for a representation of a resource (GET, PS3.18 §8.1)"),
    ],
)
def test_a_request_says_what_it_is_for(line: str, words: str) -> None:
    reading = WebSocketReader()("sent", f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode()) if "GET" in line else None
    reading = reading or HttpReader()("sent", f"{line} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert reading.sentence == f"The client {words}."
    parameters = reading.fields[1].children
    if "?1." in line:
        assert parameters[0].meaning == "the work item, or its Transaction UID"
