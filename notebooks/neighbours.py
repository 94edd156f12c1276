"""Peers beside the embedded archive, for the cells that say "where it is installed".

Each notebook gets peers of its own: free ports of the loopback interface, a temporary folder, an AE title that nobody
else has. So a whole class can work on one machine.
"""

from __future__ import annotations

import atexit
import json
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
import weakref
from pathlib import Path

import dicomlab

PLUGINS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")
STARTS_WITHIN_S = 30.0


def ae_title() -> str:
    """An AE title that nobody else in the room has."""
    return f"LAB{uuid.uuid4().hex[:8].upper()}"


def free_port() -> int:
    """A port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def orthanc() -> Orthanc | None:
    """Start an Orthanc, where it is installed with its DICOMweb plugin; else say so in one line."""
    program = shutil.which("Orthanc")
    plugin = next((file for folder in PLUGINS for file in Path(folder).glob("libOrthancDicomWeb.so*")), None)
    if program is None or plugin is None:
        print("Orthanc is not installed here, so this cell does nothing (Debian: apt install orthanc-dicomweb)")
        return None
    return Orthanc(program, plugin)


class Orthanc:
    """A running Orthanc, which knows us: ``node`` and ``web`` are its two doors. Leaving ``with`` stops it."""

    def __init__(self, program: str, plugin: Path) -> None:
        folder = Path(tempfile.mkdtemp(prefix="orthanc-"))
        me, ours, port, web_port = ae_title(), free_port(), free_port(), free_port()
        settings = {
            "StorageDirectory": str(folder),
            "IndexDirectory": str(folder),
            "DicomAet": "ORTHANC",
            "DicomPort": port,
            "HttpPort": web_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomCheckCalledAet": True,
            "DicomModalities": {me: [me, "127.0.0.1", ours]},
            "Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **{f"DicomAlwaysAllow{verb}": True for verb in ("Echo", "Store", "Find", "Get", "Move")},
        }
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps(settings))
        self._process = subprocess.Popen(
            [program, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.close = weakref.finalize(self, _stop, self._process, folder)
        self.node = dicomlab.Node(f"ORTHANC@127.0.0.1:{port}", me=f"{me}:{ours}")
        self.web = dicomlab.WebEndpoint(f"http://127.0.0.1:{web_port}/dicom-web")
        self.node.fictional = self.web.fictional = True
        end = time.monotonic() + STARTS_WITHIN_S
        while not (self.node.verify() and self.web.verify()):
            if self._process.poll() is not None or time.monotonic() > end:
                self.close()
                raise RuntimeError("Orthanc does not start")
            time.sleep(0.1)

    def __enter__(self) -> Orthanc:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _stop(process: subprocess.Popen[bytes], folder: Path) -> None:
    process.kill()  # nothing in that folder is to be kept
    process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def certificates(*names: str) -> dict[str, tuple[str, str, str]]:
    """Make a certification authority that lives for a day, and a certificate for each name: (cert, key, ca).

    The names stand for ends on this machine; one that starts with ``stranger`` is signed by another authority.
    """
    folder = Path(tempfile.mkdtemp(prefix="certificates-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)

    def openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def authority(name: str) -> None:
        openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", 1, "-subj", f"/CN={name}",
                "-keyout", folder / f"{name}.key", "-out", folder / f"{name}.pem")  # fmt: skip

    (folder / "san.ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n")
    for name in ("authority", "other"):
        authority(name)
    made = {}
    for name in names:
        by = "other" if name.startswith("stranger") else "authority"
        cert, key, request = (folder / f"{name}{end}" for end in (".pem", ".key", ".csr"))
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", folder / f"{by}.pem", "-CAkey", folder / f"{by}.key",
                "-CAcreateserial", "-days", 1, "-extfile", folder / "san.ext", "-out", cert)  # fmt: skip
        made[name] = (str(cert), str(key), str(folder / "authority.pem"))
    return made
