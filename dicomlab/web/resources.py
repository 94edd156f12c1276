"""Resources of the Studies Service and the parameters of a search: written and read as text. No I/O.

Source
------
PS3.18 §10.1.1 (resources), §8.3.4 (query parameters), §10.6 (search).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, quote

from pydicom.datadict import tag_for_keyword

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.model.columns import LEVELS, Column, Level, column, columns, standard_columns
from dicomlab.model.query import Key, Query, range_of
from dicomlab.model.workitem_service import WorkQuery

Kind = Literal["search", "retrieve", "metadata", "frames", "bulkdata", "pixeldata", "rendered", "thumbnail"]

MAX_URL = 2000
"""Characters of a URL that every server and proxy takes."""
MAX_FRAMES = 10_000
MAX_PARAMETERS = 1000
_OTHER_PARAMETERS = ("accept", "charset")
"""Parameters of a search that say how it is answered, not what is searched for (PS3.18 §8.3.3)."""

_SECTION = "PS3.18 §10.1.1"
_RAW = "*,?-._~/:@!$'()"
"""Characters that stand as they are in a query value: legal there (RFC 3986 §3.4), and some servers decode nothing."""

STANDARD_RETURNED: dict[Level, frozenset[str]] = {
    "patient": frozenset(),
    "study": frozenset(
        """StudyDate StudyTime AccessionNumber InstanceAvailability ModalitiesInStudy ReferringPhysicianName
        TimezoneOffsetFromUTC RetrieveURL PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyID
        NumberOfStudyRelatedSeries NumberOfStudyRelatedInstances""".split()
    ),
    "series": frozenset(
        """StudyInstanceUID Modality TimezoneOffsetFromUTC RetrieveURL SeriesInstanceUID SeriesNumber
        NumberOfSeriesRelatedInstances""".split()
    ),
    "instance": frozenset(
        """StudyInstanceUID SeriesInstanceUID SOPClassUID SOPInstanceUID InstanceAvailability TimezoneOffsetFromUTC
        RetrieveURL InstanceNumber Rows Columns NumberOfFrames""".split()
    ),
}
"""What a search returns unasked (PS3.18 Tables 10.6.3-3 to 10.6.3-5), with the unique keys of the levels above."""

_PLURAL: dict[str, Level] = {"studies": "study", "series": "series", "instances": "instance"}
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")
_HEX = re.compile(r"[0-9A-Fa-f]{8}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource of the Studies Service.

    ``level`` is the level of what it holds. UIDs that it does not name are ``""``. ``frames`` narrows what is rendered,
    too. ``element`` is the way to a bulk value: tag, or tag, item number (from 0), tag, and so on; without one
    ``bulkdata`` is all bulk values.
    """

    kind: Kind
    level: Level
    study: str = ""
    series: str = ""
    instance: str = ""
    frames: tuple[int, ...] = ()
    element: tuple[int, ...] = ()

    @property
    def path(self) -> str:
        """The path below the base URL.

        Source
        ------
        PS3.18 Table 10.1-1.
        """
        named = (("studies", self.study), ("series", self.series), ("instances", self.instance))
        path = "".join(f"/{plural}/{uid}" for plural, uid in named if uid)
        if self.kind == "search":
            return f"{path}/{next(p for p, level in _PLURAL.items() if level == self.level)}"
        if self.frames:
            path += f"/frames/{','.join(map(str, self.frames))}"
        if self.kind == "bulkdata" and self.element:
            steps = (str(step) if at % 2 else f"{step:08X}" for at, step in enumerate(self.element))
            return f"{path}/bulkdata/{'/'.join(steps)}"
        return path if self.kind in ("retrieve", "frames") else f"{path}/{self.kind}"

    @classmethod
    def parse(cls, path: str) -> Resource:
        """Read a path below the base URL.

        Raises
        ------
        RemoteProtocolError
            It names no resource of the Studies Service.

        Source
        ------
        PS3.18 Table 10.1-1.
        """
        parts = path.strip("/").split("/")
        uids: list[str] = []
        levels: tuple[tuple[str, Level], ...] = tuple(_PLURAL.items())
        while parts and len(uids) < 3 and parts[0] == levels[len(uids)][0] and len(parts) > 1:
            if not _UID.fullmatch(parts[1]):
                raise RemoteProtocolError(f"{parts[1][:80]!r} is no UID (digits and dots)", section="PS3.5 §9.1")
            uids.append(parts[1])
            parts = parts[2:]
        at = dict(zip(("study", "series", "instance"), uids, strict=False))
        base = cls("retrieve", levels[len(uids) - 1][1], **at)  # type: ignore[arg-type]  # three UIDs, no frames
        match parts:
            case [] if uids:
                return base
            case [plural] if plural in _PLURAL and plural not in [name for name, _ in levels[: len(uids)]]:
                return replace(base, kind="search", level=_PLURAL[plural])
            case [("metadata" | "bulkdata" | "pixeldata" | "rendered" | "thumbnail") as kind] if uids:
                return replace(base, kind=kind)
            case ["frames", frames] if len(uids) == 3:
                return replace(base, kind="frames", frames=_frames(frames))
            case ["frames", frames, ("rendered" | "thumbnail") as kind] if len(uids) == 3:
                return replace(base, kind=kind, frames=_frames(frames))
            case ["bulkdata", *steps] if len(uids) == 3 and steps:
                return replace(base, kind="bulkdata", element=_element(steps))
        raise RemoteProtocolError(f"{path[:200]!r} is no resource of the Studies Service", section=_SECTION)


def _frames(text: str) -> tuple[int, ...]:
    numbers = text.split(",", MAX_FRAMES)
    if len(numbers) > MAX_FRAMES or not all(re.fullmatch(r"[1-9]\d{0,8}", n) for n in numbers):
        raise RemoteProtocolError(f"{text[:80]!r} is no list of frame numbers (from 1)", section="PS3.18 §10.1.1.4")
    return tuple(map(int, numbers))


def _element(steps: Sequence[str]) -> tuple[int, ...]:
    if len(steps) % 2 == 0 or len(steps) > 64:
        raise RemoteProtocolError("a way to a bulk value ends at a tag", section=_SECTION)
    found = []
    for at, step in enumerate(steps):
        if not (re.fullmatch(r"\d{1,6}", step) if at % 2 else _HEX.fullmatch(step)):
            raise RemoteProtocolError(f"{step[:80]!r} is no {'item' if at % 2 else 'tag'}", section=_SECTION)
        found.append(int(step, 10 if at % 2 else 16))
    return tuple(found)


# --- the parameters of a search --------------------------------------------------------------------------------------


def match_parameters(keys: Iterable[Key]) -> list[tuple[str, str]]:
    """Write matching keys as parameters; universal ones are left out.

    Source
    ------
    PS3.18 §8.3.4.1 (attribute matching), PS3.4 §C.2.2.2 (the values).
    """
    return [
        (key.column.name, ",".join(key.values) if key.matching == "list" else key.text)
        for key in keys
        if key.matching != "universal"
    ]


def include_parameters(wanted: Iterable[Column], level: Level) -> list[tuple[str, str]]:
    """Write ``includefield`` for each column that a search of that level does not return unasked.

    The parameter is repeated; of a path the sequence is asked for, since few servers return parts of one.

    Source
    ------
    PS3.18 §8.3.4.3.
    """
    names = dict.fromkeys(c.name.partition(".")[0] for c in wanted if c.name not in STANDARD_RETURNED[level])
    return [("includefield", name) for name in names]


def query_text(parameters: Iterable[tuple[str, str]]) -> str:
    """Write a query string: UTF-8, percent-encoded but for ``* , ? -`` and what else is legal raw.

    Source
    ------
    PS3.18 §8.3.1, RFC 3986 §3.4.
    """
    return "&".join(f"{name}={quote(value, safe=_RAW)}" for name, value in parameters)


def needs_encoding(value: str) -> bool:
    """Whether a value has characters that only travel percent-encoded."""
    return quote(value, safe=_RAW) != value


def veiled(key: Key) -> Key:
    """The key with ``?`` for each character that would be percent-encoded, for servers that don't decode them.

    It matches more: what comes back must be matched again.

    Source
    ------
    PS3.4 §C.2.2.2.4 (wild card matching).
    """
    if key.matching not in ("single", "wildcard") or not needs_encoding(key.text):
        return key
    text = "".join("?" if needs_encoding(c) else c for c in key.text)
    return replace(key, matching="wildcard", values=(text,))


def chunks_of_uids(uids: Sequence[str], room: int = MAX_URL // 2) -> Iterator[tuple[str, ...]]:
    """Split a list of UIDs so that each part, joined by commas, has at most `room` characters."""
    part: list[str] = []
    length = 0
    for uid in uids:
        if part and length + len(uid) + 1 > room:
            yield tuple(part)
            part, length = [], 0
        part.append(uid)
        length += len(uid) + 1
    if part:
        yield tuple(part)


@dataclass(frozen=True, slots=True)
class Search:
    """What a search request asks of an origin server; ``limit`` is None where none was asked for."""

    query: Query
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    ignored: tuple[str, ...] = ()
    """Parameters and attributes that nobody knows."""


@dataclass(frozen=True, slots=True)
class Parameters:
    """The query string of a search, sorted: what must match, and the rest."""

    match: dict[str | int, Any]
    fields: tuple[str, ...] = ()
    """Attributes to be returned too; ``all``: every one."""
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    ignored: tuple[str, ...] = ()


def read_parameters(text: str) -> Parameters:
    """Read the query string of a search; parameters nobody knows are ignored, as the standard wants.

    Raises
    ------
    RemoteProtocolError
        A value that can't be what its parameter says.

    Source
    ------
    PS3.18 §8.3.4.
    """
    numbers = {"limit": -1, "offset": 0}
    fuzzy = False
    match: dict[str | int, Any] = {}
    fields: list[str] = []
    ignored: list[str] = []
    if text.count("&") >= MAX_PARAMETERS:
        raise RemoteProtocolError(f"more than {MAX_PARAMETERS} parameters", section="PS3.18 §8.3.4")
    for name, value in parse_qsl(text, keep_blank_values=True):
        if name in numbers:
            if not re.fullmatch(r"\d{1,9}", value):
                raise RemoteProtocolError(f"{name}={value[:40]!r} is no number", section="PS3.18 §8.3.4.4")
            numbers[name] = int(value)
        elif name == "fuzzymatching":
            fuzzy = value.lower() == "true"
        elif name == "includefield":
            fields += [one.strip() for one in value.split(",")]
            ignored += [one.strip() for one in value.split(",") if one not in ("", "all") and not _known(one.strip())]
        elif one := _known(name):
            match[one.name] = _value(one, value)
        elif name not in _OTHER_PARAMETERS:
            ignored.append(name)
    limit = None if numbers["limit"] < 0 else numbers["limit"]
    return Parameters(match, tuple(fields), limit, numbers["offset"], fuzzy, tuple(dict.fromkeys(ignored)))


def parse_search(resource: Resource, text: str) -> Search:
    """Read what a search request asks.

    Raises
    ------
    RemoteProtocolError
        A value that can't be what its parameter says; a key of a deeper level than the search.

    Source
    ------
    PS3.18 §8.3.4, §10.6.1.2.
    """
    level, given = resource.level, read_parameters(text)
    include = [one for field in given.fields for one in _included(field, level)]
    parents = {"StudyInstanceUID": resource.study, "SeriesInstanceUID": resource.series}
    if level != "study" and not resource.study:  # a relational search returns the levels above (PS3.18 Table 10.6.3-4)
        include += _upper("study")
    if level == "instance" and not resource.series:
        include += _upper("series")
    match: dict[str | int, Any] = {**given.match, **{k: v for k, v in parents.items() if v}}
    try:
        query = Query.of(level, match, include=[c.name for c in include])
    except UsageError as error:
        raise RemoteProtocolError(str(error), section="PS3.18 §8.3.4.1") from error
    return Search(query, given.limit, given.offset, given.fuzzy, given.ignored)


@dataclass(frozen=True, slots=True)
class WorkSearch:
    """What a search for work items asks of an origin server."""

    query: WorkQuery
    limit: int | None = None
    offset: int = 0
    fuzzy: bool = False
    ignored: tuple[str, ...] = ()
    everything: bool = False
    """Whether all attributes are to be returned."""
    tags: frozenset[int] = frozenset()
    """Attributes to be returned beside the usual ones; of a path the sequence."""


def parse_work_search(text: str) -> WorkSearch:
    """Read what a search request for work items asks.

    Raises
    ------
    RemoteProtocolError
        A value that can't be what its parameter says.

    Source
    ------
    PS3.18 §8.3.4, §11.9.1.2.
    """
    given = read_parameters(text)
    found = {field: _tag(field.partition(".")[0]) for field in given.fields}
    ignored = tuple(one for one in given.ignored if found.get(one) is None)
    try:
        query = WorkQuery.of(given.match)
    except UsageError as error:
        raise RemoteProtocolError(str(error), section="PS3.18 §8.3.4.1") from error
    tags = frozenset(tag for tag in found.values() if tag is not None) | {one.column.tag for one in query.keys}
    return WorkSearch(query, given.limit, given.offset, given.fuzzy, ignored, "all" in given.fields, tags)


def _tag(name: str) -> int | None:
    return int(name, 16) if _HEX.fullmatch(name) else tag_for_keyword(name)


def _upper(level: Level) -> Iterable[Column]:
    return (c for c in standard_columns(level) if c.name in STANDARD_RETURNED[level])


def _known(name: str) -> Column | None:
    try:
        return column(name)
    except UsageError:
        return None


def _included(name: str, level: Level) -> Iterable[Column]:
    if name == "all":
        above = LEVELS[: LEVELS.index(level) + 1]
        return columns(c.name for one in above for c in standard_columns(one) if "Related" not in c.name)
    found = _known(name)
    return (found,) if found and (found.level is None or LEVELS.index(found.level) <= LEVELS.index(level)) else ()


def _value(one: Column, text: str) -> object:
    if one.vr == "UI" and re.search(r"[,\\]", text):
        return [uid.strip() for uid in re.split(r"[,\\]", text) if uid.strip()]
    if one.vr == "DT" and (ends := range_of(text)):
        return ends
    return text or None
