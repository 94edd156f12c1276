"""Connections that are reset in the midst of an answer, anywhere: everything comes whole all the same."""

from __future__ import annotations

import random

import pytest

from dicomlab.model.progress import Control
from dicomlab.model.protocols import Wanted
from dicomlab.web import origin
from dicomlab.web.endpoint import WebEndpoint
from tests.faults.plans import Cut, Delay, Plan
from tests.faults.proxy import TcpProxy
from tests.unit.dimse.holdings import FolderHoldings, instance
from tests.unit.web.scripted import MemorySink

CHANCE = random.Random(18)
WANTED = [Wanted("1.2.3.1", "1.2.3.1.1", f"1.2.3.1.1.{n}") for n in range(1, 7)]
PLACES = sorted(CHANCE.sample(range(20, 32_000), 40))


def through(proxy: TcpProxy, server: origin.OriginServer) -> WebEndpoint:
    path = server.url.partition("/dicom-web")[1]
    return WebEndpoint(f"http://127.0.0.1:{proxy.port}{path}")


@pytest.mark.parametrize("streams", [1, 3])
@pytest.mark.parametrize(
    "after", [pytest.param(at, marks=[] if n % 8 == 0 else pytest.mark.full) for n, at in enumerate(PLACES)]
)
def test_a_reset_anywhere(server: origin.OriginServer, holdings: FolderHoldings, after: int, streams: int) -> None:
    sink = MemorySink()
    port = int(server.url.split(":")[2].partition("/")[0])
    resets = [Plan(to_client=[Cut(after, reset=True)])] * (1 if streams == 1 else 2)
    with TcpProxy(port, plans=resets) as proxy:
        through(proxy, server).deliver(WANTED, sink, Control(), streams=streams)
    assert not sink.reasons
    arrived = {uid: octets for uid, (_, octets) in sink.arrived.items()}
    for one in WANTED:
        assert arrived[one.sop_instance_uid] == holdings.octets_of(one.sop_instance_uid)


@pytest.mark.parametrize("after", [7_000, 40_000])
def test_a_store_whose_connection_is_reset(after: int, server: origin.OriginServer, holdings: FolderHoldings) -> None:
    many = [instance(n, study="1.7", series="1.7.1", octets=5000) for n in range(1, 30)]
    port = int(server.url.split(":")[2].partition("/")[0])
    plans = [Plan(), Plan(to_server=[Cut(after, reset=True)])]  # one: a request that meets two has failed
    with TcpProxy(port, plans=plans) as proxy:
        report = through(proxy, server).store(many, progress=False)
    assert report.counts == {"done": 29}
    assert len(list(holdings.folder.glob("1.7.1.*.dcm"))) == 29


def test_over_a_link_of_25_ms_everything_comes(server: origin.OriginServer, holdings: FolderHoldings) -> None:
    sink = MemorySink()
    port = int(server.url.split(":")[2].partition("/")[0])
    with TcpProxy(port, others=Plan([Delay(0.025)], [Delay(0.025)])) as proxy:
        web = through(proxy, server)
        cohort = web.find("instance", StudyInstanceUID="1.2.3.1", progress=False)
        web.deliver([one.wanted for one in cohort], sink, Control(), streams=4)
    assert set(sink.arrived) == set(cohort["SOPInstanceUID"])
