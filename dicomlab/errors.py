"""Every error dicomlab raises, in one tree.

::

    DicomlabError
    ├── UsageError(ValueError)      caller's mistake, found before anything is sent
    ├── MissingExtra(ImportError)   an optional dependency is not installed
    ├── ProtocolError               somebody broke the standard
    │   ├── LocalProtocolError        we did (a dicomlab bug: please report)
    │   └── RemoteProtocolError       the peer, server, medium or sender did
    ├── CommunicationError          the conversation did not take place, or not to its end
    │   ├── Unreachable               nobody answered
    │   ├── Refused                   somebody answered, and said no
    │   ├── Interrupted               it started, then broke off
    │   └── Cancelled                 we broke it off
    └── ServiceError                the conversation took place and reported failure

One condition is one class on every path. What had arrived before the failure is in ``partial``
(a ``Cohort`` or a ``Report``), the octets that crossed the wire in ``trace`` where tracing was on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dicomlab.model.trace import Trace

_MOST = 10_000
"""Letters of a message that are shown."""

_faces: list[Callable[[DicomlabError], dict[str, str]]] = []


def shown_by(face: Callable[[DicomlabError], dict[str, str]]) -> None:
    """Name what shows an error in a notebook. The front door does so: this room knows none above it."""
    _faces[:] = [face]


class DicomlabError(Exception):
    """Root of the tree; ``except DicomlabError`` catches all of it."""

    trace: Trace | None = None
    """The wire trace up to the failure, where tracing was on."""

    partial: Any = None
    """The ``Cohort`` or ``Report`` of what arrived before the failure, where something did."""

    transient: bool = False
    """Whether the same call may work later without anybody changing anything: a busy peer, a connection that broke."""

    def __str__(self) -> str:
        """The message, which may quote a peer: bounded, nothing in it that a terminal acts on; ``args`` have it raw."""
        said = super().__str__()
        shown = "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in said[:_MOST])
        return shown if len(said) <= _MOST else f"{shown}… ({len(said)} characters)"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What happened, what to do, and the wire up to it, where an error is looked at rather than raised."""
        return _faces[0](self) if _faces else {"text/plain": repr(self)}

    def __reduce__(self) -> tuple[Any, ...]:
        """Let errors cross to another process, whatever their constructors take; what they carry stays behind."""
        kept = {name: value for name, value in self.__dict__.items() if name not in ("trace", "partial")}
        return _rebuilt, (type(self), self.args, kept)


class UsageError(DicomlabError, ValueError):
    """The call could never have worked; nothing was sent."""


class MissingExtra(DicomlabError, ImportError):
    """An optional dependency is needed; the message holds the install line."""


class ProtocolError(DicomlabError):
    """Octets that the standard does not allow at that place.

    Parameters
    ----------
    message : str
        What is wrong with them.
    section : str
        Where the standard says so, as ``"PS3.8 §9.3.1"``.
    offset : int, optional
        Octets from the start of the unit that was being decoded.
    """

    def __init__(self, message: str, *, section: str, offset: int | None = None) -> None:
        where = section if offset is None else f"{section}, octet {offset}"
        super().__init__(f"{message} [{where}]")
        self.section = section
        self.offset = offset


class LocalProtocolError(ProtocolError):
    """dicomlab was about to send something the standard forbids."""


class RemoteProtocolError(ProtocolError):
    """The other side sent something the standard forbids."""


class CommunicationError(DicomlabError):
    """The conversation with ``endpoint`` did not take place, or not to its end."""

    def __init__(self, message: str, *, endpoint: str) -> None:
        super().__init__(f"{endpoint}: {message}")
        self.endpoint = endpoint


class Unreachable(CommunicationError):
    """Nobody answered: no route, no listener, no such folder, no packet in time."""

    transient = True


class Refused(CommunicationError):
    """Somebody answered, and declined: rejected, unauthorized, no permission."""


class Interrupted(CommunicationError):
    """It started, then broke off: connection lost, deadline passed, medium full or gone."""

    transient = True


class Cancelled(CommunicationError):
    """The caller broke it off."""


class ServiceError(DicomlabError):
    """The peer carried the request out and reported a failure.

    ``status`` is the peer's own number: a DIMSE status such as 0xA700, or an HTTP status such as 409. ``elements``
    are the attributes that it is about, as tags, where it named some.
    """

    error_id: int | None = None
    """The Error ID (0000,0903) beside a DIMSE status, where there is one."""

    def __init__(self, message: str, *, status: int, elements: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.elements = elements


def _rebuilt(kind: type[DicomlabError], arguments: tuple[Any, ...], kept: dict[str, Any]) -> DicomlabError:
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    error.__dict__.update(kept)
    return error
