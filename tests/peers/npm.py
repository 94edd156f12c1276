"""Packages from npm that are not ours, fetched once into the cache."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.peers.processes import ABSENT, command, need

CACHE = Path(__file__).parents[2] / ".cache"
_NOT_NEEDED = (".map", ".onnx", ".LICENSE.txt")


def package(name: str, version: str) -> Path:
    """The folder of an npm package; the test is skipped where it can't be had."""
    need("node")
    plain = name.lstrip("@").replace("/", "-")
    folder = CACHE / f"{plain}-{version}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{plain}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _fetch(f"{name}@{version}", plain, folder)
    return folder / "package"


def _fetch(what: str, plain: str, folder: Path) -> None:
    npm, cache = command("npm") or "npm", CACHE / f"npm-{plain}"
    asked = [npm, "pack", what, "--silent", "--pack-destination", str(CACHE), "--cache", str(cache)]
    try:
        subprocess.run(asked, cwd=CACHE, check=True, capture_output=True, timeout=110, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"{ABSENT}{what} (npm can't fetch it)")
    shutil.rmtree(folder, ignore_errors=True)
    (packed,) = CACHE.glob(f"{plain}-*.tgz")
    with tarfile.open(packed) as archive:
        wanted = [member for member in archive if not member.name.endswith(_NOT_NEEDED)]
        archive.extractall(folder, wanted, filter="data")
    packed.unlink()
    shutil.rmtree(cache, ignore_errors=True)
    (folder / "whole").touch()
