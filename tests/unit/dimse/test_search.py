"""C-FIND as an SCU: plans that a strictly hierarchical peer understands, and answers that are not as they should be."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta

import pytest
from pydicom import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyFind

from dicomlab import trace
from dicomlab.dimse import association as association_module
from dicomlab.dimse import pdu, tables
from dicomlab.dimse import search as module
from dicomlab.dimse.association import Association
from dicomlab.dimse.handlers import Asked
from dicomlab.dimse.identifier import encode_query, encode_tree, keys_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.node import Node
from dicomlab.dimse.splitting import MOST_PARTS_DEEP
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.columns import column
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.holdings import instance
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
        found = Node(address).find("study")
    assert len(found) == 2
    assert found.complete
    assert "FF01H" in found.warnings["problem"][0]
    assert "FF01H" in repr(found)
    assert len(plan(wire)) == 1
    assert "FF01H Matches are continuing" in plan(wire)[0]


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


def test_cancelled_at_row_10_of_5000_and_usable_after(start: Callable[..., Pacs]) -> None:
    tenth, cancelled = threading.Event(), threading.Event()
    given: list[int] = []

    def rows(asked: Asked) -> Iterator[dict[str, str]]:
        for number in range(5000):
            if number == 10:
                assert cancelled.wait(10)  # it goes on once the C-CANCEL is on its way
            given.append(number)
            yield {"StudyInstanceUID": f"1.2.{number + 1}", "PatientName": f"Müller^{number}"}

    node = start(handlers={"C-FIND": rows}).node
    with trace() as wire:
        operation = node.find("study", background=True, progress=lambda now: tenth.set() if now.done == 10 else None)
        assert tenth.wait(10)
        operation.cancel()
        cancelled.set()
        found = operation.result(10)
    assert found["StudyInstanceUID"].tolist() == [f"1.2.{number + 1}" for number in range(10)]
    assert (found.complete, found.note) == (False, "cancelled")
    assert (wire.counts()["C-CANCEL-RQ"], wire.counts()["A-ABORT"], wire.counts()["A-RELEASE-RQ"]) == (1, 0, 1)
    assert len(given) <= 11
    again = node.find("study", limit=20, progress=False)
    assert len(again) == 20


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


# --- peers with habits of their own ----------------------------------------------------------------------------------

Study = dict[str, str]


def studies(count: int) -> list[Study]:
    """Studies over some years; many on one day, some without a date."""
    chance = random.Random(count)
    made = []
    for number in range(count):
        day = date(2015, 1, 1) + timedelta(days=chance.randrange(3000))
        day = date(2020, 2, 29) if number % 3 == 0 else day
        made.append({
            "StudyInstanceUID": f"1.2.{number}", "StudyDate": f"{day:%Y%m%d}", "StudyTime": f"{chance.randrange(24):02}3000",
            "StudyID": str(number % 2), "PatientName": "Müller^Jürgen",
        })  # fmt: skip
    return made


class Habits:
    """A peer that matches dates, times, UIDs and Study IDs, each in its own way; one association."""

    def __init__(
        self, held: list[Study], *, most: int = 10**9, refuses: bool = False, lists: str = "taken",
        ends: int = 0, unmatched: bool = False,
    ) -> None:  # fmt: skip
        self.held, self.most, self.refuses, self.lists, self.ends, self.unmatched = (
            held, most, refuses, lists, ends, unmatched,
        )  # fmt: skip
        self.asked: list[dict[str, str]] = []

    def matches(self, one: Study, keys: dict[str, str]) -> bool:
        for name, text in keys.items():
            value = one.get(name, "")
            if not text or name not in one or (self.unmatched and name == "StudyID"):
                continue
            if name in ("StudyDate", "StudyTime"):
                start, dash, end = text.partition("-")
                if not (start <= value and (value <= end or not end) if dash else value == text):
                    return False
            elif "\\" in text and self.lists != "taken":
                if self.lists == "first" and value != text.split("\\")[0]:
                    return False
                if self.lists == "nothing":
                    return False
            elif "*" not in text and value not in text.split("\\"):
                return False
        return True

    def __call__(self, script: Script) -> None:
        script.establish()
        with suppress(AssertionError):  # the release
            while True:
                command, data = script.message()
                names = {column(name).path: name for name in self.held[0]}
                keys = {names[path]: text for path, text in keys_of(data, EXPLICIT) if path in names}
                self.asked.append(keys)
                found = [one for one in self.held if self.matches(one, keys)]
                if "\\" in keys["StudyInstanceUID"] and self.lists == "refused":
                    script.say(command.response(0xA900, ErrorComment="no lists"))
                    continue
                if self.refuses and len(found) > self.most:
                    script.say(command.response(0xA700))
                    continue
                for one in found[: self.most]:
                    answer = [(column(name), text) for name, text in one.items()]
                    status = 0xFF01 if self.unmatched else 0xFF00
                    script.say(command.response(status, data=True), encode_query("study", answer, EXPLICIT))
                script.say(command.response(self.ends if len(found) > self.most else 0))
        script.send(pdu.ReleaseReply())


@pytest.mark.parametrize("refuses", [False, True])
@pytest.mark.parametrize("count", [450, 1500])
def test_what_is_refused_or_cut_off_is_asked_by_date(count: int, refuses: bool) -> None:
    habits = Habits(studies(count), most=100, refuses=refuses)
    with trace() as wire, playing(habits) as address:
        found = Node(address).find("study")
    assert sorted(found["StudyInstanceUID"]) == sorted(one["StudyInstanceUID"] for one in habits.held)
    assert found.complete
    (told,) = found.warnings["problem"]
    assert ("refused the whole (A700H)" in told) if refuses else ("at most 100 rows" in told)
    assert ("without a Study Date" in told) == refuses
    assert any(told in text for text in plan(wire))


def test_a_round_number_of_rows_is_looked_at_twice_and_no_more() -> None:
    habits = Habits(studies(200))
    with playing(habits) as address:
        found = Node(address).find("study", StudyDate=("2015-01-01", None))
    assert len(found) == 200
    assert found.complete
    assert list(found.warnings["problem"]) == []
    assert len(habits.asked) == 3


@pytest.mark.parametrize("dated", [True, False])
def test_a_peer_that_passes_over_dates_is_not_asked_for_ever(dated: bool) -> None:
    held = [one if dated else {"StudyInstanceUID": one["StudyInstanceUID"], "StudyID": "1"} for one in studies(100)]
    habits = Habits(held)
    habits.matches = lambda one, keys: True  # type: ignore[method-assign]
    with playing(habits) as address:
        found = Node(address).find("study")
    assert len(found) == 100
    assert len(habits.asked) <= MOST_PARTS_DEEP + 2
    assert "passes over ranges of Study Date" in " ".join(found.warnings["problem"])


class Inventive(Habits):
    """A peer that has a round number of new studies for whatever it is asked; or refuses all but single days."""

    made = 0

    def matches(self, one: Study, keys: dict[str, str]) -> bool:
        start, _, end = keys["StudyDate"].partition("-")
        self.made += 1
        one.update(StudyInstanceUID=f"9.{self.made}", StudyDate=start or end or "20200229", StudyTime="")
        return not self.refuses or "-" in keys["StudyDate"]


@pytest.mark.parametrize("refuses", [False, True])
def test_a_peer_that_has_something_new_for_each_part_is_asked_so_often_and_no_more(
    refuses: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dicomlab.dimse.search.MOST_PARTS", 60)
    habits = Inventive(studies(100), most=99 if refuses else 10**9, refuses=refuses)
    with playing(habits) as address:
        found = Node(address).find("study", StudyDate=("2015-01-01", "2024-12-31"), progress=False)
    assert len(habits.asked) == 61
    assert len(found) == (0 if refuses else 100 * len(habits.asked))
    assert not found.complete
    assert "in each of 60 parts" in found.note


def test_a_range_is_kept_within_and_what_cannot_be_cut_further_is_said() -> None:
    held = [one | {"StudyDate": "20200229", "StudyTime": "101010"} for one in studies(300)]
    habits = Habits(held + [one | {"StudyDate": "20210301", "StudyInstanceUID": "9.9"} for one in held[:1]], most=128)
    with playing(habits) as address:
        found = Node(address).find("study", StudyDate=("2020-01-01", "2021-12-31"))
    assert len(found) == 129
    assert not found.complete
    assert "at most 128 rows" in found.note
    assert all("2020" <= text[:4] <= "2021" for asked in habits.asked for text in [asked["StudyDate"]])


def test_refused_and_not_to_be_cut_is_an_error() -> None:
    habits = Habits(studies(50), most=10, refuses=True)
    with playing(habits) as address, pytest.raises(ServiceError, match=r"A700H.*narrower range") as caught:
        Node(address).find("study", StudyInstanceUID=[one["StudyInstanceUID"] for one in habits.held])
    assert caught.value.status == 0xA700


def test_a_limit_that_the_peer_admits_makes_the_cohort_incomplete() -> None:
    habits = Habits(studies(50), most=13, ends=0xB001)
    with playing(habits) as address:
        found = Node(address).find("study")
    assert (len(found), found.complete) == (13, False)
    assert "B001H" in found.note


@pytest.mark.parametrize("lists", ["taken", "passed over", "first", "nothing", "refused"])
def test_lists_of_uids_have_one_answer_whatever_the_peer_makes_of_them(lists: str) -> None:
    habits = Habits(studies(30), lists=lists)
    wanted = ["1.2.7", "1.2.9", "9.9", "1.2.21"]
    with playing(habits) as address:
        found = Node(address).find("study", StudyInstanceUID=wanted)
    assert sorted(found["StudyInstanceUID"]) == ["1.2.21", "1.2.7", "1.2.9"]
    assert found.complete
    told = " ".join(found.warnings["problem"])
    expected = {"taken": "", "passed over": "passed over a list", "first": "by itself", "nothing": "by itself",
                "refused": "by itself"}  # fmt: skip
    assert expected[lists] in told
    assert bool(told) == (lists != "taken")
    assert len(habits.asked) == {"taken": 1, "passed over": 1}.get(lists, 4 if lists == "first" else 5)


@pytest.mark.parametrize("lists", ["taken", "first", "nothing", "refused"])
def test_a_list_whose_ends_are_not_there_hides_nothing_of_its_middle(lists: str) -> None:
    habits = Habits(studies(30), lists=lists)
    with playing(habits) as address:
        found = Node(address).find("study", StudyInstanceUID=["9.1", "9.2", "1.2.7", "9.3", "1.2.9", "9.4"])
    assert sorted(found["StudyInstanceUID"]) == ["1.2.7", "1.2.9"]


def test_a_list_of_what_is_not_there_costs_a_few_questions_more_and_is_told() -> None:
    habits = Habits(studies(3))
    with playing(habits) as address:
        found = Node(address).find("study", StudyInstanceUID=[f"9.{n}" for n in range(240)])
    assert len(found) == 0
    assert found.complete
    assert len(habits.asked) == 3 + 16 + 2 + 2  # in each of three parts the list, then some of it by themselves
    assert [len(one["StudyInstanceUID"].split("\\")) for one in habits.asked[:3]] == [100, 1, 1]
    assert {"9.0", "9.99"} <= {one["StudyInstanceUID"] for one in habits.asked}
    assert any("none of 16 others" in text for text in found.warnings["problem"])


def test_what_a_peer_does_not_match_is_matched_here() -> None:
    habits = Habits(studies(30), unmatched=True)
    with playing(habits) as address:
        found = Node(address).find("study", StudyID="1", PatientName="MÜLLER*")
    assert len(found) == 15
    assert set(found["StudyID"]) == {"1"}
    assert any("15 rows that do not match" in text for text in found.warnings["problem"])


def test_a_table_keeps_what_concerns_the_whole_of_it_when_it_is_cut() -> None:
    with playing(Habits(studies(3), unmatched=True)) as address:
        found = Node(address).find("study", StudyID="1")
    assert "FF01H" in found[:1].warnings["problem"].tolist()[0]
    assert found.warnings["row"].isna().all()


def test_much_to_be_looked_below_is_looked_at_over_a_few_associations(start: Callable[..., Pacs]) -> None:
    held = [instance(i, study=f"1.2.{n}", series=f"1.2.{n}.1") for n in range(1, 14) for i in (1, 2)]
    pacs = start(*held)
    with trace() as wire:
        found = pacs.node.find("series", PatientID="P1")
    assert wire.counts()["A-ASSOCIATE-RQ"] == 3
    assert wire.counts()["A-RELEASE-RQ"] == 3
    alone = [pacs.node.find("series", StudyInstanceUID=uid)["SeriesInstanceUID"].tolist() for uid in
             pacs.node.find("study")["StudyInstanceUID"]]  # fmt: skip
    assert found["SeriesInstanceUID"].tolist() == [uid for uids in alone for uid in uids]
    assert found.complete
    cut = pacs.node.find("series", PatientID="P1", limit=3)
    assert (len(cut), cut.complete) == (3, False)


def test_a_peer_that_takes_one_association_is_asked_over_one(
    start: Callable[..., Pacs], monkeypatch: pytest.MonkeyPatch
) -> None:
    pacs = start(*(instance(1, study=f"1.2.{n}", series=f"1.2.{n}.1") for n in range(1, 12)))
    real, asked = Peer.associate, itertools.count()

    def once(self: Peer, proposals: list[Proposal]) -> Association:
        if next(asked):
            raise Refused("local limit exceeded", endpoint="PACS")
        return real(self, proposals)

    monkeypatch.setattr(Peer, "associate", once)
    with trace() as wire:
        found = pacs.node.find("series", PatientID="P1")
    assert len(found) == 11
    assert any("no further association" in text for text in plan(wire))
