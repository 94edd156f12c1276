"""What comes of one request beside whole instances: its parts, whole, in memory or in a file; and metadata."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from dicomlab.errors import RemoteProtocolError, ServiceError
from dicomlab.part10.medium import replacing
from dicomlab.web.http import MAX_JSON, Answer, Conversation
from dicomlab.web.media_types import DICOM, DICOM_JSON, RELATED, accepting, parse_content_type
from dicomlab.web.multipart import Begin, Data
from dicomlab.web.parts import Part
from dicomlab.web.rendering import sniffed
from dicomlab.web.resources import Resource
from dicomlab.web.retrieve import NOT_TAKEN, events
from dicomlab.web.xml_model import from_xml

DICOM_XML = "application/dicom+xml"
MAX_IN_MEMORY = 2 << 30
"""Octets of one answer that are kept in memory; more go into a file."""
_DOCUMENTS = ("text/html", "text/plain", "application/pdf")


def metadata_of(http: Conversation, resource: Resource, form: str) -> bytes:
    """Ask for metadata; give the objects as they stand between the brackets of a JSON array.

    Raises
    ------
    RemoteProtocolError
        No metadata came.
    """
    json_type = f"{DICOM_JSON}, application/json; q=0.9"
    accept = json_type if form == "json" else accepting(DICOM_XML, "")
    with http.request("GET", resource.path, accept=accept) as answer:
        if answer.status == 204:
            return b""
        if answer.status not in (200, 206):
            answer.refuse()
        kind = answer.media_type
        if kind is not None and (kind.name == RELATED or kind.name.endswith("xml")):
            documents = _documents(answer)
            return b",".join(msgspec.json.encode(from_xml(one)) for one in documents)
        octets = answer.read(MAX_JSON).strip()
    if octets.startswith(b"{"):  # a single instance that stands alone
        return octets
    if not (octets.startswith(b"[") and octets.endswith(b"]")):
        raise RemoteProtocolError("the metadata are no array (PS3.18 §F.2.1)", section="PS3.18 §F.2.1")
    return octets[1:-1]


def _documents(answer: Answer) -> Iterator[bytes]:
    for part in collected(answer, MAX_JSON, None):
        yield part.octets


def parts_of(
    http: Conversation, path: str, accepts: Sequence[str], *, expected: str, to: Path | None = None
) -> Iterator[Part]:
    """Ask for a resource and give its parts; with `to` they go into that file, and a Part holds no octets.

    Of several Accept headers the next is tried where the server doesn't take one.
    """
    for accept in accepts[:-1]:
        with http.request("GET", path, accept=accept) as answer:
            if answer.status not in NOT_TAKEN:
                yield from _given(answer, expected, to)
                return
    with http.request("GET", path, accept=accepts[-1]) as answer:
        yield from _given(answer, expected, to)


def _given(answer: Answer, expected: str, to: Path | None) -> Iterator[Part]:
    if answer.status == 204:
        return
    if answer.status not in (200, 206):
        answer.refuse()
    kind = answer.media_type
    if kind is not None and kind.name == "text/html" and expected != "text/html":
        raise RemoteProtocolError(
            f"a web page came where {expected} was due: is the base URL right, or is a log-in wanted?",
            section="PS3.18 §8.7",
        )
    yield from collected(answer, MAX_IN_MEMORY, to)


def collected(answer: Answer, limit: int, to: Path | None) -> Iterator[Part]:
    """The parts of an answer, whole; into a file where one is given, else into memory up to a limit."""
    headers: dict[str, str] = {}
    pieces: list[bytes] = []
    total = count = 0
    with _file(to) as write:
        for event in events(answer, any_type=True):
            if isinstance(event, Begin):
                headers, pieces = dict(event.headers), []
                count += 1
                if to is not None and count > 1:
                    raise RemoteProtocolError(
                        "several parts came, which don't go into one file", section="PS3.18 §10.4.3"
                    )
            elif isinstance(event, Data):
                if write is not None:
                    write(event.octets)
                    pieces = pieces or [bytes(event.octets[:132])]
                    continue
                total += len(event.octets)
                if total > limit:
                    raise ServiceError(
                        f"{answer.url}: more than {limit >> 20} MiB came; ask for less at once, or give a file",
                        status=answer.status,
                    )
                pieces.append(bytes(event.octets))
            else:
                octets = b"".join(pieces)
                yield _part(octets, headers, keep=write is None)


@contextmanager
def _file(to: Path | None) -> Iterator[Callable[[bytes | memoryview], object] | None]:
    if to is None:
        yield None
        return
    with replacing(to) as file:
        yield file.write


def _part(octets: bytes, headers: dict[str, str], *, keep: bool) -> Part:
    text = headers.get("content-type", "")
    said = parse_content_type(text) if re.search(r"\S", text) else None
    name = said.name if said else ""
    syntax = said.parameters.get("transfer-syntax", "") if said else ""
    known = sniffed(octets) if name.startswith(("image/", "video/")) or name in ("", DICOM, *_DOCUMENTS) else ""
    return Part(octets if keep else b"", known or name, name, syntax, headers.get("content-location", ""))
