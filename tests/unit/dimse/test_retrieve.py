"""C-GET and C-MOVE as an SCU: what arrives is what lies there, and what does not is said."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pynetdicom import AE, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet as StudyGet

from dicomlab import trace
from dicomlab.dimse import pdu, tables
from dicomlab.dimse import retrieve as module
from dicomlab.dimse.command import Command, encode_command
from dicomlab.dimse.identifier import FAILED_SOP_INSTANCE_UID_LIST, encode_tree, keys_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.node import Node
from dicomlab.dimse.storage import send_instance
from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, ServiceError, Unreachable, UsageError
from dicomlab.model.address import AEAddress, OwnAE
from dicomlab.model.progress import Control, Work
from dicomlab.model.protocols import Arrival, Wanted
from dicomlab.part10.files import FileWriter, read_file_meta
from tests.peers.processes import free_port
from tests.unit.dimse.conftest import Pacs, cohort
from tests.unit.dimse.holdings import CT, EXPLICIT, MR, FolderHoldings, instance
from tests.unit.dimse.scripted import Script, playing

GET, MOVE = tables.MODELS["study", "GET"], tables.MODELS["study", "MOVE"]


class Arrivals:
    """A sink over a folder that keeps account."""

    def __init__(self, folder: Path, error: Exception | None = None, *, at: int = 0) -> None:
        folder.mkdir()
        self.folder, self.error, self.at = folder, error, at
        self.begun: list[Arrival] = []
        self.failures: dict[str, str] = {}

    def begin(self, arrival: Arrival) -> FileWriter:
        if self.error is not None and len(self.begun) >= self.at:
            raise self.error
        self.begun.append(arrival)
        return FileWriter(self.folder / f"{arrival.sop_instance_uid}.dcm", arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        self.failures[sop_instance_uid] = status

    @property
    def arrived(self) -> set[str]:
        return {path.stem for path in self.folder.glob("*.dcm")}


@pytest.fixture
def sink(tmp_path: Path) -> Arrivals:
    return Arrivals(tmp_path / "arrivals")


def wanted(datasets: Sequence[Any], *, sop_class: bool = True) -> list[Wanted]:
    return [
        Wanted(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, d.SOPClassUID if sop_class else "")
        for d in datasets
    ]


def ready_to_move(pacs: Pacs) -> Node:
    """The node as somebody whom the archive knows."""
    port = free_port()
    pacs.known["LAB1"] = ("127.0.0.1", port)
    return Node(pacs.node.address, me=f"LAB1:{port}", timeout_s=10)


@pytest.mark.parametrize("method", ["get", "move", "auto"])
def test_what_arrives_is_what_lies_there(filled: Pacs, sink: Arrivals, method: str) -> None:
    node = ready_to_move(filled)
    with trace() as wire:
        node.deliver(wanted(cohort()), sink, Control(), method=method)  # type: ignore[arg-type]
    assert sink.failures == {}
    assert sink.arrived == {d.SOPInstanceUID for d in cohort()}
    for arrival in sink.begun:
        path = sink.folder / f"{arrival.sop_instance_uid}.dcm"
        source = filled.holdings.folder / path.name
        assert path.read_bytes()[read_file_meta(path).length :] == filled.holdings.octets_of(path.stem)
        assert arrival.transfer_syntax_uid == read_file_meta(source).transfer_syntax_uid
        assert (arrival.source, arrival.file_meta) == ("PACS", None)
        assert dcmread(path).SOPInstanceUID == path.stem
    verb = "C-MOVE" if method == "move" else "C-GET"
    assert wire.counts()[f"{verb}-RQ"] == (7 if method == "move" else 6)  # one of them is moved first
    assert wire.counts()["C-STORE-RQ"] == 15


def test_in_a_move_each_message_is_traced_once_between_three_parties(filled: Pacs, sink: Arrivals) -> None:
    node = ready_to_move(filled)
    with trace() as wire:
        node.deliver(wanted(cohort()[:1]), sink, Control(), method="move")
    assert wire.counts()["C-STORE-RQ"] == wire.counts()["C-STORE-RSP"] == 1
    assert wire.counts()["A-ASSOCIATE-RQ"] == 2
    assert {event.parties for event in wire if event.direction != "note"} == {("LAB1", "PACS"), ("PACS", "LAB1")}
    assert any("C-MOVE to ourselves" in event.text for event in wire)


def test_only_what_is_wanted_of_a_series_is_asked_for(filled: Pacs, sink: Arrivals) -> None:
    some = [d for d in wanted(cohort()) if d.sop_instance_uid.endswith(".1")]
    filled.node.deliver(some, sink, Control(), method="get")
    assert sink.arrived == {d.sop_instance_uid for d in some}


def test_a_large_series_is_asked_for_whole_where_all_of_it_is_wanted(
    filled: Pacs, sink: Arrivals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "UIDS_PER_REQUEST", 2)
    mixed = [w for w in wanted(cohort()) if w.series_instance_uid == "1.2.3.1.3"]
    with trace() as wire:
        filled.node.deliver(mixed, sink, Control(), method="get")
        assert wire.counts()["C-GET-RQ"] == 1
        filled.node.deliver(mixed[:3], sink, Control(), method="get")
    assert wire.counts()["C-GET-RQ"] == 3
    assert len(sink.arrived) == 5


def test_many_classes_take_several_associations(filled: Pacs, sink: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CLASSES_PER_ASSOCIATION", 1)
    with trace() as wire:
        filled.node.deliver(wanted(cohort()), sink, Control(), method="get")
    assert wire.counts()["A-ASSOCIATE-RQ"] == 3
    assert len(sink.arrived) == 15


def test_contexts_have_room() -> None:
    assert module._CLASSES_PER_ASSOCIATION >= 4
    for proposals, _ in module._batches(
        [Wanted("1", "1", str(n), f"1.{n % 9}") for n in range(20)] + wanted([], sop_class=False), "get"
    ):
        assert len(proposals) + 3 <= 128
    ((unknown, _),) = module._batches([Wanted("1", "1", "1")], "get")
    assert len(unknown) + 3 <= 128


def test_classes_that_nobody_knows_arrive_too(filled: Pacs, sink: Arrivals) -> None:
    some = [w for w in wanted(cohort(), sop_class=False) if w.series_instance_uid != "1.2.3.1.3"]
    filled.node.deliver(some, sink, Control(), method="get")
    assert sink.arrived == {w.sop_instance_uid for w in some}


def test_an_unknown_method(filled: Pacs, sink: Arrivals) -> None:
    with pytest.raises(UsageError, match="auto, get, move"):
        filled.node.deliver(wanted(cohort()), sink, Control(), method="fetch")  # type: ignore[arg-type]


def test_nothing_wanted_asks_nobody(sink: Arrivals) -> None:
    Node("PACS@pacs.invalid").deliver([], sink, Control())


# --- the medium ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "move"])
@pytest.mark.parametrize(
    "error",
    [Interrupted("no space left", endpoint="/full"), OSError(28, "No space left on device")],
    ids=["ours", "os"],
)
def test_a_full_medium_ends_it_and_keeps_what_arrived(
    filled: Pacs, tmp_path: Path, method: str, error: Exception
) -> None:
    sink = Arrivals(tmp_path / "full", error, at=2)
    node = ready_to_move(filled)
    with trace() as wire, pytest.raises(Interrupted, match=r"(?i)no space left") as caught:
        node.deliver(wanted(cohort()), sink, Control(), method=method)  # type: ignore[arg-type]
    assert error in (caught.value, caught.value.__cause__)
    assert wire.counts()["C-CANCEL-RQ"] == 1
    assert len(sink.arrived) == 2
    assert any("status A700H" in event.text for event in wire if event.text.startswith("C-STORE-RSP"))
    assert len(filled.node.find("study")) == 3


@pytest.mark.parametrize("method", ["get", "move"])
def test_one_instance_that_is_refused_stops_nothing(filled: Pacs, tmp_path: Path, method: str) -> None:
    class Picky(Arrivals):
        def begin(self, arrival: Arrival) -> FileWriter:
            if arrival.sop_instance_uid == "1.2.3.2.1.1":
                raise ServiceError("not the instance it was announced as", status=0xA900)
            return super().begin(arrival)

    sink = Picky(tmp_path / "picky")
    ready_to_move(filled).deliver(wanted(cohort()), sink, Control(), method=method)  # type: ignore[arg-type]
    assert len(sink.arrived) == 14
    assert list(sink.failures) == ["1.2.3.2.1.1"]
    assert sink.failures["1.2.3.2.1.1"].startswith("A900H")


# --- what the peer cannot or will not --------------------------------------------------------------------------------


def test_an_unknown_destination_says_what_to_register(filled: Pacs, sink: Arrivals) -> None:
    port = free_port()
    node = Node(filled.node.address, me=f"LAB9:{port}")
    with pytest.raises(
        ServiceError, match=f"A801H Move destination unknown.*register LAB9 = 127.0.0.1:{port}"
    ) as caught:
        node.deliver(wanted(cohort()), sink, Control(), method="move")
    assert caught.value.status == 0xA801


def test_our_own_port_is_taken(filled: Pacs, sink: Arrivals) -> None:
    node = Node(filled.node.address, me=f"LAB1:{filled.listener.port}")
    with pytest.raises(Unreachable, match="is the port taken"):
        node.deliver(wanted(cohort()), sink, Control(), method="move")


def final(script: Script, verb: str, status: int, uids: Sequence[str] = (), **fields: int | str) -> None:
    """Answer one C-GET or C-MOVE without sending anything."""
    command, _ = script.message()
    context = next(c.id for c in script.request.contexts if c.abstract_syntax == tables.MODELS["study", verb])
    data = encode_tree({FAILED_SOP_INSTANCE_UID_LIST: ("UI", list(uids))}, EXPLICIT) if uids else None
    script.say(command.response(status, data=data is not None, **fields), data, context=context)


@pytest.mark.parametrize(
    ("status", "uids", "told"),
    [
        (0x0000, (), {}),
        (0xB000, ("1.2.1", "9.9"), {"1.2.1": "B000H Sub-operations complete, one or more failures or warnings (disk)"}),
        (0xA702, (), dict.fromkeys(("1.2.1", "1.2.2"), "A702H Refused: Out of resources, unable to perform sub-operations")),
        (0xC001, ("1.2.2",), {"1.2.2": "C001H Unable to Process (disk)"}),
    ],
)  # fmt: skip
def test_what_did_not_come_is_told_in_the_peers_words(
    status: int, uids: Sequence[str], told: dict[str, str], sink: Arrivals
) -> None:
    def play(script: Script) -> None:
        script.establish(scp=True)
        final(script, "GET", status, uids, **({"ErrorComment": "disk"} if uids else {}))
        script.release()

    with playing(play, connections=2 if status in (0xB000, 0xA702) else 1) as address:
        Node(address).deliver([Wanted("1", "1.2", f"1.2.{n}", CT) for n in (1, 2)], sink, Control(), retries=0)
    assert {uid: text.split(" (disk)")[0] for uid, text in sink.failures.items()} == {
        uid: text.split(" (disk)")[0] for uid, text in told.items()
    }


@pytest.mark.parametrize("status", [0x0122, 0x0124])
def test_what_is_hopeless_is_raised(status: int, sink: Arrivals) -> None:
    def play(script: Script) -> None:
        script.establish(scp=True)
        final(script, "GET", status)
        script.release()

    with playing(play) as address, pytest.raises(ServiceError, match=f"{status:04X}H") as caught:
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control())
    assert caught.value.status == status


def declining(script: Script, *verbs: str, scp: bool = True) -> None:
    """Accept everything but some of the retrieve models."""
    script.answer(scp=scp)
    declined = {tables.MODELS["study", verb] for verb in verbs}
    answers = tuple(
        pdu.AnsweredContext(c.id, 3 if c.abstract_syntax in declined else 0, c.transfer_syntaxes[0])
        for c in script.request.contexts
    )
    script.send(pdu.AssociateAccept("PACS", "X", answers, script.accept.user))


@pytest.mark.parametrize(
    ("method", "declined", "words"),
    [
        ("get", ["GET"], 'does not offer C-GET; try method="move"'),
        ("move", ["MOVE"], 'does not offer C-MOVE; try method="get"'),
        ("auto", ["GET", "MOVE"], "does not offer C-GET or C-MOVE"),
    ],
)
def test_a_method_that_is_not_offered(method: str, declined: list[str], words: str, sink: Arrivals) -> None:
    def play(script: Script) -> None:
        declining(script, *declined)
        script.release()

    with playing(play) as address, pytest.raises(Refused, match=words):
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control(), method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize(("declined", "scp"), [(["GET"], True), ([], False)], ids=["no GET", "no role"])
def test_auto_moves_where_get_is_not_to_be_had(declined: list[str], scp: bool, sink: Arrivals) -> None:
    def play(script: Script) -> None:
        declining(script, *declined, scp=scp)
        final(script, "MOVE", 0)
        script.release()

    with playing(play) as address, trace() as wire:
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control())
    assert wire.counts()["C-MOVE-RQ"] == 1


def test_something_else_in_the_middle_is_a_protocol_error(sink: Arrivals) -> None:
    def play(script: Script) -> None:
        script.establish(scp=True)
        command, _ = script.message()
        script.say(command.response(0xFF00).__class__.of("C-FIND-RSP", MessageIDBeingRespondedTo=1, Status=0))
        assert isinstance(script.read(), pdu.Abort)

    with playing(play) as address, pytest.raises(RemoteProtocolError, match="C-FIND-RSP during a C-GET"):
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control())


def test_traffic_of_suboperations_counts_as_progress(start: Callable[..., Pacs], sink: Arrivals) -> None:
    """The peer says nothing on the association of the C-MOVE for longer than the timeout, but goes on sending."""
    pacs = start()
    port = free_port()
    ours = Node("LAB1@127.0.0.1:1", me="PACS")
    datasets = [instance(n) for n in range(1, 5)]

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        us = Peer(AEAddress("LAB1", "127.0.0.1", port), OwnAE("PACS"))
        with us.associate([Proposal(CT, (EXPLICIT,))]) as association:
            send_instance(association, association.contexts[1], datasets[0].SOPInstanceUID, b"ab" * 9)
            script.say(command.response(0))
            command, _ = script.message()
            for dataset in datasets[1:]:
                threading.Event().wait(0.6)  # each less than the timeout, together more
                send_instance(association, association.contexts[1], dataset.SOPInstanceUID, b"ab" * 9)
        script.say(command.response(0))
        script.release()

    assert ours.me.ae_title == pacs.listener.ae_title
    with playing(play) as address:
        node = Node(address, me=f"LAB1:{port}", timeout_s=1.5)
        node.deliver(wanted(datasets), sink, Control(), method="move")
    assert len(sink.arrived) == 4


# --- cancelling and breaking off -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["get", "move"])
def test_cancelling_keeps_what_arrived_and_the_node_stays_usable(filled: Pacs, tmp_path: Path, method: str) -> None:
    control = Control()

    class Enough(Arrivals):
        def begin(self, arrival: Arrival) -> FileWriter:
            if len(self.begun) == 1:
                control.cancel()
            return super().begin(arrival)

    sink = Enough(tmp_path / "enough")
    node = ready_to_move(filled)
    with trace() as wire:
        node.deliver(wanted(cohort()), sink, control, method=method)  # type: ignore[arg-type]
    assert 2 <= len(sink.arrived) < 15
    assert wire.counts()["C-CANCEL-RQ"] == 1
    assert "A-ABORT" not in wire.counts()
    assert sink.failures == {}
    assert len(node.find("study")) == 3


def test_a_cancelled_control_asks_nobody(sink: Arrivals) -> None:
    control = Control()
    control.cancel()
    Node("PACS@pacs.invalid").deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, control)


def test_half_an_instance_leaves_nothing(sink: Arrivals) -> None:
    def play(script: Script) -> None:
        request = script.establish(scp=True)
        script.message()
        context = next(c.id for c in request.contexts if c.abstract_syntax == CT)
        from dicomlab.dimse.command import Command, encode_command

        store = Command.of(
            "C-STORE-RQ", data=True, MessageID=1, Priority=0, AffectedSOPClassUID=CT, AffectedSOPInstanceUID="1.2.1"
        )
        values = (pdu.PDV(context, 3, encode_command(store)), pdu.PDV(context, 0, b"half"))
        script.send(pdu.DataTransfer(values))

    with playing(play) as address, pytest.raises(Interrupted, match="octets had arrived"):
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control(), retries=0)
    assert list(sink.folder.iterdir()) == []


# --- pynetdicom as the peer ------------------------------------------------------------------------------------------


@contextmanager
def pynetdicom_scp(datasets: Sequence[Any]) -> Iterator[str]:
    def handle(event: evt.Event) -> Iterator[Any]:
        uids = event.identifier.SOPInstanceUID
        chosen = [d for d in datasets if d.SOPInstanceUID in ([uids] if isinstance(uids, str) else uids)]
        yield len(chosen)
        for dataset in chosen:
            yield 0xFF00, dataset

    ae = AE("PACS")
    ae.add_supported_context(StudyGet)
    for uid in {str(d.SOPClassUID) for d in datasets}:
        ae.add_supported_context(uid, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, handle)])
    try:
        yield f"PACS@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def test_pynetdicom_sends_by_get(sink: Arrivals) -> None:
    datasets = [instance(n, sop_class=uid, series=f"1.2.{n}") for n, uid in enumerate((CT, MR, CT), 1)]
    with pynetdicom_scp(datasets) as address:
        Node(address).deliver(wanted(datasets), sink, Control())
    assert sink.arrived == {d.SOPInstanceUID for d in datasets}
    for dataset in datasets:
        got = dcmread(sink.folder / f"{dataset.SOPInstanceUID}.dcm")
        assert got.PixelData == dataset.PixelData
        assert got.PatientName == "Müller^Jürgen"


def test_pynetdicom_gets_from_us(filled: Pacs) -> None:
    from pydicom import Dataset
    from pynetdicom import build_role

    got: dict[str, bytes] = {}

    def store(event: evt.Event) -> int:
        got[event.request.AffectedSOPInstanceUID] = event.encoded_dataset(include_meta=False)
        return 0

    ae = AE("LAB1")
    ae.add_requested_context(StudyGet)
    ae.add_requested_context(CT, EXPLICIT)
    association = ae.associate(
        "127.0.0.1", filled.listener.port, ae_title="PACS",
        ext_neg=[build_role(CT, scp_role=True)], evt_handlers=[(evt.EVT_C_STORE, store)],
    )  # fmt: skip
    assert association.is_established
    query = Dataset()
    query.QueryRetrieveLevel, query.StudyInstanceUID = "STUDY", "1.2.3.2"
    last = [status for status, _ in association.send_c_get(query, StudyGet)][-1]
    association.release()
    assert (last.Status, last.NumberOfCompletedSuboperations) == (0, 4)
    assert got == {uid: filled.holdings.octets_of(uid) for uid in got}
    assert len(got) == 4


def test_holdings_are_what_the_tests_say(filled: Pacs) -> None:
    assert isinstance(filled.holdings, FolderHoldings)
    assert len(filled.holdings.files()) == len(cohort()) == 15


# --- over several associations, and again ----------------------------------------------------------------------------


def many(count: int = 60) -> list[Any]:
    return [instance(n, series=f"1.2.3.1.{n % 3}") for n in range(1, count + 1)]


def test_series_are_shared_among_associations(start: Callable[..., Pacs], sink: Arrivals) -> None:
    pacs = start(*many())
    with trace() as wire:
        pacs.node.deliver(wanted(many()), sink, Control(), associations=3)
    assert len(sink.arrived) == 60
    assert wire.counts()["A-ASSOCIATE-RQ"] == wire.counts()["C-GET-RQ"] == 3
    with trace() as wire:
        pacs.node.deliver(wanted(many()), sink, Control(), associations=1)
    assert wire.counts()["A-ASSOCIATE-RQ"] == 1


def test_series_stay_whole_and_shares_are_even() -> None:
    some = [Wanted("1", f"1.{s}", f"1.{s}.{n}") for s, count in enumerate((50, 30, 20, 20)) for n in range(count)]
    shares = module._shares(some, module.Manner(associations=2))
    assert sorted(len(share) for share in shares) == [50, 70]
    assert {one for share in shares for one in share} == set(some)
    series = [{one.series_instance_uid for one in share} for share in shares]
    assert not series[0] & series[1]
    assert len(module._shares(some, module.Manner("move"))) == 2
    assert len(module._shares(some[:30], module.Manner())) == 1


def test_a_medium_that_fails_under_one_association_ends_the_others(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start(*many())
    sink = Arrivals(tmp_path / "full", OSError(28, "No space left on device"), at=5)
    with trace() as wire, pytest.raises(Interrupted, match="No space left"):
        pacs.node.deliver(wanted(many()), sink, Control(), associations=3)
    assert len(sink.arrived) == 5
    assert wire.counts()["A-ASSOCIATE-RQ"] == 3
    assert not any("again" in text for text in plan(wire))


def plan(wire: Any) -> list[str]:
    return [event.text for event in wire if event.direction == "note"]


def test_cancelling_ends_all_of_them(start: Callable[..., Pacs], tmp_path: Path) -> None:
    pacs = start(*many())
    control = Control()

    class Enough(Arrivals):
        def begin(self, arrival: Arrival) -> FileWriter:
            if len(self.begun) == 4:
                control.cancel()
            return super().begin(arrival)

    sink = Enough(tmp_path / "enough")
    pacs.node.deliver(wanted(many()), sink, control, associations=3)
    assert 5 <= len(sink.arrived) < 60
    assert len(pacs.node.find("study")) == 1


@pytest.mark.parametrize("at", [(1,), (2, 3), (4,)])
def test_what_breaks_off_goes_on_with_the_rest(sink: Arrivals, at: tuple[int, ...]) -> None:
    held = [instance(n) for n in range(1, 5)]
    with trace() as wire, breaking(held, at) as address:
        Node(address).deliver(wanted(held), sink, Control())
    assert len(sink.arrived) == 4
    assert len(sink.begun) <= 4 + len(at)
    assert sink.failures == {}
    assert wire.counts()["A-ASSOCIATE-RQ"] == 1 + len(at)
    assert sum("again" in text for text in plan(wire)) == len(at)


def test_what_never_gets_on_is_given_up(sink: Arrivals) -> None:
    held = [instance(n) for n in range(1, 5)]
    with breaking(held, range(3, 99)) as address, pytest.raises(Interrupted):
        Node(address).deliver(wanted(held), sink, Control(), retries=2)
    assert len(sink.arrived) == 2


@contextmanager
def breaking(held: Sequence[Any], at: Container[int]) -> Iterator[str]:
    """Pynetdicom, which aborts instead of sending some of what it is to send, counted over all associations."""
    count = itertools.count(1)

    def get(event: evt.Event) -> Iterator[Any]:
        asked = event.identifier.SOPInstanceUID
        found = [d for d in held if d.SOPInstanceUID in ([asked] if isinstance(asked, str) else asked)]
        yield len(found)
        for dataset in found:
            if next(count) in at:
                event.assoc.abort()
                return
            yield 0xFF00, dataset

    ae = AE("PACS")
    ae.add_supported_context(StudyGet)
    ae.add_supported_context(CT, EXPLICIT, scu_role=True, scp_role=True)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_GET, get)])
    try:
        yield f"PACS@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()


def test_a_peer_without_resources_is_asked_again_for_what_is_missing(sink: Arrivals) -> None:
    asked: list[Any] = []

    def play(script: Script) -> None:
        script.establish(scp=True)
        for status in (0xA701, 0xA700, 0x0000):
            command, data = script.message()
            asked.append(dict(keys_of(data, EXPLICIT))[0x00080018,])
            if status == 0xA700:
                give(script, "1.2.1")
            script.say(command.response(status))
        script.release()

    with playing(play) as address:
        Node(address).deliver([Wanted("1", "1.2", f"1.2.{n}", CT) for n in (1, 2)], sink, Control())
    assert asked == ["1.2.1\\1.2.2", "1.2.1\\1.2.2", "1.2.2"]
    assert sink.arrived == {"1.2.1"}
    assert sink.failures == {}  # it said Success: whoever asked compares


def test_what_cannot_be_sent_is_asked_for_once_more_in_one_context_for_each_class(sink: Arrivals) -> None:
    """Some peers send on the first context that was accepted for a SOP Class, whatever its transfer syntax is."""
    asked: list[tuple[str, list[tuple[str, ...]]]] = []

    def play(script: Script) -> None:
        request = script.establish(scp=True)
        command, data = script.message()
        uids = dict(keys_of(data, EXPLICIT))[0x00080018,]
        asked.append((uids, [c.transfer_syntaxes for c in request.contexts if c.abstract_syntax == CT]))
        if len(asked) == 1:
            give(script, "1.2.1")
            failed = encode_tree({FAILED_SOP_INSTANCE_UID_LIST: ("UI", ["1.2.2", "1.2.3"])}, EXPLICIT)
            script.say(command.response(0xB000, data=True), failed, context=1)
        else:
            give(script, "1.2.2")
            script.say(command.response(0xA702), context=1)
        script.release()

    with playing(play, connections=2) as address:
        Node(address).deliver(
            [Wanted("1", "1.2", f"1.2.{n}", CT) for n in (1, 2, 3)], sink, Control(), method="get", retries=0
        )
    assert sink.arrived == {"1.2.1", "1.2.2"}
    assert list(sink.failures) == ["1.2.3"]
    assert sink.failures["1.2.3"].startswith("A702H")
    (first, contexts), (second, one) = asked
    assert (first, second) == ("1.2.1\\1.2.2\\1.2.3", "1.2.2\\1.2.3")
    assert len(contexts) > 5
    assert one == [(*tables.COMPRESSED, *tables.UNCOMPRESSED)]


def test_what_cannot_be_asked_for_again_is_told_as_it_was(sink: Arrivals) -> None:
    times: list[int] = []

    def play(script: Script) -> None:
        times.append(1)
        if len(times) == 2:
            script.read()
            script.send(pdu.AssociateReject(1, 1, 1))
            return
        script.establish(scp=True)
        final(script, "GET", 0xA702)
        script.release()

    with playing(play, connections=2) as address:
        Node(address).deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control(), method="get", retries=0)
    assert sink.failures["1.2.1"].startswith("A702H")


@pytest.mark.parametrize("where", ["association", "identifier"])
def test_cancelling_ends_a_wait_for_the_answer_or_its_end_at_once(sink: Arrivals, where: str) -> None:
    """Whatever the time-outs are: the peer of this script says nothing for as long as it is listened to."""
    waiting = threading.Event()

    def play(script: Script) -> None:
        if where == "association":
            script.read()
        else:
            script.establish(scp=True)
            command, _ = script.message()
            octets = encode_command(command.response(0xB000, data=True))
            script.send(pdu.encode(pdu.DataTransfer((pdu.PDV(1, 3, octets), pdu.PDV(1, 0, b"ab")))))
        waiting.set()
        script.sock.settimeout(60)
        with suppress(OSError):
            while script.sock.recv(4096):
                pass

    with playing(play) as address:
        node = Node(address, timeout_s=3600, acse_timeout_s=3600)
        one = [Wanted("1", "1.2", "1.2.1", CT)]
        operation = Work("a retrieve", "instances", lambda control: node.deliver(one, sink, control)).carry_out(
            background=True
        )
        assert waiting.wait(10)
        operation.cancel()
        operation.result(10)
    assert not sink.arrived


def give(script: Script, uid: str, octets: bytes = b"ab" * 9) -> None:
    context = next(c.id for c in script.request.contexts if c.abstract_syntax == CT)
    fields = {"AffectedSOPClassUID": CT, "MessageID": 7, "AffectedSOPInstanceUID": uid, "Priority": 0}
    script.say(Command.of("C-STORE-RQ", data=True, **fields), octets, context=context)
    script.message()


# --- the way back ----------------------------------------------------------------------------------------------------


def test_the_way_back_is_tried_with_one_before_all_are_moved(filled: Pacs, sink: Arrivals) -> None:
    node = ready_to_move(filled)
    some = [one for one in wanted(cohort()) if one.series_instance_uid == "1.2.3.1.3"]
    with trace() as wire:
        node.deliver(some, sink, Control(), method="move")
    assert len(sink.arrived) == 5
    moves = [event.octets for event in wire if event.text.startswith("C-MOVE-RQ")]
    assert len(moves) == 2


@pytest.mark.parametrize("status", [0x0000, 0xB000])
def test_a_success_after_which_nothing_has_come_says_what_to_look_at(status: int, sink: Arrivals) -> None:
    def play(script: Script) -> None:
        script.establish()
        final(script, "MOVE", status)
        script.release()

    port = free_port()
    with playing(play) as address, pytest.raises(ServiceError, match=f"register LAB1 = 127.0.0.1:{port}") as caught:
        Node(address, me=f"LAB1:{port}").deliver(
            [Wanted("1", "1.2", f"1.2.{n}", CT) for n in (1, 2)], sink, Control(), method="move"
        )
    assert "nothing has come" in str(caught.value)


def test_what_comes_after_the_last_word_is_taken_too(sink: Arrivals, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LATE_S", 5.0)
    port = free_port()

    def play(script: Script) -> None:
        script.establish()
        command, _ = script.message()
        script.say(command.response(0))
        us = Peer(AEAddress("LAB1", "127.0.0.1", port), OwnAE("PACS"))
        with us.associate([Proposal(CT, (EXPLICIT,))]) as association:
            send_instance(association, association.contexts[1], "1.2.1", b"ab" * 9)
        script.release()

    with playing(play) as address:
        node = Node(address, me=f"LAB1:{port}")
        node.deliver([Wanted("1", "1.2", "1.2.1", CT)], sink, Control(), method="move")
    assert sink.arrived == {"1.2.1"}


# --- other models ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "uid"),
    [("instance", tables.COMPOSITE["GET"]), ("without bulk data", tables.WITHOUT_BULK_DATA)],
)
def test_the_models_that_need_no_keys_above(model: str, uid: str, sink: Arrivals) -> None:
    heard: dict[str, Any] = {}

    def play(script: Script) -> None:
        request = script.establish(scp=True)
        heard["offered"] = {one.abstract_syntax for one in request.contexts}
        command, data = script.message()
        heard["keys"] = dict(keys_of(data, EXPLICIT))
        heard["class"] = command.text("AffectedSOPClassUID")
        give(script, "1.2.1")
        give(script, "1.2.2")
        script.say(command.response(0))
        script.release()

    with playing(play) as address:
        some = [Wanted(str(n), f"{n}.2", f"1.2.{n}", CT) for n in (1, 2)]
        Node(address).deliver(some, sink, Control(), method="get", model=model)  # type: ignore[arg-type]
    assert heard["class"] == uid
    assert uid in heard["offered"]
    assert heard["keys"] == {(0x00080052,): "IMAGE", (0x00080018,): "1.2.1\\1.2.2"}
    assert sink.arrived == {"1.2.1", "1.2.2"}


@pytest.mark.parametrize(
    "options",
    [{"model": "series"}, {"model": "without bulk data", "method": "move"}, {"associations": 17}, {"retries": 1.5}],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"model|bulk|associations|retries"):
        Node("PACS@127.0.0.1:1").deliver([Wanted("1", "1.2", "1.2.1", CT)], None, Control(), **options)  # type: ignore[arg-type]
