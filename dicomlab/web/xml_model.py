"""The Native DICOM Model: a data set as XML, written from and read into the DICOM JSON Model. No I/O.

What the one model holds the other holds too, so a data set that goes through both comes back as it was. Two things
are said differently: the text of IS and DS that is a number written in the shortest way comes back as a number, and
text with characters that XML 1.0 has no place for travels as ``InlineBinary`` (UTF-8).

Source
------
PS3.19 Annex A.1 (Native DICOM Model), §A.1.6 (schema); PS3.18 §F.2 (DICOM JSON Model).
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from xml.parsers import expat

from pydicom.datadict import keyword_for_tag

from dicomlab.errors import RemoteProtocolError

NAMESPACE = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
MAX_DEPTH = 64
MAX_ELEMENTS = 10_000_000
_SECTION = "PS3.19 §A.1.6"

_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_BINARY = frozenset("OB OD OF OL OV OW UN".split())
_NUMBERS = frozenset("FL FD SL SS SV UL US UV".split())
_DECIMAL_TEXT = frozenset("DS IS".split())
_UNSPLIT = frozenset("LT ST UT UR".split())
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_WHOLE = re.compile(r"[+-]?[0-9]{1,40}")
_SPECIAL = {"NaN": math.nan, "INF": math.inf, "-INF": -math.inf, "Infinity": math.inf, "-Infinity": -math.inf}
_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#9;"}
)

# --- JSON Model to XML -----------------------------------------------------------------------------------------------


def to_xml(model: Mapping[str, Any]) -> bytes:
    """Write an object of the DICOM JSON Model as a document of the Native DICOM Model, in UTF-8.

    Parameters
    ----------
    model : mapping
        Tag (eight hexadecimal digits) to element, as :func:`dicomlab.web.json_model.to_json` gives it.

    Source
    ------
    PS3.19 §A.1.6, Tables A.1.5-1 to A.1.5-4.
    """
    out = ['<?xml version="1.0" encoding="UTF-8"?>\n', f'<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">']
    _write_elements(model, out, 0)
    out.append("</NativeDicomModel>")
    return "".join(out).encode("utf-8", "replace")


def _write_elements(model: Mapping[str, Any], out: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        return
    for name in sorted(model):
        element = model[name]
        vr = str(element.get("vr") or "UN")
        out.append(f"<DicomAttribute {_identity(name, model)} vr={_quoted(vr)}")
        content: list[str] = []
        if "BulkDataURI" in element:
            content.append(f"<BulkData uri={_quoted(str(element['BulkDataURI']))}/>")
        elif "InlineBinary" in element:
            content.append(f"<InlineBinary>{_escaped(str(element['InlineBinary']))}</InlineBinary>")
        elif "Value" in element:
            values = element["Value"] if isinstance(element["Value"], list) else [element["Value"]]
            _write_values(values, vr, content, depth)
        out.extend((">", *content, "</DicomAttribute>") if content else ("/>",))


def _identity(name: str, model: Mapping[str, Any]) -> str:
    """How an element is named: by tag and keyword, a private one by its creator and the tag without its block."""
    tag = int(name, 16)
    if not (tag >> 16) % 2:
        keyword = keyword_for_tag(tag)
        return f'tag="{name}"' + (f" keyword={_quoted(keyword)}" if keyword else "")
    creator = _creator(model, tag)
    if creator is None:
        return f'tag="{name}"'
    return f'tag="{tag & 0xFFFF00FF:08X}" privateCreator={_quoted(creator)}'


def _creator(model: Mapping[str, Any], tag: int) -> str | None:
    """Who reserved the block of a private element; None where nobody, or somebody reserved two."""
    if tag & 0xFFFF < 0x1000:
        return None
    found = _creators(model, tag >> 16)
    creator = found.get(tag >> 8 & 0xFF)
    return creator if creator and list(found.values()).count(creator) == 1 else None


def _creators(model: Mapping[str, Any], group: int) -> dict[int, str]:
    """The blocks that are reserved in a group, and by whom (PS3.5 §7.8.1)."""
    names = ((block, f"{group:04X}{block:04X}") for block in range(0x10, 0x100))
    found = {block: model[name].get("Value") for block, name in names if name in model}
    return {block: str(values[0]) for block, values in found.items() if isinstance(values, list) and values}


def _write_values(values: Sequence[Any], vr: str, out: list[str], depth: int) -> None:
    if vr == "SQ":
        for number, item in enumerate(values, 1):
            out.append(f'<Item number="{number}">')
            _write_elements(item if isinstance(item, Mapping) else {}, out, depth + 1)
            out.append("</Item>")
        return
    if vr == "PN":
        for number, name in enumerate(values, 1):
            out.append(f'<PersonName number="{number}">{_person(name)}</PersonName>')
        return
    texts = [_text(one) for one in values]
    if any(_NO_XML.search(text) for text in texts):
        octets = "\\".join(texts).encode("utf-8", "replace")
        out.append(f"<InlineBinary>{base64.b64encode(octets).decode('ascii')}</InlineBinary>")
        return
    for number, text in enumerate(texts, 1):
        out.append(f'<Value number="{number}">{_escaped(text)}</Value>' if text else f'<Value number="{number}"/>')


def _person(name: Any) -> str:
    if isinstance(name, str):
        name = {"Alphabetic": name}  # as servers send it that don't know better
    if not isinstance(name, Mapping):
        return ""
    written = ""
    for group in _GROUPS:
        if group in name:
            text = _NO_XML.sub("\ufffd", str(name[group] or ""))
            parts = text.split("^", len(_COMPONENTS) - 1) if text else []
            pairs = zip(_COMPONENTS, parts, strict=False)
            written += f"<{group}>{''.join(f'<{c}>{_escaped(p)}</{c}>' for c, p in pairs)}</{group}>"
    return written


def _text(one: Any) -> str:
    if one is None:
        return ""
    if isinstance(one, float) and not math.isfinite(one):
        return "NaN" if math.isnan(one) else "INF" if one > 0 else "-INF"
    return str(one)


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)


def _quoted(text: str) -> str:
    return f'"{_escaped(_NO_XML.sub(chr(0xFFFD), text))}"'


# --- XML to JSON Model -----------------------------------------------------------------------------------------------


def from_xml(octets: bytes) -> dict[str, Any]:
    """Read a document of the Native DICOM Model into an object of the DICOM JSON Model.

    Document type declarations, and with them entities of their own, are refused; element names are taken with or
    without the namespace.

    Raises
    ------
    RemoteProtocolError
        It is no XML, no Native DICOM Model, or nested beyond reason.

    Source
    ------
    PS3.19 §A.1.6.
    """
    reader = _Reader()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(octets, True)
    except expat.ExpatError as error:
        raise RemoteProtocolError(f"no XML: {error}", section=_SECTION, offset=parser.ErrorByteIndex) from error
    if reader.document is None:
        raise RemoteProtocolError("no NativeDicomModel in this document", section=_SECTION, offset=0)
    return reader.document


class _Element:
    """An attribute whose values are being read."""

    def __init__(self, name: str, vr: str) -> None:
        self.name, self.vr = name, vr
        self.values: dict[int, Any] = {}
        self.content: dict[str, str] = {}

    def put(self, number: str, value: Any) -> None:
        """Keep a value at its number; without one it follows the last."""
        at = int(number) if number.isdecimal() and 0 < len(number) < 8 else len(self.values) + 1
        if at < 1 or at > 2 * len(self.values) + 1024:
            raise RemoteProtocolError(f"value number {at} of {self.name} stands alone", section=_SECTION)
        self.values[at] = value

    def model(self) -> dict[str, Any]:
        """The element as the DICOM JSON Model has it."""
        if self.values:
            gap: Any = {} if self.vr == "SQ" else None
            return {"vr": self.vr, "Value": [self.values.get(at, gap) for at in range(1, max(self.values) + 1)]}
        if "InlineBinary" in self.content and self.vr not in _BINARY:
            return {"vr": self.vr, "Value": _values_of(self.content["InlineBinary"], self.vr)}
        return {"vr": self.vr, **self.content}


class _Reader:
    """Builds the model from what the parser meets. ``document`` is None until the root has ended."""

    def __init__(self) -> None:
        self.document: dict[str, Any] | None = None
        self._models: list[dict[str, Any]] = []
        self._elements: list[_Element] = []
        self._text: list[str] = []
        self._number = ""
        self._name: dict[str, dict[str, str]] = {}
        self._group = ""
        self._count = 0

    def refuse(self, *_: Any) -> None:
        """Meet a document type declaration."""
        raise RemoteProtocolError("a document type declaration, which no DICOM document has", section=_SECTION)

    def text(self, text: str) -> None:
        """Meet text."""
        self._text.append(text)

    def start(self, full_name: str, attributes: Mapping[str, str]) -> None:
        """Meet the start of an element."""
        name = full_name.rpartition(" ")[2]
        self._text.clear()
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._models) > MAX_DEPTH:
            raise RemoteProtocolError("more elements, or deeper ones, than any data set has", section=_SECTION)
        if name == "NativeDicomModel":
            self._models.append({})
        elif not self._models:
            raise RemoteProtocolError(f"{name[:80]!r} is no NativeDicomModel", section=_SECTION, offset=0)
        elif name == "DicomAttribute":
            self._elements.append(_Element(self._tag(attributes), attributes.get("vr", "UN")[:2].upper()))
        elif name == "Item":
            self._models.append({})
            self._element.put(attributes.get("number", ""), self._models[-1])
        elif name == "BulkData":
            uuid = attributes.get("uuid", "")
            self._element.content["BulkDataURI"] = attributes.get("uri") or (f"urn:uuid:{uuid}" if uuid else "")
        elif name in ("Value", "PersonName"):
            self._number = attributes.get("number", "")
            self._name = {}
        elif name in _GROUPS:
            self._group = name
            self._name[name] = {}

    def end(self, full_name: str) -> None:
        """Meet the end of an element."""
        name = full_name.rpartition(" ")[2]
        text = "".join(self._text)
        self._text.clear()
        if name == "NativeDicomModel":
            self.document = self._sorted(self._models.pop())
        elif name == "Item":
            item = self._models.pop()
            ordered = self._sorted(item)
            item.clear()
            item.update(ordered)
        elif name == "DicomAttribute":
            element = self._elements.pop()
            self._models[-1][element.name] = element.model()
        elif name == "Value":
            self._element.put(self._number, _value(text, self._element.vr))
        elif name == "InlineBinary":
            self._element.content["InlineBinary"] = "".join(text.split())
        elif name == "PersonName":
            groups = {group: _joined(parts) for group, parts in self._name.items()}
            self._element.put(self._number, groups or ({"Alphabetic": text} if text.strip() else None))
        elif name in _COMPONENTS and self._group in self._name:
            self._name[self._group][name] = text

    @property
    def _element(self) -> _Element:
        if not self._elements:
            raise RemoteProtocolError("a value outside of every DicomAttribute", section=_SECTION)
        return self._elements[-1]

    @staticmethod
    def _sorted(model: dict[str, Any]) -> dict[str, Any]:
        return dict(sorted(model.items()))

    def _tag(self, attributes: Mapping[str, str]) -> str:
        """The tag of an element; a private one named by its creator gets the block that this creator has here."""
        name = attributes.get("tag", "")
        if not _TAG.fullmatch(name):
            raise RemoteProtocolError(f"{name[:80]!r} is no tag", section=_SECTION)
        tag = int(name, 16)
        creator = attributes.get("privateCreator", "")
        if (tag >> 16) % 2 and creator and tag & 0xFF00 == 0:
            model = self._models[-1]
            blocks = _creators(model, tag >> 16)
            block = next((block for block, reserved in blocks.items() if reserved.strip() == creator.strip()), None)
            if block is None:  # the creator's own element is missing: reserve a block, as whoever adds one must
                block = next((free for free in range(0x10, 0x100) if free not in blocks), None)
                if block is None:
                    raise RemoteProtocolError("all private blocks of a group are taken", section="PS3.5 §7.8.1")
                model[f"{tag >> 16:04X}{block:04X}"] = {"vr": "LO", "Value": [creator]}
            tag |= block << 8
        return f"{tag:08X}"


def _joined(parts: Mapping[str, str]) -> str:
    """The components of a name up to the last that was there."""
    last = max((_COMPONENTS.index(name) for name in parts), default=-1)
    return "^".join(parts.get(name, "") for name in _COMPONENTS[: last + 1])


def _value(text: str, vr: str) -> Any:
    if not text:
        return None
    if vr in _NUMBERS or vr in _DECIMAL_TEXT:
        return _number(text, exact=vr in _DECIMAL_TEXT)
    return text


def _number(text: str, *, exact: bool) -> Any:
    """A number; text where it is none or, if `exact`, where the number would be written otherwise."""
    if text.strip() in _SPECIAL and not exact:
        return _SPECIAL[text.strip()]
    try:
        number = int(text) if _WHOLE.fullmatch(text.strip()) else float(text)
    except ValueError:
        return text
    if exact and (str(number) != text or not math.isfinite(number)):
        return text
    return number


def _values_of(inline: str, vr: str) -> list[Any]:
    """The values of text that came as InlineBinary."""
    try:
        text = base64.b64decode(inline, validate=True).decode("utf-8", "replace")
    except ValueError as error:
        raise RemoteProtocolError("InlineBinary is not base64", section=_SECTION) from error
    return [_value(part, vr) for part in ([text] if vr in _UNSPLIT else text.split("\\"))]
