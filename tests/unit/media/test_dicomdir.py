"""The DICOMDIR, written and read back; other people's programs are the judges."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.fileset import FileSet

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.dicomdir import Directory, decode_dicomdir
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir
from dicomlab.part10.meta import encode_file_meta
from dicomlab.samples.manifest import data_folder
from tests.peers.processes import need

ROOT = "1.2.840.10008.5.1.4.1.1."
FOLDER = data_folder() / "test_files" / "dicomdirtests"
UID = "2.25.1"


def leaf(number: int = 1, sop_class: str = ROOT + "2", *, patient: str = "P1", study: str = "1.1", series: str = "1.1.1",
         **more: Any) -> Leaf:  # fmt: skip
    values = {
        "PatientID": patient, "PatientName": "Doe^J", "StudyInstanceUID": study, "StudyDate": "20260105",
        "StudyTime": "101500", "StudyID": "S", "SeriesInstanceUID": series, "Modality": "CT", "SeriesNumber": "4",
        "InstanceNumber": str(number), "SOPInstanceUID": f"{series}.{number}", **more,
    }  # fmt: skip
    row = {name: value if isinstance(value, tuple) else (value,) for name, value in values.items() if value != ""}
    return Leaf(("PT000001", f"IM{number:06d}"), sop_class, f"{series}.{number}", "1.2.840.10008.1.2.1", row)


def written(*leaves: Leaf) -> bytes:
    return encode_dicomdir(leaves, file_set_uid=UID)[0]


def texts(*leaves: Leaf) -> list[str]:
    return [finding.text for finding in encode_dicomdir(leaves, file_set_uid=UID)[1]]


TREE = (
    leaf(1), leaf(2), leaf(1, series="1.1.2"), leaf(1, study="1.2", series="1.2.1"),
    leaf(1, patient="P2", study="1.3", series="1.3.1"),
)  # fmt: skip


def shape(directory: Directory) -> list[tuple[str, str, str]]:
    types = {record.offset: record.type for record in directory.records}
    return [(r.type, types.get(r.parent, "") if r.parent else "", r.sop_instance_uid) for r in directory.records]


def test_round_trip() -> None:
    directory = decode_dicomdir(written(*TREE))
    assert directory.file_set_uid == UID
    assert directory.consistent
    assert directory.findings == ()
    assert shape(directory) == [
        ("PATIENT", "", ""), ("STUDY", "PATIENT", ""), ("SERIES", "STUDY", ""),
        ("IMAGE", "SERIES", "1.1.1.1"), ("IMAGE", "SERIES", "1.1.1.2"),
        ("SERIES", "STUDY", ""), ("IMAGE", "SERIES", "1.1.2.1"),
        ("STUDY", "PATIENT", ""), ("SERIES", "STUDY", ""), ("IMAGE", "SERIES", "1.2.1.1"),
        ("PATIENT", "", ""), ("STUDY", "PATIENT", ""), ("SERIES", "STUDY", ""), ("IMAGE", "SERIES", "1.3.1.1"),
    ]  # fmt: skip
    image = directory.leaves[0]
    assert image.file_id == ("PT000001", "IM000001")
    assert image.sop_class_uid == ROOT + "2"
    assert image.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert directory.records[0].keys["PatientName"] == ("Doe^J",)
    assert directory.records[1].keys["StudyDate"] == ("20260105",)


def test_pydicom_reads_the_same_records() -> None:
    dataset = dcmread(BytesIO(written(*TREE)))
    ours = decode_dicomdir(written(*TREE))
    assert [item.DirectoryRecordType for item in dataset.DirectoryRecordSequence] == [r.type for r in ours.records]
    assert [item.seq_item_tell for item in dataset.DirectoryRecordSequence] == [r.offset for r in ours.records]
    offsets = {r.offset for r in ours.records}
    assert dataset.OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity == ours.records[0].offset
    assert dataset.OffsetOfTheLastDirectoryRecordOfTheRootDirectoryEntity == ours.records[10].offset
    for item in dataset.DirectoryRecordSequence:
        for link in (item.OffsetOfTheNextDirectoryRecord, item.OffsetOfReferencedLowerLevelDirectoryEntity):
            assert link == 0 or link in offsets


def test_an_empty_file_set() -> None:
    directory = decode_dicomdir(written())
    assert directory.records == ()
    assert directory.findings == ()


def test_text_beyond_ascii_declares_its_character_set() -> None:
    octets = written(leaf(PatientName="Äneas^R=\u5c71\u7530"))
    records = decode_dicomdir(octets).records
    assert records[0].keys["PatientName"] == ("Äneas^R=\u5c71\u7530",)
    assert octets.count(b"ISO_IR 192") == 1  # each record for itself, and only where needed


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"StudyID": ""}, "StudyID is empty or unreadable: '1' in the record"),
        ({"StudyDate": "yesterday"}, "StudyDate is empty or unreadable: '19000101' in the record"),
        ({"StudyTime": ""}, "StudyTime is empty or unreadable: '000000' in the record"),
        ({"SeriesNumber": "one"}, "SeriesNumber is empty or unreadable: '1' in the record"),
        ({"InstanceNumber": ""}, "InstanceNumber is empty or unreadable: '1' in the record"),
        ({"patient": ""}, "PatientID is empty or unreadable"),
    ],
)
def test_a_key_that_must_be_there_is_made_up_and_reported(more: dict[str, str], text: str) -> None:
    one = leaf(**more)
    assert [found for found in texts(one) if found.startswith(text)]
    assert len(texts(one)) == 1


def test_values_are_written_in_the_form_of_today() -> None:
    study = decode_dicomdir(written(leaf(StudyDate="2026.01.05", StudyTime="10:15:00.500000"))).records[1]
    assert study.keys["StudyDate"] == ("20260105",)
    assert study.keys["StudyTime"] == ("101500.500000",)


def test_patients_without_id_are_not_thrown_together() -> None:
    directory = decode_dicomdir(written(leaf(1, patient=""), leaf(1, patient="", study="1.2", series="1.2.1")))
    patients = [r.keys["PatientID"] for r in directory.records if r.type == "PATIENT"]
    assert len(set(patients)) == 2


def test_one_study_has_one_record_whatever_its_instances_say() -> None:
    mixed = (leaf(1), leaf(2, patient="P2"))
    directory = decode_dicomdir(written(*mixed))
    assert [r.type for r in directory.records].count("STUDY") == 1
    assert "instances of this study name different patients; all stand below the first" in texts(*mixed)


LEAF_TYPES = {
    "2": {}, "481.2": {"DoseSummationType": "PLAN"},
    "481.3": {"StructureSetLabel": "L", "StructureSetDate": "20260101"}, "481.5": {"RTPlanLabel": "L"},
    "481.4": {}, "11.1": {"PresentationCreationDate": "20260101", "PresentationCreationTime": "10", "ContentLabel": "L"},
    "9.1.1": {"ContentDate": "20260101", "ContentTime": "10"},
    "88.33": {"CompletionFlag": "COMPLETE", "VerificationFlag": "VERIFIED", "ContentDate": "20260101",
              "ContentTime": "10",
              "VerifyingObserverSequence.VerificationDateTime": ("20260101", "20260102")},
    "88.59": {"ContentDate": "20260101", "ContentTime": "10"},
    "66": {"ContentDate": "20260101", "ContentTime": "10"},
    "66.1": {"ContentDate": "20260101", "ContentTime": "10", "ContentLabel": "L"},
    "104.1": {"MIMETypeOfEncapsulatedDocument": "application/pdf", "DocumentTitle": "T"},
    "4.2": {"ImageType": ("ORIGINAL", "PRIMARY"), "ContentDate": "20260101", "ContentTime": "10", "NumberOfFrames": "1",
            "Rows": 4, "Columns": 5, "DataPointRows": 1, "DataPointColumns": 70_000},
}  # fmt: skip


def code(value: str, designator: str, meaning: str) -> bytes:
    texts = zip((0x0100, 0x0102, 0x0104), (b"SH", b"SH", b"LO"), (value, designator, meaning), strict=True)
    return b"".join(
        pack("<HH2sH", 8, number, vr, len(text) + len(text) % 2) + text.encode() + b" " * (len(text) % 2)
        for number, vr, text in texts
    )


def uid(group: int, number: int, text: str) -> bytes:
    octets = text.encode() + b"\0" * (len(text) % 2)
    return pack("<HH2sH", group, number, b"UI", len(octets)) + octets


def nested(group: int, number: int, item: bytes) -> bytes:
    octets = pack("<HHL", 0xFFFE, 0xE000, len(item)) + item
    return pack("<HH2sxxL", group, number, b"SQ", len(octets)) + octets


REFERENCE = uid(8, 0x1150, ROOT + "2") + uid(8, 0x1155, "1.2.3")
ITEMS = {
    "88.33": {"ConceptNameCodeSequence": (code("1", "99X", "Report"),)},
    "88.59": {"ConceptNameCodeSequence": (code("113000", "DCM", "Of Interest"),)},
    "11.1": {"ReferencedSeriesSequence": (nested(8, 0x1140, REFERENCE) + uid(0x20, 0x000E, "1.2"),)},
    "4.2": {"ReferencedImageEvidenceSequence": (REFERENCE,)},
}


@pytest.mark.parametrize("rest", LEAF_TYPES)
@pytest.mark.parametrize("given_keys", [True, False])
def test_no_leaf_type_has_an_error_for_dciodvfy(rest: str, given_keys: bool, tmp_path: Path) -> None:
    need("dicom3tools", "dcmtk")
    one = leaf(1, ROOT + rest, **(LEAF_TYPES[rest] if given_keys else {}))
    if given_keys:
        one = replace(one, sequences=ITEMS.get(rest, {}))
        assert texts(one) == []
    path = tmp_path / "DICOMDIR"
    path.write_bytes(written(one))
    judged = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
    errors = [line for line in (judged.stdout + judged.stderr).splitlines() if line.startswith("Error")]
    if not given_keys:  # nobody can make up the title of a document, nor what something refers to
        errors = [line for line in errors if not any(name in line for name in ITEMS.get(rest, {}))]
    if rest == "11.1":  # is asked for by dciodvfy in every record; a plain Presentation State has none (Type 1C)
        errors = [line for line in errors if "BlendingSequence" not in line]
    assert errors == []
    assert subprocess.run(["dcmdump", "-q", "+E", path], capture_output=True, check=False).returncode == 0


def test_the_values_of_a_leaf_arrive() -> None:
    spectrum = decode_dicomdir(written(leaf(1, ROOT + "4.2", **LEAF_TYPES["4.2"]))).leaves[0].keys
    assert spectrum["Rows"] == (4,)
    assert spectrum["DataPointColumns"] == (70_000,)
    assert spectrum["ImageType"] == ("ORIGINAL", "PRIMARY")


def test_a_document_without_title_is_reported() -> None:
    (text,) = texts(leaf(1, ROOT + "88.33", **LEAF_TYPES["88.33"]))
    assert "no ConceptNameCodeSequence" in text
    assert texts(leaf(1, ROOT + "104.1", **LEAF_TYPES["104.1"])) == []  # Type 2: may be empty


def test_repeated_sequences_arrive_as_they_are() -> None:
    one = replace(leaf(1, ROOT + "88.33", **LEAF_TYPES["88.33"]), sequences=ITEMS["88.33"])
    item = dcmread(BytesIO(written(one))).DirectoryRecordSequence[-1]
    assert item.ConceptNameCodeSequence[0].CodeMeaning == "Report"
    assert item.VerificationDateTime == "20260102"


# --- reading what others wrote ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
def test_real_ones_in_every_encoding(name: str) -> None:
    directory = decode_dicomdir((FOLDER / name).read_bytes())
    assert directory.findings == ()
    assert len(directory.records) == 52
    assert not [r for r in directory.records if r.orphan]
    parents = {r.offset: r.type for r in directory.records}
    above = {"PATIENT": "", "STUDY": "PATIENT", "SERIES": "STUDY", "IMAGE": "SERIES"}
    assert all((parents[r.parent] if r.parent else "") == above[r.type] for r in directory.records)
    assert {r.file_id for r in directory.leaves} == {
        path.relative_to(FOLDER).parts for path in FOLDER.glob("[0-9]*/*/*")
    }


def test_a_directory_that_lost_its_patients_keeps_every_record() -> None:
    directory = decode_dicomdir((FOLDER / "DICOMDIR-nopatient").read_bytes())
    assert len(directory.leaves) == 31
    assert any("no link leads to" in finding.text for finding in directory.findings)


def test_a_directory_whose_lengths_lie_keeps_what_came_before() -> None:
    directory = decode_dicomdir((FOLDER / "DICOMDIR-nooffset").read_bytes())
    assert directory.damaged
    assert len(directory.leaves) == 31
    assert any("the records end early" in finding.text for finding in directory.findings)


def patched(octets: bytes, old: int, new: int) -> bytes:
    """Every link to one octet made to lead to another."""
    return octets.replace(pack("<L", old), pack("<L", new))


def test_a_loop_ends() -> None:
    octets = written(*TREE)
    records = decode_dicomdir(octets).records
    looping = patched(octets, records[10].offset, records[0].offset)  # the second patient is the first again
    directory = decode_dicomdir(looping)
    assert len(directory.records) == len(records)
    assert any("two links lead to" in finding.text for finding in directory.findings)


def test_a_link_into_nowhere_is_a_finding_and_what_it_hid_an_orphan() -> None:
    octets = written(*TREE)
    records = decode_dicomdir(octets).records
    directory = decode_dicomdir(patched(octets, records[7].offset, 3))
    assert any("no record starts" in finding.text for finding in directory.findings)
    assert [r.sop_instance_uid for r in directory.leaves if r.orphan] == ["1.2.1.1"]


def test_links_that_all_miss_by_the_same_are_followed() -> None:
    octets = written(*TREE)
    records = decode_dicomdir(octets).records
    longer = octets[:132] + encode_file_meta(
        "1.2.840.10008.1.3.10", UID, "1.2.840.10008.1.2.1", source_ae_title="EDITED"
    )[132:] + octets[len(encode_file_meta("1.2.840.10008.1.3.10", UID, "1.2.840.10008.1.2.1")) :]  # fmt: skip
    assert len(longer) > len(octets)
    directory = decode_dicomdir(longer)
    assert shape(directory) == shape(decode_dicomdir(octets))
    assert not [r for r in directory.records if r.orphan]
    assert len(directory.records) == len(records)
    assert any("links miss their records by" in finding.text for finding in directory.findings)


def relinked(octets: bytes, links: dict[int, int]) -> bytes:
    """Links overwritten, by where they lie."""
    changed = bytearray(octets)
    for at, target in links.items():
        changed[at : at + 4] = pack("<L", target)
    return bytes(changed)


def link_places(octets: bytes) -> list[tuple[int, int]]:
    """Where the two links of each record lie."""
    return [(record.offset + 8 + 8, record.offset + 8 + 30) for record in decode_dicomdir(octets).records]


def test_links_behind_an_edited_name_all_miss_by_the_same() -> None:
    many = [leaf(n, study=f"1.{n}", series=f"1.{n}.1") for n in range(1, 9)]
    octets = written(*many)
    at = octets.index(b"Doe^J ")
    length = octets.rindex(b"PN", 0, at)
    edited = octets[: length + 2] + pack("<H", 16) + b"Somebody^Else^X " + octets[at + 6 :]
    record = decode_dicomdir(octets).records[0].offset + 4
    grown = int.from_bytes(octets[record : record + 4], "little") + 10
    edited = relinked(edited, {record: grown})
    whole = octets.index(b"\x04\x00\x20\x12SQ") + 8
    edited = relinked(edited, {whole: int.from_bytes(octets[whole : whole + 4], "little") + 10})
    directory = decode_dicomdir(edited)
    assert shape(directory) == shape(decode_dicomdir(octets))
    assert not [r for r in directory.records if r.orphan]
    assert any("miss their records by 10 octets" in finding.text for finding in directory.findings)


@pytest.mark.parametrize("kind", ["itself", "the first", "each other"])
def test_loops_of_every_kind_end(kind: str) -> None:
    octets = written(*TREE)
    offsets = [record.offset for record in decode_dicomdir(octets).records]
    places = link_places(octets)
    links = {
        "itself": {place: offset for (both, offset) in zip(places, offsets, strict=True) for place in both},
        "the first": {place: offsets[0] for both in places for place in both},
        "each other": {places[0][0]: offsets[1], places[1][0]: offsets[0], places[0][1]: offsets[1]},
    }[kind]
    directory = decode_dicomdir(relinked(octets, links))
    assert len(directory.records) == len(offsets)
    assert len(directory.leaves) == 5
    assert directory.damaged


def test_records_one_below_the_other_need_no_recursion() -> None:
    octets = written(*[leaf(n) for n in range(1, 3001)])
    offsets = [record.offset for record in decode_dicomdir(octets).records]
    places = link_places(octets)
    links = {lower: offset for (_, lower), offset in zip(places[3:-1], offsets[4:], strict=True)}
    links |= {following: 0 for following, _ in places[3:]}
    directory = decode_dicomdir(relinked(octets, links))
    assert len(directory.leaves) == 3000
    assert not [record for record in directory.records if record.orphan]


@given(st.data())
def test_whatever_the_links_say_no_record_is_lost(data: st.DataObject) -> None:
    octets = written(*TREE)
    offsets = [record.offset for record in decode_dicomdir(octets).records]
    targets = st.sampled_from([0, *offsets]) | st.integers(0, 2**32 - 1)
    places = [place for both in link_places(octets) for place in both]
    links = {data.draw(st.sampled_from(places)): data.draw(targets) for _ in range(data.draw(st.integers(1, 12)))}
    directory = decode_dicomdir(relinked(octets, links))
    assert [record.offset for record in directory.records] == offsets
    assert len(directory.leaves) == 5


def test_very_many_siblings_need_no_recursion() -> None:
    many = [leaf(n) for n in range(1, 5001)]
    directory = decode_dicomdir(written(*many))
    assert len(directory.leaves) == 5000
    assert not directory.findings


def test_an_inactive_record_is_kept_but_refers_to_nothing() -> None:
    octets = written(leaf())
    at = octets.rindex(b"\x04\x00\x10\x14US\x02\x00\xff\xff") + 8
    directory = decode_dicomdir(octets[:at] + b"\0\0" + octets[at + 2 :])
    assert len(directory.records) == 4
    assert directory.leaves == ()


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "too short"),
        (encode_file_meta(ROOT + "2", "1.2", "1.2.840.10008.1.2.1"), "no DICOMDIR"),
    ],
)
def test_what_is_no_directory_says_so(octets: bytes, text: str) -> None:
    with pytest.raises(RemoteProtocolError, match=text):
        decode_dicomdir(octets)


def test_of_a_directory_that_is_cut_the_records_before_the_cut_are_kept() -> None:
    octets = written(*TREE)
    whole = decode_dicomdir(octets)
    for end in (octets.index(b"IMAGE ") + 20, len(octets) - 300, len(octets) - 1):
        directory = decode_dicomdir(octets[:end])
        assert directory.damaged
        assert any("is cut" in finding.text for finding in directory.findings)
        before = [record.sop_instance_uid for record in whole.leaves if record.offset + 200 < end]
        assert [record.sop_instance_uid for record in directory.leaves][: len(before)] == before


def test_cut_anywhere_it_fails_only_in_one_way() -> None:
    octets = written(*TREE[:2])
    for end in range(len(octets)):
        with suppress(RemoteProtocolError):
            decode_dicomdir(octets[:end])


@given(st.data())
def test_damaged_anywhere_it_fails_only_in_one_way(data: st.DataObject) -> None:
    octets = bytearray(written(*TREE))
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(128, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        decode_dicomdir(bytes(octets))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(st.tuples(TEXT, TEXT, TEXT, TEXT), max_size=6))
def test_whatever_instances_say_the_directory_can_be_read(rows: list[tuple[str, str, str, str]]) -> None:
    leaves = [
        leaf(n, patient=patient, StudyDate=day, PatientName=name, InstanceNumber=number)
        for n, (patient, day, name, number) in enumerate(rows, start=1)
    ]
    directory = decode_dicomdir(written(*leaves))
    assert directory.findings == ()
    assert {r.sop_instance_uid for r in directory.leaves} == {one.sop_instance_uid for one in leaves}


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[FileSet]:
    for one in TREE:
        path = tmp_path.joinpath(*one.file_id)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "DICOMDIR").write_bytes(written(*TREE))
    fileset = FileSet(tmp_path / "DICOMDIR")
    yield fileset
    fileset._stage["t"].cleanup()


def test_a_file_set_of_pydicom_loads_it(loaded: FileSet) -> None:
    assert {instance.SOPInstanceUID for instance in loaded} == {one.sop_instance_uid for one in TREE}
    assert loaded.UID == UID
