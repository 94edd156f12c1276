"""Stored values as 8 bits of grey or colour, against what the standard's formulas give."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from shutil import copy
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, Sequence, dcmread
from pydicom.data import get_testdata_file

from dicomlab.web.origin.picture import through
from dicomlab.web.origin.viewport import Window
from tests.unit.web.origin.conftest import path_of
from tests.unit.web.origin.images import image, ramp

Hold = Callable[[Dataset], str]


@pytest.fixture
def show(local: Any, hold: Hold) -> Callable[..., Any]:
    def shown(dataset: Dataset, query: str = "") -> Any:
        answer = local.get(f"{hold(dataset)}/rendered{query}", "image/png")
        assert answer.status_code == 200, answer.text
        return np.asarray(Image.open(BytesIO(answer.content)))

    return shown


def test_the_three_functions_at_their_corners() -> None:
    values = np.array([-1000.0, -1, 0, 1, 39.5, 40, 1000])
    linear = through(values, Window(40, 80, "linear"))
    assert list(linear) == [0, 0, 0, 3, 128, 129, 255]  # PS3.3 §C.11.2.1.2.1
    exact = through(values, Window(40, 80, "linear-exact"))
    assert list(exact) == [0, 0, 0, 3, 126, 128, 255]
    sigmoid = through(values, Window(40, 80, "sigmoid"))
    assert list(sigmoid) == [0, 29, 30, 32, 126, 128, 255]
    assert list(through(np.array([0.0, 1, 2]), Window(1.5, 1, "linear"))) == [0, 0, 255]


def test_the_window_of_the_data_set_or_of_the_request(show: Callable[..., Any]) -> None:
    dataset = image(ramp(), WindowCenter="128", WindowWidth="256")
    assert np.array_equal(show(dataset)[0], np.arange(256))
    assert list(show(dataset, "?window=64,2,linear-exact")[0][60:68]) == [0, 0, 0, 0, 128, 255, 255, 255]
    several = image(ramp(), WindowCenter=["128", "1"], WindowWidth=["256", "2"])
    assert np.array_equal(show(several)[0], np.arange(256))


def test_without_a_window_all_values_are_shown_but_not_the_padding(show: Callable[..., Any]) -> None:
    assert list(show(image(ramp(2)))[0]) == [0, 255]
    assert len(set(show(image(ramp(3) * 1000))[0])) == 3
    padded = ramp(5)
    padded[:, 0] = -2000
    assert list(show(image(padded, PixelPaddingValue=-2000))[0]) == [0, 0, 85, 170, 255]


def test_rescale_comes_before_the_window(show: Callable[..., Any]) -> None:
    dataset = image(ramp(), RescaleSlope="2", RescaleIntercept="-256", WindowCenter="0", WindowWidth="512")
    assert list(show(dataset)[0][[0, 128, 255]]) == [0, 128, 255]


def test_monochrome1_and_an_inverse_lut_turn_black_and_white_once_each(show: Callable[..., Any]) -> None:
    window = {"WindowCenter": "128", "WindowWidth": "256"}
    assert np.array_equal(show(image(ramp(), "MONOCHROME1", **window))[0], 255 - np.arange(256))
    inverse = image(ramp(), PresentationLUTShape="INVERSE", **window)
    assert np.array_equal(show(inverse)[0], 255 - np.arange(256))
    both = image(ramp(), "MONOCHROME1", PresentationLUTShape="INVERSE", **window)
    assert np.array_equal(show(both)[0], np.arange(256))


def test_palette_and_rgb_and_ybr(show: Callable[..., Any]) -> None:
    palette = image(np.array([[0, 1], [2, 3]], dtype="u1"), "PALETTE COLOR")
    for colour, values in (("Red", [0, 65535, 0, 0]), ("Green", [0, 0, 65535, 0]), ("Blue", [0, 0, 0, 65535])):
        setattr(palette, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        setattr(palette, f"{colour}PaletteColorLookupTableData", np.array(values, dtype="<u2").tobytes())
    assert show(palette).tolist() == [[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [0, 0, 255]]]
    rgb = np.array([[[1, 2, 3], [255, 0, 9]]], dtype="u1")
    assert np.array_equal(show(image(rgb, "RGB")), rgb)
    ybr = np.array([[[76, 85, 255], [255, 128, 128]]], dtype="u1")
    assert np.abs(show(image(ybr, "YBR_FULL")).astype(int) - [[[254, 0, 0], [255, 255, 255]]]).max() <= 1


def test_enhanced_instances_have_their_windows_in_functional_groups(show: Callable[..., Any]) -> None:
    def group(center: str, width: str) -> Dataset:
        inside, one = Dataset(), Dataset()
        inside.WindowCenter, inside.WindowWidth = center, width
        one.FrameVOILUTSequence = Sequence([inside])
        return one

    frames = np.stack([ramp(), ramp()])
    shared = Dataset()
    slope = Dataset()
    slope.RescaleSlope, slope.RescaleIntercept = "1", "0"
    shared.PixelValueTransformationSequence = Sequence([slope])
    dataset = image(
        frames, PerFrameFunctionalGroupsSequence=Sequence([group("128", "256"), group("1000", "2")]),
        SharedFunctionalGroupsSequence=Sequence([shared]),
    )  # fmt: skip
    first = show(dataset)
    assert np.array_equal(first[0], np.arange(256))


def test_the_region_is_cut_scaled_and_flipped(show: Callable[..., Any]) -> None:
    dataset = image(ramp(), WindowCenter="128", WindowWidth="256")
    assert show(dataset, "?viewport=16,16,16,0,16,4").shape == (4, 16)
    assert list(show(dataset, "?viewport=16,16,16,0,16,4")[0]) == list(range(16, 32))
    assert list(show(dataset, "?viewport=16,16,16,0,-16,4")[0]) == list(range(31, 15, -1))
    assert show(dataset, "?viewport=512,512").shape == (8, 512)
    assert show(dataset, "?viewport=128,128").shape == (2, 128)


def test_text_is_burnt_in_where_it_was_asked_for(show: Callable[..., Any]) -> None:
    black = image(np.zeros((128, 256), "<i2"), WindowCenter="128", WindowWidth="256", PatientName="A^<b>\x07")
    assert show(black).max() == 0
    left, right = show(black, "?annotation=patient"), show(black, "?annotation=technique")
    assert min(left[:, :128].max(), right[:, 128:].max()) > 150
    assert left[:, 200:].max() == right[:, :60].max() == 0


def test_what_is_too_large_or_broken(local: Any, hold: Hold, holdings: Any) -> None:
    huge = image(ramp(4))
    huge.Rows = huge.Columns = 65535
    answer = local.get(f"{hold(huge)}/rendered")
    assert answer.status_code == 413
    good = hold(image(ramp(4), number=101))
    assert local.get(f"{good}/rendered?viewport=9999,9999").status_code == 413
    assert local.get(f"{good}/rendered?viewport=10").status_code == 400
    short = image(ramp(4), number=102)
    short.PixelData = b"1234"
    assert local.get(f"{hold(short)}/rendered").status_code == 406
    odd = image(ramp(4), number=103, WindowCenter="12345678", WindowWidth="2")
    path = Path(hold(odd))
    file = holdings.folder / f"{path.name}.dcm"
    file.write_bytes(file.read_bytes().replace(b"12345678", b"x\\nan\\ y"))
    assert local.get(f"{path}/rendered").status_code == 406
    assert local.get(f"{path}/thumbnail").status_code == 200


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm", "examples_palette.dcm", "MR_small_RLE.dcm"])
def test_real_files(local: Any, holdings: Any, name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    dataset = dcmread(path)
    copy(path, holdings.folder / f"{dataset.SOPInstanceUID}.dcm")
    answer = local.get(f"{path_of(dataset)}/rendered", "image/png")
    shown = np.asarray(Image.open(BytesIO(answer.content)))
    assert shown.shape[:2] == (dataset.Rows, dataset.Columns)
    assert shown.std() > 5
