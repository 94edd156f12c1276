"""What the Identifier of a request asks of us: a query, or the instances to be retrieved. No I/O.

Source
------
PS3.4 §C.4.1.2, §C.4.1.3 (C-FIND SCP, hierarchical search), §C.4.2.2.1, §C.4.3.2 (C-MOVE and C-GET SCP).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dicomlab.dimse.identifier import (
    CHARACTER_SET,
    LEVEL_WORDS,
    QUERY_RETRIEVE_LEVEL,
    RETRIEVE_AE_TITLE,
    Tree,
    tree_of_row,
)
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.tree import decode_tree
from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.columns import LEVELS, UNIQUE_KEY, Column, Level, column
from dicomlab.model.matching import Row
from dicomlab.model.query import Query, range_of

DOES_NOT_MATCH = 0xA900
"""Identifier does not match SOP Class (PS3.4 Table C.4-1)."""
UNABLE_TO_EXTRACT_FRAMES = 0xAA02
MAX_KEY = 1 << 20
"""Characters of a key, all of its values together, that are matched; more costs memory and time, and serves nobody."""
_TIMEZONE = 0x00080201
_SOP_INSTANCE_UID = 0x00080018
_LEVEL_OF_WORD = {word: level for level, word in LEVEL_WORDS.items()}


@dataclass(frozen=True, slots=True)
class FindRequest:
    """A C-FIND: the query, what its answers must show, and whether keys were passed over."""

    query: Query
    asked: tuple[Column, ...]
    ignored: bool

    def answer(self, row: Row, ae_title: str) -> Tree:
        """The Identifier of one pending response: every key that was asked, empty where there is no value.

        Source
        ------
        PS3.4 §C.4.1.1.3.2.
        """
        values = tree_of_row(self.asked, row)
        answer: Tree = {
            QUERY_RETRIEVE_LEVEL: ("CS", [LEVEL_WORDS[self.query.level]]),
            RETRIEVE_AE_TITLE: ("AE", [ae_title]),
        }
        for one in self.asked:
            empty = ("SQ" if len(one.path) > 1 else one.vr, list[object]())
            answer[one.tag] = values.get(one.tag, empty)
        return answer


@dataclass(frozen=True, slots=True)
class RetrieveRequest:
    """A C-GET or C-MOVE: the unique keys at its level, and those above it, which must agree."""

    level: Level
    uids: tuple[str, ...]
    above: tuple[tuple[Level, str], ...]


def read_find(octets: Octets, transfer_syntax: str, root: Level, *, relational: bool = False) -> FindRequest:
    """Read the Identifier of a C-FIND request.

    Parameters
    ----------
    octets : bytes
    transfer_syntax : str
    root : str
        ``"patient"`` or ``"study"``: the uppermost level of the information model.
    relational : bool
        Whether relational queries were granted: no unique keys of upper levels are needed then.

    Raises
    ------
    ServiceError
        A900H: no such level, a unique key of an upper level is missing, or a value that can't be matched.

    Source
    ------
    PS3.4 §C.4.1.2.1, §C.4.1.3.1.1, §C.4.1.2.2 (relational).
    """
    level, values, unknown = _read(octets, transfer_syntax, root)
    if not relational:
        _require_upper_keys(level, values, root)
    known = {one: text for one, text in values.items() if _within(one, level)}
    try:
        matching: dict[str | int, object] = {one.name: value_of_key(one, text) for one, text in known.items()}
        query = Query.of(level, matching)
    except UsageError as error:
        raise ServiceError(str(error), status=DOES_NOT_MATCH) from error
    return FindRequest(query, tuple(known), unknown or len(known) < len(values))


def read_retrieve(octets: Octets, transfer_syntax: str, root: Level, *, relational: bool = False) -> RetrieveRequest:
    """Read the Identifier of a C-GET or C-MOVE request; with `relational` upper unique keys may be missing.

    Raises
    ------
    ServiceError
        A900H: no such level, or a unique key is missing.

    Source
    ------
    PS3.4 §C.4.2.2.1, §C.4.3.2.1 (the unique key of the level may be a list of UIDs).
    """
    level, values, _ = _read(octets, transfer_syntax, root)
    if not relational:
        _require_upper_keys(level, values, root)
    texts = {one.name: text for one, text in values.items()}
    uids = tuple(uid for uid in texts.get(UNIQUE_KEY[level], "").split("\\") if uid)
    if not uids:
        raise ServiceError(f"{UNIQUE_KEY[level]} is missing", status=DOES_NOT_MATCH)
    above = tuple((one, texts[UNIQUE_KEY[one]]) for one in _upper(level, root) if texts.get(UNIQUE_KEY[one]))
    return RetrieveRequest(level, uids, above)


def read_composite(octets: Octets, transfer_syntax: str) -> RetrieveRequest:
    """Read the Identifier of a retrieve in the Composite Instance Root, or without bulk data: instances by their UID.

    Raises
    ------
    ServiceError
        A900H: no such level, or no instance; AA02H: frames are asked for, which are not extracted here.

    Source
    ------
    PS3.4 §Y.4.1, §Z.4.1, Table Y.4-1.
    """
    keys = _keys(octets, transfer_syntax)
    word = keys.get((QUERY_RETRIEVE_LEVEL,), "").strip()
    if word == "FRAME":
        raise ServiceError("frames are not extracted here, only whole instances sent", status=UNABLE_TO_EXTRACT_FRAMES)
    uids = tuple(uid for uid in keys.get((_SOP_INSTANCE_UID,), "").split("\\") if uid)
    if word != LEVEL_WORDS["instance"] or not uids:
        raise ServiceError("level IMAGE and SOP Instance UIDs are needed here", status=DOES_NOT_MATCH)
    return RetrieveRequest("instance", uids, ())


def _keys(octets: Octets, transfer_syntax: str) -> dict[tuple[int, ...], str]:
    try:
        return dict(_texts(decode_tree(octets, transfer_syntax), ()))
    except RemoteProtocolError as error:
        raise ServiceError(f"the Identifier can't be read: {error}", status=DOES_NOT_MATCH) from error


def _texts(tree: Tree, way: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    """Each key by its path of tags, and its text; of a sequence the first item counts (PS3.4 §C.2.2.2.6)."""
    for tag, (vr, values) in tree.items():
        here = (*way, tag)
        if vr != "SQ":
            yield here, "\\".join(str(one) for one in values if not isinstance(one, bytes))
            continue
        inner = list(_texts(values[0], here)) if values else []
        yield from inner or [(here, "")]


def _read(octets: Octets, transfer_syntax: str, root: Level) -> tuple[Level, dict[Column, str], bool]:
    """Level, values by column, and whether there were keys that nobody knows."""
    keys = _keys(octets, transfer_syntax)
    word = keys.get((QUERY_RETRIEVE_LEVEL,), "")
    level = _LEVEL_OF_WORD.get(word.strip())
    if level is None or LEVELS.index(level) < LEVELS.index(root):
        raise ServiceError(f"no Query/Retrieve Level {word[:16]!r} in this model", status=DOES_NOT_MATCH)
    values: dict[Column, str] = {}
    unknown = False
    for path, text in keys.items():
        if path[0] in (CHARACTER_SET, QUERY_RETRIEVE_LEVEL, RETRIEVE_AE_TITLE, _TIMEZONE) or not path[-1] & 0xFFFF:
            continue
        if any((tag >> 16) % 2 for tag in path):
            unknown = True
            continue
        try:
            values[column(".".join(f"{tag:08X}" for tag in path))] = text
        except UsageError:
            unknown = True
    return level, values, unknown


def _upper(level: Level, root: Level) -> Sequence[Level]:
    return LEVELS[LEVELS.index(root) : LEVELS.index(level)]


def _require_upper_keys(level: Level, values: dict[Column, str], root: Level) -> None:
    texts = {one.name: text for one, text in values.items()}
    for one in _upper(level, root):
        text = texts.get(UNIQUE_KEY[one], "")
        if not text or "\\" in text or "*" in text or "?" in text:
            raise ServiceError(f"{UNIQUE_KEY[one]} must have one value at this level", status=DOES_NOT_MATCH)


def _within(one: Column, level: Level) -> bool:
    return one.level is None or LEVELS.index(one.level) <= LEVELS.index(level)


def value_of_key(one: Column, text: str) -> object:
    """What a key of an Identifier asks for, as :func:`dicomlab.model.query.key_of` takes it.

    Raises
    ------
    UsageError
        It is longer than anybody means it to be.

    Source
    ------
    PS3.4 §C.2.2.2.
    """
    if len(text) > MAX_KEY:
        raise UsageError(f"a key of {len(text)} characters, at most {MAX_KEY} are matched here")
    if one.vr == "DT" and (ends := range_of(text)):
        return ends
    values = [value for value in text.split("\\") if value] if "\\" in text else text
    return values or None
