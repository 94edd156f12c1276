"""Answers of the origin server: parts as they come, one part alone, a range of it, nothing new, and problems."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from starlette.responses import Response, StreamingResponse

from dicomlab.errors import Interrupted, RemoteProtocolError
from dicomlab.model.protocols import Held
from dicomlab.web.media_types import DICOM_JSON, RELATED, MediaType, parse_content_type
from dicomlab.web.multipart import closing, new_boundary, part_head

AGENT = "dicomlab"
NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
CHUNK_OCTETS = 1 << 20
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class Problem(Exception):
    """An answer other than success, and the sentence that explains it."""

    def __init__(self, status: int, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status, self.sentence, self.headers = status, sentence, dict(headers or {})

    def answer(self) -> Response:
        """Write it as an answer."""
        body = msgspec.json.encode({"error": self.sentence})
        return Response(body, self.status, self.headers, media_type="application/json")


def json_answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with the DICOM JSON Model."""
    return Response(msgspec.json.encode(value), status, headers, media_type=DICOM_JSON)


def warning(*texts: str) -> dict[str, str]:
    """Write a Warning header, in ASCII; none for no text.

    Source
    ------
    PS3.18 §8.4.3 (warnings), RFC 7234 §5.5.
    """
    quoted = (re.sub(r'[\r\n"\\]', "'", text).encode("ascii", "replace").decode() for text in texts)
    value = ", ".join(f'299 {AGENT} "{text}"' for text in quoted)
    return {"Warning": value} if value else {}


# --- pieces ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Piece:
    """One part of an answer: its headers, how many octets it has (-1: known when it is made), and how to get them.

    ``octets`` takes the first octet that is wanted and the one after the last.
    """

    headers: dict[str, str]
    size: int
    octets: Callable[[int, int], Iterator[bytes]]

    def made(self) -> Piece:
        """The same with its size known.

        Raises
        ------
        RemoteProtocolError
            It can't be made of what is stored.
        """
        return self if self.size >= 0 else octets_piece(self.headers, b"".join(self.octets(0, -1)))

    def without_end(self, count: int) -> Piece:
        """The same without its last octets."""
        whole = self.made()
        return replace(whole, size=max(whole.size - count, 0))

    def all(self) -> Iterator[bytes]:
        """Give its octets."""
        return self.octets(0, self.size)


def octets_piece(headers: dict[str, str], octets: bytes) -> Piece:
    """A part whose octets are there."""
    return Piece(headers, len(octets), lambda start, stop: iter((octets[start:stop],)))


def made_piece(headers: dict[str, str], make: Callable[[], bytes]) -> Piece:
    """A part that is made when its turn comes."""
    return Piece(headers, -1, lambda start, stop: iter((make(),)))


def file_piece(headers: dict[str, str], path: Path, offset: int, size: int) -> Piece:
    """A part that lies in a file."""
    return Piece(headers, size, lambda start, stop: _from_file(path, offset + start, stop - start))


def _from_file(path: Path, offset: int, size: int) -> Iterator[bytes]:
    left = size
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        while left and (chunk := file.read(min(CHUNK_OCTETS, left))):
            left -= len(chunk)
            yield chunk
    if left:
        raise Interrupted("the file became shorter while it was sent", endpoint=path.name)


# --- answers ---------------------------------------------------------------------------------------------------------


def with_parts(
    pieces: Sequence[Piece], part: str, headers: Mapping[str, str] | None = None, *, closed: bool = True
) -> Response:
    """Answer with multipart/related; pieces that can't be made are left out.

    Parameters
    ----------
    pieces : sequence of Piece
    part : str
        The media type that the parts are said to have where they differ.
    headers : mapping, optional
    closed : bool
        False leaves out the closing delimiter, so that the answer is not whole.

    Source
    ------
    PS3.18 §8.6.1.2.1 (multipart payload), RFC 2387.
    """
    given = dict(headers or {})
    boundary = new_boundary()
    kinds = {parse_content_type(piece.headers["Content-Type"]).name for piece in pieces}
    kind = MediaType(RELATED, {"type": kinds.pop() if len(kinds) == 1 else part, "boundary": boundary})
    end = closing(boundary) if closed else b""
    if all(piece.size >= 0 for piece in pieces):
        heads = sum(len(_head(boundary, piece, first=at == 0)) for at, piece in enumerate(pieces))
        given["Content-Length"] = str(heads + sum(piece.size for piece in pieces) + len(end))
    return StreamingResponse(_parts(pieces, boundary, end), 200, given, media_type=str(kind))


def _head(boundary: str, piece: Piece, *, first: bool) -> bytes:
    return part_head(boundary, {**piece.headers, "Content-Length": str(piece.size)}, first=first)


def _parts(pieces: Sequence[Piece], boundary: str, end: bytes) -> Iterator[bytes]:
    first = True
    for piece in pieces:
        try:
            made = piece.made()
        except RemoteProtocolError:
            continue  # it can't be decoded: left out, and asked for alone it gives the reason
        head = _head(boundary, made, first=first)
        for octets in made.all():
            yield head + octets if head else octets
            head = b""
        if head:
            yield head
        first = False
    yield end


def with_one(
    piece: Piece, asked: Mapping[str, str], headers: Mapping[str, str] | None = None, status: int = 200
) -> Response:
    """Answer with one part alone, or with a range of it.

    Parameters
    ----------
    piece : Piece
    asked : mapping
        The headers of the request, names in lower case.
    headers : mapping, optional
    status : int

    Raises
    ------
    Problem
        416: the range begins beyond the end.

    Source
    ------
    RFC 9110 §14 (range requests); PS3.18 §8.7.4 (single part payloads).
    """
    piece = piece.made()
    given = {**{name: value for name, value in piece.headers.items() if name != "Content-Type"}, **(headers or {})}
    given["Accept-Ranges"] = "bytes"
    kind = piece.headers["Content-Type"]
    start, stop = 0, piece.size
    found = _RANGE.fullmatch(asked.get("range", "").replace(" ", ""))
    if found and any(found.groups()) and asked.get("if-range", given.get("ETag")) == given.get("ETag"):
        first, last = found.groups()
        if first:
            start, stop = int(first), min(int(last) + 1, piece.size) if last else piece.size
        else:
            start = max(piece.size - int(last), 0)
        if start >= piece.size or start >= stop:
            raise Problem(416, f"there are {piece.size} octets", {"Content-Range": f"bytes */{piece.size}"})
        status = 206
        given["Content-Range"] = f"bytes {start}-{stop - 1}/{piece.size}"
    given["Content-Length"] = str(stop - start)
    return StreamingResponse(piece.octets(start, stop), status, given, media_type=kind)


# --- conditional requests --------------------------------------------------------------------------------------------


def entity_tag(held: Sequence[Held], variant: str) -> str:
    """The tag that changes when what is stored, or what is made of it, does.

    Source
    ------
    RFC 9110 §8.8.3.
    """
    digest = hashlib.sha256(variant.encode())
    for one in held:
        changed_ns = 0
        with suppress(OSError):
            changed_ns = one.path.stat().st_mtime_ns
        digest.update(f"\n{one.sop_instance_uid} {one.size} {changed_ns}".encode())
    return f'"{digest.hexdigest()[:32]}"'


def unchanged(tag: str, asked: Mapping[str, str]) -> bool:
    """Whether the client has what it asks for already.

    Source
    ------
    RFC 9110 §13.1.2 (If-None-Match).
    """
    known = [one.strip().removeprefix("W/") for one in asked.get("if-none-match", "").split(",")]
    return tag in known or "*" in known
