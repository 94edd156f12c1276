"""The Native DICOM Model: what is written is read again as it was, hostile documents are refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError
from dicomlab.web.xml_model import NAMESPACE, from_xml, to_xml

NAMED = {
    "empty": {"00100010": {"vr": "PN"}},
    "empty sequence": {"00081115": {"vr": "SQ"}},
    "empty item": {"00081115": {"vr": "SQ", "Value": [{}, {"00080060": {"vr": "CS", "Value": ["CT"]}}]}},
    "gaps": {"00080008": {"vr": "CS", "Value": ["ORIGINAL", None, "AXIAL", None]}},
    "a name in three groups": {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ"}]}
    },
    "names": {"00081048": {"vr": "PN", "Value": [{"Alphabetic": "Doe^^"}, None, {"Ideographic": "^^^^^^x"}]}},
    "numbers": {
        "0020930F": {"vr": "SL", "Value": [-(2**31)]},
        "00080063": {"vr": "UV", "Value": [2**64 - 1, 0]},
        "00189073": {"vr": "FD", "Value": [1.5, -0.0, 1e300, 0.1]},
    },
    "not finite": {"00189073": {"vr": "FD", "Value": [math.inf, -math.inf, 1.0]}},
    "text of decimals": {"00180050": {"vr": "DS", "Value": ["1.20E+02", "0012", 1.5, 7]}},
    "binary": {"00091010": {"vr": "UN", "InlineBinary": "AAEC"}, "7FE00010": {"vr": "OW", "BulkDataURI": "../x?a=1&b=<"}},
    "markup and blanks": {"00104000": {"vr": "LT", "Value": ["  <b>&amp; \"x\"\r\n\tend \r"]}},
    "no XML": {"00104000": {"vr": "LT", "Value": ["page\x0cnext\x1b\\"]}, "00080008": {"vr": "CS", "Value": ["A\x01", None, "C"]}},
    "private": {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00090011": {"vr": "LO", "Value": ["Other & Co"]},
        "00091101": {"vr": "UN", "InlineBinary": "AA=="},
        "00091001": {"vr": "LO", "Value": ["x"]},
    },
    "private twice": {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00090011": {"vr": "LO", "Value": ["ACME"]},
        "00091101": {"vr": "LO", "Value": ["x"]},
    },
    "a tag": {"00280009": {"vr": "AT", "Value": ["00181063"]}},
}  # fmt: skip


@pytest.mark.parametrize("model", NAMED.values(), ids=NAMED)
def test_round_trip(model: dict[str, Any]) -> None:
    assert from_xml(to_xml(model)) == dict(sorted(model.items()))


def test_not_a_number_stays_none() -> None:
    (value,) = from_xml(to_xml({"00189073": {"vr": "FD", "Value": [math.nan]}}))["00189073"]["Value"]
    assert math.isnan(value)


def test_as_the_standard_writes_it() -> None:
    model = {
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": "Wang^XiaoDong", "Ideographic": "王^小東"}]},
        "00091002": {"vr": "LO", "Value": ["v"]},
        "00090010": {"vr": "LO", "Value": ["ACME"]},
    }
    assert to_xml(model).decode() == (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<NativeDicomModel xmlns="{NAMESPACE}" xml:space="preserve">'
        '<DicomAttribute tag="00090010" vr="LO"><Value number="1">ACME</Value></DicomAttribute>'
        '<DicomAttribute tag="00090002" privateCreator="ACME" vr="LO"><Value number="1">v</Value></DicomAttribute>'
        '<DicomAttribute tag="00100010" keyword="PatientName" vr="PN"><PersonName number="1">'
        "<Alphabetic><FamilyName>Wang</FamilyName><GivenName>XiaoDong</GivenName></Alphabetic>"
        "<Ideographic><FamilyName>王</FamilyName><GivenName>小東</GivenName></Ideographic></PersonName></DicomAttribute>"
        "</NativeDicomModel>"
    )


def document(inside: str) -> bytes:
    return f'<NativeDicomModel xmlns="{NAMESPACE}">{inside}</NativeDicomModel>'.encode()


def test_what_others_write_is_read() -> None:
    plain = b'<NativeDicomModel>\n <DicomAttribute tag="00100020" vr="LO">\n  <Value>7</Value>\n </DicomAttribute></NativeDicomModel>'
    assert from_xml(plain) == {"00100020": {"vr": "LO", "Value": ["7"]}}
    assert from_xml(
        document('<DicomAttribute tag="00080008" vr="CS"><Value number="3">C</Value></DicomAttribute>')
    ) == {"00080008": {"vr": "CS", "Value": [None, None, "C"]}}
    assert from_xml(document('<DicomAttribute tag="7fe00010" vr="OW"><BulkData uuid="a-b"/></DicomAttribute>')) == {
        "7FE00010": {"vr": "OW", "BulkDataURI": "urn:uuid:a-b"}
    }
    private = document(
        '<DicomAttribute tag="00090002" vr="LO" privateCreator="ACME"><Value number="1">x</Value></DicomAttribute>'
    )
    assert from_xml(private) == {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00091002": {"vr": "LO", "Value": ["x"]},
    }


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{}",
        b"<html/>",
        b"<NativeDicomModel>",
        document('<DicomAttribute tag="x" vr="LO"/>'),
        document('<Value number="1">x</Value>'),
        document("<Item/>"),
        document('<DicomAttribute tag="00100020" vr="LO"><Value number="9999999">x</Value></DicomAttribute>'),
        document('<DicomAttribute tag="00100020" vr="LO"><InlineBinary>§</InlineBinary></DicomAttribute>'),
        document('<DicomAttribute tag="00081115" vr="SQ"><Item number="1">' * 100),
        b'<!DOCTYPE x [<!ENTITY a "b">]><NativeDicomModel>&a;</NativeDicomModel>',
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
    ],
)
def test_what_is_none_is_refused(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        from_xml(octets)


TEXT = st.text(max_size=12).filter(lambda t: not any(0xD800 <= ord(c) < 0xE000 for c in t))
VALUES = {
    "LO": TEXT.filter(lambda t: "\\" not in t and t != ""),
    "UT": TEXT.filter(lambda t: t != ""),
    "FD": st.floats(allow_nan=False),
    "US": st.integers(0, 65535),
    "SV": st.integers(-(2**63), 2**63 - 1),
}


@st.composite
def elements(draw: Any) -> dict[str, Any]:
    vr = draw(st.sampled_from([*VALUES, "PN", "OB"]))
    if vr == "OB":
        return {"vr": vr, "InlineBinary": draw(st.sampled_from(["", "AA==", "AAEC"]))}
    if vr == "PN":
        part = st.text(st.characters(categories=["L"]), max_size=4)
        name = st.lists(part, min_size=1, max_size=7).map("^".join)
        return {"vr": vr, "Value": [{"Alphabetic": draw(name)}]}
    count = 1 if vr == "UT" else 3
    return {
        "vr": vr,
        "Value": draw(st.lists(VALUES[vr] | st.none() if count > 1 else VALUES[vr], min_size=1, max_size=count)),
    }


TAGS = st.integers(0x00080000, 0x7FDFFFFF).map(lambda n: f"{n & ~0x10000:08X}")
MODELS = st.recursive(
    st.dictionaries(TAGS, elements(), max_size=4),
    lambda inner: st.dictionaries(
        TAGS, st.lists(inner, min_size=1, max_size=2).map(lambda v: {"vr": "SQ", "Value": v}), max_size=2
    ),
    max_leaves=6,
)


@given(MODELS)
def test_any_model_comes_back(model: dict[str, Any]) -> None:
    assert json.dumps(from_xml(to_xml(model)), sort_keys=True) == json.dumps(model, sort_keys=True)


@given(st.binary(max_size=200))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    for one in (octets, document("") + octets, document("<DicomAttribute>").replace(b"</", octets)):
        try:
            from_xml(one)
        except RemoteProtocolError:
            continue
