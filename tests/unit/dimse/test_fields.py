"""The fields of a PDU: what, where, and by which section; hostile octets are no error."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse import pdu
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.fields import pdu_fields, private_octets
from dicomlab.dimse.items import UserInformation
from dicomlab.dimse.reader import AssociationReader
from dicomlab.model.reading import Field

VECTORS = Path(__file__).parents[2] / "vectors" / "ul"
IMPLICIT = "1.2.840.10008.1.2"


def flat(fields: tuple[Field, ...]) -> list[Field]:
    return [one for field in fields for one in (field, *flat(field.children))]


def vector(name: str) -> bytes:
    return bytes.fromhex((VECTORS / f"{name}.bin").read_bytes().hex())


def test_every_field_of_a_request_says_where_it_lies() -> None:
    octets = vector("associate_rq")
    fields = {one.name: one for one in flat(pdu_fields(octets))}
    called = fields["Called-AE-title"]
    assert octets[called.start : called.end].strip() == b"PACS"
    assert (called.value, called.place, called.section) == ("PACS", "10–25", "PS3.8 §9.3.2")
    length = fields["Maximum Length"]
    assert int.from_bytes(octets[length.start + 4 : length.end], "big") == int(length.value)
    role = fields["SCP/SCU Role Selection"]
    assert role.meaning == "the requestor may be SCP"
    assert octets[role.start] == 0x54


def test_children_lie_within_their_field_and_in_order() -> None:
    for name in ("associate_rq", "associate_ac", "p_data_echo", "p_data_two_values"):
        for field in flat(pdu_fields(vector(name))):
            places = [(one.start, one.end) for one in field.children]
            assert places == sorted(places)
            assert all(field.start <= start < end <= field.end for start, end in places)


@pytest.mark.parametrize(
    ("name", "field", "meaning"),
    [
        ("associate_rj", "Reason", "called AE title not recognized (permanent)"),
        ("abort_provider", "Reason", "by the service provider: unexpected PDU"),
        ("p_data_echo", "(0000,0100) CommandField", "C-ECHO-RQ"),
        ("p_data_echo", "(0000,0800) CommandDataSetType", "no data set follows"),
        ("p_data_echo", "(0000,0002) AffectedSOPClassUID", "Verification SOP Class"),
        ("p_data_echo", "Message-control-header", "command, last fragment"),
    ],
)
def test_a_meaning_in_the_standards_words(name: str, field: str, meaning: str) -> None:
    assert {one.name: one.meaning for one in flat(pdu_fields(vector(name)))}[field] == meaning


def identifier(text: bytes = b"Doe^Jane") -> bytes:
    data = bytes.fromhex("10001000") + len(text).to_bytes(4, "little") + text
    data += bytes.fromhex("08005200 06000000") + b"STUDY "
    return pdu.data_header(1, pdu.LAST, len(data)) + data


def test_an_identifier_is_read_in_its_accepted_syntax_and_masked() -> None:
    octets = identifier()
    fields = {one.name: one for one in flat(pdu_fields(octets, {1: IMPLICIT}))}
    name = fields["(0010,0010) PatientName"]
    assert (name.value, name.identifying, name.shown(fictional=False)) == ("Doe^Jane", True, "•••")
    assert name.shown(fictional=True) == "Doe^Jane"
    assert fields["(0008,0052) QueryRetrieveLevel"].shown(fictional=False) == "STUDY"
    assert octets[name.start : name.end].endswith(b"Doe^Jane")
    [(start, end)] = private_octets(octets, {1: IMPLICIT})
    assert octets[start:end] == b"Doe^Jane"
    assert [octets[a:b] for a, b in private_octets(octets)] == [octets[12:]]  # in what syntax? nobody knows
    assert [octets[a:b] for a, b in private_octets(octets[:-3], {1: IMPLICIT})] == [b"Doe^Jane", octets[28:-3]]
    assert len(flat(pdu_fields(octets))) < len(flat(pdu_fields(octets, {1: IMPLICIT})))  # unknown syntax: not guessed


def test_a_user_identity_is_never_read_out() -> None:
    secret = b"s3cret"
    user = UserInformation(16384, "1.2", "X", other=((0x58, b"\x02\x00\x00\x04user" + b"\x00\x06" + secret),))
    octets = pdu.encode(pdu.AssociateRequest("A", "B", pdu.numbered([("1.2", (IMPLICIT,))]), user))
    fields = flat(pdu_fields(octets))
    assert any(one.name == "User Identity" and one.value == "•••" for one in fields)
    assert not any("s3cret" in one.value + one.meaning for one in fields)
    [(start, end)] = private_octets(octets)
    assert secret in octets[start:end]


@given(st.binary(max_size=120), st.integers(0, 9))
def test_nothing_makes_it_fail(octets: bytes, kind: int) -> None:
    for one in (octets, bytes([kind, 0]) + len(octets).to_bytes(4, "big") + octets):
        fields = flat(pdu_fields(one, dict.fromkeys(range(256), IMPLICIT)))
        assert all(0 <= field.start <= field.end <= max(len(one), 6) for field in fields)
        private_octets(one)
        assert AssociationReader()("received", one).text


@given(st.data())
def test_a_cut_pdu_shows_what_is_there(data: st.DataObject) -> None:
    octets = vector(data.draw(st.sampled_from(["associate_rq", "associate_ac", "p_data_two_values"])))
    cut = octets[: data.draw(st.integers(0, len(octets)))]
    whole = {one.name for one in flat(pdu_fields(octets))}
    assert {one.name for one in flat(pdu_fields(cut))} <= whole | {"Item"}


def test_a_reader_follows_the_state_table_and_the_contexts() -> None:
    reader = AssociationReader()
    command = encode_command(Command.of("C-FIND-RQ", data=True, MessageID=1, AffectedSOPClassUID="1.2"))
    accept = pdu.AssociateAccept("PACS", "LAB1", (pdu.AnsweredContext(1, 0, IMPLICIT),), UserInformation(16384, "1.2"))
    said = [
        reader("sent", vector("associate_rq")),
        reader("received", pdu.encode(accept)),
        reader("sent", pdu.data_header(1, pdu.COMMAND | pdu.LAST, len(command)) + command),
        reader("sent", identifier()),
        reader("sent", vector("release_rq")),
        reader("received", vector("release_rp")),
    ]
    assert [one.state.partition(" ")[0] for one in said] == ["Sta5", "Sta6", "Sta6", "Sta6", "Sta7", "Sta1"]
    assert "1 of 1 presentation context." in said[1].sentence
    assert said[2].sentence.startswith("C-FIND-RQ asks for matches")
    assert any(one.name == "(0010,0010) PatientName" for one in flat(said[3].fields))
    assert not any("Doe" in one.text + one.sentence for one in said)


def test_the_acceptors_side_has_its_own_states() -> None:
    reader = AssociationReader()
    states = [reader("received", vector("associate_rq")), reader("sent", vector("associate_rj"))]
    assert [one.state.partition(" ")[0] for one in states] == ["Sta3", "Sta13"]


def test_a_conversation_whose_start_is_lost_is_still_read() -> None:
    reader = AssociationReader()
    reading = reader("received", vector("p_data_echo"))
    assert (reading.state, reading.sentence) == (
        "",
        "C-ECHO-RQ asks whether the other side is there (Verification SOP Class).",
    )
