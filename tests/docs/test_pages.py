"""Every code block of the documentation runs as it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import dicomlab
import dicomlab.errors
from dicomlab.__main__ import _parser
from dicomlab.samples.phantom import write_phantom
from tests.docs.pages import DONE_ELSEWHERE, PAGES, ROOT, blocks, commands

FORMS = {"python", "console", "mermaid", "{toctree}", "text"}
README = ROOT / "README.md"

CHECKED = """
assert report.complete and report.count("done") > 20
assert len(df) > 10 and len(series) > 1 and wire.octets > 0
"""
"""What the README promises of its example, beside running."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    write_phantom(tmp_path / "pile", patients=1)  # what a reader has
    script = ""
    for language, text, line in blocks(page):
        assert language in FORMS, f"{page.name}:{line}: is {language!r} code that ought to run?"
        if language == "python":
            script += text
        elif language == "console":
            _run(script, tmp_path, page)
            script = ""
            for command in commands(text):
                if command not in DONE_ELSEWHERE:
                    _done(command, ROOT if "bench/" in command else tmp_path, shell=True)
    _run(script + CHECKED * (page == README), tmp_path, page)


def _run(script: str, folder: Path, page: Path) -> None:
    """In a process of its own: what a page leaves open is the page's affair, as it is the reader's."""
    if script:
        (folder / f"{page.stem}.py").write_text(script, encoding="utf-8")
        _done([sys.executable, "-W", "error", f"{page.stem}.py"], folder)


def _done(command: str | list[str], folder: Path, *, shell: bool = False) -> None:
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    own = {"PATH": path, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    done = subprocess.run(
        command, shell=shell, cwd=folder, env={**os.environ, **own},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


def test_every_public_name_is_in_the_reference() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference").glob("*.md"))
    errors = set(vars(dicomlab.errors))
    assert [name for name in dicomlab.__all__ if name not in errors and name not in pages] == []


def test_every_command_is_documented() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text(encoding="utf-8")
    (commands,) = (action for action in _parser()._actions if action.metavar == "COMMAND")
    assert [name for name in commands.choices or () if f"`dicomlab {name}" not in page] == []
