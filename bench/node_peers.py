"""Data for the bench of ``Node``, and the servers that no package brings: each in a process of its own.

``python node_peers.py receive FOLDER`` and the like print their port and serve until their standard input closes.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MultiFrameGrayscaleByteSecondaryCaptureImageStorage

sys.path.insert(0, str(Path(__file__).parents[1]))

ROOT_UID = "2.25.314159265358979"
AE_TITLE = "BENCH"
FIND_KEYS = ("RetrieveAETitle", "InstanceAvailability")
"""With the 14 standard columns of a study, 16 keys."""


# --- data ------------------------------------------------------------------------------------------------------------


def header(study: int, series: int, number: int) -> Dataset:
    """The attributes of a CT slice, without its pixels."""
    one = Dataset()
    uid = f"{ROOT_UID}.{study}"
    one.SOPClassUID, one.SOPInstanceUID = CTImageStorage, f"{uid}.{series}.{number}"
    one.StudyInstanceUID, one.SeriesInstanceUID = uid, f"{uid}.{series}"
    one.PatientID, one.PatientName, one.StudyID = f"BENCH{study}", "Bench^Synthetic", str(study)
    one.PatientBirthDate = one.PatientSex = one.AccessionNumber = one.ReferringPhysicianName = ""
    one.StudyDate, one.StudyTime, one.Modality = "20260101", "120000", "CT"
    one.ImageType, one.Manufacturer, one.StudyDescription = ["ORIGINAL", "PRIMARY", "AXIAL"], "dicomlab", "bench"
    one.SeriesNumber, one.InstanceNumber = str(series), str(number)
    one.ImagePositionPatient, one.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    one.SliceThickness, one.PixelSpacing, one.RescaleIntercept, one.RescaleSlope = 1, [0.7, 0.7], -1024, 1
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 1
    return one


def write(path: Path, one: Dataset) -> None:
    """Write it as a Part 10 file."""
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dcmwrite(path, one, enforce_file_format=True)


def write_study(folder: Path, study: int, instances: int, side: int, series: int = 4) -> str:
    """Write a seeded CT study in several series; give its Study Instance UID."""
    folder.mkdir()
    noise = np.random.default_rng(study)
    for number in range(1, instances + 1):
        one = header(study, 1 + number % series, number)
        one.Rows = one.Columns = side
        one.PixelData = noise.normal(0, 100, (side, side)).astype("<i2").tobytes()
        write(folder / f"{number:05}.dcm", one)
    return f"{ROOT_UID}.{study}"


def write_series(folder: Path, study: int, instances: int, side: int) -> str:
    """Write a seeded CT series; give its Study Instance UID."""
    return write_study(folder, study, instances, side, series=1)


def write_multi_frame(folder: Path, study: int, octets: int) -> None:
    """Write one multi-frame Secondary Capture of about that many octets."""
    folder.mkdir()
    one = header(study, 1, 1)
    one.SOPClassUID = MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    one.Rows = one.Columns = 1024
    one.BitsAllocated = one.BitsStored = 8
    one.HighBit, one.PixelRepresentation, one.NumberOfFrames = 7, 0, octets >> 20
    one.PixelData = np.random.default_rng(study).bytes(one.NumberOfFrames << 20)
    one["PixelData"].VR = "OB"
    write(folder / "multi-frame.dcm", one)


# --- servers ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(what: str, *arguments: object) -> Iterator[int]:
    """Run one of the servers below in a process of its own; gives its port."""
    process = subprocess.Popen(
        [sys.executable, __file__, what, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()


def _ready(port: int) -> None:
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


def receive(folder: str) -> None:
    """Our listener as it stands behind a C-MOVE, writing files."""
    from dicomlab.dimse.reception import receiving
    from dicomlab.model.protocols import Arrival
    from dicomlab.part10.files import FileWriter

    class Everything:
        def __contains__(self, uid: object) -> bool:
            return True

        def __iter__(self) -> Iterator[str]:
            return iter(())

        def __len__(self) -> int:
            return 1

    class Folder:
        def begin(self, arrival: Arrival) -> FileWriter:
            return FileWriter(Path(folder, f"{arrival.sop_instance_uid}.dcm"), arrival)

        def failed(self, sop_instance_uid: str, status: str) -> None:
            raise AssertionError(status)

    with receiving(
        Folder(), ae_title=AE_TITLE, host="127.0.0.1", wanted=Everything(), on_taken=lambda taken: None
    ) as listener:
        _ready(listener.port)


def archive(folder: str) -> None:
    """Our archive."""
    from dicomlab import Archive
    from tests.peers.processes import free_port

    with Archive(folder, f"{AE_TITLE}@127.0.0.1:{free_port()}") as one:
        _ready(one.node.address.port)


def pynetdicom(folder: str) -> None:
    """Pynetdicom, writing encoded data sets with the largest PDUs: its fast way."""
    from pynetdicom import AE, AllStoragePresentationContexts, evt
    from pynetdicom.events import Event

    def store(event: Event) -> int:
        path = Path(folder, f"{event.request.AffectedSOPInstanceUID}.dcm")
        path.write_bytes(event.encoded_dataset())
        return 0x0000

    ae = AE(ae_title=AE_TITLE)
    ae.maximum_pdu_size = 0
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    _ready(server.socket.getsockname()[1])
    server.shutdown()


def rows(count: str) -> None:
    """Answer every C-FIND with that many prebuilt studies, so that only the client is measured."""
    from dicomlab.dimse import pdu
    from dicomlab.dimse.command import Command, encode_command
    from dicomlab.dimse.identifier import encode_tree, tree_of_row
    from dicomlab.dimse.items import UserInformation
    from dicomlab.dimse.tables import MODELS
    from dicomlab.model.columns import columns, standard_columns
    from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE

    asked = (*standard_columns("study"), *columns(FIND_KEYS))

    def answers(syntax: str, context: int) -> bytes:
        parts = []
        fields: dict[str, int | str] = {"AffectedSOPClassUID": MODELS["study", "FIND"], "MessageIDBeingRespondedTo": 1}
        pending = encode_command(Command.of("C-FIND-RSP", data=True, **fields, Status=0xFF00))
        final = encode_command(Command.of("C-FIND-RSP", **fields, Status=0))
        for n in range(int(count)):
            row = {
                "PatientID": [f"P{n:06}"], "PatientName": [f"Family{n}^Given^^^"], "PatientSex": ["O"],
                "PatientBirthDate": [f"19{n % 90 + 10}0{n % 9 + 1}11"], "StudyInstanceUID": [f"{ROOT_UID}.9.{n}"],
                "StudyDate": [f"20{n % 20 + 10}0{n % 9 + 1}1{n % 9}"], "StudyTime": [f"1{n % 9}3000.000"],
                "AccessionNumber": [f"A{n}"], "StudyID": [str(n)], "StudyDescription": ["CT Thorax with contrast"],
                "ReferringPhysicianName": ["Referrer^R"], "ModalitiesInStudy": ["CT", "SR"],
                "NumberOfStudyRelatedSeries": [n % 7 + 1], "NumberOfStudyRelatedInstances": [n % 900 + 1],
                "RetrieveAETitle": ["BENCH"], "InstanceAvailability": ["ONLINE"],
            }  # fmt: skip
            data = encode_tree({0x00080005: ("CS", ["ISO_IR 100"])} | tree_of_row(asked, row), syntax)
            values = (pdu.PDV(context, 3, pending), pdu.PDV(context, 2, data))
            parts.append(pdu.encode(pdu.DataTransfer(values)))
        parts.append(pdu.encode(pdu.DataTransfer((pdu.PDV(context, 3, final),))))
        return b"".join(parts)

    ready = {syntax: answers(syntax, 1) for syntax in (EXPLICIT_LE, IMPLICIT_LE)}

    def serve(sock: socket.socket) -> None:
        stream = sock.makefile("rb")

        def read() -> bytes:
            head = stream.read(6)
            return head + stream.read(int.from_bytes(head[2:6], "big"))

        with sock, stream:
            request = pdu.decode(read())
            assert isinstance(request, pdu.AssociateRequest)
            syntaxes = {c.id: c.transfer_syntaxes[0] for c in request.contexts}
            answered = tuple(pdu.AnsweredContext(i, 0 if i == 1 else 3, syntax) for i, syntax in syntaxes.items())
            user = UserInformation(131_072, "1.2.3", "ROWS")
            sock.sendall(pdu.encode(pdu.AssociateAccept(request.called, request.calling, answered, user)))
            while (octets := read())[0] == pdu.P_DATA_TF:
                if any(value.control == pdu.LAST for value in pdu.values(octets)):  # the Identifier's end
                    sock.sendall(ready[syntaxes[1]])
            sock.sendall(pdu.encode(pdu.ReleaseReply()))

    _each_connection(serve)


def raw(_: str = "") -> None:
    """Take octets and answer each object with 100: what loopback itself can do."""

    def serve(sock: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        with sock:
            while len(head := sock.recv(8, socket.MSG_WAITALL)) == 8:
                left = struct.unpack("<Q", head)[0]
                while left:
                    left -= sock.recv_into(buffer, min(left, len(buffer)))
                sock.sendall(bytes(100))

    _each_connection(serve)


def _each_connection(serve: Callable[[socket.socket], None]) -> None:
    server = socket.create_server(("127.0.0.1", 0), backlog=128)

    def accept() -> None:
        while True:
            sock, _ = server.accept()
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(sock,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    _ready(server.getsockname()[1])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
