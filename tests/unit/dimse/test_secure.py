"""TLS: what ``tls=`` takes, who is refused, and what each mix-up says."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node
from dicomlab.dimse import listener as listener_module
from dicomlab.dimse import pdu
from dicomlab.dimse.listener import Terms
from dicomlab.dimse.secure import PLAINTEXT_ALERT, Security, security_of
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, Unreachable, UsageError
from tests.peers.certificates import Certificates
from tests.peers.processes import free_port
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import instance


@pytest.fixture
def secured(start: Callable[..., Pacs], certificates: Certificates) -> Pacs:
    """An archive over TLS that wants certificates, and a node that has one."""
    tls = security_of(certificates.mutual(certificates.server))
    pacs = start(*cohort(), security=tls)
    pacs.node = node(pacs, certificates.mutual(certificates.client))
    return pacs


def node(pacs: Pacs, tls: Any, host: str = "127.0.0.1", **options: Any) -> Node:
    return Node(f"PACS@{host}:{pacs.listener.port}", me="LAB1", timeout_s=10, tls=tls, **options)


# --- what tls= takes -------------------------------------------------------------------------------------------------


def test_profiles() -> None:
    for tls, profile in ((True, "bcp195"), ("bcp195", "bcp195"), ("bcp195-modified", "bcp195-modified")):
        security = security_of(tls)
        assert security.client is not None
        assert security.client.minimum_version == ssl.TLSVersion.TLSv1_2
        assert security.client.verify_mode == ssl.CERT_REQUIRED
        assert security.client.check_hostname
        assert security.profile == profile
    suites = {one["name"] for one in security.client.get_ciphers() if one["protocol"] == "TLSv1.2"}  # type: ignore[union-attr]
    assert suites
    assert all(("ECDHE" in name or "DHE" in name) and ("GCM" in name or "CHACHA20" in name) for name in suites)
    assert not security_of(None)
    assert not security_of(False)


def test_files_secure_both_directions(certificates: Certificates) -> None:
    security = security_of((*certificates.mutual(certificates.server), "bcp195-modified"))
    assert security.profile == "bcp195-modified"
    assert security.server is not None
    assert security.server.verify_mode == ssl.CERT_REQUIRED
    assert security.server.minimum_version == ssl.TLSVersion.TLSv1_2
    assert "client" not in repr(security)


def test_a_context_of_ones_own_counts_for_its_direction() -> None:
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert security_of(client) == Security(client, None, "a context of your own")
    assert security_of(server).client is None
    with pytest.raises(UsageError, match="certificate of our own"):
        security_of(client).for_listening()
    with pytest.raises(UsageError, match="for servers"):
        Node("PACS@localhost", tls=server)
    with pytest.raises(UsageError, match="listens and asks"):
        Archive(tls=client)


@pytest.mark.parametrize("tls", ["legacy", 7, ("a",), (None, "b", "c"), ("a", "b", "c", "sslv3"), {}, ("a", 1, "c")])
def test_what_is_no_tls(tls: Any) -> None:
    with pytest.raises(UsageError, match=r"tls is|profile|can.t be"):
        security_of(tls)


def test_files_that_can_t_be_used_are_named(certificates: Certificates, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="authorities can't be read"):
        security_of((*certificates.server, tmp_path / "none.pem"))
    with pytest.raises(UsageError, match="certificate or key"):
        security_of((certificates.server[0], certificates.client[1], certificates.ca))


# --- conversations ---------------------------------------------------------------------------------------------------


def test_everything_works_over_tls(secured: Pacs, tmp_path: Path) -> None:
    assert dict(secured.node.verify().facts)["TLS"].startswith("TLSv1.")
    assert "TLS" in repr(secured.node)
    found = secured.node.find("instance", progress=False)
    report = found.retrieve(tmp_path / "got", progress=False)
    assert report.complete
    assert report.count("done") == 15
    assert secured.node.store(instance(77, series="1.2.3.7.7", study="1.2.3.7"), progress=False).complete
    with secured.node.associate() as session:
        assert session.request("C-ECHO")[0].status.startswith("0000H")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_large_instance_and_a_cancel_cross_both_versions(
    secured: Pacs, certificates: Certificates, version: ssl.TLSVersion
) -> None:
    tls = security_of(certificates.mutual(certificates.client)).client
    assert tls is not None
    tls.minimum_version = tls.maximum_version = version
    there = node(secured, tls)
    assert there.store(instance(1, series="1.2.3.8.1", study="1.2.3.8", octets=3 << 20), progress=False).complete
    assert len(there.find("instance", limit=2, progress=False)) == 2  # the rest is cancelled
    assert there.verify()


def test_a_move_to_ourselves_comes_over_tls_too(secured: Pacs, certificates: Certificates, tmp_path: Path) -> None:
    port = free_port()
    secured.known["LAB1"] = ("localhost", port)
    me = Node(str(secured.node.address), me=f"LAB1:{port}", tls=certificates.mutual(certificates.server), timeout_s=10)
    report = me.find("instance", StudyInstanceUID="1.2.3.2", progress=False).retrieve(
        tmp_path, method="move", progress=False
    )
    assert report.complete
    assert report.count("done") == 4


def test_a_certificate_for_another_host_is_refused(start: Callable[..., Pacs], certificates: Certificates) -> None:
    pacs = start(security=security_of(certificates.mutual(certificates.elsewhere)))
    with pytest.raises(Refused, match="not for this host") as caught:
        node(pacs, certificates.mutual(certificates.client)).find("study", progress=False)
    assert not caught.value.transient


def test_a_certificate_of_a_stranger_is_refused_on_both_sides(
    start: Callable[..., Pacs], secured: Pacs, certificates: Certificates
) -> None:
    other = start(security=security_of(certificates.mutual(certificates.stranger)))
    with pytest.raises(Refused, match="not trusted"):
        node(other, certificates.mutual(certificates.client)).find("study", progress=False)
    with pytest.raises(Refused, match="not trusted there"):
        node(secured, certificates.mutual(certificates.stranger)).find("study", progress=False)


def test_without_a_certificate_nobody_comes_in(secured: Pacs, certificates: Certificates) -> None:
    bare = ssl.create_default_context(cafile=str(certificates.ca))
    with pytest.raises(Refused, match=r"wants a certificate of ours"):
        node(secured, bare).find("study", progress=False)


def test_tls_1_1_is_refused(secured: Pacs, certificates: Certificates) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(certificates.ca)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(Refused, match="no version of TLS"):
        node(secured, old).find("study", progress=False)


def test_a_server_of_tls_1_1_is_refused(certificates: Certificates) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    old.load_cert_chain(*certificates.server)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with _accepting(lambda sock: old.wrap_socket(sock, server_side=True)) as port, pytest.raises(Refused, match="TLS"):
        Node(f"PACS@127.0.0.1:{port}", tls=certificates.mutual(certificates.client)).find("study", progress=False)


# --- mix-ups ---------------------------------------------------------------------------------------------------------


def test_tls_to_a_plaintext_port(filled: Pacs, certificates: Certificates) -> None:
    with pytest.raises(Refused, match="does not speak TLS on this port"):
        node(filled, certificates.mutual(certificates.client)).find("study", progress=False)


def test_plaintext_to_a_tls_port_hears_a_tls_alert(secured: Pacs) -> None:
    with pytest.raises(RemoteProtocolError, match="looks like TLS"):
        node(secured, None).find("study", progress=False)
    with socket.create_connection(("127.0.0.1", secured.listener.port), timeout=5) as sock:
        sock.sendall(pdu.encode(pdu.ReleaseRequest()))
        assert sock.recv(100) == PLAINTEXT_ALERT
        assert sock.recv(100) == b""


def test_a_port_that_only_closes_may_want_tls() -> None:
    with _accepting(lambda sock: sock.recv(10_000)) as port, pytest.raises(Interrupted) as caught:
        Node(f"PACS@127.0.0.1:{port}").find("study", progress=False)
    assert "tls=" in caught.value.__notes__[0]


def test_a_silent_port_has_a_deadline(certificates: Certificates) -> None:
    quiet = threading.Event()
    with _accepting(lambda sock: quiet.wait(10)) as port:
        there = Node(f"PACS@127.0.0.1:{port}", tls=certificates.mutual(certificates.client), connect_timeout_s=0.3)
        with pytest.raises(Unreachable, match=r"within 0\.3 s"):
            there.find("study", progress=False)
        quiet.set()


def test_a_silent_caller_stops_nobody(secured: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake is in the connection's own thread, and has a deadline."""
    monkeypatch.setattr(listener_module, "REQUEST_DEADLINE_S", 0.5)
    where = ("127.0.0.1", secured.listener.port)
    with socket.create_connection(where, timeout=10) as silent, socket.create_connection(where, timeout=10) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a Client Hello
        assert secured.node.verify()
        assert silent.recv(100) == PLAINTEXT_ALERT
        assert half.recv(100) == b""
    assert secured.node.verify()


def test_closing_ends_a_handshake(secured: Pacs) -> None:
    with socket.create_connection(("127.0.0.1", secured.listener.port), timeout=10) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert secured.node.verify()  # by now the other one is in its handshake
        secured.listener.close()
        half.settimeout(3)  # less than the deadline of a handshake
        assert half.recv(100) == b""


def test_the_callers_over_tls_are_counted(start: Callable[..., Pacs], certificates: Certificates) -> None:
    tls = security_of(certificates.mutual(certificates.server))
    pacs = start(security=tls, terms=Terms(max_associations=1))
    with socket.create_connection(("127.0.0.1", pacs.listener.port)), pytest.raises(Refused):
        node(pacs, certificates.mutual(certificates.client)).find("study", progress=False)


@contextmanager
def _accepting(play: Callable[[socket.socket], object]) -> Iterator[int]:
    def run() -> None:
        try:
            sock, _ = server.accept()
            with sock:
                play(sock)
        except OSError:
            pass

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
    thread.join(10)
