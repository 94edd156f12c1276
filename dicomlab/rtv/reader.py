"""Follows one RTP flow on the wire: trains of packets, what is lost or late, frames and Grains. No I/O.

Source
------
RFC 3550 §5.1, Appendix A.1; PS3.22 §6.2.
"""

from __future__ import annotations

from dataclasses import dataclass

from dicomlab.model.reading import Direction, Reading
from dicomlab.part10.fields import private_of_file
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.rtv.fields import payload_start, rtcp_fields, rtp_fields, sdp_fields
from dicomlab.rtv.rtp import HEADER_OCTETS
from dicomlab.rtv.train import cars_of

_UNIT = {"video": "frame", "metadata": "Grain", "audio": "sound"}


@dataclass(frozen=True, slots=True)
class _Head:
    """What the fixed header of one packet says."""

    sequence: int
    timestamp: int
    marker: bool

    @classmethod
    def of(cls, octets: bytes) -> _Head:
        sequence, timestamp = (int.from_bytes(octets[a:b], "big") for a, b in ((2, 4), (4, 8)))
        return cls(sequence, timestamp, bool(octets[1] & 0x80))


class RtpReader:
    """Reads the packets of one flow in the order in which they crossed. Never fails, whatever they are.

    Parameters
    ----------
    kind : str
        ``"video"``, ``"audio"`` or ``"metadata"``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._expected: int | None = None
        self._in_frame = 0
        self.lost = self.late = 0

    def __call__(self, direction: Direction, octets: bytes, train: bytes = b"") -> Reading:
        """Read one packet, or the first of a train and the heads of the others."""
        if len(octets) < HEADER_OCTETS or octets[0] >> 6 != 2:
            return Reading(f"unreadable: {len(octets)} octets are no RTP packet", trouble="no RTP packet")
        heads = [_Head.of(octets), *(_Head.of(head) for _, head in cars_of(train) if len(head) == HEADER_OCTETS)]
        lost, late, sizes = self._follow(heads)
        trouble = ", ".join(
            f"{count} {'packet' if count == 1 else 'packets'} {what}"
            for count, what in ((lost, "lost"), (late, "late or repeated"))
            if count
        )
        first, last = heads[0], heads[-1]
        span = f"{first.sequence}–{last.sequence}" if len(heads) > 1 else str(first.sequence)
        packets = f"{len(heads)} packets, sequence {span}" if len(heads) > 1 else f"sequence {span}"
        text = f"RTP {self._kind}: {packets}, timestamp {first.timestamp}"
        if any(head.marker for head in heads):
            text += ", marker"
        if trouble:
            text += f"; {trouble}"
        sentence = self._sentence(octets, sizes, trouble)
        return Reading(text, rtp_fields(octets, self._kind), "", sentence, tuple(self._private(octets)), trouble)

    def _follow(self, heads: list[_Head]) -> tuple[int, int, list[int]]:
        """How many packets are missing before these, how many came late, and the packets of frames that end here."""
        lost = late = 0
        sizes = []
        for head in heads:
            ahead = 0 if self._expected is None else (head.sequence - self._expected) & 0xFFFF
            if ahead >= 0x8000:
                late += 1
                continue
            lost += ahead
            self._expected = head.sequence + 1 & 0xFFFF
            self._in_frame += 1
            if head.marker:
                sizes.append(self._in_frame)
                self._in_frame = 0
        self.lost, self.late = self.lost + lost, self.late + late
        return lost, late, sizes

    def _sentence(self, octets: bytes, sizes: list[int], trouble: str) -> str:
        said = f"{trouble.capitalize()}: the sequence numbers tell (RFC 3550 §5.1)." if trouble else ""
        if self._kind == "metadata" and octets[payload_start(octets) :][128:132] == b"DICM":
            said += " DICOM metadata of one instant: what is acquired, and whose it is (PS3.22 §6.2.2)."
        elif self._kind == "video" and sizes:
            said += " A video frame is whole with its marker packet (SMPTE ST 2110-20)."
        elif self._kind == "audio" and not said:
            said = "Sound: as many samples in each packet as the packet time says (SMPTE ST 2110-30)."
        return said.strip()

    def _private(self, octets: bytes) -> list[tuple[int, int]]:
        """Pictures and sound are a patient's; of metadata, identifying values are."""
        start = payload_start(octets)
        if self._kind == "metadata":
            return list(private_of_file(octets, start, EXPLICIT_LE))
        return [(start, len(octets))] if start < len(octets) else []


def rtcp_line(octets: bytes) -> str:
    """Say in one line what an RTCP packet is."""
    return read_rtcp("received", octets).text


def sdp_line(octets: bytes) -> str:
    """Say in one line what a session description is."""
    return read_sdp("received", octets).text


def read_rtcp(direction: Direction, octets: bytes) -> Reading:
    """Read one RTCP compound packet."""
    fields = rtcp_fields(octets)
    kinds = ", ".join(one.name for one in fields) or "nothing"
    leaves = any(one.name == "Goodbye" for one in fields)
    sentence = "The sender leaves: nothing more comes of this stream (RFC 3550 §6.6)." if leaves else ""
    return Reading(f"RTCP: {kinds}", fields, "", sentence)


def read_sdp(direction: Direction, octets: bytes) -> Reading:
    """Read a session description."""
    fields = sdp_fields(octets)
    flows = sum(one.name == "m=" for one in fields)
    text = f"SDP: {flows} flows, {len(octets)} octets"
    sentence = f"The session description tells of {flows} flows: where each goes, and in which format (RFC 8866)."
    return Reading(text, fields, "", sentence)
