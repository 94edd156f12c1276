"""An association by hand."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from dicomlab.dimse.node import Node
from dicomlab.errors import Interrupted, Refused, UsageError
from tests.unit.dimse.conftest import Pacs
from tests.unit.dimse.holdings import CT, EXPLICIT, IMPLICIT, JPEG, MR, instance


def study_query(**keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", ""
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def test_state_contexts_requests_and_release(filled: Pacs) -> None:
    with filled.node.associate() as s:
        assert s.state.startswith("Sta6")
        assert "127.0.0.1" in repr(s)
        assert s.request("C-ECHO") == [("0000H Success", None)]
        answers = s.request("C-FIND", study_query(PatientID="P2", PatientName="Mü*"))
        assert [a.status[:5] for a in answers] == ["FF00H", "FF00H", "0000H"]
        assert answers[0].dataset.PatientName == "Müller^Jürgen"
        patients = Dataset()
        patients.QueryRetrieveLevel, patients.PatientID = "PATIENT", ""
        assert len(s.request("C-FIND", patients)) == 3
        s.release()
        assert s.state.startswith("Sta1")


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_an_instance_goes_in_the_syntax_that_was_accepted(filled: Pacs, syntax: str) -> None:
    new = instance(9, series="1.2.3.9.1", study="1.2.3.9")
    with filled.node.associate([("CTImageStorage", [syntax])]) as s:
        assert s.request("C-STORE", new, Priority=1)[0].status == "0000H Success"
    assert filled.node.find("study", StudyInstanceUID="1.2.3.9")["PatientID"].tolist() == ["P1"]


def test_contexts_are_a_table_of_asked_and_answered(filled: Pacs) -> None:
    with filled.node.associate(["Verification", (CT, [JPEG, EXPLICIT]), ("1.2.3.4", [IMPLICIT])]) as s:
        table = s.contexts
    assert table["id"].tolist() == [1, 3, 5]
    assert table["abstract syntax"].tolist() == ["Verification SOP Class", "CT Image Storage", "1.2.3.4"]
    assert table["accepted"].tolist()[:2] == ["Explicit VR Little Endian", "JPEG Baseline (Process 1)"]
    assert table["accepted"].isna().tolist() == [False, False, True]


def test_send_and_receive_apart(filled: Pacs) -> None:
    with filled.node.associate() as s:
        assert s.send("C-ECHO-RQ") == 1
        assert s.receive().status == "0000H Success"
        with pytest.raises(UsageError, match="no answer is due"):
            s.receive()


def test_abort(filled: Pacs) -> None:
    with filled.node.associate() as s:
        s.abort()
        assert s.state.startswith("Sta1")
        with pytest.raises(Interrupted, match="has ended"):
            s.request("C-ECHO")


@pytest.mark.parametrize(
    ("command", "dataset", "fields", "words"),
    [
        ("C-MOVE", None, {}, "no request of this kind"),
        ("C-ECHO", Dataset(), {}, "without a data set"),
        ("C-FIND", None, {}, "with a data set"),
        ("C-FIND", Dataset(), {}, "QueryRetrieveLevel"),
        ("C-ECHO", None, {"Colour": 1}, "no command element"),
    ],
)
def test_a_request_that_cannot_be(
    filled: Pacs, command: str, dataset: Dataset | None, fields: dict[str, int], words: str
) -> None:
    with filled.node.associate() as s, pytest.raises(UsageError, match=words):
        s.request(command, dataset, **fields)


def test_a_context_that_was_not_accepted(filled: Pacs) -> None:
    with filled.node.associate([CT]) as s, pytest.raises(Refused, match="MR Image Storage"):
        s.request("C-STORE", instance(1, sop_class=MR))


@pytest.mark.parametrize("contexts", ["Verification", ["Verify"], [("CTImageStorage", ["JPEG"])]])
def test_contexts_that_cannot_be_are_said_before_anything_is_sent(contexts: object) -> None:
    with pytest.raises(UsageError):
        Node("PACS@pacs.invalid").associate(contexts)  # type: ignore[arg-type]
