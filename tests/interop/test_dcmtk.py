"""Node against DCMTK's servers, and DCMTK's tools against our archive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node, Refused
from tests.interop.conftest import dataset_octets


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
def filled(dcmqrscp: Any, paths: list[Path]) -> Node:
    node = Node(dcmqrscp.ae, me=dcmqrscp.me)
    report = node.store(paths, progress=False)
    assert report.complete, [(o.sop_instance_uid, o.status) for o in report.failures]
    return node


def test_find_in_dcmqrscp(filled: Node, real: Any) -> None:
    assert filled.verify()
    found = filled.find("instance")
    assert {i.sop_instance_uid for i in found} == set(real)
    series = filled.find("series", Modality=["CT", "MR"])
    assert set(series["Modality"]) == {"CT", "MR"}
    patient = filled.find("study")["PatientID"].iloc[0]
    assert set(filled.find("series", PatientID=patient)["PatientID"]) == {patient}
    assert len(filled.find("patient")) == filled.find("study")["PatientID"].nunique()


@pytest.mark.parametrize("method", ["get", "move"])
def test_retrieve_from_dcmqrscp(filled: Node, real: Any, tmp_path: Path, method: str) -> None:
    report = filled.find("study").retrieve(tmp_path, method=method, progress=False)
    arrived = {o.sop_instance_uid: o for o in report if o.result == "done"}
    assert set(arrived) == set(real), [(o.sop_instance_uid, o.status) for o in report.failures]
    for uid, outcome in arrived.items():
        assert outcome.transfer_syntax_uid == real[uid].meta.transfer_syntax_uid
        assert dataset_octets(tmp_path / outcome.path) == dataset_octets(real[uid].path)


def test_an_unregistered_ae_is_explained(filled: Node, tmp_path: Path) -> None:
    stranger = Node(str(filled.address), me="STRANGER")
    with pytest.raises((Refused, Exception), match="STRANGER"):
        stranger.find("study").retrieve(tmp_path, method="move", progress=False)


@pytest.fixture(scope="module")
def ours(paths: list[Path], free_port: Any) -> Any:
    port = free_port()
    with Archive(known={"MOVER": ("127.0.0.1", port)}) as archive:
        archive.add(paths, progress=False).raise_for_failures()
        archive.mover_port = port  # type: ignore[attr-defined]
        yield archive


def at(archive: Archive) -> list[str]:
    address = archive.node.address
    return ["-aec", address.ae_title, address.host, str(address.port)]


def test_echoscu_and_storescu_into_ours(dcmtk: Any, real: Any, paths: list[Path]) -> None:
    with Archive() as archive:
        dcmtk("echoscu", *at(archive))
        for syntax in {p.meta.transfer_syntax_uid for p in real.values()}:
            some = [str(p.path) for p in real.values() if p.meta.transfer_syntax_uid == syntax]
            flag = {"1.2.840.10008.1.2": "-xi", "1.2.840.10008.1.2.1": "-xe", "1.2.840.10008.1.2.2": "-xb"}
            option = flag.get(syntax)
            if option is None:
                continue  # storescu proposes one compressed syntax at a time; those go with their own flags below
            dcmtk("storescu", "-R", option, *at(archive), *some)
        for syntax, option in COMPRESSED.items():
            some = [str(p.path) for p in real.values() if p.meta.transfer_syntax_uid == syntax]
            if some:
                dcmtk("storescu", "-R", option, *at(archive), *some)
        found = {i.sop_instance_uid for i in archive.node.find("instance")}
        known = {
            uid
            for uid, p in real.items()
            if p.meta.transfer_syntax_uid in COMPRESSED or p.meta.transfer_syntax_uid.startswith("1.2.840.10008.1.2")
        }
        assert found >= {u for u in known if real[u].meta.transfer_syntax_uid in COMPRESSED}
        for held in archive._opened().store.select("instance", sorted(found)):
            uid = held.sop_instance_uid
            if held.transfer_syntax_uid in COMPRESSED:
                assert dataset_octets(held.path)[:64] == dataset_octets(real[uid].path)[:64]


COMPRESSED = {
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}


def test_findscu_in_ours(dcmtk: Any, ours: Archive) -> None:
    output = dcmtk("findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", *at(ours))
    text = output.stdout + output.stderr
    assert text.count("(0020,000d)") - 1 in (
        len(ours.node.find("study")),
        2 * len(ours.node.find("study")),
    ) or text.count("(0020,000d)") == len(ours.node.find("study"))


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
        "movescu", "-S", "-aet", "MOVER", "-aem", "MOVER", "+P", ours.mover_port, "-od", tmp_path, "+B", "+xa",
        "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}", *at(ours),
    )  # fmt: skip
    got = {f.name.split(".", 1)[1]: f for f in tmp_path.iterdir()}
    assert set(got) == wanted
    for uid, path in got.items():
        assert dataset_octets(path) == dataset_octets(real[uid].path)
