"""Which of pydicom's own test files are samples here, and why the others are not.

The list is ``manifest.json``, made by :func:`compiled` and checked against it by a test; to make it anew for another
pydicom::

    python -c "from dicomlab.samples import manifest; manifest.MANIFEST.write_text(manifest.compiled().to_json())"
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from pydicom.uid import RE_VALID_UID

from dicomlab.media.found import FileError, Found, examine
from dicomlab.media.listing import list_files
from dicomlab.model.matching import first
from dicomlab.part10.meta import DEFLATED_LE

MANIFEST = Path(__file__).with_name("manifest.json")

PREFERRED = frozenset(
    f"test_files/{name}.dcm"
    for name in (
        "JPEG2000",
        "MR_small_implicit",
        "SC_rgb_rle",
        "SC_rgb_small_odd_big_endian",
        "liver_expb_1frame",
        "rtdose_rle",
    )
)
"""Of files that share one SOP Instance UID in several encodings, these are taken: together they show many transfer
syntaxes, and none is the one that was broken on purpose. Elsewhere the first by its path is taken."""

_REASONS: dict[str, str] = {
    "not_dicom": "no DICOM file (PS3.10): no preamble with DICM",
    "empty": "no octet in it",
    "truncated": "cut short",
    "bad_meta": "File Meta Information without a Transfer Syntax UID",
    "unknown_ts": "a transfer syntax that PS3.6 does not list",
    "ts_mismatch": "not encoded as its File Meta Information says",
    "no_preamble": "no preamble with DICM (PS3.10)",
    "no_meta": "no File Meta Information (PS3.10)",
    "missing_uid": "lacks a SOP Class, SOP Instance, Series or Study Instance UID",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A file that is taken. ``path`` is relative to pydicom's data folder; the digest is that of the whole file."""

    path: str
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    sha256: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not taken, and why; ``kind`` is one word for tests to choose by."""

    path: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """Every file of pydicom's data folder that is no Python source, in one list or the other."""

    taken: tuple[Sample, ...]
    left_out: tuple[LeftOut, ...]

    def to_json(self) -> str:
        """As it stands in the file."""
        parts = {"taken": map(asdict, self.taken), "left_out": map(asdict, self.left_out)}
        lists = (
            f'"{name}": [\n' + ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in entries) + "\n]"
            for name, entries in parts.items()
        )
        return "{\n" + ",\n".join(lists) + "\n}\n"


@lru_cache(maxsize=1)
def load() -> Manifest:
    """Read the manifest that comes with dicomlab."""
    entries = json.loads(MANIFEST.read_text(encoding="utf-8"))
    return Manifest(
        tuple(Sample(**entry) for entry in entries["taken"]), tuple(LeftOut(**entry) for entry in entries["left_out"])
    )


def data_folder() -> Path:
    """Where the installed pydicom keeps its data; found without importing or downloading anything."""
    spec = find_spec("pydicom")
    assert spec is not None  # a dependency of dicomlab
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"


def available() -> list[tuple[Path, str]]:
    """Each file that the manifest takes, with what is wrong with it in this installation: ``""`` if nothing."""
    folder = data_folder()
    return [(folder / sample.path, _problem(folder / sample.path, sample.sha256)) for sample in load().taken]


def _problem(path: Path, sha256: str) -> str:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "not in this version of pydicom"
    return "" if found == sha256 else "in this version of pydicom it is another file than the manifest lists"


def compiled() -> Manifest:
    """Go through pydicom's data folder and sort its files into the two lists."""
    folder = data_folder()
    names = sorted(
        path.relative_to(folder).as_posix() for path, _ in list_files(folder) if path.suffix not in (".py", ".pyc")
    )
    looked = {name: examine(folder / name, name, (folder / name).read_bytes()) for name in names}
    fit: dict[str, Found] = {}
    left: dict[str, LeftOut] = {}
    for name, found in _preferred_first(looked.items()):
        reason = _why_not(found)
        if reason is None and isinstance(found, Found):
            taken = fit.setdefault(found.sop_instance_uid, found)
            if taken is not found:
                reason = ("duplicate", f"the SOP Instance of {taken.name} again")
        if reason is not None:
            left[name] = LeftOut(name, *reason)
    samples = [
        Sample(
            found.name,
            found.meta.transfer_syntax_uid,
            first(found.row, "SOPClassUID"),
            found.sop_instance_uid,
            hashlib.sha256(found.path.read_bytes()).hexdigest(),
        )
        for found in sorted(fit.values(), key=lambda found: found.name)
    ]
    return Manifest(tuple(samples), tuple(left[name] for name in sorted(left)))


def _preferred_first(
    looked: Iterable[tuple[str, Found | FileError | None]],
) -> list[tuple[str, Found | FileError | None]]:
    return sorted(looked, key=lambda pair: (pair[0] not in PREFERRED, pair[0]))


def _why_not(found: Found | FileError | None) -> tuple[str, str] | None:
    if found is None:
        return "dicomdir", "a DICOMDIR: no composite instance"
    if isinstance(found, FileError):
        return found.kind, _REASONS.get(found.kind, "broken")
    if found.unfit or found.bare:
        kind = found.notes[0].partition(":")[0]
        return kind, _REASONS.get(kind, "broken")
    if found.meta.sop_instance_uid != found.sop_instance_uid:
        return "meta_uid", "its File Meta Information names another SOP Instance"
    if not first(found.row, "PatientID"):
        return "no_patient_id", "no Patient ID, so the Patient Root model has no place for it"
    if found.meta.transfer_syntax_uid == DEFLATED_LE:
        return "deflated", "Deflated Explicit VR Little Endian, which nobody offers by default on an association"
    if not all(re.fullmatch(RE_VALID_UID, uid) for uid in (first(found.row, "SOPClassUID"), found.sop_instance_uid)):
        return "bad_uid", "a UID that can't be one"
    return None
