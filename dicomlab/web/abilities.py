"""What a server can do: by its own description, or by trying what changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dicomlab.errors import DicomlabError, Refused, RemoteProtocolError, Unreachable
from dicomlab.model.summary import Summarised, Summary, visible
from dicomlab.web.http import Conversation
from dicomlab.web.json_model import decode, values_at
from dicomlab.web.media_types import DICOM, DICOM_JSON, OCTETS, accepting
from dicomlab.web.resources import Resource
from dicomlab.web.servers import Server, server_answering
from dicomlab.web.wadl import MEDIA_TYPE, methods

MAX_ANSWER = 4 << 20
_JSON = f"{DICOM_JSON}, application/json; q=0.9"
_STUDY, _SERIES, _INSTANCE = (0x0020000D,), (0x0020000E,), (0x00080018,)


@dataclass(frozen=True, slots=True)
class Ability:
    """One thing that was tried, or is described."""

    what: str
    does: bool | None
    """None: nobody knows, since nothing is there to try it with."""
    said: str


@dataclass(frozen=True, repr=False)
class Capabilities(Summarised):
    """What a server can do, as a table. ``capabilities["thumbnail"]`` is True, False, or None where nobody knows.

    Attributes
    ----------
    url : str
    described : bool
        Whether the server describes itself; what is tried beside it stands in the table as well.
    abilities : tuple of Ability
    server : Server or None
        Which kind of server it is, where it can be told.
    """

    url: str
    described: bool
    abilities: tuple[Ability, ...]
    server: Server | None = None

    def __getitem__(self, what: str) -> bool | None:
        found = [one for one in self.abilities if one.what == what]
        if not found:
            raise KeyError(f"{what!r}: there are {', '.join(dict.fromkeys(one.what for one in self.abilities))}")
        return found[0].does

    def to_dataframe(self) -> Any:
        """The table."""
        import pandas as pd

        return pd.DataFrame(
            {
                "what": [one.what for one in self.abilities],
                "does": pd.array([one.does for one in self.abilities], dtype="boolean"),
                "said": [one.said for one in self.abilities],
            }
        )

    def _summary_(self) -> Summary:
        words = {True: "yes", False: "no", None: "—"}
        rows = tuple((one.what, words[one.does], one.said) for one in self.abilities)
        facts = (
            ("describes itself", "yes (PS3.18 §8.9)" if self.described else "no: tried out"),
            ("kind of server", self.server.name if self.server else "unknown"),
        )
        return Summary(f"Capabilities of {self.url}", facts, ("what", "does", "the server says"), rows)


def capabilities(http: Conversation) -> Capabilities:
    """Ask a server what it can do, and try what changes nothing.

    Raises
    ------
    Unreachable, Refused
        Nobody answers, or nobody may ask.
    """
    found: list[Ability] = []
    described, server = _described(http, found)
    if server is None:
        server = kind_of(http)
    _tried(http, found)
    return Capabilities(http.site.url, described, tuple(found), server)


def _described(http: Conversation, found: list[Ability]) -> tuple[bool, Server | None]:
    with http.request("OPTIONS", "/", accept=f"{MEDIA_TYPE}, application/xml; q=0.8") as answer:
        if answer.status in (401, 403):
            answer.refuse()
        headers, line = dict(answer.headers), answer.status_line
        body = answer.start_of_body(MAX_ANSWER)
        ok = answer.status == 200
    server = server_answering(headers, body)
    try:
        known = methods(body) if ok and body.strip() else []
    except RemoteProtocolError as error:
        found.append(Ability("description", False, str(error)))
        return False, server
    if not known:
        found.append(Ability("description", False, line))
        return False, server
    found.append(Ability("description", True, f"{len(known)} methods"))
    for what, method, end in (("store", "POST", "/studies"), ("delete", "DELETE", None)):
        does = any(m == method and (end is None or path == end) for m, path in known)
        found.append(Ability(what, does, "as it describes itself"))
    return True, server


def kind_of(http: Conversation) -> Server | None:
    """Tell a server by how it answers a request for what no server has; None where that tells nothing."""
    try:
        with http.request("GET", "/no-such-resource", accept="*/*") as answer:
            return server_answering(dict(answer.headers), answer.start_of_body())
    except DicomlabError:
        return None


def _tried(http: Conversation, found: list[Ability]) -> None:
    uids: list[str] = []
    for level, tag in (("study", _STUDY), ("series", _SERIES), ("instance", _INSTANCE)):
        resource = _at("search", level, uids)
        row = _search(http, f"search for {level} rows", f"{resource.path}?limit=1", found)
        uid = str((values_at(row, tag) or [""])[0]) if row else ""
        if not uid:
            break
        uids.append(uid)
    for what, path in (
        ("search for series across studies", "/series?limit=1"),
        ("search for instances across studies", "/instances?limit=1"),
    ):
        _search(http, what, path, found)
    if len(uids) == 3:
        instance = _at("retrieve", "instance", uids)
        _whether(http, found, instance)
        _offset(http, found)
    else:
        found.append(Ability("retrieve", None, "it holds nothing to try it with"))


def _at(kind: Any, level: Any, uids: Sequence[str]) -> Resource:
    named: dict[str, Any] = dict(zip(("study", "series", "instance"), uids, strict=False))
    return Resource(kind, level, **named)


def _search(http: Conversation, what: str, path: str, found: list[Ability]) -> dict[str, Any] | None:
    try:
        with http.request("GET", path, accept=_JSON) as answer:
            if answer.status in (401, 403):
                answer.refuse()
            line = answer.status_line
            ok = answer.status in (200, 204, 206)
            rows = decode(answer.read(MAX_ANSWER) or b"[]") if ok and answer.status != 204 else []
    except (Unreachable, Refused):
        raise
    except DicomlabError as error:
        found.append(Ability(what, False, visible(str(error), 100)))
        return None
    found.append(Ability(what, ok and isinstance(rows, list), line))
    return rows[0] if isinstance(rows, list) and rows and isinstance(rows[0], dict) else None


def _whether(http: Conversation, found: list[Ability], instance: Resource) -> None:
    """Try the resources below one instance; only the head of each answer is waited for."""
    frames = replace(instance, kind="frames", frames=(1,))
    tries = (
        ("retrieve", instance, accepting(DICOM, "*")),
        ("retrieve single part", instance, f"{DICOM}; transfer-syntax=*"),
        ("metadata", replace(instance, kind="metadata"), _JSON),
        ("metadata in XML", replace(instance, kind="metadata"), accepting("application/dicom+xml", "")),
        ("frames", frames, accepting(OCTETS, "*")),
        ("bulkdata", replace(instance, kind="bulkdata"), accepting(OCTETS, "*")),
        ("pixeldata", replace(instance, kind="pixeldata"), accepting(OCTETS, "*")),
        ("rendered", replace(instance, kind="rendered"), "image/jpeg"),
        ("thumbnail", replace(instance, kind="thumbnail"), "image/jpeg"),
    )
    for what, resource, accept in tries:
        try:
            with http.request("GET", resource.path, accept=accept) as answer:
                kind = answer.media_type
                given = f", {kind.name}" if kind else ""
                xml = what != "metadata in XML" or kind is None or "json" not in kind.name
                found.append(Ability(what, answer.status in (200, 206) and xml, f"{answer.status_line}{given}"))
        except (Unreachable, Refused):
            raise
        except DicomlabError as error:
            found.append(Ability(what, False, visible(str(error), 100)))


def _offset(http: Conversation, found: list[Ability]) -> None:
    """Try whether limit and offset are heeded: behind a million matches there is nothing."""
    row = _search(http, "_", "/studies?limit=1&offset=1000000", found)
    tried = found.pop()
    found.append(Ability("offset", None if tried.does is False else row is None, tried.said))
