"""The origin server on a port: an ASGI application, run by uvicorn in a thread."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from dicomlab.errors import Unreachable
from dicomlab.model.commitment import Commitments
from dicomlab.model.protocols import Holdings
from dicomlab.model.workitem_service import WorkItemHoldings
from dicomlab.web.origin.application import ROOT, Setting, app
from dicomlab.web.origin.connection import watched
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.viewer import Viewer

MAX_HEAD = 1 << 16


class OriginServer:
    """A running origin server. ``close`` ends its thread and its socket; it is a context manager, too."""

    def __init__(self, application: ASGIApp, host: str, port: int, limits: Limits, viewer: Viewer) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._viewer = viewer
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
            application, log_config=None, log_level="critical", access_log=False, lifespan="off",
            ws="websockets-sansio", ws_max_size=limits.frame_octets, ws_per_message_deflate=False,
            http=watched(limits), loop="asyncio", limit_concurrency=limits.connections, proxy_headers=False,
            timeout_keep_alive=max(int(limits.keep_s), 1), timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=MAX_HEAD, server_header=False,
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
        return self._root_url + ROOT

    @property
    def _root_url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def mount_viewer(self, folder: str | Path) -> str:
        """Serve a prebuilt web viewer at the root of this server, told where the data is.

        Parameters
        ----------
        folder : path
            The folder ``dist`` of the npm package ``@ohif/app``, or the package's.

        Returns
        -------
        str
            The URL of its list of studies; ``viewer?StudyInstanceUIDs=...`` below it shows one.

        Raises
        ------
        UsageError
            There is no such viewer.
        """
        self._viewer.mount(Path(folder), ROOT)
        return f"{self._root_url}/"

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
    holdings: Holdings,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    setting: Setting | None = None,
    workitems: WorkItemHoldings | None = None,
    commitments: Commitments | None = None,
) -> OriginServer:
    """Serve holdings over HTTP, in the background; it answers when this returns.

    Parameters
    ----------
    holdings : Holdings
    host : str
        This machine only, unless told otherwise: whoever reaches the port reads everything, unencrypted.
    port : int
        0 takes a free one.
    setting : Setting, optional
    workitems : WorkItemHoldings, optional
        The work items of the Worklist Service; without them there is none.
    commitments : Commitments, optional
        Who commits to what is stored; without it there is no Storage Commitment Service.

    Raises
    ------
    Unreachable
        The port is taken, or not ours to take.

    Source
    ------
    PS3.18 §10 (Studies Service).
    """
    setting, viewer = setting or Setting(), Viewer()
    return OriginServer(app(holdings, setting, viewer, workitems, commitments), host, port, setting.limits, viewer)
