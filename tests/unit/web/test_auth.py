"""How credentials are given, sent, and never shown."""

from __future__ import annotations

import base64
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.auth import AuthBase, HTTPDigestAuth

from dicomlab.errors import Interrupted, Unreachable, UsageError
from dicomlab.web.auth import Bearer, authentication, from_profile
from dicomlab.web.endpoint import WebEndpoint
from tests.peers.processes import need
from tests.unit.web.scripted import reply, scripted, studies


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


# --- netrc, the environment, certificates


def test_netrc_is_asked_where_no_credentials_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password geheim\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with scripted(lambda asked: studies()) as server:
        WebEndpoint(server.url).find("study", progress=False)
        WebEndpoint(server.url, auth=Bearer("given")).find("study", progress=False)
        first, second = (one.headers["authorization"] for one in server.asked)
    assert base64.b64decode(first.removeprefix("Basic ")) == b"user:geheim"
    assert second == "Bearer given"


def test_netrc_is_not_asked_for_where_the_server_sends_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login user password geheim\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with (
        scripted(lambda asked: studies()) as other,
        scripted(lambda asked: reply("302 Found", Location=f"{other.url}/studies")) as server,
    ):
        WebEndpoint(server.url).find("study", progress=False)
        WebEndpoint(server.url).bulkdata(f"{other.url}/x")  # nor for the address of a value
    assert "authorization" in server.asked[0].headers
    assert all("authorization" not in one.headers for one in other.asked)
    assert len(other.asked) >= 2


def test_a_secret_of_the_environment_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    auth = from_profile({"url": "x", "token_env": "DICOMLAB_TEST_TOKEN"})
    assert auth is not None
    with pytest.raises(UsageError, match="DICOMLAB_TEST_TOKEN"):
        sent(auth)
    monkeypatch.setenv("DICOMLAB_TEST_TOKEN", "abc")
    assert sent(auth) == "Bearer abc"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and certificates of a server and a client that it signed."""
    need("openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    (folder / "server.ext").write_text("subjectAltName=IP:127.0.0.1\n")
    (folder / "client.ext").write_text("extendedKeyUsage=clientAuth\n")
    for name in ("server", "client"):
        openssl("req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext",
        )  # fmt: skip
    return folder


@contextmanager
def over_tls(certificates: Path) -> Iterator[tuple[str, list[str]]]:
    """A server that wants a certificate of who asks; its URL, and who came."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    context.load_verify_locations(certificates / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    came: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with suppress(OSError, ssl.SSLError), context.wrap_socket(connection, server_side=True) as secure:
                    subject: Any = secure.getpeercert()["subject"]  # type: ignore[index]
                    came.append(subject[0][0][1])
                    secure.recv(65536)
                    secure.sendall(studies())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"https://127.0.0.1:{listening.getsockname()[1]}/dicom-web", came
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_mutual_tls(certificates: Path) -> None:
    mine = (str(certificates / "client.pem"), str(certificates / "client.key"))
    authority = str(certificates / "ca.pem")
    with over_tls(certificates) as (url, came):
        assert len(WebEndpoint(url, certificate=mine, verify_tls=authority).find("study", progress=False)) == 0
        assert set(came) == {"client"}
        came.clear()
        with pytest.raises((Unreachable, Interrupted)):
            WebEndpoint(url, verify_tls=authority).find("study", progress=False)
        with pytest.raises(Unreachable, match="own authority"):
            WebEndpoint(url, certificate=mine).find("study", progress=False)
        assert came == []


def test_a_certificate_is_not_shown_elsewhere(certificates: Path) -> None:
    mine = (str(certificates / "client.pem"), str(certificates / "client.key"))
    with over_tls(certificates) as (url, came), scripted(lambda asked: reply("307 There", Location=url)) as server:
        web = WebEndpoint(server.url, certificate=mine, verify_tls=str(certificates / "ca.pem"))
        with pytest.raises((Unreachable, Interrupted)):
            web.find("study", progress=False)
        assert came == []


def test_any_auth_of_requests_will_do() -> None:
    class Signed(AuthBase):
        def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
            r.headers["Authorization"] = f"SIG {r.method} {r.path_url}"
            return r

    with scripted(lambda asked: studies()) as server:
        WebEndpoint(server.url, auth=Signed()).find("study", progress=False)
        assert server.asked[0].headers["authorization"].startswith("SIG GET /dicom-web/studies")
