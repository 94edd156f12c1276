"""A server without a port: both bodies stream, and what breaks is seen as it would be over a socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from dicomlab.web.in_process import InProcessAdapter

URL = "http://archive.invalid/x"


@pytest.fixture
def serve() -> Iterator[Callable[..., requests.Session]]:
    sessions = []

    def start(application: Any) -> requests.Session:
        session = requests.Session()
        session.mount("http://", InProcessAdapter(application))
        sessions.append(session)
        return session

    yield start
    for session in sessions:
        session.close()
    assert "dicomlab in-process server" not in {thread.name for thread in threading.enumerate()}


def answering(*pieces: bytes, length: int | None = None, fails: bool = False) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        headers = [] if length is None else [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if fails:
            raise ValueError("broken")
        await send({"type": "http.response.body", "body": b""})

    return application


async def echo(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": [(b"x-path", scope["path"].encode())]})
    while True:
        message = await receive()
        await send({"type": "http.response.body", "body": message["body"].upper(), "more_body": True})
        if not message["more_body"]:
            break
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("body", [b"abc" * 1000, "abc" * 1000, [b"ab", b"c" * 2998]])
def test_bodies_go_there_and_come_back(serve: Callable[..., requests.Session], body: Any) -> None:
    answer = serve(echo).post(URL + "/%41?q=1", data=iter(body) if isinstance(body, list) else body)
    assert answer.status_code == 201
    assert answer.reason == "Created"
    assert answer.headers["X-Path"] == "/x/A"
    assert len(answer.content) == 3000
    assert answer.content.isupper()


def test_an_answer_is_made_as_it_is_read(serve: Callable[..., requests.Session]) -> None:
    made = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal made
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            made += 1
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})

    with serve(endless).get(URL, stream=True) as answer:
        assert next(answer.iter_content(5000)) == b"x" * 5000
    assert made < 300


def test_what_is_shorter_than_it_said(serve: Callable[..., requests.Session]) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
        serve(answering(b"123", length=10)).get(URL)


def test_what_breaks_off(serve: Callable[..., requests.Session]) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError, match="broken"):
        serve(answering(b"123", fails=True)).get(URL)


def test_an_application_that_fails_before_it_answers(serve: Callable[..., requests.Session]) -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        raise ValueError("at once")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    for application, words in ((failing, "at once"), (silent, "without an answer")):
        with pytest.raises(requests.exceptions.ConnectionError, match=words):
            serve(application).get(URL)


def test_patience_ends(serve: Callable[..., requests.Session]) -> None:
    left = threading.Event()

    async def waiting(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/head":
            await asyncio.Event().wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        left.set()

    session = serve(waiting)
    with pytest.raises(requests.exceptions.ReadTimeout):
        session.get("http://archive.invalid/head", timeout=0.1)
    with pytest.raises(requests.exceptions.ConnectionError):
        session.get("http://archive.invalid/body", timeout=(1, 0.1))
    assert left.wait(10)


def test_a_head_has_no_body(serve: Callable[..., requests.Session]) -> None:
    answer = serve(answering(b"123", length=3)).head(URL)
    assert (answer.content, answer.headers["Content-Length"]) == (b"", "3")


def test_it_works_where_a_loop_runs_and_again_after_it_was_closed(serve: Callable[..., requests.Session]) -> None:
    session = serve(answering(b"1"))

    async def inside() -> bytes:
        return session.get(URL).content

    assert asyncio.run(inside()) == b"1"
    session.close()
    assert session.get(URL).content == b"1"
