"""Storage commitment, both roles: reports on the same association and on another, late ones, false ones, none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from queue import SimpleQueue
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import Archive, Node
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command
from dicomlab.dimse.handlers import Asked
from dicomlab.dimse.negotiation import Proposal, peer_of
from dicomlab.dimse.reception import Expected, Lease, Senders
from dicomlab.dimse.transaction import Result, Transaction
from dicomlab.errors import Refused, ServiceError, UsageError
from dicomlab.model.report import Report
from tests.peers.processes import free_port
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.holdings import CT, EXPLICIT, MR, instance
from tests.unit.dimse.scripted import Script

ONE, TWO = instance(1), instance(2)


def statuses(report: Report) -> list[tuple[str, str]]:
    return [(o.result, o.status.partition("commitment: ")[2]) for o in report]


# --- against our own archive -----------------------------------------------------------------------------------------


def test_what_is_stored_is_safe(start: Callable[..., Pacs]) -> None:
    pacs = start()
    report = pacs.node.store([ONE, TWO], commit=True, progress=False)
    assert report.complete
    assert statuses(report) == [("done", "safe"), ("done", "safe")]
    assert report.refresh_with is None


def test_a_report_on_another_association(start: Callable[..., Pacs]) -> None:
    """The one who asks has released; the report comes to our own port."""
    pacs = start()
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    node = Node(str(pacs.node.address), me=f"LAB1:{port}")
    node.store(ONE, progress=False)
    arrived: list[Result] = []
    done = threading.Event()

    def take(result: Result) -> None:
        arrived.append(result)
        done.set()

    with Lease(Expected(transactions=("1.2.9",), on_result=take), "LAB1", "127.0.0.1", port, grace_s=5.0):
        with node._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association:
            ask(association, Transaction("1.2.9", ((CT, str(ONE.SOPInstanceUID)), (CT, "1.2.3.404"))))
        assert done.wait(10)
    assert arrived == [Result("1.2.9", ((CT, str(ONE.SOPInstanceUID)),), {(CT, "1.2.3.404"): 0x0112})]


def ask(association: Any, transaction: Transaction, **changes: Any) -> Command:
    (context,) = association.contexts.values()
    fields = {
        "RequestedSOPClassUID": tables.COMMITMENT,
        "RequestedSOPInstanceUID": tables.COMMITMENT_INSTANCE,
        "ActionTypeID": 1,
        **changes,
    }
    number = association.request(context, "N-ACTION-RQ", transaction.encode(context.transfer_syntax), **fields)
    command: Command = association.answer("N-ACTION-RSP", number).command
    return command


def test_a_transaction_uid_in_use_is_a_duplicate(start: Callable[..., Pacs]) -> None:
    """The first one has its report; the second, of the same UID, has everything failed (0131H)."""
    pacs = start()
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    node = Node(str(pacs.node.address), me=f"LAB1:{port}")
    node.store(ONE, progress=False)
    arrived: list[Result] = []
    done = threading.Event()

    def take(result: Result) -> None:
        arrived.append(result)
        if len(arrived) == 2:
            done.set()

    reference = (CT, str(ONE.SOPInstanceUID))
    with Lease(Expected(transactions=("1.2.9",), on_result=take), "LAB1", "127.0.0.1", port, grace_s=5.0):
        with node._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association:
            for _ in range(2):
                assert ask(association, Transaction("1.2.9", (reference,))).status == 0
        assert done.wait(10)
    assert sorted(arrived, key=lambda one: len(one.failed)) == [
        Result("1.2.9", (reference,), {}),
        Result("1.2.9", (), {reference: 0x0131}),
    ]


@pytest.mark.parametrize("refused", [False, True])
def test_a_transaction_uid_is_free_again_once_its_report_has_gone_or_it_was_refused(
    start: Callable[..., Pacs], refused: bool
) -> None:
    refusals = [refused]

    def judge(asked: Asked) -> Mapping[str, int]:
        if any(refusals) and refusals.pop():
            raise ServiceError("closed on Sundays", status=0x0110)
        return asked.usual()

    pacs = start(handlers={"N-ACTION": judge})
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    node = Node(str(pacs.node.address), me=f"LAB1:{port}")
    node.store(ONE, progress=False)
    arrived: SimpleQueue[Result] = SimpleQueue()
    reference = (CT, str(ONE.SOPInstanceUID))
    with Lease(Expected(transactions=("1.2.9",), on_result=arrived.put), "LAB1", "127.0.0.1", port, grace_s=5.0):
        for status in (0x0110 if refused else 0, 0):
            with node._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association:
                assert ask(association, Transaction("1.2.9", (reference,))).status == status
            if status == 0:
                assert arrived.get(timeout=10) == Result("1.2.9", (reference,), {})


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ((CT, "1.2.3.404"), 0x0112),
        (("1.2.3.4", "1.2.3.404"), 0x0122),
        ((MR, "1.2.3.1.1.1"), 0x0119),
        ((CT, "1.2.3.1.1.2"), 0x0110),
        ((CT, "1.2.3.1.2.1"), 0x0112),
    ],
)
def test_what_is_not_held_is_not_committed_to(filled: Pacs, reference: tuple[str, str], reason: int) -> None:
    with (filled.holdings.folder / "1.2.3.1.1.2.dcm").open("ab") as file:
        held = filled.holdings.select("instance", ["1.2.3.1.1.2", "1.2.3.1.2.1"])
        file.write(b"longer than it was")
    (filled.holdings.folder / "1.2.3.1.2.1.dcm").unlink()
    filled.holdings.select = lambda level, uids: (
        [  # type: ignore[method-assign]  (what an index still believes)
            one for one in held if one.sop_instance_uid in uids
        ]
        or type(filled.holdings).select(filled.holdings, level, [u for u in uids if u == "1.2.3.1.1.1"])
    )
    with filled.node._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association:
        assert ask(association, Transaction("1.2.9", (reference,))).status == 0
        message = association.receive()
        assert message is not None
        assert (message.command.name, message.command.number("EventTypeID")) == ("N-EVENT-REPORT-RQ", 2)
        result = Result.decode(association.data(), message.context.transfer_syntax)
        assert result == Result("1.2.9", (), {reference: reason})
        association.send(message.context, message.command.response(0))


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"ActionTypeID": 2}, 0x0123), ({"RequestedSOPInstanceUID": "1.2.3"}, 0x0112)],
)
def test_what_is_no_request_for_commitment(filled: Pacs, changes: dict[str, Any], status: int) -> None:
    with filled.node._peer.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)]) as association:
        assert ask(association, Transaction("1.2.9", ((CT, "1.2"),)), **changes).status == status
        assert ask(association, Transaction("1.2.9", ())).status == 0x0115


def test_a_request_may_cross_our_report(filled: Pacs) -> None:
    """Whoever asks goes on storing; the report, which waits for silence, is answered after that."""
    proposals = [Proposal(tables.COMMITMENT, (EXPLICIT,)), Proposal(tables.VERIFICATION, (EXPLICIT,))]
    with filled.node._peer.associate(proposals) as association:
        commitment, verification = association.contexts.values()
        association.request(
            commitment, "N-ACTION-RQ", Transaction("1.2.9", ((CT, "1.2.3.1.1.1"),)).encode(EXPLICIT), ActionTypeID=1,
            RequestedSOPClassUID=tables.COMMITMENT, RequestedSOPInstanceUID=tables.COMMITMENT_INSTANCE,
        )  # fmt: skip
        names = []
        report = None
        while report is None:
            message = association.receive()
            assert message is not None
            names.append(message.command.name)
            report = message if message.command.name == "N-EVENT-REPORT-RQ" else None
        for _ in association.fragments():
            pass
        number = association.request(verification, "C-ECHO-RQ")
        assert association.answer("C-ECHO-RSP", number).command.status == 0
        association.send(report.context, report.command.response(0))
        number = association.request(verification, "C-ECHO-RQ")
        assert association.answer("C-ECHO-RSP", number).command.status == 0
    assert names == ["N-ACTION-RSP", "N-EVENT-REPORT-RQ"]


def test_somebody_elses_judgement(start: Callable[..., Pacs]) -> None:
    asked: list[Asked] = []

    def judge(one: Asked) -> dict[str, int]:
        asked.append(one)
        assert one.usual() == {}
        return {one.uids[0]: 0x0213}

    pacs = start(handlers={"N-ACTION": judge})
    report = pacs.node.store([ONE, TWO], commit=True, progress=False)
    assert statuses(report) == [("failed", "not committed: 0213H resource limitation"), ("done", "safe")]
    assert not report.complete
    assert "1 of 2 were not committed to" in report.note
    assert asked[0].dataset.TransactionUID.startswith("2.25.")
    assert asked[0].caller.ae_title == "LAB1"


# --- against scripted peers ------------------------------------------------------------------------------------------


@contextmanager
def peer(commit: Callable[[Script], object]) -> Iterator[Any]:
    """A peer that takes one instance, and on its second association does what the test wants."""
    with _listening() as (port, accept):
        failures: list[BaseException] = []

        def run() -> None:
            try:
                for play in (_take_one, commit):
                    with accept() as sock:
                        sock.settimeout(10)
                        play(Script(sock))
            except ConnectionError:
                pass
            except BaseException as error:  # noqa: BLE001  (carried to the test)
                failures.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"PACS@127.0.0.1:{port}"
        thread.join(10)
        if failures:
            raise failures[0]


@contextmanager
def _listening() -> Iterator[Any]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1], lambda: server.accept()[0]


def _take_one(script: Script) -> None:
    script.establish()
    command, _ = script.message()
    script.say(command.response(0))
    script.release()


def _asked(script: Script) -> tuple[Command, Transaction]:
    script.establish()
    command, data = script.message()
    assert (command.name, command.number("ActionTypeID")) == ("N-ACTION-RQ", 1)
    assert command.text("RequestedSOPInstanceUID") == tables.COMMITMENT_INSTANCE
    return command, Transaction.decode(data, EXPLICIT)


def _report(script: Script, result: Result, event_type: int = 0, instance: str = tables.COMMITMENT_INSTANCE) -> int:
    event = Command.of(
        "N-EVENT-REPORT-RQ", data=True, MessageID=7, EventTypeID=event_type or result.event_type,
        AffectedSOPClassUID=tables.COMMITMENT, AffectedSOPInstanceUID=instance,
    )  # fmt: skip
    script.say(event, result.encode(EXPLICIT))
    command, _ = script.message()
    assert (command.name, command.number("MessageIDBeingRespondedTo")) == ("N-EVENT-REPORT-RSP", 7)
    return command.status


def test_a_report_faster_than_the_answer() -> None:
    def play(script: Script) -> None:
        command, transaction = _asked(script)
        assert _report(script, Result(transaction.uid, transaction.instances, {})) == 0
        script.say(command.response(0))
        script.release()

    with peer(play) as address:
        report = Node(address).store(ONE, commit=True, progress=False)
    assert statuses(report) == [("done", "safe")]


def test_a_report_of_somebody_elses_transaction_is_not_believed() -> None:
    def play(script: Script) -> None:
        command, transaction = _asked(script)
        script.say(command.response(0))
        assert _report(script, Result("1.2.3.4", transaction.instances, {})) == 0x0112
        whole = Result(transaction.uid, transaction.instances, {})
        assert _report(script, whole, event_type=3) == 0x0113
        assert _report(script, replace(whole, uid="1.2.3.4"), instance="no uid") == 0x0112
        assert _report(script, Result(transaction.uid, (), {transaction.instances[0]: 0x0110})) == 0
        script.release()

    with peer(play) as address:
        report = Node(address).store(ONE, commit=True, progress=False)
    assert statuses(report) == [("failed", "not committed: 0110H processing failure")]


def test_a_report_that_leaves_something_out() -> None:
    def play(script: Script) -> None:
        command, transaction = _asked(script)
        script.say(command.response(0))
        assert _report(script, Result(transaction.uid, ((CT, "1.2.3.9"),), {})) == 0
        script.release()

    with peer(play) as address:
        report = Node(address).store(ONE, commit=True, progress=False)
    assert statuses(report) == [("failed", "not committed: not mentioned in the report")]


def test_a_refusal_leaves_what_is_stored() -> None:
    def play(script: Script) -> None:
        command, _ = _asked(script)
        script.say(command.response(0x0110))
        script.release()

    with peer(play) as address:
        report = Node(address).store(ONE, commit=True, progress=False)
    assert [one.result for one in report] == ["warning"]
    assert "0110H" in report.outcomes[0].status
    assert not report.complete


def test_a_peer_without_commitment() -> None:
    def play(script: Script) -> None:
        request = script.answer()
        answers = tuple(pdu.AnsweredContext(c.id, 3, c.transfer_syntaxes[0]) for c in request.contexts)
        script.send(pdu.AssociateAccept("PACS", "X", answers, script.accept.user))
        script.release()

    with peer(play) as address:
        report = Node(address).store(ONE, commit=True, progress=False)
    assert [one.result for one in report] == ["warning"]
    assert "does not offer this service" in report.outcomes[0].status


def test_a_report_that_comes_later_on_our_own_port() -> None:
    port = free_port()
    transactions: list[Transaction] = []

    def play(script: Script) -> None:
        command, transaction = _asked(script)
        transactions.append(transaction)
        script.say(command.response(0))
        script.release()

    with peer(play) as address:
        node = Node(address, me=f"LAB1:{port}")
        report = node.store(ONE, commit=True, commit_timeout_s=0.2, progress=False)
        assert statuses(report) == [("pending", "pending")]
        assert not report.complete
        assert "report.refresh()" in report.note
    (transaction,) = transactions

    them = peer_of(f"LAB1@127.0.0.1:{port}", "PACS")
    with them.associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED, scp=True)]) as association:
        (context,) = association.contexts.values()
        assert context.scp
        number = association.request(
            context, "N-EVENT-REPORT-RQ", Result(transaction.uid, transaction.instances, {}).encode(EXPLICIT),
            AffectedSOPInstanceUID=tables.COMMITMENT_INSTANCE, EventTypeID=1,
        )  # fmt: skip
        assert association.answer("N-EVENT-REPORT-RSP", number).command.status == 0
    report = report.refresh()
    assert statuses(report) == [("done", "safe")]
    assert report.complete
    assert not Lease._open  # the port is closed again


def test_the_port_closes_when_nobody_holds_the_report_any_more() -> None:
    def play(script: Script) -> None:
        command, _ = _asked(script)
        script.say(command.response(0))
        script.release()

    with peer(play) as address:
        node = Node(address, me=f"LAB1:{free_port()}")
        report = node.store(ONE, commit=True, commit_timeout_s=0.2, progress=False)
        assert Lease._open
        del report
    assert not Lease._open


def test_asking_again_where_there_is_no_port_of_ours() -> None:
    def play(script: Script) -> None:
        command, _ = _asked(script)
        script.say(command.response(0))
        script.release()

    with peer(play) as address:
        node = Node(address)
        report = node.store(ONE, commit=True, commit_timeout_s=0.2, progress=False)
        assert statuses(report) == [("pending", "pending")]
    again = report.refresh()  # nobody listens there any more
    assert [one.result for one in again] == ["pending"]
    assert "nobody listens" in again.outcomes[0].status
    assert again.refresh_with is not None


def test_only_the_peer_may_report(caplog: pytest.LogCaptureFixture) -> None:

    port = free_port()
    what = Expected(Senders("PACS", "127.0.0.1"), transactions=("1.2",))
    with Lease(what, "LAB1", "127.0.0.1", port), pytest.raises(Refused, match="not recognized"):
        peer_of(f"LAB1@127.0.0.1:{port}", "MALLORY").associate([Proposal(tables.COMMITMENT, tables.UNCOMPRESSED)])
    assert "MALLORY at 127.0.0.1 was turned away" in caplog.text
    assert "senders=['127.0.0.1']" in caplog.text
    what = Expected(Senders("PACS", "127.0.0.9", ("127.0.0.0/8",)))
    with Lease(what, "LAB1", "127.0.0.1", port):
        peer_of(f"LAB1@127.0.0.1:{port}", "CLUSTER").associate(
            [Proposal(tables.VERIFICATION, tables.UNCOMPRESSED)]
        ).release()


def test_two_wait_on_one_port() -> None:
    port = free_port()
    with Lease(Expected(), "LAB1", "127.0.0.1", port) as one, Lease(Expected(), "LAB1", "127.0.0.1", port) as two:
        assert one.listener is two.listener
        one.close()
        one.close()
        assert Lease._open


def test_a_time_that_can_t_be() -> None:
    with pytest.raises(UsageError, match="commit_timeout_s"):
        Node("PACS@127.0.0.1").store([], commit=True, commit_timeout_s=0)


def test_an_archive_commits_and_remembers_where_others_listen() -> None:
    port = free_port()
    with Archive(known={"LAB9": ("127.0.0.1", port)}) as archive:
        node = Node(str(archive.node.address), me=f"LAB9:{port}")
        report = node.store([ONE, TWO], commit=True, progress=False)
        assert report.complete
        assert archive.node.store(Dataset(), commit=True, progress=False).count("failed") == 1
