"""One data set, live: a search box over its elements, sequences that fold. Its stored form is the table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dicomlab.model.summary import Summary, visible
from dicomlab.notebook.html import Markup
from dicomlab.notebook.widget import Face

if TYPE_CHECKING:
    from dicomlab.notebook.data_set import DataSetView

MOST = 5_000
"""Elements that go to the page."""
_TEXT = 200


class ElementSearch(Face):
    """The elements of one data set with a search box.

    Parameters
    ----------
    view : DataSetView
    """

    _script = "data_set"

    def __init__(self, view: DataSetView) -> None:
        self.view = view
        flat = view.flat()
        rows = [[depth, *(visible(text, _TEXT) for text in cells)] for depth, *cells in flat[:MOST]]
        note = f"{len(flat) - MOST} more elements are not here: search() finds them" if len(flat) > MOST else ""
        super().__init__(title=visible(view.title), rows=rows, note=note)

    def _twin(self) -> tuple[Summary, Markup | None]:
        return self.view._summary_(), None

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return {**super()._repr_mimebundle_(**options), "text/html": self.view._repr_html_()}
