"""What a medium does to a file: its errors in our words, names given when a file is whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dicomlab.errors import Interrupted, Refused
from dicomlab.part10.medium import medium_errors, part_of, remove_parts, replacing


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        (errno.ENOSPC, Interrupted, "no space left"),
        (errno.EDQUOT, Interrupted, "no space left"),
        (errno.EROFS, Refused, "not allowed to write here"),
        (errno.EIO, Interrupted, "the medium failed: odd"),
    ],
)
def test_what_the_operating_system_says_is_said_in_our_words(
    tmp_path: Path, number: int, kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says), medium_errors(tmp_path):
        raise OSError(number, "odd")


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(KeyError), medium_errors(tmp_path):
        raise KeyError


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "table"
    with replacing(path) as file:
        file.write(b"first")
        assert not path.exists()
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half of the sec", "ond"])  # type: ignore[list-item]
    assert path.read_bytes() == b"first"
    assert [found.name for found in path.parent.iterdir()] == ["table"]


def test_only_old_parts_of_that_file_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "a[1].dcm"
    old, young, other = Path(part_of(path)), Path(part_of(path)), Path(part_of(tmp_path / "a1.dcm"))
    for part, touched_s in (old, 100.0), (young, 300.0), (other, 100.0):
        part.touch()
        os.utime(part, (touched_s, touched_s))
    remove_parts(path, before_s=200.0)
    assert {found.name for found in tmp_path.iterdir()} == {young.name, other.name}
