"""The only door to requests: one conversation with a web server, its errors in our tree, its octets in the trace."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import client
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.retry import Retry

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
from dicomlab.model.summary import visible
from dicomlab.model.trace import Channel, open_channel
from dicomlab.web.dissect import dissect
from dicomlab.web.fields import HttpReader
from dicomlab.web.media_types import MediaType, parse_content_type

CHUNK_OCTETS = 1 << 18
MAX_JSON = 256 << 20
MAX_ERROR_BODY = 64 << 10
SHOWN_ERROR = 300
MAX_REDIRECTS = 5
_TRIES = 4
_LONGEST_WAIT_S = 30.0
_AGAIN = frozenset({429, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_SECRET = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_SECTION = "RFC 9110"

_ADVICE = {
    400: "the server does not understand the request: it may not support one of the attributes",
    401: "give credentials: WebEndpoint(url, auth=(user, password)) or auth=Bearer(token)",
    403: "these credentials are not allowed to do that",
    404: "check the base URL: it ends where /studies begins",
    406: "the server has it in no media type or transfer syntax that was asked for",
    409: "the server is in conflict with what was sent",
    413: "too much at once: ask for less, or send smaller batches",
    415: "the server does not take this media type or transfer syntax",
}


@dataclass(frozen=True, slots=True, repr=False)
class Site:
    """Where a web server is and how it is talked to. Its repr shows no credential."""

    url: str
    auth: AuthBase | None = None
    timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    verify_tls: bool | str = True

    def __repr__(self) -> str:
        return f"Site({self.url!r})"


class Answer:
    """A response whose body is read as it comes."""

    def __init__(self, conversation: Conversation, response: requests.Response) -> None:
        self._conversation = conversation
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._first = b""

    @property
    def url(self) -> str:
        """The base URL of the server."""
        return self._conversation.site.url

    @property
    def media_type(self) -> MediaType | None:
        """The Content-Type, or None where the server gave none."""
        text = self.headers.get("Content-Type")
        return parse_content_type(text) if text else None

    @property
    def status_line(self) -> str:
        """``404 Not Found``."""
        return f"{self.status} {visible(self._response.reason or '', 80)}".strip()

    def chunks(self) -> Iterator[bytes]:
        """Give the body as it comes.

        Raises
        ------
        Interrupted
            It breaks off, or nothing comes for ``timeout_s``.
        """
        first, self._first = self._first, b""
        if first:
            yield first
        while chunk := self._more():
            yield chunk

    def _more(self) -> bytes:
        raw: Any = self._response.raw
        with self._conversation.mapped():
            chunk: bytes = raw.read1(CHUNK_OCTETS, decode_content=True)
        if chunk:
            self._conversation.tap_received(chunk)
        return chunk

    def require_begun(self) -> None:
        """See that the body begins: a head that is cut on the way looks like a shorter head, and then nothing comes.

        Raises
        ------
        Interrupted
            Nothing follows a head that doesn't say that nothing will.
        """
        if self.status in (204, 304) or self.headers.get("Content-Length", "").strip() == "0":
            return
        self._first = self._more()
        if not self._first and "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            raise Interrupted("the answer broke off in its head, or before its body", endpoint=self.url)

    def read(self, limit: int) -> bytes:
        """Read the body whole.

        Raises
        ------
        ServiceError
            It has more than `limit` octets.
        Interrupted
            It breaks off.
        """
        body = bytearray()
        for chunk in self.chunks():
            body += chunk
            if len(body) > limit:
                raise ServiceError(
                    f"{self._conversation.site.url}: the answer has more than {limit >> 20} MiB; ask for less at once",
                    status=self.status,
                )
        return bytes(body)

    def start_of_body(self, limit: int = MAX_ERROR_BODY) -> bytes:
        """Read at most `limit` octets of the body of an error; what can't be read is left out."""
        body = bytearray()
        with suppress(DicomlabError):
            for chunk in self.chunks():
                body += chunk
                if len(body) >= limit:
                    break
        return bytes(body[:limit])

    def refuse(self) -> NoReturn:
        """Raise what an error status means.

        Raises
        ------
        Refused
            401, 403, 406, 415.
        ServiceError
            Any other.
        """
        said = _said(self.start_of_body())
        warning = visible(self.headers.get("Warning", ""), SHOWN_ERROR)
        wants = visible(self.headers.get("WWW-Authenticate", ""), SHOWN_ERROR) if self.status == 401 else ""
        advice = _ADVICE.get(self.status, "the server failed" if self.status >= 500 else "")
        parts = (self.status_line, f"it says: {said}" if said else "", warning, f"it wants: {wants}" if wants else "")
        text = "; ".join(p for p in (*parts, advice) if p)
        if self.status in (401, 403, 406, 415):
            raise Refused(text, endpoint=self._conversation.site.url)
        raise ServiceError(f"{self._conversation.site.url}: {text}", status=self.status)

    def close(self) -> None:
        """Let the connection go."""
        self._response.close()


def _said(body: bytes) -> str:
    """The text of an error body, safe to print: tags of HTML taken out, 300 characters."""
    text = body[:8192].decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return visible(" ".join(text.split()), SHOWN_ERROR)


class Conversation:
    """The requests that one verb makes of one server.

    Use it as a context manager: it keeps connections open between requests and closes them at the end. `control`
    ends waits when it is cancelled.
    """

    def __init__(self, site: Site, control: Control | None = None) -> None:
        self.site = site
        self.control = control or Control()
        self.channel: Channel = open_channel("HTTP", "dicomlab", site.url, dissect, HttpReader)
        self._sockets: list[socket.socket] = []
        self._session = requests.Session()
        self._session.verify = site.verify_tls
        self._session.headers["User-Agent"] = "dicomlab"
        adapter = _Adapter(self)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()

    def shut(self) -> None:
        """Break off whatever is on the wire; never waits, so that a signal handler may call it."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def opened(self, connected: socket.socket) -> None:
        """Learn of a connection."""
        connected.settimeout(self.site.timeout_s)
        self._sockets = [one for one in self._sockets if one.fileno() >= 0] + [connected]

    def tap_sent(self, octets: bytes | memoryview) -> None:
        """Record what we say."""
        self.channel.tap("sent", octets)

    def tap_received(self, octets: bytes) -> None:
        """Record what the server says."""
        self.channel.tap("received", octets)

    @contextmanager
    def mapped(self) -> Iterator[None]:
        """Turn the exceptions of requests and urllib3 into those of our tree."""
        try:
            yield
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise translated(error, self.site) from error

    @contextmanager
    def request(
        self,
        method: str,
        path: str,
        *,
        accept: str,
        body: Iterable[bytes] | None = None,
        content_type: str = "",
        timeout_s: float | None = None,
    ) -> Iterator[Answer]:
        """Make one request; a body must be sized, and give its octets anew each time it is iterated.

        Statuses that say "later" are waited for and asked again; a GET follows redirects, without credentials where
        they lead to another origin.

        Raises
        ------
        Unreachable
            No connection.
        Interrupted
            The server went away, or did not answer within the time.
        """
        url = self.site.url + path if path.startswith("/") else path
        headers = {"Accept": accept, "Accept-Encoding": "identity" if "multipart" in accept else "gzip"}
        if content_type:
            headers["Content-Type"] = content_type
        tries = redirects = 0
        while True:
            auth = self.site.auth if _origin(url) == _origin(self.site.url) else None
            with self.mapped():
                response = self._session.request(
                    method, url, headers=headers, data=body, auth=auth, allow_redirects=False, stream=True,
                    timeout=(self.site.connect_timeout_s, timeout_s or self.site.timeout_s),
                )  # fmt: skip
            answer = Answer(self, response)
            tries += 1
            target = response.headers.get("Location", "")
            if answer.status in _MOVED and target and method in ("GET", "OPTIONS") and redirects < MAX_REDIRECTS:
                redirects += 1
                url = urljoin(url, target)
                if urlsplit(url).scheme not in ("http", "https"):
                    raise RemoteProtocolError(f"a redirect to {visible(url, 100)}", section=f"{_SECTION} §15.4")
                answer.close()
                continue
            if answer.status in _AGAIN and tries < _TRIES:
                wait_s = _wait(response.headers.get("Retry-After", ""), tries)
                self.channel.note(f"{answer.status_line}: asking again in {wait_s:.1f} s")
                answer.close()
                if self.control.wait(wait_s):
                    raise Interrupted("cancelled while waiting", endpoint=self.site.url)
                continue
            break
        try:
            if method == "GET":
                answer.require_begun()
            yield answer
        finally:
            answer.close()


def _wait(retry_after: str, tries: int) -> float:
    """Seconds until the next try: what the server asks for, at most half a minute."""
    wanted = float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after.strip()) else 0.25 * 2**tries
    return min(wanted, _LONGEST_WAIT_S)


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    port = {"http": 80, "https": 443}.get(parts.scheme) if parts.port is None else parts.port
    return parts.scheme, (parts.hostname or "").lower(), port


class _Adapter(HTTPAdapter):
    """Sends what requests prepares: taps the heads and the body, and knows every socket it opens."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        # one more try where no connection came, or a kept one had died; never of a POST that may have arrived
        once = Retry(total=2, connect=1, read=1, status=0, redirect=0, other=0, respect_retry_after_header=False)
        super().__init__(max_retries=once)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        opened = self._conversation.opened

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        tapped = self._conversation
        if tapped.channel.trace is not None:
            where = urlsplit(request.url or "")
            first = f"{request.method} {request.path_url} HTTP/1.1"
            tapped.tap_sent(_head(first, {"Host": where.netloc, **request.headers}.items()))
            if request.body is not None:
                request.body = _TappedBody(request.body, tapped)  # type: ignore[assignment]  # any iterable will do
        response = super().send(request, *args, **options)
        if tapped.channel.trace is not None:
            first = f"HTTP/1.1 {response.status_code} {response.reason or ''}".rstrip()
            tapped.tap_received(_head(first, response.headers.items()))
        return response


class _TappedBody:
    """A body whose octets are tapped as they are sent."""

    def __init__(self, body: Any, conversation: Conversation) -> None:
        self._body, self._conversation = body, conversation

    def __len__(self) -> int:
        return len(self._body)

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._body:
            self._conversation.tap_sent(chunk)
            yield chunk


def _head(first: str, headers: Iterable[tuple[Any, Any]]) -> bytes:
    """The head of a message as the trace keeps it: credentials blanked here, before anything is stored."""
    lines = (f"{name}: {'•••' if str(name).lower() in _SECRET else _text(value)}\r\n" for name, value in headers)
    return f"{first}\r\n{''.join(lines)}\r\n".encode()


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


# --- errors ----------------------------------------------------------------------------------------------------------

_USAGE = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.URLRequired,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
    urllib3.exceptions.LocationValueError,
)
_TLS = (requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError)
_NO_CONNECTION = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    ConnectionRefusedError,
    socket.gaierror,
)
_BROKEN_BODY = (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)
_BAD = (
    requests.exceptions.InvalidJSONError,
    requests.exceptions.TooManyRedirects,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.ResponseNotChunked,
    urllib3.exceptions.BodyNotHttplibCompatible,
    urllib3.exceptions.ResponseError,
    urllib3.exceptions.HeaderParsingError,
)
_NO_HTTP = (client.BadStatusLine, client.LineTooLong, client.UnknownProtocol)
_SLOW = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


def translated(error: Exception, site: Site) -> DicomlabError:
    """Give the error of our tree that an exception of requests, urllib3 or the system means here."""
    causes = tuple(_causes(error))

    def among(kinds: tuple[type[BaseException], ...]) -> bool:
        return any(isinstance(one, kinds) for one in causes)

    if among(_USAGE):
        return UsageError(f"{site.url}: this is no URL that can be asked: {visible(str(error), 200)}")
    if among(_TLS):
        return Unreachable(
            f"no secure connection: {visible(str(causes[-1]), 200)}; is the certificate of an own authority?"
            " verify_tls=\"path/to/ca.pem\" trusts it",
            endpoint=site.url,
        )  # fmt: skip
    if among(_NO_CONNECTION):
        return Unreachable(
            f"no connection ({visible(str(causes[-1]), 160)}); is the server running, and are host and port right?",
            endpoint=site.url,
        )
    if among(_SLOW):
        return Interrupted(
            f"nothing came for {site.timeout_s:g} s; a slow server needs WebEndpoint(..., timeout_s=)",
            endpoint=site.url,
        )
    if among(_BROKEN_BODY):
        return RemoteProtocolError("the body is not compressed as its head says", section=f"{_SECTION} §8.4")
    cut = isinstance(causes[-1], client.BadStatusLine) and "HTTP/".startswith(str(causes[-1])[:5])
    if among(_NO_HTTP) and not cut and not among((client.RemoteDisconnected,)):
        return RemoteProtocolError(f"this is no HTTP: {visible(str(causes[-1]), 100)}", section="RFC 9112 §4")
    if among(_BAD):
        return RemoteProtocolError(f"the answer is broken: {visible(str(error), 200)}", section=_SECTION)
    return Interrupted(f"the connection broke off ({visible(str(causes[-1]), 160)})", endpoint=site.url)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it wraps, outermost first."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(seen) < 20:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [getattr(one, "reason", None), *one.args, one.__cause__]
    return iter(seen)
