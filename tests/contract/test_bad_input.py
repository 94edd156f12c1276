"""What goes wrong in the world has the same class and a helping sentence on every path, and loses nothing."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import (
    Archive,
    Interrupted,
    MediaSet,
    Node,
    Refused,
    Report,
    ServiceError,
    Unreachable,
    WebEndpoint,
)
from dicomlab.archive.store import Store
from dicomlab.part10 import files
from dicomlab.part10.files import parcel_of_file
from tests.contract.test_retrieve import check_whole
from tests.faults.plans import Cut, Plan, Stall
from tests.faults.proxy import TcpProxy


@pytest.fixture
def absent(name: str, free_port: Any, tmp_path: Path) -> Any:
    """A peer that is not there."""
    port = free_port()
    return {
        "node": lambda: Node(f"NOBODY@127.0.0.1:{port}"),
        "web": lambda: WebEndpoint(f"http://127.0.0.1:{port}/dicom-web"),
        "media": lambda: MediaSet(tmp_path / "not" / "mounted"),
    }[name]()


def test_unreachable(absent: Any) -> None:
    with pytest.raises(Unreachable) as caught:
        absent.find("study")
    assert str(absent).split("@")[-1].split("//")[-1].split("/")[0] in str(caught.value)
    assert len(str(caught.value)) > 30  # a sentence, not a code
    checked = absent.verify()
    assert not checked
    assert checked.advice
    assert "✗" in repr(checked)


def test_a_port_where_something_else_answers(filled: Archive) -> None:
    web_port = int(str(filled.web).split(":")[2].split("/")[0])
    wrong = Node(f"ANY@127.0.0.1:{web_port}", timeout_s=5)
    assert not wrong.verify()
    with pytest.raises((Interrupted, Refused, Unreachable, files.RemoteProtocolError)):
        wrong.find("study")
    dimse = WebEndpoint(f"http://127.0.0.1:{filled.node.address.port}/dicom-web", timeout_s=5)
    assert not dimse.verify()


def test_a_wrong_ae_title_is_refused_with_advice(filled: Archive) -> None:
    wrong = Node(f"OTHER@127.0.0.1:{filled.node.address.port}", me="LAB1")
    with pytest.raises(Refused, match=r"(?i)called AE title.*OTHER|OTHER.*called AE title"):
        wrong.find("study")
    checked = wrong.verify()
    assert not checked
    assert "OTHER" in checked.advice + repr(checked)


def test_an_unknown_move_destination_is_explained(filled: Archive, tmp_path: Path) -> None:
    stranger = Node(str(filled.node.address), me="STRANGER")
    with pytest.raises(ServiceError, match="STRANGER") as caught:
        stranger.find("study").retrieve(tmp_path, method="move", progress=False)
    assert caught.value.status == 0xA801


def through(name: str, archive: Archive, proxy: TcpProxy) -> Any:
    if name == "node":
        node = archive.node
        return Node(f"{node.address.ae_title}@127.0.0.1:{proxy.port}", me=str(node.me), timeout_s=5)
    return WebEndpoint(f"http://127.0.0.1:{proxy.port}/dicom-web", timeout_s=5)


def port_of(name: str, archive: Archive) -> int:
    return archive.node.address.port if name == "node" else int(str(archive.web).split(":")[2].split("/")[0])


@pytest.mark.parametrize("fault", [Cut(60_000), Cut(60_000, reset=True), Stall(60_000)], ids=["fin", "rst", "stall"])
def test_a_retrieve_that_breaks_off_keeps_what_arrived(
    name: str, filled: Archive, instances: list[Dataset], tmp_path: Path, fault: Any
) -> None:
    cohort = getattr(filled, name).find("instance")
    if name == "media":
        folder = tmp_path / "medium"
        shutil.copytree(filled.media.path, folder)
        cohort = MediaSet(folder).find("instance")
        doomed = sorted(folder.rglob("*.dcm"))[len(instances) // 2 :]
        for file in doomed:
            file.unlink()
        with pytest.raises(Interrupted) as caught:
            cohort.retrieve(tmp_path / "out", progress=False)
        report = caught.value.partial
    else:
        gone = Plan(to_client=[Cut(0)])  # the web may ask again for what is missing, but nobody answers any more
        with TcpProxy(port_of(name, filled), [Plan(to_client=[fault])], others=gone) as proxy:
            broken = type(cohort).from_dataframe(cohort.to_dataframe(), source=through(name, filled, proxy))
            with pytest.raises(Interrupted) as caught:
                broken.retrieve(tmp_path / "out", progress=False)
            report = caught.value.partial
    assert isinstance(report, Report)
    assert not report.complete
    arrived = {o.sop_instance_uid for o in report if o.result == "done"}
    assert arrived
    assert len(arrived) < len(instances)
    assert any("resumes" in note for note in caught.value.__notes__)
    check_whole(
        tmp_path / "out",
        Report("arrived", tuple(o for o in report if o.result == "done")),
        [ds for ds in instances if ds.SOPInstanceUID in arrived],
    )
    whole = getattr(filled, name).find("instance").retrieve(tmp_path / "out", progress=False)
    assert whole.complete
    assert whole.count("skipped") == len(arrived)


EVERY_EDGE = [pytest.param(n, marks=pytest.mark.full) for n in (*range(1, 10), *range(11, 320, 3), 700, 1_000, 1_500)]


@pytest.mark.parametrize("name", ["node", "web"])
@pytest.mark.parametrize("after", [0, 10, 400, 2_000, *EVERY_EDGE])
def test_a_find_that_breaks_off_says_so(name: str, filled: Archive, after: int) -> None:
    plan = Plan(to_client=[Cut(after)])
    with TcpProxy(port_of(name, filled), others=plan) as proxy, pytest.raises((Interrupted, Unreachable)) as caught:
        through(name, filled, proxy).find("instance", progress=False)
    assert "127.0.0.1" in str(caught.value)
    assert caught.value.partial is not None
    assert not caught.value.partial.complete


@pytest.mark.parametrize("name", ["node", "web"])
def test_a_peer_that_falls_silent_is_given_up_on(name: str, filled: Archive) -> None:
    with (
        TcpProxy(port_of(name, filled), others=Plan(to_client=[Stall(300)])) as proxy,
        pytest.raises(Interrupted, match="5"),
    ):
        through(name, filled, proxy).find("instance", progress=False)


class FullDisc:
    """A disc with room for so many octets: what it can't take raises ENOSPC, as the kernel does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        self.room = room
        plain = files.FileWriter._put

        def put(writer: Any, octets: Any) -> None:
            self.room -= len(octets)
            if self.room < 0:
                real = writer._file
                with files.medium_errors(writer.path):
                    real.write(octets[: len(octets) // 2])
                    raise OSError(errno.ENOSPC, "No space left on device")
            plain(writer, octets)

        monkeypatch.setattr(files.FileWriter, "_put", put)


def test_no_space_left_while_retrieving(
    source: Any, instances: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = source.find("study")
    with monkeypatch.context() as patch:
        FullDisc(patch, 100_000)
        with pytest.raises(Interrupted, match="no space left") as caught:
            cohort.retrieve(tmp_path, progress=False)
    report = caught.value.partial
    arrived = {o.sop_instance_uid for o in report if o.result == "done"}
    assert 0 < len(arrived) < len(instances)
    assert not list(tmp_path.rglob("*.part"))
    assert len(list(tmp_path.rglob("*.dcm"))) == len(arrived)
    whole = cohort.retrieve(tmp_path, progress=False)
    assert whole.complete
    check_whole(tmp_path, whole, instances)


@pytest.mark.parametrize("name", ["node", "web"])
def test_no_space_left_in_the_archive(
    name: str, empty: Any, instances: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        FullDisc(patch, 60_000)
        report = empty.store(instances, progress=False)
    assert not report.complete
    assert 0 < report.count("done") < len(instances)
    reasons = {o.status for o in report.failures}
    assert any("A7" in reason.upper() or "space" in reason for reason in reasons), reasons
    stored = set(empty.find("instance")["SOPInstanceUID"])
    assert stored == {o.sop_instance_uid for o in report if o.result in ("done", "warning")}
    assert empty.store(instances, progress=False).complete


def test_a_peer_that_says_success_and_delivers_less_is_found_out(
    source: Any, name: str, instances: list[Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted are files, not statuses: one instance is in every table and in no delivery."""
    hidden = instances[3].SOPInstanceUID
    cohort = source.find("instance")
    if name == "media":
        folder = tmp_path / "medium"
        shutil.copytree(source.path, folder)
        cohort = MediaSet(folder).find("instance")
        (found,) = (f for f in folder.rglob("*.dcm") if parcel_of_file(f).meta.sop_instance_uid == hidden)
        found.unlink()
        with pytest.raises(Interrupted) as caught:  # a medium that loses files is no medium to go on with
            cohort.retrieve(tmp_path / "out", progress=False)
        report = caught.value.partial
    else:
        plain = Store.select
        monkeypatch.setattr(Store, "select", lambda *a: [held for held in plain(*a) if held.sop_instance_uid != hidden])
        report = cohort.retrieve(tmp_path / "out", progress=False)
    assert not report.complete
    missing = {ds.SOPInstanceUID for ds in instances} - {o.sop_instance_uid for o in report if o.result == "done"}
    assert hidden in missing
    if name != "media":
        assert missing == {hidden}
        (outcome,) = report.failures
        assert outcome.sop_instance_uid == hidden
        assert outcome.status
        with pytest.raises(ServiceError, match=hidden):
            report.raise_for_failures()


@pytest.mark.parametrize("name", ["node", "web"])
@pytest.mark.parametrize(
    "after", [300, 20_011, *(pytest.param(n, marks=pytest.mark.full) for n in (*range(0, 2_000, 97), *range(2_003, 90_000, 2_011)))]
)  # fmt: skip
def test_wherever_a_retrieve_is_cut_nothing_false_is_kept_and_nothing_whole_is_lost(
    name: str, filled: Archive, instances: list[Dataset], tmp_path: Path, after: int
) -> None:
    cohort = getattr(filled, name).find("instance")
    by_uid = {ds.SOPInstanceUID: ds for ds in instances}
    with TcpProxy(
        port_of(name, filled), [Plan(to_client=[Cut(after, reset=bool(after % 2))])], others=Plan(to_client=[Cut(0)])
    ) as proxy:
        broken = type(cohort).from_dataframe(cohort.to_dataframe(), source=through(name, filled, proxy))
        try:
            report = broken.retrieve(tmp_path, progress=False)
        except (Interrupted, Unreachable) as error:
            report = error.partial
            assert not report.complete
        else:
            assert report.complete == (report.count("done") == len(instances))
    done = tuple(o for o in report if o.result == "done")
    check_whole(tmp_path, Report("arrived", done), [by_uid[o.sop_instance_uid] for o in done])
    assert len(list(tmp_path.rglob("*.dcm"))) == len(done)
    whole = cohort.retrieve(tmp_path, progress=False)
    assert whole.complete
    assert whole.count("skipped") == len(done)
    check_whole(tmp_path, whole, instances)
