"""What the origin server does wrong on purpose to any answer: 503, 401, standing still, crawling.

Faults that concern matches or instances are asked for where those are made.
"""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dicomlab.model.faults import Fault, Faults
from dicomlab.web.origin.answer import Problem

_SLICE_S = 0.05
"""How often a crawling answer brings something, at most."""


class Faulty:
    """An application as it is while faults are on.

    Each request is one occasion of ``unavailable``, ``unauthorized``, ``stall`` and ``slow``.
    """

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app, self._faults = app, faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, well or badly."""
        if scope["type"] != "http" or not len(self._faults):
            await self._app(scope, receive, send)
            return
        if fault := self._faults.strikes("unavailable", "web"):
            wait_s = fault.numbers["retry_after_s"]
            headers = {"Retry-After": str(wait_s)} if wait_s else {}
            await Problem(503, "out of resources, on purpose", headers).answer()(scope, receive, send)
            return
        if self._faults.strikes("unauthorized", "web"):
            wants = {"WWW-Authenticate": 'Bearer realm="dicomlab", error="invalid_token"'}
            await Problem(401, "not authorized, on purpose", wants).answer()(scope, receive, send)
            return
        stall, slow = self._faults.strikes("stall", "web"), self._faults.strikes("slow", "web")
        await self._app(scope, receive, _Brake(receive, send, stall, slow) if stall or slow else send)


class _Brake:
    """Sends an answer up to some octet, or no faster than some rate."""

    def __init__(self, receive: Receive, send: Send, stall: Fault | None, slow: Fault | None) -> None:
        self._receive, self._send = receive, send
        self._left = stall.numbers["octets"] if stall else None
        self._step = max(int(slow.numbers["octets_per_s"] * _SLICE_S), 1) if slow else 0
        self._pause_s = self._step / slow.numbers["octets_per_s"] if slow else 0.0

    async def __call__(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            if self._left == 0:
                await self._stand_still()
            await self._send(message)
            return
        body = bytes(message.get("body", b""))
        if self._left is not None and len(body) >= self._left:
            await self._crawl(body[: self._left])
            await self._stand_still()
        elif self._left is not None:
            self._left -= len(body)
        await self._crawl(body)
        if not message.get("more_body", False):
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _crawl(self, body: bytes) -> None:
        for at in range(0, len(body), self._step or max(len(body), 1)):
            await self._send(
                {"type": "http.response.body", "body": body[at : at + (self._step or len(body))], "more_body": True}
            )
            if self._step:
                await asyncio.sleep(self._pause_s)

    async def _stand_still(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise asyncio.CancelledError
