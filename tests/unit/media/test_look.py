"""One look at one file: instance, DICOMDIR, or an error of the right kind, whatever the octets are."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.media import look as looking
from dicomlab.media.cells import plan_of
from dicomlab.media.look import DIRECTORY, Looked, look
from dicomlab.media.walker import HEAD_OCTETS
from dicomlab.model.columns import columns
from dicomlab.part10.meta import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE, decode_file_meta, encode_file_meta
from dicomlab.part10.transcode import transcode
from dicomlab.samples.manifest import data_folder
from dicomlab.samples.phantom import phantom_datasets
from tests.unit.media.test_header import encoded
from tests.unit.media.test_scan import SEQUENCE

INSTANCES = list(phantom_datasets(patients=1, slices=3))

WANTED = columns(["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientName", "Rows"])
PLAN = plan_of(WANTED)
REQUIRED = tuple(PLAN.tags.index(one.tag) for one in WANTED[:4])
WHOLE = encoded(INSTANCES[0], EXPLICIT_LE)
LENGTH = decode_file_meta(WHOLE).length
DATASET = WHOLE[LENGTH:]
ENCAPSULATED = (
    DATASET[: DATASET.rindex(b"\xe0\x7f\x10\x00")]
    + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0"
    + b"\xfe\xff\x00\xe0\4\0\0\0ABCD\xfe\xff\xdd\xe0\0\0\0\0"
)


def seen(octets: bytes) -> Looked:
    def read(offset: int, count: int) -> bytes:
        assert 0 <= offset <= offset + count <= len(octets)
        return octets[offset : offset + count]

    return look(read, len(octets), PLAN, octets[:HEAD_OCTETS], REQUIRED)


def said(syntax: str, dataset: bytes = DATASET) -> bytes:
    return encode_file_meta("1.2", "1.3", syntax) + dataset


def notes(found: Looked) -> list[str]:
    return [note.partition(":")[0] for note in found.notes]


def folded(octets: bytes) -> bytes:
    return zlib.compress(octets, wbits=-15)


SOUND = {
    "explicit": WHOLE,
    "implicit": said(IMPLICIT_LE, transcode(DATASET, EXPLICIT_LE, IMPLICIT_LE)),
    "big endian": encoded(INSTANCES[0], EXPLICIT_BE),
    "deflated": said(DEFLATED_LE, folded(DATASET)),
    "deflated, a check sum behind": said(DEFLATED_LE, folded(DATASET) + b"abcd"),
    "encapsulated": said("1.2.840.10008.1.2.4.50", ENCAPSULATED),
    "padded": WHOLE + b"\0" * 2048,
    "group length of 0002 wrong": WHOLE[:140] + b"\1\0\0\0" + WHOLE[144:],
}


@pytest.mark.parametrize("name", SOUND)
def test_an_instance(name: str) -> None:
    found = seen(SOUND[name])
    assert (found.kind, found.notes) == ("", [])
    assert (found.walked.values[REQUIRED[1]] or b"").decode().rstrip("\0") == INSTANCES[0].SOPInstanceUID
    if not name.startswith("deflated"):
        octets = SOUND[name][found.walked.pixel_offset :][: found.walked.pixel_length]
        assert len(octets) == (len(INSTANCES[0].PixelData) if name != "encapsulated" else 28)


SOUND_BUT = {
    "no preamble": (WHOLE[132:], ["no_preamble"]),
    "bare, explicit": (DATASET, ["no_meta"]),
    "bare, implicit": (SOUND["implicit"][decode_file_meta(SOUND["implicit"]).length :], ["no_meta"]),
    "bare, big endian": (SOUND["big endian"][decode_file_meta(SOUND["big endian"]).length :], ["no_meta"]),
    "bare and encapsulated": (ENCAPSULATED, ["no_meta", "unknown_ts"]),
    "unknown syntax": (said("1.2.3.4"), ["unknown_ts"]),
    "said to be implicit": (said(IMPLICIT_LE), ["ts_mismatch"]),
    "garbage behind the pixels": (WHOLE + b"\x40\0\x75\x02SQ\0\0\xff\xff\xff\xffABCDEFGH", ["bad_length"]),
}


@pytest.mark.parametrize("name", SOUND_BUT)
def test_an_instance_with_notes(name: str) -> None:
    octets, expected = SOUND_BUT[name]
    found = seen(octets)
    assert (found.kind, notes(found)) == ("", expected)
    assert (found.walked.values[REQUIRED[1]] or b"").decode().rstrip("\0") == INSTANCES[0].SOPInstanceUID


BROKEN = {
    "text": (b"no DICOM file" * 40, "not_dicom"),
    "one octet": (b"\x08", "not_dicom"),
    "begins like a bare data set": (b"\x08\0\x05\0CS\x0a\0ISO_IR 100" + b"text " * 90, "not_dicom"),
    "begins like a bare one, implicit": (b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100" + b"text " * 90, "not_dicom"),
    "cut in the pixels": (WHOLE[:-10], "truncated"),
    "cut in a header": (WHOLE[: LENGTH + 5], "truncated"),
    "cut after the meta": (WHOLE[:LENGTH], "missing_uid"),
    "cut in the meta": (WHOLE[: LENGTH - 4], "bad_meta"),
    "no transfer syntax": (encode_file_meta("1.2", "1.3", "")[:-8], "bad_meta"),
    "meta without end": (encode_file_meta("1.2", "1.3", EXPLICIT_LE) + b"\2\0\0\1OB\0\0\xff\xff\xff\x7f", "bad_meta"),
    "encapsulated, cut": (SOUND["encapsulated"][:-4], "truncated"),
    "unknown syntax, unreadable": (said("1.2.3.4", b"\x08\0\x16\0??" + b"AB" * 90), "unknown_ts"),
    "no VR": (said(EXPLICIT_LE, b"\x08\0\x16\0??" + b"AB" * 90), "ts_mismatch"),
    "octets swapped": (said(EXPLICIT_BE), "ts_mismatch"),
    "nested 2000 deep": (said(EXPLICIT_LE, SEQUENCE * 2000), "nesting"),
    "no deflate stream": (said(DEFLATED_LE, b"\xff" * 90), "inflate"),
    "deflated and cut": (said(DEFLATED_LE, folded(DATASET)[:-40]), "truncated"),
    "no study": (WHOLE.replace(b"\x20\0\x0d\0UI", b"\x20\0\x0c\0UI"), "missing_uid"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_defect_has_its_kind(name: str) -> None:
    octets, kind = BROKEN[name]
    found = seen(octets)
    assert found.kind == kind
    assert found.message


def test_a_bomb_has_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_INFLATED", 1 << 16)
    assert seen(said(DEFLATED_LE, folded(b"\0" * (1 << 20)))).kind == "inflate"


def test_what_was_read_before_it_broke_is_kept() -> None:
    found = seen(WHOLE[:-10])
    assert all(found.walked.values[slot] for slot in REQUIRED)


def test_a_dicomdir_is_none_of_both() -> None:
    assert seen((data_folder() / "test_files/dicomdirtests/DICOMDIR").read_bytes()).kind == DIRECTORY


def test_pydicom_is_asked_only_where_the_error_may_be_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counting(octets: bytes, plan: object, go_on: object) -> None:
        asked.append(len(octets))

    monkeypatch.setattr(looking, "read_by_pydicom", counting)
    for octets, kind in [*BROKEN.values(), *((whole, "") for whole in SOUND.values())]:
        asked.clear()
        seen(octets)
        may = kind in ("ts_mismatch", "unknown_ts", "bad_meta", "bad_length", "missing_uid")
        assert asked == ([len(octets)] if may else []), kind


def test_what_pydicom_makes_up_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def making_up(octets: bytes, plan: object, go_on: object) -> object:
        grammar, walked = real(octets, PLAN) or (None, None)
        assert walked is not None
        walked.values[REQUIRED[0]] = b"no UID"
        return grammar, walked

    real: Callable[..., object] = looking.read_by_pydicom  # type: ignore[assignment]
    monkeypatch.setattr(looking, "read_by_pydicom", making_up)
    assert seen(said(IMPLICIT_LE)).kind == "ts_mismatch"


@given(st.data())
def test_damaged_anywhere_it_has_a_kind(data: st.DataObject) -> None:
    octets = bytearray(data.draw(st.sampled_from([*SOUND.values(), *(octets for octets, _ in SOUND_BUT.values())])))
    for _ in range(data.draw(st.integers(0, 6))):
        octets[data.draw(st.integers(0, min(len(octets), 1500) - 1))] = data.draw(st.integers(0, 255))
    found = seen(bytes(octets[: data.draw(st.integers(0, len(octets)))]))
    assert found.walked.end <= max(len(octets), 1 << 20)


@given(st.binary(max_size=400))
def test_anything_at_all_has_a_kind(octets: bytes) -> None:
    assert seen(octets).kind
