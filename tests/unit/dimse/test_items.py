"""Items of A-ASSOCIATE PDUs, against pynetdicom's encoder where it has one."""

from __future__ import annotations

import pytest
from pynetdicom.pdu_items import MaximumLengthSubItem, SCP_SCU_RoleSelectionSubItem

from dicomlab.dimse.items import Role, UserInformation, ascii_text, decode_user, encode_user, items, uid_text
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


@pytest.mark.parametrize(("octets", "text"), [(b"1.2\0", "1.2"), (b" 1.2 ", "1.2"), (b"", "")])
def test_padding_is_forgiven(octets: bytes, text: str) -> None:
    assert uid_text(memoryview(octets), 0) == text


@pytest.mark.parametrize("octets", [b"1" * 65, b"1\n2", b"1.\xe9"])
def test_what_is_no_uid_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="no UID"):
        uid_text(memoryview(octets), 0)


def test_an_ae_title_beyond_ascii_is_made_visible() -> None:
    assert ascii_text(b"PAC\xc4S           ") == "PAC�S"
