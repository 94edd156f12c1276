"""Modality Worklist against others: our SCU at wlmscpfs, at Orthanc's plugin and at pynetdicom; findscu at our SCP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import ModalityWorklistInformationFind

from dicomlab import Archive, Node, samples
from dicomlab.dimse.listing import nested, tree_of_row
from dicomlab.dimse.tree import dataset_of
from tests.peers.dcmtk import WorklistScp, write_worklist
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK
from tests.peers.pynetdicom_workflow import WorkflowScp, values

DAY = samples.department(seed=7, patients=8).schedule
_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")


def items() -> list[Dataset]:
    return [dataset_of(nested(tree_of_row(row))) for row in DAY.to_dict("records")]


@pytest.fixture(scope="module", params=["wlmscpfs", "Orthanc", "pynetdicom", "ours"])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Node]]:
    folder = tmp_path_factory.mktemp("worklist")
    with ExitStack() as stack:
        if request.param == "wlmscpfs":
            address = stack.enter_context(WorklistScp(folder, items())).ae
        elif request.param == "Orthanc":
            if not _PLUGIN.exists():
                pytest.skip("this Orthanc comes without its worklist plugin")
            write_worklist(folder / "WORKLIST", items())
            settings: dict[str, Any] = {"Enable": True, "Database": str(folder / "WORKLIST")}
            orthanc = Orthanc(
                tmp_path_factory.mktemp("orthanc"), Plugins=[str(_PLUGIN)], Worklists=settings,
                DicomAlwaysAllowFindWorklist=True,
            )  # fmt: skip
            address = stack.enter_context(orthanc).ae
        elif request.param == "pynetdicom":
            scp = stack.enter_context(WorkflowScp({}))
            scp.items = items()
            address = scp.ae
        else:
            archive = stack.enter_context(Archive(web_port=None))
            archive.worklist.fill(DAY)
            address = str(archive.node.address)
        yield request.param, Node(address, me="LAB1")


def test_the_whole_list(peer: tuple[str, Node]) -> None:
    found = peer[1].worklist().to_dataframe().sort_values("ScheduledProcedureStepID", ignore_index=True)
    assert list(found["ScheduledProcedureStepID"]) == list(DAY["ScheduledProcedureStepID"])
    for name in ("PatientID", "PatientName", "Modality", "AccessionNumber", "StudyInstanceUID", "PatientSex"):
        assert list(found[name]) == list(DAY[name]), name
    assert [f"{one:%Y%m%d}" for one in found["ScheduledProcedureStepStartDate"]] == list(
        DAY["ScheduledProcedureStepStartDate"]
    )


@pytest.mark.parametrize(
    "keys",
    [
        {"Modality": "MR"},
        {"Modality": ["CT", "MR"]},
        {"PatientName": "Synthetic^A*"},
        {"ScheduledStationAETitle": "CT1", "ScheduledProcedureStepStartDate": "20260105"},
        {"ScheduledProcedureStepStartDate": ("20260105", "20260105"), "ScheduledProcedureStepStartTime": ("0815", "0905")},
        {"ScheduledProcedureStepStartDate": "20260106"},
    ],
)  # fmt: skip
def test_keys_of_the_step_nest_by_themselves(peer: tuple[str, Node], keys: dict[str, Any]) -> None:
    name, node = peer
    if name == "pynetdicom":
        return  # it gives everything, whatever is asked
    expected = DAY
    for keyword, value in keys.items():
        cells = expected[keyword]
        if isinstance(value, tuple):
            width = len(value[0])
            expected = expected[(cells.str[:width] >= value[0]) & (cells.str[:width] <= value[1])]
        elif isinstance(value, list):
            expected = expected[cells.isin(value)]
        else:
            pattern = re.escape(value).replace(r"\*", ".*").replace(r"\^", "\\^")
            expected = expected[cells.str.fullmatch(pattern)]
    found = node.worklist(**keys)
    assert sorted(found["ScheduledProcedureStepID"]) == list(expected["ScheduledProcedureStepID"])


def test_what_was_found_can_be_performed(peer: tuple[str, Node]) -> None:
    """A row of anybody's worklist begins a step at our own archive."""
    with Archive(web_port=None) as archive:
        row = peer[1].worklist(PatientID="SYN-002")
        row = row[row["PatientID"] == "SYN-002"]
        with archive.node.perform(row) as step:
            pass
        kept = archive.performed_steps[step.uid]
        assert kept.ScheduledStepAttributesSequence[0].StudyInstanceUID == DAY["StudyInstanceUID"][1]
        assert kept.PatientID == "SYN-002"


def test_findscu_asks_us(dcmtk: Callable[..., Any]) -> None:
    with Archive(web_port=None) as archive:
        archive.worklist.fill(DAY)
        said = dcmtk(
            "findscu", "-W", "-v", "-aec", "DICOMLAB", LOOPBACK, archive.node.address.port,
            "-k", "PatientName", "-k", "(0040,0100)[0].Modality=MR", "-k", "(0040,0100)[0].ScheduledProcedureStepID",
            "-k", "(0040,0100)[0].ScheduledProcedureStepStartDate=20260101-20260131",
            "-k", "(0040,0100)[0].ScheduledProtocolCodeSequence[0].CodeMeaning",
        ).stdout  # fmt: skip
    expected = DAY[DAY["Modality"] == "MR"]
    found = re.findall(r"SH \[(S[0-9]+)", said)
    assert found == list(expected["ScheduledProcedureStepID"])
    assert len(re.findall(r"LO \[MR of", said)) == len(expected)
    assert "(Success)" in said


def test_pynetdicom_asks_us() -> None:
    with Archive(web_port=None) as archive:
        archive.worklist.fill(DAY)
        ae = AE("LAB1")
        ae.add_requested_context(ModalityWorklistInformationFind)
        association = ae.associate(LOOPBACK, archive.node.address.port, ae_title="DICOMLAB")
        keys = values(PatientID="", ScheduledProcedureStepSequence=[{"Modality": "CT", "ScheduledStationAETitle": ""}])
        answers = list(association.send_c_find(keys, ModalityWorklistInformationFind))
        association.release()
    given = [dataset for status, dataset in answers if status.Status == 0xFF00]
    assert [one.PatientID for one in given if one] == list(DAY[DAY["Modality"] == "CT"]["PatientID"])
    assert answers[-1][0].Status == 0
    assert {one.ScheduledProcedureStepSequence[0].ScheduledStationAETitle for one in given if one} == {"CT1"}
