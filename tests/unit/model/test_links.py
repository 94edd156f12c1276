"""Names of the rooms above: text until the first call, and every one of them leads somewhere."""

from __future__ import annotations

import pytest

import dicomlab  # noqa: F401  (its import binds the names)
from dicomlab.model import links


def test_nothing_loads_until_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "_BOUND", {})
    links.bind(thing="no.such.room:thing", path="os.path:join")
    with pytest.raises(ModuleNotFoundError):
        links.above("thing")
    assert links.above("path")("a", "b") == "a/b"
    links.bind(thing="os.path:split")
    assert links.above("thing")("a/b") == ("a", "b")
    with pytest.raises(KeyError):
        links.above("other")


@pytest.mark.parametrize("name", sorted(links._BOUND))
def test_every_bound_name_leads_somewhere(name: str) -> None:
    assert callable(links.above(name))


def test_the_model_needs_these_names() -> None:
    assert {"html", "retrieve", "datasets", "dataset", "peek", "parcels", "report", "media"} <= set(links._BOUND)
