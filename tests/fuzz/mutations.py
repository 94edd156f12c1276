"""Octets gone wrong: seeded, so that what failed once fails again."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

SEED = 20261124
_LENGTHS = (0, 1, 2, 3, 5, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def mutated(octets: bytes, chance: random.Random) -> bytes:
    """One to four things wrong: octets turned over, lost, doubled, moved; lengths that are lies; an end too soon."""
    value = bytearray(octets)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
        if not value:
            break
        at = chance.randrange(len(value))
        end = min(len(value), at + chance.choice((1, 1, 2, 4, 8, 64)))
        match chance.randrange(8):
            case 0 | 1:
                value[at] ^= 1 << chance.randrange(8)
            case 2:
                value[at:end] = chance.randbytes(end - at)
            case 3:
                del value[at:end]
            case 4:
                value[at:at] = value[at:end]
            case 5:
                size = chance.choice((2, 4))
                number = chance.choice(_LENGTHS) & (1 << 8 * size) - 1
                value[at : at + size] = number.to_bytes(size, chance.choice(("big", "little")))
            case 6:
                del value[at:]
            case _:
                value[at:at] = chance.randbytes(chance.choice((1, 2, 4, 16)))
    return bytes(value)


def mutations(seeds: Sequence[bytes], count: int, salt: int = 0) -> Iterator[bytes]:
    """`count` mutations of `seeds`, in turn."""
    chance = random.Random(SEED + salt)
    for number in range(count):
        yield mutated(seeds[number % len(seeds)], chance)
