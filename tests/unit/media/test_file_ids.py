"""File IDs: given out, checked, and followed with suspicion."""

from __future__ import annotations

from contextlib import suppress
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.errors import RemoteProtocolError, UsageError
from dicomlab.media import file_ids
from dicomlab.media.file_ids import FileIds, is_file_id, relative_path


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        (("PT000001", "ST000001", "SE000001", "IM000001"), True),
        (("A",), True),
        (("A_9",) * 8, True),
        (("A",) * 9, False),
        ((), False),
        (("DICOMDIR",), False),
        (("X", "DICOMDIR"), True),
        (("lower",), False),
        (("NINECHARS",), False),
        (("A.DCM",), False),
        (("",), False),
        (("A", ".."), False),
        (("Ä",), False),
    ],
)
def test_is_file_id(components: tuple[str, ...], expected: bool) -> None:
    assert is_file_id(components) is expected


def test_names_are_given_out_by_patient_study_and_series() -> None:
    ids = FileIds()
    assert ids.next("P", "1", "1.1") == ("PT000001", "ST000001", "SE000001", "IM000001")
    assert ids.next("P", "1", "1.1") == ("PT000001", "ST000001", "SE000001", "IM000002")
    assert ids.next("P", "1", "1.2") == ("PT000001", "ST000001", "SE000002", "IM000001")
    assert ids.next("P", "2", "2.1") == ("PT000001", "ST000002", "SE000001", "IM000001")
    assert ids.next("Q", "3", "3.1") == ("PT000002", "ST000001", "SE000001", "IM000001")


def test_what_is_there_is_never_given_out_again() -> None:
    ids = FileIds([("PT000001", "x.dcm"), ("pt000002",)])
    assert ids.next("P", "1", "1")[0] == "PT000003"
    ids = FileIds()
    ids.lies(("PT000007", "ST000001", "SE000001", "IM000001"), "P", "1", "1.1")
    assert ids.next("P", "1", "1.1") == ("PT000007", "ST000001", "SE000001", "IM000002")
    assert ids.next("P", "1", "1.2") == ("PT000007", "ST000001", "SE000002", "IM000001")
    assert ids.next("Q", "2", "2.1")[0] == "PT000001"


def test_a_full_folder_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_ids, "_MAX_NUMBER", 2)
    ids = FileIds()
    ids.next("P", "1", "1")
    ids.next("P", "1", "1")
    with pytest.raises(UsageError, match="in one folder"):
        ids.next("P", "1", "1")


@given(st.lists(st.tuples(*[st.sampled_from("ABC")] * 3), max_size=40))
def test_names_are_conformant_and_unique(keys: list[tuple[str, str, str]]) -> None:
    ids = FileIds()
    given_out = [ids.next(*key) for key in keys]
    assert all(map(is_file_id, given_out))
    assert len(set(given_out)) == len(given_out)
    folders = {key: components[:3] for key, components in zip(keys, given_out, strict=True)}
    assert all(components[:3] == folders[key] for key, components in zip(keys, given_out, strict=True))


@pytest.mark.parametrize(
    "components",
    [
        (), ("..",), ("A", "..", "B"), (".",), ("",), ("  ",), ("/etc", "passwd"), ("C:", "X"), ("A/B",), ("A\\B",),
        ("A\0",), ("A\nB",), ("*",), ("A",) * 33, ("A" * 256,),
    ],
)  # fmt: skip
def test_a_hostile_file_id_is_not_followed(components: tuple[str, ...]) -> None:
    with pytest.raises(RemoteProtocolError):
        relative_path(components)


def test_a_sloppy_one_is() -> None:
    assert relative_path(("images", "im_1.dcm ")) == PurePosixPath("images/im_1.dcm")


@given(st.lists(st.text(max_size=12), max_size=10))
def test_no_file_id_leads_out(components: list[str]) -> None:
    with suppress(RemoteProtocolError):
        path = relative_path(components)
        assert not path.is_absolute()
        assert ".." not in path.parts
