"""Extended negotiation of Query/Retrieve."""

from __future__ import annotations

import pytest

from dicomlab.dimse.extended import OPTIONS, answer_options, decode_options, encode_options, shown_options


@pytest.mark.parametrize(
    ("asked", "verb", "octets"),
    [
        ((), "FIND", b""),
        (("relational",), "FIND", b"\1"),
        (("fuzzy",), "FIND", b"\0\0\1"),
        (OPTIONS, "FIND", b"\1\1\1\1\1\1\1"),
        (("multiple",), "FIND", b"\0\0\0\0\0\0\1"),
        (("relational", "fuzzy"), "MOVE", b"\1"),
        (("enhanced",), "GET", b"\0\1"),
        (("fuzzy",), "GET", b""),
    ],
)
def test_each_option_has_its_octet(asked: tuple[str, ...], verb: str, octets: bytes) -> None:
    assert encode_options(asked, verb) == octets
    order = set(OPTIONS) if verb == "FIND" else {"relational", "enhanced"}
    assert decode_options(octets, verb) == set(asked) & order


def test_what_is_granted_is_what_was_asked_and_can_be_done() -> None:
    able = ("relational", "multiple")
    assert answer_options(b"\1\1\1", "FIND", able) == b"\1\0\0"
    assert answer_options(b"\0\0\0\0\0\0\1", "FIND", able) == b"\0\0\0\0\0\0\1"
    assert answer_options(b"\1\1\1\1\1\1\1\1\1", "FIND", able) == b"\1\0\0\0\0\0\1"
    assert answer_options(b"\1\1", "MOVE", able) == b"\1\0"
    assert answer_options(b"\2", "FIND", able) == b"\0"
    assert decode_options(b"\1\1\1\1\1\1\1\1\1", "FIND") == set(OPTIONS)


def test_what_was_granted_is_shown_in_words() -> None:
    assert shown_options(b"\1\0\1", "FIND") == "relational, fuzzy"
    assert shown_options(b"\0\1", "GET") == "enhanced"
    assert shown_options(b"\0", "FIND") == "none"
    assert shown_options(b"\1\0", "") == "01 00"
    assert shown_options(None, "FIND") == ""
