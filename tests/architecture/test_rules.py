"""Each rule holds for the library, and fails for a source that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest

from tests.architecture import rules
from tests.architecture.house import CODECS, LAYERS, LIBRARY, ROOT, Source, sources

Rule = Callable[[Iterable[Source]], Iterator[str]]


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_library_keeps(rule: Rule) -> None:
    assert list(rule(sources())) == []


DOC = '"""What.\n\nSource\n------\nPS3.5\n"""\n'

BROKEN = [
    (rules.codecs_do_no_io, "dimse/pdu.py", DOC + "import socket\n"),
    (rules.codecs_do_no_io, "media/file_ids.py", DOC + "from pathlib import Path\n"),
    (rules.codecs_do_no_io, "web/multipart.py", DOC + "def f():\n    from time import monotonic\n"),
    (rules.codecs_do_no_io, "web/multipart.py", DOC + "from dicomlab.web.http import Http\n"),
    (rules.codecs_do_no_io, "part10/walk.py", DOC + "from dicomlab.model.trace import trace\n"),
    (rules.codecs_do_no_io, "web/new.py", DOC.replace("What", "No I/O") + "import ssl\n"),
    (rules.codecs_do_no_io, "model/query.py", DOC + "import threading\n"),
    (rules.codecs_do_no_io, "part10/walk.py", DOC + "import dicomlab.dimse.pdu\n"),
    (rules.codecs_do_no_io, "part10/walk.py", DOC + "from dicomlab.dimse import pdu\n"),
    (rules.codecs_do_no_io, "web/json_model.py", DOC + "import pandas\n"),
    (rules.one_door_to_each_upstream, "dimse/node.py", "def f():\n    import pynetdicom.sop_class\n"),
    (rules.one_door_to_each_upstream, "web/endpoint.py", "from requests import Session\n"),
    (rules.one_door_to_each_upstream, "model/cohort.py", "from IPython.display import display\n"),
    (rules.only_main_imports_notebook, "cohorts/pull.py", "from dicomlab.notebook.html import render\n"),
    (rules.only_main_imports_notebook, "cohorts/pull.py", "from dicomlab import notebook\n"),
    (rules.no_upward_names, "model/links.py", "X = 'dicomlab.notebook.html:render'\n"),
    (rules.no_upward_names, "dimse/node.py", "X = 'dicomlab.web.endpoint'\n"),
    (rules.no_upward_names, "model/links.py", "def f(a):\n    return f'dicomlab.cohorts.{a}'\n"),
    (rules.files_are_short, "dimse/node.py", "x = 1\n" * 501),
    (rules.names_say_something, "web/utils.py", ""),
    (rules.names_say_something, "common/values.py", ""),
    (rules.codecs_name_their_source, "web/multipart.py", '"""What."""\n'),
    (rules.codecs_name_their_source, "web/multipart.py", DOC + 'def decode():\n    """Decode.\n\n    More.\n    """\n'),
    (rules.nothing_is_printed, "dimse/node.py", "print('hello')\n"),
    (rules.taps_are_few, "dimse/node.py", "self.tap(a, b)\n" * (rules.MAX_TAPS + 1)),
    (rules.units_are_in_names, "dimse/node.py", "def find(self, *, timeout=30):\n    pass\n"),
    (rules.units_are_in_names, "dimse/node.py", "class A:\n    delay: float = 1\n"),
    (rules.raised_classes_are_ours, "dimse/node.py", "raise OSError('gone')\n"),
    (rules.raised_classes_are_ours, "web/http.py", "raise requests.Timeout\n"),
]


@pytest.mark.parametrize(
    ("rule", "place", "text"), BROKEN, ids=[f"{r.__name__}-{n}" for n, (r, _, _) in enumerate(BROKEN)]
)
def test_a_source_that_breaks_it_is_found(rule: Rule, place: str, text: str) -> None:
    assert len(list(rule([*PEERS_OF_PLANTS, Source(place, text)]))) == 1


PEERS_OF_PLANTS = [
    Source("dimse/command.py", DOC),
    Source("web/http.py", ""),
    Source("part10/meta.py", DOC + "import zlib\nimport struct\nfrom dicomlab.errors import RemoteProtocolError\n"),
    Source("media/header.py", DOC),
    Source(
        "media/dicomdir.py",
        DOC
        + "from dicomlab.part10.meta import x\nfrom dicomlab.media import header\nfrom pathlib import PurePath\nfrom urllib.parse import quote\n",
    ),
    Source("__init__.py", "X = 'dicomlab.notebook.html:render'\n"),
    Source("__main__.py", "from dicomlab.notebook import x\nprint(x)\n"),
]
"""Sources that break nothing, so that a rule which fails for everything is found out too."""


def test_every_rule_has_a_source_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(rules.RULES)
    for rule in rules.RULES:
        assert list(rule(PEERS_OF_PLANTS)) == []


def test_every_room_has_its_layer() -> None:
    rooms = {source.room for source in sources()} - {"__init__"}
    assert rooms <= {room for layer in LAYERS for room in layer}


def test_every_path_has_codecs() -> None:
    rooms = {source.room for source in sources() if source.is_codec}
    assert rooms == {room for room in CODECS if (LIBRARY / room).is_dir()}


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_names_outside_the_library_say_something_too(folder: str) -> None:
    files = [Source(p.relative_to(ROOT).as_posix(), "") for p in (ROOT / folder).rglob("*.py")]
    assert files
    assert list(rules.names_say_something(files)) == []


def test_unit_tests_mirror_the_library() -> None:
    """``tests/unit/<room>/test_<file>.py``, with more after the file's name where one file is not enough."""
    places = {source.place for source in sources()}
    unit = ROOT / "tests" / "unit"
    strays = []
    for test in unit.rglob("test_*.py"):
        at = test.relative_to(unit)
        words = at.stem.removeprefix("test_").split("_")
        names = {"_".join(words[:count]) for count in range(1, len(words) + 1)}
        if not any((at.parent / f"{name}.py").as_posix() in places for name in names):
            strays.append(at.as_posix())
    assert strays == []


def test_every_codec_has_its_unit_test() -> None:
    unit = ROOT / "tests" / "unit"
    codecs = [source for source in sources() if source.is_codec]
    assert [s.place for s in codecs if not list((unit / s.place).parent.glob(f"test_{s.stem}*.py"))] == []
