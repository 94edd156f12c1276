"""How a client reached the origin server: its base URL behind proxies, links to resources, names that are ours. No I/O.

Source
------
RFC 7239 (Forwarded), RFC 3986 §5 (relative references), PS3.18 §8.2 (base URI).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from posixpath import relpath

IN_PROCESS = "archive.invalid"
"""The name of an origin server that is reached without a socket; nobody can ever own it (RFC 6761)."""

_HOST = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:(?P<port>[0-9]{1,5}))?")
_PREFIX = re.compile(r"(/[A-Za-z0-9._~%@!$&'()*+,;=:-]*)*")
_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"([^"]*)"|([^;,\s]*))')
_PREFIX_HEADERS = ("x-forwarded-prefix", "x-script-name", "x-forwarded-context", "x-proxycontextpath")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the server is for this client, and how it is told where things are.

    Attributes
    ----------
    base : str
        The base URL, absolute.
    path : str
        The path of the request below it.
    relative : bool
        Whether links are relative to the URL of the request, and so need nothing of what lies between.
    """

    base: str
    path: str = "/"
    relative: bool = False

    def link(self, path: str) -> str:
        """Give the URL of a resource by its path below the base URL.

        Source
        ------
        RFC 3986 §5.2 (the last segment of the request's path does not count).
        """
        if not self.relative:
            return self.base + path
        found = relpath(path, self.path.rpartition("/")[0] or "/")
        return found if ":" not in found.partition("/")[0] else f"./{found}"


def address_of(
    headers: Mapping[str, str], *, scheme: str, server: tuple[str, int | None], root: str, path: str, relative: bool
) -> Address:
    """Work out the base URL that the client used, from what proxies say of it, else from Host.

    Parameters
    ----------
    headers : mapping
        Names in lower case.
    scheme : str
        ``http`` or ``https``, as the request reached us.
    server : (str, int)
        Where it reached us: a client on this machine may forget the port in Host, and is told it.
    root : str
        The path at which the service begins here.
    path : str
        The path of the request below it.
    relative : bool
        Whether links shall be relative.

    Source
    ------
    RFC 7239 §4; ``X-Forwarded-Proto``, ``-Host``, ``-Port`` and ``-Prefix`` of proxies that are older.
    """
    forwarded = _forwarded(headers.get("forwarded", ""))
    proto = (forwarded.get("proto") or _first(headers.get("x-forwarded-proto", ""))).lower()
    given = forwarded.get("host") or _first(headers.get("x-forwarded-host", ""))
    found = _HOST.fullmatch(given) or _HOST.fullmatch(headers.get("host", ""))
    name, port = (found["name"], found["port"]) if found else (_literal(server[0]), None)
    behind = bool(given or proto)
    if not behind and port is None and server[1] is not None and (not found or _is_here(name, server[0])):
        port = str(server[1])
    if behind and port is None and (told := _first(headers.get("x-forwarded-port", ""))).isdecimal():
        port = None if (proto or scheme, told) in (("http", "80"), ("https", "443")) else told[:5]
    at = f"{name}:{port}" if port else name
    base = f"{proto if proto in ('http', 'https') else scheme}://{at}{prefix_of(headers)}{root}"
    return Address(base, path, relative)


def prefix_of(headers: Mapping[str, str]) -> str:
    """The path below which a proxy shows this server, without a slash at its end; empty where none says so."""
    prefixes = (_first(headers.get(name, "")).rstrip("/") for name in _PREFIX_HEADERS)
    return next((one for one in prefixes if one and _PREFIX.fullmatch(one) and ".." not in one), "")


def is_ours(host: str, known: Iterable[str] = ()) -> bool:
    """Whether a Host header can be meant for a server on this machine: by number, as localhost, or by a known name.

    A page elsewhere whose name is made to lead here (DNS rebinding) sends its own name, and must get nothing.

    Source
    ------
    RFC 9110 §7.2 (Host), §7.4 (rejecting misdirected requests).
    """
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name = found["name"].lower().rstrip(".")
    if name in ("localhost", IN_PROCESS) or name.endswith(".localhost") or "*" in known:
        return True
    return _is_number(name) or name in {one.lower() for one in known}


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_here(name: str, server: str) -> bool:
    return name.strip("[]").lower() in (server, "localhost", "127.0.0.1", "::1")


def _literal(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _first(text: str) -> str:
    return text.partition(",")[0].strip()


def _forwarded(text: str) -> dict[str, str]:
    """The first element of Forwarded, that of the proxy which the client spoke to."""
    found: dict[str, str] = {}
    at = 0
    while pair := _PAIR.match(text[:2048], at):
        found.setdefault(pair[1].lower(), pair[2] if pair[2] is not None else pair[3])
        if text[pair.end() : pair.end() + 1] != ";":
            break
        at = pair.end() + 1
    return found
