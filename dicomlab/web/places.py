"""Which resources a caller means: UIDs, an instance, or the rows of a cohort.

Source
------
PS3.18 §10.1.1 (resources of the Studies Service).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from dicomlab.errors import UsageError
from dicomlab.model.cohort import Cohort
from dicomlab.model.instance import Instance
from dicomlab.web.resources import Kind, Resource

LEVELS = ("study", "series", "instance")
_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")

Where = Instance | Cohort | str | Sequence[str]
"""An instance, a cohort of studies, series or instances, or UIDs: of the study, the series, the instance."""


def places(what: Any, kind: Kind) -> list[Resource]:
    """Name the resources of that kind for what a caller gave.

    Parameters
    ----------
    what : Instance, Cohort, str, or sequence of str
        A text is a Study Instance UID; a sequence holds the UIDs of study, series and instance, from the first on.
    kind : str

    Raises
    ------
    UsageError
        It is none of these, a UID is none, or a row does not say of which study it is.

    Source
    ------
    PS3.18 Table 10.1-1.
    """
    if isinstance(what, Instance):
        return [_named((what.study_instance_uid, what.series_instance_uid, what.sop_instance_uid), kind)]
    if isinstance(what, Cohort):
        if what.level not in LEVELS:
            raise UsageError("a patient is no resource of web services: take cohort.studies()")
        columns = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[: LEVELS.index(what.level) + 1]
        frame = what.to_dataframe()
        rows = frame[list(columns)].itertuples(index=False, name=None)
        return [_named(tuple(uid if isinstance(uid, str) else "" for uid in row), kind) for row in rows]
    if isinstance(what, str):
        what = (what,)
    if isinstance(what, Sequence) and 0 < len(what) <= 3 and all(isinstance(one, str) for one in what):
        return [_named(tuple(what), kind)]
    raise UsageError(
        f"can't tell a resource by a {type(what).__name__}: give an Instance, a Cohort, or the UIDs of study, series"
        " and instance"
    )


def one_place(what: Any, kind: Kind) -> Resource:
    """As :func:`places`, for verbs that are about one resource.

    Raises
    ------
    UsageError
        There are several, or none.

    Source
    ------
    PS3.18 Table 10.1-1.
    """
    found = places(what, kind)
    if len(found) != 1:
        raise UsageError(f"{len(found)} resources where one is meant: cut the cohort down, as cohort[0]")
    return found[0]


def _named(uids: tuple[str, ...], kind: Kind) -> Resource:
    for uid in uids:
        if not _UID.fullmatch(uid):
            raise UsageError(f"{uid[:80]!r} is no UID (digits and dots)" if uid else "a row has no UID to ask for")
    study, series, instance = (*uids, "", "")[:3]
    level: Any = LEVELS[len(uids) - 1]
    return replace(Resource(kind, level), study=study, series=series, instance=instance)
