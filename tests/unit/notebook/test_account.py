"""An account is one page of faces that needs nothing else and runs nothing."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import pytest

import dicomlab
from dicomlab.errors import Interrupted, Refused, Unreachable
from dicomlab.notebook.account import Account

from .test_html import HOSTILE
from .test_html_faces import Page

mpl.use("Agg")


def account() -> Account:
    import matplotlib.pyplot as plt

    made = Account(HOSTILE)
    made.add(HOSTILE, dicomlab.Verification(False, HOSTILE, 0.1))
    made.add("An error", Unreachable(HOSTILE, endpoint="x"))
    made.add("Words", HOSTILE)
    _, ax = plt.subplots()
    ax.set_title(HOSTILE)
    made.add("A figure", ax)
    return made


def test_it_is_one_page_of_faces(tmp_path: Path) -> None:
    html = account().write(tmp_path / "new").read_text()
    page = Page(html)
    assert not page.tags & {"script", "link", "iframe", "object", "a"}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    sources = [value for name, value in page.attributes if name in ("src", "href")]
    assert [source[:22] for source in sources] == ["data:image/png;base64,"]
    assert page.words.count("A figure") == 1
    assert "default-src 'none'" in html
    assert "prefers-color-scheme:dark" in html


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((Interrupted, Refused)):
        account().write(tmp_path / "file")
