"""QIDO-RS at the origin server: matches as rows of the DICOM JSON Model, paged, with what must be said beside them.

Source
------
PS3.18 §10.6 (search transaction), §8.3.4 (query parameters).
"""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec
from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Holdings
from dicomlab.web.json_model import row_to_json
from dicomlab.web.media_types import DICOM_JSON, RELATED, multipart_of
from dicomlab.web.origin.address import Address
from dicomlab.web.origin.answer import Problem, octets_piece, warning, with_parts
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.retrieve import DICOM_XML
from dicomlab.web.resources import Resource, Search, WorkSearch, parse_search
from dicomlab.web.xml_model import to_xml

OFFERS = (DICOM_JSON, "application/json", multipart_of(DICOM_XML))
_UNIQUE = ("0020000D", "0020000E", "00080018")
_DEPTH = {"study": 1, "series": 2, "instance": 3}
_SHOWN = 5
"""How many ignored parameters are named."""


class Searching:
    """Answers the search requests of one application."""

    def __init__(self, holdings: Holdings, limits: Limits, faults: Faults) -> None:
        self._holdings, self._limits, self._faults = holdings, limits, faults

    def answer(self, resource: Resource, text: str, accept: Accept, address: Address) -> Response:
        """Answer one request.

        Parameters
        ----------
        resource : Resource
        text : str
            The query string.
        accept : Accept
        address : Address
            For Retrieve URLs.

        Raises
        ------
        Problem
            400: parameters that can't be; 406; 413: more octets than one answer has.

        Source
        ------
        PS3.18 §10.6.3 (response), §8.3.4.4 (paging).
        """
        chosen = accept.best(OFFERS)
        if not chosen:
            raise Problem(406, f"matches are given as {' or '.join(OFFERS)}")
        try:
            search = parse_search(resource, text)
        except RemoteProtocolError as error:
            raise Problem(400, str(error)) from error
        rows, remaining = self._page(search, resource, address)
        headers = warning(*remarks(search, remaining)) | {"Cache-Control": "no-store"}
        if not rows and accept.names(DICOM_JSON, DICOM_XML):
            return Response(status_code=204, headers=headers)
        if chosen.startswith(RELATED):
            kind = {"Content-Type": DICOM_XML}
            return with_parts([octets_piece(kind, to_xml(row)) for row in rows], DICOM_XML, headers)
        body = msgspec.json.encode(rows)
        if len(body) > self._limits.search_octets:
            raise Problem(413, f"{len(rows)} matches are too much for one answer: ask with limit and offset")
        return Response(body, 200, headers, media_type=DICOM_JSON)

    def _page(self, search: Search, resource: Resource, address: Address) -> tuple[list[dict[str, Any]], int]:
        """The rows of the page that was asked for, and how many matches come after it."""
        offset = 0 if self._faults.strikes("ignore_offset", "web") else search.offset
        most = self._limits.rows if search.limit is None else min(search.limit, self._limits.rows)
        found = self._holdings.search(search.query)
        cap = self._faults.strikes("cap", "web")
        if cap is not None:
            found = islice(found, cap.numbers["rows"])
        columns = search.query.columns
        page = [_row(row_to_json(columns, row), resource, address) for row in islice(found, offset, offset + most)]
        return page, sum(1 for _ in found)


def _row(row: dict[str, Any], resource: Resource, address: Address) -> dict[str, Any]:
    """Add the Retrieve URL (0008,1190) to a row of a search."""
    depth = _DEPTH[resource.level]
    uids = [row.get(tag, {}).get("Value", [""])[0] for tag in _UNIQUE[:depth]]
    if all(uids):
        row["00081190"] = {"vr": "UR", "Value": [address.link(Resource("retrieve", resource.level, *uids).path)]}
    return dict(sorted(row.items()))


def remarks(search: Search | WorkSearch, remaining: int) -> list[str]:
    """What is said beside the matches (PS3.18 §8.3.4.2, §8.3.4.4)."""
    said = []
    if remaining:
        said.append(f"There are {remaining} additional results that can be requested")
    if search.fuzzy:
        said.append("The fuzzymatching parameter is not supported. Only literal matching has been performed.")
    if search.ignored:
        names = ", ".join(name[:64] for name in search.ignored[:_SHOWN])
        said.append(f"Ignored, since no such parameter or attribute is known: {names}")
    return said
