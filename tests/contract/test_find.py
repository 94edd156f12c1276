"""What every path promises of ``find``, drill-down, ``peek`` and the way back from a DataFrame."""

from __future__ import annotations

import signal
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import dicomlab
from dicomlab import Cohort, UsageError
from dicomlab.model.columns import STANDARD


def same(first: Cohort, second: Cohort) -> None:
    assert_frame_equal(first.to_dataframe(), second.to_dataframe())


@pytest.mark.parametrize("level", ["patient", "study", "series", "instance"])
def test_every_level_gives_its_standard_columns_equal_on_all_paths(source: Any, filled: Any, level: str) -> None:
    found = source.find(level, progress=False)
    assert found.complete
    assert list(found.columns) == list(STANDARD[level])
    if level != "patient":  # the web has no patient level of its own, so its row order is that of studies
        same(found, filled.media.find(level, progress=False))
    else:
        first, second = (
            f.to_dataframe().sort_values("PatientID", ignore_index=True) for f in (found, filled.media.find(level))
        )
        assert_frame_equal(first, second)


def test_counts_and_types(source: Any, bag: Any, instances: list[Any]) -> None:
    studies = source.find()
    frame = studies.to_dataframe()
    assert len(studies) == len(bag("StudyInstanceUID"))
    assert frame["NumberOfStudyRelatedInstances"].sum() == len(instances)
    assert str(frame["NumberOfStudyRelatedInstances"].dtype) == "Int64"
    assert str(frame["StudyDate"].dtype) == "datetime64[s]"
    assert str(frame["PatientID"].dtype) == "str"
    assert all(isinstance(value, tuple) for value in frame["ModalitiesInStudy"])


def test_single_value_wildcard_and_range(source: Any, bag: Any, instances: list[Any]) -> None:
    patient = bag("PatientID")[0]
    assert set(source.find(PatientID=patient)["PatientID"]) == {patient}
    assert set(source.find(PatientID=patient[:-1] + "?")["PatientID"]) == set(bag("PatientID"))
    dates = sorted(bag("StudyDate"))
    found = source.find(StudyDate=(dates[0], dates[0]))
    assert {d.strftime("%Y%m%d") for d in found["StudyDate"]} == {dates[0]}
    later = source.find(StudyDate=(dates[1], None))
    assert {d.strftime("%Y%m%d") for d in later["StudyDate"]} == set(dates[1:])


def test_a_list_means_any_of(source: Any, bag: Any) -> None:
    patients = bag("PatientID")[:2]
    assert set(source.find(PatientID=patients)["PatientID"]) == set(patients)
    studies = bag("StudyInstanceUID")[:2]
    assert set(source.find(StudyInstanceUID=studies)["StudyInstanceUID"]) == set(studies)
    both = source.find("series", StudyInstanceUID=studies, Modality=["CT", "MR"])
    assert set(both["StudyInstanceUID"]) == set(studies)
    assert both["SeriesInstanceUID"].is_unique


def test_keys_of_a_level_above_are_planned_as_a_drill_down(source: Any, bag: Any, instances: list[Any]) -> None:
    patient = bag("PatientID")[1]
    found = source.find("series", PatientID=patient, include=["StudyDate"])
    expected = {ds.SeriesInstanceUID for ds in instances if ds.PatientID == patient}
    assert set(found["SeriesInstanceUID"]) == expected
    assert set(found["PatientID"]) == {patient}
    assert found["StudyDate"].notna().all()


def test_drill_down(source: Any, bag: Any, instances: list[Any]) -> None:
    patient = bag("PatientID")[0]
    studies = source.find(PatientID=patient)
    series = studies.series(Modality="CT", include=["PatientID"])
    assert set(series["SeriesInstanceUID"]) == {
        ds.SeriesInstanceUID for ds in instances if ds.PatientID == patient and ds.Modality == "CT"
    }
    assert set(series["PatientID"]) == {patient}
    below = series.instances()
    assert set(below["SOPInstanceUID"]) == {
        ds.SOPInstanceUID for ds in instances if ds.PatientID == patient and ds.Modality == "CT"
    }
    assert {i.sop_instance_uid for i in below} == set(below["SOPInstanceUID"])


def test_include_asks_for_more_columns_and_absent_is_na(source: Any) -> None:
    found = source.find("study", include=["StudyStatusID", "PatientAge"])
    assert list(found.columns)[-2:] == ["StudyStatusID", "PatientAge"]
    assert found["StudyStatusID"].isna().all()


def test_match_takes_tags(source: Any, bag: Any) -> None:
    patient = bag("PatientID")[0]
    same(source.find(match={"(0010,0020)": patient}), source.find(PatientID=patient))


def test_nothing_found_is_an_empty_complete_cohort(source: Any) -> None:
    found = source.find(PatientID="NOBODY-AT-ALL")
    assert len(found) == 0
    assert found.complete
    assert list(found.columns) == list(STANDARD["study"])
    assert len(found.series()) == 0
    assert found.series().complete


def test_limit_cuts_and_says_so(source: Any) -> None:
    whole = source.find("instance")
    cut = source.find("instance", limit=3)
    assert len(cut) == 3
    assert not cut.complete
    assert "limit=3" in cut.note
    exact = source.find("instance", limit=len(whole))
    assert exact.complete
    assert source.verify()  # the peer is still there and still talks


@pytest.mark.parametrize(
    ("arguments", "keywords", "hint"),
    [
        (("study",), {"PatinetID": "X"}, "PatientID"),
        (("study",), {"Modality": "CT"}, "ModalitiesInStudy"),
        (("study",), {"SliceThickness": "1"}, "instance"),
        (("image",), {}, "instance"),
        (("study",), {"limit": 0}, "limit"),
        (("study",), {"patientid": "X"}, "patientid"),
        (("study",), {"StudyDate": "yesterday"}, "date"),
    ],
)
def test_a_bad_call_fails_before_anything_is_sent(
    source: Any, arguments: tuple[str, ...], keywords: dict[str, Any], hint: str
) -> None:
    with dicomlab.trace() as wire, pytest.raises(UsageError, match=hint):
        source.find(*arguments, **keywords)
    assert len(wire) == 0


def test_peek_reads_what_the_peer_cannot_match(source: Any, instances: list[Any]) -> None:
    peeked = source.find("series", Modality="CT").peek(["SliceThickness", "PixelSpacing"])
    expected = {ds.SeriesInstanceUID: float(ds.SliceThickness) for ds in instances if "SliceThickness" in ds}
    for uid, thickness in zip(peeked["SeriesInstanceUID"], peeked["SliceThickness"], strict=True):
        assert thickness == expected[uid]
    assert str(peeked["SliceThickness"].dtype) == "Float64"
    assert all(len(spacing) == 2 for spacing in peeked["PixelSpacing"])
    assert peeked.level == "series"
    by_study = source.find("study").peek(["SliceThickness"])
    assert by_study.level == "series"


def test_frame_and_back(source: Any, tmp_path: Any) -> None:
    series = source.find("series")
    kept = series.to_dataframe().query("Modality == 'CT'")
    back = Cohort.from_dataframe(kept, source=source)
    assert back.level == "series"
    assert len(back) == len(kept)
    assert set(back.instances()["SeriesInstanceUID"]) == set(kept["SeriesInstanceUID"])
    series.to_dataframe().to_csv(tmp_path / "series.csv", index=False)
    same(Cohort.from_dataframe(pd.read_csv(tmp_path / "series.csv"), source=source), series)
    masked = series[series["Modality"] == "CT"]
    assert_frame_equal(masked.to_dataframe(), kept.reset_index(drop=True))


def test_datasets_stream_without_disc(source: Any, instances: list[Any], bag: Any) -> None:
    study = bag("StudyInstanceUID")[0]
    expected = {ds.SOPInstanceUID: ds for ds in instances if ds.StudyInstanceUID == study}
    found = source.find("study", StudyInstanceUID=study)
    seen = {ds.SOPInstanceUID: ds for ds in found.datasets()}
    assert set(seen) == set(expected)
    for uid, ds in seen.items():
        assert ds.PixelData == expected[uid].PixelData
    one = next(iter(found.instances()))
    assert one.dataset == expected[one.sop_instance_uid]


def test_leaving_the_stream_ends_it(source: Any, bag: Any) -> None:
    stream = source.find("study", StudyInstanceUID=bag("StudyInstanceUID")[0]).datasets()
    next(stream)
    stream.close()
    assert source.verify()


def test_the_first_interrupt_returns_what_arrived(source: Any) -> None:
    def interrupt(progress: Any) -> None:
        if progress.done == 3:
            signal.raise_signal(signal.SIGINT)

    whole = source.find("instance")
    cohort = source.find("instance", progress=interrupt)
    assert not cohort.complete
    assert "cancelled" in cohort.note
    assert 3 <= len(cohort) < len(whole)
    assert source.find("study").complete  # the path stays usable


def test_a_second_interrupt_raises(source: Any) -> None:
    def interrupt(progress: Any) -> None:
        if progress.done == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        source.find("instance", progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert source.find("study").complete


def test_background(source: Any) -> None:
    operation = source.find("instance", background=True)
    found = operation.result(timeout_s=60)
    assert operation.done
    assert found.complete
    assert operation.progress.done == len(found)
    failing = source.find("study", background=True)
    failing.cancel()
    assert isinstance(failing.result(timeout_s=60), Cohort)


def test_progress_counts_every_row(source: Any) -> None:
    seen: list[int] = []
    found = source.find("instance", progress=lambda progress: seen.append(progress.done))
    assert [done for done in seen if done] == list(range(1, len(found) + 1))


def test_reprs_mask_who_the_patients_are(source: Any, bag: Any) -> None:
    secrets = {str(v) for keyword in ("PatientID", "PatientName") for v in bag(keyword)}
    cohort = source.find("study")
    with dicomlab.trace() as wire:
        source.find("study", PatientID=bag("PatientID")[0])
    for thing in (cohort, source, wire, source.find("series", include=["PatientID"])):
        for face in (repr(thing), thing._repr_html_()):
            assert not [secret for secret in secrets if secret in face]
    dicomlab.options.phi = "show"
    try:
        assert bag("PatientID")[0] in repr(cohort)
    finally:
        dicomlab.options.phi = "mask"


def test_synthetic_patients_are_shown(source: Any, bag: Any) -> None:
    source.fictional = True
    try:
        assert bag("PatientID")[0] in repr(source.find("study"))
    finally:
        source.fictional = False


def test_the_trace_shows_what_crossed(source: Any) -> None:
    with dicomlab.trace() as wire:
        cohort = source.find("study")
        report_trace = cohort.trace
    assert len(wire) > 0
    assert report_trace is wire
    assert wire.octets > 0
    assert all(event.text for event in wire)
    size = len(wire)
    source.find("study")
    assert len(wire) == size  # off means off


def test_verify_finds_it_alive(source: Any) -> None:
    checked = source.verify()
    assert checked.ok
    assert checked.facts
    assert "✓" in repr(checked)
