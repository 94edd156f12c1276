"""One SOP Instance that arrives in memory.

Source
------
PS3.10 §7.1 (File Meta Information).
"""

from __future__ import annotations

from io import BytesIO

from dicomlab.model.protocols import Arrival, Octets
from dicomlab.part10.files import Parcel, meta_octets
from dicomlab.part10.meta import decode_file_meta


class Gathering:
    """Gathers an instance in one piece of memory, which is not copied again when it is whole.

    Raises
    ------
    ServiceError
        C000H: the sender announced UIDs that no file could hold.
    """

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival
        self._file = BytesIO()
        self._file.write(meta_octets(arrival))

    def write(self, octets: Octets, /) -> None:
        """Take more octets of the data set."""
        self._file.write(octets)

    def abandon(self) -> None:
        """Forget them."""
        self._file.close()

    def parcel(self) -> Parcel:
        """Give the instance, which takes no more octets."""
        octets = self._file.getvalue()
        self._file.close()
        meta = decode_file_meta(octets, final=True)
        return Parcel(meta, f"instance {self.arrival.sop_instance_uid}", None, octets)
