"""The Worklist Service as its user agent sees it: requests for work items, and what the server says to them.

Source
------
PS3.18 §11 (Worklist Service).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import msgspec

from dicomlab.errors import RemoteProtocolError
from dicomlab.model.query import Key
from dicomlab.model.summary import visible
from dicomlab.model.workitem import FILTERED, HTTP, SUCCESS, Done, Transact
from dicomlab.web.body import OneBody
from dicomlab.web.http import Answer, Conversation, Site
from dicomlab.web.json_columns import rows
from dicomlab.web.json_datasets import from_json
from dicomlab.web.json_model import decode, to_json
from dicomlab.web.media_types import DICOM_JSON
from dicomlab.web.paging import Paging
from dicomlab.web.resources import match_parameters, query_text
from dicomlab.web.search import json_body

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.model.matching import Row
    from dicomlab.model.path import Verdict
    from dicomlab.model.progress import Control
    from dicomlab.model.workitem_service import WorkQuery
    from dicomlab.web.channel import WebSocketChannel

_ACCEPT = f"{DICOM_JSON}, application/json;q=0.9"
_NO_MATCH = 204


class WorkItemAgent:
    """Asks one server for work items. Satisfies ``WorkItemService``.

    Parameters
    ----------
    site : Site
    page : int
        Rows that one request of a search asks for.
    channels : dict
        Where the server sends the events of each receiver, as it says on subscribing; kept from one use to the next.
    """

    def __init__(self, site: Site, page: int, channels: dict[str, str]) -> None:
        self._site, self._page, self._channels = site, page, channels

    @property
    def fictional(self) -> bool:
        """Whether its patients are known to be synthetic."""
        return self._site.fictional

    @contextmanager
    def _asked(self, method: str, path: str, dataset: Dataset | None = None) -> Iterator[Answer]:
        """Ask once. Twice is not the same here: the second one is told that the item is there, or claimed, already."""
        body = None if dataset is None else OneBody(msgspec.json.encode(to_json(dataset, exact=True)))
        with (
            Conversation(self._site) as http,
            http.request(
                method, path, accept=_ACCEPT, body=body, content_type=DICOM_JSON if body else "",
                repeatable=method == "GET",
            ) as answer,
        ):  # fmt: skip
            if not 200 <= answer.status < 300:
                answer.refuse()
            yield answer

    def _done(self, transact: Transact, uid: str, method: str, path: str, dataset: Dataset | None = None) -> Done:
        with self._asked(method, path, dataset) as answer:
            return self._said(transact, uid, answer)

    def _said(self, transact: Transact, uid: str, answer: Answer) -> Done:
        """What an answer says of a request: its Warning is a status, where it is one of the standard's."""
        given = answer.headers.get("Warning", "")
        for (kind, status), (code, words) in HTTP.items():
            if kind == transact and code < 300 and words and words.rstrip(".").lower() in given.lower():
                return Done(uid, status)
        return Done(uid, SUCCESS, (visible(given, 300),) if given else ())

    # --- transactions ------------------------------------------------------------------------------------------------

    def create(self, uid: str, workitem: Dataset, /) -> Done:
        """Create a work item (PS3.18 §11.4)."""
        given = {tag: one for tag, one in to_json(workitem, exact=True).items() if tag not in ("00080016", "00080018")}
        return self._done("create", uid, "POST", f"/workitems?{uid}", from_json(given))

    def retrieve(self, uid: str, /) -> Dataset:
        """Give a work item (PS3.18 §11.5)."""
        with self._asked("GET", f"/workitems/{uid}") as answer:
            model = decode(json_body(answer))
        if isinstance(model, list) and len(model) == 1:  # as many servers give it
            model = model[0]
        if not isinstance(model, Mapping):
            raise RemoteProtocolError("the answer is no work item", section="PS3.18 §11.5.3.3")
        return from_json(model)

    def update(self, uid: str, changes: Dataset, transaction_uid: str, /) -> Done:
        """Set attributes (PS3.18 §11.6)."""
        query = f"?{quote(transaction_uid, safe='')}" if transaction_uid else ""
        return self._done("update", uid, "POST", f"/workitems/{uid}{query}", changes)

    def change_state(self, uid: str, state: str, transaction_uid: str, /) -> Done:
        """Change the state (PS3.18 §11.7)."""
        from pydicom import Dataset

        asked = Dataset()
        asked.TransactionUID, asked.ProcedureStepState = transaction_uid, state
        return self._done("state", uid, "PUT", f"/workitems/{uid}/state", asked)

    def request_cancel(self, uid: str, requesting_ae: str, information: Dataset, /) -> Done:
        """Request that a work item be canceled (PS3.18 §11.8)."""
        information.RequestingAE = requesting_ae
        return self._done("cancel", uid, "POST", f"/workitems/{uid}/cancelrequest", information)

    def search(self, query: WorkQuery, control: Control, verdict: Verdict, /) -> Iterator[Row]:
        """Give the raw values of the work items that match, page by page (PS3.18 §11.9)."""
        asked = dict.fromkeys(one.name.partition(".")[0] for one in query.include)
        fixed = match_parameters(query.keys) + [("includefield", name) for name in asked]
        page = self._page if query.limit is None else min(self._page, query.limit + 1)
        paging = Paging(page)
        with Conversation(self._site, control) as http, control.on_cancel(http.shut):
            while paging.offset is not None and not control.cancelled:
                offset = [("offset", str(paging.offset))] if paging.offset else []
                text = query_text([*fixed, ("limit", str(page)), *offset])
                with http.request("GET", f"/workitems?{text}", accept=_ACCEPT) as answer:
                    if answer.status not in (200, _NO_MATCH, 206):
                        answer.refuse()
                    warning = answer.headers.get("Warning", "")
                    body = b"" if answer.status == _NO_MATCH else json_body(answer)
                    more = answer.status == 206 or "additional" in warning.lower()
                found = rows(body, query.columns) if body.strip() else []
                uids = [str(next(iter(row["SOPInstanceUID"]), "") or "") for row in found]
                for at in paging.take(uids, more=more):
                    yield found[at]
                if "ignored" in warning.lower():
                    verdict.warn(visible(warning, 300))
        if paging.note:
            verdict.cut(paging.note)

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def subscribe(self, uid: str, receiver: str, deletion_lock: bool, keys: Sequence[Key], /) -> Done:
        """Subscribe to events (PS3.18 §11.10)."""
        given: list[tuple[str, str]] = [("deletionlock", "true")] if deletion_lock else []
        if uid == FILTERED:
            given.append(("filter", ",".join(f"{name}={value}" for name, value in match_parameters(keys))))
        query = "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in given) if given else ""
        with self._asked("POST", f"{_subscriber(uid, receiver)}{query}") as answer:
            self._channels[receiver] = answer.headers.get("Content-Location", "")
            return self._said("subscribe", uid, answer)

    def unsubscribe(self, uid: str, receiver: str, /) -> Done:
        """End a subscription (PS3.18 §11.11)."""
        return self._done("unsubscribe", uid, "DELETE", _subscriber(uid, receiver))

    def suspend(self, uid: str, receiver: str, /) -> Done:
        """Subscribe to no further work items (PS3.18 §11.12)."""
        return self._done("suspend", uid, "POST", f"{_subscriber(uid, receiver)}/suspend")

    def listen(self, receiver: str, /) -> WebSocketChannel:
        """Open a notification connection (PS3.18 §8.10.4)."""
        from dicomlab.web.channel import WebSocketChannel

        return WebSocketChannel(self._site, receiver, self._channels.get(receiver, ""))


def _subscriber(uid: str, receiver: str) -> str:
    return f"/workitems/{uid}/subscribers/{quote(receiver, safe='')}"
