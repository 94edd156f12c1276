"""Tokens from a small issuer on loopback: had, kept, renewed, refused; and never shown."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest

from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Wanted
from dicomlab.model.trace import trace
from dicomlab.web import oidc
from dicomlab.web.auth import Bearer
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.oidc import ClientCredentials, DeviceSignIn
from tests.unit.web.scripted import Asked, MemorySink, Scripted, reply, scripted, studies

SECRET = "very geheim"


class Issuer:
    """A provider: counts its tokens, and takes one only for as long as it is told."""

    def __init__(self) -> None:
        self.count = itertools.count(1)
        self.forms: list[dict[str, str]] = []
        self.basic: list[str] = []
        self.pending = 0
        self.answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.description: dict[str, Any] = {}
        self.expires: Any = 3600
        self.url = ""

    def __call__(self, asked: Asked) -> bytes:
        path = asked.path.removeprefix("/dicom-web")
        if path == "/.well-known/openid-configuration":
            ends = {f"{name}_endpoint": f"{self.url}/{name}" for name in ("token", "device_authorization")}
            return self.json("200 OK", {"issuer": self.url, **ends, **self.description})
        form = {name: values[0] for name, values in parse_qs(asked.body.decode()).items()}
        self.forms.append(form)
        self.basic.append(asked.headers.get("authorization", ""))
        if path == "/device_authorization":
            return self.json(
                "200 OK", {"device_code": "d", "user_code": "AB-CD", "verification_uri": "https://x/dev", "interval": 0}
            )
        kind = form["grant_type"].rpartition(":")[2]
        if kind in self.answers:
            return self.json(*self.answers[kind])
        if kind == "device_code" and self.pending:
            self.pending -= 1
            return self.json("400 Bad Request", {"error": "authorization_pending" if self.pending else "slow_down"})
        token = f"token-{next(self.count)}"
        return self.json(
            "200 OK",
            {"access_token": token, "token_type": "Bearer", "expires_in": self.expires, "refresh_token": "r" + token},
        )

    @staticmethod
    def json(status: str, found: dict[str, Any]) -> bytes:
        return reply(status, json.dumps(found).encode(), Content_Type="application/json")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    with scripted(made) as server:
        made.url = server.url
        yield made


@pytest.fixture(autouse=True)
def _brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc, "_SHORTEST_POLL_S", 0.01)


def guarded(takes: Callable[[str], bool]) -> Callable[[Asked], bytes]:
    """A DICOMweb server that takes some tokens."""

    def answer(asked: Asked) -> bytes:
        ok = takes(asked.headers.get("authorization", "").removeprefix("Bearer "))
        return studies() if ok else reply("401 Unauthorized", WWW_Authenticate='Bearer error="invalid_token"')

    return answer


def tokens(server: Scripted) -> list[str]:
    return [one.headers.get("authorization", "").removeprefix("Bearer ") for one in server.asked]


def test_client_credentials_are_had_once_and_kept(issuer: Issuer) -> None:
    auth = ClientCredentials(issuer.url, "my client", lambda: SECRET, scope="dicom")
    assert issuer.forms == []  # nothing is asked before it is needed
    with scripted(guarded(lambda token: token == "token-1")) as server:
        web = WebEndpoint(server.url, auth=auth)
        for _ in range(3):
            web.find("study", progress=False)
        assert set(tokens(server)) == {"token-1"}
    assert issuer.forms == [{"grant_type": "client_credentials", "scope": "dicom"}]
    assert base64.b64decode(issuer.basic[0].removeprefix("Basic ")) == b"my%20client:very%20geheim"


def test_a_token_that_ends_soon_is_replaced_before_it_does(issuer: Issuer) -> None:
    issuer.expires = 1
    auth = ClientCredentials(issuer.url, "c", SECRET)
    clock = itertools.count(0, 10)
    with pytest.MonkeyPatch.context() as patch, scripted(lambda asked: studies()) as server:
        patch.setattr("dicomlab.web.auth.time.monotonic", lambda: float(next(clock)))
        web = WebEndpoint(server.url, auth=auth)
        web.find("study", progress=False)
        web.find("study", progress=False)
        assert len(set(tokens(server))) > 1
    assert [form["grant_type"] for form in issuer.forms][:2] == ["client_credentials", "refresh_token"]


def test_a_refresh_token_that_has_ended_is_no_obstacle(issuer: Issuer) -> None:
    issuer.answers["refresh_token"] = ("400 Bad Request", {"error": "invalid_grant"})
    auth = ClientCredentials(issuer.url, "c", SECRET)
    with scripted(guarded(lambda token: token == "token-2")) as server:
        WebEndpoint(server.url, auth=auth).find("study", progress=False)
        assert tokens(server)[:2] == ["token-1", "token-2"]
    assert [f["grant_type"] for f in issuer.forms] == ["client_credentials", "refresh_token", "client_credentials"]


def test_a_person_signs_in_elsewhere(issuer: Issuer) -> None:
    issuer.pending = 3
    shown: list[tuple[str, str]] = []
    auth = DeviceSignIn(issuer.url, "notebook", show=lambda url, code: shown.append((url, code)))
    with pytest.MonkeyPatch.context() as patch, scripted(guarded(lambda token: token == "token-1")) as server:
        patch.setattr(oidc, "_LONGEST_POLL_S", 0.01)
        WebEndpoint(server.url, auth=auth).find("study", progress=False)
    assert shown == [("https://x/dev", "AB-CD")]
    assert issuer.forms[-1] == {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": "d",
        "client_id": "notebook",
    }
    assert len(issuer.forms) == 5


def test_the_code_is_written_where_people_look(issuer: Issuer, capsys: pytest.CaptureFixture[str]) -> None:
    DeviceSignIn(issuer.url, "n")._obtain()
    assert "open https://x/dev and enter the code AB-CD" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        ({"error": "access_denied", "error_description": "not \x1b[31mtoday"}, Refused, r"not \\x1b"),
        ({"error": "expired_token"}, Refused, "expired_token"),
    ],
)
def test_who_does_not_sign_in_is_told(
    issuer: Issuer, answer: dict[str, str], error: type[Exception], text: str
) -> None:
    issuer.answers["device_code"] = ("400 Bad Request", answer)
    with pytest.raises(error, match=text):
        DeviceSignIn(issuer.url, "n", show=lambda url, code: None)._obtain()


def test_a_sign_in_has_an_end(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.answers["device_code"] = ("400 Bad Request", {"error": "authorization_pending"})
    monkeypatch.setattr(oidc, "_LONGEST_SIGN_IN_S", 0.05)
    monkeypatch.setattr(
        oidc, "_bounded", lambda value, default, least, most: min(0.01 if default == 5.0 else 0.05, most)
    )
    with pytest.raises(Interrupted, match="nobody signed in"):
        DeviceSignIn(issuer.url, "n", show=lambda url, code: None)._obtain()


@pytest.mark.parametrize(
    ("description", "error", "text"),
    [
        ({"issuer": "https://elsewhere"}, Refused, "calls itself https://elsewhere"),
        ({"token_endpoint": None}, Refused, "no token endpoint"),
        ({"token_endpoint": "http://example.org/token"}, UsageError, "in the open"),
    ],
)
def test_providers_that_are_not_trusted(
    issuer: Issuer, description: dict[str, Any], error: type[Exception], text: str
) -> None:
    issuer.description = description
    with pytest.raises(error, match=text):
        ClientCredentials(issuer.url, "c", SECRET)._obtain()
    assert issuer.forms == []


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (reply("401 Unauthorized", b'{"error": "invalid_client"}'), Refused, "invalid_client"),
        (reply("500 Oops", b"<html>"), Refused, r"\(500\)"),
        (reply("200 OK", b"<html>"), RemoteProtocolError, "no JSON"),
        (reply("200 OK", b"[]"), RemoteProtocolError, "no JSON"),
        (reply("200 OK", b"{}"), RemoteProtocolError, "no bearer token"),
        (reply("200 OK", b'{"access_token": "t", "token_type": "mac"}'), RemoteProtocolError, "no bearer token"),
        (b"", Interrupted, "broke off"),
    ],
)
def test_what_is_no_token(answer: bytes, error: type[Exception], text: str) -> None:
    made = Issuer()
    with scripted(lambda asked: made(asked) if "well-known" in asked.path else answer) as server:
        made.url = server.url
        with pytest.raises(error, match=text) as caught:
            ClientCredentials(server.url, "c", SECRET)._obtain()
    assert "geheim" not in str(caught.value)


def test_nobody_there() -> None:
    with scripted(lambda asked: b"") as server:
        url = server.url
    with pytest.raises(Unreachable):
        ClientCredentials(url, "c", SECRET)._obtain()
    with pytest.raises(UsageError, match="in the open"):
        ClientCredentials("http://login.example.org", "c", SECRET)


def test_no_secret_is_shown(issuer: Issuer) -> None:
    auth = ClientCredentials(issuer.url, "c", SECRET)
    with scripted(guarded(lambda token: True)) as server, trace() as wire:
        web = WebEndpoint(server.url, auth=auth)
        web.find("study", progress=False)
        shown = repr(auth) + repr(web) + str(web) + repr(wire) + web._repr_html_()
    octets = b"".join(event.octets for event in wire)
    for hidden in ("geheim", "token-1"):
        assert hidden not in shown
        assert hidden.encode() not in octets


# --- tokens that end while work is going on


def test_a_function_is_asked_again_when_its_token_is_no_longer_taken() -> None:
    given = iter([("old", 3600.0), ("new", 3600.0)])
    with scripted(guarded(lambda token: token == "new")) as server:
        web = WebEndpoint(server.url, auth=lambda: next(given))
        web.find("study", progress=False)
        web.find("study", progress=False)
        assert tokens(server) == ["old", "new", "new"]


def test_a_token_is_had_anew_once_for_each_request() -> None:
    asked_for = itertools.count()
    with scripted(guarded(lambda token: False)) as server, pytest.raises(Refused, match="invalid_token"):
        WebEndpoint(server.url, auth=lambda: f"t{next(asked_for)}").find("study", progress=False)
    assert tokens(server) == ["t0", "t1"]


def test_a_fixed_token_is_not_tried_twice() -> None:
    with scripted(guarded(lambda token: False)) as server, pytest.raises(Refused):
        WebEndpoint(server.url, auth=Bearer("fixed")).find("study", progress=False)
    assert tokens(server) == ["fixed"]


def test_a_token_that_ends_in_the_midst_of_a_download() -> None:
    """Each token is good for three answers; everything arrives all the same."""
    from tests.unit.web.test_endpoint_faults import KIND, multipart, part10

    good = {"n": 0}
    lock = threading.Lock()

    def token() -> tuple[str, float]:
        with lock:
            good["n"] = 3
        return "t", 3600.0

    def answer(asked: Asked) -> bytes:
        if not good["n"]:
            return reply("401 Unauthorized")
        good["n"] -= 1
        uid = asked.path.rpartition("/")[2]
        return reply("200 OK", multipart(part10(uid)), Content_Type=KIND)

    sink = MemorySink()
    wanted = [Wanted("1", f"1.{n}", f"1.{n}.0") for n in range(8)]
    with scripted(answer) as server:
        WebEndpoint(server.url, auth=token).deliver(
            wanted, sink, Control(), streams=1
        )  # or they take each other's answers
    assert set(sink.arrived) == {one.sop_instance_uid for one in wanted}
    assert sink.reasons == {}


def test_one_thread_at_a_time_asks_for_a_token() -> None:
    asking = threading.Semaphore(1)

    def token() -> tuple[str, float]:
        assert asking.acquire(blocking=False)
        asking.release()
        return "t", 3600.0

    auth = Bearer(token)
    threads = [threading.Thread(target=auth._current) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert auth._current() == "t"
