"""The wire, live: a widget that follows a trace while it grows. The browser asks for what it shows, and no more.

Nothing runs in the kernel for it: no thread, no timer. The page asks while it is visible; rows are read once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from dicomlab.model.summary import visible
from dicomlab.model.trace import SHOWN_OCTETS, Message, Trace
from dicomlab.notebook.diagram import parties_of
from dicomlab.notebook.ladder import ladder

_STATIC = Path(__file__).parent / "static"
_ROWS, _FIELDS, _TEXT = 200, 400, 200
KEPT = 20_000
"""Messages that a view knows; the oldest are forgotten."""
_ASKED = 300
"""Letters of a filter that are looked at."""


class WireView(anywidget.AnyWidget):
    """A trace in a widget: filter, keyboard, fields beside octets. Its stored form is the ladder.

    Parameters
    ----------
    trace : Trace
    """

    _esm = _STATIC / "wire.js"
    _css = _STATIC / "wire.css"
    height = traitlets.Int(420).tag(sync=True)
    """Of the list, in pixels."""
    selected = traitlets.Int(-1).tag(sync=True)
    """The message that is open; -1: none."""

    def __init__(self, trace: Trace, **options: Any) -> None:
        super().__init__(**options)
        self.trace = trace
        self._more = trace.follow()
        self._messages: dict[int, Message] = {}
        self.on_msg(self._answer)

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The widget; and for a stored notebook the ladder and its text."""
        bundle = super()._repr_mimebundle_(**options)
        data = bundle[0] if isinstance(bundle, tuple) else bundle
        if data:
            data["text/plain"], data["text/html"] = repr(self.trace), ladder(self.trace)
        return bundle

    # --- what the page asks ----------------------------------------------------------------------------------------

    def _answer(self, _: Any, asked: Any, __: Any) -> None:
        """Answer one question of the page; what is no question is passed over."""
        if not isinstance(asked, dict):
            return
        if asked.get("ask") == "rows":
            self.send({"answer": "rows", "ticket": asked.get("ticket"), **self.rows(asked)})
        elif asked.get("ask") == "open":
            number = asked.get("number")
            if isinstance(number, int) and number in self._messages:
                self.selected = number
                self.send({"answer": "open", **self.opened(number)})

    def rows(self, asked: dict[str, Any]) -> dict[str, Any]:
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
        octets = b"" if message.event.direction == "note" else message.event.octets[:SHOWN_OCTETS]
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
            "who": visible(" → ".join(message.event.parties)),
            "sentence": visible(message.reading.sentence, 400),
            "trouble": visible(message.reading.trouble),
            "state": message.reading.state,
            "size": message.event.size,
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
