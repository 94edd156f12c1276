"""UPS-RS at the origin server, asked by requests and by websockets: statuses, Warnings, limits, and who may come in."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from dicomlab.archive.workitems import WorkItemStore
from dicomlab.model.workitem import FILTERED, GLOBAL
from dicomlab.model.workitems import dataset_of, scheduled
from dicomlab.web import origin
from dicomlab.web.json_model import to_json
from dicomlab.web.origin.limits import Limits
from dicomlab.web.xml_model import from_xml, to_xml
from tests.unit.archive.test_workitems import PERFORMED, REASON
from tests.unit.dimse.holdings import FolderHoldings

JSON = "application/dicom+json"
XML = "application/dicom+xml"
MINE = "1.2.3.99"


class Now:
    """Work items that are another store's in each test, behind one server."""

    store: WorkItemStore

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Now, str]]:
    now = Now()
    setting = origin.Setting(limits=Limits(dataset_octets=64 << 10, channels=2, rows=3))
    with origin.serve(FolderHoldings(tmp_path_factory.mktemp("files")), setting=setting, workitems=now) as server:
        yield now, server.url


@pytest.fixture
def store(tmp_path: Path, now: tuple[Now, str]) -> Iterator[WorkItemStore]:
    opened = now[0].store = WorkItemStore(tmp_path / "workitems.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def base(now: tuple[Now, str], store: WorkItemStore) -> str:
    return now[1]


def model(**given: Any) -> dict[str, Any]:
    return to_json(dataset_of(given), exact=True)


def ask(method: str, url: str, body: Any = None, kind: str = JSON, **headers: str) -> requests.Response:
    data = json.dumps(body).encode() if isinstance(body, dict | list) else body
    given = {"Content-Type": kind} if body is not None else {}
    return requests.request(method, url, data=data, headers={"Accept": JSON, **given, **headers}, timeout=30)


def create(base: str, uid: str = "1.2.3", **given: Any) -> requests.Response:
    body = to_json(scheduled({"ProcedureStepLabel": "Read", **given}), exact=True)
    return ask("POST", f"{base}/workitems?{uid}", body)


def put_state(base: str, state: str, transaction: str = MINE, uid: str = "1.2.3") -> requests.Response:
    body = {"00741000": {"vr": "CS", "Value": [state]}}
    if transaction:
        body["00081195"] = {"vr": "UI", "Value": [transaction]}
    return ask("PUT", f"{base}/workitems/{uid}/state", body)


def listening(base: str, receiver: str = "LAB1", **options: Any) -> ClientConnection:
    return connect(f"{base.replace('http', 'ws', 1)}/subscribers/{receiver}", **options)


def test_from_create_to_completed(base: str, store: WorkItemStore) -> None:
    made = create(base, PatientName="Müller^Jürgen")
    assert (made.status_code, made.headers["Location"], made.content) == (201, f"{base}/workitems/1.2.3", b"")
    assert create(base).status_code == 409
    assert put_state(base, "IN PROGRESS").status_code == 200
    update = ask("POST", f"{base}/workitems/1.2.3?{MINE}", model(**PERFORMED))
    assert update.status_code == 200
    assert put_state(base, "COMPLETED").status_code == 200
    again = put_state(base, "COMPLETED")
    assert again.status_code == 200
    assert again.headers["Warning"] == '299 dicomlab "The UPS is already in the requested state of COMPLETED."'
    found = ask("GET", f"{base}/workitems/1.2.3")
    assert found.headers["Content-Type"] == JSON
    assert found.json()["00741000"]["Value"] == ["COMPLETED"]
    assert found.json()["00100010"]["Value"] == [{"Alphabetic": "Müller^Jürgen"}]
    assert "00081195" not in found.json()
    assert store.retrieve("1.2.3").ProcedureStepState == "COMPLETED"


def test_xml_in_and_out(base: str) -> None:
    body = to_xml(to_json(scheduled({"ProcedureStepLabel": "Read", "PatientName": "Müller^J"}), exact=True))
    assert ask("POST", f"{base}/workitems?workitem=1.2.3", body, XML).status_code == 201
    found = ask("GET", f"{base}/workitems/1.2.3", Accept=XML)
    assert found.headers["Content-Type"] == XML
    assert from_xml(found.content)["00100010"]["Value"] == [{"Alphabetic": "Müller^J"}]
    rows = ask("GET", f"{base}/workitems", Accept=f'multipart/related; type="{XML}"')
    assert rows.headers["Content-Type"].startswith("multipart/related")


def test_the_uid_may_stand_in_the_data_set(base: str) -> None:
    body = {
        **to_json(scheduled({"ProcedureStepLabel": "Read"}), exact=True),
        "00080018": {"vr": "UI", "Value": ["1.2.4"]},
    }
    assert ask("POST", f"{base}/workitems", [body]).headers["Location"].endswith("/workitems/1.2.4")
    assert ask("POST", f"{base}/workitems?1.2.5", body).status_code == 400, "two UIDs"
    del body["00080018"]
    assert ask("POST", f"{base}/workitems", body).status_code == 400, "none"


@pytest.mark.parametrize(
    ("state", "transaction", "before", "status", "warning"),
    [
        ("IN PROGRESS", "", "SCHEDULED", 400, "The Transaction UID is missing."),
        ("SCHEDULED", MINE, "SCHEDULED", 400, "inconsistent with the state of the UPS Instance"),
        ("COMPLETED", MINE, "SCHEDULED", 409, "inconsistent with the state of the UPS Instance"),
        ("IN PROGRESS", MINE, "IN PROGRESS", 409, "inconsistent with the state of the UPS Instance"),
        ("COMPLETED", "1.2.9", "IN PROGRESS", 400, "The Transaction UID is incorrect."),
        ("COMPLETED", MINE, "IN PROGRESS", 409, "inconsistent with the state of the UPS Instance"),
        ("CANCELED", MINE, "CANCELED", 200, "already in the requested state of CANCELED"),
        ("COMPLETED", MINE, "CANCELED", 409, "inconsistent with the state of the UPS Instance"),
        ("DONE", MINE, "IN PROGRESS", 400, ""),
        ("COMPLETED", "not a uid", "IN PROGRESS", 400, ""),
    ],
)
def test_changes_of_state_that_are_out_of_order(
    base: str, store: WorkItemStore, state: str, transaction: str, before: str, status: int, warning: str
) -> None:
    create(base)
    if before != "SCHEDULED":
        put_state(base, "IN PROGRESS")
    if before == "CANCELED":
        ask("POST", f"{base}/workitems/1.2.3?{MINE}", model(**REASON))
        put_state(base, "CANCELED")
    was = store.retrieve("1.2.3")
    answer = put_state(base, state, transaction)
    assert answer.status_code == status
    assert warning in answer.headers.get("Warning", "")
    assert store.retrieve("1.2.3") == was, "it changes nothing"


def test_updates_that_are_out_of_order(base: str, store: WorkItemStore) -> None:
    create(base)
    url, label = f"{base}/workitems/1.2.3", model(ProcedureStepLabel="Other")
    unclaimed = ask("POST", f"{url}?{MINE}", label)
    assert (unclaimed.status_code, "did not reference a claimed Workitem" in unclaimed.headers["Warning"]) == (
        409,
        True,
    )
    assert ask("POST", url, label).status_code == 200
    put_state(base, "IN PROGRESS")
    missing, wrong = ask("POST", url, model(ProcedureStepLabel="X")), ask("POST", f"{url}?1.2.9", label)
    assert (missing.status_code, wrong.status_code) == (400, 400)
    assert "The Transaction UID is missing." in missing.headers["Warning"]
    assert "The Transaction UID is incorrect." in wrong.headers["Warning"]
    assert ask("POST", f"{url}?{MINE}", model(PatientName="Other^One")).status_code == 400
    ask("POST", f"{url}?{MINE}", model(**REASON))
    put_state(base, "CANCELED")
    final = ask("POST", f"{url}?{MINE}", label)
    assert (final.status_code, "inconsistent" in final.headers["Warning"]) == (400, True)
    assert store.retrieve("1.2.3").ProcedureStepLabel == "Other"


def test_cancel_requests(base: str) -> None:
    create(base)
    url = f"{base}/workitems/1.2.3/cancelrequest"
    assert ask("POST", url).status_code == 202, "without a body: nobody had it"
    again = ask("POST", url, model(ReasonForCancellation="no"))
    assert (again.status_code, "already in the requested state of CANCELED" in again.headers["Warning"]) == (202, True)
    create(base, "1.2.4")
    put_state(base, "IN PROGRESS", uid="1.2.4")
    assert ask("POST", f"{base}/workitems/1.2.4/cancelrequest").status_code == 409, "nobody can be asked"


def test_what_is_not_there(base: str, store: WorkItemStore) -> None:
    assert ask("GET", f"{base}/workitems/1.2.3").status_code == 404
    assert put_state(base, "IN PROGRESS").status_code == 404
    assert ask("POST", f"{base}/workitems/1.2.3/subscribers/LAB1").status_code == 404
    create(base)
    ask("POST", f"{base}/workitems/1.2.3/cancelrequest")
    assert store.purge() == 1
    for method, path in (("GET", "1.2.3"), ("POST", "1.2.3/cancelrequest"), ("POST", "1.2.3/subscribers/LAB1")):
        assert ask(method, f"{base}/workitems/{path}").status_code == 410
    for path in ("x", "1.2.3/unknown", "1.2.3/state/x", "1.2.3/subscribers", "1.2.3/subscribers/LAB1/x"):
        assert ask("GET", f"{base}/workitems/{path}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "", "GET, POST, OPTIONS"),
        ("DELETE", "/1.2.3", "GET, POST, OPTIONS"),
        ("POST", "/1.2.3/state", "PUT, OPTIONS"),
        ("PUT", "/1.2.3/cancelrequest", "POST, OPTIONS"),
        ("GET", "/1.2.3/subscribers/LAB1", "POST, DELETE, OPTIONS"),
        ("DELETE", f"/{GLOBAL}/subscribers/LAB1/suspend", "POST, OPTIONS"),
    ],
)
def test_other_methods(base: str, method: str, path: str, allow: str) -> None:
    answer = ask(method, f"{base}/workitems{path}")
    assert (answer.status_code, answer.headers["Allow"]) == (405, allow)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{", JSON, 400), (b"[]", JSON, 400), (b"[{},{}]", JSON, 400), (b"7", JSON, 400), (b"{}", JSON, 400),
        (b"{}", "text/plain", 415), (b"{}", "nonsense", 415), (b"<x/>", XML, 400), (b"", JSON, 400),
        (b'{"00741204":{"vr":"LO","Value":[{"a":1}]}}', JSON, 400), (b'{"x":1}', JSON, 400),
        (b'{"00741204":{"vr":"ZZ","Value":["x"]}}', JSON, 400),
        (b"[" * 10_000, JSON, 400), (b'{"a":' * 10_000, JSON, 400), (bytes(70_000), JSON, 413),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel/>', XML, 400),
    ],
)  # fmt: skip
def test_hostile_bodies(base: str, store: WorkItemStore, body: bytes, kind: str, status: int) -> None:
    answer = ask("POST", f"{base}/workitems?1.2.3", body, kind)
    assert answer.status_code == status
    assert len(store) == 0
    if status == 415:
        assert JSON in answer.headers["Accept"]


def test_searches(base: str) -> None:
    assert ask("GET", f"{base}/workitems").status_code == 204
    for at in range(5):
        create(base, f"1.2.3.{at}", ScheduledProcedureStepPriority="HIGH" if at % 2 else "LOW")
    page = ask("GET", f"{base}/workitems")
    assert page.status_code == 206, "the server gives 3 rows at a time"
    assert "There are 2 additional results" in page.headers["Warning"]
    rest = ask("GET", f"{base}/workitems?offset=3")
    assert [row["00080018"]["Value"][0] for row in (*page.json(), *rest.json())] == [f"1.2.3.{at}" for at in range(5)]
    assert "00741216" not in page.json()[0]
    high = ask("GET", f"{base}/workitems?00741200=HIGH&includefield=00741216")
    assert len(high.json()) == 2
    assert "00741216" in high.json()[0]
    odd = ask("GET", f"{base}/workitems?limit=1&nonsense=1&fuzzymatching=true")
    assert ("nonsense" in odd.headers["Warning"], "fuzzymatching" in odd.headers["Warning"]) == (True, True)
    assert ask("GET", f"{base}/workitems?limit=x").status_code == 400
    assert ask("GET", f"{base}/workitems", Accept="image/png").status_code == 406


def test_subscriptions_and_events(base: str, store: WorkItemStore) -> None:
    made = ask("POST", f"{base}/workitems/{GLOBAL}/subscribers/LAB1?deletionlock=true")
    assert made.status_code == 201
    assert made.headers["Content-Location"] == base.replace("http", "ws", 1) + "/subscribers/LAB1"
    create(base)
    with listening(base) as one, listening(base) as two:
        event = json.loads(one.recv(timeout=20))
        assert (event["00001000"]["Value"], event["00001002"]["Value"]) == (["1.2.3"], [1]), "it was kept"
        put_state(base, "IN PROGRESS")
        for channel in (one, two):
            while (state := json.loads(channel.recv(timeout=20))["00741000"]["Value"]) != ["IN PROGRESS"]:
                assert (channel, state) == (two, ["SCHEDULED"]), "the first event, where both were open in time"
        with pytest.raises(InvalidStatus, match="403"):
            listening(base, "LAB2")  # more than the server has room for
    assert ask("DELETE", f"{base}/workitems/{GLOBAL}/subscribers/LAB1").status_code == 200
    assert ask("DELETE", f"{base}/workitems/{GLOBAL}/subscribers/LAB1").status_code == 404


def test_filtered_subscriptions(base: str, store: WorkItemStore) -> None:
    url = f"{base}/workitems/{FILTERED}/subscribers/LAB1"
    for wrong in ("", "?filter=", "?filter=HIGH", "?filter=NoSuchThing=1", "?deletionlock=maybe&filter=PatientID=1"):
        assert ask("POST", url + wrong).status_code == 400
    assert ask("POST", f"{base}/workitems/{GLOBAL}/subscribers/LAB1?filter=PatientID=1").status_code == 400
    given = "filter=ScheduledProcedureStepPriority=HIGH,00404041=READY"
    assert ask("POST", f"{url}?{given}").status_code == 201
    create(base, "1.2.3", ScheduledProcedureStepPriority="HIGH")
    create(base, "1.2.4")
    create(base, "1.2.5", ScheduledProcedureStepPriority="HIGH", InputReadinessState="INCOMPLETE")
    assert [event.uid for event in store.events("LAB1")] == ["1.2.3"]
    assert ask("POST", f"{url}/suspend").status_code == 200
    assert ask("POST", f"{url}/suspend").status_code == 404
    create(base, "1.2.6", ScheduledProcedureStepPriority="HIGH")
    assert [event.uid for event in store.events("LAB1")] == ["1.2.3"]
    for title in ("A" * 17, "%00", "%5C"):
        assert ask("POST", f"{base}/workitems/{GLOBAL}/subscribers/{title}").status_code == 400


def test_who_may_open_a_channel(base: str) -> None:
    where = urlsplit(base)
    with pytest.raises(InvalidStatus, match="403"):
        listening(base, origin="https://evil.example")
    with pytest.raises(InvalidStatus, match="403"):  # a name that was made to lead here
        connect(
            f"ws://evil.example:{where.port}{where.path}/subscribers/LAB1",
            sock=socket.create_connection((str(where.hostname), int(where.port or 0))),
        )
    with listening(base, origin=f"http://{where.netloc}"):
        pass
    with pytest.raises(InvalidStatus):
        listening(base, "%5C")


@pytest.mark.parametrize("message", ["hello", b"x", "x" * 5000])
def test_who_speaks_over_a_channel_is_shown_out(base: str, message: str | bytes) -> None:
    with listening(base) as channel:
        channel.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            channel.recv(timeout=20)
        assert closed.value.rcvd.code == (1009 if len(message) > 4096 else 1003)


def test_pages_of_elsewhere_change_nothing(base: str, store: WorkItemStore) -> None:
    create(base)
    body = model(ProcedureStepState="IN PROGRESS", TransactionUID=MINE)
    answer = ask("PUT", f"{base}/workitems/1.2.3/state", body, Origin="https://evil.example")
    assert answer.status_code == 403
    assert store.retrieve("1.2.3").ProcedureStepState == "SCHEDULED"


def test_without_work_items_there_is_no_such_service(tmp_path: Path) -> None:
    with origin.serve(FolderHoldings(tmp_path)) as server:
        assert requests.get(f"{server.url}/workitems", timeout=30).status_code == 404
        with pytest.raises(InvalidStatus):
            listening(server.url)
