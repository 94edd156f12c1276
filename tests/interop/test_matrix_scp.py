"""Every kind of peer as the SCU, against our archive: each service with each encoding, and the octets that come of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE, build_role, evt

from dicomlab import Archive
from dicomlab.dimse import tables
from dicomlab.samples.phantom import write_phantom
from tests.interop.conftest import assert_same_dataset
from tests.interop.sides import FLAGS, look
from tests.interop.specimens import SYNTAXES, Specimen, make_specimens, some
from tests.peers.processes import LOOPBACK, free_port

WITHOUT_HTJ2K = tuple(name for name in SYNTAXES if name != "HTJ2K")
"""DCMTK and Orthanc are older than it."""
TAKEN = tuple(name for name in SYNTAXES if name != "deflated")
"""What our listener takes: not the deflated one, of which a little can become a lot."""
WORDS = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}


class Ours(NamedTuple):
    """Our archive, filled."""

    archive: Archive
    specimens: dict[str, Specimen]
    phantom: list[Path]
    mover: int


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, third: Any, orthanc: Any) -> Iterator[Ours]:
    specimens = make_specimens(tmp_path_factory.mktemp("ours"), "2.25.7003")
    phantom = write_phantom(tmp_path_factory.mktemp("phantom"), patients=2, slices=2)
    mover = free_port()
    known = {"MOVER": (LOOPBACK, mover), third.aet: (LOOPBACK, third.port), "ORTHANC": (LOOPBACK, orthanc.port)}
    with Archive(known=known) as archive:
        archive.add([one.path for one in specimens.values()], progress=False).raise_for_failures()
        archive.add(phantom, progress=False).raise_for_failures()
        yield Ours(archive, specimens, phantom, mover)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Specimen]:
    """What nobody has yet."""
    return make_specimens(tmp_path_factory.mktemp("fresh"), "2.25.7004")


@pytest.fixture
def empty() -> Iterator[Archive]:
    with Archive() as archive:
        yield archive


def at(archive: Archive, calling: str = "THEM") -> list[str]:
    address = archive.node.address
    return ["-aet", calling, "-aec", address.ae_title, address.host, str(address.port)]


def option(name: str) -> str:
    return FLAGS.get(name, "i" if name == "implicit" else "e")


def unique_keys(level: str, dataset: Dataset) -> dict[str, str]:
    """The unique keys above a level, as a baseline query has them."""
    above = [word for word in ("STUDY", "SERIES") if list(WORDS).index(word) < list(WORDS).index(level)]
    return {WORDS[word]: str(dataset[WORDS[word]].value) for word in above}


# --- DCMTK -----------------------------------------------------------------------------------------------------------


def test_echoscu(dcmtk: Any, ours: Ours) -> None:
    dcmtk("echoscu", *at(ours.archive))
    assert dcmtk("echoscu", "-aec", "OTHER", LOOPBACK, ours.archive.node.address.port, check=False).returncode


@pytest.mark.parametrize("name", some(WITHOUT_HTJ2K, 4))
def test_storescu(dcmtk: Any, empty: Archive, fresh: dict[str, Specimen], name: str) -> None:
    one = fresh[name]
    sent = dcmtk("storescu", "-R", f"-x{option(name)}", *at(empty), one.path, check=False)
    if name == "deflated":  # -xd proposes the uncompressed ones too, in the same context
        assert (sent.returncode == 0) == (len(empty) == 1)
    else:
        assert sent.returncode == 0, sent.stdout
    for held in empty._opened().store.select("instance", [one.uid]):
        if held.transfer_syntax_uid == one.syntax:
            assert look(held.path).digest == one.digest
        assert_same_dataset(held.path, one.path)


@pytest.mark.parametrize(
    ("model", "level"), [(m, w) for m in ("-P", "-S") for w in WORDS if (m, w) != ("-S", "PATIENT")]
)
def test_findscu(dcmtk: Any, ours: Ours, tmp_path: Path, model: str, level: str) -> None:
    first = dcmread(ours.phantom[0], stop_before_pixels=True)
    keys = {**unique_keys(level, first), WORDS[level]: ""}
    if model == "-P" and level != "PATIENT":
        keys["PatientID"] = first.PatientID
    elif level in ("PATIENT", "STUDY"):
        keys["PatientID"] = "SYN*"
    given = [word for k, v in keys.items() for word in ("-k", f"{k}={v}" if v else k)]
    dcmtk(
        "findscu",
        model,
        "-X",
        "-od",
        tmp_path,
        "-k",
        f"QueryRetrieveLevel={level}",
        *given,
        "-k",
        "PatientName",
        *at(ours.archive),
    )
    got = {str(dcmread(file)[WORDS[level]].value) for file in tmp_path.iterdir()}
    all_of = [dcmread(path, stop_before_pixels=True) for path in ours.phantom]
    fits = [d for d in all_of if all(d[k].value == v for k, v in unique_keys(level, first).items())]
    if model == "-P" and level != "PATIENT":
        fits = [d for d in fits if d.PatientID == first.PatientID]
    assert got == {str(d[WORDS[level]].value) for d in fits}


def instance_keys(one: Any) -> list[str]:
    """What asks DCMTK's tools for one instance."""
    keys = (f"StudyInstanceUID={one.study}", f"SeriesInstanceUID={one.series}", f"SOPInstanceUID={one.uid}")
    return [word for key in ("QueryRetrieveLevel=IMAGE", *keys) for word in ("-k", key)]


@pytest.mark.parametrize("name", some(WITHOUT_HTJ2K, 3))
def test_getscu(dcmtk: Any, ours: Ours, tmp_path: Path, name: str) -> None:
    one = ours.specimens[name]
    wanted = instance_keys(one)
    dcmtk("getscu", "-S", "+B", f"+x{option(name)}", "-od", tmp_path, *wanted, *at(ours.archive))
    (got,) = [look(path) for path in tmp_path.iterdir()]
    if got.syntax == one.syntax:
        assert got.digest == one.digest
    assert name in ("deflated", "implicit", "explicit") or got.syntax == one.syntax
    assert_same_dataset(got.path, one.path)


@pytest.mark.parametrize("name", some(WITHOUT_HTJ2K, 3))
def test_movescu(dcmtk: Any, ours: Ours, third: Any, name: str) -> None:
    for path in third.files:
        path.unlink()
    one = ours.specimens[name]
    wanted = instance_keys(one)
    dcmtk("movescu", "-S", "-aem", third.aet, *wanted, *at(ours.archive))
    (got,) = [look(path) for path in third.files]
    assert (got.syntax, got.digest) == (one.syntax, one.digest)
    nobody = dcmtk("movescu", "-S", "-aem", "NOBODY", *wanted, *at(ours.archive), check=False)
    assert "a801" in nobody.stdout.lower() or "MoveDestinationUnknown" in nobody.stdout or nobody.returncode


# --- pynetdicom ------------------------------------------------------------------------------------------------------


def asking(archive: Archive, contexts: list[tuple[str, str]], scp: bool = False, **options: Any) -> Any:
    ae = AE("THEM")
    for uid, syntax in contexts:
        ae.add_requested_context(uid, syntax)
    roles = [
        build_role(UID(uid), scp_role=True)
        for uid in dict.fromkeys(uid for uid, _ in contexts)
        if scp and uid in tables.STORAGE
    ]
    address = archive.node.address
    association = ae.associate(address.host, address.port, ae_title=address.ae_title, ext_neg=roles, **options)
    assert association.is_established
    return association


@pytest.mark.parametrize("name", some(SYNTAXES, 4))
def test_pynetdicom_stores(empty: Archive, fresh: dict[str, Specimen], name: str) -> None:
    one = fresh[name]
    association = asking(empty, [(tables.VERIFICATION, SYNTAXES["implicit"]), (one.sop_class, one.syntax)])
    try:
        assert association.send_c_echo().Status == 0
        if name == "deflated":
            assert [c.transfer_syntax[0] for c in association.accepted_contexts] == [SYNTAXES["implicit"]]
            return
        assert association.send_c_store(one.path).Status == 0
    finally:
        association.release()
    (held,) = empty._opened().store.select("instance", [one.uid])
    assert (look(held.path).syntax, look(held.path).digest) == (one.syntax, one.digest)


@pytest.mark.parametrize("level", list(WORDS))
def test_pynetdicom_finds(ours: Ours, level: str) -> None:
    model = tables.MODELS["patient", "FIND"]
    first = dcmread(ours.phantom[0], stop_before_pixels=True)
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientName = level, None
    for keyword, value in {**unique_keys(level, first), WORDS[level]: None}.items():
        setattr(query, keyword, value)
    query.PatientID = "SYN*" if level == "PATIENT" else first.PatientID
    association = asking(ours.archive, [(model, SYNTAXES["implicit"])])
    answers = list(association.send_c_find(query, UID(model)))
    association.release()
    assert [s.Status for s, _ in answers] == [0xFF00] * (len(answers) - 1) + [0]
    got = {str(d[WORDS[level]].value) for _, d in answers if d is not None}
    fits = [dcmread(path, stop_before_pixels=True) for path in ours.phantom]
    fits = [d for d in fits if level == "PATIENT" or d.PatientID == first.PatientID]
    fits = [d for d in fits if all(d[k].value == v for k, v in unique_keys(level, first).items())]
    assert got == {str(d[WORDS[level]].value) for d in fits}


@pytest.mark.parametrize("name", some(TAKEN, 4))
def test_pynetdicom_gets(ours: Ours, name: str) -> None:
    one = ours.specimens[name]
    got: list[tuple[str, bytes]] = []

    def store(event: evt.Event) -> int:
        got.append((str(event.context.transfer_syntax), event.encoded_dataset(include_meta=False)))
        return 0

    model = tables.MODELS["study", "GET"]
    association = asking(
        ours.archive,
        [(model, SYNTAXES["explicit"]), (one.sop_class, one.syntax)],
        scp=True,
        evt_handlers=[(evt.EVT_C_STORE, store)],
    )
    *_, (last, _) = association.send_c_get(identifier(one), UID(model))
    association.release()
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
    assert [(syntax, hashlib.sha256(octets).hexdigest()) for syntax, octets in got] == [(one.syntax, one.digest)]


def test_pynetdicom_moves(ours: Ours, third: Any) -> None:
    one = ours.specimens["JPEG"]
    model = tables.MODELS["study", "MOVE"]
    association = asking(ours.archive, [(model, SYNTAXES["explicit"])])
    *_, (last, _) = association.send_c_move(identifier(one), third.aet, UID(model))
    *_, (unknown, _) = association.send_c_move(identifier(one), "NOBODY", UID(model))
    association.release()
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 1)
    assert unknown.Status == 0xA801
    assert any(look(path).digest == one.digest for path in third.files)


def identifier(one: Specimen) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = one.study, one.series, one.uid
    return query


# --- Orthanc ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def known(orthanc: Any, empty: Archive) -> Any:
    """Orthanc, which knows the archive as OURS."""
    address = empty.node.address
    orthanc.ask("/modalities/OURS", {"AET": address.ae_title, "Host": address.host, "Port": address.port}, method="PUT")
    return orthanc


@pytest.mark.parametrize("name", some(WITHOUT_HTJ2K, 3))
def test_orthanc_stores(known: Any, empty: Archive, fresh: dict[str, Specimen], name: str) -> None:
    one = fresh[name]
    known.ask("/modalities/OURS/echo", {})
    known.add(one.path)
    (found,) = known.ask("/tools/lookup", one.uid.encode())
    known.ask("/modalities/OURS/store", {"Resources": [found["ID"]]})
    (held,) = empty._opened().store.select("instance", [one.uid])
    got = look(held.path)
    if got.syntax == one.syntax:
        assert got.digest == one.digest
    assert got.syntax == one.syntax or name == "deflated"
    assert_same_dataset(held.path, one.path)


@pytest.mark.parametrize("level", some(("Patient", "Study", "Series", "Instance"), 2))
def test_orthanc_queries_and_retrieves(orthanc: Any, ours: Ours, level: str) -> None:
    orthanc.reset()
    address = ours.archive.node.address
    orthanc.ask("/modalities/FULL", {"AET": address.ae_title, "Host": address.host, "Port": address.port}, method="PUT")
    first = dcmread(ours.phantom[0], stop_before_pixels=True)
    word = {"Instance": "IMAGE"}.get(level, level.upper())
    query = {
        WORDS[word]: "",
        **unique_keys(word, first),
        **({"PatientID": "SYN*"} if level in ("Patient", "Study") else {}),
    }
    made = orthanc.ask("/modalities/FULL/query", {"Level": level, "Query": query})
    answers = orthanc.ask(f"/queries/{made['ID']}/answers?expand&simplify")
    fits = [dcmread(path, stop_before_pixels=True) for path in ours.phantom]
    fits = [d for d in fits if all(d[k].value == v for k, v in unique_keys(word, first).items())]
    assert {a[WORDS[word]] for a in answers} == {str(d[WORDS[word]].value) for d in fits}
    with suppress(HTTPError):  # an archive that does not know Orthanc answers A801H, which it calls an error
        orthanc.ask(f"/queries/{made['ID']}/retrieve", {"TargetAet": "NOBODY", "Synchronous": True})
        pytest.fail("a C-MOVE to nobody was no error")
    assert orthanc.count() == 0
    if level == "Patient":  # it moves a patient in the Study Root model, which has no such level (PS3.4 §C.6.2.1)
        with pytest.raises(HTTPError):
            orthanc.ask(f"/queries/{made['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
        return
    orthanc.ask(f"/queries/{made['ID']}/retrieve", {"TargetAet": "ORTHANC", "Synchronous": True})
    below = {str(d[WORDS[word]].value) for d in fits}
    everything = [dcmread(path, stop_before_pixels=True) for path in ours.phantom]
    assert orthanc.count() == sum(str(d[WORDS[word]].value) in below for d in everything)
