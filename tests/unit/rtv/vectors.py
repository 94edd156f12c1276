"""The named octet vectors, and identities that tests share."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

FOLDER = Path(__file__).parents[2] / "vectors" / "rtv"

AT_NS = 1_764_000_037_123_456_789
FLOW = UUID("ffeeddcc-bbaa-9988-7766-554433221100")
SOURCE = UUID("00112233-4455-6677-8899-aabbccddeeff")


def vector(name: str) -> bytes:
    """The octets of a vector; what follows # is for people."""
    lines = (FOLDER / f"{name}.hex").read_text().splitlines()
    return bytes.fromhex(" ".join(line.partition("#")[0] for line in lines))
