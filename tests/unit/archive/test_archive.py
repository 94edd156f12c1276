"""The archive as one object."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas
import pytest
from pydicom import Dataset

from dicomlab import Archive, Cohort, Instance, Interrupted, Node, Report, UsageError
from dicomlab.dimse.handlers import Asked
from dicomlab.samples.phantom import phantom_datasets


@pytest.fixture(scope="module")
def datasets() -> list[Dataset]:
    return list(phantom_datasets(patients=1, slices=2, seed=2))


def test_constructing_opens_nothing_and_closing_ends_everything() -> None:
    before = set(threading.enumerate())
    archive = Archive()
    assert set(threading.enumerate()) == before
    assert "closed" in repr(archive)
    folder = archive.folder
    assert archive.node.verify()
    assert archive.web.verify()
    assert "127.0.0.1" in repr(archive)
    archive.close()
    archive.close()
    assert not folder.exists()
    assert {t for t in threading.enumerate() if not t.daemon} == {t for t in before if not t.daemon}


def test_a_folder_of_its_own_keeps_what_was_stored(tmp_path: Path, datasets: list[Dataset]) -> None:
    with Archive(tmp_path / "kept") as archive:
        assert archive.add(datasets, progress=False).complete
    with Archive(tmp_path / "kept") as archive:
        assert len(archive) == len(datasets)
        assert len(archive.node.find("instance")) == len(datasets)


def test_trailing_zeros_are_no_part_of_the_data_set(tmp_path: Path, datasets: list[Dataset]) -> None:
    """The same instance with and without them is the same, whichever way it comes."""
    plain, padded = tmp_path / "plain.dcm", tmp_path / "padded.dcm"
    datasets[0].save_as(plain, enforce_file_format=True)
    padded.write_bytes(plain.read_bytes() + bytes(1024))
    with Archive() as archive:
        assert archive.add(padded, progress=False).complete
        assert archive.add(plain, progress=False).complete
        assert archive.node.store([plain, padded], progress=False).complete
        assert archive.web.store([plain, padded], progress=False).complete
        assert len(archive) == 1


def test_what_cannot_be_added_is_a_row(tmp_path: Path, datasets: list[Dataset]) -> None:
    (tmp_path / "no.txt").write_text("no")
    datasets[0].save_as(tmp_path / "yes.dcm", enforce_file_format=True)
    with Archive() as archive:
        report = archive.add(tmp_path, progress=False)
        assert (report.count("done"), report.count("failed"), report.complete) == (1, 1, False)


def test_on_store_is_told_from_both_doors(datasets: list[Dataset]) -> None:
    told: list[Instance] = []
    with Archive(on_store=told.append) as archive:
        archive.node.store(datasets[0], progress=False)
        archive.web.store(datasets[1], progress=False)
        assert {i.sop_instance_uid for i in told} == {ds.SOPInstanceUID for ds in datasets[:2]}
        assert told[0].dataset == datasets[0]


def test_an_address_of_ones_own(free_port, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    port, web = free_port(), free_port()
    with Archive(tmp_path, f"MINE@127.0.0.1:{port}", web_port=web) as archive:
        assert str(archive.node) == f"MINE@127.0.0.1:{port}"
        assert f":{web}/" in str(archive.web)
        assert archive.node.verify()
    with Archive(address="MINE@127.0.0.1:0") as archive:
        assert archive.node.address.ae_title == "MINE"
        assert archive.node.address.port > 0
        assert archive.node.verify()
    with pytest.raises(UsageError):
        Archive(address="no address")
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(UsageError, match="is a file"):
        Archive(file).folder  # noqa: B018


def test_the_web_door_without_a_port() -> None:
    import requests

    with Archive(web_port=None) as archive:
        archive.add(phantom_datasets(patients=1, slices=2), progress=False).raise_for_failures()
        assert len(archive.web.find("instance", progress=False)) == 3
        with requests.Session() as one, requests.Session() as other:
            assert len(one.get(f"{archive.mount(one)}/instances", timeout=10).json()) == 3
            base = archive.mount(other)
            one.close()
            assert len(other.get(f"{base}/instances", timeout=10).json()) == 3
        assert archive.web.verify()


def test_names_and_pages_that_the_web_door_knows() -> None:
    import requests

    archive = Archive(web_port=None, web_hosts=["hub.example"], web_origins=["https://viewer.example"])
    with archive, requests.Session() as session:
        url = f"{archive.mount(session)}/studies"
        assert session.get(url, headers={"Host": "hub.example"}, timeout=10).status_code == 200
        assert session.get(url, headers={"Host": "evil.example"}, timeout=10).status_code == 421
        page = {"Origin": "https://viewer.example"}
        allowed = session.get(url, headers=page, timeout=10).headers["Access-Control-Allow-Origin"]
        assert allowed == "https://viewer.example"


def test_a_cohort_of_another_path_is_an_answer(tmp_path: Path) -> None:
    """A gateway in two lines: C-FIND becomes QIDO-RS, C-GET and C-MOVE become WADO-RS, and nothing is lost by it."""
    with Archive() as behind:
        behind.add(phantom_datasets(patients=2, slices=2), progress=False)
        web = behind.web

        def instances(asked: Asked) -> Cohort:
            return web.find("instance", SOPInstanceUID=list(asked.uids), progress=False)

        handlers = {"C-FIND": lambda asked: web.find(asked.query), "C-GET": instances, "C-MOVE": instances}
        with Archive(address="GATEWAY@127.0.0.1:0", handlers=handlers) as gateway:
            for level in ("patient", "study", "series"):
                through = gateway.node.find(level)
                assert len(through) == {"patient": 2, "study": 4, "series": 4}[level]
                assert through.warnings.empty
                pandas.testing.assert_frame_equal(through.to_dataframe(), web.find(level).to_dataframe())
            studies = gateway.node.find("study", StudyDate="2026-01-05", PatientID="SYN-001")
            for method in ("get", "move"):
                report = studies.retrieve(tmp_path / method, method=method, verify="sha256")
                assert report.counts == {"done": 2}
                assert {one.sha256 for one in report} == {
                    one.sha256
                    for one in web.find("study", StudyDate="2026-01-05").retrieve(
                        tmp_path / f"web-{method}", verify="sha256"
                    )
                }


def test_a_retrieve_that_breaks_off_at_its_list_says_so_in_a_report(tmp_path: Path, datasets: list[Dataset]) -> None:
    with Archive() as archive:
        archive.add(datasets, progress=False)
        series = archive.node.find("series", Modality="CT")
        with archive.faults.abort(at_pdu=3), pytest.raises(Interrupted) as caught:
            series.retrieve(tmp_path)
    assert isinstance(caught.value.partial, Report)
    assert not caught.value.partial
    assert len(caught.value.partial) == 0


def test_whoever_is_known_is_who_was_named(free_port, tmp_path: Path, datasets: list[Dataset]) -> None:  # type: ignore[no-untyped-def]
    """A title that was given an address keeps it, also the one that the archive's own node would have."""
    port = free_port()
    with Archive(web_port=None, known={"LAB1": ("127.0.0.1", port)}) as archive:
        archive.add(datasets, progress=False)
        ours = Node(str(archive.node), me=f"LAB1:{port}")
        for name, node in (("named", ours), ("own", archive.node)):
            report = node.find("study").retrieve(tmp_path / name, method="move", progress=False)
            assert report.count("done") == len(datasets), report
