"""Many small data sets of one buffer, walked in step: one numpy operation reads the n-th element of all. No I/O.

The records of a DICOMDIR are a hundred or so octets each and there may be a hundred thousand. Walked one after the
other, Python itself is what takes the time; walked in step, it is asked once for each element of the longest record.

Source
------
PS3.5 §7.1 (data elements), §7.5 (items).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_BE
from dicomlab.part10.walk import LONG_VRS, SHORT_VRS, Octets, Walker

Indices = NDArray[np.int64]

_UNDEFINED = 0xFFFFFFFF
_FEW = 24
"""Data sets below which a step of numpy costs more than a plain loop."""
_PADDING = (0x20, 0x00)


def _codes(vrs: Iterable[bytes]) -> NDArray[np.uint16]:
    return np.array(sorted(int.from_bytes(vr, "little") for vr in vrs), dtype=np.uint16)


_SHORT = np.zeros(1 << 16, dtype=bool)
_SHORT[_codes(SHORT_VRS)] = True
_LONG = np.zeros(1 << 16, dtype=bool)
_LONG[_codes(bytes((one, two)) for one in range(65, 91) for two in range(65, 91))] = True  # unknown ones are long
_LONG[_codes(SHORT_VRS)] = False
assert _LONG[_codes(LONG_VRS)].all()


@dataclass(frozen=True, slots=True)
class Values:
    """Where one attribute lies in those data sets that have it."""

    rows: Indices
    """Which data sets, ascending."""
    starts: Indices
    lengths: Indices


@dataclass(slots=True)
class Walked:
    """What a walk in step found."""

    values: dict[int, Values]
    broken: dict[int, str]
    """Data sets that could not be walked to their end, and why; what came before is in ``values``."""


def walk_in_step(octets: Octets, syntax: str, starts: Indices, ends: Indices, tags: Iterable[int]) -> Walked:
    """Find attributes in many data sets of one buffer.

    Parameters
    ----------
    octets : bytes
    syntax : str
        Transfer Syntax UID of the data sets; not deflated.
    starts, ends : array of int, shape (n,)
        Where each data set lies.
    tags : iterable of int
        What is wanted; of a tag that stands twice in a data set, the first counts.

    Returns
    -------
    Walked
        Never raises for what the octets hold.

    Source
    ------
    PS3.5 §7.1.
    """
    wanted = np.array(sorted(set(tags)), dtype=np.int64)
    return _Walk(octets, syntax, wanted).run(starts, ends)


class _Walk:
    def __init__(self, octets: Octets, syntax: str, wanted: Indices) -> None:
        self._octets = np.frombuffer(octets, dtype=np.uint8)
        self._walker = Walker(octets, syntax)
        self._wanted = wanted
        self._order = ">" if syntax == EXPLICIT_BE else "<"
        self._found: list[tuple[Indices, Indices, Indices, Indices]] = []
        self._broken: dict[int, str] = {}

    def run(self, starts: Indices, ends: Indices) -> Walked:
        rows = np.arange(len(starts))
        at, ends = starts.astype(np.int64), ends.astype(np.int64)
        while len(rows) > _FEW:
            rows, at, ends = self._step(rows, at, ends)
        for row, first, end in zip(rows.tolist(), at.tolist(), ends.tolist(), strict=True):
            self._one(row, first, end)
        return Walked(self._grouped(), self._broken)

    def _step(self, rows: Indices, at: Indices, ends: Indices) -> tuple[Indices, Indices, Indices]:
        """Read one element of each data set; give those that go on."""
        live = at < ends
        if not live.all():
            rows, at, ends = rows[live], at[live], ends[live]
        fits = at + 12 <= np.minimum(ends + 4, len(self._octets))
        if not fits.all():  # at its end, or so near to it that the careful walker must look
            for row, first, end in zip(rows[~fits].tolist(), at[~fits].tolist(), ends[~fits].tolist(), strict=True):
                self._one(row, first, end)
            rows, at, ends = rows[fits], at[fits], ends[fits]
        head = self._octets[at[:, None] + np.arange(12)]
        words, longs = head.view(f"{self._order}u2"), head.view(f"{self._order}u4")
        tag = words[:, 0].astype(np.int64) << 16 | words[:, 1]
        if self._walker.implicit:
            value, length, good = at + 8, longs[:, 1].astype(np.int64), np.ones(len(at), dtype=bool)
        else:
            vr = head[:, 4].astype(np.uint16) | head[:, 5].astype(np.uint16) << 8
            short, long = _SHORT[vr], _LONG[vr]
            value = np.where(short, at + 8, at + 12)
            length = np.where(short, words[:, 3], longs[:, 2]).astype(np.int64)
            good = (short | long) & (value <= ends)
        good &= (length != _UNDEFINED) & (value + length <= ends) & (words[:, 0] != 0xFFFE)
        if not good.all():
            for row, first, end in zip(rows[~good].tolist(), at[~good].tolist(), ends[~good].tolist(), strict=True):
                self._one(row, first, end)
            rows, ends, tag, value, length = rows[good], ends[good], tag[good], value[good], length[good]
        self._keep(tag, rows, value, length)
        return rows, value + length, ends

    def _keep(self, tag: Indices, rows: Indices, value: Indices, length: Indices) -> None:
        place = np.searchsorted(self._wanted, tag)
        place[place == len(self._wanted)] = 0
        hit = self._wanted[place] == tag
        self._found.append((place[hit], rows[hit], value[hit], length[hit]))

    def _one(self, row: int, at: int, end: int) -> None:
        """Walk the rest of one data set with care."""
        tags: list[tuple[int, int, int]] = []
        try:
            while at < end:
                tag, vr, value, length = self._walker.header(at, implicit=self._walker.implicit)
                after = self._walker.after(tag, value, length, vr, implicit=self._walker.implicit, depth=0)
                if after > end:
                    raise self._walker.broken("an element reaches beyond its item", at)
                tags.append((tag, value, after - value))
                at = after
        except RemoteProtocolError as error:
            self._broken[row] = str(error)
        if tags:
            tag_, value_, length_ = np.array(tags, dtype=np.int64).T
            self._keep(tag_, np.full(len(tags), row), value_, length_)

    def _grouped(self) -> dict[int, Values]:
        if not self._found:
            return {}
        place, rows, value, length = (np.concatenate(parts) for parts in zip(*self._found, strict=True))
        order = np.argsort(place.astype(np.uint16), kind="stable")  # of small numbers: by radix, in linear time
        place, rows, value, length = place[order], rows[order], value[order], length[order]
        bounds = np.searchsorted(place, np.arange(len(self._wanted) + 1)).tolist()
        found = {}
        for number, tag in enumerate(self._wanted.tolist()):
            part = slice(bounds[number], bounds[number + 1])
            if part.start == part.stop:
                continue
            mine, values, lengths = rows[part], value[part], length[part]
            if not (mine[1:] > mine[:-1]).all():  # found at several steps, or twice in one data set: the first counts
                by_row = np.argsort(mine, kind="stable")
                by_row = by_row[np.concatenate(([True], np.diff(mine[by_row]) > 0))]
                mine, values, lengths = mine[by_row], values[by_row], lengths[by_row]
            found[tag] = Values(mine, values, lengths)
        return found


def trimmed(octets: NDArray[np.uint8], values: Values) -> Values:
    """The same values without padding before and after them.

    Source
    ------
    PS3.5 §6.2 (padding of values to an even length).
    """
    starts, lengths = values.starts.copy(), values.lengths.copy()
    for ahead in (False, True):
        open_ = np.flatnonzero(lengths > 0)
        while len(open_):
            edge = octets[starts[open_] if ahead else starts[open_] + lengths[open_] - 1]
            open_ = open_[(edge == _PADDING[0]) | (edge == _PADDING[1])]
            lengths[open_] -= 1
            starts[open_] += ahead
            open_ = open_[lengths[open_] > 0]
    return Values(values.rows, starts, lengths)


def gathered(octets: NDArray[np.uint8], values: Values) -> tuple[Indices, NDArray[np.uint8]]:
    """The octets of values one after the other, and where each begins (n + 1 offsets).

    Source
    ------
    PS3.5 §6.2.
    """
    offsets = np.zeros(len(values.rows) + 1, dtype=np.int64)
    np.cumsum(values.lengths, out=offsets[1:])
    places = np.repeat(values.starts - offsets[:-1], values.lengths)
    places += np.arange(int(offsets[-1]))
    return offsets, octets[places]


def numbers(octets: NDArray[np.uint8], values: Values, width: int, big: bool) -> NDArray[Any]:
    """Unsigned numbers of 2 or 4 octets; what has another length is 0.

    Source
    ------
    PS3.5 §6.2 (US, UL).
    """
    right = values.lengths == width
    places = np.where(right, values.starts, 0)
    if len(octets) < width:
        return np.zeros(len(places), dtype=np.int64)
    raw = octets[places[:, None] + np.arange(width)].view(f"{'>' if big else '<'}u{width}")[:, 0]
    return np.where(right, raw, 0).astype(np.int64)
