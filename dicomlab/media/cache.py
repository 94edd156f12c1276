"""An index as Parquet: where it lies, how it is written part by part while a scan goes on, and read again.

A scan writes into a folder of its own, ``<number>.part``, one file for each 4096 rows; when it is whole the folder
loses the suffix, and what was before it is removed. A scan that was killed leaves its parts, and the next one starts
from them. An index holds names of patients, as the data do: nobody but the owner may open its folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dicomlab.errors import Interrupted, UsageError
from dicomlab.media.chunk import FACTS, Batch
from dicomlab.media.index import Collector, Index
from dicomlab.media.listing import INDEX_NAME

VERSION = 1
"""Of what a row means: an index of another version is not read."""

PART_ROWS = 1 << 12
"""Rows of one file; what a kill loses at most."""
PART_S = 30.0
"""Seconds after which a file is written though it is not full."""
CACHE_FROM_ROWS = 1000
"""Files below which nothing is kept by default: to read them again takes no longer than to read an index."""

_HELD_OCTETS = 1 << 23
"""Octets of parts, packed, up to which they are held in memory: 8 MiB, some hundred thousand rows."""

_PART_SUFFIX = ".part"
_NUMBERS = frozenset({"size", "mtime_ns", "octets", "padding", "offset", "meta_length", "pixel_offset", "pixel_length"})
_KEY = b"dicomlab"


def place_of(root: Path, cache: bool | str | os.PathLike[str]) -> Path | None:
    """Where the index of a folder lies.

    Parameters
    ----------
    root : path
    cache : bool, "beside" or path
        True: in the user's cache folder, or in that which the variable ``DICOMLAB_CACHE`` names (``off``: nowhere).
        "beside": in the folder itself. A path: below that folder. False: nowhere.

    Raises
    ------
    UsageError
        None of these.
    """
    if cache is False:
        return None
    if cache == "beside":
        return root / INDEX_NAME if root.is_dir() else None
    if isinstance(cache, str | os.PathLike):
        folder = Path(cache)
    elif cache is True:
        named = os.environ.get("DICOMLAB_CACHE", "")
        if named.lower() == "off":
            return None
        if named:
            folder = Path(named)
        else:
            from platformdirs import user_cache_path

            folder = user_cache_path("dicomlab", appauthor=False) / "media"
    else:
        raise UsageError(f'cache is True, False, "beside" or a folder, not {cache!r}')
    return folder / hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:24]


def _schema(names: Iterable[str]) -> Any:
    import pyarrow as pa

    def kind(name: str) -> Any:
        if name == "path":
            return pa.binary()  # a file system's names need not be text
        return pa.int64() if name in _NUMBERS else pa.string()

    names = tuple(names)
    about = json.dumps({"version": VERSION, "names": names[len(FACTS) :]})
    return pa.schema([(name, kind(name)) for name in names], metadata={_KEY: about.encode()})


def _write(path: Path, batch: Batch, names: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(names)
    columns = []
    for field in schema:
        values = batch[field.name]
        if field.name == "path":
            values = [value.encode("utf-8", "surrogateescape") for value in values]
        columns.append(pa.array(values, field.type))
    part = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), part, compression="zstd")
    part.replace(path)


class Parts:
    """Takes the rows of a scan and keeps at most one part of them in memory.

    Parameters
    ----------
    place : Path
        The folder of the index of this root.
    names : tuple of str
        The attributes.
    from_rows : int
        Rows below which nothing is written.
    """

    def __init__(self, place: Path, names: tuple[str, ...], *, from_rows: int = 0) -> None:
        self._place, self._from_rows = place, from_rows
        self._rows = Collector(names)
        self._folder: Path | None = None
        self._written: list[Path] = []
        self._since = time.monotonic()
        self._lock: int | None = None
        self.all_names = self._rows.all_names
        self.broken = ""
        """Why nothing can be written (any more)."""

    def add(self, batch: Batch) -> None:
        """Add rows."""
        self._rows.add(batch)
        total = self._rows.rows + len(self._written) * PART_ROWS
        if self.broken or total < self._from_rows:
            return
        late = time.monotonic() - self._since > PART_S
        if self._rows.rows >= PART_ROWS or (late and self._rows.rows >= self._from_rows):
            self._flush()

    def _flush(self) -> None:
        self._since = time.monotonic()
        batch = self._rows.take()
        try:
            path = (self._folder or self._begin()) / f"part-{len(self._written):05}.parquet"
            _write(path, batch, self.all_names)
            self._written.append(path)
        except Exception as error:  # noqa: BLE001  (full disc, no permission, what Arrow raises: the scan goes on without)
            self.broken = f"the index can't be kept in {self._place}: {error}"
            self._rows.add(batch)

    def _begin(self) -> Path:
        """Make a folder for the parts; of two scans of one root at once the first keeps its index."""
        self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = os.open(self._place / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        with suppress(ImportError):
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder = self._place / f"{secrets.token_hex(6)}{_PART_SUFFIX}"
        folder.mkdir(mode=0o700)
        self._folder = folder
        return folder

    def release(self) -> None:
        """Let other scans of this root keep their index, however this one ended."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _end(self) -> Index:
        self.release()
        return self._index()

    def suspend(self) -> Index:
        """The scan ends before it is whole: keep the parts for the next one."""
        if self._folder is not None and self._rows.rows and not self.broken:
            self._flush()
        return self._end()

    def finish(self) -> Index:
        """The scan is whole."""
        enough = self._rows.rows + len(self._written) * PART_ROWS >= self._from_rows
        if self._rows.rows and enough and not self.broken:
            self._flush()
        if self._folder is not None and not self.broken:
            whole = self._folder.with_suffix("")
            try:
                self._folder.replace(whole)
            except OSError as error:
                self.broken = f"the index can't be kept in {self._place}: {error}"
            else:
                self._written = [whole / path.name for path in self._written]
                for other in self._place.iterdir():
                    if other != whole and other.is_dir():
                        shutil.rmtree(other, ignore_errors=True)
        return self._end()

    def _index(self) -> Index:
        index = self._rows.index()
        if not self._written:
            return index
        loaded = _index_of(self._written, tuple(self.all_names[len(FACTS) :]))
        if not len(index):
            return loaded
        batch = {name: loaded[name] + index[name] for name in self.all_names}
        return Index(index.names, batch)


def load(place: Path, names: Iterable[str]) -> tuple[Index | None, bool]:
    """What is known of a folder from scans before.

    Parameters
    ----------
    place : Path
    names : iterable of str
        The attributes that are wanted: an index that lacks one of them is no help.

    Returns
    -------
    (Index or None, whole)
        Of a scan that came to its end, and of one after it that was killed.
    """
    wanted = set(names)
    whole: list[Path] = []
    parts: list[Path] = []
    held: tuple[str, ...] | None = None
    with suppress(OSError):
        for folder in sorted(place.iterdir(), key=lambda path: (path.suffix == _PART_SUFFIX, path.name)):
            for path in sorted(folder.glob("part-*.parquet")):
                found = _names_in(path)
                if found is None or not wanted <= set(found) or (held is not None and set(found) != set(held)):
                    continue
                held = held or found
                (parts if folder.suffix == _PART_SUFFIX else whole).append(path)
    if held is None:
        return None, False
    return _index_of([*whole, *parts], held), not parts


def _names_in(path: Path) -> tuple[str, ...] | None:
    import pyarrow.parquet as pq

    try:
        about = json.loads((pq.read_schema(path).metadata or {})[_KEY])
        names = tuple(str(name) for name in about["names"])
        return names if about["version"] == VERSION else None
    except Exception:  # noqa: BLE001  (a file that is cut, or somebody else's: as though it were not there)
        return None


def _index_of(paths: Sequence[Path], names: tuple[str, ...]) -> Index:
    """The index of some parts, each column read when it is asked for."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = [name for name in (*FACTS, *names) if name not in _NUMBERS and name != "path"]

    def opened(source: Any) -> Any:
        return pq.ParquetFile(source, read_dictionary=texts)

    held: list[bytes] = []
    files: list[Any] = []
    with suppress(OSError):
        if sum(path.stat().st_size for path in paths) <= _HELD_OCTETS:  # another scan may then replace them
            held = [path.read_bytes() for path in paths]

    def column(name: str) -> list[Any]:
        try:
            if held:
                files.extend(opened(pa.BufferReader(octets)) for octets in held[len(files) :])
                return [value for file in files for value in _column(file, name)]
            found = []
            for path in paths:
                with opened(path) as file:
                    found += _column(file, name)
            return found
        except Exception as error:
            text = "the index of this folder is damaged or gone; scan(cache=False) reads the files themselves"
            raise Interrupted(text, endpoint=str(paths[0].parent.parent)) from error

    return Index(names, {}, column)


def _column(file: Any, name: str) -> list[Any]:
    array = file.read(columns=[name]).column(0).combine_chunks()
    if name == "path":
        return [value.decode("utf-8", "surrogateescape") for value in array.to_pylist()]
    if name in _NUMBERS:
        found: list[Any] = array.to_numpy(zero_copy_only=False).tolist()
        return found
    values = [*array.dictionary.to_pylist(), None]
    return list(map(values.__getitem__, array.indices.fill_null(len(values) - 1).to_numpy().tolist()))
