"""STOW-RS and deletion at the origin server: the body of a request to a receiver, within limits of size and time.

Source
------
PS3.18 §10.5 (store transaction).
"""

from __future__ import annotations

import asyncio

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.faults import Faults
from dicomlab.model.protocols import Arrival, Holdings, Octets
from dicomlab.model.report import Outcome
from dicomlab.part10.files import SUCCESS
from dicomlab.web.media_types import DICOM, DICOM_JSON, RELATED, multipart_of, parse_content_type
from dicomlab.web.origin.address import Address
from dicomlab.web.origin.answer import Problem, json_answer, warning
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.receive import METADATA_TYPES, Receiver
from dicomlab.web.origin.retrieve import DICOM_XML
from dicomlab.web.resources import Resource
from dicomlab.web.store_answer import OUT_OF_RESOURCES, build_store_answer
from dicomlab.web.xml_model import to_xml

BLOCK_OCTETS = 1 << 19
LEAST_OCTETS = 1 << 16
"""Octets that a client must send in ``idle_s``, until the body ends."""
_OFFERS = (DICOM_JSON, "application/json", DICOM_XML)


class Storing:
    """Answers the store requests of one application."""

    def __init__(self, holdings: Holdings, limits: Limits, faults: Faults) -> None:
        self._holdings, self._limits, self._faults = holdings, limits, faults

    async def answer(self, request: Request, resource: Resource, address: Address, accept: Accept) -> Response:
        """Take the body of a request, and say what was stored of it.

        Raises
        ------
        Problem
            400: nothing in it, or it broke off; 408: too slow; 413; 415.

        Source
        ------
        PS3.18 §10.5.3 (response), Table 10.5.3-1 (status codes).
        """
        study = resource.study
        try:
            kind = parse_content_type(request.headers.get("content-type", ""))
            parts = (DICOM, "*/*", *METADATA_TYPES) if kind.name == RELATED else (DICOM,)
            if kind.name not in (RELATED, DICOM) or kind.part not in parts:
                taken = ", ".join((multipart_of(DICOM), DICOM, *map(multipart_of, sorted(METADATA_TYPES))))
                raise Problem(415, f"{kind.name} of {kind.part} is not taken: send {taken}", {"Accept": taken})
            client = request.client.host if request.client else ""
            lies = self._faults.strikes("lie", "web", "store")
            sink = _Void() if lies else self._holdings.sink(client)
            receiver = Receiver(kind, sink, address.base, study, self._limits.parts)
        except RemoteProtocolError as error:
            raise Problem(400, str(error)) from error
        too_much = False
        try:
            too_much = await self._receive(request, receiver)
        except ClientDisconnect as error:
            raise Problem(400, "the request broke off") from error
        except TimeoutError as error:
            least = f"{LEAST_OCTETS >> 10} KiB in {self._limits.idle_s:g} s"
            raise Problem(408, f"a body must bring {least}", {"Connection": "close"}) from error
        finally:
            await run_in_threadpool(receiver.drop)
        url = address.link(f"/studies/{study}") if study else ""
        return _said(receiver, url, accept, too_much=too_much)

    async def _receive(self, request: Request, receiver: Receiver) -> bool:
        """Feed the body to the receiver, block by block and off the event loop; True if it was too long."""
        block = bytearray()
        total = since = 0
        async with asyncio.timeout(self._limits.idle_s) as deadline:

            def extend() -> None:
                deadline.reschedule(asyncio.get_running_loop().time() + self._limits.idle_s)

            async for chunk in request.stream():
                block += chunk
                total += len(chunk)
                since += len(chunk)
                if total > self._limits.request_octets:
                    return True
                if since >= LEAST_OCTETS:
                    since = 0
                    extend()
                if len(block) >= BLOCK_OCTETS:
                    deadline.reschedule(None)  # our own time is not the client's
                    await run_in_threadpool(receiver.feed, bytes(block))
                    block.clear()
                    extend()
        await run_in_threadpool(receiver.feed, bytes(block))
        await run_in_threadpool(receiver.close)
        return False


def _said(receiver: Receiver, study_url: str, accept: Accept, *, too_much: bool) -> Response:
    """Answer a store request: 200 all stored, 202 some, 409 none, 400 nothing there, 413 too much of it."""
    if not receiver.stored and not receiver.failed and not too_much:
        raise Problem(400, "there is no instance in the request (PS3.18 §10.5)")
    status = 409 if not receiver.stored else 202 if receiver.failed else 200
    if not receiver.stored and all(one.reason == OUT_OF_RESOURCES for one in receiver.failed):
        status = 507
    headers = warning(receiver.problem) if receiver.problem else {}
    answer = build_store_answer(receiver.stored, receiver.failed, study_url)
    status = 413 if too_much else status
    if accept.best(_OFFERS) == DICOM_XML:
        return Response(to_xml(answer), status, headers, media_type=DICOM_XML)
    return json_answer(answer, status, headers)


class _Void:
    """A sink that forgets what it takes and says that it has it: a lie, for tests of user agents."""

    def begin(self, arrival: Arrival) -> _VoidWriter:
        return _VoidWriter(arrival)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Nothing was meant to arrive."""


class _VoidWriter:
    def __init__(self, arrival: Arrival) -> None:
        self._arrival = arrival

    def write(self, octets: Octets, /) -> None:
        """Forget them."""

    def finish(self) -> Outcome:
        """Say that all is well."""
        return Outcome(self._arrival.sop_instance_uid, "done", SUCCESS, self._arrival.sop_class_uid)

    def abandon(self) -> None:
        """There is nothing to remove."""
