"""How jupyter-server-proxy starts an archive from JupyterLab's launcher, and hands on what the browser asks it.

Its entry point in ``pyproject.toml`` leads here; the archive is then at ``dicomlab/`` below the Jupyter server.
"""

from __future__ import annotations

import os
import sys
from typing import Any

VIEWER = "DICOMLAB_VIEWER"
"""The environment variable that names the folder of a prebuilt web viewer."""
STARTS_WITHIN_S = 60.0


def launched() -> dict[str, Any]:
    """Give jupyter-server-proxy what it needs to know: a demo archive on a port that it chooses.

    With a viewer in ``DICOMLAB_VIEWER`` the launcher opens that, else the page of what the origin server can do. Behind
    a JupyterHub any name of the proxy will do: no page can lead a browser to this machine's loopback interface there.
    """
    viewer = os.environ.get(VIEWER, "")
    command = [sys.executable, "-m", "dicomlab", "serve", "--demo", "--web-port", "{port}"]
    command += ["--viewer", viewer] if viewer else []
    command += ["--web-host", "*"] if "JUPYTERHUB_API_URL" in os.environ else []
    title, path = ("DICOM viewer", "dicomlab/") if viewer else ("DICOM archive", "dicomlab/dicom-web/")
    return {
        "command": command,
        "timeout": STARTS_WITHIN_S,
        "new_browser_tab": True,
        "launcher_entry": {"title": title, "path_info": path, "category": "Other"},
    }
