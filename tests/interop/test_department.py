"""What the simulated department makes, as dciodvfy judges it: images with their request, and the report."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from dicomlab import Archive, samples
from tests.peers.processes import command, need


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    need("dicom3tools")
    folder = tmp_path_factory.mktemp("department")
    day = samples.department(seed=1, patients=3)
    with Archive(web_port=None) as archive:
        archive.worklist.fill(day.schedule)
        for item in archive.node.worklist(PatientID=["SYN-001", "SYN-003"]):  # one CT, one MR
            acquired = day.modality(archive.node, slices=1).acquire(item)
            day.order_reading(archive.node.workitems, acquired)
        reader = day.reader(archive.node)
        for task in reader.tasks():
            reader.read(task)
        archive.node.find("instance").retrieve(folder)
        return sorted(folder.rglob("*.dcm"))


def test_every_instance_is_what_its_iod_says(made: list[Path]) -> None:
    assert len(made) == 4
    for path in made:
        done = subprocess.run(
            [command("dciodvfy") or "dciodvfy", str(path)], capture_output=True, text=True, check=False
        )
        assert "Error" not in done.stderr + done.stdout, done.stderr
