"""Command sets, against pynetdicom's encoder, pydicom's reader, and hypothesis."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from dicomlab.dimse.command import (
    MAX_COMMAND,
    Command,
    about_class,
    decode_command,
    encode_command,
    meaning_of,
)
from dicomlab.errors import LocalProtocolError, RemoteProtocolError

ECHO = bytes.fromhex(
    "0000000004000000380000000000020012000000312e322e3834302e31303030382e312e3100"
    "000000010200000030000000100102000000010000000008020000000101"
)
"""C-ECHO-RQ, message 1 (PS3.7 §9.3.5.1)."""


def test_an_echo_is_the_vector_both_ways() -> None:
    command = Command.of("C-ECHO-RQ", MessageID=1, AffectedSOPClassUID="1.2.840.10008.1.1")
    assert encode_command(command) == ECHO
    read = decode_command(ECHO)
    assert (read.name, read.number("MessageID"), read.has_data, read.is_response) == ("C-ECHO-RQ", 1, False, False)
    assert read.text("AffectedSOPClassUID") == "1.2.840.10008.1.1"


def test_every_field_is_read_by_others_as_it_was_written() -> None:
    command = Command.of(
        "C-STORE-RQ", data=True, MessageID=7, Priority=2, AffectedSOPClassUID="1.2.3", AffectedSOPInstanceUID="1.2.3.4",
        MoveOriginatorApplicationEntityTitle="LAB1", MoveOriginatorMessageID=9,
        AttributeIdentifierList=(0x00100010, 0x0020000D), ErrorComment="odd",
    )  # fmt: skip
    octets = encode_command(command)
    theirs = read_dataset(BytesIO(octets), is_implicit_VR=True, is_little_endian=True)
    assert theirs.CommandGroupLength == len(octets) - 12
    assert (theirs.CommandField, theirs.MessageID, theirs.Priority, theirs.CommandDataSetType) == (1, 7, 2, 0)
    assert (theirs.AffectedSOPInstanceUID, theirs.MoveOriginatorApplicationEntityTitle) == ("1.2.3.4", "LAB1")
    assert theirs.ErrorComment == "odd"
    tags = [int(element.tag) for element in theirs]
    assert tags == sorted(tags)
    read = decode_command(octets)
    assert read.fields == {**command.fields, "CommandGroupLength": len(octets) - 12}
    assert read.has_data


def test_a_response_answers_its_request() -> None:
    request = Command.of("C-FIND-RQ", data=True, MessageID=300, AffectedSOPClassUID="1.2.3")
    response = request.response(0xFF00, data=True)
    assert (response.name, response.status, response.has_data) == ("C-FIND-RSP", 0xFF00, True)
    assert response.number("MessageIDBeingRespondedTo") == 300
    assert response.text("AffectedSOPClassUID") == "1.2.3"


@pytest.mark.parametrize("uid", ["1.2.\xff", "1" * 65, "../x", ""])
def test_what_is_no_uid_is_not_sent_back(uid: str) -> None:
    asked = Command({"CommandField": 0x30, "MessageID": 7, "AffectedSOPClassUID": uid, "CommandDataSetType": 0x101})
    answer = decode_command(encode_command(asked.response(0x0122)))
    assert (answer.text("AffectedSOPClassUID"), answer.status) == ("", 0x0122)


def test_unknown_elements_are_passed_over_and_the_group_length_is_not_trusted() -> None:
    octets = bytearray(ECHO) + bytes.fromhex("0000 1050 02000000 0102")
    octets[8] = 0xFF
    assert decode_command(octets).name == "C-ECHO-RQ"


def test_elements_of_another_group_are_passed_over() -> None:
    """As Orthanc 1.10 sends them where a C-GET failed: (0008,0058) in the command set."""
    octets = ECHO + bytes.fromhex("0800 0000 04000000 0E000000 0800 5800 06000000 312E322E3300")
    assert decode_command(octets) == decode_command(ECHO)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (ECHO[:-4], "cut inside"),
        (ECHO[:-1], "is cut"),
        (ECHO[:-10], "no CommandDataSetType"),
        (ECHO[:-20] + ECHO[-10:], "no MessageID"),
        (
            ECHO.replace(bytes.fromhex("00000001020000003000"), bytes.fromhex("00000001020000003080")),
            "BeingRespondedTo",
        ),
        (ECHO + bytes.fromhex("0000 0009 01000000 00"), "a US of 1"),
        (ECHO + bytes.fromhex("0000 0109 02000000 0000"), "an AT of 2"),
        (b"", "no CommandField"),
        (bytes(MAX_COMMAND + 1), "command set of"),
    ],
)
def test_a_broken_one_is_refused(octets: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=why):
        decode_command(octets)


@pytest.mark.parametrize(
    "fields",
    [
        {"MessageID": 70000},
        {"MessageID": "1"},
        {"Colour": 1},
        {"AffectedSOPClassUID": 1},
        {"MoveDestination": "Ä"},
        {"MoveDestination": "A" * 17},
        {"AffectedSOPInstanceUID": "1" * 65},
    ],
)
def test_we_do_not_send_what_cannot_be(fields: dict[str, int | str]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_command(Command({**fields}))


def test_a_comment_is_cut_to_what_an_lo_holds() -> None:
    command = Command.of("C-ECHO-RSP", MessageIDBeingRespondedTo=1, Status=0, ErrorComment="ä" + "x" * 99)
    assert decode_command(encode_command(command)).text("ErrorComment") == "?" + "x" * 63


@given(st.binary(max_size=120))
def test_no_octets_fail_in_another_way(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        decode_command(octets)
    with suppress(RemoteProtocolError):
        decode_command(ECHO[: len(octets)] + octets)


def test_what_a_response_says_in_its_own_words() -> None:
    fields = {"MessageIDBeingRespondedTo": 1, "Status": 0xA900}
    assert Command.of("C-FIND-RSP", **fields).comment == ""
    said = Command.of("C-FIND-RSP", **fields, ErrorComment="no", OffendingElement=(0x00100010, 0x00080020))
    assert decode_command(encode_command(said)).comment == "no; offending: (0010,0010), (0008,0020)"


def test_what_an_action_and_an_event_are_about() -> None:
    """By the SOP Class: the numbers of one mean nothing in another."""
    ups, commitment = "1.2.840.10008.5.1.4.34.6.1", "1.2.840.10008.1.20.1"
    asked = Command.of("N-ACTION-RQ", MessageID=1, RequestedSOPClassUID=ups, ActionTypeID=1)
    assert asked.what == "Change UPS State"
    told = Command.of("N-EVENT-REPORT-RQ", MessageID=1, AffectedSOPClassUID=commitment, EventTypeID=2)
    assert told.what == "Storage Commitment Request Complete - Failures Exist"
    assert Command.of("N-ACTION-RQ", MessageID=1, RequestedSOPClassUID="1.2.3", ActionTypeID=9).what == "ActionTypeID 9"
    assert not Command.of("C-ECHO-RQ", MessageID=1).what
    assert meaning_of("EventTypeID", 3, ups) == "UPS Progress Report"
    assert not meaning_of("Priority", 1, ups)
    assert about_class("N-SET-RQ", ups, "1.2") == {"RequestedSOPClassUID": ups, "RequestedSOPInstanceUID": "1.2"}
    assert about_class("N-CREATE", ups) == {"AffectedSOPClassUID": ups}
