"""The table of directory records."""

from __future__ import annotations

import pytest
from pydicom.datadict import dictionary_VR

from dicomlab.media.records import KEYS, SEQUENCES, keywords, record_type
from dicomlab.model.columns import columns

ROOT = "1.2.840.10008.5.1.4.1.1."


@pytest.mark.parametrize(
    ("rest", "kind"),
    [
        ("2", "IMAGE"), ("2.1", "IMAGE"), ("4", "IMAGE"), ("4.2", "SPECTROSCOPY"), ("66", "RAW DATA"),
        ("66.1", "REGISTRATION"), ("66.2", "FIDUCIAL"), ("66.4", "IMAGE"), ("66.5", "SURFACE"), ("67", "VALUE MAP"),
        ("9.1.1", "WAVEFORM"), ("11.1", "PRESENTATION"), ("88.33", "SR DOCUMENT"), ("88.59", "KEY OBJECT DOC"),
        ("88.5", "SR DOCUMENT"), ("104.1", "ENCAP DOC"), ("481.1", "IMAGE"), ("481.2", "RT DOSE"),
        ("481.3", "RT STRUCTURE SET"), ("481.4", "RT TREAT RECORD"), ("481.5", "RT PLAN"), ("481.10", "RADIOTHERAPY"),
        ("481.23", "IMAGE"), ("30", "IMAGE"), ("77.1.5.3", "STEREOMETRIC"), ("77.1.5.4", "IMAGE"),
        ("78.1", "MEASUREMENT"), ("78.6", "SR DOCUMENT"), ("91.1", "ANNOTATION"), ("128", "IMAGE"), ("90.1", "ASSESSMENT"),
    ],
)  # fmt: skip
def test_record_type(rest: str, kind: str) -> None:
    assert record_type(ROOT + rest) == kind
    assert kind in KEYS


def test_other_sop_classes() -> None:
    assert record_type("1.2.840.10008.5.1.4.34.7") == "PLAN"
    assert record_type("1.2.3.4 made up by somebody") == "IMAGE"


def test_every_key_is_an_attribute_that_can_be_read() -> None:
    assert len(columns(keywords())) == len(list(keywords()))
    assert all(need in (1, 2, 3) for keys in KEYS.values() for _, need in keys)
    assert set(SEQUENCES) <= set(KEYS)
    for name, _ in (pair for pairs in SEQUENCES.values() for pair in pairs):
        assert dictionary_VR(name) == "SQ"
