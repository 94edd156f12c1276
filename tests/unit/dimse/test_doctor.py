"""The doctor, on peers that play a script: what no well-behaved peer does must have its advice too."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from dicomlab.dimse import doctor, pdu
from dicomlab.dimse.node import Node
from dicomlab.dimse.secure import security_of
from dicomlab.errors import UsageError
from tests.peers.certificates import Certificates
from tests.peers.processes import free_port
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.scripted import Script

STEPS = ["DNS", "TCP", "association", "contexts", "C-ECHO", "C-FIND", "C-GET", "C-MOVE"]


def results(found: doctor.Diagnosis) -> dict[str, str]:
    assert [step.name for step in found] == STEPS
    assert found.ok is bool(found) is ("failed" not in {step.result for step in found})
    for step in found:
        assert step.found
        assert step.advice or step.result in ("ok", "skipped", "not offered"), step
        assert len(step.advice) < 150, step
    return {step.name: step.result for step in found}


@contextmanager
def serving(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A TCP server that answers each connection in its own way; those that close at once, too."""

    def run() -> None:
        with suppress(OSError):
            while True:
                sock, _ = server.accept()
                with sock, suppress(OSError):
                    sock.settimeout(10)
                    answer(sock)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield f"PACS@127.0.0.1:{server.getsockname()[1]}"
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def with_request(octets: bytes) -> Callable[[socket.socket], object]:
    """Answer a request for an association with these octets."""

    def answer(sock: socket.socket) -> None:
        with suppress(ConnectionError):
            Script(sock).read()
            sock.sendall(octets)

    return answer


def test_a_host_that_nobody_knows() -> None:
    found = Node("PACS@pacs.invalid:104", me="LAB1:11999").doctor()
    assert results(found) == {"DNS": "failed", **dict.fromkeys(STEPS[1:], "skipped")}
    assert "pacs.invalid" in found["DNS"].advice
    assert "LAB1" in found.letter
    assert "11999" in found.letter
    assert "address of this computer" in found.letter


def test_a_port_where_nobody_listens() -> None:
    found = Node(f"PACS@127.0.0.1:{free_port()}").doctor()
    assert results(found) == {"DNS": "ok", "TCP": "failed", **dict.fromkeys(STEPS[2:], "skipped")}
    assert "nobody listens" in found["TCP"].found
    assert "firewall" in found["TCP"].advice
    assert f"port          {doctor.SUGGESTED_PORT} (or another" in found.letter


@pytest.mark.parametrize(
    ("octets", "advice"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no DICOM peer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "no DICOM peer"),
        (b"\x15\x03\x01\x00\x02\x02\x28", "speaks TLS"),
        (b"", "a DICOM peer answers at once"),
        (pdu.encode(pdu.Abort(0, 0)), "abort"),
        (pdu.encode(pdu.AssociateReject(1, 1, 3)), "does not know LAB1"),
        (pdu.encode(pdu.AssociateReject(1, 1, 7)), "not called PACS"),
        (pdu.encode(pdu.AssociateReject(2, 3, 2)), "try again later"),
        (pdu.encode(pdu.AssociateReject(1, 1, 1)), "its log says why"),
    ],
    ids=["HTTP", "SSH", "TLS", "closes", "aborts", "calling", "called", "busy", "no reason"],
)
def test_what_an_association_fails_of_has_its_advice(octets: bytes, advice: str) -> None:
    with serving(with_request(octets)) as address:
        found = Node(address, me="LAB1:11999").doctor()
    assert results(found) == {
        "DNS": "ok", "TCP": "ok", "association": "failed", **dict.fromkeys(STEPS[3:], "skipped")
    }  # fmt: skip
    assert advice in found["association"].advice
    for shown in (repr(found), found._repr_html_()):
        assert "✗ association failed" in shown
        assert "Please register" in shown


def test_a_server_that_says_nothing_does_not_hold_the_doctor_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_S", 0.2)
    with serving(lambda sock: sock.recv(1) and sock.recv(1 << 16) and sock.recv(1)) as address:
        found = Node(address).doctor()
    assert results(found)["association"] == "failed"
    assert "DICOM port" in found["association"].advice


def test_a_peer_that_offers_nothing() -> None:
    def answer(sock: socket.socket) -> None:
        with suppress(ConnectionError):
            script = Script(sock)
            request = script.answer()
            refused = tuple(pdu.AnsweredContext(c.id, 3, c.transfer_syntaxes[0]) for c in request.contexts)
            script.send(pdu.AssociateAccept("PACS", "X", refused, script.accept.user))
            script.release()

    with serving(answer) as address:
        found = Node(address).doctor()
    assert results(found) == {
        "DNS": "ok", "TCP": "ok", "association": "ok", "contexts": "failed", **dict.fromkeys(STEPS[4:], "skipped")
    }  # fmt: skip


def test_a_peer_that_claims_success_and_sends_nothing(filled: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomlab.dimse.suboperations import Suboperations

    monkeypatch.setattr(Suboperations, "get", Suboperations._end)
    found = filled.node.doctor()
    assert results(found)["C-GET"] == "failed"
    assert "nothing arrived" in found["C-GET"].found


def test_everything_in_order(filled: Pacs) -> None:
    port = free_port()
    filled.known["LAB1"] = ("127.0.0.1", port)
    found = Node(filled.node.address, me=f"LAB1:{port}").doctor(PatientID="P2")
    assert results(found) == dict.fromkeys(STEPS, "ok")
    assert "all is well" in repr(found)
    assert "P2" not in repr(found)  # what is matched on may name a patient
    table = found.to_dataframe()
    assert table["name"].tolist() == STEPS
    assert (table["seconds"] >= 0).all()
    assert f"127.0.0.1:{port}" in found.letter


def test_unknown_destination_and_wrong_address_are_told_apart(filled: Pacs) -> None:
    port, elsewhere = free_port(), free_port()
    node = Node(filled.node.address, me=f"LAB1:{port}")
    unknown = node.doctor()
    assert results(unknown)["C-MOVE"] == "failed"
    assert unknown["C-MOVE"].found.startswith("A801H")
    assert f"register it at 127.0.0.1:{port}" in unknown["C-MOVE"].advice
    filled.known["LAB1"] = ("127.0.0.1", elsewhere)
    wrong = node.doctor()
    assert results(wrong)["C-MOVE"] == "failed"
    assert not wrong["C-MOVE"].found.startswith("A801H")
    assert f"on record there as 127.0.0.1:{port}" in wrong["C-MOVE"].advice
    nameless = Node(filled.node.address, me="LAB1").doctor()
    assert 'me="LAB1:PORT"' in nameless["C-MOVE"].advice


def test_our_own_port_is_taken(filled: Pacs) -> None:
    found = Node(filled.node.address, me=f"LAB1:{filled.listener.port}").doctor()
    assert results(found)["C-MOVE"] == "failed"
    assert "our own port" in found["C-MOVE"].advice


def test_an_archive_without_anything(start: Callable[..., Pacs]) -> None:
    found = start().node.doctor()
    assert results(found) == {**dict.fromkeys(STEPS[:6], "ok"), "C-GET": "skipped", "C-MOVE": "skipped"}
    assert "nothing failed" in repr(found)
    assert "node.doctor(PatientID=...)" in found["C-FIND"].advice


def test_a_query_that_is_refused_says_what_to_ask(filled: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomlab.errors import ServiceError

    for status, advice in ((0xA700, "narrower"), (0xA900, "does not take these keys"), (0x0124, "does not allow")):

        def refusing(query: object, status: int = status) -> Iterator[object]:
            raise ServiceError("no", status=status)

        monkeypatch.setattr(filled.holdings, "search", refusing)
        found = filled.node.doctor()
        assert results(found)["C-FIND"] == "failed"
        assert advice in found["C-FIND"].advice


def test_tls_is_a_step_of_its_own(start: Callable[..., Pacs], certificates: Certificates) -> None:
    ours, theirs = certificates.mutual(certificates.client), certificates.mutual(certificates.server)
    pacs = start(*cohort(), security=security_of(theirs))
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    address = f"PACS@127.0.0.1:{pacs.listener.port}"
    found = Node(address, me=f"LAB1:{port}", tls=ours).doctor()
    assert [step.name for step in found] == [*STEPS[:2], "TLS", *STEPS[2:]]
    assert found["TLS"].result == "ok"
    assert found["TLS"].found.startswith("TLSv1.")
    assert {step.result for step in found if step.name != "C-MOVE"} == {"ok"}
    assert "TLS           yes, bcp195" in found.letter
    plain = Node(address, me="LAB1").doctor()
    assert plain["association"].result == "failed"
    assert "speaks TLS" in plain["association"].advice
    stranger = Node(address, me="LAB1", tls=certificates.mutual(certificates.stranger)).doctor()
    assert {stranger["TLS"].result, stranger["association"].result} & {"failed"}


def test_tls_where_nobody_speaks_it(filled: Pacs, certificates: Certificates) -> None:
    address = f"PACS@127.0.0.1:{filled.listener.port}"
    found = Node(address, me="LAB1", tls=certificates.mutual(certificates.client)).doctor()
    assert (found["TCP"].result, found["TLS"].result, found["association"].result) == ("ok", "failed", "skipped")
    assert "does it speak TLS" in found["TLS"].advice


def test_keys_that_cannot_be_are_said_at_once() -> None:
    with pytest.raises(UsageError):
        Node("PACS@pacs.invalid").doctor(PatinetID="X")


def test_a_hostile_name_does_not_reach_the_html() -> None:
    with serving(with_request(b"")) as address:
        found = Node(address.replace("PACS", "<b>PACS</b>")).doctor()
    assert "<b>PACS" not in found._repr_html_()
