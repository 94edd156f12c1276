"""What pydicom makes of octets that the lean walk refuses. No I/O.

It copes with files whose content contradicts what they say about themselves. Only raw values come from it, which are
then decoded as all others are.

Source
------
PS3.10 §7; PS3.5 §7.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from io import BytesIO
from typing import Any

from pydicom import dcmread
from pydicom.dataelem import RawDataElement

from dicomlab.media.walker import BIG, EXPLICIT, IMPLICIT, Grammar, Plan, Walked

_LARGE_OCTETS = 1 << 16


def read_by_pydicom(
    octets: bytes, plan: Plan, go_on: Callable[[], object] = lambda: None
) -> tuple[Grammar, Walked] | None:
    """Have pydicom read a file up to its pixel data.

    Parameters
    ----------
    octets : bytes
        The whole file.
    plan : Plan
        The values that are wanted; sequences are not among those that come.
    go_on : callable
        Is called before each read, and raises when it has taken too long.

    Returns
    -------
    (Grammar, Walked) or None
        In which the values are written, and the values in the order of the plan; None if pydicom can't read it.

    Source
    ------
    PS3.10 §7.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset: Any = dcmread(
                _Watched(octets, go_on), stop_before_pixels=True, defer_size=_LARGE_OCTETS, force=True
            )
            implicit, little = dataset.original_encoding
            grammar = IMPLICIT if implicit else EXPLICIT if little else BIG
            elements = [dataset.get_item(tag) for tag in plan.tags]
    except Exception:  # noqa: BLE001  (hostile octets; pydicom raises whatever its parsing runs into)
        return None
    walked = Walked([_raw(element) for element in elements], len(octets), {})
    _, expected = plan.ready(grammar)
    for slot, element in enumerate(elements):
        if implicit or walked.values[slot] is None or len(element.VR or "") != 2 or not element.VR.isascii():
            continue  # what the dictionary says, which may be "US or SS", is found again later
        if (code := grammar.code(element.VR)) != expected[slot]:
            walked.vrs = {**(walked.vrs or {}), slot: code}
    return grammar, walked


class _Watched(BytesIO):
    def __init__(self, octets: bytes, go_on: Callable[[], object]) -> None:
        super().__init__(octets)
        self._go_on = go_on

    def read(self, size: int | None = -1, /) -> bytes:
        self._go_on()
        return super().read(size)


def _raw(element: Any) -> bytes | None:
    value = element.value if isinstance(element, RawDataElement) else None
    return bytes(value) if isinstance(value, bytes) and value else None
