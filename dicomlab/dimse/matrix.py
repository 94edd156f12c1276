"""The negotiation of the associations on a trace, as a table: what was proposed, and what came back for each.

Source
------
PS3.8 §9.3.2.2, §9.3.3.2, Table 9-18; PS3.7 §D.3.3.4 (roles).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dicomlab.dimse import pdu
from dicomlab.dimse.dissect import name_of
from dicomlab.errors import RemoteProtocolError
from dicomlab.model.summary import Summarised, Summary
from dicomlab.model.trace import Trace

_SHOWN = 50
_SIGNS = {"acceptance": "✓", "no answer": "–"}


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """One presentation context of one association.

    Attributes
    ----------
    association : int
        Counted on the trace, from 1.
    id : int
    abstract_syntax : str
        UID of the service.
    proposed : tuple of str
        UIDs of the transfer syntaxes offered.
    result : str
        In the words of PS3.8 Table 9-18; ``"no answer"``, ``"rejected"`` or ``"aborted"`` where none came for it.
    accepted : str
        UID of the transfer syntax accepted, or ``""``.
    """

    association: int
    id: int
    abstract_syntax: str
    proposed: tuple[str, ...]
    result: str
    accepted: str = ""


@dataclass
class _Talk:
    """What one association said of itself so far."""

    number: int
    request: pdu.AssociateRequest | None = None
    accept: pdu.AssociateAccept | None = None
    ended: str = ""


@dataclass(frozen=True, eq=False, repr=False)
class Matrix(Summarised):
    """What the associations on a trace negotiated; iterate over its rows, or look at it."""

    rows: tuple[MatrixRow, ...]
    facts: tuple[tuple[str, str], ...] = field(default=())

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[MatrixRow]:
        return iter(self.rows)

    def __bool__(self) -> bool:
        return any(row.accepted for row in self.rows)

    def _summary_(self) -> Summary:
        rows = tuple(
            (
                str(row.association), str(row.id), name_of(row.abstract_syntax), ", ".join(map(name_of, row.proposed)),
                f"{_SIGNS.get(row.result, '✗')} {row.result}", name_of(row.accepted) if row.accepted else "",
            )
            for row in self.rows[:_SHOWN]
        )  # fmt: skip
        accepted = sum(bool(row.accepted) for row in self.rows)
        title = f"Negotiation: {accepted} of {len(self.rows)} presentation contexts accepted (PS3.8 §9.3.3.2)"
        names = ("association", "id", "abstract syntax", "proposed", "result", "accepted")
        return Summary(title, self.facts, names, rows, max(0, len(self.rows) - _SHOWN))


def matrix(trace: Trace) -> Matrix:
    """Read the negotiation off a trace.

    Parameters
    ----------
    trace : Trace

    Returns
    -------
    Matrix
        Empty where no association began on it.

    Source
    ------
    PS3.8 §9.3.2, §9.3.3.
    """
    talks: dict[object, list[_Talk]] = {}
    count = 0
    for event in trace:
        if event.channel.protocol != "DIMSE" or event.direction == "note":
            continue
        kind = event.octets[0] if event.octets else 0
        if kind == pdu.P_DATA_TF:
            continue
        try:
            value = pdu.decode(event.octets)
        except RemoteProtocolError:
            continue
        mine = talks.setdefault(event.channel.conversation, [])
        if isinstance(value, pdu.AssociateRequest):
            count += 1
            mine.append(_Talk(count, value))
        elif mine and isinstance(value, pdu.AssociateAccept):
            mine[-1].accept = value
        elif mine and isinstance(value, pdu.AssociateReject):
            mine[-1].ended = f"rejected: {value.meaning}"
        elif mine and isinstance(value, pdu.Abort):
            mine[-1].ended = "aborted"
    every = sorted((one for some in talks.values() for one in some), key=lambda one: one.number)
    return Matrix(
        tuple(row for one in every for row in _rows(one)), tuple(fact for one in every for fact in _facts(one))
    )


def _rows(talk: _Talk) -> Iterator[MatrixRow]:
    if talk.request is None:
        return
    answers = {one.id: one for one in talk.accept.contexts} if talk.accept is not None else {}
    for one in talk.request.contexts:
        answer = answers.get(one.id)
        result = answer.meaning if answer is not None else talk.ended or "no answer"
        accepted = answer.transfer_syntax if answer is not None and answer.result == 0 else ""
        yield MatrixRow(talk.number, one.id, one.abstract_syntax, one.transfer_syntaxes, result, accepted)


def _facts(talk: _Talk) -> Iterator[tuple[str, str]]:
    request = talk.request
    if request is None:
        return
    who = f"{request.calling} → {request.called}, max PDU {request.user.max_pdu}"
    if talk.accept is not None:
        answered = talk.accept.user
        name = answered.implementation_version_name or answered.implementation_class_uid
        who += f"; answered by {name}, max PDU {answered.max_pdu}"
    yield f"association {talk.number}", who
