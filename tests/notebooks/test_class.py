"""A class works on one machine: notebooks that run side by side do not get in each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
RUN = """
import configparser, re, sys, jupytext
from pathlib import Path
from nbclient import NotebookClient
source = Path(sys.argv[1])
book = jupytext.read(source)
NotebookClient(book, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(source.parent)}}).execute()
stored = jupytext.read(source.with_suffix(".ipynb"))

rules = configparser.ConfigParser(interpolation=None)
rules.read(source.with_name("sanitize.cfg"))

def printed(cell):
    text = "".join(output.text for output in cell.get("outputs", ()) if output.output_type == "stream")
    for rule in rules.sections():
        text = re.sub(rules[rule]["regex"], rules[rule]["replace"], text)
    return text

pairs = zip(book.cells, stored.cells, strict=True)
tested = [pair for pair in pairs if "nbval-ignore-output" not in pair[1].metadata.get("tags", ())]
different = [printed(now) for now, then in tested if printed(now) != printed(then)]
sys.exit(f"other outputs than alone: {different}" if different else 0)
"""


ARCHIVES = """
import sys
from concurrent.futures import ThreadPoolExecutor
import dicomlab
from dicomlab.samples.phantom import phantom_datasets

def lesson(number):
    mine = phantom_datasets(patients=1, slices=1, seed=int(sys.argv[1]) + number)
    with dicomlab.Archive() as archive:
        stored = archive.node.store(mine, progress=False)
        assert stored.complete and archive.web.verify()
        begun.wait()  # all of them are open now
        moved = archive.node.find("study", progress=False).retrieve(f"{sys.argv[2]}/{number}", method="move", progress=False)
        assert {one.sop_instance_uid for one in moved} == {one.sop_instance_uid for one in stored}, moved
        assert moved.complete, moved
        return archive.node.address.port, archive.node.me.port, int(archive.web.url.split(":")[2].split("/")[0])

import threading
begun = threading.Barrier(10, timeout=100)
with ThreadPoolExecutor(10) as desks:
    for ports in desks.map(lesson, range(10)):
        print(*ports)
"""


def _end(running: list[subprocess.Popen[str]]) -> list[str]:
    ended = [one.communicate() for one in running]
    assert [one.returncode for one in running] == [0] * len(running), "\n".join(said for _, said in ended)[-3000:]
    return [told for told, _ in ended]


def _started(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], env=os.environ | {"PYTHONPATH": str(FOLDER.parent)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "names",
    [
        ["03-associations", "04-store", "06-retrieve", "06-retrieve"],
        pytest.param(["03-associations", "04-store", "05-find", "06-retrieve"] * 3, marks=pytest.mark.full),
    ],
    ids=["four", "twelve"],
)
def test_notebooks_run_side_by_side(names: list[str]) -> None:
    _end([_started(RUN, FOLDER / f"{name}.md") for name in names])


def test_thirty_archives_are_open_at_once_and_each_gets_its_own_images(tmp_path: Path) -> None:
    """In three processes; a C-MOVE finds its way back to who asked."""
    told = _end([_started(ARCHIVES, 1000 * number, tmp_path / str(number)) for number in range(3)])
    ports = [int(port) for text in told for port in text.split()]
    assert len(ports) == 90
    assert len(set(ports)) == 90
