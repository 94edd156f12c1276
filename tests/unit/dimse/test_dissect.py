"""One line for each PDU: what it says, never a patient's value, never an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.dissect import dissect

VECTORS = Path(__file__).parents[2] / "vectors" / "ul"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        (
            "associate_rq",
            "A-ASSOCIATE-RQ: LAB1 -> PACS, 2 contexts for Verification SOP Class, CT Image Storage, SCP role asked for 1,"
            " max PDU 16384",
        ),
        ("associate_ac", "A-ASSOCIATE-AC: 1 of 2 contexts accepted, by OTHER_1, max PDU 16384"),
        ("associate_rj", "A-ASSOCIATE-RJ: called AE title not recognized (permanent)"),
        ("p_data_echo", "C-ECHO-RQ: Verification SOP Class, message 1"),
        (
            "p_data_two_values",
            "C-ECHO-RQ: Verification SOP Class, message 1; P-DATA-TF: 3 octets of data set on context 1",
        ),
        ("release_rq", "A-RELEASE-RQ"),
        ("abort_provider", "A-ABORT: by the service provider: unexpected PDU"),
    ],
)
def test_a_pdu_in_one_line(name: str, line: str) -> None:
    assert dissect((VECTORS / f"{name}.bin").read_bytes()) == line


def test_a_move_says_where_to_and_how_far() -> None:
    request = Command.of("C-MOVE-RQ", data=True, MessageID=2, MoveDestination="LAB1", AffectedSOPClassUID="1.2")
    counts = {f"NumberOf{what}Suboperations": n for n, what in enumerate(["Remaining", "Completed", "Failed"], 1)}
    for command, line in (
        (request, "C-MOVE-RQ: 1.2, to LAB1, message 2"),
        (
            request.response(0xFF00, **counts),
            "C-MOVE-RSP: 1.2, status FF00H, 1 remaining, 2 completed, 3 failed, message 2",
        ),
    ):
        octets = encode_command(command)
        assert dissect(pdu.data_header(1, 3, len(octets)) + octets) == line


def test_a_query_shows_no_value() -> None:
    secret = b"Doe^Jane"
    assert "Doe" not in dissect(pdu.data_header(1, 2, len(secret)) + secret)


def test_a_capped_event_still_has_its_kind() -> None:
    octets = pdu.data_header(1, 0, 100_000) + bytes(1000)
    assert dissect(octets).startswith("P-DATA-TF: 100000 octets")
    assert dissect((VECTORS / "associate_rq.bin").read_bytes()[:80]).startswith("A-ASSOCIATE-RQ: ")


@given(st.binary(max_size=100), st.integers(0, 9))
def test_it_never_fails(octets: bytes, kind: int) -> None:
    assert dissect(octets)
    assert dissect(bytes([kind, 0]) + len(octets).to_bytes(4, "big") + octets)
