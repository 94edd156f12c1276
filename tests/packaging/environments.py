"""Virtual environments of their own, made by uv: a second each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = [sys.executable, "-m", "uv", "--quiet", "--no-config"]
INDEXES = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS")
"""What pip is told by its environment, uv is told by names of its own."""


def surroundings(**more: str) -> dict[str, str]:
    """Environment variables without the checkout, without coverage."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_", "COVERAGE"))}
    return {**kept, **more}


def run(command: Sequence[str | Path], cwd: Path, *, timeout_s: float = 240, check: bool = True, **more: str) -> str:
    """Run a command; its output, both streams."""
    done = subprocess.run(
        [str(word) for word in command], cwd=cwd, env=surroundings(**more), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False,
    )  # fmt: skip
    assert done.returncode == 0 or not check, f"{command}\n{done.stdout[-6000:]}"
    return done.stdout


class Environment:
    """One virtual environment with what is asked for, outside the checkout."""

    def __init__(self, folder: Path, *wanted: str | Path, python: str = sys.executable, name: str = "venv") -> None:
        self.folder = folder
        run([*UV, "venv", "--python", python, folder / name], folder)
        self.bin = folder / name / ("Scripts" if os.name == "nt" else "bin")
        self.install(*wanted)

    def install(self, *wanted: str | Path) -> None:
        """Install more; where no index can be reached the test is skipped."""
        told = [
            f"--{name.removeprefix('PIP_').replace('_', '-').lower()}={value}"
            for name in INDEXES
            for value in os.environ.get(name, "").split()
        ]
        command = [*UV, "pip", "install", *told, "--python", self.bin / "python", *wanted]
        output = run(command, self.folder, check=False)
        if "Failed to fetch" in output or "error sending request" in output:
            pytest.skip(f"no package index can be reached: {output.splitlines()[-1][:200]}")
        installed = run([*UV, "pip", "check", "--python", self.bin / "python"], self.folder, check=False)
        assert not output.startswith("error"), output
        assert "incompatible" not in installed, installed

    def python(self, code: str, **more: str) -> str:
        """Run a program, every warning an error."""
        return run([self.bin / "python", "-W", "error", "-c", code], self.folder, **more)
