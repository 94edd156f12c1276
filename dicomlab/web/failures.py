"""What an exception of requests, urllib3 or the system means here: one condition, one class of our tree."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from http import client

import requests
import urllib3

from dicomlab.errors import DicomlabError, Interrupted, RemoteProtocolError, Unreachable, UsageError
from dicomlab.model.summary import visible

_SECTION = "RFC 9110"


class TooSlow(TimeoutError):
    """An answer comes in drops: no time between two of them is too long, but together they lead nowhere."""


_USAGE = (
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.URLRequired,
    requests.exceptions.InvalidHeader,
    requests.exceptions.InvalidProxyURL,
    urllib3.exceptions.LocationValueError,
)
_TLS = (requests.exceptions.SSLError, urllib3.exceptions.SSLError, ssl.SSLError)
_NO_CONNECTION = (
    requests.exceptions.ConnectTimeout,
    requests.exceptions.ProxyError,
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    ConnectionRefusedError,
    socket.gaierror,
)
_BROKEN_BODY = (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)
_BAD = (
    requests.exceptions.InvalidJSONError,
    requests.exceptions.TooManyRedirects,
    urllib3.exceptions.InvalidHeader,
    urllib3.exceptions.ResponseNotChunked,
    urllib3.exceptions.BodyNotHttplibCompatible,
    urllib3.exceptions.ResponseError,
    urllib3.exceptions.HeaderParsingError,
)
_NO_HTTP = (client.BadStatusLine, client.LineTooLong, client.UnknownProtocol)
_SLOW = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError)


@contextmanager
def mapped(url: str, timeout_s: float) -> Iterator[None]:
    """Turn the exceptions of requests, urllib3 and the system into those of our tree, and cut them off.

    They hold the request, and that holds who asks: nothing that is reachable from our error may, since errors are
    shown, kept and pickled. What matters of them stands in the message.
    """
    failure: DicomlabError | None = None
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, client.HTTPException, OSError) as error:
        failure = translated(error, url, timeout_s)
    if failure is not None:
        try:
            raise failure
        finally:
            failure.__context__ = None  # a with statement around us gives it the one that is being handled there


def translated(error: Exception, url: str, timeout_s: float) -> DicomlabError:
    """Give the error of our tree that an exception of requests, urllib3 or the system means here.

    Parameters
    ----------
    error : Exception
    url : str
        Who was asked.
    timeout_s : float
        For how long.
    """
    causes = tuple(_causes(error))

    def among(kinds: tuple[type[BaseException], ...]) -> bool:
        return any(isinstance(one, kinds) for one in causes)

    if among(_USAGE):
        return UsageError(f"{url}: this is no URL that can be asked: {visible(str(error), 200)}")
    if among(_TLS):
        return Unreachable(
            f"no secure connection: {visible(str(causes[-1]), 200)}; is the certificate of an own authority?"
            " verify_tls=\"path/to/ca.pem\" trusts it",
            endpoint=url,
        )  # fmt: skip
    if among(_NO_CONNECTION):
        return Unreachable(
            f"no connection ({visible(str(causes[-1]), 160)}); is the server running, and are host and port right?",
            endpoint=url,
        )
    if slow := next((one for one in causes if isinstance(one, TooSlow)), None):
        return Interrupted(f"{slow}; a slower link needs WebEndpoint(..., timeout_s=)", endpoint=url)
    if among(_SLOW):
        return Interrupted(
            f"nothing came for {timeout_s:g} s; a slow server needs WebEndpoint(..., timeout_s=)",
            endpoint=url,
        )
    if among(_BROKEN_BODY):
        return RemoteProtocolError("the body is not compressed as its head says", section=f"{_SECTION} §8.4")
    cut = isinstance(causes[-1], client.BadStatusLine) and "HTTP/".startswith(str(causes[-1])[:5])
    if among(_NO_HTTP) and not cut and not among((client.RemoteDisconnected,)):
        return RemoteProtocolError(f"this is no HTTP: {visible(str(causes[-1]), 100)}", section="RFC 9112 §4")
    if among(_BAD):
        return RemoteProtocolError(f"the answer is broken: {visible(str(error), 200)}", section=_SECTION)
    return Interrupted(f"the connection broke off ({visible(str(causes[-1]), 160)})", endpoint=url)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it wraps, outermost first."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo and len(seen) < 20:
        one = todo.pop(0)
        if isinstance(one, BaseException) and one not in seen:
            seen.append(one)
            todo += [getattr(one, "reason", None), *one.args, one.__cause__]
    return iter(seen)
