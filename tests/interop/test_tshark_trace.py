"""tshark reads what a trace is saved as, and sees in it what we see."""

from __future__ import annotations

import subprocess
from pathlib import Path

import dicomlab
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import need


def fields(path: Path, shown: str, *names: str) -> list[list[str]]:
    command = ["tshark", "-r", str(path), "-Y", shown, "-T", "fields", *(w for name in names for w in ("-e", name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_tshark_sees_the_same_messages(tmp_path: Path) -> None:
    need("tshark")
    with dicomlab.Archive() as archive:
        archive.add(phantom_datasets(), progress=False)
        with dicomlab.trace() as wire:
            cohort = archive.node.find("study", PatientID="SYN*")
            cohort.retrieve(tmp_path / "out", progress=False)
            archive.web.find("study", PatientID="SYN*")
    path = wire.save(tmp_path / "wire.pcapng")

    pdus = [m for m in wire.read() if m.event.channel.protocol == "DIMSE" and m.event.direction != "note"]
    whole = [m for m in pdus if m.event.size == len(m.event.octets)]
    seen = [one for row in fields(path, "dicom.pdu.type", "dicom.pdu.type", "dicom.pdu.len") for one in _each(row)]
    ours = [(m.event.octets[0], m.event.size - 6) for m in pdus]
    for number, size in {(m.event.octets[0], m.event.size - 6) for m in whole}:
        assert seen.count((number, size)) == ours.count((number, size))

    commands = [row[0] for row in fields(path, "dicom.pdv.flags == 3", "_ws.col.Info")]
    for name in ("C-FIND-RQ", "C-FIND-RSP"):
        told = sum(m.reading.text.startswith(f"{name}:") for m in pdus)
        assert told > 0
        assert sum(f"{name} ID=" in info for info in commands) == told

    requests = fields(path, "http.request", "http.request.method", "http.request.uri")
    assert [row[0] for row in requests] == ["GET"] * sum(m.reading.text.startswith("GET:") for m in wire.read())
    assert all("SYN" not in row[1] for row in requests)
    assert not fields(path, "_ws.malformed && !tcp.analysis.lost_segment && dicom.pdu.type != 4", "frame.number")


def _each(row: list[str]) -> list[tuple[int, int]]:
    return [(int(kind, 0), int(size)) for kind, size in zip(row[0].split(","), row[1].split(","), strict=True)]
