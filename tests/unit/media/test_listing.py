"""Listing: every file once, in one order, and nothing outside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomlab.errors import Unreachable
from dicomlab.media import listing
from dicomlab.media.listing import INDEX_NAME, list_files, list_folders
from dicomlab.media.media_set import MediaSet
from dicomlab.model.report import LEDGER_NAME


def test_files_of_a_folder_come_before_the_folders_in_it(tmp_path: Path) -> None:
    for name in ("b", "a/2", "a/1", "c/x/1", "c/0", f"{INDEX_NAME}/part", LEDGER_NAME, f"c/{LEDGER_NAME}"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    entries = [entry for folder in list_folders(tmp_path) for entry in folder.entries]
    assert [path for path, _, _ in entries] == ["b", "a/1", "a/2", "c/0", f"c/{LEDGER_NAME}", "c/x/1"]
    assert all(size == (tmp_path / path).stat().st_size for path, size, _ in entries)
    assert all(ns == (tmp_path / path).stat().st_mtime_ns for path, _, ns in entries)


@pytest.mark.parametrize(("name", "depth"), [("d" * 100, 50), pytest.param("d", 2_100, marks=pytest.mark.full)])
def test_folders_nested_deeper_than_a_path_may_be_long(name: str, depth: int, tmp_path: Path) -> None:
    before = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)
    try:
        for _ in range(depth):
            os.mkdir(name)
            os.chdir(name)
        assert [one and one.kind for _, one in list_files(tmp_path)] == ["unreadable"]
        assert len(MediaSet(tmp_path, cache=False).errors) == 1
        for _ in range(depth):  # no tool that goes by whole paths can remove it
            os.chdir("..")
            os.rmdir(name)
    finally:
        os.fchdir(before)
        os.close(before)


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "here").symlink_to(tmp_path)
    assert {path.name: one and one.kind for path, one in list_files(tmp_path)} == {
        "a": "link",
        "b": "link",
        "here": "link",
    }


def test_what_goes_away_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").write_text("b")
    plain = os.scandir

    def going(folder: Path) -> Iterator[os.DirEntry[str]]:
        if Path(folder).name == "a":
            raise PermissionError(13, "Permission denied")
        return plain(folder)

    monkeypatch.setattr(listing.os, "scandir", going)
    assert [(path.name, one and one.kind) for path, one in list_files(tmp_path)] == [("b", None), ("a", "permission")]


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        list(list_folders(tmp_path / "absent"))
