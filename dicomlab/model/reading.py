"""What a run of octets on the wire says: its fields, where each of them lies, and a plain sentence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from dicomlab.model.options import options

Direction = Literal["sent", "received", "note"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message.

    ``start`` and ``end`` are its octets, counted from the first octet of the message; ``section`` is where the
    standard describes it; ``identifying`` tells that the value may name a patient, so that it is masked when shown.
    """

    name: str
    value: str = ""
    meaning: str = ""
    section: str = ""
    start: int = 0
    end: int = 0
    children: tuple[Field, ...] = ()
    identifying: bool = False

    @property
    def place(self) -> str:
        """Its octets: ``10–25``."""
        return f"{self.start}–{self.end - 1}" if self.end > self.start + 1 else str(self.start)

    def shown(self, *, fictional: bool) -> str:
        """The value as it may be shown."""
        return options.shown(self.value, fictional=fictional) if self.identifying else self.value


@dataclass(frozen=True, slots=True)
class Reading:
    """What one message says."""

    text: str
    """One line; what stands before the first colon is its kind."""
    fields: tuple[Field, ...] = ()
    state: str = ""
    """Where our end's state machine stands after it, where the protocol has one."""
    sentence: str = ""
    """The same for somebody who learns; never a patient's value."""
    private: tuple[tuple[int, int], ...] = field(default=())
    """Octets that may hold a patient's values: from, to."""
    trouble: str = ""
    """In a few words, what is wrong: packets lost, an abort, a failure."""


Reader = Callable[..., Reading]
"""Follows one conversation, message by message, from its start.

Called with direction and octets; and, where datagrams crossed together, with what
:func:`dicomlab.rtv.train.train_of` kept of the others.
"""


def octet_lines(octets: bytes, private: tuple[tuple[int, int], ...] = (), width: int = 16) -> list[str]:
    """Show octets as offset, hexadecimal numbers and ASCII, `width` to a line; private ones as dots."""
    hidden = {at for start, end in private for at in range(max(start, 0), min(end, len(octets)))}
    lines = []
    for start in range(0, len(octets), width):
        row = range(start, min(start + width, len(octets)))
        numbers = " ".join("··" if at in hidden else f"{octets[at]:02x}" for at in row)
        letters = "".join("·" if at in hidden else chr(octets[at]) if 0x20 <= octets[at] < 0x7F else "." for at in row)
        lines.append(f"{start:04x}  {numbers.ljust(3 * width - 1)}  {letters}")
    return lines
