"""Series as arrays: SimpleITK, nibabel, xarray and pydicom are the judges."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import xarray
from pydicom import Dataset, dcmread
from pydicom.pixels import compress
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
)

import dicomlab
from dicomlab import MediaSet
from dicomlab.errors import Interrupted, RemoteProtocolError, UsageError
from dicomlab.samples.manifest import data_folder
from tests.peers.processes import need
from tests.unit.media.series import OBLIQUE, SERIES, SIDE, image, line, pixels, stack, write


def volume(folder: Path, **options: Any) -> dicomlab.Volume:
    return MediaSet(folder).volume(progress=False, **options)


def itk(folder: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return reader.Execute()


def agrees(ours: dicomlab.Volume, theirs: Any) -> None:
    """The same voxels in the same places."""
    import SimpleITK

    assert np.allclose(ours.array, SimpleITK.GetArrayFromImage(theirs))
    count = ours.shape[0] - 1
    for index in ((0, 0, 0), (3, 0, 0), (0, 5, 0), (0, 0, count), (4, 2, count)):
        assert np.allclose((ours.affine @ [*index, 1])[:3], theirs.TransformIndexToPhysicalPoint(index), atol=1e-3)


NORMAL = np.cross(OBLIQUE[:3], OBLIQUE[3:])


@pytest.mark.parametrize(
    "images",
    [
        stack(), stack(step=(0, 0, -2.5)), stack(step=(NORMAL * 3).tolist(), orientation=OBLIQUE),
        stack(step=(0, 2, 0), orientation=(1, 0, 0, 0, 0, -1)), stack(step=(3, 0, 0), orientation=(0, 1, 0, 0, 0, -1)),
        stack(PixelRepresentation=1), stack(RescaleSlope=None, RescaleIntercept=None),
        stack(BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(range(240)) * 8),
    ],
    ids=["axial", "downwards", "oblique", "coronal", "sagittal", "signed", "no rescale", "8 bits"],
)  # fmt: skip
def test_the_same_as_simpleitk(images: list[Dataset], tmp_path: Path) -> None:
    ours = volume(write(tmp_path, images))
    assert ours.regular
    assert ours.array.dtype == np.float32
    agrees(ours, itk(tmp_path))


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_every_native_encoding(syntax: str, tmp_path: Path) -> None:
    images = stack()
    for one in images:
        one.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    ours = volume(write(tmp_path, images))
    assert np.array_equal(ours.array, np.stack([pixels(n) for n in range(1, 7)]) * 2.0 - 1024)


def decoded(folder: Path) -> np.ndarray:
    """What pydicom makes of it, in the order of InstanceNumber."""
    images = sorted((dcmread(path) for path in folder.iterdir()), key=lambda one: int(one.InstanceNumber))
    return np.stack([one.pixel_array * float(one.RescaleSlope) + float(one.RescaleIntercept) for one in images])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_compressed_series(syntax: str, tmp_path: Path) -> None:
    images = stack()
    for one in images:
        compress(one, syntax, generate_instance_uid=False)
    ours = volume(write(tmp_path, images))
    assert np.array_equal(ours.array, np.stack([pixels(n) for n in range(1, 7)]) * 2.0 - 1024)
    assert np.array_equal(ours.array, decoded(tmp_path))


def test_jpeg_lossless_and_lossy_from_dcmtk(tmp_path: Path) -> None:
    need("dcmtk")
    plain = write(tmp_path / "plain", stack(count=2, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=b"ABCD" * 480))
    for switch in ("+e1", "+eb"):
        (tmp_path / switch).mkdir()
        for path in plain.iterdir():
            subprocess.run(["dcmcjpeg", switch, path, tmp_path / switch / path.name], check=True, capture_output=True)
    lossless = volume(tmp_path / "+e1")
    assert np.array_equal(lossless.array, volume(plain).array)
    assert np.array_equal(volume(tmp_path / "+eb").array, decoded(tmp_path / "+eb"))


def test_an_executor_decodes_the_same(tmp_path: Path) -> None:
    images = stack(count=20)
    for one in images:
        compress(one, RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    write(tmp_path, images)
    with ThreadPoolExecutor(2) as pool:
        assert np.array_equal(volume(tmp_path, executor=pool).array, volume(tmp_path).array)


def test_three_lines_from_anywhere(tmp_path: Path) -> None:
    source = MediaSet(write(tmp_path / "there", stack()))
    report = source.find("series", Modality="CT").retrieve(tmp_path / "here", progress=False)
    assert report.media.volume().array.shape == (6, *SIDE)


def test_to_nifti(tmp_path: Path) -> None:
    ours = volume(write(tmp_path / "d", stack(step=(NORMAL * 3).tolist(), orientation=OBLIQUE)))
    ours.to_nifti(tmp_path / "v.nii.gz")
    theirs = nibabel.load(tmp_path / "v.nii.gz")
    assert np.allclose(theirs.get_fdata(), ours.array.T)
    assert np.allclose(theirs.affine, np.diag([-1, -1, 1, 1]) @ ours.affine, atol=1e-4)
    assert np.allclose(theirs.get_qform(), theirs.affine, atol=1e-3)
    tilted = volume(write(tmp_path / "t", stack(step=(0, 1, 2.5))))
    made = tilted.to_nifti()
    assert (int(made.header["sform_code"]), int(made.header["qform_code"])) == (1, 0)
    with pytest.raises(Interrupted, match=r"nowhere"):
        ours.to_nifti(tmp_path / "nowhere" / "v.nii")


def test_xarray_takes_it_as_it_is(tmp_path: Path) -> None:
    images = [*stack(EchoTime=10), *(image(n + 10, p, EchoTime=20) for n, p in enumerate(line(6)))]
    ours = volume(write(tmp_path, images))
    data = xarray.DataArray(ours.array, ours.coords, ours.dims)
    assert data.dims == ("EchoTime", "z", "y", "x")
    assert data.sel(EchoTime=20, z=5.0).shape == SIDE
    assert data["z"].values.tolist() == [0.0, 2.5, 5.0, 7.5, 10.0, 12.5]
    assert data["y"].values[1] == 0.8


def test_numpy_takes_it_as_it_is(tmp_path: Path) -> None:
    ours = volume(write(tmp_path, stack()))
    assert np.asarray(ours) is ours.array
    assert np.asarray(ours, dtype="float64").dtype == np.float64
    assert len(ours) == 6


def test_stored_values_and_other_types(tmp_path: Path) -> None:
    ours = volume(write(tmp_path, stack(RescaleSlope=0.1)))
    stored = ours.to_numpy(None)
    assert (stored.dtype, stored[0].tolist()) == (np.dtype("uint16"), pixels(1).tolist())
    assert np.allclose(ours.to_numpy("float64"), stored * 0.1 - 1024)
    with pytest.raises(UsageError, match="int16 can't hold rescaled values"):
        ours.to_numpy("int16")


def test_each_plane_has_its_own_slope(tmp_path: Path) -> None:
    images = stack()
    for number, one in enumerate(images):
        one.RescaleSlope, one.RescaleIntercept = number + 1, 0
    ours = volume(write(tmp_path, images)).array
    assert all(np.array_equal(ours[n], pixels(n + 1) * float(n + 1)) for n in range(6))


def test_bits_that_are_no_pixels_are_cleared(tmp_path: Path) -> None:
    overlay = (pixels(1) | 0xA000).astype("<u2").tobytes()
    ours = volume(write(tmp_path, stack(count=1, PixelData=overlay)))
    assert np.array_equal(ours.to_numpy(None)[0], pixels(1))
    signed = stack(count=1, PixelRepresentation=1, PixelData=(pixels(1) & 0x0FFF).astype("<u2").tobytes())
    stored = volume(write(tmp_path / "s", signed)).to_numpy(None)
    assert (stored.min() < 0, stored.dtype) == (True, np.dtype("int16"))


# --- what does not fit --------------------------------------------------------------------------------------------


def test_gaps_are_never_passed_over(tmp_path: Path) -> None:
    images = stack(count=8)
    write(tmp_path, images[:2] + images[3:])
    with pytest.raises(UsageError, match=r"1 slices are missing.*nan.*keep"):
        volume(tmp_path)
    filled = volume(tmp_path, gaps="nan")
    assert filled.shape == (8, *SIDE)
    assert filled.regular
    assert np.isnan(filled.array[2]).all()
    assert not np.isnan(filled.array[3]).any()
    kept = volume(tmp_path, gaps="keep")
    assert kept.shape == (7, *SIDE)
    with pytest.raises(UsageError, match="no affine"):
        _ = kept.affine
    assert kept.frames["z_mm"].tolist() == [5.0, 7.5, 12.5, 15.0, 17.5, 20.0, 22.5]
    with pytest.raises(UsageError, match="NaN"):
        filled.to_numpy(None)


def test_duplicates_are_never_passed_over(tmp_path: Path) -> None:
    write(tmp_path, [*stack(), image(77, line(3)[2])])
    with pytest.raises(UsageError, match=r"1 of its planes lie where others lie.*first"):
        volume(tmp_path)
    ours = volume(tmp_path, duplicates="first")
    assert ours.shape == (6, *SIDE)
    assert ours.frames["SOPInstanceUID"].nunique() == 6


def test_uneven_and_tilted_series_say_so(tmp_path: Path) -> None:
    uneven = volume(write(tmp_path / "u", [image(n, (0, 0, z)) for n, z in enumerate((0, 2, 3.2, 5.5, 9.1))]))
    assert not uneven.regular
    assert any("uneven" in note for note in uneven.notes)
    for what in ("affine", "spacing_mm"):
        with pytest.raises(UsageError, match="nothing is resampled"):
            getattr(uneven, what)
    with pytest.raises(UsageError, match="no affine"):
        uneven.to_nifti()
    tilted = volume(write(tmp_path / "t", stack(step=(0, 1, 2.5))))
    assert tilted.regular
    assert tilted.tilt_degrees == pytest.approx(21.8, abs=0.1)


def test_several_volumes_are_named(tmp_path: Path) -> None:
    write(tmp_path, [*stack(), image(50, (0, 0, 0), orientation=(0, 1, 0, 0, 0, -1))])
    media = MediaSet(tmp_path)
    with pytest.raises(UsageError, match=r"2 volumes here \(CT 6 x 48 x 40; CT 1 x 48 x 40\)"):
        media.volume()
    assert [one.shape[0] for one in media.volumes()] == [6, 1]
    with pytest.raises(UsageError, match="no such series"):
        media.volume("1.2.3")
    with pytest.raises(UsageError, match="not by a int"):
        media.volume(7)
    cohort = media.find("series")
    assert [one.shape for one in media.volumes(cohort)] == [one.shape for one in media.volumes([SERIES])]
    assert len(media.volumes(media.find("study"))) == 2


def test_a_mosaic_is_flagged(tmp_path: Path) -> None:
    ours = volume(write(tmp_path, stack(count=2, ImageType=["ORIGINAL", "PRIMARY", "M", "MOSAIC"])))
    assert any("mosaic" in note for note in ours.notes)
    assert not ours.regular


def test_pictures_without_geometry_and_in_colour(tmp_path: Path) -> None:
    colour = np.random.default_rng(1).integers(0, 255, (*SIDE, 3), dtype="u1")
    more = {
        "SOPClassUID": SecondaryCaptureImageStorage, "Modality": "OT", "PixelSpacing": None, "RescaleSlope": None,
        "RescaleIntercept": None, "SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "BitsAllocated": 8,
        "BitsStored": 8, "HighBit": 7,
    }  # fmt: skip
    together = image(1, None, PlanarConfiguration=0, PixelData=colour.tobytes(), **more)
    apart = image(2, None, PlanarConfiguration=1, PixelData=np.moveaxis(colour, -1, 0).tobytes(), **more)
    ours = volume(write(tmp_path, [together, apart]))
    assert (ours.shape, ours.dims) == ((2, *SIDE, 3), ("z", "y", "x", "sample"))
    assert ours.array.dtype == np.uint8
    assert np.array_equal(ours.array[0], colour)
    assert np.array_equal(ours.array[1], colour)
    assert any("no position" in note for note in ours.notes)
    with pytest.raises(UsageError, match="colour"):
        ours.to_nifti()


# --- multi-frame ----------------------------------------------------------------------------------------------------


def enhanced(frames: int = 6, echoes: int = 2) -> Dataset:
    """An enhanced MR image: every place with each echo, frames in the order of echoes."""
    one = image(1, None, modality="MR", SOPClassUID=EnhancedMRImageStorage, PixelSpacing=None, SliceThickness=None,
                RescaleSlope=None, RescaleIntercept=None, NumberOfFrames=frames * echoes,
                PixelData=b"".join(pixels(n).tobytes() for n in range(frames * echoes)))  # fmt: skip
    shared, measures, plane = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.5], 2.5
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([plane])
    one.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for echo in range(echoes):
        for z in range(frames):
            group, position, values, mr = Dataset(), Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [0, 0, 3 * z]
            values.RescaleSlope, values.RescaleIntercept, values.RescaleType = echo + 1, 5, "US"
            mr.EffectiveEchoTime = 10.0 * (echo + 1)
            group.PlanePositionSequence, group.MREchoSequence = Sequence([position]), Sequence([mr])
            group.PixelValueTransformationSequence = Sequence([values])
            groups.append(group)
    one.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return one


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, RLELossless])
def test_enhanced_multi_frame(syntax: str, tmp_path: Path) -> None:
    one = enhanced()
    if syntax == RLELossless:
        compress(one, syntax, generate_instance_uid=False)
    else:
        one.file_meta.TransferSyntaxUID = syntax
    ours = volume(write(tmp_path, [one]))
    assert (ours.shape, ours.dims) == ((2, 6, *SIDE), ("EchoTime", "z", "y", "x"))
    assert ours.coords["EchoTime"].tolist() == [10.0, 20.0]
    assert ours.spacing_mm == (0.5, 0.8, 3.0)
    for echo in range(2):
        for z in range(6):
            assert np.array_equal(ours.array[echo, z], pixels(echo * 6 + z) * float(echo + 1) + 5)
    assert ours.frames["frame"].tolist() == list(range(12))


def test_fewer_functional_groups_than_frames(tmp_path: Path) -> None:
    one = enhanced(echoes=1)
    del one.PerFrameFunctionalGroupsSequence[4:]
    found = MediaSet(write(tmp_path, [one])).volumes(progress=False)
    assert sorted(len(one.frames) for one in found) == [2, 4]


def test_a_dose_grid(tmp_path: Path) -> None:
    dose = dcmread(data_folder() / "test_files" / "rtdose.dcm")
    ours = volume(write(tmp_path, [dose]))
    assert ours.unit == "RELATIVE"
    assert np.allclose(ours.array, dose.pixel_array * float(dose.DoseGridScaling))
    assert ours.spacing_mm == pytest.approx((10, 10, float(dose.GridFrameOffsetVector[1])))


@pytest.mark.parametrize(
    ("orientation", "offsets", "expected"),
    [
        ((1, 0, 0, 0, 1, 0), (0, 2, 4), (10, 12, 14)),
        ((1, 0, 0, 0, -1, 0), (0, 2, 4), (10, 8, 6)),
        ((1, 0, 0, 0, -1, 0), (10, 12, 14), (10, 12, 14)),  # those are the z of each plane, whatever the normal is
        ((1, 0, 0, 0, 0, 1), (10, 12, 14), (10, 10, 10)),  # and these can't be
    ],
)
def test_planes_of_a_dose_grid_by_offset_or_by_place(
    orientation: tuple[int, ...], offsets: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    dose = image(1, (0, 0, 10), orientation=orientation, modality="RTDOSE", NumberOfFrames=3, BitsStored=16, HighBit=15)
    dose.GridFrameOffsetVector, dose.DoseGridScaling, dose.PixelData = list(offsets), 0.5, pixels(1).tobytes() * 3
    (ours,) = MediaSet(write(tmp_path, [dose])).volumes(progress=False)
    assert dict(zip(ours.frames["frame"], ours.frames["z_mm"], strict=True)) == dict(enumerate(expected))


@pytest.mark.parametrize("syntax", [None, ExplicitVRBigEndian, JPEGLSLossless])
def test_a_modality_lut_in_place_of_slope_and_intercept(syntax: str | None, tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "SS", [4000, -8, 16])
    table.ModalityLUTType = "OD"
    table.add_new("LUTData", "OW", (np.arange(4000) * 3 + 7).astype("<u2").tobytes())
    more = {"RescaleSlope": None, "RescaleIntercept": None, "RescaleType": None, "PixelRepresentation": 1}
    images = [image(n, at, ModalityLUTSequence=[table], **more) for n, at in enumerate(line(3), 1)]
    for one in images:
        one.PixelData = (pixels(one.InstanceNumber) % 2000).tobytes()
        if syntax == JPEGLSLossless:
            compress(one, syntax, encoding_plugin="pyjpegls")
        if syntax == ExplicitVRBigEndian:
            one.file_meta.TransferSyntaxUID = syntax
            one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
    if syntax == ExplicitVRBigEndian:
        table.LUTData = np.frombuffer(table.LUTData, "<u2").astype(">u2").tobytes()
    ours = volume(write(tmp_path, images))
    stored = np.stack([pixels(n) % 2000 for n in (1, 2, 3)]).astype(int)
    assert np.array_equal(ours.array, np.clip(stored + 8, 0, 3999) * 3 + 7)
    assert (ours.unit, ours.rescale) == ("OD", None)
    assert np.array_equal(ours.to_numpy(None, progress=False), stored)


@pytest.mark.parametrize("descriptor", [[5000, 0, 16], [8, 0]])
def test_a_modality_lut_that_can_not_be(descriptor: list[int], tmp_path: Path) -> None:
    table = Dataset()
    table.add_new("LUTDescriptor", "US", descriptor)
    table.add_new("LUTData", "OW", bytes(64))
    write(tmp_path, [image(n, at, ModalityLUTSequence=[table]) for n, at in enumerate(line(2), 1)])
    with pytest.raises(UsageError, match="a Modality LUT"):
        volume(tmp_path)


def test_places_beyond_reason_are_none(tmp_path: Path) -> None:
    far = image(1, (0, 0, 0))
    far.ImageOrientationPatient = ["1e307"] * 6
    (ours,) = MediaSet(write(tmp_path, [far])).volumes(progress=False)
    assert ours.notes[0].startswith("no position and orientation")


def test_values_that_measure_nothing_say_so(tmp_path: Path) -> None:
    ours = volume(write(tmp_path, stack(count=2, PhotometricInterpretation="PALETTE COLOR")))
    assert any("PALETTE COLOR" in note for note in ours.notes)
    assert ours.without_duplicates().with_gaps_filled().notes == ours.notes


def test_luminance_and_chrominance_are_rgb_compressed_or_not(tmp_path: Path) -> None:
    more = {"SamplesPerPixel": 3, "PhotometricInterpretation": "YBR_FULL", "PlanarConfiguration": 0, "BitsAllocated": 8,
            "BitsStored": 8, "HighBit": 7, "RescaleSlope": None, "RescaleIntercept": None}  # fmt: skip
    red = bytes((76, 85, 255)) * (SIDE[0] * SIDE[1])
    plain, packed = (image(n, at, PixelData=red, **more) for n, at in enumerate(line(2), 1))
    apart = np.moveaxis(np.frombuffer(red, "u1").reshape(*SIDE, 3), -1, 0).tobytes()
    planes = image(3, line(3)[2], **more | {"PixelData": apart, "PlanarConfiguration": 1})
    compress(packed, RLELossless, encoding_plugin="pydicom")
    ours = volume(write(tmp_path, [plain, packed, planes]))
    assert np.abs(ours.array.astype(int) - (254, 0, 0)).max() <= 1


# --- hostile --------------------------------------------------------------------------------------------------------


def test_pixels_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, stack(count=2, Rows=4000))
    with pytest.raises(RemoteProtocolError, match=r"announces 320000 octets of pixels, 3840 are there"):
        volume(tmp_path)


def test_more_than_the_machine_has(tmp_path: Path) -> None:
    write(tmp_path, stack(count=2, Rows=65535, Columns=65535, NumberOfFrames=2000))
    with pytest.raises(UsageError, match=r"GiB of pixels, on a machine"):
        volume(tmp_path)


def test_a_codestream_of_another_size_is_not_decoded(tmp_path: Path) -> None:
    images = stack(count=1)
    compress(images[0], JPEG2000Lossless, generate_instance_uid=False)
    at = images[0].PixelData.index(b"\xff\x4f\xff\x51")
    octets = bytearray(images[0].PixelData)
    octets[at + 8 : at + 12] = (60_000).to_bytes(4, "big")
    images[0].PixelData = bytes(octets)
    write(tmp_path, images)
    with pytest.raises(RemoteProtocolError, match="a codestream of 48 rows and 60000 columns"):
        volume(tmp_path)


def test_broken_codestreams_and_files_that_went_away(tmp_path: Path) -> None:
    images = stack()
    for one in images:
        compress(one, RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    images[2].PixelData = (
        images[2].PixelData[:70] + b"\xff" * (len(images[2].PixelData) - 78) + images[2].PixelData[-8:]
    )
    media = MediaSet(write(tmp_path, images))
    with pytest.raises(RemoteProtocolError, match=r"can't be decoded"):
        media.volume(progress=False)
    found = MediaSet(write(tmp_path / "b", stack())).volumes(progress=False)[0]
    (tmp_path / "b" / "999.dcm").unlink()
    with pytest.raises(Interrupted, match="can't be read"):
        _ = found.array


def test_an_image_that_can_not_be_read_is_a_note(tmp_path: Path) -> None:
    images = stack()
    images[5].NumberOfFrames = 0
    found = MediaSet(write(tmp_path, images)).volumes(progress=False)
    assert found[0].shape[0] == 5
    assert any("1 images of the series can't be read" in note for note in found[0].notes)


def test_a_repr_reads_nothing(tmp_path: Path) -> None:
    found = MediaSet(write(tmp_path, stack())).volumes(progress=False)[0]
    for path in tmp_path.iterdir():
        path.unlink()
    assert "not read yet" in repr(found)
    assert "Volume^Test" not in repr(found) + found._repr_html_()


# --- who refers to it -----------------------------------------------------------------------------------------------


def test_segmentations_and_structures_say_where_they_belong(tmp_path: Path) -> None:
    segmentation = image(1, None, series="2.25.555", SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", Modality="SEG")
    series = Dataset()
    series.SeriesInstanceUID = SERIES
    segmentation.ReferencedSeriesSequence = Sequence([series])
    structures = image(2, None, series="2.25.556", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT",
                       FrameOfReferenceUID=None, PixelData=None)  # fmt: skip
    frame, study = Dataset(), Dataset()
    frame.FrameOfReferenceUID = "2.25.102"
    structures.ReferencedFrameOfReferenceSequence = Sequence([frame])
    elsewhere = image(3, None, series="2.25.557", SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT",
                      PixelData=None)  # fmt: skip
    gone = Dataset()
    gone.SeriesInstanceUID = "2.25.999"
    study.RTReferencedSeriesSequence = Sequence([gone])
    other = Dataset()
    other.RTReferencedStudySequence = Sequence([study])
    elsewhere.ReferencedFrameOfReferenceSequence = Sequence([other])
    media = MediaSet(write(tmp_path, [*stack(), segmentation, structures, elsewhere]))
    rows = media.references.sort_values("Modality")[["Modality", "ReferencedSeriesInstanceUID", "by", "present"]]
    assert sorted(map(tuple, rows.to_numpy().tolist())) == [
        ("RTSTRUCT", SERIES, "frame of reference", True), ("RTSTRUCT", "2.25.999", "series", False),
        ("SEG", SERIES, "series", True),
    ]  # fmt: skip
    found = media.volumes(SERIES)
    assert len(found) == 1
    assert sorted(found[0].references["Modality"]) == ["RTSTRUCT", "SEG"]
    assert [one.series_uid for one in media.volumes(progress=False)] == [SERIES]
