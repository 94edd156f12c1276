"""How the whole of an answer is had page by page, and what tells that it is not the whole. No I/O.

A server may cap an answer without a word, pass over ``offset``, order its rows anew for each request, or gain and lose
matches meanwhile. So each page asks for the last row of the one before it again: where that row does not come first,
the matches have moved, and they are read once more from the start, until a reading shows nothing new.

Source
------
PS3.18 §8.3.4.4 (limit and offset), §10.6.1.2.3 (a stable order only while the data set does not change).
"""

from __future__ import annotations

from collections.abc import Sequence

MAX_PAGES = 100_000
READINGS = 3
"""How often the matches are read at most where they move."""


class Paging:
    """Decides what to ask next, and whether the answer is whole.

    Parameters
    ----------
    page : int
        Rows to ask for in one request.
    whole : int
        The most rows of an answer after which this server was seen to have nothing more; so many need no second look.
    most : int
        Matches that the server gives at all; 0: all.

    Attributes
    ----------
    offset : int or None
        What to ask next; None when there is nothing more to ask.
    note : str
        Why the answer is not whole; ``""`` where it is.
    remarks : list of str
        What else was seen.

    Source
    ------
    PS3.18 §8.3.4.4.
    """

    def __init__(self, page: int, *, whole: int = 0, most: int = 0) -> None:
        self.page, self.whole, self._most = page, whole, most
        self.offset: int | None = 0
        self.note = ""
        self.remarks: list[str] = []
        self.seen: set[str] = set()
        """The unique keys that came."""
        self._first = self._last = ""
        self._received = 0
        """Rows of this reading."""
        self._pages = 0
        self._reading = 1
        self._steady, self._new = True, 0

    @property
    def received(self) -> int:
        """How many matches came, each counted once."""
        return len(self.seen)

    def take(self, identities: Sequence[str], *, more: bool) -> list[int]:
        """Take one page: the unique keys of its rows. Give the places of those that are new.

        Parameters
        ----------
        identities : sequence of str
            ``""`` where a row has none: nothing could be asked for by it.
        more : bool
            The server says that there are more.

        Source
        ------
        PS3.18 §8.3.4.4.
        """
        asked, start = self.offset or 0, self._received
        overlap = asked < start
        self._pages += 1
        new = self._unseen(identities)
        if "" in identities:
            self._remark("rows without a unique key were left out")
        first = identities[0] if identities else ""
        again = identities and not new and first == self._first and not (overlap and first == self._last)
        if again and self._pages == 2:
            return self._ignored(len(identities), more=more)
        if overlap and first != self._last:
            self._moved()
        beyond = len(identities) - int(overlap and first == self._last)
        if new and not (overlap and first != self._last) and len(new) < beyond and asked:
            self._moved()  # rows of an earlier page came again
        self._new += len(new)
        if not start and identities:
            self._first = first
        self._received += beyond
        if identities:
            self._last = identities[-1]
        self._go_on(len(identities), beyond, more=more)
        return new

    def declined(self, reason: str) -> None:
        """The server declines to give the page that was asked for."""
        if self._received >= self.page:
            self.note = f"the server gives {self.received} rows and declines to go on ({reason})"
        self.offset = None

    def _unseen(self, identities: Sequence[str]) -> list[int]:
        new = []
        for at, identity in enumerate(identities):
            if identity and identity not in self.seen:
                self.seen.add(identity)
                new.append(at)
        return new

    def _ignored(self, rows: int, *, more: bool) -> list[int]:
        if rows == self.page or more:
            self.note = f"the server ignores offset: it gives the first {rows} rows again and again"
        self.offset = None
        return []

    def _go_on(self, rows: int, beyond: int, *, more: bool) -> None:
        """Decide what to ask after a page."""
        single = self._pages == 1 and not more and rows < self.page and rows <= self.whole
        if self._most and self.received >= self._most:
            self.note = f"the server gives no more than {self._most} of all matches"
            self.offset = None
        elif beyond <= 0:
            if more:
                self.note = "the server says that there is more, and gives nothing"
            self._end()
        elif single:
            self.offset = None
        elif self._pages >= MAX_PAGES:
            self.note = f"stopped after {MAX_PAGES} pages"
            self.offset = None
        else:
            self.offset = self._received - 1 if rows > 1 else self._received

    def _end(self) -> None:
        """A reading has come to its end: whole, or to be done again because the matches moved."""
        self.offset = None
        if self._steady and self._reading == 1:
            self.whole = max(self.whole, self._received)
            return
        if self._reading > 1 and self._steady and not self._new:
            self.note = ""
            self._remark("the matches moved while they were read, and were read again")
            return
        if self._reading >= READINGS:
            self.note = "the matches kept moving while they were read: some may be missing"
            return
        self._reading += 1
        self._received, self._first, self._last = 0, "", ""
        self._steady, self._new = True, 0
        self.offset = 0

    def _moved(self) -> None:
        self._steady = False

    def _remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)
