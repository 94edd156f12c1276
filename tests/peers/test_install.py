"""The installer of peers, with an apt-get that only writes down what it was asked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.peers.processes import NEEDS, need

SCRIPT = Path(__file__).with_name("install.sh")


@pytest.fixture
def install(tmp_path: Path):
    """Run it where only what a test puts there is installed; give what it said and what apt-get was asked."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("rm", "chmod", "cat"):
        (tools / name).symlink_to(str(shutil.which(name)))
    policy = tmp_path / "policy-rc.d"
    apt = tools / "fake-apt"
    apt.write_text(f'#!/bin/sh\necho "$DEBIAN_FRONTEND" "$@" "$(cat {policy})" >>{tmp_path}/asked\n')
    apt.chmod(0o755)

    def run(*present: str, user: int = 0, **environment: str) -> tuple[str, str]:
        (tools / "id").write_text(f"#!/bin/sh\necho {user}\n")
        for name in ("id", *present):
            (tools / name).touch()
            (tools / name).chmod(0o755)
        done = subprocess.run(
            ["/bin/sh", SCRIPT],
            env={"PATH": str(tools), "APT_GET": "fake-apt", "POLICY_RC_D": str(policy), "PEERS": "1"} | environment,
            capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.stderr == ""
        asked = tmp_path / "asked"
        return done.stdout, asked.read_text() if asked.exists() else ""

    run.policy = policy  # type: ignore[attr-defined]
    return run


def test_it_says_first_and_installs_what_is_missing_without_starting_services(install) -> None:
    said, asked = install("storescp", "tshark")
    update, chosen = asked.split("noninteractive ")[1:]
    assert said.startswith("peers: installing with apt-get, services not started: ")
    assert update.split()[:2] == ["update", "-q"]
    assert "exit 101" in chosen
    names = chosen.split()
    assert names[:4] == ["install", "-q", "-y", "--no-install-recommends"]
    assert {"chromium", "dicom3tools", "ffmpeg", "nodejs", "npm", "openssl"} <= set(names)
    assert not {"dcmtk", "tshark"} & set(names)
    assert all(name in said for name in names[4 : names.index("#!/bin/sh")])
    assert not install.policy.exists()


def test_node_from_elsewhere_is_left_alone(install) -> None:
    _, asked = install("node", "npm")
    assert not {"nodejs", "npm"} & set(asked.split())


def test_a_policy_that_was_there_stays(install) -> None:
    install.policy.write_text("somebody's own")
    _, asked = install()
    assert "somebody's own" in asked
    assert install.policy.read_text() == "somebody's own"


@pytest.mark.parametrize(
    ("user", "environment", "words"),
    [
        (1000, {}, "not root on Debian"),
        (0, {"APT_GET": "no-apt-here"}, "not root on Debian"),
        (0, {"PEERS": "0"}, "PEERS=0"),
    ],
)
def test_elsewhere_it_says_one_line_and_is_content(install, user: int, environment: dict[str, str], words: str) -> None:
    said, asked = install(user=user, **environment)
    assert words in said
    assert said.count("\n") == 1
    assert asked == ""


def test_nothing_missing_is_fast_and_asks_nobody() -> None:
    need(*NEEDS)
    done = subprocess.run([SCRIPT], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    assert done.stdout == "peers: all here\n"
