"""Whole columns of raw values read at once: what :func:`dicomlab.model.columns.read` says of each, sooner. No I/O.

Most values of an answer are plain, or come again and again; those take a short way that gives what the long one gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import TYPE_CHECKING, Any

from dicomlab.errors import DicomlabError
from dicomlab.model.columns import Cells, Column, Problem, array_of, read
from dicomlab.model.values import DECIMAL, INTEGER, PADDING

if TYPE_CHECKING:
    from pandas import DataFrame

_NOT_PLAIN = INTEGER | DECIMAL | frozenset("DA TM DT PN AT LT ST UT".split())
_NEW = object()


def frame_of(
    columns: Sequence[Column], raws: Mapping[str, Sequence[Sequence[object]]], count: int
) -> tuple[DataFrame, list[Problem]]:
    """Make the typed table of rows that lie in columns.

    Parameters
    ----------
    columns : sequence of Column
    raws : mapping
        Column name to the raw values of each row; a name that is absent is NA.
    count : int
        Rows.

    Returns
    -------
    (DataFrame, problems)
    """
    import pandas as pd

    arrays: dict[str, Any] = {}
    found: list[Problem] = []
    for column in columns:
        cells, problems = cells_of(column, raws.get(column.name) or [()] * count)
        arrays[column.name] = array_of(column, cells)
        found += problems
    return pd.DataFrame(arrays, index=pd.RangeIndex(count)), sorted(found, key=lambda problem: problem.row or 0)


def cells_of(column: Column, raws: Sequence[Sequence[object]]) -> tuple[list[object | None], list[Problem]]:
    """Read one column.

    Parameters
    ----------
    column : Column
    raws : sequence
        The raw values of each row, as :func:`dicomlab.model.columns.read` takes them.

    Returns
    -------
    (cells, problems)

    Source
    ------
    PS3.5 §6.2 (value representations), §6.4 (multiplicity).
    """
    cells: list[object | None] = []
    problems: list[Problem] = []
    seen: dict[object, object | None] = {}
    brief = _tuples(column) if column.multiple else _single(column)
    for row, values in enumerate(raws):
        if not values:
            cells.append(None)
            continue
        cell = brief(values, seen)
        if cell is _NEW:
            cell, found = read(column, values)
            problems += [Problem(row, column.name, raw, text) for raw, text in found]
            if not found and len(values) == 1 and not column.multiple and type(values[0]) is str:
                seen[values[0]] = cell
            elif not found and column.multiple and all(type(one) is str for one in values):
                seen[tuple(values)] = cell
        cells.append(cell)
    return cells, problems


def typed_rows(
    columns: Sequence[Column], rows: Iterable[Mapping[str, Sequence[object]]], at_once: int
) -> Iterator[Cells]:
    """Type rows as they come, so many at once, column by column.

    Parameters
    ----------
    columns : sequence of Column
    rows : iterable
        Column name to raw values; a name that is absent is NA. Where it fails, what came before is given first.
    at_once : int
        Rows that may wait for one another.
    """
    waiting: list[Mapping[str, Sequence[object]]] = []
    try:
        for row in rows:
            waiting.append(row)
            if len(waiting) >= at_once:
                yield from _typed(columns, waiting)
                waiting = []
    except DicomlabError:
        yield from _typed(columns, waiting)
        raise
    yield from _typed(columns, waiting)


def _typed(columns: Sequence[Column], rows: Sequence[Mapping[str, Sequence[object]]]) -> Iterator[Cells]:
    by_column: list[list[object | None]] = []
    wrong: dict[int, list[tuple[int, str, str]]] = {}
    for place, column in enumerate(columns):
        cells, problems = cells_of(column, [row.get(column.name, ()) for row in rows])
        by_column.append(cells)
        for one in problems:
            wrong.setdefault(one.row or 0, []).append((place, one.raw, one.text))
    for at, cells_of_row in enumerate(zip(*by_column, strict=True)):
        yield Cells(list(cells_of_row), wrong.get(at, ()))


_Brief = Callable[[Sequence[object], dict[object, object | None]], object | None]


def _single(column: Column) -> _Brief:
    """The short way for columns of one value."""
    vr = column.vr
    if vr in INTEGER and vr != "UV":
        return lambda values, seen: (
            one
            if len(values) == 1 and type(one := values[0]) is int and -(2**63) <= one < 2**63
            else _known(values, seen)
        )
    if vr in DECIMAL:
        return lambda values, seen: (
            one if len(values) == 1 and type(one := values[0]) is float and isfinite(one) else _known(values, seen)
        )
    if vr not in _NOT_PLAIN:
        return lambda values, seen: (
            one.strip(PADDING) or None
            if len(values) == 1 and type(one := values[0]) is str and one.isascii()
            else _known(values, seen)
        )
    return _person if vr == "PN" else _known


def _known(values: Sequence[object], seen: dict[object, object | None]) -> object | None:
    """A single text that was read before."""
    return seen.get(one, _NEW) if len(values) == 1 and type(one := values[0]) is str else _NEW


def _person(values: Sequence[object], seen: dict[object, object | None]) -> object | None:
    """A plain name as the JSON Model has it, or text that was read before."""
    one = values[0]
    if len(values) == 1 and type(one) is dict:
        name = one.get("Alphabetic")
        return name.strip(PADDING) or None if type(name) is str and name.isascii() and "=" not in name else _NEW
    return _known(values, seen)


def _tuples(column: Column) -> _Brief:
    """The short way for columns of tuples."""
    if column.vr in DECIMAL:
        return lambda values, seen: (
            tuple(values) if all(type(one) is float and isfinite(one) for one in values) else _known_tuple(values, seen)
        )
    return _known_tuple


def _known_tuple(values: Sequence[object], seen: dict[object, object | None]) -> object | None:
    """Texts that were read before."""
    return seen.get(tuple(values), _NEW) if all(type(one) is str for one in values) else _NEW
