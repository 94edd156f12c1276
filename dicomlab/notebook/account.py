"""What was done, told on one page: the objects' own faces, one below the other, in a file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

from dicomlab.notebook.html import Markup, el, style_of
from dicomlab.part10.medium import medium_errors

FOLDER = Path("dicomlab-demo")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""What a browser may load for it: nothing."""
_DOTS_PER_INCH = 100


class Account:
    """Gathers faces as they are now, and writes them as one HTML page; light and dark, without script or address."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[Markup] = []

    def add(self, says: str, shown: Any) -> None:
        """Add one object under a heading; a figure is drawn now, text stands as it is.

        Parameters
        ----------
        says : str
            Empty: it belongs to what was added before.
        shown : object
            With a face of this library, matplotlib axes, or text.
        """
        self._parts.append(el("section", *([el("h2", says)] if says else []), _face(shown)))

    def write(self, where: str | Path = FOLDER) -> Path:
        """Write it to a file ``*.html``, or as ``index.html`` into a folder; folders are made if absent.

        Raises
        ------
        Interrupted, Refused
            It can't be written there.
        """
        target = Path(where) if Path(where).suffix == ".html" else Path(where) / "index.html"
        with medium_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(self.html(), encoding="utf-8")
        return target

    def html(self) -> str:
        """The whole page."""
        head = el(
            "head",
            Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width">'),
            Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            el("title", self.title),
            style_of("account"),
        )
        body = el("body", el("main", el("h1", self.title), *self._parts))
        return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _face(shown: Any) -> Markup:
    if isinstance(shown, str):
        return el("p", shown)
    bundle = getattr(shown, "_repr_mimebundle_", None)
    if bundle is not None:
        return Markup(bundle()["text/html"])
    html = getattr(shown, "_repr_html_", None)
    return Markup(html()) if html is not None else _figure(shown)


def _figure(axes: Any) -> Markup:
    """Matplotlib axes as a picture in the page."""
    import matplotlib.pyplot as plt

    figure = (axes.flat[0] if hasattr(axes, "flat") else axes).figure
    octets = BytesIO()
    figure.savefig(octets, format="png", dpi=_DOTS_PER_INCH)
    plt.close(figure)
    source = f"data:image/png;base64,{b64encode(octets.getvalue()).decode()}"
    said = figure.get_suptitle() or "; ".join(ax.get_title() for ax in figure.axes if ax.get_title()) or "a figure"
    return Markup(f'<img src="{source}" alt="{el("i", said)[3:-4]}">')
