"""What a server says that it can do: a WADL document, read. No I/O.

Source
------
PS3.18 §8.9 (Retrieve Capabilities), Annex H; W3C member submission WADL, 2009.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from dicomlab.errors import RemoteProtocolError

MEDIA_TYPE = "application/vnd.sun.wadl+xml"
MAX_METHODS = 1000
_SECTION = "PS3.18 §8.9"


def methods(octets: bytes) -> list[tuple[str, str]]:
    """Read the methods that a WADL document describes, each with the path of its resource below the base URL.

    Raises
    ------
    RemoteProtocolError
        It is no XML, has a document type declaration, or describes more than anybody offers.

    Source
    ------
    PS3.18 Annex H.
    """
    found: list[tuple[str, str]] = []
    paths: list[str] = []

    def start(full_name: str, attributes: Mapping[str, str]) -> None:
        name = full_name.rpartition(" ")[2]
        if name == "resource":
            paths.append(attributes.get("path", "").strip("/"))
        elif name == "method" and paths:
            found.append((attributes.get("name", "")[:16].upper(), "/" + "/".join(one for one in paths if one)))
        if len(found) > MAX_METHODS or len(paths) > 32:
            raise RemoteProtocolError("a description beyond reason", section=_SECTION)

    def end(full_name: str) -> None:
        if full_name.rpartition(" ")[2] == "resource":
            paths.pop()

    def refuse(*_: Any) -> None:
        raise RemoteProtocolError("a document type declaration, which no description needs", section=_SECTION)

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    try:
        parser.Parse(octets, True)
    except expat.ExpatError as error:
        raise RemoteProtocolError(f"no XML: {error}", section=_SECTION, offset=parser.ErrorByteIndex) from error
    return found
