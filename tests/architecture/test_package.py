"""What is shipped, and that the documents and the Makefile speak of what is there."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.architecture.house import LIBRARY, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_wheel_holds_the_library_and_nothing_else(tmp_path: Path) -> None:
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path, ROOT],
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in archive.namelist())
    git = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "dicomlab"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert shipped == {name for name in git.stdout.split() if (ROOT / name).is_file()}
    assert "dicomlab/py.typed" in shipped


def test_versions_agree() -> None:
    text = (LIBRARY / "__init__.py").read_text()
    assert f'__version__ = "{PROJECT["version"]}"' in text
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_gpl_codec_is_in_no_other_extra() -> None:
    wants = {extra: " ".join(names) for extra, names in PROJECT["optional-dependencies"].items()}
    wants[""] = " ".join(PROJECT["dependencies"])
    assert [extra for extra, names in wants.items() if "pylibjpeg-libjpeg" in names or "gpl" in names] == ["gpl-codecs"]


def test_all_is_every_extra_but_gpl_and_test() -> None:
    extras = PROJECT["optional-dependencies"]
    (all_of_them,) = extras["all"]
    assert set(all_of_them.removeprefix("dicomlab[").rstrip("]").split(",")) == set(extras) - {
        "all", "gpl-codecs", "test",
    }  # fmt: skip


TARGETS = ("demo", "lab", "test", "test-full", "lint", "bench", "clean")


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("target", TARGETS)
def test_make_has(target: str) -> None:
    assert target in targets()
    dry = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert dry.returncode == 0, dry.stderr
    assert ".venv" in dry.stdout


DOCUMENTS = sorted(p for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_document_speaks_of_what_is_there(document: Path) -> None:
    """Every ``make x`` is a target, every relative link and every path in backquotes leads somewhere."""
    text = document.read_text()
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= targets()
    links = re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
    paths = re.findall(r"`((?:dicomlab|tests|bench|docs|notebooks|\.ci)/[\w./-]*)`", text)
    dead = [link for link in links if not (document.parent / link).exists()]
    dead += [path for path in paths if not (ROOT / path).exists()]
    assert dead == []


def test_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    order = [
        text.find(words)
        for words in ("make demo", "make test", "apt-get install make python3 python3-venv", "pip install")
    ]
    assert -1 not in order
    assert max(order[:2]) < order[3]


def test_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [p.name for p in LIBRARY.iterdir() if p.is_dir() and (p / "__init__.py").exists()]
    assert [room for room in rooms if f"{room}/" not in text] == []
    named = set(re.findall(r"\b(\w+)\.py\b", text))
    assert named <= {p.stem for p in ROOT.rglob("*.py") if ".venv" not in p.parts}


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [p.name[:4] for p in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]


def test_ci_runs_the_tests_and_every_bench() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", script], check=True)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert "make test" in text
    assert "--smoke" in text
