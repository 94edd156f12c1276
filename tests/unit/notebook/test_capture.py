"""A trace as a capture and back: nothing but what may not be shown is lost."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

import dicomlab
from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model import pcapng
from dicomlab.model.pcapng import TCP
from dicomlab.model.trace import Trace
from dicomlab.samples.phantom import phantom_datasets


@pytest.fixture(scope="module")
def wire() -> Trace:
    with dicomlab.Archive() as archive:
        archive.add(phantom_datasets(), progress=False)
        with dicomlab.trace() as wire:
            archive.node.find("series", PatientID="SYN*", Modality="CT")
            archive.web.find("study", PatientID="SYN*")
    return wire


def spoken(trace: Trace) -> list[tuple[str, str, int]]:
    return [(e.direction, e.text.partition(":")[0], e.size) for e in trace if e.direction != "note"]


def test_what_is_saved_is_loaded(wire: Trace, tmp_path: Path) -> None:
    back = Trace.load(wire.save(tmp_path / "a.pcapng"))
    assert spoken(back) == spoken(wire)
    assert [e.channel.protocol for e in back] == [e.channel.protocol for e in wire if e.direction != "note"]
    assert {e.parties for e in back if e.channel.protocol == "DIMSE"} == {("LAB1", "DICOMLAB"), ("DICOMLAB", "LAB1")}
    states = [m.reading.state for m in back.read() if m.event.channel.protocol == "DIMSE"]
    assert states[0].startswith("Sta5")
    assert states[-1].startswith("Sta1")


def test_who_the_patients_are_stays_here(wire: Trace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    octets = wire.save(tmp_path / "masked.pcapng").read_bytes()
    assert b"SYN" not in octets
    assert b"QueryRetrieveLevel" not in octets
    assert b"SERIES" in octets
    monkeypatch.setattr(dicomlab.options, "phi", "show")
    assert b"SYN" in wire.save(tmp_path / "shown.pcapng").read_bytes()


def test_segments_in_any_order_and_twice_are_put_together(wire: Trace, tmp_path: Path) -> None:
    packets = list(pcapng.decode(wire.save(tmp_path / "a.pcapng").read_bytes()))
    dimse = [p for p in packets if p.protocol == TCP and 104 in (p.source[1], p.destination[1])]
    chance = random.Random(5)
    mixed = dimse[:3]
    body = [piece for p in dimse[3:-2] for piece in _halves(p)]
    for start in range(0, len(body), 6):
        window = body[start : start + 6]
        chance.shuffle(window)
        mixed += [*window, *window[:2]]
    (tmp_path / "mixed.pcapng").write_bytes(b"".join(pcapng.encode(mixed)))
    back = Trace.load(tmp_path / "mixed.pcapng")
    for direction in ("sent", "received"):
        expected = [one for one in spoken(wire)[: len(dimse) - 5] if one[0] == direction]
        assert [one for one in spoken(back) if one[0] == direction] == expected


def _halves(packet: pcapng.Packet) -> list[pcapng.Packet]:
    from dataclasses import replace

    half = len(packet.payload) // 2
    first, second = packet.payload[:half], packet.payload[half:]
    return [
        replace(packet, payload=first, size=len(first)),
        replace(packet, payload=second, size=len(second), sequence=packet.sequence + half),
    ]


def test_a_gap_is_told(wire: Trace, tmp_path: Path) -> None:
    packets = list(pcapng.decode(wire.save(tmp_path / "a.pcapng").read_bytes()))
    (tmp_path / "gap.pcapng").write_bytes(b"".join(pcapng.encode(packets[:5] + packets[6:])))
    assert any("missing in the capture" in e.text for e in Trace.load(tmp_path / "gap.pcapng"))


def test_what_can_not_be_read_or_written_is_said(wire: Trace, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be written"):
        wire.save(tmp_path / "no" / "folder.pcapng")
    with pytest.raises(UsageError, match="can't be read"):
        Trace.load(tmp_path / "absent.pcapng")
    (tmp_path / "text.pcapng").write_text("not a capture, but long enough to be looked at")
    with pytest.raises(RemoteProtocolError, match="no pcapng"):
        Trace.load(tmp_path / "text.pcapng")
