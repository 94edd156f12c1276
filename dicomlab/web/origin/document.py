"""Structured reports and encapsulated documents as something people can read: HTML, plain text, PDF.

Every value is hostile and is escaped; nothing is fetched, nothing runs.

Source
------
PS3.18 §8.7.4 Table 8.7.4-1 (rendered media types: SR and encapsulated documents), PS3.3 §C.17.3 (SR Document Content).
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.origin.stored import DECODING_FAILED, Stored

HTML, TEXT, PDF = "text/html", "text/plain", "application/pdf"
MAX_DEPTH = 32
MAX_LINES = 20_000
_SHOWN = 4000
_HEAD = ("PatientName", "PatientID", "StudyDate", "StudyDescription", "CompletionFlag", "VerificationFlag")
_PLAIN = ("TextValue", "DateTime", "Date", "Time", "PersonName", "UID")


def media_types(stored: Stored) -> tuple[str, ...]:
    """What an instance without pixels can be rendered as, our favourite first."""
    header = stored.header
    if header.get("ContentSequence") is not None or str(header.get("Modality", "")) == "SR":
        return HTML, TEXT
    kind = str(header.get("MIMETypeOfEncapsulatedDocument", "") or "").lower()
    if header.get("EncapsulatedDocument") is not None and kind in (PDF, TEXT):
        return (kind,)  # not HTML: it could bring scripts of its own
    return ()


def rendered_document(stored: Stored, media_type: str) -> bytes:
    """Write a document.

    Raises
    ------
    RemoteProtocolError
        Its content can't be read.

    Source
    ------
    PS3.18 §8.7.4 (text/html is the default of structured reports), PS3.3 §C.24.2 (encapsulated document).
    """
    header = stored.header
    try:
        if header.get("EncapsulatedDocument") is not None:
            octets: bytes = header.EncapsulatedDocument
            length = header.get("EncapsulatedDocumentLength")
            return octets[: int(length)] if length else octets
        lines = list(_lines(header))
    except DECODING_FAILED as error:
        raise RemoteProtocolError(f"the document can't be read: {error}", section="PS3.3 §C.17.3") from error
    if media_type == TEXT:
        return "\n".join("  " * depth + f"{name}: {value}".rstrip(": ") for depth, name, value in lines).encode()
    rows = "".join(
        f'<p style="margin-left:{depth}em"><b>{escape(name)}</b> {escape(value)}</p>' for depth, name, value in lines
    )
    title = escape(lines[0][1] if lines else "Document")
    head = f'<!doctype html><html><head><meta charset="utf-8"><title>{title}</title></head>'
    return f"{head}<body>{rows}</body></html>".encode()


def _lines(header: Any) -> Iterator[tuple[int, str, str]]:
    """Depth, name and value of each line of a report."""
    yield 0, _meaning(header, "ConceptNameCodeSequence") or "Structured Report", ""
    for keyword in _HEAD:
        if value := str(header.get(keyword, "") or ""):
            yield 0, keyword, value[:_SHOWN]
    for count, line in enumerate(_content(header, 0)):
        if count == MAX_LINES:
            yield 0, f"more than {MAX_LINES} lines; the rest is left out", ""
            return
        yield line


def _content(item: Any, depth: int) -> Iterator[tuple[int, str, str]]:
    if depth > MAX_DEPTH:
        return
    for one in item.get("ContentSequence") or ():
        name = _meaning(one, "ConceptNameCodeSequence") or str(one.get("ValueType", "") or "")
        yield depth, name, _value(one)[:_SHOWN]
        yield from _content(one, depth + 1)


def _meaning(item: Any, sequence: str) -> str:
    codes = item.get(sequence) or ()
    return str(codes[0].get("CodeMeaning", "") or "") if codes else ""


def _value(item: Any) -> str:
    for keyword in _PLAIN:
        if value := item.get(keyword):
            return str(value)
    if measured := item.get("MeasuredValueSequence"):
        unit = _meaning(measured[0], "MeasurementUnitsCodeSequence")
        return f"{measured[0].get('NumericValue', '')} {unit}".strip()
    if code := _meaning(item, "ConceptCodeSequence"):
        return code
    if referenced := item.get("ReferencedSOPSequence"):
        return str(referenced[0].get("ReferencedSOPInstanceUID", "") or "")
    return ""
