"""Where an archive goes by itself: the destinations of C-MOVE and of commitment reports.

Source
------
PS3.4 §C.4.2 (C-MOVE), §J.3.3 (storage commitment result).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dicomlab.dimse.negotiation import Peer
from dicomlab.dimse.secure import Security
from dicomlab.model.address import AEAddress, OwnAE

Destination = Callable[[str], tuple[str, int] | None]
"""Where an Application Entity listens; None for an unknown one."""


@dataclass(frozen=True, slots=True)
class Outward:
    """How an archive finds others, and as whom it asks them."""

    ae_title: str
    destination: Destination
    security: Security

    def peer(self, ae_title: str) -> Peer | None:
        """The one of that title; None where it is not known."""
        where = self.destination(ae_title)
        if where is None:
            return None
        return Peer(AEAddress(ae_title, *where), OwnAE(self.ae_title), security=self.security)
