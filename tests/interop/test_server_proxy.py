"""Behind a real jupyter-server-proxy: what the archive says of where things are leads there, through the proxy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import dicomlab
from dicomlab import Archive
from dicomlab.samples.phantom import phantom_datasets
from dicomlab.web.auth import Bearer
from tests.peers.jupyter import BASE, Jupyter

HUB = {"Host": "hub.example", "X-Forwarded-Host": "hub.example", "X-Forwarded-Proto": "https"}
JSON = {"Accept": "application/dicom+json"}


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jupyter]:
    """As a hub starts one for a user."""
    environment = {"JUPYTERHUB_API_URL": "http://127.0.0.1:9/hub/api"}
    with Jupyter(tmp_path_factory.mktemp("jupyter"), environment) as server:
        yield server


@pytest.fixture(scope="module")
def user(jupyter: Jupyter) -> Iterator[requests.Session]:
    """Who is signed in."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"token {jupyter.token}"
        yield session


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    """A notebook's own."""
    with Archive() as one:
        one.add([phantom_datasets(patients=1, slices=2)], progress=False).raise_for_failures()
        yield one


def behind(jupyter: Jupyter, archive: Archive) -> str:
    port = str(archive.web).partition("/dicom-web")[0].rpartition(":")[2]
    return f"{jupyter.url}proxy/{port}/dicom-web"


def retrieve_urls(answer: requests.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [one["00081190"]["Value"][0] for one in answer.json()]


def test_the_launcher_starts_an_archive(jupyter: Jupyter, user: requests.Session) -> None:
    (told,) = [
        one for one in user.get(f"{jupyter.url}server-proxy/servers-info", timeout=30).json()["server_processes"]
        if one["name"] == "dicomlab"
    ][:1]  # fmt: skip
    assert told["launcher_entry"]["title"] == "DICOM archive"
    page = user.get(jupyter.url + told["launcher_entry"]["path_info"], headers={"Accept": "text/html"}, timeout=100)
    assert page.status_code == 200
    assert "<html" in page.text
    base = f"{jupyter.url}dicomlab/dicom-web"
    deadline = time.monotonic() + 60
    while not (
        found := retrieve_urls(user.get(f"{base}/studies", headers=JSON, timeout=30))
    ):  # samples come in one by one
        assert time.monotonic() < deadline
    assert all(url.startswith(f"{base}/studies/") for url in found)
    assert user.get(f"{found[0]}/metadata", headers=JSON, timeout=30).status_code == 200
    outside = retrieve_urls(user.get(f"{base}/studies", headers=JSON | HUB, timeout=30))
    assert all(url.startswith(f"https://hub.example{BASE}dicomlab/dicom-web/studies/") for url in outside)


def test_nobody_gets_in_without_the_token(jupyter: Jupyter, archive: Archive) -> None:
    for url in (f"{behind(jupyter, archive)}/studies", f"{jupyter.url}dicomlab/dicom-web/studies"):
        assert requests.get(url, headers=JSON, timeout=30, allow_redirects=False).status_code in (302, 403)


def test_a_notebooks_own_archive_in_full(jupyter: Jupyter, archive: Archive, tmp_path: Any) -> None:
    """Search, metadata, retrieve and store through the proxy, with our user agent: the same as straight."""
    web = dicomlab.WebEndpoint(behind(jupyter, archive), auth=Bearer(jupyter.token))
    found = web.find("instance", progress=False)
    assert found.to_dataframe().equals(archive.web.find("instance", progress=False).to_dataframe())
    report = found.retrieve(tmp_path / "data", verify="sha256", progress=False)
    assert report.complete
    assert report.count("done") == len(archive)
    assert web.store(report.media, progress=False).complete


def test_every_url_leads_back_through_the_proxy(jupyter: Jupyter, user: requests.Session, archive: Archive) -> None:
    base = behind(jupyter, archive)
    for level in ("studies", "series", "instances"):
        urls = retrieve_urls(user.get(f"{base}/{level}", headers=JSON, timeout=30))
        assert urls
        for url in urls:
            assert url.startswith(f"{base}/studies/")
            assert user.get(f"{url}/metadata", headers=JSON, timeout=30).status_code == 200
    metadata = user.get(f"{urls[0]}/metadata", headers=JSON, timeout=30).json()[0]
    pixels = metadata["7FE00010"]["BulkDataURI"]
    assert pixels.startswith(f"{base}/studies/")
    answer = user.get(pixels, headers={"Accept": 'multipart/related; type="application/octet-stream"'}, timeout=30)
    assert answer.status_code == 200


def test_a_name_that_nobody_told_is_refused(jupyter: Jupyter, user: requests.Session, archive: Archive) -> None:
    """The proxy's name has to be told, so that no other page's name leads to what is in the notebook."""
    refused = user.get(f"{behind(jupyter, archive)}/studies", headers=JSON | HUB, timeout=30)
    assert refused.status_code == 421
    assert "web_hosts" in refused.text
    with Archive(web_hosts=["hub.example"]) as told:
        told.add([phantom_datasets(patients=1, slices=1)], progress=False)
        url = behind(jupyter, told)
        found = retrieve_urls(user.get(f"{url}/studies", headers=JSON | HUB, timeout=30))
        assert all(
            one.startswith(f"https://hub.example{url.partition(str(jupyter.port))[2]}/studies/") for one in found
        )
        post = user.post(f"{url}/studies", headers=HUB | {"Origin": "https://evil.example"}, data=b"x", timeout=30)
        assert post.status_code == 403
