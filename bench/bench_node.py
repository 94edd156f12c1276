"""``Node`` and our SCP beside DCMTK, Orthanc's clients and pynetdicom: all on loopback, everything in memory.

DCMTK and Orthanc run with TCP_NODELAY=1 on both sides, without which each message waits 40 ms; where a row says "as
shipped" they run as their packages bring them. DCMTK's clients are timed as whole processes, as people use them;
Python's from the call to its return, without the start of the interpreter.
"""

from __future__ import annotations

import mmap
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from measure import Row, Size, Timed, in_turns, main
from node_peers import AE_TITLE, FIND_KEYS, serving, write_multi_frame, write_study

from dicomlab import Node
from dicomlab.model.columns import standard_columns
from tests.peers import processes
from tests.peers.dcmtk import QueryRetrieveScp, StoreScp, run
from tests.peers.orthanc import Orthanc
from tests.peers.processes import LOOPBACK

PATIENCE_S = 600


@contextmanager
def as_shipped() -> Iterator[None]:
    """What starts in this block runs with Nagle's algorithm on, as its package brings it."""
    before = dict(processes.ENVIRONMENT)
    processes.ENVIRONMENT.pop("TCP_NODELAY", None)
    try:
        yield
    finally:
        processes.ENVIRONMENT.update(before)


def shipped(work: Timed) -> Timed:
    """The same, as shipped."""

    def slow() -> None:
        with as_shipped():
            work()

    return slow


class Bench:
    """The data, and the peers that are wanted for long."""

    def __init__(self, size: Size, scratch: Path, stack: ExitStack) -> None:
        self.size, self.scratch, self.stack = size, scratch, stack
        self.ct, self.multi_frame, self.tiny = scratch / "ct", scratch / "mf", scratch / "tiny"
        self.study = write_study(self.ct, 1, size.slices, 512)
        write_multi_frame(self.multi_frame, 2, size.slices << 18)
        write_study(self.tiny, 3, size.slices * 5, 48)
        self.got = scratch / "got"

    def folder(self, name: str) -> Path:
        """A new folder."""
        path = self.scratch / name
        path.mkdir()
        return path

    def empty(self) -> None:
        """Forget what was retrieved."""
        shutil.rmtree(self.got, ignore_errors=True)
        self.got.mkdir()


# --- sending ---------------------------------------------------------------------------------------------------------


def storescu(folder: Path, aet: str, port: int) -> Timed:
    """DCMTK sends a folder."""
    return lambda: run("storescu", "-R", "+sd", "-aec", aet, LOOPBACK, port, folder, timeout_s=PATIENCE_S)


def node_store(folder: Path, aet: str, port: int, **options: Any) -> Timed:
    """We send a folder."""
    node = Node(f"{aet}@{LOOPBACK}:{port}", timeout_s=60)
    count = len(list(folder.iterdir()))

    def work() -> None:
        assert node.store(folder, progress=False, **options).count("done") == count

    return work


def pynetdicom_store(folder: Path, aet: str, port: int) -> Timed:
    """Pynetdicom sends from paths, as its documentation shows."""
    from pynetdicom import AE
    from pynetdicom.presentation import build_context

    def work() -> None:
        ae = AE()
        classes = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7.2")
        ae.requested_contexts = [build_context(uid, "1.2.840.10008.1.2.1") for uid in classes]
        association = ae.associate(LOOPBACK, port, ae_title=aet)
        for file in sorted(folder.iterdir()):
            assert association.send_c_store(file).Status == 0
        association.release()

    return work


def sending(bench: Bench) -> Iterator[Row]:
    """To storescp."""
    rounds = bench.size.rounds
    sink = bench.stack.enter_context(StoreScp(bench.folder("storescp")))

    def empty() -> None:
        for file in sink.files:
            file.unlink()

    for what, folder, musts in (
        ("send CT to storescp", bench.ct, (1.15, 8)),
        ("send one multi-frame to storescp", bench.multi_frame, (None, None)),
        ("send tiny ones to storescp", bench.tiny, (1.1, 80)),
    ):
        others = [
            ("storescu", storescu(folder, sink.aet, sink.port), rounds, musts[0]),
            ("pynetdicom from paths", pynetdicom_store(folder, sink.aet, sink.port), 1, musts[1]),
        ]
        yield from in_turns(what, ("Node.store", node_store(folder, sink.aet, sink.port)), others, rounds, empty)
    sink.stop()
    with as_shipped(), StoreScp(bench.folder("stock")) as stock:
        theirs = shipped(storescu(bench.ct, stock.aet, stock.port))
        ours = node_store(bench.ct, stock.aet, stock.port)
        yield from in_turns(
            "send CT to storescp as shipped", ("Node.store", ours), [("storescu as shipped", theirs, 1, 4)], rounds
        )


def into_orthanc(bench: Bench) -> Iterator[Row]:
    """With four associations at once."""
    with Orthanc(bench.folder("orthanc-store")) as orthanc:
        ours = node_store(bench.ct, orthanc.aet, orthanc.port, associations=4)
        one = node_store(bench.ct, orthanc.aet, orthanc.port)
        others = [
            ("storescu", storescu(bench.ct, orthanc.aet, orthanc.port), bench.size.rounds, 1.7),
            ("Node.store, 1 association", one, bench.size.rounds, None),
        ]
        yield from in_turns(
            "send CT to Orthanc", ("Node.store, 4 associations", ours), others, bench.size.rounds, orthanc.reset
        )


def to_ourselves(bench: Bench) -> Iterator[Row]:
    """Between two processes of ours, beside what loopback can carry."""
    received = bench.folder("ourselves")

    def empty() -> None:
        for file in received.iterdir():
            file.unlink()

    def through(port: int, folder: Path) -> Timed:
        def work() -> None:
            with socket.create_connection((LOOPBACK, port)) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for path in sorted(folder.iterdir()):
                    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as octets:
                        sock.sendall(struct.pack("<Q", len(octets)))
                        sock.sendall(octets)
                        assert len(sock.recv(100, socket.MSG_WAITALL)) == 100

        return work

    with serving("receive", received) as port, serving("raw") as raw:
        for what, folder, must in (
            ("dicomlab to dicomlab, CT", bench.ct, 0.20),
            ("dicomlab to dicomlab, one multi-frame", bench.multi_frame, 0.30),
        ):
            ours = ("Node.store -> our listener", node_store(folder, AE_TITLE, port))
            others = [("raw socket", through(raw, folder), bench.size.rounds, must)]
            yield from in_turns(what, ours, others, bench.size.rounds, empty)


# --- receiving -------------------------------------------------------------------------------------------------------


def receiving(bench: Bench) -> Iterator[Row]:
    """From storescu, into files."""
    rounds = bench.size.rounds
    plain = bench.stack.enter_context(StoreScp(bench.folder("plain"), bit_preserving=False))
    preserving = bench.stack.enter_context(StoreScp(bench.folder("preserving")))
    ours, theirs = bench.folder("received-ours"), bench.folder("received-pynetdicom")

    def empty() -> None:
        for folder in (plain.received, preserving.received, ours, theirs):
            for file in folder.iterdir():
                file.unlink()

    with (
        serving("receive", ours) as port,
        serving("pynetdicom", theirs) as pynetdicom,
        serving("archive", bench.folder("received-archive")) as archive,
    ):
        for what, data, musts in (
            ("receive CT from storescu", bench.ct, (1.1, 3)),
            ("receive tiny ones from storescu", bench.tiny, (None, None)),
        ):
            others = [
                ("storescp", storescu(data, plain.aet, plain.port), rounds, musts[0]),
                ("storescp +B", storescu(data, preserving.aet, preserving.port), rounds, None),
                ("pynetdicom, encoded", storescu(data, AE_TITLE, pynetdicom), 1, musts[1]),
                ("our Archive", storescu(data, AE_TITLE, archive), rounds, None),
            ]
            yield from in_turns(what, ("our listener", storescu(data, AE_TITLE, port)), others, rounds, empty)
    plain.stop()
    preserving.stop()


# --- retrieving ------------------------------------------------------------------------------------------------------


def getscu(bench: Bench, aet: str, port: int, *options: str) -> Timed:
    """DCMTK gets the study."""
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={bench.study}")

    def work() -> None:
        run("getscu", "-S", *options, "-od", bench.got, "-aec", aet, *keys, LOOPBACK, port, timeout_s=PATIENCE_S)
        assert len(list(bench.got.iterdir())) == bench.size.slices

    return work


def node_retrieve(bench: Bench, node: Node, **options: Any) -> Timed:
    """We get the study."""
    cohort = node.find("instance", StudyInstanceUID=bench.study, progress=False)

    def work() -> None:
        report = cohort.retrieve(bench.got, progress=False, **options)
        assert report.count("done") == bench.size.slices

    return work


def getting(bench: Bench) -> Iterator[Row]:
    """From Orthanc and from dcmqrscp, and as shipped from Orthanc."""
    rounds = bench.size.rounds
    with ExitStack() as stack:
        orthanc = stack.enter_context(Orthanc(bench.folder("orthanc")))
        dcmqrscp = stack.enter_context(QueryRetrieveScp(bench.folder("dcmqrscp")))
        for name, peer in (("Orthanc", orthanc), ("dcmqrscp", dcmqrscp)):
            storescu(bench.ct, peer.aet, peer.port)()
            ours = node_retrieve(bench, Node(peer.ae), method="get")
            others = [
                ("getscu", getscu(bench, peer.aet, peer.port), rounds, 1.1),
                ("getscu +B", getscu(bench, peer.aet, peer.port, "+B"), rounds, None),
                ("1 association", node_retrieve(bench, Node(peer.ae), method="get", associations=1), rounds, None),
            ]
            yield from in_turns(f"C-GET CT from {name}", ("cohort.retrieve", ours), others, rounds, bench.empty)
        yield moving(bench, orthanc)
    with as_shipped(), Orthanc(bench.folder("orthanc-stock")) as stock:
        storescu(bench.ct, stock.aet, stock.port)()
        ours = node_retrieve(bench, Node(stock.ae), method="get")
        theirs = shipped(getscu(bench, stock.aet, stock.port))
        yield from in_turns(
            "C-GET CT from Orthanc as shipped",
            ("cohort.retrieve", ours), [("getscu as shipped", theirs, 1, 20)], rounds, bench.empty,
        )  # fmt: skip


def moving(bench: Bench, orthanc: Orthanc) -> Row:
    """To ourselves, from Orthanc."""
    aet, port = orthanc.me.split(":")
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={bench.study}")

    def theirs() -> None:
        us = ("-aet", aet, "-aem", aet, "+P", port)
        run("movescu", "-S", *us, "-od", bench.got, "-aec", orthanc.aet, *keys, LOOPBACK, orthanc.port, timeout_s=600)
        assert len(list(bench.got.iterdir())) == bench.size.slices

    ours = node_retrieve(bench, Node(orthanc.ae, me=orthanc.me), method="move")
    others = [("movescu +P", theirs, bench.size.rounds, 2)]
    (row,) = in_turns(
        "C-MOVE CT to self from Orthanc", ("cohort.retrieve", ours), others, bench.size.rounds, bench.empty
    )
    return row


# --- searching -------------------------------------------------------------------------------------------------------


def finding(bench: Bench) -> Iterator[Row]:
    """Prebuilt answers into a DataFrame, so that only the client is measured."""
    import pandas as pd
    from pydicom import Dataset
    from pynetdicom import AE, _config
    from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind as StudyRootFind

    count = bench.size.rows * 5 + 1  # a round number would be looked at twice: peers cut off at those
    keys = [*(column.name for column in standard_columns("study")), *FIND_KEYS]
    with serving("rows", count) as port:
        node = Node(f"{AE_TITLE}@{LOOPBACK}:{port}")

        def ours() -> None:
            assert len(node.find("study", include=FIND_KEYS, progress=False).to_dataframe()) == count

        def theirs() -> None:
            asked = Dataset()
            asked.QueryRetrieveLevel = "STUDY"
            for key in keys:
                setattr(asked, key, None)
            ae = AE()
            ae.add_requested_context(StudyRootFind)
            association = ae.associate(LOOPBACK, port, ae_title=AE_TITLE)
            answers = [match for _, match in association.send_c_find(asked, StudyRootFind) if match is not None]
            association.release()
            frame = pd.DataFrame([{key: str(match.get(key, "")) for key in keys} for match in answers])
            frame["StudyDate"] = pd.to_datetime(frame["StudyDate"], format="%Y%m%d")
            assert len(frame) == count

        def tuned() -> None:
            before = _config.LOG_HANDLER_LEVEL, _config.LOG_RESPONSE_IDENTIFIERS
            _config.LOG_HANDLER_LEVEL, _config.LOG_RESPONSE_IDENTIFIERS = "none", False
            try:
                theirs()
            finally:
                _config.LOG_HANDLER_LEVEL, _config.LOG_RESPONSE_IDENTIFIERS = before

        others = [("pynetdicom as documented", theirs, 2, 20), ("pynetdicom tuned", tuned, 2, 12)]
        what = f"C-FIND, {count:,} rows to a typed DataFrame"
        yield from in_turns(what, ("Node.find", ours), others, bench.size.rounds)


def bench(size: Size, scratch: Path) -> Iterator[Row]:
    """Every job."""
    jobs: list[Callable[[Bench], Iterator[Row]]] = [
        sending, into_orthanc, to_ourselves, receiving, getting, finding,
    ]  # fmt: skip
    with ExitStack() as stack:
        shared = Bench(size, scratch, stack)
        for job in jobs:
            if size.chosen(job.__name__):
                yield from job(shared)


if __name__ == "__main__":
    main(bench, peers=["dcmtk", "orthanc"])
