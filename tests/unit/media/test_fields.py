"""A file on the wire trace: its fields, the records of a DICOMDIR by kind, patients masked."""

from __future__ import annotations

from pathlib import Path

import dicomlab
from dicomlab.media.fields import FileReader
from dicomlab.samples.phantom import write_phantom


def test_a_file_and_a_directory_open_to_their_fields(tmp_path: Path) -> None:
    write_phantom(tmp_path / "in", patients=1, slices=1)
    written = dicomlab.MediaSet(tmp_path / "in").write(tmp_path / "disc", progress=False)
    with dicomlab.trace() as wire:
        disc = dicomlab.MediaSet(tmp_path / "disc", cache=False)
        disc.find()
    assert written.complete
    told = {m.reading.text: m for m in wire.read()}
    directory = next(m for text, m in told.items() if text.endswith("DICOMDIR"))
    assert directory.reading.sentence.startswith("The DICOMDIR lists the File-set: 1 PATIENT, ")
    rows = [(one.name, value) for _, one, value in directory.rows()]
    assert any(name == "Item 1" and value.startswith("PATIENT record") for name, value in rows)
    assert all(value == "\u2022\u2022\u2022" for name, value in rows if name.endswith(("PatientName", "PatientID")))
    picture = next(m for m in told.values() if "CT Image Storage" in m.reading.sentence)
    assert ("Prefix", "DICM") in [(one.name, value) for _, one, value in picture.rows()]
    assert "SYN-001" not in repr(picture) + wire._repr_html_() + repr(wire)


def test_what_is_no_file_is_no_error() -> None:
    reading = FileReader("read: x")("received", b"hello")
    assert (reading.fields, reading.private) == ((), ((0, 5),))
