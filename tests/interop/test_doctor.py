"""The doctor at real peers: what is right is found right, and each wrong registration has its own finding."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node
from dicomlab.__main__ import main
from dicomlab.dimse.doctor import Diagnosis
from dicomlab.samples.phantom import write_phantom
from tests.peers.processes import free_port as reserve_port


def results(found: Diagnosis) -> dict[str, str]:
    return {step.name: step.result for step in found}


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=1, slices=2)


def test_orthanc_in_order_and_with_each_wrong_registration(orthanc: Any, slices: list[Path], free_port: Any) -> None:
    orthanc.add(*slices)
    found = Node(orthanc.ae, me=orthanc.me).doctor()
    assert set(results(found).values()) == {"ok"}, found
    stranger = Node(orthanc.ae, me=f"STRANGER:{free_port()}").doctor()
    assert results(stranger)["C-GET"] == "ok"
    assert results(stranger)["C-MOVE"] == "failed"
    assert "STRANGER" in stranger.letter
    aet, _, _ = orthanc.me.partition(":")
    wrong = Node(orthanc.ae, me=f"{aet}:{free_port()}").doctor()
    assert results(wrong)["C-MOVE"] == "failed"
    assert "on record there as" in wrong["C-MOVE"].advice
    called = Node(orthanc.ae.replace("ORTHANC", "OTHER"), me=orthanc.me).doctor()
    assert results(called)["association"] == "failed"
    assert "not called OTHER" in called["association"].advice


@pytest.fixture(scope="module")
def strict(start_orthanc: Callable[..., Any]) -> Any:
    """An Orthanc that rejects whom it does not know, as PACS do."""
    never = {f"DicomAlwaysAllow{service}": False for service in ("Echo", "Store", "Find", "Get", "Move")}
    return start_orthanc({"LAB1": reserve_port(), "ECHOSCU": reserve_port()}, **never)


def test_orthanc_that_lets_in_only_those_it_knows(strict: Any, slices: list[Path]) -> None:
    found = Node(strict.ae, me="STRANGER:11999").doctor()
    assert results(found)["association"] == "failed"
    assert "calling AE title not recognized" in found["association"].found
    assert "does not know STRANGER: send the letter" in found["association"].advice
    strict.add(*slices)
    known = Node(strict.ae, me=strict.me).doctor()
    assert results(known)["association"] == "ok"
    assert set(results(known).values()) == {"ok"}, known


def test_dcmqrscp_tells_an_unknown_destination_from_a_wrong_port(
    dcmqrscp: Any, slices: list[Path], free_port: Any
) -> None:
    dcmqrscp.add(*slices)
    found = Node(dcmqrscp.ae, me=dcmqrscp.me).doctor()
    assert set(results(found).values()) == {"ok"}, found
    unknown = Node(dcmqrscp.ae, me=f"STRANGER:{free_port()}").doctor()
    assert unknown["C-MOVE"].found.startswith("A801H"), unknown
    assert "register it at 127.0.0.1" in unknown["C-MOVE"].advice
    aet, _, _ = dcmqrscp.me.partition(":")
    wrong = Node(dcmqrscp.ae, me=f"{aet}:{free_port()}").doctor()
    assert results(wrong)["C-MOVE"] == "failed"
    assert not wrong["C-MOVE"].found.startswith("A801H")


def test_storescp_can_only_store(storescp: Any) -> None:
    found = Node(storescp.ae).doctor()
    assert results(found) == {
        **dict.fromkeys(["DNS", "TCP", "association", "contexts", "C-ECHO"], "ok"),
        **dict.fromkeys(["C-FIND", "C-GET", "C-MOVE"], "not offered"),
    }
    assert found


def test_the_port_of_orthancs_web_server(orthanc: Any) -> None:
    found = Node(f"ORTHANC@127.0.0.1:{orthanc.http_port}", timeout_s=3).doctor()
    assert results(found)["TCP"] == "ok"
    assert results(found)["association"] == "failed"


def test_our_own_archive_from_the_command_line(capsys: pytest.CaptureFixture[str], slices: list[Path]) -> None:
    with Archive() as archive:
        archive.add(slices, progress=False).raise_for_failures()
        address, me = str(archive.node.address), str(archive.node.me)
        assert main(["doctor", address, "--me", me]) == 0
        assert "all is well" in capsys.readouterr().out
        assert main(["doctor", address, "PatientID=SYN-001", "--me", "STRANGER:11999"]) == 1
        told = capsys.readouterr().out
        assert "A801H Move destination unknown" in told
        assert "register it at 127.0.0.1:11999" in told
        assert "To the administrator of DICOMLAB" in told
        assert "SYN-001" not in told
        assert main(["doctor", str(archive.web)]) == 0
        assert main(["doctor", address, "PatinetID=X"]) == 2
    told_by_itself = subprocess.run(
        [sys.executable, "-m", "dicomlab", "doctor", address], capture_output=True, text=True, timeout=60, check=False
    )
    assert told_by_itself.returncode == 1
    assert "nobody listens" in told_by_itself.stdout
    assert told_by_itself.stderr == ""
