"""Sequences that a record repeats from its instance."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.uid import UID

from dicomlab.errors import RemoteProtocolError
from dicomlab.media import sequences
from dicomlab.media.sequences import read_sequences
from dicomlab.part10.meta import decode_file_meta

SYNTAXES = [f"1.2.840.10008.1.2{rest}" for rest in ("", ".1", ".1.99", ".2")]
WANTED = [(name, tag_for_keyword(name) or 0) for name in ("ConceptNameCodeSequence", "ContentSequence")]


def document(syntax: str, charset: str = "ISO_IR 100") -> bytes:
    def code(meaning: str) -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", meaning
        return item

    def content(relationship: str, meaning: str) -> Dataset:
        item = Dataset()
        item.RelationshipType = relationship
        item.ConceptNameCodeSequence = [code(meaning)]
        item.ReferencedFrameNumber = 1
        return item

    ds = Dataset()
    ds.SpecificCharacterSet = charset
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.88.33", "1.2.3"
    ds.ConceptNameCodeSequence = [code("Bericht über Ä")]
    ds.ContentSequence = [content("CONTAINS", "no"), content("HAS CONCEPT MOD", "language")]
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def items(octets: bytes) -> dict[str, tuple[bytes, ...]]:
    meta = decode_file_meta(octets, final=True)
    return read_sequences(octets[meta.length :], meta, WANTED)


def decoded(item: bytes) -> Dataset:
    return read_dataset(BytesIO(item), is_implicit_VR=False, is_little_endian=True)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_are_in_explicit_little_endian_whatever_they_were_in(syntax: str) -> None:
    found = items(document(syntax))
    (title,) = map(decoded, found["ConceptNameCodeSequence"])
    assert title.CodeMeaning == "Bericht über Ä"
    assert title.SpecificCharacterSet == "ISO_IR 100"
    (modifier,) = map(decoded, found["ContentSequence"])  # and not the one that is merely contained
    assert modifier.ConceptNameCodeSequence[0].CodeMeaning == "language"


def test_absent_sequences_are_left_out() -> None:
    ds = dcmread(BytesIO(document(SYNTAXES[1])))
    del ds.ConceptNameCodeSequence
    ds.ContentSequence = []
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    assert items(buffer.getvalue()) == {}


def test_sequences_beyond_all_measure_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequences, "MAX_COPIED", 20)
    with pytest.raises(RemoteProtocolError, match="octets"):
        items(document(SYNTAXES[1]))


@given(st.data())
def test_damaged_anywhere_it_fails_only_in_one_way(data: st.DataObject) -> None:
    octets = bytearray(document(data.draw(st.sampled_from(SYNTAXES))))
    for _ in range(data.draw(st.integers(1, 8))):
        octets[data.draw(st.integers(128, len(octets) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RemoteProtocolError):
        items(bytes(octets))
