"""One data set as the body of a request or an answer: DICOM JSON Model or Native DICOM Model, within limits.

Source
------
PS3.18 §8.7.3 (DICOM media types), Annex F; PS3.19 Annex A.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import format_tag
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import decode
from dicomlab.web.media_types import DICOM_JSON, parse_content_type
from dicomlab.web.origin.answer import Problem, json_answer
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.retrieve import DICOM_XML
from dicomlab.web.xml_model import from_xml, to_xml

if TYPE_CHECKING:
    from pydicom import Dataset

TAKEN = (DICOM_JSON, "application/json", DICOM_XML)
OFFERS = TAKEN


async def body_of(request: Request, limits: Limits) -> bytes:
    """Read the body of a request.

    Raises
    ------
    Problem
        408: too slow; 413: too much; 400: it broke off.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(limits.idle_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limits.dataset_octets:
                    raise Problem(413, f"a data set has at most {limits.dataset_octets >> 10} KiB here")
    except ClientDisconnect as error:
        raise Problem(400, "the request broke off") from error
    except TimeoutError as error:
        raise Problem(408, f"a data set must come within {limits.idle_s:g} s", {"Connection": "close"}) from error
    return bytes(body)


async def dataset_of(request: Request, limits: Limits, *, needed: bool = True) -> Dataset:
    """Read the data set that a request brings.

    Parameters
    ----------
    request : Request
    limits : Limits
    needed : bool
        False: no body stands for an empty data set.

    Raises
    ------
    Problem
        415: another media type; 400: it is none; as for :func:`body_of`.
    """
    body = await body_of(request, limits)
    stated = request.headers.get("content-type", "")
    if not body and not needed:
        return from_json({})
    try:
        kind = parse_content_type(stated).name
    except RemoteProtocolError as error:
        raise Problem(415, f"send a data set as {' or '.join(TAKEN)}", {"Accept": ", ".join(TAKEN)}) from error
    if kind not in TAKEN:
        raise Problem(415, f"{kind} is not taken: send {' or '.join(TAKEN)}", {"Accept": ", ".join(TAKEN)})
    try:
        model = from_xml(body) if kind == DICOM_XML else _single(decode(body))
        return from_json(model, _elsewhere)
    except RemoteProtocolError as error:
        raise Problem(400, str(error)) from error


def _elsewhere(uri: str, vr: str, tag: int) -> bytes:
    raise RemoteProtocolError(
        f"the value of {format_tag(tag)} is given by its address, from where nobody fetches it", section="PS3.18 §F.2.6"
    )


def _single(model: Any) -> Mapping[str, Any]:
    if isinstance(model, list) and len(model) == 1:  # as many clients write it (PS3.18 §F.2.1)
        model = model[0]
    if not isinstance(model, Mapping):
        raise RemoteProtocolError("the body is no data set, or not one", section="PS3.18 §F.2.1")
    return model


def dataset_answer(
    model: Mapping[str, Any], accept: Accept, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with one data set.

    Raises
    ------
    Problem
        406.
    """
    chosen = accept.best(OFFERS)
    if not chosen:
        raise Problem(406, f"a data set is given as {' or '.join(OFFERS)}")
    if chosen == DICOM_XML:
        return Response(to_xml(model), status, headers, media_type=DICOM_XML)
    return json_answer(model, status, headers)
