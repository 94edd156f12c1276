"""Going through a folder: every file is accounted for."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from pydicom import Dataset

from dicomlab.errors import Refused, Unreachable
from dicomlab.media import found as finding
from dicomlab.media import look as looking
from dicomlab.media import scan as scanning
from dicomlab.media.found import Scan
from dicomlab.media.listing import Folder, list_files
from dicomlab.media.media_set import MediaSet
from dicomlab.media.scan import scan
from dicomlab.model.columns import columns
from dicomlab.model.progress import Control, Progress
from dicomlab.model.report import LEDGER_NAME
from dicomlab.model.trace import open_channel, trace
from dicomlab.part10.meta import DEFLATED_LE, decode_file_meta, encode_file_meta
from dicomlab.samples.manifest import data_folder
from dicomlab.samples.phantom import phantom_datasets

INSTANCES = list(phantom_datasets(patients=1, slices=3))


def save(ds: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def look(root: Path, control: Control | None = None) -> Scan:
    found = scan(root, control or Control(), open_channel("file", "us", str(root), bytes.decode))
    if found.complete:
        assert found.listed == len(found.instances) + len(found.errors)
    return found


def kinds(found: Scan) -> dict[str, str]:
    return {error.path: error.kind for error in found.errors}


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    octets = save(INSTANCES[0], tmp_path / "whole").read_bytes()
    (tmp_path / "whole").unlink()
    return octets


def with_meta(octets: bytes, syntax: str) -> bytes:
    """The same data set, said to be in another transfer syntax."""
    meta = decode_file_meta(octets)
    return encode_file_meta(meta.sop_class_uid, meta.sop_instance_uid, syntax) + octets[meta.length :]


SEQUENCE = b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
BROKEN = {
    "not_dicom": lambda octets: b"no DICOM file" * 40,
    "empty": lambda octets: b"",
    "truncated": lambda octets: octets[:-10],
    "bad_meta": lambda octets: encode_file_meta("1.2", "1.3", "")[:-8],
    "unknown_ts": lambda octets: with_meta(octets, "1.2.3.4.5")[:600] + b"\0\0??" * 50,
    "ts_mismatch": lambda octets: with_meta(octets, "1.2.840.10008.1.2.2")[:400] + b"\0\0??" * 50,
    "bad_length": lambda octets: octets + b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"ABCDEFGH",
    "nesting": lambda octets: octets[: decode_file_meta(octets).length] + SEQUENCE * 100,
    "inflate": lambda octets: with_meta(octets, DEFLATED_LE),
    "missing_uid": lambda octets: octets.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0c\x00UI"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_each_defect_has_its_kind(kind: str, whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "broken.dcm").write_bytes(BROKEN[kind](whole))
    save(INSTANCES[1], tmp_path / "good.dcm")
    found = look(tmp_path)
    if kind == "bad_length":  # behind the pixel data, where another reader does not look: an instance with a note
        broken, good = found.instances.values()
        assert broken.notes[0].startswith("bad_length: ")
        assert broken.unfit
        assert not good.notes
        return
    assert kinds(found) == {"broken.dcm": kind}
    assert [one.name for one in found.instances.values()] == ["good.dcm"]
    assert found.errors[0].message


def test_a_deflated_file_is_read(whole: bytes, tmp_path: Path) -> None:
    length = decode_file_meta(whole).length
    deflated = zlib.compress(whole[length:], wbits=-15)
    (tmp_path / "deflated").write_bytes(with_meta(whole, DEFLATED_LE).removesuffix(whole[length:]) + deflated)
    assert [one.meta.transfer_syntax_uid for one in look(tmp_path).instances.values()] == [DEFLATED_LE]
    (tmp_path / "deflated").write_bytes((tmp_path / "deflated").read_bytes()[:-40])
    assert kinds(look(tmp_path)) == {"deflated": "truncated"}


def test_zeros_behind_the_data_set_are_padding(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "padded").write_bytes(whole + b"\0" * 300)
    (found,) = look(tmp_path).instances.values()
    assert (found.size, found.padding) == (len(whole), 300)


def test_a_bomb_is_an_error_row(whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "MAX_INFLATED", 1 << 16)
    head = with_meta(whole, DEFLATED_LE).removesuffix(whole[decode_file_meta(whole).length :])
    (tmp_path / "bomb").write_bytes(head + zlib.compress(b"\0" * (1 << 20), wbits=-15))
    assert kinds(look(tmp_path)) == {"bomb": "inflate"}


def test_a_large_file_is_mapped_also_when_it_is_broken(
    whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_MAP_FROM", 16)
    (tmp_path / "good").write_bytes(whole)
    (tmp_path / "cut").write_bytes(whole[:-10])
    found = look(tmp_path)
    assert kinds(found) == {"cut": "truncated"}
    found.require(columns(["WindowCenter"]))
    (tmp_path / "good").write_bytes(whole[:-10])
    found.require(columns(["WindowWidth"]))  # broken since: what was read stays, the rest is absent
    (one,) = found.instances.values()
    assert "WindowCenter" in one.row
    assert "WindowWidth" not in one.row


def test_duplicates_are_told_from_impostors(tmp_path: Path) -> None:
    first = save(INSTANCES[0], tmp_path / "a.dcm")
    copyfile(first, tmp_path / "b.dcm")
    octets = bytearray(first.read_bytes())
    octets[-1] ^= 1
    (tmp_path / "c.dcm").write_bytes(octets)
    found = look(tmp_path)
    assert [one.name for one in found.instances.values()] == ["a.dcm"]
    assert kinds(found) == {"b.dcm": "duplicate", "c.dcm": "duplicate"}
    assert [error.message.startswith("the same") for error in found.errors] == [True, False]


def test_hidden_files_are_listed_and_the_ledger_is_not(tmp_path: Path) -> None:
    save(INSTANCES[0], tmp_path / ".hidden" / ".instance")
    (tmp_path / LEDGER_NAME).write_text("{}")
    found = look(tmp_path)
    assert [one.name for one in found.instances.values()] == [".hidden/.instance"]
    assert found.listed == 1


def test_a_dicomdir_is_kept_apart(tmp_path: Path) -> None:
    copyfile(data_folder() / "test_files/dicomdirtests/DICOMDIR", tmp_path / "DICOMDIR")
    found = look(tmp_path)
    assert (found.listed, found.directories) == (0, [tmp_path / "DICOMDIR"])


def test_links_lead_nowhere_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    save(INSTANCES[0], root / "a.dcm")
    save(INSTANCES[1], outside / "b.dcm")
    (root / "loop").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "out.dcm").symlink_to(outside / "b.dcm")
    (root / "broken").symlink_to(root / "absent")
    (root / "inside.dcm").symlink_to(root / "a.dcm")
    found = look(root)
    assert [one.name for one in found.instances.values()] == ["a.dcm"]
    assert kinds(found) == {
        "broken": "link", "inside.dcm": "duplicate", "loop": "link", "out": "link", "out.dcm": "link",
    }  # fmt: skip


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert kinds(look(tmp_path)) == {"pipe": "not_dicom"}


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(INSTANCES[0], tmp_path / "a.dcm")
    save(INSTANCES[1], tmp_path / "b.dcm")
    plain = os.open

    def opening(path: str, flags: int) -> int:  # tests may run as root, who may all
        if path.endswith("a.dcm"):
            raise PermissionError(13, "Permission denied")
        return plain(path, flags)

    monkeypatch.setattr(os, "open", opening)
    found = look(tmp_path)
    assert kinds(found) == {"a.dcm": "permission"}
    assert len(found.instances) == 1


def test_the_root_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreachable, match="mounted"):
        look(tmp_path / "absent")

    def forbidden(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "scandir", forbidden)
    with pytest.raises(Refused, match="not allowed"):
        look(tmp_path)


def test_the_order_is_that_of_names(tmp_path: Path) -> None:
    for name in ("b", "a/2", "a/1", "c/x/1", "c/0"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    listed = [path.relative_to(tmp_path).as_posix() for path, _ in list_files(tmp_path)]
    assert listed == ["b", "a/1", "a/2", "c/0", "c/x/1"]


def test_a_cancelled_scan_says_that_it_is_not_whole(tmp_path: Path) -> None:
    for number, ds in enumerate(INSTANCES):
        save(ds, tmp_path / f"{number}.dcm")
    control = Control(lambda progress: control.cancel())
    found = look(tmp_path, control)
    assert not found.complete
    assert len(found.instances) == 1


def test_every_file_read_is_traced_without_patient_data(tmp_path: Path) -> None:
    save(INSTANCES[0], tmp_path / "x" / "a.dcm")
    with trace() as wire:
        look(tmp_path)
    assert [event.text for event in wire] == ["read: x/a.dcm"]


def test_all_of_pydicoms_data_is_accounted_for() -> None:
    found = look(data_folder())
    assert len(found.instances) > 100
    assert {"duplicate", "not_dicom", "missing_uid", "truncated"} <= set(kinds(found).values())


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_the_octets_the_file_is_accounted_for(data: st.DataObject, whole: bytes, tmp_path: Path) -> None:
    octets = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, 1500))] = data.draw(st.integers(0, 255))
    (tmp_path / "a").write_bytes(octets[: data.draw(st.integers(0, len(octets)))])
    assert look(tmp_path).complete


# --- elsewhere -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Instances and other things, in several folders."""
    folder = tmp_path_factory.mktemp("pile")
    for number, ds in enumerate(phantom_datasets(patients=2, slices=20)):
        save(ds, folder / f"{number % 3}" / f"{number:03}")
    (folder / "0" / "junk").write_bytes(b"junk" * 100)
    (folder / "1" / "cut").write_bytes((folder / "1" / "001").read_bytes()[:-10])
    (folder / "2" / "out").symlink_to("/etc/hosts")
    return folder


def same(one: MediaSet, other: MediaSet) -> None:
    assert_frame_equal(one.instances, other.instances)
    assert_frame_equal(one.errors, other.errors)


@pytest.fixture
def small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "CHUNK_FILES", 7)
    monkeypatch.setattr(scanning, "_IN_FLIGHT", 3)


@pytest.mark.usefixtures("small_tasks")
@pytest.mark.parametrize("kind", ["threads", "processes", "dask"])
def test_the_same_whoever_reads(kind: str, pile: Path, tmp_path: Path, processes: Executor) -> None:
    with executor_of(kind, processes) as executor:
        media = MediaSet(pile, cache=tmp_path / "caches").scan(["WindowCenter"], executor=executor, progress=False)
    same(media, MediaSet(pile, cache=False).scan(["WindowCenter"], progress=False))
    assert media.instances["WindowCenter"].notna().all()
    assert len(media.errors) == 3


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for started in [executor.submit(len, ()) for _ in range(2)]:
            started.result(60)
        yield executor


@contextmanager
def executor_of(kind: str, processes: Executor) -> Iterator[Executor]:
    if kind == "threads":
        with ThreadPoolExecutor(2) as executor:
            yield executor
    elif kind == "processes":
        yield processes
    else:
        import dask
        from dask.distributed import Client, LocalCluster

        options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
        with (
            TemporaryDirectory() as scratch,
            dask.config.set({"temporary-directory": scratch}),
            LocalCluster(**options) as cluster,
            Client(cluster) as client,
        ):
            assert len(client.scheduler_info()["workers"]) == 2
            yield client.get_executor()


class Failing(Executor):
    """An executor whose workers die, or that takes no more work after a few tasks."""

    def __init__(self, how: str) -> None:
        self.how, self.given = how, 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.given += 1
        if self.how == "closed" and self.given > 2:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future: Future[Any] = Future()
        if self.how == "dies" and self.given % 2:
            future.set_exception(BrokenExecutor("a worker was killed"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.mark.usefixtures("small_tasks")
@pytest.mark.parametrize("how", ["dies", "closed"])
def test_what_an_executor_fails_at_is_read_here(how: str, pile: Path) -> None:
    failing = Failing(how)
    with trace() as wire:
        media = MediaSet(pile, cache=False).scan(executor=failing, progress=False)
    assert failing.given > 2
    same(media, MediaSet(pile, cache=False))
    assert any("read here" in event.text or "done here" in event.text for event in wire)


@pytest.mark.usefixtures("small_tasks")
def test_an_executor_is_left_when_somebody_cancels(pile: Path) -> None:
    media = MediaSet(pile, cache=False)
    with ThreadPoolExecutor(1) as executor:
        operation = media.scan(executor=executor, progress=lambda progress: operation.cancel(), background=True)
        operation.result(60)
    assert media._scan is None
    same(media, MediaSet(pile, cache=False))


def test_progress_counts_files_and_octets(pile: Path) -> None:
    seen: list[Progress] = []
    media = MediaSet(pile, cache=False).scan(progress=seen.append)
    sizes = [path.stat().st_size for path in pile.rglob("*") if path.is_file() and not path.is_symlink()]
    assert (seen[-1].done, seen[-1].octets) == (len(sizes), sum(sizes))
    assert len(seen) > 3
    found: list[Progress] = []
    assert len(MediaSet(pile, cache=False).find("instance", progress=found.append)) == found[-1].done
    assert len(media.instances) == found[-1].done


def test_a_file_that_changes_while_it_is_looked_at(pile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the listing and the look one shrinks, one grows, one goes, one becomes a pipe."""
    octets = (pile / "0" / "000").read_bytes()
    for name in ("grows", "goes", "pipe", "shrinks"):
        (tmp_path / name).write_bytes(octets if name != "grows" else octets[:600])
    plain = scanning.list_folders

    def listing(root: Path) -> Iterator[Folder]:
        for folder in plain(root):
            (tmp_path / "grows").write_bytes(octets)
            (tmp_path / "shrinks").write_bytes(octets[:607])
            (tmp_path / "goes").unlink()
            (tmp_path / "pipe").unlink()
            os.mkfifo(tmp_path / "pipe")
            yield folder

    monkeypatch.setattr(scanning, "list_folders", listing)
    found = look(tmp_path)
    assert [one.name for one in found.instances.values()] == ["grows"]
    assert kinds(found) == {"goes": "unreadable", "pipe": "unreadable", "shrinks": "truncated"}


def test_a_link_that_turns_outside_meanwhile_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, outside = tmp_path / "root", save(INSTANCES[1], tmp_path / "outside.dcm")
    save(INSTANCES[0], root / "a.dcm")
    (root / "link").symlink_to(root / "a.dcm")
    plain = scanning.list_folders

    def listing(folder: Path) -> Iterator[Folder]:
        for one in plain(folder):
            (root / "link").unlink()
            (root / "link").symlink_to(outside)
            yield one

    monkeypatch.setattr(scanning, "list_folders", listing)
    assert kinds(look(root)) == {"link": "unreadable"}
