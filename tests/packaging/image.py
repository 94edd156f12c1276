"""What repo2docker would do with ``binder/``, without Docker: the same steps, in a clean copy, as a user with no rights."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from urllib.request import urlopen

import pytest

from tests.packaging.environments import ROOT, Environment
from tests.peers.processes import ABSENT, LOOPBACK, Peer, free_port

BINDER = ROOT / "binder"
TOUR = "notebooks/00-tour.ipynb"
USER_ID = 62_017
"""Of nobody: whose steps these are where the tests run as root, as repo2docker's are those of ``jovyan``."""
_NETWORK = ("SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "UV_INDEX", "UV_DEFAULT_INDEX")
"""How packages are fetched from here."""
MAX_OCTETS = 2 << 30
"""What mybinder.org gives, beside one processor."""


class Image:
    """A copy of this tree in the home of an unprivileged user, who takes the steps. ``with`` removes it."""

    def __init__(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="dicomlab-binder-", dir="/tmp"))  # pytest's folders let nobody through
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            ids = [f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups", "--inh-caps=-all", "--no-new-privs"]
            self._as_user = ["setpriv", *ids]
        self.environment = {
            "HOME": str(self.home),
            "USER": "jovyan",
            "LANG": "C.UTF-8",
            "PATH": f"{self.home}/.env/bin:/usr/local/bin:/usr/bin:/bin",
            "VIRTUAL_ENV": f"{self.home}/.env",
            "UV_CACHE_DIR": f"{self.home}/.uv",
            "TMPDIR": f"{self.home}/.tmp",
        } | {name: os.environ[name] for name in _NETWORK if name in os.environ}

    def copy_tree(self) -> None:
        """What is in the repository, and nothing that lies beside it."""
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=False,
        )  # fmt: skip
        if listed.returncode:
            pytest.skip(f"{ABSENT}git, or this is no checkout")
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (ROOT / name).is_file():
                (self.home / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, self.home / name)
        (self.home / ".tmp").mkdir()
        if self._as_user:
            subprocess.run(["chown", "--recursive", f"{USER_ID}:{USER_ID}", self.home], check=True)

    def install(self, *, from_nothing: bool) -> None:
        """The Python of runtime.txt, and requirements.txt into it.

        From nothing, the user fetches all of it, as on Binder: minutes. Else whoever runs the tests installs it for
        the user, from the cache that the other tests of packages fill.
        """
        version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
        uv = self.home / ".uv-command"
        shutil.copy(Path(sys.executable).with_name("uv"), uv)
        found = self.step(uv, "python", "find", "--no-python-downloads", "--system", version)
        if found.returncode:
            pytest.skip(f"{ABSENT}a Python {version} for every user of this machine")
        if not from_nothing:
            Environment(
                self.home, "-r", self.home / BINDER.name / "requirements.txt", python=found.stdout.strip(), name=".env"
            )
            return
        self.do(uv, "venv", "--no-python-downloads", "--python", version, ".env")
        installed = self.step(uv, "pip", "install", "--quiet", "-r", "binder/requirements.txt")
        if "Failed to fetch" in installed.stderr:
            pytest.skip(f"no package index can be reached: {installed.stderr.splitlines()[-1][:200]}")
        assert installed.returncode == 0, installed.stderr[-4000:]

    def step(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Run something as that user, in the home."""
        return subprocess.run(
            [*self._as_user, *map(str, command)], cwd=self.home, env=self.environment, capture_output=True, text=True,
            check=False, timeout=500, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def do(self, *command: str | Path) -> str:
        """Run a step that must not fail; what it printed."""
        done = self.step(*command)
        assert done.returncode == 0, f"{command}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done.stdout

    def server(self) -> Server:
        """Start it as a hub does: on one processor, through ``binder/start``."""
        return Server(self)

    def command(self, *command: str) -> list[str]:
        """A command of that user on one processor."""
        processor = str(min(os.sched_getaffinity(0)))
        return ["taskset", "--cpu-list", processor, *self._as_user, *command]

    def peak_octets(self) -> int:
        """The most memory that each of its processes has had, added up."""
        return sum(_peak_octets(process) for process in self._processes())

    def _processes(self) -> Iterator[Path]:
        mark = f"HOME={self.home}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    yield process
            except OSError:
                continue

    def __enter__(self) -> Image:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        shutil.rmtree(self.home, ignore_errors=True)


def _peak_octets(process: Path) -> int:
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:")), 0)


class Server(Peer):
    """The JupyterLab of an image, at the address that the badge leads to."""

    def __init__(self, image: Image) -> None:
        self.port, self.token = free_port(), secrets.token_hex(16)
        arguments = image.command(
            str(image.home / "binder" / "start"), "jupyter", "lab", f"--ServerApp.ip={LOOPBACK}",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", "--LabApp.news_url=", "--no-browser",
        )  # fmt: skip
        super().__init__(arguments, image.home, self._answers, starts_s=60, environment=image.environment)

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/api/status?token={self.token}", timeout=5):
                return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        """The page to open."""
        return f"http://{LOOPBACK}:{self.port}/lab/tree/{TOUR}?token={self.token}"
