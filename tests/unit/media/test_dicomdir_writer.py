"""Writing a DICOMDIR: what is kept of the one before, and records that stand at the root.

What the records of each type hold is tested with the reading, in ``test_dicomdir.py``.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from struct import pack, unpack_from

import pytest

from dicomlab.media.dicomdir import Directory, decode_dicomdir
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir, kept_records
from dicomlab.media.records import ROOT_TYPES, record_type
from dicomlab.samples.manifest import data_folder
from tests.peers.processes import need

CT = "1.2.840.10008.5.1.4.1.1.2"
LE = "1.2.840.10008.1.2.1"
UID = "2.25.1"
FOLDER = data_folder() / "test_files" / "dicomdirtests"


def leaf(number: int, series: str = "1.1.1") -> Leaf:
    row = {
        "PatientID": ("P1",), "PatientName": ("Doe^J",), "StudyInstanceUID": ("1.1",), "StudyDate": ("20260105",),
        "StudyTime": ("101500",), "StudyID": ("S",), "SeriesInstanceUID": (series,), "Modality": ("CT",),
        "SeriesNumber": ("4",), "InstanceNumber": (str(number),), "SOPInstanceUID": (f"{series}.{number}",),
    }  # fmt: skip
    return Leaf(("PT000001", f"IM{number:06d}"), CT, f"{series}.{number}", LE, row)


def written(*leaves: Leaf, kept: object = None) -> bytes:
    return encode_dicomdir(leaves, file_set_uid=UID, kept=kept)[0]  # type: ignore[arg-type]


def with_private(octets: bytes) -> bytes:
    """The first IMAGE record with a private key more, lengths put right."""
    private = pack("<HH2sH", 0x0009, 0x0010, b"LO", 6) + b"MAKER " + pack("<HH2sH", 0x0009, 0x1001, b"LO", 4) + b"KEEP"
    directory = decode_dicomdir(octets)
    row = [record.type for record in directory.records].index("IMAGE")
    item, end = int(directory.starts[row]), int(directory.bodies[1][row])
    length = unpack_from("<L", octets, item + 4)[0]
    sequence = octets.index(pack("<HH2s", 0x0004, 0x1220, b"SQ")) + 8
    whole = unpack_from("<L", octets, sequence)[0]
    longer = bytearray(octets[:end] + private + octets[end:])
    longer[item + 4 : item + 8] = pack("<L", length + len(private))
    longer[sequence : sequence + 4] = pack("<L", whole + len(private))
    return bytes(longer)


def test_an_update_keeps_what_it_does_not_understand() -> None:
    old = with_private(written(leaf(1)))
    kept = kept_records(decode_dicomdir(old))
    assert {key[0] for key in kept} == {"PATIENT", "STUDY", "SERIES", "IMAGE"}
    new = written(leaf(1), leaf(2), kept=kept)
    assert new.count(b"MAKER KEEP"[:5]) == 1
    assert b"KEEP" in new
    directory = decode_dicomdir(new)
    assert directory.findings == ()
    assert [record.type for record in directory.records] == ["PATIENT", "STUDY", "SERIES", "IMAGE", "IMAGE"]


def test_kept_records_are_linked_anew() -> None:
    many = [leaf(n) for n in range(1, 6)]
    kept = kept_records(decode_dicomdir(written(*many)))
    less = written(*many[1:4], kept=kept)
    assert less == written(*many[1:4])


def test_what_a_kept_record_led_to_is_forgotten() -> None:
    octets = bytearray(written(leaf(1), leaf(2)))
    first, second = (record.offset for record in decode_dicomdir(octets).leaves)
    octets[first + 8 + 30 : first + 8 + 34] = pack("<L", second)
    kept = kept_records(decode_dicomdir(bytes(octets)))
    assert written(leaf(1), kept=kept) == written(leaf(1))


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-reordered"])
def test_the_records_of_another_writer_are_kept_octet_for_octet(name: str) -> None:
    directory = decode_dicomdir((FOLDER / name).read_bytes())
    kept = kept_records(directory)
    assert len(kept) == 52
    again = encode_dicomdir(leaves_of(directory), file_set_uid=UID, kept=kept)[0]
    after = decode_dicomdir(again)
    assert after.findings == ()
    assert {(r.type, r.sop_instance_uid, repr(r.keys)) for r in after.records} == {
        (r.type, r.sop_instance_uid, repr(r.keys)) for r in directory.records
    }


def leaves_of(directory: Directory) -> list[Leaf]:
    by_offset = {record.offset: record for record in directory.records}
    leaves = []
    for record in directory.leaves:
        row, above = dict(record.keys), record.parent
        while above is not None:
            row = {**by_offset[above].keys, **row}
            above = by_offset[above].parent
        row["SOPInstanceUID"] = (record.sop_instance_uid,)
        leaves.append(
            Leaf(record.file_id, record.sop_class_uid, record.sop_instance_uid, record.transfer_syntax_uid, row)
        )
    return leaves


@pytest.mark.parametrize("name", ["DICOMDIR-bigEnd", "DICOMDIR-implicit"])
def test_nothing_is_kept_of_an_encoding_that_is_not_written(name: str) -> None:
    assert kept_records(decode_dicomdir((FOLDER / name).read_bytes())) == {}


ROOTS = {
    "1.2.840.10008.5.1.4.38.1": "HANGING PROTOCOL", "1.2.840.10008.5.1.4.39.1": "PALETTE",
    "1.2.840.10008.5.1.4.43.1": "IMPLANT", "1.2.840.10008.5.1.4.44.1": "IMPLANT ASSY",
    "1.2.840.10008.5.1.4.45.1": "IMPLANT GROUP", "1.2.840.10008.5.1.4.1.1.201.1": "INVENTORY",
}  # fmt: skip


@pytest.mark.parametrize("sop_class", ROOTS)
def test_what_belongs_to_no_patient_stands_at_the_root(sop_class: str, tmp_path: Path) -> None:
    need("dcmtk")
    assert record_type(sop_class) == ROOTS[sop_class]
    assert ROOTS[sop_class] in ROOT_TYPES
    own = {"SOPInstanceUID": ("1.7",), "ContentLabel": ("L",), "ImplantName": ("N",), "ImplantPartNumber": ("3",)}
    octets = written(leaf(1), Leaf(("HP1",), sop_class, "1.7", LE, own))
    directory = decode_dicomdir(octets)
    root = next(record for record in directory.records if record.type == ROOTS[sop_class])
    assert (root.parent, root.orphan, root.file_id) == (None, False, ("HP1",))
    (tmp_path / "DICOMDIR").write_bytes(octets)
    assert (
        subprocess.run(["dcmdump", "-q", "+E", tmp_path / "DICOMDIR"], capture_output=True, check=False).returncode == 0
    )
