"""The face of an operation: it tells the end, whatever that was."""

from __future__ import annotations

import pytest

from dicomlab.errors import Refused
from dicomlab.model.progress import Control, Work
from dicomlab.notebook.transfer import watch


@pytest.mark.parametrize("error", [None, Refused("not you", endpoint="PACS"), ValueError("\x1b[0m"), ValueError()])
def test_the_end_is_told(error: Exception | None) -> None:
    def work(control: Control) -> None:
        control.advance(3, failed=1)
        if error is not None:
            raise error

    operation = Work("find", "rows", work, total=9).carry_out(background=True)
    with watch(operation) as view:
        view._watch.stop(at_end=True)
        assert view.state["done"]
        assert view.state["note"] == operation.outcome
        assert "\x1b" not in view.state["note"]
        assert view.state["progress"]["done"] == 3
        assert repr(view) == repr(operation)
