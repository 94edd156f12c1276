"""The public names, their documentation, and the tree of errors."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

import pytest

import dicomlab
from dicomlab import errors
from tests.architecture.house import LIBRARY, sources

PUBLIC = set(
    "Node WebEndpoint MediaSet LiveStream Broadcast Archive Cohort Report Query Instance Volume Trace trace"
    " Verification Operation options inspect model_map".split()
)
FIRST_STEP = {"Node", "WebEndpoint", "MediaSet", "Archive", "Cohort", "Report", "Query", "Instance", "Trace", "trace"}
ERRORS = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}


def test_public_names_are_those_of_the_design() -> None:
    assert set(dicomlab.__all__) >= FIRST_STEP
    assert set(dicomlab.__all__) <= PUBLIC | ERRORS
    assert set(dicomlab.__all__) >= ERRORS
    assert list(dicomlab.__all__) == sorted(dicomlab.__all__)
    assert set(dir(dicomlab)) == {*dicomlab.__all__, "__version__"}


@pytest.mark.parametrize("name", dicomlab.__all__)
def test_a_public_name_is_there(name: str) -> None:
    value = getattr(dicomlab, name)
    assert getattr(value, "__name__", name) == name
    assert inspect.getdoc(value)


def test_type_checkers_see_the_same_names_in_the_same_places() -> None:
    tree = ast.parse((LIBRARY / "__init__.py").read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {name: f"dicomlab.{home}" for name, home in dicomlab._HOMES.items()}


def undocumented(cls: type) -> Iterator[str]:
    """The public methods and properties of `cls`, inherited ones of ours too, that say nothing."""
    for name, member in inspect.getmembers_static(cls):
        function = inspect.unwrap(getattr(member, "fget", None) or getattr(member, "__func__", None) or member)
        ours = str(getattr(function, "__module__", "")).startswith(("dicomlab", __name__))
        if not name.startswith("_") and inspect.isfunction(function) and ours and not inspect.getdoc(function):
            yield f"{cls.__name__}.{name}"


@pytest.mark.parametrize("name", [n for n in dicomlab.__all__ if n[0].isupper()])
def test_every_public_method_is_documented(name: str) -> None:
    assert list(undocumented(getattr(dicomlab, name))) == []


def test_a_method_without_documentation_is_found() -> None:
    class Base:
        def inherited(self) -> None: ...

    class Sample(Base):
        def method(self) -> None: ...
        @property
        def value(self) -> int: ...
        @classmethod
        def made(cls) -> None: ...
        def said(self) -> None:
            """Say."""

    assert list(undocumented(Sample)) == ["Sample.inherited", "Sample.made", "Sample.method", "Sample.value"]


def test_the_drawing_of_the_error_tree_is_true() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in str(errors.__doc__).splitlines():
        words = line.lstrip(" │├└─").split()
        if not words or words[0].partition("(")[0] not in ERRORS:
            continue
        depth, name = len(line) - len(line.lstrip(" │├└─")), words[0]
        above = [(d, n) for d, n in above if d < depth]
        drawn[name] = above[-1][1].partition("(")[0] if above else "Exception"
        above.append((depth, name))
    declared = {}
    for node in next(s for s in sources() if s.place == "errors.py").tree.body:
        if isinstance(node, ast.ClassDef):
            bases = [ast.unparse(base) for base in node.bases]
            also = f"({bases[1]})" if len(bases) > 1 else ""
            declared[node.name + also] = bases[0]
    assert drawn == declared


def test_every_error_of_ours_is_in_the_one_tree() -> None:
    """A room's own class of error is allowed only below the tree, or as a signal that never leaves the room."""
    strays = []
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef) and source.place != "errors.py":
                bases = {ast.unparse(base).rpartition(".")[2] for base in node.bases}
                if bases & {"Exception", "BaseException", "OSError", "RuntimeError"} and not node.name.startswith(
                    SIGNALS
                ):
                    strays.append(f"{source.place}:{node.lineno} {node.name}")
    assert strays == []


SIGNALS = ("_", "NeedMore", "NotHere", "Problem", "Unfit")
"""Between a codec and its caller in the library, never to a user."""
