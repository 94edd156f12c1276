"""Nothing that is reachable from an error of the web says who asked: errors are shown, kept and pickled."""

from __future__ import annotations

import base64
import gc
import pickle
import socket
import types
from collections import deque
from collections.abc import Iterator

import pytest

from dicomlab import WebEndpoint
from dicomlab.errors import DicomlabError
from dicomlab.web.auth import Bearer
from dicomlab.web.oidc import _Provider

SECRET = "s3cretOfThisTest"
_ENCODED = base64.b64encode(f"reader:{SECRET}".encode()).decode()
_NOT_FOLLOWED = (types.ModuleType, type, types.FrameType, types.TracebackType, types.CodeType, WebEndpoint)
"""An endpoint is the caller's own, whom what had arrived names as its source: it has the credentials that he gave it."""


def reachable(start: BaseException, most: int = 20_000) -> Iterator[object]:
    """What an error holds on to, and what that does, without modules, types and frames."""
    seen, todo = {id(start)}, deque[object]([start])
    while todo and len(seen) < most:
        one = todo.popleft()
        yield one
        if isinstance(one, BaseException):
            todo += [other for other in (one.__cause__, one.__context__) if other is not None and id(other) not in seen]
        if isinstance(one, types.FunctionType):
            continue
        for other in gc.get_referents(one):
            if id(other) not in seen and not isinstance(other, _NOT_FOLLOWED):
                seen.add(id(other))
                todo.append(other)


def holds(error: BaseException) -> list[str]:
    texts = (
        one if isinstance(one, str) else bytes(one).decode("latin-1")
        for one in reachable(error)
        if isinstance(one, str | bytes | bytearray)
    )  # fmt: skip
    return [one[:80] for one in texts if SECRET in one or _ENCODED in one]


@pytest.fixture
def dead() -> Iterator[str]:
    """Where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def test_the_walk_finds_what_is_there(dead: str) -> None:
    import requests

    with pytest.raises(requests.ConnectionError) as caught:
        requests.get(dead, auth=("reader", SECRET), timeout=5)
    assert holds(caught.value)


@pytest.mark.parametrize("auth", [("reader", SECRET), Bearer(SECRET)])
def test_an_error_of_a_request(dead: str, auth: object) -> None:
    with pytest.raises(DicomlabError, match="no connection") as caught:
        WebEndpoint(dead, auth=auth).find("study", progress=False)
    assert holds(caught.value) == []
    assert SECRET.encode() not in pickle.dumps(caught.value)


def test_while_another_error_is_handled(dead: str) -> None:
    try:
        raise KeyError("somebody's own")
    except KeyError:
        with pytest.raises(DicomlabError) as caught:
            WebEndpoint(dead, auth=("reader", SECRET)).find("study", progress=False)
    assert holds(caught.value) == []


def test_an_error_of_a_provider_of_tokens(dead: str) -> None:
    with pytest.raises(DicomlabError, match="no connection") as caught:
        _Provider(dead, True).form(f"{dead}/token", {"client_secret": SECRET}, ("reader", SECRET))
    assert holds(caught.value) == []


@pytest.mark.parametrize("auth", [("reader", SECRET), Bearer(SECRET)])
def test_a_traceback_with_the_variables_of_its_frames(dead: str, auth: object) -> None:
    from IPython.core.ultratb import VerboseTB

    with pytest.raises(DicomlabError) as caught:
        WebEndpoint(dead, auth=auth).find("study", progress=False)
    text = VerboseTB(theme_name="nocolor").text(caught.type, caught.value, caught.tb)
    assert "Unreachable" in text
    shown = [line for line in text.splitlines() if SECRET in line]
    assert [line for line in shown if "auth = " not in line and "auth=(" not in line] == [], "but the caller's own"
    assert _ENCODED not in text
