"""One HTTP connection under watch: a head in time, answers taken up in time, else it is closed.

uvicorn bounds how many connections there are and how long a head is, but waits for ever for the head to come and for
an answer to be read. Whoever drips octets could hold every connection.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from dicomlab.web.origin.limits import Limits


def watched(limits: Limits) -> type[asyncio.Protocol]:
    """Make the protocol class of a server with those limits.

    Parameters
    ----------
    limits : Limits
        Of which ``head_s`` and ``idle_s`` count here.

    Source
    ------
    RFC 9110 §15.5.9 (a request not completed in time), RFC 9112 §9.5 (failures and time-outs).
    """

    class Watched(H11Protocol):
        """Closes the connection when a head or the taking up of an answer lasts too long."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._head_due: asyncio.TimerHandle | None = None
            self._read_due: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._expect_head()

        def data_received(self, data: bytes) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle and self._head_due is None:
                self._expect_head()
            before = self.cycle
            super().data_received(data)
            if self.cycle is not before and self._head_due is not None:
                self._head_due.cancel()
                self._head_due = None

        def handle_websocket_upgrade(self, event: Any) -> None:
            if self._head_due is not None:  # from here on it is no connection of requests
                self._head_due.cancel()
                self._head_due = None
            super().handle_websocket_upgrade(event)

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._read_due is None:
                self._read_due = self.loop.call_later(limits.idle_s, self._give_up)

        def resume_writing(self) -> None:
            if self._read_due is not None:
                self._read_due.cancel()
                self._read_due = None
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            for due in (self._head_due, self._read_due):
                if due is not None:
                    due.cancel()
            self._head_due = self._read_due = None
            super().connection_lost(exc)

        def _expect_head(self) -> None:
            self._head_due = self.loop.call_later(limits.head_s, self._give_up)

        def _give_up(self) -> None:
            self.transport.abort()

    return Watched
