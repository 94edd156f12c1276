"""What is too much or too slow for our port, and for a node: each phase has its deadline, each size its cap."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import dicomlab
from dicomlab import Archive, Node
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.listener import MAX_ASSOCIATIONS, Terms
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.storage import send_instance
from dicomlab.errors import Interrupted, Refused, Unreachable, UsageError
from tests.faults.plans import Plan, Stall
from tests.faults.proxy import TcpProxy
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, instance
from tests.unit.dimse.scripted import Script

HEAD = b"\x08\0\x18\0UI\x08\x001.2.3.77"


def storing(pacs: Pacs) -> Any:
    return pacs.node._peer.associate([Proposal(CT, (EXPLICIT,))])


# --- sizes -----------------------------------------------------------------------------------------------------------


def test_an_instance_beyond_the_limit_is_refused_and_leaves_nothing(start: Callable[..., Pacs]) -> None:
    pacs = start(max_instance_octets=100_000)
    with storing(pacs) as association:
        (context,) = association.contexts.values()
        status, comment = send_instance(association, context, "1.2.3.77", HEAD + bytes(100_001))
        assert (status, "larger than the 100000 octets" in comment) == (0xA700, True)
        assert send_instance(association, context, "1.2.3.77", HEAD)[0] == 0
    assert [path.name for path in pacs.holdings.folder.iterdir()] == ["1.2.3.77.dcm"]


def test_without_room_nothing_is_taken(start: Callable[..., Pacs]) -> None:
    room = [1, 0, 1]
    pacs = start(free_octets=lambda: room.pop(0))
    with storing(pacs) as association:
        (context,) = association.contexts.values()
        assert [send_instance(association, context, "1.2.3.77", HEAD)[0] for _ in range(3)] == [0, 0xA700, 0]


def test_room_is_looked_at_while_an_instance_comes(start: Callable[..., Pacs], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomlab.dimse.store_scp._CHECK_OCTETS", 100_000)
    room = [1, 1, 0]
    pacs = start(free_octets=lambda: room.pop(0))
    with storing(pacs) as association:
        (context,) = association.contexts.values()
        assert send_instance(association, context, "1.2.3.77", HEAD + bytes(400_000))[0] == 0xA700
    assert list(pacs.holdings.folder.iterdir()) == []


def test_an_archive_on_a_full_medium_says_so() -> None:
    with Archive(free_octets=1 << 60) as archive:
        report = archive.node.store(instance(1), progress=False)
        assert "A700H" in report.outcomes[0].status
        assert "no room left" in report.outcomes[0].status
        assert len(archive) == 0


# --- deadlines -------------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_answer_has_a_deadline() -> None:
    """A backlog that is full lets nobody in: the connection is never completed."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            waiting.append(one)
        with pytest.raises(Unreachable, match=r"within 0\.3 s") as caught:
            Node(f"PACS@127.0.0.1:{full.getsockname()[1]}", connect_timeout_s=0.3).find("study", progress=False)
        for one in waiting:
            one.close()
    assert caught.value.transient


def test_a_peer_that_stalls_before_it_answers_the_request(filled: Pacs) -> None:
    with TcpProxy(filled.listener.port, others=Plan(to_client=[Stall(0)])) as proxy:
        node = Node(f"PACS@127.0.0.1:{proxy.port}", me="LAB1", acse_timeout_s=0.3, timeout_s=30)
        with pytest.raises(Interrupted, match=r"nothing came for 0\.3 s"):
            node.find("study", progress=False)


def test_a_peer_that_stalls_in_the_middle_of_its_answers(filled: Pacs) -> None:
    with TcpProxy(filled.listener.port, others=Plan(to_client=[Stall(700)])) as proxy:
        node = Node(f"PACS@127.0.0.1:{proxy.port}", me="LAB1", timeout_s=0.5)
        with pytest.raises(Interrupted, match=r"nothing came for 0\.5 s") as caught:
            node.find("instance", progress=False)
    assert not caught.value.partial.complete


def test_a_caller_that_stalls_inside_a_message_is_ended(start: Callable[..., Pacs]) -> None:
    pacs = start(terms=Terms(timeout_s=0.3, idle_timeout_s=30))
    with socket.create_connection(("127.0.0.1", pacs.listener.port), timeout=10) as sock:
        script = Script(sock)
        asked = pdu.numbered([(CT, (EXPLICIT,))])
        script.send(pdu.AssociateRequest("PACS", "LAB1", asked, pdu.UserInformation(0, "1.2")))
        assert isinstance(script.read(), pdu.AssociateAccept)
        sock.sendall(b"\x04\0\0\0\x10\0half of it")
        assert script.read() == pdu.Abort(0, 0)


def test_a_caller_that_is_idle_is_released_not_aborted(start: Callable[..., Pacs]) -> None:
    """Some archives throw away what they were sent on an association that ends by A-ABORT."""
    pacs = start(terms=Terms(idle_timeout_s=0.2))
    with socket.create_connection(("127.0.0.1", pacs.listener.port), timeout=10) as sock:
        script = Script(sock)
        asked = pdu.numbered([(CT, (EXPLICIT,))])
        script.send(pdu.AssociateRequest("PACS", "LAB1", asked, pdu.UserInformation(0, "1.2")))
        assert isinstance(script.read(), pdu.AssociateAccept)
        assert script.read() == pdu.ReleaseRequest()
        script.send(pdu.ReleaseReply())
        with pytest.raises(ConnectionError):
            script.read()


@pytest.mark.parametrize("phase", ["timeout_s", "connect_timeout_s", "acse_timeout_s"])
@pytest.mark.parametrize("value", [0, -1, "1", True, float("inf")])
def test_a_time_that_can_t_be(phase: str, value: Any) -> None:
    with pytest.raises(UsageError, match=phase):
        Node("PACS@127.0.0.1", **{phase: value})


# --- many at once ----------------------------------------------------------------------------------------------------


def test_two_hundred_associations_at_once(tmp_path: Path) -> None:
    """All are open at the same time before the first one stores; nothing is lost, and one more than allowed is told."""
    count = 200
    assert count < MAX_ASSOCIATIONS
    with Archive(tmp_path, max_associations=count) as archive:
        peer = archive.node._peer
        everybody = threading.Barrier(count + 1, timeout=60)
        statuses: list[int] = []
        failures: list[BaseException] = []

        def one(number: int) -> None:
            try:
                with peer.associate([Proposal(CT, (EXPLICIT,))]) as association:
                    everybody.wait()  # all are in
                    everybody.wait()  # somebody too many was told
                    (context,) = association.contexts.values()
                    uid = f"1.2.3.{number}"
                    statuses.append(send_instance(association, context, uid, dataset(uid))[0])
            except BaseException as error:  # noqa: BLE001  (carried to the test)
                failures.append(error)
                everybody.abort()

        threads = [threading.Thread(target=one, args=(number,), daemon=True) for number in range(count)]
        for thread in threads:
            thread.start()
        try:
            everybody.wait()
            with pytest.raises(Refused, match="local limit exceeded") as caught:
                peer.associate([Proposal(CT, (EXPLICIT,))])
            assert caught.value.transient
            everybody.wait()
        except threading.BrokenBarrierError:
            assert failures == []
        for thread in threads:
            thread.join(60)
        assert failures == []
        assert statuses == [0] * count
        assert len(archive) == count


def dataset(uid: str) -> bytes:
    """The least that an archive takes."""

    def element(group: int, number: int, text: str) -> bytes:
        value = text.encode() + b"\0" * (len(text) % 2)
        return (
            group.to_bytes(2, "little")
            + number.to_bytes(2, "little")
            + b"UI"
            + len(value).to_bytes(2, "little")
            + value
        )

    return (
        element(8, 0x16, CT) + element(8, 0x18, uid) + element(0x20, 0xD, "1.2.3") + element(0x20, 0xE, f"{uid}.1")
    )  # fmt: skip


# --- the rarer information models ------------------------------------------------------------------------------------


def retrieve(association: Any, uid: str, *uids: str, level: str = "IMAGE ") -> tuple[list[tuple[str, bytes]], Any]:
    """Ask for instances by C-GET, take them, and give them with the last response."""
    joined = "\\".join(uids)
    joined += "\0" * (len(joined) % 2)
    keys = b"\x08\0\x18\0UI" + len(joined).to_bytes(2, "little") + joined.encode()
    keys += b"\x08\0\x52\0CS" + len(level).to_bytes(2, "little") + level.encode()
    context = association.context_for(uid)
    association.request(context, "C-GET-RQ", keys, Priority=0)
    got: list[tuple[str, bytes]] = []
    while True:
        message = association.receive()
        if message.command.name == "C-STORE-RQ":
            got.append((message.command.text("AffectedSOPInstanceUID"), association.data()))
            association.send(message.context, message.command.response(0))
        elif message.command.status not in tables.PENDING:
            return got, message.command


def test_composite_instances_by_their_uid_alone(filled: Pacs) -> None:
    uid = tables.COMPOSITE["GET"]
    proposals = [Proposal(uid, (EXPLICIT,)), Proposal(CT, (EXPLICIT,), scp=True)]
    with filled.node._peer.associate(proposals) as association:
        got, last = retrieve(association, uid, "1.2.3.1.1.1", "1.2.3.2.1.1")
        assert (last.status, last.number("NumberOfCompletedSuboperations")) == (0, 2)
        assert got == [(one, filled.holdings.octets_of(one)) for one in ("1.2.3.1.1.1", "1.2.3.2.1.1")]
        assert retrieve(association, uid, "1.2.3.1.1.1", level="FRAME ")[1].status == 0xAA02
        assert retrieve(association, uid, "1.2.3.1.1.1", level="STUDY ")[1].status == 0xA900


def test_instances_without_their_bulk_data(filled: Pacs) -> None:
    uid = tables.WITHOUT_BULK_DATA
    proposals = [Proposal(uid, (EXPLICIT,)), Proposal(CT, (IMPLICIT,), scp=True)]
    mixed = ("1.2.3.1.3.1", "1.2.3.1.3.2")  # JPEG, Implicit VR
    with filled.node._peer.associate(proposals) as association:
        got, last = retrieve(association, uid, *mixed)
    assert (last.status, [one for one, _ in got]) == (0, list(mixed))
    for name, octets in got:
        assert b"\xe0\x7f\x10\x00" not in octets  # Pixel Data
        assert name.encode() in octets
        assert octets[4:8] != b"UI"


def test_without_the_role_nothing_can_be_sent(filled: Pacs) -> None:
    uid = tables.COMPOSITE["GET"]
    with filled.node._peer.associate([Proposal(uid, (EXPLICIT,)), Proposal(CT, (EXPLICIT,))]) as association:
        got, last = retrieve(association, uid, "1.2.3.1.1.1")  # the SCP role was not asked for
    assert (got, last.status) == ([], 0xA702)
    assert last.number("NumberOfFailedSuboperations") == 1


# --- the trace of the other side -------------------------------------------------------------------------------------


def test_an_archive_traces_what_it_sees() -> None:
    theirs = dicomlab.Trace()
    with Archive(trace=theirs) as archive, dicomlab.trace() as ours:
        archive.add(cohort()[:1], progress=False)
        assert len(archive.node.find("study", progress=False)) == 1
    names = {"A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "C-FIND-RQ", "C-FIND-RSP", "A-RELEASE-RQ", "A-RELEASE-RP"}
    assert names <= set(ours.counts())
    assert ours.counts() == theirs.counts()
    directions = {event.text.split(":")[0]: event.direction for event in theirs}
    assert (directions["C-FIND-RQ"], directions["C-FIND-RSP"]) == ("received", "sent")
    assert {party for event in theirs for party in event.parties} == {"LAB1", "DICOMLAB"}


def test_each_pdu_of_a_rejection_is_traced_on_both_sides() -> None:
    theirs = dicomlab.Trace()
    with Archive(trace=theirs, callers=["NOBODY"]) as archive, dicomlab.trace() as ours:
        assert not archive.node.verify()
    assert ours.counts() == theirs.counts() == {"A-ASSOCIATE-RQ": 1, "A-ASSOCIATE-RJ": 1}
