"""What is shipped: built twice the same, small, and at work where only it is installed."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from tests.packaging.conftest import built
from tests.packaging.environments import ROOT, UV, Environment, run

EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


OLDEST_MINOR = 11


@functools.cache
def pythons() -> tuple[str, str]:
    """The oldest Python that we support and the newest of this machine; what runs the tests where there is no other."""
    found = []
    for minor in range(OLDEST_MINOR, 31):
        name = f"python3.{minor}"
        for path in (shutil.which(name), *Path.home().glob(f".pyenv/versions/*/bin/{name}")):
            if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found.append(str(path))
                break
    return (found[0], found[-1]) if found else (sys.executable, sys.executable)


def test_the_oldest_python_is_the_one_that_we_name() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == f">=3.{OLDEST_MINOR}"


DECODES = """
from pydicom import dcmread
from dicomlab.samples import real_files
found = 0
for path in real_files():
    dataset = dcmread(path)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated and dataset.file_meta.TransferSyntaxUID.name.startswith({!r}):
        dataset.pixel_array
        found += 1
assert found
"""
PHANTOM = """
import dicomlab
from dicomlab.samples.phantom import write_phantom
write_phantom("pile", patients=1, slices=4)
media = dicomlab.MediaSet("pile", cache=False)
"""
WORKS: dict[str, str] = {
    "lab": "import jupyterlab, jupyter_server_proxy, dicomlab.notebook.html",
    "codecs": DECODES.format("JPEG 2000") + DECODES.format("RLE") + DECODES.format("JPEG Baseline"),
    "gpl-codecs": """
from pydicom.pixels.decoders import JPEGLosslessDecoder
assert "pylibjpeg" in JPEGLosslessDecoder.available_plugins
""",
    "video": """
import dicomlab
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
cast = dicomlab.Broadcast(list(endoscopy_frames(10, 320, 240)), rate_hz=25, loop=True, fictional=True, **PATIENT)
live = dicomlab.LiveStream(cast).start()
cast.start()
assert live.record("recording", seconds=0.4, progress=False).complete
live.close()
cast.close()
""",
    "distributed": PHANTOM
    + """
from concurrent.futures import Executor
import dask
from dask.distributed import Client, LocalCluster
dask.config.set({"temporary-directory": "scratch"})
with LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster, Client(cluster) as client:
    assert len(media.scan(executor=client.get_executor(pure=False), progress=False).instances) == 5
""",
    "iso": PHANTOM + 'media.write("disc.iso", progress=False)\nassert dicomlab.MediaSet("disc.iso").verify()',
    "keyring": "import keyring\nassert keyring.get_keyring()",
    "nifti": PHANTOM + 'media.volume(media.find("series", Modality="CT", progress=False)).to_nifti("a.nii")',
    "docs": "import sphinx, myst_nb, furo",
}
"""What an extra is for, done with it."""

LACKS = {
    "iso": WORKS["iso"],
    "nifti": WORKS["nifti"],
    "video": "import dicomlab; open('a.mp4', 'wb').close(); dicomlab.Broadcast('a.mp4')",
}
"""What says :class:`MissingExtra`, by name of the extra, where it isn't installed."""


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel alone, on the oldest Python."""
    return Environment(tmp_path_factory.mktemp("base"), wheel, python=pythons()[0])


@pytest.mark.timeout(300)
@pytest.mark.parametrize("python", ["oldest", "newest"])
def test_it_works_where_only_it_is_installed(python: str, base: Environment, wheel: Path, tmp_path: Path) -> None:
    """The same on both: the main job, a round trip on each path, each command with its exit codes."""
    environment = base if python == "oldest" else Environment(tmp_path, wheel, python=pythons()[1])
    shutil.copy(Path(__file__).with_name("smoke.py"), tmp_path)
    said = run([environment.bin / "python", "-W", "error", "smoke.py"], tmp_path, NO_COLOR="1")
    assert "site-packages" in said
    assert said.endswith("all of it works\n")


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_built_twice_it_is_the_same(kind: str, tmp_path: Path) -> None:
    first, second = (built(tmp_path / name, kind) for name in ("a", "another"))
    assert first.read_bytes() == second.read_bytes()


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= 1_000_000


def test_the_sdist_gives_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    sdist = built(tmp_path / "sdist", "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "source", filter="data")
    (source,) = (tmp_path / "source").iterdir()
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "made"], source,
        SOURCE_DATE_EPOCH="1700000000")  # fmt: skip
    (made,) = (tmp_path / "made").iterdir()
    assert made.read_bytes() == wheel.read_bytes()


def test_the_doctor_names_every_extra(base: Environment) -> None:
    doctor = run([base.bin / "dicomlab", "doctor"], base.folder)
    assert "✗" not in doctor
    for extra in set(EXTRAS) - {"all", "test", "docs"}:
        assert f"dicomlab[{extra}]" in doctor or extra in ("codecs", "lab"), extra


@pytest.mark.parametrize("extra", sorted(LACKS))
def test_what_an_extra_brings_is_named_where_it_is_absent(extra: str, base: Environment) -> None:
    said = run([base.bin / "python", "-c", LACKS[extra]], base.folder, check=False)
    assert re.search(rf"MissingExtra: .*dicomlab\[{extra}\]", said), said[-2000:]


@pytest.mark.parametrize("extra", sorted(set(EXTRAS) - {"all", "test"}))
def test_an_extra_alone_does_what_it_is_for(extra: str, wheel: Path, tmp_path: Path) -> None:
    Environment(tmp_path, f"dicomlab[{extra}] @ {wheel.as_uri()}").python(WORKS[extra])


def lowest(wheel: Path, folder: Path, *more: str) -> Environment:
    """Everything that is asked of a user, in the lowest versions that pyproject.toml takes."""
    run([*UV, "pip", "compile", "pyproject.toml", "--resolution", "lowest-direct", "--extra", "all", "--no-header",
         "--no-annotate", "-o", folder / "lowest.txt"], ROOT)  # fmt: skip
    environment = Environment(folder, "-r", folder / "lowest.txt", *more)
    environment.install("--no-deps", wheel)
    return environment


@pytest.mark.timeout(300)
def test_the_lowest_versions_do_the_main_job(wheel: Path, tmp_path: Path) -> None:
    environment = lowest(wheel, tmp_path)
    versions = run([environment.bin / "python", "-c", "import numpy, pandas; print(numpy.__version__)"], tmp_path)
    assert versions.startswith("1.26"), versions
    assert "Nothing left this machine" in run([environment.bin / "dicomlab", "demo"], tmp_path)


@pytest.mark.full
@pytest.mark.timeout(900)
def test_the_lowest_versions_pass_the_tests(wheel: Path, tmp_path: Path) -> None:
    tools = ["pytest", "pytest-timeout", "hypothesis", "dicomweb-client", "import-linter", "simpleitk", "xarray",
             "pydicom-data", "jupytext", "hatchling", "uv"]  # fmt: skip
    environment = lowest(wheel, tmp_path, *tools)
    command = [environment.bin / "python", "-m", "pytest", "tests/unit", "tests/contract", "-q", "-x"]
    said = run([*command, "-p", "no:cacheprovider", "--basetemp", tmp_path / "t"], ROOT, timeout_s=880)
    assert " passed" in said.splitlines()[-1]
