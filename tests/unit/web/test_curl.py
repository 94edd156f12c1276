"""A request as a curl command: the same request, never a credential, masked where it may name a patient."""

from __future__ import annotations

import shlex

from hypothesis import given
from hypothesis import strategies as st

from dicomlab.web.curl import curl
from dicomlab.web.fields import HttpReader

HEAD = (
    b"POST /dicom-web/studies?PatientName=Doe%5EJane&limit=5 HTTP/1.1\r\nHost: pacs:8080\r\n"
    b"Accept: application/dicom+json\r\nAuthorization: Bearer abc\r\nCookie: s=1\r\nContent-Length: 10\r\n\r\n"
)


def test_the_same_request_without_its_secrets() -> None:
    assert curl(HEAD, "https://user:pw@pacs:8080/dicom-web").splitlines() == [
        "curl 'https://pacs:8080/dicom-web/studies?PatientName=Doe%5EJane&limit=5' \\",
        "  --request POST \\",
        "  --header 'Accept: application/dicom+json' \\",
        "  --header 'Authorization: '\"$SECRET\" \\",
        "  --header 'Cookie: '\"$SECRET\" \\",
        "  --data-binary @body",
    ]


def test_patients_are_masked() -> None:
    private = HttpReader()("sent", HEAD).private
    assert "PatientName=XXX&limit=5" in curl(HEAD, "http://pacs:8080", private)


def test_what_is_no_request_is_no_command() -> None:
    assert curl(b"HTTP/1.1 200 OK\r\n\r\n", "http://a") == ""
    assert curl(b"", "") == ""


@given(st.text(max_size=60), st.text(max_size=40))
def test_no_text_leaves_its_word(target: str, value: str) -> None:
    path, text = (one.encode("utf-8", "replace") for one in (target, value))
    octets = (
        b"GET /"
        + b"".join(path.split())
        + b" HTTP/1.1\r\nAccept: "
        + text.replace(b"\r", b"").replace(b"\n", b"")
        + b"\r\n\r\n"
    )
    command = curl(octets, "http://pacs")
    if command:
        words = shlex.split(command.replace("\\\n", ""))
        assert words[0] == "curl"
        assert words[1].startswith("http://pacs/")
        assert set(words[2::2]) <= {"--header", "--output"}
        assert command.isascii()
