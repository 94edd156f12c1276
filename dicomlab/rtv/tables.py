"""What a stream says as tables: per-frame metadata, network statistics, the instances on air."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from dicomlab.model.columns import Column, columns
from dicomlab.rtv.clock import utc_of
from dicomlab.rtv.frames import Frame
from dicomlab.rtv.iods import bulk_flows_of

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset

COLUMNS = (
    "RTPTimestamp", "FrameOriginTimestamp", "SyncTimestamp", "received", "latency_ms", "complete", "MissingOctets",
    "paired", "FrameAcquisitionNumber", "SOPInstanceUID", "PatientID", "FlowIdentifier",
)  # fmt: skip


def frame_row(frame: Frame) -> tuple[Any, ...]:
    """The row of a frame in the table of per-frame metadata."""
    metadata = frame.metadata
    dynamic: Any = metadata.dynamic if metadata else None
    static: Any = metadata.static if metadata else None
    content = dynamic.get("FrameContentSequence") if dynamic is not None else None
    number = content[0].get("FrameAcquisitionNumber") if content else None
    origin_ns = frame.origin_ns
    return (
        frame.timestamp,
        utc_of(origin_ns).replace(tzinfo=None) if origin_ns is not None else None,
        utc_of(frame.sync_ns).replace(tzinfo=None) if frame.sync_ns is not None else None,
        utc_of(frame.received_ns).replace(tzinfo=None),
        frame.latency_ms,
        frame.complete,
        sum(stop - start for start, stop in frame.gaps),
        metadata is not None,
        number if isinstance(number, int) else None,
        metadata.meta.sop_instance_uid if metadata else None,
        str(static.get("PatientID", "")) if static is not None else None,
        str(frame.flow) if frame.flow is not None else None,
    )


def frames_table(rows: Iterable[tuple[Any, ...]]) -> DataFrame:
    """Make the table of per-frame metadata; instants are UTC."""
    import pandas as pd

    frame = pd.DataFrame(list(rows), columns=list(COLUMNS))
    for name in ("FrameOriginTimestamp", "SyncTimestamp", "received"):
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us]")
    whole = ("FrameAcquisitionNumber", "RTPTimestamp", "MissingOctets")
    texts = ("SOPInstanceUID", "PatientID", "FlowIdentifier")
    kinds = {**dict.fromkeys(whole, "Int64"), **dict.fromkeys(texts, "str"), "latency_ms": "Float64"}
    return frame.astype({**kinds, "complete": "bool", "paired": "bool"})


def statistics_table(rows: Sequence[dict[str, Any]], latencies: Iterable[float]) -> DataFrame:
    """Make the table of network statistics."""
    import pandas as pd

    ordered = sorted(latencies)
    for row in rows:
        if row["flow"] == "video" and ordered:
            row["latency_ms"] = ordered[len(ordered) // 2]
    table = pd.DataFrame(rows)
    real = [name for name in table.columns if name.endswith(("_ms", "_mbps"))]
    whole = [name for name in table.columns if name not in (*real, "flow", "address")]
    kinds = {**dict.fromkeys(whole, "Int64"), **dict.fromkeys(real, "Float64"), "flow": "str", "address": "str"}
    return table.astype(kinds)


def flows_table(statics: Iterable[Dataset]) -> DataFrame:
    """Make the table of bulk data flows that static parts tell of."""
    import pandas as pd

    rows = [
        (
            str(static.get("SOPInstanceUID", "")),
            str(one.source),
            str(one.flow),
            one.transfer_syntax_uid,
            one.sampling_rate_hz,
        )
        for static in statics
        for one in bulk_flows_of(static)
    ]
    names = ["SOPInstanceUID", "SourceIdentifier", "FlowIdentifier", "FlowTransferSyntaxUID", "FlowRTPSamplingRate"]
    frame = pd.DataFrame(rows, columns=names)
    return frame.astype({**dict.fromkeys(names[:4], "str"), names[4]: "Int64"})


_KEYS = "PatientID StudyInstanceUID SeriesInstanceUID SOPInstanceUID SOPClassUID Modality InstanceNumber".split()


def instance_row(static: Dataset, asked: Iterable[Column]) -> dict[str, Sequence[object]]:
    """The raw values of an instance on air, by column."""
    return {one.name: found for one in (*columns(_KEYS), *asked) if (found := _raws(static, one.path))}


def _raws(dataset: Dataset, path: Sequence[int]) -> list[object]:
    element = dataset.get(path[0])
    if element is None or element.value in (None, ""):
        return []
    if len(path) > 1:
        return [raw for item in element.value for raw in _raws(item, path[1:])]
    values = element.value if element.VM > 1 else [element.value]
    return [value if isinstance(value, int | float) else str(value) for value in values]
