"""What is shipped, and that the documents and the Makefile speak of what is there."""

from __future__ import annotations

import os
import re
import shutil
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
    files = {p.relative_to(ROOT) for p in LIBRARY.rglob("*") if p.is_file()}
    ours = {p.as_posix() for p in files if not any(part.startswith((".", "__pycache__")) for part in p.parts)}
    assert shipped == ours
    assert "dicomlab/py.typed" in shipped


def test_versions_agree() -> None:
    text = (LIBRARY / "__init__.py").read_text()
    assert f'__version__ = "{PROJECT["version"]}"' in text
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_the_gpl_codec_is_in_no_other_extra() -> None:
    wants = {extra: " ".join(names) for extra, names in PROJECT["optional-dependencies"].items()}
    wants[""] = " ".join(PROJECT["dependencies"])
    assert [extra for extra, names in wants.items() if "pylibjpeg-libjpeg" in names or "gpl" in names] == ["gpl-codecs"]


def test_all_is_every_extra_but_gpl_and_test() -> None:
    extras = PROJECT["optional-dependencies"]
    (all_of_them,) = extras["all"]
    assert set(all_of_them.removeprefix("dicomlab[").rstrip("]").split(",")) == set(extras) - {
        "all", "gpl-codecs", "docs", "test",
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
    numbers = [p.name[:4] for p in sorted((ROOT / "docs" / "decisions").glob("0*.md"))]
    assert numbers == [f"{n:04}" for n in range(1, len(numbers) + 1)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile and .ci/run, with a .venv that is up to date and only writes down what it is asked."""
    for name in ("Makefile", "pyproject.toml", ".ci/run", "tests/peers/install.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("python", "dicomlab", "ruff", "mypy", "lint-imports", "coverage"):
        tool = tmp_path / ".venv" / "bin" / name
        tool.parent.mkdir(parents=True, exist_ok=True)
        tool.write_text(f'#!/bin/sh\necho {name} "$@" CI=$CI >>{tmp_path}/asked\necho "=== 9 passed in 1.0s ==="\n')
        tool.chmod(0o755)
    for stamp in ("base", "all,test"):
        (tmp_path / ".venv" / stamp).touch()
    (tmp_path / ".venv" / "sdists").mkdir()
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "bench_a.py").touch()
    (tmp_path / "bench" / "bench_b.py").touch()
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PEERS": "0", "CI": ""}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_installs_again_only_when_the_project_changed(checkout: Path) -> None:
    assert "pip install" not in run(checkout, "make", "-n", "demo").stdout
    old = checkout / ".venv" / "base"
    os.utime(old, (1, 1))
    assert "pip install --quiet --editable ." in run(checkout, "make", "-n", "demo").stdout
    assert "--editable '.[all,test]'" not in run(checkout, "make", "-n", "test").stdout
    shutil.rmtree(checkout / ".venv")
    fresh = run(checkout, "make", "-n", "test", "PYTHON=python3.99").stdout
    assert "python3.99 -m venv .venv" in fresh
    assert "--editable '.[all,test]'" in fresh


def test_the_tests_of_notebooks_run_when_there_are_notebooks(checkout: Path) -> None:
    assert "--nbval" not in run(checkout, "make", "-n", "test").stdout
    (checkout / "notebooks").mkdir()
    (checkout / "notebooks" / "00-tour.ipynb").touch()
    assert "tests/packaging notebooks --nbval" in run(checkout, "make", "-n", "test").stdout
    assert run(checkout, "make", "-n", "test-full").stdout.count(" --full\n") == 2


def test_ci_runs_the_tests_and_every_bench(checkout: Path) -> None:
    done = run(checkout, ".ci/run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["== === 9 passed in 1.0s ==="] * 2
    asked = (checkout / "asked").read_text().splitlines()
    assert asked[:4] == ["ruff check CI=true", "ruff format --check CI=true", "mypy CI=true", "lint-imports CI=true"]
    faces = "tests/browser tests/docs tests/notebooks tests/packaging"
    ignored = " ".join(f"--ignore={face}" for face in faces.split())
    assert set(asked[4:6]) == {f"python -m pytest {faces} CI=true", f"python -m pytest tests {ignored} CI=true"}
    assert asked[6:] == [f"python bench/bench_{name}.py --smoke CI=true" for name in "ab"]


@pytest.mark.parametrize("broken", ["mypy", "python"])
def test_ci_fails_where_anything_fails(checkout: Path, broken: str) -> None:
    (checkout / ".venv" / "bin" / broken).write_text("#!/bin/sh\nexit 3\n")
    assert run(checkout, ".ci/run").returncode != 0
    assert "bench" not in (checkout / "asked").read_text()
