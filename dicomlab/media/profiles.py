"""Application profiles: which transfer syntaxes a medium of one kind may hold, and how an instance gets there. No I/O.

Source
------
PS3.11 Annex D (STD-GEN-CD), Annex H (STD-GEN-DVD), Annex J (STD-GEN-USB).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydicom._uid_dict import UID_dictionary

from dicomlab.errors import UsageError
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_LE
from dicomlab.part10.transcode import UNCOMPRESSED

_JPEG = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_J2K = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10[0-8](\.1)?|1\.2\.840\.10008\.1\.2\.7\.[123]")
"""MPEG2, MPEG-4, HEVC and SMPTE ST 2110."""

Way = Literal["copy", "rewrite", "decompress", "refuse"]


@dataclass(frozen=True, slots=True)
class Profile:
    """One application profile."""

    name: str
    source: str
    transfer_syntaxes: frozenset[str]
    """What instances may be written in."""


PROFILES: dict[str, Profile] = {
    one.name: one
    for one in (
        Profile("STD-GEN-CD", "PS3.11 §D.3.1", frozenset({EXPLICIT_LE})),
        Profile("STD-GEN-DVD-JPEG", "PS3.11 §H.3.1", frozenset({EXPLICIT_LE, *_JPEG})),
        Profile("STD-GEN-DVD-J2K", "PS3.11 §H.3.1", frozenset({EXPLICIT_LE, *_J2K})),
        Profile("STD-GEN-USB-JPEG", "PS3.11 §J.3.1", frozenset({EXPLICIT_LE, *_JPEG})),
        Profile("STD-GEN-USB-J2K", "PS3.11 §J.3.1", frozenset({EXPLICIT_LE, *_J2K})),
    )
}
"""The general purpose profiles that are written here."""


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one instance on its way onto a medium."""

    way: Way
    reason: str = ""
    """Why it is not copied as it is; the whole story where it is refused."""


def profile(name: str | None) -> Profile | None:
    """Look a profile up; None stands for none.

    Raises
    ------
    UsageError
        No such profile.

    Source
    ------
    PS3.11 §7 (profiles are named in conformance statements).
    """
    if name is None:
        return None
    if name not in PROFILES:
        raise UsageError(f"{name!r} is no profile that is written here: {', '.join(PROFILES)}, or None for none")
    return PROFILES[name]


def step(
    wanted: Profile | None, transfer_syntax_uid: str, decodes: Callable[[str], bool], *, transcode: bool = True
) -> Step:
    """Decide what happens to an instance. Nothing that is written holds less than what it was made of.

    Parameters
    ----------
    wanted : Profile or None
        None: every instance is copied as it is.
    transfer_syntax_uid : str
    decodes : callable
        Whether a decoder for a transfer syntax is installed.
    transcode : bool
        Whether instances may be written in another transfer syntax at all.

    Source
    ------
    PS3.11 §D.3.1, §H.3.1, §J.3.1; PS3.5 Annex A.
    """
    if wanted is None or transfer_syntax_uid in wanted.transfer_syntaxes:
        return Step("copy")
    name = UID_dictionary.get(transfer_syntax_uid, (transfer_syntax_uid,))[0]
    why = f"{wanted.name} allows no {name} ({wanted.source})"
    if not transcode:
        return Step("refuse", f"{why}, and transcode=False")
    if transfer_syntax_uid in UNCOMPRESSED or transfer_syntax_uid == DEFLATED_LE:
        return Step("rewrite", f"{name} rewritten as Explicit VR Little Endian, values untouched")
    if _VIDEO.fullmatch(transfer_syntax_uid):
        return Step("refuse", f"{why}, and video can't be written as single frames without growing beyond use")
    if not decodes(transfer_syntax_uid):
        return Step("refuse", f'{why}, and no decoder for it is installed: pip install "dicomlab[codecs]"')
    return Step("decompress", f"{name} decompressed, nothing lost")
