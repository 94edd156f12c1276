"""Node against DCMTK's servers, and DCMTK's tools against our archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomlab import Archive, Node, ServiceError
from dicomlab.part10.transcode import UNCOMPRESSED
from tests.interop.conftest import assert_same_dataset, dataset_octets
from tests.peers.processes import free_port


def test_store_into_storescp_bit_for_bit(storescp: Any, real: Any, paths: list[Path]) -> None:
    report = Node(storescp.ae).store(paths, progress=False)
    assert report.complete, [(o.sop_instance_uid, o.status) for o in report.failures]
    assert report.count("done") == len(real)
    got = {p.name.split(".", 1)[1]: p for p in storescp.files}
    assert len(got) == len(real)
    for uid, path in got.items():
        assert dataset_octets(path) == dataset_octets(real[uid].path)


def test_storescp_that_takes_little_gives_a_row_for_each_refusal(
    start_storescp: Any, real: Any, paths: list[Path]
) -> None:
    only_implicit = start_storescp("+xi")
    report = Node(only_implicit.ae).store(paths, progress=False)
    assert len(report) == len(real)
    assert report.count("done") + report.count("warning") == len(only_implicit.files)
    assert report.failures
    assert all("accepted" in o.status for o in report.failures)


@pytest.fixture(scope="module")
def filled(dcmqrscp: Any) -> Node:
    return Node(dcmqrscp.ae, me=dcmqrscp.me)


@pytest.fixture(scope="module")
def stored(filled: Node, real: Any, paths: list[Path]) -> set[str]:
    """What dcmqrscp took: as it is set up here, nothing that is compressed."""
    report = filled.store(paths, progress=False)
    assert len(report) == len(real)
    assert all("accepted" in o.status for o in report.failures)
    done = {o.sop_instance_uid for o in report if o.result == "done"}
    assert done == {uid for uid, p in real.items() if p.meta.transfer_syntax_uid in UNCOMPRESSED}
    return done


def test_find_in_dcmqrscp(filled: Node, stored: set[str], real: Any) -> None:
    assert filled.verify()
    found = filled.find("instance")
    assert {i.sop_instance_uid for i in found} == stored
    series = filled.find("series", Modality=["CT", "MR"])
    assert set(series["Modality"]) == {"CT", "MR"}
    patient = filled.find("study")["PatientID"].iloc[0]
    assert set(filled.find("series", PatientID=patient)["PatientID"]) == {patient}
    assert len(filled.find("patient")) == filled.find("study")["PatientID"].nunique()


@pytest.mark.parametrize("method", ["get", "move"])
def test_retrieve_from_dcmqrscp(filled: Node, stored: set[str], real: Any, tmp_path: Path, method: str) -> None:
    report = filled.find("study").retrieve(tmp_path, method=method, progress=False)
    arrived = {o.sop_instance_uid: o for o in report if o.result == "done"}
    assert set(arrived) == stored, [(o.sop_instance_uid, o.status) for o in report.failures]
    for uid, outcome in arrived.items():
        assert_same_dataset(tmp_path / outcome.path, real[uid].path)


def test_an_unregistered_ae_is_explained(filled: Node, stored: set[str], tmp_path: Path) -> None:
    stranger = Node(str(filled.address), me="STRANGER")
    with pytest.raises(ServiceError, match="STRANGER") as caught:
        stranger.find("study").retrieve(tmp_path, method="move", progress=False)
    assert caught.value.status == 0xA801


@pytest.fixture(scope="module")
def ours(paths: list[Path]) -> Any:
    port = free_port()
    with Archive(known={"MOVER": ("127.0.0.1", port)}) as archive:
        archive.add(paths, progress=False).raise_for_failures()
        archive.mover_port = port  # type: ignore[attr-defined]
        yield archive


def at(archive: Archive) -> list[str]:
    address = archive.node.address
    return ["-aec", address.ae_title, address.host, str(address.port)]


def test_echoscu_and_storescu_into_ours(dcmtk: Any, real: Any) -> None:
    """storescu proposes one syntax at a time, so each goes with its own flag; a file it can't read it refuses itself."""
    with Archive() as archive:
        dcmtk("echoscu", *at(archive))
        sent = set()
        for uid, parcel in real.items():
            option = FLAGS[parcel.meta.transfer_syntax_uid]
            if dcmtk("storescu", "-R", option, *at(archive), parcel.path, check=False).returncode == 0:
                sent.add(uid)
        assert len(sent) >= 0.95 * len(real)
        assert {i.sop_instance_uid for i in archive.node.find("instance")} == sent
        for held in archive._opened().store.select("instance", sorted(sent)):
            assert held.transfer_syntax_uid == real[held.sop_instance_uid].meta.transfer_syntax_uid
            assert_same_dataset(held.path, real[held.sop_instance_uid].path)


FLAGS = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def test_findscu_in_ours(dcmtk: Any, ours: Archive, tmp_path: Path) -> None:
    dcmtk(
        "findscu", "-S", "-X", "-od", tmp_path, "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID",
        "-k", "PatientName", "-k", "ModalitiesInStudy=CT", *at(ours),
    )  # fmt: skip
    answers = [dcmread(file) for file in tmp_path.iterdir()]
    expected = ours.node.find("study", ModalitiesInStudy="CT")
    assert {a.StudyInstanceUID for a in answers} == set(expected["StudyInstanceUID"])


def test_getscu_from_ours_bit_for_bit(dcmtk: Any, ours: Archive, real: Any, tmp_path: Path) -> None:
    instance = next(
        i
        for i in ours.node.find("instance")
        if real[i.sop_instance_uid].meta.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    )
    dcmtk(
        "getscu", "-S", "+B", "-od", tmp_path, "-k", "QueryRetrieveLevel=STUDY",
        "-k", f"StudyInstanceUID={instance.study_instance_uid}", *at(ours),
    )  # fmt: skip
    got = [f for f in tmp_path.iterdir() if instance.sop_instance_uid in f.name]
    assert len(got) == 1
    assert dataset_octets(got[0]) == dataset_octets(real[instance.sop_instance_uid].path)


def test_movescu_from_ours(dcmtk: Any, ours: Archive, real: Any, tmp_path: Path) -> None:
    study = ours.node.find("study", ModalitiesInStudy="CT")["StudyInstanceUID"].iloc[0]
    wanted = {i.sop_instance_uid for i in ours.node.find("instance", StudyInstanceUID=study)}
    dcmtk(
        "movescu", "-S", "-aet", "MOVER", "-aem", "MOVER", "+P", ours.mover_port, "-od", tmp_path, "+xa",  # its +B would write elsewhere
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", *at(ours),
    )  # fmt: skip
    got = {f.name.split(".", 1)[1]: f for f in tmp_path.iterdir()}
    assert set(got) == wanted
    for uid, path in got.items():
        assert_same_dataset(path, real[uid].path)
