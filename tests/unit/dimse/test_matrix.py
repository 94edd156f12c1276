"""The negotiation on a trace as a table: every context that was proposed, and what came back for it."""

from __future__ import annotations

import pytest

import dicomlab
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.matrix import matrix
from dicomlab.dimse.reader import AssociationReader
from dicomlab.errors import Refused
from dicomlab.model.trace import Channel, Trace

ECHO = "1.2.840.10008.1.1"


def test_it_says_what_the_association_itself_says() -> None:
    with dicomlab.Archive(web_port=None) as archive, dicomlab.trace() as wire:
        agreed = archive.node.negotiate()
    table = wire.negotiation()
    assert [(r.id, r.abstract_syntax, r.proposed, r.accepted) for r in table] == [
        (one.id, one.abstract_syntax, one.proposed, one.accepted) for one in agreed
    ]
    assert {row.result for row in table} >= {"acceptance"}
    assert bool(table)
    assert "✓ acceptance" in repr(table)
    assert "answered by DICOMLAB" in repr(table)


def test_a_rejection_has_its_reason_and_what_came_is_kept() -> None:
    with dicomlab.Archive(web_port=None) as archive, dicomlab.trace() as wire:
        wrong = dicomlab.Node(f"WRONG@{str(archive.node.address).partition('@')[2]}")
        with pytest.raises(Refused):
            wrong.find("study", progress=False)
    table = wire.negotiation()
    assert {row.result for row in table} == {"rejected: called AE title not recognized (permanent)"}
    assert not table
    assert any("rejected" in message.reading.trouble for message in wire.read())


def test_broken_octets_and_other_protocols_are_passed_over() -> None:
    wire = Trace()
    channel = Channel("DIMSE", ("A", "B"), dissect, wire, AssociationReader)
    for octets in (b"", b"\1\0\0\0\0\4abcd", b"\7\0\0\0\0\4\0\0\0\0"):
        channel.tap("sent", octets)
    Channel("HTTP", ("A", "B"), dissect, wire).tap("sent", b"\1\0")
    assert len(matrix(wire)) == 0
    assert repr(matrix(wire)).startswith("Negotiation: 0 of 0")
