"""The wire trace: a bounded ring at the tap, meaning when somebody asks."""

from __future__ import annotations

import gc
import itertools
import threading
import weakref

import pytest

import dicomlab
from dicomlab.errors import RemoteProtocolError
from dicomlab.model import trace as module
from dicomlab.model.trace import Trace, current, open_channel, trace


def dissect(octets: bytes) -> str:
    return f"MESSAGE-{octets[:1].hex()}: {len(octets)} octets"


def test_off_means_inert() -> None:
    assert current() is None
    channel = open_channel("ul", "LAB1", "PACS", dissect)
    assert channel.trace is None
    channel.tap("sent", b"x")
    channel.note("a plan")


def test_what_crosses_is_kept_and_read_later() -> None:
    asked: list[bytes] = []

    def slow(octets: bytes) -> str:
        asked.append(octets)
        return dissect(octets)

    with trace() as wire:
        assert current() is wire
        channel = open_channel("ul", "LAB1", "PACS", slow)
        channel.tap("sent", b"\x01abc")
        channel.tap("received", memoryview(bytearray(b"\x02abcde")))
        channel.note("two queries, their union")
    assert current() is None
    assert not asked
    sent, received, note = wire
    assert [e.text for e in (sent, received, note)] == [
        "MESSAGE-01: 4 octets",
        "MESSAGE-02: 6 octets",
        "two queries, their union",
    ]
    assert [e.parties for e in (sent, received, note)] == [("LAB1", "PACS"), ("PACS", "LAB1"), ("LAB1", "PACS")]
    assert (len(wire), wire.octets, wire.dropped) == (3, 10, 0)
    assert wire.counts() == {"MESSAGE-01": 1, "MESSAGE-02": 1}
    assert sent.at_ns <= received.at_ns <= note.at_ns


def test_octets_are_copied_at_the_tap() -> None:
    wire = Trace()
    buffer = bytearray(b"before")
    module.Channel("ul", ("a", "b"), dissect, wire).tap("sent", buffer)
    buffer[:] = b"after!"
    assert next(iter(wire)).octets == b"before"


def test_octets_that_cannot_change_are_kept_as_they_are() -> None:
    wire = Trace(cap_octets=4)
    channel = module.Channel("ul", ("a", "b"), dissect, wire)
    short, long = bytes([1, 2, 3, 4]), bytes([1, 2, 3, 4, 5])
    channel.tap("sent", short)
    channel.tap("sent", long)
    first, second = wire
    assert first.octets is short
    assert second.octets == short  # and what is longer is not held


def test_a_trace_goes_with_its_last_owner_and_needs_no_collector() -> None:
    wire = Trace()
    channel = module.Channel("ul", ("a", "b"), dissect, wire)
    channel.tap("sent", b"1")
    [event], gone = wire, weakref.ref(wire)
    assert event.channel.conversation is channel.conversation
    gc.disable()
    try:
        del wire, channel
        assert gone() is None
    finally:
        gc.enable()
    assert (event.text, event.parties) == ("MESSAGE-31: 1 octets", ("a", "b"))


def test_the_ring_is_bounded() -> None:
    wire = Trace(max_events=3)
    channel = module.Channel("ul", ("a", "b"), dissect, wire)
    for n in range(5):
        channel.tap("sent", bytes([n]))
    assert [e.octets[0] for e in wire] == [2, 3, 4]
    assert (len(wire), wire.dropped) == (3, 2)
    assert "2 older events fell out of the ring" in repr(wire)


def test_each_event_is_capped_and_says_its_size() -> None:
    wire = Trace(cap_octets=4)
    module.Channel("ul", ("a", "b"), dissect, wire).tap("received", b"x" * 1000)
    [event] = wire
    assert (event.octets, event.size, wire.octets) == (b"xxxx", 1000, 1000)


def test_a_note_that_the_cap_cuts_can_still_be_read() -> None:
    wire = Trace(cap_octets=3)
    channel = module.Channel("ul", ("a", "b"), dissect, wire)
    channel.note("äö")  # four octets, cut in the midst of a letter
    channel.note("half \ud800 a pair"[:6])
    assert [e.text for e in wire] == ["ä\ufffd", "hal"]
    assert wire.octets == 0
    assert not wire.counts()


def test_octets_that_cannot_be_dissected_are_no_error() -> None:
    def fail(octets: bytes) -> str:
        raise RemoteProtocolError("no PDU", section="PS3.8 §9.3", offset=0)

    wire = Trace()
    module.Channel("ul", ("a", "b"), fail, wire).tap("received", b"\xff")
    assert next(iter(wire)).text == "unreadable: no PDU [PS3.8 §9.3, octet 0]"
    assert "unreadable" in repr(wire)
    assert wire.counts() == {"unreadable": 1}


def test_repr_shows_who_what_when() -> None:
    clock = itertools.count(5_000_000, 1_500_000)
    wire = Trace(clock_ns=lambda: next(clock))
    channel = module.Channel("ul", ("LAB1", "PACS"), dissect, wire)
    channel.tap("sent", b"\x01")
    channel.tap("received", b"\x02")
    channel.note("done\x1b[0m")
    text = repr(wire)
    lines = text.splitlines()
    assert lines[:3] == ["Trace", "  messages  3", "  octets    2"]
    assert lines[-3].split() == ["0", "0.0", "LAB1", "→", "PACS", "MESSAGE-01:", "1", "octets", "1"]
    assert lines[-2].split() == ["1", "1.5", "PACS", "→", "LAB1", "MESSAGE-02:", "1", "octets", "1"]
    assert lines[-1].split() == ["2", "3.0", "plan", "done\\x1b[0m"]


def test_repr_is_bounded_and_decodes_no_more_than_it_shows() -> None:
    asked = 0

    def count(octets: bytes) -> str:
        nonlocal asked
        asked += 1
        return "M"

    wire = Trace()
    channel = module.Channel("ul", ("a", "b"), count, wire)
    for _ in range(5000):
        channel.tap("sent", b"x")
    assert len(repr(wire).splitlines()) < 40
    assert asked <= 50
    assert repr(Trace()).splitlines()[0] == "Trace"


def test_nested_traces_and_what_is_after() -> None:
    with trace() as outer:
        with trace() as inner:
            open_channel("ul", "a", "b", dissect).tap("sent", b"1")
        open_channel("ul", "a", "b", dissect).tap("sent", b"22")
    assert (inner.octets, outer.octets) == (1, 2)
    with pytest.raises(RuntimeError), trace():
        raise RuntimeError
    assert current() is None


def test_another_thread_has_a_trace_of_its_own() -> None:
    seen: list[object] = []
    with dicomlab.trace() as wire:
        thread = threading.Thread(target=lambda: seen.append(current()))
        thread.start()
        thread.join()
        assert current() is wire
    assert seen == [None]


def test_a_channel_keeps_its_trace_in_other_threads() -> None:
    with trace() as wire:
        channel = open_channel("ul", "a", "b", dissect)
        threads = [threading.Thread(target=lambda: [channel.tap("sent", b"xx") for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        lengths = [len(list(wire)) for _ in range(200)]  # reading while taps append is no error
        for thread in threads:
            thread.join()
    assert lengths == sorted(lengths)
    assert (len(wire), wire.octets, wire.dropped) == (2000, 4000, 0)
