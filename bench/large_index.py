"""Stream an index of generated rows to Parquet and print the peak of memory in MiB: ``large_index.py FOLDER ROWS``."""

from __future__ import annotations

import sys
from pathlib import Path

from dicomlab.media.cache import Parts
from dicomlab.media.chunk import FACTS, Batch
from dicomlab.media.found import BASE
from dicomlab.media.look import META_KEYWORDS
from dicomlab.model.columns import column

CHUNK = 500
UNIQUE = {"SOPInstanceUID", "MediaStorageSOPInstanceUID"}


def batch_of(start: int) -> Batch:
    """500 rows as a chunk of a scan gives them: texts of usual lengths, equal ones shared."""
    numbers = range(start, start + CHUNK)
    series = start // CHUNK
    batch: Batch = {name: [0] * CHUNK for name in FACTS}
    batch["path"] = [f"P{series // 12:05}/ST{series // 4:05}/SE{series:05}/IM{number:08}" for number in numbers]
    batch["member"] = [None] * CHUNK
    batch["size"] = batch["octets"] = [526_000 + number % 7 for number in numbers]
    batch["mtime_ns"] = [1_700_000_000_000_000_000 + number for number in numbers]
    for name in ("kind", "message", "notes"):
        batch[name] = [""] * CHUNK
    for name in dict.fromkeys((*META_KEYWORDS, *BASE)):
        vr = column(name).vr
        if vr == "UI":
            one = f"1.2.840.113619.2.55.3.604688119.969.{len(name)}.{series}"
            batch[name] = [f"{one}.{number}" for number in numbers] if name in UNIQUE else [one] * CHUNK
        elif vr == "DS":
            batch[name] = [f"-180.5\\{number * 0.625:.3f}\\77.25" for number in numbers]
        else:
            one = f"{name[:12]} {series}"
            batch[name] = [str(number) for number in numbers] if vr == "IS" else [one] * CHUNK
    return batch


def main(folder: Path, rows: int) -> None:
    """Write them all."""
    parts = Parts(folder, BASE)
    for start in range(0, rows, CHUNK):
        parts.add(batch_of(start))
    parts.finish()
    assert not parts.broken
    print(peak_mib())


def peak_mib() -> float:
    """The most memory that this process had; not that of the one which started it, as ``getrusage`` would count."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
