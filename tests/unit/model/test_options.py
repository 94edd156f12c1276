"""Settings of the session: what a repr may show of a value that identifies a patient."""

from __future__ import annotations

import re

import pytest

import dicomlab
from dicomlab.errors import UsageError
from dicomlab.model.options import MASK, Options, options


def test_masked_by_default() -> None:
    assert Options().phi == "mask"
    assert dicomlab.options is options
    assert Options().shown("Doe^Jane", fictional=False) == MASK
    assert "Doe" not in MASK


def test_synthetic_patients_are_shown() -> None:
    for phi in ("mask", "hash", "show"):
        assert Options(phi=phi).shown("Doe^Jane", fictional=True) == "Doe^Jane"


def test_show() -> None:
    assert Options(phi="show").shown("Doe^Jane", fictional=False) == "Doe^Jane"


def test_nothing_stays_nothing() -> None:
    for phi in ("mask", "hash", "show"):
        assert Options(phi=phi).shown("", fictional=False) == ""


def test_a_digest_is_the_same_in_one_session_and_no_other() -> None:
    one, other = Options(phi="hash"), Options(phi="hash")
    shown = one.shown("Doe^Jane", fictional=False)
    assert re.fullmatch("#[0-9a-f]{8}", shown)
    assert one.shown("Doe^Jane", fictional=False) == shown
    assert one.shown("Doe^Janet", fictional=False) != shown
    assert other.shown("Doe^Jane", fictional=False) != shown
    assert one.shown("half \ud800 a pair", fictional=False).startswith("#")


@pytest.mark.parametrize("wrong", ["hide", "", None, ["mask"], "MASK", True])
def test_no_other_setting(wrong: object) -> None:
    mine = Options()
    with pytest.raises(UsageError, match=r"options\.phi is one of mask, hash, show"):
        mine.phi = wrong  # type: ignore[assignment]
    assert mine.phi == "mask"
    with pytest.raises(UsageError):
        Options(phi=wrong)  # type: ignore[arg-type]


def test_a_slip_of_the_pen_is_no_new_option() -> None:
    with pytest.raises(AttributeError):
        Options().phy = "show"  # type: ignore[attr-defined]


def test_the_salt_is_not_shown() -> None:
    mine = Options()
    assert repr(mine) == "Options(phi='mask')"
