"""The tutorials keep their promises: paired, run from top to bottom, small, told the same way, nothing from outside."""

from __future__ import annotations

import base64
import getpass
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "notebooks"
BOOKS = sorted(FOLDER.glob("*.ipynb"))
NAMES = [path.stem for path in BOOKS]

MOST_OCTETS, MOST_OUTPUT, MOST_PICTURE = 300_000, 40_000, 100_000
MOST_CODE_CELLS, MOST_UNTESTED = 40, 2
MOST_CORE_MINUTES = 180
UNTESTED = ("nbval-ignore-output", "nbval-skip")
HEAD = ("**For** ", "**Takes** ", "**Afterwards you can**")
RHYTHM = ("**Predict**", "\n## Break it", "\n## Exercise", "<details><summary>")
OUTSIDE = re.compile(r"/(?:home|root|Users|tmp|work|var|usr|opt)/|[A-Z]:\\\\|<script|<iframe|src=(?![\"']?data:)")
KEPT = ("tags", "reason", "jupyter")


def _book(name: str) -> Any:
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def _cells(book: Any) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (cell.cell_type, cell.source, {key: cell.metadata[key] for key in KEPT if key in cell.metadata})
        for cell in book.cells
    ]


def _code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def _told(book: Any) -> str:
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def _texts(output: Any) -> list[str]:
    if output.output_type == "stream":
        return [output.text]
    return [text for kind, text in output.get("data", {}).items() if kind.startswith("text/")]


def _minutes(book: Any) -> int:
    found = re.search(r"\*\*Takes\*\* (\d+) minutes", _told(book))
    assert found
    return int(found[1])


def _in_core(book: Any) -> bool:
    return "Part of the three-hour core" in _told(book)


def test_there_are_notebooks() -> None:
    assert len(BOOKS) >= 2


@pytest.mark.parametrize("name", sorted({path.stem for path in (*BOOKS, *FOLDER.glob("[0-9]*.md"))}))
def test_the_text_beside_it_is_its_source(name: str) -> None:
    source = FOLDER / f"{name}.md"
    assert _cells(jupytext.read(source)) == _cells(_book(name)), f"run: python notebooks/refresh.py {name}"


@pytest.mark.parametrize("name", NAMES)
def test_it_ran_from_top_to_bottom_and_nothing_failed(name: str) -> None:
    cells = _code(_book(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        errors = [output.ename for output in cell.outputs if output.output_type == "error"]
        assert not errors or "raises-exception" in cell.metadata.get("tags", ())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small(name: str) -> None:
    assert (FOLDER / f"{name}.ipynb").stat().st_size <= MOST_OCTETS
    cells = _code(_book(name))
    assert len(cells) <= MOST_CODE_CELLS
    for output in (output for cell in cells for output in cell.outputs):
        assert sum(len(text.encode()) for text in _texts(output)) <= MOST_OUTPUT
        for picture in (output.get("data", {}).get(kind, "") for kind in ("image/png", "image/jpeg")):
            assert len(base64.b64decode(picture)) <= MOST_PICTURE


@pytest.mark.parametrize("name", NAMES)
def test_few_outputs_are_not_compared_and_each_says_why(name: str) -> None:
    untested = [cell for cell in _code(_book(name)) if set(UNTESTED) & set(cell.metadata.get("tags", ()))]
    assert len(untested) <= MOST_UNTESTED
    for cell in untested:
        assert len(cell.metadata.get("reason", "")) > 10, cell.source


@pytest.mark.parametrize("name", NAMES)
def test_its_head_says_for_whom_how_long_and_what_for(name: str) -> None:
    book = _book(name)
    head = book.cells[0].source
    assert re.match(rf"# {name[:2]} · \S", head)
    for part in HEAD:
        assert part in head
    assert _minutes(book) > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_has_the_rhythm_and_an_exercise_whose_solution_is_hidden_and_run(name: str) -> None:
    book = _book(name)
    told = "\n" + _told(book)
    for part in RHYTHM:
        assert part in told
    solutions = [cell for cell in _code(book) if "solution" in cell.metadata.get("tags", ())]
    assert solutions
    for cell in solutions:
        assert cell.metadata["jupyter"]["source_hidden"]
        assert cell.metadata["jupyter"]["outputs_hidden"]
        assert cell.source.startswith("# Solution\n")  # JupyterLab shows the first line of what is hidden
        assert cell.outputs


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_comes_from_outside_or_tells_where_it_ran(name: str) -> None:
    book = _book(name)
    user = getpass.getuser()
    for text in (text for cell in _code(book) for output in cell.outputs for text in _texts(output)):
        found = OUTSIDE.search(text)
        assert not found, text[max(0, found.start() - 40) : found.end() + 40]
        assert f"/{user}/" not in text
        words = re.sub(r"base64,[A-Za-z0-9+/=\s]+", "", text)
        assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", words)
    for cell in book.cells:
        for link in re.findall(r"https?://[^\s)\"'>]+", cell.source if cell.cell_type == "code" else ""):
            assert link.startswith(("http://127.0.0.1", "http://localhost", "https://example"))


def test_the_core_takes_three_hours_and_the_index_names_every_notebook_once() -> None:
    index = (FOLDER / "README.md").read_text()
    linked = re.findall(r"\((\d\d-[\w-]+)\.ipynb\)", index)
    assert sorted(linked) == NAMES
    core = {name for name in NAMES if _in_core(_book(name))}
    marked = {
        name for line in index.splitlines() if "★" in line for name in re.findall(r"\((\d\d-[\w-]+)\.ipynb\)", line)
    }
    assert core == marked
    assert sum(_minutes(_book(name)) for name in core) <= MOST_CORE_MINUTES
    for name in NAMES:
        assert f"({name}.ipynb) | {_minutes(_book(name))} |" in index, name


def test_a_kernel_that_is_tested_cannot_leave_this_machine() -> None:
    away = "import socket; s = socket.socket(); s.settimeout(1); s.connect(('192.0.2.1', 80))"
    home = "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); socket.create_connection(s.getsockname())"
    guard = (FOLDER / "loopback.py").read_text()
    stays, leaves = (
        subprocess.run([sys.executable, "-c", f"{guard}\n{code}"], capture_output=True, text=True, check=False)
        for code in (f"import socket; {home}", away)
    )
    assert stays.returncode == 0, stays.stderr
    assert "must not leave this machine" in leaves.stderr
