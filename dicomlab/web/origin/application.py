"""The origin server as an ASGI application: from requests to the services that answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from dicomlab.errors import DicomlabError, RemoteProtocolError
from dicomlab.model.commitment import Commitments
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Holdings
from dicomlab.model.workitem_service import WorkItemHoldings
from dicomlab.web.origin.address import Address, address_of, is_ours
from dicomlab.web.origin.answer import Problem
from dicomlab.web.origin.capabilities import OFFERS, capabilities
from dicomlab.web.origin.channel import Channels
from dicomlab.web.origin.commitment import PATH as COMMITMENTS
from dicomlab.web.origin.commitment import Committing
from dicomlab.web.origin.faults import Faulty
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.retrieve import Retrieve
from dicomlab.web.origin.search import Searching
from dicomlab.web.origin.store import Storing
from dicomlab.web.origin.viewer import Viewer
from dicomlab.web.origin.wado_uri import answer_uri
from dicomlab.web.origin.worklist import CHANNELS, PATH, Worklist
from dicomlab.web.resources import Resource

ROOT = "/dicom-web"
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS")
_CHANGING = ("POST", "PUT", "DELETE")
_LOCAL = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
"""Web pages that may read answers: those served by this machine. A page from elsewhere must not read patients."""
_EXPOSED = ("Warning", "Location", "Content-Location", "ETag", "Accept-Ranges", "Content-Range", "Retry-After")


@dataclass(frozen=True)
class Setting:
    """How an origin server stands in its surroundings.

    Attributes
    ----------
    limits : Limits
    faults : Faults
        What it does wrong on purpose.
    hosts : sequence of str
        Names, beside localhost and numbers, under which it is reached: that of a proxy in front of it. ``"*"``: any,
        which lets pages of other sites reach it by DNS rebinding.
    origins : sequence of str
        Web origins, beside those of this machine, whose pages may read and store: ``"https://viewer.example.org"``.
    links : str
        ``"absolute"`` URLs, from what proxies say of themselves; or ``"relative"`` to the URL of each request, which
        survive any proxy but are not understood by every client.
    """

    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)
    hosts: Sequence[str] = ()
    origins: Sequence[str] = ()
    links: Literal["absolute", "relative"] = "absolute"


class _Origin:
    """Answers the requests of one application."""

    def __init__(
        self,
        holdings: Holdings,
        setting: Setting,
        workitems: WorkItemHoldings | None,
        commitments: Commitments | None,
    ) -> None:
        self._holdings, self._setting = holdings, setting
        self._worklist = Worklist(workitems, setting.limits) if workitems is not None else None
        self._committing = Committing(commitments, setting.limits) if commitments is not None else None
        self._searching = Searching(holdings, setting.limits, setting.faults)
        self._retrieve = Retrieve(holdings, setting.limits, setting.faults)
        self._storing = Storing(holdings, setting.limits, setting.faults)

    async def __call__(self, request: Request) -> Response:
        try:
            return await self._answer(request)
        except Problem as problem:
            return problem.answer()
        except DicomlabError as error:
            return Problem(500, str(error)).answer()

    async def _answer(self, request: Request) -> Response:
        path = request.scope["path"].removeprefix(ROOT)
        headers: dict[str, str] = dict(request.headers)
        coding = headers.get("content-encoding", "").strip().lower()
        if request.method in ("POST", "PUT") and coding not in ("", "identity"):
            text = f"a body coded as {coding[:40]!r} is not taken: send it as it is (RFC 9110 §15.5.16)"
            raise Problem(415, text, {"Accept-Encoding": "identity"})
        address = address_of(
            headers, scheme=request.scope["scheme"], server=request.scope.get("server") or ("localhost", None),
            root=ROOT, path=path, relative=self._setting.links == "relative",
        )  # fmt: skip
        parameters = dict(request.query_params)
        accept = Accept.parse(parameters.get("accept") or headers.get("accept", ""))
        if request.method == "OPTIONS":
            return _capabilities(accept, address, work=self._worklist is not None and self._committing is not None)
        if path in ("", "/", "/wado") and request.method in ("GET", "HEAD"):
            if parameters.get("requestType", "").upper() == "WADO":
                limits = self._setting.limits
                return await run_in_threadpool(answer_uri, self._retrieve, parameters, address, headers, limits)
            if path != "/wado":
                return _capabilities(accept, address, work=self._worklist is not None and self._committing is not None)
        if self._worklist is not None and path.startswith(PATH):
            return await self._worklist.answer(request, path, address, accept)
        if self._committing is not None and path.startswith(COMMITMENTS):
            return await self._committing.answer(request, path, accept)
        if request.method == "PUT":
            raise Problem(405, "only the state of a work item is put (PS3.18 §11.7)", _ALLOW_READ)
        try:
            resource = Resource.parse(path)
        except RemoteProtocolError as error:
            raise Problem(404, str(error)) from error
        if request.method == "POST":
            if resource.level != "study" or resource.kind not in ("search", "retrieve"):
                raise Problem(405, "instances are stored to /studies or /studies/{study} (PS3.18 §10.5)", _ALLOW_READ)
            return await self._storing.answer(request, resource, address, accept)
        if request.method == "DELETE":
            if resource.kind != "retrieve":
                raise Problem(405, "studies, series and instances can be deleted", _ALLOW_READ)
            return await run_in_threadpool(self._delete, resource)
        if resource.kind == "search":
            return await run_in_threadpool(self._searching.answer, resource, request.url.query, accept, address)
        return await run_in_threadpool(self._retrieve.answer, resource, accept, address, headers, parameters)

    def _delete(self, resource: Resource) -> Response:
        for one in self._retrieve.held(resource):
            self._holdings.remove(one)
        return Response(status_code=204)


_ALLOW_READ = {"Allow": "GET, HEAD, OPTIONS"}


def _capabilities(accept: Accept, address: Address, *, work: bool) -> Response:
    chosen = accept.best(OFFERS)
    if not chosen:
        raise Problem(406, f"capabilities are given as {', '.join(OFFERS)}")
    kind = f"{chosen}; charset=utf-8" if chosen.startswith("text/") else chosen
    return Response(capabilities(chosen, address.base, work=work), 200, {"Allow": ", ".join(METHODS)}, media_type=kind)


class _Door:
    """Lets in what is meant for us, and what other sites' pages may do; bodies are left away where only heads are due.

    Source
    ------
    RFC 9110 §7.4 (misdirected requests), §9.3.2 (HEAD).
    """

    def __init__(self, app: ASGIApp, setting: Setting, viewer: Viewer) -> None:
        self._app, self._setting, self._viewer = app, setting, viewer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        problem = self._objection(scope, headers)
        if scope["type"] == "websocket":
            if problem:
                await send({"type": "websocket.close", "code": 1008, "reason": "not from there"})
            else:
                await self._app(scope, receive, send)
        elif problem:
            await problem.answer()(scope, receive, send)
        elif self._viewer.serves(scope["path"]):
            await self._viewer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _objection(self, scope: Scope, headers: Mapping[str, str]) -> Problem | None:
        host = headers.get("host", "")
        server = scope.get("server") or ("", None)
        if host and not is_ours(host, (*self._setting.hosts, server[0])):
            name = host.rpartition(":")[0] or host
            return Problem(
                421,
                f"nobody told this server that it is {name[:100]!r}; Archive(web_hosts=[...]) does, for a proxy's name",
            )
        origin = headers.get("origin", "")
        reading = scope["type"] == "http" and scope["method"] not in _CHANGING
        if not reading and origin and not self._may_write(origin, host):  # (no browser keeps a page from a WebSocket)
            return Problem(
                403, f"pages of {origin[:100]!r} may not change anything here; Archive(web_origins=[...]) lets them"
            )
        return None

    def _may_write(self, origin: str, host: str) -> bool:
        import re

        known = origin in self._setting.origins or re.fullmatch(_LOCAL, origin) is not None
        return known or origin.partition("://")[2] == host


async def _failed(request: Request, error: Exception) -> Response:
    return Problem(500, "the server failed over this request").answer()


def app(
    holdings: Holdings,
    setting: Setting | None = None,
    viewer: Viewer | None = None,
    workitems: WorkItemHoldings | None = None,
    commitments: Commitments | None = None,
) -> ASGIApp:
    """The origin server as an ASGI application, below ``/dicom-web``.

    Parameters
    ----------
    holdings : Holdings
    setting : Setting, optional
    viewer : Viewer, optional
        Pages to be served beside it.
    workitems : WorkItemHoldings, optional
        The work items of the Worklist Service; without them there is none.
    commitments : Commitments, optional
        Who commits to what is stored; without it there is no Storage Commitment Service.

    Source
    ------
    PS3.18 §10 (Studies), §9 (URI), §11 (Worklist), §13 (Storage Commitment), §8.9 (capabilities).
    """
    setting = setting or Setting()
    origin: Any = _Origin(holdings, setting, workitems, commitments).__call__
    cors = Middleware(
        CORSMiddleware, allow_origin_regex=_LOCAL, allow_origins=list(setting.origins), allow_methods=list(METHODS),
        allow_headers=["*"], expose_headers=list(_EXPOSED), max_age=600,
    )  # fmt: skip
    methods = list(METHODS)
    routes: list[BaseRoute] = [
        Route(ROOT, origin, methods=methods),
        Route(ROOT + "/{path:path}", origin, methods=methods),
    ]
    if workitems is not None:
        channels: Any = Channels(workitems, setting.limits).__call__
        routes.append(WebSocketRoute(f"{ROOT}{CHANNELS}/{{receiver}}", channels))
    service = Starlette(routes=routes, middleware=[cors], exception_handlers={Exception: _failed})
    return _Door(Faulty(service, setting.faults), setting, viewer or Viewer())
