"""Storage commitment with Orthanc and pynetdicom, both ways round."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from dicomlab import Archive, Node
from dicomlab.samples.phantom import write_phantom
from tests.peers.processes import LOOPBACK, free_port
from tests.peers.pynetdicom_scp import PynetdicomScp


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=1, slices=2)


def references(paths: list[Path]) -> list[dict[str, str]]:
    datasets = [dcmread(path, stop_before_pixels=True) for path in paths]
    return [{"SOPClassUID": str(d.SOPClassUID), "SOPInstanceUID": str(d.SOPInstanceUID)} for d in datasets]


@pytest.mark.parametrize("kind", ["orthanc", "pynetdicom", "self"])
def test_what_is_stored_there_is_committed_to(kind: str, orthanc: Any, slices: list[Path], tmp_path: Path) -> None:
    """Orthanc and pynetdicom report on an association of their own, to our port."""
    if kind == "orthanc":
        report = Node(orthanc.ae, me=orthanc.me).store(slices, commit=True, progress=False)
    elif kind == "self":
        with Archive() as archive:
            report = archive.node.store(slices, commit=True, progress=False)
    else:
        with PynetdicomScp(tmp_path, {"LAB1": free_port()}, ["1.2.840.10008.1.2.1"]) as peer:
            report = Node(peer.ae, me=peer.me).store(slices, commit=True, progress=False)
    assert report.complete, report
    assert [o.result for o in report] == ["done"] * len(slices)
    assert all("commitment" in o.status for o in report)


def test_what_pynetdicom_lost_is_not_committed_to(slices: list[Path], tmp_path: Path) -> None:
    (lost, *_) = references(slices)
    with PynetdicomScp(tmp_path, {"LAB1": free_port()}, ["1.2.840.10008.1.2.1"]) as peer:
        peer.loses = {lost["SOPInstanceUID"]}
        report = Node(peer.ae, me=peer.me).store(slices, commit=True, progress=False)
    assert not report.complete
    (failed,) = report.failures
    assert failed.sop_instance_uid == lost["SOPInstanceUID"]
    assert "0112H" in failed.status


def test_a_peer_that_does_not_offer_it(storescp: Any, slices: list[Path]) -> None:
    report = Node(storescp.ae, me=f"LAB1:{free_port()}").store(slices, commit=True, progress=False)
    assert len(storescp.files) == len(slices)
    assert all("commitment" in o.status for o in report)
    assert not report.complete


@pytest.fixture
def ours(orthanc: Any, slices: list[Path]) -> Iterator[Archive]:
    port = free_port()
    with Archive(known={"ORTHANC": (LOOPBACK, orthanc.port), "ASKER": (LOOPBACK, port)}) as archive:
        archive.asker_port = port  # type: ignore[attr-defined]
        archive.add(slices, progress=False).raise_for_failures()
        yield archive


def test_orthanc_asks_ours(orthanc: Any, ours: Archive, slices: list[Path]) -> None:
    address = ours.node.address
    orthanc.ask("/modalities/OURS", {"AET": address.ae_title, "Host": address.host, "Port": address.port}, method="PUT")
    wanted = [*references(slices), {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": "9.9.9"}]
    made = orthanc.ask("/modalities/OURS/storage-commitment", {"DicomInstances": wanted})
    for _ in range(300):  # the report comes on an association of its own; each question is a round trip
        told = orthanc.ask(f"/storage-commitment/{made['ID']}")
        if told["Status"] != "Pending":
            break
    assert told["Status"] == "Failure"
    assert {one["SOPInstanceUID"] for one in told["Success"]} == {one["SOPInstanceUID"] for one in wanted[:-1]}
    (failure,) = told["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == ("9.9.9", 0x0112)


def test_pynetdicom_asks_ours(ours: Archive, slices: list[Path]) -> None:
    """On its own port, as it has released the association on which it asked."""
    came: list[Dataset] = []
    done = threading.Event()

    def report(event: evt.Event) -> tuple[int, None]:
        came.append(event.event_information)
        done.set()
        return 0x0000, None

    asker = AE("ASKER")
    asker.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    server = asker.start_server(
        (LOOPBACK, ours.asker_port),
        block=False,
        evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)],  # type: ignore[attr-defined]
    )
    try:
        ae = AE("ASKER")
        ae.add_requested_context(StorageCommitmentPushModel)
        address = ours.node.address
        handlers = [(evt.EVT_N_EVENT_REPORT, report)]
        association = ae.associate(address.host, address.port, ae_title=address.ae_title, evt_handlers=handlers)
        asked = Dataset()
        asked.TransactionUID = "2.25.77"
        asked.ReferencedSOPSequence = []
        for one in references(slices):
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = one["SOPClassUID"], one["SOPInstanceUID"]
            asked.ReferencedSOPSequence.append(item)
        status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
        assert status.Status == 0
        association.release()
        assert done.wait(20)
    finally:
        server.shutdown()
    assert came[0].TransactionUID == "2.25.77"
    assert {str(i.ReferencedSOPInstanceUID) for i in came[0].ReferencedSOPSequence} == {
        one["SOPInstanceUID"] for one in references(slices)
    }
    assert "FailedSOPSequence" not in came[0]
