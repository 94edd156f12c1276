"""C-STORE as an SCU: files and data sets go out as they lie, and each has its outcome.

Source
------
PS3.4 §B.2 (Storage SCU), Table B.2-1 (statuses).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from dicomlab.dimse import tables
from dicomlab.dimse.association import Association
from dicomlab.dimse.dissect import name_of
from dicomlab.dimse.negotiation import Peer, Proposal
from dicomlab.dimse.patience import TRANSIENT_STATUSES, Patience
from dicomlab.dimse.pdu import Octets
from dicomlab.dimse.storage import RECODABLE, Fit, batches, fitting, recode, send_instance
from dicomlab.errors import CommunicationError, DicomlabError, Refused, RemoteProtocolError, ServiceError, UsageError
from dicomlab.model import trace
from dicomlab.model.progress import Control
from dicomlab.model.report import Outcome, Report, Result
from dicomlab.model.values import uid_like
from dicomlab.part10.decompress import decompressed
from dicomlab.part10.files import Parcel, Unfit, parcels

_WINDOW_OCTETS = 256 << 20
_WINDOW_PARCELS = 50_000
MOST_ASSOCIATIONS = 16
NO_CONTEXT = "no accepted context"
NOT_SENT = "not sent"


def send(
    peer: Peer, what: Any, control: Control, *, associations: int = 1, decompress: bool = False, retries: int = 3
) -> Report:
    """Store `what`; :meth:`dicomlab.dimse.node.Node.store` documents it.

    Raises
    ------
    UsageError
        An option that can't be.
    Unreachable, Refused, Interrupted, RemoteProtocolError
        As for :meth:`dicomlab.dimse.node.Node.store`.
    """
    checked(associations)
    sending = _Sending(peer, control, associations, retries, decompress=decompress)
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


def checked(associations: int) -> int:
    """Check a number of associations.

    Raises
    ------
    UsageError
        It is none, or too many.
    """
    if isinstance(associations, bool) or not isinstance(associations, int) or not 0 < associations <= MOST_ASSOCIATIONS:
        raise UsageError(f"associations is a number from 1 to {MOST_ASSOCIATIONS}, not {associations!r}")
    return associations


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


@dataclass(slots=True, eq=False)
class _Ready:
    """A parcel about to be sent, with its octets at hand; or already with its outcome, since it can't be."""

    parcel: Parcel
    fit: Fit | None = None
    octets: Octets = b""
    opened: ExitStack = field(default_factory=ExitStack)
    outcome: Outcome | None = None


class _Sending:
    """What has become of everything so far."""

    def __init__(self, peer: Peer, control: Control, associations: int, retries: int, *, decompress: bool) -> None:
        self._peer, self._control = peer, control
        self._associations, self._retries, self._decompress = associations, retries, decompress
        self._live: set[Association] = set()
        self._outcomes: list[Outcome] = []
        self._lock = threading.Lock()
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
            elif (bad := next((uid for uid in _uids(item) if not uid_like(uid)), None)) is not None:
                self._keep(_outcome(item, "failed", f"{bad[:80]!r} in its File Meta Information is no UID (PS3.5 §9)"))
            else:
                left[id(item)] = item
        try:
            for proposals, dealt in batches(list(left.values()), _pair, decompress=self._decompress):
                if self._control.cancelled:
                    break
                self._deal(proposals, deque(dealt), left)
        finally:
            for parcel in left.values():
                self._keep(_outcome(parcel, "failed", NOT_SENT))

    def _deal(self, proposals: Sequence[Proposal], queue: deque[Parcel], left: dict[int, Parcel]) -> None:
        """Have as many associations as are wanted take from one queue; whoever fails leaves it to the others."""
        many = min(self._associations, len(queue))
        if many == 1:
            self._work(proposals, queue, left)
            return
        with ThreadPoolExecutor(many, thread_name_prefix="dicomlab store") as threads:
            try:
                works = [threads.submit(copy_context().run, self._work, proposals, queue, left) for _ in range(many)]
                wait(works)
            except BaseException:  # a second interrupt: nobody waits for anything
                for association in tuple(self._live):
                    association.shut()
                raise
        errors = [error for work in works if (error := work.exception()) is not None]
        if errors and (queue or len(errors) == many):
            raise errors[0]

    def _work(self, proposals: Sequence[Proposal], queue: deque[Parcel], left: dict[int, Parcel]) -> None:
        """Send from the queue over one association after the other, as long as it makes sense."""
        patience = Patience(self._control, self._retries, self._peer.note)
        while queue and not self._control.cancelled:
            try:
                with self._peer.associate(proposals, none_is_refused=False) as association:
                    patience.reached()
                    self._live.add(association)
                    try:
                        self._on(association, queue, left, patience)
                    finally:
                        self._live.discard(association)
            except (CommunicationError, RemoteProtocolError) as error:
                if not patience.again(error):
                    raise

    def _on(self, association: Association, queue: deque[Parcel], left: dict[int, Parcel], patience: Patience) -> None:
        """Send what is in the queue; while an answer is awaited, the next one is made ready if it is ours for sure."""
        ready: _Ready | None = None

        def look_ahead() -> None:
            nonlocal ready
            if ready is None and queue and self._associations == 1:
                ready = self._made_ready(association, queue[0], ahead=True)

        try:
            while not self._control.cancelled:
                try:
                    parcel = queue.popleft()
                except IndexError:
                    return
                now, ready = ready or self._made_ready(association, parcel), None
                try:
                    outcome = self._one(association, now, patience, look_ahead)
                except BaseException:
                    queue.appendleft(parcel)  # nobody knows whether it is there: it is sent again
                    raise
                finally:
                    now.opened.close()
                del left[id(parcel)]
                self._keep(outcome)
                if outcome.result != "failed":
                    patience.got_on()
        finally:
            if ready is not None:
                ready.opened.close()

    def _keep(self, outcome: Outcome) -> None:
        failed = int(outcome.result == "failed")
        with self._lock:
            self._outcomes.append(outcome)
        self._control.advance(1 - failed, failed=failed, octets=outcome.octets)

    @overload
    def _made_ready(self, association: Association, parcel: Parcel) -> _Ready: ...
    @overload
    def _made_ready(self, association: Association, parcel: Parcel, *, ahead: bool) -> _Ready | None: ...
    def _made_ready(self, association: Association, parcel: Parcel, *, ahead: bool = False) -> _Ready | None:
        """Open a parcel and choose its context; what hinders that is said by its outcome.

        What must be changed is not made ahead of its time: one of them in memory is enough.
        """
        meta = parcel.meta
        fit = fitting(association, meta.sop_class_uid, meta.transfer_syntax_uid, decompress=self._decompress)
        if fit is None:
            what = f"{name_of(meta.sop_class_uid)} in {name_of(meta.transfer_syntax_uid)}"
            self.refused = f"{NO_CONTEXT} for {what}"
            if meta.transfer_syntax_uid not in RECODABLE and not self._decompress:
                self.refused += "; it may take it uncompressed: store(..., decompress=True)"
            return _Ready(parcel, outcome=_outcome(parcel, "failed", self.refused))
        if ahead and fit.change:
            return None
        self._offered += 1
        ready = _Ready(parcel, fit)
        try:
            ready.octets = self._octets(parcel, fit, ready.opened)
        except (OSError, ValueError, ServiceError) as error:
            ready.outcome = _outcome(parcel, "failed", f"can't be read: {error}")
        return ready

    def _one(
        self, association: Association, ready: _Ready, patience: Patience, meanwhile: Callable[[], None]
    ) -> Outcome:
        if ready.outcome is not None or ready.fit is None:
            return ready.outcome or _outcome(ready.parcel, "failed", NO_CONTEXT)
        parcel, context, size = ready.parcel, ready.fit.context, len(ready.octets)
        uid = parcel.meta.sop_instance_uid
        while True:
            status, comment = send_instance(association, context, uid, ready.octets, meanwhile=meanwhile)
            text = tables.status_text(status, "STORE", comment)
            if status not in TRANSIENT_STATUSES or not patience.again(f"it answered {text}"):
                break
        results: dict[str, Result] = {"success": "done", "warning": "warning"}
        result = results.get(tables.category(status), "failed")
        if ready.fit.change:
            how = "encoded anew" if ready.fit.change == "recode" else "decompressed"
            text += f"; {how} as {name_of(context.transfer_syntax)}, which is what was accepted"
        return _outcome(parcel, result, text, context.transfer_syntax, size)

    def _octets(self, parcel: Parcel, fit: Fit, stack: ExitStack) -> Octets:
        """The data set as it goes out: as it lies, or changed as little as has to be."""
        source, target = parcel.meta.transfer_syntax_uid, fit.context.transfer_syntax
        if fit.change == "decompress":
            with parcel.open() as view:
                return decompressed(view, target)
        octets = stack.enter_context(parcel.dataset())
        return recode(octets, source, target) if fit.change == "recode" else octets


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
