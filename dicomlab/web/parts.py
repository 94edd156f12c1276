"""What a web server sends beside whole instances: parts of octets, and metadata."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dicomlab.model.columns import Problem, columns
from dicomlab.model.summary import Summarised, Summary
from dicomlab.web.json_columns import Table
from dicomlab.web.json_datasets import Bulk, from_json
from dicomlab.web.json_model import decode

if TYPE_CHECKING:
    from pandas import DataFrame
    from pydicom import Dataset


@dataclass(frozen=True, repr=False)
class Part(Summarised):
    """Octets of one kind: a frame, a bulk value, a rendered image or document.

    Attributes
    ----------
    octets : bytes
    media_type : str
        What they are, by how they begin; where that tells nothing, what the server says.
    said : str
        What the server says.
    transfer_syntax : str
        As the server says; ``""`` where it doesn't.
    location : str
        Content-Location: which frame or value it is, as the server says.
    """

    octets: bytes
    media_type: str
    said: str = ""
    transfer_syntax: str = ""
    location: str = ""

    def __len__(self) -> int:
        return len(self.octets)

    def _summary_(self) -> Summary:
        facts = [("octets", f"{len(self.octets):,}")]
        if self.said != self.media_type:
            facts.append(("the server says", self.said or "nothing"))
        if self.transfer_syntax:
            facts.append(("transfer syntax", self.transfer_syntax))
        return Summary(f"Part {self.media_type or 'of an unknown kind'}", tuple(facts))

    def _repr_png_(self) -> bytes | None:
        return self.octets if self.media_type == "image/png" else None

    def _repr_jpeg_(self) -> bytes | None:
        return self.octets if self.media_type == "image/jpeg" else None


@dataclass(eq=False, repr=False)
class Metadata(Summarised):
    """The attributes of instances without their bulk values, as a server gave them; decoded when somebody looks.

    Attributes
    ----------
    octets : bytes
        An array in DICOM JSON.
    source : str
    complete : bool
        Whether as many instances came as there are, as far as anybody knows.
    note : str
        Why not.
    """

    octets: bytes
    source: str
    complete: bool = True
    note: str = ""
    fictional: bool = False
    fetch: Bulk | None = None
    problems: list[Problem] = field(default_factory=list)
    _models: list[dict[str, Any]] | None = None

    @property
    def json(self) -> list[dict[str, Any]]:
        """The objects of the DICOM JSON Model."""
        if self._models is None:
            found = decode(self.octets)
            self._models = [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
        return self._models

    def __len__(self) -> int:
        return len(self.json)

    def to_dataframe(self, include: Sequence[str | int] | None = None) -> DataFrame:
        """One row for each instance; values that can't be read are NA, and stand in ``problems``.

        Parameters
        ----------
        include : sequence of str, optional
            Keywords, tags or paths through sequences. Only these are decoded. Without it every attribute that fits
            into a cell is a column: no sequences, no binary values.

        Raises
        ------
        UsageError
            An unknown keyword.
        RemoteProtocolError
            What came is no array of data sets.
        """
        frame, self.problems = Table(self.octets).read(columns(include) if include is not None else None)
        return frame

    def datasets(self, *, bulk: bool | Bulk = False) -> Iterator[Dataset]:
        """The data sets, one after the other.

        Parameters
        ----------
        bulk : bool or callable
            False leaves bulk values out, True fetches each from where the server says that it is, a function fetches
            it by URI, VR and tag.

        Raises
        ------
        RemoteProtocolError
            A value that can't be.
        """
        fetch: Callable[..., bytes] | None = self.fetch if bulk is True else bulk or None
        for model in self.json:
            yield from_json(model, fetch)

    def _summary_(self) -> Summary:
        facts = (("source", self.source), ("octets", f"{len(self.octets):,}"))
        return Summary("Metadata", facts, notes=() if self.complete else (f"not complete: {self.note}",))
