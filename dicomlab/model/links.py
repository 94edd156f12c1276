"""Names of the rooms above that ``model`` reaches when, and only when, somebody calls.

A ``Cohort`` is a value, yet ``cohort.retrieve(to)`` is where the verb reads well; a ``Report`` is a value, yet
``report.media`` opens the folder. The work is done in rooms above, which ``model`` may not import. So the package's
front door (``dicomlab/__init__.py``, which knows every room by trade) binds the names here once, as text; nothing
loads until the first call. A test forbids such names anywhere else.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_BOUND: dict[str, str] = {}


def bind(**places: str) -> None:
    """Name what lies above: ``html="dicomlab.notebook.html:render"``."""
    _BOUND.update(places)


def above(name: str) -> Any:
    """Load what was bound under `name`."""
    module, _, attribute = _BOUND[name].partition(":")
    return getattr(import_module(module), attribute)
