"""What uncompressed video looks like: sampling, pixel groups, sizes, and the parameters of its SDP. No I/O.

Source
------
SMPTE ST 2110-20 §6.2 (pgroups), §7 (SDP); RFC 4175 §4.3, §6; PS3.5 §A.8, §A.9 (what DICOM takes of it).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.rtv.sdp import Media

PROGRESSIVE = "1.2.840.10008.1.2.7.1"
INTERLACED = "1.2.840.10008.1.2.7.2"
MAX_FRAME_OCTETS = 256 << 20
"""Beyond that a flow is refused: 8K in RGB of 16 bit is 199 MB."""

_SECTION = "ST 2110-20 §7"
_PGROUPS: Mapping[str, Mapping[int, tuple[int, int, int]]] = {
    "4:2:2": {8: (4, 2, 1), 10: (5, 2, 1), 12: (6, 2, 1), 16: (8, 2, 1)},
    "4:4:4": {8: (3, 1, 1), 10: (15, 4, 1), 12: (9, 2, 1), 16: (6, 1, 1)},
    "4:2:0": {8: (6, 2, 2), 10: (15, 4, 2), 12: (9, 2, 2), 16: (12, 2, 2)},
    "4:1:1": {8: (6, 4, 1), 10: (15, 8, 1), 12: (9, 4, 1), 16: (12, 4, 1)},
    "alpha": {8: (4, 1, 1), 10: (5, 1, 1), 12: (6, 1, 1), 16: (8, 1, 1)},
    "key": {8: (1, 1, 1), 10: (5, 4, 1), 12: (3, 2, 1), 16: (2, 1, 1)},
}
"""Structure and depth to octets, pixels and rows of a pixel group (ST 2110-20 Tables 1 to 4, RFC 4175 §4.3)."""

STRUCTURE: Mapping[str, str] = {
    **{f"{family}-{one}": one for family in ("YCbCr", "CLYCbCr", "ICtCp") for one in ("4:4:4", "4:2:2", "4:2:0")},
    "YCbCr-4:1:1": "4:1:1",
    "RGB": "4:4:4",
    "BGR": "4:4:4",
    "XYZ": "4:4:4",
    "RGBA": "alpha",
    "BGRA": "alpha",
    "KEY": "key",
}
PHOTOMETRIC: Mapping[str, str] = {
    "YCbCr-4:4:4": "YBR_FULL",
    "RGB": "RGB",
    "YCbCr-4:2:2": "YBR_FULL_422",
    "YCbCr-4:2:0": "YBR_PARTIAL_420",
}
"""The four samplings that DICOM-RTV supports, and their Photometric Interpretation (PS3.5 §A.8)."""


@dataclass(frozen=True)
class VideoFormat:
    """One format of uncompressed video.

    Parameters
    ----------
    width, height : int
        Of the whole frame, interlaced too.
    rate_hz : Fraction
        Frames (not fields) per second.
    sampling : str
        As ST 2110-20 writes it: ``"YCbCr-4:2:2"``, ``"RGB"``, ...
    depth : int
        Bits of a sample: 8, 10, 12 or 16.
    floating : bool
        Samples are floating-point numbers of 16 bit (``depth=16f``).
    interlaced, segmented : bool
        Fields one after the other; ``segmented`` (PsF) with one timestamp, being halves of one progressive frame.
    colorimetry : str
        ``"BT601"``, ``"BT709"``, ``"BT2020"``, ...
    range : str
        ``"NARROW"``, ``"FULL"`` or ``"FULLPROTECT"``.
    packing : str
        ``"2110GPM"`` or ``"2110BPM"``.
    others : mapping
        Parameters of fmtp that are not taken up here, as they stand.

    Raises
    ------
    UsageError
        A sampling, depth or size that can't be.

    Source
    ------
    SMPTE ST 2110-20 §7; PS3.5 §A.8, §A.9.
    """

    width: int
    height: int
    rate_hz: Fraction = Fraction(60)
    sampling: str = "YCbCr-4:2:2"
    depth: int = 10
    floating: bool = False
    interlaced: bool = False
    segmented: bool = False
    colorimetry: str = "BT709"
    range: str = "NARROW"
    packing: str = "2110GPM"
    transfer: str = "SDR"
    others: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can't be."""
        if self.sampling not in STRUCTURE or self.depth not in (8, 10, 12, 16):
            raise UsageError(f"no pixel group for {self.sampling} of {self.depth} bit (ST 2110-20 §6.2)")
        if not (0 < self.width < 32768 and 0 < self.height < 32768):
            raise UsageError(f"{self.width} x {self.height} pixels: each must be 1 to 32767 (ST 2110-20 §7.2)")
        if self.rate_hz <= 0 or self.rate_hz > 1000:
            raise UsageError(f"{self.rate_hz} frames per second")
        if self.floating and self.depth != 16:
            raise UsageError("floating-point samples have 16 bit")
        _, across, down = self.pgroup
        if self.width % across or self.height % down or (down == 2 and self.interlaced):
            raise UsageError(f"{self.sampling}: {self.width} x {self.height} is no whole number of pixel groups")
        if self.frame_octets > MAX_FRAME_OCTETS:
            raise UsageError(f"a frame of {self.frame_octets} octets; at most {MAX_FRAME_OCTETS} are taken")

    @cached_property
    def pgroup(self) -> tuple[int, int, int]:
        """Octets, pixels and rows of one pixel group."""
        return _PGROUPS[STRUCTURE[self.sampling]][self.depth]

    @cached_property
    def row_octets(self) -> int:
        """Octets of one row; for 4:2:0, of two."""
        octets, across, _ = self.pgroup
        return self.width // across * octets

    @cached_property
    def frame_octets(self) -> int:
        """Octets of a frame."""
        return self.row_octets * (self.height // self.pgroup[2])

    @property
    def fields(self) -> int:
        """How many fields or segments a frame has."""
        return 2 if self.interlaced else 1

    @cached_property
    def field_starts(self) -> tuple[int, ...]:
        """Where each field begins in a packed frame: a frame keeps its fields one after the other."""
        return (0, self.row_octets * ((self.height + 1) // 2)) if self.interlaced else (0,)

    @property
    def transfer_syntax_uid(self) -> str:
        """The Transfer Syntax of such a flow (PS3.5 §A.8, §A.9)."""
        return INTERLACED if self.interlaced and not self.segmented else PROGRESSIVE

    @property
    def bits_allocated(self) -> int:
        """Bits Allocated (PS3.5 Table A.8-1)."""
        return 8 if self.depth == 8 else 16

    @property
    def photometric_interpretation(self) -> str:
        """Photometric Interpretation (PS3.5 §A.8).

        Raises
        ------
        UsageError
            DICOM-RTV has no such sampling.
        """
        if self.sampling not in PHOTOMETRIC:
            raise UsageError(f"DICOM-RTV has no {self.sampling}: only {', '.join(PHOTOMETRIC)} (PS3.5 §A.8)")
        return PHOTOMETRIC[self.sampling]

    def parameters(self) -> dict[str, str]:
        """The parameters of fmtp."""
        found = {
            "sampling": self.sampling,
            "width": str(self.width),
            "height": str(self.height),
            "exactframerate": str(self.rate_hz),
            "depth": "16f" if self.floating else str(self.depth),
            "TCS": self.transfer,
            "colorimetry": self.colorimetry,
            "PM": self.packing,
            "SSN": "ST2110-20:2017",
        }
        if self.range != "NARROW":
            found["RANGE"] = self.range
        if self.interlaced:
            found["interlace"] = ""
        if self.segmented:
            found["segmented"] = ""
        return {**found, **self.others}


_KNOWN = frozenset(
    "sampling width height exactframerate depth tcs colorimetry pm ssn range interlace segmented framerate".split()
)


def video_format(media: Media) -> VideoFormat:
    """Read the format of a video flow from its media section: ST 2110-20, or RFC 4175 as older peers write it.

    Raises
    ------
    RemoteProtocolError
        No raw video, no width or height, or values that can't be.

    Source
    ------
    SMPTE ST 2110-20 §7; RFC 4175 §6.
    """
    if media.kind != "video" or media.encoding.lower() != "raw":
        what = f"{media.kind} {media.encoding!r} is no uncompressed video (ST 2110-22 and others are not RTV)"
        raise RemoteProtocolError(what, section="PS3.5 §A.8")
    given = {name.lower(): value for name, value in media.parameters.items()}
    if media.clock_rate_hz != 90_000:
        raise RemoteProtocolError(f"video with a clock of {media.clock_rate_hz} Hz", section=_SECTION)
    depth = given.get("depth", "")
    sampling = given.get("sampling", "")
    sampling = next((known for known in STRUCTURE if known.lower() == sampling.lower()), sampling)
    modern = "ssn" in given
    rate = given.get("exactframerate") or _frame_rate(media) or "25"
    try:
        return VideoFormat(
            width=_whole(given, "width"),
            height=_whole(given, "height"),
            rate_hz=Fraction(rate) if re.fullmatch(r"\d{1,6}(/\d{1,6}|\.\d{1,6})?", rate) else Fraction(0),
            sampling=sampling,
            depth=int(depth.rstrip("f")) if re.fullmatch(r"\d{1,2}f?", depth) else 0,
            floating=depth.endswith("f"),
            interlaced=given.get("interlace", "0") != "0",
            segmented=given.get("segmented", "0") != "0",
            colorimetry=_colorimetry(given.get("colorimetry", "BT709")),
            range=given.get("range", "NARROW" if modern or not sampling.startswith(("RGB", "BGR")) else "FULL").upper(),
            packing=given.get("pm", "2110GPM"),
            transfer=given.get("tcs", "SDR"),
            others={name: value for name, value in media.parameters.items() if name.lower() not in _KNOWN},
        )
    except (UsageError, ZeroDivisionError) as error:
        raise RemoteProtocolError(f"a video format that can't be: {error}", section=_SECTION) from error


def _whole(given: Mapping[str, str], name: str) -> int:
    text = given.get(name, "")
    if not re.fullmatch(r"\d{1,5}", text):
        raise RemoteProtocolError(f"the SDP gives no {name}, and the data set has none", section=_SECTION)
    return int(text)


def _frame_rate(media: Media) -> str:
    return next((value for name, value in media.attributes if name == "framerate"), "")


def _colorimetry(name: str) -> str:
    """RFC 4175 writes BT709-2 and BT601-5."""
    return re.sub(r"^(BT\d+)-\d$", r"\1", name.upper())
