"""Notification connections of the origin server: events as they come, over WebSockets.

Source
------
PS3.18 §8.10.4 (open notification connection), §8.10.5 (send event report), §11.13 (work item event reports);
RFC 6455.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.websockets import WebSocket, WebSocketDisconnect

from dicomlab.errors import DicomlabError
from dicomlab.model.workitem import EventReport
from dicomlab.model.workitem_service import WorkItemHoldings
from dicomlab.web.event_reports import event_to_json, is_ae_title
from dicomlab.web.origin.limits import Limits

_POLICY, _TOO_MANY, _FAILED, _UNWANTED = 1008, 1013, 1011, 1003


class Channels:
    """Sends the events of each subscriber down the connections that it has opened."""

    def __init__(self, holdings: WorkItemHoldings, limits: Limits) -> None:
        self._holdings, self._limits = holdings, limits
        self._open = 0

    async def __call__(self, websocket: WebSocket) -> None:
        """Serve one connection, to its end."""
        receiver = str(websocket.path_params.get("receiver", "")).strip()
        if not is_ae_title(receiver):
            await websocket.close(_POLICY, "no AE title")
            return
        if self._open >= self._limits.channels:
            await websocket.close(_TOO_MANY, "too many connections")
            return
        self._open += 1
        try:
            after = await run_in_threadpool(self._holdings.acknowledged, receiver)
            await websocket.accept()
            await self._serve(websocket, receiver, after)
        finally:
            self._open -= 1

    async def _serve(self, websocket: WebSocket, receiver: str, after: int) -> None:
        news, loop = asyncio.Event(), asyncio.get_running_loop()
        news.set()

        def wake(who: str) -> None:
            if who == receiver:
                loop.call_soon_threadsafe(news.set)

        end = self._holdings.watch(wake)
        sender = asyncio.create_task(self._send(websocket, receiver, after, news))
        hearer = asyncio.create_task(_hear(websocket))
        try:
            await asyncio.wait((sender, hearer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            end()
            for task in (sender, hearer):
                task.cancel()
            found = await asyncio.gather(sender, hearer, return_exceptions=True)
        code = next((one for one in found if isinstance(one, int)), None)
        failed = any(isinstance(one, DicomlabError) for one in found)
        if code is not None or failed:
            with suppress(RuntimeError, WebSocketDisconnect):
                await websocket.close(code or _FAILED)

    async def _send(self, websocket: WebSocket, receiver: str, after: int, news: asyncio.Event) -> None:
        """Send what there is after an event, in order; what was handed over is acknowledged."""
        message_ids = count(1)
        while True:
            events: list[EventReport] = []
            while not events:
                await news.wait()
                news.clear()
                events = await run_in_threadpool(self._holdings.events, receiver, after)
            for event in events:
                text = msgspec.json.encode(event_to_json(event, next(message_ids) & 0xFFFF)).decode()
                async with asyncio.timeout(self._limits.idle_s):
                    await websocket.send_text(text)
                after = event.sequence
                await run_in_threadpool(self._holdings.acknowledge, receiver, event.sequence)
            news.set()


async def _hear(websocket: WebSocket) -> int:
    """Wait for the end; whoever sends anything has come to the wrong door."""
    message = await websocket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return _UNWANTED
