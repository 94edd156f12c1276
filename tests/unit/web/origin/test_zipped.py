"""Instances as one ZIP: every file as it is stored, or transcoded; names that stay in their folder."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from zipfile import ZipFile

import pytest
from pydicom import dcmread

from dicomlab.web.origin.zipped import name_of
from tests.unit.dimse.holdings import BIG_ENDIAN, EXPLICIT, IMPLICIT, FolderHoldings
from tests.unit.web.origin.conftest import Local

STUDY, SERIES = "/studies/1.2.3.1", "/studies/1.2.3.1/series/1.2.3.1.1"


@pytest.mark.parametrize(("path", "count"), [(STUDY, 10), (SERIES, 9), (SERIES + "/instances/1.2.3.1.1.2", 1)])
def test_as_stored(local: Local, holdings: FolderHoldings, path: str, count: int) -> None:
    said = local.get(path, "application/zip; transfer-syntax=*")
    assert said.headers["Content-Type"] == "application/zip"
    with ZipFile(BytesIO(said.content)) as whole:
        assert whole.testzip() is None
        assert len(whole.namelist()) == count
        for name in whole.namelist():
            uid = name.rpartition("/")[2].removesuffix(".dcm")
            octets, held = whole.read(name), (holdings.folder / f"{uid}.dcm").read_bytes()
            stored = dcmread(BytesIO(held)).file_meta.TransferSyntaxUID
            assert (octets == held) == (stored not in (IMPLICIT, BIG_ENDIAN))  # which web services don't carry


def test_in_explicit_little_endian_where_nothing_is_said(local: Local) -> None:
    said = local.get(SERIES, "application/zip")
    with ZipFile(BytesIO(said.content)) as whole:
        syntaxes = {dcmread(BytesIO(whole.read(name))).file_meta.TransferSyntaxUID for name in whole.namelist()}
        assert syntaxes == {EXPLICIT}
    assert local.get(SERIES, "application/zip; transfer-syntax=1.2.840.10008.1.2.4.201").status_code == 406


def test_names_stay_in_their_folder(holdings: FolderHoldings) -> None:
    (one,) = holdings.select("instance", ["1.2.3.1.1.2"])
    assert name_of(one) == "1.2.3.1/1.2.3.1.1/1.2.3.1.1.2.dcm"
    assert name_of(replace(one, study_instance_uid="..", sop_instance_uid="../../x")) == "_/1.2.3.1.1/_.._x.dcm"
