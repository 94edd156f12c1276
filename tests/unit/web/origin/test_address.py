"""Base URLs behind proxies, links, and Host headers of pages that only pretend to be ours."""

from __future__ import annotations

from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.web.origin.address import Address, address_of, is_ours


def base(headers: dict[str, str], server: tuple[str, int | None] = ("127.0.0.1", 8000)) -> str:
    return address_of(headers, scheme="http", server=server, root="/dicom-web", path="/", relative=False).base


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"host": "localhost:8000"}, "http://localhost:8000/dicom-web"),
        ({"host": "127.0.0.1"}, "http://127.0.0.1:8000/dicom-web"),
        ({}, "http://127.0.0.1:8000/dicom-web"),
        ({"host": "pacs.example"}, "http://pacs.example/dicom-web"),
        (
            {"host": "127.0.0.1:8000", "x-forwarded-host": "hub.example", "x-forwarded-proto": "https,http"},
            "https://hub.example/dicom-web",
        ),
        (
            {"host": "hub.example", "x-forwarded-proto": "https", "x-forwarded-prefix": "/user/x/proxy/8000/"},
            "https://hub.example/user/x/proxy/8000/dicom-web",
        ),
        ({"host": "hub.example", "x-forwarded-proto": "https", "x-forwarded-port": "8443"}, "https://hub.example:8443/dicom-web"),
        ({"host": "hub.example", "x-forwarded-proto": "https", "x-forwarded-port": "443"}, "https://hub.example/dicom-web"),
        (
            {"host": "a", "forwarded": 'for=1.2.3.4;proto=https;host="hub.example:444", for=9.9.9.9;host=inner'},
            "https://hub.example:444/dicom-web",
        ),
        ({"host": "a:1", "x-proxycontextpath": "/user/y/proxy/1"}, "http://a:1/user/y/proxy/1/dicom-web"),
        ({"host": "[::1]:8000"}, "http://[::1]:8000/dicom-web"),
        # what can't be, is as if it were not there
        ({"host": "ok:1", "x-forwarded-host": "ev il.example"}, "http://ok:1/dicom-web"),
        ({"host": "ok:1", "x-forwarded-host": "a/b"}, "http://ok:1/dicom-web"),
        ({"host": "ok:1", "x-forwarded-prefix": "/../x"}, "http://ok:1/dicom-web"),
        ({"host": "ok:1", "x-forwarded-prefix": '/"><script>'}, "http://ok:1/dicom-web"),
        ({"host": "ok:1", "x-forwarded-proto": "javascript"}, "http://ok:1/dicom-web"),
    ],
)  # fmt: skip
def test_base_urls(headers: dict[str, str], expected: str) -> None:
    assert base(headers) == expected


@given(
    st.dictionaries(
        st.sampled_from(
            ["host", "forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix"]
        ),
        st.text(max_size=40),
    )
)
def test_no_header_breaks_out_of_the_url(headers: dict[str, str]) -> None:
    found = base(headers)
    assert found.startswith(("http://", "https://"))
    assert found.endswith("/dicom-web")
    assert not set(found) & set(' "<>\\\r\n\t')


@pytest.mark.parametrize(
    ("path", "target", "link"),
    [
        ("/studies", "/studies/1.2", "studies/1.2"),
        ("/studies/1/series/2/metadata", "/studies/1/series/2/instances/3/bulkdata/7FE00010", "instances/3/bulkdata/7FE00010"),
        ("/studies/1/metadata", "/studies/1/series/2/instances/3/bulkdata/7FE00010", "series/2/instances/3/bulkdata/7FE00010"),
        ("/instances", "/studies/1/series/2/instances/3", "studies/1/series/2/instances/3"),
        ("/studies/1/series", "/studies/1", "."),
    ],
)  # fmt: skip
def test_relative_links_lead_there_from_the_url_of_the_request(path: str, target: str, link: str) -> None:
    for root in ("http://a.example/dicom-web", "https://hub.example/user/x/proxy/1/dicom-web"):
        given = Address(root, path, relative=True).link(target)
        assert given == link
        assert urljoin(root + path, given).rstrip("/") == root + target


def test_absolute_links() -> None:
    assert Address("http://a/dicom-web", "/x").link("/studies/1") == "http://a/dicom-web/studies/1"


@pytest.mark.parametrize(
    ("host", "known", "ours"),
    [
        ("localhost:8000", (), True), ("127.0.0.1", (), True), ("[::1]:1", (), True), ("192.168.1.7:80", (), True),
        ("viewer.localhost", (), True), ("archive.invalid", (), True),
        ("evil.example", (), False), ("localhost.evil.example", (), False), ("127.0.0.1.nip.io", (), False),
        ("hub.example", ("hub.example",), True), ("HUB.example:443", ("hub.example",), True),
        ("x.hub.example", ("hub.example",), False), ("evil.example", ("*",), True), ("a b", ("*",), False),
    ],
)  # fmt: skip
def test_names_that_are_ours(host: str, known: tuple[str, ...], ours: bool) -> None:
    assert is_ours(host, known) is ours
