"""Text over DIMSE: character sets of every kind at every peer, wildcards with umlauts, names of three groups."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomlab import Archive, Node
from dicomlab.samples.manifest import data_folder, load
from tests.interop.sides import KINDS, Side, key_of
from tests.peers.pynetdicom_scp import PynetdicomScp
from tests.unit.dimse.holdings import instance, write

FILES = tuple(Path(s.path).stem for s in load().taken if s.path.startswith("charset_files/"))
"""Arabic, French, German, Greek, Hebrew, Russian, Chinese (UTF-8 and GB18030), Japanese, Korean."""
TO_LATIN = "orthanc"
"""It answers in one character set of its own, and what that has no letter for is lost there."""


def truth(name: str) -> tuple[Path, str, str]:
    """The file, its Patient ID, and its name as pydicom reads it."""
    path = data_folder() / "charset_files" / f"{name}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = dcmread(path)
        return path, str(dataset.PatientID), str(dataset.PatientName)


@pytest.mark.parametrize("side", [pytest.param(key_of(kind, ""), id=kind) for kind in KINDS], indirect=True)
def test_names_in_every_character_set(side: Side) -> None:
    names = [truth(name) for name in FILES]
    for path, _, _ in names:
        side.fill(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = side.node.find("study", include=["PatientName", "PatientID"], progress=False)
    got = {row["PatientID"]: str(row["PatientName"]) for _, row in found.to_dataframe().iterrows()}
    for _, patient, name in names:
        alphabetic = name.split("=")[0]
        if side.kind == TO_LATIN and not _is_latin(alphabetic):
            assert patient in got
            continue
        assert got[patient] == alphabetic, (side.kind, patient)


def _is_latin(text: str) -> bool:
    try:
        return bool(text.encode("latin-1"))
    except UnicodeEncodeError:
        return False


@pytest.mark.parametrize("side", [pytest.param(key_of(kind, ""), id=kind) for kind in KINDS], indirect=True)
@pytest.mark.parametrize("wildcard", ["Äneas*", "Äneas^Rüdiger", "*Rüdiger"])
def test_a_wildcard_with_umlauts(side: Side, wildcard: str) -> None:
    path, patient, name = truth("chrGerm")
    side.fill(path)
    if side.kind == "pynetdicom" and wildcard.startswith("*"):
        return  # the archive over it knows a star at the end only
    found = side.node.find("study", PatientName=wildcard, include=["PatientID"], progress=False)
    assert found["PatientID"].tolist() == [patient], (side.kind, name)


def test_findscu_asks_ours_with_umlauts(dcmtk: Any, tmp_path: Path) -> None:
    """DCMTK sends Latin-1 and names it; ours holds the name in UTF-8, and answers so that both agree."""
    paths = write(
        tmp_path / "in",
        instance(1, name="Müller^Jürgen"),
        instance(2, name="Mueller^J", study="1.2.3.2", series="1.2.3.2.1"),
    )
    with Archive() as archive:
        archive.add(paths, progress=False).raise_for_failures()
        at = archive.node.address
        (tmp_path / "out").mkdir()
        query = tmp_path / "query.dcm"
        asked = instance(1, name="Mü*")
        keep = ("SpecificCharacterSet", "PatientName")
        for element in list(asked):
            if element.keyword not in keep:
                del asked[element.tag]
        asked.QueryRetrieveLevel, asked.StudyInstanceUID, asked.SpecificCharacterSet = "STUDY", "", "ISO_IR 100"
        asked.save_as(query, implicit_vr=False, little_endian=True)
        dcmtk("findscu", "-S", "-X", "-od", tmp_path / "out", "-aec", at.ae_title, at.host, at.port, query)
        answers = [dcmread(path) for path in (tmp_path / "out").iterdir()]
    assert [str(answer.PatientName) for answer in answers] == ["Müller^Jürgen"]


def test_all_three_groups_of_a_name_arrive(tmp_path: Path) -> None:
    """The table shows the alphabetic group; the data set that was retrieved has all of them."""
    path, _, name = truth("chrH31")
    assert name.count("=") == 2
    with Archive() as archive:
        archive.add(path, progress=False).raise_for_failures()
        found = archive.node.find("study", progress=False)
        assert found["PatientName"].tolist() == [name.split("=")[0]]
        for group in name.split("="):
            assert len(archive.node.find("study", PatientName=f"{group[:3]}*", progress=False)) == 1, group
        report = found.retrieve(tmp_path, progress=False)
        (outcome,) = report
        assert str(dcmread(tmp_path / outcome.path).PatientName) == name


@pytest.mark.parametrize(
    ("declared", "encoded", "reads"),
    [
        (None, "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        (None, "Müller^Jürgen".encode(), "MÃ¼ller^JÃ¼rgen"),  # an archive reads files as pydicom does
        ("ISO_IR 100", "Müller^Jürgen".encode("latin-1"), "Müller^Jürgen"),
        ("ISO_IR 192", "Müller^Jürgen".encode("latin-1"), None),
        ("ISO_IR 9999", "Müller^Jürgen".encode("latin-1"), None),
        ("GB18030", "王^小东".encode("gb18030"), "王^小东"),
        ("GB18030", b"\xff\xff^\xff", None),
        ("ISO 2022 IR 87", b"\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B", "山田^太郎"),
    ],
    ids=["absent, Latin-1", "absent, UTF-8", "Latin-1", "lies", "unknown", "GB18030", "broken", "ISO 2022 without the first"],
)  # fmt: skip
def test_absent_and_lying_character_sets(
    tmp_path: Path, declared: str | None, encoded: bytes, reads: str | None
) -> None:
    """Never an error: what can be read is read, and where it was guessed the cohort says so or shows the octets."""
    mark = b"MARKMARKMARKMARKMARKMARK"
    dataset = instance(1, name=mark.decode())
    if declared is None:
        del dataset.SpecificCharacterSet
    else:
        dataset.SpecificCharacterSet = "ISO_IR 192"
    (path,) = write(tmp_path / "in", dataset)
    octets = path.read_bytes()
    padded = encoded + b" " * (len(encoded) % 2)
    octets = octets.replace(len(mark).to_bytes(2, "little") + mark, len(padded).to_bytes(2, "little") + padded)
    if declared is not None:
        word = declared.encode() + b" " * (len(declared) % 2)
        octets = octets.replace(b"\x0a\0ISO_IR 192", len(word).to_bytes(2, "little") + word, 1)
    (tmp_path / "lie").mkdir()
    lie = tmp_path / "lie" / path.name
    lie.write_bytes(octets)
    with (
        PynetdicomScp(tmp_path / "lie", {"LAB1": 1}, ["1.2.840.10008.1.2.1"]) as peer,
        Archive() as archive,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        archive.add(lie, progress=False)
        for node in (archive.node, Node(peer.ae)):
            found = node.find("study", progress=False)
            assert found.complete
            assert found["StudyInstanceUID"].tolist() == [dataset.StudyInstanceUID]
            (name,) = found["PatientName"].tolist()
            if reads is not None and node is archive.node:
                assert name == reads
            assert isinstance(name, str) or len(found.warnings)
