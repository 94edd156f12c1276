"""A cohort: the matches of a query at one level, as the table that they are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from dicomlab.errors import UsageError
from dicomlab.model.columns import (
    LEVELS,
    UNIQUE_KEY,
    Level,
    Problem,
    TableBuilder,
    WorkLevel,
    column,
    columns,
    retyped,
    standard_columns,
)
from dicomlab.model.instance import Instance
from dicomlab.model.links import above
from dicomlab.model.options import options
from dicomlab.model.progress import Control, OnProgress, Operation, Progress, Work
from dicomlab.model.protocols import Retrievable, Searchable, Source
from dicomlab.model.query import Query
from dicomlab.model.summary import Summarised, Summary

if TYPE_CHECKING:
    from pandas import DataFrame, Index, Series
    from pydicom import Dataset

    from dicomlab.model.report import Report
    from dicomlab.model.trace import Trace

SHOWN_ROWS = 10
SHOWN_COLUMNS = 9
_WHOLE_SECOND = re.compile(r"^(\d\d:\d\d:\d\d)\.0{6}$")
"""A time without a fraction worth showing."""


class Cohort(Summarised):
    """The matches of a query at one level; each row is one patient, study, series or instance, or of a worklist.

    ``cohort["StudyDate"]`` is a pandas Series, ``cohort[mask]`` and ``cohort[3:7]`` are cohorts, ``len(cohort)``
    counts rows, iterating gives :class:`Instance` objects at the instance level and one-row cohorts above it.
    Never changed once made.

    Attributes
    ----------
    level : str
    source : object
        Where it came from and where ``retrieve`` and the drill-down ask; None for a table of your own.
    query : Query or None
    complete : bool
        False where the answer was cut off: by ``limit``, by a cancellation, by the peer.
    note : str
        Why it is not complete.
    granted : frozenset of str
        The options that the query asked for and that the peer has granted.
    trace : Trace or None
    """

    def __init__(
        self,
        frame: DataFrame,
        *,
        level: Level | WorkLevel,
        source: Source | None = None,
        query: Query | None = None,
        complete: bool = True,
        note: str = "",
        problems: Iterable[Problem] = (),
        granted: frozenset[str] = frozenset(),
        trace: Trace | None = None,
    ) -> None:
        self._frame = frame.reset_index(drop=True)
        self._problems = tuple(problems)
        self.level: Level | WorkLevel = level
        self.source = source
        self.query = query
        self.complete = complete
        self.note = note
        self.granted = granted
        self.trace = trace

    @classmethod
    def from_dataframe(cls, df: DataFrame, source: Searchable | None = None) -> Cohort:
        """Make a cohort of a table again: filtered, joined, or read from CSV or Parquet.

        Parameters
        ----------
        df : DataFrame
            Must hold the unique keys of its level and of those above it (a study needs its StudyInstanceUID; a
            series that and its SeriesInstanceUID; an instance all three). Other columns are kept.
        source : Node, WebEndpoint, MediaSet, ..., optional
            Where to retrieve from.

        Raises
        ------
        UsageError
            No unique key, an empty one, or a cell that can't be what its column says.
        """
        names = set(map(str, df.columns))
        level = next((one for one in reversed(LEVELS) if UNIQUE_KEY[one] in names), None)
        if level is None:
            raise UsageError(f"a cohort needs one of the columns {', '.join(UNIQUE_KEY.values())}")
        upper = [UNIQUE_KEY[one] for one in LEVELS[1 : LEVELS.index(level)]]
        if missing := [name for name in upper if name not in names]:
            raise UsageError(f"a cohort of {level} rows needs the columns {', '.join(missing)} too")
        typed = retyped(df)
        for name in (*upper, UNIQUE_KEY[level]):
            if bool(typed[name].isna().any()):
                raise UsageError(f"{name} is empty in some rows, so nothing could be retrieved for them")
        return cls(typed, level=level, source=source)

    # --- as a table ------------------------------------------------------------------------------------------------

    def to_dataframe(self) -> DataFrame:
        """A copy of the table, with plain values (see ``dicomlab.options.phi`` for what reprs show)."""
        return self._frame.copy()

    @property
    def columns(self) -> Index[Any]:
        """The names of the columns."""
        return self._frame.columns

    @property
    def warnings(self) -> DataFrame:
        """Values that could not be read: row, column, raw text, and what is wrong with it.

        What concerns the whole answer, as where a peer passed keys over, has no row and no column.
        """
        import pandas as pd

        rows = [(p.row, p.column, p.raw, p.text) for p in self._problems]
        return pd.DataFrame(rows, columns=["row", "column", "raw", "problem"]).astype({"row": "Int64"})

    def __len__(self) -> int:
        return len(self._frame)

    @overload
    def __getitem__(self, key: str) -> Series[Any]: ...
    @overload
    def __getitem__(self, key: Any) -> Cohort: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            try:
                return self._frame[key].copy()
            except KeyError:
                held = ", ".join(map(str, self._frame.columns))
                raise UsageError(f"no column {key!r}; there are {held}") from None
        if isinstance(key, slice):
            return self._part(self._frame.iloc[key])
        if isinstance(key, Integral) and key is not True and key is not False:
            row = range(len(self))[int(key)]  # IndexError beyond the end, negative counts from it
            return self._part(self._frame.iloc[row : row + 1])
        return self._part(self._frame[self._mask(key)])

    def _mask(self, key: Any) -> Any:
        """A mask as the table takes it: NA picks nothing, a Series goes by its index."""
        import pandas as pd

        mask = key if isinstance(key, pd.Series) else None
        if mask is None and isinstance(key, Iterable) and not isinstance(key, Mapping) and getattr(key, "ndim", 1) == 1:
            mask = pd.Series(key if hasattr(key, "dtype") else list(key))
        if mask is None or (len(mask) and pd.api.types.infer_dtype(mask, skipna=True) not in ("boolean", "empty")):
            raise UsageError(
                "a cohort is cut with a mask (cohort[cohort['Modality'] == 'CT']), a slice or a row number;"
                " several columns are to_dataframe()[[...]]"
            )
        if len(mask) != len(self) or not mask.index.equals(self._frame.index):
            raise UsageError(f"the mask has {len(mask)} rows of another table; this cohort has {len(self)}")
        return mask.fillna(False).astype(bool)

    def _part(self, frame: DataFrame) -> Cohort:
        where = {row: new for new, row in enumerate(frame.index)}
        problems = [
            p if p.row is None else Problem(where[p.row], p.column, p.raw, p.text)
            for p in self._problems
            if p.row is None or p.row in where
        ]
        return Cohort(
            frame,
            level=self.level,
            source=self.source,
            query=self.query,
            complete=self.complete,
            note=self.note,
            problems=problems,
            granted=self.granted,
            trace=self.trace,
        )

    def __iter__(self) -> Iterator[Any]:
        if self.level == "instance":
            yield from self._entities()
        else:
            for row in range(len(self)):
                yield self[row]

    def _entities(self) -> Iterator[Instance]:
        source = self.source if isinstance(self.source, Retrievable) else None
        frame = self._frame
        classes = frame["SOPClassUID"] if "SOPClassUID" in frame else [None] * len(frame)
        for study, series, instance, sop_class in zip(
            frame["StudyInstanceUID"], frame["SeriesInstanceUID"], frame["SOPInstanceUID"], classes, strict=True
        ):
            uids = [uid if isinstance(uid, str) else "" for uid in (study, series, instance, sop_class)]
            yield Instance(uids[0], uids[1], uids[2], uids[3], source)

    def plot(self) -> Any:
        """Draw an overview with matplotlib: how many rows of which modality, when, and how large; no patient's name."""
        return above("plot_cohort")(self)

    # --- through its source ----------------------------------------------------------------------------------------

    def studies(self, match: Mapping[str | int, object] | None = None, **options: Any) -> Cohort:
        """The studies of these patients; options as for ``find``."""
        return self._drill("study", match, options)

    def series(self, match: Mapping[str | int, object] | None = None, **options: Any) -> Cohort:
        """The series of these patients or studies: ``cohort.series(Modality="CT")``; options as for ``find``.

        Columns of the upper levels that are asked for with ``include`` come from this table where it has them.
        """
        return self._drill("series", match, options)

    def instances(self, match: Mapping[str | int, object] | None = None, **options: Any) -> Cohort:
        """The instances of these patients, studies or series; options as for ``find``."""
        return self._drill("instance", match, options)

    def _drill(self, level: Level, match: Mapping[str | int, object] | None, options: dict[str, Any]) -> Cohort:
        if level == self.level and not match and not options:
            return self
        source, own = self._source(), self._entity()
        if LEVELS.index(level) < LEVELS.index(own):
            raise UsageError(f"this cohort is of {own} rows: {level} rows lie above it, not below")
        background, progress = options.pop("background", False), options.pop("progress", True)
        if isinstance(options.get("include"), str):
            raise UsageError(f"include takes a list of keywords: include=[{options['include']!r}]")
        include = columns(options.pop("include", ()))
        standard = {c.name for c in standard_columns(level)}
        own_key = UNIQUE_KEY[own]
        carried = [c.name for c in include if c.name in self._frame and c.name not in {own_key, *standard}]
        asked = [c.name for c in include if c.name not in carried]
        above_it = LEVELS[LEVELS.index("study") : LEVELS.index(own) + 1] or ("patient",)
        parents = {UNIQUE_KEY[one]: list(dict.fromkeys(self._frame[UNIQUE_KEY[one]].dropna())) for one in above_it}
        if twice := [name for name in parents if name in options]:
            raise UsageError(f"{twice[0]} comes from this table: cut it with a mask, or ask its source with find()")
        cut = "" if self.complete else f"the {self.level} table above it is not complete: {self.note}"
        if nameless := int(self._frame[own_key].isna().sum()):
            cut = f"{nameless} {self.level} rows have no {own_key} to ask for"
        if not all(parents.values()):
            query = Query.of(level, match, include=[*(c.name for c in include), *parents], **options)
            empty = TableBuilder(query.columns).frame()
            return Cohort(empty, level=level, source=source, query=query, complete=not cut, note=cut)
        keys: dict[str, Any] = {**parents, **options}
        Query.of(level, match, include=asked, **keys)  # what is wrong comes out before anything is done

        def ask(control: Control) -> Cohort:
            def count(inner: Progress) -> None:
                control.advance(inner.done - control.progress.done)

            below: Cohort = source.find(level, match, include=asked, progress=count, **keys)
            return self._below(below, own_key, carried, cut)

        behind: Any = Work("find", "rows", ask, progress=progress).carry_out(background=background)
        return behind  # type: ignore[no-any-return]  # an Operation, for who asked for one

    def _below(self, below: Cohort, key: str, carried: list[str], cut: str) -> Cohort:
        """An answer from below these rows, with columns of this table and what is known of its gaps."""
        if self._frame[key].str.contains("[*?]").any():  # in a Patient ID they are no wild cards
            below = below[below[key].isin(self._frame[key]) | below[key].isna()]
        if carried:
            own = self._frame[[key, *carried]].drop_duplicates(key).set_index(key)
            below = Cohort(
                below.to_dataframe().join(own, on=key),
                level=below.level,
                source=below.source,
                query=below.query,
                complete=below.complete,
                note=below.note,
                problems=below._problems,
                granted=below.granted,
                trace=below.trace,
            )
        if cut and below.complete:
            below.complete, below.note = False, cut
        return below

    def _entity(self) -> Level:
        if self.level == "workitem" or self.level == "step":  # noqa: PLR1714  (as types are narrowed)
            raise UsageError("rows of a worklist are work, not instances: ask for those with find()")
        return self.level

    def _source(self) -> Any:
        self._entity()
        if self.source is None:
            raise UsageError("this cohort has no source to ask: Cohort.from_dataframe(df, source=...)")
        return self.source

    def peek(self, keywords: Iterable[str]) -> Cohort:
        """Read attributes that the peer can't match on or return, from one header per series.

        Parameters
        ----------
        keywords : iterable of str
            PS3.6 keywords or sequence paths of any level, as ``["SliceThickness", "ConvolutionKernel"]``.

        Returns
        -------
        Cohort
            These rows (a cohort of patients or studies: their series) with the attributes as further columns;
            a cohort of instances reads one header for each of its series too.

        Raises
        ------
        UsageError
            An unknown keyword; no source.
        Unreachable, Refused, Interrupted
            As for ``retrieve``.
        """
        if isinstance(keywords, str):
            raise UsageError(f"peek takes a list of keywords: peek([{keywords!r}])")
        cohort: Cohort = above("peek")(self, columns(keywords))
        return cohort

    @overload
    def retrieve(
        self, to: Any, *, layout: str | None = ..., verify: Literal["sha256"] | None = ...,
        progress: bool | OnProgress = ..., background: Literal[False] = ..., **options: Any,
    ) -> Report: ...  # fmt: skip
    @overload
    def retrieve(
        self, to: Any, *, layout: str | None = ..., verify: Literal["sha256"] | None = ...,
        progress: bool | OnProgress = ..., background: Literal[True], **options: Any,
    ) -> Operation[Report]: ...  # fmt: skip
    def retrieve(
        self,
        to: str | Path | Any,
        *,
        layout: str | None = None,
        verify: Literal["sha256"] | None = None,
        progress: bool | OnProgress = True,
        background: bool = False,
        **options: Any,
    ) -> Report | Operation[Report]:
        """Retrieve every instance below these rows.

        Parameters
        ----------
        to : path, MediaSet or Archive
            Where they go. A folder gets a ledger beside the data, so that the same call again fetches only what is
            missing.
        layout : str, optional
            Path of each file in the folder, as ``"{PatientID}/{StudyInstanceUID}/{SOPInstanceUID}.dcm"``. The
            default keeps paths short enough for every system and free of patient data.
        verify : ``"sha256"``, optional
            Report the digest of each data set, and read the files that a resumed retrieve finds again.
        progress : bool or callable, optional
            A bar, nothing, or a function that gets each :class:`Progress`.
        background : bool, optional
            Return an :class:`Operation` at once.
        **options
            What the path offers beside these: ``method="get"`` or ``"move"`` (Node), ``transfer_syntax=``
            (WebEndpoint).

        Returns
        -------
        Report
            One row for each instance. After an interrupt it holds what arrived, marked incomplete.

        Raises
        ------
        Unreachable, Refused
            Nothing could be fetched.
        Interrupted, RemoteProtocolError
            It broke off; ``error.partial`` is the report of what arrived, and that stays.
        UsageError
            No source; `to` is no place; an option that the path doesn't have.
        """
        self._source()
        result: Report | Operation[Report] = above("retrieve")(
            self, to, layout=layout, verify=verify, progress=progress, background=background, options=options
        )
        return result

    def datasets(self, **options: Any) -> Iterator[Dataset]:
        """Stream the data sets of these rows as pydicom objects, without touching the disc.

        At most a few are in memory at a time. Leaving the loop ends the retrieve.
        """
        self._source()
        stream: Iterator[Dataset] = above("datasets")(self, options)
        return stream

    # --- face ------------------------------------------------------------------------------------------------------

    def browse(self, to: Any = None, **options: Any) -> Any:
        """Browse it in the notebook: see :func:`dicomlab.notebook.browser.browse`."""
        return above("browse")(self, to, **options)

    @property
    def fictional(self) -> bool:
        """Whether the patients are known to be synthetic."""
        return bool(self.source is not None and self.source.fictional)

    def _shown_columns(self) -> list[int]:
        """Which columns a repr shows: what people look for first; UIDs are long, so only the row's own, at the end."""
        names = [str(name) for name in self._frame.columns]
        own = UNIQUE_KEY[self.level] if self.level in LEVELS else "SOPInstanceUID"
        first = [at for at, name in enumerate(names) if not name.endswith("UID")][: SHOWN_COLUMNS - 1]
        uids = [at for at, name in enumerate(names) if name == own and at not in first]
        uids += [at for at, name in enumerate(names) if name.endswith("UID") and name != own]
        return (first + uids)[:SHOWN_COLUMNS]

    def _summary_(self) -> Summary:
        shown = self._frame.iloc[:SHOWN_ROWS, self._shown_columns()]
        names = [str(name) for name in shown.columns]
        rows = tuple(
            tuple(self.cell_text(name, value) for name, value in zip(names, row, strict=True))
            for row in shown.itertuples(index=False, name=None)
        )
        singular = {"workitem": "work item", "step": "scheduled step"}.get(self.level, self.level)
        plural = {"study": "studies", "series": "series"}.get(singular, f"{singular}s")
        noun = singular if len(self) == 1 else plural
        notes = [] if self.complete else [f"not complete: {self.note}"]
        notes += [p.text for p in self._problems if p.row is None]
        if unread := sum(p.row is not None for p in self._problems):
            notes.append(f"{unread} values could not be read: see .warnings")
        facts = [("source", str(self.source) if self.source is not None else "none")]
        if self.query is not None:
            facts.append(("query", str(self.query)))
        if self.granted:
            facts.append(("granted", ", ".join(sorted(self.granted))))
        return Summary(
            f"Cohort of {len(self):,} {noun}",
            tuple(facts),
            tuple(names),
            rows,
            max(0, len(self) - SHOWN_ROWS),
            max(0, len(self._frame.columns) - SHOWN_COLUMNS),
            tuple(notes),
        )

    def cell_text(self, name: str, value: Any) -> str:
        """One cell as it may be shown: what identifies a patient masked, as ``dicomlab.options`` says."""
        import pandas as pd

        if isinstance(value, tuple):
            text = ", ".join("" if one is None else str(one) for one in value)
        elif pd.api.types.is_scalar(value) and pd.isna(value):
            return "—"
        elif isinstance(value, pd.Timestamp):
            text = value.isoformat(" ", "seconds").removesuffix(" 00:00:00")
        else:
            text = _WHOLE_SECOND.sub(r"\1", str(value))
        return options.shown(text, fictional=self.fictional or not _identifying(name))


def _identifying(name: str) -> bool:
    try:
        return column(name).identifying
    except UsageError:
        return True  # a column of the user's own: nobody knows what it holds
