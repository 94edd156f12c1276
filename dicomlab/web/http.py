"""The only door to requests: one conversation with a web server, its errors in our tree, its octets in the trace."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import BaseAdapter, HTTPAdapter
from requests.auth import AuthBase
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.retry import Retry

from dicomlab.errors import DicomlabError, Interrupted, Refused, ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.summary import visible
from dicomlab.model.trace import Channel, open_channel
from dicomlab.web.addresses import followed, same_origin, without_user
from dicomlab.web.auth import Nobody
from dicomlab.web.discretion import shown_answer, shown_request
from dicomlab.web.dissect import dissect
from dicomlab.web.failures import mapped
from dicomlab.web.fields import HttpReader
from dicomlab.web.media_types import MediaType, parse_content_type
from dicomlab.web.pace import Paced

CHUNK_OCTETS = 1 << 18
MAX_JSON = 256 << 20
MAX_ERROR_BODY = 64 << 10
SHOWN_ERROR = 300
MAX_REDIRECTS = 5
_LONGEST_WAIT_S = 30.0
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_REFUSED, _UNCERTAIN = frozenset({429, 503}), frozenset({502, 504})
"""What says that nothing was done, and what a gateway says that doesn't know what was done behind it."""
_RETRIES = Retry(
    total=5, connect=3, read=2, status=3, redirect=0, other=0, allowed_methods=None,
    status_forcelist=_REFUSED, backoff_factor=0.5, backoff_jitter=0.5, backoff_max=_LONGEST_WAIT_S,
    raise_on_status=False,
)  # fmt: skip
"""Whether to ask again, and when: it only decides; the waiting is ours, so that it can be cancelled."""
_MOVED = frozenset({301, 302, 303, 307, 308})
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_NOT_SENT = (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError)

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
    certificate: str | tuple[str, str] | None = None
    """Our own certificate, for servers that want one: a file with both, or certificate and key."""
    adapter: BaseAdapter | None = None
    """What carries requests instead of a connection: a server inside this process."""
    fictional: bool = False
    """Whether its patients are known to be synthetic, so that a trace may show them."""

    def __repr__(self) -> str:
        return f"Site({self.url!r})"

    def __reduce__(self) -> Any:
        """Pickled without credentials: those are never stored. Where it is used again they must be given again."""
        return _site, (self.url, self.timeout_s, self.connect_timeout_s, self.verify_tls, self.fictional)

    def __deepcopy__(self, memo: Any) -> Self:
        return self  # nothing of it changes


def _site(url: str, timeout_s: float, connect_timeout_s: float, verify_tls: bool | str, fictional: bool) -> Site:
    return Site(url, None, timeout_s, connect_timeout_s, verify_tls, fictional=fictional)


class Answer:
    """A response whose body is read as it comes."""

    def __init__(self, conversation: Conversation, response: requests.Response) -> None:
        self._conversation = conversation
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        before = getattr(getattr(response.raw, "retries", None), "history", ())
        self.repeated = any(not isinstance(one.error, _NOT_SENT) for one in before)
        """Whether it was asked before, and nobody knows what came of that."""
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

    def chunks_into(self, room: Callable[[], memoryview]) -> Iterator[int]:
        """Read the body as it comes into what `room` gives each time anew; give how many octets came.

        Raises
        ------
        Interrupted
            As for :meth:`chunks`.
        """
        straight = self._straight()
        while True:
            into = room()
            if self._first or straight is None:
                first, self._first = self._first, b""
                chunk = (first or self._more())[: len(into)]
                if len(first) > len(chunk):
                    self._first = first[len(chunk) :]
                count = len(chunk)
                into[:count] = chunk
            else:
                with self._conversation.mapped():
                    count = straight.read_into(into)
                if count:
                    self._conversation.tap_received(into[:count])
                else:
                    self._response.raw.release_conn()
            if not count:
                return
            yield count

    def _straight(self) -> Paced | None:
        """The connection's own reader, where nothing stands between the socket and the body: no chunks, no coding."""
        if {"transfer-encoding", "content-encoding"} & {name.lower() for name in self.headers}:
            return None
        beneath = getattr(self._response.raw, "_original_response", None)
        return beneath if isinstance(beneath, Paced) else None

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
        self.channel: Channel = open_channel(
            "HTTP", "dicomlab", site.url, dissect, HttpReader, fictional=site.fictional
        )
        self._sockets: list[socket.socket] = []
        self._adapter = _Adapter(self)
        self._session = self._new_session()
        self._session.cert = site.certificate
        self._elsewhere: requests.Session | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.close()
        if self._elsewhere is not None:
            self._elsewhere.close()

    def _new_session(self) -> requests.Session:
        session = _Session()
        session.verify = self.site.verify_tls
        session.headers["User-Agent"] = "dicomlab"
        session.mount("http://", self._adapter)
        session.mount("https://", self._adapter)
        return session

    def _session_for(self, url: str) -> tuple[requests.Session, AuthBase | None]:
        """Who asks there: with our credentials, certificate and cookies only at the origin that they are for.

        Elsewhere nobody asks, not even with what ``~/.netrc`` has for that host: it was the server who chose it.
        """
        if same_origin(url, self.site.url):
            return self._session, self.site.auth
        self._elsewhere = self._elsewhere or self._new_session()
        return self._elsewhere, Nobody()

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

    def tap_received(self, octets: bytes | memoryview) -> None:
        """Record what the server says."""
        self.channel.tap("received", octets)

    def mapped(self) -> AbstractContextManager[None]:
        """Turn the exceptions of requests and urllib3 into those of our tree."""
        return mapped(self.site.url, self.site.timeout_s)

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
        repeatable: bool | None = None,
    ) -> Iterator[Answer]:
        """Make one request; a body gives its octets anew each time it is iterated.

        An answer that says "later" (429, 503) is waited for and asked again. One that leaves open whether anything was
        done (502, 504) is so only where doing it twice does it once: `repeatable`; None: as RFC 9110 §9.2.2 has it of
        the method. A GET follows redirects, without credentials where they lead to another origin. Where the server no
        longer takes a token, a new one is had once.

        Raises
        ------
        Unreachable
            No connection.
        Interrupted
            The server went away, did not answer within the time, or answers in drops.
        """
        url = self.site.url + path if path.startswith("/") else without_user(path)
        headers = {"Accept": accept, "Accept-Encoding": "identity" if "multipart" in accept else "gzip"}
        if content_type:
            headers["Content-Type"] = content_type
        again = method in _REPEATABLE if repeatable is None else repeatable
        retries = _RETRIES.new(status_forcelist=_REFUSED | (_UNCERTAIN if again else frozenset()))
        redirects, renewed, uncertain = 0, False, False
        # requests lets the environment's authorities win over the session's; what we were told goes before
        trusted = None if self.site.verify_tls is True else self.site.verify_tls
        while True:
            session, auth = self._session_for(url)
            with self.mapped():
                response = session.request(
                    method, url, headers=headers, data=body, auth=auth, allow_redirects=False, stream=True,
                    timeout=(self.site.connect_timeout_s, timeout_s or self.site.timeout_s), verify=trusted,
                )  # fmt: skip
            answer = Answer(self, response)
            answer.repeated |= uncertain
            target = response.headers.get("Location", "")
            if answer.status in _MOVED and target and method in _READING and redirects < MAX_REDIRECTS:
                redirects += 1
                answer.close()
                url = followed(url, target)
                continue
            if answer.status == 401 and not renewed and (renew := getattr(auth, "renew", None)) is not None:
                renewed = True
                answer.close()
                if renew():
                    self.channel.note("the server no longer takes the token; asking with a new one")
                    continue
            if later := self._later(retries, method, response):
                retries, wait_s = later
                uncertain |= answer.status in _UNCERTAIN
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

    def _later(self, retries: Retry, method: str, response: requests.Response) -> tuple[Retry, float] | None:
        """Whether to ask again after this answer: what is left of our patience, and seconds until then."""
        if not retries.is_retry(method, response.status_code, "Retry-After" in response.headers):
            return None
        try:
            left = retries.increment(method, response.url, response=response.raw)
            wait_s = left.get_retry_after(response.raw)
        except urllib3.exceptions.MaxRetryError:
            return None
        except urllib3.exceptions.InvalidHeader:  # a Retry-After that is neither a number nor a date
            wait_s = None
        return left, min(left.get_backoff_time() if wait_s is None else wait_s, _LONGEST_WAIT_S)


class _Session(requests.Session):
    """A session that leaves redirects to us, and does not look into what they say."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """There is none."""


class _Adapter(HTTPAdapter):
    """Sends what requests prepares: taps the heads and the body, and knows every socket it opens."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        # one more try where no connection came, or a kept one had died; never of what may have changed something
        once = Retry(
            total=2, connect=1, read=1, status=0, redirect=0, other=0, allowed_methods=_READING | {"DELETE"},
            respect_retry_after_header=False,
        )  # fmt: skip
        super().__init__(max_retries=once)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, **options)
        opened, timeout_s = self._conversation.opened, self._conversation.site.timeout_s

        class Here(Paced):
            patience_s = timeout_s

        class Plain(HTTPConnection):
            response_class = Here

            def connect(self) -> None:
                super().connect()
                opened(self.sock)

        class Secure(HTTPSConnection):
            response_class = Here

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
            headers = {"Host": where.netloc.rpartition("@")[2], **request.headers}
            tapped.tap_sent(shown_request(str(request.method), request.path_url, headers.items()))
            if request.body is not None:
                request.body = _TappedBody(request.body, tapped)  # type: ignore[assignment]  # any iterable will do
        instead = tapped.site.adapter
        response = (instead.send if instead is not None else super().send)(request, *args, **options)
        if tapped.channel.trace is not None:
            first = f"HTTP/1.1 {response.status_code} {response.reason or ''}".rstrip()
            tapped.tap_received(shown_answer(first, response.headers.items()))
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
