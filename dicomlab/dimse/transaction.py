"""What storage commitment asks and reports, octets to values and back. No I/O.

Source
------
PS3.4 §J.3.2 (N-ACTION), §J.3.3 (N-EVENT-REPORT), Tables J.3-1, J.3-2; PS3.3 §C.14 (Failure Reason).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomlab.dimse.identifier import Tree, encode_tree, read_row
from dicomlab.dimse.pdu import Octets
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.columns import columns
from dicomlab.model.commitment import PROCESSING_FAILURE, Committed, Reference
from dicomlab.model.values import uid_like

_SECTION = "PS3.4 §J.3"
REQUEST_ACTION = 1
"""Action Type ID of a request (Table J.3-1)."""
ALL_COMMITTED, SOME_FAILED = 1, 2
EVENT_TYPES = (ALL_COMMITTED, SOME_FAILED)
"""Event Type IDs of a result (Table J.3-2)."""

_TRANSACTION_UID, _REFERENCED, _FAILED = 0x00081195, 0x00081199, 0x00081198
_SOP_CLASS, _SOP_INSTANCE, _REASON = 0x00081150, 0x00081155, 0x00081197
_ITEM = ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID")
_REQUEST = columns(["TransactionUID", *(f"ReferencedSOPSequence.{name}" for name in _ITEM)])
_RESULT = columns(
    [
        *(one.name for one in _REQUEST),
        *(f"FailedSOPSequence.{name}" for name in (*_ITEM, "FailureReason")),
    ]
)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A request: commit to the safe keeping of these."""

    uid: str
    instances: tuple[Reference, ...]

    def encode(self, transfer_syntax: str) -> bytes:
        """Encode the Action Information (Table J.3-1)."""
        tree: Tree = {_TRANSACTION_UID: ("UI", [self.uid]), _REFERENCED: ("SQ", list(map(_item, self.instances)))}
        return encode_tree(tree, transfer_syntax)

    @classmethod
    def decode(cls, octets: Octets, transfer_syntax: str) -> Transaction:
        """Decode the Action Information.

        Raises
        ------
        RemoteProtocolError
            Broken, or without a Transaction UID that is one, or without instances.
        """
        row = read_row(octets, transfer_syntax, _REQUEST)
        uid, instances = _text(row, "TransactionUID"), _references(row, "ReferencedSOPSequence")
        if not uid_like(uid) or not instances:
            raise RemoteProtocolError("no Transaction UID, or no instances", section=_SECTION, offset=0)
        return cls(uid, instances)


@dataclass(frozen=True, slots=True)
class Result:
    """A report: what is safe, and what is not, by SOP Instance UID, and why."""

    uid: str
    committed: tuple[Reference, ...]
    failed: Mapping[Reference, int]

    @property
    def outcome(self) -> Committed:
        """What it says, as every door says it."""
        return Committed(self.committed, self.failed)

    @property
    def event_type(self) -> int:
        """The Event Type ID (Table J.3-2)."""
        return SOME_FAILED if self.failed else ALL_COMMITTED

    def encode(self, transfer_syntax: str) -> bytes:
        """Encode the Event Information (Table J.3-2)."""
        tree: Tree = {_TRANSACTION_UID: ("UI", [self.uid])}
        if self.committed:
            tree[_REFERENCED] = ("SQ", list(map(_item, self.committed)))
        if self.failed:
            failed = [{**_item(one), _REASON: ("US", [reason])} for one, reason in self.failed.items()]
            tree[_FAILED] = ("SQ", failed)
        return encode_tree(tree, transfer_syntax)

    @classmethod
    def decode(cls, octets: Octets, transfer_syntax: str) -> Result:
        """Decode the Event Information.

        Raises
        ------
        RemoteProtocolError
            Broken, or without a Transaction UID that is one.
        """
        row = read_row(octets, transfer_syntax, _RESULT)
        uid, failed = _text(row, "TransactionUID"), _references(row, "FailedSOPSequence")
        if not uid_like(uid):
            raise RemoteProtocolError("no Transaction UID", section=_SECTION, offset=0)
        reasons = [one if isinstance(one, int) else PROCESSING_FAILURE for one in row.get(_REASONS, ())]
        reasons += [PROCESSING_FAILURE] * (len(failed) - len(reasons))
        return cls(uid, _references(row, "ReferencedSOPSequence"), dict(zip(failed, reasons, strict=False)))


_REASONS = "FailedSOPSequence.FailureReason"


def _item(one: Reference) -> Tree:
    return {_SOP_CLASS: ("UI", [one[0]]), _SOP_INSTANCE: ("UI", [one[1]])}


def _text(row: Mapping[str, Sequence[object]], name: str) -> str:
    return next((str(one).strip(" \0") for one in row.get(name, ()) if one is not None), "")


def _references(row: Mapping[str, Sequence[object]], sequence: str) -> tuple[Reference, ...]:
    classes, uids = (row.get(f"{sequence}.{name}", ()) for name in _ITEM)
    pairs = zip(classes, uids, strict=False)
    return tuple((str(one).strip(" \0"), str(uid).strip(" \0")) for one, uid in pairs if one and uid)
