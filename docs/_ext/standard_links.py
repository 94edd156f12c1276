"""Link what a Source section names to its place in the DICOM standard or in an RFC.

``PS3.7 §9.1.1 (C-STORE), Table 9.1-1; RFC 3550 §5.1`` becomes three links. Other standards (SMPTE, ITU, IEEE) have no
addresses by section and stay text.
"""

from __future__ import annotations

import re
from typing import Any

PART = "https://dicom.nema.org/medical/dicom/current/output/html/part{:02d}.html"
RFC = "https://www.rfc-editor.org/rfc/rfc{}"

_NAMED = re.compile(
    r"(?P<part>PS3\.(?P<number>\d+))"
    r"|(?P<rfc>RFC (?P<request>\d+))"
    r"|(?P<other>SMPTE|ITU-R|IEEE|AES67|NMOS|OpenID|BT\.\d+|ISO)"
    r"|(?P<section>§(?P<where>[A-Z]{0,4}\.?[0-9A-Za-z.]*[0-9A-Za-z]))"
    r"|(?P<annex>(?:Annex|Annexes) (?P<letter>[A-Z]{1,4})(?P<inner>(?:\.\d+)*))"
    r"|(?P<table>Tables? (?P<label>[A-Z]{0,4}\.?[0-9.]*[0-9](?:-[0-9]+[a-z]?)?))"
)


def linked(line: str) -> str:
    """Give a line of a Source section with its references as reStructuredText links."""
    document = ""
    rfc = False

    def link(match: re.Match[str]) -> str:
        nonlocal document, rfc
        text = match.group()
        if match["part"]:
            document, rfc = PART.format(int(match["number"])), False
            return f"`{text} <{document}>`__"
        if match["rfc"]:
            document, rfc = RFC.format(match["request"]), True
            return f"`{text} <{document}>`__"
        if match["other"]:
            document = ""
            return text
        anchor = _anchor(match, rfc)
        return f"`{text} <{document}#{anchor}>`__" if document and anchor else text

    return _NAMED.sub(link, line)


def _anchor(match: re.Match[str], rfc: bool) -> str:
    if match["section"]:
        where = match["where"]
        if rfc:
            return f"section-{where}"
        return f"sect_{where}" if "." in where else f"chapter_{where}"
    if match["annex"]:
        inner = match["inner"]
        if rfc:
            return f"appendix-{match['letter']}{inner}"
        return f"sect_{match['letter']}{inner}" if inner else f"chapter_{match['letter']}"
    return "" if rfc else f"table_{match['label']}"


def _docstring(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    inside = False
    for at, line in enumerate(lines):
        heading = line.strip()
        if heading in ("Source", ".. rubric:: Source"):
            inside = True
        elif inside and heading.startswith(".. rubric::"):
            inside = False
        elif inside and heading and not set(heading) <= {"-"}:
            lines[at] = linked(line)


def setup(app: Any) -> dict[str, Any]:
    """Hang onto autodoc, after napoleon has turned sections into rubrics."""
    app.connect("autodoc-process-docstring", _docstring, priority=900)
    return {"parallel_read_safe": True}
