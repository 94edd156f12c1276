"""Where files lie, and what the ledger says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomlab.cohorts.folder import FolderSink, Layout
from dicomlab.cohorts.ledger import Ledger, load, outcomes_of
from dicomlab.errors import UsageError
from dicomlab.model.progress import Control
from dicomlab.model.protocols import Arrival, Wanted
from dicomlab.model.report import LEDGER_NAME, Outcome

UID = "1.2.826.0.1.3680043.8.498.1"


def test_the_default_is_short_and_says_nothing_of_the_patient() -> None:
    long = {"StudyInstanceUID": "1." * 31 + "1", "SeriesInstanceUID": "2." * 31 + "2", "SOPInstanceUID": "3." * 31}
    path = Layout(None).path(long)
    assert len(str(path)) < 60
    assert path == Layout(None).path(long)
    assert path != Layout(None).path({**long, "SOPInstanceUID": UID})


@given(st.text(max_size=300))
def test_no_value_leads_out_of_the_folder(value: str) -> None:
    path = Layout("{PatientID}/{PatientName}/{SOPInstanceUID}.dcm").path(
        {"PatientID": value, "PatientName": value, "SOPInstanceUID": value}
    )
    assert not path.is_absolute()
    assert ".." not in path.parts
    assert len(path.parts) == 3
    assert all(0 < len(part) <= 80 for part in path.parts)
    assert all(c.isascii() and (c.isalnum() or c in "._ -") for c in "".join(path.parts))


@pytest.mark.parametrize("name", ["CON", "nul", "COM1", "aux.txt"])
def test_names_that_windows_reserves_are_avoided(name: str) -> None:
    path = Layout("{PatientID}/{SOPInstanceUID}").path({"PatientID": name, "SOPInstanceUID": UID})
    assert path.parts[0].split(".")[0].upper() not in ("CON", "NUL", "COM1", "AUX")


@pytest.mark.parametrize(
    "template",
    ["{PatientID}", "../{SOPInstanceUID}", "/abs/{SOPInstanceUID}", "{SOPInstanceUID!r}", "{SOPInstanceUID:>9}",
     "{Nonsense}/{SOPInstanceUID}", "{SOPInstanceUID", "C:/{SOPInstanceUID}"],
)  # fmt: skip
def test_impossible_layouts(template: str) -> None:
    with pytest.raises(UsageError):
        Layout(template)


def sink(folder: Path, *uids: str) -> FolderSink:
    rows = {uid: {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3"} for uid in uids}
    return FolderSink(folder, "TEST", Layout(None), rows, Control())


ELEMENT = bytes.fromhex("10001000 504E0200 4142")
EXPLICIT_LE, EXPLICIT_BE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"


def store(place: FolderSink, uid: str) -> Outcome:
    writer = place.begin(Arrival("1.2.840.10008.5.1.4.1.1.2", uid, EXPLICIT_LE))
    writer.write(ELEMENT)
    return writer.finish()


def test_what_arrived_is_in_the_ledger_at_once(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    outcome = store(place, UID)
    assert outcomes_of(tmp_path) == {UID: outcome}  # before it is closed: a crash may come now
    assert (tmp_path / outcome.path).is_file()
    place.close()
    assert load(tmp_path).outcomes == (outcome,)


def test_a_cut_last_line_is_passed_over_and_not_glued(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    outcome = store(place, UID)
    place.close()
    with (tmp_path / LEDGER_NAME).open("ab") as file:
        file.write(b'{"sop_instance_uid":"1.2.3","resu')
    report = load(tmp_path)
    assert set(report) == {outcome}
    assert not report.complete
    second = sink(tmp_path, UID, "1.9")
    after = store(second, "1.9")
    second.close()
    assert outcomes_of(tmp_path) == {UID: outcome, "1.9": after}


def test_a_whole_file_without_a_line_is_found_again(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    store(place, UID)
    place.close()
    (tmp_path / LEDGER_NAME).unlink()
    again = sink(tmp_path, UID)
    assert again.found(Wanted("1.2", "1.3", UID))
    assert not again.found(Wanted("1.2", "1.3", "1.4"))
    again.close()
    assert load(tmp_path).count("skipped") == 1


def test_a_ledger_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.dcm"
    inner = tmp_path / "inner"
    place = sink(tmp_path, UID)
    path = tmp_path / store(place, UID).path
    place.close()
    path.rename(outside)
    with Ledger(inner, "EVIL") as ledger:
        ledger.append(Outcome(UID, "done", path="../outside.dcm", octets=len(ELEMENT)))
    victim = sink(inner, UID)
    assert not victim.found(Wanted("1.2", "1.3", UID))
    victim.close()


class Said:
    """Somebody who looked at a data set on its way."""

    def __init__(self, told: bool, lacks: str) -> None:
        self.told, self._lacks = told, lacks

    def lack(self) -> str:
        return self._lacks


@pytest.mark.parametrize("syntax", [EXPLICIT_LE, EXPLICIT_BE])
@pytest.mark.parametrize("watcher", [None, Said(False, "")])
def test_what_arrives_torn_is_no_success_and_comes_again(tmp_path: Path, syntax: str, watcher: Said | None) -> None:
    place = sink(tmp_path, UID)
    writer = place.begin(Arrival("1.2.840.10008.5.1.4.1.1.2", UID, syntax, watcher=watcher))
    writer.write(ELEMENT[:-1])
    outcome = writer.finish()
    place.close()
    assert outcome.result == "failed"
    assert outcomes_of(tmp_path) == {UID: outcome}
    again = sink(tmp_path, UID)
    assert not again.found(Wanted("1.2", "1.3", UID))
    again.close()


def test_who_looked_on_the_way_is_believed(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    writer = place.begin(Arrival("1.2.840.10008.5.1.4.1.1.2", UID, EXPLICIT_LE, watcher=Said(True, "its end")))
    writer.write(ELEMENT)
    assert writer.finish().status == "it arrived broken: its end"
    place.close()


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    lies = tmp_path / store(place, UID).path
    place.close()
    lies.unlink()
    rest = lies.with_name(f".{lies.name}.0000.part")
    rest.write_bytes(b"half")
    os.utime(rest, (0, 0))
    again = sink(tmp_path, UID)
    assert not again.found(Wanted("1.2", "1.3", UID))
    again.close()
    assert not rest.exists()


def test_somebody_elses_ledger_is_refused(tmp_path: Path) -> None:
    (tmp_path / LEDGER_NAME).write_text('{"something": "else"}\n')
    with pytest.raises(UsageError, match="another folder"):
        sink(tmp_path, UID)
    with pytest.raises(UsageError, match="no ledger"):
        load(tmp_path / "absent")


def test_what_nobody_asked_for_is_kept_and_marked(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    outcome = store(place, "1.2.3.4")
    place.close()
    assert outcome.result == "warning"
    assert (tmp_path / outcome.path).is_file()


def test_what_comes_twice_is_written_once(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    first = store(place, UID)
    stamp = (tmp_path / first.path).stat().st_mtime_ns
    again = place.begin(Arrival("1.2.840.10008.5.1.4.1.1.2", UID, EXPLICIT_LE))
    again.write(b"something else altogether")
    assert again.finish() == first
    place.close()
    assert (tmp_path / first.path).stat().st_mtime_ns == stamp
    assert load(tmp_path).outcomes == (first,)


def test_parts_that_a_killed_retrieve_left_are_removed_and_no_others(tmp_path: Path) -> None:
    place = sink(tmp_path, UID)
    path = place._place(UID)
    path.parent.mkdir(parents=True)
    stale, fresh = (path.with_name(f".{path.name}.{token}.part") for token in ("0000aaaa", "0000bbbb"))
    other = path.with_name(".another.dcm.0000cccc.part")
    for part in (stale, fresh, other):
        part.write_bytes(b"x")
    for part in (stale, other):
        os.utime(part, (1, 1))
    os.utime(fresh, (4e9, 4e9))  # somebody else writes it now
    assert not place.found(Wanted("1.2", "1.3", UID))
    assert [part.exists() for part in (stale, fresh, other)] == [False, True, True]
    place.close()


@pytest.mark.parametrize("path", ["a\0/b", "x" * 5000 + "/y", "a/" * 3000 + "b", "\ud800/x"])
def test_a_ledger_that_names_no_path_at_all(tmp_path: Path, path: str) -> None:
    with Ledger(tmp_path, "EVIL") as ledger:
        ledger.append(Outcome(UID, "done", path=path, octets=1))
    place = sink(tmp_path, UID)
    assert not place.found(Wanted("1.2", "1.3", UID))
    place.close()
