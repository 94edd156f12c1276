"""C-STORE as an SCU: what lies here is what arrives there, and every instance has its row."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pynetdicom import AE, evt

from dicomlab import trace
from dicomlab.dimse import pdu
from dicomlab.dimse import sending as module
from dicomlab.dimse.association import Association
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.node import Node
from dicomlab.errors import Interrupted, Refused, Unreachable, UsageError
from dicomlab.part10.files import parcel_of_file, read_file_meta
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT, JPEG, MR, instance, write
from tests.unit.dimse.scripted import Script, playing


def test_what_lies_here_is_what_arrives_there(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start()
    paths = write(tmp_path / "here", *cohort())
    report = pacs.node.store(tmp_path / "here", progress=False)
    assert report.complete
    assert report.title == f"Stored in {pacs.node.address}"
    assert {o.status for o in report} == {"0000H Success"}
    for path in paths:
        octets = path.read_bytes()[read_file_meta(path).length :]
        assert pacs.holdings.octets_of(path.stem) == octets
        (outcome,) = (o for o in report if o.sop_instance_uid == path.stem)
        assert (outcome.octets, outcome.transfer_syntax_uid) == (len(octets), read_file_meta(path).transfer_syntax_uid)


def test_a_large_one_goes_out_from_the_map_in_pdus_that_fit(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start()
    (path,) = write(tmp_path, instance(1, octets=3_000_002))
    seen: list[int] = []
    report = pacs.node.store(path, progress=lambda p: seen.append(p.octets))
    assert report.count("done") == 1
    assert pacs.holdings.octets_of(path.stem) == path.read_bytes()[read_file_meta(path).length :]
    assert seen[-1] > 3_000_000


def test_data_sets_are_sent_too(start: Callable[..., Pacs]) -> None:
    pacs = start()
    assert pacs.node.store([instance(1), instance(2)], progress=False).count("done") == 2
    assert len(pacs.holdings.files()) == 2


def test_what_is_unfit_is_a_row_and_stops_nothing(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start()
    good, cut = write(tmp_path, instance(1), instance(2))
    cut.write_bytes(cut.read_bytes()[:-20])
    (tmp_path / "letter.txt").write_text("not DICOM")
    report = pacs.node.store(tmp_path, progress=False)
    assert report.counts == {"done": 1, "failed": 2}
    assert not report.complete
    assert report.note == "2 of 3 were not stored"
    assert {o.path for o in report.failures} == {cut.name, "letter.txt"}
    assert [path.stem for path in pacs.holdings.files()] == [good.stem]


def test_what_is_no_uid_is_a_row(start: Callable[..., Pacs], tmp_path: Path) -> None:
    parcel = parcel_of_file(write(tmp_path, instance(1))[0])
    bad = replace(parcel, meta=replace(parcel.meta, sop_class_uid="1.2.\ufffd"))  # type: ignore[type-var, union-attr]
    report = start().node.store([bad], progress=False)
    assert "is no UID" in report.failures[0].status


def test_nothing_to_send_asks_nobody(tmp_path: Path) -> None:
    report = Node("PACS@pacs.invalid").store(tmp_path, progress=False)
    assert (len(report), report.complete) == (0, True)


def test_a_path_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no such file"):
        Node("PACS@pacs.invalid").store("/no/such/file", progress=False)


def test_nobody_there_leaves_a_report(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1), instance(2))
    with pytest.raises(Unreachable) as caught:
        Node("PACS@127.0.0.1:1").store(paths, progress=False)
    assert [(o.result, o.status) for o in caught.value.partial] == [("failed", "not sent")] * 2


# --- what the peer takes ---------------------------------------------------------------------------------------------


@contextmanager
def pynetdicom_scp(*contexts: tuple[str, str], status: int = 0) -> Iterator[tuple[str, list[Any]]]:
    got: list[Any] = []

    def store(event: evt.Event) -> int:
        got.append(event)
        return status

    ae = AE("PACS")
    for sop_class, syntax in contexts:
        ae.add_supported_context(sop_class, syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield f"PACS@127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()


def test_pynetdicom_takes_it_octet_for_octet(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1), instance(2, syntax=JPEG), instance(3, syntax=IMPLICIT))
    with pynetdicom_scp((CT, EXPLICIT), (CT, JPEG), (CT, IMPLICIT)) as (address, got):
        for path in paths:  # it takes one syntax for each class
            report = Node(address).store(path, progress=False)
            assert report.count("done") == 1
    sent = {p.stem: p.read_bytes()[read_file_meta(p).length :] for p in paths}
    assert {e.request.AffectedSOPInstanceUID for e in got} == set(sent)
    for event in got:
        if (
            event.context.transfer_syntax
            == read_file_meta(tmp_path / f"{event.request.AffectedSOPInstanceUID}.dcm").transfer_syntax_uid
        ):
            assert event.encoded_dataset(include_meta=False) == sent[event.request.AffectedSOPInstanceUID]


@pytest.mark.parametrize("syntax", [IMPLICIT, BIG_ENDIAN])
def test_what_is_uncompressed_is_encoded_anew_where_it_must(tmp_path: Path, syntax: str) -> None:
    paths = write(tmp_path, instance(1, syntax=syntax))
    with pynetdicom_scp((CT, EXPLICIT)) as (address, got):
        report = Node(address).store(paths, progress=False)
        assert got[0].dataset.PatientName == "Müller^Jürgen"
    assert [o.result for o in report] == ["done"]
    assert report.outcomes[0].status == (
        "0000H Success; encoded anew as Explicit VR Little Endian, which is what was accepted"
    )
    assert report.outcomes[0].transfer_syntax_uid == EXPLICIT


def test_a_pair_that_is_not_taken_is_a_row(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1, syntax=JPEG), instance(2), instance(3, sop_class=MR, series="1.9"))
    with pynetdicom_scp((CT, EXPLICIT)) as (address, _):
        report = Node(address).store(paths, progress=False)
    assert [o.result for o in report] == ["failed", "done", "failed"]
    assert report.outcomes[0].status.startswith(
        "no accepted context for CT Image Storage in JPEG Baseline (Process 1); it may take it uncompressed"
    )
    assert "MR Image Storage" in report.outcomes[2].status


def test_a_peer_that_takes_nothing_of_it_refuses(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1, syntax=JPEG))
    with pynetdicom_scp((MR, EXPLICIT)) as (address, _), pytest.raises(Refused, match="no accepted context") as caught:
        Node(address).store(paths, progress=False)
    assert caught.value.partial.count("failed") == 1


@pytest.mark.parametrize(
    ("status", "result", "text"),
    [
        (0xB000, "warning", "B000H Coercion of Data Elements"),
        (0xB007, "warning", "B007H Data Set Does Not Match SOP Class"),
        (0xA700, "failed", "A700H Refused: Out of Resources"),
        (0xC123, "failed", "C123H"),
    ],
)
def test_a_status_is_a_row_in_the_standards_words(tmp_path: Path, status: int, result: str, text: str) -> None:
    paths = write(tmp_path, instance(1), instance(2))
    with pynetdicom_scp((CT, EXPLICIT), status=status) as (address, _):
        report = Node(address).store(paths, progress=False)
    assert [o.result for o in report] == [result] * 2
    assert report.outcomes[0].status.startswith(text)


def test_pynetdicom_stores_in_ours(start: Callable[..., Pacs]) -> None:
    pacs = start()
    ae = AE("LAB1")
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate("127.0.0.1", pacs.listener.port, ae_title="PACS")
    assert association.is_established
    assert association.send_c_store(instance(1)).Status == 0
    association.release()
    (path,) = pacs.holdings.files()
    assert path.stem == instance(1).SOPInstanceUID


# --- breaking off ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [64, 4_000_000])
def test_a_break_in_the_middle_leaves_a_report_of_what_was_stored(tmp_path: Path, octets: int) -> None:
    paths = write(tmp_path, instance(1), instance(2, octets=octets), instance(3))

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        script.say(command.response(0))
        script.octets(100)
        script.send(pdu.Abort())

    with playing(play) as address, pytest.raises(Interrupted) as caught:
        Node(address).store(paths, progress=False, retries=0)
    assert [(o.result, o.status) for o in caught.value.partial] == [
        ("done", "0000H Success"), ("failed", "not sent"), ("failed", "not sent"),
    ]  # fmt: skip


def test_a_cancel_finishes_the_message_in_flight(tmp_path: Path) -> None:
    paths = write(tmp_path, *(instance(n) for n in range(1, 6)))
    asked, cancelled = threading.Event(), threading.Event()
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        asked.set()
        cancelled.wait(5)
        script.say(command.response(0))
        heard.append(script.read())
        script.send(pdu.ReleaseReply())

    with playing(play) as address:
        operation = Node(address).store(paths, background=True)
        asked.wait(5)
        operation.cancel()
        cancelled.set()
        report = operation.result(10)
    assert heard == [pdu.ReleaseRequest()]
    assert report.counts == {"done": 1, "failed": 4}
    assert (report.complete, report.note) == (False, "cancelled")


def test_many_are_sent_window_by_window(
    start: Callable[..., Pacs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WINDOW_PARCELS", 2)
    pacs = start()
    paths = write(tmp_path / "here", *(instance(n) for n in range(1, 6)))
    with trace() as wire:
        report = pacs.node.store(paths, progress=False)
    assert report.count("done") == 5
    assert wire.counts()["A-ASSOCIATE-RQ"] == 3


def test_a_data_set_without_uids_is_a_row(start: Callable[..., Pacs]) -> None:
    report = start().node.store(Dataset(), progress=False)
    assert report.counts == {"failed": 1}


# --- over several associations, and again ----------------------------------------------------------------------------


@contextmanager
def moody_scp(
    *contexts: tuple[str, str], statuses: Sequence[int] = (), abort_at: Container[int] = (), most: int = 10
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Pynetdicom, which answers with these statuses one after the other, or aborts at some of what it is sent."""
    got: dict[str, bytes] = {}
    count = itertools.count(1)

    def store(event: evt.Event) -> int:
        number = next(count)
        if number in abort_at:
            event.assoc.abort()
            return 0xC000
        got[event.request.AffectedSOPInstanceUID] = event.encoded_dataset(include_meta=False)
        return statuses[number - 1] if number <= len(statuses) else 0

    ae = AE("PACS")
    ae.maximum_associations = most
    for sop_class, syntax in contexts:
        ae.add_supported_context(sop_class, syntax)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield f"PACS@127.0.0.1:{server.server_address[1]}", got
    finally:
        server.shutdown()


def test_several_associations_share_the_work(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start()
    write(tmp_path, *(instance(n) for n in range(1, 41)))
    with trace() as wire:
        report = pacs.node.store(tmp_path, progress=False, associations=4)
    assert report.count("done") == len(pacs.holdings.files()) == 40
    assert wire.counts()["A-ASSOCIATE-RQ"] == 4
    assert wire.counts()["C-STORE-RQ"] == 40
    assert pacs.node.store(sorted(tmp_path.iterdir())[:2], progress=False, associations=4).count("done") == 2


def test_a_refused_further_association_leaves_the_work_to_the_others(
    start: Callable[..., Pacs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = start()
    write(tmp_path / "here", *(instance(n) for n in range(1, 31)))
    real, asked = Peer.associate, itertools.count()

    def once(self: Peer, proposals: list[Proposal], **options: Any) -> Association:
        if next(asked):
            raise Refused("no more of you", endpoint="PACS")
        return real(self, proposals, **options)

    monkeypatch.setattr(Peer, "associate", once)
    report = pacs.node.store(tmp_path / "here", progress=False, associations=3)
    assert report.count("done") == len(pacs.holdings.files()) == 30
    monkeypatch.setattr(Peer, "associate", lambda *_, **__: once(pacs.node._peer, []))
    with pytest.raises(Refused, match="no more of you") as caught:
        pacs.node.store(tmp_path / "here", progress=False, associations=3)
    assert caught.value.partial.count("failed") == 30


def test_what_breaks_off_goes_on_and_nothing_is_lost_or_left_out(tmp_path: Path) -> None:
    paths = write(tmp_path, *(instance(n) for n in range(1, 11)))
    with trace() as wire, moody_scp((CT, EXPLICIT), abort_at=(3, 4, 8)) as (address, got):
        report = Node(address).store(paths, progress=False)
    assert report.count("done") == 10
    assert {path.stem for path in paths} == set(got)
    assert wire.counts()["A-ASSOCIATE-RQ"] == 4
    assert any("try 1 of 3 again" in event.text for event in wire if event.direction == "note")


def test_what_never_gets_on_is_given_up(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1), instance(2))
    with moody_scp((CT, EXPLICIT), abort_at=range(2, 100)) as (address, _), pytest.raises(Interrupted) as caught:
        Node(address).store(paths, progress=False, retries=2)
    assert caught.value.partial.counts == {"done": 1, "failed": 1}


def test_a_peer_without_resources_is_asked_again_and_one_that_can_never_is_not(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1), instance(2))
    with moody_scp((CT, EXPLICIT), statuses=[0xA700, 0xA700, 0, 0xC000]) as (address, got):
        report = Node(address).store(paths, progress=False)
    assert [one.status[:5] for one in report] == ["0000H", "C000H"]
    assert len(got) == 2


def test_nobody_there_is_not_waited_for(free_port: Callable[[], int], tmp_path: Path) -> None:
    write(tmp_path, instance(1))
    with trace() as wire, pytest.raises(Unreachable):
        Node(f"PACS@127.0.0.1:{free_port()}").store(tmp_path, progress=False)
    assert not any("again" in event.text for event in wire)


@pytest.mark.parametrize("options", [{"associations": 0}, {"associations": True}, {"retries": -1}])
def test_an_option_that_cannot_be_is_said_before_anything_is_sent(tmp_path: Path, options: dict[str, Any]) -> None:
    write(tmp_path, instance(1))
    with pytest.raises(UsageError, match=r"associations|retries"):
        Node("PACS@127.0.0.1:1").store(tmp_path, progress=False, **options)


# --- files that change, and pixels that must -------------------------------------------------------------------------


def test_a_file_that_vanishes_or_shrinks_is_a_row(
    start: Callable[..., Pacs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = start()
    gone, shorter, fine = write(tmp_path, instance(1), instance(2, octets=100_000), instance(3))
    windows = module._windows

    def changed(items: Any) -> Iterator[Any]:
        for window in windows(items):
            gone.unlink()
            shorter.write_bytes(shorter.read_bytes()[:50_000])
            yield window

    monkeypatch.setattr(module, "_windows", changed)
    report = pacs.node.store(tmp_path, progress=False)
    assert [one.result for one in report] == ["failed", "failed", "done"]
    assert "can't be read" in report.outcomes[0].status
    assert "shorter" in report.outcomes[1].status
    assert [path.stem for path in pacs.holdings.files()] == [fine.stem]


def test_a_file_that_is_cut_while_it_is_sent_is_a_row_and_never_half_of_it(tmp_path: Path) -> None:
    """A mapped file reads as zeros, or not at all, where it has been cut: that must not leave as an instance."""
    paths = write(tmp_path, instance(1, octets=48 << 20), instance(2))
    whole: list[str] = []
    connections = itertools.count()

    def play(script: Script) -> None:
        if next(connections) == 0:
            script.establish()
            script.octets(1 << 20)
            with paths[0].open("r+b") as file:
                file.truncate(1 << 20)
            with pytest.raises(ConnectionError):
                script.octets(64 << 20)
        else:
            script.establish()
            command, _ = script.message()
            whole.append(command.text("AffectedSOPInstanceUID"))
            script.say(command.response(0))
            script.release()

    with playing(play, connections=2) as address:
        report = Node(address).store(paths, progress=False)
    assert [(o.result, "shorter" in o.status) for o in report] == [("failed", True), ("done", False)]
    assert whole == [instance(2).SOPInstanceUID]


def test_pixels_are_decompressed_only_where_nothing_else_is_taken_and_the_user_agrees(tmp_path: Path) -> None:
    source = dcmread(get_testdata_file("JPEG2000.dcm"))
    paths = [Path(get_testdata_file("JPEG2000.dcm"))]
    sop_class = str(source.SOPClassUID)
    with moody_scp((sop_class, IMPLICIT)) as (address, got):
        with pytest.raises(Refused, match="decompress=True"):
            Node(address).store(paths, progress=False)
        report = Node(address).store(paths, progress=False, decompress=True)
    (outcome,) = report
    assert (outcome.result, outcome.transfer_syntax_uid) == ("done", IMPLICIT)
    assert "decompressed as Implicit VR Little Endian" in outcome.status
    arrived = read_dataset(BytesIO(got[str(source.SOPInstanceUID)]), is_implicit_VR=True, is_little_endian=True)
    arrived.file_meta = FileMetaDataset()
    arrived.file_meta.TransferSyntaxUID = IMPLICIT
    assert np.array_equal(arrived.pixel_array, source.pixel_array)
    for element in source:
        if element.tag != 0x7FE00010 and not element.tag.is_private:
            assert arrived[element.tag].value == element.value
    with moody_scp((sop_class, str(source.file_meta.TransferSyntaxUID)), (sop_class, IMPLICIT)) as (address, got):
        report = Node(address).store(paths, progress=False, decompress=True)
    assert report.outcomes[0].transfer_syntax_uid == source.file_meta.TransferSyntaxUID


def test_pixels_that_cannot_be_decompressed_are_a_row(tmp_path: Path) -> None:
    paths = write(tmp_path, instance(1, syntax=JPEG), instance(2))
    with moody_scp((CT, EXPLICIT)) as (address, _):
        report = Node(address).store(paths, progress=False, decompress=True)
    assert [one.result for one in report] == ["failed", "done"]
    assert "can't be decompressed" in report.outcomes[0].status
