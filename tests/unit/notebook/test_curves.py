"""Numbers of frames as curves: which are read, which are drawn, and what hostile metadata make of them."""

from __future__ import annotations

import json
import math
from base64 import b64decode
from dataclasses import replace
from fractions import Fraction
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.dataelem import DataElement

from dicomlab import Broadcast, LiveStream
from dicomlab.notebook.curves import DRAWN, MOST_CURVES, Curves, drawing, numbers_of
from dicomlab.rtv.frames import Frame, FrameMetadata
from dicomlab.rtv.metadata import CameraPosition, RtvMeta
from dicomlab.rtv.video import VideoFormat
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from tests.unit.notebook.test_widget import until

META = RtvMeta("1.2.840.10008.10.1", "2.25.1", UUID(int=1), UUID(int=2), "1.2.840.10008.1.2.7.1")


def frame_with(dynamic: Dataset | None) -> Frame:
    video = VideoFormat(16, 16, Fraction(30))
    metadata = FrameMetadata(META, dynamic, None) if dynamic is not None else None
    return Frame(video, 0, np.zeros(video.frame_octets, np.uint8), metadata=metadata)


def item(**keywords: Any) -> Dataset:
    made = Dataset()
    for name, value in keywords.items():
        setattr(made, name, value)
    return made


def test_numbers_are_named_by_keyword_and_component() -> None:
    camera = item(ViewpointPosition=[1.5, -2.0, 0.25])
    content = item(FrameAcquisitionNumber=7, FrameAcquisitionDuration=33.3, FrameComments="8")
    dynamic = item(FrameContentSequence=[content], CameraPositionGroupSequence=[camera])
    assert numbers_of(frame_with(dynamic)) == {
        "FrameAcquisitionNumber": 7.0, "FrameAcquisitionDuration": 33.3,
        "ViewpointPosition x": 1.5, "ViewpointPosition y": -2.0, "ViewpointPosition z": 0.25,
    }  # fmt: skip


def test_a_frame_without_metadata_has_none() -> None:
    assert numbers_of(frame_with(None)) == {}


def test_hostile_metadata_stay_small_and_finite() -> None:
    deep = item(FrameAcquisitionDuration=1.0)
    for _ in range(20):
        deep = item(FrameContentSequence=[deep])
    assert numbers_of(frame_with(deep)) == {}
    many = Dataset()
    for number in range(200):
        many.add(DataElement(0x00990010 + (number << 1), "FD", float(number)))
    assert len(numbers_of(frame_with(many))) == MOST_CURVES
    wrong = item(FrameAcquisitionDuration=math.nan)
    wrong.add(DataElement(0x00189074 + 2, "FD", math.inf))
    wrong.add(DataElement(0x00990012, "FL", [1.0] * 10_000))
    found = numbers_of(frame_with(wrong))
    assert set(found) == {f"(0099,0012) {n}" for n in range(1, 7)}
    json.dumps(found, allow_nan=False)


def test_drawn_are_those_that_change() -> None:
    curves = Curves()
    for at in range(3):
        curves.add({"still": 1.0, **{f"moves {n}": at * n + 1.0 for n in range(1, 6)}, "later": 5.0})
    assert [name for name, _ in curves.drawn()] == [f"moves {n}" for n in range(1, 1 + DRAWN)]
    still = Curves()
    still.add({"still": 1.0})
    assert still.drawn() == [("still", [1.0])]


def test_no_page_can_make_curves_without_end() -> None:
    curves = Curves()
    for number in range(1000):
        curves.add({f"name {number}": float(number)})
    assert len(curves._kept) <= MOST_CURVES + 2
    assert all(len(kept) <= 60 for kept in curves._kept.values())


@pytest.mark.parametrize("values", [[], [None], [1.0], [1.0, 1.0], [1e300, -1e300], [1.0, None, -3.5, 2.0]], ids=str)
def test_a_drawing_is_a_picture_that_says_its_last_value(values: list[float | None]) -> None:
    made = drawing("<script>x</script>", values)
    assert "<script>" not in made
    root = ElementTree.fromstring(b64decode(made.split("base64,")[1].split('"')[0]))
    path = root[0].get("d")
    assert path is not None
    assert "nan" not in path
    assert "inf" not in path
    known = [value for value in values if value is not None]
    assert (f"{known[-1]:.4g}" if known else "nothing yet") in made
    assert path.count("M") == sum(
        value is not None and (at == 0 or values[at - 1] is None) for at, value in enumerate(values)
    )


def test_a_player_tells_them_and_keeps_them_in_its_twin() -> None:
    def camera(number: int) -> dict[str, Any]:
        where = (float(number), 0.0, 1.0)
        return {"camera": CameraPosition("PERSPECTIVE", where, (0, 0, 0), (0, 1, 0), (-1, 1, 1, -1, 1, 100))}

    frames = list(endoscopy_frames(4, 640, 480))
    with Broadcast(frames, rate_hz=50, loop=True, fictional=True, per_frame=camera, **PATIENT) as cast:
        stream = LiveStream(cast)
        with stream.play() as player:
            cast.start()
            told: list[dict[str, Any]] = []
            player._channel.send = lambda content, buffers=None: told.append(content)
            player._take({"kind": "view", "view": "one", "visible": True})
            until(lambda: len(player._curves._kept.get("ViewpointPosition x", ())) > 65 or len(told) > 20)
            numbers = [dict(one["numbers"]) for one in told if one["kind"] == "statistics"]
            assert len({one["ViewpointPosition x"] for one in numbers if one}) > 3
            html = player._repr_mimebundle_()["text/html"]
            assert "ViewpointPosition x" in html
            assert "jitter, ms" in html
            assert "packets lost, /s: 0" in html  # loss is drawn where there is none, too
            assert html.count("image/svg+xml") >= 3
            assert len(html.encode()) <= 24_000


def test_a_frame_keeps_its_numbers_when_the_next_has_none() -> None:
    curves = Curves()
    curves.add(numbers_of(frame_with(item(FrameAcquisitionNumber=1))))
    curves.add(numbers_of(replace(frame_with(None), timestamp=1)))
    assert curves.drawn() == [("FrameAcquisitionNumber", [1.0, None])]
