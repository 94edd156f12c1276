"""Who asks is said to one origin only, and to nobody who looks on."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from requests import PreparedRequest
from requests.auth import AuthBase

from dicomlab import Refused, WebEndpoint, trace
from dicomlab.web.addresses import followed, same_origin, without_user
from dicomlab.web.auth import Basic, Bearer
from dicomlab.web.discretion import shown_answer, shown_request, without_keys
from dicomlab.web.oidc import ClientCredentials
from tests.unit.web.scripted import Asked, reply, scripted, studies

SECRET = "geheim"


class Cloud(AuthBase):
    """As libraries of clouds do it: a header of their own, and a signature in the URL."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        r.headers["X-Any-Name"] = SECRET
        r.prepare_url(r.url, {"X-Amz-Signature": SECRET, "access_token": SECRET})
        return r


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://pacs.example/dicom-web", True),
        ("https://PACS.example:443/other", True),
        ("https://user:pw@pacs.example/x", True),
        ("http://pacs.example/dicom-web", False),
        ("https://pacs.example:8443/dicom-web", False),
        ("https://pacs.example@evil.example/", False),
        ("https://pacs.example.evil.example/", False),
        ("https://pacs.example:443@evil.example/", False),
        ("//pacs.example/", False),
    ],
)
def test_origins(url: str, same: bool) -> None:
    assert same_origin(url, "https://pacs.example") is same


def follow(how: str, url: str, auth: Any = None) -> None:
    web = WebEndpoint(url, auth=auth)
    if how == "redirect":
        web.find("study", progress=False)
    else:
        web.bulkdata(f"{url}/value")


@pytest.mark.parametrize("how", ["redirect", "BulkDataURI"])
@pytest.mark.parametrize(
    "auth", [("user", SECRET), Bearer(SECRET), Cloud(), None], ids=["basic", "bearer", "own", "netrc"]
)
def test_another_port_is_another_origin(how: str, auth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for what ~/.netrc says of the host: it knows neither ports nor schemes."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {SECRET}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    value = reply("200 OK", b"x", Content_Type="application/octet-stream")
    with scripted(lambda asked: studies() if how == "redirect" else value) as other:
        there = reply("307 There", Location=f"{other.url.replace('//', f'//user:{SECRET}@')}/there")
        with scripted(lambda asked: there) as server, trace() as wire:
            follow(how, server.url, auth)
    (asked,) = other.asked
    assert not {"authorization", "x-any-name", "cookie"} & set(asked.headers)
    assert SECRET not in asked.target
    assert SECRET in str(server.asked[0]) or "authorization" in server.asked[0].headers
    octets = b"".join(event.octets for event in wire)
    assert SECRET.encode() not in octets.replace(f"//user:{SECRET}@".encode(), b"")


def test_the_trace_holds_no_key_of_any_name() -> None:
    with scripted(lambda asked: studies()) as server, trace() as wire:
        WebEndpoint(server.url, auth=Cloud()).find("study", PatientID="7", progress=False)
        assert SECRET in server.asked[0].headers["x-any-name"]
        assert server.asked[0].query["access_token"] == [SECRET]
    octets = b"".join(event.octets for event in wire)
    assert SECRET.encode() not in octets
    assert b"PatientID=7" in octets
    shown = [wire._repr_html_(), repr(wire), *(repr(e) for e in wire), *(e.text for e in wire)]
    assert not any(SECRET in one for one in shown)


def test_what_a_url_may_hold() -> None:
    assert without_user("http://user:pw@h:1/x?y=@") == "http://h:1/x?y=@"
    assert without_user("/workitems/1@2") == "/workitems/1@2"
    assert followed("http://a/", "//user:pw@a/x") == "http://a/x"
    url = "/studies?PatientID=Key&access_token=s&X-Amz-Credential=s&DigitalSignatureUID=1&key=s&Modality=CT"
    assert without_keys(url).count("•••") == 3
    assert "PatientID=Key" in without_keys(url)
    assert "DigitalSignatureUID=1" in without_keys(url)
    assert b"token=\xe2" in shown_answer("HTTP/1.1 302 Found", [("Location", "http://h/?token=s")])
    assert b"Set-Cookie: \xe2" in shown_answer("HTTP/1.1 200 OK", [("Set-Cookie", "s")])
    head = shown_request("GET", "/x", [("Accept", b"*/*"), ("Ocp-Apim-Subscription-Key", b"s")])
    assert head.decode().split("\r\n") == ["GET /x HTTP/1.1", "Accept: */*", "Ocp-Apim-Subscription-Key: •••", "", ""]


@pytest.mark.parametrize("auth", [("user", SECRET), Bearer(SECRET), Bearer(lambda: SECRET), Cloud()])
def test_what_is_pickled_holds_no_credential(auth: Any) -> None:
    with scripted(
        lambda asked: reply("401 Unauthorized") if "authorization" not in asked.headers else studies()
    ) as one:
        web = WebEndpoint(one.url, auth=auth, timeout_s=7, certificate=(SECRET, SECRET), fictional=True)
        octets = pickle.dumps(web)
        assert SECRET.encode() not in octets
        again = pickle.loads(octets)
        assert (again.url, again._site.timeout_s, again.fictional) == (web.url, 7, True)
        with pytest.raises(Refused, match="give credentials"):
            again.find("study", progress=False)
    assert copy.deepcopy(web)._site is web._site


@pytest.mark.parametrize("auth", [Basic("user", SECRET), Bearer(SECRET), ClientCredentials("https://i", "me", SECRET)])
def test_credentials_are_not_pickled(auth: AuthBase) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(auth)


def test_an_error_tells_no_credential() -> None:
    def answer(asked: Asked) -> bytes:
        return reply("302 Found", Location=f"ftp://user:{SECRET}@h/?token={SECRET}")

    with scripted(answer) as server, pytest.raises(Exception, match="redirect") as caught:
        WebEndpoint(server.url, auth=Cloud()).find("study", progress=False)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error!r} {error}"
        error = error.__cause__ or error.__context__
