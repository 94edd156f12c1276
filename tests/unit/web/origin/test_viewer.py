"""A viewer beside the data: its own files and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import requests

from dicomlab import Archive
from dicomlab.errors import UsageError
from dicomlab.web.origin import ROOT
from dicomlab.web.origin.viewer import Viewer


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "package" / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<!doctype html>viewer")
    (folder / "app-config.js").write_text("window.config = 'as shipped'")
    (folder / "a.css").write_text("url(/a.woff2) url(//b/c) url(d)")
    (folder / "app.js").write_text('r.p="/"; __webpack_require__.p = "/"; up="/"; q.p="/x"')
    (folder / "assets" / "a.wasm").write_bytes(b"\0asm")
    (folder / "assets" / "out.txt").symlink_to(tmp_path / "secret.txt")
    return folder


@pytest.fixture
def viewed(holdings: Any, open_local: Any, dist: Path) -> Any:
    viewer = Viewer()
    viewer.mount(dist.parent, ROOT)
    return open_local(holdings, None, viewer)


def test_files_pages_and_data(viewed: Any) -> None:
    root = "http://archive.invalid"
    page = viewed.get(root + "/")
    assert (page.text, page.headers["Content-Type"]) == ("<!doctype html>viewer", "text/html; charset=utf-8")
    assert viewed.get(root + "/viewer?StudyInstanceUIDs=1.2").text == page.text
    assert viewed.get(root + "/assets/a.wasm").headers["Content-Type"] == "application/wasm"
    assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert page.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert len(viewed.get("/studies").json()) == 3
    assert viewed.ask("POST", root + "/").status_code == 405


def test_it_is_told_where_the_data_is(viewed: Any) -> None:
    text = viewed.get("http://archive.invalid/app-config.js").text
    config = json.loads(re.fullmatch(r"window\.config = (.*);\n", text, re.DOTALL)[1])  # type: ignore[index]
    assert config["dataSources"][0]["configuration"]["wadoRoot"] == "/dicom-web"


def test_behind_a_proxy_it_is_told_its_place(viewed: Any, dist: Path) -> None:
    (dist / "index.html").write_text(
        "<html><head><script>window.PUBLIC_URL = '/';</script><script src=\"/app.js\"></script>"
        '<link href="//elsewhere/x"><link rel="manifest"></head></html>'
    )
    behind = {"X-Forwarded-Prefix": "/user/x'&/proxy/80/"}
    assert viewed.ask("GET", "http://archive.invalid/viewer", **behind).text == (
        '<html><head><base href="/user/x&#x27;&amp;/proxy/80/"><script>window.PUBLIC_URL = "/user/x\'&/proxy/80/";</script>'
        '<script src="/user/x&#x27;&amp;/proxy/80/app.js"></script><link href="//elsewhere/x">'
        '<link rel="manifest" crossorigin="use-credentials"></head></html>'
    )
    told = viewed.ask("GET", "http://archive.invalid/app.js", **behind).text
    assert told == 'r.p="/user/x\'&/proxy/80/"; __webpack_require__.p = "/user/x\'&/proxy/80/"; up="/"; q.p="/x"'
    told = viewed.ask("GET", "http://archive.invalid/a.css", X_Forwarded_Prefix="/user/x").text
    assert told == "url(/user/x/a.woff2) url(//b/c) url(d)"
    assert viewed.get("http://archive.invalid/app.js").text == (dist / "app.js").read_text()
    told = viewed.ask("GET", "http://archive.invalid/app-config.js", X_Forwarded_Prefix="/user/x").text
    assert '"routerBasename": "/user/x"' in told
    assert '"wadoRoot": "/user/x/dicom-web"' in told
    hostile = {"X-Forwarded-Prefix": "/</script><script>alert(1)"}
    assert "alert" not in viewed.ask("GET", "http://archive.invalid/", **hostile).text


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/assets/../../../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/assets/out.txt",
        "/assets/..%5c..%5csecret.txt", "//secret.txt", "/no-such.js", "/etc/passwd.txt",
    ],
)  # fmt: skip
def test_no_path_leaves_its_folder(viewed: Any, path: str) -> None:
    prepared = requests.Request("GET", "http://archive.invalid/").prepare()
    prepared.url = "http://archive.invalid" + path
    answer = viewed.session.send(prepared)
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_what_is_no_viewer(tmp_path: Path, dist: Path) -> None:
    with Archive() as archive:
        with pytest.raises(UsageError, match=r"index\.html"):
            archive.mount_viewer(tmp_path)
        url = archive.mount_viewer(dist)
        assert requests.get(url, timeout=10).text == "<!doctype html>viewer"
    with Archive(web_port=None) as archive, pytest.raises(UsageError, match="needs a port"):
        archive.mount_viewer(dist)
