"""The peer goes away in the middle, anywhere: the right class of error, true counts, and what arrived stays.

Where it breaks off is chosen by a seed, in octets from the start of a connection or in instances from the start of a
retrieve. Nothing here depends on whether the Node tries again by itself; what is checked is that it tells the truth.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dicomlab import Archive, DicomlabError, Interrupted, Node, Unreachable, trace
from dicomlab.model.progress import Progress
from dicomlab.model.report import Report
from dicomlab.samples.phantom import write_phantom
from tests.faults.plans import Cut, Plan
from tests.faults.proxy import TcpProxy
from tests.faults.served import Served
from tests.interop.specimens import digest_of
from tests.peers.processes import LOOPBACK, free_port

SEED = 20261124
GONE = (Interrupted, Unreachable)


def places(most: int, quick: int, full: int, of: int) -> list[Any]:
    """Seeded octets before which a connection is cut, with FIN or RST; most of them ``full``."""
    chance = random.Random(SEED + of)
    cases = [(0, False), *((chance.randrange(most), chance.random() < 0.5) for _ in range(full))]
    return [
        pytest.param(at, reset, marks=() if n < quick else pytest.mark.full, id=f"{at}{'-RST' * reset}")
        for n, (at, reset) in enumerate(cases)
    ]


class Holding(NamedTuple):
    """An archive that holds a phantom, and what that is by SOP Instance UID."""

    archive: Archive
    digests: dict[str, str]
    inward: TcpProxy
    """Through it what is moved to MOVER comes to ``port``."""
    port: int


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantom(tmp_path_factory.mktemp("phantom"), patients=3, slices=5)


@pytest.fixture(scope="module")
def holding(phantom: list[Path]) -> Iterator[Holding]:
    port = free_port()
    with TcpProxy(port) as inward, Archive(known={"MOVER": (LOOPBACK, inward.port)}) as archive:
        report = archive.add(phantom, progress=False).raise_for_failures()
        digests = {o.sop_instance_uid: digest_of(p) for o, p in zip(report, phantom, strict=True)}
        yield Holding(archive, digests, inward, port)


def assert_true(report: Report, digests: dict[str, str]) -> set[str]:
    """What the report calls done lies there whole, nothing else does, and each instance has at most one row."""
    assert report.folder is not None
    done = {o.sop_instance_uid: o for o in report if o.result in ("done", "skipped")}
    assert len({o.sop_instance_uid for o in report}) == len(report)
    files = {p for p in report.folder.rglob("*") if p.is_file() and p.name != "dicomlab-ledger.jsonl"}
    assert files == {report.folder / o.path for o in done.values()}
    for uid, outcome in done.items():
        assert digest_of(report.folder / outcome.path) == digests[uid]
    assert report.complete is (set(done) == set(digests))
    return set(done)


def retrieved(call: Callable[[], Report]) -> tuple[Report, DicomlabError | None]:
    """The report, whether it was returned or came with an error."""
    try:
        return call(), None
    except GONE as error:
        return error.partial, error


def fetches_the_rest(found: Any, to: Path, had: set[str], digests: dict[str, str], **options: Any) -> None:
    """The same call again fetches what is missing, and only that."""
    with trace() as wire:
        report = found.retrieve(to, progress=False, **options)
    assert assert_true(report, digests) == set(digests)
    assert wire.counts()["C-STORE-RQ"] == len(digests) - len(had)
    assert report.count("skipped") == len(had)


@pytest.mark.parametrize(("at", "reset"), places(190_000, quick=4, full=60, of=1))
@pytest.mark.parametrize("direction", ["to_client", "to_server"])
def test_get(holding: Holding, tmp_path: Path, direction: str, at: int, reset: bool) -> None:
    at = at if direction == "to_client" else at // 30
    with TcpProxy(holding.archive.node.address.port) as proxy:
        found = Node(f"DICOMLAB@{LOOPBACK}:{proxy.port}").find("instance", progress=False)
        proxy.from_now_on(Plan(**{direction: [Cut(at, reset)]}))  # type: ignore[arg-type]
        report, error = retrieved(lambda: found.retrieve(tmp_path, method="get", progress=False))
        had = assert_true(report, holding.digests)
        assert error is not None or had == set(holding.digests)
        if error is not None and had:
            assert any("resumes" in note for note in error.__notes__)
        proxy.from_now_on(Plan())
        fetches_the_rest(found, tmp_path, had, holding.digests, method="get")


@pytest.mark.parametrize(("at", "reset"), places(60_000, quick=3, full=40, of=2))
@pytest.mark.parametrize("which", ["request", "suboperations"])
def test_move(holding: Holding, tmp_path: Path, which: str, at: int, reset: bool) -> None:
    cut = Plan(to_client=[Cut(at // 100, reset)]) if which == "request" else Plan(to_server=[Cut(at, reset)])
    inward = holding.inward
    with TcpProxy(holding.archive.node.address.port) as outward:
        me = f"MOVER:{holding.port}"
        found = Node(f"DICOMLAB@{LOOPBACK}:{outward.port}", me=me).find("instance", progress=False)
        (outward if which == "request" else inward).from_now_on(cut)
        try:
            report, error = retrieved(lambda: found.retrieve(tmp_path, method="move", progress=False))
        finally:
            inward.from_now_on(Plan())
        had = assert_true(report, holding.digests)
        if error is None:
            assert report.complete or report.failures
        outward.from_now_on(Plan())
        fetches_the_rest(found, tmp_path, had, holding.digests, method="move")


@pytest.mark.parametrize(("at", "reset"), places(6_000, quick=4, full=60, of=3))
def test_find(holding: Holding, at: int, reset: bool) -> None:
    whole = holding.archive.node.find("instance", progress=False)
    order = whole["SOPInstanceUID"].tolist()
    with TcpProxy(holding.archive.node.address.port, others=Plan(to_client=[Cut(at, reset)])) as proxy:
        error: DicomlabError | None = None
        try:
            found = Node(f"DICOMLAB@{LOOPBACK}:{proxy.port}").find("instance", progress=False)
        except GONE as caught:
            error, found = caught, caught.partial
        got = found["SOPInstanceUID"].tolist()
        assert got == order[: len(got)]
        assert found.complete is (error is None)
        assert found.note if error is not None else got == order
        proxy.from_now_on(Plan())
        again = Node(f"DICOMLAB@{LOOPBACK}:{proxy.port}").find("instance", progress=False)
        assert again.to_dataframe().equals(whole.to_dataframe())


@pytest.mark.parametrize(("at", "reset"), places(190_000, quick=3, full=60, of=4))
@pytest.mark.parametrize("direction", ["to_client", "to_server"])
def test_store(phantom: list[Path], direction: str, at: int, reset: bool) -> None:
    at = at if direction == "to_server" else at // 80
    with Archive() as archive, TcpProxy(archive.node.address.port) as proxy:
        node = Node(f"DICOMLAB@{LOOPBACK}:{proxy.port}")
        proxy.from_now_on(Plan(**{direction: [Cut(at, reset)]}))  # type: ignore[arg-type]
        report, error = retrieved(lambda: node.store(phantom, progress=False))
        assert len({o.sop_instance_uid for o in report}) == len(report) == len(phantom)
        done = {o.sop_instance_uid for o in report if o.result == "done"}
        assert report.complete is (len(done) == len(phantom)) is (error is None)
        stored = {i.sop_instance_uid for i in archive.node.find("instance", progress=False)}
        assert done <= stored
        assert len(stored - done) <= 1  # the one whose answer was lost
        proxy.from_now_on(Plan())
        assert node.store(phantom, progress=False).count("done") == len(phantom)
        assert len(archive) == len(phantom)


# --- real peers, killed as by a power cut ------------------------------------------------------------------------------


def killing(kill: Callable[[], None], after: int) -> Callable[[Progress], None]:
    """Progress that ends the peer once so many instances are done."""
    fired: list[int] = []

    def on_progress(progress: Progress) -> None:
        if progress.done >= after and not fired:
            fired.append(after)
            kill()

    return on_progress


def after_counts(of: int, quick: int = 1) -> list[Any]:
    chance = random.Random(SEED + of)
    return [pytest.param(chance.randrange(1, 14), marks=() if n < quick else pytest.mark.full) for n in range(6)]


@pytest.mark.parametrize("after", after_counts(5))
@pytest.mark.parametrize("method", ["get", "move"])
def test_dcmqrscp_is_killed(
    start_one: Callable[..., Any], phantom: list[Path], tmp_path: Path, method: str, after: int
) -> None:
    peer = start_one("dcmqrscp")
    peer.add(*phantom)
    found = Node(peer.ae, me=peer.me, timeout_s=10).find("instance", PatientID="SYN*", progress=False)
    assert len(found) == len(phantom)
    with pytest.raises(GONE) as caught:
        found.retrieve(tmp_path, method=method, progress=killing(peer.kill, after))
    digests = {o: digest_of(p) for o, p in by_uid(phantom).items()}
    had = assert_true(caught.value.partial, digests)
    assert after <= len(had) < len(phantom)


@pytest.mark.parametrize("after", after_counts(6))
def test_storescp_is_killed(start_one: Callable[..., Any], phantom: list[Path], after: int) -> None:
    peer = start_one("storescp")
    with pytest.raises(GONE) as caught:
        Node(peer.ae, timeout_s=10).store(phantom, progress=killing(peer.kill, after))
    report = caught.value.partial
    assert len(report) == len(phantom)
    assert after <= report.count("done") <= len(peer.files)
    assert report.count("done") + report.count("failed") == len(phantom)
    assert not report.complete


@pytest.mark.parametrize("after", after_counts(7))
def test_our_own_archive_is_killed_and_comes_back(phantom: list[Path], tmp_path: Path, after: int) -> None:
    """What it had answered with Success is there when it comes back."""
    with Served(tmp_path / "archive") as served:
        with pytest.raises(GONE) as caught:
            served.node.store(phantom, progress=killing(served.kill, after))
        done = {o.sop_instance_uid for o in caught.value.partial if o.result == "done"}
        assert len(done) >= after
    with Archive(tmp_path / "archive") as again:
        assert done <= {i.sop_instance_uid for i in again.node.find("instance", progress=False)}
        assert again.node.store(phantom, progress=False).count("done") == len(phantom)
        assert len(again) == len(phantom)


def by_uid(paths: list[Path]) -> dict[str, Path]:
    from pydicom import dcmread

    return {str(dcmread(p, stop_before_pixels=True).SOPInstanceUID): p for p in paths}


@pytest.fixture
def start_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """A peer for one test that may kill it."""
    from contextlib import ExitStack

    from tests.peers.dcmtk import QueryRetrieveScp, StoreScp

    with ExitStack() as stack:
        kinds = {"dcmqrscp": QueryRetrieveScp, "storescp": StoreScp}
        yield lambda kind: stack.enter_context(kinds[kind](tmp_path_factory.mktemp(kind)))
