"""Instances as one ZIP, as dcm4chee and others give them beside what the standard has: stored, not deflated, streamed.

Source
------
PKWARE APPNOTE 6.3 §4.3.9 (data descriptor: what is not known yet follows the file). PS3.18 has no such media type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.protocols import Held
from dicomlab.web.origin.answer import Piece

ZIP = "application/zip"


class _Outgoing:
    """Takes what a ZIP file is made of, so that it can be sent on."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, octets: bytes, /) -> int:
        self._pieces.append(bytes(octets))
        return len(octets)

    def flush(self) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, []
        yield from pieces


def zipped(held: Sequence[Held], pieces: Sequence[Piece]) -> Iterator[bytes]:
    """Give the octets of a ZIP as they are made; the directory at its end makes it whole.

    An instance that can't be written in the transfer syntax that was asked for is left out.

    Parameters
    ----------
    held : sequence of Held
    pieces : sequence of Piece
        What is sent of each.
    """
    out = _Outgoing()
    with ZipFile(out, "w", ZIP_STORED) as whole:
        for one, piece in zip(held, pieces, strict=True):
            try:
                made = piece.made()
            except RemoteProtocolError:
                continue
            with whole.open(ZipInfo(name_of(one)), "w", force_zip64=True) as entry:
                for octets in made.all():
                    entry.write(octets)
                    yield from out.taken()
            yield from out.taken()
    yield from out.taken()


def name_of(held: Held) -> str:
    """Study, series and instance as a path that leaves no folder, whatever the UIDs are."""
    uids = (held.study_instance_uid, held.series_instance_uid, held.sop_instance_uid)
    return "/".join(re.sub(r"[^0-9A-Za-z.]", "_", uid).strip(".") or "_" for uid in uids) + ".dcm"
