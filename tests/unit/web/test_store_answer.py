"""The answer to a store request, both ways and as servers write it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.store_answer import (
    Failure,
    StoredInstance,
    build_store_answer,
    parse_store_answer,
    words,
)


def test_both_ways() -> None:
    stored = [StoredInstance("1.2", "1.3", "http://h/1.3"), StoredInstance("1.2", "1.4", "", 0xB000)]
    failed = [Failure(0xC122, "1.5", "1.2"), Failure(0xC000)]
    built = build_store_answer(stored, failed, "http://h/studies/1")
    assert list(built) == ["00081190", "00081198", "00081199", "0008119A"]
    answer = parse_store_answer(json.dumps(built).encode())
    assert answer.stored == {"1.3": None, "1.4": 0xB000}
    assert answer.failed == {"1.5": Failure(0xC122, "1.5", "1.2")}
    assert answer.others == [Failure(0xC000)]


def test_empty_sequences_are_left_out() -> None:
    assert build_store_answer([], [], "") == {}


@pytest.mark.parametrize(
    "text", ["{}", '[{"00081198": {"vr": "SQ", "Value": []}}]', '{"00081199": {"vr": "SQ", "Value": [null, 1, {}]}}']
)
def test_answers_that_tell_nothing(text: str) -> None:
    answer = parse_store_answer(text.encode())
    assert not answer.stored
    assert not answer.failed


@pytest.mark.parametrize("text", ["", "[]", "[{},{}]", "7", "<xml/>"])
def test_what_is_no_answer(text: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse_store_answer(text.encode())


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0x0110, "0110H Processing failure"),
        (0xA700, "A700H Out of resources"),
        (0xA7FF, "A7FFH Out of resources"),
        (0xC122, "C122H Referenced Transfer Syntax not supported"),
        (0xC0FE, "C0FEH Cannot understand"),
        (43265, "A901H Data set does not match SOP Class"),
        (45070, "B00EH Failure"),
        (7, "0007H Failure"),
    ],
)
def test_reasons_in_words(code: int, text: str) -> None:
    assert words(code) == text


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=4),
        lambda c: (
            st.lists(c, max_size=3)
            | st.dictionaries(
                st.sampled_from(["Value", "00081199", "00081198", "0008119A", "00081155", "00081197"]), c, max_size=3
            )
        ),
        max_leaves=10,
    )
)
def test_any_json_fails_only_with_remote_protocol_error(value: Any) -> None:
    try:
        answer = parse_store_answer(json.dumps(value).encode())
    except RemoteProtocolError:
        return
    assert all(isinstance(uid, str) for uid in answer.stored)
