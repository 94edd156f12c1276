"""Searches: pages with what remains, remarks, caps, and Retrieve URLs."""

from __future__ import annotations

from collections.abc import Callable

from dicomlab.web.origin import Limits, Setting
from tests.unit.dimse.holdings import FolderHoldings
from tests.unit.web.origin.conftest import Local


def test_pages_say_how_many_remain(local: Local) -> None:
    seen: list[str] = []
    for offset, remaining in ((0, 7), (5, 2), (10, 0)):
        answer = local.get(f"/instances?limit=5&offset={offset}")
        seen += [row["00080018"]["Value"][0] for row in answer.json()]
        expected = f"There are {remaining} additional results that can be requested"
        assert (expected in answer.headers.get("Warning", "")) == bool(remaining)
    whole = [row["00080018"]["Value"][0] for row in local.get("/instances").json()]
    assert seen == whole
    assert len(whole) == 12


def test_a_server_has_a_cap_and_says_so(holdings: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(holdings, Setting(Limits(rows=3)))
    for query in ("", "?limit=100"):
        answer = local.get(f"/instances{query}")
        assert len(answer.json()) == 3
        assert "There are 9 additional" in answer.headers["Warning"]
    assert len(local.get("/instances?offset=9").json()) == 3
    assert "Warning" not in local.get("/instances?offset=9").headers


def test_an_answer_has_a_size(holdings: FolderHoldings, open_local: Callable[..., Local]) -> None:
    local = open_local(holdings, Setting(Limits(search_octets=4000)))
    assert local.get("/instances?limit=2").status_code == 200
    answer = local.get("/instances")
    assert answer.status_code == 413
    assert "limit and offset" in answer.json()["error"]


def test_remarks(local: Local) -> None:
    said = local.get("/studies?fuzzymatching=true&Nonsense=1&includefield=Rubbish,StudyDescription").headers["Warning"]
    assert said.count("299 dicomlab") == 2
    assert "fuzzymatching parameter is not supported" in said
    assert "Nonsense, Rubbish" in said
    assert "Warning" not in local.get("/studies?fuzzymatching=false&includefield=all").headers
    hostile = local.get("/studies?X%0D%0ASet-Cookie:%20a=1&PatientID=NOBODY")
    assert hostile.json() == []
    assert "Set-Cookie" not in hostile.headers


def test_included_fields(local: Local) -> None:
    plain, more, all_of_them = (
        local.get(f"/studies?PatientID=P2{extra}").json()[0]
        for extra in ("", "&includefield=00081030", "&includefield=all")
    )
    assert "00081030" not in plain or plain == more
    assert more["00081030"]["Value"] == ["Thorax"]
    assert set(more) <= set(all_of_them)
    assert list(all_of_them) == sorted(all_of_them)


def test_no_match_is_204_to_who_asks_for_dicom_and_an_empty_list_to_who_takes_anything(local: Local) -> None:
    for accept in (
        "application/dicom+json",
        'multipart/related; type="application/dicom+xml"',
        "application/dicom+json, */*",
    ):
        answer = local.get("/studies?PatientID=NOBODY", accept)
        assert (answer.status_code, answer.content) == (204, b"")
    for accept in ("", "*/*", "application/json"):  # Orthanc's client can't read a 204
        answer = local.get("/studies?PatientID=NOBODY", accept)
        assert (answer.status_code, answer.json()) == (200, [])
