"""The URI Service."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from dicomlab.part10.meta import EXPLICIT_LE
from tests.unit.web.origin.images import image, ramp, report
from tests.unit.web.origin.test_rendered import FRAMES, WINDOW

ONE = "/?requestType=WADO&studyUID=1.2.3.1&seriesUID=1.2.3.1.1&objectUID=1.2.3.1.1."


@pytest.mark.parametrize("number", [1, 7, 8])
def test_an_instance_as_dicom(local: Any, number: int) -> None:
    answer = local.get(f"{ONE}{number}&contentType=application/dicom")
    assert answer.headers["Content-Type"] == f"application/dicom; transfer-syntax={EXPLICIT_LE}"
    assert dcmread(BytesIO(answer.content)).SOPInstanceUID == f"1.2.3.1.1.{number}"


def test_a_transfer_syntax(local: Any) -> None:
    jpeg = "1.2.840.10008.1.2.4.50"
    assert local.get(f"{ONE}9&contentType=application/dicom&transferSyntax={jpeg}").status_code == 200
    assert local.get(f"{ONE}1&contentType=application/dicom&transferSyntax={jpeg}").status_code == 406


def test_rendered(local: Any, hold: Any) -> None:
    hold(image(ramp(), **WINDOW))
    answer = local.get(ONE + "100")
    assert answer.headers["Content-Type"] == "image/jpeg"
    small = local.get(ONE + "100&contentType=image/png&columns=64&rows=64&windowCenter=64&windowWidth=128")
    shown = np.asarray(Image.open(BytesIO(small.content)))
    assert shown.shape == (1, 64)
    assert shown[0, -1] == 255
    cut = local.get(ONE + "100&contentType=image/png&region=0.5,0,1,1")
    assert np.asarray(Image.open(BytesIO(cut.content)))[0, 0] == 128
    hold(image(FRAMES, number=101, **WINDOW))
    frame = local.get(ONE + "101&contentType=image/png&frameNumber=3")
    assert np.asarray(Image.open(BytesIO(frame.content))).max() == 30
    hold(report())
    assert "finding" in local.get(ONE + "200&contentType=text/html").text


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("/?requestType=WADO&studyUID=1.2.3.1", 400),
        (ONE + "1&contentType=application/dicom&anonymize=yes", 400),
        (ONE + "1&presentationUID=1.2&presentationSeriesUID=1.3", 400),
        (ONE + "../../x", 400),
        (ONE + "999", 404),
        (ONE + "100&frameNumber=2", 404),
        (ONE + "100&frameNumber=0", 400),
        (ONE + "100&frameNumber=1,2", 400),
        (ONE + "100&windowCenter=1", 400),
        (ONE + "100&contentType=video/mp4", 406),
        ("/wado" + ONE[1:] + "100", 200),
        ("/wado?requestType=OTHER", 404),
    ],
)
def test_what_it_answers(local: Any, hold: Any, query: str, status: int) -> None:
    hold(image(ramp(), **WINDOW))
    answer = local.get(query)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert len(answer.json()["error"]) > 10
    assert "Müller" not in answer.text or status == 200
