"""The documentation site: README, tutorials with their stored outputs, how-to pages, reference, conformance."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from docutils.nodes import Node, literal_block
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx
from sphinx.highlighting import lexers
from sphinx.util.docutils import SphinxDirective

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_ext"), str(ROOT)]

project = "dicomlab"
author = "The dicomlab founders"
(release,) = re.findall(r'^__version__ = "(.+)"$', (ROOT / "dicomlab/__init__.py").read_text(encoding="utf-8"), re.M)
version = release

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "standard_links"]
exclude_patterns = ["_build", "_ext"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}

nb_execution_mode = "off"  # the outputs are those that the tests compare
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
suppress_warnings = ["mystnb.unknown_mime_type"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80  # a longer one has a line for each parameter
napoleon_google_docstring = False
napoleon_custom_sections = ["Source"]
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"dicomlab {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
pygments_dark_style = "monokai"
html_copy_source = False
html_show_sphinx = False


def _bring_tutorials() -> None:
    """Lay the executed notebooks where the site finds them; what is no longer there goes."""
    shown = HERE / "tutorials"
    for old in shown.glob("*.ipynb"):
        old.unlink()
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copyfile(notebook, shown / notebook.name)


PLACES = {
    "(../CONTRIBUTING.md": "(contributing.md",
    "(CONTRIBUTING.md": "(contributing.md",
    "(CHANGELOG.md": "(changes.md",
    "(docs/decisions/)": "(decisions/index.md)",
    "(notebooks/README.md)": "(tutorials/index.md)",
    "(notebooks/": "(tutorials/",
}
"""Where a link of a page that is also read on its own leads inside the site."""


def _relink(content: list[str]) -> None:
    for written, shown in PLACES.items():
        content[0] = content[0].replace(written, shown)


class Diagram(SphinxDirective):
    """Mermaid stays text: its renderer would come from another host."""

    has_content = True

    def run(self) -> list[Node]:
        """Show what is written."""
        text = "\n".join(self.content)
        return [literal_block(text, text, language="text")]


def setup(app: Sphinx) -> None:
    """Hang onto what Sphinx reads."""
    lexers["mermaid"] = TextLexer()
    app.add_directive("mermaid", Diagram)
    app.connect("source-read", lambda _app, _name, content: _relink(content))
    app.connect("include-read", lambda _app, _path, _name, content: _relink(content))


_bring_tutorials()
