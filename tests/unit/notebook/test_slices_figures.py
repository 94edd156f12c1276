"""Figures hold what they say: pixels, millimetres, directions, doses, paper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pydicom
import pytest
from pydicom.data import get_testdata_file

import dicomlab
from dicomlab.errors import UsageError
from dicomlab.notebook.slices import dose_on
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames
from dicomlab.samples.phantom import phantom_datasets

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def volume(folder: Path, change: Any = None, *, spacing: tuple[float, float] = (4.0, 4.0), slices: int = 6) -> Any:
    folder.mkdir()
    for number, dataset in enumerate(one for one in phantom_datasets(1, slices) if one.Modality == "CT"):
        dataset.PixelSpacing = list(spacing)
        if change is not None:
            change(dataset, number)
        dataset.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return dicomlab.MediaSet(folder, cache=False).volumes()[0]


def letters(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_a_slice_is_its_pixels_in_millimetres_with_directions(tmp_path: Path) -> None:
    found = volume(tmp_path / "a", spacing=(2.0, 4.0))
    ax = found.plot("z", 3)
    [image] = ax.images
    np.testing.assert_array_equal(np.asarray(image.get_array()), found.array[3])
    assert image.get_extent() == [0.0, 64 * 4.0, 64 * 2.0, 0.0]
    assert image.origin == "upper"
    assert ax.get_aspect() == 1.0
    assert letters(ax) == ["R", "L", "A", "P"]
    assert image.get_clim() == (40 - 200, 40 + 200)


def test_what_an_image_says_is_no_formula(tmp_path: Path) -> None:
    def hostile(dataset: Any, _: int) -> None:
        dataset.Modality, dataset.RescaleType = "$^$", "$_$"

    with pytest.warns(UserWarning, match="Invalid value for VR CS"):
        found = volume(tmp_path / "a", hostile)
    ax = found.plot("z", 3, dose=found)
    ax.figure.canvas.draw()
    assert ax.get_title() == "$^$ slice 4 of 6 (z 3)"
    assert ax.figure.axes[1].get_ylabel().startswith("dose ($_$); ")


def test_the_head_is_up_in_the_other_planes(tmp_path: Path) -> None:
    found = volume(tmp_path / "a")
    _, coronal, sagittal = found.plot()
    assert found.affine[2, 2] > 0
    np.testing.assert_array_equal(np.asarray(coronal.images[0].get_array()), found.array[::-1, 32])
    np.testing.assert_array_equal(np.asarray(sagittal.images[0].get_array()), found.array[::-1, :, 32])
    assert letters(coronal) == ["R", "L", "H", "F"]
    assert letters(sagittal) == ["A", "P", "H", "F"]
    assert coronal.images[0].get_extent() == [0.0, 256.0, 6 * found.spacing_mm[2], 0.0]


def test_letters_of_a_flat_picture_do_not_lie_on_one_another(tmp_path: Path) -> None:
    def single(dataset: Any, number: int) -> None:
        dataset.SliceThickness = 4 if number == 0 else 5  # a series of its own

    for ax in volume(tmp_path / "a", single, slices=2).plot():
        ax.figure.canvas.draw()
        boxes = [text.get_window_extent() for text in ax.texts]
        assert len(boxes) == 4
        assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
        labels = [one.get_window_extent() for one in ax.get_yticklabels() if one.get_text()]
        assert not any(one.overlaps(other) for at, one in enumerate(labels) for other in labels[:at])
        assert ax.figure.bbox.containsy(ax.title.get_window_extent().y1)


def test_an_oblique_plane_has_two_letters(tmp_path: Path) -> None:
    half = float(np.sqrt(0.5))

    def turn(dataset: Any, number: int) -> None:
        dataset.ImageOrientationPatient = [half, half, 0, -half, half, 0]

    assert ["".join(sorted(one)) for one in letters(volume(tmp_path / "a", turn).plot("z"))] == ["AR", "LP", "AL", "PR"]


def test_windows_planes_and_indices_are_checked(tmp_path: Path) -> None:
    found = volume(tmp_path / "a")
    assert found.plot("z", window="bone").images[0].get_clim() == (480 - 1250, 480 + 1250)
    assert found.plot("z", window=(0, 10)).images[0].get_clim() == (-5, 5)
    for wrong in ({"plane": "w"}, {"plane": "z", "index": 6}, {"window": "none"}, {"plane": "z", "window": (0, 0)}):
        with pytest.raises(UsageError):
            found.plot(**wrong)


def test_a_dose_is_looked_up_where_the_voxels_are(tmp_path: Path) -> None:
    """A dose that is its own x coordinate in millimetres, on another grid: at each voxel it says that voxel's x."""

    def coarse(dataset: Any, number: int) -> None:
        dataset.PixelSpacing = [8.0, 8.0]
        x = dataset.ImagePositionPatient[0] + 8.0 * np.arange(64)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = np.tile((x + 1000).round().astype(np.int16), (64, 1)).tobytes()

    ct, dose = volume(tmp_path / "ct"), volume(tmp_path / "dose", coarse)
    found = dose_on(ct, dose, "z", 2)
    x = ct.affine[0, 3] + ct.affine[0, 0] * np.arange(64)
    inside = ~np.isnan(found)
    assert inside.sum() > 2000
    np.testing.assert_allclose(found[inside], np.tile(x + 1000, (64, 1))[inside], atol=0.6)
    ax = ct.plot("z", dose=dose)
    assert len(ax.images) == 2
    assert len(ax.figure.axes) == 2  # the scale of the dose
    assert len(ct.plot(dose=dose)[0].figure.axes) == 4  # one scale for three planes


def test_a_dose_is_shown_where_it_is_highest_in_gray(tmp_path: Path) -> None:
    def hot(dataset: Any, number: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 0.03, 0, "GY"
        pixels = np.zeros((64, 64), np.int16)
        if number == 4:
            pixels[10, 20] = 2000  # of 12 bits
        dataset.PixelData = pixels.tobytes()

    ct, dose = volume(tmp_path / "ct"), volume(tmp_path / "dose", hot)
    axes = ct.plot(dose=dose)
    assert [ax.get_title() for ax in axes] == [
        "CT slice 5 of 6 (z 4)", "CT row 11 of 64 (y 10)", "CT column 21 of 64 (x 20)",
    ]  # fmt: skip
    assert [float(ax.images[1].get_array().max()) for ax in axes] == pytest.approx([60.0] * 3)
    assert axes[0].figure.axes[3].get_ylabel() == "dose (Gy); lines: % of the highest, 60 Gy"
    assert ct.plot("z", 0, dose=dose).get_title() == "CT slice 1 of 6 (z 0)"


def test_a_dose_of_elsewhere_is_not_drawn_over_a_patient(tmp_path: Path) -> None:
    import matplotlib.pyplot as plt

    def other(dataset: Any, _: int) -> None:
        dataset.FrameOfReferenceUID = "1.2.3"

    def away(dataset: Any, _: int) -> None:
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y + 64 * 4, z]

    def unsaid(dataset: Any, _: int) -> None:
        del dataset.FrameOfReferenceUID

    ct = volume(tmp_path / "ct")
    with pytest.raises(UsageError, match=r"frame of reference 1\.2\.3"):
        ct.plot(dose=volume(tmp_path / "other", other))
    with pytest.raises(UsageError, match="no voxel of the volume"):
        ct.plot(dose=volume(tmp_path / "away", away))
    assert plt.get_fignums() == []
    assert len(ct.plot(dose=volume(tmp_path / "unsaid", unsaid))) == 3


def test_a_volume_without_a_grid_is_drawn_without_directions(tmp_path: Path) -> None:
    def gap(dataset: Any, number: int) -> None:
        if number == 5:
            dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], 500.0]

    found = volume(tmp_path / "a", gap)
    assert not found.regular
    assert letters(found.plot("z")) == []
    with pytest.raises(UsageError, match="no affine"):
        found.plot("z", dose=found)


def test_an_ecg_lies_on_paper() -> None:
    ax = dicomlab.inspect(get_testdata_file("waveform_ecg.dcm")).plot(seconds=4)
    width, _ = ax.figure.get_size_inches() * 25.4
    leads = [line for line in ax.lines if "mV" not in line.get_label()]
    assert len(leads) == 12
    before_s = -ax.get_xlim()[0]
    assert ax.get_xlim()[1] == 4
    assert (before_s + 4) * 25 <= width <= (before_s + 4) * 25 + 25
    assert ax.xaxis.get_major_locator()()[1] - ax.xaxis.get_major_locator()()[0] == pytest.approx(0.2)
    assert ax.yaxis.get_minor_locator()()[1] - ax.yaxis.get_minor_locator()()[0] == pytest.approx(0.1)
    assert ax.get_aspect() == 10 / 25
    second = leads[1].get_ydata() + 2.0  # 20 mm of paper a lead, 10 mm a millivolt
    assert 0.5 < np.ptp(second) < 5
    assert [text.get_text() for text in ax.texts][1] == "II"


def test_each_lead_has_its_calibration_and_a_name_that_hides_no_sample() -> None:
    ax = dicomlab.inspect(get_testdata_file("waveform_ecg.dcm")).plot(seconds=2)
    pulses = [line for line in ax.lines if "mV" in line.get_label()]
    assert len(pulses) == 12
    for at, pulse in enumerate(pulses):
        time_s, mv = pulse.get_data()
        assert np.ptp(mv) == pytest.approx(1.0)
        assert np.ptp(time_s[mv == mv.max()]) == pytest.approx(0.2)
        assert mv.min() == pytest.approx(-2.0 * at)
        assert time_s.max() < 0
    ax.figure.canvas.draw()
    first_sample = ax.transData.transform((0, 0))[0]
    assert all(text.get_window_extent().x1 < first_sample for text in ax.texts)
    assert all(text.get_window_extent().x0 > ax.bbox.x0 for text in ax.texts)


def test_channels_that_are_no_voltage_say_their_range_and_unit() -> None:
    pressure = pydicom.dcmread(get_testdata_file("waveform_ecg.dcm"))
    channels = pressure.WaveformSequence[0].ChannelDefinitionSequence
    channels[0].ChannelSensitivityUnitsSequence[0].CodeValue = "mm[Hg]"
    ax = dicomlab.inspect(pressure).plot(seconds=2)
    samples = pressure.waveform_array(0)[:2000, 0]
    assert ax.texts[0].get_text().split("\n")[1:] == [f"{samples.min():.4g} to {samples.max():.4g}", "mm[Hg]"]
    spans = [np.ptp(line.get_ydata()) for line in ax.lines]
    assert spans == pytest.approx([spans[0]] * 12)
    assert not [text for text in ax.get_yticklabels() if text.get_text()]


def test_a_picture_is_drawn_and_what_has_none_says_so() -> None:
    ax = dicomlab.inspect(get_testdata_file("CT_small.dcm")).plot()
    assert ax.images[0].get_extent()[1] == pytest.approx(128 * 0.661468)
    with pytest.raises(UsageError, match="neither"):
        dicomlab.inspect(get_testdata_file("reportsi.dcm")).plot()


def test_a_cohort_is_counted_and_names_nobody() -> None:
    frame = pd.DataFrame(
        {
            "StudyInstanceUID": ["1", "2", "3"],
            "PatientName": ["Doe^Jane"] * 3,
            "ModalitiesInStudy": [("CT",), ("MR", "CT"), ("$US$", "x" * 100_000)],
            "StudyDate": pd.to_datetime(["2026-01-01", "2026-03-01", None]),
            "NumberOfStudyRelatedInstances": pd.array([10, 20, None], "Int64"),
        }
    )
    axes = dicomlab.Cohort.from_dataframe(frame).plot()
    bars = {
        label.get_text(): patch.get_width()
        for label, patch in zip(axes[0].get_yticklabels(), axes[0].patches, strict=True)
    }
    assert bars == {"CT": 2, "MR": 1, r"\$US\$": 1, "x" * 40 + "… (100000 characters)": 1}
    assert sum(patch.get_height() for patch in axes[1].patches) == 2
    assert "1 without" in axes[1].get_title()
    assert "30 in all" in axes[2].get_title()
    axes[0].figure.canvas.draw()
    shown = " ".join(text.get_text() for ax in axes for text in ax.findobj(mpl.text.Text))
    assert "Doe" not in shown
    with pytest.raises(UsageError):
        dicomlab.Cohort.from_dataframe(frame[:0]).plot()


def test_few_and_many_studies_are_drawn_in_whole_numbers() -> None:
    one = pd.DataFrame(
        {
            "StudyInstanceUID": ["1"],
            "ModalitiesInStudy": [("CT",)],
            "StudyDate": pd.to_datetime(["2026-01-05"]),
            "NumberOfStudyRelatedInstances": pd.array([90], "Int64"),
        }
    )
    axes = dicomlab.Cohort.from_dataframe(one).plot()
    axes[0].figure.canvas.draw()
    assert axes[0].figure.get_suptitle() == "1 study"
    assert [text.get_text() for text in axes[1].get_xticklabels()] == ["2026-01-05"]
    for axis in (axes[0].xaxis, axes[1].yaxis, axes[2].xaxis, axes[2].yaxis):
        assert all(float(value).is_integer() for value in axis.get_majorticklocs())
    assert axes[0].patches[0].get_height() < 0.25 * np.ptp(axes[0].get_ylim())  # a lone bar does not fill the panel
    many = pd.concat([one] * 30, ignore_index=True)
    many["StudyInstanceUID"] = [str(at) for at in range(30)]
    many["ModalitiesInStudy"] = [(f"M{at % 15:X}",) for at in range(30)]
    axes = dicomlab.Cohort.from_dataframe(many).plot()
    bars = {
        text.get_text(): bar.get_width() for text, bar in zip(axes[0].get_yticklabels(), axes[0].patches, strict=True)
    }
    assert bars.pop("3 others") == 6
    assert list(bars.values()) == [2] * 12


@pytest.mark.parametrize(
    ("days", "bars"),
    [
        (["2026-01-30", "2026-02-02"], {"2026-01-30": 1, "2026-01-31": 0, "2026-02-01": 0, "2026-02-02": 1}),
        (["2026-01-30", "2026-03-02", "2026-03-31"], {"2026-01": 1, "2026-02": 0, "2026-03": 2}),
        (["2020-01-01", "2023-12-31"], {"2020": 1, "2021": 0, "2022": 0, "2023": 1}),
    ],
)
def test_dates_are_counted_by_the_calendar(days: list[str], bars: dict[str, int]) -> None:
    uids = [str(at) for at in range(len(days))]
    frame = pd.DataFrame({"StudyInstanceUID": uids, "StudyDate": pd.to_datetime(days)})
    [ax] = dicomlab.Cohort.from_dataframe(frame).plot()
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert dict(zip(shown, (bar.get_height() for bar in ax.patches), strict=True)) == bars


def test_dates_of_any_span_make_few_bars() -> None:
    days = np.array(["0001-01-01", "1970-01-01", "9999-12-31"], "datetime64[s]")
    frame = pd.DataFrame({"StudyInstanceUID": ["1", "2", "3"], "StudyDate": days})
    [ax] = dicomlab.Cohort.from_dataframe(frame).plot()
    assert len(ax.patches) <= 41
    assert sum(bar.get_height() for bar in ax.patches) == 3


def test_a_stream_shows_what_was_lost() -> None:
    cast = dicomlab.Broadcast(list(endoscopy_frames(5, 64, 48, rate_hz=50)), rate_hz=50, fictional=True, **PATIENT)
    cast.faults.drop(every=9, flow="video")
    with dicomlab.LiveStream(cast) as live, cast:
        list(live.frames(4))
    latency, missing, packets = live.plot()
    frames = live.to_dataframe()
    np.testing.assert_allclose(latency.lines[0].get_ydata(), frames["latency_ms"].astype(float))
    assert [patch.get_height() for patch in missing.patches] == frames["MissingOctets"].tolist()
    network = live.statistics()
    assert sum(patch.get_width() for patch in packets.patches) == network[["received", "lost"]].sum().sum()
    words = [text.get_text().split("\n") for text in packets.texts if "lost" in text.get_text()]
    share = 100 * network["lost"][0] / (network["lost"][0] + network["received"][0])
    assert words[0][0] == f"{network['lost'][0]} lost ({share:.2g} %)"
    assert words[0][1:] == [f"{network['bit_rate_mbps'][0]:.3g} Mbit/s", f"jitter {network['jitter_ms'][0]:.2g} ms"]
    assert missing.get_ylim()[0] == 0
