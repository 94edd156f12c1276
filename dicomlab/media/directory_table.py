"""The records of a DICOMDIR as a table: one row each, with what stands in the records above it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dicomlab.media.dicomdir import LINKS, READ_KEYS, Directory, above
from dicomlab.media.lockstep import Indices
from dicomlab.media.records import KEYS
from dicomlab.model.columns import Column, column, read, series_of

if TYPE_CHECKING:
    from pandas import DataFrame

_NEXT, _IN_USE, _LOWER, _TYPE, _FILE_ID, *_REFERENCED = LINKS
_UPPER = {column(keyword).name: kind for kind in ("PATIENT", "STUDY", "SERIES") for keyword, _ in KEYS[kind]}
"""Keys that the records below inherit, and from which type of record."""


def directory_frame(directory: Directory) -> DataFrame:
    """One row for each record, in the order of the file.

    Parameters
    ----------
    directory : Directory

    Returns
    -------
    DataFrame
        ``DirectoryRecordType``, ``path`` (the File ID with ``/``), the keys of the patient, study and series that the
        record stands below, its own keys, what it refers to, ``offset`` (octets), ``parent`` (row number), ``orphan``
        and ``in_use``. Typed as everywhere; keys that no record has are left out.
    """
    import pandas as pd

    kinds = directory.strings(_TYPE)
    owners = above(directory, kinds)
    own = np.arange(len(directory))
    parts: dict[str, Any] = {_TYPE.name: _cells(directory, _TYPE, own)}
    parts["path"] = _paths(directory)
    for one in READ_KEYS:
        if one.tag in directory.values:
            parts[one.name] = _cells(directory, one, owners.get(_UPPER.get(one.name, ""), own))
    for one in _REFERENCED:
        parts[one.name] = _cells(directory, one, own)
    parts["offset"] = pd.array(directory.starts, dtype="Int64")
    parts["parent"] = pd.arrays.IntegerArray(directory.parents.astype(np.int64), directory.parents < 0)
    parts["orphan"] = directory.orphans
    parts["in_use"] = directory.in_use
    return pd.DataFrame(parts, copy=False)


def _cells(directory: Directory, one: Column, owners: Indices) -> Any:
    """The typed cells of one column; `owners` says from which record each row takes its own."""
    import pandas as pd

    if one.vr in ("US", "UL"):
        values = directory.strings(one)
        typed = series_of(one, [read(one, (value,))[0] for value in values.values()]).array
        return typed.take(_places(np.array(list(values), dtype=np.int64), owners, len(directory)), allow_fill=True)
    rows, texts = _arrow(directory, one)
    places = _places(rows, owners, len(directory))
    if one.dtype == "str" and one.vr not in ("TM", "PN", "AT"):
        return _strings(texts, places)
    encoded = texts.dictionary_encode()
    cells = [read(one, raw.split("\\") if one.multiple else (raw,))[0] for raw in encoded.dictionary.to_pylist()]
    codes = encoded.indices.to_numpy()
    taken = np.where(places >= 0, codes[places], -1) if len(codes) else places
    if one.dtype == "str":
        import pyarrow as pa

        return _strings(pa.array(cells, pa.large_string()), taken)
    ready: Any = pd.array(series_of(one, cells))
    return ready.take(taken, allow_fill=True)


def _places(rows: Indices, owners: Indices, size: int) -> Indices:
    """Where each row finds its value among those of `rows`; -1 for none."""
    inverse = np.full(size + 1, -1)  # the last is what an owner of -1 finds
    inverse[rows] = np.arange(len(rows))
    found: Indices = inverse[owners]
    return found


def _arrow(directory: Directory, one: Column) -> tuple[Indices, Any]:
    import pyarrow as pa

    rows, offsets, octets = directory.texts(one)
    buffers = [None, pa.py_buffer(np.ascontiguousarray(offsets, dtype=np.int64)), pa.py_buffer(octets)]
    return rows, pa.LargeStringArray.from_buffers(len(rows), buffers[1], buffers[2])


def _strings(texts: Any, places: Indices) -> Any:
    import pandas as pd
    import pyarrow as pa

    taken = texts.take(pa.array(places, mask=places < 0))
    return pd.array(pa.chunked_array([taken]), dtype="str")


def _paths(directory: Directory) -> Any:
    import pyarrow.compute as pc

    rows, texts = _arrow(directory, _FILE_ID)
    size = len(directory)
    return _strings(pc.replace_substring(texts, "\\", "/"), _places(rows, np.arange(size), size))
