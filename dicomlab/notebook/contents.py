"""What is in a file, a folder or an archive, told on one page: tables, what is wrong, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomlab.errors import DicomlabError, RemoteProtocolError, Unreachable, UsageError
from dicomlab.media.media_set import MediaSet
from dicomlab.model.columns import LEVELS
from dicomlab.model.summary import Summarised, Summary
from dicomlab.notebook.account import Account
from dicomlab.notebook.data_set import DataSetView, inspect

if TYPE_CHECKING:
    from pandas import DataFrame

    from dicomlab.media.volume import Volume

PICTURES = 12
"""Volumes that are drawn; further ones are counted."""
MAX_VALUES = 1 << 28
"""Pixels beyond which a volume is told and not drawn."""
_ROWS, _FEW_SLICES = 50, 6
_SHOWN = ("path", "kind", "message", "text")


def account_of(path: Path) -> Account:
    """Tell what is there.

    Parameters
    ----------
    path : Path
        A DICOM file: its elements, and its picture or waveform. A folder, a ZIP archive, an ISO 9660 image or a
        DICOMDIR: its cohort at every level, what is wrong with it, and a picture of each volume.

    Raises
    ------
    Unreachable
        Nothing is there.
    RemoteProtocolError
        No DICOM is there.
    """
    if not path.exists():
        raise Unreachable("there is no such file or folder", endpoint=str(path))
    account = Account(f"What is in {path.resolve().name or path}")
    if path.is_file() and path.name != "DICOMDIR":
        try:
            dataset = inspect(path, fictional=False)
        except RemoteProtocolError:
            pass  # an archive perhaps, or a data set without its preamble
        else:
            account.add("Its elements", dataset)
            if {"PixelData", "WaveformSequence"} & set(dataset.dataset.dir()):
                account.add("Its picture", _picture(dataset))
            return account
    _tell(account, MediaSet(path))
    return account


def _tell(account: Account, media: MediaSet) -> None:
    cohorts = {level: media.find(level) for level in LEVELS}
    errors = media.errors
    if not len(cohorts["instance"]):
        why = f"; {errors['path'].iloc[0]}: {errors['message'].iloc[0]}" if len(errors) else ""
        raise RemoteProtocolError(f"{media.path} holds no DICOM instance{why}", section="PS3.10 §7.1")
    account.add("What was found", media)
    for level, cohort in cohorts.items():
        account.add({"series": "Series", "study": "Studies"}.get(level, f"{level.capitalize()}s"), cohort)
    for says, table in (("Files that are no instance", errors), ("What is not as it should be", media.findings)):
        if len(table):
            account.add(says, _Listed(table))
    try:
        volumes = media.volumes()
    except UsageError:
        return  # nothing to be drawn: reports, plans, waveforms
    more = len(volumes) - PICTURES
    del volumes[PICTURES:]
    while volumes:  # one in memory at a time
        volume = volumes.pop(0)
        account.add(_title(volume), volume)
        account.add("", _picture(volume, **_planes(volume)))
    if more > 0:
        account.add("Further volumes", f"{more} more are not drawn here")


def _title(volume: Volume) -> str:
    return f"A volume: {volume.modality or 'unknown'}, {' x '.join(map(str, volume.shape))}"


def _planes(volume: Volume) -> dict[str, str]:
    """All three, unless there are too few slices for two of them."""
    depth = dict(zip(volume.dims, volume.shape, strict=True)).get("z", 1)
    return {} if volume.regular and depth >= _FEW_SLICES else {"plane": "z"}


def _picture(what: Any, **how: str) -> Any:
    """Its axes; where it can't be drawn, why."""
    try:
        if _values(what) > MAX_VALUES:
            return f"not drawn: more than {MAX_VALUES:,} values"
        return what.plot(**how)
    except (DicomlabError, TypeError, ValueError) as error:  # whatever a file may say of its size
        return f"not drawn: {error}"


def _values(what: Any) -> int:
    """How many values decoding it would take, by its own word."""
    if not isinstance(what, DataSetView):
        return prod(what.shape)
    said = (what.dataset.get(name) for name in ("NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"))
    return prod(int(one) if one is not None else 1 for one in said)


@dataclass(frozen=True, eq=False, repr=False)
class _Listed(Summarised):
    """The first rows of a table of errors or findings."""

    table: DataFrame

    def _summary_(self) -> Summary:
        names = tuple(name for name in _SHOWN if name in self.table.columns)
        rows = self.table[list(names)].head(_ROWS).astype("string").fillna("")
        cells = tuple(tuple(row) for row in rows.itertuples(index=False))
        return Summary(f"{len(self.table)} rows", (), names, cells, max(0, len(self.table) - _ROWS))
