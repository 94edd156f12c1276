"""The only door to websockets: a notification connection, its errors in our tree, its octets in the trace.

The library speaks RFC 6455 without I/O; the socket, its deadlines and its end are ours, as for HTTP.

Source
------
PS3.18 §8.10.4 (open notification connection), §8.10.5 (send event report); RFC 6455.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from contextlib import suppress
from urllib.parse import quote, urlsplit

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from dicomlab.errors import DicomlabError, Interrupted, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.reading import Direction
from dicomlab.model.summary import visible
from dicomlab.model.trace import open_channel
from dicomlab.model.workitem import EventReport
from dicomlab.web.addresses import same_origin
from dicomlab.web.auth import headers_of
from dicomlab.web.discretion import shown_answer, shown_request
from dicomlab.web.event_reports import event_from_json
from dicomlab.web.failures import translated
from dicomlab.web.frames import WebSocketReader, dissect_frames
from dicomlab.web.http import Site

MAX_MESSAGE_OCTETS = 4 << 20
MAX_WAITING = 10_000
"""Events that are kept here while nobody takes them; then the server is left waiting."""
_READ_OCTETS = 1 << 16
_SECTION = "RFC 6455"


class WebSocketChannel:
    """The events of one receiver as the server sends them. Satisfies ``EventChannel``.

    Parameters
    ----------
    site : Site
    receiver : str
        The AE title that has subscribed.
    url : str
        Where the server says that its events are; ``""``: where the standard puts them.

    Raises
    ------
    Unreachable, Refused, Interrupted, RemoteProtocolError, ServiceError
        No connection, or no notification connection.
    """

    def __init__(self, site: Site, receiver: str, url: str = "") -> None:
        if site.adapter is not None:
            raise UsageError("events need a connection: an archive without a port has them as archive.workitems.events")
        self._site, self._receiver = site, receiver
        self._url = _channel_url(site.url, receiver, url)
        self._ready: deque[EventReport | RemoteProtocolError] = deque()
        self._message = bytearray()
        """What has come of a message in several frames."""
        self._closed = False
        self._lock = threading.Lock()
        """Held while the protocol's state changes: by whoever reads, and by whoever closes."""
        self._trace = open_channel(
            "WebSocket", "dicomlab", self._url, dissect_frames, WebSocketReader, fictional=site.fictional
        )
        self._socket, self._protocol = self._opened()
        self._heard = time.monotonic()
        self._asked = False

    # --- opening -----------------------------------------------------------------------------------------------------

    def _opened(self) -> tuple[socket.socket, ClientProtocol]:
        for renewed in (False, True):
            try:
                connected = self._connect()
            except OSError as error:
                raise translated(error, self._url, self._site.connect_timeout_s) from error
            try:
                protocol, response = self._shake_hands(connected)
                status = response.status_code
                renew = getattr(self._site.auth, "renew", None)
                if status == 401 and not renewed and renew is not None and renew():
                    self._trace.note("the server no longer takes the token; asking with a new one")
                    connected.close()
                    continue
                if protocol.handshake_exc is not None:
                    raise self._declined(response, protocol.handshake_exc)
            except BaseException:
                connected.close()
                raise
            return connected, protocol
        raise AssertionError("unreachable")

    def _connect(self) -> socket.socket:
        where = urlsplit(self._url)
        port = where.port or (443 if where.scheme == "wss" else 80)
        connected = socket.create_connection((where.hostname or "", port), self._site.connect_timeout_s)
        if where.scheme == "wss":
            try:
                connected = _context(self._site).wrap_socket(connected, server_hostname=where.hostname)
            except BaseException:
                connected.close()
                raise
        connected.settimeout(self._site.timeout_s)
        return connected

    def _shake_hands(self, connected: socket.socket) -> tuple[ClientProtocol, Response]:
        protocol = ClientProtocol(parse_uri(self._url), max_size=MAX_MESSAGE_OCTETS)
        request = protocol.connect()
        request.headers["User-Agent"] = "dicomlab"
        if "Authorization" in request.headers:
            del request.headers["Authorization"]
        asked = self._url.replace("ws", "http", 1)
        if self._site.auth is not None and same_origin(asked, self._site.url):  # nobody else learns who asks
            for name, value in headers_of(self._site.auth, asked).items():
                request.headers[name] = value
        protocol.send_request(request)
        self._tap("sent", shown_request("GET", request.path, request.headers.raw_items()))
        deadline = time.monotonic() + self._site.timeout_s
        try:
            connected.sendall(b"".join(protocol.data_to_send()))
            events: list[object] = []
            while not events and protocol.handshake_exc is None:
                connected.settimeout(max(0.001, deadline - time.monotonic()))
                octets = connected.recv(_READ_OCTETS)
                protocol.receive_data(octets) if octets else protocol.receive_eof()
                events += protocol.events_received()
        except OSError as error:
            raise translated(error, self._url, self._site.timeout_s) from error
        response = next((one for one in events if isinstance(one, Response)), None)
        if response is None:
            why = visible(str(protocol.handshake_exc), 200)
            raise RemoteProtocolError(f"{self._url}: no answer to the opening handshake: {why}", section=_SECTION)
        first = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
        self._tap("received", shown_answer(first, response.headers.raw_items()))
        self._take(protocol, [one for one in events if isinstance(one, Frame)])
        return protocol, response

    def _declined(self, response: Response, error: Exception) -> DicomlabError:
        status = response.status_code
        line = f"{status} {visible(response.reason_phrase, 80)}"
        if status in (401, 403):
            return Refused(f"{line}: no notification connection for {self._receiver}", endpoint=self._url)
        if status == 101:
            return RemoteProtocolError(
                f"{self._url}: the opening handshake is broken: {visible(str(error), 200)}", section=f"{_SECTION} §4.1"
            )
        return ServiceError(
            f"{self._url}: {line}: no notification connection; does the server have the Worklist Service?",
            status=status,
        )

    # --- events ------------------------------------------------------------------------------------------------------

    def next(self, timeout_s: float | None) -> EventReport | None:
        """Wait for the next event.

        Raises
        ------
        Interrupted
            The connection broke off, or the server ended it: what it could not deliver it may keep until the next.
        RemoteProtocolError
            A message that is no event report; the next call goes on with those after it.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ready:
            left = None if deadline is None else deadline - time.monotonic()
            if self._closed or (left is not None and left <= 0):
                return None
            self._read(left)
        found = self._ready.popleft()
        if isinstance(found, RemoteProtocolError):
            raise found
        return found

    def _read(self, left_s: float | None) -> None:
        """Read once; a server that is silent for long is asked whether it is still there."""
        silent_s = time.monotonic() - self._heard
        patience_s = self._site.timeout_s * (2 if self._asked else 1) - silent_s
        if patience_s <= 0:
            if self._asked:
                raise Interrupted(
                    f"nothing came for {2 * self._site.timeout_s:g} s, no pong either", endpoint=self._url
                )
            self._asked = True
            with self._lock:
                self._protocol.send_ping(b"dicomlab")
                self._flush()
            return
        self._socket.settimeout(max(0.001, patience_s if left_s is None else min(left_s, patience_s)))
        try:
            octets = self._socket.recv(_READ_OCTETS)
        except TimeoutError:
            return
        except OSError as error:
            if self._closed:
                return
            raise translated(error, self._url, self._site.timeout_s) from error
        if self._closed:
            return
        self._heard, self._asked = time.monotonic(), False
        with self._lock:
            if octets:
                self._tap("received", octets)
                self._protocol.receive_data(octets)
            else:
                self._protocol.receive_eof()
            self._take(self._protocol, [one for one in self._protocol.events_received() if isinstance(one, Frame)])
            self._flush()
        if self._protocol.state is not State.OPEN and not self._ready:
            raise self._ended()

    def _take(self, protocol: ClientProtocol, frames: list[Frame]) -> None:
        for frame in frames:
            if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                continue
            self._message += frame.data
            if len(self._message) > MAX_MESSAGE_OCTETS or len(self._ready) >= MAX_WAITING:
                protocol.fail(1009, "too much")
                raise RemoteProtocolError(
                    f"an event of more than {MAX_MESSAGE_OCTETS >> 20} MiB, or too many", section=_SECTION
                )
            if frame.fin:
                message, self._message = bytes(self._message), bytearray()
                try:
                    self._ready.append(event_from_json(message, self._receiver))
                except RemoteProtocolError as error:  # told in its turn: what came before and after it is not lost
                    self._ready.append(error)

    def _tap(self, direction: Direction, octets: bytes) -> None:
        self._trace.tap(direction, octets)

    def _ended(self) -> DicomlabError:
        last = self._protocol.close_rcvd
        said = visible(f"{last.code} {last.reason}".strip(), 200) if last is not None else "without a word"
        return Interrupted(f"the server ended the notification connection ({said})", endpoint=self._url)

    def _flush(self) -> None:
        for octets in self._protocol.data_to_send():
            if octets:
                self._tap("sent", octets)
                with suppress(OSError):
                    self._socket.sendall(octets)

    def close(self) -> None:
        """Let it go; may be called twice, and from another thread, whose ``next`` then ends."""
        if self._closed:
            return
        self._closed = True
        with self._lock:
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                self._flush()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _channel_url(base: str, receiver: str, given: str) -> str:
    """Where to connect: what the server said, if that is a place at all, else where the standard puts it."""
    parts = urlsplit(given)
    if parts.scheme in ("ws", "wss") and parts.hostname and given.isascii() and given.isprintable():
        if base.startswith("https") and parts.scheme == "ws":
            raise Refused(f"{visible(given, 100)} would go in the clear where {base} does not", endpoint=base)
        return given
    path = parts.path if given.startswith("/") else ""
    root = "ws" + base.removeprefix("http")
    if path:
        where = urlsplit(root)
        return f"{where.scheme}://{where.netloc}{path}"
    return f"{root}/subscribers/{quote(receiver, safe='')}"


def _context(site: Site) -> ssl.SSLContext:
    if isinstance(site.verify_tls, str):
        context = ssl.create_default_context(cafile=site.verify_tls)
    else:
        context = ssl.create_default_context()
        if not site.verify_tls:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
    if site.certificate is not None:
        pair = (site.certificate,) if isinstance(site.certificate, str) else site.certificate
        context.load_cert_chain(*pair)
    return context
