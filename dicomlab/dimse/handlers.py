"""What a person's own function gets and gives where it takes over a service of an archive.

::

    def answer(asked):
        yield {"PatientID": "P1", "StudyInstanceUID": "1.2.3"}

    Archive(handlers={"C-FIND": answer})

A :class:`Cohort` of any path is an answer too, so that one line passes a question on to another peer::

    Archive(handlers={"C-FIND": lambda asked: web.find(asked.query)})

Source
------
PS3.7 §9.1 (DIMSE-C), §10.1.4 (N-ACTION).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from dicomlab.errors import DicomlabError, ServiceError, UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.columns import column
from dicomlab.model.query import Query
from dicomlab.part10.meta import EXPLICIT_LE, IMPLICIT_LE

if TYPE_CHECKING:
    from pydicom import Dataset

    from dicomlab.dimse.listener import Caller

_log = logging.getLogger(__name__)

PROCESSING_FAILURE = 0x0110

Verb = Literal["C-ECHO", "C-STORE", "C-FIND", "C-GET", "C-MOVE", "N-ACTION"]
Handler = Callable[["Asked"], Any]
Handlers = Mapping[str, Handler]
"""Functions by the request that each one answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, as a handler sees it.

    Attributes
    ----------
    verb : str
        ``"C-ECHO"``, ``"C-STORE"``, ``"C-FIND"``, ``"C-GET"``, ``"C-MOVE"`` or ``"N-ACTION"``.
    caller : Caller
        Who asks.
    sop_class_uid : str
        The service, or for C-STORE the SOP Class of the instance.
    sop_instance_uid : str
        C-STORE only.
    transfer_syntax_uid : str
        Of the data set.
    query : Query or None
        C-FIND: what must match.
    uids : tuple of str
        C-GET and C-MOVE: the unique keys at ``level``; N-ACTION: the SOP Instances to be committed to.
    level : str
        ``"patient"``, ``"study"``, ``"series"`` or ``"instance"``; ``""`` where there is none.
    destination : str
        C-MOVE: the AE title to send to.
    path : Path or None
        C-STORE: the instance as a file that exists until the handler returns.
    """

    verb: Verb
    caller: Caller
    sop_class_uid: str
    transfer_syntax_uid: str = EXPLICIT_LE
    sop_instance_uid: str = ""
    query: Query | None = None
    uids: tuple[str, ...] = ()
    level: str = ""
    destination: str = ""
    path: Path | None = None
    octets: bytes = field(default=b"", repr=False)
    usual: Callable[[], Any] = field(default=lambda: None, repr=False)
    """Do what the archive would have done: gives the same values that this handler gives."""

    @property
    def dataset(self) -> Dataset:
        """The data set of the request, decoded now: the Identifier, the instance, or the action's information."""
        from pydicom import Dataset, dcmread
        from pydicom.filereader import read_dataset

        if self.path is not None:
            return dcmread(self.path)
        if not self.octets:
            return Dataset()
        implicit = self.transfer_syntax_uid == IMPLICIT_LE
        return read_dataset(BytesIO(self.octets), is_implicit_VR=implicit, is_little_endian=True)


def check_handlers(handlers: Handlers | None) -> dict[str, Handler]:
    """Take handlers by the request they answer.

    Raises
    ------
    UsageError
        No such request, or no function.
    """
    checked = dict(handlers or {})
    for verb, handler in checked.items():
        if verb not in get_args(Verb):
            raise UsageError(f"handlers: {verb!r} is none of {', '.join(get_args(Verb))}")
        if not callable(handler):
            raise UsageError(f"handlers: {verb} needs a function, not a {type(handler).__name__}")
    return checked


def many(handler: Handler, asked: Asked) -> Iterator[Any]:
    """What a handler gives, one by one: nothing, one value, or an iterable of them.

    A cohort stands for its rows (C-FIND), or for the data sets of its instances.

    Raises
    ------
    ServiceError
        As the handler raises it; anything else that it raises is a processing failure (0110H).
    """
    from pydicom import Dataset

    try:
        given = handler(asked)
        if given is None:
            return
        if isinstance(given, Cohort):
            yield from _rows(given) if asked.verb == "C-FIND" else given.datasets()
        elif isinstance(given, Iterable) and not isinstance(given, str | bytes | Mapping | Dataset):
            yield from given
        else:
            yield given
    except (DicomlabError, GeneratorExit):
        raise
    except Exception as error:
        _log.exception("the handler of %s failed", asked.verb)
        text = f"the handler of {asked.verb} failed"
        raise ServiceError(text, status=PROCESSING_FAILURE) from error


def _rows(cohort: Cohort) -> Iterator[dict[str, Any]]:
    """The rows of a cohort as they stand in an Identifier; what is missing, or lies in a sequence, is left out."""
    import pandas as pd

    frame = cohort.to_dataframe()
    known = {name: column(name) for name in frame.columns if "." not in name}
    for row in frame[list(known)].to_dict("records"):
        found = {one: row[name] for name, one in known.items()}
        yield {
            one.name: _written(one.vr, value)
            for one, value in found.items()
            if isinstance(value, tuple) or not pd.isna(value)
        }


def _written(vr: str, value: Any) -> Any:
    """A cell of a table as the VR writes it (PS3.5 §6.2)."""
    if isinstance(value, tuple):
        return [_written(vr, one) for one in value if one is not None]
    if vr == "DA":
        return f"{value:%Y%m%d}"
    if vr == "DT":
        return f"{value:%Y%m%d%H%M%S.%f}"
    return value.replace(":", "") if vr == "TM" else value


def status_of(handler: Handler, asked: Asked) -> int:
    """The status that a handler gives: the last number, Success where there is none."""
    return next((one for one in reversed(list(many(handler, asked))) if isinstance(one, int)), 0)
