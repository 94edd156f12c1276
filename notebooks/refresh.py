"""Run the notebooks top to bottom in fresh kernels and store what they show: ``python notebooks/refresh.py [name ...]``.

The ``.md`` is the source. What changes from run to run and says nothing (times of execution, states of widgets) is left
out, so that a diff shows what a reader would see change.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from conftest import kernel_environment
from nbclient import NotebookClient

HERE = Path(__file__).parent


def refresh(source: Path) -> None:
    """Run one and store it beside its source."""
    target = source.with_suffix(".ipynb")
    book = jupytext.read(source)
    NotebookClient(book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}).execute()
    book.metadata.pop("widgets", None)
    book.metadata["language_info"] = {"name": "python"}
    for number, cell in enumerate(book.cells):
        cell["id"] = f"cell-{number:02}"
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            if "text/html" in output.get("data", {}):  # a live face without its kernel: its static twin is shown
                output["data"].pop("application/vnd.jupyter.widget-view+json", None)
    nbformat.write(book, target)


if __name__ == "__main__":
    names = sys.argv[1:] or [path.stem for path in sorted(HERE.glob("[0-9]*.md"))]
    with tempfile.TemporaryDirectory(prefix="notebooks-") as folder:
        os.environ.update(kernel_environment(Path(folder)))
        for name in names:
            refresh(HERE / f"{name}.md")
