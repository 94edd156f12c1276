"""A Jupyter server with jupyter-server-proxy, below a path as behind a hub."""

from __future__ import annotations

import os
import secrets
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

from tests.peers.processes import ENVIRONMENT, LOOPBACK, Peer, free_port

ROOT = Path(__file__).parents[2]
BASE = "/user/x/"


class Jupyter(Peer):
    """Its proxy knows this checkout by the entry points of ``pyproject.toml``, as though it had been installed."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        installed = folder / "packages" / "thischeckout-0.dist-info"
        installed.mkdir(parents=True)
        (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: thischeckout\nVersion: 0\n")
        names = project["entry-points"]["jupyter_serverproxy_servers"]
        lines = [f"{name} = {place}" for name, place in names.items()]
        (installed / "entry_points.txt").write_text("\n".join(["[jupyter_serverproxy_servers]", *lines, ""]))
        self.port, self.token = free_port(), secrets.token_hex(16)
        own = {
            "HOME": str(folder),
            "JUPYTER_CONFIG_DIR": str(folder / "config"),
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
            "PYTHONPATH": os.pathsep.join([str(installed.parent), str(ROOT)]),
            **(environment or {}),
        }
        arguments = [
            sys.executable, "-m", "jupyter_server", f"--ServerApp.ip={LOOPBACK}", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}",
            f"--ServerApp.base_url={BASE}", "--ServerApp.allow_remote_access=True",  # under a name, as behind a hub
            "--ServerApp.jpserver_extensions={'jupyter_server_proxy': True, 'jupyterlab': False, 'jupyter_lsp': False}",
            "--no-browser", "--allow-root",
        ]  # fmt: skip
        super().__init__(arguments, folder, self._answers, environment={**ENVIRONMENT, **own})

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}api/status?token={self.token}", timeout=5):
                return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        """Where it is, with a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}{BASE}"
