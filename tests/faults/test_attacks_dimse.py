"""What a hostile peer may try at our listener: memory and time stay bounded, and others are served meanwhile."""

from __future__ import annotations

import socket
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.items import UserInformation
from dicomlab.dimse.listener import MAX_ASSOCIATIONS
from dicomlab.part10.files import read_file_meta
from dicomlab.part10.walk import FREE_OF_RATIO, MAX_RATIO
from tests.faults.served import LOOPBACK, Served
from tests.peers.certificates import Certificates
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, instance, write
from tests.unit.dimse.scripted import Script

GROWTH_KIB = 16 << 10
"""How much its memory may grow, whatever is thrown at it."""
OFFERED_OCTETS = 64 << 20
THREADS = 8
"""More than the archive needs when nobody talks to it."""
DEFLATED = "1.2.840.10008.1.2.1.99"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("attacked")
    with Served(folder / "archive", REQUEST_DEADLINE_S=0.5) as served:
        paths = write(tmp_path_factory.mktemp("given"), *(instance(n, octets=4096) for n in range(1, 4)))
        served.node.store(paths, progress=False).raise_for_failures()
        for _ in range(3):  # warm: threads, caches, the index
            assert served.node.verify()
            assert len(served.node.find("instance", progress=False)) == 3
        yield served


@pytest.fixture
def bounded(archive: Served) -> Iterator[Served]:
    """The archive; afterwards its memory has not grown, nothing was written, and it serves."""
    archive.forget_peak()
    archive.may_grow_kib = GROWTH_KIB
    before, files = archive.kib(), archive.files()

    def left() -> set[Path]:
        return {f for f in archive.files() - files if "index" not in f.name}

    yield archive
    for _ in range(200):  # those whose connection has just gone are still being tidied up
        assert archive.node.verify()
        if archive.threads() <= THREADS and not left():
            break
    assert archive.kib("VmHWM") - before < archive.may_grow_kib
    assert archive.threads() <= THREADS
    assert left() == set()
    assert len(archive.node.find("instance", progress=False)) == 3


@contextmanager
def attacker(archive: Served) -> Iterator[Script]:
    with socket.create_connection((LOOPBACK, archive.port), timeout=20) as sock:
        yield Script(sock)


def request(*contexts: tuple[str, str], called: str = "DICOMLAB") -> pdu.AssociateRequest:
    asked = pdu.numbered((uid, (syntax,)) for uid, syntax in contexts or [(tables.VERIFICATION, IMPLICIT)])
    return pdu.AssociateRequest(called, "EVIL", asked, UserInformation(0, "1.2.3"))


def associated(script: Script, *contexts: tuple[str, str]) -> None:
    script.send(request(*contexts))
    assert isinstance(script.read(), pdu.AssociateAccept)


def pour(script: Script, octets: bytes = bytes(1 << 16), most: int = OFFERED_OCTETS) -> int:
    """Send until the other side ends it; how much it took."""
    sent = 0
    with suppress(OSError):
        while sent < most:
            sent += script.sock.send(octets)
    return sent


def is_over(script: Script) -> bool:
    """Whether the other side has ended the connection (its last words read)."""
    with suppress(OSError):
        while script.sock.recv(1 << 16):
            pass
        return True
    return True


# --- the rows of the field's record ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pdu.ASSOCIATE_RQ, pdu.ASSOCIATE_AC, pdu.P_DATA_TF, pdu.RELEASE_RQ, pdu.ABORT])
def test_a_first_pdu_that_announces_two_gibibytes(bounded: Served, kind: int) -> None:
    with attacker(bounded) as script:
        script.send(bytes((kind, 0)) + (2 << 30).to_bytes(4, "big"))
        assert pour(script) < OFFERED_OCTETS
        assert bounded.node.verify()


def test_an_association_request_of_a_mebibyte_of_nonsense(bounded: Served) -> None:
    with attacker(bounded) as script:
        script.send(bytes((pdu.ASSOCIATE_RQ, 0)) + (1 << 20).to_bytes(4, "big") + bytes(1 << 20))
        assert script.read() == pdu.Abort(2, 6) or is_over(script)


@pytest.mark.parametrize("more", [1, 1 << 20, (1 << 32) - 1 - 131_072])
def test_a_data_pdu_longer_than_was_negotiated(bounded: Served, more: int) -> None:
    with attacker(bounded) as script:
        associated(script)
        script.send(bytes((pdu.P_DATA_TF, 0)) + (131_072 + more).to_bytes(4, "big"))
        pour(script, most=4 << 20)
        assert bounded.node.verify()
        assert is_over(script)


@pytest.mark.parametrize(
    "octets", [b"", b"\x01\0\0", b"\x01\0\0\0\x01\0\x00\x01"], ids=["none", "3 of 6", "in the body"]
)
def test_silent_connections_hinder_nobody_and_are_ended(bounded: Served, octets: bytes) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(attacker(bounded)) for _ in range(12)]
        for script in silent:
            script.send(octets)
        assert bounded.node.verify()  # while they are silent
        assert len(bounded.node.find("study", progress=False)) == 1
        assert all(is_over(script) for script in silent)


def test_more_silent_connections_than_there_is_room_for(bounded: Served) -> None:
    """Who comes too late hears why, and once their deadline has passed the others are served again."""
    bounded.may_grow_kib = MAX_ASSOCIATIONS * 512  # a buffer and a thread for each that is let in
    with ExitStack() as stack:
        silent = [stack.enter_context(attacker(bounded)) for _ in range(MAX_ASSOCIATIONS + 20)]
        answers = [script.sock.recv(10) for script in silent[-20:]]
        assert any(answer == pdu.encode(pdu.AssociateReject(2, 3, 2)) for answer in answers)
        assert all(is_over(script) for script in silent)
    assert bounded.node.verify()


def test_one_octet_now_and_then_does_not_hold_the_door_open(bounded: Served) -> None:
    """The deadline is that of the whole request, not of each octet of it."""
    with attacker(bounded) as script:
        whole = pdu.encode(request())
        script.sock.settimeout(0.05)
        sent = 0
        with suppress(ConnectionError):
            for octet in whole:
                script.sock.sendall(bytes((octet,)))
                sent += 1
                with suppress(TimeoutError):
                    if not script.sock.recv(100):
                        break
        assert sent < len(whole)
        assert bounded.node.verify()


@pytest.mark.parametrize(
    "uid", ["../sec_escaped", "/tmp/sec_escaped", "1.2/../../x", "..", ".", "1.2.3\\4", "1.2\0x", "a" * 60]
)
def test_a_sop_instance_uid_that_is_a_path(bounded: Served, uid: str) -> None:
    octets = uid.encode() + b"\0" * (len(uid) % 2)
    command = encode_command(
        Command.of("C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3", MessageID=1, Priority=0)
    )  # fmt: skip
    command = command.replace(
        b"\0\0\0\x10\x06\0\0\x001.2.3\0", b"\0\0\0\x10" + len(octets).to_bytes(4, "little") + octets
    )
    command = command[:8] + (len(command) - 12).to_bytes(4, "little") + command[12:]
    above = set(bounded.folder.parent.parent.rglob("*sec_escaped*"))
    with attacker(bounded) as script:
        associated(script, (CT, EXPLICIT))
        script.send(pdu.DataTransfer((pdu.PDV(1, 3, command), pdu.PDV(1, 2, b"\x08\0\x16\0UI\x04\0\x311.2"))))
        answer, _ = script.message()
        assert answer.name == "C-STORE-RSP"
        assert tables.category(answer.status) == "failure"
        script.send(pdu.ReleaseRequest())
        assert script.read() == pdu.ReleaseReply()
    assert set(bounded.folder.parent.parent.rglob("*sec_escaped*")) == above
    assert not Path("/tmp/sec_escaped").exists()


def test_the_deflated_syntax_is_not_accepted(bounded: Served) -> None:
    everything = [tables.VERIFICATION, *tables.MODELS.values(), *list(tables.STORAGE)[:100]]
    with attacker(bounded) as script:
        script.send(request(*((uid, DEFLATED) for uid in everything)))
        accept = script.read()
        assert isinstance(accept, pdu.AssociateAccept)
        assert {context.result for context in accept.contexts} == {4}


def test_a_deflated_bomb_where_it_is_accepted_stays_small(tmp_path: Path) -> None:
    """0.2 MB that would become 250 MB: refused at the cap on the ratio, never inflated whole."""
    dataset = instance(1)
    (path,) = write(tmp_path / "made", dataset)
    plain = path.read_bytes()[read_file_meta(path).length :]
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 250 << 20
    bomb = deflate.compress(plain + b"\xfc\xff\xfc\xffOB\0\0" + size.to_bytes(4, "little"))
    for _ in range(size >> 20):
        bomb += deflate.compress(bytes(1 << 20))
    bomb += deflate.flush()
    assert len(bomb) < 2 << 20
    with Served(tmp_path / "archive", deflated=True) as served:
        assert served.node.verify()
        served.node.find("study", progress=False)
        served.forget_peak()
        before = served.kib()
        with attacker(served) as script:
            associated(script, (CT, DEFLATED))
            command = Command.of(
                "C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=dataset.SOPInstanceUID, MessageID=1, Priority=0
            )  # fmt: skip
            script.send(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command)),)))
            for at in range(0, len(bomb), 100_000):
                last = pdu.LAST if at + 100_000 >= len(bomb) else 0
                script.send(pdu.DataTransfer((pdu.PDV(1, last, bomb[at : at + 100_000]),)))
            answer, _ = script.message()
            assert (answer.name, answer.status) == ("C-STORE-RSP", 0xC000)
        assert len(served.node.find("instance", progress=False)) == 0
        assert served.kib("VmHWM") - before < GROWTH_KIB + (2 * max(FREE_OF_RATIO, MAX_RATIO * len(bomb)) >> 10)


def test_silent_connections_at_a_tls_port(tmp_path: Path, certificates: Certificates) -> None:
    """The handshake is in the thread of its connection, with a deadline: nobody waits for those who say nothing."""
    ours, theirs = certificates.mutual(certificates.server), certificates.mutual(certificates.client)
    with Served(tmp_path / "archive", tls=ours, client_tls=theirs, REQUEST_DEADLINE_S=1) as served:
        assert served.node.verify()
        served.forget_peak()
        before = served.kib()
        with ExitStack() as stack:
            silent = [stack.enter_context(attacker(served)) for _ in range(12)]
            for number, script in enumerate(silent):
                script.send(
                    (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"\x16\x03\x01\xff\xff" + bytes(100))[number % 4]
                )
            assert served.node.verify()
            assert all(is_over(script) for script in silent)
        with attacker(served) as script:
            script.send(request())  # plaintext
            assert is_over(script)
        assert served.node.verify()
        assert served.kib("VmHWM") - before < GROWTH_KIB


# --- more of the same kind ---------------------------------------------------------------------------------------------


def test_a_command_set_without_end(bounded: Served) -> None:
    with attacker(bounded) as script:
        associated(script)
        endless = pdu.encode(pdu.DataTransfer((pdu.PDV(1, pdu.COMMAND, bytes(60_000)),)))
        assert pour(script, endless) < OFFERED_OCTETS // 2


def test_an_identifier_without_end(bounded: Served) -> None:
    model = tables.MODELS["study", "FIND"]
    with attacker(bounded) as script:
        associated(script, (model, IMPLICIT))
        command = Command.of("C-FIND-RQ", data=True, AffectedSOPClassUID=model, MessageID=1, Priority=0)
        script.send(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command)),)))
        endless = pdu.encode(pdu.DataTransfer((pdu.PDV(1, 0, bytes(130_000)),)))
        assert pour(script, endless) < OFFERED_OCTETS


def test_values_and_fragments_of_nothing(bounded: Served) -> None:
    """A stream of empty fragments moves nothing and keeps nothing."""
    with attacker(bounded) as script:
        associated(script)
        for control in (0, 1):
            empty = pdu.encode(pdu.DataTransfer((pdu.PDV(1, control, b""),) * 1000))
            pour(script, empty, most=2 << 20)
        pour(script, bytes((pdu.P_DATA_TF, 0, 0, 0, 0, 0)) * 1000, most=1 << 20)
        assert bounded.node.verify()


@pytest.mark.parametrize("length", [0, 1, 3, 131_000, (1 << 32) - 1])
def test_a_value_whose_length_is_a_lie(bounded: Served, length: int) -> None:
    with attacker(bounded) as script:
        associated(script)
        body = length.to_bytes(4, "big") + b"\x01\x03" + bytes(20)
        script.send(bytes((pdu.P_DATA_TF, 0)) + len(body).to_bytes(4, "big") + body)
        assert isinstance(script.read(), pdu.Abort)
        assert is_over(script)


def test_an_instance_that_is_cut_leaves_nothing(bounded: Served) -> None:
    command = Command.of(
        "C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3.99", MessageID=1, Priority=0
    )
    for ending in ("close", "reset", "abort"):
        with attacker(bounded) as script:
            associated(script, (CT, EXPLICIT))
            script.send(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command)),)))
            pour(script, pdu.encode(pdu.DataTransfer((pdu.PDV(1, 0, bytes(100_000)),))), most=8 << 20)
            if ending == "abort":
                script.send(pdu.Abort(0, 0))
                assert is_over(script)
            elif ending == "reset":
                script.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    assert bounded.node.verify()


def test_connections_that_come_and_go(bounded: Served) -> None:
    for number in range(300):
        with attacker(bounded) as script:
            if number % 3:
                script.send(pdu.encode(request())[: number % 90])
    assert bounded.node.verify()


def test_those_who_ask_for_more_than_128_contexts(bounded: Served) -> None:
    with attacker(bounded) as script:
        asked = tuple(pdu.ProposedContext(n % 256, tables.VERIFICATION, (IMPLICIT,)) for n in range(1, 600, 2))
        script.send(pdu.AssociateRequest("DICOMLAB", "EVIL", asked, UserInformation(0, "1.2.3")))
        assert isinstance(script.read(), pdu.Abort)


def test_all_of_it_at_once_and_somebody_who_works(bounded: Served, tmp_path: Path) -> None:
    """Attackers come and go in four threads, and a peer that does nothing wrong loses nothing."""
    stop = threading.Event()

    def attack(number: int) -> None:
        octets = [
            bytes((1, 0)) + (2 << 30).to_bytes(4, "big") + bytes(100_000), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\0",
            pdu.encode(request()) + bytes((4, 0, 255, 255, 255, 255)),
        ]  # fmt: skip
        while not stop.is_set():
            with suppress(OSError), attacker(bounded) as script:
                script.send(octets[number])
                script.sock.recv(1 << 16)

    threads = [threading.Thread(target=attack, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        found = bounded.node.find("study", progress=False)
        for turn in range(3):
            report = found.retrieve(tmp_path / str(turn), method="get", progress=False)
            assert report.count("done") == 3
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
