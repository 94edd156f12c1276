"""How credentials are given, sent, and never shown."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

from dicomlab.errors import UsageError
from dicomlab.web.auth import Bearer, authentication
from dicomlab.web.endpoint import WebEndpoint


def sent(auth: Any) -> str:
    request = requests.Request("GET", "http://h/", auth=authentication(auth)).prepare()
    return request.headers["Authorization"]


def test_forms() -> None:
    assert sent(("Jürgen", "x")) == "Basic SsO8cmdlbjp4"
    assert sent(Bearer("abc")) == "Bearer abc"
    tokens = iter(["one", "two"])
    given = authentication(lambda: next(tokens))
    assert [sent(given), sent(given)] == ["Bearer one", "Bearer two"]
    digest = HTTPDigestAuth("a", "b")
    assert authentication(digest) is digest
    assert authentication(None) is None


@pytest.mark.parametrize("wrong", ["token", ("one",), 7, ("a", 1), b"x"])
def test_what_is_none(wrong: object) -> None:
    with pytest.raises(UsageError) as caught:
        authentication(wrong)
    assert "token'" not in str(caught.value)


@pytest.mark.parametrize("token", ["a b", "a\r\nX: y", "ü", ""])
def test_tokens_that_can_not_be_sent(token: str) -> None:
    if token:
        with pytest.raises(UsageError, match="no token"):
            sent(Bearer(token))


class Own(AuthBase):
    secret = "geheim"

    def __repr__(self) -> str:
        return self.secret

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


@pytest.mark.parametrize("auth", [("user", "geheim"), Bearer("geheim"), lambda: "geheim", Own()])
def test_no_secret_in_any_repr(auth: Any) -> None:
    endpoint = WebEndpoint("http://h/dicom-web", auth=auth)
    shown = [repr(endpoint), str(endpoint), repr(endpoint._site), repr(vars(endpoint))]
    if not isinstance(auth, Own):
        shown.append(repr(endpoint._site.auth))
    assert not any("geheim" in text for text in shown)


def test_no_password_in_a_url() -> None:
    with pytest.raises(UsageError, match="auth=") as caught:
        WebEndpoint("http://user:geheim@host/dicom-web")
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["host/dicom-web", "ftp://h", "http://", "http://h:99999/", "http://h/?a=b", "http://h/#a", "http://a b/"]
)
def test_what_is_no_base_url(url: str) -> None:
    with pytest.raises(UsageError):
        WebEndpoint(url)
