"""Peers that say one thing and do another: what counts is what arrived."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest

from dicomlab import Cohort, Interrupted, Node, RemoteProtocolError
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_tree
from dicomlab.model.report import Report
from dicomlab.part10.files import read_file_meta
from tests.unit.dimse.holdings import CT, EXPLICIT, instance, write
from tests.unit.dimse.scripted import Script, playing

GET = tables.MODELS["study", "GET"]
SEED = 20261124
Lie = Callable[["Liar", Command, Sequence[str]], None]


class Liar:
    """One association with a peer that was asked for a C-GET."""

    def __init__(self, script: Script, octets: dict[str, bytes]) -> None:
        self.script, self.octets = script, octets
        self.context = next(c.id for c in script.request.contexts if c.abstract_syntax == GET)
        self.storage = next(
            c.id for c in script.request.contexts if c.abstract_syntax == CT and EXPLICIT in c.transfer_syntaxes
        )
        self.stored: list[int] = []

    def send(self, uid: str, octets: bytes | None = None) -> None:
        """One sub-operation."""
        request = Command.of(
            "C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=uid, MessageID=7, Priority=0
        )
        self.script.say(request, octets or self.octets[uid], context=self.storage)
        self.stored.append(self.script.message()[0].status)

    def end(self, command: Command, status: int, listed: Sequence[str] = (), **counts: int) -> None:
        """The final response."""
        data = encode_tree({FAILED_SOP_INSTANCE_UID_LIST: ("UI", list(listed))}, EXPLICIT) if listed else None
        named = {f"NumberOf{name}Suboperations": value for name, value in counts.items()}
        self.script.say(command.response(status, data=data is not None, **named), data, context=self.context)


@contextmanager
def lying(octets: dict[str, bytes], lie: Lie) -> Iterator[Node]:
    """A peer on a free port that answers each C-GET with a lie."""
    failures: list[BaseException] = []

    def serve(sock: socket.socket) -> None:
        try:
            with sock:
                sock.settimeout(10)
                script = Script(sock)
                script.establish(scp=True)
                liar = Liar(script, octets)
                while True:
                    value, identifier = script.message()
                    uids = [uid for uid in octets if uid.encode() in identifier] if identifier else list(octets)
                    lie(liar, value, uids or list(octets))
        except (ConnectionError, AssertionError, OSError):
            return  # released or aborted, as the test looks at from its side
        except BaseException as error:  # noqa: BLE001  (carried to the thread of the test)
            failures.append(error)

    def accept() -> None:
        with suppress(OSError):
            while True:
                sock, _ = server.accept()
                threading.Thread(target=serve, args=(sock,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield Node(f"PACS@127.0.0.1:{server.getsockname()[1]}", timeout_s=5)
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    if failures:
        raise failures[0]


@pytest.fixture(scope="module")
def octets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    paths = write(tmp_path_factory.mktemp("truth"), *(instance(n, octets=500 + 2 * n) for n in range(1, 6)))
    return {path.stem: path.read_bytes()[read_file_meta(path).length :] for path in paths}


def cohort(node: Node, octets: dict[str, bytes]) -> Cohort:
    rows = [
        {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1", "SOPInstanceUID": uid, "SOPClassUID": CT}
        for uid in octets
    ]
    return Cohort.from_dataframe(pd.DataFrame(rows), source=node)


def retrieved(octets: dict[str, bytes], lie: Lie, to: Path) -> Report:
    with lying(octets, lie) as node:
        return cohort(node, octets).retrieve(to, method="get", progress=False)


def all_of(liar: Liar, command: Command, uids: Sequence[str], **counts: int) -> None:
    for uid in uids:
        liar.send(uid)


def nothing(liar: Liar, command: Command, uids: Sequence[str]) -> None:
    return None


def but_one(liar: Liar, command: Command, uids: Sequence[str]) -> None:
    all_of(liar, command, [uid for uid in uids if uid != "1.2.3.1.1.3"])


def twice(liar: Liar, command: Command, uids: Sequence[str]) -> None:
    all_of(liar, command, [uid for uid in uids for _ in range(2)])


def ending(before: Callable[..., None], status: int, listed: Sequence[str] = (), **counts: int) -> Lie:
    def lie(liar: Liar, command: Command, uids: Sequence[str]) -> None:
        before(liar, command, uids)
        liar.end(command, status, listed, **counts)

    return lie


LIES: dict[str, tuple[Lie, int]] = {
    "success, all failed": (ending(nothing, 0, Completed=0, Failed=5, Warning=0), 0),
    "success, none of n": (ending(nothing, 0), 0),
    "success, all completed, none sent": (ending(nothing, 0, Completed=5, Failed=0, Warning=0), 0),
    "success, n-1 of n": (ending(but_one, 0, Completed=5), 4),
    "B000, n-1 of n, listed": (ending(but_one, 0xB000, ["1.2.3.1.1.3"], Completed=4, Failed=1), 4),
    "B000, n-1 of n, another listed": (ending(but_one, 0xB000, ["1.2.3.1.1.1", "9.9"], Completed=4, Failed=1), 4),
    "B000, all sent": (ending(all_of, 0xB000, Completed=0, Failed=5), 5),
    "failure, all sent": (ending(all_of, 0xA702, Completed=0, Failed=5), 5),
    "cancelled by nobody": (ending(but_one, 0xFE00, Remaining=1), 4),
    "duplicates": (ending(twice, 0, Completed=10), 5),
    "counters beyond all": (ending(all_of, 0, Remaining=0xFFFF, Completed=0xFFFF, Failed=0xFFFF), 5),
    "reserved status": (ending(all_of, 0x1234), 5),
}


@pytest.mark.parametrize("name", LIES)
def test_the_count_is_that_of_what_arrived(octets: dict[str, bytes], tmp_path: Path, name: str) -> None:
    lie, there = LIES[name]
    report = retrieved(octets, lie, tmp_path)
    assert report.count("done") == there
    assert report.count("failed") == 5 - there
    assert report.complete is (there == 5)
    assert len(report) == 5
    files = set(tmp_path.rglob("*.dcm"))
    assert {tmp_path / o.path for o in report if o.result == "done"} == files
    for outcome in report:
        if outcome.result == "done":
            path = tmp_path / outcome.path
            assert path.read_bytes()[read_file_meta(path).length :] == octets[outcome.sop_instance_uid]
        else:
            assert outcome.status
    if there < 5:
        assert report.note
        assert str(5 - there) in report.note


def test_a_status_of_a_warning_names_itself(octets: dict[str, bytes], tmp_path: Path) -> None:
    report = retrieved(octets, LIES["B000, n-1 of n, listed"][0], tmp_path)
    (failed,) = report.failures
    assert failed.sop_instance_uid == "1.2.3.1.1.3"
    assert failed.status.startswith("B000H")


def test_the_second_of_two_that_differ_is_not_taken(octets: dict[str, bytes], tmp_path: Path) -> None:
    def lie(liar: Liar, command: Command, uids: Sequence[str]) -> None:
        for uid in uids:
            liar.send(uid)
            liar.send(uid, octets[uid][:-4] + b"EVIL")
        liar.end(command, 0)

    report = retrieved(octets, lie, tmp_path)
    assert report.complete
    for outcome in report:
        path = tmp_path / outcome.path
        assert path.read_bytes()[read_file_meta(path).length :] == octets[outcome.sop_instance_uid]


def test_what_nobody_asked_for_does_not_stand_in_for_what_is_missing(octets: dict[str, bytes], tmp_path: Path) -> None:
    def lie(liar: Liar, command: Command, uids: Sequence[str]) -> None:
        for number, uid in enumerate(uids):
            liar.send(
                f"1.2.99.{number}", octets[uid].replace(uid.encode(), f"1.2.99.{number}".ljust(len(uid), "\0").encode())
            )
        liar.end(command, 0, Completed=5)

    report = retrieved(octets, lie, tmp_path)
    assert not report.complete
    assert {o.sop_instance_uid for o in report.failures} == set(octets)
    assert report.count("done") == 0


def test_each_request_brings_one_whole_and_half_of_another(octets: dict[str, bytes], tmp_path: Path) -> None:
    """The connection goes in the middle of an instance each time. What came whole is counted, once; nothing else is."""
    chance = random.Random(SEED)

    def lie(liar: Liar, command: Command, uids: Sequence[str]) -> None:
        if len(uids) > 1:
            liar.send(uids[0])
        request = Command.of(
            "C-STORE-RQ", data=True, AffectedSOPClassUID=CT, AffectedSOPInstanceUID=uids[-1], MessageID=8, Priority=0
        )
        cut = octets[uids[-1]][: chance.randrange(1, 400)]
        values = (pdu.PDV(liar.storage, 3, encode_command(request)), pdu.PDV(liar.storage, 0, cut))
        liar.script.send(pdu.DataTransfer(values))
        raise ConnectionError

    try:
        report = retrieved(octets, lie, tmp_path)
    except Interrupted as error:
        report = error.partial
    done = [o for o in report if o.result == "done"]
    assert len(done) >= 1
    assert report.complete is (len(done) == 5)
    assert sorted(tmp_path.rglob("*.dcm")) == sorted(tmp_path / o.path for o in done)
    for outcome in done:
        path = tmp_path / outcome.path
        assert path.read_bytes()[read_file_meta(path).length :] == octets[outcome.sop_instance_uid]


@pytest.mark.parametrize(
    "answer",
    [
        Command.of("C-GET-RSP", MessageIDBeingRespondedTo=999, Status=0),
        Command.of("C-MOVE-RSP", MessageIDBeingRespondedTo=1, Status=0),
        Command.of("C-ECHO-RQ", MessageID=1, AffectedSOPClassUID=tables.VERIFICATION),
        Command.of("C-GET-RQ", MessageID=1, AffectedSOPClassUID=GET),
        Command.of("N-EVENT-REPORT-RQ", MessageID=1, AffectedSOPClassUID=GET),
    ],
    ids=lambda command: f"{command.name}",
)
def test_an_answer_to_another_question_is_a_protocol_error(
    octets: dict[str, bytes], tmp_path: Path, answer: Command
) -> None:
    def lie(liar: Liar, command: Command, uids: Sequence[str]) -> None:
        liar.send(uids[0])
        liar.script.say(answer, context=liar.context)
        liar.script.read()

    with pytest.raises(RemoteProtocolError) as caught:
        retrieved(octets, lie, tmp_path)
    assert caught.value.partial.count("done") == 1


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007])
def test_a_store_with_a_warning_is_there_but_not_quite_as_sent(tmp_path: Path, status: int) -> None:
    (path,) = write(tmp_path, instance(1))

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        context = script.heard[-1].values[-1].context_id  # type: ignore[union-attr]
        script.say(command.response(status), context=context)
        script.release()

    with playing(play) as address:
        report = Node(address).store(path, progress=False)
    (outcome,) = report
    assert outcome.result == "warning"
    assert outcome.status.startswith(f"{status:04X}H")
    assert report.complete
