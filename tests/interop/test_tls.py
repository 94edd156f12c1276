"""TLS against DCMTK, both ways round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node
from dicomlab.errors import Refused
from tests.interop.conftest import dataset_octets
from tests.peers.certificates import Certificates
from tests.peers.processes import LOOPBACK


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


def start_secure(start_storescp: Any, certificates: Certificates) -> Any:
    return start_storescp(*flags(certificates, certificates.server), secure=flags(certificates, certificates.client))
