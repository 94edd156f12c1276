"""A class works on one machine: notebooks that run side by side do not get in each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
RUN = """
import sys, jupytext
from pathlib import Path
from nbclient import NotebookClient
source = Path(sys.argv[1])
book = jupytext.read(source)
NotebookClient(book, timeout=100, kernel_name="python3", resources={"metadata": {"path": str(source.parent)}}).execute()
stored = jupytext.read(source.with_suffix(".ipynb"))

def printed(cell):
    return "".join(output.text for output in cell.get("outputs", ()) if output.output_type == "stream")

pairs = zip(book.cells, stored.cells, strict=True)
tested = [pair for pair in pairs if "nbval-ignore-output" not in pair[1].metadata.get("tags", ())]
different = [printed(now) for now, then in tested if printed(now) != printed(then)]
sys.exit(f"other outputs than alone: {different}" if different else 0)
"""


@pytest.mark.parametrize(
    ("name", "times"),
    [("06-retrieve", 2), pytest.param("06-retrieve", 8, marks=pytest.mark.full)],
    ids=["two", "eight"],
)
def test_notebooks_run_side_by_side(name: str, times: int) -> None:
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    command = [sys.executable, "-c", RUN, str(FOLDER / f"{name}.md")]
    running = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(times)]
    ended = [one.communicate()[1] for one in running]
    assert [one.returncode for one in running] == [0] * times, "\n".join(ended)[-2000:]
