"""Rules of a File-set, each broken once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomlab.media.dicomdir import Directory, decode_dicomdir
from dicomlab.media.dicomdir_writer import Leaf, encode_dicomdir
from dicomlab.media.profiles import PROFILES
from dicomlab.media.reconcile import compare
from dicomlab.media.rules import agreement_breaches, directory_breaches, profile_breaches
from dicomlab.samples.manifest import data_folder
from tests.unit.media.test_dicomdir_writer import LE, leaf

FOLDER = data_folder() / "test_files" / "dicomdirtests"


def octets(*leaves: Leaf) -> bytes:
    return encode_dicomdir(leaves or [leaf(1), leaf(2)], file_set_uid="2.25.1")[0]


def said(directory: Directory) -> list[tuple[str, str]]:
    return [(one.severity, one.text) for one in directory_breaches(directory, "DICOMDIR")]


def test_a_good_one_breaks_none() -> None:
    assert said(decode_dicomdir(octets())) == []


@pytest.mark.parametrize(
    ("old", "new", "severity", "text"),
    [
        (b"IMAGE ", b"STUDY ", "error", "stands below SERIES, not below PATIENT"),
        (b"IMAGE ", b"FOOTLE", "error", "is of no type that PS3.3 knows"),
        (b"PT000001\\IM000001 ", b"pt000001\\im000001 ", "error", "pt000001/im000001 is no File ID"),
        (b"1.1.1.2\0", b"1.1.1.1\0", "error", "2 instance records have one UID (1.1.1.1)"),
        (b"P1", b"  ", "error", "has no PatientID, which it must"),
        (b"\x04\x00\x12\x12US\x02\x00\0\0", b"\x04\x00\x12\x12US\x02\x00\xff\xff", "warning", "may be inconsistent"),
    ],
)  # fmt: skip
def test_one_broken_rule_is_found(old: bytes, new: bytes, severity: str, text: str) -> None:
    assert len(old) == len(new)
    broken = octets().replace(old, new, 1)
    assert broken != octets()
    assert any(level == severity and text in words for level, words in said(decode_dicomdir(broken)))


def test_a_patient_id_twice() -> None:
    other = leaf(1, "1.2.1")
    other = replace(other, row={**other.row, "PatientID": ("P2",), "StudyInstanceUID": ("1.2",)})
    twice = octets(leaf(1), other).replace(b"P2", b"P1")
    assert ("error", "2 PATIENT records have one Patient ID") in said(decode_dicomdir(twice))


def test_encodings_and_damage_are_errors() -> None:
    implicit = decode_dicomdir((FOLDER / "DICOMDIR-implicit").read_bytes())
    assert ("error", "the DICOMDIR is not in Explicit VR Little Endian") in said(implicit)
    assert any("is cut" in text for _, text in said(decode_dicomdir(octets()[:-4])))


def test_files_that_do_not_agree() -> None:
    directory = decode_dicomdir(octets())
    held = {"PT000001/IM000001": "1.1.1.1", "pt000001/im000002": "1.1.1.2", "LOOSE": "1.1.1.9"}
    plain = [(one.severity, one.path) for one in agreement_breaches(compare(directory, held), None)]
    assert plain == [("warning", "pt000001/im000002"), ("warning", "LOOSE")]
    strict = [one.severity for one in agreement_breaches(compare(directory, held), PROFILES["STD-GEN-CD"])]
    assert strict == ["warning", "error"]
    gone = list(agreement_breaches(compare(directory, {}), None))
    assert [(one.severity, one.section) for one in gone] == [("error", "PS3.10 §8.6")] * 2


def test_transfer_syntaxes_of_a_profile() -> None:
    instances = [("A", "1.1", LE), ("B", "1.2", "1.2.840.10008.1.2.4.90")]
    cd = list(profile_breaches(PROFILES["STD-GEN-CD"], instances))
    assert [(one.path, one.text) for one in cd] == [
        ("B", "STD-GEN-CD allows no JPEG 2000 Image Compression (Lossless Only)")
    ]
    assert list(profile_breaches(PROFILES["STD-GEN-USB-J2K"], instances)) == []
