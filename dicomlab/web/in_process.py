"""A server without a port: an adapter of requests that hands each request to an ASGI application in this process.

::

    session = requests.Session()
    session.mount("http://archive.invalid", InProcessAdapter(app(holdings)))
    session.get("http://archive.invalid/dicom-web/studies")

Streaming works both ways, and whatever the application does wrong to its answer (too short, broken off) is seen as it
would be over a socket.
"""

from __future__ import annotations

import asyncio
import io
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

import requests
from anyio import to_thread
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse
from urllib3.exceptions import ProtocolError, ReadTimeoutError

Message = MutableMapping[str, Any]
Application = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]

_AHEAD = 8
"""How many pieces of an answer are made before the reader takes them."""
_PIECE_OCTETS = 1 << 18


class InProcessAdapter(BaseAdapter):
    """Answers the requests of a session from an ASGI application; nothing leaves the process.

    The application runs on an event loop of its own, in a thread that starts with the first request and ends with
    ``close``; so it can be used where a loop is running already.

    Parameters
    ----------
    application : ASGI application

    Source
    ------
    ASGI 3.0, HTTP & WebSocket specification 2.4.
    """

    def __init__(self, application: Application) -> None:
        super().__init__()
        self._application = application
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stop = asyncio.Event()
        self._build = HTTPAdapter().build_response

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
                name = "dicomlab in-process server"
                self._thread = threading.Thread(target=_run, args=(self._loop, self._stop), name=name, daemon=True)
                self._thread.start()
            return self._loop

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        """Hand one request over and wait for the head of its answer."""
        patience_s: Any = options.get("timeout")
        patience_s = patience_s[1] if isinstance(patience_s, tuple) else patience_s
        exchange = _Exchange(request, self._running(), patience_s)
        exchange.start(self._application)
        try:
            status, headers = exchange.head()
        except ReadTimeoutError as error:
            raise requests.exceptions.ReadTimeout(error, request=request) from error
        except ProtocolError as error:
            raise requests.exceptions.ConnectionError(error, request=request) from error
        raw = HTTPResponse(
            body=io.BufferedReader(_Body(exchange), _PIECE_OCTETS), headers=headers, status=status,
            reason=requests.status_codes._codes.get(status, ("",))[0].replace("_", " ").title(),  # type: ignore[attr-defined]
            preload_content=False, decode_content=False, request_method=request.method,
        )  # fmt: skip
        response = self._build(request, raw)
        if not options.get("stream"):
            _ = response.content
        return response

    def close(self) -> None:
        """End the thread; a later request starts another."""
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(self._stop.set)
            thread.join(10)


async def _until(stop: asyncio.Event) -> None:
    """Stand by while requests come in as tasks of their own; cancel what runs at the end."""
    await stop.wait()
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)


def _run(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    try:
        loop.run_until_complete(_until(stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


class _Exchange:
    """One request and its answer, between the caller's thread and the loop's."""

    def __init__(
        self, request: requests.PreparedRequest, loop: asyncio.AbstractEventLoop, patience_s: float | None
    ) -> None:
        self._request, self._loop, self._patience_s = request, loop, patience_s
        self._head: Future[tuple[int, list[tuple[str, str]]]] = Future()
        self._pieces: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._gone = asyncio.Event()
        self._sent: Iterator[bytes] | None = _sent(request.body)
        self._task: Future[None] | None = None
        self._ended = self._complete = False

    def start(self, application: Application) -> None:
        self._task = asyncio.run_coroutine_threadsafe(self._carry_out(application), self._loop)

    # --- in the caller's thread

    def head(self) -> tuple[int, Any]:
        from urllib3 import HTTPHeaderDict

        try:
            status, headers = self._head.result(self._patience_s)
        except TimeoutError:
            self.abandon()
            raise ReadTimeoutError(_NoPool, self._request.url or "", "no answer in time") from None
        return status, HTTPHeaderDict(headers)

    def next(self) -> bytes:
        """The next octets of the body; none at its end."""
        if self._ended:
            return b""
        try:
            piece = self._pieces.get(timeout=self._patience_s)
        except queue.Empty:
            self.abandon()
            raise ReadTimeoutError(_NoPool, self._request.url or "", "the answer stands still") from None
        if isinstance(piece, bytes):
            self._loop.call_soon_threadsafe(self._room.release)
            return piece
        self._ended = True
        if piece is not None:
            raise ProtocolError(f"Connection broken: {piece!r}", piece)
        return b""

    def abandon(self) -> None:
        """The reader has gone."""
        self._ended = True
        with suppress(RuntimeError):  # the loop has ended before
            self._loop.call_soon_threadsafe(self._gone.set)

    # --- on the loop

    async def _carry_out(self, application: Application) -> None:
        leaving = asyncio.ensure_future(self._gone.wait())
        working = asyncio.ensure_future(self._work(application))
        try:
            await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                await asyncio.wait({working}, timeout=1)  # it learns that the client has gone, and may end by itself
        finally:
            for task in (leaving, working):
                task.cancel()
            await asyncio.gather(leaving, working, return_exceptions=True)

    async def _work(self, application: Application) -> None:
        try:
            await application(self._scope(), self._receive, self._send)
        except BaseException as error:
            broken = ProtocolError(f"Connection aborted: {error!r}", error)
            if not self._head.done():
                self._head.set_exception(broken)
            if not self._complete:
                self._pieces.put(broken)
            raise
        finally:
            if not self._head.done():
                self._head.set_exception(ProtocolError("the application ended without an answer"))
            self._pieces.put(None)

    def _scope(self) -> MutableMapping[str, Any]:
        parts = urlsplit(self._request.url or "")
        headers = [(str(n).lower().encode(), _octets(v)) for n, v in self._request.headers.items()]
        if not any(name == b"host" for name, _ in headers):
            headers.insert(0, (b"host", parts.netloc.encode()))
        return {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1",
            "method": self._request.method or "GET", "scheme": parts.scheme, "path": unquote(parts.path or "/"),
            "raw_path": parts.path.encode(), "query_string": parts.query.encode(), "root_path": "",
            "headers": headers, "client": ("in-process", 0), "server": (parts.hostname or "", parts.port),
        }  # fmt: skip

    async def _receive(self) -> Message:
        if self._sent is None:
            await self._gone.wait()
            return {"type": "http.disconnect"}
        try:
            chunk = await to_thread.run_sync(next, self._sent, None)
        except Exception as error:  # noqa: BLE001  (the caller's own body failed: the request breaks off)
            self._sent = None
            if not self._head.done():
                self._head.set_exception(error)
            return {"type": "http.disconnect"}
        if chunk is None:
            self._sent = None
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": chunk, "more_body": True}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            pairs = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", [])]
            if not self._head.done():
                self._head.set_result((message["status"], pairs))
        elif message["type"] == "http.response.body":
            self._complete = not message.get("more_body", False)
            body = bytes(message.get("body", b""))
            if body and self._request.method != "HEAD":
                await self._room.acquire()
                self._pieces.put(body)


class _Body(io.RawIOBase):
    """The body of an answer as a file."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange, self._rest = exchange, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        if not self._rest:
            self._rest = memoryview(self._exchange.next())
        count = min(len(into), len(self._rest))
        into[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._exchange.abandon()
        super().close()


def _sent(body: Any) -> Iterator[bytes]:
    """The body of a request, piece by piece."""
    if body is None:
        return iter(())
    if isinstance(body, str):
        body = body.encode()
    if isinstance(body, bytes | bytearray | memoryview):
        octets = bytes(body)
        return (octets[at : at + _PIECE_OCTETS] for at in range(0, len(octets), _PIECE_OCTETS))
    if hasattr(body, "read"):
        return iter(lambda: body.read(_PIECE_OCTETS), b"")
    return iter(body)


def _octets(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("latin-1")


_NoPool: Any = None
"""urllib3's time-outs name the pool that they happened in; there is none."""
