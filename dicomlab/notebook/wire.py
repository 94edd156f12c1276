"""The wire, live: a widget that follows a trace while it grows. The browser asks for what it shows, and no more.

Nothing runs in the kernel for it: no thread, no timer. The page asks while it is visible; rows are read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dicomlab.model.summary import Summary, visible
from dicomlab.model.trace import SHOWN_OCTETS, Message, Trace
from dicomlab.notebook.diagram import parties_of
from dicomlab.notebook.html import Markup
from dicomlab.notebook.ladder import ladder
from dicomlab.notebook.widget import Face

_ROWS, _FIELDS, _TEXT = 200, 400, 200
KEPT = 20_000
"""Messages that a view knows; the oldest are forgotten."""
_ASKED = 300
"""Letters of a filter that are looked at."""


class WireView(Face):
    """A trace in a widget: filter, keyboard, fields beside octets. Its stored form is the ladder.

    Parameters
    ----------
    trace : Trace
    height : int
        Of the list, in pixels.
    """

    _script = "wire"

    def __init__(self, trace: Trace, height: int = 420) -> None:
        self.trace = trace
        self.selected: int | None = None
        """The message that is open."""
        self._more = trace.follow()
        self._messages: dict[int, Message] = {}
        super().__init__(height=height, note="")

    def _twin(self) -> tuple[Summary, Markup | None]:
        return self.trace._summary_(), None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": ladder(self.trace)}

    # --- what the page asks ----------------------------------------------------------------------------------------

    def _on_rows(self, asked: Mapping[str, Any]) -> None:
        with self._lock:
            answer = self.rows(asked)
        self._send("rows", ticket=asked.get("ticket"), **answer)

    def _on_open(self, asked: Mapping[str, Any]) -> None:
        number = asked.get("number")
        if isinstance(number, int) and number in self._messages:
            self.selected = number
            self._send("open", **self.opened(number))

    def _on_closed(self, _: Mapping[str, Any]) -> None:
        self.selected = None

    def rows(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The rows of a window of what passes the filter.

        Parameters
        ----------
        asked : mapping
            ``start``, ``count`` (at most 200), ``text``, ``protocol``, ``trouble`` (only what is in trouble).
        """
        for message in self._more():
            self._messages[message.number] = message
        for number in list(self._messages)[: max(0, len(self._messages) - KEPT)]:
            del self._messages[number]
        text = str(asked.get("text", ""))[:_ASKED].casefold()
        protocol, trouble = str(asked.get("protocol", "")), bool(asked.get("trouble"))
        passing = [m for m in self._messages.values() if _passes(m, text, protocol, trouble=trouble)]
        start = _whole(asked.get("start"), 0, len(passing))
        count = _whole(asked.get("count"), 0, _ROWS)
        parties = parties_of(self.trace)
        protocols = dict.fromkeys(m.event.channel.protocol for m in self._messages.values())
        return {
            "start": start,
            "rows": [_row(m, parties) for m in passing[start : start + count]],
            "total": len(passing),
            "of": len(self._messages),
            "octets": self.trace.octets,
            "dropped": self.trace.dropped,
            "parties": [visible(name, 60) for name in parties],
            "protocols": [visible(name, 20) for name in protocols],
        }

    def opened(self, number: int) -> dict[str, Any]:
        """One message whole, masked as everywhere."""
        message = self._messages[number]
        note = message.event.direction == "note"
        octets = b"" if note else message.event.octets[:SHOWN_OCTETS]
        hidden = [[max(0, a), min(b, len(octets))] for a, b in message.private if a < len(octets)]
        shown = bytearray(octets)
        for start, end in hidden:
            shown[start:end] = bytes(end - start)  # they never leave the kernel
        fields: list[list[Any]] = []
        for depth, one, value in message.rows():
            if len(fields) == _FIELDS:
                break
            cells = [visible(text, _TEXT) for text in (one.name, value, one.meaning, one.place, one.section)]
            fields.append([depth, *cells, one.start, one.end, bool(one.children)])
        return {
            "number": number,
            "title": visible(message.reading.text, _TEXT),
            "who": "" if note else visible(" → ".join(message.event.parties)),
            "sentence": visible(message.reading.sentence, 400),
            "trouble": visible(message.reading.trouble),
            "state": message.reading.state,
            "size": 0 if note else message.event.size,
            "fields": fields,
            "octets": shown.hex(),
            "hidden": hidden,
            "curl": message.curl(),
        }


def _passes(message: Message, text: str, protocol: str, *, trouble: bool) -> bool:
    if protocol and message.event.channel.protocol != protocol:
        return False
    if trouble and not message.reading.trouble:
        return False
    return (
        not text
        or text in f"{message.reading.text} {message.reading.sentence} {' '.join(message.event.parties)}".casefold()
    )


def _row(message: Message, parties: list[str]) -> list[Any]:
    """Number, ms, octets, state, from, to, text, trouble; from and to are -1 for a plan."""
    note = message.event.direction == "note"
    start, end = (-1, -1) if note else (parties.index(name) for name in message.event.parties)
    text = visible(f"plan: {message.reading.text}" if note else message.reading.text, _TEXT)
    state = message.reading.state.partition(" ")[0]
    size = 0 if note else message.event.size
    return [message.number, round(message.at_ms, 1), size, state, start, end, text, visible(message.reading.trouble)]


def _whole(value: Any, least: int, most: int) -> int:
    return min(max(int(value), least), most) if isinstance(value, int) else least


def wire_view(trace: Trace) -> WireView:
    """Show a trace in a widget."""
    return WireView(trace)
