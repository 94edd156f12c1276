"""What a profile lets through, and what becomes of the rest."""

from __future__ import annotations

import pytest

from dicomlab.errors import UsageError
from dicomlab.media.profiles import PROFILES, profile, step

LE, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)
SV1, BASELINE, EXTENDED = (f"1.2.840.10008.1.2.4.{n}" for n in (70, 50, 51))
J2K, J2K_LOSSY, RLE, MPEG4, JPEG_XL = (
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.102",
    "1.2.840.10008.1.2.4.110",
)  # fmt: skip


def way(name: str | None, syntax: str, *, decodes: bool = True, transcode: bool = True) -> str:
    return step(profile(name), syntax, lambda _: decodes, transcode=transcode).way


@pytest.mark.parametrize(
    ("name", "copied"),
    [
        ("STD-GEN-CD", {LE}), ("STD-GEN-DVD-JPEG", {LE, SV1, BASELINE, EXTENDED}), ("STD-GEN-DVD-J2K", {LE, J2K, J2K_LOSSY}),
        ("STD-GEN-USB-JPEG", {LE, SV1, BASELINE, EXTENDED}), ("STD-GEN-USB-J2K", {LE, J2K, J2K_LOSSY}),
    ],
)  # fmt: skip
def test_what_each_allows(name: str, copied: set[str]) -> None:
    assert PROFILES[name].transfer_syntaxes == copied
    for syntax in (LE, SV1, BASELINE, EXTENDED, J2K, J2K_LOSSY, RLE):
        assert way(name, syntax) == ("copy" if syntax in copied else "decompress")
    for syntax in (IMPLICIT, BIG, DEFLATED):
        assert way(name, syntax) == "rewrite"
    assert way(name, MPEG4) == "refuse"


def test_without_profile_everything_is_copied() -> None:
    assert {way(None, syntax) for syntax in (LE, IMPLICIT, RLE, MPEG4, "1.2.3")} == {"copy"}


def test_refusals_say_why() -> None:
    cd = profile("STD-GEN-CD")
    refused = step(cd, RLE, lambda _: True, transcode=False)
    assert (refused.way, refused.reason) == (
        "refuse", "STD-GEN-CD allows no RLE Lossless (PS3.11 §D.3.1), and transcode=False"
    )  # fmt: skip
    assert "no decoder for it is installed" in step(cd, JPEG_XL, lambda _: False).reason
    assert "video" in step(cd, MPEG4, lambda _: True).reason


def test_an_unknown_one() -> None:
    with pytest.raises(UsageError, match="STD-GEN-CD, STD-GEN-DVD-JPEG"):
        profile("STD-GEN-FLOPPY")
    assert profile(None) is None
