"""Data to learn and test with: real files that pydicom brings along, and synthetic patients. No downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from dicomlab.samples.workday import Department


def department(seed: int = 0, patients: int = 6, day: date | None = None) -> Department:
    """A scheduled day of a department, with its modality and its reader; the same seed gives the same day.

    ::

        day = samples.department(seed=1)
        archive.worklist.fill(day.schedule)
        made = day.modality(archive.node).acquire(archive.node.worklist()[0])
        day.order_reading(archive.node.workitems, made)
        reader = day.reader(archive.node)
        reader.read(reader.tasks()[0])

    Parameters
    ----------
    seed : int
    patients : int
        At least 1; each has one scheduled step.
    day : date, optional
        None: 5 January 2026.

    Raises
    ------
    UsageError
        No patient.
    """
    from dicomlab.samples.workday import Department

    return Department(seed, patients, day)


def real_files() -> list[Path]:
    """The real DICOM files of the installed pydicom that the manifest takes, in its order.

    A file that this pydicom doesn't have, or has with other octets, is passed over; :func:`left_out` names it.
    """
    from dicomlab.samples.manifest import available

    return [path for path, problem in available() if not problem]


def left_out() -> list[tuple[Path, str]]:
    """The other files of pydicom's data folder, each with the reason why it is no sample: material for error tests.

    Listed files that are absent here, or differ, are among them.
    """
    from dicomlab.samples.manifest import available, data_folder, load

    listed = [(data_folder() / one.path, one.reason) for one in load().left_out]
    return [*listed, *((path, problem) for path, problem in available() if problem)]
