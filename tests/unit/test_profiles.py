"""Peers by a short name."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomlab.errors import UsageError
from dicomlab.profiles import is_name, profile

GOOD = """
[node.pacs]
address = "PACS@10.0.0.5:104"
me = "LAB1:11112"
[web.pacs]
url = "https://pacs.example.org/dicom-web"
token_env = "PACS_TOKEN"
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "dicomlab.toml"
    path.write_text(GOOD)
    monkeypatch.setenv("DICOMLAB_PROFILES", str(path))
    return path


def test_a_name_is_no_address() -> None:
    assert is_name("pacs")
    assert not is_name("PACS@host:104")
    assert not is_name("https://host/dicom-web")


def test_a_profile_is_found(file: Path) -> None:
    assert profile("node", "pacs") == {"address": "PACS@10.0.0.5:104", "me": "LAB1:11112"}
    assert profile("web", "pacs")["token_env"] == "PACS_TOKEN"


def test_an_unknown_one_names_those_there_are(file: Path) -> None:
    with pytest.raises(UsageError, match=r"there are pacs.*AET@host:port"):
        profile("node", "pcas")


def test_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DICOMLAB_PROFILES", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("APPDATA", raising=False)
    (tmp_path / "config" / "dicomlab").mkdir(parents=True)
    (tmp_path / "config" / "dicomlab" / "dicomlab.toml").write_text('[node.pacs]\naddress = "FAR@h:1"\n')
    monkeypatch.chdir(tmp_path)
    assert profile("node", "pacs")["address"] == "FAR@h:1"
    (tmp_path / "dicomlab.toml").write_text('[node.pacs]\naddress = "NEAR@h:1"\n')
    assert profile("node", "pacs")["address"] == "NEAR@h:1"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[node.pacs]\nme = 'LAB1'", "lacks address"),
        ("[node.pacs]\naddress = 1", "must hold texts"),
        ("[node.pacs]\naddress = 'A@h'\npassword = 'secret'", "can't hold password"),
        ("node = 3", "holds no profiles"),
        ("[node.pacs", "TOML"),
        ("", "no profile 'pacs'"),
    ],
)
def test_a_file_that_is_wrong_says_where(file: Path, text: str, says: str) -> None:
    file.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        profile("node", "pacs")
    assert "secret" not in str(caught.value)


def test_node_and_endpoint_take_names(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomlab import Node, WebEndpoint

    node = Node("pacs")
    assert (str(node), str(node.me)) == ("PACS@10.0.0.5:104", "LAB1:11112")
    assert str(Node("pacs", me="OTHER").me) == "OTHER"
    monkeypatch.setenv("PACS_TOKEN", "s3cret-token")
    web = WebEndpoint("pacs")
    assert str(web) == "https://pacs.example.org/dicom-web"
    assert "s3cret" not in repr(web) + web._repr_html_()
    with pytest.raises(UsageError, match="there are pacs"):
        Node("absent")
