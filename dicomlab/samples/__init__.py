"""Data to learn and test with: real files that pydicom brings along, and synthetic patients. No downloads."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
