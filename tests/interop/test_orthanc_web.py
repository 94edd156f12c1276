"""WebEndpoint against Orthanc's DICOMweb plugin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pandas.testing import assert_frame_equal

from dicomlab import Node, WebEndpoint
from dicomlab.part10.meta import EXPLICIT_BE, IMPLICIT_LE
from tests.interop.conftest import dataset_octets

BARRED = {IMPLICIT_LE, EXPLICIT_BE}


@pytest.fixture(scope="module")
def web(orthanc: Any) -> WebEndpoint:
    return WebEndpoint(orthanc.url)


@pytest.fixture(scope="module")
def stored(web: WebEndpoint, orthanc: Any, real: Any, paths: list[Path]) -> set[str]:
    report = web.store(paths, progress=False)
    assert len(report) == len(real)
    done = {o.sop_instance_uid for o in report if o.result in ("done", "warning")}
    assert len(done) == orthanc.count()  # told stored means stored, told failed means failed
    assert len(done) >= 0.9 * len(real), [(o.sop_instance_uid, o.status) for o in report.failures]
    return done


def test_verify(web: WebEndpoint) -> None:
    assert web.verify()


def test_find(web: WebEndpoint, orthanc: Any, stored: set[str]) -> None:
    studies = web.find("study")
    assert studies.complete
    assert set(studies["StudyInstanceUID"]) == {
        s["MainDicomTags"]["StudyInstanceUID"] for s in orthanc.ask("/studies?expand")
    }
    assert {i.sop_instance_uid for i in studies.instances()} == stored
    first = studies["PatientID"].iloc[0]
    assert set(web.find(PatientID=first[:2] + "*")["PatientID"]) >= {first}
    assert len(web.find(PatientID="NOBODY-AT-ALL")) == 0
    over_dimse = Node(orthanc.ae, me=orthanc.me).find("series")
    keys = ["StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"]
    assert_frame_equal(
        *(c.to_dataframe()[keys].sort_values(keys[:2], ignore_index=True) for c in (web.find("series"), over_dimse))
    )


def test_retrieve(web: WebEndpoint, stored: set[str], real: Any, tmp_path: Path) -> None:
    report = web.find("study").retrieve(tmp_path, progress=False)
    arrived = {o.sop_instance_uid: o for o in report if o.result == "done"}
    assert set(arrived) == stored
    for uid, outcome in arrived.items():
        if real[uid].meta.transfer_syntax_uid not in BARRED:
            assert outcome.transfer_syntax_uid == real[uid].meta.transfer_syntax_uid
            assert dataset_octets(tmp_path / outcome.path) == dataset_octets(real[uid].path)
