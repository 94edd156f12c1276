"""One data set as a table for people: nested sequences, keywords, VRs, and what coded values mean.

::

    dicomlab.inspect(instance)
    dicomlab.inspect("slice.dcm").search("orientation")
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import DicomlabError, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.columns import column, format_tag
from dicomlab.model.instance import Instance
from dicomlab.model.options import options
from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.notebook.html import MAX_OCTETS, Markup, el, scrolled, style
from dicomlab.part10.medium import medium_errors

if TYPE_CHECKING:
    from pydicom import Dataset

_TEXT_ROWS, _MOST_ROWS, _NESTED_ROWS, _ITEMS, _DEPTH = 400, 5_000, 400, 20, 8
_VALUE = 120
_BULK = frozenset("OB OD OF OL OV OW UN".split())
_MEANINGS = {
    "Modality": {
        "CT": "Computed Tomography", "MR": "Magnetic Resonance", "US": "Ultrasound", "CR": "Computed Radiography",
        "DX": "Digital Radiography", "MG": "Mammography", "NM": "Nuclear Medicine", "ES": "Endoscopy",
        "PT": "Positron emission tomography", "XA": "X-Ray Angiography", "RF": "Radio Fluoroscopy",
        "RTIMAGE": "Radiotherapy Image", "RTDOSE": "Radiotherapy Dose", "RTSTRUCT": "Radiotherapy Structure Set",
        "RTPLAN": "Radiotherapy Plan", "SEG": "Segmentation", "SR": "SR Document", "ECG": "Electrocardiography",
        "SM": "Slide Microscopy", "OT": "Other", "PR": "Presentation State", "XC": "External-camera Photography",
        "OP": "Ophthalmic Photography", "REG": "Registration", "DOC": "Document", "AU": "Audio",
    },
    "PatientSex": {"M": "male", "F": "female", "O": "other"},
    "PatientPosition": {
        "HFS": "Head First-Supine", "HFP": "Head First-Prone", "FFS": "Feet First-Supine", "FFP": "Feet First-Prone",
        "HFDR": "Head First-Decubitus Right", "HFDL": "Head First-Decubitus Left",
        "FFDR": "Feet First-Decubitus Right", "FFDL": "Feet First-Decubitus Left",
    },
    "PhotometricInterpretation": {
        "MONOCHROME1": "the least value is white", "MONOCHROME2": "the least value is black",
        "PALETTE COLOR": "through lookup tables", "RGB": "red, green, blue", "YBR_FULL": "luminance, two colours",
        "YBR_FULL_422": "luminance, two colours at half the columns",
    },
    "PixelRepresentation": {"0": "unsigned integer", "1": "2's complement"},
    "PlanarConfiguration": {"0": "colour by pixel", "1": "colour by plane"},
    "Laterality": {"R": "right", "L": "left"},
    "ImageLaterality": {"R": "right", "L": "left", "U": "unpaired", "B": "both"},
    "BurnedInAnnotation": {"YES": "the pixels may name the patient", "NO": "the pixels name nobody"},
    "LossyImageCompression": {"00": "never", "01": "at some time"},
    "SpecificCharacterSet": {"ISO_IR 192": "Unicode in UTF-8", "ISO_IR 100": "Latin alphabet No. 1",
                             "ISO_IR 6": "ASCII", "GB18030": "Chinese"},
}  # fmt: skip
"""What defined terms mean, in the words of PS3.3 (§C.7.3.1.1, §C.7.6.3, §C.12.1)."""


@dataclass(frozen=True, slots=True)
class ElementRow:
    """One element as it is shown; ``items`` are those of a sequence."""

    tag: str
    keyword: str
    vr: str
    value: str
    meaning: str = ""
    items: tuple[tuple[ElementRow, ...], ...] = ()
    items_left_out: int = 0

    @property
    def text(self) -> str:
        """What a search looks at."""
        return " ".join((self.tag, self.keyword, self.vr, self.value, self.meaning)).casefold()


@dataclass(frozen=True, eq=False, repr=False)
class DataSetView(Summarised):
    """The elements of one data set as a table.

    ``view.search("dose")`` cuts it down, ``view.live()`` has a search box, ``view.plot()`` draws it.
    """

    dataset: Dataset
    fictional: bool = False
    """Whether its patient is known to be made up, so that identifying values are shown."""
    words: str = ""
    """What was searched for."""

    def rows(self) -> tuple[ElementRow, ...]:
        """Its elements; sequences hold theirs."""
        every = tuple(_rows(getattr(self.dataset, "file_meta", None), self.fictional))
        every += tuple(_rows(self.dataset, self.fictional))
        return _found(every, self.words.casefold().split()) if self.words else every

    def search(self, words: str) -> DataSetView:
        """Keep the elements whose tag, keyword, VR, value or meaning holds all these words; their sequences stay."""
        return replace(self, words=words)

    def plot(self, **how: Any) -> Any:
        """Draw it: a waveform on paper, or its picture. See :func:`dicomlab.notebook.waveform.plot`."""
        from dicomlab.notebook.waveform import plot

        return plot(self.dataset, **how)

    def live(self) -> Any:
        """Show it in a widget with a search box, its sequences folded."""
        from dicomlab.notebook.element_search import ElementSearch

        return ElementSearch(self)

    def flat(self) -> list[tuple[int, str, str, str, str, str]]:
        """Its elements one below the other: how deep, tag, keyword, VR, value, meaning."""
        return [(depth, r.tag, r.keyword, r.vr, r.value, r.meaning) for depth, r in _flat(self.rows(), 0)]

    @property
    def title(self) -> str:
        """What it is."""
        from pydicom.config import IGNORE
        from pydicom.uid import UID

        kind = str(self.dataset.get("SOPClassUID", "") or "")
        name = UID(kind, IGNORE).name if kind else "of no SOP Class"
        return f"Data set: {name}" + (f", search {self.words!r}" if self.words else "")

    def _summary_(self) -> Summary:
        flat = self.flat()
        rows = tuple(("  " * depth + tag, *cells) for depth, tag, *cells in flat)
        facts = (("elements", str(len(flat))),)
        return Summary(self.title, facts, _COLUMNS, rows[:_TEXT_ROWS], max(0, len(rows) - _TEXT_ROWS))

    def _repr_html_(self) -> str:
        rows = self.rows()
        count = sum(1 for _ in _flat(rows, 0))
        most = 200
        while True:
            budget = _Budget(most)
            table = _table(rows, budget)
            parts = [el("div", self.title, cls="dl-title"), el("div", f"{count:,} elements", cls="dl-more"), table]
            if budget.left_out:
                how = "search() cuts it down"
                parts.append(el("div", f"… {budget.left_out:,} more elements; {how}", cls="dl-more"))
            html = el("div", style("summary", "data_set"), *parts, cls="dl")
            if len(html.encode()) <= MAX_OCTETS or most < 2:
                return html
            most = most * 2 // 3


_COLUMNS = ("tag", "keyword", "VR", "value", "meaning")


def inspect(what: Any, *, fictional: bool) -> DataSetView:
    """Carry out ``dicomlab.inspect``, which documents it."""
    from pydicom import Dataset

    if isinstance(what, Dataset):
        return DataSetView(what, fictional)
    if isinstance(what, Instance):
        return DataSetView(what.dataset, fictional or bool(getattr(what.source, "fictional", False)))
    if isinstance(what, str | Path):
        return DataSetView(_read(Path(what)), fictional)
    raise UsageError(f"inspect takes a data set, an instance or a path, not {type(what).__name__}")


def _read(path: Path) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    if not path.is_file():
        raise Unreachable("there is no such file", endpoint=str(path))
    with medium_errors(path):
        try:
            return dcmread(path)
        except (InvalidDicomError, ValueError, NotImplementedError) as error:
            raise RemoteProtocolError(f"{path.name} is no DICOM file: {error}", section="PS3.10 §7.1") from error


# --- rows ------------------------------------------------------------------------------------------------------------


class _Nested:
    """How many rows may still come out of one sequence: items in items multiply."""

    def __init__(self) -> None:
        self.left = _NESTED_ROWS


def _rows(dataset: Any, fictional: bool, depth: int = 0, nested: _Nested | None = None) -> Iterator[ElementRow]:
    for number, tag in enumerate(sorted(dataset.keys()) if dataset is not None else ()):
        if number == _MOST_ROWS or (nested is not None and not nested.left):
            return
        if nested is not None:
            nested.left -= 1
        try:
            yield _row(dataset[tag], fictional, depth, nested or _Nested())
        except Exception as error:  # noqa: BLE001  (whatever pydicom says of a value that can't be)
            yield ElementRow(format_tag(int(tag)), "", "", "", f"✗ can't be read: {visible(str(error), 80)}")


def _row(element: Any, fictional: bool, depth: int, nested: _Nested) -> ElementRow:
    tag, vr, keyword = format_tag(int(element.tag)), str(element.VR), element.keyword or _unnamed(element)
    value = element.value
    if vr == "SQ":
        items: list[tuple[ElementRow, ...]] = []
        while len(items) < min(len(value), _ITEMS) and depth < _DEPTH and nested.left:
            items.append(tuple(_rows(value[len(items)], fictional, depth + 1, nested)))
        text = f"{len(value)} {'item' if len(value) == 1 else 'items'}"
        return ElementRow(tag, keyword, vr, text, _coded(value), tuple(items), len(value) - len(items))
    if vr in _BULK or isinstance(value, bytes):
        octets = value if isinstance(value, bytes) else b""
        digest = hashlib.sha256(octets).hexdigest()[:12] if octets else ""
        return ElementRow(tag, keyword, vr, f"{len(octets):,} octets", f"sha256 {digest}…" if digest else "")
    shown = options.shown(_text(value), fictional=fictional or not _identifying(int(element.tag)))
    return ElementRow(tag, keyword, vr, shown, _meaning(keyword, vr, value))


def _unnamed(element: Any) -> str:
    return "private" if element.tag.is_private else "unknown"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) or not hasattr(value, "__iter__") or hasattr(value, "components"):
        return str(value)
    values = list(value)
    more = f"\\… ({len(values)} values)" if len(values) > 16 else ""
    return "\\".join(str(one) for one in values[:16]) + more


def _identifying(tag: int) -> bool:
    if tag >> 16 == 0x0002:
        return False
    try:
        return column(tag).identifying
    except DicomlabError:
        return True  # unknown: nobody knows what it holds


def _meaning(keyword: str, vr: str, value: Any) -> str:
    if vr == "UI" and value:
        from pydicom._uid_dict import UID_dictionary

        names = [UID_dictionary[str(one)][0] for one in _list(value) if str(one) in UID_dictionary]
        return ", ".join(names[:3])
    known = _MEANINGS.get(keyword)
    if known is None or value is None:
        return ""
    return ", ".join(known[str(one)] for one in _list(value) if str(one) in known)


def _list(value: Any) -> list[Any]:
    return [value] if isinstance(value, str) or not hasattr(value, "__iter__") else list(value)[:8]


def _coded(items: Any) -> str:
    """The meaning of the codes in a code sequence (PS3.3 §8.1): ``Chest (51185008, SCT)``."""
    told = []
    for item in list(items)[:3]:
        meaning = item.get("CodeMeaning")
        value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
        if meaning and value:
            told.append(f"{meaning} ({value}, {item.get('CodingSchemeDesignator', '')})")
    return "; ".join(told)


def _flat(rows: tuple[ElementRow, ...], depth: int) -> Iterator[tuple[int, ElementRow]]:
    for row in rows:
        yield depth, row
        for number, item in enumerate(row.items, 1):
            yield depth + 1, ElementRow(f"item {number}", "", "", f"{len(item)} elements")
            yield from _flat(item, depth + 2)


def _found(rows: tuple[ElementRow, ...], words: list[str]) -> tuple[ElementRow, ...]:
    """The rows that hold all words, with the sequences around them."""
    kept = []
    for row in rows:
        if all(word in row.text for word in words):
            kept.append(row)
            continue
        items = tuple(found for item in row.items if (found := _found(item, words)))
        if items:
            kept.append(replace(row, items=items))
    return tuple(kept)


# --- as HTML ---------------------------------------------------------------------------------------------------------


@dataclass
class _Budget:
    """How many rows may still be shown, and how many were left out."""

    rows: int
    left_out: int = 0

    def take(self) -> bool:
        if self.rows:
            self.rows -= 1
            return True
        self.left_out += 1
        return False


def _table(rows: tuple[ElementRow, ...], budget: _Budget) -> Markup:
    head = el("tr", *(el("th", name, scope="col") for name in _COLUMNS))
    body = [made for row in rows if (made := _shown(row, budget))]
    return scrolled(el("table", el("thead", head), el("tbody", *body), cls="dl-rows dl-elements"), "Elements")


def _shown(row: ElementRow, budget: _Budget) -> Markup | None:
    if not budget.take():
        budget.left_out += sum(1 for item in row.items for _ in _flat(item, 0))
        return None
    cells = [el("td", row.tag, cls="dl-tag"), el("td", row.keyword), el("td", row.vr)]
    if not row.items:
        return el("tr", *cells, el("td", visible(row.value, _VALUE)), el("td", row.meaning))
    said = f"{row.value}: {row.meaning}" if row.meaning else row.value
    parts = [el("summary", visible(said, _VALUE))]
    for number, item in enumerate(row.items, 1):
        parts += [el("div", f"item {number}", cls="dl-more"), _table(item, budget)]
    if row.items_left_out:
        parts.append(el("div", f"… {row.items_left_out} more items", cls="dl-more"))
    return el("tr", *cells, el("td", el("details", *parts), colspan="2"))
