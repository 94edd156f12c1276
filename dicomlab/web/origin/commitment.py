"""Storage commitment at the origin server: what is asked for is looked up, and the answer can be had again.

Source
------
PS3.18 §13 (Storage Commitment Service).
"""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from dicomlab.errors import RemoteProtocolError, ServiceError
from dicomlab.model.commitment import DUPLICATE_TRANSACTION, Commitments
from dicomlab.model.workitem import is_uid
from dicomlab.web.commitment_model import answer_to_json, request_from_json
from dicomlab.web.json_model import to_json
from dicomlab.web.origin.answer import Problem
from dicomlab.web.origin.dataset import dataset_answer, dataset_of
from dicomlab.web.origin.limits import Limits
from dicomlab.web.origin.negotiation import Accept

PATH = "/commitment-requests"


class Committing:
    """Answers the requests for commitment of one application."""

    def __init__(self, commitments: Commitments, limits: Limits) -> None:
        self._commitments, self._limits = commitments, limits

    async def answer(self, request: Request, path: str, accept: Accept) -> Response:
        """Answer one request below ``/commitment-requests``.

        Raises
        ------
        Problem
            400: no transaction UID, or no instances; 404: a transaction that was never asked for; 405; 409: one that
            was; 413; 415.
        """
        uid = path.removeprefix(PATH).strip("/")
        if not is_uid(uid):
            raise Problem(400 if uid else 404, f"{PATH}/{{transaction UID}} (PS3.18 §13)")
        if request.method == "POST":
            dataset = await dataset_of(request, self._limits)
            try:
                references = request_from_json(to_json(dataset))
                result = await run_in_threadpool(self._commitments.commit, uid, references)
            except RemoteProtocolError as error:
                raise Problem(400, str(error)) from error
            except ServiceError as error:
                raise Problem(409 if error.status == DUPLICATE_TRANSACTION else 500, str(error)) from error
        elif request.method in ("GET", "HEAD"):
            found = await run_in_threadpool(self._commitments.answered, uid)
            if found is None:
                raise Problem(404, "nobody has asked for a commitment under that Transaction UID")
            result = found
        else:
            raise Problem(405, f"{PATH} takes GET, POST", {"Allow": "GET, POST, OPTIONS"})
        return dataset_answer(answer_to_json(result), accept, headers={"Cache-Control": "no-store"})
