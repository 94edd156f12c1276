"""Images whose pixels are known, and reports: what a rendering must show is worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydicom import Dataset, Sequence

from tests.unit.dimse.holdings import SC, SR, instance


def image(array: Any, photometric: str = "MONOCHROME2", number: int = 100, **attributes: Any) -> Dataset:
    """An instance with those pixels: (frames,) rows, columns(, 3)."""
    colour = array.ndim >= 3 and array.shape[-1] == 3
    shape = array.shape[:-1] if colour else array.shape
    dataset = instance(number, sop_class=SC, modality="OT")
    dataset.Rows, dataset.Columns = shape[-2:]
    if len(shape) == 3:
        dataset.NumberOfFrames = shape[0]
    bits = array.dtype.itemsize * 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(array.dtype.kind == "i")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 3 if colour else 1, photometric
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.PixelData = array.tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def ramp(columns: int = 256, rows: int = 4) -> Any:
    """Values 0, 1, 2, ... from left to right."""
    return np.tile(np.arange(columns, dtype="<i2"), (rows, 1))


def report(text: str = "No <b>finding</b>", number: int = 200) -> Dataset:
    """A structured report with a hostile text in it."""
    dataset = instance(number, sop_class=SR, modality="SR")
    del dataset.PixelData
    title = Dataset()
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "1", "99X", "Chest <script>alert(1)</script>"
    inside, measured, unit = Dataset(), Dataset(), Dataset()
    inside.ValueType, inside.TextValue, inside.ConceptNameCodeSequence = "TEXT", text, Sequence([title])
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "mm", "UCUM", "millimeter"
    value = Dataset()
    value.NumericValue, value.MeasurementUnitsCodeSequence = "12.5", Sequence([unit])
    measured.ValueType, measured.MeasuredValueSequence = "NUM", Sequence([value])
    dataset.ConceptNameCodeSequence = Sequence([title])
    dataset.ContentSequence = Sequence([inside, measured])
    return dataset
