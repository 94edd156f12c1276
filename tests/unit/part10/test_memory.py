"""An instance that arrives in memory."""

from __future__ import annotations

import pytest

from dicomlab.errors import ServiceError
from dicomlab.model.protocols import Arrival
from dicomlab.part10.memory import Gathering
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from tests.unit.part10.vectors import vector

DATA = bytes(range(256)) * 5
ARRIVAL = Arrival("1.2.840.10008.5.1.4.1.1.2", "1.2.3", EXPLICIT_LE, source="PACS")


def test_it_gets_file_meta_information_where_only_the_data_set_travels() -> None:
    gathering = Gathering(ARRIVAL)
    for at in range(0, len(DATA), 7):
        piece = bytearray(DATA[at : at + 7])
        gathering.write(memoryview(piece))
        piece[:] = bytes(len(piece))  # what is given is good during the call only
    parcel = gathering.parcel()
    assert (parcel.path, parcel.dataset_size, parcel.meta.sop_instance_uid) == (None, len(DATA), "1.2.3")
    with parcel.dataset() as octets:
        assert octets == DATA
    with parcel.open() as octets:
        assert decode_file_meta(octets) == parcel.meta


def test_what_travelled_with_it_stays_as_it_is() -> None:
    theirs = vector("meta-good")[:220]
    gathering = Gathering(Arrival("1.2", "1.3", EXPLICIT_LE, theirs))
    gathering.write(DATA)
    assert gathering.parcel().octets == theirs + DATA


def test_uids_that_no_file_could_hold() -> None:
    with pytest.raises(ServiceError, match="cannot understand"):
        Gathering(Arrival("1.2", "1." * 40 + "1", EXPLICIT_LE))
