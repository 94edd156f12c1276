"""``binder/`` is taken up whole by repo2docker, and its steps lead to a Lab in which the tour runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.packaging.image import BINDER, MAX_OCTETS, ROOT, TOUR, Image
from tests.peers.lab import Chromium, Desk, strayed
from tests.peers.processes import ABSENT, need

PACKAGES = ("dcmtk", "orthanc", "orthanc-dicomweb")


@pytest.fixture(scope="module")
def dockerfile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What repo2docker would build, as it says with --no-build."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("binder", "pyproject.toml", "README.md"):
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, tree / name)
    who = ["--user-id", "1000", "--user-name", "jovyan"]
    told = subprocess.run(
        [Path(sys.executable).with_name("jupyter-repo2docker"), "--no-build", "--debug", *who, tree],
        cwd=tree, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    return told.stdout + told.stderr


@pytest.mark.parametrize(
    "line",
    [
        r"Building conda environment for python=3\.11",
        rf"apt-get install --yes --no-install-recommends {' '.join(PACKAGES)} &&",
        r'^RUN \$\{KERNEL_PYTHON_PREFIX\}/bin/pip install --no-cache-dir -r "binder/requirements\.txt"',
        r"^RUN \./binder/postBuild",
        r'^ENV R2D_ENTRYPOINT="\$\{REPO_DIR\}/binder/start"',
        r"^ENV KERNEL_PYTHON_PREFIX=\$\{NB_PYTHON_PREFIX\}$",  # else the server would lack what widgets need
    ],
    ids=["runtime", "apt", "requirements", "postBuild", "start", "one environment"],
)
def test_repo2docker_takes_up(line: str, dockerfile: str) -> None:
    assert re.search(line, dockerfile, re.MULTILINE), dockerfile


def test_requirements_are_installed_where_the_tree_is(dockerfile: str) -> None:
    """They name this tree, so it must have been copied before."""
    assert (BINDER / "requirements.txt").read_text() == ".[all]\n"
    steps = (
        "COPY --chown=1000:1000 src/ ${REPO_DIR}/\n",
        "RUN ${KERNEL_PYTHON_PREFIX}/bin/pip",
        "RUN ./binder/postBuild",
    )
    places = [dockerfile.index(step) for step in steps]
    assert places == sorted(places)


def test_start_gives_way_to_what_it_is_given() -> None:
    """It becomes the command, so that a signal for the one reaches the other."""
    shown = 'echo $$ "$1" $OMP_NUM_THREADS'
    with subprocess.Popen(
        [BINDER / "start", "sh", "-c", shown, "sh", "two words"], stdout=subprocess.PIPE, text=True
    ) as started:
        said, _ = started.communicate(timeout=30)
        assert said == f"{started.pid} two words 1\n"
    assert subprocess.run([BINDER / "start", "sh", "-c", "exit 7"], check=False).returncode == 7


def test_every_page_leads_to_the_repository_that_pyproject_names() -> None:
    address = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Repository"]
    assert address.startswith("https://github.com/")
    badge = address.replace("https://github.com/", "https://mybinder.org/v2/gh/") + f"/HEAD?urlpath=lab/tree/{TOUR}"
    assert f"]({badge})" in (ROOT / "README.md").read_text()
    assert f'repository-code: "{address}"' in (ROOT / "CITATION.cff").read_text().splitlines()
    listed = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.md")]
    for page in listed:
        text = page.read_text()
        assert set(re.findall(r"https://mybinder\.org/v2/[^\s)]+", text)) <= {badge}, page
        assert set(re.findall(r"https://git(?:hub|lab)\.com/[\w.-]+/[\w.-]+", text)) <= {address}, page


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_can_be_run(name: str) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--stage", f"binder/{name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip(f"{ABSENT}git, or this is no checkout")
    assert listed.stdout.startswith("100755")
    assert (BINDER / name).read_text().startswith("#!/bin/bash\n")


def test_debian_has_the_packages() -> None:
    """Ubuntu takes these three from Debian, under the same names."""
    if shutil.which("apt-cache") is None:
        pytest.skip(f"{ABSENT}apt")
    assert tuple((BINDER / "apt.txt").read_text().split()) == PACKAGES
    for name in PACKAGES:
        said = subprocess.run(["apt-cache", "policy", name], capture_output=True, text=True, check=True).stdout
        if not said:
            pytest.skip(f"{ABSENT}apt's lists (apt-get update)")
        assert "(none)" not in re.findall(r"Candidate: (\S+)", said) != []


@pytest.mark.browser
@pytest.mark.timeout(900)
@pytest.mark.parametrize("from_nothing", [False, pytest.param(True, marks=pytest.mark.full)], ids=["quick", "whole"])
def test_the_tour_runs_where_its_steps_lead(*, from_nothing: bool, tmp_path: Path) -> None:
    """In a home of its own, it runs in the browser within what mybinder.org gives."""
    need("chromium", "orthanc")
    with Image() as image:
        image.copy_tree()
        image.install(from_nothing=from_nothing)
        assert "DICOMweb" in image.do("binder/postBuild")
        assert image.do("binder/start", "bash", "-c", "command -v Orthanc").strip()
        with image.server() as server, Chromium(tmp_path / "profile") as chromium, chromium.page() as page:
            desk: Any = Desk(server, page)  # type: ignore[arg-type]
            with desk.open(TOUR) as book:
                book.run_all()
                assert book.errors == []
                assert page.complaints == []
                assert strayed(page.asked) == []
                told = page.evaluate("async () => (await fetch('/server-proxy/servers-info')).text()")
                assert '"title": "DICOM archive"' in told  # by the entry point of what was installed
                assert page.evaluate("async () => (await fetch('/dicomlab/dicom-web/studies')).status") in (200, 204)
                peak = image.peak_octets()
        assert 100 << 20 < peak < MAX_OCTETS, f"{peak >> 20} MiB"
