"""What all peers get to hold: real files, each SOP Instance once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.samples import real_files


@pytest.fixture(scope="session")
def real() -> dict[str, Parcel]:
    """SOP Instance UID to file."""
    found = [parcel_of_file(path) for path in real_files()]
    return {p.meta.sop_instance_uid: p for p in found if isinstance(p, Parcel)}


@pytest.fixture(scope="session")
def paths(real: dict[str, Parcel]) -> list[Path]:
    return [p.path for p in real.values() if p.path is not None]


def dataset_octets(path: Path) -> bytes:
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel), parcel
    with parcel.dataset() as octets:
        return bytes(octets)
