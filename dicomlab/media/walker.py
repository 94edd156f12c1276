"""The lean walk over one Part 10 file: from a small head, what its wanted values are. Octets in, octets out: no I/O.

A million files are looked at, so this is a tight loop over headers: a value of defined length is stepped over, one of
undefined length item by item, and only what is asked for is cut out, undecoded. Yet the whole data set is walked, to
its last octet, so that a file that is cut short or broken anywhere is found out; what lies beyond the head is asked for
in small pieces.

Source
------
PS3.5 §7.1 (data elements), §7.5 (nested data sets), §A.4 (encapsulated pixel data).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import Struct

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from dicomlab.part10.walk import LONG_VRS, MAX_DEPTH, MAX_PADDING, SHORT_VRS

HEAD_OCTETS = 8192
"""Octets that are read of a file at once; most headers are shorter."""

MAX_VALUES = 1 << 24
"""Octets of wanted values beyond the head at which a file is called broken: 16 MiB."""

Read = Callable[[int, int], bytes]
"""Gives so many octets from an offset, fewer only where the file ends. Offsets grow, but for steps within a head."""

CHARSET, PIXEL_REPRESENTATION = 0x00080005, 0x00280103
PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_PIXEL_SLOT = -1
_SECTION = "PS3.5 §7"
_UNDEFINED = 0xFFFFFFFF
_FIRST_GROUPS = frozenset({0x04, 0x08})
_FAR_OCTETS = 512


@dataclass(frozen=True, slots=True)
class Grammar:
    """How element headers are written. A *key* is a tag as one 32-bit number in the octet order of the file."""

    syntax: str
    implicit: bool
    big: bool
    header: Struct
    """Key, VR and short length; in Implicit VR key and length."""
    pair: Struct
    """Key and length: items and delimiters."""
    u32: Struct
    short: frozenset[int]
    long: frozenset[int]
    unknown: int
    """VR UN."""
    item: int
    item_end: int
    sequence_end: int

    def key(self, tag: int) -> int:
        """A tag as the file has it; and the other way round."""
        return tag if self.big else (tag >> 16) | (tag & 0xFFFF) << 16

    def code(self, vr: str) -> int:
        """A VR as one number."""
        return int.from_bytes(vr.encode("latin-1"), "big" if self.big else "little")

    def vr(self, code: int) -> str:
        """The VR of a number."""
        return code.to_bytes(2, "big" if self.big else "little").decode("latin-1")


def _grammar(syntax: str, *, implicit: bool, big: bool) -> Grammar:
    order, mark = (">", "big") if big else ("<", "little")
    short, long = (frozenset(int.from_bytes(vr, mark) for vr in vrs) for vrs in (SHORT_VRS, LONG_VRS))  # type: ignore[arg-type]
    keys = [tag if big else (tag >> 16) | (tag & 0xFFFF) << 16 for tag in (0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD)]
    pair = Struct(order + "LL")
    header = pair if implicit else Struct(order + "LHH")
    unknown = int.from_bytes(b"UN", mark)  # type: ignore[arg-type]
    return Grammar(syntax, implicit, big, header, pair, Struct(order + "L"), short, long, unknown, *keys)


EXPLICIT = _grammar(EXPLICIT_LE, implicit=False, big=False)
IMPLICIT = _grammar(IMPLICIT_LE, implicit=True, big=False)
BIG = _grammar(EXPLICIT_BE, implicit=False, big=True)
_GRAMMARS = {IMPLICIT_LE: IMPLICIT, EXPLICIT_BE: BIG}


def grammar_of(syntax: str) -> Grammar:
    """The grammar of a transfer syntax: Implicit VR LE, Explicit VR BE, or anything else, which is Explicit VR LE.

    Source
    ------
    PS3.5 §10, Annex A (transfer syntaxes).
    """
    return _GRAMMARS.get(syntax, EXPLICIT)


class Plan:
    """Which top-level elements are wanted, ready for the loop.

    Parameters
    ----------
    wanted : iterable of (tag, VR)
        The VR that is expected. Character set and Pixel Representation come first, asked for or not: other values
        can't be read without them.
    """

    def __init__(self, wanted: Iterable[tuple[int, str]]) -> None:
        expected = {CHARSET: "CS", PIXEL_REPRESENTATION: "US"}
        for tag, vr in wanted:
            expected.setdefault(tag, vr)
        self.tags = tuple(expected)
        self.blank: list[bytes | None] = [None] * len(expected)
        self._ready = {}
        for grammar in (EXPLICIT, IMPLICIT, BIG):
            slots = {grammar.key(tag): slot for slot, tag in enumerate(expected)}
            slots |= {grammar.key(tag): _PIXEL_SLOT for tag in PIXELS}
            self._ready[grammar.syntax] = slots, [grammar.code(vr) for vr in expected.values()]

    def ready(self, grammar: Grammar) -> tuple[dict[int, int], list[int]]:
        """Key to place among the values, and the VR that is expected at each place."""
        return self._ready[grammar.syntax]


@dataclass(slots=True)
class Walked:
    """What the walk over one data set found. Values lie in the order of ``Plan.tags``; None is absent or empty."""

    values: list[bytes | None]
    end: int = 0
    """The octet after the last element; what follows is padding of the medium."""
    vrs: dict[int, int] | None = None
    """The VRs that are not as expected, by the place of the value."""
    pixel_offset: int = 0
    """Where the value of (Float, Double Float) Pixel Data begins; 0 if there is none."""
    pixel_length: int = 0
    """Its octets, the items and delimiters of encapsulated ones included."""


def walk(found: Walked, read: Read, span: tuple[int, int], grammar: Grammar, plan: Plan, *, head: bytes = b"") -> None:
    """Walk one data set.

    Parameters
    ----------
    found : Walked
        Is filled, as far as the walk comes: ``Walked(plan.blank.copy())``.
    read : callable
        Gives octets; asked only for some below the end.
    span : (int, int)
        Where it begins, and where all ends: nothing lies beyond.
    grammar : Grammar
    plan : Plan
    head : bytes, optional
        The first octets of the file, which are at hand.

    Raises
    ------
    RemoteProtocolError
        Cut short, a VR that can't be, nesting beyond 64, something after the last element that is neither an element
        nor padding, or more than 16 MiB of wanted values; ``offset`` counts as the span does.

    Source
    ------
    PS3.5 §7.1, §7.5, §A.4.
    """
    walking = _Walk(grammar, plan)
    walking.read, walking.size = read, span[1]
    walking.head, walking.base, walking.kept = head, 0, 0
    walking.run(span[0], found)


class _Walk:
    __slots__ = ("base", "grammar", "head", "kept", "plan", "read", "size")
    read: Read
    size: int
    head: bytes
    base: int
    kept: int

    def __init__(self, grammar: Grammar, plan: Plan) -> None:
        self.grammar, self.plan = grammar, plan

    def run(self, at: int, found: Walked) -> None:
        found.end = at
        self._check_first(at)
        step = self._implicit if self.grammar.implicit else self._explicit
        while at < self.size:
            at = step(at, found)

    # The two loops take most of the time: names are local, positions count from the start of the head, and whatever
    # is rare leaves the loop. The head's end is found by unpack's own check.

    def _explicit(self, at: int, found: Walked) -> int:
        """Step over elements until the head ends; give where to go on."""
        grammar = self.grammar
        head, base = self._head(at)
        unpack, u32, short, long = grammar.header.unpack_from, grammar.u32.unpack_from, grammar.short, grammar.long
        slots, expected = self.plan.ready(grammar)
        slot_of, values, group = slots.get, found.values, 0xFFFF0000 if grammar.big else 0xFFFF
        pos, here, size = at - base, len(head), self.size - base
        try:
            while pos < size:
                key, vr, length = unpack(head, pos)
                if vr in short and key & group:
                    start = pos + 8
                elif vr in long and key & group:
                    (length,) = u32(head, pos + 8)
                    start = pos + 12
                else:
                    start, length = self._odd(base + pos, key, vr, grammar)
                    start -= base
                    if length < 0:
                        break
                end = start + length
                if end > size:
                    end = self._beyond(base + start, length, key, vr) - base
                slot = slot_of(key)
                if slot is not None and end > start:
                    if slot == _PIXEL_SLOT:
                        found.pixel_offset, found.pixel_length = base + start, end - start
                    else:
                        values[slot] = head[start:end] if end <= here else self._value(base + start, base + end)
                        if vr != expected[slot]:
                            found.vrs = {**(found.vrs or {}), slot: vr}
                pos = end
        except struct.error:
            return self._head_ends(base + pos, found)
        found.end = base + pos
        return self.size

    def _implicit(self, at: int, found: Walked) -> int:
        """As :meth:`_explicit`, where headers are of tag and length."""
        head, base = self._head(at)
        unpack = self.grammar.header.unpack_from
        slots, _ = self.plan.ready(self.grammar)
        slot_of, values = slots.get, found.values
        pos, here, size = at - base, len(head), self.size - base
        try:
            while pos < size:
                key, length = unpack(head, pos)
                if not key & 0xFFFF:
                    self._check_padding(base + pos, key)
                    break
                start = pos + 8
                end = start + length
                if end > size:
                    end = self._beyond(base + start, length, key, 0) - base
                slot = slot_of(key)
                if slot is not None and end > start:
                    if slot == _PIXEL_SLOT:
                        found.pixel_offset, found.pixel_length = base + start, end - start
                    else:
                        values[slot] = head[start:end] if end <= here else self._value(base + start, base + end)
                pos = end
        except struct.error:
            return self._head_ends(base + pos, found)
        found.end = base + pos
        return self.size

    # --- what is rare -----------------------------------------------------------------------------------------------

    def _head(self, at: int) -> tuple[bytes, int]:
        """The head in which `at` lies, with enough after it for one header where the file has as much."""
        if not self.base <= at <= self.base + len(self.head) - 12:
            self._fill(at, HEAD_OCTETS)
        return self.head, self.base

    def _fill(self, at: int, octets: int) -> None:
        octets = min(octets, self.size - at)
        self.head, self.base = self.read(at, octets), at
        if len(self.head) < octets:
            raise self._broken("the file is shorter than it was a moment ago: octets are missing", at)

    def _head_ends(self, at: int, found: Walked) -> int:
        """Where the head ends in a header: fine unless the file ends too."""
        if self.base + len(self.head) >= self.size:
            if not any(self._some(at, self.size - at)) and (self.size - at) % 2 == 0:
                found.end = at
                return self.size  # padding, shorter than a header
            raise self._broken("cut inside an element's header", at)
        return at

    def _broken(self, what: str, at: int) -> RemoteProtocolError:
        return RemoteProtocolError(what, section=_SECTION, offset=at)

    def _check_first(self, at: int) -> None:
        """See whether the first element is written as the transfer syntax says."""
        if self.size - at < 12:
            return
        head, base = self._head(at)
        first = head[at - base : at - base + 6]
        high, low = (first[0], first[1]) if self.grammar.big else (first[1], first[0])
        if high in _FIRST_GROUPS and not low:
            raise self._broken(f"the octets of the first group are swapped, {first[4:]!r} is no VR here", at)
        if self.grammar.implicit and (first[4:] in SHORT_VRS or first[4:] in LONG_VRS):
            raise self._broken(f"{first[4:]!r} is no VR of Implicit VR, and yet it is there", at)

    def _odd(self, at: int, key: int, vr: int, grammar: Grammar) -> tuple[int, int]:
        """Where a value begins whose VR is none that is known, and its length; -1 where padding begins."""
        tag = grammar.key(key)
        if not tag >> 16:
            self._check_padding(at, key)
            return at, -1
        if tag >> 16 == 0xFFFE:
            return at + 8, grammar.u32.unpack(self._some(at + 4, 4))[0]
        if grammar.vr(vr).encode("latin-1") in LONG_VRS or _could_be_vr(grammar.vr(vr)):  # one to come: PS3.5 §7.1.2
            return at + 12, grammar.u32.unpack(self._some(at + 8, 4))[0]
        raise self._broken(f"{grammar.vr(vr).encode('latin-1')!r} is no VR, at {_named(tag)}", at)

    def _some(self, at: int, octets: int) -> bytes:
        """A few octets, for once."""
        if self.base <= at and at + octets <= self.base + len(self.head):
            return self.head[at - self.base : at - self.base + octets]
        found = self.read(at, octets) if at + octets <= self.size else b""
        if len(found) < octets:
            raise self._broken("cut inside an element's header", at)
        return found

    def _check_padding(self, at: int, key: int) -> None:
        left = self.size - at
        if left > MAX_PADDING or left % 2 or any(self._some(at, left)):
            tag = self.grammar.key(key)
            raise self._broken(f"an element {_named(tag)} of group 0000, which no data set has", at)

    def _value(self, start: int, end: int) -> bytes:
        """A wanted value that reaches beyond the head."""
        self.kept += end - start
        if self.kept > MAX_VALUES:
            raise self._broken(f"wanted values are {self.kept} octets long, the limit is {MAX_VALUES}", start)
        octets = self.read(start, end - start)
        if len(octets) < end - start:
            raise self._broken("the file is shorter than it was a moment ago: octets are missing", start)
        return octets

    def _beyond(self, start: int, length: int, key: int, vr: int) -> int:
        """The octet after a value of undefined length, or one that announces more than there is."""
        if length != _UNDEFINED:
            raise self._missing(start, length, self.grammar.key(key))
        # a UN of undefined length holds a sequence in Implicit VR Little Endian (PS3.5 §6.2.2 note)
        before = self.head, self.base
        end = self._after_items(start, IMPLICIT if vr == self.grammar.unknown and vr else self.grammar)
        self.head, self.base = before
        return end

    def _missing(self, start: int, length: int, tag: int) -> RemoteProtocolError:
        missing = start + length - self.size
        return self._broken(f"{_named(tag)} announces {length} octets, {missing} of them are missing", start)

    def _after_items(self, at: int, grammar: Grammar) -> int:
        """The octet after the delimiter that ends a sequence, or pixel data, of undefined length; no recursion."""
        size, around = self.size, [grammar]
        in_item = False
        while True:
            if not self.base <= at <= self.base + len(self.head) - 12:
                if at + 8 > size:
                    raise self._broken("cut inside an element's header", at)
                near = self.base <= at <= self.base + len(self.head)
                self._fill(at, HEAD_OCTETS if near else _FAR_OCTETS)
            if not in_item:
                key, length = grammar.pair.unpack_from(self.head, at - self.base)
                at += 8
                if key == grammar.sequence_end:
                    around.pop()
                    if not around:
                        return at
                    grammar, in_item = around[-1], True
                elif key != grammar.item:
                    raise self._broken("something other than an item in a sequence", at - 8)
                elif length == _UNDEFINED:
                    in_item = True
                elif (at := at + length) > size:
                    raise self._broken("an item is cut", at - length)
                continue
            vr = 0
            if grammar.implicit:
                key, length = grammar.pair.unpack_from(self.head, at - self.base)
                at += 8
            else:
                key, vr, length = grammar.header.unpack_from(self.head, at - self.base)
                if vr in grammar.short or key == grammar.item_end:
                    at += 8
                elif vr in grammar.long:
                    length = grammar.u32.unpack(self._some(at + 8, 4))[0]
                    at += 12
                else:
                    start, length = self._odd(at, key, vr, grammar)
                    if length < 0:
                        raise self._broken("cut: zeros inside an item", at)
                    at = start
            if key == grammar.item_end:
                in_item = False
            elif length == _UNDEFINED:
                if len(around) >= MAX_DEPTH:
                    raise self._broken(f"nested deeper than {MAX_DEPTH}", at)
                grammar = IMPLICIT if vr and vr == grammar.unknown else grammar
                around.append(grammar)
                in_item = False
            elif (at := at + length) > size:
                raise self._missing(at - length, length, grammar.key(key))


def _could_be_vr(text: str) -> bool:
    return text.isascii() and text.isalpha() and text.isupper()


def _named(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
