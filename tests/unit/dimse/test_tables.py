"""The registries behind their one door."""

from __future__ import annotations

import pytest
from pydicom.uid import UID, CTImageStorage

from dicomlab.dimse import tables


@pytest.mark.parametrize(
    ("code", "verb", "kind", "text"),
    [
        (0x0000, "STORE", "success", "0000H Success"),
        (0xA700, "STORE", "failure", "A700H Refused: Out of Resources"),
        (0xA801, "MOVE", "failure", "A801H Move destination unknown"),
        (0xB000, "STORE", "warning", "B000H Coercion of Data Elements"),
        (0xFE00, "FIND", "cancel", "FE00H Cancel"),
        (0xFF00, "GET", "pending", "FF00H Sub-operations are continuing"),
        (0x0122, "ECHO", "failure", "0122H Refused: SOP Class Not Supported"),
        (0xC0FF, "FIND", "failure", "C0FFH Unable to Process"),
        (0x1234, "FIND", "failure", "1234H Failure"),
    ],
)
def test_a_status_in_the_standards_words(code: int, verb: str, kind: str, text: str) -> None:
    assert tables.category(code) == kind
    assert tables.status_text(code, verb).startswith(text)
    assert tables.status_text(code, verb, "disk").endswith(" (disk)")
    assert tables.advice(code)


def test_what_is_a_storage_class() -> None:
    assert tables.STORAGE[CTImageStorage] == "CTImageStorage"
    assert set(tables.COMMON_STORAGE) <= set(tables.STORAGE)
    assert tables.VERIFICATION not in tables.STORAGE
    assert not set(tables.MODELS.values()) & set(tables.STORAGE)


def test_each_syntax_is_proposed_once_for_a_class() -> None:
    proposed = [uid for family in tables.GET_FAMILIES for uid in family]
    assert sorted(proposed) == sorted(tables.SYNTAXES)
    assert len(set(proposed)) == len(proposed)
    assert all(UID(uid).is_transfer_syntax for uid in proposed)
    assert "1.2.840.10008.1.2.1.99" not in proposed
