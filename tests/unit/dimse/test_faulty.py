"""What ``archive.faults`` does to the DIMSE door, by what the node on the other side then says."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import dicomlab
from dicomlab import Archive, Node
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import Command
from dicomlab.errors import Interrupted, Refused, ServiceError
from dicomlab.model.faults import Faults
from tests.unit.dimse.conftest import cohort
from tests.unit.dimse.holdings import CT, instance
from tests.unit.dimse.scripted import Script


@pytest.fixture
def archive() -> Iterator[Archive]:
    with Archive() as one:
        one.add(cohort(), progress=False).raise_for_failures()
        yield one


def patient(node: Node) -> Node:
    """The same node, with less patience."""
    return Node(str(node.address), me=str(node.me), timeout_s=0.4)


def test_reject(archive: Archive) -> None:
    with archive.faults.reject() as fault, pytest.raises(Refused, match="calling AE title not recognized"):
        archive.node.find("study", progress=False)
    assert fault.struck == 1
    with archive.faults.reject(3, 1, result=2), pytest.raises(Refused, match="temporary congestion") as caught:
        archive.node.find("study", progress=False)
    assert caught.value.transient
    assert archive.node.verify()


def test_refuse_a_context(archive: Archive) -> None:
    with archive.faults.refuse_context(tables.MODELS["study", "FIND"]), pytest.raises(Refused, match="not supported"):
        archive.node.find("study", progress=False)
    with archive.faults.refuse_context(CT):
        report = archive.node.store([instance(70), instance(71, sop_class=tables.COMMON_STORAGE[2])], progress=False)
    assert [o.result for o in report] == ["failed", "done"]


@pytest.mark.parametrize("octets", [0, 1, 200])
def test_stall(archive: Archive, octets: int) -> None:
    with archive.faults.stall(octets, door="dimse"), pytest.raises(Interrupted, match=r"nothing came for 0\.4 s"):
        patient(archive.node).find("study", progress=False)
    assert archive.node.verify()


def test_stall_after_some_have_gone_well(archive: Archive) -> None:
    with archive.faults.stall(after=1, times=1) as fault, archive.node.associate() as session:
        assert session.request("C-ECHO")[0].status.startswith("0000H")
        session._association.timeout_s = 0.3
        with pytest.raises(Interrupted, match="nothing came"):
            session.request("C-ECHO")
    assert (fault.seen, fault.struck) == (2, 1)


def test_closing_ends_a_stall() -> None:
    with Archive() as archive:
        archive.faults.stall()
        address = archive.node.address
        with socket.create_connection((address.host, address.port), timeout=10) as sock:
            script = Script(sock)
            script.send(
                pdu.AssociateRequest(
                    "DICOMLAB", "LAB1", pdu.numbered([(tables.VERIFICATION, ("1.2.840.10008.1.2",))]),
                    pdu.UserInformation(0, "1.2"),
                )
            )  # fmt: skip
            script.read()
            script.say(Command.of("C-ECHO-RQ", MessageID=1, AffectedSOPClassUID=tables.VERIFICATION))
            archive.close()
            with pytest.raises(ConnectionError):  # its last word could not be told from what it stood still in
                script.read()


@pytest.mark.parametrize("at", [1, 3])
def test_abort_at_a_pdu(archive: Archive, at: int) -> None:
    with archive.faults.abort(at), pytest.raises(Interrupted, match="aborted by the service user") as caught:
        archive.node.find("study", progress=False)
    # each answer is two PDUs, a command and a data set
    assert len(caught.value.partial) == (at - 1) // 2
    assert not caught.value.partial.complete


def test_a_lie_about_a_retrieve_is_found_out(archive: Archive, tmp_path: Path) -> None:
    found = archive.node.find("instance", progress=False)
    with archive.faults.lie():
        report = found.retrieve(tmp_path, method="get", progress=False)
    assert not report.complete
    assert report.count("done") == 0


def test_a_lie_about_a_store(archive: Archive) -> None:
    before = len(archive)
    with archive.faults.lie():
        report = archive.node.store(instance(70), progress=False)
    assert report.outcomes[0].status.startswith("0000H")  # nobody can know from this alone
    assert len(archive) == before
    with archive.faults.lie():  # but commitment finds it out
        report = archive.node.store(instance(70), commit=True, progress=False)
    assert report.outcomes[0].result == "failed"
    assert "0112H" in report.outcomes[0].status


def test_a_data_set_that_is_cut(archive: Archive, tmp_path: Path) -> None:
    found = archive.node.find("instance", StudyInstanceUID="1.2.3.2", progress=False)
    with archive.faults.truncate(10, times=1):
        report = found.retrieve(tmp_path, method="get", progress=False)
    assert not report.complete, [o.status for o in report]
    assert report.count("failed") == 1
    assert "arrived broken" in report.failures[0].status
    again = found.retrieve(tmp_path, method="get", progress=False)
    assert again.complete
    assert (again.count("skipped"), again.count("done")) == (3, 1)
    assert archive.node.verify()


def test_a_cap_on_what_is_found(archive: Archive) -> None:
    with archive.faults.cap(2):
        assert len(archive.node.find("study", progress=False)) == 2
    assert len(archive.node.find("study", progress=False)) == 3


def test_a_failing_status(archive: Archive) -> None:
    with archive.faults.fail(0xC001), pytest.raises(ServiceError) as caught:
        archive.node.find("study", progress=False)
    assert caught.value.status == 0xC001
    with archive.faults.fail(0x0110):
        assert not archive.node.verify()
        assert archive.node.store(instance(70), progress=False).outcomes[0].status.startswith("0110H")


def test_out_of_resources(archive: Archive, tmp_path: Path) -> None:
    found = archive.node.find("instance", StudyInstanceUID="1.2.3.2", progress=False)
    with archive.faults.unavailable():
        with pytest.raises(ServiceError) as caught:
            archive.node.find("study", progress=False)
        assert caught.value.status == 0xA700
        assert "A700H" in archive.node.store(instance(70), progress=False).outcomes[0].status
        report = found.retrieve(tmp_path, method="get", progress=False)
    assert "A702H" in report.outcomes[0].status


def test_slow_is_slow_and_arrives(archive: Archive) -> None:
    with archive.faults.slow(40_000), dicomlab.trace() as wire:
        assert len(archive.node.find("study", progress=False)) == 3
    assert wire.counts()["C-FIND-RSP"] == 4


def test_without_a_fault_it_is_any_association(archive: Archive) -> None:
    assert len(archive.faults) == 0
    assert isinstance(archive.faults, Faults)
    assert archive.node.verify()
