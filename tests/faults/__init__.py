"""The fault proxy: what a bad network does, done on purpose and the same each time.

::

    with TcpProxy(pacs.port, [Plan(to_client=[Cut(1_000, reset=True)])]) as proxy:
        Node(f"{pacs.aet}@127.0.0.1:{proxy.port}").find("study")  # breaks off after octet 1,000 of the answer
    assert proxy.connections[0].to_client.sent == 1_000
"""

from tests.faults.plans import Corrupt, Cut, Datagrams, Delay, Drip, Duplicate, HalfClose, Plan, Stall
from tests.faults.proxy import TcpProxy, UdpProxy

__all__ = [
    "Corrupt", "Cut", "Datagrams", "Delay", "Drip", "Duplicate", "HalfClose", "Plan", "Stall", "TcpProxy", "UdpProxy",
]  # fmt: skip
