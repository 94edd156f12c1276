"""A person's own functions in the place of what an archive answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab import Archive
from dicomlab.dimse import tables
from dicomlab.dimse.handlers import Asked
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.serving import Conversation, Service, decline
from dicomlab.errors import ServiceError, Unreachable, UsageError
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, instance, write


def test_an_echo_may_fail(start: Callable[..., Pacs]) -> None:
    pacs = start(handlers={"C-ECHO": lambda asked: 0x0110 if asked.caller.ae_title == "LAB1" else 0})
    assert dict(pacs.node.verify().facts)["answered"].startswith("0110H")

    def refuse(asked: Asked) -> int:
        raise ServiceError("closed on Sundays", status=0x0124)

    assert "0124H" in repr(start(handlers={"C-ECHO": refuse}).node.verify())


# --- C-FIND ----------------------------------------------------------------------------------------------------------


def test_answers_are_data_sets_or_values_by_keyword(start: Callable[..., Pacs]) -> None:
    seen: list[Asked] = []

    def answer(asked: Asked) -> Iterator[Any]:
        seen.append(asked)
        yield {"StudyInstanceUID": "1.2.3", "PatientID": "P9", "ModalitiesInStudy": ("CT", "MR")}
        found = Dataset()
        found.StudyInstanceUID, found.PatientName = "1.2.4", "Müller^Jürgen"
        yield found

    pacs = start(handlers={"C-FIND": answer})
    table = pacs.node.find("study", PatientID="P*", progress=False).to_dataframe()
    assert table["StudyInstanceUID"].tolist() == ["1.2.3", "1.2.4"]
    assert table["ModalitiesInStudy"].tolist()[0] == ("CT", "MR")
    assert table["PatientName"].tolist()[1] == "Müller^Jürgen"
    (asked,) = seen
    assert (asked.verb, asked.level, asked.caller.ae_title) == ("C-FIND", "study", "LAB1")
    assert asked.query is not None
    assert asked.query.key("PatientID").text == "P*"  # type: ignore[union-attr]
    assert asked.dataset.PatientID == "P*"
    assert "P*" not in repr(asked)


def test_what_the_archive_would_have_answered_is_at_hand(start: Callable[..., Pacs]) -> None:
    def without_names(asked: Asked) -> Iterator[Any]:
        for one in asked.usual():
            one.PatientName = "Nobody"
            yield one

    pacs = start(*cohort(), handlers={"C-FIND": without_names})
    assert set(pacs.node.find("study", progress=False)["PatientName"]) == {"Nobody"}


@pytest.mark.parametrize(
    ("handler", "status"),
    [
        (lambda asked: [7], 0xC000),
        (lambda asked: 1 / 0, 0x0110),
        (lambda asked: (1 / 0 for _ in "x"), 0x0110),
        (lambda asked: _refuse(), 0xA700),
        (lambda asked: _gone(), 0x0110),  # of whom it passes the question on to
        (lambda asked: [{"Rows": object()}], 0x0110),
    ],
)
def test_a_handler_that_fails_is_a_status(start: Callable[..., Pacs], handler: Any, status: int) -> None:
    pacs = start(handlers={"C-FIND": handler})
    with pytest.raises(ServiceError) as caught:
        pacs.node.find("study", progress=False)
    assert caught.value.status == status
    assert pacs.node.verify()


def _refuse() -> Any:
    raise ServiceError("not today", status=0xA700)


def _gone() -> Any:
    raise Unreachable("nobody listens there", endpoint="OTHER@10.0.0.1:104")


def test_whatever_fails_behind_a_request_is_told_and_the_association_goes_on(start: Callable[..., Pacs]) -> None:
    pacs = start(handlers={name: lambda asked: _gone() for name in ("C-ECHO", "C-GET", "C-MOVE", "N-ACTION")})
    pacs.known["LAB1"] = ("127.0.0.1", 1)
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.StudyInstanceUID = "STUDY", "1.2.3"
    commit = Dataset()
    commit.TransactionUID, reference = "1.2.3", Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = CT, "1.2.3.4"
    commit.ReferencedSOPSequence = [reference]
    action = {"RequestedSOPInstanceUID": tables.COMMITMENT_INSTANCE, "ActionTypeID": 1}
    services = [tables.VERIFICATION, *(tables.MODELS["study", verb] for verb in ("GET", "MOVE")), tables.COMMITMENT]
    with pacs.node.associate(services) as session:
        answers = [
            *session.request("C-ECHO"),
            *session.request("C-GET", identifier),
            *session.request("C-MOVE", identifier),
            *session.request("N-ACTION", commit, sop_class=tables.COMMITMENT, **action),
        ]
    assert [one.fields["Status"] for one in answers] == [0x0110] * 4
    assert {one.fields["ErrorComment"] for one in answers} == {"Unreachable"}


def test_nothing_is_an_answer_too(start: Callable[..., Pacs]) -> None:
    found = start(handlers={"C-FIND": lambda asked: None}).node.find("study", progress=False)
    assert (len(found), found.complete) == (0, True)


# --- C-STORE ---------------------------------------------------------------------------------------------------------


def test_an_instance_is_a_file_while_the_function_runs(start: Callable[..., Pacs]) -> None:
    paths: list[Path] = []

    def take(asked: Asked) -> int:
        assert asked.path is not None
        assert asked.dataset.PatientName == "Müller^Jürgen"
        assert (asked.sop_class_uid, asked.transfer_syntax_uid) == (CT, EXPLICIT)
        paths.append(asked.path)
        return 0x0000 if asked.sop_instance_uid.endswith(".1") else 0xB007

    pacs = start(handlers={"C-STORE": take})
    report = pacs.node.store([instance(1), instance(2)], progress=False)
    assert [(o.result, o.status[:5]) for o in report] == [("done", "0000H"), ("warning", "B007H")]
    assert not any(path.exists() for path in paths)
    assert pacs.holdings.files() == []


def test_a_gateway_may_store_after_all(start: Callable[..., Pacs]) -> None:
    def only_ct(asked: Asked) -> int:
        return asked.usual() if asked.dataset.Modality == "CT" else 0x0124

    pacs = start(handlers={"C-STORE": only_ct})
    report = pacs.node.store([instance(1), instance(2, modality="MR")], progress=False)
    assert [o.result for o in report] == ["done", "failed"]
    assert [path.name for path in pacs.holdings.files()] == ["1.2.3.1.1.1.dcm"]


# --- C-GET, C-MOVE ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "move"])
def test_what_is_sent_may_come_from_anywhere(start: Callable[..., Pacs], tmp_path: Path, method: str) -> None:
    seen: list[Asked] = []
    (path,) = write(tmp_path / "elsewhere", instance(1))

    def send(asked: Asked) -> Iterator[Any]:
        seen.append(asked)
        yield path
        yield instance(2)

    def found(asked: Asked) -> Iterator[Any]:
        for number in (1, 2):
            yield {
                "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.1.1", "SOPClassUID": CT,
                "SOPInstanceUID": f"1.2.3.1.1.{number}",
            }  # fmt: skip

    from dicomlab import Node
    from tests.peers.processes import free_port

    pacs = start(handlers={"C-GET": send, "C-MOVE": send, "C-FIND": found})
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    node = Node(str(pacs.node.address), me=f"LAB1:{port}", extended=["relational"])
    report = node.find("instance", progress=False).retrieve(tmp_path / "got", method=method, progress=False)
    assert report.complete
    assert report.count("done") == 2
    assert seen[0].verb == f"C-{method.upper()}"
    assert seen[0].destination == ("LAB1" if method == "move" else "")
    assert set(seen[0].uids) <= {"1.2.3.1.1.1", "1.2.3.1.1.2", "1.2.3.1.1"}


def test_what_can_t_be_sent_fails_the_retrieve(start: Callable[..., Pacs], tmp_path: Path) -> None:
    (tmp_path / "no.dcm").write_bytes(b"nothing")
    pacs = start(*cohort(), handlers={"C-GET": lambda asked: tmp_path / "no.dcm"})
    report = pacs.node.find("instance", StudyInstanceUID="1.2.3.2", progress=False).retrieve(
        tmp_path / "got", method="get", progress=False
    )
    assert report.count("failed") == 4
    assert "C000H" in report.outcomes[0].status


# --- the table -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handlers", [{"C-MOVE-RQ": print}, {"N-GET": print}, {"C-FIND": 7}])
def test_a_handler_of_what_there_is_not(handlers: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="handlers"):
        Archive(handlers=handlers)


def test_another_module_adds_a_service(start: Callable[..., Pacs]) -> None:
    """The seam of the workflow services: a SOP Class, the requests of it, and who answers."""
    worklist = "1.2.840.10008.5.1.4.31"
    seen = threading.Event()

    def answer(conversation: Conversation, message: Any) -> None:
        assert conversation.caller.ae_title == "LAB1"
        seen.set()
        decline(conversation.association, message, 0)

    pacs = start(services=[Service(sop_classes=(worklist,), requests=("C-FIND-RQ",), answer=answer)])
    with pacs.node._peer.associate([Proposal(worklist, (IMPLICIT,))]) as association:
        (context,) = association.contexts.values()
        number = association.request(context, "C-FIND-RQ", b"", Priority=0)
        assert association.answer("C-FIND-RSP", number).command.status == 0
        number = association.request(context, "N-GET-RQ")
        assert association.answer("N-GET-RSP", number).command.status == 0x0211
        number = association.request(context, "C-GET-RQ")
        assert association.answer("C-GET-RSP", number).command.status == 0x0122
    assert seen.is_set()
