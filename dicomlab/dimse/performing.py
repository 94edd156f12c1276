"""A performed step as an SCU: created when work begins, completed or discontinued when it ends.

Source
------
PS3.4 §F.7.2 (N-CREATE, N-SET), §F.8.2 (N-GET); PS3.16 CID 9301 (Modality PPS Discontinuation Reasons).
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pydicom.datadict import dictionary_VR, tag_for_keyword

from dicomlab.dimse import tables
from dicomlab.dimse.identifier import Tree
from dicomlab.dimse.listing import flat, tree_of_row
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.normalized import operate, tag_list
from dicomlab.dimse.performed_step import State
from dicomlab.dimse.tree import dataset_of, tree_of_values, value_of
from dicomlab.errors import DicomlabError, Refused, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.summary import Summarised, Summary

if TYPE_CHECKING:
    from pydicom import Dataset

REASONS = {
    "110500": "Doctor canceled procedure",
    "110501": "Equipment failure",
    "110502": "Incorrect procedure ordered",
    "110503": "Patient allergic to media/contrast",
    "110504": "Patient died",
    "110505": "Patient refused to continue procedure",
    "110506": "Patient taken for treatment or surgery",
    "110507": "Patient did not arrive",
    "110508": "Patient pregnant",
    "110509": "Change of procedure for correct charging",
    "110510": "Duplicate order",
    "110511": "Nursing unit cancel",
    "110512": "Incorrect side ordered",
    "110513": "Discontinued for unspecified reason",
    "110514": "Incorrect worklist entry selected",
    "110515": "Patient condition prevented continuing",
}
"""Why a step is discontinued, by DCM code (PS3.16 CID 9300, CID 9301)."""
UNSPECIFIED = "110513"

_FROM_ITEM = (
    "StudyInstanceUID ReferencedStudySequence AccessionNumber RequestedProcedureID RequestedProcedureDescription"
    " ScheduledProcedureStepID ScheduledProcedureStepDescription ScheduledProtocolCodeSequence"
).split()
_PATIENT = "PatientName PatientID PatientBirthDate PatientSex ReferencedPatientSequence".split()
_EMPTY = (
    "PerformedStationName PerformedLocation PerformedProcedureTypeDescription PerformedProcedureStepEndDate"
    " PerformedProcedureStepEndTime PerformedProcedureStepDiscontinuationReasonCodeSequence PerformedSeriesSequence"
).split()
_IMAGES, _OTHERS = "ReferencedImageSequence", "ReferencedNonImageCompositeSOPInstanceSequence"


class PerformedStep(Summarised):
    """One step while it is performed: ``with node.perform(item) as step:``.

    Entering tells the peer that it is IN PROGRESS (N-CREATE); leaving, that it is COMPLETED, or after an error
    DISCONTINUED (N-SET).

    Attributes
    ----------
    uid : str
        Its SOP Instance UID.
    status : str
        ``""`` before it has begun.
    study_instance_uid : str
        That of the images to be made.
    """

    def __init__(self, peer: Peer, item: Any, given: Mapping[str, Any]) -> None:
        self._peer = peer
        self.uid = f"2.25.{uuid.uuid4().int}"
        self.status: State | str = ""
        self._series: dict[str, Tree] = {}
        self._tree = _begun(peer, item_of(item), given)
        self.study_instance_uid = value_of(
            self._tree, _tag("ScheduledStepAttributesSequence"), _tag("StudyInstanceUID")
        )

    def _send(self, name: str, tree: Tree) -> None:
        with self._peer.associate([Proposal(tables.PERFORMED_STEP, tables.UNCOMPRESSED)]) as association:
            context = association.context_for(tables.PERFORMED_STEP)
            if context is None:
                raise Refused("it does not offer the Modality Performed Procedure Step", endpoint=association.endpoint)
            operate(association, context, name, self.uid, tree)

    # --- what happens to it ----------------------------------------------------------------------------------------

    def begin(self) -> Self:
        """Tell the peer that it is IN PROGRESS (N-CREATE); ``with`` does so by itself.

        Raises
        ------
        UsageError
            It has begun.
        ServiceError
            The peer does not take it.

        Source
        ------
        PS3.4 §F.7.2.1.
        """
        if self.status:
            raise UsageError(f"this step is {self.status}: one step is performed once")
        self._send("N-CREATE", self._tree)
        self.status = "IN PROGRESS"
        return self

    def performed(self, what: Iterable[Any] | Any) -> Self:
        """Note instances that were made, for the Performed Series Sequence.

        Parameters
        ----------
        what : Dataset, path, or an iterable of these
        """
        from pydicom import Dataset, dcmread

        many: list[Any] = [what] if isinstance(what, str | PathLike | Dataset) else list(what)
        for one in many:
            dataset = one if isinstance(one, Dataset) else dcmread(one, stop_before_pixels=True)
            series = self._series_of(dataset)
            image = "PixelData" in dataset or "Rows" in dataset
            named = {f"Referenced{name}": str(dataset[name].value) for name in ("SOPClassUID", "SOPInstanceUID")}
            items, reference = series[_tag(_IMAGES if image else _OTHERS)][1], tree_of_values(named)
            if reference not in items:
                items.append(reference)
        return self

    def _series_of(self, dataset: Any) -> Tree:
        uid = str(dataset.SeriesInstanceUID)
        if uid not in self._series:
            self._series[uid] = _series(uid, {name: dataset.get(name) for name in _SERIES})
        return self._series[uid]

    def set(self, changes: Dataset | Mapping[str, Any] | None = None, **keywords: Any) -> Self:
        """Tell the peer of attributes that have changed meanwhile (N-SET).

        Raises
        ------
        UsageError
            It has not begun, or a keyword that there is none of.
        ServiceError
            The peer does not take them.

        Source
        ------
        PS3.4 §F.7.2.2.
        """
        if not self.status:
            raise UsageError("this step has not begun")
        self._send("N-SET", {**tree_of_values(changes or {}), **tree_of_values(keywords)})
        return self

    def complete(self) -> Self:
        """Tell the peer that it is COMPLETED, with what was performed (N-SET)."""
        return self._end("COMPLETED", {})

    def discontinue(self, reason: str = UNSPECIFIED) -> Self:
        """Tell the peer that it is DISCONTINUED, and why (N-SET).

        Parameters
        ----------
        reason : str
            A DCM code of PS3.16 CID 9300 or 9301: ``"110501"``; :data:`REASONS` has them.

        Raises
        ------
        UsageError
            No such code.
        """
        if reason not in REASONS:
            raise UsageError(f"{reason!r} is no reason (PS3.16 CID 9300): {', '.join(REASONS)}")
        code = {"CodeValue": reason, "CodingSchemeDesignator": "DCM", "CodeMeaning": REASONS[reason]}
        return self._end("DISCONTINUED", {"PerformedProcedureStepDiscontinuationReasonCodeSequence": [code]})

    def _end(self, status: State, further: Mapping[str, Any]) -> Self:
        if self.status != "IN PROGRESS":
            raise UsageError(f"this step {f'is {self.status}' if self.status else 'has not begun'}")
        now = datetime.now()
        if not self._series:  # there must be a series, though it may hold nothing
            uid = f"2.25.{uuid.uuid4().int}"
            self._series[uid] = _series(uid, {})
        ended = {
            "PerformedProcedureStepStatus": status,
            "PerformedProcedureStepEndDate": now.strftime("%Y%m%d"),
            "PerformedProcedureStepEndTime": now.strftime("%H%M%S"),
            **further,
        }
        self._send(
            "N-SET", {**tree_of_values(ended), _tag("PerformedSeriesSequence"): ("SQ", list(self._series.values()))}
        )
        self.status = status
        return self

    def __enter__(self) -> Self:
        return self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.status != "IN PROGRESS":
            return
        if error is None:
            self.complete()
            return
        try:
            self.discontinue()
        except DicomlabError as problem:
            error.add_note(f"and the step {self.uid} could not be discontinued: {problem}")

    def _summary_(self) -> Summary:
        series = sum(len(one[_tag(_IMAGES)][1]) + len(one[_tag(_OTHERS)][1]) for one in self._series.values())
        facts = (
            ("status", self.status or "not begun"), ("with", str(self._peer.address)),
            ("study", self.study_instance_uid), ("instances performed", str(series)),
        )  # fmt: skip
        return Summary(f"Performed step {self.uid}", facts)


_SERIES = "PerformingPhysicianName ProtocolName OperatorsName SeriesDescription".split()


def _series(uid: str, known: Mapping[str, Any]) -> Tree:
    """One item of the Performed Series Sequence (PS3.4 Table F.7.2-1)."""
    protocol = known.get("ProtocolName") or known.get("SeriesDescription") or "UNKNOWN"
    whole = {
        **dict.fromkeys(_SERIES),
        **known,
        "ProtocolName": protocol,
        "SeriesInstanceUID": uid,
        "RetrieveAETitle": None,
    }
    return tree_of_values({**whole, _IMAGES: None, _OTHERS: None})


def item_of(item: Any) -> Tree:
    """Take what is to be done, flat: a cohort of one row, a row of a table, a data set, or values by keyword.

    Raises
    ------
    UsageError
        None of these, or more than one row.
    """
    if isinstance(item, Cohort):
        if len(item) != 1:
            raise UsageError(f"one step is performed at a time, and this cohort has {len(item)} rows: worklist[0]")
        item = item.to_dataframe().iloc[0]
    if hasattr(item, "to_dict") and not hasattr(item, "to_json_dict"):
        item = {str(name): value for name, value in item.to_dict().items() if not _nothing(value)}
    tree = tree_of_row(item) if isinstance(item, Mapping) else tree_of_values(item)
    return next(flat(tree))


def _nothing(value: Any) -> bool:
    import pandas as pd

    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


def _begun(peer: Peer, item: Tree, given: Mapping[str, Any]) -> Tree:
    """What the N-CREATE says, out of what was scheduled (PS3.4 Table F.7.2-1)."""
    now = datetime.now()
    scheduled = {tag: item.get(tag, (dictionary_VR(tag), [])) for tag in map(_tag, _FROM_ITEM)}
    if not value_of(scheduled, _tag("StudyInstanceUID")):
        scheduled[_tag("StudyInstanceUID")] = ("UI", [f"2.25.{uuid.uuid4().int}"])
    tree: Tree = {tag: item.get(tag, (dictionary_VR(tag), [])) for tag in map(_tag, _PATIENT)}
    tree |= tree_of_values(dict.fromkeys(_EMPTY))
    tree[_tag("ScheduledStepAttributesSequence")] = ("SQ", [scheduled])
    step_id = value_of(item, _tag("ScheduledProcedureStepID")) or f"P{uuid.uuid4().int % 10**12}"
    tree |= tree_of_values(
        {
            "PerformedProcedureStepID": step_id,
            "PerformedStationAETitle": peer.me.ae_title,
            "PerformedProcedureStepStartDate": now.strftime("%Y%m%d"),
            "PerformedProcedureStepStartTime": now.strftime("%H%M%S"),
            "PerformedProcedureStepStatus": "IN PROGRESS",
            "PerformedProcedureStepDescription": value_of(item, _tag("ScheduledProcedureStepDescription")),
            "Modality": value_of(item, _tag("Modality")),
            "StudyID": value_of(item, _tag("RequestedProcedureID")),
        }
    )
    for ours, theirs in (
        ("ProcedureCodeSequence", "RequestedProcedureCodeSequence"),
        ("PerformedProtocolCodeSequence", "ScheduledProtocolCodeSequence"),
    ):
        tree[_tag(ours)] = item.get(_tag(theirs), ("SQ", []))
    tree |= tree_of_values(given)
    if not value_of(tree, _tag("Modality")):
        raise UsageError("a performed step needs a Modality: perform(item, Modality='CT') (PS3.4 Table F.7.2-1)")
    return tree


def _tag(keyword: str) -> int:
    return tag_for_keyword(keyword) or 0


def look(peer: Peer, uid: str, attributes: Collection[str | int]) -> Dataset:
    """Ask for a performed step (N-GET); :meth:`dicomlab.dimse.workflow.Workflow.performed_step` documents it."""
    wanted = tag_list(attributes)
    with peer.associate([Proposal(tables.PERFORMED_STEP_RETRIEVE, tables.UNCOMPRESSED)]) as association:
        context = association.context_for(tables.PERFORMED_STEP_RETRIEVE)
        if context is None:
            raise Refused("it does not offer to retrieve performed steps", endpoint=association.endpoint)
        fields: dict[str, Any] = {"AttributeIdentifierList": wanted} if wanted else {}
        return dataset_of(operate(association, context, "N-GET", uid, **fields).tree)
