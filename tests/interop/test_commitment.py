"""Storage commitment against Orthanc and pynetdicom, in both roles."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt
from pynetdicom.sop_class import CTImageStorage, StorageCommitmentPushModel

from dicomlab import Archive, Node
from tests.peers.processes import free_port

INSTANCE = "1.2.840.10008.1.20.1.1"


@pytest.fixture(scope="module")
def files(paths: list[Path]) -> list[Path]:
    """A few that everybody takes."""
    return [p for p in paths if b"1.2.840.10008.1.2.1\0" in p.read_bytes()[:1024]][:3]


# --- Orthanc ---------------------------------------------------------------------------------------------------------


def test_orthanc_commits_to_what_it_holds(orthanc: Any, files: list[Path]) -> None:
    node = Node(orthanc.ae, me=orthanc.me)
    report = node.store(files, commit=True, commit_timeout_s=20, progress=False)
    assert report.complete, [(o.result, o.status) for o in report]
    assert all(o.status.endswith("commitment: safe") for o in report)


def test_we_commit_to_orthanc(orthanc: Any, files: list[Path]) -> None:
    """Orthanc stores into our archive, asks for commitment, and gets our report on an association of its own."""
    with Archive(
        address=f"DICOMLAB@127.0.0.1:{free_port()}", known={"ORTHANC": ("127.0.0.1", orthanc.port)}
    ) as archive:
        orthanc.add(*files)
        orthanc.register("DICOMLAB", archive.node.address.port)
        ids = [orthanc.ask("/tools/lookup", dcmread(f).SOPInstanceUID.encode())[0]["ID"] for f in files]
        orthanc.ask("/modalities/DICOMLAB/store", {"Resources": ids[:2], "Synchronous": True})
        named = [(str(dcmread(f).SOPClassUID), str(dcmread(f).SOPInstanceUID)) for f in files]
        transaction = orthanc.ask("/modalities/DICOMLAB/storage-commitment", {"DicomInstances": named})["ID"]
        report = _when_complete(orthanc, transaction)
    assert report["Status"] == "Failure"
    assert {one["SOPInstanceUID"] for one in report["Success"]} == {uid for _, uid in named[:2]}
    (failure,) = report["Failures"]
    assert (failure["SOPInstanceUID"], failure["FailureReason"]) == (named[2][1], 0x0112)


def _when_complete(orthanc: Any, transaction: str) -> Any:
    waited = threading.Event()
    for _ in range(200):
        report = orthanc.ask(f"/storage-commitment/{transaction}")
        if report["Status"] != "Pending":
            return report
        waited.wait(0.05)
    raise AssertionError("Orthanc heard nothing")


# --- pynetdicom ------------------------------------------------------------------------------------------------------


@pytest.fixture
def provider() -> Iterator[Any]:
    """An SCP of pynetdicom that reports each request to whoever asked, on an association of its own."""
    ae = AE("OTHER")
    ae.add_supported_context(StorageCommitmentPushModel)
    ae.add_supported_context(CTImageStorage, ALL_TRANSFER_SYNTAXES)
    ae.ports = {}
    ae.answered = []

    def action(event: Any) -> tuple[int, None]:
        information = event.action_information
        threading.Thread(target=report, args=(information, ae.ports[event.assoc.requestor.ae_title])).start()
        return 0, None

    def report(information: Dataset, port: int) -> None:
        sender = AE("OTHER")
        sender.add_requested_context(StorageCommitmentPushModel)
        from pynetdicom import build_role

        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = sender.associate("127.0.0.1", port, ae_title="LAB1", ext_neg=[role])
        result = Dataset()
        result.TransactionUID = information.TransactionUID
        good, bad = information.ReferencedSOPSequence[:1], information.ReferencedSOPSequence[1:]
        result.ReferencedSOPSequence = good
        for one in bad:
            one.FailureReason = 0x0213
        if bad:
            result.FailedSOPSequence = bad
        status, _ = association.send_n_event_report(result, 2 if bad else 1, StorageCommitmentPushModel, INSTANCE)
        ae.answered.append(status.Status)
        association.release()

    handlers = [(evt.EVT_C_STORE, lambda event: 0), (evt.EVT_N_ACTION, action)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    ae.port = server.server_address[1]
    yield ae
    server.shutdown()


def test_pynetdicom_reports_to_our_port(provider: Any, real: Any) -> None:
    port = free_port()
    provider.ports["LAB1"] = port
    ct = next(p.path for p in real.values() if p.meta.sop_class_uid == CTImageStorage)
    one, two = dcmread(ct), dcmread(ct)
    two.SOPInstanceUID = two.file_meta.MediaStorageSOPInstanceUID = "2.25.1"
    report = Node(f"OTHER@127.0.0.1:{provider.port}", me=f"LAB1:{port}").store([one, two], commit=True, progress=False)
    assert sorted(o.status.partition("commitment: ")[2] for o in report) == [
        "not committed: 0213H resource limitation", "safe"
    ]  # fmt: skip
    assert provider.answered == [0]


@pytest.mark.parametrize("stays", [True, False])
def test_pynetdicom_hears_from_us(files: list[Path], stays: bool) -> None:
    """On the association that asked where that stays, else on another one."""
    heard: list[Dataset] = []
    done = threading.Event()

    def report(event: Any) -> tuple[int, None]:
        heard.append(event.event_information)
        done.set()
        return 0, None

    asking = AE("LAB2")
    asking.add_requested_context(StorageCommitmentPushModel)
    listening = AE("LAB2")
    listening.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    handlers = [(evt.EVT_N_EVENT_REPORT, report)]
    server = listening.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    try:
        with Archive(known={"LAB2": server.server_address}) as archive:
            archive.add(files[:1], progress=False)
            held = dcmread(files[0])
            association = asking.associate(
                "127.0.0.1", archive.node.address.port, ae_title="DICOMLAB", evt_handlers=handlers if stays else []
            )
            information = Dataset()
            information.TransactionUID = "2.25.99"
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = held.SOPClassUID, held.SOPInstanceUID
            information.ReferencedSOPSequence = [item]
            status, _ = association.send_n_action(information, 1, StorageCommitmentPushModel, INSTANCE)
            assert status.Status == 0
            if not stays:
                association.release()
            assert done.wait(15)
            if stays:
                association.release()
    finally:
        server.shutdown()
    assert [one.ReferencedSOPInstanceUID for one in heard[0].ReferencedSOPSequence] == [held.SOPInstanceUID]
    assert heard[0].TransactionUID == "2.25.99"
    assert "FailedSOPSequence" not in heard[0]
