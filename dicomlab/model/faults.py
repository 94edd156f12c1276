"""What an archive does wrong on purpose, for teaching and for tests. The doors ask; nothing here does I/O."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType
from typing import Literal, Self

from dicomlab.errors import UsageError
from dicomlab.model.summary import Summarised, Summary

Door = Literal["dimse", "web"]
DOORS: tuple[Door, ...] = ("dimse", "web")


class Fault(Summarised):
    """One switch that is on. Turn it off with ``remove()``, or use it as ``with archive.faults.stall(): ...``.

    ``kind`` names it, ``numbers`` and ``text`` say how it strikes, ``seen`` counts the occasions and ``struck`` how
    often it has struck.
    """

    def __init__(
        self,
        owner: Faults,
        kind: str,
        does: str,
        doors: Iterable[Door],
        *,
        after: int,
        times: int | None,
        text: str = "",
        **numbers: int,
    ) -> None:
        self.kind, self.does, self.doors = kind, does, frozenset(doors)
        self.after, self.times = after, times
        self.text, self.numbers = text, numbers
        self.seen = self.struck = 0
        self._owner = owner

    def remove(self) -> None:
        """Turn it off. May be called twice."""
        self._owner._remove(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _strike(self) -> bool:
        self.seen += 1
        if self.seen <= self.after or (self.times is not None and self.struck >= self.times):
            return False
        self.struck += 1
        return True

    def _when(self) -> str:
        first = f"after {self.after} times" if self.after else ""
        often = "always" if self.times is None else f"{self.times - self.struck} times more"
        return ", ".join(filter(None, (first, often)))

    def _summary_(self) -> Summary:
        facts = (("does", self.does), ("door", " and ".join(sorted(self.doors))), ("when", self._when()))
        return Summary(f"Fault {self.kind}", (*facts, ("struck", str(self.struck))))


class Faults(Summarised):
    """The switches of one archive: ``archive.faults.reject()``, ``archive.faults.cap(10)``, ``archive.faults.clear()``.

    Each turns one fault on and gives the :class:`Fault`. All of them take

    - ``after`` : how many occasions go well before it first strikes,
    - ``times`` : how often it strikes, then it is spent; None: until it is removed,
    - and those that both doors know, ``door`` : ``"dimse"`` or ``"web"``; None: both.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: list[Fault] = []

    # --- both doors --------------------------------------------------------------------------------------------------

    def stall(
        self, after_octets: int = 0, *, door: Door | None = None, after: int = 0, times: int | None = None
    ) -> Fault:
        """Stop answering, `after_octets` octets into the answer, and keep the connection open."""
        does = f"stops {_count(after_octets)} octets into its answer and stays silent"
        return self._add("stall", does, door, after, times, octets=after_octets)

    def slow(self, octets_per_s: int, *, door: Door | None = None, after: int = 0, times: int | None = None) -> Fault:
        """Answer at no more than that rate, in octets for each second."""
        if octets_per_s < 1:
            raise UsageError("slow needs a rate of at least 1 octet for each second; stall() is what stands still")
        return self._add("slow", f"sends {octets_per_s} octets a second", door, after, times, octets_per_s=octets_per_s)

    def truncate(self, octets: int = 1, *, door: Door | None = None, after: int = 0, times: int | None = None) -> Fault:
        """Leave out the last `octets` of each instance that it sends, and say nothing of it."""
        return self._add(
            "truncate", f"leaves out the last {_count(octets)} octets of an instance", door, after, times, octets=octets
        )

    def cap(self, rows: int, *, door: Door | None = None, after: int = 0, times: int | None = None) -> Fault:
        """Answer a search with at most `rows` matches, as if those were all."""
        return self._add("cap", f"never finds more than {_count(rows)}", door, after, times, rows=rows)

    def lie(self, *, door: Door | None = None, after: int = 0, times: int | None = None) -> Fault:
        """Report Success for a retrieve or a store of which nothing was done."""
        return self._add("lie", "reports Success and does nothing", door, after, times)

    def unavailable(
        self, retry_after_s: int = 0, *, door: Door | None = None, after: int = 0, times: int | None = None
    ) -> Fault:
        """Be out of resources: A700H or A702H over DIMSE, 503 (Service Unavailable) over the web."""
        return self._add("unavailable", "is out of resources", door, after, times, retry_after_s=_count(retry_after_s))

    # --- DIMSE -------------------------------------------------------------------------------------------------------

    def reject(
        self, source: int = 1, reason: int = 3, *, result: int = 1, after: int = 0, times: int | None = None
    ) -> Fault:
        """Reject associations (PS3.8 Table 9-21); the default says that it does not know the calling AE title."""
        if not (result in (1, 2) and source in (1, 2, 3) and 0 <= reason <= 255):
            raise UsageError("reject(source, reason): result 1 or 2, source 1 to 3, reason 0 to 255 (PS3.8 Table 9-21)")
        does = f"rejects associations (result {result}, source {source}, reason {reason})"
        return self._add("reject", does, "dimse", after, times, result=result, source=source, reason=reason)

    def refuse_context(self, abstract_syntax: str, *, after: int = 0, times: int | None = None) -> Fault:
        """Refuse the presentation contexts of one SOP Class, given by its UID (PS3.8 Table 9-18, result 3)."""
        does = f"refuses presentation contexts of {abstract_syntax}"
        return self._add("refuse_context", does, "dimse", after, times, text=abstract_syntax)

    def abort(self, at_pdu: int = 1, *, after: int = 0, times: int | None = None) -> Fault:
        """Send an A-ABORT instead of its P-DATA-TF PDU number `at_pdu` (from 1) of an association."""
        if at_pdu < 1:
            raise UsageError("abort(at_pdu) counts the P-DATA-TF PDUs that it sends from 1")
        return self._add("abort", f"aborts at P-DATA-TF PDU {at_pdu}", "dimse", after, times, pdu=at_pdu)

    def fail(self, status: int = 0xC000, *, after: int = 0, times: int | None = None) -> Fault:
        """Answer requests with that status (PS3.7 Annex C) and do nothing."""
        if not 0 < status <= 0xFFFF:
            raise UsageError("fail(status) takes a status of PS3.7 Annex C, such as 0xC000")
        return self._add("fail", f"answers {status:04X}H", "dimse", after, times, status=status)

    # --- web ---------------------------------------------------------------------------------------------------------

    def ignore_offset(self, *, after: int = 0, times: int | None = None) -> Fault:
        """Answer a search from its first match whatever ``offset`` was asked for (PS3.18 §8.3.4.4)."""
        return self._add("ignore_offset", "ignores offset", "web", after, times)

    def no_closing_delimiter(self, *, after: int = 0, times: int | None = None) -> Fault:
        """Leave out the closing delimiter of multipart answers (RFC 2046 §5.1.1)."""
        return self._add("no_closing_delimiter", "leaves out the closing delimiter", "web", after, times)

    def unauthorized(self, *, after: int = 0, times: int | None = None) -> Fault:
        """Answer 401 (Unauthorized), as when a token has expired."""
        return self._add("unauthorized", "answers 401 (Unauthorized)", "web", after, times)

    # --- for the doors -----------------------------------------------------------------------------------------------

    def strikes(self, kind: str, door: Door, text: str = "") -> Fault | None:
        """Tell a door, on an occasion of that kind, whether a fault strikes now.

        Each call is one occasion. A fault about something particular (``text``) sees only its own occasions. Of several
        of one kind the one turned on last comes first.
        """
        with self._lock:
            for fault in reversed(self._on):
                if fault.kind == kind and door in fault.doors and fault.text in ("", text) and fault._strike():
                    return fault
        return None

    # --- all ---------------------------------------------------------------------------------------------------------

    def clear(self) -> None:
        """Turn all of them off."""
        with self._lock:
            self._on.clear()

    def __len__(self) -> int:
        return len(self._on)

    def __bool__(self) -> bool:
        return True

    def _add(
        self,
        kind: str,
        does: str,
        door: Door | None,
        after: int,
        times: int | None,
        *,
        text: str = "",
        **numbers: int,
    ) -> Fault:
        if door is not None and door not in DOORS:
            raise UsageError(f"door is 'dimse' or 'web', or None for both, not {door!r}")
        if after < 0 or (times is not None and times < 1):
            raise UsageError("after counts from 0, times from 1")
        doors = DOORS if door is None else (door,)
        fault = Fault(self, kind, does, doors, after=after, times=times, text=text, **numbers)
        with self._lock:
            self._on.append(fault)
        return fault

    def _remove(self, fault: Fault) -> None:
        with self._lock:
            if fault in self._on:
                self._on.remove(fault)

    def _summary_(self) -> Summary:
        rows = tuple(
            (one.kind, one.does, " and ".join(sorted(one.doors)), one._when(), str(one.struck)) for one in self._on
        )
        if not rows:
            return Summary("Faults (none: everything works)")
        return Summary("Faults", columns=("fault", "what it does", "door", "when", "struck"), rows=rows)


def _count(number: int) -> int:
    if number < 0:
        raise UsageError(f"a number of octets, rows or seconds can't be {number}")
    return number
