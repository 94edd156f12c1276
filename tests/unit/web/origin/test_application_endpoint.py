"""``WebEndpoint`` and the origin server: everything that the one asks for, the other gives, octet for octet."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import RLELossless

from dicomlab import Archive
from dicomlab.model.instance import Instance
from dicomlab.part10.files import Parcel, parcel_of_file
from dicomlab.part10.meta import EXPLICIT_LE
from dicomlab.samples import real_files
from dicomlab.web.datasets import UNCOMPRESSED
from dicomlab.web.wadl import methods

REAL = {p.meta.sop_instance_uid: p for p in map(parcel_of_file, real_files()) if isinstance(p, Parcel)}


@pytest.fixture(scope="module")
def archive() -> Iterator[Archive]:
    with Archive(web_port=None) as archive:
        archive.add(real_files(), progress=False).raise_for_failures()
        yield archive


@pytest.fixture(scope="module")
def instances(archive: Archive) -> dict[str, Instance]:
    return {i.sop_instance_uid: i for i in archive.web.find("instance", progress=False).instances()}


def images() -> Iterator[tuple[str, Parcel, Any]]:
    for uid, parcel in REAL.items():
        dataset = dcmread(str(parcel.path))
        if "PixelData" in dataset and dataset.BitsAllocated >= 8:
            yield uid, parcel, dataset


def test_frames_as_stored_and_pixel_data(archive: Archive, instances: Any) -> None:
    compared = 0
    for uid, parcel, dataset in images():
        count = int(dataset.get("NumberOfFrames") or 1)
        if parcel.meta.transfer_syntax_uid not in UNCOMPRESSED:
            expected = list(generate_frames(dataset.PixelData, number_of_frames=count))
            found = archive.web.frames(instances[uid], range(1, count + 1))
            assert [bytes(one.octets) for one in found] == expected, uid
        elif parcel.meta.transfer_syntax_uid == EXPLICIT_LE:
            (value,) = archive.web.pixeldata(instances[uid])
            assert bytes(value.octets) == dataset.PixelData, uid
        compared += 1
    assert compared > 30


def test_metadata_with_bulk_values_are_the_data_sets_again_and_compressed_pixels_are_native(
    archive: Archive, instances: Any
) -> None:
    compared = 0
    for uid, parcel, dataset in images():
        compressed = parcel.meta.transfer_syntax_uid not in UNCOMPRESSED
        if dataset.SamplesPerPixel == 1 and (not compressed or parcel.meta.transfer_syntax_uid == RLELossless):
            (made,) = archive.web.metadata(instances[uid]).datasets(bulk=True)
            expected = dataset.PixelData
            if compressed:
                dataset.decompress(generate_instance_uid=False)
                compared += int(dataset.get("NumberOfFrames") or 1)
                expected = dataset.PixelData
            elif not dataset.original_encoding[1] and dataset.BitsAllocated == 16:
                expected = np.frombuffer(expected, ">u2").astype("<u2").tobytes()
            assert made.PixelData == expected, uid
    assert compared > 3


def test_metadata_in_both_forms(archive: Archive, instances: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for uid, parcel in list(REAL.items())[::7]:
            as_json, as_xml = (archive.web.metadata(instances[uid], form=form) for form in ("json", "xml"))
            assert as_json.json == as_xml.json
            (dataset,) = as_json.datasets()
            assert dataset.SOPInstanceUID == dcmread(str(parcel.path)).SOPInstanceUID == uid


def test_rendered_and_thumbnails_and_wado_uri(archive: Archive, instances: Any) -> None:
    shown = 0
    for uid, parcel, dataset in images():
        if parcel.meta.transfer_syntax_uid != EXPLICIT_LE or "NumberOfFrames" in dataset:
            continue
        (part,) = archive.web.rendered(instances[uid], viewport=(64, 64), media_type="image/png")
        assert max(Image.open(BytesIO(part.octets)).size) == 64
        (small,) = archive.web.thumbnail(instances[uid])
        assert max(Image.open(BytesIO(small.octets)).size) <= 128
        whole = archive.web.wado_uri(instances[uid], media_type="image/jpeg")
        assert np.asarray(Image.open(BytesIO(whole.octets))).shape[:2] == (dataset.Rows, dataset.Columns)
        shown += 1
    assert shown > 5


def test_capabilities_and_deletion(archive: Archive) -> None:
    from dicomlab.web.origin.capabilities import RESOURCES, WADL, capabilities

    told = methods(capabilities(WADL, "http://a"))
    assert set(told) == {(one.method, path.rstrip("/") or "/") for path, some in RESOURCES.items() for one in some}
    with Archive(web_port=None) as other:
        other.add(real_files(), progress=False)
        before = len(other)
        one = next(iter(other.web.find("instance", progress=False).instances()))
        assert other.web.delete(one, confirm=1).count("done") == 1
        assert len(other) == before - 1
