"""An instance that can't be read breaks nothing off: the rest is given, and the head of the answer says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from dicomlab.model.protocols import Held
from dicomlab.web.endpoint import WebEndpoint
from dicomlab.web.origin import retrieve
from tests.unit.dimse.holdings import FolderHoldings
from tests.unit.web.origin.conftest import BASE, Local, parts_of

STUDY, SERIES = "/studies/1.2.3.1", "/studies/1.2.3.1/series/1.2.3.1.1"
XML = 'multipart/related; type="application/dicom+xml"'


class Torn(FolderHoldings):
    """Holdings some of whose files were overwritten behind their back."""

    def __init__(self, folder: Path, torn: Path, uids: Sequence[str]) -> None:
        super().__init__(folder)
        self.torn, self.uids = torn, uids

    def select(self, level: str, uids: Sequence[str]) -> list[Held]:
        return [
            replace(one, path=self.torn) if one.sop_instance_uid in self.uids else one
            for one in super().select(level, uids)
        ]


@pytest.fixture
def torn(holdings: FolderHoldings, tmp_path: Path, open_local: Callable[..., Local]) -> Callable[..., Local]:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"\xff" * 4000)
    return lambda *uids: open_local(Torn(holdings.folder, rubbish, uids))


@pytest.mark.parametrize("level", [STUDY, SERIES])
def test_the_metadata_of_the_others_come(torn: Callable[..., Local], level: str) -> None:
    whole = torn().get(level + "/metadata")
    said = torn("1.2.3.1.1.1", "1.2.3.1.1.3").get(level + "/metadata")
    assert (whole.status_code, said.status_code) == (200, 206)
    assert "Warning" not in whole.headers
    assert "2 instances can not be read" in said.headers["Warning"]
    assert said.json() == [
        one for one in whole.json() if one["00080018"]["Value"][0] not in ("1.2.3.1.1.1", "1.2.3.1.1.3")
    ]


def test_files_that_are_gone_are_left_out_too(
    holdings: FolderHoldings, tmp_path: Path, open_local: Callable[..., Local]
) -> None:
    said = open_local(Torn(holdings.folder, tmp_path / "gone", ["1.2.3.1.1.1"])).get(SERIES + "/metadata")
    assert said.status_code == 206
    assert "1 instances can not be read" in said.headers["Warning"]


def test_in_xml_too(torn: Callable[..., Local]) -> None:
    said = torn("1.2.3.1.1.1").get(SERIES + "/metadata", XML)
    assert said.status_code == 206
    assert "1 instances can not be read" in said.headers["Warning"]
    assert len(parts_of(said)) == 8


def test_where_none_can_be_read_it_is_the_servers_fault(torn: Callable[..., Local]) -> None:
    said = torn("1.2.3.1.1.1").get(SERIES + "/instances/1.2.3.1.1.1/metadata")
    assert said.status_code == 500
    assert "none of them can be read" in said.json()["error"]


def test_what_is_found_when_the_head_has_gone_breaks_the_answer_off(
    torn: Callable[..., Local], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrieve, "_READY_OCTETS", 10)
    assert torn().get(SERIES + "/metadata").status_code == 200
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        torn("1.2.3.1.1.9").get(SERIES + "/metadata")


def test_our_user_agent_says_so(torn: Callable[..., Local]) -> None:
    web = WebEndpoint(BASE, adapter=torn("1.2.3.1.1.1").session.get_adapter(BASE))
    found = web.metadata(web.find("series", StudyInstanceUID="1.2.3.1", progress=False)[:1])
    assert not found.complete
    assert "8 of 9" in found.note
