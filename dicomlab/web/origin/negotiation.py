"""What a client accepts against what the origin server has: media types and transfer syntaxes. No I/O.

Source
------
PS3.18 §8.7.5 (acceptable media types), §8.7.8 (selected media type), §8.7.3.5.2 (transfer syntax parameter),
RFC 9110 §12.5.1 (Accept).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.web.datasets import NOT_ALLOWED, UNCOMPRESSED, can_decode
from dicomlab.web.media_types import (
    DICOM,
    FRAME_MEDIA_TYPES,
    OCTETS,
    RELATED,
    MediaType,
    parse_accept,
    parse_content_type,
    parse_refused,
)

ANY = ("*/*", "application/*")


@dataclass(frozen=True, slots=True)
class Accept:
    """What a client accepts: ``ranges``, most wanted first, and what it said it doesn't."""

    ranges: tuple[MediaType, ...]
    refused: tuple[MediaType, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Accept:
        """Read an Accept header, or the ``accept`` parameter of a URL.

        Source
        ------
        PS3.18 §8.3.3.1 (accept parameter), RFC 9110 §12.5.1.
        """
        return cls(parse_accept(text), parse_refused(text))

    def best(self, offers: Sequence[str]) -> str:
        """Choose among media types that we have, our favourite first; ``""`` where none is acceptable.

        Source
        ------
        RFC 9110 §12.5.1: the most specific range decides how much an offer is wanted.
        """
        ranked = [(self._rank(parse_content_type(offer)), -at, offer) for at, offer in enumerate(offers)]
        wanted = [(rank, at, offer) for rank, at, offer in ranked if rank is not None]
        return max(wanted)[2] if wanted else ""

    def _rank(self, offer: MediaType) -> tuple[float, int] | None:
        found: list[tuple[int, float, int]] = []
        for at, one in enumerate((*self.ranges, *self.refused)):
            if one.covers(offer.name) and (offer.name != RELATED or one.name != RELATED or _covers_part(one, offer)):
                specific = (one.name == offer.name) + (one.name != "*/*") + ("type" in one.parameters)
                found.append((specific, one.q, -at))
        if not found:
            return None
        specific = max(found)[0]
        _, q, at = max(one for one in found if one[0] == specific)
        return (q, at) if q > 0 else None

    def names(self, *parts: str) -> bool:
        """Whether one of these media types, or a multipart of them, was named, and not just allowed among others."""
        return any(one.part in parts for one in self.ranges)

    def refuses(self, name: str) -> bool:
        """Whether the client said that it takes no such part."""
        return any(one.part == name for one in self.refused)

    def wants_single(self, part: str) -> bool:
        """Whether one part alone is wanted more than a multipart that holds it."""
        first = next((one for one in self.ranges if one.name in (RELATED, "*/*") or one.part == part), None)
        return first is not None and first.name == part

    def syntax_for(self, stored: str) -> str:
        """Choose the transfer syntax in which an instance is sent; ``""`` where none is acceptable.

        As stored where that was asked for, but never in one that web services must not use; Explicit VR Little Endian
        where nothing was said.

        Source
        ------
        PS3.18 §8.7.3.5.2.
        """
        if self.refuses(DICOM):
            return ""
        for one in self.ranges:
            if one.part not in (DICOM, *ANY):
                continue
            asked = one.parameters.get("transfer-syntax", "")
            if asked in ("*", stored) and stored not in NOT_ALLOWED:
                return stored
            if asked in ("", "*", EXPLICIT_LE) and can_decode(stored):
                return EXPLICIT_LE
            if not asked and one.name == "*/*" and stored not in NOT_ALLOWED:
                return stored
        return ""

    def frames_as(self, stored: str) -> tuple[str, str] | None:
        """Choose media type and transfer syntax of frames; None where none is acceptable.

        Source
        ------
        PS3.18 §8.7.3.3 (DICOM bulkdata media types and transfer syntaxes), Tables 8.7.3-2 to 8.7.3-5.
        """
        compressed = stored not in UNCOMPRESSED
        media = FRAME_MEDIA_TYPES.get(stored, OCTETS)
        for one in self.ranges:
            asked = one.parameters.get("transfer-syntax", "")
            plain = one.part in (OCTETS, *ANY)
            covered = plain or MediaType(one.part).covers(media)
            unasked = not asked and (one.name == "*/*" or (media != OCTETS and not plain))
            if compressed and covered and not self.refuses(media) and (asked in ("*", stored) or unasked):
                return media, stored
            if plain and not self.refuses(OCTETS) and asked in ("", "*", EXPLICIT_LE) and can_decode(stored):
                return OCTETS, EXPLICIT_LE
        return None

    def takes_octets(self) -> bool:
        """Whether bulk values may come as they are.

        Source
        ------
        PS3.18 §8.7.3.3.
        """
        return not self.refuses(OCTETS) and any(one.part in (OCTETS, *ANY) for one in self.ranges)


def _covers_part(one: MediaType, offer: MediaType) -> bool:
    part = one.part
    return part == "*/*" or MediaType(part).covers(offer.part)
