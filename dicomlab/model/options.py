"""Settings of this Python session: ``dicomlab.options``."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Literal, get_args

from dicomlab.errors import UsageError

Phi = Literal["mask", "hash", "show"]

MASK = "•••"
"""What stands in a repr for a value that identifies a patient."""


@dataclass(slots=True)
class Options:
    """``phi`` says how reprs, ladders, logs and exports show values that identify a patient.

    ``"mask"`` (default) hides them, ``"hash"`` shows a short digest that is the same for the same value in this
    session only, ``"show"`` shows them. ``to_dataframe()`` is always plain. Synthetic patients are always shown.
    """

    phi: Phi = "mask"
    _salt: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    def __setattr__(self, name: str, value: object) -> None:
        if name == "phi" and value not in get_args(Phi):
            raise UsageError(f"options.phi is one of {', '.join(get_args(Phi))}, not {value!r}")
        object.__setattr__(self, name, value)

    def shown(self, value: str, *, fictional: bool) -> str:
        """`value` as a repr may show it."""
        if fictional or not value or self.phi == "show":
            return value
        if self.phi == "hash":
            return "#" + hashlib.blake2s(value.encode("utf-8", "backslashreplace"), key=self._salt).hexdigest()[:8]
        return MASK


options = Options()
