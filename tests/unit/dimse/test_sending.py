"""C-STORE as an SCU: what lies here is what arrives there, and every instance has its row."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt

from dicomlab import trace
from dicomlab.dimse import pdu
from dicomlab.dimse import sending as module
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
    assert report.outcomes[0].status == "no accepted context for CT Image Storage in JPEG Baseline (Process 1)"
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
        Node(address).store(paths, progress=False)
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
