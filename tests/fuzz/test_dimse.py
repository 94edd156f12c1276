"""Octets gone wrong at our codecs, our listener and our Node: typed errors, an end, no growth; and every place to cut."""

from __future__ import annotations

import gc
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab import Archive, Node, trace
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import COMMAND_FIELDS, Command, decode_command, encode_command
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.identifier import keys_of, read_row
from dicomlab.dimse.request import read_find, read_retrieve
from dicomlab.errors import DicomlabError, RemoteProtocolError, ServiceError
from dicomlab.model.columns import column
from dicomlab.samples.phantom import write_phantom
from tests.fuzz.mutations import mutations
from tests.unit.dimse.holdings import EXPLICIT, IMPLICIT

VECTORS = Path(__file__).parents[1] / "vectors" / "ul"
LOOPBACK = "127.0.0.1"
GROWTH_OCTETS = 4 << 20
"""What decoding may hold at a time, for mutations of a few hundred octets each."""
QUICK, FULL = 2_000, 100_000
counts = pytest.mark.parametrize(
    "count", [QUICK, pytest.param(FULL, marks=[pytest.mark.full, pytest.mark.timeout(900)])]
)


class Talk(NamedTuple):
    """What two ends said to one another, recorded."""

    requestor: list[bytes]
    acceptor: list[bytes]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    with Archive() as archive:
        archive.add(write_phantom(tmp_path_factory.mktemp("phantom"), patients=1, slices=2), progress=False)
        yield archive


@pytest.fixture(scope="module")
def talks(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Talk]:
    """An association of each kind, as our own two ends hold it."""

    def recorded(call: Callable[[], Any]) -> Talk:
        with trace() as wire:
            call()
        said = [(e.direction, e.octets) for e in wire if e.direction != "note" and e.size == len(e.octets)]
        return Talk([o for d, o in said if d == "sent"], [o for d, o in said if d == "received"])

    folder = tmp_path_factory.mktemp("out")
    found = archive.node.find("instance", PatientID="SYN*", progress=False)
    paths = write_phantom(tmp_path_factory.mktemp("one"), patients=1, slices=1)
    return {
        "echo": recorded(archive.node.verify),
        "find": recorded(lambda: archive.node.find("study", PatientID="SYN*", progress=False)),
        "get": recorded(lambda: found[:1].retrieve(folder, method="get", progress=False)),
        "store": recorded(lambda: archive.node.store(paths[:1], progress=False)),
    }


def only(call: Callable[[], object], *allowed: type[Exception]) -> None:
    """Nothing but these may come of it."""
    with suppress(*allowed):
        call()


@contextmanager
def without_growth() -> Iterator[None]:
    gc.collect()
    tracemalloc.start()
    try:
        yield
        gc.collect()
        held, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < GROWTH_OCTETS // 4
    assert most < GROWTH_OCTETS


# --- codecs ------------------------------------------------------------------------------------------------------------


@counts
def test_pdus(talks: dict[str, Talk], count: int) -> None:
    seeds = [path.read_bytes() for path in sorted(VECTORS.glob("*.bin"))]
    seeds += [octets[:2000] for talk in talks.values() for octets in (*talk.requestor, *talk.acceptor)]
    with without_growth():
        for octets in mutations(seeds, count, 1):
            only(lambda octets=octets: pdu.decode(octets), RemoteProtocolError)  # type: ignore[misc]
            if len(octets) >= pdu.HEADER_OCTETS:
                only(lambda octets=octets: pdu.decode_header(octets, 131_072), RemoteProtocolError)  # type: ignore[misc]
                only(lambda octets=octets: list(pdu.values(octets)), RemoteProtocolError)  # type: ignore[misc]
            assert isinstance(dissect(octets), str)


@counts
def test_commands(count: int) -> None:
    seeds = []
    for name in COMMAND_FIELDS:
        about: dict[str, Any] = (
            {"MessageIDBeingRespondedTo": 1} if "RSP" in name or "CANCEL" in name else {"MessageID": 1}
        )
        about |= {"Status": 0xB000, "NumberOfFailedSuboperations": 3, "ErrorComment": "no"} if "RSP" in name else {}
        seeds.append(encode_command(Command.of(name, data=True, AffectedSOPClassUID="1.2.840.10008.1.1", **about)))
    with without_growth():
        for octets in mutations(seeds, count, 2):
            only(lambda octets=octets: decode_command(octets), RemoteProtocolError)  # type: ignore[misc]


@counts
def test_identifiers(talks: dict[str, Talk], count: int) -> None:
    wanted = tuple(map(column, ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "ModalitiesInStudy")))
    seeds = []
    for talk in (talks["find"], talks["get"]):
        for octets in (*talk.requestor, *talk.acceptor):
            value = pdu.decode(octets)
            if isinstance(value, pdu.DataTransfer):
                seeds += [
                    bytes(one.fragment)
                    for one in value.values
                    if not one.control & pdu.COMMAND and len(one.fragment) < 2000
                ]
    assert len(seeds) >= 3
    with without_growth():
        for number, octets in enumerate(mutations(seeds, count, 3)):
            syntax = EXPLICIT if number % 3 else IMPLICIT
            only(lambda o=octets, s=syntax: read_row(o, s, wanted), RemoteProtocolError)  # type: ignore[misc]
            only(lambda o=octets, s=syntax: keys_of(o, s), RemoteProtocolError)  # type: ignore[misc]
            only(lambda o=octets, s=syntax: read_find(o, s, "study"), ServiceError)  # type: ignore[misc]
            only(lambda o=octets, s=syntax: read_retrieve(o, s, "study"), ServiceError)  # type: ignore[misc]


@given(st.data())
def test_every_place_to_cut_a_command(data: st.DataObject) -> None:
    """A prefix is an error or, at the end of an element, a command set with less in it; never anything else."""
    name = data.draw(st.sampled_from(sorted(COMMAND_FIELDS)))
    about: dict[str, Any] = {"MessageIDBeingRespondedTo": 1} if "RSP" in name or "CANCEL" in name else {"MessageID": 1}
    about |= {"Status": 0} if "RSP" in name else {}
    about |= {"AffectedSOPInstanceUID": data.draw(st.from_regex(r"[0-9.]{1,64}", fullmatch=True))}
    whole = Command.of(name, **about)
    octets = encode_command(whole)
    for at in range(len(octets)):
        try:
            less = decode_command(octets[:at])
        except RemoteProtocolError:
            continue
        assert set(less.fields) < set(decode_command(octets).fields)
        assert all(whole.fields[key] == value for key, value in less.fields.items() if key in whole.fields)


@given(st.binary(max_size=300), st.integers(1, 255), st.integers(0, 3), st.data())
def test_a_value_cut_anywhere_is_put_together_again(
    fragment: bytes, context: int, control: int, data: st.DataObject
) -> None:
    """However a fragment is dealt out over values and PDUs, what is read is what was written."""
    places = sorted(data.draw(st.lists(st.integers(0, len(fragment)), max_size=6)))
    pieces = [fragment[a:b] for a, b in zip([0, *places], [*places, len(fragment)], strict=True)]
    together = data.draw(st.integers(1, 4))
    values = [pdu.PDV(context, control, piece) for piece in pieces]
    pdus = [pdu.encode(pdu.DataTransfer(tuple(values[n : n + together]))) for n in range(0, len(values), together)]
    read = [one for octets in pdus for one in pdu.values(octets)]
    assert b"".join(bytes(one.fragment) for one in read) == fragment
    assert {(one.context_id, one.control) for one in read} == {(context, control)}


# --- our listener ------------------------------------------------------------------------------------------------------


def said_to(port: int, pieces: Sequence[bytes], release: Sequence[bytes] = (), due: int = 0) -> bytes:
    """Say this, and when so many octets are there the release, then no more; all that comes back to the end."""
    with socket.create_connection((LOOPBACK, port), timeout=20) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard = bytearray()
        with suppress(OSError):
            for piece in pieces:
                sock.sendall(piece)
            while len(heard) < due and (octets := sock.recv(1 << 16)):
                heard += octets
            for piece in release:
                sock.sendall(piece)
            sock.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while octets := sock.recv(1 << 16):
                heard += octets
        return bytes(heard)


@pytest.mark.parametrize("count", [240, pytest.param(12_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_conversations_gone_wrong_at_our_listener(archive: Archive, talks: dict[str, Talk], count: int) -> None:
    """Each ends, by an answer or an abort or the end of the connection, and the next one is served."""
    port = archive.node.address.port
    seeds = [b"".join(talk.requestor) for talk in talks.values()]
    seeds += [b"".join(talk.requestor[:2]) for talk in talks.values()]
    before = threading.active_count()
    for number, octets in enumerate(mutations(seeds, count, 4)):
        heard = said_to(port, [octets])
        assert heard == b"" or heard[0] in pdu.PDU_NAMES
        if number % 60 == 0:
            assert archive.node.verify()
    assert archive.node.verify()
    assert threading.active_count() <= before + 4
    assert len(archive.node.find("study", PatientID="SYN*", progress=False)) >= 1


@pytest.mark.parametrize("name", ["echo", "find", "store"])
@pytest.mark.parametrize("step", [23, pytest.param(1, marks=pytest.mark.full)])
def test_a_conversation_cut_in_two_anywhere_is_the_same(
    archive: Archive, talks: dict[str, Talk], name: str, step: int
) -> None:
    """TCP may deliver any number of octets at a time. Who releases too early may get fewer answers: this one waits."""
    port, talk = archive.node.address.port, talks[name]
    asked, release = b"".join(talk.requestor[:-1]), talk.requestor[-1]
    expected = b"".join(talk.acceptor)
    assert (release, expected[-10:]) == (pdu.encode(pdu.ReleaseRequest()), pdu.encode(pdu.ReleaseReply()))
    due = len(expected) - 10
    for at in sorted({*range(len(asked) - 12, len(asked)), *range(1, min(len(asked), 1500), step)}):
        assert said_to(port, [asked[:at], asked[at:]], [release], due) == expected, at
    for at in range(1, len(release)):
        assert said_to(port, [asked], [release[:at], release[at:]], due) == expected, at


# --- our Node ----------------------------------------------------------------------------------------------------------


@contextmanager
def answering(octets: bytes) -> Iterator[str]:
    """A peer that says this whatever it is asked, then no more, and takes everything."""

    def serve(sock: socket.socket) -> None:
        with sock, suppress(OSError):
            sock.settimeout(20)
            sock.recv(1)
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(1 << 16):
                pass

    def accept() -> None:
        with suppress(OSError):
            while True:
                serve(server.accept()[0])

    with socket.create_server((LOOPBACK, 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"DICOMLAB@{LOOPBACK}:{server.getsockname()[1]}"
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(20)


@pytest.mark.parametrize("count", [120, pytest.param(6_000, marks=[pytest.mark.full, pytest.mark.timeout(900)])])
def test_answers_gone_wrong_at_our_node(talks: dict[str, Talk], tmp_path: Path, count: int) -> None:
    """A Cohort, a Report, a Verification, or an error of the tree; and what a broken answer brought is no file."""
    paths = write_phantom(tmp_path / "in", patients=1, slices=1)[:1]
    verbs: dict[str, Callable[[Node], object]] = {
        "echo": lambda node: node.verify(),
        "find": lambda node: node.find("study", PatientID="SYN*", progress=False),
        "store": lambda node: node.store(paths, progress=False),
    }
    for name, verb in verbs.items():
        for octets in mutations([b"".join(talks[name].acceptor)], count // len(verbs), 5):
            with answering(octets) as address:
                only(lambda a=address, v=verb: v(Node(a, me="LAB1", timeout_s=5)), DicomlabError)  # type: ignore[misc]


def test_the_models_are_those_that_the_seeds_speak_of(talks: dict[str, Talk]) -> None:
    """The recorded conversations are whole ones, or nothing above would mean much."""
    for name, talk in talks.items():
        assert isinstance(pdu.decode(talk.requestor[0]), pdu.AssociateRequest), name
        assert isinstance(pdu.decode(talk.acceptor[0]), pdu.AssociateAccept), name
        assert pdu.decode(talk.acceptor[-1]) == pdu.ReleaseReply(), name
    assert tables.MODELS["study", "GET"].encode() in b"".join(talks["get"].requestor)
