"""A wait for a connection, or for TLS on it, ends with the verb that wanted it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomlab import Cohort, Node, Unreachable
from dicomlab.dimse.reaching import connected
from dicomlab.errors import Interrupted
from dicomlab.model.progress import Control, Work
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.certificates import Certificates

_LONG_S = 300.0
_SYN_SENT = "02"
linux = pytest.mark.skipif(sys.platform != "linux", reason="the table of connections is Linux's")


@contextmanager
def full() -> Iterator[int]:
    """A port whose backlog is full, so that no connection to it is ever completed."""
    waiting = []
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting.append(socket.socket())
            waiting[-1].setblocking(False)
            waiting[-1].connect_ex(listener.getsockname())
        try:
            yield listener.getsockname()[1]
        finally:
            for one in waiting:
                one.close()


def attempts(port: int) -> int:
    """Connections to a port that are not there yet."""
    lines = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    return sum(line.split()[2].endswith(f":{port:04X}") and line.split()[3] == _SYN_SENT for line in lines)


@contextmanager
def silent() -> Iterator[tuple[int, threading.Event]]:
    """A port that takes what comes and says nothing; the event tells that something came."""
    came, over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def take() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.recv(1)
                came.set()
                over.wait(60)

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listener.getsockname()[1], came
        finally:
            over.set()
            thread.join()


def cancelled(node: Node, under_way: Callable[[], object]) -> Cohort:
    """What a search in the background returns that is cancelled once it is under way."""
    operation = node.find("study", progress=False, background=True)
    under_way()
    operation.cancel()
    return operation.result(timeout_s=30)


def interrupted(node: Node, under_way: Callable[[], object]) -> Cohort:
    """What a search returns that is interrupted, as a notebook's kernel is, once it is under way."""

    def interrupt() -> None:
        under_way()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        return node.find("study", progress=False)
    finally:
        thread.join()


@linux
@pytest.mark.parametrize("ended", [cancelled, interrupted])
def test_a_connection_that_never_comes_about_is_waited_for_no_longer(ended: Callable[..., Cohort]) -> None:
    with full() as port:
        before = attempts(port)

        def under_way() -> None:
            while attempts(port) <= before:
                pass

        found = ended(Node(f"PACS@127.0.0.1:{port}", connect_timeout_s=_LONG_S), under_way)
        assert attempts(port) == before
    assert (len(found), found.complete, found.note) == (0, False, "cancelled")


@pytest.mark.parametrize("ended", [cancelled, interrupted])
def test_a_tls_handshake_that_is_not_answered_is_waited_for_no_longer(
    ended: Callable[..., Cohort], certificates: Certificates
) -> None:
    with silent() as (port, came):
        tls = certificates.mutual(certificates.client)
        found = ended(Node(f"PACS@127.0.0.1:{port}", tls=tls, connect_timeout_s=_LONG_S), lambda: came.wait(30))
    assert (len(found), found.complete, found.note) == (0, False, "cancelled")


def test_a_connection_has_the_timeout_and_its_errors_are_those_of_a_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with connected("127.0.0.1", port, 3.0, endpoint="PACS") as sock:
            assert sock.gettimeout() == 3.0
            assert sock.getpeername() == ("127.0.0.1", port)
    with pytest.raises(ConnectionRefusedError):
        connected("127.0.0.1", port, 3.0, endpoint="PACS")
    with full() as port, pytest.raises(TimeoutError):
        connected("127.0.0.1", port, 0.1, endpoint="PACS")
    with pytest.raises(Unreachable, match="nobody listens"):
        Node(f"PACS@127.0.0.1:{port}").find("study", progress=False)


def test_a_store_that_is_cancelled_before_it_is_connected_says_what_was_not_sent() -> None:
    with full() as port:
        node = Node(f"PACS@127.0.0.1:{port}", connect_timeout_s=_LONG_S)
        operation = node.store(list(phantom_datasets(1, 2)), progress=False, background=True)
        operation.cancel()
        report = operation.result(timeout_s=30)
    assert not report.complete
    assert {one.status for one in report.outcomes} == {"not sent"}


def test_who_is_cancelled_already_does_not_connect() -> None:
    def work(control: Control) -> None:
        control.cancel()
        connected("127.0.0.1", port, _LONG_S, endpoint="PACS")

    with full() as port, pytest.raises(Interrupted, match="cancelled before the connection was there"):
        Work("connecting", "", work, progress=False).carry_out()
