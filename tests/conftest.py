"""What binds every test: the tiers, skips, loopback only, nothing left behind; and the peers by name.

- ``--full`` runs the cases marked ``full`` too; without it they are deselected.
- ``CI=true`` makes every skip a failure, also those at collection. Elsewhere absent peers take one line in all.
- A connection that leaves the machine fails the test that made it, even where the code under test hides it.
- A test ends what it starts: no non-daemon thread, no child process may be left; and no temporary file at the end.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import signal
import socket
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.peers.processes import ABSENT, children

pytest_plugins = ("tests.peers.fixtures",)

# ------------------------------------------------------------------------------------------------------------ tiers


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the cases marked `full` too")


def pytest_configure(config: pytest.Config) -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell hands it to what it runs behind
        signal.signal(signal.SIGINT, signal.default_int_handler)
    quick: dict[str, Any] = {"deadline": None, "max_examples": 50, "print_blob": True}
    hypothesis.settings.register_profile("dev", **quick)
    hypothesis.settings.register_profile("ci", **quick, derandomize=True, database=None)
    hypothesis.settings.register_profile("full", parent=hypothesis.settings.get_profile("ci"), max_examples=500)
    if not config.getoption("hypothesis_profile", None):
        hypothesis.settings.load_profile("full" if config.getoption("--full") else "ci" if _ci() else "dev")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--full"):
        return
    later = [item for item in items if item.get_closest_marker("full")]
    if later:
        config.hook.pytest_deselected(items=later)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


# ------------------------------------------------------------------------------------------------------------ skips


def _ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


def _reason(longrepr: object) -> str:
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return str(text).removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    report = yield
    if _ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI=true every skip is a failure: {_reason(report.longrepr)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Iterator[Any]:
    report = yield
    if _ci() and report.outcome == "skipped":
        report.outcome = "failed"
        report.longrepr = f"skipped, and with CI=true every skip is a failure: {_reason(report.longrepr)}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(_reason(report.longrepr) for report in terminalreporter.stats.get("skipped", ()))
    absent = {reason: times for reason, times in reasons.items() if reason.startswith(ABSENT)}
    if absent:
        names = sorted({name for reason in absent for name in reason.removeprefix(ABSENT).split(", ")})
        terminalreporter.write_line(
            f"peers absent: {', '.join(names)}; {sum(absent.values())} tests skipped"
            " (`make test` as root on Debian or Ubuntu installs them)"
        )
    for reason, times in reasons.items():
        if reason not in absent:
            terminalreporter.write_line(f"skipped {times}: {reason}")


# --------------------------------------------------------------------------------------------------------- patience


@pytest.fixture(autouse=True)
def _no_waiting_before_another_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr("dicomlab.dimse.patience.FIRST_WAIT_S", 0.0)


# --------------------------------------------------------------------------------------------------------- loopback


class LeftTheMachine(AssertionError):
    """A test tried to talk to something that is not on loopback."""


_refused: list[str] = []


def _check(address: Any) -> None:
    if not isinstance(address, tuple):  # AF_UNIX and the like stay here by nature
        return
    host = str(address[0])
    try:
        at_home = host == "localhost" or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        at_home = False
    if not at_home:
        _refused.append(f"{host}:{address[1]}")
        raise LeftTheMachine(f"a connection to {host}:{address[1]}; tests stay on loopback")


def _to_own_group(sender: socket.socket, address: Any) -> bool:
    """Whether it is a multicast group, and the socket sends to groups on loopback alone."""
    try:
        group = ipaddress.ip_address(str(address[0]))
    except ValueError:
        return False
    if sender.family != socket.AF_INET or not group.is_multicast:
        return False
    interface = sender.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
    return ipaddress.ip_address(interface).is_loopback


def _guarded(method: Callable[..., Any], index: int) -> Callable[..., Any]:
    def call(self: socket.socket, *arguments: Any) -> Any:
        if len(arguments) > index and arguments[index] is not None and not _to_own_group(self, arguments[index]):
            _check(arguments[index])
        return method(self, *arguments)

    return call


def _look_up(host: Any, *arguments: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost"):
        try:
            ipaddress.ip_address(str(name).partition("%")[0])
        except ValueError:
            if not str(name).endswith(".invalid"):  # RFC 6761: never exists, so no server need be asked
                _refused.append(str(name))
                raise LeftTheMachine(f"a look-up of {name}; tests stay on loopback") from None
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return _getaddrinfo(host, *arguments, **options)


_getaddrinfo = socket.getaddrinfo


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", _guarded(socket.socket.connect, 0))
        patch.setattr(socket.socket, "connect_ex", _guarded(socket.socket.connect_ex, 0))
        patch.setattr(socket.socket, "sendmsg", _guarded(socket.socket.sendmsg, 3))
        sendto = socket.socket.sendto

        def guarded_sendto(self: socket.socket, *arguments: Any) -> int:
            _check(arguments[-1])
            return sendto(self, *arguments)

        patch.setattr(socket.socket, "sendto", guarded_sendto)
        patch.setattr(socket, "getaddrinfo", _look_up)
        yield


@pytest.fixture(autouse=True)
def _stayed_on_loopback() -> Iterator[None]:
    _refused.clear()
    yield
    if _refused:
        pytest.fail(f"this test tried to leave the machine: {', '.join(_refused)}")


# ----------------------------------------------------------------------------------------------- nothing left behind

_shared: set[object] = set()
"""Threads and process ids that belong to fixtures which outlive one test."""


def _running() -> set[object]:
    threads = {t for t in threading.enumerate() if not t.daemon and t is not threading.main_thread()}
    return {*threads, *children()}


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> Iterator[Any]:
    if fixturedef.scope == "function":
        return (yield)
    before = _running()
    try:
        return (yield)
    finally:
        _shared.update(_running() - before)


_seen: dict[str, str] = {}
"""Temporary files that a test left, for a fixture that outlives it or for ever, and which test that was."""


@pytest.fixture(scope="session", autouse=True)
def _temporary_files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """All that we or what we start puts among temporary files lies in a folder of this run."""
    folder = tmp_path_factory.mktemp("temporary", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(folder))
        patch.setattr(tempfile, "tempdir", str(folder))
        yield folder
    gc.collect()
    names = [name for name in os.listdir(folder) if not name.startswith("pymp-")]  # multiprocessing's: goes at its exit
    left = [f"{name} ({_seen.get(name, 'nobody knows whose')})" for name in names]
    if left:
        pytest.fail(f"temporary files are left: {', '.join(left)}")


@pytest.fixture(autouse=True)
def _leaves_nothing(_loopback_only: None, _temporary_files: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    before = _running()
    yield
    for name in os.listdir(_temporary_files):
        _seen.setdefault(name, request.node.nodeid)
    left = _running() - before - _shared
    for thread in [t for t in left if isinstance(t, threading.Thread)]:
        thread.join(timeout=2)  # one that is on its way out may finish
        if not thread.is_alive():
            left.discard(thread)
    left &= _running()
    if left:
        pytest.fail(f"this test left behind: {', '.join(map(str, left))}")
