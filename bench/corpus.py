"""A seeded pile of mixed DICOM files, as a research folder has them: many makes, encodings and sizes, and some junk.

Of 20 files 11 are in Explicit VR Little Endian, 6 in Implicit VR, 2 in RLE, nearly 1 deflated, and a few in big endian.
Every tenth is a CT slice of 514 KiB, the others are around 37 KiB. Sequences of defined and of undefined length stand
before what a scan asks for; there are private groups as GE, Siemens (a block of 10 KB) and Philips (nested) write them,
four character sets, enhanced MR with 20 frames, RT structure sets with 120 contours, structured reports. One file in a
hundred is no DICOM.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom import Dataset, Sequence
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

ROOT = "2.25.3141592653589793"
STORAGE = "1.2.840.10008.5.1.4.1.1"
CLASSES = {
    "CT": f"{STORAGE}.2",
    "MR": f"{STORAGE}.4",
    "PT": f"{STORAGE}.128",
    "US": f"{STORAGE}.6.1",
    "CR": f"{STORAGE}.1",
    "EMR": f"{STORAGE}.4.1",
    "RTSTRUCT": f"{STORAGE}.481.3",
    "SR": f"{STORAGE}.88.33",
}
KINDS = (
    "CT", "MR", "MR", "PT", "CT", "US", "MR", "CR", "CT", "PT",
    "CT", "MR", "EMR", "MR", "RTSTRUCT", "CT", "SR", "MR", "PT", "CT",
)  # fmt: skip
NAMES = ("Müller^Jörg", "Yamada^Tarou=山田^太郎=やまだ^たろう", "Люкceмбypг", "Smith^John^^Dr")
CHARSETS = ("ISO_IR 100", ["", "ISO 2022 IR 87"], "ISO_IR 144", None)
MAKERS = ("GE MEDICAL SYSTEMS", "SIEMENS", "Philips", "TOSHIBA")
SERIES_FILES = 40


def write_corpus(folder: Path, files: int, seed: int = 0) -> int:
    """Write the pile below `folder`; give the number of files, junk included."""
    noise = np.random.default_rng(seed)
    junk = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's opinion of names that are no CS
        for series, start in enumerate(range(0, files, SERIES_FILES)):
            place = folder / f"P{series // 12:03}" / f"ST{series // 4:03}" / f"SE{series:03}"
            place.mkdir(parents=True)
            template = _template(series, noise)
            for number in range(min(SERIES_FILES, files - start)):
                _instance(template, series, number, noise)
                template.save_as(place / f"IM{number:05}", enforce_file_format=True)
            if series % 5 == 0:
                for name, octets in _junk(noise):
                    (place / name).write_bytes(octets)
                    junk += 1
    return files + junk


def _junk(noise: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    yield "README.TXT", b"Viewer for Windows 95. Insert disc.\r\n" * 20
    yield "thumbs.db", noise.bytes(5000)


def _template(series: int, noise: np.random.Generator) -> Dataset:
    kind = KINDS[series % len(KINDS)]
    syntax = _syntax(series)
    patient, study, maker = series // 12, series // 4, MAKERS[series % 4]
    ds = Dataset()
    if charset := CHARSETS[patient % 4]:
        ds.SpecificCharacterSet = charset
    ds.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL", "OTHER"]
    ds.InstanceCreationDate, ds.InstanceCreationTime = "20240301", "101500.123456"
    ds.SOPClassUID = CLASSES[kind]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = f"2024{series % 12 + 1:02}15"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "101500.000000"
    ds.AccessionNumber, ds.Modality, ds.Manufacturer = f"A{study:06}", kind.removeprefix("E"), maker
    ds.InstitutionName, ds.ReferringPhysicianName, ds.StationName = (
        "Hospital of Numbers",
        "Referrer^Some",
        f"ST{series % 7}",
    )
    ds.StudyDescription, ds.SeriesDescription = f"Study {study} of the thorax", f"Series {series} {kind}"
    ds.ManufacturerModelName, ds.PerformingPhysicianName, ds.OperatorsName = "Model 7", "Doe^Jane", "Op^One"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "113014", "DCM", "Study"
    ds.ProcedureCodeSequence = Sequence([code])
    ds.ReferencedImageSequence = Sequence([])
    for number in range(3):
        reference = Dataset()
        reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = (
            CLASSES["CT"],
            f"{ROOT}.9.{series}.{number}",
        )
        ds.ReferencedImageSequence.append(reference)
    if series % 2:
        ds["ReferencedImageSequence"].is_undefined_length = True
        for item in ds.ReferencedImageSequence:
            item.is_undefined_length_sequence_item = True
    _private(ds, maker, noise)
    ds.PatientName, ds.PatientID = NAMES[patient % 4], f"PAT{patient:05}"
    ds.PatientBirthDate, ds.PatientSex, ds.PatientAge, ds.PatientWeight = "19600401", "MF"[patient % 2], "064Y", "77.5"
    ds.BodyPartExamined, ds.ProtocolName, ds.PatientPosition = "CHEST", f"Protocol {series % 9}", "HFS"
    ds.SliceThickness, ds.KVP, ds.DeviceSerialNumber, ds.SoftwareVersions = "1.25", "120", "SN-0815", "v 1.2.3"
    ds.DataCollectionDiameter = ds.ReconstructionDiameter = "500"
    ds.GantryDetectorTilt, ds.TableHeight, ds.ExposureTime, ds.XRayTubeCurrent = "0", "150.5", "800", "220"
    ds.ConvolutionKernel, ds.FilterType, ds.RotationDirection = "STANDARD", "BODY", "CW"
    ds.EchoTime, ds.RepetitionTime, ds.FlipAngle, ds.MagneticFieldStrength = "2.5", "500", "90", "3"
    ds.StudyInstanceUID, ds.SeriesInstanceUID = f"{ROOT}.1.{study}", f"{ROOT}.2.{series}"
    ds.StudyID, ds.SeriesNumber, ds.AcquisitionNumber = str(study), str(series % 12 + 1), "1"
    ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = f"{ROOT}.3.{study}", "SN"
    ds.RequestedProcedureDescription = "Thorax"
    step = Dataset()
    step.ScheduledProcedureStepID, step.ScheduledProcedureStepDescription, step.RequestedProcedureID = (
        "S1",
        "Scan",
        "R1",
    )
    ds.RequestAttributesSequence = Sequence([step])
    ds.PerformedProcedureStepStartDate, ds.PerformedProcedureStepStartTime = "20240301", "1015"
    ds.PerformedProcedureStepID, ds.PerformedProcedureStepDescription = "PPS1", "Thorax"
    {"EMR": _enhanced, "RTSTRUCT": _structures, "SR": _report}.get(kind, _image)(ds, series, syntax, noise)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.ImplementationVersionName = "CORPUS_1"
    return ds


def _syntax(series: int) -> UID:
    place = series % 120
    if KINDS[series % len(KINDS)] in ("RTSTRUCT", "SR", "EMR"):
        return ExplicitVRLittleEndian if place % 2 else ImplicitVRLittleEndian
    if place == 119:
        return ExplicitVRBigEndian
    if place % 24 == 5:
        return DeflatedExplicitVRLittleEndian
    if place % 11 == 3:
        return RLELossless
    return ImplicitVRLittleEndian if place % 10 in (1, 4, 7) else ExplicitVRLittleEndian


def _private(ds: Dataset, maker: str, noise: np.random.Generator) -> None:
    if maker.startswith("GE"):
        block = ds.private_block(0x0009, "GEMS_IDEN_01", create=True)
        for element in range(1, 20):
            block.add_new(element, "LO", f"private {element}")
    elif maker == "SIEMENS":
        ds.private_block(0x0029, "SIEMENS CSA HEADER", create=True).add_new(0x10, "OB", b"SV10" + noise.bytes(10_236))
    elif maker == "Philips":
        inner = Dataset()
        inner.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(0x30, "FL", [1.0, 2.0])
        inner.CodeMeaning = "nested"
        outer = Dataset()
        outer.private_block(0x2005, "Philips MR Imaging DD 005", create=True).add_new(
            0x2, "SQ", Sequence([inner, inner])
        )
        ds.private_block(0x2005, "Philips MR Imaging DD 001", create=True).add_new(0x10, "SQ", Sequence([outer, outer]))


def _image(ds: Dataset, series: int, syntax: UID, noise: np.random.Generator) -> None:
    side = 512 if series % 10 == 0 else 128
    colour = ds.Modality == "US" and syntax != RLELossless
    ds.SamplesPerPixel, ds.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    ds.Rows = ds.Columns = side
    ds.PixelSpacing, ds.SpacingBetweenSlices = ["0.703125", "0.703125"], "1.25"
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = (8, 8, 7) if colour else (16, 12, 11)
    ds.PixelRepresentation, ds.WindowCenter, ds.WindowWidth = 0, "40", "400"
    ds.RescaleIntercept, ds.RescaleSlope, ds.RescaleType = "-1024", "1", "HU"
    ds.LossyImageCompression = "00"
    pixels = noise.integers(0, 4096, (side, side), dtype=np.uint16)
    octets = pixels.tobytes() if not colour else noise.bytes(side * side * 3)
    if syntax == RLELossless:
        from pydicom.pixels import get_encoder

        smooth = np.repeat(pixels[:, ::16], 16, axis=1)
        options = {"rows": side, "columns": side, "samples_per_pixel": 1, "bits_allocated": 16, "bits_stored": 12}
        more = {"pixel_representation": 0, "photometric_interpretation": "MONOCHROME2", "number_of_frames": 1}
        encoded = next(get_encoder(RLELossless).iter_encode(smooth, **options, **more))
        octets = encapsulate([encoded])
    if syntax == ExplicitVRBigEndian:
        octets = pixels.byteswap().tobytes()
    ds.add_new("PixelData", "OB" if colour or syntax == RLELossless else "OW", octets)
    ds["PixelData"].is_undefined_length = syntax == RLELossless


def _enhanced(ds: Dataset, series: int, syntax: UID, noise: np.random.Generator) -> None:
    _image(ds, 1, ExplicitVRLittleEndian, noise)
    ds.NumberOfFrames = "20"
    ds.Rows = ds.Columns = 32
    ds.PixelData = noise.bytes(20 * 32 * 32 * 2)
    frames = []
    for number in range(20):
        frame, plane, measures = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = ["0", "0", str(number)]
        measures.PixelSpacing, measures.SliceThickness = ["1", "1"], "1"
        frame.PlanePositionSequence, frame.PixelMeasuresSequence = Sequence([plane]), Sequence([measures])
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = Sequence(frames)
    ds["PerFrameFunctionalGroupsSequence"].is_undefined_length = True


def _structures(ds: Dataset, series: int, syntax: UID, noise: np.random.Generator) -> None:
    ds.StructureSetLabel, ds.StructureSetDate, ds.StructureSetTime = "RS", "20240301", "101500"
    contours = []
    for _ in range(120):
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", "20"
        contour.ContourData = [f"{value:.2f}" for value in noise.uniform(0, 100, 60)]
        contours.append(contour)
    roi = Dataset()
    roi.ReferencedROINumber, roi.ContourSequence = "1", Sequence(contours)
    if series % 2:
        roi["ContourSequence"].is_undefined_length = True
        for contour in contours:
            contour.is_undefined_length_sequence_item = True
    ds.ROIContourSequence = Sequence([roi])


def _report(ds: Dataset, series: int, syntax: UID, noise: np.random.Generator) -> None:
    ds.CompletionFlag, ds.VerificationFlag, ds.ValueType = "COMPLETE", "UNVERIFIED", "CONTAINER"
    ds.ContinuityOfContent = "SEPARATE"
    items = []
    for number in range(30):
        item, name = Dataset(), Dataset()
        name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121071", "DCM", "Finding"
        item.RelationshipType, item.ValueType, item.TextValue = "CONTAINS", "TEXT", f"Finding {number} " * 5
        item.ConceptNameCodeSequence = Sequence([name])
        items.append(item)
    ds.ContentSequence = Sequence(items)


def _instance(ds: Dataset, series: int, number: int, noise: np.random.Generator) -> None:
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = UID(f"{ROOT}.4.{series}.{number + 1}")
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.InstanceNumber = str(number + 1)
    if "PixelSpacing" in ds:
        ds.ImagePositionPatient = ["-180", "-180", f"{number * 1.25:.2f}"]
        ds.ImageOrientationPatient = ["1", "0", "0", "0", "1", "0"]
        ds.SliceLocation = f"{number * 1.25:.2f}"
