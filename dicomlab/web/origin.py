"""The embedded origin server: the Studies Service (PS3.18 §10) over whatever holds instances."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Self

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from dicomlab.errors import DicomlabError, RemoteProtocolError, Unreachable
from dicomlab.model.protocols import Held, Holdings
from dicomlab.web.json_model import row_to_json
from dicomlab.web.media_types import (
    DICOM,
    DICOM_JSON,
    OCTETS,
    RELATED,
    MediaType,
    multipart_of,
    parse_accept,
    parse_content_type,
)
from dicomlab.web.multipart import closing, new_boundary, part_head
from dicomlab.web.receive import Receiver
from dicomlab.web.rendition import (
    NotHere,
    Piece,
    bulk_pieces,
    frame_pieces,
    instance_piece,
    metadata,
    syntax_for,
)
from dicomlab.web.resources import Resource, parse_search
from dicomlab.web.store_answer import OUT_OF_RESOURCES, build_store_answer

ROOT = "/dicom-web"
MAX_ROWS = 10_000
"""Rows of one answer to a search; who wants more pages."""
MAX_REQUEST = 4 << 30
MAX_CONNECTIONS = 64
IDLE_S = 60.0
_BLOCK = 1 << 19
_LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Web pages that may read answers: those served by this machine. A page from elsewhere must not read patients."""

_CAPABILITIES = """<?xml version="1.0" encoding="UTF-8"?>
<application xmlns="http://wadl.dev.java.net/2009/02">
<resources base="{base}">
<resource path="studies"><method name="GET"/><method name="POST"/></resource>
<resource path="studies/{{study}}"><method name="GET"/><method name="POST"/></resource>
<resource path="studies/{{study}}/metadata"><method name="GET"/></resource>
<resource path="studies/{{study}}/instances"><method name="GET"/></resource>
<resource path="studies/{{study}}/series"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}/metadata"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}/instances"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}/instances/{{sop}}"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}/instances/{{sop}}/metadata"><method name="GET"/></resource>
<resource path="studies/{{study}}/series/{{series}}/instances/{{sop}}/frames/{{list}}"><method name="GET"/></resource>
<resource path="series"><method name="GET"/></resource>
<resource path="instances"><method name="GET"/></resource>
</resources>
</application>
"""


class _Problem(Exception):
    """An answer other than success, and the sentence that explains it."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


def _json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(value), status, headers, media_type=DICOM_JSON)


class _Origin:
    """Answers the requests of one application."""

    def __init__(self, holdings: Holdings, max_request: int) -> None:
        self._holdings, self._max_request = holdings, max_request

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except _Problem as problem:
            body = msgspec.json.encode({"error": problem.sentence})
            return Response(body, problem.status, media_type="application/json")
        except DicomlabError as error:
            return Response(msgspec.json.encode({"error": str(error)}), 500, media_type="application/json")

    async def _answer(self, request: Request) -> Response:
        path = request.url.path.removeprefix(ROOT)
        base = _base_url(request)
        if request.method == "OPTIONS":
            text = _CAPABILITIES.format(base=base)
            return Response(text, 200, {"Allow": "GET, POST, OPTIONS"}, media_type="application/vnd.sun.wadl+xml")
        try:
            resource = Resource.parse(path)
        except RemoteProtocolError as error:
            raise _Problem(404, str(error)) from error
        if request.method == "POST":
            study = resource.level == "study" and resource.kind in ("search", "retrieve")
            if not study:
                raise _Problem(405, "instances are stored to /studies or /studies/{study} (PS3.18 §10.5)")
            return await self._store(request, base, resource)
        ranges = parse_accept(request.query_params.get("accept") or request.headers.get("accept", ""))
        if resource.kind == "search":
            return await run_in_threadpool(self._search, resource, request.url.query, ranges, base)
        return await run_in_threadpool(self._retrieve, resource, ranges, base)

    # --- search ------------------------------------------------------------------------------------------------------

    def _search(self, resource: Resource, text: str, ranges: Sequence[MediaType], base: str) -> Response:
        _require_json(ranges)
        try:
            search = parse_search(resource, text)
        except RemoteProtocolError as error:
            raise _Problem(400, str(error)) from error
        most = MAX_ROWS if search.limit is None else min(search.limit, MAX_ROWS)
        found = list(islice(self._holdings.search(search.query), search.offset, search.offset + most + 1))
        warnings = []
        if len(found) > most:
            warnings.append('299 dicomlab "There are additional results that can be requested"')
        if search.fuzzy:
            warnings.append(
                '299 dicomlab "The fuzzymatching parameter is not supported. Only literal matching has been performed."'
            )
        headers = {"Warning": ", ".join(warnings)} if warnings else {}
        rows = [_row(row_to_json(search.query.columns, match), resource, base) for match in found[:most]]
        return _json(rows, 200, headers) if rows else Response(status_code=204, headers=headers)

    # --- retrieve ----------------------------------------------------------------------------------------------------

    def _held(self, resource: Resource) -> list[Held]:
        uid = resource.instance or resource.series or resource.study
        held = [
            one
            for one in self._holdings.select(resource.level, [uid])
            if one.study_instance_uid == resource.study
            and resource.series in ("", one.series_instance_uid)
            and resource.instance in ("", one.sop_instance_uid)
        ]
        if not held:
            raise _Problem(404, f"no such {resource.level} is held here: {uid}")
        return held

    def _retrieve(self, resource: Resource, ranges: Sequence[MediaType], base: str) -> Response:
        held = self._held(resource)
        if resource.kind == "metadata":
            _require_json(ranges)
            return StreamingResponse(_metadata_array(held, base), media_type=DICOM_JSON)
        if resource.kind == "retrieve":
            return _instances(held, ranges)
        try:
            if resource.kind == "frames":
                pieces = frame_pieces(held[0], resource.frames, ranges)
            else:
                pieces = bulk_pieces(held[0], resource.element, ranges)
        except NotHere as error:
            raise _Problem(404, str(error)) from error
        except RemoteProtocolError as error:
            raise _Problem(406, f"stored in {held[0].transfer_syntax_uid}; {error}") from error
        if not pieces:
            raise _Problem(406, f"stored in {held[0].transfer_syntax_uid}: ask for that, or for transfer-syntax=*")
        return _answer_with(pieces, ranges, OCTETS)

    # --- store -------------------------------------------------------------------------------------------------------

    async def _store(self, request: Request, base: str, resource: Resource) -> Response:
        try:
            kind = parse_content_type(request.headers.get("content-type", ""))
            if kind.name not in (RELATED, DICOM) or (kind.name == RELATED and kind.part not in (DICOM, "*/*")):
                raise _Problem(415, f"{kind.name} of {kind.part} is not taken: send {multipart_of(DICOM)}")
            client = request.client.host if request.client else ""
            receiver = Receiver(kind, self._holdings.sink(client), base, resource.study)
        except RemoteProtocolError as error:
            raise _Problem(400, str(error)) from error
        too_much = False
        try:
            too_much = await self._receive(request, receiver)
        except ClientDisconnect as error:
            raise _Problem(400, "the request broke off") from error
        except TimeoutError as error:
            raise _Problem(408, f"nothing came for {IDLE_S:g} s") from error
        finally:
            if not too_much:
                await run_in_threadpool(receiver.drop)
        return _store_answer(receiver, f"{base}/studies/{resource.study}" if resource.study else "", too_much)

    async def _receive(self, request: Request, receiver: Receiver) -> bool:
        """Feed the body to the receiver, block by block and off the event loop; True if it was too long."""
        stream = request.stream().__aiter__()
        block = bytearray()
        total = 0
        while True:
            try:
                chunk = await asyncio.wait_for(stream.__anext__(), IDLE_S)
            except StopAsyncIteration:
                break
            block += chunk
            total += len(chunk)
            if total > self._max_request:
                await run_in_threadpool(receiver.drop)
                return True
            if len(block) >= _BLOCK:
                await run_in_threadpool(receiver.feed, bytes(block))
                block.clear()
        await run_in_threadpool(receiver.feed, bytes(block))
        await run_in_threadpool(receiver.close)
        return False


def _base_url(request: Request) -> str:
    """Our base URL as the client reached it; on this machine with our port, which some clients forget in Host."""
    url = request.url
    host, port = request.scope.get("server") or ("", None)
    if url.port is None and port is not None and url.hostname in (host, "localhost", "127.0.0.1", "::1"):
        url = url.replace(port=port)
    return f"{url.scheme}://{url.netloc}{ROOT}"


def _require_json(ranges: Sequence[MediaType]) -> None:
    if not any(one.covers(DICOM_JSON) or one.covers("application/json") for one in ranges):
        raise _Problem(406, f"this is given as {DICOM_JSON} only")


def _row(row: dict[str, Any], resource: Resource, base: str) -> dict[str, Any]:
    """Add the Retrieve URL (0008,1190) to a row of a search."""
    uids = [row.get(tag, {}).get("Value", [""])[0] for tag in ("0020000D", "0020000E", "00080018")]
    depth = {"study": 1, "series": 2, "instance": 3}[resource.level]
    if all(uids[:depth]):
        url = base + Resource("retrieve", resource.level, *uids[:depth]).path
        row["00081190"] = {"vr": "UR", "Value": [url]}
    return dict(sorted(row.items()))


def _metadata_array(held: Sequence[Held], base: str) -> Iterator[bytes]:
    for at, one in enumerate(held):
        yield (b"," if at else b"[") + msgspec.json.encode(metadata(one, base))
    yield b"]"


def _instances(held: Sequence[Held], ranges: Sequence[MediaType]) -> Response:
    chosen = [(one, syntax) for one in held if (syntax := syntax_for(one, ranges))]
    if not chosen:
        available = ", ".join(sorted({one.transfer_syntax_uid for one in held}))
        raise _Problem(406, f"held in {available}; ask for {multipart_of(DICOM, '*')} to have it as stored")
    headers = {}
    if len(chosen) < len(held):
        left = f"{len(held) - len(chosen)} instances are held in no acceptable transfer syntax"
        headers["Warning"] = f'299 dicomlab "{left}"'
    pieces = [instance_piece(one, syntax) for one, syntax in chosen]
    if len(pieces) == 1 and pieces[0].size < 0:
        try:
            octets = b"".join(pieces[0].octets())
        except RemoteProtocolError as error:
            raise _Problem(406, f"held in {held[0].transfer_syntax_uid}; {error}") from error
        pieces = [Piece(pieces[0].headers, len(octets), lambda: iter((octets,)))]
    return _answer_with(pieces, ranges, DICOM, headers)


def _answer_with(
    pieces: Sequence[Piece], ranges: Sequence[MediaType], part: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with parts, or with the one part alone where that was preferred."""
    given = dict(headers or {})
    single = next((one for one in ranges if one.name in (RELATED, "*/*") or one.part == part), None)
    if len(pieces) == 1 and single is not None and single.name == part:
        if pieces[0].size >= 0:
            given["Content-Length"] = str(pieces[0].size)
        return StreamingResponse(pieces[0].octets(), 200, given, media_type=pieces[0].headers["Content-Type"])
    boundary = new_boundary()
    kinds = {parse_content_type(piece.headers["Content-Type"]).name for piece in pieces}
    kind = MediaType(RELATED, {"type": kinds.pop() if len(kinds) == 1 else part, "boundary": boundary})
    if all(piece.size >= 0 for piece in pieces):
        heads = sum(len(_head(boundary, piece, piece.size, first=at == 0)) for at, piece in enumerate(pieces))
        given["Content-Length"] = str(heads + sum(piece.size for piece in pieces) + len(closing(boundary)))
    return StreamingResponse(_parts(pieces, boundary), 200, given, media_type=str(kind))


def _head(boundary: str, piece: Piece, size: int, *, first: bool) -> bytes:
    return part_head(boundary, {**piece.headers, "Content-Length": str(size)}, first=first)


def _parts(pieces: Sequence[Piece], boundary: str) -> Iterator[bytes]:
    first = True
    for piece in pieces:
        try:
            octets, size = piece.octets(), piece.size
            if size < 0:
                written = b"".join(octets)
                octets, size = iter((written,)), len(written)
        except RemoteProtocolError:
            continue  # it can't be decoded: left out, and asked for alone it gives the reason
        yield _head(boundary, piece, size, first=first)
        yield from octets
        first = False
    yield closing(boundary)


def _store_answer(receiver: Receiver, study_url: str, too_much: bool) -> Response:
    """Answer a store request: 200 all stored, 202 some, 409 none, 400 nothing there, 413 too much of it."""
    if not receiver.stored and not receiver.failed and not too_much:
        raise _Problem(400, "there is no instance in the request (PS3.18 §10.5)")
    status = 409 if not receiver.stored else 202 if receiver.failed else 200
    if not receiver.stored and all(one.reason == OUT_OF_RESOURCES for one in receiver.failed):
        status = 507
    headers = {}
    if receiver.problem:
        headers["Warning"] = f'299 dicomlab "{receiver.problem.replace(chr(34), chr(39))}"'.encode(
            "ascii", "replace"
        ).decode()
    answer = build_store_answer(receiver.stored, receiver.failed, study_url)
    return _json(answer, 413 if too_much else status, headers)


Dispatch = Callable[[Request], Awaitable[Response]]


def app(holdings: Holdings, *, max_request: int = MAX_REQUEST) -> Starlette:
    """The origin server as an ASGI application, below ``/dicom-web``.

    Parameters
    ----------
    holdings : Holdings
    max_request : int
        Octets of a request body beyond which the answer is 413.
    """
    answer: Dispatch = _Origin(holdings, max_request).__call__

    async def failed(request: Request, error: Exception) -> Response:
        return Response(b'{"error":"the server failed over this request"}', 500, media_type="application/json")

    cors = Middleware(
        CORSMiddleware, allow_origin_regex=_LOCAL, allow_methods=["GET", "POST", "OPTIONS"], allow_headers=["*"],
        expose_headers=["Warning", "Content-Location"],
    )  # fmt: skip
    methods = ["GET", "POST", "OPTIONS"]
    routes = [Route(ROOT, answer, methods=methods), Route(ROOT + "/{path:path}", answer, methods=methods)]
    return Starlette(routes=routes, middleware=[cors], exception_handlers={Exception: failed})


class OriginServer:
    """A running origin server. ``close`` ends its thread and its socket; it is a context manager, too."""

    def __init__(self, application: Starlette, host: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # with the protocol named asyncio sends without delay; else each answer waits for an acknowledgement
        self._socket = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.listen(128)
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"can't listen: {error.strerror or error}", endpoint=f"{host}:{port}") from error
        self.host, self.port = host, int(self._socket.getsockname()[1])
        config = uvicorn.Config(
            application, log_config=None, log_level="critical", access_log=False, lifespan="off", ws="none",
            http="h11", loop="asyncio", limit_concurrency=MAX_CONNECTIONS, timeout_keep_alive=int(IDLE_S),
            timeout_graceful_shutdown=1, h11_max_incomplete_event_size=1 << 16, server_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run,
            kwargs={"sockets": [self._socket]},
            name=f"dicomlab origin {self.port}",
            daemon=True,
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}{ROOT}"

    def close(self) -> None:
        """End it; requests in flight have a second."""
        self._server.should_exit = True
        self._thread.join(10)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OriginServer {self.url}: {'running' if self._thread.is_alive() else 'closed'}>"


def serve(
    holdings: Holdings, *, host: str = "127.0.0.1", port: int = 0, max_request: int = MAX_REQUEST
) -> OriginServer:
    """Serve holdings over HTTP, in the background; it answers when this returns.

    Parameters
    ----------
    holdings : Holdings
    host : str
        This machine only, unless told otherwise: whoever reaches the port reads everything, unencrypted.
    port : int
        0 takes a free one.
    max_request : int
        Octets of a request body beyond which the answer is 413.

    Raises
    ------
    Unreachable
        The port is taken, or not ours to take.

    Source
    ------
    PS3.18 §10 (Studies Service).
    """
    return OriginServer(app(holdings, max_request=max_request), host, port)
