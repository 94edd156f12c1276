"""pynetdicom as the other side: a small archive of files, every C service, in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydicom import Dataset, dcmread
from pydicom.multival import MultiValue
from pynetdicom import AE, AllStoragePresentationContexts, build_role, evt
from pynetdicom.presentation import build_context
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove,
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from tests.peers.processes import LOOPBACK

UNCOMPRESSED = ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"]
MODELS = (
    PatientRootQueryRetrieveInformationModelFind, PatientRootQueryRetrieveInformationModelGet,
    PatientRootQueryRetrieveInformationModelMove, StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove,
)  # fmt: skip
LEVELS = {"PATIENT": "PatientID", "STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
_NOT_KEYS = ("QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle")


class PynetdicomScp:
    """A server of pynetdicom over a folder. ``with`` ends it.

    Parameters
    ----------
    folder : Path
        Where its files lie, and where what it is sent goes, as it came.
    modalities : mapping
        AE title to port of those it may move to, on loopback.
    syntaxes : list of str
        The transfer syntaxes that it takes and offers for Storage.
    """

    aet = "PYNETDICOM"

    def __init__(self, folder: Path, modalities: Mapping[str, int], syntaxes: list[str]) -> None:
        self.folder, self.modalities, self.syntaxes = folder, dict(modalities), syntaxes
        self._lock = threading.Lock()
        self.loses: set[str] = set()
        """SOP Instance UIDs that it does not commit to."""
        ae = AE(self.aet)
        ae.add_supported_context(Verification)
        ae.add_supported_context(StorageCommitmentPushModel)
        for model in MODELS:
            ae.add_supported_context(model, UNCOMPRESSED)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax, syntaxes, scu_role=True, scp_role=True)
        self._server = ae.start_server(
            (LOOPBACK, 0), block=False,
            evt_handlers=[
                (evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get),
                (evt.EVT_C_MOVE, self._move), (evt.EVT_N_ACTION, self._commit),
            ],
        )  # fmt: skip
        self.port: int = self._server.server_address[1]
        self.ae = f"{self.aet}@{LOOPBACK}:{self.port}"

    @property
    def me(self) -> str:
        """What our side must be for a C-MOVE to reach it."""
        aet, port = next(iter(self.modalities.items()))
        return f"{aet}:{port}"

    @property
    def files(self) -> list[Path]:
        """What it holds."""
        with self._lock:
            return sorted(self.folder.glob("*.dcm"))

    def _store(self, event: evt.Event) -> int:
        with self._lock:
            (self.folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0

    def _matches(self, identifier: Dataset) -> list[tuple[Path, Dataset]]:
        found = []
        for path in self.files:
            dataset = dcmread(path, stop_before_pixels=True)
            keys = (e for e in identifier if e.keyword not in _NOT_KEYS and e.VR != "SQ" and str(e.value or ""))
            if all(_fits(e.value, dataset.get(e.keyword)) for e in keys):
                found.append((path, dataset))
        return found

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        identifier = event.identifier
        seen = set()
        for _, dataset in self._matches(identifier):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            unique = str(dataset[LEVELS[identifier.QueryRetrieveLevel]].value)
            if unique in seen:
                continue
            seen.add(unique)
            answer = Dataset()
            answer.QueryRetrieveLevel = identifier.QueryRetrieveLevel
            answer.SpecificCharacterSet = dataset.get("SpecificCharacterSet", "")
            for element in identifier:
                if element.keyword and element.keyword not in _NOT_KEYS:
                    setattr(answer, element.keyword, dataset.get(element.keyword, None))
            yield 0xFF00, answer

    def _get(self, event: evt.Event) -> Iterator[Any]:
        found = self._matches(event.identifier)
        yield len(found)
        for path, _ in found:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, dcmread(path)

    def _move(self, event: evt.Event) -> Iterator[Any]:
        port = self.modalities.get(str(event.move_destination).strip())
        if port is None:
            yield None, None
            return
        found = self._matches(event.identifier)
        pairs = {(d.SOPClassUID, d.file_meta.TransferSyntaxUID) for _, d in found}
        yield LOOPBACK, port, {"contexts": [build_context(uid, syntax) for uid, syntax in sorted(pairs)]}
        yield len(found)
        for path, _ in found:
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, dcmread(path)

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        """Take the request, and report on an association of its own."""
        asked = event.action_information
        held = {path.stem for path in self.files} - self.loses
        result = Dataset()
        result.TransactionUID = asked.TransactionUID
        good = [item for item in asked.ReferencedSOPSequence if item.ReferencedSOPInstanceUID in held]
        bad = [item for item in asked.ReferencedSOPSequence if item.ReferencedSOPInstanceUID not in held]
        for item in bad:
            item.FailureReason = 0x0112
        if good:
            result.ReferencedSOPSequence = good
        if bad:
            result.FailedSOPSequence = bad
        who = event.assoc.requestor.ae_title
        threading.Thread(target=self._report, args=(result, who, 2 if bad else 1), daemon=True).start()
        return 0x0000, None

    def _report(self, result: Dataset, who: str, event_type: int) -> None:
        ae = AE(self.aet)
        ae.add_requested_context(StorageCommitmentPushModel)
        role = build_role(StorageCommitmentPushModel, scp_role=True)
        association = ae.associate(LOOPBACK, self.modalities[who], ae_title=who, ext_neg=[role])
        if association.is_established:
            association.send_n_event_report(
                result, event_type, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
            association.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()


def _fits(key: Any, value: Any) -> bool:
    wanted = [str(one) for one in key] if isinstance(key, MultiValue) else [str(key)]
    if len(wanted) == 1 and wanted[0].endswith("*"):
        return str(value).startswith(wanted[0][:-1])
    return str(value) in wanted
