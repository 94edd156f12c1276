"""Two things to look at that are no objects of their own: one data set as a table, and the model as a picture."""

from __future__ import annotations

from typing import Any

from dicomlab.model.links import above


def inspect(what: Any, *, fictional: bool = False) -> Any:
    """Show one data set as a table: nested sequences, keywords, VRs, what coded values mean.

    ::

        dicomlab.inspect(instance)
        dicomlab.inspect("slice.dcm").search("orientation")
        dicomlab.inspect("ecg.dcm").plot()

    Parameters
    ----------
    what : Dataset, Instance, path
        An instance is retrieved from its source, a file is read.
    fictional : bool
        Its patient is made up, so that identifying values may be shown. An instance knows from its source.

    Returns
    -------
    DataSetView
        ``search(words)`` cuts it down, ``plot()`` draws its waveform or its picture.

    Raises
    ------
    UsageError
        It is none of these.
    Unreachable, Refused, Interrupted, ServiceError, RemoteProtocolError
        It can't be had, or is no DICOM file.

    Source
    ------
    PS3.5 §7 (the data set), PS3.6 (its elements).
    """
    return above("inspect")(what, fictional=fictional)


def model_map(archive: Any = None) -> Any:
    """Show the DICOM communication model as a picture whose boxes open.

    Parameters
    ----------
    archive : Archive, optional
        Asked now, for what stands in the boxes; without one there is code to try.

    Returns
    -------
    ModelMap

    Source
    ------
    PS3.1 §5, Figure 5-1.
    """
    return above("model_map")(archive)
