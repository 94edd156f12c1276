"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dicomlab

README = Path(__file__).parents[2] / "README.md"


def test_the_example_runs_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(code, str(README), "exec"), names)
    assert len(names["df"]) > 10  # type: ignore[arg-type]
    report = names["report"]
    assert isinstance(report, dicomlab.Report)
    assert report.complete
    assert report.count("done") > 20
    assert len(names["series"]) > 1  # type: ignore[arg-type]
    assert isinstance(names["wire"], dicomlab.Trace)
    assert names["wire"].octets > 0
