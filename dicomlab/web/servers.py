"""What origin servers do otherwise than the standard says, as data: what they ignore, refuse, cap and mis-encode.

Each description says whether it was tested against the server itself or comes from documentation. A description never
makes an answer less complete or less checked: it saves requests that are known to be vain, and says why.

Source
------
PS3.18 §8.3.4 (query parameters), §8.7 (media types), §10 (Studies Service).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from urllib.parse import urlsplit

from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary


@dataclass(frozen=True, repr=False)
class Server(Summarised):
    """How one kind of origin server behaves.

    Attributes
    ----------
    name : str
    tested : str
        The version that this was tested with; ``""`` where it comes from documentation only.
    decodes_values : bool
        Whether values of a search are percent-decoded before they are matched.
    lists_of_uids : bool
        Whether a list of UIDs is understood (PS3.4 §C.2.2.2.2).
    wild_cards : bool
        Whether ``*`` and ``?`` are understood (PS3.4 §C.2.2.2.4).
    across : bool
        Whether ``/series`` and ``/instances`` are searched without a parent.
    most_rows : int
        Rows of one answer, at most; 0: no cap is known.
    most_matches : int
        Matches of one search that can be had at all, whatever the offset; 0: all.
    refused_keys : tuple of str
        Matching keys that make the server refuse the search; they are matched here instead.
    refused_columns : tuple of str
        ``includefield`` values that make the server refuse the search.
    quoted_type : bool
        Whether the type of a multipart stands in quotes in the Accept header, as the grammar wants.
    weighs_types : bool
        Whether several media types in one Accept header are understood; else they are tried one by one.
    own_address : bool
        Whether the addresses in its answers can be reached. If not, their origin is replaced by that of the base URL.
    lacks : tuple of str
        Services and resources that it does not have.
    remarks : tuple of str
        What else to know.
    """

    name: str
    tested: str = ""
    decodes_values: bool = True
    lists_of_uids: bool = True
    wild_cards: bool = True
    across: bool = True
    most_rows: int = 0
    most_matches: int = 0
    refused_keys: tuple[str, ...] = ()
    refused_columns: tuple[str, ...] = ()
    quoted_type: bool = True
    weighs_types: bool = True
    own_address: bool = True
    uri_service: str = ""
    """Where WADO-URI is, relative to the base URL."""
    lacks: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()

    def _summary_(self) -> Summary:
        plain = Server("")
        facts = [("tested", self.tested or "no: from its documentation")]
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name not in ("name", "tested", "remarks") and value != getattr(plain, one.name):
                text = ", ".join(value) if isinstance(value, tuple) else _words(value)
                facts.append((one.name.replace("_", " "), text))
        if len(facts) == 1:
            facts = [("behaves", "as the standard says, as far as anybody knows")]
        return Summary(f"Server {self.name}", tuple(facts), notes=self.remarks)


def _words(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


STANDARD = Server("standard", tested="dicomlab's own origin server")

ORTHANC = Server(
    "orthanc",
    tested="Orthanc 1.10.1, DICOMweb plugin 1.7",
    decodes_values=False,
    weighs_types=False,
    own_address=False,
    uri_service="../wado",
    lacks=("capabilities", "delete", "thumbnail", "bulkdata and pixeldata as resources", "zip"),
    remarks=(
        "a store request with one bad part answers 400 although the good ones are stored: a search tells",
        "a store request without its closing delimiter answers 200 and stores nothing",
        "answers of a series end with the connection: only the closing delimiter tells that they are whole",
        "WADO-URI ignores transferSyntax, rows, columns, windowCenter and anonymize, and calls JPEG image/png",
        "rendered series and studies are one image; fuzzymatching is ignored without a warning",
    ),
)

SERVERS: Mapping[str, Server] = {
    one.name: one
    for one in (
        STANDARD,
        ORTHANC,
        Server(
            "dcm4chee",
            uri_service="../wado",
            remarks=("one base URL for each AE: /dcm4chee-arc/aets/{AET}/rs", "studies are rejected, not deleted"),
        ),
        Server(
            "google",
            wild_cards=False,
            most_rows=5000,
            refused_keys=("SOPClassUID",),
            refused_columns=("AvailableTransferSyntaxUID",),
            lacks=("capabilities", "WADO-URI", "thumbnail"),
            remarks=(
                "100 studies, 1000 series or instances where no limit is asked for",
                "a UID that is there with other octets is a conflict (409)",
                "deleting a study or series goes on after the answer",
            ),
        ),
        Server(
            "azure",
            most_rows=200,
            lacks=("capabilities", "WADO-URI"),
            remarks=(
                "the version stands in the path: /v2",
                "conflicts are warning 45070, another study 43265; explicit VR only; 4 GB in one request",
                "further attributes can be searched only where they were registered as extended query tags",
            ),
        ),
        Server(
            "aws",
            most_matches=10_000,
            lacks=("capabilities", "WADO-URI"),
            remarks=(
                "stored as HTJ2K: ask for transfer_syntax='*', or pay for transcoding",
                "signs requests (SigV4): give an AuthBase of a library that does, or an OIDC token",
            ),
        ),
        Server(
            "static-wado",
            decodes_values=False,
            wild_cards=False,
            across=False,
            lists_of_uids=False,
            lacks=("store", "capabilities"),
            remarks=(
                "no query logic: what comes is matched here",
                "bodies are gzipped, single parts stand for multiparts",
            ),
        ),
    )
}
"""The servers that are known, by name."""

_BY_HOST = (
    (re.compile(r"(^|\.)healthcare\.googleapis\.com$"), "google"),
    (re.compile(r"\.dicom\.azurehealthcareapis\.com$"), "azure"),
    (re.compile(r"(^|\.)dicom-medical-imaging\.[a-z0-9-]+\.amazonaws\.com$"), "aws"),
)


def server_named(name: str) -> Server:
    """Give the description of a kind of server.

    Raises
    ------
    UsageError
        Nobody knows that kind.

    Source
    ------
    PS3.18 §10.
    """
    if name not in SERVERS:
        raise UsageError(f"no server {name!r} is known; there are {', '.join(SERVERS)}, or give a Server of your own")
    return SERVERS[name]


def server_at(url: str) -> Server | None:
    """Tell a kind of server by its address; None where that tells nothing.

    Source
    ------
    PS3.18 §8.2 (the base URL is the server's choice).
    """
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    found = next((name for pattern, name in _BY_HOST if pattern.search(host)), None)
    if found is None and "/dcm4chee-arc/" in parts.path:
        found = "dcm4chee"
    return SERVERS[found] if found else None


def server_answering(headers: Mapping[str, str], body: bytes) -> Server | None:
    """Tell a kind of server by how it answers a request for what is not there; None where that tells nothing.

    Source
    ------
    PS3.18 §8.5 (the body of an error is the server's choice).
    """
    if b'"OrthancError"' in body[:4096] or "orthanc" in headers.get("Server", "").lower():
        return ORTHANC
    return STANDARD if headers.get("Server", "").startswith("dicomlab") else None
