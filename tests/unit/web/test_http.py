"""The door to requests: every way a conversation can fail, in our tree; nothing secret in the trace."""

from __future__ import annotations

import gzip
import inspect
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import requests
import urllib3

from dicomlab.errors import (
    DicomlabError,
    Interrupted,
    Refused,
    RemoteProtocolError,
    ServiceError,
    Unreachable,
    UsageError,
)
from dicomlab.model.progress import Control
from dicomlab.model.trace import trace
from dicomlab.web import http, search
from dicomlab.web.auth import Bearer
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.failures import translated
from dicomlab.web.http import Conversation, Site
from tests.unit.web.scripted import Asked, reply, rows, scripted, studies

SITE = Site("http://127.0.0.1:1/dicom-web")

EXPECTED: dict[type[Exception], type[DicomlabError]] = {
    requests.exceptions.RequestException: Interrupted,
    requests.exceptions.HTTPError: Interrupted,
    requests.exceptions.ConnectionError: Interrupted,
    requests.exceptions.ProxyError: Unreachable,
    requests.exceptions.SSLError: Unreachable,
    requests.exceptions.Timeout: Interrupted,
    requests.exceptions.ConnectTimeout: Unreachable,
    requests.exceptions.ReadTimeout: Interrupted,
    requests.exceptions.URLRequired: UsageError,
    requests.exceptions.TooManyRedirects: RemoteProtocolError,
    requests.exceptions.MissingSchema: UsageError,
    requests.exceptions.InvalidSchema: UsageError,
    requests.exceptions.InvalidURL: UsageError,
    requests.exceptions.InvalidHeader: UsageError,
    requests.exceptions.InvalidProxyURL: UsageError,
    requests.exceptions.ChunkedEncodingError: Interrupted,
    requests.exceptions.ContentDecodingError: RemoteProtocolError,
    requests.exceptions.StreamConsumedError: Interrupted,
    requests.exceptions.RetryError: Interrupted,
    requests.exceptions.UnrewindableBodyError: Interrupted,
    requests.exceptions.InvalidJSONError: RemoteProtocolError,
    requests.exceptions.JSONDecodeError: RemoteProtocolError,
}


def of(module: object) -> Iterator[type[Exception]]:
    for _, one in inspect.getmembers(module, inspect.isclass):
        if (
            issubclass(one, Exception)
            and not issubclass(one, Warning)
            and one.__module__ == getattr(module, "__name__", "")
        ):
            yield one


def test_every_exception_of_requests_has_its_place() -> None:
    assert set(of(requests.exceptions)) == set(EXPECTED)  # a new one needs a decision
    for kind, ours in EXPECTED.items():
        error = kind.__new__(kind)
        error.args = ("it says so",)
        assert type(translated(error, SITE.url, 60.0)) is ours, kind


def test_every_exception_of_urllib3_is_mapped() -> None:
    found = list(of(urllib3.exceptions))
    assert len(found) > 20
    for kind in found:
        error = kind.__new__(kind)
        error.args = ("it says so",)
        error.__dict__.update(partial=1, expected=2, length=b"", response=None)
        assert isinstance(
            translated(error, SITE.url, 60.0), Unreachable | Interrupted | RemoteProtocolError | UsageError
        ), kind


def find(url: str, **options: object) -> object:
    return WebEndpoint(url, **options).find("study", progress=False)  # type: ignore[arg-type]


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is told at once: nobody waits in the hope that somebody will."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waits {seconds} s") if seconds else None)
    monkeypatch.setattr(Control, "wait", lambda self, seconds: pytest.fail(f"waits {seconds} s"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unreachable, match="is the server running"):
        find(f"http://127.0.0.1:{port}/dicom-web")


def test_no_such_host() -> None:
    with pytest.raises(Unreachable):
        find("http://no-such-host.invalid/dicom-web")


def test_plain_http_where_tls_is_due() -> None:
    with scripted(lambda asked: reply("200 OK")) as server, pytest.raises((Unreachable, Interrupted)):
        find(server.url.replace("http:", "https:"))


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (reply("401 Unauthorized", WWW_Authenticate='Bearer realm="clinic"'), Refused, 'it wants: Bearer realm="clinic"'),
        (reply("403 Forbidden"), Refused, "403 Forbidden"),
        (reply("406 Not Acceptable", b"only x"), Refused, "it says: only x"),
        (reply("415 Unsupported Media Type"), Refused, "415"),
        (reply("404 Not Found"), ServiceError, "base URL"),
        (reply("500 Oops", b"<html><style>p {}</style><p>Stack\x1b[31m &c</p>"), ServiceError, r"it says: Stack\\x1b\[31m"),
        (reply("413 Too Large", b"x" * 10_000), ServiceError, r"x… \("),
        (reply("200 OK", b"<html>Log in", Content_Type="text/html"), Refused, "log-in"),
        (reply("200 OK", b"%PDF", Content_Type="application/pdf"), RemoteProtocolError, "application/pdf"),
        (reply("200 OK", b"[{", Content_Type="application/dicom+json"), RemoteProtocolError, "no JSON"),
        (reply("200 OK", b"[]" + b" " * 9, Content_Type="application/json; x=1")[:-5], Interrupted, "5 more expected"),
        (reply("200 OK", b"[]", Content_Encoding="gzip"), RemoteProtocolError, "compressed"),
        (b"SSH-2.0-OpenSSH\r\n", RemoteProtocolError, "no HTTP: SSH-2.0"),
        (b"", Interrupted, "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[", Interrupted, "broke off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n", Interrupted, "broke off"),
        (reply("302 Found", Location="ftp://x/"), RemoteProtocolError, "redirect"),
        (reply("302 Found", Location="http://["), RemoteProtocolError, "redirect"),
        (reply("302 Found", Location="http://127.0.0.1:99999/"), RemoteProtocolError, "redirect"),
        (reply("302 Found", Location="http://host.invalid/\xfc"), RemoteProtocolError, "redirect"),
        (reply("302 Found", Location="/dicom-web/again"), ServiceError, "302"),
    ],
)  # fmt: skip
def test_what_answers_mean(answer: bytes, error: type[Exception], text: str) -> None:
    with scripted(lambda asked: answer) as server, pytest.raises(error, match=text):
        find(server.url)


def test_a_server_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(Interrupted, match=r"nothing came for 0\.2 s"):
        find(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout_s=0.2)


@pytest.mark.parametrize("status", ["429 Busy", "502 Bad", "503 Later", "504 Slow"])
def test_later_is_asked_again(status: str) -> None:
    answers = iter([reply(status, Retry_After="0"), reply(status, Retry_After="0"), studies("1.2"), studies()])
    with scripted(lambda asked: next(answers)) as server:
        assert len(find(server.url)) == 1  # type: ignore[arg-type]
        assert len(server.asked) == 4


def test_later_for_ever_is_a_service_error() -> None:
    with scripted(lambda asked: reply("503 Later", Retry_After="0")) as server:
        with pytest.raises(ServiceError, match="503") as caught:
            find(server.url)
        assert caught.value.status == 503
        assert len(server.asked) == 4


def test_cancelling_ends_the_wait_for_later() -> None:
    control = Control()

    def answer(asked: Asked) -> bytes:
        control.cancel()
        return reply("503 Later", Retry_After="30")

    with scripted(answer) as server, Conversation(Site(server.url), control) as talk:
        asking = talk.request("GET", "/studies", accept="*/*")
        with pytest.raises(Interrupted, match="cancelled"):
            asking.__enter__()


def test_gzip_and_empty_bodies() -> None:
    body = gzip.compress(rows({"0020000D": "1.2"}).partition(b"\r\n\r\n")[2])
    answers = iter([reply("200 OK", body, Content_Encoding="gzip", Content_Type="application/json"), reply("200 OK")])
    with scripted(lambda asked: next(answers)) as server:
        assert len(find(server.url)) == 1  # type: ignore[arg-type]


def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_JSON", 1 << 20)
    body = b"[" + b" " * (2 << 20) + b"]"
    with scripted(lambda asked: reply("200 OK", body)) as server, pytest.raises(ServiceError, match="more than 1 MiB"):
        find(server.url)


def test_error_bodies_are_bounded() -> None:
    answer = reply("500 No", b"x" * (http.MAX_ERROR_BODY * 4))
    with scripted(lambda asked: answer) as server, pytest.raises(ServiceError) as caught:
        find(server.url)
    assert len(str(caught.value)) < 600


def test_credentials_stay_with_their_origin() -> None:
    with (
        scripted(lambda asked: studies()) as other,
        scripted(lambda asked: reply("307 There", Location=other.url + "/studies")) as server,
    ):
        find(server.url, auth=("user", "secret"))
        assert server.asked[0].headers["authorization"].startswith("Basic ")
        assert "authorization" not in other.asked[0].headers


def test_credentials_go_along_within_the_origin() -> None:
    def answer(asked: Asked) -> bytes:
        return studies() if asked.path == "/there" else reply("301 There", Location="/there")

    with scripted(answer) as server:
        find(server.url, auth=Bearer("abc"))
        assert server.asked[1].headers["authorization"] == "Bearer abc"


def test_the_trace_holds_no_credential() -> None:
    with scripted(lambda asked: rows({"0020000D": "1.2"}, Set_Cookie="session=geheim")) as server, trace() as wire:
        find(server.url, auth=("user", "secret"))
        find(server.url, auth=Bearer("geheim"))
    octets = b"".join(event.octets for event in wire)
    assert "•••".encode() in octets
    assert b"geheim" not in octets
    assert b"Basic" not in octets
    assert {e.direction for e in wire} >= {"sent", "received"}


def test_the_trace_has_heads_and_bodies_both_ways() -> None:
    with (
        scripted(lambda asked: reply("200 OK", b"{}")) as server,
        trace() as wire,
        Conversation(Site(server.url)) as talk,
        talk.request("POST", "/x", accept="*/*", body=Sized(b"abc")) as answer,
    ):
        assert answer.read(10) == b"{}"
    told = [(e.direction, e.octets.split(b"\r\n")[0]) for e in wire]
    assert told == [
        ("sent", b"POST /dicom-web/x HTTP/1.1"),
        ("sent", b"abc"),
        ("received", b"HTTP/1.1 200 OK"),
        ("received", b"{}"),
    ]


class Sized:
    """A body in one piece, with its length in octets."""

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __iter__(self) -> Iterator[bytes]:
        yield self.octets

    def __len__(self) -> int:
        return len(self.octets)


# --- answers in drops


def dripping(octets: bytes, every_s: float, then: bytes = b"") -> Iterator[str]:
    """A server that sends an octet at a time, each within the time that is given."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        stop = threading.Event()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        for octet in octets:
                            connection.sendall(bytes([octet]))
                            if stop.wait(every_s):
                                return
                        connection.sendall(then)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/dicom-web"
        stop.set()
        listening.shutdown(socket.SHUT_RDWR)
        thread.join(5)


drip = contextmanager(dripping)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: 9000\r\n\r\n"


@pytest.mark.parametrize("octets", [HEAD, HEAD[:17] + b"X: " + b"y" * 9000, HEAD + b" " * 9000])
def test_a_drip_has_an_end(octets: bytes) -> None:
    with drip(octets, 0.05) as url, pytest.raises(Interrupted, match=r"octets came in|nothing came"):
        find(url, timeout_s=0.3)


def test_a_server_that_thinks_long_and_then_sends_is_waited_for() -> None:
    body = b"[" + b" " * 100_000 + b"]"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nContent-Length: %d\r\n\r\n" % len(body)
    with drip(head[:2], 0.2, head[2:] + body) as url:
        assert len(find(url, timeout_s=0.3)) == 0  # type: ignore[arg-type]


def test_chunk_sizes_in_drops_have_an_end() -> None:
    octets = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 9000
    with drip(octets, 0.02) as url, pytest.raises(Interrupted):
        find(url, timeout_s=0.3)


# --- cookies and redirects elsewhere


def test_cookies_stay_with_their_origin() -> None:
    with scripted(lambda asked: studies()) as other:

        def answer(asked: Asked) -> bytes:
            if "limit" in asked.query and len(server.asked) > 1:
                return reply("307 There", Location=other.url + "/studies")
            return studies("1.2", Set_Cookie="session=geheim")

        with scripted(answer) as server:
            find(server.url)
        assert "cookie" in server.asked[1].headers
        assert "cookie" not in other.asked[0].headers


def test_a_retry_after_that_is_none_does_not_matter() -> None:
    answers = iter([reply("503 Later", Retry_After="soon"), studies()])
    with scripted(lambda asked: next(answers)) as server:
        find(server.url)
        assert len(server.asked) == 2
