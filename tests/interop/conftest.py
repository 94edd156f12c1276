"""What all peers get to hold: real files, each SOP Instance once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.samples import real_files
from tests.interop.sides import KEYS, Side, opened
from tests.peers.dcmtk import StoreScp


@pytest.fixture(scope="session")
def real() -> dict[str, Parcel]:
    """SOP Instance UID to file."""
    found = [parcel_of_file(path) for path in real_files()]
    return {p.meta.sop_instance_uid: p for p in found if isinstance(p, Parcel)}


@pytest.fixture(scope="session")
def paths(real: dict[str, Parcel]) -> list[Path]:
    return [p.path for p in real.values() if p.path is not None]


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreScp]:
    """A storescp to which the peers of this module may move."""
    with StoreScp(tmp_path_factory.mktemp("third"), "--fork") as peer:
        yield peer


def _side(key: str) -> Any:
    @pytest.fixture(scope="module", name=f"side {key}")
    def start(tmp_path_factory: pytest.TempPathFactory, third: StoreScp, orthanc: Any) -> Iterator[Side]:
        with opened(key, tmp_path_factory.mktemp("side"), third, orthanc) as one:
            yield one

    return start


for _key in KEYS:
    globals()[f"side {_key}"] = _side(_key)


@pytest.fixture
def side(request: pytest.FixtureRequest, orthanc: Any) -> Side:
    """The peer of the key that the test is given; started once for a module, when first asked for."""
    return request.getfixturevalue(f"side {request.param}")  # type: ignore[no-any-return]


def dataset_octets(path: Path) -> bytes:
    parcel = parcel_of_file(path)
    assert isinstance(parcel, Parcel), parcel
    with parcel.dataset() as octets:
        return bytes(octets)


def assert_same_dataset(first: Path, second: Path) -> None:
    """Both say the same: peers that decode what they pass on write lengths and group lengths anew.

    Compared element by element in one encoding where neither is compressed, else by pydicom, pixels as octets.
    """
    one, two = (parcel_of_file(path) for path in (first, second))
    assert isinstance(one, Parcel), one
    assert isinstance(two, Parcel), two
    if dataset_octets(first) == dataset_octets(second):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before, after = dcmread(second), dcmread(first)
        for element in before:
            if element.tag.element == 0 or element.tag == 0xFFFCFFFC or element.tag.is_private:
                continue  # group lengths and padding carry nothing; private values lose their VR in Implicit VR
            assert element.tag in after, (first, element.tag)
            mine, theirs = after[element.tag].value, element.value
            if element.VR in ("OB", "OW", "OB or OW", "UN") and isinstance(mine, bytes):
                big = "1.2.840.10008.1.2.2"
                if (one.meta.transfer_syntax_uid == big) == (two.meta.transfer_syntax_uid == big):
                    assert mine.rstrip(b"\0") == theirs.rstrip(b"\0"), (first, element.tag)
            else:
                assert mine == theirs, (first, element.tag)
