"""How a request says who asks. Nothing here shows a secret."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import NoReturn

from requests import PreparedRequest, Request
from requests.auth import AuthBase, HTTPBasicAuth

from dicomlab.errors import UsageError
from dicomlab.profiles import names_secret, secret

Auth = AuthBase | tuple[str, str] | Callable[[], "str | tuple[str, float]"] | None
EARLY_S = 60.0
"""How long before its end a token is replaced."""


class Bearer(AuthBase):
    """A bearer token (RFC 6750): text, or a function that gives one.

    A function that gives text is asked for each request. One that gives ``(text, seconds)`` says for how long the token
    is good: it is asked again a minute before that ends, or when the server no longer takes the token, and never by two
    threads at once.
    """

    def __init__(self, token: str | Callable[[], str | tuple[str, float]]) -> None:
        self._source = token
        self._lock = threading.Lock()
        self._token, self._good_until = "", 0.0

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Put the token into the head of a request."""
        token = self._current()
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise UsageError("the bearer token is no token: ASCII without spaces or line ends (RFC 6750 §2.1)")
        r.headers["Authorization"] = f"Bearer {token}"
        return r

    def _current(self) -> str:
        if not callable(self._source):
            return self._source
        with self._lock:
            if self._token and time.monotonic() < self._good_until:
                return self._token
            given = self._source()
            if isinstance(given, tuple):
                self._token, seconds = given
                self._good_until = time.monotonic() + max(seconds - EARLY_S, seconds / 2)
                return self._token
            return given

    def renew(self) -> bool:
        """Forget the token, which the server no longer takes; whether there may be another."""
        with self._lock:
            self._token, self._good_until = "", 0.0
        return callable(self._source)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(•••)"


class Basic(HTTPBasicAuth):
    """User and password (RFC 7617), as UTF-8."""

    def __init__(self, username: str, password: str) -> None:
        super().__init__(username.encode(), password.encode())

    def __repr__(self) -> str:
        return "Basic(•••)"

    def __reduce__(self) -> NoReturn:
        """Refuse: what is pickled is stored somewhere."""
        raise TypeError("credentials are not pickled")


class Nobody(AuthBase):
    """Says nothing of who asks, and keeps requests from looking for credentials in netrc."""

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Leave a request as it is."""
        return r


def authentication(auth: object) -> AuthBase | None:
    """Turn what a caller gave as ``auth`` into what requests takes.

    Parameters
    ----------
    auth : (user, password), Bearer, callable that gives a token, AuthBase of requests, or None

    Raises
    ------
    UsageError
        It is none of these. The message doesn't repeat it.
    """
    if auth is None or isinstance(auth, AuthBase):
        return auth
    if isinstance(auth, tuple) and len(auth) == 2 and all(isinstance(one, str) for one in auth):
        return Basic(*auth)
    if callable(auth):
        return Bearer(auth)
    raise UsageError(
        f"auth can't be a {type(auth).__name__}: give (user, password), dicomlab.web.auth.Bearer(token), a function"
        " that gives a token, or an AuthBase of requests"
    )


def from_profile(entry: Mapping[str, str]) -> AuthBase | None:
    """Authentication as a profile names it: a token is fetched for each request, and nothing is kept in it.

    Raises
    ------
    UsageError, MissingExtra
        When a request is made and the secret is not where the profile says; its name is told, never its value.
    """
    if names_secret(entry, "token"):
        return Bearer(lambda: secret(entry, "token"))
    if names_secret(entry, "user") and names_secret(entry, "password"):
        return Basic(secret(entry, "user"), secret(entry, "password"))
    return None


def headers_of(auth: AuthBase, url: str) -> dict[str, str]:
    """What a request to `url` says of who asks, as headers: for what is asked by other means than a request.

    Source
    ------
    RFC 9110 §11.6.2 (Authorization), RFC 6455 §4.1 (further headers of the opening handshake).
    """
    prepared = Request("GET", url).prepare()
    before = set(prepared.headers)
    signed = auth(prepared)
    return {str(name): str(value) for name, value in signed.headers.items() if name not in before}
