"""``Node``: what it says about itself, and whether it finds the peer."""

from __future__ import annotations

import socket
import threading

import pytest

from dicomlab.dimse import pdu, tables
from dicomlab.dimse.node import Node
from dicomlab.errors import UsageError
from dicomlab.model.protocols import Retrievable
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.scripted import Script, playing


def test_constructing_sends_nothing_and_prints_what_it_parses() -> None:
    node = Node("PACS@pacs.invalid:11112", me="LAB1:11113")
    assert str(node) == "PACS@pacs.invalid:11112"
    assert (node.me.ae_title, node.me.port, node.fictional) == ("LAB1", 11113, False)
    assert "PACS@pacs.invalid:11112" in repr(node)
    assert isinstance(node, Retrievable)


@pytest.mark.parametrize(
    "arguments",
    [
        {"address": "pacs.example.org"}, {"me": "A" * 17}, {"me": "A:0"}, {"timeout_s": 0}, {"timeout_s": "1"},
        {"connect_timeout_s": -1}, {"max_pdu": 0}, {"max_pdu": 4095}, {"max_pdu": 1 << 30},
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_at_once(arguments: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        Node(**{"address": "PACS@localhost", **arguments})  # type: ignore[arg-type]


def test_verify_says_who_answered(filled: Pacs) -> None:
    checked = filled.node.verify()
    facts = dict(checked.facts)
    assert checked
    assert facts["answered"] == "0000H Success"
    assert facts["implementation"].startswith("DICOMLAB")
    assert facts["max PDU"] == "131072"
    assert "study root C-GET" in facts["offers"]


def test_verify_never_raises_for_what_it_finds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    found = Node(f"PACS@127.0.0.1:{port}").verify()
    assert not found
    assert dict(found.facts)["found"] == "Unreachable"
    assert "nobody listens" in found.advice


def test_verify_of_a_wrong_ae_title(filled: Pacs) -> None:
    found = Node(f"OTHER@127.0.0.1:{filled.listener.port}").verify()
    assert not found
    assert "not called OTHER" in found.advice


@pytest.mark.parametrize("status", [0x0122, 0x0210])
def test_verify_of_a_peer_that_declines(status: int) -> None:
    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        script.say(command.response(status))
        script.release()

    with playing(play) as address:
        found = Node(address).verify()
    assert not found
    assert dict(found.facts)["answered"].startswith(f"{status:04X}H")


def test_verify_of_a_peer_without_verification() -> None:
    def play(script: Script) -> None:
        request = script.answer()
        answers = tuple(
            pdu.AnsweredContext(c.id, 3 if c.abstract_syntax == tables.VERIFICATION else 0, c.transfer_syntaxes[0])
            for c in request.contexts
        )
        script.send(pdu.AssociateAccept("PACS", "X", answers, script.accept.user))
        script.release()

    with playing(play) as address:
        found = Node(address).verify()
    assert not found
    assert "does not offer Verification" in found.advice


def test_verify_of_something_else() -> None:
    def play(script: Script) -> None:
        script.read()
        script.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        script.read()

    with playing(play) as address:
        found = Node(address).verify()
    assert not found
    assert "HTTP" in found.advice


def test_a_node_stays_usable_from_several_threads(filled: Pacs) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(len(filled.node.find("instance")))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [15] * 4
