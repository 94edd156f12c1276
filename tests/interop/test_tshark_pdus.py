"""tshark's dissector as the second opinion: what it reads in our PDUs, and in the vectors, is what we read."""

from __future__ import annotations

import random
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, trace
from dicomlab.dimse import pdu, tables
from dicomlab.dimse.command import COMMAND_FIELDS, Command, decode_command, encode_command
from dicomlab.dimse.items import Extended, Identity, Role, UserInformation
from dicomlab.model.pcapng import Packet, encode
from dicomlab.samples.phantom import phantom_datasets
from tests.peers.processes import need

SEED = 20261124
VECTORS = Path(__file__).parents[1] / "vectors" / "ul"
PORT = 11112
FIELDS = """pdu.type pdu.len assoc.version assoc.ae.called assoc.ae.calling assoc.reject.result assoc.reject.source
assoc.reject.reason assoc.abort.source assoc.abort.reason actx pctx.id pctx.result pctx.abss.syntax pctx.xfer.syntax
userinfo.uid userinfo.version userinfo.extneg.sopclassuid userinfo.rolesel.sopclassuid userinfo.rolesel.scurole
userinfo.rolesel.scprole userinfo.asyncneg.maxnumopsinv userinfo.asyncneg.maxnumopsper max_pdu_len
userinfo.user_identify.type userinfo.user_identify.primary_field pdv.len pdv.ctx pdv.flags""".split()


def seen_by_tshark(folder: Path, pdus: Sequence[tuple[bytes, bool]]) -> list[dict[str, list[str]]]:
    """Each PDU (octets, whether it comes from the requestor) in a segment of one connection, and what tshark reads."""
    need("tshark")
    ends = (("192.0.2.1", 40_000), ("192.0.2.2", PORT))
    packets, sent = [], [0, 0]
    for number, (octets, requestor) in enumerate(pdus):
        source, target = ends if requestor else ends[::-1]
        mine, theirs = (0, 1) if requestor else (1, 0)
        packets.append(
            Packet(
                number * 1000,
                source,
                target,
                octets,
                len(octets),
                sequence=1 + sent[mine],
                acknowledgement=1 + sent[theirs],
            )
        )
        sent[mine] += len(octets)
    path = folder / "pdus.pcapng"
    path.write_bytes(b"".join(encode(packets)))
    command = [
        "tshark",
        "-r",
        str(path),
        "-d",
        f"tcp.port=={PORT},dicom",
        "-T",
        "fields",
        "-E",
        "aggregator=|",
        "-E",
        "occurrence=a",
    ]
    command += [word for name in ("frame.number", *(f"dicom.{name}" for name in FIELDS)) for word in ("-e", name)]
    command += ["-e", "_ws.malformed", "-e", "_ws.col.Info"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    rows = []
    for line in done.stdout.splitlines():
        cells = line.split("\t")
        row = {name: cell.split("|") if cell else [] for name, cell in zip(("frame", *FIELDS), cells, strict=False)}
        row["malformed"], row["info"] = [c for c in cells[-2:-1] if c], cells[-1:]
        rows.append(row)
    assert len(rows) == len(pdus)
    return rows


def numbers(values: Iterable[str]) -> list[int]:
    return [int(value, 0) for value in values]


def uids(values: Iterable[str]) -> list[str]:
    """tshark writes a UID with its name before it: ``Verification SOP Class (1.2.840.10008.1.1)``, or by itself."""
    found = [re.search(r"([0-2](?:\.[0-9]+)+)\)?$", value) for value in values]
    return [one[1] if one else "" for one in found]


def assert_agreed(octets: bytes, row: dict[str, list[str]]) -> None:
    """Field by field."""
    ours = pdu.decode(octets)
    assert not row["malformed"]
    assert numbers(row["pdu.type"]) == [octets[0]]
    assert numbers(row["pdu.len"]) == [len(octets) - 6]
    match ours:
        case pdu.AssociateRequest() | pdu.AssociateAccept():
            assert numbers(row["assoc.version"]) == [ours.version]
            assert [text.strip() for text in row["assoc.ae.called"]] == [ours.called]
            assert [text.strip() for text in row["assoc.ae.calling"]] == [ours.calling]
            assert uids(row["actx"]) == [ours.application_context]
            assert numbers(row["pctx.id"]) == [c.id for c in ours.contexts]
            user_agrees(ours.user, row)
            if isinstance(ours, pdu.AssociateRequest):
                assert uids(row["pctx.abss.syntax"]) == [c.abstract_syntax for c in ours.contexts]
                assert uids(row["pctx.xfer.syntax"]) == [uid for c in ours.contexts for uid in c.transfer_syntaxes]
            else:
                assert numbers(row["pctx.result"]) == [c.result for c in ours.contexts]
                assert [u for u in uids(row["pctx.xfer.syntax"]) if u] == [
                    c.transfer_syntax for c in ours.contexts if c.transfer_syntax
                ]
        case pdu.AssociateReject():
            assert numbers(row["assoc.reject.result"]) == [ours.result]
            assert numbers(row["assoc.reject.source"]) == [ours.source]
            assert numbers(row["assoc.reject.reason"]) == [ours.reason]
        case pdu.Abort():
            assert numbers(row["assoc.abort.source"]) == [ours.source]
            assert numbers(row["assoc.abort.reason"]) == ([ours.reason] if ours.source else [0])
        case pdu.DataTransfer():
            assert numbers(row["pdv.len"]) == [len(v.fragment) + 2 for v in ours.values]
            assert numbers(row["pdv.ctx"]) == [v.context_id for v in ours.values]
            assert numbers(row["pdv.flags"]) == [v.control for v in ours.values]


def user_agrees(user: UserInformation, row: dict[str, list[str]]) -> None:
    assert numbers(row["max_pdu_len"]) == [user.max_pdu]
    assert uids(row["userinfo.uid"]) == [user.implementation_class_uid]
    assert row["userinfo.version"] == ([user.implementation_version_name] if user.implementation_version_name else [])
    assert uids(row["userinfo.rolesel.sopclassuid"]) == [r.sop_class_uid for r in user.roles]
    assert numbers(row["userinfo.rolesel.scurole"]) == [r.scu for r in user.roles]
    assert numbers(row["userinfo.rolesel.scprole"]) == [r.scp for r in user.roles]
    assert uids(row["userinfo.extneg.sopclassuid"]) == [e.sop_class_uid for e in user.extended]
    window = [] if user.asynchronous is None else list(user.asynchronous)
    assert numbers(row["userinfo.asyncneg.maxnumopsinv"] + row["userinfo.asyncneg.maxnumopsper"]) == window
    assert numbers(row["userinfo.user_identify.type"]) == ([user.identity.kind] if user.identity else [])


GOOD = sorted(p.stem for p in VECTORS.glob("*.bin") if not p.stem.startswith("bad_") and p.stem != "p_data_two_values")
"""All but one, whose second value holds no data set, at which tshark gives up."""


def test_the_vectors(tmp_path: Path) -> None:
    """All in one capture: an association first, so that tshark knows the contexts of what follows."""
    order = sorted(GOOD, key=lambda name: not name.startswith("associate_r"))
    pdus = [((VECTORS / f"{name}.bin").read_bytes(), not name.endswith(("ac", "rj", "rp"))) for name in order]
    for (octets, _), row in zip(pdus, seen_by_tshark(tmp_path, pdus), strict=True):
        assert_agreed(octets, row)


@pytest.mark.parametrize("cut_at", [None, 10, 30])
def test_several_values_and_several_pdus_of_one_message(tmp_path: Path, cut_at: int | None) -> None:
    """A command set and a data set in one PDU; and each in two fragments, which tshark puts together only over PDUs."""
    model, syntax = tables.MODELS["study", "FIND"], tables.UNCOMPRESSED[1]
    request = pdu.AssociateRequest("PACS", "LAB1", pdu.numbered([(model, (syntax,))]), UserInformation(0, "1.2.3"))
    accept = pdu.AssociateAccept("PACS", "LAB1", (pdu.AnsweredContext(1, 0, syntax),), UserInformation(0, "1.2.3"))
    command = encode_command(Command.of("C-FIND-RQ", data=True, AffectedSOPClassUID=model, MessageID=1, Priority=0))
    data = bytes.fromhex("0800 5200 06000000 5354554459 20")
    messages: list[tuple[pdu.PDV, ...]] = [(pdu.PDV(1, 3, command), pdu.PDV(1, 2, data))]
    if cut_at is not None:
        messages = [(pdu.PDV(1, 1, command[:cut_at]),), (pdu.PDV(1, 3, command[cut_at:]),), (pdu.PDV(1, 2, data),)]
    values = [request, accept, *map(pdu.DataTransfer, messages)]
    pdus = [(pdu.encode(value), value is not accept) for value in values]
    rows = seen_by_tshark(tmp_path, pdus)
    for (octets, _), row in zip(pdus, rows, strict=True):
        if cut_at is not None:
            row["malformed"].clear()  # it looks into a fragment before it has the other
        assert_agreed(octets, row)
    assert any("C-FIND-RQ" in row["info"][0] for row in rows)


def generated(chance: random.Random) -> pdu.PDU:
    """Any PDU that we may write."""
    syntaxes = (*tables.SYNTAXES, "1.2.3.4")

    def user() -> UserInformation:
        classes = chance.sample(list(tables.STORAGE), 5)
        return UserInformation(
            chance.choice([0, 4096, 16_384, 131_072, (1 << 32) - 1]), "1.2.826.0.1.3680043.9.9", chance.choice(["", "OTHER_1"]),
            chance.choice([None, (1, 1), (0, 0), (5, 7)]),
            tuple(Role(uid, scu=chance.random() < 0.5, scp=chance.random() < 0.5) for uid in classes[:2]),
            tuple(Extended(uid, bytes((1, 0, 1))) for uid in classes[2 : chance.randrange(2, 5)]),
            identity=chance.choice([None, Identity(1, b"user")]),
        )  # fmt: skip

    def contexts() -> list[str]:
        return chance.sample([tables.VERIFICATION, *tables.MODELS.values(), *tables.STORAGE], chance.randrange(1, 128))

    kinds = [
        lambda: pdu.AssociateRequest("PACS", "LAB1", pdu.numbered((uid, tuple(chance.sample(syntaxes, chance.randrange(1, 9)))) for uid in contexts()), user()),
        lambda: pdu.AssociateAccept("A" * 16, "B C", tuple(pdu.AnsweredContext(2 * n + 1, chance.choice([0, 0, 3, 4]), chance.choice(syntaxes)) for n, _ in enumerate(contexts())), user()),
        lambda: pdu.AssociateReject(chance.choice([1, 2]), chance.choice([1, 2, 3]), chance.choice([1, 2, 3, 7])),
        lambda: pdu.Abort(2, chance.choice([0, 1, 2, 4, 5, 6])),
        pdu.ReleaseRequest,
        pdu.ReleaseReply,
    ]  # fmt: skip
    return chance.choice(kinds)()


@pytest.mark.parametrize("count", [40, pytest.param(800, marks=pytest.mark.full)])
def test_whatever_we_write(tmp_path: Path, count: int) -> None:
    chance = random.Random(SEED)
    values = [generated(chance) for _ in range(count)]
    pdus = [(pdu.encode(value), isinstance(value, pdu.AssociateRequest | pdu.ReleaseRequest)) for value in values]
    for (octets, _), row in zip(pdus, seen_by_tshark(tmp_path, pdus), strict=True):
        assert_agreed(octets, row)


def test_every_message_has_the_name_that_we_give_it(tmp_path: Path) -> None:
    """Command field, Message ID and status of every DIMSE message, read from the command set by tshark."""
    model = tables.MODELS["study", "FIND"]
    request = pdu.AssociateRequest(
        "PACS", "LAB1", pdu.numbered([(model, (tables.UNCOMPRESSED[1],))]), UserInformation(0, "1.2.3")
    )
    accept = pdu.AssociateAccept(
        "PACS", "LAB1", (pdu.AnsweredContext(1, 0, tables.UNCOMPRESSED[1]),), UserInformation(0, "1.2.3")
    )
    pdus = [(pdu.encode(request), True), (pdu.encode(accept), False)]
    commands = []
    for number, name in enumerate(COMMAND_FIELDS, start=1):
        about: dict[str, Any] = {"AffectedSOPClassUID": model} if name != "C-CANCEL-RQ" else {}
        if name.endswith("-RSP"):
            about |= {"MessageIDBeingRespondedTo": number, "Status": 0xFF00 if "FIND" in name else 0xA700}
        elif name == "C-CANCEL-RQ":
            about |= {"MessageIDBeingRespondedTo": number}
        else:
            about |= {"MessageID": number}
        command = Command.of(name, data=False, **about)
        commands.append(command)
        pdus.append(
            (pdu.encode(pdu.DataTransfer((pdu.PDV(1, 3, encode_command(command)),))), not name.endswith("-RSP"))
        )
    rows = seen_by_tshark(tmp_path, pdus)
    for (octets, _), row in zip(pdus, rows, strict=True):
        assert_agreed(octets, row)
    for command, row in zip(commands, rows[2:], strict=True):
        (info,) = row["info"]
        known = command.name.removesuffix("-RQ") if command.name == "C-CANCEL-RQ" else command.name
        assert known in info, (command.name, info)
        number = command.number("MessageID") or command.number("MessageIDBeingRespondedTo")
        assert f"ID={number}" in info or "Refused" in info


def test_a_real_association(tmp_path: Path) -> None:
    """Everything that two ends said to one another in C-ECHO, C-FIND, C-STORE and C-GET."""
    with Archive() as archive:
        with trace() as wire:
            archive.node.verify()
            archive.node.store(phantom_datasets(patients=1, slices=2), progress=False).raise_for_failures()
            found = archive.node.find("instance", PatientID="SYN*", progress=False)
            found.retrieve(tmp_path / "out", method="get", progress=False)
        events = [e for e in wire if e.direction != "note"]
    assert all(event.size == len(event.octets) for event in events)
    asked: list[int] = []
    for start, event in enumerate(events):  # one connection after the other, so that sequence numbers are true
        if event.octets[0] == pdu.ASSOCIATE_RQ:
            asked.append(start)
    count = 0
    for first, last in zip(asked, [*asked[1:], len(events)], strict=True):
        pdus = [(event.octets, event.direction == "sent") for event in events[first:last]]
        for (octets, _), row in zip(pdus, seen_by_tshark(tmp_path, pdus), strict=True):
            assert_agreed(octets, row)
            value = pdu.decode(octets)
            if isinstance(value, pdu.DataTransfer) and value.values[0].control == 3:
                command = decode_command(value.values[0].fragment)
                assert command.name in row["info"][0]
                count += 1
    assert count > 10
