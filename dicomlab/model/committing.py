"""What the results of storage commitment make of a report, whichever door they come by.

Source
------
PS3.4 Annex J (Storage Commitment Service Class); PS3.18 §13 (Storage Commitment Service).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from dicomlab.model.commitment import REASONS, Committed, Reference
from dicomlab.model.report import Outcome, Report

_NOTES = ("wait for their commitment: report.refresh() asks again", "were not committed to")


@dataclass(slots=True)
class Ledger:
    """What was asked of one peer, transaction by transaction, and what is known of each instance."""

    results: dict[Reference, str] = field(default_factory=dict)
    """``""`` where it is safe, else the reason."""
    open: dict[str, tuple[Reference, ...]] = field(default_factory=dict)
    """Transactions that nobody has reported yet."""
    refused: str = ""
    """Why nothing was asked."""

    @classmethod
    def of(cls, report: Report) -> Ledger:
        """What a report says is still to come."""
        ledger, found = cls(), dict[str, list[Reference]]()
        for one in report:
            if one.result == "pending" and one.transaction_uid:
                found.setdefault(one.transaction_uid, []).append((one.sop_class_uid, one.sop_instance_uid))
        ledger.open.update({uid: tuple(references) for uid, references in found.items()})
        return ledger

    def take(self, uid: str, result: Committed) -> bool:
        """Take a result; False where it is of no transaction that is open."""
        mine = self.open.pop(uid, None)
        if mine is None:
            return False
        reasons = {one: f"{code:04X}H {REASONS.get(code, 'failed')}" for one, code in result.failed.items()}
        said = {**dict.fromkeys(result.committed, ""), **reasons}
        self.results.update({one: said.get(one, "not mentioned in the report") for one in mine})
        return True

    @property
    def missing(self) -> set[Reference]:
        """The instances of which nothing is known yet."""
        return {one for references in self.open.values() for one in references} - set(self.results)

    def told(self, report: Report, again: Callable[[Report], Report], whom: Mapping[str, str]) -> Report:
        """The report with what is known now; `again` asks again, `whom` says whom, for tomorrow."""
        waiting = {one: uid for uid, references in self.open.items() for one in references}
        outcomes = tuple(self._outcome(one, waiting) for one in report)
        pending = sum(one.result == "pending" for one in outcomes)
        failed = sum(one.result == "failed" for one in outcomes)
        unsafe = sum(" not committed: " in one.status for one in outcomes)
        note = "" if report.note.endswith(_NOTES) else report.note
        if not note and pending:
            note = waiting_note(pending, len(outcomes))
        elif not note and (failed or unsafe):
            note = f"{max(failed, unsafe)} of {len(outcomes)} {_NOTES[1]}"
        return replace(
            report, outcomes=outcomes, complete=not note, note=note,
            refresh_with=again if pending else None, follow=dict(whom) if pending else {},
        )  # fmt: skip

    def _outcome(self, outcome: Outcome, waiting: Mapping[Reference, str]) -> Outcome:
        reference = (outcome.sop_class_uid, outcome.sop_instance_uid)
        stored = outcome.status.partition("; commitment")[0]
        if reference in self.results:
            reason = self.results[reference]
            if reason:
                text = f"{stored}; commitment: not committed: {reason}"
                return replace(outcome, result="failed", status=text, transaction_uid="")
            result = "done" if outcome.result == "pending" else outcome.result
            return replace(outcome, result=result, status=f"{stored}; commitment: safe", transaction_uid="")
        if reference in waiting:
            why = f": {self.refused}" if self.refused else ""
            text = f"{stored}; commitment: pending{why}"
            return replace(outcome, result="pending", status=text, transaction_uid=waiting[reference])
        if outcome.result in ("done", "warning") and self.refused:
            text = f"{stored}; commitment: not committed: {self.refused}"
            return replace(outcome, result="warning", status=text)
        return outcome


def waiting_note(pending: int, total: int) -> str:
    """Say that commitments are waited for."""
    return f"{pending} of {total} {_NOTES[0]}"


def references_of(report: Report) -> list[Reference]:
    """The instances of a report that are there, to be committed to."""
    return sorted(
        {
            (one.sop_class_uid, one.sop_instance_uid)
            for one in report
            if one.result in ("done", "warning") and one.sop_class_uid
        }
    )
