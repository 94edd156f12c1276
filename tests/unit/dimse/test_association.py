"""An association against a peer that plays a script: order, disorder, and every way to break off."""

from __future__ import annotations

import socket
import threading

import pytest

from dicomlab import trace
from dicomlab.dimse import association as module
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, Unreachable
from tests.unit.dimse.scripted import Script, playing

ECHO = [Proposal(tables.VERIFICATION, tables.UNCOMPRESSED)]


def associate(address: str, *, timeout_s: float = 5.0, max_pdu: int = 131_072) -> Association:
    return peer_of(address, "LAB1", timeout_s, 2.0, max_pdu).associate(ECHO)


def echo(association: Association) -> int:
    context = association.contexts[1]
    number = association.request(context, "C-ECHO-RQ")
    return association.answer("C-ECHO-RSP", number).command.status


def answer_echo(script: Script) -> None:
    command, _ = script.message()
    script.say(command.response(0))


def test_an_association_in_order() -> None:
    def play(script: Script) -> None:
        request = script.establish()
        assert (request.called, request.calling, request.user.max_pdu) == ("PACS", "LAB1", 131_072)
        answer_echo(script)
        script.release()

    with playing(play) as address, associate(address) as association:
        assert association.state.text.startswith("Sta6")
        assert echo(association) == 0
    assert association.state.text.startswith("Sta1")


def test_octets_may_come_one_by_one_and_values_in_any_cut() -> None:
    def play(script: Script) -> None:
        script.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        script.answer()
        for octet in pdu.encode(script.accept):
            script.send(bytes([octet]))
        command, _ = script.message()
        octets = encode_command(command.response(0))
        for at, octet in enumerate(octets):
            last = pdu.LAST if at == len(octets) - 1 else 0
            script.send(pdu.DataTransfer((pdu.PDV(1, pdu.COMMAND | last, bytes([octet])),)))
        command, _ = script.message()
        octets = encode_command(command.response(0))
        values = [pdu.PDV(1, 1, octets[:7]), pdu.PDV(1, 1, b""), pdu.PDV(1, 3, octets[7:])]
        script.send(pdu.DataTransfer(tuple(values)))
        script.release()

    with playing(play) as address, associate(address) as association:
        assert echo(association) == 0
        assert echo(association) == 0


@pytest.mark.parametrize("max_pdu", [7, 16, 4096, 0])
def test_what_is_sent_fits_the_peer_and_is_whole(max_pdu: int) -> None:
    data = bytes(i % 253 for i in range(10_000))
    got: list[bytes] = []

    def play(script: Script) -> None:
        script.establish(max_pdu=max_pdu)
        command, octets = script.message()
        got.append(octets)
        limit = max_pdu or 131_072
        assert all(len(pdu.encode(one)) - 6 <= limit for one in script.heard if isinstance(one, pdu.DataTransfer))
        script.say(command.response(0))
        script.release()

    with playing(play) as address, associate(address) as association:
        number = association.request(association.contexts[1], "C-FIND-RQ", memoryview(data), Priority=0)
        assert association.answer("C-FIND-RSP", number).command.status == 0
    assert got == [data]


def test_an_empty_data_set_is_a_data_set() -> None:
    def play(script: Script) -> None:
        script.establish()
        command, octets = script.message()
        assert (command.has_data, octets) == (True, b"")
        script.say(command.response(0))
        script.release()

    with playing(play) as address, associate(address) as association:
        number = association.request(association.contexts[1], "C-FIND-RQ", b"")
        association.answer("C-FIND-RSP", number)


# --- nobody there, or somebody who declines --------------------------------------------------------------------------


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Unreachable, match=f"nobody listens on port {port}"):
        associate(f"PACS@127.0.0.1:{port}")


def test_no_such_host() -> None:
    with pytest.raises(Unreachable, match=r"no host is called 'pacs.invalid'"):
        associate("PACS@pacs.invalid:104")


@pytest.mark.parametrize(
    ("reject", "words"),
    [
        ((1, 1, 3), "register the AE title LAB1"),
        ((1, 1, 7), "not called PACS"),
        ((2, 3, 2), "too many associations"),
        ((1, 2, 2), "protocol version not supported"),
    ],
)
def test_a_rejection_says_what_to_do(reject: tuple[int, int, int], words: str) -> None:
    def play(script: Script) -> None:
        script.read()
        script.send(pdu.AssociateReject(*reject))

    with playing(play) as address, pytest.raises(Refused, match=words):
        associate(address)


def test_no_accepted_context_says_what_was_asked_and_answered() -> None:
    def play(script: Script) -> None:
        script.answer()
        script.send(pdu.AssociateAccept("PACS", "LAB1", (pdu.AnsweredContext(1, 3, ""),), script.accept.user))
        script.release()

    with (
        playing(play) as address,
        pytest.raises(Refused, match="Verification SOP Class: abstract syntax not supported"),
    ):
        associate(address)


def test_an_answer_in_an_encoding_that_was_not_offered_is_no_acceptance() -> None:
    def play(script: Script) -> None:
        script.answer()
        answers = (pdu.AnsweredContext(1, 0, "1.2.3"), pdu.AnsweredContext(99, 0, "1.2.840.10008.1.2"))
        script.send(pdu.AssociateAccept("PACS", "LAB1", answers, script.accept.user))
        script.release()

    with playing(play) as address, pytest.raises(Refused):
        associate(address)


# --- breaking off ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("last_word", "words"),
    [
        (None, "closed the connection"),
        (pdu.Abort(0, 0), "aborted by the service user"),
        (pdu.Abort(2, 1), "unrecognized PDU"),
    ],
)
@pytest.mark.parametrize("established", [False, True])
def test_the_peer_breaks_off(last_word: pdu.PDU | None, words: str, established: bool) -> None:
    def play(script: Script) -> None:
        script.answer()
        if established:
            script.send(script.accept)
            script.message()
        if last_word is not None:
            script.send(last_word)

    with playing(play) as address, pytest.raises(Interrupted, match=words) as caught:
        echo(associate(address))
    assert caught.value.endpoint == address


@pytest.mark.parametrize("established", [False, True])
def test_silence_has_an_end_and_the_peer_is_told(established: bool) -> None:
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        script.answer()
        if established:
            script.send(script.accept)
            script.message()
        heard.append(script.read())

    with playing(play) as address, pytest.raises(Interrupted, match=r"nothing came for 0.2 s; \d+ octets had arrived"):
        echo(associate(address, timeout_s=0.2))
    assert heard == [pdu.Abort(0, 0)]


def test_a_drip_does_not_put_the_deadline_off() -> None:
    stop = threading.Event()

    def play(script: Script) -> None:
        script.answer()
        for octet in pdu.encode(script.accept):
            script.send(bytes([octet]))
            stop.wait(0.05)

    with playing(play) as address, pytest.raises(Interrupted, match="nothing came"):  # noqa: PT012
        try:
            associate(address, timeout_s=0.3)
        finally:
            stop.set()


@pytest.mark.parametrize(
    ("octets", "words", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP", 1),
        (b"\x04\0\x7f\xff\xff\xff", "announces 2147483647", 6),
        (pdu.encode(pdu.AssociateReject(1, 1, 1)), "unexpected A-ASSOCIATE-RJ", 2),
        (pdu.encode(pdu.ReleaseReply()), "unexpected A-RELEASE-RP", 2),
        (b"\x04\0\0\0\0\x07\0\0\0\xff\1\3x", "a value of 255", 6),
        (pdu.data_header(9, 3, 2) + b"ab", "context 9", 6),
        (pdu.data_header(1, 2, 2) + b"ab", "a data set where", 6),
        (pdu.data_header(1, 3, 2) + b"ab", "cut inside", 0),
        (pdu.data_header(1, 1, 70_000) + bytes(70_000), "beyond 65536", 6),
    ],
)
def test_a_broken_peer_is_told_by_a_abort(octets: bytes, words: str, reason: int) -> None:
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        script.establish()
        script.message()
        script.send(octets)
        heard.append(script.read())

    with playing(play) as address, pytest.raises(RemoteProtocolError, match=words):
        echo(associate(address))
    assert heard == [pdu.Abort(2, reason)]


@pytest.mark.parametrize(
    "response",
    [
        Command.of("C-ECHO-RSP", MessageIDBeingRespondedTo=9, Status=0),
        Command.of("C-FIND-RSP", MessageIDBeingRespondedTo=1, Status=0),
        Command.of("C-ECHO-RQ", MessageID=1),
    ],
)
def test_the_answer_to_something_else_is_refused(response: Command) -> None:
    def play(script: Script) -> None:
        script.establish()
        script.message()
        script.say(response)
        assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address, pytest.raises(RemoteProtocolError, match=r"where C-ECHO-RSP \(1\) was due"):
        echo(associate(address))


def test_a_data_set_that_goes_on_as_a_command_is_refused() -> None:
    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        script.send(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command.response(0, data=True))),)))
        script.send(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command.response(0))),)))
        assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address, pytest.raises(RemoteProtocolError, match="goes on as something else"):  # noqa: PT012
        association = associate(address)
        echo(association)
        association.data()


def test_an_identifier_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_IDENTIFIER", 1000)

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        script.say(command.response(0, data=True), bytes(1001))
        assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address, pytest.raises(RemoteProtocolError, match="beyond 1000"):  # noqa: PT012
        association = associate(address)
        echo(association)
        association.data()


# --- ending ----------------------------------------------------------------------------------------------------------


def test_a_release_passes_over_what_is_on_its_way_and_answers_a_colliding_one() -> None:
    def play(script: Script) -> None:
        script.establish()
        assert isinstance(script.read(), pdu.ReleaseRequest)
        script.send(pdu.DataTransfer((pdu.PDV(1, 2, b"late"),)))
        script.send(pdu.ReleaseRequest())
        assert isinstance(script.read(), pdu.ReleaseReply)
        script.send(pdu.ReleaseReply())

    with playing(play) as address:
        association = associate(address)
        association.release()
    assert association.state.value == 1


def test_a_peer_that_never_stops_talking_does_not_keep_a_release_from_ending() -> None:
    ended: list[str] = []

    def play(script: Script) -> None:
        script.establish()
        script.read()
        for _ in range(10_000):
            try:
                script.send(
                    (pdu.data_header(1, 2, 4) + b"more") * 256
                )  # the whole of it takes the reader half a minute
            except OSError as error:
                ended.append(type(error).__name__)
                return

    with playing(play) as address:
        association = associate(address, timeout_s=0.3)
        association.release()
    assert ended


def test_a_peer_that_releases_in_the_middle_is_answered_and_reported() -> None:
    def play(script: Script) -> None:
        script.establish()
        script.message()
        script.send(pdu.ReleaseRequest())
        assert isinstance(script.read(), pdu.ReleaseReply)

    with (
        playing(play) as address,
        pytest.raises(Interrupted, match="released the association where a C-ECHO-RSP was due"),
    ):
        echo(associate(address))


def test_an_error_in_the_block_aborts() -> None:
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        script.establish()
        heard.append(script.read())

    with playing(play) as address, pytest.raises(ZeroDivisionError), associate(address):
        _ = 1 / 0
    assert heard == [pdu.Abort(0, 0)]


def test_sending_after_the_end_is_an_interruption() -> None:
    def play(script: Script) -> None:
        script.establish()
        script.release()

    with playing(play) as address:
        association = associate(address)
        association.release()
        with pytest.raises(Interrupted, match="has ended"):
            echo(association)


def test_a_cancel_goes_out_while_somebody_waits() -> None:
    cancels: list[Command] = []
    asked = threading.Event()

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        asked.set()
        cancels.append(script.message()[0])
        script.say(command.response(0xFE00))
        script.release()

    with playing(play) as address, associate(address) as association:
        number = association.request(association.contexts[1], "C-FIND-RQ", b"")
        thread = threading.Thread(target=lambda: asked.wait(5) and association.cancel(association.contexts[1], number))
        thread.start()
        assert association.answer("C-FIND-RSP", number).command.status == 0xFE00
        association.cancel_ended()
        thread.join()
    assert [(c.name, c.number("MessageIDBeingRespondedTo")) for c in cancels] == [("C-CANCEL-RQ", 1)]


def test_a_peer_that_ignores_a_cancel_is_aborted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CANCEL_GRACE_S", 0.1)
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        script.establish()
        script.message()
        script.message()
        heard.append(script.read())

    with playing(play) as address, pytest.raises(Interrupted):  # noqa: PT012
        association = associate(address, timeout_s=30)
        number = association.request(association.contexts[1], "C-FIND-RQ", b"")
        association.cancel(association.contexts[1], number)
        association.answer("C-FIND-RSP", number)
    assert heard == [pdu.Abort(0, 0)]


# --- trace -----------------------------------------------------------------------------------------------------------


def test_each_pdu_is_traced_once_with_its_parties() -> None:
    def play(script: Script) -> None:
        script.establish()
        answer_echo(script)
        script.release()

    with trace() as wire, playing(play) as address, associate(address) as association:
        echo(association)
    lines = [(event.direction, event.text.split(":")[0]) for event in wire]
    assert lines == [
        ("sent", "A-ASSOCIATE-RQ"), ("received", "A-ASSOCIATE-AC"), ("sent", "C-ECHO-RQ"), ("received", "C-ECHO-RSP"),
        ("sent", "A-RELEASE-RQ"), ("received", "A-RELEASE-RP"),
    ]  # fmt: skip
    assert {event.parties for event in wire} == {("LAB1", "PACS"), ("PACS", "LAB1")}
