"""Node against every kind of peer, with every kind of encoding: each service, and the octets that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomlab import Refused, ServiceError
from dicomlab.dimse import tables
from dicomlab.dimse.identifier import encode_query
from dicomlab.dimse.negotiation import Proposal
from dicomlab.model.columns import column
from dicomlab.part10.transcode import UNCOMPRESSED
from dicomlab.samples.phantom import write_phantom
from tests.interop.conftest import assert_same_dataset
from tests.interop.sides import KINDS, Side, key_of, look
from tests.interop.specimens import SYNTAXES, Specimen, make_specimens, matrix
from tests.peers.dcmtk import run

LEVELS = {
    "patient": "PatientID",
    "study": "StudyInstanceUID",
    "series": "SeriesInstanceUID",
    "instance": "SOPInstanceUID",
}

DEFLATED = SYNTAXES["deflated"]
RECODABLE = {*UNCOMPRESSED, DEFLATED}
NOT_KNOWN = {("orthanc", "HTJ2K"), ("dcmqrscp", "HTJ2K")}
"""These peers are older than the transfer syntax."""
UNDELIVERED = {
    ("orthanc", "get", "HTJ2K"),
    ("orthanc", "move", "HTJ2K"),
    ("pynetdicom", "get", "deflated"),  # nobody offers that by default, and it encodes nothing anew
}
"""What these peers don't send."""


@pytest.fixture(scope="module")
def specimens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Specimen]:
    return make_specimens(tmp_path_factory.mktemp("specimens"), "2.25.7001")


@pytest.fixture(scope="module")
def held_specimens(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Specimen]:
    """Others, with which peers are filled by their own means."""
    return make_specimens(tmp_path_factory.mktemp("held"), "2.25.7002")


def with_side(cases: list[Any]) -> list[Any]:
    """Put the key of a peer where its kind stands."""
    return [pytest.param(key_of(p.values[0], p.values[-1]), *p.values[1:], id=p.id, marks=p.marks) for p in cases]


def assert_as_it_was_or_encoded_anew(path: Path, one: Specimen) -> None:
    """The same octets in the same transfer syntax; else, of what is not compressed, the same values in another one."""
    got = look(path)
    assert run("dcmdump", "-q", path).returncode == 0
    if got.syntax == one.syntax:
        if one.syntax != DEFLATED:  # whoever deflates anew has another level of compression
            assert got.digest == one.digest
        return
    assert {one.syntax, got.syntax} <= RECODABLE | {SYNTAXES["big endian"]}
    assert_same_dataset(path, one.path)


@pytest.mark.parametrize(
    ("side", "name"), with_side(matrix(KINDS, tuple(SYNTAXES), keep=14)), indirect=["side"]
)  # fmt: skip
def test_store(side: Side, specimens: dict[str, Specimen], name: str) -> None:
    one = specimens[name]
    if (side.kind, name) in NOT_KNOWN:
        with pytest.raises(Refused, match="no accepted context"):
            side.node.store(one.path, progress=False)
        assert side.held(one.uid) is None
        return
    (outcome,) = side.node.store(one.path, progress=False)
    assert outcome.result == "done"
    assert outcome.status.startswith("0000H")
    assert outcome.transfer_syntax_uid == one.syntax or "encoded anew" in outcome.status
    held = side.held(one.uid)
    assert held is not None
    assert held.syntax == outcome.transfer_syntax_uid
    assert_as_it_was_or_encoded_anew(held.path, one)
    if side.kind in ("pynetdicom", "self") and held.syntax == one.syntax:
        assert held.digest == one.digest


@pytest.mark.parametrize(
    ("side", "method", "name"), with_side(matrix(KINDS, ("get", "move"), tuple(SYNTAXES), keep=22)), indirect=["side"]
)
def test_retrieve_to_ourselves(
    side: Side, held_specimens: dict[str, Specimen], method: str, name: str, tmp_path: Path
) -> None:
    one = held_specimens[name]
    if (side.kind, name) == ("dcmqrscp", "HTJ2K"):
        return  # it can't be given what it does not know
    side.fill(one.path)
    found = side.node.find("instance", SOPInstanceUID=one.uid, StudyInstanceUID=one.study, progress=False)
    assert [i.sop_instance_uid for i in found] == [one.uid]
    if (side.kind, method, name) == ("pynetdicom", "move", "deflated"):
        with pytest.raises(ServiceError, match="A801H"):  # what it says where its destination took no context
            found.retrieve(tmp_path, method=method, progress=False)
        return
    report = found.retrieve(tmp_path, method=method, progress=False)
    (outcome,) = report
    if outcome.result == "failed":
        assert (side.kind, method, name) in UNDELIVERED, outcome
        assert not report.complete
        assert not list(tmp_path.rglob("*.dcm"))
        return
    assert outcome.result == "done"
    assert_as_it_was_or_encoded_anew(tmp_path / outcome.path, one)


@pytest.mark.parametrize(
    ("side", "name"), with_side(matrix(KINDS, tuple(SYNTAXES), keep=10)), indirect=["side"]
)  # fmt: skip
def test_move_to_a_third(side: Side, held_specimens: dict[str, Specimen], name: str) -> None:
    """C-MOVE with a destination that is neither of us; what the third takes is what lies there."""
    one = held_specimens[name]
    if (side.kind, name) in NOT_KNOWN:
        return
    side.fill(one.path)
    for path in side.third.files:
        path.unlink()
    assert moved(side, one, "NOBODY") in (0xA801, 0xC000)  # Orthanc does not tell apart
    status = moved(side, one, side.third.aet)
    if name == "HTJ2K":  # the third does not know it
        assert tables.category(status) == "failure"
        assert not side.third.files
        return
    assert status == tables.SUCCESS
    (came,) = side.third.files
    assert_as_it_was_or_encoded_anew(came, one)


def moved(side: Side, one: Specimen, destination: str) -> int:
    model = tables.MODELS["study", "MOVE"]
    with side.node._peer.associate([Proposal(model, tables.UNCOMPRESSED)]) as association:
        context = next(iter(association.contexts.values()))
        keys = {"StudyInstanceUID": one.study, "SeriesInstanceUID": one.series, "SOPInstanceUID": one.uid}
        data = encode_query("instance", [(column(k), v) for k, v in keys.items()], context.transfer_syntax)
        number = association.request(context, "C-MOVE-RQ", data, Priority=0, MoveDestination=destination)
        while (answer := association.answer("C-MOVE-RSP", number).command).status in tables.PENDING:
            pass
        return answer.status


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=2, slices=2)


@pytest.mark.parametrize(
    ("side", "level"),
    [pytest.param(key_of(k, ""), level, id=f"{k}-{level}") for k in KINDS for level in LEVELS],
    indirect=["side"],
)
def test_find(side: Side, phantom: list[Path], level: str) -> None:
    assert side.node.verify()
    for path in phantom:
        side.fill(path)
    datasets = [dcmread(path, stop_before_pixels=True) for path in phantom]
    key = LEVELS[level]
    expected = {str(d[key].value): d for d in datasets}
    found = side.node.find(level, PatientID="SYN-00*", progress=False)  # type: ignore[call-overload]
    assert found.complete
    assert set(found[key]) == set(expected)
    frame = found.to_dataframe().set_index(key)
    for uid, dataset in expected.items():
        row = frame.loc[uid]
        for name in ("PatientName", "StudyDate", "Modality", "SeriesDescription", "SOPClassUID", "InstanceNumber"):
            if name in frame.columns and str(row[name]) not in ("nan", "<NA>", "NaT"):
                assert str(row[name]).replace("-", "").startswith(str(dataset[name].value).replace("-", "")), (
                    level,
                    name,
                )
    if side.kind != "pynetdicom" and level != "patient":  # the archive over it does not match ranges
        one = side.node.find(level, PatientID="SYN-001", StudyDate=("2026-01-01", "2026-01-06"), progress=False)  # type: ignore[call-overload]
        assert set(one[key]) == {k for k, d in expected.items() if d.PatientID == "SYN-001" and d.Modality == "CT"}
