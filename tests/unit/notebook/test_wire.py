"""The live wire's side in the kernel: windows, filters, masks, bounds, and its stored form."""

from __future__ import annotations

import gc
import json
import weakref

import pytest

import dicomlab
from dicomlab.model.trace import Channel, Trace
from dicomlab.notebook.wire import KEPT, WireView

from .test_html import HOSTILE
from .test_ladder import conversation


def filled(count: int = 500, *, fictional: bool = False) -> tuple[Trace, Channel]:
    wire = Trace()
    channel = conversation(wire, fictional=fictional)
    for number in range(count):
        channel.tap("sent" if number % 2 else "received", f"message {number} Doe^Jane".encode())
    return wire, channel


def test_it_gives_the_window_that_is_asked_for_and_follows() -> None:
    wire, channel = filled()
    view = WireView(wire)
    first = view.rows({"start": 490, "count": 50})
    assert (first["total"], first["of"], len(first["rows"]), first["rows"][0][0]) == (500, 500, 10, 490)
    channel.note("a plan")
    later = view.rows({"start": 500, "count": 5})
    assert later["rows"] == [[500, later["rows"][0][1], 0, "", -1, -1, "plan: a plan", ""]]
    assert len(view.rows({"start": 0, "count": 10_000})["rows"]) == 200
    view.close()


def test_it_filters_by_words_protocol_and_trouble() -> None:
    with dicomlab.Archive() as archive, dicomlab.trace() as wire:
        archive.node.verify()
        archive.web.verify()
    view = WireView(wire)
    everything = view.rows({"count": 200})
    assert everything["protocols"] == ["DIMSE", "HTTP"]
    assert 0 < view.rows({"count": 200, "protocol": "HTTP"})["total"] < everything["total"]
    assert {row[6].split(":")[0] for row in view.rows({"count": 200, "text": "c-ECHO"})["rows"]} == {
        "C-ECHO-RQ",
        "C-ECHO-RSP",
    }
    troubled = view.rows({"count": 200, "trouble": True})["rows"]
    assert [row[0] for row in troubled] == [row[0] for row in everything["rows"] if row[7]]
    assert view.rows({"count": 200, "text": "nothing says this"})["total"] == 0
    view.close()


@pytest.mark.parametrize("fictional", [False, True])
def test_octets_of_patients_never_leave_the_kernel(fictional: bool) -> None:
    with dicomlab.Archive(web_port=None) as archive:
        archive.node.fictional = archive.web.fictional = fictional
        with dicomlab.trace() as wire:
            archive.node.find("study", PatientID="SYN7", progress=False)
            archive.web.find("study", PatientID="SYN7", progress=False)
    view = WireView(wire)
    rows = view.rows({"count": 200})
    shown = json.dumps([rows, *(view.opened(number) for number in range(len(wire)))])
    assert ("SYN7" in shown) is fictional
    assert (b"SYN7".hex() in shown) is fictional
    view.close()


def test_what_no_page_of_ours_sends_is_passed_over() -> None:
    wire, _ = filled(3)
    view = WireView(wire)
    for content in ({"kind": "rows", "start": "x", "count": None}, {"kind": "open", "number": 99}, {"kind": "open"},
                    {"kind": "rows", "text": {"a": 1}}, {"kind": "nothing"}, {}):  # fmt: skip
        view._take(content)
    assert view.selected is None
    view.rows({"count": 5})
    view._take({"kind": "open", "number": 2})
    assert view.selected == 2
    view._take({"kind": "closed"})
    assert view.selected is None
    view.close()


def test_its_stored_form_is_the_ladder() -> None:
    wire = Trace()
    conversation(wire, HOSTILE, fictional=True).tap("sent", HOSTILE.encode())
    with WireView(wire) as view:
        bundle = view._repr_mimebundle_()
    assert bundle["text/html"] == wire._repr_html_()
    assert bundle["text/plain"] == repr(wire)
    assert "application/vnd.jupyter.widget-view+json" in bundle


def test_it_is_bounded_and_leaves_nothing_behind() -> None:
    wire = Trace(max_events=50)
    channel = conversation(wire)
    view = WireView(wire)
    for number in range(200):
        channel.tap("sent", b"%d" % number)
        if number % 40 == 0:
            view.rows({"count": 1})
    told = view.rows({"start": 0, "count": 200})
    assert told["dropped"] == 150
    assert told["rows"][-1][0] == 199
    assert len(view._messages) <= KEPT
    gone = weakref.ref(view)
    view.close()
    del view
    gc.collect()
    assert gone() is None
