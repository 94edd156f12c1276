"""Several at once, and somebody who presses the stop button: nobody gets what is another's, and what arrived stays."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomlab import Archive, Node
from dicomlab.samples.phantom import phantom_datasets, write_phantom
from tests.faults.plans import Plan, Stall
from tests.faults.proxy import TcpProxy
from tests.interop.specimens import digest_of
from tests.peers.processes import LOOPBACK, free_port

ROOT = Path(__file__).parents[2]
COUNT = 24


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    assert len(write_phantom(folder, patients=4, slices=5)) == COUNT
    return folder


@pytest.fixture(scope="module")
def archive(phantom: Path) -> Iterator[Archive]:
    known = {f"READER{n}": (LOOPBACK, free_port()) for n in range(4)}
    with Archive(known=known) as archive:
        archive.add(phantom, progress=False).raise_for_failures()
        archive.movers = known  # type: ignore[attr-defined]
        yield archive


def me(archive: Archive, number: int) -> str:
    aet = f"READER{number}"
    return f"{aet}:{archive.movers[aet][1]}"  # type: ignore[attr-defined]


@pytest.mark.parametrize("shared", [True, False], ids=["one node", "a node each"])
def test_threads_find_and_retrieve_at_once(archive: Archive, phantom: Path, tmp_path: Path, shared: bool) -> None:
    """Four notebooks on one archive, two of them by C-MOVE: each gets all of it, octet for octet."""
    address = str(archive.node.address)
    one = Node(address, me=me(archive, 0))
    nodes = [one if shared else Node(address, me=me(archive, number)) for number in range(4)]
    whole = archive.node.find("instance", progress=False).to_dataframe()
    digests = {uid: digest_of(path) for path in phantom.iterdir() for uid in [path.stem]}

    def work(number: int) -> None:
        node = nodes[number]
        found = node.find("instance", progress=False)
        assert found.to_dataframe().equals(whole)
        method = "get" if shared or number % 2 else "move"
        report = found.retrieve(tmp_path / str(number), method=method, progress=False)
        assert report.complete
        assert report.count("done") == COUNT
        got = sorted(digest_of(tmp_path / str(number) / o.path) for o in report)
        assert got == sorted(digests.values())
        assert (
            node.find("study", PatientID=f"SYN-00{number + 1}", progress=False)["PatientID"].tolist()
            == [f"SYN-00{number + 1}"] * 2
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))


def test_threads_store_at_once_and_nothing_is_lost() -> None:
    with Archive() as archive:
        address = str(archive.node.address)

        def work(seed: int) -> int:
            return Node(address, me=f"LAB{seed}").store(phantom_datasets(2, 3, seed=seed), progress=False).count("done")

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, range(4))) == [8] * 4
        assert len(archive) == 32
        assert len(archive.node.find("instance", progress=False)) == 32


def test_who_stores_the_same_at_once_stores_it_once(phantom: Path) -> None:
    with Archive() as archive:
        address = str(archive.node.address)
        with ThreadPoolExecutor(4) as pool:
            reports = list(pool.map(lambda _: Node(address).store(phantom, progress=False), range(4)))
        assert [r.count("done") for r in reports] == [COUNT] * 4
        assert len(archive) == COUNT


# --- the stop button ---------------------------------------------------------------------------------------------------


@contextmanager
def running(**arguments: Any) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.interrupted", json.dumps(arguments)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n", child.communicate()
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("verb", ["find", "get", "move", "store"])
def test_an_interrupt_returns_what_arrived(archive: Archive, phantom: Path, tmp_path: Path, verb: str) -> None:
    with Archive() as empty:
        target = empty if verb == "store" else archive
        folder = phantom if verb == "store" else tmp_path
        with running(
            verb=verb, address=str(target.node.address), me=me(archive, 0), folder=str(folder), after=3
        ) as child:
            out, err = child.communicate(timeout=60)
        assert err == ""
        told = json.loads(out)
        assert not told["complete"]
        assert told["note"] == "cancelled"
        assert told["usable"]
        assert 3 <= told["done"] < COUNT
        if verb == "store":
            assert len(empty) == told["done"]
        elif verb != "find":
            assert len(list(tmp_path.rglob("*.dcm"))) == told["done"]
            assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(
    ("verb", "at", "timeout_s"),
    [
        ("find", 900, 300),
        pytest.param("get", 30_000, 300, marks=pytest.mark.full),
        pytest.param("move", 900, 300, marks=pytest.mark.full),
        pytest.param("store", 900, 4, marks=pytest.mark.full),
    ],
)
def test_an_interrupt_while_the_peer_says_nothing(
    archive: Archive, phantom: Path, tmp_path: Path, verb: str, at: int, timeout_s: float
) -> None:
    """The first asks it to end, and after a grace ends it, long before the time-out; what had arrived is returned.

    A C-STORE can't be cancelled (PS3.7 §9.3.1): the message in flight has its own time.
    """
    searched = 1 if verb in ("get", "move") else 0
    with TcpProxy(archive.node.address.port, plans=[Plan()] * searched, others=Plan(to_client=[Stall(at)])) as proxy:
        address = f"DICOMLAB@{LOOPBACK}:{proxy.port}"
        folder = phantom if verb == "store" else tmp_path
        with running(
            verb=verb, address=address, me=me(archive, 1), folder=str(folder), after=0, timeout_s=timeout_s
        ) as child:
            while len(proxy.connections) <= searched or proxy.connections[searched].to_client.sent < at:
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=60)
        assert err == ""
        told = json.loads(out)
        assert (told["complete"], told["note"]) == (False, "cancelled")
        assert verb == "store" or len(list(tmp_path.rglob("*.dcm"))) == (told["done"] if verb != "find" else 0)


def test_a_second_interrupt_raises(archive: Archive, tmp_path: Path) -> None:
    with TcpProxy(archive.node.address.port, others=Plan(to_client=[Stall(900)])) as proxy:
        address = f"DICOMLAB@{LOOPBACK}:{proxy.port}"
        with running(verb="find", address=address, me=me(archive, 1), folder=str(tmp_path), after=0) as child:
            while not proxy.connections or proxy.connections[0].to_client.sent < 900:
                assert child.poll() is None
            sent = proxy.connections[0].to_server.received
            child.send_signal(signal.SIGINT)
            while proxy.connections[0].to_server.received == sent:  # its C-CANCEL has come
                assert child.poll() is None
            child.send_signal(signal.SIGINT)
            _, err = child.communicate(timeout=25)
        assert child.returncode != 0
        assert "KeyboardInterrupt" in err
