"""What one client may ask of the origin server: octets, parts, rows, pixels and time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of the origin server; what goes beyond one is declined with a sentence.

    Attributes
    ----------
    request_octets : int
        Octets of a request body; more is 413 (Content Too Large).
    parts : int
        Parts of one store request.
    rows : int
        Rows of one answer to a search; the rest is announced by a Warning and had by ``offset``.
    search_octets : int
        Octets of one answer to a search; more is 413.
    pixels : int
        Rows times columns of what is rendered, of the source and of the viewport; more is 413.
    renditions : int
        Images of one rendered answer; more is 413.
    head_s : float
        Seconds for a request's head to arrive, from its first octet or the opening of the connection.
    idle_s : float
        Seconds in which a request body must bring 64 KiB or end, and an answer be taken up by the client.
    keep_s : float
        Seconds that a connection may wait for its next request.
    connections : int
        Connections at a time; more are answered 503.
    dataset_octets : int
        Octets of one data set that is no instance (a work item, a request for commitment); more is 413.
    channels : int
        Notification connections at a time; more are refused.
    frame_octets : int
        Octets of a message that a client may send over one.
    """

    request_octets: int = 4 << 30
    parts: int = 10_000
    rows: int = 10_000
    search_octets: int = 128 << 20
    pixels: int = 64 << 20
    renditions: int = 1_000
    head_s: float = 10.0
    idle_s: float = 60.0
    keep_s: float = 30.0
    connections: int = 128
    dataset_octets: int = 4 << 20
    channels: int = 64
    frame_octets: int = 4096
