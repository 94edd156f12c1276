"""Orthanc with its DICOMweb plugin: a PACS that is not ours, on both doors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from tests.peers.dcmtk import echo
from tests.peers.processes import LOOPBACK, Peer, command, free_port, missing, need

_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/share/orthanc/plugins")
_open = build_opener(ProxyHandler({})).open


def dicomweb_plugin() -> Path | None:
    """Where the DICOMweb plugin lies."""
    found = (file for folder in _PLUGIN_FOLDERS for file in sorted(Path(folder).glob("libOrthancDicomWeb.so*")))
    return next(found, None)


class Orthanc(Peer):
    """A running Orthanc.

    Parameters
    ----------
    folder : Path
        An empty folder of its own.
    modalities : mapping
        AE title to port of those it may move to, on loopback. :meth:`register` adds more while it runs.
    secure : sequence of str
        Options with which echoscu finds out whether it is up, where that takes TLS.
    **settings
        Further entries of its configuration, such as ``DicomCheckCalledAet=False``.

    Attributes
    ----------
    ae : str
        ``ORTHANC@127.0.0.1:port``.
    url : str
        The root of its DICOM Web Services.
    rest : str
        The root of its own HTTP interface.
    me : str
        The first of ``modalities`` as ``AET:port``: what our side must be for a C-MOVE to reach it.
    """

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, int] | None = None,
        *,
        secure: Sequence[str] = (),
        **settings: object,
    ) -> None:
        need("orthanc")
        plugin = dicomweb_plugin()
        if plugin is None:
            need_plugin = "orthanc-dicomweb"
            raise RuntimeError(f"Orthanc is here, but its plugin {need_plugin} is not")
        self.modalities = dict(modalities or {"LAB1": free_port()})
        self.aet, self._secure = "ORTHANC", secure
        self.port, self.http_port = free_port(), free_port()
        self.ae = f"{self.aet}@{LOOPBACK}:{self.port}"
        self.rest = f"http://{LOOPBACK}:{self.http_port}"
        self.url = f"{self.rest}/dicom-web"
        aet, port = next(iter(self.modalities.items()))
        self.me = f"{aet}:{port}"
        configuration = folder / "orthanc.json"
        configuration.write_text(json.dumps(self._configuration(folder, plugin) | settings, indent=1))
        super().__init__([command("Orthanc") or "Orthanc", str(configuration)], folder, self._answers)

    def _configuration(self, folder: Path, plugin: Path) -> dict[str, object]:
        always = {f"DicomAlwaysAllow{service}": True for service in ("Echo", "Store", "Find", "Get", "Move")}
        return {
            "Name": "dicomlab tests",
            "StorageDirectory": str(folder / "store"),
            "IndexDirectory": str(folder / "store"),
            "StorageCompression": False,
            "OverwriteInstances": True,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "TcpNoDelay": True,
            "DicomAet": self.aet,
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomCheckModalityHost": False,
            "UnknownSopClassAccepted": True,
            "DicomModalities": {name: [name, LOOPBACK, at] for name, at in self.modalities.items()},
            "SynchronousCMove": True,
            "SaveJobs": False,
            "StableAge": 1,
            "Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            **always,
        }

    def _answers(self) -> bool:
        try:
            self.ask("/system")
        except (URLError, ConnectionError, TimeoutError):
            return False
        return bool(missing("dcmtk")) or echo(self.aet, self.port, *self._secure)

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Ask its own HTTP interface; JSON in, JSON out. `body` may be octets."""
        octets = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(self.rest + path, data=octets, method=method)
        with _open(request, timeout=30) as response:
            answer = response.read()
        return json.loads(answer) if answer else None

    def add(self, *files: Path) -> None:
        """Give it files over its own interface."""
        for file in files:
            self.ask("/instances", file.read_bytes())

    def octets(self, sop_instance_uid: str) -> bytes:
        """The file of one instance, as it holds it."""
        (name,) = self.ask("/tools/lookup", sop_instance_uid.encode())
        with _open(f"{self.rest}/instances/{name['ID']}/file", timeout=30) as response:
            return bytes(response.read())

    def register(self, aet: str, port: int, host: str = LOOPBACK, **options: object) -> None:
        """Make an AE known to it, as C-MOVE needs of its destination."""
        self.ask(f"/modalities/{aet}", {"AET": aet, "Host": host, "Port": port} | options, method="PUT")

    def count(self) -> int:
        """How many instances it holds."""
        return int(self.ask("/statistics")["CountInstances"])

    def reset(self) -> None:
        """Delete everything it holds."""
        if patients := self.ask("/patients"):
            self.ask("/tools/bulk-delete", {"Resources": patients})
