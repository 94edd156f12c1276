"""Packet trains: what a trace keeps of datagrams that crossed in one system call. No I/O.

The first is kept whole (as far as the cap of the trace allows), of the others their length and the RTP header without
its extension: enough to see what was lost, reordered, or repeated.

Source
------
RFC 3550 §5.1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HEAD_OCTETS = 12
_STEP = 2 + HEAD_OCTETS


def train_of(datagrams: NDArray[np.uint8], sizes: tuple[int, int] | list[int]) -> bytes:
    """Length and first 12 octets of each datagram.

    Parameters
    ----------
    datagrams : array of uint8, count x octets
        A row each, at least 12 octets wide.
    sizes : (int, int), or list of int
        Octets of all but the last, and of the last; or of each.

    Source
    ------
    RFC 3550 §5.1.
    """
    kept = np.empty((len(datagrams), _STEP), np.uint8)
    if isinstance(sizes, tuple):
        kept[:, 0], kept[:, 1] = sizes[0] >> 8, sizes[0] & 0xFF
        kept[-1, 0], kept[-1, 1] = sizes[1] >> 8, sizes[1] & 0xFF
    else:
        kept[:, :2] = np.array(sizes, ">u2").view(np.uint8).reshape(-1, 2)
    kept[:, 2:] = datagrams[:, :HEAD_OCTETS]
    return kept.tobytes()


def cars_of(train: bytes) -> list[tuple[int, bytes]]:
    """The datagrams of a train: octets of each, and its first 12 (fewer where it is shorter)."""
    cars = []
    for at in range(0, len(train) - _STEP + 1, _STEP):
        size = int.from_bytes(train[at : at + 2], "big")
        cars.append((size, train[at + 2 : at + 2 + min(size, HEAD_OCTETS)]))
    return cars
