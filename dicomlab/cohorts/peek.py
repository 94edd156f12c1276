"""Attributes that a peer can't match on or return, read from one header per series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from dicomlab.cohorts.stream import _stream
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import Column, Problem, TableBuilder, column
from dicomlab.model.protocols import Wanted
from dicomlab.part10.files import Unfit


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
    series_of = {one.sop_instance_uid: one.series_instance_uid for one in ask}
    table = TableBuilder((column("SeriesInstanceUID"), *missing))
    unread: dict[str, str] = {}
    for item in _stream(rows.source, ask, {}) if ask else ():
        if isinstance(item, Unfit):
            unread[series_of.pop(item.name, "")] = item.reason
        elif uid := series_of.pop(item.meta.sop_instance_uid, ""):
            try:
                table.add({**read_row(item.octets, missing), "SeriesInstanceUID": (uid,)})
            except RemoteProtocolError as error:
                unread[uid] = str(error)
    unread |= dict.fromkeys(series_of.values(), "the peer did not deliver it")
    peeked = table.frame()
    read = peeked.drop_duplicates("SeriesInstanceUID").set_index("SeriesInstanceUID")
    problems = _problems(rows, table, peeked["SeriesInstanceUID"].tolist(), unread)
    return Cohort(
        rows.to_dataframe().join(read, on="SeriesInstanceUID"),
        level=rows.level,
        source=rows.source,
        query=rows.query,
        complete=rows.complete,
        note=rows.note,
        problems=[*rows._problems, *sorted(problems, key=lambda one: one.row or 0)],
        trace=rows.trace,
    )


def _problems(rows: Cohort, table: TableBuilder, read: Sequence[str], unread: Mapping[str, str]) -> Iterator[Problem]:
    """What could not be read, by the rows of the cohort that it is missing in."""
    places: dict[str, list[int]] = defaultdict(list)
    for number, uid in enumerate(rows["SeriesInstanceUID"]):
        places[uid].append(number)
    for one in table.problems:
        yield from (replace(one, row=number) for number in places[read[one.row or 0]])
    for uid, reason in unread.items():
        for number in places[uid]:
            yield Problem(number, "SeriesInstanceUID", uid, f"no header of this series could be read: {reason}")


def _first_of(rows: Cohort, study: str, series: str) -> list[Wanted]:
    source = rows._source()
    found: Cohort = source.find("instance", StudyInstanceUID=study, SeriesInstanceUID=series, limit=1, progress=False)
    return [instance.wanted for instance in found]
