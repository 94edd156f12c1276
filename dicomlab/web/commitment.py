"""Storage commitment as a user agent: ask a server to keep safe what it was sent, and believe only its answer.

Source
------
PS3.18 §13 (Storage Commitment Service).
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable

import msgspec

from dicomlab.errors import DicomlabError, Refused, RemoteProtocolError, ServiceError
from dicomlab.model.commitment import Committed, Reference, parts
from dicomlab.model.committing import Ledger, references_of
from dicomlab.model.progress import Control
from dicomlab.model.report import Report
from dicomlab.web.body import OneBody
from dicomlab.web.commitment_model import answer_from_json, request_to_json
from dicomlab.web.http import Answer, Conversation, Site
from dicomlab.web.json_model import decode
from dicomlab.web.media_types import DICOM_JSON
from dicomlab.web.search import json_body

_ACCEPT = f"{DICOM_JSON}, application/json;q=0.9"
_SHORTEST_S, _LONGEST_S = 0.1, 30.0
_PENDING, _TAKEN = 202, 409
_NO_SERVICE = frozenset({404, 405, 501})


class Commitment:
    """What was asked of one server, and what it has answered so far."""

    def __init__(self, site: Site, wait_s: float) -> None:
        self._site, self._wait_s = site, wait_s
        self._ledger = Ledger()

    def of(self, report: Report, control: Control) -> Report:
        """Ask for what was stored by `report`, wait a while, and give the report with what came back."""
        self._ask(references_of(report), control)
        return self._told(report)

    def resume(self, report: Report) -> Report:
        """Take up what a report says is still to come: ask for each transaction's answer, or, lost there, anew."""
        self._ledger = Ledger.of(report)
        return self.refresh(report)

    def refresh(self, report: Report) -> Report:
        """Ask again about what is still missing."""
        self._ledger.refused = ""
        control = Control()
        with Conversation(self._site, control) as http:
            lost = self._wait(http, control, list(self._ledger.open))
        if lost:
            anew = [one for uid in lost for one in self._ledger.open.pop(uid)]
            self._ask(anew, control)
        return self._told(report)

    def _told(self, report: Report) -> Report:
        return self._ledger.told(report, self.refresh, {"door": "web", "peer": self._site.url})

    def _ask(self, references: Iterable[Reference], control: Control) -> None:
        with Conversation(self._site, control) as http, control.on_cancel(http.shut):
            asked: list[str] = []
            for part in parts(references):
                uid = f"2.25.{uuid.uuid4().int}"
                body = OneBody(msgspec.json.encode(request_to_json(part)))
                self._ledger.open[uid] = part
                try:
                    with http.request(
                        "POST", _path(uid), accept=_ACCEPT, body=body, content_type=DICOM_JSON, repeatable=True
                    ) as answer:
                        if answer.status != _TAKEN:  # (ours, which arrived although the answer got lost)
                            self._take(uid, answer)
                except (ServiceError, Refused, RemoteProtocolError) as error:
                    self._ledger.refused = str(error)
                    self._ledger.open.pop(uid, None)
                    return
                except DicomlabError as error:  # nobody knows whether it arrived
                    self._ledger.refused = str(error)
                    return
                asked.append(uid)
            try:
                self._wait(http, control, [uid for uid in asked if uid in self._ledger.open])
            except DicomlabError as error:
                self._ledger.refused = str(error)

    def _wait(self, http: Conversation, control: Control, uids: list[str]) -> list[str]:
        """Ask for answers until they are there or time is up; give the transactions that the server has lost."""
        deadline, lost = time.monotonic() + self._wait_s, []
        pause_s = _SHORTEST_S
        while uids and not control.cancelled:
            left: list[str] = []
            for uid in uids:
                with http.request("GET", _path(uid), accept=_ACCEPT) as answer:
                    if answer.status in (404, 410):
                        lost.append(uid)
                    elif not self._take(uid, answer):
                        left.append(uid)
                        pause_s = max(pause_s, _retry_after(answer))
            uids = left
            if not uids or time.monotonic() + pause_s >= deadline or control.wait(pause_s):
                break
            pause_s = min(2 * pause_s, _LONGEST_S)
        return lost

    def _take(self, uid: str, answer: Answer) -> bool:
        """Take an answer; False where there is none yet."""
        if answer.status == _PENDING:
            return False
        if answer.status in _NO_SERVICE:
            raise ServiceError(f"{answer.status_line}: no storage commitment there (PS3.18 §13)", status=answer.status)
        if answer.status not in (200, 201):
            answer.refuse()
        result: Committed = answer_from_json(decode(json_body(answer)))
        self._ledger.take(uid, result)
        return True


def _path(uid: str) -> str:
    return f"/commitment-requests/{uid}"


def _retry_after(answer: Answer) -> float:
    text = answer.headers.get("Retry-After", "")
    return min(float(text), _LONGEST_S) if re.fullmatch(r"[0-9]{1,6}", text) else 0.0
