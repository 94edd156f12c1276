"""Peers by name: ``orthanc``, ``dcmqrscp``, ``storescp``, ``dcmtk``, and the ``start_...`` factories behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeVar

import pytest

from tests.peers import dcmtk as tools
from tests.peers.certificates import Certificates
from tests.peers.dcmtk import QueryRetrieveScp, StoreScp
from tests.peers.orthanc import Orthanc
from tests.peers.processes import free_port, need, release_ports

AnyPeer = TypeVar("AnyPeer", Orthanc, QueryRetrieveScp, StoreScp)


def _factory(kind: type[AnyPeer], folders: pytest.TempPathFactory, stack: ExitStack) -> Callable[..., AnyPeer]:
    def start(*arguments: object, **settings: object) -> AnyPeer:
        folder = folders.mktemp(kind.__name__.lower())
        return stack.enter_context(kind(folder, *arguments, **settings))  # type: ignore[arg-type]

    return start


@pytest.fixture(scope="session", autouse=True)
def _ports() -> Iterator[None]:
    yield
    release_ports()


@pytest.fixture(name="free_port")
def free_port_fixture() -> Callable[[], int]:
    """Reserve a loopback port, as often as it is called."""
    return free_port


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certification authority, and certificates for whoever needs one."""
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def dcmtk() -> Callable[..., object]:
    """Run a tool of DCMTK: ``dcmtk("storescu", "-aec", "PACS", "127.0.0.1", port, file).stdout``."""
    need("dcmtk")
    return tools.run


@pytest.fixture(scope="module")
def start_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Orthanc]]:
    """Start a fresh Orthanc: ``start_orthanc({"LAB1": port}, DicomCheckCalledAet=False)``; ended with the module."""
    with ExitStack() as stack:
        yield _factory(Orthanc, tmp_path_factory, stack)


@pytest.fixture(scope="module")
def start_dcmqrscp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., QueryRetrieveScp]]:
    """Start a fresh dcmqrscp: ``start_dcmqrscp({"LAB1": port})``; ended with the module."""
    with ExitStack() as stack:
        yield _factory(QueryRetrieveScp, tmp_path_factory, stack)


@pytest.fixture
def start_storescp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., StoreScp]]:
    """Start a storescp: ``start_storescp("--fork", bit_preserving=True)``; ended with the test."""
    with ExitStack() as stack:
        yield _factory(StoreScp, tmp_path_factory, stack)


@pytest.fixture(scope="session")
def _one_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    with Orthanc(tmp_path_factory.mktemp("orthanc")) as peer:
        yield peer


@pytest.fixture(scope="module")
def orthanc(_one_orthanc: Orthanc) -> Orthanc:
    """Orthanc, empty at the start of each module; ``orthanc.me`` is registered with it."""
    _one_orthanc.reset()
    return _one_orthanc


@pytest.fixture(scope="module")
def dcmqrscp(start_dcmqrscp: Callable[..., QueryRetrieveScp]) -> QueryRetrieveScp:
    """A dcmqrscp for the module, empty at its start; ``dcmqrscp.me`` is registered with it."""
    return start_dcmqrscp()


@pytest.fixture
def storescp(start_storescp: Callable[..., StoreScp]) -> StoreScp:
    """A storescp for the test; what it received is in ``storescp.files``."""
    return start_storescp()
