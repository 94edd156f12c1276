"""What servers say of themselves: read, or refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.wadl import methods

NESTED = b"""<?xml version="1.0"?><application xmlns="http://wadl.dev.java.net/2009/02"><resources base="http://h/rs">
<resource path="studies"><method name="GET"/><method name="POST"/>
 <resource path="{study}"><method name="get"/><resource path="series/{series}"><method name="DELETE"/></resource></resource>
</resource><resource path="/instances"><method name="GET"/></resource></resources></application>"""


def test_nested_and_flat_resources() -> None:
    assert methods(NESTED) == [
        ("GET", "/studies"),
        ("POST", "/studies"),
        ("GET", "/studies/{study}"),
        ("DELETE", "/studies/{study}/series/{series}"),
        ("GET", "/instances"),
    ]


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{}",
        b"<a>",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<a>" + b'<resource path="x">' * 40,
        b'<a><resource path="x">' + b'<method name="GET"/>' * 1002,
    ],
)
def test_what_is_none(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        methods(octets)


@given(st.binary(max_size=60))
def test_anything_is_read_or_refused(octets: bytes) -> None:
    with suppress(RemoteProtocolError):
        methods(b"<a>" + octets + b"</a>")
