"""Whole columns give what their values give one by one."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.cells import cells_of
from dicomlab.model.columns import Column, read

VRS = "AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST SV TM UC UI UL UR US UT UV".split()
RAW = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "CT", " CT ", "1.2.3\0", "20260131", "120000", "Doe^Jane=x", "ü", "1.5", "7", "7.0", "x\\y", "0010,0020"]),
    st.integers(-(2**65), 2**65),
    st.floats(),
    st.booleans(),
    st.binary(max_size=2),
    st.lists(st.integers(), max_size=1),
    st.fixed_dictionaries({}, optional={"Alphabetic": st.sampled_from(["Doe^Jane", "a=b", " ", "Müller", 7, None]), "Phonetic": st.just("x")}),
)  # fmt: skip


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("vm", ["1", "1-n"])
@given(vr=st.sampled_from(VRS), raws=st.lists(st.lists(RAW, max_size=3), max_size=6))
def test_a_column_is_its_values(vm: str, vr: str, raws: list[list[Any]]) -> None:
    column = Column("X", (0x00100020,), vr, vm, None)
    raws = raws + raws  # what comes again comes the short way
    cells, problems = cells_of(column, raws)
    one_by_one = [read(column, values) for values in raws]
    assert len(cells) == len(raws)
    for cell, (expected, _) in zip(cells, one_by_one, strict=True):
        if isinstance(expected, tuple):
            assert isinstance(cell, tuple)
            assert all(same(a, b) for a, b in zip(cell, expected, strict=True))
        else:
            assert same(cell, expected)
    assert [(p.row, p.raw, p.text) for p in problems] == [
        (row, raw, text) for row, (_, found) in enumerate(one_by_one) for raw, text in found
    ]


def test_a_number_that_looks_like_another_is_read_for_itself() -> None:
    text = Column("X", (0x00100020,), "LO", "1", None)
    assert cells_of(text, [["1"], [1], [1.0], [True], ["1"]])[0] == ["1", "1", "1.0", None, "1"]
    decimal = Column("X", (0x00180050,), "DS", "1", None)
    assert cells_of(decimal, [[1.0], [1], [math.inf], ["1"]])[0] == [1.0, 1.0, None, 1.0]
