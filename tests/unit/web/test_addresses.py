"""Where redirects lead, and what is of one origin."""

from __future__ import annotations

import pytest

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.addresses import followed, same_origin

BASE = "https://host.example:8443/dicom-web/studies?limit=1"


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/there", "https://host.example:8443/there"),
        ("series", "https://host.example:8443/dicom-web/series"),
        ("http://other.example/x?y", "http://other.example/x?y"),
        ("//other.example/x", "https://other.example/x"),
    ],
)
def test_where_a_redirect_leads(target: str, found: str) -> None:
    assert followed(BASE, target) == found


@pytest.mark.parametrize(
    "target",
    ["http://[", "http://host:99999/", "http://host:0/", "http:///x", "file:///etc/passwd", "http://h\xfc/", "data:,x"],
)
def test_where_no_redirect_leads(target: str) -> None:
    with pytest.raises(RemoteProtocolError, match="redirect"):
        followed(BASE, target)


def test_one_origin() -> None:
    assert same_origin("https://Host.example", "https://host.example:443/x")
    assert not same_origin("http://host.example:443", "https://host.example")
    assert not same_origin("https://host.example:8443", "https://host.example")
    assert not same_origin("https://host.example:99999/", "https://host.example")
    assert not same_origin("http://[", "http://host.example")
