"""Every kind of peer behind one shape: a node for it, how it is filled, and how to look what it holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from pydicom import dcmread

from dicomlab import Archive, Node
from tests.interop.specimens import SYNTAXES, digest_of, syntax_of
from tests.peers.dcmtk import QueryRetrieveScp, StoreScp, run
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK, free_port
from tests.peers.pynetdicom_scp import PynetdicomScp

FLAGS = {"deflated": "d", "big endian": "b", "JPEG": "y", "JPEG-LS": "t", "J2K": "v", "RLE": "r", "MPEG4": "n"}
"""What DCMTK calls encodings in its options ``+x.`` and ``-x.``."""

KINDS = ("orthanc", "dcmqrscp", "pynetdicom", "self")


class Held(NamedTuple):
    """What a peer has of an instance."""

    syntax: str
    digest: str
    path: Path


class Side(NamedTuple):
    """A peer. ``third`` is a storescp that it knows as ``STORESCP``."""

    kind: str
    node: Node
    fill: Callable[[Path], object]
    held: Callable[[str], Held | None]
    third: StoreScp


KEYS = ("orthanc", "pynetdicom", "self", "dcmqrscp =", *(f"dcmqrscp {flag}" for flag in FLAGS.values()))


def key_of(kind: str, name: str) -> str:
    """Which peer of a kind knows an encoding: dcmqrscp takes one family of compressed ones, named when it starts."""
    return f"{kind} {FLAGS.get(name, '=')}" if kind == "dcmqrscp" else kind


def look(path: Path) -> Held:
    """Read a file as whoever gets it would."""
    return Held(syntax_of(path), digest_of(path), path)


@contextmanager
def opened(key: str, folder: Path, third: StoreScp, orthanc: Orthanc) -> Iterator[Side]:
    """Start the peer of a key in an empty folder; Orthanc, which takes long, is the one of the run."""
    kind, _, flag = key.partition(" ")
    with {"orthanc": _orthanc, "dcmqrscp": _dcmqrscp, "pynetdicom": _pynetdicom, "self": _self}[kind](
        folder, flag, third, orthanc
    ) as side:
        yield side


@contextmanager
def _orthanc(folder: Path, flag: str, third: StoreScp, peer: Orthanc) -> Iterator[Side]:
    peer.register(third.aet, third.port)

    def held(uid: str) -> Held | None:
        if not peer.ask("/tools/lookup", uid.encode()):
            return None
        path = folder / "held.dcm"
        path.write_bytes(peer.octets(uid))
        return look(path)

    yield Side("orthanc", Node(peer.ae, me=peer.me), peer.add, held, third)


@contextmanager
def _dcmqrscp(folder: Path, flag: str, third: StoreScp, orthanc: Orthanc) -> Iterator[Side]:
    ports = {"LAB1": free_port(), third.aet: third.port}
    with QueryRetrieveScp(folder, ports, f"+x{flag}", f"-x{flag}") as peer:

        def fill(path: Path) -> None:
            name = next(name for name, uid in SYNTAXES.items() if uid == syntax_of(path))
            option = FLAGS.get(name, "i" if name == "implicit" else "e")
            run("storescu", "-R", f"-x{option}", "-aec", peer.aet, LOOPBACK, peer.port, path)

        def held(uid: str) -> Held | None:
            files = (folder / "store").glob("*.dcm")
            return next((look(p) for p in files if dcmread(p, stop_before_pixels=True).SOPInstanceUID == uid), None)

        yield Side("dcmqrscp", Node(peer.ae, me=peer.me), fill, held, third)


@contextmanager
def _pynetdicom(folder: Path, flag: str, third: StoreScp, orthanc: Orthanc) -> Iterator[Side]:
    modalities = {"LAB1": free_port(), third.aet: third.port}
    with PynetdicomScp(folder, modalities, list(SYNTAXES.values())) as peer:

        def fill(path: Path) -> None:
            uid = dcmread(path, stop_before_pixels=True).SOPInstanceUID
            (folder / f"{uid}.dcm").write_bytes(path.read_bytes())

        def held(uid: str) -> Held | None:
            path = folder / f"{uid}.dcm"
            return look(path) if path.exists() else None

        yield Side("pynetdicom", Node(peer.ae, me=peer.me), fill, held, third)


@contextmanager
def _self(folder: Path, flag: str, third: StoreScp, orthanc: Orthanc) -> Iterator[Side]:
    with Archive(known={third.aet: (LOOPBACK, third.port)}) as archive:

        def fill(path: Path) -> None:
            archive.add(path, progress=False).raise_for_failures()

        def held(uid: str) -> Held | None:
            found = archive._opened().store.select("instance", [uid])
            return look(found[0].path) if found else None

        yield Side("self", archive.node, fill, held, third)
