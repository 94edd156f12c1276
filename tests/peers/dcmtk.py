"""DCMTK: its servers, and a runner for its tools."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.uid import UID, ExplicitVRLittleEndian

from tests.peers.processes import ENVIRONMENT, LOOPBACK, Peer, command, free_port, need


def run(tool: str, *arguments: object, check: bool = True, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a tool of DCMTK to its end; output and errors come together in ``stdout``.

    Parameters
    ----------
    tool : str
        Such as ``"storescu"``.
    *arguments
        Given to it as text.
    check : bool
        Fail, with its output, unless it exits with 0.
    timeout_s : float
        Seconds after which it is killed and the test fails.
    """
    need("dcmtk")
    done = subprocess.run(
        [command(tool) or tool, *map(str, arguments)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{tool} ended with {done.returncode}:\n{done.stdout}")
    return done


def echo(aet: str, port: int, *options: str) -> bool:
    """Whether C-ECHO is answered there."""
    return run("echoscu", "-to", 2, *options, "-aec", aet, LOOPBACK, port, check=False).returncode == 0


class DcmtkServer(Peer):
    """What the servers of DCMTK have in common: an AE title on a port."""

    def __init__(self, aet: str, port: int, folder: Path, arguments: list[str], secure: Sequence[str] = ()) -> None:
        self.aet = aet
        self.port = port
        self.ae = f"{aet}@{LOOPBACK}:{port}"
        super().__init__(arguments, folder, lambda: echo(aet, port, *secure))


class StoreScp(DcmtkServer):
    """``storescp``: stores what it is sent, one association at a time unless given ``--fork``.

    Parameters
    ----------
    folder : Path
        An empty folder of its own; instances go to ``received`` in it.
    bit_preserving : bool
        Write the data set as it came (``+B``).
    *options
        Further options of storescp.
    secure : sequence of str
        Options with which echoscu finds out whether it is up, where that takes TLS.
    """

    def __init__(self, folder: Path, *options: str, bit_preserving: bool = True, secure: Sequence[str] = ()) -> None:
        need("dcmtk")
        self.received = folder / "received"
        self.received.mkdir()
        port = free_port()
        flags = ["-aet", "STORESCP", "-pdu", "131072", "-od", str(self.received)]
        flags += ["+B"] if bit_preserving else []
        flags += [] if any(o.startswith(("+x", "-x")) for o in options) else ["+xa"]
        super().__init__(
            "STORESCP",
            port,
            folder,
            [command("storescp") or "storescp", *flags, *map(str, options), str(port)],
            secure,
        )

    @property
    def files(self) -> list[Path]:
        """What it has stored."""
        return sorted(self.received.iterdir())


class QueryRetrieveScp(DcmtkServer):
    """``dcmqrscp``: a small archive; C-FIND, C-GET, C-MOVE and C-STORE.

    Parameters
    ----------
    folder : Path
        An empty folder of its own.
    modalities : mapping
        AE title to port of those it may move to, on loopback.
    *options
        Further options of dcmqrscp, such as ``"+xr"`` to prefer RLE in what it is sent.
    associations : int
        How many it takes at a time.
    """

    def __init__(
        self, folder: Path, modalities: Mapping[str, int] | None = None, *options: str, associations: int = 16
    ) -> None:
        need("dcmtk")
        self.modalities = dict(modalities or {"LAB1": free_port()})
        (folder / "store").mkdir()
        port = free_port()
        hosts = "\n".join(f"{aet.lower()} = ({aet}, {LOOPBACK}, {at})" for aet, at in self.modalities.items())
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            f"NetworkTCPPort = {port}\nMaxPDUSize = 131072\nMaxAssociations = {associations}\n"
            f"HostTable BEGIN\n{hosts}\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nQRSCP {folder / 'store'} RW (1000, 2048mb) ANY\nAETable END\n"
        )
        super().__init__(
            "QRSCP",
            port,
            folder,
            [command("dcmqrscp") or "dcmqrscp", "+B", *options, "-c", str(configuration), str(port)],
        )

    @property
    def me(self) -> str:
        """The first of ``modalities`` as ``AET:port``: what our side must be for a C-MOVE to reach it."""
        aet, port = next(iter(self.modalities.items()))
        return f"{aet}:{port}"

    def add(self, *files: Path) -> None:
        """Store files in it with storescu, in the transfer syntax each one has."""
        for file in files:
            run("storescu", "-R", "-xs", "-aec", self.aet, LOOPBACK, self.port, file)


class WorklistScp(DcmtkServer):
    """``wlmscpfs``: a Modality Worklist of files.

    Parameters
    ----------
    folder : Path
        An empty folder of its own.
    items : iterable of Dataset
        The worklist items, with everything that wlmscpfs asks of one.
    """

    def __init__(self, folder: Path, items: Iterable[Dataset]) -> None:
        need("dcmtk")
        write_worklist(folder / "WORKLIST", items)
        port = free_port()
        super().__init__("WORKLIST", port, folder, [command("wlmscpfs") or "wlmscpfs", "-dfp", str(folder), str(port)])


def write_worklist(folder: Path, items: Iterable[Dataset]) -> None:
    """Write worklist items as files, as wlmscpfs and Orthanc's plugin read them."""
    folder.mkdir()
    (folder / "lockfile").touch()
    for number, item in enumerate(items):
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.31")
        item.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{number + 1}")
        dcmwrite(folder / f"{number:04}.wl", item, enforce_file_format=True)
