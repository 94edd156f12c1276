"""Reports and documents, whose values are hostile."""

from __future__ import annotations

from typing import Any

from pydicom import Dataset, Sequence

from dicomlab.web.origin import document
from tests.unit.dimse.holdings import instance
from tests.unit.web.origin.images import report


def test_a_report_as_a_page_and_as_text(local: Any, hold: Any) -> None:
    path = hold(report())
    page = local.get(f"{path}/rendered")
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "sandbox" in page.headers["Content-Security-Policy"]
    assert "<script" not in page.text
    assert "<b>finding" not in page.text
    assert "No &lt;b&gt;finding&lt;/b&gt;" in page.text
    assert "12.5 millimeter" in page.text
    text = local.get(f"{path}/rendered", "text/plain")
    assert "No <b>finding</b>" in text.text
    assert "Müller^Jürgen" in text.text
    assert local.get(f"{path}/rendered", "image/jpeg").status_code == 406


def test_a_report_without_end(local: Any, hold: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(document, "MAX_LINES", 50)
    dataset = report()
    line = Dataset()
    line.ValueType, line.TextValue = "TEXT", "x"
    dataset.ContentSequence = Sequence([line] * 60)
    text = local.get(f"{hold(dataset)}/rendered", "text/plain").text
    assert "the rest is left out" in text
    assert text.count("\n") < 70


def encapsulated(kind: str, octets: bytes) -> Dataset:
    dataset = instance(300, sop_class="1.2.840.10008.5.1.4.1.1.104.1", modality="DOC")
    del dataset.PixelData
    dataset.MIMETypeOfEncapsulatedDocument, dataset.EncapsulatedDocument = kind, octets + b"\0" * (len(octets) % 2)
    dataset.EncapsulatedDocumentLength = len(octets)
    return dataset


def test_an_encapsulated_pdf_comes_as_it_is(local: Any, hold: Any) -> None:
    answer = local.get(f"{hold(encapsulated('application/pdf', b'%PDF-1.7 x'))}/rendered")
    assert answer.headers["Content-Type"] == "application/pdf"
    assert answer.content == b"%PDF-1.7 x"


def test_encapsulated_html_is_not_given_to_a_browser(local: Any, hold: Any) -> None:
    answer = local.get(f"{hold(encapsulated('text/html', b'<script>alert(1)</script>'))}/rendered")
    assert answer.status_code == 406
