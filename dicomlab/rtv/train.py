"""Packet trains: what a trace keeps of datagrams that crossed together. No I/O.

The first is kept whole (as far as the cap of the trace allows), of the others their length and the RTP header without
its extension: enough to see what was lost, reordered, or repeated.

Source
------
RFC 3550 §5.1.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

HEAD_OCTETS = 12
_SIZES = struct.Struct(">HH")
_EACH_ITS_OWN = b"\0\0"


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
    heads = datagrams[:, :HEAD_OCTETS].tobytes()
    if isinstance(sizes, tuple):
        return _SIZES.pack(*sizes) + heads
    return _EACH_ITS_OWN + np.array(sizes, ">u2").tobytes() + heads


def train_after_first(octets: NDArray[np.uint8], stride: int, count: int) -> bytes:
    """The train of datagrams that lie one after the other, `stride` octets each but the last; the first left out.

    Parameters
    ----------
    octets : array of uint8
        All of them.
    stride, count : int
        Octets of each; how many.

    Source
    ------
    RFC 3550 §5.1.
    """
    at = (count - 1) * stride
    heads = octets[stride:at].reshape(-1, stride)[:, :HEAD_OCTETS]
    if stride < HEAD_OCTETS:
        heads = np.pad(heads, ((0, 0), (0, HEAD_OCTETS - stride)))
    last = octets[at : at + HEAD_OCTETS].tobytes().ljust(HEAD_OCTETS, b"\0")
    return _SIZES.pack(stride, len(octets) - at) + heads.tobytes() + last


def cars_of(train: bytes) -> list[tuple[int, bytes]]:
    """The datagrams of a train: octets of each, and its first 12 (fewer where it is shorter)."""
    if train.startswith(_EACH_ITS_OWN):
        count = (len(train) - 2) // (2 + HEAD_OCTETS)
        start = 2 + 2 * count
        sizes = [int.from_bytes(train[at : at + 2], "big") for at in range(2, start, 2)]
    else:
        start = _SIZES.size
        count = max(0, len(train) - start) // HEAD_OCTETS
        sizes = [int.from_bytes(train[:2], "big")] * (count - 1) + [int.from_bytes(train[2:4], "big")] * bool(count)
    cars = []
    for at, size in zip(range(start, len(train), HEAD_OCTETS), sizes, strict=False):
        cars.append((size, train[at : at + min(size, HEAD_OCTETS)]))
    return cars
