"""Requests for commitment and their answers as DICOM JSON, and what is neither."""

from __future__ import annotations

import pytest

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.commitment import Committed
from dicomlab.web.commitment_model import answer_from_json, answer_to_json, request_from_json, request_to_json

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_round_trips() -> None:
    references = ((CT, "1.2"), (CT, "1.3"))
    request = request_to_json(references)
    assert list(request) == ["00081199"]
    assert request_from_json(request) == references
    result = Committed(((CT, "1.2"),), {(CT, "1.3"): 0x0112})
    answer = answer_to_json(result)
    assert list(answer) == ["00081198", "00081199"]
    assert answer["00081198"]["Value"][0]["00081197"] == {"vr": "US", "Value": [0x0112]}
    assert answer_from_json(answer) == answer_from_json([answer]) == result
    assert answer_from_json({}) == Committed((), {})


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"00081199": {"vr": "SQ"}},
        {"00081199": {"vr": "SQ", "Value": ["x"]}},
        {"00081199": {"vr": "SQ", "Value": [{}]}},
    ],
)
def test_what_is_no_request(model: dict) -> None:
    with pytest.raises(RemoteProtocolError):
        request_from_json(model)


@pytest.mark.parametrize(
    "model", [None, [], [{}, {}], 7, {"00081198": {"vr": "SQ", "Value": [{"00081150": {"vr": "UI"}}]}}]
)
def test_what_is_no_answer(model: object) -> None:
    with pytest.raises(RemoteProtocolError):
        answer_from_json(model)
