"""The answers to a query, octets straight into the cells of a table. No I/O.

The rows of one answer look alike, so what an element header stands for is looked up by its octets, and what a short
value became is remembered; whatever is out of the ordinary takes the general way of
:mod:`dicomlab.dimse.identifier` and :func:`dicomlab.model.columns.read`, and so has the same outcome.

Source
------
PS3.4 §C.4.1.1.3.2 (response identifier), PS3.5 §7.1 (data elements), §6.2 (value representations).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dicomlab.dimse.identifier import CHARACTER_SET, TEXT, encodings_of, read_element, without_padding
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import Cells, Column, read
from dicomlab.model.values import PADDING, reader
from dicomlab.part10.meta import IMPLICIT_LE
from dicomlab.part10.walk import LONG_VRS, Element, Walker

_REMEMBERED = 1024
"""Values that are remembered for each column, and headers for each character set."""
_SHORT = 64
"""Octets of a value that is remembered."""
_SKIP, _CHARACTER_SET = -1, -2
_UNREAD: Any = object()

Wrong = list[tuple[int, str, str]]


class _Slot:
    """What an element header stands for: the place of a column, or something that is passed over."""

    __slots__ = ("column", "place", "remembered", "simple", "typed")

    def __init__(self, place: int, column: Column | None = None, vr: str = "") -> None:
        self.place = place
        self.column = column
        self.remembered: dict[bytes, object | None] = {}
        self.typed = reader(column.vr) if column is not None else None
        self.simple = column is not None and vr in TEXT and not column.multiple
        """One value of text, which needs no more than its reader while it is plain ASCII."""


class CellReader:
    """Reads the Identifiers of one answer.

    Parameters
    ----------
    columns : sequence of Column
        Those of the table, in order.
    transfer_syntax : str
        Implicit or Explicit VR Little Endian.
    asked : sequence of Column
        Those that an Identifier is read for.
    known : mapping of str to sequence
        Raw values of others, from the answers above these.
    """

    def __init__(
        self,
        columns: Sequence[Column],
        transfer_syntax: str,
        asked: Sequence[Column],
        known: Mapping[str, Sequence[object]],
    ) -> None:
        self._implicit = transfer_syntax == IMPLICIT_LE
        self._syntax = transfer_syntax
        self._start: list[object | None] = []
        self._wrong: Wrong = []
        for place, column in enumerate(columns):
            cell, wrong = read(column, known.get(column.name, ()))
            self._start.append(cell)
            self._wrong += [(place, *one) for one in wrong]
        places = {column: place for place, column in enumerate(columns)}
        self._wanted: dict[int, list[tuple[int, Column]]] = {}
        for column in asked:
            if column in places:
                self._wanted.setdefault(column.tag, []).append((places[column], column))
        self._plans: dict[bytes, dict[bytes, _Slot]] = {}

    def read(self, octets: bytes) -> Cells:
        """Read one Identifier into the cells of a row.

        Raises
        ------
        RemoteProtocolError
            It is cut or broken. Text that can't be decoded is no error.

        Source
        ------
        PS3.5 §6.1, §6.2, §7.1.
        """
        cells = self._start.copy()
        wrong = self._wrong.copy()
        character_set, at, size = b"", 0, len(octets)
        plan = self._plan(character_set)
        head_size = 4 if self._implicit else 6
        while at < size:
            slot = plan.get(octets[at : at + head_size])
            if slot is None:
                at, character_set = self._rare(octets, at, character_set, plan, cells, wrong)
                plan = self._plan(character_set)
                if at < 0:
                    break
                continue
            if self._implicit:
                length = int.from_bytes(octets[at + 4 : at + 8], "little")
            else:
                length = int.from_bytes(octets[at + 6 : at + 8], "little")
            start = at + 8
            at = start + length
            if at > size or start > size:
                raise RemoteProtocolError("an element is cut", section="PS3.5 §7.1", offset=start)
            place = slot.place
            if place >= 0:
                value = octets[start:at]
                cell = slot.remembered.get(value, _UNREAD)
                cells[place] = self._cell(slot, value, character_set, wrong) if cell is _UNREAD else cell
            elif place == _CHARACTER_SET:
                character_set = octets[start:at]
                plan = self._plan(character_set)
        return Cells(cells, wrong)

    def _plan(self, character_set: bytes) -> dict[bytes, _Slot]:
        plan = self._plans.get(character_set)
        if plan is None:
            if len(self._plans) >= 16:  # no peer changes it with every row, unless to cost us memory
                self._plans.clear()
            plan = self._plans[character_set] = {}
        return plan

    def _cell(self, slot: _Slot, value: bytes, character_set: bytes, wrong: Wrong) -> object | None:
        """One cell that is not remembered yet."""
        column, typed = slot.column, slot.typed
        assert column is not None
        assert typed is not None
        cell: object | None
        if slot.simple and value.isascii() and b"\\" not in value and b"\x1b" not in value:
            text = without_padding(value.decode("ascii"), column.vr)
            if not text.strip(PADDING):
                cell = None
            else:
                try:
                    cell = typed(text)
                except (ValueError, OverflowError) as error:
                    wrong.append((slot.place, text[:200], str(error)))
                    return None
                cell = None if cell == "" else cell
        else:
            element = Element(column.tag, "" if self._implicit else column.vr, 0, 0, len(value))
            raws = read_element(value, element, self._syntax, column, encodings_of(character_set))
            cell, found = read(column, raws)
            if found:
                wrong += [(slot.place, *one) for one in found]
                return cell
        if len(value) <= _SHORT and len(slot.remembered) < _REMEMBERED:
            slot.remembered[value] = cell
        return cell

    def _rare(  # noqa: PLR0917
        self, octets: bytes, at: int, character_set: bytes, plan: dict[bytes, _Slot],
        cells: list[object | None], wrong: Wrong,
    ) -> tuple[int, bytes]:  # fmt: skip
        """An element whose header is met for the first time, or that is read the general way; -1 at the end."""
        walker = Walker(octets, self._syntax)
        if not any(octets[at : at + 2]) and walker.padded(at):
            return -1, character_set
        tag, vr, value, length = walker.header(at, implicit=self._implicit)
        if not tag >> 16:
            raise walker.broken("an element of group 0000, which no data set has", at)
        end = walker.after(tag, value, length, vr, implicit=self._implicit, depth=0)
        element = Element(tag, vr, at, value, end - value)
        if tag == CHARACTER_SET:
            character_set = octets[value:end]
        wanted = self._wanted.get(tag, ())
        for place, column in wanted:
            raws = read_element(octets, element, self._syntax, column, encodings_of(character_set))
            cells[place], found = read(column, raws)
            wrong += [(place, *one) for one in found]
        slot = self._slot(tag, vr, wanted, length)
        if slot is not None and len(plan) < _REMEMBERED:
            plan[octets[at : at + (4 if self._implicit else 6)]] = slot
        return end, character_set

    def _slot(self, tag: int, vr: str, wanted: Sequence[tuple[int, Column]], length: int) -> _Slot | None:
        """What this header will stand for from now on; None where each one needs the general way."""
        if vr.encode() in LONG_VRS or length == 0xFFFFFFFF or tag >> 16 == 0xFFFE:
            return None
        if tag == CHARACTER_SET:
            return _Slot(_CHARACTER_SET) if not wanted else None
        if not wanted:
            return None if self._implicit else _Slot(_SKIP)  # in Implicit VR it may be a sequence the next time
        place, column = wanted[0]
        if len(wanted) > 1 or len(column.path) > 1 or (vr and vr != column.vr):
            return None
        return _Slot(place, column, column.vr)
