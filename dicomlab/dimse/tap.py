"""How much of the PDUs of a conversation a trace keeps: commands whole, of a data set how it begins.

Source
------
PS3.8 §9.3, Annex E.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct

from dicomlab.dimse import pdu
from dicomlab.dimse.pdu import Octets
from dicomlab.model.reading import Direction
from dicomlab.model.trace import CAP_OCTETS, SHOWN_OCTETS, Channel

_LENGTH = Struct(">I")
_CONTROL = 11
"""Where the message control header of the first value of a P-DATA-TF PDU lies."""
_START = 12
"""Octets before the fragment of the first value."""
_ALONE = 10
"""Octets before what the length of the first value counts."""


class Tap:
    """Records the PDUs of one direction.

    Of each data set so many octets are kept as a trace keeps of one message: PDUs that fit, whole; of the one that does
    not, a quarter of the room that is left; of each further its start. Those are pixels, of which a view shows no more.

    What runs here has just been woken or is about to wait, and no cache holds it: a line costs ten times what a loop
    would tell. It appends what ``Channel.tap`` would, without the way there.
    """

    __slots__ = ("_direction", "_left")

    def __init__(self, direction: Direction) -> None:
        self._direction: Direction = direction
        self._left = CAP_OCTETS

    def pdu(self, channel: Channel, octets: Octets, size: int) -> None:
        """Record one whole PDU of `size` octets; never a secret."""
        trace = channel.trace
        if trace is None:
            return
        wanted = trace.cap_octets
        if size <= SHOWN_OCTETS:  # most are, and octets that can't change are looked at faster
            octets = bytes(octets)
        if octets[0] != pdu.P_DATA_TF:
            octets = pdu.without_secrets(octets)
            self._left = wanted
        elif size <= SHOWN_OCTETS or octets[_CONTROL] & pdu.COMMAND:
            self._left = wanted
        elif _LENGTH.unpack_from(octets, 6)[0] + _ALONE == size:
            if size > self._left:
                wanted = _of_the_rest(self._left, wanted)
            self._left -= size
        else:  # a command may follow in the same PDU
            self._left = wanted
        ring = trace.ring
        if len(ring) == trace.max_events:
            trace.dropped += 1
        kept = bytes(octets[:wanted] if size > wanted else octets)
        ring.append((trace.clock_ns(), channel.told, self._direction, kept, size, b""))

    def message(self, channel: Channel, buffers: Sequence[Octets]) -> None:
        """Record P-DATA-TF PDUs that leave together: of each its header with that of its one value, then the fragment.

        What ``pdu`` would keep; all have the time at which they were handed over.
        """
        trace = channel.trace
        if trace is None:
            return
        cap, pairs = trace.cap_octets, iter(buffers)
        if cap < SHOWN_OCTETS:
            for header, fragment in zip(pairs, pairs, strict=True):
                self.pdu(channel, b"".join((header, fragment)), _START + len(fragment))
            return
        now, told, direction, append = trace.clock_ns(), channel.told, self._direction, trace.ring.append
        more, left = len(trace.ring) + len(buffers) // 2 - trace.max_events, self._left
        if more > 0:
            trace.dropped += more
        for header, fragment in zip(pairs, pairs, strict=True):
            size = _START + len(fragment)
            if size <= SHOWN_OCTETS or header[_CONTROL] & pdu.COMMAND:
                left = wanted = cap
            else:
                wanted = cap if size <= left else _of_the_rest(left, cap) if left > SHOWN_OCTETS else SHOWN_OCTETS
                left -= size
            append((now, told, direction, bytes(header) + fragment[: wanted - _START], size, b""))
        self._left = left


def _of_the_rest(left: int, cap: int) -> int:
    """How many octets to keep of a PDU that does not fit into what is left."""
    return min(max(left // 4, SHOWN_OCTETS), cap)
