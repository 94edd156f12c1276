"""pynetdicom as the other end of a workflow: worklist, performed steps and work items, as SCP; and as SCU."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    ModalityPerformedProcedureStep,
    ModalityPerformedProcedureStepRetrieve,
    ModalityWorklistInformationFind,
    UnifiedProcedureStepEvent,
    UnifiedProcedureStepPull,
    UnifiedProcedureStepPush,
    UnifiedProcedureStepQuery,
    UnifiedProcedureStepWatch,
    Verification,
)

from tests.peers.processes import LOOPBACK

ASKED = (
    Verification, ModalityWorklistInformationFind, ModalityPerformedProcedureStep, ModalityPerformedProcedureStepRetrieve,
    UnifiedProcedureStepPush, UnifiedProcedureStepPull, UnifiedProcedureStepWatch, UnifiedProcedureStepQuery,
)  # fmt: skip
_FINAL = ("COMPLETED", "DISCONTINUED", "CANCELED")


def values(**keywords: Any) -> Dataset:
    """A data set of keywords; a list of mappings is a sequence."""
    made = Dataset()
    for keyword, value in keywords.items():
        several = isinstance(value, list) and (not value or isinstance(value[0], dict))
        setattr(made, keyword, [values(**one) for one in value] if several else value)
    return made


class WorkflowScp:
    """A department of pynetdicom, in memory. ``with`` ends it.

    Parameters
    ----------
    known : mapping
        AE title to port of those to whom it reports events, on loopback.
    """

    aet = "PYNETDICOM"

    def __init__(self, known: Mapping[str, int]) -> None:
        self._known = dict(known)
        self.items: list[Dataset] = []
        self.steps: dict[str, Dataset] = {}
        self.workitems: dict[str, Dataset] = {}
        self.locks: dict[str, str] = {}
        self.actions: list[tuple[int, Dataset]] = []
        self._receiver = ""
        ae = AE(self.aet)
        for uid in ASKED:
            ae.add_supported_context(uid)
        self._server = ae.start_server(
            (LOOPBACK, 0), block=False,
            evt_handlers=[
                (evt.EVT_C_FIND, self._find), (evt.EVT_N_CREATE, self._create), (evt.EVT_N_SET, self._set),
                (evt.EVT_N_GET, self._get), (evt.EVT_N_ACTION, self._action),
            ],
        )  # fmt: skip
        self.port: int = self._server.server_address[1]
        self.ae = f"{self.aet}@{LOOPBACK}:{self.port}"

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        listed = self.items if event.request.AffectedSOPClassUID == ModalityWorklistInformationFind else []
        for one in listed or self.workitems.values():
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, one

    def _kept(self, event: evt.Event) -> dict[str, Dataset]:
        performed = (ModalityPerformedProcedureStep, ModalityPerformedProcedureStepRetrieve)
        return self.steps if event.context.abstract_syntax in performed else self.workitems

    def _create(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = event.request.AffectedSOPInstanceUID
        if uid in self._kept(event):
            return 0x0111, None
        kept = event.attribute_list
        if self._kept(event) is self.workitems:
            kept.SOPClassUID, kept.SOPInstanceUID = UnifiedProcedureStepPush, uid
        self._kept(event)[uid] = kept
        return 0x0000, Dataset()

    def _set(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid, changes = event.request.RequestedSOPInstanceUID, event.modification_list
        kept = self._kept(event).get(uid)
        if kept is None:
            return 0x0112, None
        if kept.get("PerformedProcedureStepStatus", "") in _FINAL:
            return 0x0110, None
        if "TransactionUID" in changes:
            if changes.TransactionUID != self.locks.get(uid):
                return 0xC301, None
            del changes.TransactionUID
        kept.update(changes)
        return 0x0000, Dataset()

    def _get(self, event: evt.Event) -> tuple[int, Dataset | None]:
        kept = self._kept(event).get(event.request.RequestedSOPInstanceUID)
        if kept is None:
            return 0x0112 if self._kept(event) is self.steps else 0xC307, None
        wanted = event.attribute_identifiers
        if not wanted:
            return 0x0000, kept
        found = Dataset()
        for tag in wanted:
            if tag in kept:
                found.add(kept[tag])
        return 0x0000, found

    def _action(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid, information = event.request.RequestedSOPInstanceUID, event.action_information
        self.actions.append((event.action_type, information))
        if event.action_type in (3, 4):
            self._receiver = information.ReceivingAE if event.action_type == 3 else ""
        if event.action_type == 1:
            kept = self.workitems.get(uid)
            if kept is None:
                return 0xC307, None
            if self.locks.setdefault(uid, information.TransactionUID) != information.TransactionUID:
                return 0xC301, None
            kept.ProcedureStepState = information.ProcedureStepState
            if self._receiver:
                report = values(ProcedureStepState=kept.ProcedureStepState, InputReadinessState="READY")
                threading.Thread(target=self._report, args=(uid, report), daemon=True).start()
        return 0x0000, Dataset()

    def _report(self, uid: str, report: Dataset) -> None:
        ae = AE(self.aet)
        ae.add_requested_context(UnifiedProcedureStepEvent)
        role = build_role(UnifiedProcedureStepEvent, scp_role=True)
        port = self._known[self._receiver]
        association = ae.associate(LOOPBACK, port, ae_title=self._receiver, ext_neg=[role])
        if association.is_established:
            association.send_n_event_report(
                report, 1, UnifiedProcedureStepPush, uid, meta_uid=UnifiedProcedureStepEvent
            )
            association.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()


class Subscriber:
    """A listening AE of pynetdicom that takes event reports. ``with`` ends it."""

    aet = "WATCHER"

    def __init__(self, port: int) -> None:
        self.reports: SimpleQueue[tuple[str, int, Dataset]] = SimpleQueue()
        ae = AE(self.aet)
        ae.add_supported_context(UnifiedProcedureStepEvent, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self._take)]
        self._server = ae.start_server((LOOPBACK, port), block=False, evt_handlers=handlers)

    def _take(self, event: evt.Event) -> tuple[int, Dataset | None]:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.reports.put((uid, event.event_type, event.event_information))
        return 0x0000, None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
