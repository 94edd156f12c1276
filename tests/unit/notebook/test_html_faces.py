"""Every public object has a face: the same facts as text and as HTML, bounded, escaped, readable without its style."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydicom import Dataset

import dicomlab
from dicomlab.errors import DicomlabError, Interrupted, LocalProtocolError, ServiceError, Unreachable
from dicomlab.model.options import MASK
from dicomlab.model.progress import Control
from dicomlab.model.report import Outcome
from dicomlab.notebook.html import MAX_OCTETS
from dicomlab.samples.phantom import phantom_datasets, write_phantom

HOSTILE = '<script>window.XSS=1</script><img src=x onerror="window.XSS=1">\u202e\x00'
KEPT_TAGS = set("div span b table caption thead tbody tr th td details summary pre style".split())
KEPT_ATTRIBUTES = set("class scope colspan title style".split()) | set("aria-label role tabindex".split())
"""The last three are a help where they are kept, and missed nowhere."""


class Page(HTMLParser):
    """What is left of HTML where a front end takes styles away."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.words: list[str] = []
        self._in_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._in_style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._in_style = False

    def handle_data(self, data: str) -> None:
        if not self._in_style:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)


def text_and_html(shown: Any) -> tuple[str, str]:
    if isinstance(shown, DicomlabError):
        bundle = shown._repr_mimebundle_()
        return bundle["text/plain"], bundle["text/html"]
    return repr(shown), shown._repr_html_()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """One of each public object, as people meet it."""
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, patients=1, slices=2)
    with ExitStack() as stack:
        archive = stack.enter_context(dicomlab.Archive())
        archive.add(phantom_datasets(patients=1, slices=2), progress=False)
        with dicomlab.trace() as wire:
            cohort = archive.node.find("instance", progress=False)
        media = dicomlab.MediaSet(folder)
        media.scan(progress=False)
        operation = archive.node.find("study", background=True, progress=False)
        operation.result(20)
        error = Unreachable("nobody answers", endpoint="PACS@host:104")
        error.trace = wire
        yield {
            "Archive": archive,
            "Broadcast": dicomlab.Broadcast([__import__("numpy").zeros((8, 8, 3), "uint8")], rate_hz=5),
            "Cohort": cohort,
            "Instance": next(iter(cohort)),
            "LiveStream": dicomlab.LiveStream("v=0\r\n"),
            "MediaSet": media,
            "Node": archive.node,
            "Operation": operation,
            "Query": dicomlab.Query.of("study", PatientID="SYN*", StudyDate=("2026-01-01", None)),
            "Report": archive.node.store(media, progress=False),
            "Trace": wire,
            "Verification": archive.node.verify(),
            "Volume": media.volumes()[0],
            "WebEndpoint": archive.web,
            "Message": wire[0],
            "Explanation": wire.explain(),
            "Comparison": wire.compare(wire),
            "Matrix": wire.negotiation(),
            "error with its wire": error,
            "error": ServiceError("out of resources", status=0xA700),
            "broken standard": LocalProtocolError("no such PDU", section="PS3.8 §9.3", offset=3),
            "inspect": dicomlab.inspect(next(phantom_datasets(patients=1, slices=1))),
            "model_map": dicomlab.model_map(),
        }


NAMES = [
    *"Archive Broadcast Cohort Instance LiveStream MediaSet Node Operation Query Report Trace Verification Volume"
    " WebEndpoint Message Explanation Comparison Matrix inspect model_map".split(),
    "error with its wire",
    "error",
    "broken standard",
]


def test_no_public_object_is_forgotten() -> None:
    classes = {n for n in dicomlab.__all__ if n[0].isupper() and not issubclass(getattr(dicomlab, n), Exception)}
    assert classes <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_html_is_bounded_and_tame(objects: dict[str, Any], name: str) -> None:
    _, html = text_and_html(objects[name])
    page = Page(html)
    assert len(html.encode()) <= MAX_OCTETS
    assert page.tags <= KEPT_TAGS
    assert {attribute for attribute, _ in page.attributes} <= KEPT_ATTRIBUTES
    assert not re.search(r"url\(|@import|expression", html)
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    assert all(len(style.encode()) <= 2_000 for style in styles)
    assert "th" not in page.tags or "scope" in dict(page.attributes)


@pytest.mark.parametrize("name", NAMES)
def test_text_and_html_tell_the_same_facts(objects: dict[str, Any], name: str) -> None:
    shown = objects[name]
    text, html = text_and_html(shown)
    told = Page(html).text
    squeezed = re.sub(r"\W+", "", told)
    if hasattr(shown, "_summary_"):
        summary = shown._summary_()
    else:
        from dicomlab.notebook.failure import summary_of

        summary = summary_of(shown)
    cells = [cell for fact in summary.facts for cell in fact]
    cells += [cell for row in summary.rows[:3] for cell in row if name not in ("Trace", "Message")]
    missing = [c for c in cells if re.sub(r"\W+", "", c[:40]) not in squeezed]
    if name == "Trace":  # the ladder has the count and the states in its own words
        missing = [c for c in missing if c not in ("messages", "our states") and "→" not in c]
    if name in ("inspect",):
        missing = [c for c in missing if c != "elements"]
    assert missing == []
    assert all(re.sub(r"\W+", "", cell[:40]) in re.sub(r"\W+", "", text) for cell in cells)


@pytest.mark.parametrize("name", NAMES)
def test_it_reads_without_its_style_and_is_the_same_twice(objects: dict[str, Any], name: str) -> None:
    shown = objects[name]
    text, html = text_and_html(shown)
    assert text_and_html(shown) == (text, html)
    words = Page(html).text
    assert len(words.split()) >= 3
    assert "{" not in words.replace("{PatientID}", "")
    assert text.splitlines()[0].strip()


def instance(value: str) -> Any:
    return dicomlab.Instance(value, value, value, value)


def cohort(value: str) -> Any:
    frame = pd.DataFrame(
        {"StudyInstanceUID": ["1.2"], "PatientName": [value], "StudyDescription": [value], value: [value]}
    )
    return dicomlab.Cohort(frame, level="study", note=value, complete=False)


def report(value: str) -> Any:
    outcome = Outcome(value, "failed", value, value, value, 3, value)
    return dicomlab.Report(
        value, (outcome,), False, value, folder=Path("/tmp") / value.replace("\x00", "").replace("/", "_")
    )


def error(value: str) -> Any:
    made = Interrupted(value, endpoint=value)
    made.partial = report(value)
    made.add_note(value)
    return made


def operation(value: str) -> Any:
    def fail(_: Control) -> None:
        raise ServiceError(value, status=1)

    made = dicomlab.Operation(value, fail, Control())
    with pytest.raises(ServiceError):
        made.result(10)
    return made


def data_set(value: str) -> Any:
    inner, whole = Dataset(), Dataset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a peer sends what no VR allows
        inner.CodeMeaning, inner.CodeValue = value, value
        for number, vr in enumerate("AE AS CS DS IS LO LT PN SH ST UC UR UT UI DA TM DT".split()):
            with suppress(ValueError, TypeError, OverflowError):
                whole.add_new(0x00091010 + number, vr, value)
        whole.StudyDescription = whole.PatientComments = value
        whole.AnatomicRegionSequence = [inner]
    return dicomlab.inspect(whole, fictional=True)


def broadcast(value: str) -> Any:
    import numpy as np

    name = value.replace("\x00", "").replace("\r", "").replace("\n", "")
    return dicomlab.Broadcast([np.zeros((8, 8, 3), "uint8")], rate_hz=5, name=name)


HOSTILE_FACES: dict[str, Callable[[str], Any]] = {
    "Instance": instance,
    "Cohort": cohort,
    "Report": report,
    "Verification": lambda value: dicomlab.Verification(False, value, 0.1, ((value, value),), value),
    "Query": lambda value: dicomlab.Query.of("study", StudyDescription=value[:60].replace("\x00", "")),
    "MediaSet": lambda value: dicomlab.MediaSet(value.replace("\x00", "")),
    "Operation": operation,
    "Broadcast": broadcast,
    "error": error,
    "inspect": data_set,
    "inspect, searched": lambda value: data_set(value).search(value[:40]),
}


@pytest.mark.parametrize("name", HOSTILE_FACES)
@pytest.mark.parametrize("value", [HOSTILE, HOSTILE + "x" * 100_000], ids=["short", "100 kB"])
def test_no_value_becomes_markup(name: str, value: str) -> None:
    text, html = text_and_html(HOSTILE_FACES[name](value))
    page = Page(html)
    assert page.tags <= KEPT_TAGS
    assert {attribute for attribute, _ in page.attributes} <= KEPT_ATTRIBUTES
    assert "\u202e" not in html + text
    assert "\x00" not in html + text
    assert len(html.encode()) <= MAX_OCTETS
    assert len(text) < 40_000


def test_an_error_says_what_it_knows(objects: dict[str, Any]) -> None:
    told = {name: text_and_html(objects[name])[0] for name in ("error", "broken standard", "error with its wire")}
    assert re.search(r"status +A700H", told["error"])
    assert re.search(r"section +PS3.8 §9.3\n +offset +3", told["broken standard"])
    assert re.search(r"endpoint +PACS@host:104", told["error with its wire"])
    assert re.search(r"may the same call work later +yes", told["error with its wire"])
    assert "A-RELEASE-RP" in told["error with its wire"]
    assert "the whole wire" in text_and_html(objects["error with its wire"])[1]


def test_patients_are_masked_in_every_face(objects: dict[str, Any]) -> None:
    for name, shown in objects.items():
        text, html = text_and_html(shown)
        assert "Synthetic^" not in text + html, name
    assert MASK in repr(objects["inspect"])
