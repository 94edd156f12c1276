"""More pairs of SOP Class and transfer syntax than one association has contexts for."""

from __future__ import annotations

from pathlib import Path

from dicomlab import Archive, trace
from dicomlab.dimse import tables
from tests.unit.dimse.holdings import EXPLICIT, IMPLICIT, instance, write


def test_more_classes_and_syntaxes_than_an_association_holds(tmp_path: Path) -> None:
    """150 pairs go in two associations there, and come back in as many as it takes."""
    classes = list(tables.STORAGE)[:75]
    datasets = [
        instance(2 * n + k, sop_class=uid, syntax=syntax)
        for n, uid in enumerate(classes)
        for k, syntax in enumerate((EXPLICIT, IMPLICIT))
    ]
    paths = write(tmp_path / "in", *datasets)
    with Archive() as archive:
        with trace() as wire:
            report = archive.node.store(paths, progress=False)
        assert report.count("done") == 150, report
        assert wire.counts()["A-ASSOCIATE-RQ"] >= 2
        assert all(o.status == "0000H Success" for o in report)
        assert len(archive) == 150
        again = archive.node.find("instance", progress=False).retrieve(tmp_path / "out", method="get", progress=False)
        assert again.count("done") == 150
        assert {o.transfer_syntax_uid for o in again} == {EXPLICIT, IMPLICIT}
