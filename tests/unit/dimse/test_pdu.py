"""PDUs: vectors written by hand from the standard, broken ones, round trips, and whatever hypothesis thinks of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.dimse import pdu
from dicomlab.dimse.items import CommonExtended, Extended, Identity, Role, UserInformation
from dicomlab.errors import RemoteProtocolError

VECTORS = Path(__file__).parents[2] / "vectors" / "ul"
CT = "1.2.840.10008.5.1.4.1.1.2"
USER = UserInformation(
    16384,
    "1.2.826.0.1.3680043.9.9",
    "OTHER_1",
    (1, 1),
    (Role(CT, scu=False, scp=True),),
    (Extended(CT, b"\2\0"),),
    identity=Identity(1, b"user"),
    other=((0x77, b"new"),),
)
VERIFICATION = pdu.ProposedContext(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1"))
READ = {
    "associate_rq": pdu.AssociateRequest(
        "PACS", "LAB1", (VERIFICATION, pdu.ProposedContext(3, CT, ("1.2.840.10008.1.2.1",))), USER
    ),
    "associate_ac": pdu.AssociateAccept(
        "PACS", "LAB1", (pdu.AnsweredContext(1, 0, "1.2.840.10008.1.2"), pdu.AnsweredContext(3, 3, "")), USER
    ),
    "associate_rj": pdu.AssociateReject(1, 1, 7),
    "release_rq": pdu.ReleaseRequest(),
    "release_rp": pdu.ReleaseReply(),
    "abort_provider": pdu.Abort(2, 2),
    "reserved_octets_set": pdu.ReleaseRequest(),
}


def vector(name: str) -> bytes:
    return (VECTORS / f"{name}.bin").read_bytes()


@pytest.mark.parametrize("name", READ)
def test_a_vector_reads_as_the_standard_says(name: str) -> None:
    assert pdu.decode(vector(name)) == READ[name]


@pytest.mark.parametrize("name", ["associate_rj", "release_rq", "release_rp", "abort_provider"])
def test_a_value_is_written_as_the_vector(name: str) -> None:
    assert pdu.encode(READ[name]) == vector(name)


@pytest.mark.parametrize("name", READ)
def test_what_was_read_is_written_and_read_again(name: str) -> None:
    assert pdu.decode(pdu.encode(READ[name])) == READ[name]


def test_p_data_is_given_value_by_value() -> None:
    values = pdu.decode(vector("p_data_two_values")).values
    assert [(v.context_id, v.control, len(v.fragment)) for v in values] == [(1, 3, 68), (1, 0, 3)]
    assert bytes(values[1].fragment) == b"abc"
    assert pdu.encode(pdu.DataTransfer(values)) == vector("p_data_two_values")
    one = pdu.decode(vector("p_data_echo")).values[0]
    assert pdu.data_header(1, 3, len(one.fragment)) + bytes(one.fragment) == vector("p_data_echo")


def test_words_for_what_was_declined() -> None:
    assert pdu.AssociateReject(1, 1, 7).meaning == "called AE title not recognized (permanent)"
    assert pdu.AssociateReject(2, 3, 9).meaning == "reserved reason 3/9 (transient)"
    assert pdu.Abort(2, 2).meaning == "by the service provider: unexpected PDU"
    assert pdu.Abort(0, 2).meaning == "by the service user"
    assert pdu.AnsweredContext(1, 3, "").meaning == "abstract syntax not supported"


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("bad_type", 0), ("bad_length_short", 2), ("bad_length_rj", 2), ("bad_item_beyond_pdu", 76),
        ("bad_context_cut", 103), ("bad_context_no_abstract", 103), ("bad_ac_no_transfer", 103), ("bad_role_uid", None),
        ("bad_max_length", None), ("bad_value_too_long", 6), ("bad_value_too_short", 6), ("bad_associate_cut", 10),
        ("bad_uid_too_long", 111),
    ],
)  # fmt: skip
def test_a_broken_one_is_refused_at_its_octet(name: str, offset: int | None) -> None:
    with pytest.raises(RemoteProtocolError, match=r"PS3\.") as caught:
        pdu.decode(vector(name))
    if offset is not None:
        assert caught.value.offset == offset


def test_every_vector_is_tried() -> None:
    names = {path.stem for path in VECTORS.glob("*.bin")}
    assert {n for n in names if not n.startswith("bad_")} == {*READ, "p_data_echo", "p_data_two_values"}
    assert all((VECTORS / f"{name}.txt").read_text().strip() for name in names)


@pytest.mark.parametrize(
    ("octets", "hint"), [(b"\x15\3\1\0\2\2", "TLS"), (b"HTTP/1", "HTTP"), (b"\x04\0\0\x02\0\1", "131073")]
)
def test_a_header_that_must_not_be_read_on(octets: bytes, hint: str) -> None:
    with pytest.raises(RemoteProtocolError, match=hint):
        pdu.decode_header(octets, 131_072)


@pytest.mark.parametrize(("kind", "limit"), [(1, 1 << 20), (2, 1 << 20), (3, 4), (4, 4096), (5, 4), (6, 4), (7, 4)])
def test_lengths_have_caps(kind: int, limit: int) -> None:
    assert pdu.decode_header(bytes([kind, 0]) + limit.to_bytes(4, "big"), 4096) == (kind, limit)
    with pytest.raises(RemoteProtocolError) as caught:
        pdu.decode_header(bytes([kind, 0]) + (limit + 1).to_bytes(4, "big"), 4096)
    assert caught.value.offset == 2


def test_more_than_128_contexts_are_refused() -> None:
    contexts = pdu.numbered([("1.2", ("1.3",))] * 127)
    assert contexts[-1].id == 253
    many = (*contexts, pdu.ProposedContext(255, "1.2", ("1.3",)), pdu.ProposedContext(1, "1.2", ("1.3",)))
    assert len(pdu.decode(pdu.encode(pdu.AssociateRequest("A", "B", many[:128], USER))).contexts) == 128
    with pytest.raises(RemoteProtocolError, match="129"):
        pdu.decode(pdu.encode(pdu.AssociateRequest("A", "B", many, USER)))


@given(st.binary(max_size=200), st.sampled_from(range(1, 8)))
def test_no_octets_fail_in_another_way(octets: bytes, kind: int) -> None:
    whole = bytes([kind, 0]) + len(octets).to_bytes(4, "big") + octets
    with suppress(RemoteProtocolError):
        pdu.decode(whole)
    with suppress(RemoteProtocolError):
        pdu.decode(octets)


@given(st.sampled_from(["associate_rq", "associate_ac", "p_data_two_values"]), st.data())
def test_no_mutation_fails_in_another_way(name: str, data: st.DataObject) -> None:
    octets = bytearray(vector(name))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(6, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        pdu.decode(octets)


@pytest.mark.parametrize("name", sorted(READ))
def test_every_cut_is_seen(name: str) -> None:
    whole = vector(name)
    for end in range(len(whole)):
        with pytest.raises(RemoteProtocolError):
            pdu.decode(whole[:end])


UIDS = st.from_regex(r"[0-2](\.[1-9][0-9]{0,5}){1,6}", fullmatch=True)


@given(
    st.lists(st.tuples(UIDS, st.lists(UIDS, min_size=1, max_size=4).map(tuple)), min_size=1, max_size=8),
    st.integers(0, 2**32 - 1),
)
def test_any_request_survives_the_wire(contexts: list[tuple[str, tuple[str, ...]]], max_pdu: int) -> None:
    request = pdu.AssociateRequest("PACS", "LAB 1", pdu.numbered(contexts), UserInformation(max_pdu, "1.2"))
    assert pdu.decode(pdu.encode(request)) == request


SECRETS = [
    (Identity(2, b"name", b"s3cret"), [b"s3cret"], b"name"),
    (Identity(3, b"s3cret-ticket"), [b"s3cret-ticket"], b""),
    (Identity(4, b"<s3cret/>"), [b"<s3cret/>"], b""),
    (Identity(5, b"s3c.ret.jwt"), [b"s3c.ret.jwt"], b""),
    (Identity(1, b"name"), [], b"name"),
]


@pytest.mark.parametrize(("who", "hidden", "shown"), SECRETS)
def test_what_is_kept_of_a_pdu_holds_no_secret(who: Identity, hidden: list[bytes], shown: bytes) -> None:
    user = UserInformation(0, "1.2.3", identity=who, common=(CommonExtended("1.2", "1.3"),))
    whole = pdu.encode(pdu.AssociateRequest("PACS", "LAB1", (VERIFICATION,), user))
    kept = bytes(pdu.without_secrets(whole))
    assert len(kept) == len(whole)
    for secret in hidden:
        assert secret in whole
        assert secret not in kept
    assert shown in kept
    read = pdu.decode(kept)
    assert isinstance(read, pdu.AssociateRequest)
    assert read.contexts == (VERIFICATION,)
    assert "s3cret" not in repr(user) + repr(read) + repr(who)
    for at in range(80, len(whole)):  # however it is cut
        assert not any(secret in bytes(pdu.without_secrets(whole[:at])) for secret in hidden)


def test_an_answer_to_an_identity_is_no_secret_kept_either() -> None:
    user = UserInformation(0, "1.2.3", identity_answer=b"s3cret-of-the-server")
    whole = pdu.encode(pdu.AssociateAccept("PACS", "LAB1", (), user))
    assert b"s3cret" in whole
    assert b"s3cret" not in bytes(pdu.without_secrets(whole))
    assert "s3cret" not in repr(user)
    data = pdu.data_header(1, 2, 4) + b"data"
    assert pdu.without_secrets(data) is data


@given(st.binary(max_size=300))
def test_whatever_comes_can_be_kept(octets: bytes) -> None:
    for start in (b"", b"\1" + bytes(73) + b"\x50\0"):
        assert len(pdu.without_secrets(start + octets)) == len(start + octets)


def test_an_association_without_an_identity_is_kept_as_it_is_and_of_an_unreadable_one_no_more_than_may_be_shown() -> (
    None
):
    whole = pdu.encode(pdu.AssociateRequest("X-RAY", "LAB1", (VERIFICATION,), UserInformation(0, "1.2.3")))
    assert pdu.without_secrets(whole) is whole
    fixed, secret = whole[:74], b"\x50\0\xff\xff\x58\0\0\x0c\2\0\0\4name\0\6s3cret"
    assert bytes(pdu.without_secrets(fixed + secret)) == fixed + bytes(len(secret))
