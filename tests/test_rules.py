"""What ``tests/conftest.py`` promises, shown on small suites that break each promise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ("pytester",)

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch):
    """Run a suite of one file under the rules, in a process of its own."""
    pytester.makeconftest((ROOT / "tests" / "conftest.py").read_text())
    pytester.makeini("[pytest]\nmarkers =\n  full: long\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second instead of five

    def run_suite(source: str, *options: str, ci: bool = False) -> pytest.RunResult:
        monkeypatch.setenv("CI", "true" if ci else "")
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess(*options)

    return run_suite


SKIPS = """
import pytest
from tests.peers.processes import need, NEEDS
NEEDS["betamax"] = ("betamax-player",)
NEEDS["laserdisc"] = ("laserdisc-player",)

def test_in_the_body(): pytest.skip("not today")
@pytest.mark.skip(reason="never")
def test_by_mark(): pass
def test_a_peer(): need("betamax")
def test_two_peers(): need("betamax", "laserdisc")
@pytest.mark.xfail(reason="known")
def test_expected(): assert False
"""


def test_absent_peers_take_one_line(run) -> None:
    result = run(SKIPS)
    result.assert_outcomes(skipped=4, xfailed=1)
    lines = [line for line in result.outlines if "betamax" in line]
    assert lines == [
        "peers absent: betamax, laserdisc; 2 tests skipped (`make test` as root on Debian or Ubuntu installs them)"
    ]
    result.stdout.fnmatch_lines(["skipped 1: not today", "skipped 1: never"])


def test_in_ci_every_skip_fails(run) -> None:
    result = run(SKIPS, ci=True)
    result.assert_outcomes(failed=3, errors=1, xfailed=1)
    result.stdout.fnmatch_lines(["*every skip is a failure: not today*"])


def test_in_ci_a_skip_at_collection_fails(run) -> None:
    source = "import pytest\npytest.importorskip('no_such_module_at_all')\ndef test(): pass\n"
    assert run(source).ret == pytest.ExitCode.NO_TESTS_COLLECTED
    result = run(source, ci=True)
    result.assert_outcomes(errors=1)
    assert result.ret != 0


FULL = """
import pytest
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.full), pytest.param(3, marks=pytest.mark.full)])
def test_case(n): pass
"""


def test_full_cases_are_deselected_and_not_skipped(run) -> None:
    run(FULL, ci=True).assert_outcomes(passed=1, deselected=2)
    run(FULL, "--full", ci=True).assert_outcomes(passed=3)


OUTINGS = """
import socket, pytest
far = ("192.0.2.1", 80)
@pytest.mark.parametrize("go", [
    lambda tcp, udp: socket.create_connection(far, timeout=1),
    lambda tcp, udp: tcp.connect(far),
    lambda tcp, udp: tcp.connect_ex(far),
    lambda tcp, udp: udp.sendto(b"x", far),
    lambda tcp, udp: udp.sendto(b"x", 0, far),
    lambda tcp, udp: udp.sendmsg([b"x"], [], 0, far),
    lambda tcp, udp: socket.getaddrinfo("example.org", 80),
    lambda tcp, udp: socket.create_connection(("example.org", 80)),
])
def test(go):
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try: go(tcp, udp)
        except BaseException: pass
"""


def test_leaving_the_machine_fails_even_when_hidden(run) -> None:
    result = run(OUTINGS)
    result.assert_outcomes(passed=8, errors=8)
    result.stdout.fnmatch_lines(["*tried to leave the machine: 192.0.2.1:80*"])


def test_loopback_and_names_that_never_exist_are_no_outing(run) -> None:
    run(
        """
import socket, pytest
def test():
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(("localhost", server.getsockname()[1])).close()
    a, b = socket.socketpair(socket.AF_UNIX); a.sendmsg([b"x"]); a.close(); b.close()
    with pytest.raises(socket.gaierror): socket.create_connection(("pacs.invalid", 104))
"""
    ).assert_outcomes(passed=1)


LEAKS = """
import subprocess, threading, pytest
kept = []
stop = threading.Event()

@pytest.fixture(scope="module")
def server():
    thread = threading.Thread(target=stop.wait); thread.start()
    child = subprocess.Popen(["sleep", "60"])
    yield
    child.kill(); child.wait(); stop.set(); thread.join()

def test_a_thread():
    threading.Thread(target=stop.wait, args=(20,)).start()
def test_a_process():
    kept.append(subprocess.Popen(["sleep", "20"]))
def test_a_longer_lived_fixture(request):
    request.getfixturevalue("server")
def test_clean():
    subprocess.run(["true"]); threading.Thread(target=int).start()
def test_end():
    for child in kept: child.kill(); child.wait()
    stop.set()
"""


def test_what_a_test_leaves_behind_is_seen(run) -> None:
    result = run(LEAKS)
    result.assert_outcomes(passed=5, errors=2)
    result.stdout.fnmatch_lines(["*test_a_thread*", "*test_a_process*", "*left behind*"])
