"""How much of the PDUs of a conversation a trace keeps: commands whole, of a data set how it begins.

Source
------
PS3.8 §9.3, Annex E.2.
"""

from __future__ import annotations

from struct import Struct

from dicomlab.dimse import pdu
from dicomlab.dimse.pdu import Octets
from dicomlab.model.reading import Direction
from dicomlab.model.trace import CAP_OCTETS, SHOWN_OCTETS, Channel

_LENGTH = Struct(">I")
_CONTROL = 11
"""Where the message control header of the first value of a P-DATA-TF PDU lies."""
_ALONE = 10
"""Octets before what the length of the first value counts."""


class Tap:
    """Records the PDUs of one direction.

    Of each data set so many octets are kept as a trace keeps of one message: PDUs that fit, whole; of the one that does
    not, as many as half of the room that is left; of each further its start. Those are pixels, of which a view shows no
    more, and what is copied into fresh memory is most of what a trace costs.
    """

    __slots__ = ("_direction", "_left")

    def __init__(self, direction: Direction) -> None:
        self._direction: Direction = direction
        self._left = CAP_OCTETS

    def pdu(self, channel: Channel, octets: Octets, size: int, fragment: Octets = b"") -> None:
        """Record one PDU of `size` octets: `octets`, and what follows them elsewhere; never a secret.

        It appends what ``Channel.tap`` would, without the way there: where a row of an answer takes 50 µs, half a
        microsecond is seen.
        """
        trace = channel.trace
        if trace is None:
            return
        wanted = trace.cap_octets
        if octets[0] != pdu.P_DATA_TF:
            octets = pdu.without_secrets(octets)
            self._left = wanted
        elif size <= SHOWN_OCTETS or octets[_CONTROL] & pdu.COMMAND:
            self._left = wanted
        elif size <= self._left:
            self._left -= size
        elif _LENGTH.unpack_from(octets, 6)[0] + _ALONE == size:
            wanted = min(max(self._left // 2, SHOWN_OCTETS), wanted)
            self._left -= size
        else:  # a command may follow in the same PDU
            self._left = wanted
        if fragment:
            octets = b"".join((octets, fragment[: wanted - len(octets)]))
        elif size > wanted:
            octets = octets[:wanted]
        ring = trace.ring
        if len(ring) == trace.max_events:
            trace.dropped += 1
        ring.append((trace.clock_ns(), channel.told, self._direction, bytes(octets), size, b""))
