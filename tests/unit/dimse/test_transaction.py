"""What storage commitment asks and reports."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filereader import read_dataset

from dicomlab.dimse.transaction import Result, Transaction
from dicomlab.errors import RemoteProtocolError

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
BOTH = ((CT, "1.2.3.1"), (MR, "1.2.3.2"))


def pydicoms(octets: bytes, syntax: str) -> Dataset:
    return read_dataset(BytesIO(octets), is_implicit_VR=syntax == IMPLICIT, is_little_endian=True)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_request_is_read_by_others(syntax: str) -> None:
    octets = Transaction("1.2.9", BOTH).encode(syntax)
    theirs = pydicoms(octets, syntax)
    assert theirs.TransactionUID == "1.2.9"
    pairs = [(one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID) for one in theirs.ReferencedSOPSequence]
    assert tuple(pairs) == BOTH
    assert Transaction.decode(octets, syntax) == Transaction("1.2.9", BOTH)


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT])
def test_a_result_is_read_by_others(syntax: str) -> None:
    result = Result("1.2.9", BOTH[:1], {BOTH[1]: 0x0112})
    octets = result.encode(syntax)
    theirs = pydicoms(octets, syntax)
    assert result.event_type == 2
    assert [one.ReferencedSOPInstanceUID for one in theirs.ReferencedSOPSequence] == ["1.2.3.1"]
    assert [one.FailureReason for one in theirs.FailedSOPSequence] == [0x0112]
    assert Result.decode(octets, syntax) == result


def test_all_is_well_without_a_failed_sequence() -> None:
    result = Result("1.2.9", BOTH, {})
    assert result.event_type == 1
    assert "FailedSOPSequence" not in pydicoms(result.encode(EXPLICIT), EXPLICIT)


def test_a_failure_without_a_reason_is_a_failure() -> None:
    answer = Dataset()
    answer.TransactionUID = "1.2.9"
    failed = Dataset()
    failed.ReferencedSOPClassUID, failed.ReferencedSOPInstanceUID = CT, "1.2.3.1"
    answer.FailedSOPSequence = [failed]
    buffer = BytesIO()
    answer.save_as(buffer, implicit_vr=False, little_endian=True)
    assert Result.decode(buffer.getvalue(), EXPLICIT) == Result("1.2.9", (), {(CT, "1.2.3.1"): 0x0110})


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        Transaction("", BOTH).encode(EXPLICIT),
        Transaction("1.2\nroot: all is well", BOTH).encode(EXPLICIT),
        Transaction("1.2", ()).encode(EXPLICIT),
    ],
)
def test_what_is_no_request(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="Transaction UID"):
        Transaction.decode(octets, EXPLICIT)


@pytest.mark.parametrize("octets", [b"", Result("x", BOTH, {}).encode(EXPLICIT)])
def test_what_is_no_result(octets: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match="Transaction UID"):
        Result.decode(octets, EXPLICIT)


@given(st.binary(max_size=200))
def test_no_octets_fail_in_another_way(octets: bytes) -> None:
    for syntax in (IMPLICIT, EXPLICIT):
        with suppress(RemoteProtocolError):
            Transaction.decode(octets, syntax)
        with suppress(RemoteProtocolError):
            Result.decode(octets, syntax)
