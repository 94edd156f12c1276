"""The vectors in ``tests/vectors/part10``."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "vectors" / "part10"


def names(prefix: str) -> list[str]:
    return sorted(path.stem for path in FOLDER.glob(f"{prefix}*.hex"))


def vector(name: str) -> bytes:
    """The octets of one case; what follows ``#`` in a line is for the reader."""
    lines = (FOLDER / f"{name}.hex").read_text().splitlines()
    octets = bytes.fromhex("".join(line.partition("#")[0] for line in lines))
    return b"\0" * 128 + b"DICM" + octets if name.startswith("meta-") else octets
