"""Many at once: 200 associations, all open before the first one stores, into our archive and into others.

The client is the same for all of them. A server that turns somebody away or loses an instance is asked no more: its
row says how many were served. Each server is a process of its own.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path

from measure import Row, Size, main, side_by_side
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomlab import Node
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.storage import send_instance
from dicomlab.errors import DicomlabError
from tests.peers.dcmtk import QueryRetrieveScp, echo
from tests.peers.processes import LOOPBACK, free_port

AT_ONCE = {1: 20, 3: 60, 7: 200}
"""Associations, by the rounds of a size."""
EACH = 5
PATIENCE_S = 30.0
SIDE = 64
ROOT_UID = "2.25.271828182845904"


def instance(turn: int, number: int, of: int) -> tuple[str, bytes]:
    """One small slice that nobody has seen: its UID, and its data set."""
    study = f"{ROOT_UID}.{turn}.{number}"
    slice_ = Dataset()
    slice_.SOPClassUID, slice_.SOPInstanceUID = CTImageStorage, f"{study}.1.{of}"
    slice_.StudyInstanceUID, slice_.SeriesInstanceUID = study, f"{study}.1"
    slice_.PatientID, slice_.PatientName, slice_.StudyID = f"BENCH{number}", "Bench^Synthetic", str(number)
    slice_.PatientBirthDate = slice_.PatientSex = slice_.AccessionNumber = slice_.ReferringPhysicianName = ""
    slice_.StudyDate, slice_.StudyTime, slice_.Modality = "20260101", "120000", "CT"
    slice_.SeriesNumber, slice_.InstanceNumber = "1", str(of)
    slice_.PixelData = bytes(2 * SIDE * SIDE)
    slice_.file_meta = FileMetaDataset()
    slice_.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    slice_["PixelData"].VR = "OW"
    buffer = BytesIO()
    dcmwrite(buffer, slice_, implicit_vr=False, little_endian=True)
    return str(slice_.SOPInstanceUID), buffer.getvalue()


def storm(address: str, load: list[list[tuple[str, bytes]]]) -> int:
    """Everybody comes in, then everybody stores; gives how many instances were taken."""
    peer = Node(address, me="BENCH", timeout_s=60, acse_timeout_s=PATIENCE_S)._peer
    everybody = threading.Barrier(len(load))
    taken: list[int] = []

    def one(mine: list[tuple[str, bytes]]) -> None:
        try:
            with peer.associate([Proposal(CTImageStorage, (ExplicitVRLittleEndian,))]) as association:
                with suppress(threading.BrokenBarrierError):  # somebody was turned away: the others go on
                    everybody.wait(PATIENCE_S)
                (context,) = association.contexts.values()
                taken.append(sum(send_instance(association, context, uid, data)[0] == 0 for uid, data in mine))
        except DicomlabError:
            everybody.abort()  # nobody need wait for it

    threads = [threading.Thread(target=one, args=(mine,), daemon=True) for mine in load]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(taken)


@contextmanager
def process(*arguments: str) -> Iterator[None]:
    """A server of ours or of pynetdicom's, while the block runs."""
    running = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        running.terminate()
        running.wait(30)


def wait_for(aet: str, port: int) -> str:
    """Wait until it answers; gives its address."""
    waiting = threading.Event()
    for _ in range(200):
        if echo(aet, port):
            return f"{aet}@{LOOPBACK}:{port}"
        waiting.wait(0.05)
    raise SystemExit(f"{aet} does not come up")


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """The same storm into each."""
    count = AT_ONCE[size.rounds]
    total = count * EACH
    turns = itertools.count()
    load: list[list[tuple[str, bytes]]] = []

    def anew() -> None:
        turn = next(turns)
        load[:] = [[instance(turn, number, of) for of in range(EACH)] for number in range(count)]

    with ExitStack() as stack:
        port = free_port()
        address = f"DICOMLAB@{LOOPBACK}:{port}"
        folders = {name: scratch / name for name in ("ours", "dcmqrscp", "pynetdicom")}
        for folder in folders.values():
            folder.mkdir()
        stack.enter_context(process("-m", "dicomlab", "serve", str(folders["ours"]), "--address", address))
        wait_for("DICOMLAB", port)
        dcmqrscp = stack.enter_context(QueryRetrieveScp(folders["dcmqrscp"], None, associations=2 * count))
        other = free_port()
        stack.enter_context(process(__file__, "serve-pynetdicom", str(other), str(folders["pynetdicom"])))
        theirs = {"dcmqrscp": dcmqrscp.ae, "pynetdicom": wait_for("OTHER", other)}

        stored = 0

        def ours() -> None:
            nonlocal stored
            assert storm(address, load) == total
            stored += total

        served: dict[str, list[int]] = {name: [] for name in theirs}
        rounds = 1 if size.rounds == max(AT_ONCE) else size.rounds  # slow peers run once
        for name, where in theirs.items():
            row = side_by_side(
                f"{count} associations at once, {EACH} instances each",
                ("our archive", ours),
                (name, lambda name=name, where=where: served[name].append(storm(where, load))),
                rounds,
                anew,
            )
            assert len(Node(address).find("instance", progress=False)) == stored  # nothing is lost
            least = min(served[name])
            lost = "" if least == total else f" (took {least} of {total})"
            yield Row(row.what, row.ours, f"{name}{lost}", row.ours_s, row.theirs_s, row.rounds)


def serve_pynetdicom(port: int, folder: Path) -> None:
    """A listener of pynetdicom that writes encoded data sets to files, the fastest documented way."""
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import Verification

    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    ae = AE("OTHER")
    ae.maximum_associations = 1000
    ae.add_supported_context(Verification)
    ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    ae.start_server((LOOPBACK, port), evt_handlers=[(evt.EVT_C_STORE, store)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve-pynetdicom"]:
        serve_pynetdicom(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main(bench, peers=["dcmtk"])
