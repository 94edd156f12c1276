"""The description of the services: well-formed, and true of the server."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import pytest

from dicomlab.web.origin.capabilities import HTML, JSON, OFFERS, RESOURCES, WADL, capabilities

WADL_SPACE = "{http://wadl.dev.java.net/2009/02}"
UIDS = {"study": "1.2.3.1", "series": "1.2.3.1.1", "instance": "1.2.3.1.1.1", "frames": "1", "element": "7FE00010"}


def test_wadl() -> None:
    root = ElementTree.fromstring(capabilities(WADL, "http://a/dicom-web"))
    (resources,) = root.findall(f"{WADL_SPACE}resources")
    assert resources.get("base") == "http://a/dicom-web"
    found = {(r.get("path"), m.get("name")) for r in resources for m in r.findall(f"{WADL_SPACE}method")}
    assert ("studies", "POST") in found
    assert ("studies/{study}/series/{series}/instances/{instance}/rendered", "GET") in found
    assert all(len(m.findall(f"{WADL_SPACE}request")) <= 1 for m in resources.iter(f"{WADL_SPACE}method"))


def test_json_and_html_say_the_same_paths() -> None:
    said = json.loads(capabilities(JSON, "http://a"))["resources"]
    assert [one["path"] for one in said["resource"]] == list(RESOURCES)
    page = capabilities(HTML, 'http://a/"><script>').decode()
    assert "<script>" not in page
    assert all(path in page for path in RESOURCES)


@pytest.mark.parametrize("path", [path for path, some in RESOURCES.items() if any(t.method == "GET" for t in some)])
def test_every_resource_that_is_described_is_there(local: Any, path: str) -> None:
    filled = re.sub(r"\{(\w+)\}", lambda name: UIDS[name[1]], path)
    status = local.get(filled).status_code
    assert status in (200, 406), filled  # 406: these instances have pixels that nobody can show


def test_the_media_type_that_is_asked_for(local: Any) -> None:
    assert local.ask("OPTIONS", "/").headers["Content-Type"] == WADL
    for kind in OFFERS:
        answer = local.ask("OPTIONS", "/", kind)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(kind)
        assert "DELETE" in answer.headers["Allow"]
    assert local.ask("OPTIONS", "/", "image/png").status_code == 406
    assert local.get("/", "text/html").text.startswith("<!doctype html>")
