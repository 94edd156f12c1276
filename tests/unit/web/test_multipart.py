"""multipart/related: the reader at every split point, against everything that servers send, and the writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.multipart import MAX_HEADERS, Begin, Data, Event, PartReader, closing, part_head

B = "b.o=u?nd'ary"


def read(octets: bytes, step: int | None = None, boundary: str = B) -> list[tuple[dict[str, str], bytes]]:
    """The whole parts; a part that did not end is not among them. What is fed and what is read into room are one."""
    step = step or max(len(octets), 1)
    pieces = [octets[at : at + step] for at in range(0, len(octets), step)]
    fed, filled = PartReader(boundary), PartReader(boundary)

    def into_room(piece: bytes) -> Iterator[Event]:
        room = filled.room()
        room[: len(piece)] = piece
        return filled.filled(len(piece))

    told = [_told(fed, (fed.feed(piece) for piece in pieces)), _told(filled, map(into_room, pieces))]
    assert str(told[0]) == str(told[1])
    if isinstance(told[0], RemoteProtocolError):
        raise told[0]
    return told[0]


def _told(
    reader: PartReader, given: Iterable[Iterable[Event]]
) -> list[tuple[dict[str, str], bytes]] | RemoteProtocolError:
    parts: list[tuple[dict[str, str], bytes]] = []
    headers: dict[str, str] = {}
    body = b""
    try:
        for events in given:
            for event in events:
                if isinstance(event, Begin):
                    headers, body = dict(event.headers), b""
                elif isinstance(event, Data):
                    body += event.octets
                else:
                    parts.append((headers, body))
        reader.close()
    except RemoteProtocolError as error:
        return error
    return parts


def written(bodies: list[bytes], *, lengths: bool = True) -> bytes:
    out = b""
    for at, body in enumerate(bodies):
        headers = {"Content-Type": "application/dicom"} | ({"Content-Length": str(len(body))} if lengths else {})
        out += part_head(B, headers, first=at == 0) + body
    return out + closing(B)


GOOD = {
    "one": (b"--%b\r\nA: 1\r\n\r\nx\r\n--%b--\r\n", [({"a": "1"}, b"x")]),
    "no newline at the end": (b"--%b\r\n\r\nx\r\n--%b--", [({}, b"x")]),
    "preamble and epilogue": (b"Hello\r\n--%b\r\n\r\nx\r\n--%b--\r\nbye\r\n--%b\r\n", [({}, b"x")]),
    "a newline before the first": (b"\r\n--%b\r\n\r\nx\r\n--%b--", [({}, b"x")]),
    "line feeds only": (b"--%b\nA: 1\n\nx\ny\n--%b--\n", [({"a": "1"}, b"x\ny")]),
    "no headers": (b"--%b\r\n\r\nx\r\n--%b\r\n\r\ny\r\n--%b--", [({}, b"x"), ({}, b"y")]),
    "empty bodies": (b"--%b\r\nA: 1\r\n\r\n\r\n--%b\r\nA: 2\r\n\r\n--%b--", [({"a": "1"}, b""), ({"a": "2"}, b"")]),
    "blanks after the boundary": (b"--%b \t\r\n\r\nx\r\n--%b  \r\n\r\ny\r\n--%b--", [({}, b"x"), ({}, b"y")]),
    "a longer boundary is data": (b"--%b\r\n\r\nx\r\n--%bZ\r\ny\r\n--%b--", [({}, b"x\r\n--%bZ\r\ny")]),
    "the boundary within a line is data": (b"--%b\r\n\r\nx--%b\r\n--%b--", [({}, b"x--%b")]),
    "ends in newlines": (b"--%b\r\n\r\nx\r\n\r\n\r\n--%b--", [({}, b"x\r\n\r\n")]),
    "ends in a carriage return": (b"--%b\r\n\r\nx\r\r\n--%b--", [({}, b"x\r")]),
    "folded header": (b"--%b\r\nA: 1;\r\n b=2\r\n\r\nx\r\n--%b--", [({"a": "1; b=2"}, b"x")]),
    "a line that is no header": (b"--%b\r\nnonsense\r\nA: 1\r\n\r\nx\r\n--%b--", [({"a": "1"}, b"x")]),
    "no parts": (b"--%b--\r\n", []),
    "a length that is right, over what looks like a delimiter": (
        b"--%b\r\nContent-Length: 35\r\n\r\n1234567890\r\n--%b\r\n567890\r\n--%b--",
        [({"content-length": "35"}, b"1234567890\r\n--%b\r\n567890"[:35] + b"")],
    ),
    "a length that is too short": (
        b"--%b\r\nContent-Length: 3\r\n\r\n1234567890\r\n--%b--",
        [({"content-length": "3"}, b"1234567890")],
    ),
    "a length that is no number": (
        b"--%b\r\nContent-Length: -1\r\n\r\nabc\r\n--%b--",
        [({"content-length": "-1"}, b"abc")],
    ),
}


def fill(octets: bytes) -> bytes:
    return octets.replace(b"%b", B.encode())


def expected(parts: list[tuple[dict[str, str], bytes]]) -> list[tuple[dict[str, str], bytes]]:
    return [(headers, fill(body)) for headers, body in parts]


@pytest.mark.parametrize("name", GOOD)
def test_reads_at_every_chunk_size(name: str) -> None:
    octets, parts = GOOD[name]
    whole = fill(octets)
    if "over what looks like" in name:  # its length is that of its filled-in body
        body = fill(b"1234567890\r\n--%b\r\n567890")
        whole = whole.replace(b"Content-Length: 35", b"Content-Length: %d" % len(body))
        parts = [({"content-length": str(len(body))}, body)]
    for step in (*range(1, 71), len(whole)):
        assert read(whole, step) == expected(parts), step


@pytest.mark.parametrize("name", [n for n in GOOD if n != "no parts" and "epilogue" not in n])
def test_a_body_cut_anywhere_is_known_to_be_incomplete(name: str) -> None:
    whole = fill(GOOD[name][0]).rstrip(b"\r\n")
    for end in range(len(whole)):
        with pytest.raises(RemoteProtocolError):
            read(whole[:end])


def test_a_cut_part_never_ends() -> None:
    whole = written([b"a" * 100, b"b" * 100])
    at = whole.index(b"bbbb") + 50
    reader = PartReader(B)
    events = list(reader.feed(whole[:at]))
    assert sum(isinstance(e, Begin) for e in events) == 2
    assert [type(e).__name__ for e in events].count("End") == 1
    assert reader.inside
    assert not reader.complete


@given(st.lists(st.binary(max_size=200), max_size=5), st.integers(1, 300), st.booleans())
def test_what_is_written_is_read(bodies: list[bytes], step: int, lengths: bool) -> None:
    octets = written(bodies, lengths=lengths) if bodies else closing(B)
    assert [body for _, body in read(octets, step)] == bodies


@given(
    st.lists(st.sampled_from([b"\r\n--%b", b"\r\n", b"--", b"-", b"\n", b"\r", b"x", b" ", b"--%b--"]), max_size=12),
    st.integers(1, 40),
)
def test_with_lengths_any_body_survives(pieces: list[bytes], step: int) -> None:
    body = fill(b"".join(pieces))
    assert [b for _, b in read(written([body, b"next"]), step)] == [body, b"next"]


@given(st.binary(max_size=300), st.integers(1, 50))
def test_fails_only_with_remote_protocol_error(octets: bytes, step: int) -> None:
    with suppress(RemoteProtocolError):
        read(b"--" + B.encode() + octets, step)


def test_a_length_that_is_too_long_is_a_lie() -> None:
    octets = fill(b"--%b\r\nContent-Length: 30\r\n\r\nabc\r\n--%b\r\n\r\n" + b"d" * 90 + b"\r\n--%b--")
    with pytest.raises(RemoteProtocolError, match="announces 30"):
        read(octets)


@pytest.mark.parametrize(
    ("octets", "what"),
    [
        (b"--%b\r\n" + b"a" * (MAX_HEADERS + 10), "headers beyond"),
        (b"a" * (MAX_HEADERS + 10), "no delimiter"),
        (b"--%b\r\n\r\nx\r\n--%b" + b" " * (3 * MAX_HEADERS), "closing delimiter"),
    ],
)
def test_memory_is_bounded(octets: bytes, what: str) -> None:
    reader = PartReader(B)

    def run() -> None:
        for at in range(0, len(octets), 4096):
            for _ in reader.feed(fill(octets)[at : at + 4096]):
                pass
            assert len(reader._kept) < 2 * MAX_HEADERS
        reader.close()

    with pytest.raises(RemoteProtocolError, match=what):
        run()


def test_parts_are_counted() -> None:
    reader = PartReader(B, max_parts=2)
    with pytest.raises(RemoteProtocolError, match="more than 2 parts"):
        list(reader.feed(written([b"1", b"2", b"3"])))


@pytest.mark.parametrize("lie", [-1, 2, 5, 40])
@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_a_length_that_lies_after_others_were_right_is_told(lie: int, step: int) -> None:
    """The first part's length proved right, so that of the second was believed."""
    out = b"".join(
        part_head(B, {"Content-Length": str(len(body) + extra)}, first=at == 0) + body
        for at, (body, extra) in enumerate([(b"a" * 50, 0), (b"b" * 50, lie), (b"c" * 50, 0)])
    )
    with pytest.raises(RemoteProtocolError, match="part 2 announces"):
        read(out + closing(B), step)


@pytest.mark.parametrize("step", [1, 7, 64, 1000])
def test_lengths_that_are_believed_pass_over_what_looks_like_a_delimiter(step: int) -> None:
    bodies = [b"a", fill(b"x\r\n--%b--\r\ny"), b"", fill(b"--%b\r\n"), b"z\r"]
    assert [body for _, body in read(written(bodies), step)] == bodies
