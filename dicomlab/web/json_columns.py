"""Answers in DICOM JSON as columns: only what is wanted is decoded; what the quick way rejects the long way reads.

An answer of thousands of rows costs most where objects are made of what nobody asked for. So the decoder is told the
wanted tags and makes nothing of the others. It rejects a number beyond a double, or a value without its list; then the
whole answer is decoded and taken as it comes.

No I/O.

Source
------
PS3.18 Annex F; §F.2.1.1 (an array of objects), §F.2.2 (element).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.cells import frame_of
from dicomlab.model.columns import Column, Problem, column
from dicomlab.web.json_model import decode, require_few_objects, values_at

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_CELLS = 20_000_000
"""Cells of a table of which nobody said which columns are wanted; rows that each have tags of their own multiply."""

MAX_ROWS = 1_000_000
"""Rows of one answer."""

Raws = dict[str, list[Sequence[object]]]
"""Column name to the raw values of each row."""


class _Element(msgspec.Struct, gc=False):
    """An element of which only plain values matter."""

    Value: list[str | int | float | None] | None = None


class _Any(msgspec.Struct, gc=False):
    """An element whose values may be names or items."""

    Value: list[Any] | None = None


def columns_of(octets: bytes, wanted: Sequence[Column]) -> tuple[Raws, int]:
    """Read an array of rows: for each wanted column the raw values of each row, and how many rows there are.

    Raises
    ------
    RemoteProtocolError
        It is no array of objects.

    Source
    ------
    PS3.18 §F.2.1.1.1.
    """
    whole = frozenset(f"{c.tag:08X}" for c in wanted if c.vr == "PN" or len(c.path) > 1)
    tags = tuple(dict.fromkeys(f"{c.tag:08X}" for c in wanted))
    require_few_objects(octets)
    try:
        found = msgspec.json.decode(octets, type=list[_row_type(tags, whole)])  # type: ignore[misc]
    except (msgspec.DecodeError, RecursionError):
        rows = _plain(octets)
        _require_few_rows(len(rows))
        return {c.name: [values_at(row, c.path) for row in rows] for c in wanted}, len(rows)
    _require_few_rows(len(found))
    raws: Raws = {}
    for one in wanted:
        name = f"t{one.tag:08X}"
        elements = [getattr(row, name) for row in found]
        if len(one.path) == 1:
            raws[one.name] = [element.Value or () if element is not None else () for element in elements]
        else:
            raws[one.name] = [_below(element, one.path) for element in elements]
    return raws, len(found)


def rows(octets: bytes, wanted: Sequence[Column]) -> list[dict[str, Sequence[object]]]:
    """Read an array of rows: for each row the raw values by column name.

    Raises
    ------
    RemoteProtocolError
        It is no array of objects.

    Source
    ------
    PS3.18 §F.2.1.1.1.
    """
    raws, count = columns_of(octets, wanted)
    names = tuple(raws)
    return [dict(zip(names, row, strict=True)) for row in zip(*raws.values(), strict=True)] if names else [{}] * count


def _require_few_rows(count: int) -> None:
    if count > MAX_ROWS:
        raise RemoteProtocolError(f"an answer of {count} rows, the limit is {MAX_ROWS}", section="PS3.18 §8.3.4.4")


@lru_cache(maxsize=64)
def _row_type(tags: tuple[str, ...], whole: frozenset[str]) -> type[msgspec.Struct]:
    fields = [(f"t{tag}", (_Any if tag in whole else _Element) | None, None) for tag in tags]
    return msgspec.defstruct("Row", fields, rename={f"t{tag}": tag for tag in tags}, gc=False)


def _below(element: _Any | None, path: Sequence[int]) -> Sequence[object]:
    if element is None or not element.Value:
        return ()
    return values_at({f"{path[0]:08X}": {"Value": element.Value}}, path)


def _plain(octets: bytes) -> list[dict[str, Any]]:
    plain = decode(octets)
    if not isinstance(plain, list) or not all(isinstance(one, dict) for one in plain):
        raise RemoteProtocolError("the answer is no array of objects", section="PS3.18 §F.2.1")
    return plain


class Table:
    """An answer in DICOM JSON, made a typed table of on request.

    Parameters
    ----------
    octets : bytes
        An array of rows or data sets.

    Source
    ------
    PS3.18 §F.2.1.1.
    """

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def read(self, wanted: Sequence[Column] | None = None) -> tuple[DataFrame, list[Problem]]:
        """Make the typed table, and say which values could not be read.

        Without `wanted` every attribute that fits into a cell is a column. Sequences and binary values fit into none; a
        sequence path picks from them.

        Raises
        ------
        RemoteProtocolError
            It is no array of objects, or has more cells than anybody wants.
        """
        if wanted is None:
            return self._every()
        return frame_of(wanted, *columns_of(self.octets, wanted))

    def _every(self) -> tuple[DataFrame, list[Problem]]:
        rows: Sequence[Mapping[str, Any]]
        require_few_objects(self.octets)
        try:
            rows = msgspec.json.decode(self.octets, type=list[dict[str, _Any]])
            quick = True
        except (msgspec.DecodeError, RecursionError):
            rows, quick = _plain(self.octets), False
        tags = sorted({tag for row in rows for tag in row})
        known = {tag: one for tag in tags if (one := _cell_column(tag))}
        if len(known) * len(rows) > MAX_CELLS:
            raise RemoteProtocolError(
                f"{len(rows)} rows of {len(known)} attributes are too many cells: name the columns that are wanted",
                section="PS3.18 §F.2.1",
            )
        raws: Raws = {}
        for tag, one in known.items():
            if quick:
                raws[one.name] = [(row[tag].Value or ()) if tag in row else () for row in rows]
            else:
                raws[one.name] = [values_at(row, one.path) for row in rows]
        return frame_of(tuple(known.values()), raws, len(rows))


@lru_cache(maxsize=4096)
def _cell_column(tag: str) -> Column | None:
    """The column of a tag; None where it is none, or no cell of a table."""
    try:
        return column(tag)
    except UsageError:
        return None
