"""Data sets of a cohort one after the other, without touching the disc."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import copy_context
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dicomlab.cohorts.pull import _check_options
from dicomlab.errors import DicomlabError, Interrupted, ServiceError, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.instance import Instance
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Retrievable, Wanted
from dicomlab.model.report import Outcome
from dicomlab.part10.files import SUCCESS, Parcel, Unfit
from dicomlab.part10.memory import Gathering

if TYPE_CHECKING:
    from pydicom import Dataset

_AHEAD = 4
"""Instances kept in memory before the peer has to wait."""


class _Ended(Exception):
    """The reader left."""


class _Queue:
    """A sink that hands instances to a reader in another thread, a few ahead. Satisfies ``Sink``."""

    def __init__(self, control: Control) -> None:
        self.items: queue.Queue[Parcel | Unfit | BaseException | None] = queue.Queue(maxsize=_AHEAD)
        self.control = control

    def put(self, item: Parcel | Unfit | BaseException | None) -> None:
        """Hand it over, unless the reader left."""
        while not self.control.cancelled:
            try:
                self.items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def begin(self, arrival: Arrival) -> _Memory:
        """Make room for one instance."""
        return _Memory(arrival, self)

    def failed(self, sop_instance_uid: str, status: str) -> None:
        """Learn that an instance will not arrive."""
        self.put(Unfit(sop_instance_uid, status))


class _Memory(Gathering):
    """Gathers the octets of one instance and hands it over."""

    def __init__(self, arrival: Arrival, place: _Queue) -> None:
        super().__init__(arrival)
        self._place = place

    def finish(self) -> Outcome:
        """Hand it over."""
        arrival, parcel = self.arrival, self.parcel()
        self._place.put(parcel)
        uid, size = arrival.sop_instance_uid, parcel.dataset_size
        return Outcome(uid, "done", SUCCESS, arrival.sop_class_uid, arrival.transfer_syntax_uid, size)


def _stream(source: Any, wanted: Sequence[Wanted], options: Mapping[str, Any]) -> Iterator[Parcel | Unfit]:
    if not isinstance(source, Retrievable):
        raise UsageError(f"nothing can be retrieved from {source}")
    _check_options(source, options)
    control = Control(total=len(wanted))
    place = _Queue(control)

    def run() -> None:
        try:
            source.deliver(wanted, place, control, **options)
            place.put(None)
        except BaseException as error:  # noqa: BLE001  (raised again in the reader's thread)
            place.put(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="dicomlab stream", daemon=True)
    thread.start()
    try:
        while (item := place.items.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        control.cancel()
        thread.join(timeout=30)


def parcels(cohort: Cohort, options: Mapping[str, Any] | None = None) -> Iterator[Parcel | Unfit]:
    """The instances of a cohort as parcels, octets as they came; what does not come is ``Unfit``.

    What a peer sends without being asked, or once more, is left out.
    """
    wanted = [instance.wanted for instance in cohort.instances()]
    missing = dict.fromkeys(one.sop_instance_uid for one in wanted)
    for item in _stream(cohort.source, wanted, options or {}) if wanted else ():
        uid = item.meta.sop_instance_uid if isinstance(item, Parcel) else item.name
        if isinstance(item, Parcel) and uid not in missing:
            continue
        missing.pop(uid, None)
        yield item
    for uid in missing:
        yield Unfit(uid, "the peer did not deliver it")


def datasets(cohort: Cohort, options: Mapping[str, Any]) -> Iterator[Dataset]:
    """Carry out ``Cohort.datasets``, which documents it."""
    for item in parcels(cohort, options):
        if isinstance(item, Unfit):
            raise Interrupted(f"{item.name}: {item.reason}", endpoint=str(cohort.source))
        yield _read(item)


def dataset(instance: Instance) -> Dataset:
    """Carry out ``Instance.dataset``, which documents it."""
    if instance.source is None:
        raise UsageError("this instance has no source to be retrieved from")
    for item in _stream(instance.source, [instance.wanted], {}):
        if isinstance(item, Unfit):
            raise ServiceError(f"{instance.source} did not deliver {item.name}: {item.reason}", status=0)
        if item.meta.sop_instance_uid == instance.sop_instance_uid:
            return _read(item)
    raise ServiceError(f"{instance.source} did not deliver {instance.sop_instance_uid}", status=0)


def _read(parcel: Parcel) -> Dataset:
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    try:
        return dcmread(BytesIO(parcel.octets))
    except (InvalidDicomError, ValueError, NotImplementedError, OSError) as error:
        raise DicomlabError(f"{parcel.name} can't be read as a data set: {error}") from error
