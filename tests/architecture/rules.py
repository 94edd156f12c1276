"""The rules that a look at the sources decides: each takes sources and gives its violations."""

from __future__ import annotations

import ast
import builtins
import re
import sys
from collections.abc import Iterable, Iterator, Mapping

from tests.architecture.house import LAYERS, Source, called

MAX_LINES = 500
TABLES: frozenset[str] = frozenset()
"""Files that may be longer, because they are a table."""
MAX_TAPS = 12

DOORS: Mapping[str, tuple[str, ...]] = {
    "pynetdicom": ("dimse/tables.py", "dimse/rare.py"),
    "requests": ("web/http.py", "web/failures.py", "web/auth.py", "web/oidc.py", "web/in_process.py"),
    "urllib3": ("web/http.py", "web/failures.py", "web/auth.py", "web/oidc.py", "web/in_process.py"),
    "av": ("rtv/encode.py",),
    "websockets": ("web/channel.py",),
    "anywidget": ("notebook/",),
    "ipywidgets": ("notebook/",),
    "IPython": ("notebook/",),
}
"""One door to each upstream."""

DOES_IO = (
    "asyncio concurrent ctypes fcntl ftplib http.client http.server importlib logging mmap multiprocessing os"
    " pathlib.Path queue select selectors shutil signal socket socketserver sqlite3 ssl subprocess sys tempfile"
    " threading time urllib.request".split()
)
"""What no codec imports: sockets, files, threads, clocks, logs."""
PURE_UPSTREAMS = ("numpy", "pydicom", "msgspec")

VAGUE_NAMES = frozenset("utils util common helpers helper misc tools".split())
UNIT_NEEDED = frozenset("timeout delay interval duration".split())

BUILTINS_RAISED = frozenset(
    "AttributeError IndexError KeyError KeyboardInterrupt NotImplementedError StopIteration TimeoutError TypeError"
    " AssertionError BlockingIOError UnicodeDecodeError ValueError".split()
)
"""What Python's own protocols ask for (``__getattr__``, ``__getitem__``, ``result(timeout_s)``, a socket), or what a parser
raises to its caller in the same room. An OSError, a RuntimeError or a bare Exception is a condition without a class."""


def codecs_do_no_io(sources: Iterable[Source]) -> Iterator[str]:
    """A codec imports pure parts of the standard library, numpy, pydicom, ``errors``, the pure model, codecs."""
    sources = tuple(sources)
    pure = {s.module: s.room for s in sources if s.is_pure}
    for source in sources:
        if not source.is_pure or source.place == "model/links.py":  # whose very work is to reach upwards
            continue
        allowed = {m for m, room in pure.items() if room in (source.room, "part10", "model")} | {"dicomlab.errors"}
        for name in source.imports(with_typing=False):
            top = name.partition(".")[0]
            known = top in sys.stdlib_module_names or top in PURE_UPSTREAMS or (source.room, top) == ("model", "pandas")
            if name not in allowed and (not known or _does_io(name)):
                yield f"{source.place} imports {name}"


def _does_io(name: str) -> bool:
    return any(f"{name}.".startswith(f"{io}.") or io.startswith(f"{name}.") for io in DOES_IO)


def one_door_to_each_upstream(sources: Iterable[Source]) -> Iterator[str]:
    """pynetdicom, requests, PyAV, the widgets: each comes in by one door."""
    for source in sources:
        for name in source.imports():
            doors = DOORS.get(name.partition(".")[0])
            if doors and not source.place.startswith(doors):
                yield f"{source.place} imports {name}, whose door is {' or '.join(doors)}"


def only_main_imports_notebook(sources: Iterable[Source]) -> Iterator[str]:
    """Pictures are on top: only ``__main__`` imports ``notebook``."""
    for source in sources:
        if source.room in ("notebook", "__main__"):
            continue
        if any(name.startswith("dicomlab.notebook") for name in source.imports()):
            yield f"{source.place} imports dicomlab.notebook"


def no_upward_names(sources: Iterable[Source]) -> Iterator[str]:
    """A room above is not reached through a string either; the one place for that is the front door."""
    height = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
    for source in sources:
        if source.place == "__init__.py":
            continue
        docstrings = source.docstrings()
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
                continue
            for match in re.finditer(r"\bdicomlab\.(\w+)", node.value):
                room = match[1]
                if room in height and room != source.room and height[room] >= height[source.room]:
                    yield f"{source.place}:{node.lineno} names {match[0]}"


def files_are_short(sources: Iterable[Source]) -> Iterator[str]:
    """No file above 500 lines unless it is a table."""
    for source in sources:
        lines = source.text.count("\n")
        if lines > MAX_LINES and source.place not in TABLES:
            yield f"{source.place} has {lines} lines"


def names_say_something(sources: Iterable[Source]) -> Iterator[str]:
    """No module or room named utils, common, helpers, misc."""
    for source in sources:
        if VAGUE_NAMES & set(source.place.removesuffix(".py").split("/")):
            yield source.place


def codecs_name_their_source(sources: Iterable[Source]) -> Iterator[str]:
    """Every codec file says where the standard says so, and so does every public function with more than one line of
    documentation."""
    for source in sources:
        if not source.is_codec:
            continue
        if "Source\n------" not in (ast.get_docstring(source.tree) or ""):
            yield f"{source.place} has no Source section"
        for node in source.tree.body:
            if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
                continue
            words = ast.get_docstring(node) or ""
            if "Source\n------" not in words and "\n" in words:
                yield f"{source.place}:{node.lineno} {node.name} has no Source section"


def nothing_is_printed(sources: Iterable[Source]) -> Iterator[str]:
    """Only the command line prints."""
    for source in sources:
        if source.place != "__main__.py":
            for name, call in called(source.tree):
                if name == "print" and isinstance(call.func, ast.Name):
                    yield f"{source.place}:{call.lineno} prints"


def taps_are_few(sources: Iterable[Source]) -> Iterator[str]:
    """Octets are tapped in one place for each direction of each transport."""
    places = [f"{s.place}:{call.lineno}" for s in sources for name, call in called(s.tree) if name == "tap"]
    if len(places) > MAX_TAPS:
        yield f"{len(places)} taps: {', '.join(places)}"


def units_are_in_names(sources: Iterable[Source]) -> Iterator[str]:
    """``timeout_s``, not ``timeout``; a method that an upstream calls by its own names is left alone."""
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ClassDef):
                for item in node.body:
                    name = ast.unparse(item.target) if isinstance(item, ast.AnnAssign) else ""
                    if name in UNIT_NEEDED:
                        yield f"{source.place}:{item.lineno} {name} has no unit"
                continue
            if not isinstance(node, ast.FunctionDef):
                continue
            if any("override" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
            for argument in (*node.args.args, *node.args.kwonlyargs, *node.args.posonlyargs):
                if argument.arg in UNIT_NEEDED:
                    yield f"{source.place}:{node.lineno} {node.name}({argument.arg}) has no unit"


def raised_classes_are_ours(sources: Iterable[Source]) -> Iterator[str]:
    """Every ``raise`` names a class of the tree, one of the room's own, or one that Python's protocols ask for."""
    for source in sources:
        for node in ast.walk(source.tree):
            if not isinstance(node, ast.Raise) or node.exc is None:
                continue
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(what, ast.Attribute) and isinstance(what.value, ast.Name):
                module = what.value.id
                if module in DOORS or module in ("pydicom", "sqlite3"):
                    yield f"{source.place}:{node.lineno} raises {ast.unparse(what)}"
            elif isinstance(what, ast.Name):
                known = getattr(builtins, what.id, None)
                if isinstance(known, type) and issubclass(known, BaseException) and what.id not in BUILTINS_RAISED:
                    yield f"{source.place}:{node.lineno} raises {what.id}"


RULES = (
    codecs_do_no_io,
    one_door_to_each_upstream,
    only_main_imports_notebook,
    no_upward_names,
    files_are_short,
    names_say_something,
    codecs_name_their_source,
    nothing_is_printed,
    taps_are_few,
    units_are_in_names,
    raised_classes_are_ours,
)
