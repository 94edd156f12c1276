"""A web viewer beside the origin server: the files of a prebuilt one, as they lie in its folder, told where we are."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from dicomlab.errors import UsageError
from dicomlab.web.origin.address import prefix_of
from dicomlab.web.origin.answer import Problem

MAX_FILES = 20_000
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript",
    ".css": "text/css; charset=utf-8", ".json": "application/json", ".map": "application/json",
    ".wasm": "application/wasm", ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon",
    ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".woff": "font/woff", ".woff2": "font/woff2",
    ".ttf": "font/ttf", ".txt": "text/plain; charset=utf-8", ".onnx": "application/octet-stream",
}  # fmt: skip
_HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
"""What lets a page share memory between its workers, and keeps others out of it."""

_AT_THE_ROOT = {
    ".html": (
        (rb"""(\b(?:src|href|content)=["'])/(?!/)""", "{attribute}"),
        (rb"""(\bPUBLIC_URL = )(?:"/"|'/')""", "{text}"),
        (rb"""(<link rel=["']?manifest["']?)""", ' crossorigin="use-credentials"'),  # it gets through with the cookie
        (rb"(<head\b[^>]*>)", '<base href="{attribute}">'),
    ),
    ".js": ((rb"""(\b(?:__webpack_require__|\w)\.p ?= ?)"/"(?=;)""", "{text}"),),
    ".json": ((rb"""("(?:src|start_url)": ?")/(?!/)""", "{attribute}"),),  # of its manifest
    ".css": ((rb"(\burl\()/(?=[\w.-])", "{attribute}"),),
}
"""Where a viewer that was built for the root of a server says so, by webpack's ``publicPath`` and in its page."""


class Viewer:
    """Serves what ``mount`` was given, at the root of the server; nothing before that."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}
        self._root = ""

    def mount(self, folder: Path, root: str) -> None:
        """Serve the viewer in that folder: OHIF's ``dist``, or another that reads ``app-config.js`` at its root.

        The files are listed once: no request can name any other.

        Parameters
        ----------
        folder : Path
            With an ``index.html`` in it.
        root : str
            The path at which the service begins.

        Raises
        ------
        UsageError
            There is no such viewer.
        """
        folder = folder.resolve()
        if (folder / "dist" / "index.html").is_file():
            folder = folder / "dist"
        if not (folder / "index.html").is_file():
            raise UsageError(
                f"{folder} holds no index.html; a prebuilt viewer is the folder dist of the npm package @ohif/app"
            )
        files = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.resolve().is_relative_to(folder):
                files["/" + path.relative_to(folder).as_posix()] = path
            if len(files) > MAX_FILES:
                raise UsageError(f"{folder} holds more than {MAX_FILES} files: that is no viewer")
        self._files, self._root = files, root

    def serves(self, path: str) -> bool:
        """Whether a request for that path is the viewer's: all but the service's own."""
        return bool(self._files) and not (path == "/dicom-web" or path.startswith("/dicom-web/"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file; for a path that is a view of the application, with its page."""
        await self._answer(scope)(scope, receive, send)

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return Problem(405, "a viewer is only read", {"Allow": "GET, HEAD"}).answer()
        path = scope["path"]
        prefix = prefix_of({name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]})
        made_for_it = {**_HEADERS, "Cache-Control": "no-store"}
        if path == "/app-config.js":
            return Response(_configuration(prefix, self._root), 200, made_for_it, media_type=_MEDIA_TYPES[".js"])
        found = self._files.get(path)
        if found is None and "." in path.rpartition("/")[2]:
            return Problem(404, "the viewer has no such file").answer()
        found = found or self._files["/index.html"]
        kind = _MEDIA_TYPES.get(found.suffix.lower(), "application/octet-stream")
        if prefix and found.suffix in _AT_THE_ROOT:
            return Response(_below(prefix, found), 200, made_for_it, media_type=kind)
        return FileResponse(found, headers={**_HEADERS, "Cache-Control": "no-cache"}, media_type=kind)


def _below(prefix: str, file: Path) -> bytes:
    """A file of a viewer that was built for the root of a server, for a path below which a proxy shows it."""
    place = f"{prefix}/"
    content = file.read_bytes()
    for pattern, form in _AT_THE_ROOT[file.suffix]:
        filled = form.format(attribute=escape(place), text=json.dumps(place)).encode()
        content = re.sub(pattern, lambda found, filled=filled: found[1] + filled, content)  # type: ignore[misc]
    return content


def _configuration(prefix: str, root: str) -> bytes:
    """OHIF's configuration: this server as its one source of data, by its path, so that it holds behind a proxy."""
    root = prefix + root
    source: dict[str, Any] = {
        "namespace": "@ohif/extension-default.dataSourcesModule.dicomweb",
        "sourceName": "dicomlab",
        "configuration": {
            "friendlyName": "dicomlab", "name": "dicomlab", "qidoRoot": root, "wadoRoot": root, "wadoUriRoot": root,
            "qidoSupportsIncludeField": True, "supportsFuzzyMatching": False, "supportsWildcard": True,
            "imageRendering": "wadors", "thumbnailRendering": "wadors", "enableStudyLazyLoad": True,
            "dicomUploadEnabled": True, "omitQuotationForMultipartRequest": True,
            "bulkDataURI": {"enabled": True, "relativeResolution": "studies"},
        },
    }  # fmt: skip
    config = {
        "name": "dicomlab", "routerBasename": prefix or "/", "extensions": [], "modes": [], "customizationService": {},
        "showStudyList": True, "maxNumberOfWebWorkers": 2, "showWarningMessageForCrossOrigin": False,
        "showCPUFallbackMessage": False, "showLoadingIndicator": True, "strictZSpacingForVolumeViewport": True,
        "investigationalUseDialog": {"option": "never"}, "defaultDataSourceName": "dicomlab", "dataSources": [source],
    }  # fmt: skip
    return f"window.config = {json.dumps(config, indent=1)};\n".encode()
