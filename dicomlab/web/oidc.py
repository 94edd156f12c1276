"""Tokens from an OpenID provider: by client credentials, or by a person who signs in on any device.

::

    auth = ClientCredentials("https://login.example.org/realms/clinic", "dicomlab", secret=lambda: os.environ["SECRET"])
    auth = DeviceSignIn("https://login.example.org/realms/clinic", "dicomlab")
    WebEndpoint("https://pacs.example.org/dicom-web", auth=auth)

The provider is asked when a request needs a token, not before. Secrets and tokens travel to its own endpoints only,
over TLS or within this machine, and are never shown.

Source
------
RFC 6749 §4.4 (client credentials), §6 (refresh), RFC 8628 (device authorization), OpenID Connect Discovery 1.0 §4.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlsplit

import requests

from dicomlab.errors import Interrupted, Refused, RemoteProtocolError, UsageError
from dicomlab.model.progress import pause
from dicomlab.model.summary import visible
from dicomlab.web.auth import Bearer, Nobody
from dicomlab.web.failures import mapped

MAX_ANSWER = 1 << 20
TIMEOUT_S = 30.0
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SHORTEST_POLL_S, _LONGEST_POLL_S, _LONGEST_SIGN_IN_S = 1.0, 60.0, 1800.0
_LONGEST_TOKEN_S = 86_400.0

Secret = str | Callable[[], str]


class _Provider:
    """An OpenID provider: where its endpoints are, and how they are asked."""

    def __init__(self, issuer: str, verify_tls: bool | str) -> None:
        self.issuer = _guarded(issuer, "the issuer").rstrip("/")
        self._verify = verify_tls
        self._known: Mapping[str, Any] | None = None

    def endpoint(self, name: str) -> str:
        """The URL of an endpoint, by its name in the provider's own description."""
        if self._known is None:
            status, found = self._ask("GET", f"{self.issuer}/.well-known/openid-configuration")
            if status != 200:
                text = f"it does not describe itself ({status}): is {self.issuer} the issuer?"
                raise Refused(text, endpoint=self.issuer)
            if str(found.get("issuer", "")).rstrip("/") != self.issuer:
                text = f"it calls itself {visible(str(found.get('issuer')), 200)}: give that as the issuer"
                raise Refused(text, endpoint=self.issuer)
            self._known = found
        url = self._known.get(name)
        if not isinstance(url, str):
            raise Refused(f"it has no {name.replace('_', ' ')}", endpoint=self.issuer)
        return _guarded(url, f"the {name.replace('_', ' ')}")

    def form(self, url: str, fields: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Mapping[str, Any]]:
        """Post a form; the status, and the object that answers."""
        encoded = None if basic is None else tuple(quote(one, safe="") for one in basic)  # RFC 6749 §2.3.1
        return self._ask("POST", url, data=dict(fields), auth=encoded)

    def _ask(self, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, Any]]:
        with requests.Session() as session:
            session.verify = self._verify
            if "auth" not in options or options["auth"] is None:
                options["auth"] = Nobody()
            with (
                mapped(url, TIMEOUT_S),
                session.request(
                    method, url, allow_redirects=False, stream=True, timeout=(5.0, TIMEOUT_S),
                    headers={"Accept": "application/json"}, **options,
                ) as answer,
            ):  # fmt: skip
                body, until = b"", time.monotonic() + TIMEOUT_S
                while chunk := answer.raw.read1(MAX_ANSWER, decode_content=True):
                    body += chunk
                    if len(body) > MAX_ANSWER or time.monotonic() > until:
                        raise RemoteProtocolError(f"{url}: an answer without end", section="RFC 6749 §5.1")
                status = answer.status_code
        try:
            found = json.loads(body) if body else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            if status == 200:
                raise RemoteProtocolError(f"{url}: the answer is no JSON object", section="RFC 6749 §5.1")
            found = {}
        return status, found


def _guarded(url: str, what: str) -> str:
    """Check that secrets may travel there."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise UsageError(f"{what} {visible(url, 100)!r} is no https:// URL: secrets would travel in the open")
    return url


class _Tokens(Bearer):
    """Tokens that a provider gives; a refresh token is used while there is one."""

    def __init__(self, issuer: str, client_id: str, scope: str, verify_tls: bool | str) -> None:
        super().__init__(self._obtain)
        self._provider = _Provider(issuer, verify_tls)
        self._client_id, self._scope = client_id, scope
        self._refresh = ""

    def _basic(self) -> tuple[str, str] | None:
        return None

    def _first(self) -> Mapping[str, Any]:
        raise NotImplementedError

    def _obtain(self) -> tuple[str, float]:
        answer = self._refreshed() if self._refresh else None
        answer = answer or self._first()
        token = answer.get("access_token")
        if not isinstance(token, str) or str(answer.get("token_type", "bearer")).lower() != "bearer":
            raise RemoteProtocolError(
                f"{self._provider.issuer}: the answer has no bearer token", section="RFC 6749 §5.1"
            )
        self._refresh = str(answer.get("refresh_token") or self._refresh)
        seconds = answer.get("expires_in")
        if isinstance(seconds, str) and seconds.isdecimal():
            seconds = int(seconds[:9])
        return token, _bounded(seconds, 60.0, 1.0, _LONGEST_TOKEN_S)

    def _refreshed(self) -> Mapping[str, Any] | None:
        """A token by the refresh token; None where that has ended too."""
        fields = {"grant_type": "refresh_token", "refresh_token": self._refresh}
        status, answer = self._post(fields)
        self._refresh = self._refresh if status == 200 else ""
        return answer if status == 200 else None

    def _post(self, fields: Mapping[str, str]) -> tuple[int, Mapping[str, Any]]:
        basic = self._basic()
        named = dict(fields) if basic else {**fields, "client_id": self._client_id}
        return self._provider.form(self._provider.endpoint("token_endpoint"), named, basic)

    def _refuse(self, status: int, answer: Mapping[str, Any]) -> Refused:
        said = answer.get("error_description") or answer.get("error") or "it says nothing"
        return Refused(f"no token ({status}): {visible(str(said), 300)}", endpoint=self._provider.issuer)


class ClientCredentials(_Tokens):
    """A program signs in for itself, by an identifier and a secret.

    Parameters
    ----------
    issuer : str
        The URL of the OpenID provider (of its realm, tenant, ...), as it calls itself.
    client_id : str
    secret : str or callable
        A function is asked each time, so that nothing keeps the secret.
    scope : str
        What the token is to be good for, as the provider names it.
    verify_tls : bool or str
        As for :class:`~dicomlab.web.endpoint.WebEndpoint`.

    Source
    ------
    RFC 6749 §4.4.
    """

    def __init__(
        self, issuer: str, client_id: str, secret: Secret, *, scope: str = "", verify_tls: bool | str = True
    ) -> None:
        super().__init__(issuer, client_id, scope, verify_tls)
        self._secret = secret

    def _basic(self) -> tuple[str, str]:
        return self._client_id, self._secret() if callable(self._secret) else self._secret

    def _first(self) -> Mapping[str, Any]:
        status, answer = self._post(
            {"grant_type": "client_credentials"} | ({"scope": self._scope} if self._scope else {})
        )
        if status != 200:
            raise self._refuse(status, answer)
        return answer


class DeviceSignIn(_Tokens):
    """A person signs in with a browser on any device: a URL and a code are shown, and the work goes on afterwards.

    Parameters
    ----------
    issuer, client_id, scope, verify_tls
        As for :class:`ClientCredentials`.
    show : callable, optional
        Gets the URL and the code, to be shown to the person; without it they are written to standard error.

    Source
    ------
    RFC 8628.
    """

    def __init__(
        self,
        issuer: str,
        client_id: str,
        *,
        scope: str = "openid",
        verify_tls: bool | str = True,
        show: Callable[[str, str], object] | None = None,
    ) -> None:
        super().__init__(issuer, client_id, scope, verify_tls)
        self._show = show or _to_standard_error

    def _first(self) -> Mapping[str, Any]:
        where = self._provider.endpoint("device_authorization_endpoint")
        status, asked = self._provider.form(where, {"client_id": self._client_id, "scope": self._scope}, None)
        if status != 200 or not isinstance(asked.get("device_code"), str):
            raise self._refuse(status, asked)
        self._show(visible(str(asked.get("verification_uri", "")), 300), visible(str(asked.get("user_code", "")), 40))
        every_s = _bounded(asked.get("interval"), 5.0, _SHORTEST_POLL_S, _LONGEST_POLL_S)
        until = time.monotonic() + _bounded(asked.get("expires_in"), 600.0, 1.0, _LONGEST_SIGN_IN_S)
        fields = {"grant_type": _DEVICE_GRANT, "device_code": asked["device_code"]}
        while time.monotonic() < until:
            if pause(every_s):
                break
            status, answer = self._post(fields)
            if status == 200:
                return answer
            if answer.get("error") == "slow_down":
                every_s = min(every_s + 5.0, _LONGEST_POLL_S)
            elif answer.get("error") != "authorization_pending":
                raise self._refuse(status, answer)
        raise Interrupted("nobody signed in before the code ended", endpoint=self._provider.issuer)


def _bounded(value: Any, default: float, least: float, most: float) -> float:
    number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default
    return min(max(number, least), most)


def _to_standard_error(url: str, code: str) -> None:
    sys.stderr.write(f"To sign in, open {url} and enter the code {code}\n")
    sys.stderr.flush()
