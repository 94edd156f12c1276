"""What is agreed on before anything is done: extended negotiation, users, allow-lists, SOP Classes that few know."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation, UserIdentityNegotiation
from pynetdicom.sop_class import Verification

import dicomlab
from dicomlab import Node
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command
from dicomlab.dimse.identifier import keys_of
from dicomlab.dimse.items import CommonExtended, Extended, Identity, UserInformation
from dicomlab.dimse.listener import Caller, Terms
from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.dimse.secure import security_of
from dicomlab.errors import Interrupted, Refused, UsageError
from dicomlab.model.columns import column
from tests.peers.certificates import Certificates
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import EXPLICIT, IMPLICIT
from tests.unit.dimse.scripted import Script, playing

FIND, GET = tables.MODELS["study", "FIND"], tables.MODELS["study", "GET"]


# --- extended negotiation --------------------------------------------------------------------------------------------


def test_what_is_granted_is_told_and_used(filled: Pacs) -> None:
    with dicomlab.trace() as wire:
        found = filled.node.find("instance", relational=True, fuzzy=True, PatientID="P2", progress=False)
    assert found.granted == found[:2].granted == {"relational"}
    assert "granted  relational" in repr(found)
    assert len(found) == 6
    assert wire.counts()["C-FIND-RQ"] == 1  # all at once, where a baseline peer is asked level by level
    with dicomlab.trace() as wire:
        same = filled.node.find("instance", PatientID="P2", progress=False)
    assert same.granted == frozenset()
    assert wire.counts()["C-FIND-RQ"] > 1
    assert same["SOPInstanceUID"].tolist() == found["SOPInstanceUID"].tolist()


def test_a_list_means_any_of_its_values_whatever_is_granted(filled: Pacs) -> None:
    """Where multiple value matching is granted, a list would mean all of them (PS3.4 §C.2.2.2.8)."""
    with dicomlab.trace() as wire:
        found = filled.node.find("study", multiple=True, PatientID=["P1", "P2"], progress=False)
    assert found.granted == frozenset()  # what the archive does with a list is something else
    assert wire.counts()["C-FIND-RQ"] == 2
    assert len(found) == 3


def test_a_list_is_asked_value_by_value_where_it_would_mean_all_of_them() -> None:
    heard: list[str] = []

    def play(script: Script) -> None:
        user = script.answer().user
        script.send(replace(script.accept, user=replace(script.accept.user, extended=user.extended)))
        for _ in range(2):
            command, data = script.message()
            heard.append(dict(keys_of(data, EXPLICIT))[column("PatientID").path])
            script.say(command.response(0))
        script.release()

    with playing(play) as address:
        found = Node(address).find("study", multiple=True, PatientID=["P1", "P2"], progress=False)
    assert found.granted == {"multiple"}
    assert heard == ["P1", "P2"]


def test_a_node_asks_in_every_query_unless_told_otherwise(filled: Pacs) -> None:
    node = Node(str(filled.node.address), me="LAB1", extended=["relational"])
    assert node.find("series", progress=False).granted == {"relational"}
    assert node.find("series", relational=False, progress=False).granted == frozenset()
    with pytest.raises(UsageError, match="extended takes names"):
        Node("PACS@localhost", extended=["psychic"])
    with pytest.raises(UsageError, match="no option 'psychic'"):
        node.find("series", psychic=True)


def test_upper_keys_are_needed_without_a_grant(filled: Pacs) -> None:
    keys = b"\x08\0\x52\0CS\6\0IMAGE "
    for options, status in ((b"", 0xA900), (b"\1", 0xFF00)):
        peer = filled.node._peer
        asked = pdu.numbered([(FIND, (EXPLICIT,))])
        extended = (Extended(FIND, options),) if options else ()
        with peer.associate([Proposal(FIND, (EXPLICIT,))]) as association:
            association.abort()
        with _raw(filled, asked, UserInformation(0, "1.2", extended=extended)) as script:
            script.say(_find(FIND), keys + b"\x20\0\x0d\0UI\0\0")
            command, _ = script.message()
            assert command.status == status
            accept = script.heard[0]
            assert isinstance(accept, pdu.AssociateAccept)
            assert accept.user.extended == extended


def test_a_relational_retrieve_needs_no_upper_keys(filled: Pacs) -> None:
    asked = pdu.numbered([(GET, (EXPLICIT,))])
    keys = b"\x08\0\x18\0UI\x0c\x001.2.3.1.1.1\0" + b"\x08\0\x52\0CS\6\0IMAGE "
    for options, status in ((b"\0", 0xA900), (b"\1", 0xFF00)):
        with _raw(filled, asked, UserInformation(0, "1.2", extended=(Extended(GET, options),))) as script:
            script.say(_find(GET, "C-GET-RQ"), keys)
            command, _ = script.message()
            assert command.status == status  # pending: no context for the instance, which is another matter


def test_what_a_peer_does_not_grant_is_not_used() -> None:
    def play(script: Script) -> None:
        request = script.establish()
        assert request.user.extended == (Extended(FIND, b"\1\0\0\1"),)
        command, _ = script.message()
        script.say(command.response(0))
        script.release()

    with playing(play) as address, dicomlab.trace() as wire:
        found = Node(address).find("study", relational=True, timezone=True, progress=False)
    assert found.granted == frozenset()
    assert "not granted for C-FIND: relational, timezone" in str(wire)


def test_the_time_zone_goes_along_where_it_is_granted() -> None:
    heard: list[bytes] = []

    def play(script: Script) -> None:
        script.answer()
        user = UserInformation(0, "1.2.3", extended=(Extended(FIND, b"\0\0\0\1"),))
        script.send(pdu.AssociateAccept("PACS", "X", script.accept.contexts, user))
        command, data = script.message()
        heard.append(data)
        script.say(command.response(0))
        script.release()

    with playing(play) as address:
        assert Node(address).find("study", timezone=True, progress=False).granted == {"timezone"}
    at = heard[0].index(b"\x08\0\x01\x02SH")
    assert heard[0][at + 8 : at + 9] in b"+-"


def test_pynetdicom_asks_and_reads_what_is_granted(filled: Pacs) -> None:
    asked = SOPClassExtendedNegotiation()
    asked.sop_class_uid, asked.service_class_application_information = FIND, b"\1\1\1"
    ae = AE("LAB1")
    ae.add_requested_context(FIND)
    association = ae.associate("127.0.0.1", filled.listener.port, ae_title="PACS", ext_neg=[asked])
    assert association.acceptor.sop_class_extended == {FIND: b"\1\0\0"}
    query = Dataset()
    query.QueryRetrieveLevel, query.SOPInstanceUID, query.PatientID = "IMAGE", "", "P2"
    answers = [status.Status for status, _ in association.send_c_find(query, FIND)]
    association.release()
    assert answers == [0xFF00] * 6 + [0]


# --- SOP Classes that few know ---------------------------------------------------------------------------------------


def test_a_private_class_of_storage_is_taken_by_its_service_class(start: Callable[..., Pacs]) -> None:
    pacs = start()
    private = "1.2.826.0.1.3680043.9.3811.99"
    asked = pdu.numbered([(private, (EXPLICIT,)), ("1.2.3.4.5", (EXPLICIT,))])
    user = UserInformation(0, "1.2", common=(CommonExtended(private, tables.STORAGE_SERVICE_CLASS),))
    with _raw(pacs, asked, user) as script:
        accept = script.heard[0]
        assert isinstance(accept, pdu.AssociateAccept)
        assert [one.result for one in accept.contexts] == [0, 3]
        script.say(
            Command.of("C-STORE-RQ", data=True, MessageID=1, AffectedSOPClassUID=private,
                       AffectedSOPInstanceUID="1.2.3.77", Priority=0),
            b"\x08\0\x18\0UI\x08\x001.2.3.77",
        )  # fmt: skip
        command, _ = script.message()
        assert command.status == 0
    assert [path.name for path in pacs.holdings.files()] == ["1.2.3.77.dcm"]


# --- who may come ----------------------------------------------------------------------------------------------------


def test_callers_and_hosts(start: Callable[..., Pacs]) -> None:
    pacs = start(terms=Terms(callers=["LAB1"], hosts=["127.0.0.0/8"]))
    assert pacs.node.verify()
    stranger = Node(str(pacs.node.address), me="OTHER")
    with pytest.raises(Refused, match="register the AE title OTHER") as caught:
        stranger.find("study", progress=False)
    assert not caught.value.transient
    elsewhere = start(terms=Terms(hosts=["10.0.0.0/8", "127.0.0.9"]))
    assert not elsewhere.node.verify()


@pytest.mark.parametrize(
    "terms",
    [{"hosts": ["pacs"]}, {"hosts": "10.0.0.1"}, {"callers": "LAB1"}, {"max_associations": 0}, {"timeout_s": 0}],
)
def test_terms_that_can_t_be(terms: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Terms(**terms)


# --- users -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def guarded(start: Callable[..., Pacs], certificates: Certificates) -> tuple[Pacs, list[Identity | None]]:
    """An archive over TLS that knows one user."""
    seen: list[Identity | None] = []

    def known(identity: Identity | None, caller: Caller) -> bool | bytes:
        assert caller.encrypted
        seen.append(identity)
        if identity is None:
            return False
        return b"welcome" if identity.kind > 2 else (identity.user, identity.passcode) == ("name", "s3cret")

    tls = security_of(certificates.mutual(certificates.server))
    return start(*cohort(), security=tls, terms=Terms(on_identity=known)), seen


def test_a_user_that_is_known_comes_in(
    guarded: tuple[Pacs, list[Identity | None]], certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    pacs, seen = guarded
    caplog.set_level(logging.DEBUG)
    tls = certificates.mutual(certificates.client)
    node = Node(str(pacs.node.address), me="LAB1", tls=tls, user=("name", "s3cret"))
    with dicomlab.trace() as wire:
        assert len(node.find("study", progress=False)) == 3
    assert seen == [Identity(2, b"name", b"s3cret")]
    kept = b"".join(event.octets for event in wire)
    assert b"name" in kept
    assert b"s3cret" not in kept
    shown = repr(node) + str(wire) + repr(seen) + repr(vars(node)) + repr(node._peer) + caplog.text
    assert "s3cret" not in shown


@pytest.mark.parametrize("user", [None, "name", ("name", "wrong")])
def test_a_user_that_is_not_known_is_rejected(
    guarded: tuple[Pacs, list[Identity | None]], certificates: Certificates, user: Any
) -> None:
    pacs, _ = guarded
    node = Node(str(pacs.node.address), me="LAB1", tls=certificates.mutual(certificates.client), user=user)
    with pytest.raises(Refused, match="does it know the user" if user else "log may say why"):
        node.find("study", progress=False)


@pytest.mark.parametrize("kind", ["kerberos", "saml", "jwt"])
def test_an_answer_to_a_ticket_comes_back(
    guarded: tuple[Pacs, list[Identity | None]], certificates: Certificates, kind: str
) -> None:
    pacs, _ = guarded
    who = Identity({"kerberos": 3, "saml": 4, "jwt": 5}[kind], b"ticket", wants_answer=True)
    node = Node(str(pacs.node.address), me="LAB1", tls=certificates.mutual(certificates.client), user=who)
    with node._peer.associate([Proposal(tables.VERIFICATION, (IMPLICIT,))]) as association:
        assert association.peer.identity_answer == b"welcome"


def test_no_user_without_tls_unless_forced(filled: Pacs) -> None:
    with pytest.raises(UsageError, match="plaintext"):
        Node(str(filled.node.address), user=("name", "s3cret"))
    forced = Node(str(filled.node.address), user=("name", "s3cret"), force_plaintext_user=True)
    assert forced.verify()


def test_a_profile_has_tls_and_says_where_the_user_is(
    guarded: tuple[Pacs, list[Identity | None]],
    certificates: Certificates,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pacs, seen = guarded
    (cert, key), ca = certificates.client, certificates.ca
    (tmp_path / "dicomlab.toml").write_text(
        f'[node.pacs]\naddress = "{pacs.node.address}"\nme = "LAB1"\ntls = "bcp195-modified"\ncert = "{cert}"\n'
        f'key = "{key}"\nca = "{ca}"\nuser_env = "PACS_USER"\npassword_env = "PACS_PASSWORD"\n'
    )
    monkeypatch.setenv("DICOMLAB_PROFILES", str(tmp_path / "dicomlab.toml"))
    monkeypatch.setenv("PACS_USER", "name")
    monkeypatch.setenv("PACS_PASSWORD", "s3cret")
    node = Node("pacs")
    assert node.verify()
    assert seen == [Identity(2, b"name", b"s3cret")]
    assert "bcp195-modified" in repr(node)
    assert "s3cret" not in repr(node)


def test_whoever_knows_the_users_and_fails_lets_nobody_in(start: Callable[..., Pacs]) -> None:
    def broken(identity: Identity | None, caller: Caller) -> bool:
        raise RuntimeError("the directory is down")

    pacs = start(terms=Terms(on_identity=broken))
    assert not pacs.node.verify()


def test_users_of_pynetdicom_are_read(start: Callable[..., Pacs]) -> None:
    seen: list[Identity | None] = []

    def known(identity: Identity | None, caller: Caller) -> bool:
        seen.append(identity)
        return identity is not None and identity.passcode == "s3cret"

    pacs = start(terms=Terms(on_identity=known))
    for passcode in (b"s3cret", b"wrong"):
        theirs = UserIdentityNegotiation()
        theirs.user_identity_type, theirs.primary_field, theirs.secondary_field = 2, b"name", passcode
        theirs.positive_response_requested = True
        ae = AE("LAB1")
        ae.add_requested_context(Verification)
        association = ae.associate("127.0.0.1", pacs.listener.port, ae_title="PACS", ext_neg=[theirs])
        assert association.is_established == (passcode == b"s3cret")
        if association.is_established:
            assert association.acceptor.user_identity is not None
            association.release()
    assert [one and one.secondary for one in seen] == [b"s3cret", b"wrong"]


def test_a_user_of_ours_is_read_by_pynetdicom() -> None:
    seen: list[tuple[int, bytes, bytes]] = []

    def known(event: Any) -> tuple[bool, bytes | None]:
        seen.append((event.user_id_type, event.primary_field, event.secondary_field))
        return True, None

    ae = AE("OTHER")
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_USER_ID, known)])
    try:
        node = Node(f"OTHER@127.0.0.1:{server.server_address[1]}", user=("näme", "s3cret"), force_plaintext_user=True)
        assert node.verify()
    finally:
        server.shutdown()
    assert seen == [(2, "näme".encode(), b"s3cret")]


# --- rejections ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reject", "words", "transient"),
    [
        ((1, 1, 1), "its log may say why", False), ((1, 1, 2), "another application context", False),
        ((1, 1, 3), "register the AE title LAB1", False), ((1, 1, 7), "not called PACS", False),
        ((1, 2, 2), "another version", False), ((2, 3, 1), "busy", True), ((2, 3, 2), "too many associations", True),
        ((2, 1, 1), "its log may say why", True), ((1, 3, 9), "reserved reason", True),
    ],
)  # fmt: skip
def test_each_rejection_is_told_apart(reject: tuple[int, int, int], words: str, transient: bool) -> None:
    def play(script: Script) -> None:
        script.read()
        script.send(pdu.AssociateReject(*reject))

    with playing(play) as address, pytest.raises(Refused, match=words) as caught:
        peer_of(address, "LAB1").associate([Proposal(tables.VERIFICATION, (IMPLICIT,))])
    assert caught.value.transient == transient


def test_silence_after_the_request_has_its_own_deadline() -> None:
    def play(script: Script) -> None:
        script.read()
        script.read()

    with playing(play) as address, pytest.raises(Interrupted, match=r"nothing came for 0\.2 s"):
        peer_of(address, "LAB1", 30.0, 5.0, acse_timeout_s=0.2).associate([Proposal(tables.VERIFICATION, (IMPLICIT,))])


def _find(uid: str, name: str = "C-FIND-RQ") -> Any:
    return Command.of(name, data=True, MessageID=1, AffectedSOPClassUID=uid, Priority=0)


@contextmanager
def _raw(pacs: Pacs, contexts: tuple[pdu.ProposedContext, ...], user: UserInformation) -> Iterator[Script]:
    """A script that has asked our port for an association."""
    with socket.create_connection(("127.0.0.1", pacs.listener.port), timeout=10) as sock:
        script = Script(sock)
        script.send(pdu.AssociateRequest("PACS", "LAB1", contexts, user))
        assert isinstance(script.read(), pdu.AssociateAccept)
        yield script
