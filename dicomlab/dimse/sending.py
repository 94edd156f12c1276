"""C-STORE as an SCU: files and data sets go out as they lie, and each has its outcome.

Source
------
PS3.4 §B.2 (Storage SCU), Table B.2-1 (statuses).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.negotiation import Peer
from dicomlab.dimse.storage import batches, fitting, is_uid, recode, send_instance
from dicomlab.errors import DicomlabError, Refused, ServiceError
from dicomlab.model import trace
from dicomlab.model.progress import Control
from dicomlab.model.report import Outcome, Report, Result
from dicomlab.part10.files import Parcel, Unfit, parcels

_WINDOW_OCTETS = 256 << 20
_WINDOW_PARCELS = 50_000
NO_CONTEXT = "no accepted context"
NOT_SENT = "not sent"


def send(peer: Peer, what: Any, control: Control) -> Report:
    """Store `what`; :meth:`dicomlab.dimse.node.Node.store` documents it."""
    sending = _Sending(peer, control)
    note = ""
    try:
        for window in _windows(parcels(what)):
            sending.all_of(window)
        if sending.nothing_accepted:
            raise Refused(sending.refused, endpoint=str(peer.address))
    except DicomlabError as error:
        if not control.cancelled:
            error.partial = sending.report(str(error))
            error.trace = error.trace or trace.current()
            raise
    if control.cancelled:
        note = "cancelled"
    return sending.report(note)


def _windows(items: Iterable[Parcel | Unfit]) -> Iterator[list[Parcel | Unfit]]:
    """Parts of what is to be sent, each scanned as a whole before its contexts are proposed."""
    window: list[Parcel | Unfit] = []
    octets = 0
    for item in items:
        window.append(item)
        octets += len(item.octets) if isinstance(item, Parcel) else 0
        if octets >= _WINDOW_OCTETS or len(window) >= _WINDOW_PARCELS:
            yield window
            window, octets = [], 0
    if window:
        yield window


class _Sending:
    """What has become of everything so far."""

    def __init__(self, peer: Peer, control: Control) -> None:
        self._peer, self._control = peer, control
        self._outcomes: list[Outcome] = []
        self._offered = 0
        self.refused = ""
        """The last thing for which no context was accepted."""

    @property
    def nothing_accepted(self) -> bool:
        """Whether there was something to send, and the peer took none of it in any context."""
        return bool(self.refused) and not self._offered

    def report(self, note: str) -> Report:
        """Everything so far."""
        failed = sum(one.result == "failed" for one in self._outcomes)
        note = note or (f"{failed} of {len(self._outcomes)} were not stored" if failed else "")
        title = f"Stored in {self._peer.address}"
        return Report(title, tuple(self._outcomes), complete=not note, note=note, trace=trace.current())

    def all_of(self, window: list[Parcel | Unfit]) -> None:
        """Send a part, on as many associations as its contexts need; what is not sent is accounted for too."""
        self._control.total = (self._control.total or 0) + len(window)
        left: dict[int, Parcel] = {}
        for item in window:
            if isinstance(item, Unfit):
                self._keep(Outcome("", "failed", item.reason, path=Path(item.name).name))
            elif (bad := next((uid for uid in _uids(item) if not is_uid(uid)), None)) is not None:
                self._keep(_outcome(item, "failed", f"{bad[:80]!r} in its File Meta Information is no UID (PS3.5 §9)"))
            else:
                left[id(item)] = item
        try:
            for proposals, dealt in batches(list(left.values()), _pair):
                if self._control.cancelled:
                    break
                with self._peer.associate(proposals, none_is_refused=False) as association:
                    self._on(association, dealt, left)
        finally:
            for parcel in left.values():
                self._keep(_outcome(parcel, "failed", NOT_SENT))

    def _on(self, association: Association, dealt: Iterable[Parcel], left: dict[int, Parcel]) -> None:
        for parcel in dealt:
            if self._control.cancelled:
                return
            self._keep(self._one(association, parcel))
            del left[id(parcel)]

    def _keep(self, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        failed = int(outcome.result == "failed")
        self._control.advance(1 - failed, failed=failed, octets=outcome.octets)

    def _one(self, association: Association, parcel: Parcel) -> Outcome:
        meta = parcel.meta
        fit = fitting(association, meta.sop_class_uid, meta.transfer_syntax_uid)
        if fit is None:
            what = f"{name_of(meta.sop_class_uid)} in {name_of(meta.transfer_syntax_uid)}"
            self.refused = f"{NO_CONTEXT} for {what}"
            return _outcome(parcel, "failed", self.refused)
        self._offered += 1
        context = fit.context
        try:
            with parcel.dataset() as octets:
                data = recode(octets, meta.transfer_syntax_uid, context.transfer_syntax) if fit.recode else octets
                size = len(data)
                status, comment = send_instance(association, context, meta.sop_instance_uid, data)
        except (OSError, ValueError, ServiceError) as error:
            return _outcome(parcel, "failed", f"can't be read: {error}")
        text = tables.status_text(status, "STORE", comment)
        results: dict[str, Result] = {"success": "done", "warning": "warning"}
        result = results.get(tables.category(status), "failed")
        if fit.recode:
            text += f"; encoded anew as {name_of(context.transfer_syntax)}, which is what was accepted"
        return _outcome(parcel, result, text, context.transfer_syntax, size)


def _pair(parcel: Parcel) -> tuple[str, str]:
    return parcel.meta.sop_class_uid, parcel.meta.transfer_syntax_uid


def _uids(parcel: Parcel) -> tuple[str, ...]:
    return (*_pair(parcel), parcel.meta.sop_instance_uid)


def _outcome(parcel: Parcel, result: Result, status: str, syntax: str = "", octets: int = 0) -> Outcome:
    meta = parcel.meta
    path = parcel.path.name if parcel.path is not None else ""
    return Outcome(
        meta.sop_instance_uid,
        result,
        status,
        meta.sop_class_uid,
        syntax or meta.transfer_syntax_uid,
        octets if result != "failed" else 0,
        path,
    )
