"""WADO-RS at the origin server: from a resource and what is accepted to an answer.

Source
------
PS3.18 §10.4 (retrieve transaction).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec
from starlette.responses import Response, StreamingResponse

from dicomlab.errors import Interrupted, RemoteProtocolError
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Held, Holdings
from dicomlab.web.media_types import DICOM, DICOM_JSON, OCTETS, RELATED, MediaType, multipart_of, parse_content_type
from dicomlab.web.origin.address import Address
from dicomlab.web.origin.answer import (
    NO_SNIFFING,
    Piece,
    Problem,
    entity_tag,
    octets_piece,
    unchanged,
    warning,
    with_one,
    with_parts,
)
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.rendered import Rendered, rendered, thumbnail
from dicomlab.web.origin.stored import NotHere, bulk_pieces, frame_pieces, instance_piece, metadata
from dicomlab.web.origin.viewport import parse_rendering
from dicomlab.web.origin.zipped import ZIP, zipped
from dicomlab.web.resources import Resource
from dicomlab.web.xml_model import to_xml

DICOM_XML = "application/dicom+xml"
_PIXEL_DATA = 0x7FE00010
_BATCH_OCTETS = 1 << 16
_READY_OCTETS = 16 << 20
"""Metadata that is made before the answer begins, so that its head can say what is left out."""
_METADATA_OFFERS = (DICOM_JSON, "application/json", multipart_of(DICOM_XML))


class Retrieve:
    """Answers the retrieve requests of one application."""

    def __init__(self, holdings: Holdings, limits: Limits, faults: Faults) -> None:
        self._holdings, self._limits, self._faults = holdings, limits, faults

    def held(self, resource: Resource) -> list[Held]:
        """What a resource names.

        Raises
        ------
        Problem
            404: nothing.
        """
        uid = resource.instance or resource.series or resource.study
        held = [
            one
            for one in self._holdings.select(resource.level, [uid])
            if one.study_instance_uid == resource.study
            and resource.series in ("", one.series_instance_uid)
            and resource.instance in ("", one.sop_instance_uid)
        ]
        if not held:
            raise Problem(404, f"no such {resource.level} is held here: {uid}")
        return held

    def answer(
        self,
        resource: Resource,
        accept: Accept,
        address: Address,
        asked: Mapping[str, str],
        parameters: Mapping[str, str],
    ) -> Response:
        """Answer one request.

        Parameters
        ----------
        resource : Resource
        accept : Accept
        address : Address
            For links.
        asked : mapping
            The headers of the request, names in lower case.
        parameters : mapping
            Those of the URL.

        Raises
        ------
        Problem
            Any answer other than success.
        """
        held = self.held(resource)
        variant = repr((resource, accept, sorted(parameters.items()), address))
        tag = entity_tag(held, variant)
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", "Vary": "Accept", **NO_SNIFFING}
        if unchanged(tag, asked):
            return Response(status_code=304, headers=headers)
        stored_in = ", ".join(sorted({one.transfer_syntax_uid for one in held}))
        try:
            match resource.kind:
                case "metadata":
                    return self._metadata(held, accept, address, headers)
                case "retrieve" if accept.ranges[0].name == ZIP:
                    return self._zip(held, accept, headers)
                case "retrieve" if accept.syntax_for(held[0].transfer_syntax_uid) or not _wants_bulk(accept):
                    return self._instances(held, accept, asked, headers)
                case "rendered":
                    how = parse_rendering(parameters)
                    given = rendered(held, resource, how, accept, link=address.link, limits=self._limits)
                    return self._rendered(given, asked, headers)
                case "thumbnail":
                    how = parse_rendering(parameters, thumbnail=True)
                    return self._rendered(thumbnail(held, resource, how, accept, limits=self._limits), asked, headers)
                case "frames":
                    pieces = frame_pieces(held[0], resource.frames, accept, address.link)
                case _:
                    pieces = self._bulk(held, resource, accept, address)
        except NotHere as error:
            raise Problem(404, str(error)) from error
        except RemoteProtocolError as error:
            if error.section.startswith("PS3.18"):
                raise Problem(400, str(error)) from error
            raise Problem(406, f"stored in {stored_in}; {error}") from error
        if not pieces:
            raise Problem(406, f"stored in {stored_in}: ask for that, or for transfer-syntax=*")
        return self.pieces(pieces, accept, OCTETS, asked, headers)

    # --- kinds of answers

    def pieces(
        self, pieces: Sequence[Piece], accept: Accept, part: str, asked: Mapping[str, str], headers: dict[str, str]
    ) -> Response:
        """Answer with parts, or with the one part alone where that was preferred."""
        own = parse_content_type(pieces[0].headers["Content-Type"]).name if pieces else part
        if len(pieces) == 1 and (accept.wants_single(part) or accept.wants_single(own)):
            try:
                return with_one(pieces[0], asked, headers)
            except RemoteProtocolError as error:
                raise Problem(406, str(error)) from error
        closed = self._faults.strikes("no_closing_delimiter", "web") is None
        return with_parts(pieces, part, headers, closed=closed)

    def _instances(
        self, held: Sequence[Held], accept: Accept, asked: Mapping[str, str], headers: dict[str, str]
    ) -> Response:
        chosen = [(one, syntax) for one in held if (syntax := accept.syntax_for(one.transfer_syntax_uid))]
        if not chosen:
            available = ", ".join(sorted({one.transfer_syntax_uid for one in held}))
            raise Problem(406, f"held in {available}; ask for {multipart_of(DICOM, '*')} to have it as stored")
        if len(chosen) < len(held):
            headers |= warning(f"{len(held) - len(chosen)} instances are held in no acceptable transfer syntax")
        if self._faults.strikes("lie", "web", "retrieve"):
            return with_parts([], DICOM, headers)
        pieces = [self._faulty(instance_piece(one, syntax)) for one, syntax in chosen]
        if len(pieces) == 1:
            try:
                pieces = [pieces[0].made()]
            except RemoteProtocolError as error:
                raise Problem(406, f"held in {held[0].transfer_syntax_uid}; {error}") from error
        return self.pieces(pieces, accept, DICOM, asked, headers)

    def _zip(self, held: Sequence[Held], accept: Accept, headers: dict[str, str]) -> Response:
        asked = accept.ranges[0].parameters
        as_instances = Accept((MediaType(DICOM, {k: v for k, v in asked.items() if k == "transfer-syntax"}),))
        chosen = [(one, syntax) for one in held if (syntax := as_instances.syntax_for(one.transfer_syntax_uid))]
        if not chosen:
            available = ", ".join(sorted({one.transfer_syntax_uid for one in held}))
            raise Problem(406, f"held in {available}; ask for {ZIP}; transfer-syntax=* to have it as stored")
        if len(chosen) < len(held):
            headers |= warning(f"{len(held) - len(chosen)} instances are held in no acceptable transfer syntax")
        pieces = [self._faulty(instance_piece(one, syntax)) for one, syntax in chosen]
        headers["Content-Disposition"] = 'attachment; filename="instances.zip"'
        return StreamingResponse(zipped([one for one, _ in chosen], pieces), headers=headers, media_type=ZIP)

    def _faulty(self, piece: Piece) -> Piece:
        fault = self._faults.strikes("truncate", "web")
        return piece.without_end(fault.numbers["octets"]) if fault else piece

    def _metadata(self, held: Sequence[Held], accept: Accept, address: Address, headers: dict[str, str]) -> Response:
        chosen = accept.best(_METADATA_OFFERS)
        if not chosen:
            raise Problem(406, f"metadata is given as {' or '.join(_METADATA_OFFERS)}")
        in_xml = chosen.startswith(RELATED)
        coming = _documents(held, address, to_xml if in_xml else msgspec.json.encode)
        ready: list[bytes] = []
        unreadable = octets = 0
        for one in coming:  # what can't be read must be known before the head of the answer goes
            if one is None:
                unreadable += 1
                continue
            ready.append(one)
            octets += len(one)
            if octets > _READY_OCTETS and not in_xml:
                break
        if not ready:
            raise Problem(500, f"{unreadable} instances are held here and none of them can be read")
        headers |= warning(f"{unreadable} instances can not be read and are left out") if unreadable else {}
        status = 206 if unreadable else 200
        if not in_xml:
            return StreamingResponse(_json_array(ready, coming), status, headers, media_type=DICOM_JSON)
        answer = with_parts([octets_piece({"Content-Type": DICOM_XML}, one) for one in ready], DICOM_XML, headers)
        answer.status_code = status
        return answer

    def _bulk(self, held: Sequence[Held], resource: Resource, accept: Accept, address: Address) -> list[Piece]:
        """Bulk values of one instance or of many; of many those that have one."""
        element = resource.element if resource.kind == "bulkdata" else (_PIXEL_DATA,)
        pieces: list[Piece] = []
        missing: NotHere | None = None
        for one in held:
            try:
                pieces += bulk_pieces(one, element, accept, address.link)
            except NotHere as error:
                missing = error
        if missing is not None and not pieces:
            raise missing
        return pieces

    def _rendered(self, given: Rendered, asked: Mapping[str, str], headers: dict[str, str]) -> Response:
        headers |= warning(given.note) if given.note else {}
        if given.single:
            return with_one(given.pieces[0], asked, headers)
        return with_parts(given.pieces, given.part, headers)


def _wants_bulk(accept: Accept) -> bool:
    """Whether instances were asked for as their bulk values, as older editions have it."""
    return accept.ranges[0].part not in (DICOM, "*/*") and accept.takes_octets()


def _documents(
    held: Sequence[Held], address: Address, write: Callable[[dict[str, Any]], bytes]
) -> Iterator[bytes | None]:
    """The metadata of each instance; None where it can't be read."""
    for one in held:
        try:
            yield write(metadata(one, address.link))
        except RemoteProtocolError:
            yield None


def _json_array(ready: Iterable[bytes], coming: Iterator[bytes | None]) -> Iterator[bytes]:
    waiting = bytearray(b"[")
    for at, one in enumerate(chain(ready, coming)):
        if one is None:  # nothing can be said of it any more: the answer breaks off, so that nobody takes it for whole
            raise Interrupted("an instance can't be read", endpoint="metadata")
        waiting += (b"," if at else b"") + one
        if len(waiting) >= _BATCH_OCTETS:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting) + b"]"
