"""WADO-URI at the origin server: one instance, rendered or as DICOM, by the parameters of one URL.

Source
------
PS3.18 §9 (URI Service).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.web.media_types import DICOM, MediaType, parse_accept
from dicomlab.web.origin.address import Address
from dicomlab.web.origin.answer import NO_SNIFFING, Problem, entity_tag, unchanged, warning, with_one
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.rendered import rendered
from dicomlab.web.origin.retrieve import Retrieve
from dicomlab.web.origin.stored import NotHere, instance_piece, resource_of
from dicomlab.web.origin.viewport import parse_uri_rendering
from dicomlab.web.resources import Resource

_REQUIRED = ("studyUID", "seriesUID", "objectUID")


def answer_uri(
    retrieve: Retrieve, parameters: Mapping[str, str], address: Address, asked: Mapping[str, str], limits: Limits
) -> Response:
    """Answer a request of the URI Service.

    ``anonymize=yes`` is declined, so that nobody takes what comes for anonymous.

    Parameters
    ----------
    retrieve : Retrieve
        Finds the instance.
    parameters : mapping
        Those of the URL.
    address : Address
    asked : mapping
        The headers of the request, names in lower case.
    limits : Limits

    Raises
    ------
    Problem
        400, 404, 406.

    Source
    ------
    PS3.18 §9.4 (retrieve DICOM instance), §9.5 (retrieve rendered instance), §9.1.2 (query parameters).
    """
    if missing := [name for name in _REQUIRED if not parameters.get(name)]:
        raise Problem(400, f"{', '.join(missing)} must be given (PS3.18 §9.1.2.1)")
    if parameters.get("anonymize"):
        raise Problem(400, "anonymize is not supported here, and nothing is sent as if it were (PS3.18 §9.4.1.2.1)")
    if parameters.get("presentationUID") or parameters.get("presentationSeriesUID"):
        raise Problem(400, "presentation states are not applied here (PS3.18 §9.5.1.2)")
    path = "/studies/{}/series/{}/instances/{}".format(*(parameters[name] for name in _REQUIRED))
    try:
        resource = Resource.parse(path)
    except RemoteProtocolError as error:
        raise Problem(400, str(error)) from error
    try:
        if resource.level != "instance" or resource.kind != "retrieve":
            raise Problem(400, "studyUID, seriesUID and objectUID are UIDs")
        (held,) = retrieve.held(resource)
        kinds = parse_accept(parameters.get("contentType") or parameters.get("accept") or "image/jpeg")
        tag = entity_tag([held], repr(sorted(parameters.items())))
        headers = {"ETag": tag, "Cache-Control": "private, no-cache", **NO_SNIFFING}
        if unchanged(tag, asked):
            return Response(status_code=304, headers=headers)
        if any(kind.name == DICOM for kind in kinds):
            wanted = parameters.get("transferSyntax") or EXPLICIT_LE
            syntax = Accept((MediaType(DICOM, {"transfer-syntax": wanted}),)).syntax_for(held.transfer_syntax_uid)
            if not syntax:
                raise Problem(406, f"held in {held.transfer_syntax_uid}, not to be had in {wanted[:70]}")
            return with_one(instance_piece(held, syntax), asked, headers)
        how = parse_uri_rendering(parameters)
        number = parameters.get("frameNumber", "")
        if number:
            resource = Resource.parse(f"{resource_of(held).path}/frames/{number}/rendered")
            if len(resource.frames) != 1:
                raise Problem(400, "frameNumber is one number")
        resource = replace(resource, kind="rendered")
        given = rendered([held], resource, how, Accept(kinds), link=address.link, limits=limits)
        headers |= warning(given.note) if given.note else {}
        return with_one(given.pieces[0], asked, headers)
    except NotHere as error:
        raise Problem(404, str(error)) from error
    except RemoteProtocolError as error:
        raise Problem(400 if error.section.startswith("PS3.18") else 406, str(error)) from error
