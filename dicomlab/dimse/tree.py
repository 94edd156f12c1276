"""Data sets of the workflow services as plain values: octets, the DICOM JSON Model and pydicom to trees and back.

A tree is what :data:`dicomlab.dimse.identifier.Tree` says; here it keeps binary values too, as octets. No I/O.

Source
------
PS3.5 §7.1, §7.5; PS3.18 §F.2 (DICOM JSON Model).
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time
from io import BytesIO
from typing import TYPE_CHECKING, Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomlab.dimse.identifier import (
    CHARACTER_SET,
    ITEM,
    ITEM_END,
    SEQUENCE_END,
    TEXT,
    UNDEFINED,
    Tree,
    decode_values,
    encode_tree,
    encodings_of,
    vr_of,
)
from dicomlab.dimse.pdu import Octets
from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.columns import column, read
from dicomlab.model.values import uid_like
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.part10.walk import Element, Walker

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_DEPTH = 24
"""Nested sequences of a data set beyond which it is called broken."""
_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = frozenset("US SS UL SL UV SV FL FD".split())
_ONE_VALUE = frozenset("LT ST UR UT".split())
_FORMS = {"DA": "%Y%m%d", "TM": "%H%M%S", "DT": "%Y%m%d%H%M%S"}
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def decode_tree(octets: Octets, transfer_syntax: str) -> Tree:
    """Decode a data set of a DIMSE-N message, or a whole Identifier.

    Raises
    ------
    RemoteProtocolError
        It is cut, broken, or nested deeper than 24 sequences. Text that can't be decoded is no error.

    Source
    ------
    PS3.5 §7.1, §7.5, §6.1.
    """
    walker = Walker(octets, transfer_syntax)
    return _decode(walker, 0, walker.size, encodings_of(b""), depth=0, implicit=walker.implicit)[0]


def _decode(
    walker: Walker, at: int, stop: int, encodings: tuple[str, ...], *, depth: int, implicit: bool, endless: bool = False
) -> tuple[Tree, int]:
    """Read elements up to `stop`, or in an item without a length up to its delimiter; each octet once, however deep.

    Gives what they are, and the octet after them.
    """
    if depth > MAX_DEPTH:
        raise RemoteProtocolError(f"nested deeper than {MAX_DEPTH}", section="PS3.5 §7.5", offset=at)
    tree: Tree = {}
    while at < stop:
        if not depth and not any(bytes(walker.octets[at : at + 2])) and walker.padded(at):
            return tree, stop
        tag, vr, value, length = walker.header(at, implicit=implicit)
        if tag == ITEM_END and endless:
            return tree, value
        if not tag >> 16:
            raise walker.broken("an element of group 0000, which no data set has", at)
        element = Element(tag, vr, at, value, length)
        vr = vr_of(element, "")
        if vr == "SQ":
            within = implicit or element.vr == "UN"
            items, at = _items(walker, element, stop, encodings, depth=depth, implicit=within)
            tree[tag] = (vr, items)
            continue
        at = walker.after(tag, value, length, element.vr, implicit=implicit, depth=depth)
        if at > stop:
            raise walker.broken("an element is longer than its item", value)
        octets = bytes(walker.octets[value:at])
        if tag == CHARACTER_SET:
            encodings = encodings_of(octets)  # and is left out: a tree is Unicode
        elif vr in TEXT or vr in _NUMBERS or vr == "AT":
            tree[tag] = (vr, decode_values(octets, vr, encodings))
        elif tag & 0xFFFF:
            tree[tag] = (vr, [octets] if octets else [])
    if endless:
        raise walker.broken("an item without end", at)
    return tree, at


def _items(
    walker: Walker, element: Element, stop: int, encodings: tuple[str, ...], *, depth: int, implicit: bool
) -> tuple[list[Tree], int]:
    """The items of a sequence, of defined or undefined length, and the octet after it."""
    endless = element.length == UNDEFINED
    end = stop if endless else element.end
    if end > stop:
        raise walker.broken("a sequence is longer than what it stands in", element.value)
    items: list[Tree] = []
    at = element.value
    while endless or at + 8 <= end:
        tag, _, value, length = walker.header(at, implicit=True)
        if tag == SEQUENCE_END:
            return items, value if endless else end
        if tag != ITEM:
            raise walker.broken("something other than an item in a sequence", at)
        last = end if length == UNDEFINED else value + length
        if last > end:
            raise walker.broken("an item is cut", at)
        open_ended = length == UNDEFINED
        item, at = _decode(walker, value, last, encodings, depth=depth + 1, implicit=implicit, endless=open_ended)
        items.append(item)
    return items, end


# --- the DICOM JSON Model --------------------------------------------------------------------------------------------


def json_of(tree: Tree) -> dict[str, Any]:
    """Give a tree as an object of the DICOM JSON Model.

    Source
    ------
    PS3.18 §F.2.2, §F.2.3.
    """
    model: dict[str, Any] = {}
    for tag in sorted(tree):
        vr, values = tree[tag]
        entry: dict[str, Any] = {"vr": vr}
        if vr == "SQ":
            entry["Value"] = [json_of(item) for item in values]
        elif values and isinstance(values[0], bytes):
            entry["InlineBinary"] = b64encode(values[0]).decode()
        elif vr == "PN":
            entry["Value"] = [dict(zip(_GROUPS, str(one).split("="), strict=False)) if one else None for one in values]
        elif values:
            entry["Value"] = [None if one == "" else one for one in values]
        if not entry.get("Value", True):
            del entry["Value"]
        model[f"{tag:08X}"] = entry
    return model


def tree_of_json(model: Mapping[str, Any], depth: int = 0) -> Tree:
    """Take a tree out of an object of the DICOM JSON Model, such as :func:`json_of` gives or a web door has taken.

    Raises
    ------
    UsageError
        It is no such object.

    Source
    ------
    PS3.18 §F.2.2, §F.2.3.
    """
    if depth > MAX_DEPTH:
        raise UsageError(f"nested deeper than {MAX_DEPTH} (PS3.18 §F.2)")
    tree: Tree = {}
    try:
        for name, entry in model.items():
            tag, vr = int(name, 16), str(entry["vr"])
            if tag == CHARACTER_SET:
                continue
            if "InlineBinary" in entry:
                tree[tag] = (vr, [b64decode(entry["InlineBinary"])])
                continue
            values = [_value(vr, one, depth) for one in entry.get("Value", ())]
            tree[tag] = (vr, values)
    except UsageError:  # from a level below: said once, not quoted at each level above
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"no object of the DICOM JSON Model: {error!r} (PS3.18 §F.2)") from error
    return tree


def _value(vr: str, one: Any, depth: int) -> Any:
    if vr == "SQ":
        return tree_of_json(one or {}, depth + 1)
    if vr == "PN":
        groups = [str((one or {}).get(group) or "") for group in _GROUPS]
        return "=".join(groups).rstrip("=")
    if one is None:
        return ""
    return one if vr in _NUMBERS else str(one)


# --- what people hand over -------------------------------------------------------------------------------------------


def tree_of_values(what: Dataset | Mapping[str, Any], depth: int = 0) -> Tree:
    """Take a pydicom data set, or values by keyword; a sequence is a list of these, dates and times may be Python's.

    Raises
    ------
    UsageError
        An unknown keyword, something that is neither, or nested too deep.

    Source
    ------
    PS3.6 §6, PS3.5 §6.2.
    """
    if depth > MAX_DEPTH:
        raise UsageError(f"nested deeper than {MAX_DEPTH}")
    tree: Tree = {}
    for tag, vr, value in _entries(what):
        if tag == CHARACTER_SET or not tag & 0xFFFF:
            continue
        if value is None or (not isinstance(value, int | float) and not _sized(value)):
            tree[tag] = (vr, [])
            continue
        values = _listed(vr, value)
        if vr == "SQ":
            tree[tag] = (vr, [tree_of_values(item, depth + 1) for item in values])
        elif isinstance(values[0], bytes | bytearray):
            tree[tag] = (vr, [bytes(values[0])])
        else:
            tree[tag] = (vr, [one if vr in _NUMBERS else _text(vr, one) for one in values])
    return tree


def _listed(vr: str, value: Any) -> list[Any]:
    if isinstance(value, str):
        return value.split("\\") if vr not in _ONE_VALUE else [value]
    return list(value) if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray) else [value]


def _entries(what: Any) -> Iterator[tuple[int, str, Any]]:
    if is_dataset(what):
        for one in what:
            yield int(one.tag), str(one.VR), one.value
        return
    if not isinstance(what, Mapping):
        raise UsageError(f"a data set, or values by keyword, not {type(what).__name__}")
    for keyword, value in what.items():
        tag = tag_for_keyword(str(keyword))
        if tag is None:
            raise UsageError(f"{keyword!r} is no DICOM keyword (PS3.6 lists them)")
        yield tag, dictionary_VR(tag).split(" or ")[0], value


def is_dataset(what: Any) -> bool:
    """Whether it is a pydicom data set, without pydicom being loaded for that.

    Source
    ------
    PS3.5 §7.
    """
    return hasattr(what, "to_json_dict") and hasattr(what, "iterall")


def _sized(value: Any) -> bool:
    try:
        return len(value) > 0
    except TypeError:
        return True


def _text(vr: str, value: Any) -> str:
    """A value as DICOM writes it; people write dates and times with hyphens and colons."""
    if isinstance(value, date | time) and vr in _FORMS:
        return value.strftime(_FORMS[vr])
    if vr == "AT" and isinstance(value, int):
        return f"{value:08X}"
    if vr == "DA" and isinstance(value, str):
        return value.replace("-", "") if _DAY.fullmatch(value) else value
    return str(value).replace(":", "") if vr == "TM" else str(value)


def dataset_of(tree: Tree) -> Dataset:
    """Make a pydicom data set of a tree, for whoever handles it by hand.

    Values are taken as they stand: what breaks the rules of its VR is for the reader to judge.

    Source
    ------
    PS3.5 §7.1.
    """
    from pydicom.filereader import read_dataset

    return read_dataset(BytesIO(encode_tree(tree, EXPLICIT_LE)), is_implicit_VR=False, is_little_endian=True)


# --- looking into one ------------------------------------------------------------------------------------------------


def value_of(tree: Tree, *path: int) -> str:
    """The first value at a path of tags, by the first item of each sequence, as text; ``""`` where there is none."""
    for tag in path[:-1]:
        items = tree.get(tag, ("SQ", []))[1]
        if not items or not isinstance(items[0], dict):
            return ""
        tree = items[0]
    values = tree.get(path[-1], ("", []))[1]
    return str(values[0]).strip(" \0") if values and not isinstance(values[0], dict) else ""


def unreadable(tree: Tree) -> str:
    """Say which value of a tree can't be what its VR says, ``""`` where all can; no value of a patient is shown.

    Source
    ------
    PS3.5 §6.2.
    """
    for tag, (vr, values) in tree.items():
        if vr == "SQ":
            if problem := next(filter(None, map(unreadable, values)), ""):
                return problem
            continue
        try:
            one = column(tag)
        except UsageError:
            continue  # binary, or nobody knows it
        _, problems = read(one, values)
        if problems:
            raw = "its value" if one.identifying else repr(problems[0][0][:40])
            return f"{one.name}: {raw} can't be read: {problems[0][1]}"
        if vr == "UI" and not all(uid_like(str(value).strip("\0 ")) for value in values if value != ""):
            return f"{one.name}: no UID (digits and dots, at most 64)"
    return ""
