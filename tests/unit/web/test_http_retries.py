"""What is asked again, and what must not be: storing twice stores once, claiming twice does not claim once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dicomlab import Interrupted, ServiceError, WebEndpoint
from dicomlab.errors import DicomlabError
from tests.unit.web.scripted import Asked, reply, scripted
from tests.unit.web.test_endpoint_faults import UIDS, store, store_reply

CREATED = reply("201 Created", Location="/dicom-web/workitems/1.2.3")
DONE = reply("200 OK")
CHANGES: dict[str, tuple[Callable[[WebEndpoint], object], bytes]] = {
    "create": (lambda web: web.workitems.create(uid="1.2.3", ProcedureStepLabel="Read"), CREATED),
    "claim": (lambda web: web.workitems.claim("1.2.3"), DONE),
    "state": (lambda web: web.workitems.change_state("1.2.3", "COMPLETED", "1.2.9"), DONE),
    "update": (lambda web: web.workitems.update("1.2.3", {"ProcedureStepLabel": "Read"}, "1.2.9"), DONE),
    "cancel": (lambda web: web.workitems.request_cancel("1.2.3"), reply("202 Accepted")),
}


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout", ""])
def test_a_change_that_may_have_been_made_is_not_made_again(verb: str, status: str) -> None:
    change, good = CHANGES[verb]
    answers = iter([reply(status, Retry_After="0") if status else b""])
    with scripted(lambda asked: next(answers, good)) as server:
        with pytest.raises(ServiceError if status else Interrupted):
            change(WebEndpoint(server.url))
        assert len(server.asked) == 1


@pytest.mark.parametrize("verb", CHANGES)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_change_that_was_put_off_is_asked_for_again_in_full(verb: str, status: str) -> None:
    change, good = CHANGES[verb]
    answers = iter([reply(status, Retry_After="0")])
    with scripted(lambda asked: next(answers, good)) as server:
        change(WebEndpoint(server.url))
        first, second = server.asked
    assert first.body == second.body
    assert (first.method, first.target) == (second.method, second.target)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "504 Gateway Timeout"])
def test_storing_twice_stores_once(status: str) -> None:
    answers = iter([reply(status, Retry_After="0"), store_reply("200 OK", UIDS)])
    with scripted(lambda asked: next(answers, reply("404 No search"))) as server:
        assert store(server.url).counts == {"done": 3}
        first, second = (one.body for one in server.asked if one.method == "POST")
    assert len(first) == len(second) > 1000


@pytest.mark.parametrize(
    ("first", "result"),
    [
        (reply("502 Bad Gateway", Retry_After="0"), "done"),
        (b"", "done"),
        (reply("503 Later", Retry_After="0"), "failed"),
    ],
    ids=["a gateway that does not know", "an answer that got lost", "put off"],
)
def test_what_is_gone_after_a_delete_whose_answer_got_lost_is_deleted(first: bytes, result: str) -> None:
    answers = iter([first])
    with scripted(lambda asked: next(answers, reply("404 Not Found"))) as server:
        report = WebEndpoint(server.url).delete("1.2", confirm=1)
        assert [one.result for one in report] == [result]
        assert len(server.asked) == 2


def test_a_request_for_commitment_has_a_name_so_it_can_be_asked_for_again() -> None:
    def answer(asked: Asked) -> bytes:
        if "/commitment-requests/" not in asked.path:
            return store_reply("200 OK", UIDS) if asked.method == "POST" else reply("404 No search")
        return next(answers)

    answers = iter([reply("504 Gateway Timeout", Retry_After="0"), reply("409 Conflict"), reply("404 Not Found")])
    with scripted(answer) as server:
        store(server.url, commit=True)
        asked = [(one.method, one.path, one.body) for one in server.asked if "commitment" in one.path]
    assert asked[0] == asked[1]
    assert [method for method, *_ in asked] == ["POST", "POST", "GET"]


def test_a_search_is_asked_again() -> None:
    answers = iter([reply("502 Bad Gateway", Retry_After="0"), b""])
    with scripted(lambda asked: next(answers, reply("204 No Content"))) as server:
        assert WebEndpoint(server.url).find("study", progress=False).complete
        assert len(server.asked) == 3
    with scripted(lambda asked: reply("502 Bad Gateway", Retry_After="0")) as server, pytest.raises(DicomlabError):
        WebEndpoint(server.url).find("study", progress=False)
