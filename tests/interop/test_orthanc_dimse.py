"""Node against Orthanc, both ways round."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from dicomlab import Archive, Node
from tests.interop.conftest import assert_same_dataset, dataset_octets


@pytest.fixture(scope="module")
def node(orthanc: Any) -> Node:
    return Node(orthanc.ae, me=orthanc.me)


@pytest.fixture(scope="module")
def stored(node: Node, orthanc: Any, real: Any, paths: list[Path]) -> set[str]:
    """What Orthanc took; it refuses some of the odder files, and each refusal is a row."""
    report = node.store(paths, progress=False)
    assert len(report) == len(real)
    done = {o.sop_instance_uid for o in report if o.result in ("done", "warning")}
    assert len(done) == orthanc.count()
    assert len(done) >= 0.9 * len(real), [(o.sop_instance_uid, o.status) for o in report.failures]
    return done


def test_verify(node: Node) -> None:
    checked = node.verify()
    assert checked
    assert "OFFIS" in repr(checked) or "ORTHANC" in repr(checked).upper()


def test_find_says_what_orthanc_holds(node: Node, orthanc: Any, stored: set[str]) -> None:
    assert {i.sop_instance_uid for i in node.find("instance")} == stored
    studies = node.find("study")
    assert studies.complete
    assert set(studies["StudyInstanceUID"]) == {
        s["MainDicomTags"]["StudyInstanceUID"] for s in orthanc.ask("/studies?expand")
    }
    assert int(studies["NumberOfStudyRelatedInstances"].sum()) == len(stored)
    series = studies.series(Modality=["CT", "MR"])
    assert set(series["Modality"]) == {"CT", "MR"}
    cut = node.find("instance", limit=2)
    assert (len(cut), cut.complete) == (2, False)
    assert node.verify()


@pytest.mark.parametrize("method", ["get", "move"])
def test_retrieve_brings_the_octets_that_were_sent(
    node: Node, stored: set[str], real: Any, tmp_path: Path, method: str
) -> None:
    report = node.find("study").retrieve(tmp_path, method=method, progress=False)
    arrived = {o.sop_instance_uid: o for o in report if o.result == "done"}
    assert set(arrived) == stored
    for uid, outcome in arrived.items():
        assert_same_dataset(tmp_path / outcome.path, real[uid].path)
    same = sum(dataset_octets(tmp_path / o.path) == dataset_octets(real[u].path) for u, o in arrived.items())
    assert same >= len(stored) // 2  # Orthanc decodes what it passes on; what it leaves alone must come as it was


def test_orthanc_as_scu_stores_into_our_archive(orthanc: Any, stored: set[str], real: Any, tmp_path: Path) -> None:
    with Archive() as archive:
        at = archive.node.address
        orthanc.register("OURS", at.port)
        orthanc.ask("/modalities/OURS", {"AET": at.ae_title, "Host": at.host, "Port": at.port}, method="PUT")
        orthanc.ask("/modalities/OURS/echo", {})
        names = orthanc.ask("/instances")
        orthanc.ask("/modalities/OURS/store", {"Resources": names, "Permissive": True})
        assert {i.sop_instance_uid for i in archive.node.find("instance")} == stored
        for held in archive._opened().store.select("instance", sorted(stored)):
            assert_same_dataset(held.path, real[held.sop_instance_uid].path)


def test_orthanc_as_scu_queries_and_moves_from_our_archive(orthanc: Any, real: Any, paths: list[Path]) -> None:
    orthanc.reset()
    with Archive(known={"ORTHANC": ("127.0.0.1", orthanc.port)}) as archive:
        archive.add(paths, progress=False).raise_for_failures()
        at = archive.node.address
        orthanc.ask("/modalities/OURS", {"AET": at.ae_title, "Host": at.host, "Port": at.port}, method="PUT")
        query = orthanc.ask("/modalities/OURS/query", {"Level": "Study", "Query": {"StudyInstanceUID": ""}})
        answers = orthanc.ask(f"/queries/{query['ID']}/answers")
        assert len(answers) == len(archive.node.find("study"))
        with suppress(HTTPError):  # it refuses one of its own sub-operations, and calls the whole a failure
            orthanc.ask(f"/queries/{query['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        assert orthanc.count() >= 0.9 * len(real)
