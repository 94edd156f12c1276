"""Answers straight into cells: whatever an Identifier holds, they are what the general way makes of it."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicomlab.dimse.cells import CellReader
from dicomlab.dimse.identifier import encode_tree, read_row
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import Cells, columns, read

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
NAMES = """PatientName PatientID StudyDate StudyTime StudyInstanceUID ModalitiesInStudy StudyDescription
NumberOfStudyRelatedInstances Rows SliceThickness PatientComments FrameIncrementPointer AcquisitionDateTime
SpecificCharacterSet RequestAttributesSequence.ScheduledProcedureStepID""".split()
COLUMNS = columns(NAMES)

_characters = st.sampled_from([b"", b"ISO_IR 100", b"ISO_IR 192", b"\\ISO 2022 IR 87", b"GB18030", b"ISO_IR 999"])
_plain = st.sampled_from(
    [b"", b" ", b"CT", b"CT\\MR", b"20260131", b"2026.01.31", b"10", b"101500.25", b"-1.5e3", b"seven", b"1.2.3\0",
     b"M\xfcller^J\xfcrgen", "Müller^Jürgen=山田".encode(), b"\x1b$B;3ED\x1b(B^Tarou", b"\t x ", b"0\\", b"\\",
     "王".encode("gb18030"), b"99999999999999999999", b"A" * 70]
)  # fmt: skip
_octets = _plain | st.binary(max_size=12)
_TEXTS = [0x00100010, 0x00100020, 0x00080020, 0x00080030, 0x0020000D, 0x00080061, 0x00081030, 0x00201208, 0x00180050,
          0x00104000, 0x0008002A]  # fmt: skip


def element(tag: int, value: bytes, syntax: str, vr: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    head = (tag >> 16).to_bytes(2, "little") + (tag & 0xFFFF).to_bytes(2, "little")
    if syntax == IMPLICIT:
        return head + len(value).to_bytes(4, "little") + value
    return head + vr + len(value).to_bytes(2, "little") + value


def typed(row: dict[str, list[object]]) -> Cells:
    found = [read(column, row.get(column.name, ())) for column in COLUMNS]
    wrong = [(place, *one) for place, (_, problems) in enumerate(found) for one in problems]
    return Cells([cell for cell, _ in found], wrong)


VRS = {one.tag: one.vr.encode() for one in COLUMNS}


@st.composite
def identifiers(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A few rows of one answer: mostly alike, some with VRs of their own, some with elements that nobody asked for."""
    syntax = draw(st.sampled_from([IMPLICIT, EXPLICIT]))
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        parts = [element(0x00080005, draw(_characters), syntax, b"CS")] if draw(st.booleans()) else []
        parts.append(element(0x00080052, b"STUDY", syntax, b"CS"))
        for tag in draw(st.lists(st.sampled_from(_TEXTS), max_size=8, unique=True)):
            vr = draw(st.sampled_from([VRS[tag]] * 5 + [b"LO", b"SH"]))
            parts.append(element(tag, draw(_octets), syntax, vr))
        if draw(st.booleans()):
            parts.append(element(0x00280010, draw(st.binary(max_size=5)), syntax, b"US"))
            parts.append(element(0x00280009, draw(st.binary(max_size=9)), syntax, b"AT"))
        if draw(st.booleans()):
            tree = {0x00400275: ("SQ", [{0x00400009: ("SH", ["S1"])}, {}])}
            parts.append(encode_tree(tree, syntax))
        rows.append(b"".join(parts))
    return syntax, rows


@given(identifiers())
@example((IMPLICIT, [element(0x00080020, b"\0\1", IMPLICIT, b"DA")]))
def test_cells_are_what_the_general_way_makes_of_it(case: tuple[str, list[bytes]]) -> None:
    syntax, rows = case
    reader = CellReader(COLUMNS, syntax, COLUMNS, {})
    for _ in range(2):  # the second time from memory
        for octets in rows:
            expected = typed(read_row(octets, syntax, COLUMNS))
            found = reader.read(octets)
            assert found.cells == expected.cells
            assert sorted(set(found.problems)) == sorted(set(expected.problems))


@given(identifiers(), st.integers(0, 10_000), st.integers(0, 255))
def test_no_mutation_fails_in_another_way(case: tuple[str, list[bytes]], at: int, value: int) -> None:
    syntax, rows = case
    reader = CellReader(COLUMNS, syntax, COLUMNS, {})
    for octets in rows:
        broken = bytearray(octets)
        broken[at % len(broken)] = value
        with suppress(RemoteProtocolError):
            assert isinstance(reader.read(bytes(broken)), Cells)
        with suppress(RemoteProtocolError):
            reader.read(bytes(broken[: at % len(broken)]))


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_row_cut_anywhere_is_refused_or_ends_between_elements(syntax: str) -> None:
    octets = b"".join(element(tag, b"1.50", syntax, VRS[tag]) for tag in sorted(_TEXTS))
    size = len(octets) // len(_TEXTS)
    reader = CellReader(COLUMNS, syntax, COLUMNS, {})
    reader.read(octets)
    for end in range(1, len(octets)):
        if end % size:
            with pytest.raises(RemoteProtocolError):
                reader.read(octets[:end])
        else:
            reader.read(octets[:end])


def test_what_stands_above_is_filled_in_and_what_was_not_asked_for_is_not() -> None:
    asked = columns(["StudyDate"])
    reader = CellReader(COLUMNS, EXPLICIT, asked, {"PatientID": ["P1"], "StudyTime": ["never"]})
    octets = element(0x00080020, b"20260131", EXPLICIT, b"DA") + element(0x00100020, b"P2", EXPLICIT, b"LO")
    cells, problems = reader.read(octets)
    assert cells[NAMES.index("PatientID")] == "P1"
    assert str(cells[NAMES.index("StudyDate")])[:10] == "2026-01-31"
    assert problems == [(NAMES.index("StudyTime"), "never", "not a time (TM)")]


def test_memory_is_bounded_whatever_a_peer_sends() -> None:
    reader = CellReader(COLUMNS, EXPLICIT, COLUMNS, {})
    for number in range(3000):
        text = str(number).encode()
        row = element(0x00080005, text, EXPLICIT, b"CS") + element(0x00100020, text, EXPLICIT, b"LO")
        row += element(0x00090000 + number * 4, text, EXPLICIT, b"LO")
        assert reader.read(row).cells[NAMES.index("PatientID")] == str(number)
    held = [slot for plan in reader._plans.values() for slot in plan.values()]
    assert len(held) < 16 * 1024
    assert all(len(slot.remembered) <= 1024 for slot in held)
