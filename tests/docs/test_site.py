"""The site builds without a warning, and its references lead to the standard."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT

sys.path.insert(0, str(ROOT / "docs/_ext"))
from standard_links import linked


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-W", "--keep-going", "-q", "-d", str(out / "doctrees")]
    built = subprocess.run(
        [*command, str(ROOT / "docs"), str(out / "html")],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr[-4000:]
    return out / "html"


def test_every_source_section_has_its_links(site: Path) -> None:
    found = 0
    for page in (site / "reference").glob("*.html"):
        text = page.read_text(encoding="utf-8")
        for source in re.findall(r'<p class="rubric">Source</p>\s*<p>(.*?)</p>', text, re.DOTALL):
            found += 1
            bare = unescape(re.sub(r"<a .*?</a>", "", source, flags=re.DOTALL))
            assert not re.search(r"PS3\.\d|RFC \d", bare), (page.name, source)
    assert found >= 20


class _Links(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def test_every_link_inside_the_site_leads_somewhere(site: Path) -> None:
    pages = {page: _Links(page) for page in site.rglob("*.html")}
    assert len(pages) > 60
    lost = []
    for page, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert parts.scheme in ("https", "data"), (page, link)
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            anchors = pages[target].anchors if target in pages else set()
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors):
                lost.append(f"{page.relative_to(site)}: {link}")
    assert lost == []


def test_every_notebook_is_a_page(site: Path) -> None:
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (site / "tutorials" / f"{notebook.stem}.html").is_file()


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ("PS3.7 §9.1.1", ["part07.html", "part07.html#sect_9.1.1"]),
        ("PS3.10 §7.1, Table 7.1-1.", ["part10.html", "part10.html#sect_7.1", "part10.html#table_7.1-1"]),
        ("PS3.18 §10 (Studies Service)", ["part18.html", "part18.html#chapter_10"]),
        ("PS3.3 Annex F, PS3.8 Annex D", ["part03.html", "part03.html#chapter_F", "part08.html", "part08.html#chapter_D"]),
        ("PS3.7 Annex D.3", ["part07.html", "part07.html#sect_D.3"]),
        ("RFC 3550 §5.1, Appendix A", ["rfc3550", "rfc3550#section-5.1"]),
        ("SMPTE ST 2110-20 §6.2", []),
    ],
)  # fmt: skip
def test_a_reference_leads_to_its_place(text: str, addresses: list[str]) -> None:
    assert [address.rpartition("/")[2] for address in re.findall(r"<(\S+?)>`__", linked(text))] == addresses
