"""Our port: who comes in, what is accepted, what a hostile or silent peer gets, and that it all ends."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from dicomlab.dimse import listener as module
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.items import Role, UserInformation
from dicomlab.dimse.listener import Caller, Listener, Terms
from dicomlab.errors import Unreachable
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, JPEG
from tests.unit.dimse.scripted import Script

DEFLATED = "1.2.840.10008.1.2.1.99"


def idle(association: Association, caller: Caller) -> None:
    while association.receive() is not None:
        pass


@contextmanager
def listening(
    port: int = 0, host: str = "127.0.0.1", admit: Callable[[Caller], bool] = lambda caller: True, **options: object
) -> Iterator[Listener]:
    def offer(uid: str) -> tuple[str, ...]:
        return tables.SYNTAXES if uid in tables.STORAGE else tables.UNCOMPRESSED if uid == tables.VERIFICATION else ()

    terms = Terms(**options)  # type: ignore[arg-type]
    with Listener(
        idle, offer, ae_title="PACS", port=port, host=host, admit=admit, roles=tables.STORAGE.__contains__, terms=terms
    ) as listener:
        yield listener


@contextmanager
def connected(listener: Listener) -> Iterator[Script]:
    with socket.create_connection(("127.0.0.1", listener.port), timeout=10) as sock:
        yield Script(sock)


def request(
    *contexts: tuple[str, tuple[str, ...]], called: str = "PACS", roles: tuple[Role, ...] = (), **changes: object
) -> pdu.AssociateRequest:
    asked = pdu.numbered(contexts or [(tables.VERIFICATION, (IMPLICIT,))])
    return pdu.AssociateRequest(called, "LAB1", asked, UserInformation(0, "1.2.3", roles=roles), **changes)  # type: ignore[arg-type]


def test_the_first_syntax_of_the_requestor_that_we_have_is_taken() -> None:
    with listening() as listener, connected(listener) as script:
        script.send(
            request(
                (tables.VERIFICATION, (JPEG, EXPLICIT, IMPLICIT)),
                (CT, (DEFLATED, JPEG, EXPLICIT)),
                (CT, (DEFLATED,)),
                ("1.2.3.4", (IMPLICIT,)),
                roles=(Role(CT, scu=False, scp=True), Role(tables.VERIFICATION, scu=True, scp=True)),
            )
        )
        accept = script.read()
        assert isinstance(accept, pdu.AssociateAccept)
        assert [(c.result, c.transfer_syntax) for c in accept.contexts] == [
            (0, EXPLICIT), (0, JPEG), (4, DEFLATED), (3, IMPLICIT),
        ]  # fmt: skip
        assert accept.user.roles == (Role(CT, scu=False, scp=True),)
        assert accept.user.max_pdu == 131_072
        assert (accept.called, accept.calling) == ("PACS", "LAB1")
        script.send(pdu.ReleaseRequest())
        assert script.read() == pdu.ReleaseReply()


def test_asynchronous_operations_are_answered_with_one() -> None:
    with listening() as listener, connected(listener) as script:
        asked = pdu.numbered([(tables.VERIFICATION, (IMPLICIT,))])
        script.send(pdu.AssociateRequest("PACS", "LAB1", asked, UserInformation(0, "1.2.3", asynchronous=(0, 0))))
        accept = script.read()
        assert isinstance(accept, pdu.AssociateAccept)
        assert accept.user.asynchronous == (1, 1)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (request(called="OTHER"), (1, 1, 7)),
        (request(application_context="1.2.3"), (1, 1, 2)),
        (request(version=2), (1, 2, 2)),
    ],
)
def test_who_is_rejected_hears_why(asked: pdu.AssociateRequest, answer: tuple[int, int, int]) -> None:
    with listening() as listener, connected(listener) as script:
        script.send(asked)
        assert script.read() == pdu.AssociateReject(*answer)
        with pytest.raises(ConnectionError):
            script.read()


def test_a_title_beyond_ascii_is_answered_too() -> None:
    with listening() as listener, connected(listener) as script:
        script.send(pdu.encode(request()).replace(b"LAB1", b"LA\xc41"))
        accept = script.read()
        assert isinstance(accept, pdu.AssociateAccept)
        assert accept.calling == "LA?1"


def test_a_title_can_t_write_lines_into_a_log(caplog: pytest.LogCaptureFixture) -> None:
    def admit(caller: Caller) -> bool:
        logging.getLogger("dicomlab").warning("%s calls", caller)
        return False

    with listening(admit=admit) as listener, connected(listener) as script:
        script.send(pdu.encode(request()).replace(b"LAB1            ", b"LAB1\r\nroot: \x1b[1m"))
        assert script.read() == pdu.AssociateReject(1, 1, 3)
    (record,) = caplog.records
    assert record.getMessage().isprintable()


def test_a_port_survives_a_system_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("dicomlab association"):
            raise RuntimeError("can't start new thread")
        start(thread)

    with listening() as listener:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            with connected(listener) as script:
                assert script.read() == pdu.AssociateReject(2, 3, 2)
        with connected(listener) as script:
            script.send(request())
            assert isinstance(script.read(), pdu.AssociateAccept)


def test_only_those_who_may_call() -> None:
    with listening(callers=["OTHER"]) as listener, connected(listener) as script:
        script.send(request())
        assert script.read() == pdu.AssociateReject(1, 1, 3)
    with listening(check_called=False, callers=["LAB1"]) as listener, connected(listener) as script:
        script.send(request(called="ANYBODY"))
        assert isinstance(script.read(), pdu.AssociateAccept)


@pytest.mark.parametrize(
    ("octets", "abort"),
    [
        (b"GET / HTTP/1.1\r\n", pdu.Abort(0, 0)),  # AA-1 (PS3.8 Table 9-9)
        (b"\x01\0\x7f\xff\xff\xff", pdu.Abort(0, 0)),
        (pdu.encode(pdu.ReleaseRequest()), pdu.Abort(0, 0)),
        (pdu.data_header(1, 3, 4) + bytes(4), pdu.Abort(0, 0)),
        (b"\x01\0\0\0\0\x04abcd", pdu.Abort(2, 6)),
    ],
)
def test_what_is_no_request_is_aborted(octets: bytes, abort: pdu.Abort) -> None:
    with listening() as listener, connected(listener) as script:
        script.send(octets)
        assert script.read() == abort


def test_a_second_request_is_aborted() -> None:
    with listening() as listener, connected(listener) as script:
        script.send(request())
        script.read()
        script.send(request())
        assert script.read() == pdu.Abort(2, 2)


def test_a_silent_connection_is_ended_and_hinders_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_DEADLINE_S", 0.2)
    with listening() as listener, connected(listener) as silent, connected(listener) as other:
        silent.send(b"\x01\0\0")
        other.send(request())
        assert isinstance(other.read(), pdu.AssociateAccept)
        assert silent.read() == pdu.Abort(0, 0)


def test_an_idle_association_is_ended() -> None:
    with listening(timeout_s=0.2) as listener, connected(listener) as script:
        script.send(request())
        assert isinstance(script.read(), pdu.AssociateAccept)
        assert script.read() == pdu.Abort(0, 0)


def test_there_is_a_most_of_connections() -> None:
    with listening(max_associations=2) as listener, connected(listener) as one, connected(listener) as two:
        for script in (one, two):
            script.send(request())
            assert isinstance(script.read(), pdu.AssociateAccept)
        with connected(listener) as three:
            assert three.read() == pdu.AssociateReject(2, 3, 2)


def test_close_ends_everything_that_was_started() -> None:
    before = set(threading.enumerate())
    with listening() as listener, connected(listener) as script, connected(listener):
        script.send(request())
        assert isinstance(script.read(), pdu.AssociateAccept)
        listener.close()
        assert script.read() == pdu.Abort(0, 0)
        assert {t for t in threading.enumerate() if t.name.startswith("dicomlab")} <= before
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", listener.port), timeout=5)
        listener.close()


def test_a_port_that_is_taken() -> None:
    with listening() as listener, pytest.raises(Unreachable, match="is the port taken"):
        listening(port=listener.port).__enter__()


def test_another_machines_address() -> None:
    with pytest.raises(Unreachable):
        listening(host="127.0.0.1.invalid").__enter__()


def test_it_is_reached_on_loopback_only_unless_told(start: Callable[..., object]) -> None:
    with listening() as listener:
        assert (listener.host, str(listener.address)) == ("127.0.0.1", f"PACS@127.0.0.1:{listener.port}")
