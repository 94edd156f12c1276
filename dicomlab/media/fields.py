"""What one file on the media path says on the wire trace: its start as fields, the records of a DICOMDIR by their kind.

No I/O.

Source
------
PS3.10 §7.1, §8.6; PS3.3 §F.3.2.2 (directory records).
"""

from __future__ import annotations

from dataclasses import replace

from dicomlab.model.reading import Direction, Field, Reading
from dicomlab.part10.fields import file_fields, private_of_file

FILE_START = 4096
"""Octets of a file that a trace keeps."""
_RECORDS, _KIND, _CLASS = "(0004,1220)", "(0004,1430)", "(0002,0002)"


class FileReader:
    """Reads the start of one file, whose story is told by `line`. Never fails, whatever it is."""

    def __init__(self, line: str) -> None:
        self._line = line

    def __call__(self, direction: Direction, octets: bytes) -> Reading:
        """Read its first octets."""
        fields = tuple(map(_record, file_fields(octets)))
        private = tuple(private_of_file(octets))
        if not fields:
            return Reading(self._line, (), "", "", private)
        directory = next((one for one in fields if one.name.startswith(_RECORDS)), None)
        if directory is not None:
            kinds = [one.value.partition(" ")[0] for one in directory.children]
            shown = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
            sentence = f"The DICOMDIR lists the File-set: {shown} among its first records (PS3.10 §8.6)."
            return Reading(self._line, fields, "", sentence, private)
        what = next((one.meaning.partition(" ")[2] for one in fields if one.name.startswith(_CLASS)), "")
        verb = "written" if direction == "sent" else "read"
        sentence = f"A file is {verb}: {what or 'of a class that nobody knows'} (PS3.10 §7.1)."
        return Reading(self._line, fields, "", sentence, private)


def _record(one: Field) -> Field:
    if not one.name.startswith(_RECORDS):
        return one
    named = []
    for item in one.children:
        kind = next((inner.value for inner in item.children if inner.name.startswith(_KIND)), "unknown")
        value = f"{kind} record, {len(item.children)} elements"
        named.append(replace(item, value=value, meaning="a directory record", section="PS3.3 §F.3.2.2"))
    return replace(one, value=f"{len(named)} records", children=tuple(named))
