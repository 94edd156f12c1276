"""The fields of an HTTP message, for people to read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicomlab.model.reading import Field
from dicomlab.web.fields import HttpReader

REQUEST = (
    b"GET /dicom-web/studies?PatientID=DOE123&00100010=Doe%5EJane&limit=10&odd=Jane HTTP/1.1\r\n"
    b"Host: 127.0.0.1:80\r\nAccept: application/dicom+json\r\n\r\n"
)


def flat(fields: tuple[Field, ...]) -> list[Field]:
    return [one for field in fields for one in (field, *flat(field.children))]


def test_a_request_line_its_parameters_and_headers() -> None:
    reading = HttpReader()("sent", REQUEST)
    fields = {one.name: one for one in flat(reading.fields)}
    assert fields["Method"].value == "GET"
    assert fields["Target resource"].value == "/dicom-web/studies"
    limit = fields["limit"]
    assert REQUEST[limit.start : limit.end] == b"limit=10"
    assert (limit.value, limit.section) == ("10", "PS3.18 §8.3.4.4")
    accept = fields["Accept"]
    assert REQUEST[accept.start : accept.end] == b"Accept: application/dicom+json"
    assert accept.meaning


def test_values_that_may_name_a_patient_are_masked() -> None:
    reading = HttpReader()("sent", REQUEST)
    shown = [one.shown(fictional=False) for one in flat(reading.fields)]
    assert not any("DOE123" in value or "Jane" in value for value in shown)
    assert any("Doe^Jane" in one.shown(fictional=True) for one in flat(reading.fields))
    assert [REQUEST[start:end] for start, end in reading.private] == [b"DOE123", b"Doe%5EJane", b"Jane"]
    assert "DOE123" not in reading.text + reading.sentence


def test_an_answer_and_a_body() -> None:
    reader = HttpReader()
    head = reader("received", b"HTTP/1.1 206 Partial Content\r\nContent-Type: application/dicom+json\r\n\r\n")
    assert head.sentence == "The server answers 206 Partial Content (PS3.18 §8.5)."
    assert {one.name for one in head.fields} == {"HTTP version", "Status", "Content-Type"}
    body = reader("received", b'[{"00100010":"Doe"}]')
    assert body.private == ((0, 20),)
    assert "Doe" not in body.text


@given(st.binary(max_size=200), st.sampled_from([b"", b"GET /", b"HTTP/1.1 200 OK\r\n", b"GET /a?b HTTP/1.1\r\n"]))
def test_nothing_makes_it_fail(octets: bytes, start: bytes) -> None:
    reading = HttpReader()("received", start + octets)
    assert all(0 <= one.start <= one.end <= len(start + octets) for one in flat(reading.fields))
