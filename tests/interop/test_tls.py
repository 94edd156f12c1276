"""TLS against DCMTK and Orthanc, both ways round, and where an archive moves to somebody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import Archive, Node
from dicomlab.errors import Refused
from tests.interop.conftest import assert_same_dataset, dataset_octets
from tests.peers.certificates import Certificates
from tests.peers.processes import LOOPBACK, free_port


def flags(certificates: Certificates, pair: tuple[Path, Path]) -> list[str]:
    """DCMTK's options for a certificate of its own and those that it trusts."""
    return ["+tls", str(pair[1]), str(pair[0]), "+cf", str(certificates.ca)]


@pytest.fixture(scope="module")
def ours(certificates: Certificates, paths: list[Path]) -> Any:
    with Archive(tls=certificates.mutual(certificates.server)) as archive:
        archive.add(paths[:5], progress=False).raise_for_failures()
        yield archive


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_calls_us(dcmtk: Any, ours: Archive, certificates: Certificates, profile: str) -> None:
    dcmtk("echoscu", *flags(certificates, certificates.client), profile, "-aec", "DICOMLAB", LOOPBACK,
          ours.node.address.port)  # fmt: skip


def test_dcmtk_is_refused_without_a_certificate_that_we_trust(
    dcmtk: Any, ours: Archive, certificates: Certificates
) -> None:
    other = dcmtk(
        "echoscu", *flags(certificates, certificates.stranger), "-aec", "DICOMLAB", LOOPBACK, ours.node.address.port,
        check=False,
    )  # fmt: skip
    assert other.returncode != 0
    plain = dcmtk("echoscu", "-aec", "DICOMLAB", LOOPBACK, ours.node.address.port, check=False)
    assert plain.returncode != 0


def test_dcmtk_searches_and_stores_over_tls(
    dcmtk: Any, ours: Archive, certificates: Certificates, paths: list[Path], real: Any, tmp_path: Path
) -> None:
    secure = [*flags(certificates, certificates.client), "-aec", "DICOMLAB"]
    where = [LOOPBACK, ours.node.address.port]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID"]
    dcmtk("findscu", *secure, "-S", "-X", "-od", tmp_path, *keys, *where)
    assert len(list(tmp_path.iterdir())) == len(ours.node.find("study", progress=False))
    explicit = [p for p in paths if b"1.2.840.10008.1.2.1\0" in p.read_bytes()[:1024]]
    new = next(p for p in explicit if p not in paths[:5])
    dcmtk("storescu", *secure, "-R", *where, new)
    uid = next(uid for uid, parcel in real.items() if parcel.path == new)
    (held,) = ours._opened().store.select("instance", [uid])
    assert dataset_octets(held.path) == dataset_octets(new)


def test_we_call_dcmtk(start_storescp: Any, certificates: Certificates, paths: list[Path], real: Any) -> None:
    server = start_secure(start_storescp, certificates)
    node = Node(server.ae, tls=certificates.mutual(certificates.client))
    report = node.store(paths[:3], progress=False)
    assert report.complete, [o.status for o in report]
    got = {p.name.split(".", 1)[1]: p for p in server.files}
    for outcome in report:
        uid = outcome.sop_instance_uid
        assert dataset_octets(got[uid]) == dataset_octets(real[uid].path)
    assert node.verify()


def test_dcmtk_refuses_us_as_a_stranger(start_storescp: Any, certificates: Certificates) -> None:
    server = start_secure(start_storescp, certificates)
    verified = Node(server.ae, tls=certificates.mutual(certificates.stranger)).verify()
    assert not verified
    with pytest.raises(Refused, match="not trusted"):
        Node(server.ae, tls=True).find("study", progress=False)


def test_dcmtk_of_another_name_is_refused(start_storescp: Any, certificates: Certificates) -> None:
    server = start_storescp(
        *flags(certificates, certificates.elsewhere), secure=[*flags(certificates, certificates.client), "-ic"]
    )
    with pytest.raises(Refused, match="not for this host"):
        Node(server.ae, tls=certificates.mutual(certificates.client)).find("study", progress=False)


def test_we_move_to_dcmtk(start_storescp: Any, certificates: Certificates, paths: list[Path], real: Any) -> None:
    server = start_secure(start_storescp, certificates)
    known = {server.aet: (LOOPBACK, server.port), "GONE": (LOOPBACK, free_port())}
    with Archive(tls=certificates.mutual(certificates.server), known=known) as archive:
        archive.add(paths[:5], progress=False).raise_for_failures()
        held = archive.node.find("instance", progress=False)
        with archive.node.associate(["StudyRootQueryRetrieveInformationModelMove"]) as association:
            moved = {uid: move(association, uid, server.aet) for uid in held["StudyInstanceUID"].unique()}
            failed = move(association, held["StudyInstanceUID"].iloc[0], "GONE")
    assert {one["Status"] for one in moved.values()} == {0}
    assert sum(one["NumberOfCompletedSuboperations"] for one in moved.values()) == len(held) == 5
    assert failed["Status"] != 0
    got = {p.name.split(".", 1)[1]: p for p in server.files}
    assert set(got) == set(held["SOPInstanceUID"])
    for uid, path in got.items():
        assert dataset_octets(path) == dataset_octets(real[uid].path)


def move(association: Any, study: str, destination: str) -> Any:
    """The final answer to a C-MOVE of a study to somebody else."""
    keys = Dataset()
    keys.QueryRetrieveLevel, keys.StudyInstanceUID = "STUDY", study
    return association.request("C-MOVE", keys, MoveDestination=destination)[-1].fields


# --- Orthanc ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def secure_orthanc(start_orthanc: Any, certificates: Certificates) -> Any:
    certificate, key = certificates.server
    return start_orthanc(
        secure=flags(certificates, certificates.client), DicomTlsEnabled=True, DicomTlsCertificate=str(certificate),
        DicomTlsPrivateKey=str(key), DicomTlsTrustedCertificates=str(certificates.ca),
    )  # fmt: skip


@pytest.fixture(scope="module")
def orthanc_node(secure_orthanc: Any, certificates: Certificates, paths: list[Path]) -> Node:
    """We, who have stored into it; it calls us back over TLS."""
    aet, port = secure_orthanc.me.split(":")
    secure_orthanc.register(aet, int(port), UseDicomTls=True)
    node = Node(secure_orthanc.ae, me=secure_orthanc.me, tls=certificates.mutual(certificates.server))
    report = node.store(paths[:5], progress=False)
    assert report.complete, [o.status for o in report.failures]
    return node


def test_orthanc_is_asked_over_tls(orthanc_node: Node, secure_orthanc: Any) -> None:
    assert orthanc_node.verify()
    assert secure_orthanc.count() == len(orthanc_node.find("instance", progress=False)) == 5


@pytest.mark.parametrize("method", ["get", "move"])
def test_orthanc_sends_over_tls(orthanc_node: Node, real: Any, tmp_path: Path, method: str) -> None:
    """Moved, it opens a second connection to us, which is secured as well."""
    found = orthanc_node.find("study", progress=False)
    report = found.retrieve(tmp_path, method=method, progress=False)
    assert report.complete, [o.status for o in report]
    assert len(report) == 5
    for outcome in report:
        assert_same_dataset(tmp_path / outcome.path, real[outcome.sop_instance_uid].path)


def test_orthanc_takes_neither_plaintext_nor_a_stranger(orthanc_node: Node, certificates: Certificates) -> None:
    address = str(orthanc_node.address)
    assert not Node(address, timeout_s=5).verify()
    assert not Node(address, tls=certificates.mutual(certificates.stranger)).verify()


def test_orthanc_stores_into_ours_and_moves_from_it_over_tls(
    orthanc_node: Node, secure_orthanc: Any, certificates: Certificates, paths: list[Path]
) -> None:
    known = {secure_orthanc.aet: (LOOPBACK, secure_orthanc.port)}
    with Archive(tls=certificates.mutual(certificates.server), known=known) as archive:
        at = archive.node.address
        secure_orthanc.ask(
            "/modalities/OURS",
            {"AET": at.ae_title, "Host": at.host, "Port": at.port, "UseDicomTls": True},
            method="PUT",
        )
        secure_orthanc.ask("/modalities/OURS/echo", {})
        secure_orthanc.ask("/modalities/OURS/store", {"Resources": secure_orthanc.ask("/instances")})
        assert len(archive.node.find("instance", progress=False)) == 5
        secure_orthanc.reset()
        query = secure_orthanc.ask("/modalities/OURS/query", {"Level": "Study", "Query": {"StudyInstanceUID": ""}})
        secure_orthanc.ask(f"/queries/{query['ID']}/retrieve", {"TargetAet": secure_orthanc.aet, "Synchronous": True})
        assert secure_orthanc.count() == 5


def start_secure(start_storescp: Any, certificates: Certificates) -> Any:
    return start_storescp(*flags(certificates, certificates.server), secure=flags(certificates, certificates.client))
