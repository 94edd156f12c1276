"""One verb in a process of its own, interrupted as a notebook's kernel is; tells what it returned and whether the Node
is still of use."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from dicomlab import Node
from dicomlab.model.progress import Progress


def main(verb: str, address: str, me: str, folder: str, after: int, timeout_s: float = 30) -> None:
    """``after``: interrupt ourselves once so many are done; 0: somebody else does."""
    fired: list[int] = []

    def on_progress(progress: Progress) -> None:
        if after and progress.done >= after and not fired:
            fired.append(progress.done)
            os.kill(os.getpid(), signal.SIGINT)

    node = Node(address, me=me, timeout_s=timeout_s)
    work: Any = None
    if verb in ("get", "move"):
        work = node.find("instance", progress=False)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if verb == "find":
        result: Any = node.find("instance", progress=on_progress)
        done = len(result)
    elif verb == "store":
        result = node.store(sorted(Path(folder).glob("*.dcm")), progress=on_progress)
        done = result.count("done")
    else:
        result = work.retrieve(folder, method=verb, progress=on_progress)
        done = result.count("done")
    told = {
        "done": done,
        "complete": result.complete,
        "note": result.note,
        "usable": bool(node.verify()) if after else None,
    }
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
