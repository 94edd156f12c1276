"""Instants and how they show on the wire. Numbers worked out by hand from IEEE 1588 and ST 2110-10."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import LocalProtocolError, RemoteProtocolError
from dicomlab.rtv import clock
from tests.unit.rtv.vectors import AT_NS


def test_a_ptp_timestamp_is_48_and_32_bits_in_network_order() -> None:
    assert clock.encode_ptp(AT_NS).hex() == "000069248125075bcd15"
    assert clock.decode_ptp(bytes.fromhex("000056a89f3b1c9c3800")) == 1_453_891_387_480_000_000
    assert clock.encode_ptp((1 << 32) * 10**9).hex() == "00010000000000000000"


def test_rtp_timestamps_of_the_same_instant() -> None:
    assert clock.rtp_timestamp(AT_NS, 90_000) == 832_211_767
    assert clock.rtp_timestamp(AT_NS, 48_000) == 1_016_508_581


def test_a_timestamp_wraps_at_two_to_the_32() -> None:
    wrap_ns = -(-(1 << 32) * 10**9 // 90_000)
    assert clock.rtp_timestamp(wrap_ns - 20_000, 90_000) == 0xFFFFFFFE
    assert clock.rtp_timestamp(wrap_ns, 90_000) == 0
    assert clock.unwrapped(3, (1 << 32) - 2) == (1 << 32) + 3
    assert clock.unwrapped(0xFFFFFFFE, (5 << 32) + 1) == (5 << 32) - 2


@given(st.integers(10**17, 10**19), st.sampled_from([90_000, 48_000, 44_100, 96_000]), st.integers(-(10**12), 10**12))
def test_an_instant_is_found_again_from_its_timestamp(at_ns: int, rate_hz: int, off_ns: int) -> None:
    found = clock.instant_of(clock.rtp_timestamp(at_ns, rate_hz), rate_hz, at_ns + off_ns)
    assert at_ns - 10**9 // rate_hz - 1 <= found <= at_ns
    assert clock.rtp_timestamp(found, rate_hz) == clock.rtp_timestamp(at_ns, rate_hz)


def test_fractional_rates_step_by_1501_and_1502_and_never_drift() -> None:
    rate = Fraction(60_000, 1001)
    first = clock.frame_number(AT_NS, rate)
    ticks = [clock.frame_time(first + n, rate) * 90_000 // 10**9 for n in range(6000)]
    assert {b - a for a, b in pairwise(ticks)} == {1501, 1502}
    assert [t - ticks[0] for t in ticks] == [
        (first + n) * 3003 // 2 - first * 3003 // 2 for n in range(6000)
    ]  # exactly 1501.5 each


@given(st.integers(0, 10**12), st.sampled_from([Fraction(60), Fraction(60_000, 1001), Fraction(25), Fraction(50)]))
def test_the_time_of_a_frame_gives_its_number_and_its_exact_timestamp(number: int, rate: Fraction) -> None:
    at_ns = clock.frame_time(number, rate)
    assert clock.frame_number(at_ns, rate) in (number, number + 1)
    assert clock.frame_number(at_ns - 1, rate) == number
    assert clock.rtp_timestamp(at_ns, 90_000) == number * 90_000 * rate.denominator // rate.numerator % (1 << 32)


def test_utc_is_37_seconds_behind() -> None:
    assert clock.dicom_datetime(AT_NS) == "20251124160000.123456+0000"
    assert clock.ntp_timestamp(AT_NS) == (1_764_000_000 + 2_208_988_800) << 32 | 530_242_871


@pytest.mark.parametrize("octets", ["", "000069248125075bcd", "0000692481253b9aca00"])
def test_what_is_no_ptp_timestamp(octets: str) -> None:
    with pytest.raises(RemoteProtocolError):
        clock.decode_ptp(bytes.fromhex(octets))


@pytest.mark.parametrize("at_ns", [-1, (1 << 48) * 10**9])
def test_what_can_not_be_encoded(at_ns: int) -> None:
    with pytest.raises(LocalProtocolError):
        clock.encode_ptp(at_ns)
