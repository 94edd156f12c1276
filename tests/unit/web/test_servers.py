"""Kinds of servers: named, told by address or by answer, shown; and what follows from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dicomlab.errors import UsageError
from dicomlab.model.trace import trace
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.servers import ORTHANC, SERVERS, STANDARD, Server, server_answering, server_at, server_named
from tests.unit.web.scripted import STUDY, Asked, reply, scripted, studies


def test_by_name() -> None:
    assert server_named("orthanc") is ORTHANC
    with pytest.raises(UsageError, match="there are standard, orthanc"):
        server_named("acme")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://healthcare.googleapis.com/v1/projects/p/dicomWeb", "google"),
        ("https://ws-x.dicom.azurehealthcareapis.com/v2", "azure"),
        ("https://dicom-medical-imaging.us-east-1.amazonaws.com/datastore/1", "aws"),
        ("https://h/dcm4chee-arc/aets/DCM4CHEE/rs", "dcm4chee"),
        ("https://evilhealthcare.googleapis.com.example.org/x", None),
        ("http://localhost:8042/dicom-web", None),
    ],
)
def test_by_address(url: str, name: str | None) -> None:
    found = server_at(url)
    assert (found.name if found else None) == name
    assert WebEndpoint(url).server.name == (name or "standard")


def test_by_answer() -> None:
    assert server_answering({}, b'{"OrthancError" : "Unknown resource"}') is ORTHANC
    assert server_answering({"Server": "nginx"}, b"<html>") is None


def test_only_what_was_tested_says_so() -> None:
    assert {one.name for one in SERVERS.values() if one.tested} == {"standard", "orthanc"}
    for one in SERVERS.values():
        text = repr(one)
        assert ("no: from its documentation" in text) == (not one.tested)
        assert one._repr_html_()


def test_it_is_shown_on_request() -> None:
    assert "decodes values  no" in repr(WebEndpoint("http://h/dicom-web", server="orthanc").server)
    assert "server  orthanc" in repr(WebEndpoint("http://h/dicom-web", server="orthanc"))


# --- what follows


def find(url: str, server: Server, **keys: Any) -> Any:
    return WebEndpoint(url, server=server).find("study", progress=False, **keys)


def named(*names: str) -> bytes:
    body = [
        {STUDY: {"vr": "UI", "Value": [f"1.{n}"]}, "00100010": {"vr": "PN", "Value": [{"Alphabetic": name}]}}
        for n, name in enumerate(names)
    ]
    return reply("200 OK", json.dumps(body).encode(), Content_Type="application/dicom+json")


def test_values_that_are_not_decoded_are_asked_for_with_wild_cards_at_once() -> None:
    def answer(asked: Asked) -> bytes:
        return studies() if "offset" in asked.query else named("Doe^Jane", "Doe-Jane")

    with scripted(answer) as server:
        found = find(server.url, Server("x", decodes_values=False), PatientName="Doe^Jane")
        assert all("PatientName=Doe?Jane" in one.target for one in server.asked)
    assert found["StudyInstanceUID"].tolist() == ["1.0"]


def test_wild_cards_that_are_not_known_are_matched_here() -> None:
    def answer(asked: Asked) -> bytes:
        assert "PatientName" not in asked.query
        assert "PatientName" not in asked.query.get("includefield", [])  # it is returned unasked
        return studies() if "offset" in asked.query else named("Doe^Jane", "Roe^Ann")

    with scripted(answer) as server, trace() as wire:
        found = find(server.url, Server("x", wild_cards=False), PatientName="Doe*")
    assert found["StudyInstanceUID"].tolist() == ["1.0"]
    assert any("matched here" in e.text for e in wire if e.direction == "note")


def test_refused_keys_and_columns_are_not_sent() -> None:
    with scripted(lambda asked: studies()) as server:
        WebEndpoint(server.url, server=SERVERS["google"]).find(
            "instance", StudyInstanceUID="1", SeriesInstanceUID="1.1", SOPClassUID="1.2", progress=False,
            include=["AvailableTransferSyntaxUID"],
        )  # fmt: skip
        assert "SOPClassUID=" not in server.asked[0].target
        assert "AvailableTransferSyntaxUID" not in server.asked[0].target


def test_pages_are_no_larger_than_the_server_gives() -> None:
    with scripted(lambda asked: studies()) as server:
        find(server.url, SERVERS["azure"])
        assert server.asked[0].query["limit"] == ["200"]


def test_matches_beyond_a_total_are_told() -> None:
    def answer(asked: Asked) -> bytes:
        start = int(asked.query.get("offset", ["0"])[0])
        return studies(*[f"1.{n}" for n in range(start, min(start + 10, 30))])

    with scripted(answer) as server:
        found = find(server.url, Server("x", most_matches=20))
    assert not found.complete
    assert "no more than 20" in found.note


def test_lists_of_uids_become_several_searches() -> None:
    with scripted(lambda asked: studies(*asked.query["StudyInstanceUID"])) as server:
        find(server.url, Server("x", lists_of_uids=False), StudyInstanceUID=["1.1", "1.2"])
        assert all("," not in one.query["StudyInstanceUID"][0] for one in server.asked)


def test_a_server_that_does_not_search_across_is_not_asked_to() -> None:
    with scripted(lambda asked: studies()) as server:
        WebEndpoint(server.url, server=Server("x", across=False)).find("series", progress=False)
        assert {one.path for one in server.asked} == {"/dicom-web/studies"}


def test_fuzzy_matching_is_asked_for_with_names_only() -> None:
    with scripted(lambda asked: studies()) as server:
        web = WebEndpoint(server.url, fuzzy=True)
        web.find("study", PatientName="Doe", progress=False)
        web.find("study", PatientID="1", progress=False)
        assert [one.query.get("fuzzymatching") for one in server.asked] == [["true"], None]


def test_a_kind_is_detected_and_then_known() -> None:
    def answer(asked: Asked) -> bytes:
        if asked.path.endswith("no-such-resource"):
            return reply("404 Not Found", b'{"OrthancError" : "Unknown resource"}')
        return studies()

    with scripted(answer) as server:
        web = WebEndpoint(server.url)
        assert web.server is STANDARD
        assert web.verify()
        assert web.server is ORTHANC
