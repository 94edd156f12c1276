"""Writing a File-set: what arrives gets a File ID, the DICOMDIR comes last."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomlab.errors import Interrupted, ServiceError
from dicomlab.media import files
from dicomlab.media.files import FileSetSink, read_directory
from dicomlab.media.scan import Scan, scan
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival
from dicomlab.model.report import Outcome
from dicomlab.model.trace import open_channel
from dicomlab.part10.meta import decode_file_meta
from dicomlab.samples.phantom import write_phantom


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("given")
    return [path.read_bytes() for path in write_phantom(folder, patients=1, slices=3)]


def sink_of(root: Path) -> FileSetSink:
    channel = open_channel("file", "us", str(root), bytes.decode)
    return FileSetSink(scan(root, Control(), channel) if root.exists() else Scan(root, complete=True), channel)


def put(sink: FileSetSink, octets: bytes, *, with_meta: bool = True, **changes: Any) -> Outcome:
    meta = decode_file_meta(octets)
    uids = {
        "sop_class_uid": meta.sop_class_uid, "sop_instance_uid": meta.sop_instance_uid,
        "transfer_syntax_uid": meta.transfer_syntax_uid,
    }  # fmt: skip
    arrival = Arrival(**{**uids, **changes}, file_meta=octets[: meta.length] if with_meta else None, source="SENDER")
    writer = sink.begin(arrival)
    for at in range(meta.length, len(octets), 1000):
        writer.write(octets[at : at + 1000])
    return writer.finish()


def names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


SET = "PT000001/ST000001/SE000001"


def test_instances_get_file_ids_and_the_directory_comes_last(given: list[bytes], tmp_path: Path) -> None:
    root = tmp_path / "new"
    sink = sink_of(root)
    outcomes = [put(sink, octets) for octets in given]
    assert names(root) == [
        f"{SET}/IM000001",
        f"{SET}/IM000002",
        f"{SET}/IM000003",
        "PT000001/ST000002/SE000001/IM000001",
    ]
    sink.close()
    assert "DICOMDIR" in names(root)
    for outcome, octets in zip(outcomes, given, strict=True):
        assert (root / outcome.path).read_bytes() == octets
        assert outcome.result == "done"
        assert outcome.octets == len(octets) - decode_file_meta(octets).length
    directory = read_directory(root / "DICOMDIR")
    assert ["/".join(leaf.file_id) for leaf in directory.leaves] == [outcome.path for outcome in outcomes]


def test_what_travelled_without_meta_gets_our_own(given: list[bytes], tmp_path: Path) -> None:
    outcome = put(sink_of(tmp_path), given[0], with_meta=False)
    octets = (tmp_path / outcome.path).read_bytes()
    assert octets[decode_file_meta(octets).length :] == given[0][decode_file_meta(given[0]).length :]
    assert dcmread(tmp_path / outcome.path).file_meta.SourceApplicationEntityTitle == "SENDER"


def test_what_is_there_is_not_written_again(given: list[bytes], tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    put(sink, given[0])
    again = put(sink, given[0])
    assert (again.result, again.path, again.octets) == ("skipped", f"{SET}/IM000001", put(sink, given[0]).octets)
    lied = put(sink, given[0], sop_instance_uid="1.2.3")  # announced as another, found out when it is whole
    assert (lied.result, lied.path) == ("skipped", f"{SET}/IM000001")
    assert names(tmp_path) == [f"{SET}/IM000001"]


def test_an_update_joins_what_is_there_and_keeps_the_file_set(given: list[bytes], tmp_path: Path) -> None:
    first = sink_of(tmp_path)
    put(first, given[0])
    first.close()
    before, octets = read_directory(tmp_path / "DICOMDIR"), (tmp_path / "DICOMDIR").read_bytes()
    second = sink_of(tmp_path)
    assert put(second, given[1]).path == f"{SET}/IM000002"
    assert (tmp_path / "DICOMDIR").read_bytes() == octets  # until it is closed, the old one stands
    second.close()
    after = read_directory(tmp_path / "DICOMDIR")
    assert after.file_set_uid == before.file_set_uid
    assert len(after.leaves) == 2


def test_a_broken_instance_leaves_no_trace(given: list[bytes], tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    with pytest.raises(ServiceError, match="can't join the File-set") as caught:
        put(sink, given[0][:-10])
    assert caught.value.status == 0xC000
    writer = sink.begin(Arrival("1.2", "1.3", "1.2.840.10008.1.2"))
    writer.write(b"abc")
    writer.abandon()
    assert names(tmp_path) == []


def test_files_without_file_id_stay_and_are_reported(given: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "my file.dcm").write_bytes(given[0])
    sink = sink_of(tmp_path)
    put(sink, given[1])
    sink.close()
    assert [finding.text for finding in sink.findings] == ["its name is no File ID: it has no record"]
    assert len(read_directory(tmp_path / "DICOMDIR").leaves) == 1
    assert (tmp_path / "my file.dcm").read_bytes() == given[0]


def test_a_full_disc_leaves_the_old_directory(
    given: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = sink_of(tmp_path)
    put(sink, given[0])
    sink.close()
    before = (tmp_path / "DICOMDIR").read_bytes()
    put(sink, given[1])
    plain = Path.write_bytes

    def half(path: Path, octets: bytes) -> int:
        plain(path, octets[: len(octets) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(Interrupted, match="no space left"):
            sink.close()
    assert (tmp_path / "DICOMDIR").read_bytes() == before
    assert not [name for name in names(tmp_path) if name.endswith(".part")]
    sink.close()
    assert len(read_directory(tmp_path / "DICOMDIR").leaves) == 2


def test_nothing_arrived_nothing_is_written_over(given: list[bytes], tmp_path: Path) -> None:
    sink = sink_of(tmp_path)
    put(sink, given[0])
    sink.close()
    stamp = (tmp_path / "DICOMDIR").stat().st_mtime_ns
    again = sink_of(tmp_path)
    put(again, given[0])
    again.close()
    assert (tmp_path / "DICOMDIR").stat().st_mtime_ns == stamp


def test_a_document_takes_its_title_along(tmp_path: Path) -> None:
    from dicomlab.samples.manifest import data_folder

    octets = (data_folder() / "test_files" / "reportsi.dcm").read_bytes()
    sink = sink_of(tmp_path)
    put(sink, octets)
    sink.close()
    record = dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence[-1]
    assert record.DirectoryRecordType == "SR DOCUMENT"
    assert (
        record.ConceptNameCodeSequence == dcmread(data_folder() / "test_files" / "reportsi.dcm").ConceptNameCodeSequence
    )


def test_sequences_that_can_not_be_read_are_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dicomlab.media import sequences
    from dicomlab.samples.manifest import data_folder

    monkeypatch.setattr(sequences, "MAX_COPIED", 1)
    sink = sink_of(tmp_path)
    put(sink, (data_folder() / "test_files" / "reportsi.dcm").read_bytes())
    sink.close()
    assert any("could not be repeated" in finding.text for finding in sink.findings)
    assert files.DICOMDIR in names(tmp_path)
