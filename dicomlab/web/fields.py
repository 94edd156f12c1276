"""The fields of an HTTP message on the wire, each with its octets and what it is for, for people to read.

Source
------
RFC 9110, RFC 9112 §2.1; PS3.18 §8.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

from dicomlab.errors import UsageError
from dicomlab.model.columns import column
from dicomlab.model.reading import Direction, Field, Reading
from dicomlab.model.workitem import is_uid
from dicomlab.web.dissect import dissect

_REQUEST = re.compile(rb"([A-Z]{3,7}) (\S+) (HTTP/1\.[01])\r\n")
_RESPONSE = re.compile(rb"(HTTP/[\d.]+) (\d{3}) ?([^\r\n]*)\r\n")
_HEADER = re.compile(rb"([!-9;-~]+):[ \t]*([^\r\n]*)\r\n")
MAX_FIELDS = 200
_LONGEST = 300
_FOR = {
    "accept": ("which media types and transfer syntaxes the client takes", "PS3.18 §8.7.5"),
    "authorization": ("who asks; the credential is blanked where it was recorded", "RFC 9110 §11.6.2"),
    "content-type": ("what the body is", "PS3.18 §8.7.3"),
    "content-length": ("octets of the body", "RFC 9110 §8.6"),
    "content-location": ("where the answer can be had alone", "RFC 9110 §8.7"),
    "host": ("which server is meant", "RFC 9110 §7.2"),
    "transfer-encoding": ("how the end of the body is told", "RFC 9112 §6.1"),
    "user-agent": ("the software that asks", "RFC 9110 §10.1.5"),
    "server": ("the software that answers", "RFC 9110 §10.2.4"),
    "warning": ("what the server wants to be known beside its answer", "PS3.18 §8.6.3"),
    "retry-after": ("when to ask again", "RFC 9110 §10.2.3"),
    "location": ("where to go instead", "RFC 9110 §10.2.2"),
    "www-authenticate": ("which credentials the server wants", "RFC 9110 §11.6.1"),
    "connection": ("whether the connection stays open", "RFC 9110 §7.6.1"),
}
_PARAMETERS = {
    "limit": ("most matches of one answer", "PS3.18 §8.3.4.4"),
    "offset": ("matches to be passed over", "PS3.18 §8.3.4.4"),
    "includefield": ("an attribute to be returned", "PS3.18 §8.3.4.3"),
    "fuzzymatching": ("whether names may match by sound", "PS3.18 §8.3.4.2"),
    "accept": ("media types, where a client can't set a header", "PS3.18 §8.3.3.1"),
    "deletionlock": ("whether final work items are kept until unsubscribed", "PS3.18 §11.10.1.2"),
}
_WORK = (
    ("PUT", "/workitems/[0-9.]+/state", "changes the state of a work item", "PS3.18 §11.7"),
    ("POST", "/workitems/[0-9.]+/cancelrequest", "requests that a work item be canceled", "PS3.18 §11.8"),
    ("POST", "/workitems/[0-9.]+/subscribers/[^/]+/suspend", "subscribes to no further work items", "PS3.18 §11.12"),
    ("POST", "/workitems/[0-9.]+/subscribers/[^/]+", "subscribes to events of work items", "PS3.18 §11.10"),
    ("DELETE", "/workitems/[0-9.]+/subscribers/[^/]+", "ends a subscription to events", "PS3.18 §11.11"),
    ("POST", "/workitems/[0-9.]+", "updates a work item", "PS3.18 §11.6"),
    ("GET", "/workitems/[0-9.]+", "retrieves a work item", "PS3.18 §11.5"),
    ("POST", "/workitems", "creates a work item", "PS3.18 §11.4"),
    ("GET", "/workitems", "searches for work items", "PS3.18 §11.9"),
    ("GET", "/subscribers/[^/]+", "opens a notification connection", "PS3.18 §8.10.4"),
    ("POST", "/commitment-requests/[0-9.]+", "requests storage commitment", "PS3.18 §13"),
    ("GET", "/commitment-requests/[0-9.]+", "asks for the result of a storage commitment", "PS3.18 §13"),
)
"""What a request of the Worklist and the Storage Commitment Service is for, by verb and the end of its path."""
_SENTENCES = {
    "GET": "asks for a representation of a resource",
    "HEAD": "asks for the head alone",
    "POST": "sends instances to be stored, or a request that changes something",
    "PUT": "sends what shall stand at that place",
    "DELETE": "asks to remove a resource",
    "OPTIONS": "asks what the server can do",
}


class HttpReader:
    """Reads the messages of one HTTP conversation. Never fails, whatever they are."""

    def __call__(self, direction: Direction, octets: bytes) -> Reading:
        """Read the next run of octets: a head, or a part of a body."""
        text = dissect(octets)
        if found := _REQUEST.match(octets):
            verb = found[1].decode()
            fields = (*_request(octets, found), *_headers(octets, found.end()))
            does, section = _purpose(verb, found[2].partition(b"?")[0].decode("latin-1"))
            sentence = f"The client {does} ({verb}, {section})."
            private = tuple(_value(octets, one) for field in fields for one in field.children if one.identifying)
            return Reading(text, fields, "", sentence, private)
        if found := _RESPONSE.match(octets):
            status, reason = found[2].decode(), _text(found[3])
            fields = (
                Field("HTTP version", _text(found[1]), "", "RFC 9112 §2.3", *found.span(1)),
                Field("Status", _text(found[2]), reason, "PS3.18 §8.5", *found.span(2)),
                *_headers(octets, found.end()),
            )
            trouble = "failure" if status[0] in "45" else ""
            return Reading(text, fields, "", f"The server answers {status} {reason} (PS3.18 §8.5).", (), trouble)
        body = Field("Body", f"{len(octets)} octets", "values may identify a patient", "PS3.18 §8.6", 0, len(octets))
        return Reading(text, (body,), "", "", ((0, len(octets)),))


def _purpose(verb: str, path: str) -> tuple[str, str]:
    """What a request is for, and where the standard says so."""
    for method, end, does, section in _WORK:
        if method == verb and re.search(f"{end}/?$", path[-2 * _LONGEST :]):
            return does, section
    return _SENTENCES.get(verb, "sends a request"), "PS3.18 §8.1"


def _value(octets: bytes, parameter: Field) -> tuple[int, int]:
    """The octets of a parameter's value; all of it where it has no value."""
    sign = octets.find(b"=", parameter.start, parameter.end)
    return (parameter.start if sign < 0 else sign + 1, parameter.end)


def _request(octets: bytes, found: re.Match[bytes]) -> Iterator[Field]:
    yield Field("Method", found[1].decode(), "", "RFC 9110 §9", *found.span(1))
    start, end = found.span(2)
    path, mark, query = found[2].partition(b"?")
    at = start + len(path) + len(mark)
    pairs = []
    for pair in query.split(b"&", MAX_FIELDS) if query else ():
        if pair:
            pairs.append(_parameter(pair, at))
        at += len(pair) + 1
    yield Field("Target resource", _text(path), "", "PS3.18 §8.2", start, end, tuple(pairs))


def _parameter(pair: bytes, at: int) -> Field:
    raw, _, given = pair.partition(b"=")
    name, value = unquote_plus(_text(raw)), unquote_plus(_text(given))
    if name.lower() in _PARAMETERS:
        meaning, section = _PARAMETERS[name.lower()]
        return Field(name, value, meaning, section, at, at + len(pair))
    if not given and is_uid(name):
        return Field(name, "", "the work item, or its Transaction UID", "PS3.18 §11.1.2", at, at + len(pair))
    try:
        known = column(name)
        identifying, meaning = known.identifying, f"matching key ({known.vr})"
    except UsageError:
        identifying, meaning = True, "a parameter"
    return Field(name, value, meaning, "PS3.18 §8.3.4.1", at, at + len(pair), (), identifying)


def _headers(octets: bytes, at: int) -> Iterator[Field]:
    for _ in range(MAX_FIELDS):
        found = _HEADER.match(octets, at)
        if found is None:
            return
        meaning, section = _FOR.get(found[1].decode("latin-1").lower(), ("", "RFC 9110 §5"))
        yield Field(_text(found[1]), _text(found[2]), meaning, section, found.start(), found.end() - 2)
        at = found.end()


def _text(octets: bytes) -> str:
    text = octets[: _LONGEST + 1].decode("latin-1")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
