"""Deleting at a server, which the standard leaves to it; most have it all the same."""

from __future__ import annotations

from collections.abc import Sequence

from dicomlab.errors import ServiceError
from dicomlab.model.progress import Control
from dicomlab.model.report import Outcome, Report, Result
from dicomlab.web.http import Conversation
from dicomlab.web.resources import Resource

_NO_SERVICE = frozenset({405, 501})
_RESULTS: dict[int, Result] = {200: "done", 202: "pending", 204: "done", 404: "failed", 410: "failed"}


def delete(http: Conversation, control: Control, resources: Sequence[Resource], title: str) -> Report:
    """Delete one resource after the other; each has its outcome.

    Raises
    ------
    ServiceError
        The server does not delete.
    Unreachable, Refused, Interrupted
        No conversation, or none to the end; ``error.partial`` is the report so far.
    """
    outcomes: list[Outcome] = []
    for one in resources:
        if control.cancelled:
            break
        with http.request("DELETE", one.path, accept="*/*") as answer:
            if answer.status in _NO_SERVICE:
                raise ServiceError(
                    f"{http.site.url}: {answer.status_line}: the server does not delete {one.level} resources"
                    " (the standard does not ask it to)",
                    status=answer.status,
                )
            if answer.status in (401, 403):
                answer.refuse()
            result = _RESULTS.get(answer.status, "failed")
            if answer.repeated and answer.status in (404, 410):  # gone: the answer to the first request got lost
                result = "done"
            outcomes.append(Outcome(one.instance or one.series or one.study, result, answer.status_line))
            control.advance(int(result != "failed"), failed=int(result == "failed"))
    failed = sum(one.result == "failed" for one in outcomes)
    note = "cancelled" if control.cancelled else f"{failed} were not deleted" if failed else ""
    return Report(title, tuple(outcomes), not note, note, trace=http.channel.trace)
