"""The synthetic endoscopy: the same seed gives the same pictures, and they move."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from dicomlab.errors import UsageError
from dicomlab.samples.endoscopy import PATIENT, endoscopy_frames, endoscopy_image, tone
from tests.peers.processes import need


def test_pictures_of_a_moving_scope() -> None:
    first = list(endoscopy_frames(4, 64, 48, seed=1))
    again = list(endoscopy_frames(4, 64, 48, seed=1))
    other = next(endoscopy_frames(1, 64, 48, seed=2))
    assert [frame.shape for frame in first] == [(48, 64, 3)] * 4
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()
    assert (first[0] != other).any()
    middle = first[0][12:36, 20:44].astype(int)
    assert (middle[..., 0] >= middle[..., 2] - 40).mean() > 0.9  # mucosa is red
    assert (first[0][0, 0] == 0).all()  # round, black around it


def test_a_still_is_one_of_its_pictures_as_an_endoscope_stores_it(tmp_path: Path) -> None:
    still, again, other = endoscopy_image(), endoscopy_image(), endoscopy_image(seed=1)
    assert still == again
    assert still.SOPInstanceUID != other.SOPInstanceUID
    assert (still.pixel_array == next(endoscopy_frames(1, 64, 64))).all()
    need("dicom3tools")
    still.save_as(tmp_path / "still.dcm", enforce_file_format=True)
    judged = subprocess.run(["dciodvfy", tmp_path / "still.dcm"], capture_output=True, text=True, check=False)
    assert "VLEndoscopicImage" in judged.stderr
    assert "Error" not in judged.stderr


def test_a_tone_can_be_repeated() -> None:
    samples = tone(0.1)
    assert samples.shape[1] == 2
    assert abs(int(samples[0, 0]) - int(samples[-1, 0])) <= int(np.abs(np.diff(samples[:, 0])).max()) + 1


@pytest.mark.parametrize("wrong", [{"count": 0}, {"width": 15}, {"height": 17}, {"rate_hz": 0}])
def test_what_is_no_endoscopy(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        endoscopy_frames(**wrong)
    with pytest.raises(UsageError):
        tone(0)
    with pytest.raises(UsageError):
        endoscopy_image(15)


def test_the_patient_is_a_synthetic_one() -> None:
    assert PATIENT["PatientName"].startswith("Synthetic^")
