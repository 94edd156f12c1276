"""Attributes that a peer can't match on or return, read from one header per series."""

from __future__ import annotations

from collections.abc import Sequence

from dicomlab.cohorts.stream import _stream
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import Column, TableBuilder, column
from dicomlab.model.protocols import Wanted
from dicomlab.part10.files import Parcel


def peek(cohort: Cohort, wanted: Sequence[Column]) -> Cohort:
    """Carry out ``Cohort.peek``, which documents it."""
    from dicomlab.media.header import read_row

    rows = cohort if cohort.level in ("series", "instance") else cohort.series()
    missing = [one for one in wanted if one.name not in rows.columns]
    if not missing:
        return rows
    series = rows.to_dataframe().drop_duplicates("SeriesInstanceUID")
    if rows.level == "instance":
        ask = [instance.wanted for instance in Cohort(series, level="instance", source=rows.source)]
    else:
        ask = [
            first
            for study, uid in zip(series["StudyInstanceUID"], series["SeriesInstanceUID"], strict=True)
            for first in _first_of(rows, study, uid)
        ]
    table = TableBuilder((column("SeriesInstanceUID"), *missing))
    for item in _stream(rows.source, ask, {}) if ask else ():
        if isinstance(item, Parcel):
            uid = next(one.series_instance_uid for one in ask if one.sop_instance_uid == item.meta.sop_instance_uid)
            table.add({**read_row(item.octets, missing), "SeriesInstanceUID": (uid,)})
    read = table.frame().drop_duplicates("SeriesInstanceUID").set_index("SeriesInstanceUID")
    return Cohort(
        rows.to_dataframe().join(read, on="SeriesInstanceUID"),
        level=rows.level,
        source=rows.source,
        query=rows.query,
        complete=rows.complete,
        note=rows.note,
        problems=[*rows._problems, *table.problems],
        trace=rows.trace,
    )


def _first_of(rows: Cohort, study: str, series: str) -> list[Wanted]:
    source = rows._source()
    found: Cohort = source.find("instance", StudyInstanceUID=study, SeriesInstanceUID=series, limit=1, progress=False)
    return [instance.wanted for instance in found]
