"""An association by hand."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from dicomlab.dimse.byhand import state_table
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
        (answer,) = s.request("C-ECHO")
        assert (answer.status, answer.dataset, answer.message) == ("0000H Success", None, "C-ECHO-RSP")
        assert answer.fields["MessageIDBeingRespondedTo"] == 1
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
        ("C-SEND", None, {}, "no request of this kind"),
        ("C-CANCEL", None, {}, "no request of this kind"),
        ("N-GET", None, {}, "needs the SOP Class"),
        ("N-GET", Dataset(), {}, "without a data set"),
        ("N-SET", None, {}, "with a data set"),
        ("C-ECHO", None, {"sop_class": "Nonsense"}, "neither a UID"),
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


def test_each_step_of_the_state_machine_is_told(filled: Pacs) -> None:
    with filled.node.associate() as s:
        s.request("C-ECHO")
        s.request("C-ECHO")
        s.release()
        steps = s.history
    assert steps["event"].str.split().str[0].tolist() == [
        "Evt1", "Evt2", "Evt3", "Evt9", "Evt10", "Evt9", "Evt10", "Evt11", "Evt13"
    ]  # fmt: skip
    assert steps["action"].tolist() == ["AE-1", "AE-2", "AE-3", "DT-1", "DT-2", "DT-1", "DT-2", "AR-1", "AR-3"]
    assert steps["state"].tolist()[1:] == steps["next state"].tolist()[:-1]
    table = state_table()
    assert table.shape == (19, 13)
    for row in steps.itertuples():
        assert table.loc[row.event, row.state] == row.action


def test_a_get_by_hand_answers_each_store(filled: Pacs) -> None:
    with filled.node.associate(scp=True) as s:
        wanted = study_query(StudyInstanceUID="1.2.3.2")
        s.send("C-GET", wanted)
        got = []
        while (message := s.receive()).message == "C-STORE-RQ" or message.status.startswith("FF00H"):
            if message.message == "C-STORE-RQ":
                with pytest.raises(UsageError, match="waits for its answer"):
                    s.receive()
                got.append(str(message.dataset.SOPInstanceUID))
                s.respond(0xB007 if len(got) == 1 else 0)
        assert message.status.startswith("B000H")
        assert message.fields["NumberOfWarningSuboperations"] == 1
        assert message.fields["NumberOfCompletedSuboperations"] == 3
        assert len(got) == 4
        with pytest.raises(UsageError, match="asked nothing"):
            s.respond()
        every = s.request("C-GET", wanted)
        assert [one.message for one in every].count("C-STORE-RQ") == 4
        assert every[-1].status.startswith("0000H")


def test_a_search_is_cancelled_by_hand(filled: Pacs) -> None:
    with filled.node.associate() as s:
        with pytest.raises(UsageError, match="nothing is going on"):
            s.cancel()
        s.send("C-FIND", study_query())
        s.cancel()
        last = s.receive()
        while last.status.startswith("FF"):
            last = s.receive()
        assert last.status[:5] in ("FE00H", "0000H")  # it may have been done before
        assert s.request("C-ECHO")[0].status.startswith("0000H")


def test_a_move_and_a_commitment_by_hand(filled: Pacs) -> None:
    contexts = ["StudyRootQueryRetrieveInformationModelMove", "StorageCommitmentPushModel"]
    with filled.node.associate(contexts) as s:
        assert s.request("C-MOVE", study_query(StudyInstanceUID="1.2.3.2"))[0].status.startswith("A801H")
        asked, one = Dataset(), Dataset()
        asked.TransactionUID = "1.2.9"
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = CT, "1.2.3.2.1.1"
        asked.ReferencedSOPSequence = [one]
        (answer,) = s.request(
            "N-ACTION", asked, sop_class="StorageCommitmentPushModel", ActionTypeID=1,
            RequestedSOPInstanceUID="1.2.840.10008.1.20.1.1",
        )  # fmt: skip
        assert answer.status.startswith("0000H")


def test_a_wrong_field_of_an_answer(filled: Pacs) -> None:
    with filled.node.associate(scp=True) as s:
        s.send("C-GET", study_query(StudyInstanceUID="1.2.3.2"))
        while s.receive().message != "C-STORE-RQ":
            pass
        with pytest.raises(UsageError, match="no command element"):
            s.respond(0, Colour=1)
        s.abort()
