"""Whatever the size of an instance, memory stays where it is: there and back, on both sides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameGrayscaleByteSecondaryCaptureImageStorage

from tests.peers.processes import free_port

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from /proc")

MIB = 1 << 20
MOST_GROWTH = 16 * MIB

PEAK = """
import sys
from pathlib import Path
def entry(name):
    return int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0]) * 1024
def settle():
    global before
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
    before = entry("VmRSS")
def grown():
    return entry("VmHWM") - before
"""
SERVER = (
    PEAK
    + """
from dicomlab import Archive
with Archive(sys.argv[1], sys.argv[2]) as archive:
    print(archive.node.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "settle":
            settle()
        print(grown(), flush=True)
"""
)
CLIENT = (
    PEAK
    + """
from dicomlab import Node
node = Node(sys.argv[1])
def there_and_back(path, to, uid):
    settle()
    assert node.store(path, progress=False).count("done") == 1
    print(grown(), flush=True)
    sys.stdin.readline()
    cohort = node.find("instance", StudyInstanceUID=uid, SeriesInstanceUID=uid + ".1", progress=False)
    settle()
    assert cohort.retrieve(to, progress=False).count("done") == 1
    print(grown(), flush=True)
    sys.stdin.readline()
there_and_back(sys.argv[2], sys.argv[4], "1.2.1")
there_and_back(sys.argv[3], sys.argv[4], "1.2.2")
"""
)


def write(path: Path, number: int, octets: int) -> Path:
    """A multi-frame of zeros, which take no room on the disc."""
    one = Dataset()
    one.SOPClassUID, one.SOPInstanceUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage, f"1.2.{number}.1.1"
    one.StudyInstanceUID, one.SeriesInstanceUID, one.PatientID = f"1.2.{number}", f"1.2.{number}.1", "P1"
    one.Rows = one.Columns = 1024
    one.NumberOfFrames = octets // MIB
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, one, enforce_file_format=True)
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(b"\xe0\x7f\x10\x00OB\0\0" + octets.to_bytes(4, "little"))
        file.truncate(file.tell() + octets)
    return path


@contextmanager
def running(script: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process
    finally:
        process.stdin.close()
        assert process.wait(timeout=60) == 0
        process.stdout.close()


def ask(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(text + "\n")
    process.stdin.flush()
    return process.stdout.readline().strip()


@pytest.mark.parametrize("size", [64 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.full)])
def test_an_instance_of_any_size_passes_through(tmp_path: Path, size: int) -> None:
    small, big = write(tmp_path / "small.dcm", 1, 4 * MIB), write(tmp_path / "big.dcm", 2, size)
    address = f"PACS@127.0.0.1:{free_port()}"
    grown: dict[str, int] = {}
    with running(SERVER, tmp_path / "archive", address) as server:
        assert server.stdout is not None
        server.stdout.readline()
        with running(CLIENT, address, small, big, tmp_path / "to") as client:
            assert client.stdout is not None
            for which in ("small", "big"):
                ask(server, "settle")
                grown[f"{which}, client sends"] = int(client.stdout.readline())
                grown[f"{which}, archive takes"] = int(ask(server, "grown"))
                ask(server, "settle")
                grown[f"{which}, client takes"] = int(ask(client, ""))
                grown[f"{which}, archive sends"] = int(ask(server, "grown"))
                if which == "small":
                    client.stdin.write("\n")  # type: ignore[union-attr]
                    client.stdin.flush()  # type: ignore[union-attr]
    assert {what: octets // MIB for what, octets in grown.items() if octets > MOST_GROWTH and "big" in what} == {}
    (received,) = [
        path for path in (tmp_path / "to").rglob("*.dcm") if path.stat().st_size > 5 * MIB
    ]  # fmt: skip
    assert received.stat().st_size > size
