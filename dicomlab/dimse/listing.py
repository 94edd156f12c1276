"""Worklists as Identifiers: keys in sequences, what matches them, and what is given of it. No I/O.

Source
------
PS3.4 §K.4.1, §K.6.1.2 (Modality Worklist), §CC.2.8 (UPS); §C.2.2.2 (matching), §C.2.2.2.6 (sequence matching).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydicom.datadict import tag_for_keyword

from dicomlab.dimse.identifier import Tree, values_of_text
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.request import value_of_key
from dicomlab.dimse.tree import decode_tree, tree_of_values
from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.columns import Column, column
from dicomlab.model.matching import matches
from dicomlab.model.query import Key, key_of
from dicomlab.model.worklist import STEP_KEYWORDS, STEP_SEQUENCE

DOES_NOT_MATCH = 0xA900
"""Identifier does not match SOP Class."""
_NO_KEYS = (0x00080005, 0x00080052, 0x00080201)
_START_DATE, _START_TIME = 0x00400002, 0x00400003
STEP_TAGS = frozenset(tag_for_keyword(name) or 0 for name in STEP_KEYWORDS)


# --- steps, flat and nested ------------------------------------------------------------------------------------------


def nested(flat: Tree) -> Tree:
    """Put the attributes of the step into the Scheduled Procedure Step Sequence, where they are not in one already.

    Source
    ------
    PS3.4 Table K.6-1.
    """
    if STEP_SEQUENCE in flat:
        return flat
    item = {tag: entry for tag, entry in flat.items() if tag not in STEP_TAGS}
    step = {tag: entry for tag, entry in flat.items() if tag in STEP_TAGS}
    return {**item, STEP_SEQUENCE: ("SQ", [step])}


def flat(item: Tree) -> Iterator[Tree]:
    """Give each step of a worklist item with what stands beside it: as a rule there is one.

    Source
    ------
    PS3.4 Table K.6-1.
    """
    around = {tag: entry for tag, entry in item.items() if tag != STEP_SEQUENCE}
    for step in item.get(STEP_SEQUENCE, ("SQ", []))[1] or [{}]:
        yield {**around, **step}


def tree_of_keys(keys: Mapping[Column, str]) -> Tree:
    """Make the keys of an Identifier: text by column, ``""`` for what is to be returned.

    Source
    ------
    PS3.4 §C.2.2.1.
    """
    tree: Tree = {}
    for one, text in keys.items():
        place = tree
        for tag in one.path[:-1]:
            place = place.setdefault(tag, ("SQ", [{}]))[1][0]
        place[one.path[-1]] = (one.vr, values_of_text(one.vr, text))
    return tree


def row_of(tree: Tree, wanted: tuple[Column, ...]) -> dict[str, list[object]]:
    """The raw values of columns; a path through sequences gives one value for each item, None where it has none.

    Source
    ------
    PS3.4 §C.4.1.1.3.2.
    """
    return {one.name: found for one in wanted if (found := _at(tree, one.path)) is not None}


def _at(tree: Tree, path: tuple[int, ...]) -> list[object] | None:
    entry = tree.get(path[0])
    if entry is None:
        return None
    vr, values = entry
    if len(path) == 1:
        return list(values) if vr != "SQ" else None
    if vr != "SQ":
        return None
    found: list[object] = []
    for item in values:
        found += _at(item, path[1:]) or [None]
    return found


def tree_of_row(row: Mapping[str, object]) -> Tree:
    """Make a flat worklist item of one row of a table: keywords, and paths to values in sequences.

    A tuple at a path stands for one value in each item, as a cohort shows it.

    Raises
    ------
    UsageError
        A column that is no keyword or path, or a value that it can't hold.

    Source
    ------
    PS3.6 §6.
    """
    plain: dict[str, Any] = {}
    tree: Tree = {}
    for name, value in row.items():
        if "." not in name:
            plain[name] = value
            continue
        one = column(name)
        values = list(value) if isinstance(value, list | tuple) else [value]
        if all(one is None or one == "" for one in values):
            tree.setdefault(one.tag, ("SQ", []))
            continue
        items = tree.setdefault(one.tag, ("SQ", []))[1]
        items += [{} for _ in range(len(values) - len(items))]
        for item, raw in zip(items, values, strict=False):
            place = item
            for tag in one.path[1:-1]:
                place = place.setdefault(tag, ("SQ", [{}]))[1][0]
            place[one.path[-1]] = (one.vr, [] if raw is None else [str(raw)])
    return {**tree_of_values(plain), **tree}


# --- asked and answered ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listing:
    """The Identifier of a C-FIND on a worklist, read."""

    keys: Tree
    ignored: bool
    """Whether there are keys that nobody knows."""

    def key(self, *path: int) -> str:
        """What a key asks for, ``""`` where it is not there or asks for any value."""
        place: Tree = self.keys
        for tag in path[:-1]:
            items = place.get(tag, ("SQ", []))[1]
            place = items[0] if items else {}
        return _joined(place.get(path[-1], ("", []))[1])

    @property
    def plain_keys(self) -> tuple[Key, ...]:
        """The keys that stand in no sequence."""
        return tuple(one for one in read_keys(self.keys) if len(one.column.path) == 1)

    def matches(self, item: Tree) -> bool:
        """Whether an item matches every key.

        Source
        ------
        PS3.4 §C.2.2.2; Table K.6-1 (start date and time as one range).
        """
        return _matches(self.keys, item)

    def answer(self, item: Tree) -> Tree:
        """What is given of an item: every key that was asked, empty where there is no value.

        Source
        ------
        PS3.4 §K.4.1.1.3.2, §C.2.2.2.6.
        """
        return _answer(self.keys, item)


def read_listing(octets: Octets, transfer_syntax: str) -> Listing:
    """Read the Identifier of a request.

    Raises
    ------
    ServiceError
        A900H: it can't be read, or asks for a value that can't be matched.

    Source
    ------
    PS3.4 §K.4.1.1.3.1, §CC.2.8.
    """
    try:
        tree = decode_tree(octets, transfer_syntax)
    except RemoteProtocolError as error:
        raise ServiceError(f"the Identifier can't be read: {error}", status=DOES_NOT_MATCH) from error
    keys = {tag: entry for tag, entry in tree.items() if tag not in _NO_KEYS and tag & 0xFFFF}
    return Listing(keys, _check(keys))


def read_keys(keys: Tree) -> tuple[Key, ...]:
    """The keys of a tree as columns, those in sequences by their paths; what asks for any value is left out.

    Raises
    ------
    ServiceError
        A900H: a value that can't be matched.

    Source
    ------
    PS3.4 §C.2.2.2.
    """
    _check(keys)
    return tuple(_read(keys, ()))


def _read(keys: Tree, way: tuple[int, ...]) -> Iterator[Key]:
    for tag, (vr, values) in keys.items():
        if vr == "SQ":
            yield from _read(values[0], (*way, tag)) if values else ()
        elif _column(tag) is not None:
            one = column(".".join(f"{part:08X}" for part in (*way, tag)))
            key = _key(one, _joined(values))
            if key.matching != "universal":
                yield key


def _check(keys: Tree) -> bool:
    """Have every key looked at before anything is answered; True where some are of no use."""
    ignored = False
    for tag, (vr, values) in keys.items():
        if vr == "SQ":
            ignored |= any([_check(values[0])] if values else [])
            continue
        one = _column(tag)
        ignored |= one is None
        if one is not None:
            try:
                _key(one, _joined(values))
            except UsageError as error:
                raise ServiceError(str(error), status=DOES_NOT_MATCH, elements=(tag,)) from error
    return ignored


def _joined(values: list[Any]) -> str:
    return "\\".join(str(one) for one in values if not isinstance(one, dict | bytes))


@lru_cache(maxsize=1024)
def _column(tag: int) -> Column | None:
    if (tag >> 16) % 2:
        return None
    try:
        return column(tag)
    except UsageError:
        return None


@lru_cache(maxsize=64)
def _key(one: Column, text: str) -> Key:
    return key_of(one, value_of_key(one, text))


def _matches(keys: Tree, item: Tree) -> bool:
    moment = _moment_key(keys)
    for tag, (vr, values) in keys.items():
        if vr == "SQ":
            if values and not _universal(values[0]):
                candidates = item.get(tag, ("SQ", []))[1]
                if not any(isinstance(one, dict) and _matches(values[0], one) for one in candidates):
                    return False
            continue
        one = _column(tag)
        if one is None or (moment is not None and tag in (_START_DATE, _START_TIME)):
            continue
        if not matches(_key(one, _joined(values)), item.get(tag, (vr, []))[1]):
            return False
    return moment is None or matches(moment, [_moment(item)])


def _universal(keys: Tree) -> bool:
    for tag, (vr, values) in keys.items():
        if vr == "SQ":
            if values and not _universal(values[0]):
                return False
        elif (one := _column(tag)) is not None and _key(one, _joined(values)).matching != "universal":
            return False
    return True


def _moment_key(keys: Tree) -> Key | None:
    """Start date and time, where both are ranges: one range from the first moment to the last (Table K.6-1)."""
    if _START_DATE not in keys or _START_TIME not in keys:
        return None
    day, clock = (_key(column(tag), _joined(keys[tag][1])) for tag in (_START_DATE, _START_TIME))
    if day.matching != "range" or clock.matching != "range":
        return None
    first, last = day.values[0], day.values[1]
    start = first and first + clock.values[0]
    end = last and last + clock.values[1]
    return Key(column("ScheduledProcedureStepStartDateTime"), "range", (start, end))


def _moment(item: Tree) -> str:
    day, clock = (_joined(item.get(tag, ("", []))[1]).strip() for tag in (_START_DATE, _START_TIME))
    return day + clock.replace(":", "") if day else ""


def _answer(keys: Tree, item: Tree) -> Tree:
    given: Tree = {}
    for tag, (vr, values) in keys.items():
        found = item.get(tag)
        if vr != "SQ" or not values or not values[0]:
            given[tag] = found if found is not None else (vr, [])
        else:
            items = found[1] if found is not None and found[0] == "SQ" else []
            given[tag] = ("SQ", [_answer(values[0], one) for one in items])
    return given
