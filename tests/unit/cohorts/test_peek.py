"""What a peek reads, and what it says of headers that it could not read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicomlab import Archive, MediaSet
from tests.unit.media.series import image, write


def of_series(number: int, **attributes: object) -> Dataset:
    return image(1, (0, 0, 0), series=f"2.25.{number}", **attributes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "in", [of_series(n) for n in (1, 2, 3)])


@pytest.fixture
def archive(folder: Path) -> Iterator[Archive]:
    with Archive() as opened:
        opened.add(folder, progress=False)
        yield opened


def test_a_value_that_can_not_be_read_is_told_in_its_own_row(tmp_path: Path) -> None:
    odd = of_series(2)
    odd[Tag(0x00180050)] = RawDataElement(Tag(0x00180050), "DS", 4, b"many", 0, False, True)
    folder = write(tmp_path / "in", [of_series(1), odd, of_series(3)])
    peeked = MediaSet(folder).find("series", progress=False).peek(["SliceThickness"])
    (place,) = [n for n, uid in enumerate(peeked["SeriesInstanceUID"]) if uid == "2.25.2"]
    assert peeked["SliceThickness"].isna().tolist() == [n == place for n in range(3)]
    (warned,) = peeked.warnings.itertuples()
    assert (warned.row, warned.column, warned.raw) == (place, "SliceThickness", "many")


def test_headers_that_do_not_come_are_told(archive: Archive) -> None:
    series = archive.web.find("series", progress=False)
    with archive.faults.lie(door="web"):
        peeked = series.peek(["SliceThickness"])
    assert peeked["SliceThickness"].isna().all()
    assert peeked.warnings["row"].tolist() == [0, 1, 2]
    assert peeked.warnings["problem"].str.contains("no header of this series could be read").all()
    assert series.peek(["SliceThickness"])["SliceThickness"].tolist() == [2.5] * 3
