"""Messages cut into PDUs in every way that the standard allows, as the sender and as the receiver."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt

from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command, decode_command, encode_command
from dicomlab.dimse.connection import MAX_PDU
from dicomlab.dimse.identifier import encode_tree, tree_of
from dicomlab.dimse.items import UserInformation
from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.dimse.node import Node
from dicomlab.errors import Interrupted, LocalProtocolError, RemoteProtocolError
from dicomlab.part10.files import read_file_meta
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.holdings import CT, EXPLICIT, instance, write
from tests.unit.dimse.scripted import Script, playing

ECHO_REPLY = Command.of("C-ECHO-RSP", MessageIDBeingRespondedTo=1, Status=0)
MAXIMA = (4_096, 16_384, 131_072, 0)
SEED = 20261124


# --- as the sender ---------------------------------------------------------------------------------------------------


def lengths_around(room: int) -> list[int]:
    return [2, room - 2, room, room + 2, 2 * room - 2, 2 * room, 2 * room + 2, 3 * room + 1000]


@pytest.mark.parametrize("maximum", [*MAXIMA, 7, 8, 64])
def test_no_pdu_is_longer_than_the_peer_takes_and_nothing_is_lost(maximum: int, tmp_path: Path) -> None:
    room = (maximum or MAX_PDU) - pdu.DATA_OVERHEAD
    sizes = lengths_around(room) if room > 1000 else [2, 64]
    paths = write(tmp_path / "out", *(instance(n, octets=size) for n, size in enumerate(sizes, start=1)))
    got: dict[str, bytes] = {}
    longest = 0

    def play(script: Script) -> None:
        nonlocal longest
        script.establish(max_pdu=maximum)
        for _ in paths:
            parts = {0: b"", 1: b""}
            while True:
                value = script.read()
                assert isinstance(value, pdu.DataTransfer)
                size = len(pdu.encode(value)) - pdu.HEADER_OCTETS
                assert maximum == 0 or size <= maximum
                longest = max(longest, size)
                for one in value.values:
                    parts[one.control & 1] += bytes(one.fragment)
                if value.values[-1].control == pdu.LAST:
                    break
            command = decode_command(parts[1])
            got[command.text("AffectedSOPInstanceUID")] = parts[0]
            script.say(command.response(0), context=value.values[-1].context_id)
        script.release()

    with playing(play) as address:
        report = Node(address).store(paths, progress=False)
    assert report.count("done") == len(paths)
    for path in paths:
        assert got[path.stem] == path.read_bytes()[read_file_meta(path).length :]
    assert longest == (maximum or MAX_PDU) if room > 1000 else longest <= maximum


@pytest.mark.parametrize("maximum", [1, 6])
def test_a_maximum_that_leaves_no_room_is_an_error_not_a_loop(maximum: int, tmp_path: Path) -> None:
    def play(script: Script) -> None:
        script.establish(max_pdu=maximum)
        assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address, pytest.raises(RemoteProtocolError, match="leaves no room"):
        Node(address).store(write(tmp_path / "out", instance(1)), progress=False)


@pytest.mark.parametrize("maximum", MAXIMA)
def test_a_real_peer_with_that_maximum_gets_every_octet(maximum: int, tmp_path: Path) -> None:
    got: dict[str, bytes] = {}

    def store(event: evt.Event) -> int:
        got[event.request.AffectedSOPInstanceUID] = event.encoded_dataset(include_meta=False)
        return 0

    ae = AE("PACS")
    ae.maximum_pdu_size = maximum
    ae.add_supported_context(CT, EXPLICIT)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    room = (maximum or MAX_PDU) - pdu.DATA_OVERHEAD
    paths = write(tmp_path / "out", *(instance(n, octets=size) for n, size in enumerate(lengths_around(room))))
    try:
        Node(f"PACS@127.0.0.1:{server.server_address[1]}").store(paths, progress=False).raise_for_failures()
    finally:
        server.shutdown()
    assert got == {path.stem: path.read_bytes()[read_file_meta(path).length :] for path in paths}


@pytest.mark.parametrize("maximum", MAXIMA)
def test_our_archive_sends_no_longer_ones_either(start: Callable[..., Pacs], maximum: int) -> None:
    """Both as the SCP of a C-GET, with the maximum of the one who asked."""
    room = (maximum or MAX_PDU) - pdu.DATA_OVERHEAD
    datasets = [instance(n, octets=size) for n, size in enumerate(lengths_around(room)[:5], start=1)]
    pacs = start(*datasets)
    model = tables.MODELS["study", "GET"]
    with associated(pacs, [(model, EXPLICIT), (CT, EXPLICIT)], maximum=maximum, scp=[CT]) as script:
        script.say(*get_request(model, "1.2.3.1"))
        got: dict[str, bytes] = {}
        while True:
            command, data = message(script, maximum)
            if command.name == "C-GET-RSP":
                if command.status not in tables.PENDING:
                    break
                continue
            got[command.text("AffectedSOPInstanceUID")] = data
            script.say(command.response(0), context=3)
    assert command.status == 0
    assert got == {d.SOPInstanceUID: pacs.holdings.octets_of(d.SOPInstanceUID) for d in datasets}


@pytest.mark.parametrize("maximum", [1, 4_095, (16 << 20) + 1])
def test_a_maximum_of_our_own_that_cannot_be(maximum: int) -> None:
    with pytest.raises(ValueError, match="max_pdu"):
        Node("PACS@pacs.invalid", max_pdu=maximum)


@pytest.mark.parametrize("maximum", [4_096, 16_384, 1 << 20])
def test_our_own_maximum_binds_the_peer(start: Callable[..., Pacs], maximum: int) -> None:
    pacs = start()

    def play(script: Script) -> None:
        assert script.establish().user.max_pdu == maximum
        script.message()
        script.sock.sendall(pdu.data_header(1, 3, maximum + 1 - pdu.DATA_OVERHEAD) + bytes(maximum))
        while not isinstance(script.read(), pdu.Abort):
            pass

    with playing(play) as address, pytest.raises(RemoteProtocolError, match=f"at most {maximum}"):
        Node(address, max_pdu=maximum).find("study", progress=False)
    assert len(pacs.holdings.files()) == 0


# --- as the receiver -------------------------------------------------------------------------------------------------


def message(script: Script, maximum: int = 0) -> tuple[Command, bytes]:
    """One whole message, whatever it is cut into."""
    before = len(script.heard)
    command, data = script.message()
    for value in script.heard[before:]:
        assert maximum == 0 or len(pdu.encode(value)) - pdu.HEADER_OCTETS <= maximum
    return command, data


@contextmanager
def associated(
    pacs: Pacs, contexts: Sequence[tuple[str, str]], *, maximum: int = 0, scp: Sequence[str] = ()
) -> Iterator[Script]:
    from dicomlab.dimse.items import Role

    asked = pdu.numbered((uid, (syntax,)) for uid, syntax in contexts)
    roles = tuple(Role(uid, scu=False, scp=True) for uid in scp)
    with socket.create_connection(("127.0.0.1", pacs.listener.port), timeout=10) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        script = Script(sock)
        script.send(pdu.AssociateRequest("PACS", "LAB1", asked, UserInformation(maximum, "1.2.3", roles=roles)))
        accept = script.read()
        assert isinstance(accept, pdu.AssociateAccept)
        assert all(one.result == 0 for one in accept.contexts)
        yield script
        script.send(pdu.ReleaseRequest())
        assert script.read() == pdu.ReleaseReply()


def get_request(model: str, study: str) -> tuple[Command, bytes]:
    from pydicom import Dataset

    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", study
    command = Command.of("C-GET-RQ", data=True, AffectedSOPClassUID=model, MessageID=1, Priority=0)
    return command, encode_tree(tree_of(query), EXPLICIT)


def store_request(uid: str) -> bytes:
    return encode_command(
        Command.of(
            "C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=uid, MessageID=7, Priority=0
        )
    )  # fmt: skip


def octets_of_dataset(tmp_path: Path, dataset: Any) -> bytes:
    (path,) = write(tmp_path / dataset.SOPInstanceUID, dataset)
    return path.read_bytes()[read_file_meta(path).length :]


Pieces = Sequence[tuple[int, bytes]]
"""Presentation data values: control header and fragment."""


def cut(kind: int, octets: bytes, sizes: Sequence[int]) -> list[tuple[int, bytes]]:
    """Cut into fragments of these sizes, the rest in one; the last one says so."""
    pieces, at = [], 0
    for size in sizes:
        if at + size >= len(octets):
            break
        pieces.append((kind, octets[at : at + size]))
        at += size
    return [*pieces, (kind | pdu.LAST, octets[at:])]


def as_pdus(pieces: Pieces, together: int = 1, context: int = 1) -> bytes:
    """P-DATA-TF PDUs of `together` values each."""
    values = [pdu.PDV(context, control, fragment) for control, fragment in pieces]
    groups = [values[start : start + together] for start in range(0, len(values), together)]
    return b"".join(pdu.encode(pdu.DataTransfer(tuple(group))) for group in groups)


def stored(pacs: Pacs, octets: bytes, uid: str, data: bytes) -> None:
    with associated(pacs, [(CT, EXPLICIT)]) as script:
        script.send(octets)
        command, _ = script.message()
        assert (command.name, command.status) == ("C-STORE-RSP", 0)
        assert command.number("MessageIDBeingRespondedTo") == 7
    assert pacs.holdings.octets_of(uid) == data


@pytest.mark.parametrize("together", [1, 2, 5, 1000])
def test_one_octet_for_each_value(start: Callable[..., Pacs], tmp_path: Path, together: int) -> None:
    """One octet per PDU, and several values in one PDU; the PDUs of a message may hold its command and its data set."""
    pacs, dataset = start(), instance(1)
    data = octets_of_dataset(tmp_path, dataset)
    command = store_request(dataset.SOPInstanceUID)
    pieces = cut(pdu.COMMAND, command, [1] * len(command)) + cut(0, data, [1] * len(data))
    stored(pacs, as_pdus(pieces, together), dataset.SOPInstanceUID, data)


def test_the_command_set_is_cut_at_every_octet(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start()
    with associated(pacs, [(CT, EXPLICIT)]) as script:
        for at in range(1, len(store_request("1.2.3"))):
            dataset = instance(at)
            data = octets_of_dataset(tmp_path, dataset)
            command = store_request(dataset.SOPInstanceUID)
            script.send(as_pdus(cut(pdu.COMMAND, command, [at]) + cut(0, data, []), together=1 + at % 3))
            assert script.message()[0].status == 0
            assert pacs.holdings.octets_of(dataset.SOPInstanceUID) == data


@pytest.mark.parametrize("sizes", ["odd", "empty ones between", "an empty last one", "random"])
def test_a_data_set_in_odd_pieces(start: Callable[..., Pacs], tmp_path: Path, sizes: str) -> None:
    pacs, dataset, chance = start(), instance(1, octets=5000), random.Random(SEED)
    data = octets_of_dataset(tmp_path, dataset)
    pieces = {
        "odd": cut(0, data, [3, 5, 7, 1001, 333]),
        "empty ones between": [(0, b""), *cut(0, data, [100, 0, 0, 200, 0])],
        "an empty last one": [(0, data), (pdu.LAST, b"")],
        "random": cut(0, data, [chance.randrange(1, 300) for _ in range(40)]),
    }[sizes]
    command = cut(pdu.COMMAND, store_request(dataset.SOPInstanceUID), [])
    stored(pacs, as_pdus(command + pieces), dataset.SOPInstanceUID, data)
    assert dcmread(pacs.holdings.folder / f"{dataset.SOPInstanceUID}.dcm").SOPInstanceUID == dataset.SOPInstanceUID


@pytest.mark.parametrize("data", [b"", bytes.fromhex("0800 0500 4353 0000"), b"\0"], ids=["empty", "8", "odd"])
def test_a_data_set_of_next_to_nothing_is_answered(start: Callable[..., Pacs], data: bytes) -> None:
    """What no instance can be may be refused, but the association goes on."""
    pacs = start()
    with associated(pacs, [(CT, EXPLICIT)]) as script:
        script.send(as_pdus(cut(pdu.COMMAND, store_request("1.2.3.4"), []) + cut(0, data, [])))
        first, _ = script.message()
        assert first.name == "C-STORE-RSP"
        script.send(as_pdus(cut(pdu.COMMAND, store_request("1.2.3.5"), []) + cut(0, data, [])))
        assert script.message()[0].name == "C-STORE-RSP"


def test_octets_that_come_one_by_one(start: Callable[..., Pacs], tmp_path: Path) -> None:
    """TCP keeps no boundaries: the header of a PDU may come in six pieces."""
    pacs, dataset = start(), instance(1)
    data = octets_of_dataset(tmp_path, dataset)
    whole = as_pdus(cut(pdu.COMMAND, store_request(dataset.SOPInstanceUID), []) + cut(0, data, [50]))
    with associated(pacs, [(CT, EXPLICIT)]) as script:
        for octet in whole:
            script.sock.sendall(bytes([octet]))
        assert script.message()[0].status == 0
    assert pacs.holdings.octets_of(dataset.SOPInstanceUID) == data


@pytest.mark.parametrize("size", [1, 2, 7, 131_066])
def test_answers_in_pieces_are_read_as_whole_ones(filled: Pacs, size: int) -> None:
    """As the SCU: command and Identifier of a C-FIND response cut, and several of them in one PDU."""
    whole = filled.node.find("study", progress=False)

    def play(script: Script) -> None:
        script.establish()
        request, octets = script.message()
        with associated(filled, [(tables.MODELS["study", "FIND"], EXPLICIT)]) as other:
            other.say(request, octets)
            while True:
                command, data = other.message()
                pieces = cut(pdu.COMMAND, encode_command(command), [size] * (200 // size))
                pieces += cut(0, data, [size] * (len(data) // size + 1)) if command.has_data else []
                script.send(as_pdus(pieces, together=3))
                if not command.has_data:
                    break
        script.release()

    with playing(play) as address:
        found = Node(address).find("study", progress=False)
    assert found.to_dataframe().equals(whole.to_dataframe())


@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([(pdu.COMMAND, b"\0\0"), (0, b"data")], "a data set where a command set must come"),
        ([(0, b"data")], "a data set where a command set must come"),
        ([(pdu.COMMAND | pdu.LAST, bytes(8))], "no CommandField"),
        ([(pdu.COMMAND, b"\0" * 40_000)] * 2, "command set beyond"),
    ],
)
def test_what_is_no_message_is_aborted(start: Callable[..., Pacs], pieces: Pieces, why: str) -> None:
    with associated_until_abort(start()) as script:
        script.send(as_pdus(pieces))
        assert isinstance(script.read(), pdu.Abort), why


@contextmanager
def associated_until_abort(pacs: Pacs) -> Iterator[Script]:
    with socket.create_connection(("127.0.0.1", pacs.listener.port), timeout=10) as sock:
        script = Script(sock)
        asked = pdu.numbered([(CT, (EXPLICIT,))])
        script.send(pdu.AssociateRequest("PACS", "LAB1", asked, UserInformation(0, "1.2.3")))
        assert isinstance(script.read(), pdu.AssociateAccept)
        yield script
        with pytest.raises(ConnectionError):
            script.read()


def test_a_message_on_a_context_that_was_not_accepted_is_aborted(start: Callable[..., Pacs]) -> None:
    with associated_until_abort(start()) as script:
        script.send(as_pdus(cut(pdu.COMMAND, store_request("1.2.3"), []), context=9))
        assert script.read() == pdu.Abort(2, 6)


def test_what_had_come_when_we_ended_it_is_read_by_nobody() -> None:
    """An answer that can't be read ends the association; whatever else lies in the buffer is no answer any more."""
    ended = threading.Event()

    def play(script: Script) -> None:
        script.establish()
        script.message()
        reply = pdu.encode(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(ECHO_REPLY)),)))
        script.send(reply + b"\x2a" * 100)
        ended.wait(10)

    with playing(play) as address:
        with peer_of(address, "LAB1").associate([Proposal(tables.VERIFICATION, (EXPLICIT,))]) as association:
            number = association.request(association.contexts[1], "C-ECHO-RQ")
            assert association.answer("C-ECHO-RSP", number).command.status == 0
            association.close()
            with pytest.raises(Interrupted, match="has ended"):
                association.receive()
        ended.set()


def test_a_command_set_that_is_too_long_for_us_is_not_sent(filled: Pacs) -> None:
    with filled.node.associate(["Verification"]) as s, pytest.raises((LocalProtocolError, ValueError)):
        s.request("C-ECHO", AffectedSOPInstanceUID="1" * 65)
