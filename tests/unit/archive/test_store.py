"""The archive's store: what it takes, what it refuses, what survives a crash."""

from __future__ import annotations

import os
import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dicomlab.archive.store import Store
from dicomlab.dimse.commitment_scp import missing
from dicomlab.errors import ServiceError
from dicomlab.model.matching import first
from dicomlab.model.protocols import Arrival
from dicomlab.model.query import Query
from dicomlab.part10.meta import EXPLICIT_LE, decode_file_meta
from dicomlab.samples.phantom import phantom_datasets


def octets_of(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    whole = buffer.getvalue()
    return whole[decode_file_meta(whole).length :]


def put(store: Store, dataset: Dataset, octets: bytes | None = None, **announced: str) -> Any:
    arrival = Arrival(
        announced.get("sop_class", dataset.SOPClassUID), announced.get("uid", dataset.SOPInstanceUID), EXPLICIT_LE
    )
    writer = store.sink("TEST").begin(arrival)
    writer.write(octets_of(dataset) if octets is None else octets)
    return writer.finish()


@pytest.fixture(scope="module")
def datasets() -> list[Dataset]:
    return list(phantom_datasets(patients=2, slices=2, seed=1))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    one = Store(tmp_path)
    yield one
    one.close()


def test_files_lie_as_received(store: Store, datasets: list[Dataset]) -> None:
    outcome = put(store, datasets[0])
    (held,) = store.select("instance", [datasets[0].SOPInstanceUID])
    assert held.path.read_bytes()[held.meta_length :] == octets_of(datasets[0])
    assert (store.folder / outcome.path) == held.path
    assert datasets[0].SOPInstanceUID not in str(held.path)


def test_the_same_octets_again_are_fine_and_other_octets_change_nothing(store: Store, datasets: list[Dataset]) -> None:
    put(store, datasets[0])
    put(store, datasets[0])
    assert len(store.index) == 1
    other = octets_of(datasets[0]).replace(b"AXIAL", b"OTHER")
    with pytest.raises(ServiceError, match="kept") as caught:
        put(store, datasets[0], other)
    assert caught.value.status == 0x0111
    (held,) = store.select("instance", [datasets[0].SOPInstanceUID])
    assert held.path.read_bytes()[held.meta_length :] == octets_of(datasets[0])
    assert not list((store.folder / "incoming").iterdir())


@pytest.mark.parametrize("uid", ["../../x", "1.2/3", "", "1" * 65, "1.2\0"])
def test_a_uid_that_is_none_is_refused_before_a_file_is_made(store: Store, datasets: list[Dataset], uid: str) -> None:
    with pytest.raises(ServiceError) as caught:
        put(store, datasets[0], uid=uid)
    assert caught.value.status == 0xC000
    assert not list((store.folder / "incoming").iterdir())


def test_broken_and_mislabelled_data_sets_are_refused(store: Store, datasets: list[Dataset]) -> None:
    with pytest.raises(ServiceError, match="missing") as caught:
        put(store, datasets[0], octets_of(datasets[0])[:-10])
    assert caught.value.status == 0xC000
    with pytest.raises(ServiceError) as caught:
        put(store, datasets[0], uid="1.2.3")
    assert caught.value.status == 0xA900
    with pytest.raises(ServiceError) as caught:
        put(store, datasets[0], b"")
    assert caught.value.status == 0xC000
    assert len(store.index) == 0
    assert not list(store.folder.rglob("*.dcm"))


def test_a_crash_between_file_and_index_loses_nothing(tmp_path: Path, datasets: list[Dataset]) -> None:
    store = Store(tmp_path)
    for dataset in datasets:
        put(store, dataset)
    (held,) = store.select("instance", [datasets[0].SOPInstanceUID])
    store.index.forget(held.path.relative_to(store.instances).as_posix())
    (gone,) = store.select("instance", [datasets[1].SOPInstanceUID])
    gone.path.unlink()
    (store.folder / "incoming" / ".x.part").write_bytes(b"half")
    store.close()
    again = Store(tmp_path)
    assert {h.sop_instance_uid for h in again.select("patient", ["*"])} == set()
    there = {first(row, "SOPInstanceUID") for row in again.search(Query.of("instance"))}
    assert there == {ds.SOPInstanceUID for ds in datasets} - {datasets[1].SOPInstanceUID}
    assert not list((tmp_path / "incoming").iterdir())
    again.close()


def test_what_a_loss_of_power_cut_short_is_not_held_and_comes_anew(tmp_path: Path, datasets: list[Dataset]) -> None:
    store = Store(tmp_path)
    put(store, datasets[0])
    (held,) = store.select("instance", [datasets[0].SOPInstanceUID])
    held.path.write_bytes(held.path.read_bytes()[:500])
    put(store, datasets[0])  # the same octets again: no "I have that already" of what is no longer there
    assert held.path.stat().st_size == held.size
    held.path.write_bytes(b"")
    store.close()
    again = Store(tmp_path)
    assert len(again.index) == 0
    put(again, datasets[0])
    assert held.path.stat().st_size == held.size
    again.close()


def test_a_commitment_is_on_the_medium_before_it_is_given(
    tmp_path: Path, datasets: list[Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    for dataset in datasets[:3]:
        put(store, dataset)
    asked = [(str(one.SOPClassUID), str(one.SOPInstanceUID)) for one in datasets[:3]]
    held = {one.sop_instance_uid: one for one in store.select("instance", [uid for _, uid in asked])}
    done: list[tuple[int, int]] = []
    fsync, refused = os.fsync, held[asked[1][1]].path.stat()

    def watched(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), refused):
            raise OSError(5, "Input/output error")
        fsync(descriptor)
        done.append((os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino))

    monkeypatch.setattr(os, "fsync", watched)
    assert missing(store, [asked[0], asked[2]]) == {}
    for path in (*(held[uid].path for _, uid in (asked[0], asked[2])), store.instances, store.folder):
        assert (path.stat().st_dev, path.stat().st_ino) in done
        assert path.is_dir() or (path.parent.stat().st_dev, path.parent.stat().st_ino) in done
    assert missing(store, asked) == {asked[1]: 0x0110}, "what can't be put there is not committed to"
    store.close()


def test_search_counts_even_when_the_question_is_narrow(store: Store, datasets: list[Dataset]) -> None:
    for dataset in datasets:
        put(store, dataset)
    one = datasets[0]
    (series,) = store.search(
        Query.of("series", StudyInstanceUID=one.StudyInstanceUID, SeriesInstanceUID=one.SeriesInstanceUID)
    )
    expected = sum(ds.SeriesInstanceUID == one.SeriesInstanceUID for ds in datasets)
    assert series["NumberOfSeriesRelatedInstances"] == (expected,)
    (instance,) = store.search(
        Query.of(
            "instance", SOPInstanceUID=one.SOPInstanceUID,
            include=["NumberOfStudyRelatedInstances", "SliceThickness", "NumberOfSeriesRelatedInstances"],
        )
    )  # fmt: skip
    assert instance["NumberOfSeriesRelatedInstances"] == (expected,)
    of_study = sum(ds.StudyInstanceUID == one.StudyInstanceUID for ds in datasets)
    assert instance["NumberOfStudyRelatedInstances"] == (of_study,)
    assert ("SliceThickness" in instance) == ("SliceThickness" in one)


def test_many_at_once(store: Store, datasets: list[Dataset]) -> None:
    failed: list[BaseException] = []

    def work(part: list[Dataset]) -> None:
        try:
            for dataset in part:
                put(store, dataset)
        except BaseException as error:  # noqa: BLE001
            failed.append(error)

    threads = [threading.Thread(target=work, args=(datasets,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(store.index) == len(datasets)


def test_on_store_is_told_once_and_may_fail(tmp_path: Path, datasets: list[Dataset]) -> None:
    told: list[str] = []

    def tell(held: Any) -> None:
        told.append(held.sop_instance_uid)
        raise ValueError("the user's own mistake")

    store = Store(tmp_path, tell)
    put(store, datasets[0])
    put(store, datasets[0])
    assert told == [datasets[0].SOPInstanceUID]
    assert len(store.index) == 1
    store.close()
