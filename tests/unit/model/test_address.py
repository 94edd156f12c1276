"""Addresses: parsed once, printed as they were parsed, refused with a UsageError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import UsageError
from dicomlab.model.address import AEAddress, OwnAE, ae_title


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("PACS@10.0.0.5:104", ("PACS", "10.0.0.5", 104)),
        ("PACS@host", ("PACS", "host", 104)),
        ("PACS@[::1]:11112", ("PACS", "::1", 11112)),
        ("PACS@[fe80::1%eth0]", ("PACS", "fe80::1%eth0", 104)),
        ("A@B@host:65535", ("A@B", "host", 65535)),
        ("A:B@host:1", ("A:B", "host", 1)),
        (" PACS @host:104", ("PACS", "host", 104)),
        ("MY PACS@host:104", ("MY PACS", "host", 104)),
    ],
)
def test_a_remote_ae(text: str, parts: tuple[str, str, int]) -> None:
    address = AEAddress.parse(text)
    assert (address.ae_title, address.host, address.port) == parts
    assert AEAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "PACS", "@host:104", "PACS@", "PACS@:104", "PACS@host:", "PACS@host:0", "PACS@host:65536", "PACS@host:-1",
        "PACS@host:1e3", "PACS@host:１０４", "PACS@host:" + "9" * 5000, "PACS@::1:104", "PACS@host:104/x", "PACS@ho st:104",
        "PACS@host:104\n", "PACS@[::1:104", "PACS@[x]:104", "   @host:104", "A" * 17 + "@host", "PÄCS@host", "PA\\CS@host",
        "PA\0CS@host",
    ],
)  # fmt: skip
def test_what_is_no_address_of_an_ae(text: str) -> None:
    with pytest.raises(UsageError):
        AEAddress.parse(text)


@pytest.mark.parametrize(
    ("text", "title", "port"), [("LAB1", "LAB1", None), ("LAB1:11112", "LAB1", 11112), ("A:B:104", "A:B", 104)]
)
def test_our_own_ae(text: str, title: str, port: int | None) -> None:
    own = OwnAE.parse(text)
    assert (own.ae_title, own.port) == (title, port)
    assert OwnAE.parse(str(own)) == own
    assert str(own) == text


@pytest.mark.parametrize("text", ["", ":104", "LAB1:", "LAB1:0", "LAB1:x", "A" * 17])
def test_what_is_no_ae_of_ours(text: str) -> None:
    with pytest.raises(UsageError):
        OwnAE.parse(text)


def test_ae_titles() -> None:
    assert ae_title("  A~ b ") == "A~ b"
    assert ae_title("A" * 16) == "A" * 16
    for wrong in ("", "    ", "A" * 17, "a\\b", "a\tb", "ä", "a\n"):
        with pytest.raises(UsageError, match="is no AE title"):
            ae_title(wrong)


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    for kind in (AEAddress, OwnAE):
        try:
            parsed = kind.parse(text)
        except UsageError:
            continue
        assert kind.parse(str(parsed)) == parsed


def test_port_0_is_for_those_who_listen() -> None:
    assert AEAddress.parse("LAB1@127.0.0.1:0", listening=True).port == 0
    with pytest.raises(UsageError, match="is no port"):
        AEAddress.parse("LAB1@127.0.0.1:0")
