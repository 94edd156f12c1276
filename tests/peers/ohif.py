"""OHIF, a web viewer that is not ours: its prebuilt npm package, fetched once into the cache, and a browser to run it."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.peers.processes import ABSENT, command, need

VERSION = "3.12.10"
CACHE = Path(__file__).parents[2] / ".cache"
_NOT_NEEDED = (".map", ".onnx", ".LICENSE.txt")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()
NOWHERE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def ohif() -> Path:
    """The folder of the package ``@ohif/app``; the test is skipped where it can't be had."""
    need("chromium", "node")
    folder = CACHE / f"ohif-{VERSION}"
    CACHE.mkdir(exist_ok=True)
    with (CACHE / "ohif.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "whole").exists():
            _fetch(folder)
    return folder / "package"


def _fetch(folder: Path) -> None:
    npm = command("npm") or "npm"
    asked = [
        npm,
        "pack",
        f"@ohif/app@{VERSION}",
        "--silent",
        "--pack-destination",
        str(CACHE),
        "--cache",
        f"{CACHE}/npm",
    ]
    try:
        subprocess.run(asked, cwd=CACHE, check=True, capture_output=True, timeout=110, stdin=subprocess.DEVNULL)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"{ABSENT}@ohif/app (npm can't fetch it)")
    shutil.rmtree(folder, ignore_errors=True)
    (packed,) = CACHE.glob("ohif-app-*.tgz")
    with tarfile.open(packed) as archive:
        wanted = [member for member in archive if not member.name.endswith(_NOT_NEEDED)]
        archive.extractall(folder, wanted, filter="data")
    packed.unlink()
    shutil.rmtree(CACHE / "npm", ignore_errors=True)
    (folder / "whole").touch()


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A page of a fresh headless browser that resolves no name; ``page.asked`` lists the URLs of all its requests."""
    from playwright.sync_api import sync_playwright

    need("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=command("chromium"), headless=True, args=[*FLAGS, NOWHERE_ELSE],
            viewport={"width": 1280, "height": 800},
        )  # fmt: skip
        try:
            page = browser.new_page()
            page.asked = []
            page.on("request", lambda request: page.asked.append(request.url))
            yield page
        finally:
            browser.close()
