"""The library's sources, read and parsed, for rules to look at."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "dicomlab"

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("model",),
    ("part10", "profiles"),
    ("dimse", "web", "media", "rtv"),
    ("archive", "deidentify", "samples"),
    ("cohorts",),
    ("demo",),
    ("notebook",),
    ("__main__",),
)
"""From the ground up. Rooms that later steps add are named already."""

CODECS: Mapping[str, tuple[str, ...]] = {
    "part10": ("meta", "walk"),
    "dimse": ("pdu", "command", "identifier", "state"),
    "web": ("resources", "media_types", "multipart", "json_model", "xml_model"),
    "media": ("walker", "header", "dicomdir", "file_ids", "profiles"),
    "rtv": ("rtp", "rtcp", "extension", "sdp", "metadata", "video", "audio", "clock"),
}
"""The codecs that the design names: octets to values and back. A file of these rooms whose documentation says "No I/O"
is one too, and is held to it."""

PURE_MODEL = (
    "cells", "columns", "commitment", "links", "matching", "options", "query", "reading", "summary", "values", "workitem",
    "workitem_attributes", "workitem_service", "worklist",
)  # fmt: skip
"""The values of the model that codecs speak; they do no I/O either."""

_LEAVES = ("dicomlab.errors", "dicomlab.profiles", "dicomlab.demo", "dicomlab.__main__")


@dataclass(frozen=True)
class Source:
    """One module of the library."""

    place: str
    """Below ``dicomlab/``, as ``"dimse/pdu.py"``."""
    text: str

    @property
    def room(self) -> str:
        """``"dimse"``, or the module's own name at the top: ``"errors"``, ``"__main__"``."""
        return self.place.partition("/")[0].removesuffix(".py")

    @property
    def stem(self) -> str:
        """The file's name without ``.py``."""
        return Path(self.place).stem

    @property
    def is_codec(self) -> bool:
        """Whether the file is a codec."""
        if "/" not in self.place or self.room not in CODECS:
            return False
        return self.stem in CODECS[self.room] or "no i/o" in (ast.get_docstring(self.tree) or "").lower()

    @property
    def is_pure(self) -> bool:
        """Whether the file does no I/O."""
        return self.is_codec or (self.room == "model" and self.stem in PURE_MODEL)

    @property
    def module(self) -> str:
        """Its dotted name."""
        return f"dicomlab.{self.place.removesuffix('.py').replace('/', '.')}"

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed text."""
        return ast.parse(self.text)

    def imports(self, *, with_typing: bool = True) -> Iterator[str]:
        """Every imported module, at the top or in a function: ``"dicomlab.dimse.pdu"``, ``"socket"``."""
        yield from _imports(self.tree, f"dicomlab/{self.place}", with_typing)

    def docstrings(self) -> set[int]:
        """The places (``id``) of the constants that are docstrings, of attributes too."""
        found = set()
        for node in ast.walk(self.tree):
            for statement in getattr(node, "body", []) if not isinstance(node, ast.Lambda | ast.IfExp) else []:
                if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                    found.add(id(statement.value))
        return found


def _imports(node: ast.AST, place: str, with_typing: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            parent = ".".join(place.split("/")[: -child.level]) if child.level else ""
            base = ".".join(filter(None, (parent, child.module)))
            whole = base in _LEAVES or (base.startswith("dicomlab.") and base.count(".") > 1)
            yield from (base,) if whole else (f"{base}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.If) and not with_typing and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from _imports(ast.Module([other], []), place, with_typing)
        else:
            yield from _imports(child, place, with_typing)


@cache
def sources() -> tuple[Source, ...]:
    """The library as it is."""
    files = sorted(p for p in LIBRARY.rglob("*.py") if "__pycache__" not in p.parts)
    return tuple(Source(p.relative_to(LIBRARY).as_posix(), p.read_text(encoding="utf-8")) for p in files)


def called(node: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Each call below `node` with the last part of what is called."""
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            if isinstance(call.func, ast.Name):
                yield call.func.id, call
            elif isinstance(call.func, ast.Attribute):
                yield call.func.attr, call
