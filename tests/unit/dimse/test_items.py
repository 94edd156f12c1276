"""Items of A-ASSOCIATE PDUs, against pynetdicom's encoder where it has one."""

from __future__ import annotations

import pytest
from pynetdicom.pdu_items import (
    MaximumLengthSubItem,
    SCP_SCU_RoleSelectionSubItem,
    SOPClassCommonExtendedNegotiationSubItem,
    UserIdentitySubItemAC,
    UserIdentitySubItemRQ,
)

from dicomlab.dimse.items import (
    MAX_ITEMS,
    CommonExtended,
    Identity,
    Role,
    UserInformation,
    ascii_text,
    decode_user,
    encode_user,
    items,
    uid_text,
)
from dicomlab.errors import RemoteProtocolError


def test_an_item_is_written_as_others_write_it() -> None:
    role = SCP_SCU_RoleSelectionSubItem()
    role.sop_class_uid, role.scu_role, role.scp_role = "1.2.840.10008.5.1.4.1.1.2", 0, 1
    length = MaximumLengthSubItem()
    length.maximum_length_received = 16384
    ours = encode_user(UserInformation(16384, "1.2", roles=(Role("1.2.840.10008.5.1.4.1.1.2", scu=False, scp=True),)))
    found = {kind: bytes(body) for kind, _, body in items(memoryview(ours), 0, 0, "")}
    assert length.encode()[4:] == found[0x51]
    assert role.encode()[4:] == found[0x54]


def test_nothing_said_is_nothing_assumed() -> None:
    assert decode_user(memoryview(b""), 0) == UserInformation()


def test_items_are_counted_from_the_start_of_the_pdu() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        list(items(memoryview(b"\x51\0\0\x04\0\0\0\1\x52\0\0\x09abc"), 0, 100, "PS3.7 §D.3.3"))
    assert caught.value.offset == 110


def test_items_are_counted() -> None:
    """A mebibyte of them would become a hundred mebibytes of objects."""
    assert len(list(items(memoryview(b"\x40\0\0\0" * MAX_ITEMS), 0, 0, "PS3.8 §9.3.2"))) == MAX_ITEMS
    with pytest.raises(RemoteProtocolError, match="more than 1024 items"):
        list(items(memoryview(b"\x40\0\0\0" * (MAX_ITEMS + 1)), 0, 0, "PS3.8 §9.3.2"))


@pytest.mark.parametrize(("octets", "text"), [(b"1.2\0", "1.2"), (b" 1.2 ", "1.2"), (b"", "")])
def test_padding_is_forgiven(octets: bytes, text: str) -> None:
    assert uid_text(memoryview(octets), 0) == text


@pytest.mark.parametrize("octets", [b"1" * 65, b"1\n2", b"1.\xe9"])
def test_what_is_no_uid_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no UID"):
        uid_text(memoryview(octets), 0)


def test_an_ae_title_beyond_ascii_is_made_visible() -> None:
    assert ascii_text(b"PAC\xc4S           ") == "PAC�S"


CT, STORAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.4.2"


def found(user: UserInformation) -> dict[int, bytes]:
    return {kind: bytes(body) for kind, _, body in items(memoryview(encode_user(user)), 0, 0, "")}


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("wants_answer", [True, False])
def test_who_the_user_is_is_read_by_others(kind: int, wants_answer: bool) -> None:
    who = Identity(kind, b"primary", b"secondary" if kind == 2 else b"", wants_answer)
    theirs = UserIdentitySubItemRQ()
    theirs.decode(b"\x58\0" + len(found(UserInformation(identity=who))[0x58]).to_bytes(2, "big")
                  + found(UserInformation(identity=who))[0x58])  # fmt: skip
    assert (theirs.user_identity_type, theirs.primary_field) == (kind, b"primary")
    assert theirs.positive_response_requested == wants_answer
    assert theirs.secondary_field == who.secondary
    assert decode_user(memoryview(theirs.encode()), 0).identity == who
    assert who.user == ("primary" if kind < 3 else "")


def test_the_answer_to_it_is_read_by_others() -> None:
    theirs = UserIdentitySubItemAC()
    theirs.decode(encode_user(UserInformation(identity_answer=b"ticket"))[12:])
    assert theirs.server_response == b"ticket"
    assert decode_user(memoryview(theirs.encode()), 0).identity_answer == b"ticket"


def test_common_extended_negotiation_is_read_by_others() -> None:
    one = CommonExtended("1.2.3.4", STORAGE, (CT, "1.2.3"))
    theirs = SOPClassCommonExtendedNegotiationSubItem()
    theirs.decode(encode_user(UserInformation(common=(one,)))[12:])
    assert (theirs.sop_class_uid, theirs.service_class_uid) == ("1.2.3.4", STORAGE)
    assert theirs.related_general_sop_class_identification == [CT, "1.2.3"]
    assert decode_user(memoryview(theirs.encode()), 0).common == (one,)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x58\0\0\0", b"\x58\0\0\1\1", b"\x58\0\0\4\1\0\0\5", b"\x58\0\0\6\1\0\0\0\0\1",
        b"\x59\0\0\2\0\1", b"\x57\0\0\2\0\1", b"\x57\0\0\x08\0\0\0\0\0\2\0\1",
    ],
)  # fmt: skip
def test_a_field_beyond_its_item_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="longer than its item"):
        decode_user(memoryview(octets), 0)
