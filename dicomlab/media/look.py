"""One look at one file, given as a function that reads: what it is, and the wanted values of its data set. No I/O.

A file is an instance, a DICOMDIR, or an error with its kind. What is an instance though something about it is not as it
should be carries notes: ``no_preamble`` and ``no_meta`` (a bare data set), ``meta_uid``; and where only another reader
than ours makes sense of it, the kind of error that it would have been.

Source
------
PS3.10 §7.1 (File Meta Information); PS3.5 §A.5 (deflated).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag

from dicomlab.errors import RemoteProtocolError
from dicomlab.media.fallback import read_by_pydicom
from dicomlab.media.inflate import Inflated
from dicomlab.media.walker import BIG, EXPLICIT, HEAD_OCTETS, IMPLICIT, Grammar, Plan, Read, Walked, grammar_of, walk
from dicomlab.part10.meta import DEFLATED_LE, MAX_META, PREFIX_END, NeedMore, decode_file_meta
from dicomlab.part10.walk import LONG_VRS, MAX_INFLATED, SHORT_VRS

ErrorKind = Literal[
    "not_dicom", "empty", "truncated", "bad_meta", "unknown_ts", "ts_mismatch", "bad_length", "nesting", "inflate",
    "missing_uid", "duplicate", "link", "permission", "unreadable", "archive_path", "duplicate_member", "bad_archive",
]  # fmt: skip
"""Why a listed file is no instance.

================ ===================================================================================
kind             meaning
================ ===================================================================================
not_dicom        nothing of DICOM at its start, or no regular file
empty            no octet at all
truncated        the file ends before its data set does
bad_meta         File Meta Information that can't be, or no Transfer Syntax UID
unknown_ts       a transfer syntax that PS3.6 does not list
ts_mismatch      the data set is not encoded as the File Meta Information says
bad_length       lengths that contradict one another
nesting          sequences in sequences, or archives in archives, beyond all measure
inflate          no deflate stream, or one that unfolds beyond all measure
missing_uid      no SOP Class, SOP Instance, Series or Study Instance UID
duplicate        its SOP Instance UID is that of a file listed before
link             a symbolic link that leads to a folder, out of the folder, or nowhere
permission       not allowed to read it, or encrypted
unreadable       the medium failed, or the file went away or changed while it was read
archive_path     a member of an archive whose name leads out of it
duplicate_member a member of an archive under a name that another has already
bad_archive      a ZIP or ISO 9660 image that can't be opened
================ ===================================================================================
"""

DIRECTORY = "directory"
"""Not an error kind: the file is a DICOMDIR."""

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_META_KEYS = {
    EXPLICIT.key(tag): place for place, tag in enumerate((0x00020002, 0x00020003, 0x00020010, 0x00020013, 0x00020016))
}
META_KEYWORDS = (
    "MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationVersionName",
    "SourceApplicationEntityTitle",
)  # fmt: skip
"""What is kept of the File Meta Information."""

_DIRECTORY_UID = DIRECTORY_CLASS.encode()
_MAX_FALLBACK = 64 << 20
"""Octets of a file beyond which no second reader is asked."""

# How the codecs put it, and what it is called here; the first that fits.
_KINDS: tuple[tuple[str, ErrorKind], ...] = (
    ("shorter than it was", "unreadable"),
    ("deflate stream is cut", "truncated"),
    ("deflate stream", "inflate"),
    ("inflates to more", "inflate"),
    ("nested deeper", "nesting"),
    ("is no VR", "ts_mismatch"),
    ("are missing", "truncated"),
    ("cut", "truncated"),
)
_ANOTHER_READER = frozenset({"ts_mismatch", "unknown_ts", "bad_meta", "bad_length", "missing_uid"})
"""Errors that may be ours: a file cut short, a bomb or a nest is what it is for every reader."""


def kind_of(error: RemoteProtocolError) -> ErrorKind:
    """What an error of the codecs is called in a table.

    Source
    ------
    PS3.10 §7.1, PS3.5 §7.
    """
    text = str(error)
    return next((kind for phrase, kind in _KINDS if phrase in text), "bad_length")


@dataclass(slots=True)
class Looked:
    """What one look found; of an error too, as far as the look came."""

    kind: str = ""
    """``""`` for an instance, ``"directory"`` for a DICOMDIR, else an error kind."""
    message: str = ""
    offset: int = -1
    notes: list[str] = field(default_factory=list)
    """``kind: text`` each."""
    meta: list[bytes | None] = field(default_factory=lambda: [None] * 5)
    """As :data:`META_KEYWORDS`."""
    meta_length: int = 0
    grammar: Grammar = EXPLICIT
    walked: Walked = field(default_factory=lambda: Walked([]))

    def fail(self, kind: ErrorKind, message: str, offset: int = -1) -> Looked:
        """Make it an error."""
        self.kind, self.message, self.offset = kind, message, offset
        return self


def look(read: Read, size: int, plan: Plan, head: bytes, required: tuple[int, ...] = ()) -> Looked:
    """Look at one file.

    Parameters
    ----------
    read : callable
        Gives octets from an offset.
    size : int
        Octets of the file.
    plan : Plan
        The values that are wanted.
    head : bytes
        Its first octets, :data:`HEAD_OCTETS` if it has as many.
    required : tuple of int
        Places in the plan of values without which it is no instance.

    Returns
    -------
    Looked
        Nothing is raised, whatever the octets are; what `read` raises (OSError) passes through.

    Source
    ------
    PS3.10 §7.1; PS3.5 §A.1 to §A.5.
    """
    found = Looked(walked=Walked(plan.blank.copy()))
    found.kind = "bad_meta"  # until it is past that
    try:
        if head[128:PREFIX_END] == b"DICM":
            _meta(found, read, size, head, PREFIX_END)
        elif not _bare(found, read, size, head):
            return found.fail("not_dicom", "no DICM after the preamble, and no bare data set: not a DICOM file")
        if (found.meta[0] or b"").rstrip(b" \0") == _DIRECTORY_UID:
            found.kind = DIRECTORY
            return found
        found.kind = ""
        _dataset(found, read, size, plan, head)
    except RemoteProtocolError as error:
        found.fail(_kind(found, error), str(error), -1 if error.offset is None else error.offset)
        return _again(found, read, size, plan, required)
    values = found.walked.values
    for slot in required:
        if values[slot] is None:
            return _again(found.fail("missing_uid", missing_uids(plan, values, required)), read, size, plan, required)
    return found


def missing_uids(plan: Plan, values: Sequence[object] | Mapping[int, object], required: Iterable[int]) -> str:
    """The message of an error ``missing_uid``.

    Source
    ------
    PS3.3 §C.7.1 ff. (patient, study, series), §C.12.1 (SOP Common).
    """
    names = [keyword_for_tag(plan.tags[slot]) for slot in required if not values[slot]]
    return f"no {', '.join(names)}: no place in patient, study and series"


def _kind(found: Looked, error: RemoteProtocolError) -> ErrorKind:
    if found.kind:
        return "bad_meta"
    if any(note.startswith("no_meta") for note in found.notes) and sum(v is not None for v in found.walked.values) < 4:
        return "not_dicom"  # what began like a bare data set was none
    kind = kind_of(error)
    unknown = any(note.startswith("unknown_ts") for note in found.notes)
    return "unknown_ts" if unknown and kind in _ANOTHER_READER else kind


# --- in front of the data set --------------------------------------------------------------------------------------


def _meta(found: Looked, read: Read, size: int, head: bytes, at: int) -> None:
    """Read group 0002; at the first thing that is unusual, by the reader that knows every rule."""
    unpack, u32 = EXPLICIT.header.unpack_from, EXPLICIT.u32.unpack_from
    short, long, place_of, meta = EXPLICIT.short, EXPLICIT.long, _META_KEYS.get, found.meta
    try:
        while True:
            key, vr, length = unpack(head, at)
            if key & 0xFFFF != 0x0002:
                break
            if vr in short:
                start = at + 8
            elif vr in long:
                (length,) = u32(head, at + 8)
                start = at + 12
            else:
                raise struct.error
            at = start + length
            place = place_of(key)
            if place is not None:
                meta[place] = head[start:at]
    except struct.error:
        at = 0
    if not at or not (meta[2] or b"").strip(b" \0"):
        at = _slow_meta(found, read, size, head[128:PREFIX_END] == b"DICM")
    found.meta_length = at


def _slow_meta(found: Looked, read: Read, size: int, prefixed: bool) -> int:
    octets = read(0, min(size, MAX_META + HEAD_OCTETS))
    front = b"" if prefixed else b"\0" * 128 + b"DICM"
    try:
        meta = decode_file_meta(front + octets, final=len(octets) == size)
    except NeedMore:
        raise RemoteProtocolError("no end of group 0002", section="PS3.10 §7.1", offset=len(octets)) from None
    texts = (
        meta.sop_class_uid, meta.sop_instance_uid, meta.transfer_syntax_uid, meta.implementation_version_name,
        meta.source_ae_title,
    )  # fmt: skip
    found.meta = [text.encode("utf-8") or None for text in texts]
    return meta.length - len(front)


def _bare(found: Looked, read: Read, size: int, head: bytes) -> bool:
    """Whether it begins as a data set does that lacks what should stand before it."""
    vr = head[4:6]
    explicit = vr in SHORT_VRS or vr in LONG_VRS
    if head[:2] == b"\x02\0" and explicit:
        found.notes.append("no_preamble: File Meta Information without preamble")
        _meta(found, read, size, head, 0)
        return True
    if head[:2] == b"\x08\0":
        grammar = EXPLICIT if explicit else IMPLICIT
    elif head[:2] == b"\0\x08" and explicit:
        grammar = BIG
    else:
        return False
    if grammar is IMPLICIT and int.from_bytes(head[4:8], "little") > min(size, 64):
        return False  # what may stand first is a character set, a date or a UID
    found.notes.append(f"no_meta: a bare data set, read as {UID_dictionary[grammar.syntax][0]}")
    found.meta[2] = grammar.syntax.encode()
    return True


# --- the data set --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def _syntax(octets: bytes) -> tuple[str, Grammar, bool]:
    """A transfer syntax, its grammar, and whether PS3.6 lists it."""
    uid = octets.decode("ascii", "replace").rstrip(" \0")
    return uid, grammar_of(uid), UID_dictionary.get(uid, ("", ""))[1] == "Transfer Syntax"


def _dataset(found: Looked, read: Read, size: int, plan: Plan, head: bytes) -> None:
    uid, found.grammar, listed = _syntax(found.meta[2] or b"")
    walked = found.walked
    if uid == DEFLATED_LE:
        stream = Inflated(read, found.meta_length, size, MAX_INFLATED)
        walk(walked, stream.read, (0, stream.measure()), EXPLICIT, plan)
        walked.end, walked.pixel_offset, walked.pixel_length = size, 0, 0  # nothing lies where it could be read
        return
    if not listed:
        found.notes.append(f"unknown_ts: transfer syntax {uid[:64]} is not in PS3.6, read as Explicit VR Little Endian")
    walk(walked, read, (found.meta_length, size), found.grammar, plan, head=head)
    if not found.meta_length and walked.pixel_offset and read(walked.pixel_offset - 4, 4) == b"\xff\xff\xff\xff":
        found.meta[2] = None
        found.notes.append("unknown_ts: encapsulated pixel data, and nothing names its transfer syntax")


def _again(found: Looked, read: Read, size: int, plan: Plan, required: tuple[int, ...]) -> Looked:
    """Ask another reader, where the error may be ours."""
    if found.kind not in _ANOTHER_READER or size > _MAX_FALLBACK:
        return found
    if _syntax(found.meta[2] or b"")[0] == DEFLATED_LE:  # no reader of ours stops at a bound but our own
        return found
    read_again = read_by_pydicom(read(0, size), plan, lambda: read(0, 0))
    if read_again is None:
        return found
    grammar, walked = read_again
    uids = [(walked.values[slot] or b"").rstrip(b" \0") for slot in required]
    if not all(re.fullmatch(rb"[0-9.]{1,64}", uid) for uid in uids):
        return found
    found.notes.append(f"{found.kind}: {found.message}; read by pydicom")
    found.kind, found.message, found.offset, found.grammar = "", "", -1, grammar
    found.walked = walked
    return found
