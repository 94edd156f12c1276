"""The code blocks of a page of documentation."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_MADE = ("{toctree}", "{include}", "{eval-rst}", "mermaid")


def _with_code() -> Iterator[Path]:
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "notebooks/README.md"]):
        if "_build" not in page.parts and any(language not in _MADE for language, _, _ in blocks(page)):
            yield page


_FENCE = re.compile(r"^(`{3,})(\S*)[^\n]*\n(.*?)^\1$", re.DOTALL | re.MULTILINE)

DONE_ELSEWHERE = {
    "make demo": "the installation test and the tour",
    "make test": "this is it",
    "python -m pip install .": "test_package: a wheel into an empty environment",
    "dicomlab demo": "tests/contract/test_command_line.py",
    "dicomlab lab": "tests/contract/test_command_line.py",
}
"""Commands of the pages that other tests run: they install, or don't end by themselves."""


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """Give language, text and first line's number of each fenced block of a page."""
    text = page.read_text(encoding="utf-8")
    return [(found[2], found[3], text.count("\n", 0, found.start()) + 2) for found in _FENCE.finditer(text)]


def commands(block: str) -> list[str]:
    """Give the commands of a console block, without comments."""
    return [line[2:].split("  #")[0].strip() for line in block.splitlines() if line.startswith("$ ")]


PAGES = list(_with_code())
"""Every page with a block of code; what Sphinx makes something of, and pictures in words, are none."""
