"""Our SCP, asked by our own association and by a script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from dicomlab.dimse import pdu, tables
from dicomlab.dimse.association import Association, Message
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_query, keys_of
from dicomlab.dimse.negotiation import Proposal
from dicomlab.dimse.reception import receiving
from dicomlab.dimse.storage import send_instance
from dicomlab.errors import Interrupted, RemoteProtocolError, ServiceError
from dicomlab.model.columns import column
from dicomlab.part10.files import Parcel, parcels
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import BIG_ENDIAN, CT, EXPLICIT, IMPLICIT, JPEG, MR, FolderHoldings, instance

FIND, GET, MOVE = (tables.MODELS["study", verb] for verb in ("FIND", "GET", "MOVE"))


def associate(pacs: Pacs, *proposals: Proposal) -> Association:
    models = [Proposal(uid, (EXPLICIT,)) for uid in (tables.VERIFICATION, FIND, GET, MOVE)]
    return pacs.node._peer.associate([*models, *proposals])


def ask(
    association: Association, verb: str, level: str = "study", cancel_at: int = -1, **keys: str
) -> tuple[list[Message], bytes]:
    """Ask, take no sub-operations, and give every response."""
    context = association.context_for({"FIND": FIND, "GET": GET, "MOVE": MOVE}[verb])
    assert context is not None
    fields = {"MoveDestination": keys.pop("to")} if verb == "MOVE" else {}
    names = {"study": "StudyInstanceUID", "series": "SeriesInstanceUID", "instance": "SOPInstanceUID"}
    found = [(column(names.get(name, name)), text) for name, text in keys.items()]
    data = encode_query(level, found, EXPLICIT)  # type: ignore[arg-type]
    number = association.request(context, f"C-{verb}-RQ", data, Priority=0, **fields)
    responses: list[Message] = []
    while True:
        message = association.receive()
        assert message is not None
        if message.command.name == "C-STORE-RQ":
            for _ in association.fragments():
                pass
            association.send(message.context, message.command.response(0))
            continue
        responses.append(message)
        if len(responses) == cancel_at:
            association.cancel(context, number)
        if message.command.status not in tables.PENDING:
            association.cancel_ended()
            return responses, association.data() if message.command.has_data else b""


def test_an_echo_and_what_we_do_not_know(filled: Pacs) -> None:
    with associate(filled) as association:
        context = association.contexts[1]
        for name, status in (("C-ECHO", 0), ("N-GET", 0x0211), ("C-STORE", 0x0211), ("C-FIND", 0x0122)):
            number = association.request(context, f"{name}-RQ")
            assert association.answer(f"{name}-RSP", number).command.status == status
        association.send(context, Command.of("C-CANCEL-RQ", MessageIDBeingRespondedTo=9))
        number = association.request(context, "C-ECHO-RQ")
        assert association.answer("C-ECHO-RSP", number).command.status == 0


def test_a_response_where_a_request_is_due_is_aborted(filled: Pacs) -> None:
    with associate(filled) as association:
        association.send(association.contexts[1], Command.of("C-ECHO-RSP", MessageIDBeingRespondedTo=1, Status=0))
        with pytest.raises(Interrupted, match="aborted"):
            association.receive()


# --- storage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Interrupted("no space left", endpoint="/store"), 0xA700),
        (OSError("no space left"), 0xA700),
        (ServiceError("duplicate", status=0x0111), 0x0111),
        (ServiceError("refused", status=0), 0xC000),
        (RemoteProtocolError("cut", section="PS3.5 §7"), 0xC000),
    ],
)
def test_what_goes_wrong_in_the_store_is_a_status(start: Callable[..., Pacs], error: Exception, status: int) -> None:
    pacs = start()
    with associate(pacs, Proposal(CT, (EXPLICIT,))) as association:
        context = association.context_for(CT)
        assert context is not None
        pacs.holdings.refuse = error
        answered, comment = send_instance(association, context, "1.2.3", bytes(300_000))
        assert answered == status
        assert "/store" not in comment
        pacs.holdings.refuse = None
        assert send_instance(association, context, "1.2.3", b"\x08\0\x18\0UI\4\x001.2\0")[0] == 0
    assert [path.name for path in pacs.holdings.files()] == ["1.2.3.dcm"]


@pytest.mark.parametrize("uid", ["../escaped", "1.2.3/../4", "", "1.2\\1.3"])
def test_what_is_no_uid_never_becomes_a_name(start: Callable[..., Pacs], uid: str) -> None:
    pacs = start()
    with associate(pacs, Proposal(CT, (EXPLICIT,))) as association:
        context = association.context_for(CT)
        assert context is not None
        status, _ = send_instance(association, context, uid, b"")
        assert status == 0xC000
    assert pacs.holdings.files() == []
    assert [p.name for p in pacs.holdings.folder.parent.iterdir()] == ["pacs0"]


def test_half_an_instance_leaves_nothing(start: Callable[..., Pacs]) -> None:
    pacs = start()
    with associate(pacs, Proposal(CT, (EXPLICIT,))) as association:
        context = association.context_for(CT)
        assert context is not None
        command = Command.of(
            "C-STORE-RQ", data=True, MessageID=1, Priority=0, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.3"
        )
        from dicomlab.dimse.command import encode_command

        octets = encode_command(command)
        head = pdu.data_header(context.id, 3, len(octets)) + octets
        association._transmit(head, pdu.data_header(context.id, 0, 1000) + bytes(1000))
        association.abort()
    pacs.listener.close()
    assert list(pacs.holdings.folder.iterdir()) == []


def test_the_sink_is_told_who_sends(start: Callable[..., Pacs]) -> None:
    pacs = start()
    with associate(pacs, Proposal(CT, (EXPLICIT,))) as association:
        context = association.context_for(CT)
        assert context is not None
        assert send_instance(association, context, "1.2.3", b"\x08\0\x18\0UI\4\x001.2\0")[0] == 0
    assert pacs.holdings.sources == ["LAB1"]


# --- C-FIND ----------------------------------------------------------------------------------------------------------


def test_a_search_gives_its_matches_then_success(filled: Pacs) -> None:
    with associate(filled) as association:
        context = association.context_for(FIND)
        assert context is not None
        number = association.request(
            context, "C-FIND-RQ", encode_query("study", [(column("PatientID"), "P2")], EXPLICIT)
        )
        statuses = []
        for _ in range(3):
            command = association.answer("C-FIND-RSP", number).command
            statuses.append(command.status)
            if command.has_data:
                found = dict(keys_of(association.data(), EXPLICIT))
                assert found == {(0x00080052,): "STUDY", (0x00080054,): "PACS", (0x00100020,): "P2"}
        assert statuses == [0xFF00, 0xFF00, 0]


def test_keys_that_we_do_not_match_are_ff01(filled: Pacs) -> None:
    with associate(filled) as association:
        responses, _ = ask(association, "FIND", study="", Rows="")
        assert [m.command.status for m in responses] == [0xFF01] * 3 + [0]


def test_a_bad_identifier_is_a900_with_a_comment_and_the_association_goes_on(filled: Pacs) -> None:
    with associate(filled) as association:
        responses, _ = ask(association, "FIND", level="series")
        assert [m.command.status for m in responses] == [0xA900]
        assert "StudyInstanceUID" in responses[0].command.text("ErrorComment")
        assert ask(association, "FIND", study="1.2.3.1")[0][-1].command.status == 0


def test_a_search_is_cancelled_in_the_middle(start: Callable[..., Pacs]) -> None:
    pacs = start(*(instance(1, study=f"1.2.{n}", series=f"1.2.{n}.1") for n in range(1, 60)))
    seen = threading.Event()

    class Slow(FolderHoldings):
        def search(self, query):
            for n, match in enumerate(super().search(query)):
                if n == 5:
                    seen.wait(10)  # until the C-CANCEL is on its way
                yield match

    pacs.holdings.__class__ = Slow
    with associate(pacs) as association:
        context = association.context_for(FIND)
        assert context is not None
        number = association.request(context, "C-FIND-RQ", encode_query("study", [], EXPLICIT))
        association.answer("C-FIND-RSP", number)
        association.cancel(context, number)
        seen.set()
        count = 1
        while (command := association.answer("C-FIND-RSP", number).command).status in tables.PENDING:
            count += 1
        association.cancel_ended()
        assert command.status == 0xFE00
        assert count < 59


def test_a_cancel_of_something_else_ends_nothing(filled: Pacs) -> None:
    cancel = encode_command(Command.of("C-CANCEL-RQ", MessageIDBeingRespondedTo=77))
    find = encode_command(Command.of("C-FIND-RQ", data=True, MessageID=5, AffectedSOPClassUID=FIND, Priority=0))
    data = encode_query("study", [(column("StudyInstanceUID"), "")], EXPLICIT)
    with associate(filled) as association:
        context = association.context_for(FIND)
        assert context is not None
        asked = [(pdu.COMMAND | pdu.LAST, find), (pdu.LAST, data)]
        for values in (asked, [(pdu.COMMAND | pdu.LAST, cancel)]):
            association.send_pdu(pdu.DataTransfer(tuple(pdu.PDV(context.id, *one) for one in values)))
        statuses: list[int] = []
        while not statuses or statuses[-1] in tables.PENDING:
            statuses.append(association.answer("C-FIND-RSP", 5).command.status)
        assert statuses == [0xFF00] * 3 + [0]


# --- C-GET -----------------------------------------------------------------------------------------------------------


def counts(message: Message) -> tuple[int, int, int, int]:
    names = ("Remaining", "Completed", "Failed", "Warning")
    return tuple(message.command.number(f"NumberOf{name}Suboperations", -1) for name in names)  # type: ignore[return-value]


def test_get_counts_its_suboperations(filled: Pacs) -> None:
    with associate(filled, Proposal(CT, (EXPLICIT,), scp=True)) as association:
        responses, _ = ask(association, "GET", study="1.2.3.2")
        assert [m.command.status for m in responses] == [0xFF00] * 4 + [0]
        assert [counts(m) for m in responses] == [(3, 1, 0, 0), (2, 2, 0, 0), (1, 3, 0, 0), (0, 4, 0, 0), (-1, 4, 0, 0)]


def test_get_recodes_what_is_uncompressed_and_names_what_it_cannot_send(filled: Pacs) -> None:
    classes = {one.SOPClassUID for one in cohort()} - {MR}
    proposals = [Proposal(uid, (EXPLICIT,), scp=True) for uid in classes]
    with associate(filled, *proposals) as association:
        responses, data = ask(association, "GET", level="series", study="1.2.3.1", series="1.2.3.1.3")
        final = responses[-1]
        assert final.command.status == 0xB000
        assert counts(final) == (-1, 3, 2, 0)
        assert final.command.text("ErrorComment")
        failed = dict(keys_of(data, EXPLICIT))[(FAILED_SOP_INSTANCE_UID_LIST,)].split("\\")
        assert failed == ["1.2.3.1.3.1", "1.2.3.1.3.4"]  # JPEG without its context, MR without any


def test_get_without_the_role_sends_nothing(filled: Pacs) -> None:
    with associate(filled, Proposal(CT, (EXPLICIT,))) as association:
        responses, data = ask(association, "GET", study="1.2.3.3")
        assert responses[-1].command.status == 0xA702
        assert counts(responses[-1]) == (-1, 0, 2, 0)
        assert b"1.2.3.3.1.2" in data


def test_get_of_nothing_is_a_success(filled: Pacs) -> None:
    with associate(filled, Proposal(CT, (EXPLICIT,), scp=True)) as association:
        responses, _ = ask(association, "GET", study="9.9")
        assert [m.command.status for m in responses] == [0]
        # an instance of another study is not below this one
        responses, _ = ask(association, "GET", level="series", study="1.2.3.2", series="1.2.3.1.1")
        assert counts(responses[-1]) == (-1, 0, 0, 0)


@pytest.mark.parametrize(("patient", "status", "completed"), [("P2", 0, 4), ("P1", 0, 0), ("P*", 0xA900, None)])
@pytest.mark.parametrize("level", ["STUDY", "SERIES"])
def test_get_in_the_patient_root_is_of_that_patient(
    filled: Pacs, level: str, patient: str, status: int, completed: int | None
) -> None:
    """PS3.4 §C.4.3.2.1: what is below another patient is not below this one."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.PatientID, identifier.StudyInstanceUID = level, patient, "1.2.3.2"
    identifier.SeriesInstanceUID = "1.2.3.2.1\\1.2.3.2.2"
    root = tables.MODELS["patient", "GET"]
    with filled.node.associate([root, (CT, [EXPLICIT])], scp=True) as session:
        *_, final = session.request("C-GET", identifier, sop_class=root)
    assert final.fields["Status"] == status
    assert final.fields.get("NumberOfCompletedSuboperations") == completed


def test_get_is_cancelled_between_two_suboperations(filled: Pacs) -> None:
    with associate(filled, Proposal(CT, (EXPLICIT,), scp=True)) as association:
        responses, _ = ask(association, "GET", study="1.2.3.2", cancel_at=1)
        final = responses[-1]
        assert final.command.status == 0xFE00
        remaining, completed, failed, warned = counts(final)
        assert remaining > 0
        assert remaining + completed + failed + warned == 4


def test_a_file_that_is_gone_is_a_failed_suboperation(filled: Pacs) -> None:
    lost = filled.holdings.select("study", ["1.2.3.3"])

    class Stale(FolderHoldings):
        def select(self, level, uids):
            return lost

    filled.holdings.__class__ = Stale
    (filled.holdings.folder / "1.2.3.3.1.1.dcm").unlink()
    with associate(filled, Proposal(CT, (EXPLICIT,), scp=True)) as association:
        responses, data = ask(association, "GET", study="1.2.3.3")
        assert responses[-1].command.status == 0xB000
        assert b"1.2.3.3.1.1" in data


# --- C-MOVE ----------------------------------------------------------------------------------------------------------


def test_move_sends_everything_as_it_lies_and_says_who_asked(filled: Pacs, tmp_path: Path) -> None:
    folder = tmp_path / "third"
    folder.mkdir()
    there = FolderHoldings(folder)
    wanted = {path.stem for path in filled.holdings.files()}
    with receiving(there, ae_title="THIRD", host="127.0.0.1", wanted=wanted, on_taken=lambda taken: None) as third:
        filled.known["THIRD"] = (third.host, third.port)
        with associate(filled) as association:
            responses, _ = ask(association, "MOVE", study="1.2.3.1\\1.2.3.2", to="THIRD")
    assert responses[-1].command.status == 0
    assert counts(responses[-1]) == (-1, 13, 0, 0)
    assert len(there.files()) == 13
    assert all(there.octets_of(p.stem) == filled.holdings.octets_of(p.stem) for p in there.files())


def test_move_tells_its_originator(filled: Pacs) -> None:
    from tests.unit.dimse.scripted import Script, playing

    told: list[Command] = []

    def play(script: Script) -> None:
        script.establish()
        for _ in range(2):
            command, _ = script.message()
            told.append(command)
            script.say(command.response(0xB007 if len(told) == 1 else 0xA700))
        script.release()

    with playing(play) as address, associate(filled) as association:
        filled.known["THIRD"] = ("127.0.0.1", int(address.split(":")[1]))
        responses, data = ask(association, "MOVE", study="1.2.3.3", to="THIRD")
    assert {c.text("MoveOriginatorApplicationEntityTitle") for c in told} == {"LAB1"}
    assert {c.number("MoveOriginatorMessageID") for c in told} == {1}
    assert responses[-1].command.status == 0xB000
    assert counts(responses[-1]) == (-1, 0, 1, 1)
    assert b"1.2.3.3.1.2" in data


def test_move_to_somebody_unknown_or_absent(filled: Pacs) -> None:
    with associate(filled) as association:
        assert ask(association, "MOVE", study="1.2.3.1", to="NOBODY")[0][-1].command.status == 0xA801
        filled.known["GONE"] = ("127.0.0.1", 1)
        responses, data = ask(association, "MOVE", study="1.2.3.3", to="GONE")
        assert responses[-1].command.status == 0xA702
        assert counts(responses[-1]) == (-1, 0, 2, 0)
        assert b"1.2.3.3.1.1" in data


def test_more_failures_than_a_list_of_uids_has_room_for_are_all_named(start: Callable[..., Pacs]) -> None:
    (one,) = parcels(instance(1))
    assert isinstance(one, Parcel)
    uids = [f"1.2.3.{10**50 + number}" for number in range(1200)]  # in Explicit VR a UI holds 65,534 octets
    many = [replace(one, meta=replace(one.meta, sop_instance_uid=uid)) for uid in uids]
    pacs = start(handlers={"C-MOVE": lambda asked: many})
    pacs.known["GONE"] = ("127.0.0.1", 1)
    with associate(pacs) as association:
        responses, data = ask(association, "MOVE", study="1.2.3.1", to="GONE")
    assert responses[-1].command.status == 0xA702
    assert counts(responses[-1]) == (-1, 0, 1200, 0)
    assert dict(keys_of(data, EXPLICIT))[FAILED_SOP_INSTANCE_UID_LIST,].split("\\") == uids


# --- the receiver of a move ------------------------------------------------------------------------------------------


def test_a_receiver_takes_only_what_was_asked_for(start: Callable[..., Pacs], tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    sink = FolderHoldings(folder)
    taken: list[tuple[str, int]] = []
    pacs = start()
    with receiving(
        sink,
        ae_title="PACS",
        host="127.0.0.1",
        wanted={"1.2.3.1.1.1"},
        classes={"1.2.3.4.5"},
        on_taken=lambda one: taken.append((one.sop_instance_uid, one.status)),
    ) as listener:
        pacs.listener.close()
        pacs.node = type(pacs.node)(f"PACS@127.0.0.1:{listener.port}", me="LAB1")
        with pacs.node._peer.associate(
            [
                Proposal(uid, (syntax,))
                for uid in (CT, "1.2.3.4.5", FIND)
                for syntax in (EXPLICIT, IMPLICIT, JPEG, BIG_ENDIAN)
            ]
        ) as association:
            assert {c.abstract_syntax for c in association.contexts.values()} == {CT, "1.2.3.4.5"}
            context = association.context_for("1.2.3.4.5", JPEG)
            assert context is not None
            assert send_instance(association, context, "1.2.3.1.1.1", b"ab" * 50)[0] == 0
            assert send_instance(association, context, "1.2.3.1.1.2", b"ab" * 50)[0] == 0x0124
    assert taken == [("1.2.3.1.1.1", 0), ("1.2.3.1.1.2", 0x0124)]
    assert [path.stem for path in sink.files()] == ["1.2.3.1.1.1"]
