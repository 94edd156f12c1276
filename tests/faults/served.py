"""An archive in a process of its own, so that its memory can be looked at from outside; with short deadlines."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from dicomlab import Node

LOOPBACK = "127.0.0.1"


class Served:
    """``with Served(folder) as archive:`` ``archive.port``, ``archive.node``, ``archive.peak_kib()``.

    Parameters
    ----------
    folder : Path
        Where it keeps its files; empty.
    deflated : bool
        Whether it takes Deflated Explicit VR Little Endian.
    tls, client_tls : sequence of Path
        Certificate, key and authority of the archive, and of ``node``.
    **deadlines
        Module constants of the listener, such as ``REQUEST_DEADLINE_S=1``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        deflated: bool = False,
        tls: Sequence[Path] | None = None,
        client_tls: Sequence[Path] | None = None,
        **deadlines: float,
    ) -> None:
        self.folder = folder
        self.may_grow_kib = 0
        files = None if tls is None else [str(path) for path in tls]
        given = json.dumps({"folder": str(folder), "deflated": deflated, "tls": files, "deadlines": deadlines})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.served", given],
            cwd=Path(__file__).parents[2], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.node = Node(f"DICOMLAB@{LOOPBACK}:{self.port}", me="GOOD", timeout_s=20, tls=client_tls)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kib(self, what: str = "VmRSS") -> int:
        """A line of its ``/proc/<pid>/status``: ``VmRSS`` what it has now, ``VmHWM`` the most it ever had; KiB."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(f"{what}:")))

    def threads(self) -> int:
        """How many threads it runs."""
        return self.kib("Threads")

    def forget_peak(self) -> None:
        """Let ``VmHWM`` start anew from what it has now."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()

    def files(self) -> set[Path]:
        """All that lies in its folder."""
        return {path for path in self.folder.rglob("*") if path.is_file()}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._process.stdout.close()


def _serve(folder: str, deflated: bool, tls: list[str] | None, deadlines: dict[str, float]) -> None:
    from dicomlab import Archive
    from dicomlab.dimse import listener, services

    for name, value in deadlines.items():
        assert hasattr(listener, name), name
        setattr(listener, name, value)
    with Archive(folder, tls=tls and tuple(tls)) as archive:
        port = archive.node.address.port
        if deflated:
            store = archive._opened().store
            door = services.serve(store, ae_title="DICOMLAB", destination={}.get, deflated=True)
            port = door.port
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    _serve(**json.loads(sys.argv[1]))
