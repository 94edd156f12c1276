"""What ``verify()`` found out. Never an exception for a negative finding."""

from __future__ import annotations

from dataclasses import dataclass

from dicomlab.model.summary import Summarised, Summary


@dataclass(frozen=True, repr=False)
class Verification(Summarised):
    """Truthy if the peer answered as it should.

    Attributes
    ----------
    ok : bool
    target : str
        Who was asked.
    seconds : float
        How long it took.
    facts : tuple of (name, value)
        What was tried and what answered: implementation, maximum PDU length, capabilities, counts.
    advice : str
        What to do, where it is not ok.
    """

    ok: bool
    target: str
    seconds: float
    facts: tuple[tuple[str, str], ...] = ()
    advice: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def _summary_(self) -> Summary:
        title = f"{self.target}: {'✓ answers' if self.ok else '✗ does not answer as it should'}"
        facts = (*self.facts, ("took", f"{self.seconds * 1000:.0f} ms"))
        return Summary(title, facts, notes=(self.advice,) if self.advice else ())
