"""One SOP Instance, by its UIDs and where it can be had from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dicomlab.model.links import above
from dicomlab.model.protocols import Retrievable, Wanted
from dicomlab.model.summary import Summarised, Summary

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, repr=False)
class Instance(Summarised):
    """One SOP Instance of a cohort. ``dataset`` fetches it, whole, each time it is read."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str = ""
    source: Retrievable | None = field(default=None, compare=False)

    @property
    def wanted(self) -> Wanted:
        """What to ask a source for."""
        return Wanted(self.study_instance_uid, self.series_instance_uid, self.sop_instance_uid, self.sop_class_uid)

    @property
    def dataset(self) -> Dataset:
        """The data set, retrieved from the source without touching the disc.

        Raises
        ------
        Unreachable, Refused, Interrupted, ServiceError
            As for ``retrieve``.
        """
        dataset: Dataset = above("dataset")(self)
        return dataset

    def _summary_(self) -> Summary:
        from pydicom.config import IGNORE
        from pydicom.uid import UID

        kind = UID(self.sop_class_uid, IGNORE).name if self.sop_class_uid else "class unknown"
        facts = (
            ("SOPInstanceUID", self.sop_instance_uid),
            ("SOPClassUID", kind),
            ("SeriesInstanceUID", self.series_instance_uid),
            ("StudyInstanceUID", self.study_instance_uid),
            ("source", str(self.source)),
        )
        return Summary("Instance", facts)
