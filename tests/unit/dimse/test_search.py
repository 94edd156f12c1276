"""C-FIND as an SCU: plans that a strictly hierarchical peer understands, and answers that are not as they should be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyFind

from dicomlab import trace
from dicomlab.dimse import association as association_module
from dicomlab.dimse import pdu, tables
from dicomlab.dimse import search as module
from dicomlab.dimse.identifier import encode_query, encode_tree, keys_of
from dicomlab.dimse.node import Node
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import column
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.scripted import Script, playing

EXPLICIT = "1.2.840.10008.1.2.1"


def plan(wire) -> list[str]:
    return [event.text for event in wire if event.direction == "note"]


# --- plans, against our own strictly hierarchical SCP ----------------------------------------------------------------


def test_studies_take_one_request(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("study", PatientID="P1")
    assert found["StudyInstanceUID"].tolist() == ["1.2.3.1"]
    assert found["PatientName"].tolist() == ["Müller^Jürgen"]
    assert found["ModalitiesInStudy"].tolist() == [("CT",)]
    assert found["NumberOfStudyRelatedInstances"].tolist() == [9]
    assert wire.counts()["C-FIND-RQ"] == 1
    assert wire.counts()["A-ASSOCIATE-RQ"] == 1
    assert plan(wire) == []


def test_an_empty_answer_is_complete(filled: Pacs) -> None:
    found = filled.node.find("study", PatientID="NOBODY")
    assert len(found) == 0
    assert found.complete


def test_a_key_of_an_upper_level_is_asked_for_there_first(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("series", PatientID="P2")
    assert found["SeriesInstanceUID"].tolist() == ["1.2.3.2.1", "1.2.3.2.2", "1.2.3.3.1"]
    assert found["PatientID"].tolist() == ["P2"] * 3
    assert wire.counts()["C-FIND-RQ"] == 3
    assert wire.counts()["A-ASSOCIATE-RQ"] == 1
    assert plan(wire) == ["PatientID, StudyInstanceUID stand at the study level, so that level is asked first"]


def test_columns_of_upper_levels_are_filled_from_above(filled: Pacs) -> None:
    found = filled.node.find(
        "instance", Modality="CT", include=["PatientID", "SeriesNumber"], StudyInstanceUID="1.2.3.3"
    )
    assert found["SOPInstanceUID"].tolist() == ["1.2.3.3.1.1", "1.2.3.3.1.2"]
    assert found["PatientID"].tolist() == ["P2"] * 2
    assert found["SeriesNumber"].tolist() == [1, 1]
    assert found["Modality"].tolist() == ["CT", "CT"]


def test_given_unique_keys_save_the_way_down(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("instance", StudyInstanceUID="1.2.3.1", SeriesInstanceUID=["1.2.3.1.1", "1.2.3.1.2"])
    assert len(found) == 4
    assert wire.counts()["C-FIND-RQ"] == 2
    assert plan(wire) == []


def test_lists_of_upper_unique_keys_are_single_valued_in_each_request(filled: Pacs) -> None:
    found = filled.node.find(
        "instance", StudyInstanceUID=["1.2.3.1", "1.2.3.2"], SeriesInstanceUID=["1.2.3.1.1", "1.2.3.2.2", "9.9"]
    )
    assert found["SeriesInstanceUID"].tolist() == ["1.2.3.1.1"] * 2 + ["1.2.3.2.2"] * 2


def test_a_series_without_its_study_is_found_from_the_studies(filled: Pacs) -> None:
    found = filled.node.find("instance", SeriesInstanceUID="1.2.3.2.2")
    assert found["SOPInstanceUID"].tolist() == ["1.2.3.2.2.1", "1.2.3.2.2.2"]


def test_lists_become_the_union_without_doubles(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("study", PatientID=["P1", "P2", "P*"])
    assert found["StudyInstanceUID"].tolist() == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert wire.counts()["C-FIND-RQ"] == 3


def test_long_lists_of_uids_are_asked_in_parts(filled: Pacs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UIDS_PER_REQUEST", 2)
    with trace() as wire:
        found = filled.node.find("study", StudyInstanceUID=["1.2.3.1", "1.2.3.2", "1.2.3.3", "9.1", "9.2"])
    assert len(found) == 3
    assert wire.counts()["C-FIND-RQ"] == 3


def test_patients_are_asked_in_their_own_model(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("patient")
    assert found["PatientID"].tolist() == ["P1", "P2"]
    assert found["NumberOfPatientRelatedStudies"].tolist() == [1, 2]
    assert "Patient Root" in next(e.text for e in wire if e.text.startswith("C-FIND-RQ"))


def test_a_limit_sends_a_cancel_and_says_so(filled: Pacs) -> None:
    with trace() as wire:
        found = filled.node.find("study", limit=1)
    assert (len(found), found.complete) == (1, False)
    assert "limit=1" in found.note
    assert wire.counts()["C-CANCEL-RQ"] == 1
    assert wire.counts()["A-RELEASE-RP"] == 1
    assert len(filled.node.find("study")) == 3


# --- answers that are not as they should be --------------------------------------------------------------------------


def finding(script: Script) -> tuple:
    script.establish()
    return script.message()


def row(study: str) -> bytes:
    return encode_query("study", [(column("StudyInstanceUID"), study)], EXPLICIT)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "A700H Refused: Out of Resources.*narrower range"),
        (0xA900, "A900H Identifier Does Not Match SOP Class.*other|fewer"),
        (0xC001, "C001H Unable to Process"),
        (0x0122, "0122H Refused: SOP Class Not Supported"),
    ],
)
def test_a_failure_is_said_in_the_standards_words(status: int, words: str) -> None:
    def play(script: Script) -> None:
        command, _ = finding(script)
        script.say(command.response(0xFF00, data=True), row("1.2"))
        script.say(command.response(status, ErrorComment="too much"))
        script.release()

    with playing(play) as address, pytest.raises(ServiceError, match=words) as caught:
        Node(address).find("study")
    assert caught.value.status == status
    assert "too much" in str(caught.value)
    assert caught.value.partial["StudyInstanceUID"].tolist() == ["1.2"]


def test_ff01_is_a_note() -> None:
    def play(script: Script) -> None:
        command, _ = finding(script)
        script.say(command.response(0xFF01, data=True), row("1.2"))
        script.say(command.response(0xFF01, data=True), row("1.3"))
        script.say(command.response(0))
        script.release()

    with trace() as wire, playing(play) as address:
        assert len(Node(address).find("study")) == 2
    assert len(plan(wire)) == 1
    assert plan(wire)[0].startswith("FF01H Matches are continuing")


@pytest.mark.parametrize(
    ("data", "words"),
    [(None, "without an Identifier"), (b"\x08\0\x18\0UI\xff\xff12", "announces"), (b"\x08\0", "cut inside")],
)
def test_a_match_that_cannot_be_read_is_a_protocol_error(data: bytes | None, words: str) -> None:
    heard: list[pdu.PDU] = []

    def play(script: Script) -> None:
        command, _ = finding(script)
        script.say(command.response(0xFF00, data=data is not None), data)
        heard.append(script.read())

    with playing(play) as address, pytest.raises(RemoteProtocolError, match=words):
        Node(address).find("study")
    assert isinstance(heard[0], pdu.Abort)


def test_rows_that_arrived_before_the_end_are_kept() -> None:
    def play(script: Script) -> None:
        command, _ = finding(script)
        script.say(command.response(0xFF00, data=True), row("1.2"))
        script.send(pdu.Abort())

    with playing(play) as address, pytest.raises(Interrupted, match="aborted") as caught:
        Node(address).find("study")
    partial = caught.value.partial
    assert (partial["StudyInstanceUID"].tolist(), partial.complete) == (["1.2"], False)


def test_a_peer_without_find_refuses() -> None:
    def play(script: Script) -> None:
        script.answer()
        answers = tuple(pdu.AnsweredContext(c.id, 3, "") for c in script.request.contexts)
        script.send(pdu.AssociateAccept("PACS", "X", answers, script.accept.user))
        script.release()

    with playing(play) as address, pytest.raises(Refused, match="does not offer this service"):
        Node(address).find("study")


def test_patients_of_a_peer_without_patient_root_are_those_of_its_studies() -> None:
    def play(script: Script) -> None:
        request = script.answer()
        answers = tuple(
            pdu.AnsweredContext(
                c.id, 3 if c.abstract_syntax == tables.MODELS["patient", "FIND"] else 0, c.transfer_syntaxes[0]
            )
            for c in request.contexts
        )
        script.send(pdu.AssociateAccept("PACS", "X", answers, script.accept.user))
        command, data = script.message()
        assert dict(keys_of(data, EXPLICIT))[(0x00080052,)] == "STUDY"
        context = next(a.id for a in answers if a.result == 0)
        for patient in ("P1", "P1", "P2"):
            tree = {0x00100020: ("LO", [patient]), 0x00100010: ("PN", ["A^B"])}
            script.say(command.response(0xFF00, data=True), encode_tree(tree, EXPLICIT), context=context)
        script.say(command.response(0), context=context)
        script.release()

    with playing(play) as address:
        found = Node(address).find("patient")
    assert found["PatientID"].tolist() == ["P1", "P2"]
    assert found["NumberOfPatientRelatedStudies"].isna().all()


# --- cancelling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("obeys", [True, False])
def test_a_cancelled_search_keeps_what_arrived(obeys: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not obeys:
        monkeypatch.setattr(association_module, "CANCEL_GRACE_S", 0.2)
    arrived = threading.Event()
    heard: list[str] = []

    def play(script: Script) -> None:
        command, _ = finding(script)
        script.say(command.response(0xFF00, data=True), row("1.2"))
        heard.append(script.message()[0].name)
        if obeys:
            script.say(command.response(0xFE00))
            script.release()
        else:
            assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address:
        operation = Node(address).find("study", background=True, progress=lambda progress: arrived.set())
        assert arrived.wait(5)
        operation.cancel()
        found = operation.result(10)
    assert heard == ["C-CANCEL-RQ"]
    assert (found["StudyInstanceUID"].tolist(), found.complete, found.note) == (["1.2"], False, "cancelled")


# --- pynetdicom as the peer ------------------------------------------------------------------------------------------


@contextmanager
def pynetdicom_scp(rows: int) -> Iterator[str]:
    def handle(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        for number in range(rows):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            answer = Dataset()
            answer.SpecificCharacterSet = "ISO_IR 100"
            answer.QueryRetrieveLevel = event.identifier.QueryRetrieveLevel
            answer.StudyInstanceUID, answer.PatientName = f"1.2.{number + 1}", f"Müller^{number}"
            answer.StudyDate = "20260131"
            yield 0xFF00, answer

    ae = AE("PACS")
    ae.add_supported_context(StudyFind)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handle)])
    try:
        yield f"PACS@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def test_pynetdicom_is_asked() -> None:
    with pynetdicom_scp(20) as address:
        found = Node(address).find("study")
    assert found["StudyInstanceUID"].tolist() == [f"1.2.{n}" for n in range(1, 21)]
    assert found["PatientName"].tolist()[0] == "Müller^0"
    assert str(found["StudyDate"][0])[:10] == "2026-01-31"


def test_pynetdicom_is_cancelled() -> None:
    with pynetdicom_scp(5000) as address:
        found = Node(address).find("study", limit=3)
    assert (len(found), found.complete) == (3, False)


def test_pynetdicom_asks_us(filled: Pacs) -> None:
    ae = AE("LAB1")
    ae.add_requested_context(StudyFind)
    association = ae.associate("127.0.0.1", filled.listener.port, ae_title="PACS")
    assert association.is_established
    query = Dataset()
    query.QueryRetrieveLevel, query.PatientID, query.PatientName, query.StudyInstanceUID = "STUDY", "P2", "", ""
    answers = [(s.Status, i) for s, i in association.send_c_find(query, StudyFind)]
    association.release()
    assert [status for status, _ in answers] == [0xFF00, 0xFF00, 0]
    assert [str(i.PatientName) for _, i in answers[:2]] == ["Müller^Jürgen"] * 2
    assert [i.StudyInstanceUID for _, i in answers[:2]] == ["1.2.3.2", "1.2.3.3"]
