"""Every request in every state, by a table and by an oracle written apart from the library's; kills in between."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dicomlab.archive.workitems import WorkItemStore
from dicomlab.errors import ServiceError
from dicomlab.model import workitem
from dicomlab.model.workitem import GLOBAL
from dicomlab.model.workitems import dataset_of, scheduled
from tests.unit.archive.test_workitems import PERFORMED, REASON

STATES = ("nowhere", "SCHEDULED", "IN PROGRESS", "COMPLETED", "CANCELED")
MINE, OTHER = "1.2.3.1", "1.2.3.2"

# PS3.4 Table CC.1.1-2 and §CC.2.6.3: what comes back in each of the five states, and where that leads
TABLE = """
create      -      0000>SCHEDULED  0111               0111            0111    0111
IN_PROGRESS mine   C307            0000>IN_PROGRESS   C302            C300    C300
IN_PROGRESS other  C307            0000>IN_PROGRESS   C301            C301    C301
IN_PROGRESS none   C307            C301               C301            C301    C301
SCHEDULED   mine   C307            C303               C303            C303    C303
SCHEDULED   none   C307            C303               C303            C303    C303
COMPLETED   mine   C307            C310               0000>COMPLETED  B306    C300
COMPLETED   other  C307            C310               C301            C301    C301
COMPLETED   none   C307            C301               C301            C301    C301
CANCELED    mine   C307            C310               0000>CANCELED   C300    B304
CANCELED    other  C307            C310               C301            C301    C301
CANCELED    none   C307            C301               C301            C301    C301
request     -      C307            0000>CANCELED      0000            C311    B304
update      mine   C307            C310               0000            C300    C300
update      other  C307            C310               C301            C300    C300
update      none   C307            0000               C301            C300    C300
"""
CASES = [
    (row.split()[0].replace("_", " "), row.split()[1], state, cell)
    for row in TABLE.strip().splitlines()
    for state, cell in zip(STATES, row.split()[2:], strict=True)
]


def ask(store: WorkItemStore, request: str, uid: str, transaction: str) -> int:
    """Make one request; the status that comes back."""
    try:
        if request == "create":
            return store.create(uid, scheduled({"ProcedureStepLabel": "Read"})).status
        if request == "request":
            return store.request_cancel(uid, "LAB1", dataset_of({})).status
        if request == "update":
            return store.update(uid, dataset_of({"WorklistLabel": "X"}), transaction).status
        return store.change_state(uid, request, transaction).status
    except ServiceError as error:
        return error.status


def bring(store: WorkItemStore, uid: str, state: str) -> None:
    """Bring an item, ready for either end, into a state."""
    if state == "nowhere":
        return
    assert ask(store, "create", uid, "") == 0
    store.update(uid, dataset_of({**PERFORMED, **REASON}), "")
    if state != "SCHEDULED":
        assert ask(store, "IN PROGRESS", uid, MINE) == 0
    if state in ("COMPLETED", "CANCELED"):
        assert ask(store, state, uid, MINE) == 0


def state_of(store: WorkItemStore, uid: str) -> str:
    try:
        return str(store.retrieve(uid).ProcedureStepState)
    except ServiceError:
        return "nowhere"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    opened = WorkItemStore(tmp_path_factory.mktemp("store") / "workitems.sqlite")
    opened.subscribe(GLOBAL, "LAB1", False, ())
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("number", "case"), list(enumerate(CASES)), ids=lambda one: "-".join(one) if isinstance(one, tuple) else None
)
def test_the_table(store: WorkItemStore, number: int, case: tuple[str, str, str, str]) -> None:
    request, whose, state, cell = case
    uid = f"1.2.4.{number}"
    bring(store, uid, state)
    before = store.retrieve(uid) if state != "nowhere" else None
    events = len(store.events("LAB1", None, 10_000))
    status, _, after = cell.partition(">")
    assert f"{ask(store, request, uid, {'mine': MINE, 'other': OTHER}.get(whose, '')):04X}" == status
    assert state_of(store, uid) == (after.replace("_", " ") or state)
    told = len(store.events("LAB1", None, 10_000)) - events
    if after:
        assert told == (2 if request == "request" else 1), "a cancel request goes through IN PROGRESS"
    else:
        assert told == (1 if (request, state) == ("request", "IN PROGRESS") else 0)
        if request != "update" or status != "0000":
            assert before is None or store.retrieve(uid) == before, "what was refused has changed nothing"


def test_the_library_s_table_is_the_standard_s() -> None:
    names = {"IN PROGRESS": "claim", "SCHEDULED": "schedule", "COMPLETED": "complete", "CANCELED": "cancel",
             "request": "request cancel"}  # fmt: skip
    for request, whose, state, cell in CASES:
        if state == "SCHEDULED" and whose == "other":
            continue  # nobody has claimed it, so that any is right
        transaction = {"mine": "right", "other": "wrong", "none": "none", "-": "none"}[whose]
        found = workitem.transition(names.get(request, request), transaction, None if state == "nowhere" else state)  # type: ignore[arg-type]
        status, _, after = cell.partition(">")
        assert found == (after.replace("_", " ") if after else int(status, 16)), (request, whose, state)
    assert all(
        one in workitem.STATUSES
        for row in workitem.TRANSITIONS.values()
        for one in row.values()
        if isinstance(one, int)
    )


class Worklist(RuleBasedStateMachine):
    """Requests in any order against the store, and beside it what should come of them."""

    uids = st.sampled_from(["1.2.3", "1.2.4"])
    transactions = st.sampled_from(["", MINE, OTHER])

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "workitems.sqlite"
        self.store = WorkItemStore(self.path)
        self.items: dict[str, dict] = {}
        self.gone: set[str] = set()
        self.subscribed: dict[str, bool] = {}
        self.worklist: bool | None = None
        self.told = 0

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()

    def _tell(self, uid: str, times: int = 1) -> None:
        self.told += times if uid in self.subscribed else 0

    @rule(uid=uids)
    def create(self, uid: str) -> None:
        status = ask(self.store, "create", uid, "")
        if uid in self.items:
            assert status == 0x0111
        elif uid in self.gone:
            assert status == 0x0106
        else:
            assert status == 0
            self.items[uid] = {"state": "SCHEDULED", "owner": None, "performed": False, "reason": False}
            if self.worklist is not None:
                self.subscribed[uid] = self.worklist
            self._tell(uid)

    def _owned(self, item: dict, transaction: str) -> bool:
        if item["state"] == "SCHEDULED":
            return bool(transaction)
        return bool(transaction) and (item["owner"] in (None, transaction))

    @rule(uid=uids, transaction=transactions)
    def claim(self, uid: str, transaction: str) -> None:
        status, item = ask(self.store, "IN PROGRESS", uid, transaction), self.items.get(uid)
        if item is None:
            assert status == 0xC307
        elif not self._owned(item, transaction):
            assert status == 0xC301
        elif item["state"] == "SCHEDULED":
            assert status == 0
            item.update(state="IN PROGRESS", owner=transaction)
            self._tell(uid)
        else:
            assert status == (0xC302 if item["state"] == "IN PROGRESS" else 0xC300)

    @rule(uid=uids, transaction=transactions, end=st.sampled_from(["COMPLETED", "CANCELED"]))
    def finish(self, uid: str, transaction: str, end: str) -> None:
        status, item = ask(self.store, end, uid, transaction), self.items.get(uid)
        if item is None:
            assert status == 0xC307
        elif not self._owned(item, transaction):
            assert status == 0xC301
        elif item["state"] == "SCHEDULED":
            assert status == 0xC310
        elif item["state"] == end:
            assert status == (0xB306 if end == "COMPLETED" else 0xB304)
        elif item["state"] in ("COMPLETED", "CANCELED"):
            assert status == 0xC300
        elif not item["performed" if end == "COMPLETED" else "reason"]:
            assert status == 0xC304
        else:
            assert status == 0
            item["state"] = end
            self._tell(uid)

    @rule(uid=uids, transaction=transactions, what=st.sampled_from(["performed", "reason"]))
    def update(self, uid: str, transaction: str, what: str) -> None:
        item = self.items.get(uid)
        try:
            changes = dataset_of(PERFORMED if what == "performed" else REASON)
            status = self.store.update(uid, changes, transaction).status
        except ServiceError as error:
            status = error.status
        if item is None:
            assert status == 0xC307
        elif item["state"] in ("COMPLETED", "CANCELED"):
            assert status == 0xC300
        elif item["state"] == "SCHEDULED" and transaction:
            assert status == 0xC310
        elif item["state"] == "IN PROGRESS" and transaction != item["owner"]:
            assert status == 0xC301
        else:
            assert status == 0
            if what == "reason" and not item["reason"]:
                self._tell(uid)  # a progress report
            item[what] = True

    @rule(uid=uids)
    def request_cancel(self, uid: str) -> None:
        status, item = ask(self.store, "request", uid, ""), self.items.get(uid)
        if item is None:
            assert status == 0xC307
        elif item["state"] == "SCHEDULED":
            assert status == 0
            item.update(state="CANCELED")
            self._tell(uid, 2)
        elif item["state"] == "IN PROGRESS":
            assert status == (0 if uid in self.subscribed else 0xC312)
            self._tell(uid)
        else:
            assert status == (0xC311 if item["state"] == "COMPLETED" else 0xB304)

    @rule(uid=uids, lock=st.booleans())
    def subscribe(self, uid: str, lock: bool) -> None:
        if uid in self.items:
            self.store.subscribe(uid, "LAB1", lock, ())
            self.subscribed[uid] = lock
            self._tell(uid)
        else:
            with pytest.raises(ServiceError, match="C307H"):
                self.store.subscribe(uid, "LAB1", lock, ())

    @rule(lock=st.booleans())
    def subscribe_worklist(self, lock: bool) -> None:
        self.store.subscribe(GLOBAL, "LAB1", lock, ())
        self.worklist = lock
        for uid in self.items:
            self.subscribed[uid] = lock
            self._tell(uid)

    @rule(uid=uids)
    def unsubscribe(self, uid: str) -> None:
        if uid in self.items:
            assert self.store.unsubscribe(uid, "LAB1").existed == (uid in self.subscribed)
            self.subscribed.pop(uid, None)

    @rule()
    def suspend(self) -> None:
        assert self.store.suspend(GLOBAL, "LAB1").existed == (self.worklist is not None)
        self.worklist = None

    @rule()
    def purge(self) -> None:
        final = {u for u, one in self.items.items() if one["state"] in ("COMPLETED", "CANCELED")}
        deleted = {uid for uid in final if not self.subscribed.get(uid)}
        assert self.store.purge() == len(deleted)
        for uid in deleted:
            del self.items[uid]
            self.subscribed.pop(uid, None)
        self.gone |= deleted

    @precondition(lambda self: hasattr(self, "store"))
    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = WorkItemStore(self.path)
        self.told += bool(self.subscribed) or self.worklist is not None

    @invariant()
    def nothing_else_has_changed(self) -> None:
        if hasattr(self, "store"):
            found = {str(one.SOPInstanceUID): str(one.ProcedureStepState) for one in self.store.matches(())}
            assert found == {uid: one["state"] for uid, one in self.items.items()}
            assert len(self.store.events("LAB1", 0, 10_000)) == min(self.told, 1000)


TestWorklist = Worklist.TestCase
TestWorklist.settings = settings(max_examples=10, stateful_step_count=30, deadline=None, derandomize=True)

WORKER = """
import sys
from pathlib import Path
from dicomlab.archive.workitems import WorkItemStore
from dicomlab.model.workitems import dataset_of, scheduled
from dicomlab.model.workitem import GLOBAL
from tests.unit.archive.test_workitems import PERFORMED
store = WorkItemStore(Path(sys.argv[1]))
store.subscribe(GLOBAL, "LAB1", False, ())
for at in range(100000):
    uid = f"1.2.{sys.argv[2]}.{at}"
    for state, work in (
        ("SCHEDULED", lambda: store.create(uid, scheduled({"ProcedureStepLabel": "Read"}))),
        ("IN PROGRESS", lambda: store.change_state(uid, "IN PROGRESS", "1.2.3")),
        ("IN PROGRESS", lambda: store.update(uid, dataset_of(PERFORMED), "1.2.3")),
        ("COMPLETED", lambda: store.change_state(uid, "COMPLETED", "1.2.3")),
    ):
        work()
        print(uid, state, sep=";", flush=True)
"""


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(n, marks=pytest.mark.full) for n in range(3, 20))])
def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "workitems.sqlite"
    answered: dict[str, str] = {}
    random_ = random.Random(seed)
    for life in (1, 2):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(path), str(life)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert worker.stdout is not None
        with worker:
            for _ in range(random_.randrange(1, 60)):
                uid, state = worker.stdout.readline().strip().split(";")
                answered[uid] = state
            worker.send_signal(signal.SIGKILL)
            for line in worker.stdout.read().splitlines():  # what it had said before it died
                if line.count(";") == 1:
                    answered.update([line.split(";")])
        assert worker.returncode == -signal.SIGKILL
    rank = {state: at for at, state in enumerate(STATES)}
    with sqlite3.connect(path) as db:
        rows = {uid: (state, owner, json.loads(model)) for uid, state, owner, model in
                db.execute("SELECT uid, state, transaction_uid, model FROM workitems")}  # fmt: skip
        reports = dict(db.execute("SELECT uid, count(*) FROM events WHERE event_type=1 GROUP BY uid"))
        subscribed = {uid for (uid,) in db.execute("SELECT uid FROM subscriptions")}
    db.close()
    assert set(answered) <= set(rows)
    for uid, (state, owner, model) in rows.items():
        assert rank[state] >= rank[answered.get(uid, "nowhere")], "what was answered is kept"
        assert model["00741000"]["Value"] == [state], "no item is half in one state and half in another"
        assert (owner != "") == (state != "SCHEDULED")
        assert uid in subscribed, "an item and the subscriptions that it makes are one"
    recent = [uid for uid in rows if uid.startswith("1.2.2.")]
    assert {uid: reports[uid] for uid in recent} == {uid: rank[rows[uid][0]] for uid in recent}, "and so are its events"
    again = WorkItemStore(path)
    assert len(again) == len(rows)
    again.close()
