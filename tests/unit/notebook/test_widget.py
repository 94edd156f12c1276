"""Live faces without a browser: what a page may send, what stays behind, what a stored notebook shows."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from comm import get_comm_manager
from ipywidgets.widgets import widget

from dicomlab import Archive, Broadcast, Cohort, LiveStream, Trace, UsageError, inspect
from dicomlab.archive.store import Arrived
from dicomlab.errors import MissingExtra
from dicomlab.model.progress import Control, Operation, Work
from dicomlab.notebook import pace as pace_room
from dicomlab.notebook import pump as pump_room
from dicomlab.notebook import widget as widget_room
from dicomlab.notebook.browser import CohortBrowser
from dicomlab.notebook.transfer import watch
from dicomlab.notebook.viewer import header_rows
from dicomlab.notebook.widget import Face
from dicomlab.rtv.preview import Preview
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets

VIEW = "application/vnd.jupyter.widget-view+json"


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    step = threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        step.wait(0.01)


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive() as made:
        made.add([phantom_datasets(patients=2, slices=4)], progress=False).raise_for_failures()
        yield made


@pytest.fixture
def live() -> Iterator[LiveStream]:
    frames = list(endoscopy_frames(4, 64, 48))
    with Broadcast(frames, rate_hz=50, loop=True, fictional=True, **PATIENT) as cast:
        stream = LiveStream(cast)
        stream.start()
        cast.start()
        yield stream
        stream.close()


def browser(archive: Archive, **options: Any) -> CohortBrowser:
    names = ["PatientID", "PatientName"]
    return archive.node.find("study", progress=False, include=names).browse(**options)


FACES: dict[str, Callable[[Archive, LiveStream], Face]] = {
    "browser": lambda archive, live: browser(archive),
    "viewer": lambda archive, live: archive.media.volumes(progress=False)[0].view().wait(),
    "player": lambda archive, live: live.play(),
    "dashboard": lambda archive, live: archive.dashboard(),
    "transfer": lambda archive, live: watch(_goes_on()),
    "wire": lambda archive, live: Trace().live(),
    "elements": lambda archive, live: inspect(next(iter(phantom_datasets(patients=1, slices=1)))).live(),
}


def _goes_on() -> Operation[None]:
    """An operation that ends only when it is told to."""

    def work(control: Control) -> None:
        control.advance()
        while not control.wait(60):
            pass

    return Work("go on", "steps", work, total=2).carry_out(background=True)


def _left() -> tuple[set[threading.Thread], int, set[str]]:
    """Threads, sockets and channels of this process; an operation in the background is its caller's."""
    threads = {t for t in threading.enumerate() if t.name.startswith("dicomlab") and t.name != "dicomlab go on"}
    return threads, len(psutil.Process().net_connections("inet")), set(get_comm_manager().comms)


def _visible(face: Face, view: str = "one", *, visible: bool = True) -> None:
    face._take({"kind": "view", "view": view, "visible": visible})


@pytest.mark.parametrize("name", FACES)
def test_what_nobody_holds_or_sees_goes(name: str, archive: Archive, live: LiveStream) -> None:
    before, models = _left(), set(widget._instances)
    face = FACES[name](archive, live)
    alive = weakref.ref(face)
    assert _left()[2] > before[2]
    del face
    gc.collect()
    until(lambda: alive() is None)
    assert set(widget._instances) == models
    until(lambda: _left() == before)


@pytest.mark.parametrize("name", FACES)
def test_what_is_shown_stays_until_its_views_go(name: str, archive: Archive, live: LiveStream) -> None:
    face = FACES[name](archive, live)
    face._repr_mimebundle_()
    _visible(face)
    alive = weakref.ref(face)
    del face
    gc.collect()
    assert alive() is not None
    alive()._take({"kind": "view", "view": "one", "gone": True})
    until(lambda: gc.collect() is not None and alive() is None)


@pytest.mark.parametrize("name", FACES)
def test_close_ends_it_and_its_twin_stays(name: str, archive: Archive, live: LiveStream) -> None:
    before = _left()
    face = FACES[name](archive, live)
    bundle = face._repr_mimebundle_()
    _visible(face)
    assert {"text/plain", "text/html", VIEW} == set(bundle)
    assert len(bundle["text/html"].encode()) <= 24_000
    face.close()
    face.close()
    assert face.closed
    stored = face._repr_mimebundle_()
    assert VIEW not in stored
    assert "closed" in stored["text/plain"]
    until(lambda: _left() == before)


@pytest.mark.parametrize("name", FACES)
def test_a_view_that_goes_without_a_word_is_seen_no_more(
    name: str, archive: Archive, live: LiveStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FACES[name](archive, live) as face:
        _visible(face)
        assert face.visible
        monkeypatch.setattr(widget_room, "_LEASE_S", -1.0)
        assert not face.visible
        if name == "player":
            until(lambda: not face._pump.visible)
        monkeypatch.undo()
        _visible(face)  # it was only slow
        assert face.visible


def test_a_cell_that_runs_keeps_views_from_being_heard(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    with archive.dashboard() as board:
        _visible(board)
        monkeypatch.setattr(widget_room, "_LEASE_S", -1.0)
        widget_room._before_cell(None)
        assert board.visible
        widget_room._after_cell(None)
        assert not board.visible


def test_pages_that_went_make_room_for_others(archive: Archive) -> None:
    """The one that was heard least of late; who says that it is still there is answered, and nothing is sent anew."""
    with archive.dashboard() as board:
        sent: list[Any] = []
        board._channel.send = lambda content, buffers=None: sent.append(content["kind"])
        for number in range(100):
            _visible(board, str(number), visible=number > 90)
        assert len(board._views) == 32
        assert {str(number) for number in range(91, 100)} < set(board._views)
        sent.clear()
        _visible(board, "99")
        assert sent == ["here"]


def test_what_goes_on_while_nobody_looks_is_told_once_somebody_does(archive: Archive) -> None:
    with archive.dashboard() as board:
        board._repr_mimebundle_()
        _visible(board)
        _visible(board, visible=False)
        archive.add([phantom_datasets(patients=1, slices=1, seed=31)], progress=False)
        until(lambda: len(board.state["recent"]) > 0)
        assert board._channel.state["recent"] == []
        _visible(board)
        assert board._channel.state == board.state
        _visible(board, visible=False)
        board._tell(note="what somebody did is told at once")
        assert board._channel.state == board.state


@pytest.mark.parametrize("name", FACES)
@pytest.mark.parametrize(
    "message",
    [
        {"kind": "view"}, {"kind": "view", "view": ["x"]}, {"kind": "rows", "version": 1, "start": "a", "stop": None},
        {"kind": "rows", "version": 1, "start": -5, "stop": 10**12}, {"kind": "pick", "how": "only", "version": 1, "row": 10**9},
        {"kind": "planes", "chosen": 0, "planes": [[0, "q", 1], [9, "z", 0], [0, "z", -1]]}, {"kind": "planes", "chosen": 0, "planes": 5},
        {"kind": "at", "at": {"z": 10**9, "step": -1, "y": 0, "x": 0, "axis": "z"}, "window": [0, 1]},
        {"kind": "at", "at": {"z": 0, "step": 0, "y": 0, "x": 0, "axis": "__class__"}, "window": [float("nan"), -1]},
        {"kind": "ack", "pictures": [{"n": "one", "shown": True, "ago_ms": 0}]}, {"kind": "ack", "pictures": {"n": 1}}, {"kind": "ack"},
        {"kind": "ack", "pictures": [{"n": 10**12, "shown": True, "ago_ms": -1e300}] * 1000}, {"kind": "place", "width": 1e300},
        {"kind": "mode", "mode": "<script>"}, {"kind": "sort", "name": "__class__", "descending": 1}, {"kind": "choose", "number": 10**9},
        {"kind": "header", "step": 10**9, "z": -10**9}, {"kind": "record", "on": True}, {"kind": "retrieve"}, {"kind": "close"},
        {"kind": "__init__"}, {"kind": 5}, {},
    ],
    ids=str,
)  # fmt: skip
def test_no_message_of_a_page_breaks_it(name: str, message: dict[str, Any], archive: Archive, live: LiveStream) -> None:
    with FACES[name](archive, live) as face:
        face._take(message)
        assert not face.closed


def test_state_and_twin_mask_patients(archive: Archive) -> None:
    with browser(archive) as face:
        face._tree.open_all()
        sent: list[Any] = []
        face._channel.send = lambda content, buffers=None: sent.append(content)
        face._take({"kind": "rows", "version": face._version, "start": 0, "stop": 100})
        said = str(sent) + str(face.state) + face._repr_mimebundle_()["text/html"]
        assert "•••" in said
        assert "Synthetic^" not in said
        assert "SYN-00" not in said
    shown = header_rows(archive.media.volumes(progress=False)[0], 0, 0)
    assert {keyword: value for _, keyword, value in shown}["PatientName"] == "•••"


def test_a_page_gets_no_more_rows_than_any_can_show(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomlab.notebook.browser.MAX_ROWS", 3)
    with browser(archive) as face:
        face._take({"kind": "all", "open": True})
        assert len(face._seen_rows[0]) > 3
        sent: list[Any] = []
        face._channel.send = lambda content, buffers=None: sent.append(content)
        for asked in ({"start": 0, "stop": 10**9}, {"start": 1, "stop": 3}):
            face._take({"kind": "rows", "version": face._version, **asked})
        assert [len(one["rows"]) for one in sent] == [3, 2]


def drawn(*pictures: dict[str, Any], ago_ms: Sequence[float] = (0, 0, 0)) -> dict[str, Any]:
    """What a page says of pictures that it has drawn."""
    told = [{"n": one["n"], "shown": True, "ago_ms": ms} for one, ms in zip(pictures, ago_ms, strict=False)]
    return {"kind": "ack", "pictures": told}


def test_a_player_sends_no_more_than_the_page_has_room_for(live: LiveStream) -> None:
    with live.play() as player:
        sent: list[dict[str, Any]] = []
        player._pump._send = lambda content, buffers: sent.append(content)
        player._take({"kind": "view", "view": "one", "visible": True})
        until(lambda: player.figures["passed_over"] > 10)
        assert len(sent) == 1  # the first travels alone: how long it takes is how long the way is
        player._take(drawn(sent[0]))
        before = player.figures["received"]
        until(lambda: len(sent) == 3 and player.figures["received"] > before + 20)
        assert len(sent) <= 1 + player._pump.window
        assert player.figures["shown"] == 1


def test_pictures_are_acknowledged_together_and_each_when_it_was_drawn(live: LiveStream) -> None:
    with live.play() as player:
        sent: list[dict[str, Any]] = []
        player._pump._send = lambda content, buffers: sent.append(content)
        player._take({"kind": "view", "view": "one", "visible": True})
        until(lambda: len(sent) == 1)
        player._take(drawn(sent[0]))
        until(lambda: len(sent) == 3)
        player._take(drawn(*sent[1:3], ago_ms=(400, 100)))
        older, newer = list(player._pump.pace.trips)[-2:]
        assert newer.at_s - older.at_s == pytest.approx(0.3, abs=0.05)
        assert player.figures["shown"] == 3
        until(lambda: len(sent) >= 5)
        player._take(drawn(*sent[3:5], ago_ms=(float("nan"), float("inf"))))
        assert all(0 <= trip.at_s <= time.monotonic() for trip in player._pump.pace.trips)


def test_a_view_that_comes_to_a_paused_player_has_a_picture(live: LiveStream) -> None:
    with live.play() as player:
        sent: list[dict[str, Any]] = []
        player._pump._send = lambda content, buffers: sent.append(content)
        player.pause()
        until(lambda: player.figures["received"] > 2)
        player._take({"kind": "view", "view": "one", "visible": True})
        player._take({"kind": "place", "width": 64, "h264": False})
        until(lambda: len(sent) == 1)
        before = player.figures["received"]
        player._take(drawn(sent[0]))
        until(lambda: player.figures["received"] > before + 5)
        assert len(sent) == 1


def test_a_player_forgets_pictures_that_nobody_acknowledges(live: LiveStream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace_room, "LOST_S", 0.05)
    with live.play() as player:
        player._take({"kind": "view", "view": "one", "visible": True})
        until(lambda: player.figures["lost"] >= 4)


def test_auto_does_without_h264_where_it_can_not_be_had(live: LiveStream, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_here(*_: Any, **__: Any) -> Any:
        raise MissingExtra("no encoder here")

    monkeypatch.setattr(pump_room, "LiveEncoder", none_here)
    sent: list[dict[str, Any]] = []
    with live.play() as player:
        player._pump._send = lambda content, buffers: sent.append(content)
        player._pump.pace.rung = 1
        player._take({"kind": "place", "width": 64, "h264": True})
        assert player._pump.mode == "h264"
        player._take({"kind": "view", "view": "one", "visible": True})
        until(lambda: len(sent) == 1)
        assert (sent[0]["mode"], sent[0]["width"], player._pump.error) == ("jpeg", 32, "")
        player._take({"kind": "mode", "mode": "h264"})  # who asks for it is told that there is none
        player._take(drawn(sent[0]))
        until(lambda: player._pump.error == "no encoder here")
        assert player._pump.mode == "jpeg"


def test_statistics_follow_acknowledgements_and_come_without_any(live: LiveStream) -> None:
    """What both make a page draw is drawn at once: with every message they come, but not more often than is told."""
    told: list[str] = []
    with live.play() as player:
        player._channel.send = lambda content, buffers=None: told.append(content["kind"])
        player._take({"kind": "view", "view": "one", "visible": True})
        until(lambda: told.count("statistics") >= 3)  # nobody acknowledges anything
        player._ticker.stop()
        before = told.count("statistics")
        player._told_s = -np.inf  # long ago
        player._take({"kind": "ack", "pictures": []})
        assert told.count("statistics") == before + 1
        player._take({"kind": "ack", "pictures": []})
        assert told.count("statistics") == before + 1


def test_what_never_came_is_magenta(live: LiveStream) -> None:
    frame = next(live.frames(1)).copy()
    octets = len(frame.packed)
    y, blue, red = pump_room.shown_planes(replace(frame, gaps=((0, octets // 2),)), Preview())
    assert (y[:20] == 105).all()
    assert (blue[:10] == 212).all()
    assert (red[:10] == 235).all()
    assert not (y[30:] == 105).all()


def test_options_that_can_not_be(live: LiveStream, archive: Archive) -> None:
    for wrong in ({"mode": "gif"}, {"quality": 0}):
        with pytest.raises(UsageError):
            live.play(**wrong)
    with live.play() as player, pytest.raises(UsageError, match="folder"):
        player.record()
    with browser(archive) as face:
        with pytest.raises(UsageError, match="somewhere"):
            face.retrieve()
        with pytest.raises(UsageError, match="no column"):
            face.sort("Nothing")
    volume = archive.media.volumes(progress=False)[0]
    with volume.view() as viewer:
        with pytest.raises(UsageError, match="z=99"):
            viewer.show(z=99)
        with pytest.raises(UsageError, match="width"):
            viewer.show(window=(0, 0))
    with pytest.raises(UsageError, match="overlay"):
        volume.view(overlay=np.zeros((1, 2, 3), int))


def test_the_dashboard_says_who_sent(archive: Archive) -> None:
    with archive.dashboard() as board:
        archive.node.store(list(phantom_datasets(patients=1, slices=2, seed=7)), progress=False)
        archive.add([phantom_datasets(patients=1, slices=1, seed=8)], progress=False)
        assert board.sources == {"LAB1": 3, "add": 2}
        assert "Synthetic^" not in str(board.state) + repr(board)


def test_a_report_is_viewed(archive: Archive, tmp_path: Path) -> None:
    report = archive.node.find("series", progress=False, Modality="CT").retrieve(tmp_path, progress=False)
    with report.view() as viewer:
        assert len(viewer.volumes) == len(report.media.volumes(progress=False)) > 1


def test_nobody_sends_more_senders_than_are_shown(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomlab.notebook.dashboard.MAX_SOURCES", 2)
    with archive.dashboard() as board:
        for number in range(4):
            archive._opened().store._tell(_arrived(archive, f"AE{number}"))
        assert board.sources == {"AE0": 1, "AE1": 1, "others": 2}


def _arrived(archive: Archive, source: str) -> Any:
    entry = archive._opened().store.index.select({})[0]
    return Arrived(entry.held, source, entry.header)


def test_text_reaches_a_page_as_it_may_be_shown(tmp_path: Path) -> None:
    sly = "a\u202eb\x07"
    with Archive(tmp_path / sly) as kept, kept.dashboard() as board:
        assert dict(board.state["doors"])["folder"].endswith("a\\x202eb\\x07")
    table = pd.DataFrame({"StudyInstanceUID": ["1.2", "1.3"], sly: ["2", "1"], "x" * 100_000: ["1", "2"]})
    note = sly + "x" * 100_000
    with Cohort(table, level="study", complete=False, note=note).browse() as browser:
        columns = browser.state["columns"]
        assert columns[0] == "a\\x202eb\\x07"
        assert max(map(len, columns)) < 1_000
        assert browser.state["cut"].startswith("a\\x202eb")
        assert browser.state["cut"].endswith("… (100004 characters)")
        browser._take({"kind": "sort", "name": columns[0], "descending": False})  # a page has no other name for it
        assert browser._tree._sort == (sly, False)
