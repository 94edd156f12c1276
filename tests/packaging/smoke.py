"""What the wheel does where only it is installed: copied out of the checkout and run by the Python of its environment.

The main job, a round trip on each of the four paths, and each command with the exit codes that it documents.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import dicomlab
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets

COMMAND = Path(sys.executable).with_name("dicomlab")


def called(*arguments: object, code: int = 0) -> str:
    """What a command prints, on both streams; its exit code must be that one."""
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, f"dicomlab {arguments}: {done.returncode}\n{done.stdout}"
    assert "Traceback" not in done.stdout
    return done.stdout


def round_trips() -> None:
    """Over DIMSE, over the web, from media; and live."""
    images = list(phantom_datasets(patients=1, slices=3))
    doors = {"DIMSE": lambda archive: archive.node, "DICOMweb": lambda archive: archive.web}
    for name, door in doors.items():
        with dicomlab.Archive() as archive:
            path: Any = door(archive)
            assert path.verify()
            assert path.store(images, progress=False).complete
            assert len(path.find("series", PatientID="SYN-001", progress=False)) == 2
            fetched = path.find("study", progress=False).retrieve(name, verify="sha256", progress=False)
            assert fetched.count("done") == len(images)
    disc = fetched.media.write("disc", progress=False)
    assert disc.count("done") == len(images)
    media = dicomlab.MediaSet("disc")
    assert media.verify()
    copied = media.find("study", progress=False).retrieve("copied", verify="sha256", progress=False)
    assert {one.sha256 for one in copied} == {one.sha256 for one in fetched}
    pictures = list(endoscopy_frames(5, 64, 64))
    cast = dicomlab.Broadcast(pictures, rate_hz=25, loop=True, fictional=True, **PATIENT)
    with dicomlab.LiveStream(cast) as live, cast:
        frame = next(live.frames(1))
        assert frame.dataset.PatientID == PATIENT["PatientID"]
        (kept,) = live.record("recorded", seconds=0.4, form="uncompressed", progress=False)
        assert kept.result in ("done", "warning")  # where this machine was busy, a frame is missing and it says so


def commands() -> None:
    """Each one, as a user calls it."""
    assert "exit codes" in called("--help")
    assert "dicomlab find" in called("find", "--help")
    assert "usage" in called(code=2)
    assert "Nothing left this machine" in called("demo")
    assert "dicomlab[lab]" in called("lab", code=1)  # which is not installed
    assert "✗" not in called("doctor")
    assert "Cohort of 2 series" in called("scan", "disc", "--level", "series", "-o", "table.parquet")
    assert called("view", "disc", "--no-open").strip().endswith("dicomlab-view.html")
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        assert "Unreachable" in called("find", f"PACS@127.0.0.1:{closed.getsockname()[1]}", "study", code=1)
    with subprocess.Popen([COMMAND, "serve", "kept", "--demo"], stdout=subprocess.PIPE, text=True) as served:
        try:
            assert served.stdout
            told = ""
            while "Ctrl-C" not in told:
                told += served.stdout.readline()
            dimse, web = re.findall(r"DICOMLAB@\S+:\d+|http://\S+", told)
            assert "did you mean PatientID" in called("find", dimse, "study", "PatinetID=1", code=2)
            for number, source in enumerate((dimse, web, "kept")):
                assert "Cohort of" in called("find", source, "series", "Modality=CT|MR", "--csv", f"{number}.csv")
            assert "done" in called("retrieve", dimse, "series", "Modality=MR", "--to", "fetched")
        finally:
            served.send_signal(signal.SIGTERM)
        assert served.wait(30) == 0
    assert os.path.getsize("0.csv") == os.path.getsize("1.csv") > 1000


if __name__ == "__main__":
    print(sys.version.split()[0], dicomlab.__file__)
    round_trips()
    commands()
    print("all of it works")
