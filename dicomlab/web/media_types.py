"""Media types: Content-Type and Accept headers, read tolerantly and written as the standard has them. No I/O.

Source
------
PS3.18 §8.7 (media types), RFC 9110 §8.3, §12.5.1, RFC 2046 §5.1.1 (boundary).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.part10.meta import EXPLICIT_LE

DICOM = "application/dicom"
DICOM_JSON = "application/dicom+json"
OCTETS = "application/octet-stream"
RELATED = "multipart/related"

MAX_HEADER = 8192
_MAX_BOUNDARY = 256
"""RFC 2046 allows 70 characters; Orthanc's client sends 73."""

FRAME_MEDIA_TYPES: dict[str, str] = {
    "1.2.840.10008.1.2.5": "image/dicom-rle",
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70)), "image/jpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (80, 81)), "image/jls"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (90, 91)), "image/jp2"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (92, 93)), "image/jpx"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (100, 101)), "video/mpeg"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in range(102, 107)), "video/mp4"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (107, 108)), "video/H265"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (110, 111, 112)), "image/jxl"),
    **dict.fromkeys((f"1.2.840.10008.1.2.4.{n}" for n in (201, 202, 203)), "image/jphc"),
}
"""Transfer syntax to media type of compressed frames (PS3.18 Tables 8.7.3-2 to 8.7.3-5)."""

MAX_PREFERENCES = 16
_SYNTAX = re.compile(r"\*|(?=.{0,64}\Z)[0-9.]*")
_TOKEN = re.compile(r"[^\s;,=\"]+")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_BLANK = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class MediaType:
    """One media type or range: ``multipart/related; type="application/dicom"; transfer-syntax=*``.

    ``name`` and the names of ``parameters`` are in lower case; ``q`` is the preference of a range.
    """

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    q: float = 1.0

    @property
    def part(self) -> str:
        """The media type of the parts of a multipart one, else its own name."""
        return self.parameters.get("type", "*/*").lower() if self.name == RELATED else self.name

    @property
    def transfer_syntax(self) -> str:
        """The transfer syntax that it names; without one Explicit VR Little Endian (PS3.18 §8.7.3.5.2)."""
        return self.parameters.get("transfer-syntax") or EXPLICIT_LE

    @property
    def boundary(self) -> str:
        """The boundary of a multipart type.

        Raises
        ------
        RemoteProtocolError
            There is none, or one that can't be.
        """
        found = self.parameters.get("boundary", "")
        if not 0 < len(found) <= _MAX_BOUNDARY or not found.isascii() or not found.isprintable():
            raise RemoteProtocolError(
                f"a multipart message needs a boundary of 1 to 70 ASCII characters, not {found[:80]!r}",
                section="RFC 2046 §5.1.1",
            )
        return found

    def covers(self, name: str) -> bool:
        """Whether `name` is in this range: ``*/*`` covers all, ``image/*`` every image."""
        mine = self.name
        return mine in ("*/*", name) or (mine.endswith("/*") and name.startswith(mine[:-1]))

    def __str__(self) -> str:
        """Write it as a header value."""
        written = [self.name]
        for name, value in self.parameters.items():
            plain = _TOKEN.fullmatch(value) and not re.search(r"[()<>@:\\/\[\]?=]", value)
            written.append(f"{name}={value}" if plain else f'{name}="{_escaped(value)}"')
        return "; ".join(written)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def multipart_of(part: str, transfer_syntax: str | None = None) -> str:
    """Write the Accept value for multipart/related: the transfer syntax stands outside the quotes.

    Source
    ------
    PS3.18 §8.7.4, §8.7.3.5.2.
    """
    parameters = {"type": part} | ({"transfer-syntax": transfer_syntax} if transfer_syntax else {})
    return str(MediaType(RELATED, parameters))


def accepting(part: str, transfer_syntax: str | Sequence[str], *, quoted: bool = True) -> str:
    """Write an Accept header for multipart/related: one range for each transfer syntax, in order of preference.

    Parameters
    ----------
    part : str
        The media type of the parts.
    transfer_syntax : str or sequence of str
        UIDs; ``"*"`` for whatever is stored; ``""`` to leave it to the server (Explicit VR Little Endian).
    quoted : bool
        Whether the media type of the parts stands in quotes, as the grammar wants and some servers don't.

    Raises
    ------
    UsageError
        It is neither a UID nor ``"*"``.

    Source
    ------
    PS3.18 §8.7.4, §8.7.3.5.2; RFC 9110 §12.4.2 (weights).
    """
    syntaxes = (transfer_syntax,) if isinstance(transfer_syntax, str) else tuple(transfer_syntax)
    if not 0 < len(syntaxes) <= MAX_PREFERENCES or not all(_SYNTAX.fullmatch(str(one)) for one in syntaxes):
        raise UsageError(
            f'transfer_syntax is a UID, "*", or at most {MAX_PREFERENCES} of them in order of preference, not'
            f" {str(transfer_syntax)[:80]!r}"
        )
    kind = f'"{part}"' if quoted else part
    ranges = []
    for at, syntax in enumerate(syntaxes):
        given = f"; transfer-syntax={syntax}" if syntax else ""
        ranges.append(f"{RELATED}; type={kind}{given}" + (f"; q={1 - at / MAX_PREFERENCES / 2:.3g}" if at else ""))
    return ", ".join(ranges)


def parse_content_type(text: str) -> MediaType:
    """Read a Content-Type.

    Raises
    ------
    RemoteProtocolError
        It is none.

    Source
    ------
    RFC 9110 §8.3.
    """
    found = next(_ranges(text), None)
    if found is None:
        raise RemoteProtocolError(f"{text[:80]!r} is no media type", section="RFC 9110 §8.3", offset=0)
    return found


def parse_accept(text: str) -> tuple[MediaType, ...]:
    """Read an Accept header, most wanted first; nothing or nonsense accepts everything.

    Tolerated: ``type`` without quotes, and a transfer syntax that stands inside the quotes of ``type``.

    Source
    ------
    RFC 9110 §12.5.1.
    """
    found = [one for one in _ranges(text) if one.q > 0]
    return tuple(sorted(found, key=lambda one: -one.q)) or (MediaType("*/*"),)


def parse_refused(text: str) -> tuple[MediaType, ...]:
    """Read from an Accept header what is not acceptable: the ranges with ``q=0``.

    Source
    ------
    RFC 9110 §12.4.2 (a weight of 0 means "not acceptable").
    """
    return tuple(one for one in _ranges(text) if one.q == 0)


def _ranges(text: str) -> Iterator[MediaType]:
    text = text[:MAX_HEADER]
    at = 0
    while at < len(text):
        name = _TOKEN.match(text, _skip(text, at))
        if name is None:
            at = _skip(text, at) + 1
            continue
        parameters, at = _parameters(text, name.end())
        if "/" in name[0] or name[0] == "*":
            if inside := parameters.get("type", "").partition(";")[2]:
                parameters["type"] = parameters["type"].partition(";")[0].strip()
                parameters = _parameters(";" + inside, 0)[0] | parameters
            full = "*/*" if name[0] == "*" else name[0].lower()
            yield MediaType(full, parameters, _quality(parameters.pop("q", "1")))


def _skip(text: str, at: int) -> int:
    blank = _BLANK.match(text, at)
    return blank.end() if blank else at


def _parameters(text: str, at: int) -> tuple[dict[str, str], int]:
    """Read ``; name=value`` up to a comma or the end."""
    found: dict[str, str] = {}
    while True:
        at = _skip(text, at)
        if at >= len(text) or text[at] == ",":
            return found, at + 1
        name = _TOKEN.match(text, _skip(text, at + 1) if text[at] == ";" else at)
        if name is None:
            at += 1
            continue
        at = _skip(text, name.end())
        if at >= len(text) or text[at] != "=":
            continue
        at = _skip(text, at + 1)
        if quoted := _QUOTED.match(text, at):
            found.setdefault(name[0].lower(), re.sub(r"\\(.)", r"\1", quoted[1]))
            at = quoted.end()
        else:  # unquoted values of peers hold "/" and "=" though no token may
            plain = re.compile(r"[^\s;,\"]*").match(text, at)
            found.setdefault(name[0].lower(), plain[0] if plain else "")
            at = plain.end() if plain else at


def _quality(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.\d{0,3})?", text) else 1.0
