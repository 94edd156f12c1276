"""Time on the wire: TAI in nanoseconds, PTP timestamps, RTP timestamps of media clocks. No I/O, no clock is read here.

Instants are whole nanoseconds since 1970-01-01T00:00:00 TAI, the epoch of IEEE 1588 and of ST 2059.

Source
------
PS3.3 §C.7.6.27.1.1 (Frame Origin Timestamp); SMPTE ST 2110-10 §7 (RTP clock); RFC 3550 §4 (NTP timestamp), §5.1.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from struct import Struct

from dicomlab.errors import LocalProtocolError, RemoteProtocolError

NS_PER_S = 1_000_000_000
TAI_MINUS_UTC_S = 37
"""Since 2017; no later leap second is known."""
PTP_OCTETS = 10

_PTP = Struct(">HLL")
_NTP_EPOCH_S = 2_208_988_800
"""From 1900, the epoch of NTP, to 1970."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S = int((datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH).total_seconds())
"""No calendar that DICOM knows goes further (PS3.5 §6.2, DT)."""
_WRAP = 1 << 32


def encode_ptp(at_ns: int) -> bytes:
    """Encode an instant as 48 bits of seconds and 32 bits of nanoseconds, in network order.

    Raises
    ------
    LocalProtocolError
        Before 1970, or beyond 48 bits of seconds.

    Source
    ------
    IEEE 1588-2008 §5.3.3; PS3.3 §C.7.6.27.1.1.
    """
    seconds, nanoseconds = divmod(at_ns, NS_PER_S)
    if not 0 <= seconds < 1 << 48:
        raise LocalProtocolError(f"{at_ns} ns is no PTP time", section="IEEE 1588 §5.3.3")
    return _PTP.pack(seconds >> 32, seconds & 0xFFFFFFFF, nanoseconds)


def decode_ptp(octets: bytes | bytearray | memoryview) -> int:
    """Decode ten octets as an instant.

    Raises
    ------
    RemoteProtocolError
        Not ten octets, a second of more than 999,999,999 nanoseconds, or beyond the year 9999.

    Source
    ------
    IEEE 1588-2008 §5.3.3; PS3.3 §C.7.6.27.1.1.
    """
    if len(octets) != PTP_OCTETS:
        raise RemoteProtocolError(f"a PTP timestamp of {len(octets)} octets, not 10", section="IEEE 1588 §5.3.3")
    high, low, nanoseconds = _PTP.unpack(octets)
    if nanoseconds >= NS_PER_S:
        raise RemoteProtocolError(f"{nanoseconds} nanoseconds in one second", section="IEEE 1588 §5.3.3", offset=6)
    seconds = int(high << 32 | low)
    if seconds > _LAST_S:
        raise RemoteProtocolError(f"{seconds} seconds: beyond the year 9999", section="IEEE 1588 §5.3.3", offset=0)
    return seconds * NS_PER_S + int(nanoseconds)


def rtp_timestamp(at_ns: int, rate_hz: int) -> int:
    """Give the RTP timestamp of an instant: ticks of the media clock since the epoch, rounded down, modulo 2^32.

    Source
    ------
    SMPTE ST 2110-10 §7.3; RFC 7273 (``mediaclk:direct=0``).
    """
    return at_ns * rate_hz // NS_PER_S % _WRAP


def unwrapped(timestamp: int, near: int) -> int:
    """Give the tick count that shows as `timestamp` on 32 bits and is nearest to the tick count `near`.

    Source
    ------
    RFC 3550 §5.1.
    """
    return near + (timestamp - near + (_WRAP >> 1)) % _WRAP - (_WRAP >> 1)


def instant_of(timestamp: int, rate_hz: int, near_ns: int) -> int:
    """Give the earliest instant with that RTP timestamp, of those the one nearest to `near_ns`.

    Source
    ------
    SMPTE ST 2110-10 §7.3.
    """
    ticks = unwrapped(timestamp, near_ns * rate_hz // NS_PER_S)
    return -(-ticks * NS_PER_S // rate_hz)


def frame_time(number: int, rate: Fraction) -> int:
    """Give the instant of frame `number` since the epoch, rounded up, so that its RTP timestamp is the exact one.

    Fractional rates are never summed up in rounded steps: 60000/1001 gives ticks 1501 and 1502 in turns.

    Source
    ------
    SMPTE ST 2059-1 §5; ST 2110-10 §7.
    """
    return -(-number * NS_PER_S * rate.denominator // rate.numerator)


def frame_number(at_ns: int, rate: Fraction) -> int:
    """Give the number of the first frame at or after an instant.

    Source
    ------
    SMPTE ST 2059-1 §5.
    """
    return -(-at_ns * rate.numerator // (NS_PER_S * rate.denominator))


def utc_of(at_ns: int, tai_minus_utc_s: int = TAI_MINUS_UTC_S) -> datetime:
    """Give the UTC of an instant, to the microsecond below.

    Source
    ------
    PS3.3 §C.7.6.27.1.1.
    """
    return _EPOCH + timedelta(microseconds=at_ns // 1000) - timedelta(seconds=tai_minus_utc_s)


def dicom_datetime(at_ns: int, tai_minus_utc_s: int = TAI_MINUS_UTC_S) -> str:
    """Give an instant as a DT value in UTC: ``"20261124183000.123456+0000"``.

    Source
    ------
    PS3.5 §6.2 (DT).
    """
    return utc_of(at_ns, tai_minus_utc_s).strftime("%Y%m%d%H%M%S.%f+0000")


def ntp_timestamp(at_ns: int, tai_minus_utc_s: int = TAI_MINUS_UTC_S) -> int:
    """Give an instant as an NTP timestamp: 32 bits of seconds since 1900, 32 bits of fraction.

    Source
    ------
    RFC 3550 §4.
    """
    seconds, nanoseconds = divmod(at_ns, NS_PER_S)
    return (seconds - tai_minus_utc_s + _NTP_EPOCH_S) % _WRAP << 32 | (nanoseconds << 32) // NS_PER_S
