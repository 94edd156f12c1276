"""The Worklist Service of the origin server (UPS-RS): each transaction, and what its statuses mean over HTTP.

Source
------
PS3.18 §11 (Worklist Service), §8.10 (notifications).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError, ServiceError, UsageError
from dicomlab.model.query import Key
from dicomlab.model.workitem import (
    FILTERED,
    UNKNOWN,
    WRONG_TRANSACTION,
    Done,
    Transact,
    failed,
    http_status,
    is_uid,
)
from dicomlab.model.workitem_attributes import ATTRIBUTES, text
from dicomlab.model.workitem_service import WorkItemHoldings
from dicomlab.web.json_model import to_json
from dicomlab.web.media_types import DICOM_JSON, RELATED, multipart_of
from dicomlab.web.origin.address import Address
from dicomlab.web.origin.answer import Problem, octets_piece, warning, with_parts
from dicomlab.web.origin.dataset import dataset_answer, dataset_of
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept
from dicomlab.web.origin.retrieve import DICOM_XML
from dicomlab.web.origin.search import remarks
from dicomlab.web.resources import WorkSearch, parse_work_search
from dicomlab.web.xml_model import to_xml

if TYPE_CHECKING:
    from pydicom import Dataset

PATH = "/workitems"
CHANNELS = "/subscribers"
_OFFERS = (DICOM_JSON, "application/json", multipart_of(DICOM_XML))
_RESOURCE = re.compile(
    r"/workitems(?:/(?P<uid>[0-9.]{1,64})(?:/(?P<what>state|cancelrequest)"
    r"|/subscribers/(?P<receiver>[^/]{1,64})(?P<suspend>/suspend)?)?)?/?"
)
_RETURNED = frozenset(
    {one.tag for one in ATTRIBUTES if one.keyword != "UnifiedProcedureStepPerformedProcedureSequence"}
    | {"00080005", "00080016", "00080018"}
)
"""What a search returns of each item without being asked: Return Key Types 1 and 2 (PS3.4 Table CC.2.5-3)."""
MISSING_TRANSACTION, INCORRECT_TRANSACTION = "The Transaction UID is missing.", "The Transaction UID is incorrect."


class Worklist:
    """Answers the requests for work items of one application."""

    def __init__(self, holdings: WorkItemHoldings, limits: Limits) -> None:
        self._holdings, self._limits = holdings, limits

    async def answer(self, request: Request, path: str, address: Address, accept: Accept) -> Response:
        """Answer one request below ``/workitems``.

        Raises
        ------
        Problem
            What the tables of PS3.18 §11 say; 405: another method.
        """
        found = _RESOURCE.fullmatch(path)
        if found is None:
            raise Problem(404, f"there is no such resource below {PATH} (PS3.18 Table 11.1.1-1)")
        uid, receiver = found["uid"] or "", unquote(found["receiver"] or "")
        allowed = _ALLOWED[bool(uid), found["what"] or ("suspend" if found["suspend"] else bool(receiver))]
        method = "GET" if request.method == "HEAD" else request.method
        if method not in allowed:
            raise Problem(405, f"{path} takes {', '.join(allowed)}", {"Allow": ", ".join((*allowed, "OPTIONS"))})
        query = request.url.query
        if receiver:
            if found["suspend"]:
                return await self._done("suspend", uid, lambda: self._holdings.suspend(uid, receiver))
            if method == "DELETE":
                return await self._done("unsubscribe", uid, lambda: self._holdings.unsubscribe(uid, receiver))
            return await self._subscribe(uid, receiver, query, address)
        if not uid:
            if method == "POST":
                return await self._create(request, query, address)
            return await run_in_threadpool(self._search, query, accept)
        if method == "GET":
            return await run_in_threadpool(self._retrieve, uid, accept)
        dataset = await dataset_of(request, self._limits, needed=found["what"] != "cancelrequest")
        model = to_json(dataset)
        if found["what"] == "state":
            transaction = text(model, "TransactionUID")
            state = text(model, "ProcedureStepState")
            if not transaction or not state:
                what = "Transaction UID" if not transaction else "Procedure Step State"
                raise Problem(400, f"a change of state needs a {what}", warning(f"The {what} is missing."))
            change = lambda: self._holdings.change_state(uid, state, transaction)  # noqa: E731
            return await self._done("state", uid, change, transaction)
        if found["what"] == "cancelrequest":
            asker = text(model, "RequestingAE") or "WEB"
            return await self._done("cancel", uid, lambda: self._holdings.request_cancel(uid, asker, dataset))
        transaction = _uid_of(query, "transaction-uid", "transactionuid", "transaction") or text(
            model, "TransactionUID"
        )
        change = lambda: self._holdings.update(uid, dataset, transaction)  # noqa: E731
        return await self._done("update", uid, change, transaction)

    # --- transactions ------------------------------------------------------------------------------------------------

    async def _done(
        self, transact: Transact, uid: str, work: Callable[[], Done], transaction: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Response:  # fmt: skip
        """Carry a request out, and say what became of it."""
        try:
            done = await run_in_threadpool(work)
        except ServiceError as error:
            raise self._problem(transact, uid, error, transaction) from error
        status, said = http_status(transact, done.status)
        if transact in ("unsubscribe", "suspend") and not done.existed:
            raise Problem(404, "there is no such subscription")
        return Response(status_code=status, headers={**(headers or {}), **warning(*filter(None, (said,)))})

    def _problem(self, transact: Transact, uid: str, error: ServiceError, transaction: str = "") -> Problem:
        if not failed(error.status) or error.status < 0x0100:
            return Problem(500, str(error))
        status, said = http_status(transact, error.status)
        texts = [said] if said else []
        if error.status == WRONG_TRANSACTION:
            texts.append(INCORRECT_TRANSACTION if transaction else MISSING_TRANSACTION)
        if error.status == UNKNOWN and self._holdings.is_gone(uid):
            status = 410
        return Problem(status, str(error), warning(*texts))

    async def _create(self, request: Request, query: str, address: Address) -> Response:
        dataset = await dataset_of(request, self._limits)
        uid = _uid_of(query, "workitem", "affectedsopinstanceuid")
        stated = text(to_json(dataset), "SOPInstanceUID")
        if not uid and not stated:
            raise Problem(400, "which UID shall it have? POST /workitems?{uid} (PS3.18 §11.4.1.1)")
        uid = uid or stated
        headers = {"Location": address.link(f"{PATH}/{uid}")}
        return await self._done("create", uid, lambda: self._holdings.create(uid, dataset), headers=headers)

    def _retrieve(self, uid: str, accept: Accept) -> Response:
        try:
            found = self._holdings.retrieve(uid)
        except ServiceError as error:
            raise self._problem("retrieve", uid, error) from error
        return dataset_answer(to_json(found), accept, headers={"Cache-Control": "no-store"})

    def _search(self, query: str, accept: Accept) -> Response:
        chosen = accept.best(_OFFERS)
        if not chosen:
            raise Problem(406, f"matches are given as {' or '.join(_OFFERS)}")
        try:
            search = parse_work_search(query)
        except RemoteProtocolError as error:
            raise Problem(400, str(error)) from error
        most = self._limits.rows if search.limit is None else min(search.limit, self._limits.rows)
        found = self._holdings.matches(search.query.keys)
        page = [_returned(one, search) for one in islice(found, search.offset, search.offset + most)]
        remaining = sum(1 for _ in found)
        headers = warning(*remarks(search, remaining)) | {"Cache-Control": "no-store"}
        status = 206 if remaining and page else 200
        if not page:
            return Response(status_code=204, headers=headers)
        if chosen.startswith(RELATED):
            kind = {"Content-Type": DICOM_XML}
            return with_parts([octets_piece(kind, to_xml(row)) for row in page], DICOM_XML, headers)
        body = msgspec.json.encode(page)
        if len(body) > self._limits.search_octets:
            raise Problem(413, f"{len(page)} matches are too much for one answer: ask with limit and offset")
        return Response(body, status, headers, media_type=DICOM_JSON)

    async def _subscribe(self, uid: str, receiver: str, query: str, address: Address) -> Response:
        lock, keys = _subscribed(query)
        if (uid == FILTERED) != bool(keys):
            raise Problem(400, f"a filter belongs to {FILTERED} alone, and has a key (PS3.18 §11.10.1.2)")
        channel = f"{CHANNELS}/{quote(receiver, safe='')}"
        where = re.sub(r"^http", "ws", address.base) + channel
        work = lambda: self._holdings.subscribe(uid, receiver, lock, keys)  # noqa: E731
        return await self._done("subscribe", uid, work, headers={"Content-Location": where})


_ALLOWED: dict[tuple[bool, object], tuple[str, ...]] = {
    (False, False): ("GET", "POST"),
    (True, False): ("GET", "POST"),
    (True, "state"): ("PUT",),
    (True, "cancelrequest"): ("POST",),
    (True, True): ("POST", "DELETE"),
    (True, "suspend"): ("POST",),
}
"""Whether a UID stands there, and what comes after it, to the methods (PS3.18 Table 11.3-1)."""


def _returned(dataset: Dataset, search: WorkSearch) -> dict[str, Any]:
    wanted = _RETURNED | {f"{tag:08X}" for tag in search.tags}
    return {tag: one for tag, one in to_json(dataset).items() if search.everything or tag in wanted}


def _uid_of(query: str, *names: str) -> str:
    """A UID that stands as the whole query string, or as a parameter of it."""
    alone = unquote(query.partition("&")[0])
    if is_uid(alone):
        return alone
    return next((value for name, value in parse_qsl(query) if name.lower() in names), "")


def _subscribed(query: str) -> tuple[bool, tuple[Key, ...]]:
    """The deletion lock and the filter of a subscription.

    Source
    ------
    PS3.18 §11.10.1.2.
    """
    lock, keys = False, []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower() == "deletionlock":
            if value.lower() not in ("true", "false"):
                raise Problem(400, "deletionlock is true or false")
            lock = value.lower() == "true"
        elif name == "filter":
            for part in value.split(","):
                attribute, equals, wanted = part.partition("=")
                if equals:
                    keys.append([attribute.strip(), wanted])
                elif keys:
                    keys[-1][1] += f",{part}"
                else:
                    raise Problem(400, "a filter is attribute=value, attribute=value, ...")
        elif name not in ("accept", "charset"):
            keys.append([name, value])
    text = "&".join(f"{quote(name)}={quote(value)}" for name, value in keys)
    try:
        search = parse_work_search(text)
    except (RemoteProtocolError, UsageError) as error:
        raise Problem(400, str(error)) from error
    if search.ignored:
        raise Problem(400, f"no such attribute: {', '.join(one[:64] for one in search.ignored[:5])}")
    return lock, tuple(key for key in search.query.keys if key.matching != "universal")
