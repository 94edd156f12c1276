"""Peers by a short name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.errors
import pytest

from dicomlab.errors import MissingExtra, UsageError
from dicomlab.profiles import is_name, profile, secret

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


class _Ring(keyring.backend.KeyringBackend):
    """A keyring that is not the tester's own."""

    priority = 1  # type: ignore[assignment]

    def __init__(self, locked: bool = False) -> None:
        super().__init__()
        self.entries = {("dicomlab", "pacs"): "s3cret-token"}
        self.locked = locked

    def get_password(self, service: str, username: str) -> str | None:
        if self.locked:
            raise keyring.errors.KeyringLocked("locked")
        return self.entries.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.entries[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.entries[service, username]


@pytest.fixture
def ring() -> Iterator[_Ring]:
    before = keyring.get_keyring()
    ours = _Ring()
    keyring.set_keyring(ours)
    yield ours
    keyring.set_keyring(before)


def test_a_secret_comes_from_the_keyring(file: Path, ring: _Ring) -> None:
    from dicomlab import WebEndpoint

    file.write_text("[web.pacs]\nurl = 'http://127.0.0.1:9/dicom-web'\ntoken_keyring = 'pacs'\n")
    entry = profile("web", "pacs")
    assert secret(entry, "token") == "s3cret-token"
    web = WebEndpoint("pacs")
    assert "s3cret" not in repr(web) + web._repr_html_()
    ring.set_password("dicomlab", "pacs", "another")
    assert secret(entry, "token") == "another"


def test_a_secret_that_is_not_there_is_named(file: Path, ring: _Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="keyring set dicomlab absent"):
        secret({"token_keyring": "absent"}, "token")
    ring.locked = True
    with pytest.raises(UsageError, match=r"'pacs' \(KeyringLocked\); use password_env"):
        secret({"password_keyring": "pacs"}, "password")
    monkeypatch.delenv("PACS_TOKEN", raising=False)
    with pytest.raises(UsageError, match="PACS_TOKEN"):
        secret({"token_env": "PACS_TOKEN"}, "token")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(MissingExtra, match=r"dicomlab\[keyring\]"):
        secret({"token_keyring": "pacs"}, "token")
