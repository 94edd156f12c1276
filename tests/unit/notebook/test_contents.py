"""What a page of contents does with files that are hostile, broken or no images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from dicomlab.errors import RemoteProtocolError
from dicomlab.notebook.contents import PICTURES, account_of
from dicomlab.samples.phantom import phantom_datasets

from .test_html import HOSTILE
from .test_html_faces import Page

mpl.use("Agg")


def image(tmp_path: Path, **values: Any) -> Path:
    dataset = next(iter(phantom_datasets(patients=1, slices=1)))
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    path = tmp_path / "image.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    "values",
    [
        {"Rows": 65535, "Columns": 65535, "NumberOfFrames": 100_000},
        {"Rows": [2, 3]},
        {"Rows": 0},
        {"BitsAllocated": 7},
        {"PhotometricInterpretation": "NONE"},
        {"PixelData": b"x"},
        {"WindowWidth": 0},
    ],
    ids=lambda values: next(reversed(values)),
)
def test_a_picture_that_can_not_be_drawn_is_said(tmp_path: Path, values: dict[str, Any]) -> None:
    html = account_of(image(tmp_path, **values)).html()
    assert "Its elements" in html
    assert ("not drawn: " in html) != ("data:image/png" in html)


def test_no_value_and_no_name_becomes_markup(tmp_path: Path) -> None:
    folder = tmp_path / '<img src="x" onerror="1">'
    folder.mkdir()
    image(folder, SeriesDescription=HOSTILE[:60], StudyDescription="<script>1</script>")
    (folder / "<b>.dcm").write_bytes(b"DICM")
    for path in (folder, folder / "image.dcm"):
        page = Page(account_of(path).html())
        assert not page.tags & {"script", "b", "iframe", "a"}
        assert not [name for name, _ in page.attributes if name.startswith("on")]


def test_without_images_there_are_tables(tmp_path: Path) -> None:
    path = image(tmp_path)
    from pydicom import dcmread

    dataset = dcmread(path)
    del dataset.PixelData
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    dataset.save_as(path)
    html = account_of(tmp_path).html()
    assert "Instances" in html
    assert "data:image/png" not in html


def test_of_many_volumes_the_first_are_drawn(tmp_path: Path) -> None:
    for number, dataset in enumerate(phantom_datasets(patients=PICTURES, slices=1)):
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    html = account_of(tmp_path).html()
    assert html.count("data:image/png") == PICTURES
    assert "more are not drawn here" in html


def test_nothing_there_is_said_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("no DICOM")
    with pytest.raises(RemoteProtocolError, match=r"no DICOM instance; a\.txt"):
        account_of(tmp_path)
