"""A path without a peer: a few made-up instances in memory, searched by the model's own matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from dicomlab.model.matching import answers, rows_at_level
from dicomlab.model.path import Row, SearchPath, Verdict
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Sink, Wanted
from dicomlab.model.query import Query

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"


def instance_row(
    patient: int, study: int, series: int, number: int, **more: Sequence[object]
) -> dict[str, Sequence[object]]:
    """One instance; its UIDs are the numbers that lead to it."""
    return {
        "PatientID": (f"P{patient}",),
        "PatientName": (f"Secret^Name{patient}",),
        "PatientBirthDate": (f"19{patient}00101",),
        "PatientSex": ("F",),
        "StudyInstanceUID": (f"1.{patient}.{study}",),
        "StudyDate": (f"202{study}0131",),
        "StudyDescription": (f"study {study}",),
        "AccessionNumber": (f"ACC{patient}{study}",),
        "SeriesInstanceUID": (f"1.{patient}.{study}.{series}",),
        "Modality": ("CT" if series % 2 else "MR",),
        "SeriesNumber": (str(series),),
        "SOPInstanceUID": (f"1.{patient}.{study}.{series}.{number}",),
        "SOPClassUID": (CT if series % 2 else MR,),
        "InstanceNumber": (str(number),),
        "Rows": (512,),
        "Columns": (512,),
        "ImageType": ("ORIGINAL", "PRIMARY"),
        **more,
    }


ROWS = [instance_row(p, s, r, n) for p in (1, 2) for s in (1, 2) for r in (1, 2) for n in (1, 2, 3)]


class Shelf(SearchPath):
    """Answers from `rows`; remembers what it was asked, and whether it was left in order."""

    def __init__(self, rows: Sequence[Row] = tuple(ROWS), *, fictional: bool = False) -> None:
        self.rows = rows
        self.fictional = fictional
        self.asked: list[Query] = []
        self.closed = 0

    def __str__(self) -> str:
        return "Shelf"

    def _search(self, query: Query, control: Control, verdict: Verdict) -> Iterator[Row]:
        self.asked.append(query)
        try:
            for row in rows_at_level(query.level, self.rows):
                if answers(query.keys, row):
                    yield row
        finally:
            self.closed += 1

    def deliver(self, wanted: Sequence[Wanted], sink: Sink, control: Control, /, **options: Any) -> None:
        """Nothing can be had."""
        for one in wanted:
            sink.failed(one.sop_instance_uid, "not here")
