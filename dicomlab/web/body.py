"""The body of a request that is one piece of text."""

from __future__ import annotations

from collections.abc import Iterator


class OneBody:
    """A body of known length, given anew each time that it is iterated."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def __len__(self) -> int:
        return len(self._octets)

    def __iter__(self) -> Iterator[bytes]:
        yield self._octets
