"""The peers themselves: they start, answer for themselves, keep what they are sent, and are gone afterwards."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from tests.peers.dcmtk import QueryRetrieveScp, StoreScp, run
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK, Peer, children, free_port

CT = Path(str(get_testdata_file("CT_small.dcm")))
UID = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
STUDY_BY_PATIENT = ("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID", "-k", "PatientID=1CT1")


def data_set(file: bytes) -> bytes:
    """The octets after the File Meta Information (PS3.10 §7.1), less Data Set Trailing Padding, which storescu drops."""
    meta_octets = 144 + int.from_bytes(file[140:144], "little")
    return file[meta_octets:].partition(b"\xfc\xff\xfc\xffOB")[0]


def test_storescp_keeps_the_octets(storescp: StoreScp) -> None:
    run("storescu", "-R", "-xs", "-aec", storescp.aet, LOOPBACK, storescp.port, CT)
    (file,) = storescp.files
    assert data_set(file.read_bytes()) == data_set(CT.read_bytes())


def test_dcmqrscp_finds_gets_and_moves_to_whom_it_knows(
    dcmqrscp: QueryRetrieveScp, start_storescp: Callable[..., StoreScp], tmp_path: Path
) -> None:
    dcmqrscp.add(CT)
    at = ("-aec", dcmqrscp.aet, LOOPBACK, dcmqrscp.port)
    assert "1CT1" in run("findscu", "-v", *STUDY_BY_PATIENT, *at).stdout
    run("getscu", "+B", "-od", tmp_path, *STUDY_BY_PATIENT, *at)
    assert [data_set(f.read_bytes()) for f in tmp_path.iterdir()] == [data_set(CT.read_bytes())]
    refused = run("movescu", "-aet", "LAB1", "-aem", "STRANGER", *STUDY_BY_PATIENT, *at, check=False)
    assert refused.returncode != 0


def test_orthanc_answers_on_both_doors(orthanc: Orthanc) -> None:
    run("storescu", "-R", "-xs", "-aec", orthanc.aet, LOOPBACK, orthanc.port, CT)
    (study,) = orthanc.ask("/dicom-web/studies")
    assert study["00100020"]["Value"] == ["1CT1"]
    assert data_set(orthanc.octets(UID)) == data_set(CT.read_bytes())
    assert orthanc.count() == 1
    orthanc.reset()
    assert orthanc.count() == 0


def test_orthanc_is_strict_about_its_name_and_moves_to_whom_it_is_told(orthanc: Orthanc) -> None:
    aet, _, port = orthanc.me.partition(":")
    assert orthanc.ask(f"/modalities/{aet}/configuration")["Port"] == int(port)
    orthanc.register("LAB2", 11113)
    assert orthanc.ask("/modalities/LAB2/configuration")["Port"] == 11113
    wrong = run("echoscu", "-aec", "NOBODY", LOOPBACK, orthanc.port, check=False)
    assert wrong.returncode != 0


def test_a_peer_is_ended_by_its_id(tmp_path: Path) -> None:
    with StoreScp(tmp_path) as peer:
        assert peer.pid in set(children())
        port = peer.port
    assert peer.pid not in set(children())
    with pytest.raises(ProcessLookupError):
        os.killpg(peer.pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((LOOPBACK, port), timeout=5)


def test_a_peer_that_ends_at_once_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ended at once with 3:\nno licence"):
        Peer(["/bin/sh", "-c", "echo no licence; exit 3"], tmp_path, lambda: False)


def test_a_peer_that_never_answers_is_ended(tmp_path: Path) -> None:
    before = set(children())
    with pytest.raises(RuntimeError, match="does not answer"):
        Peer(["/bin/sh", "-c", "exec sleep 60"], tmp_path, lambda: False, starts_s=0)
    assert set(children()) == before


def test_ports_are_given_once() -> None:
    assert len({free_port() for _ in range(50)}) == 50


def test_a_port_in_use_is_not_given() -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        used = taken.getsockname()[1]
        from tests.peers import processes

        assert not processes._unused(used)
