"""One SOP Instance by its UIDs."""

from __future__ import annotations

import pytest

from dicomlab.errors import UsageError
from dicomlab.model.instance import Instance
from dicomlab.model.protocols import Wanted

CT = "1.2.840.10008.5.1.4.1.1.2"


def test_what_to_ask_for() -> None:
    assert Instance("1", "2", "3", CT).wanted == Wanted("1", "2", "3", CT)
    assert Instance("1", "2", "3").wanted == Wanted("1", "2", "3", "")


def test_the_source_is_no_part_of_its_identity() -> None:
    one, other = Instance("1", "2", "3", CT, source=None), Instance("1", "2", "3", CT, source=object())  # type: ignore[arg-type]
    assert one == other
    assert hash(one) == hash(other)
    assert one != Instance("1", "2", "4", CT)


def test_repr() -> None:
    assert "CT Image Storage" in repr(Instance("1", "2", "3", CT))
    assert "class unknown" in repr(Instance("1", "2", "3"))
    assert "\n  SOPClassUID        1.2.\\x0a3\n" in repr(Instance("1", "2", "3", "1.2.\n3"))


def test_without_a_source_there_is_no_data_set() -> None:
    with pytest.raises(UsageError, match="no source"):
        _ = Instance("1", "2", "3").dataset
