"""What the launcher starts: by default a demo archive, with a viewer where there is one, any name only behind a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomlab.notebook.server_proxy import VIEWER, launched


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (VIEWER, "JUPYTERHUB_API_URL"):
        monkeypatch.delenv(name, raising=False)


def test_a_demo_archive_at_the_port_it_is_given() -> None:
    told = launched()
    assert told["command"][1:] == ["-m", "dicomlab", "serve", "--demo", "--web-port", "{port}"]
    assert told["launcher_entry"]["path_info"] == "dicomlab/dicom-web/"


def test_a_viewer_where_there_is_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VIEWER, str(tmp_path))
    told = launched()
    assert told["command"][-2:] == ["--viewer", str(tmp_path)]
    assert told["launcher_entry"]["path_info"] == "dicomlab/"


def test_any_name_only_behind_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--web-host" not in launched()["command"]
    monkeypatch.setenv("JUPYTERHUB_API_URL", "http://hub:8081/hub/api")
    assert launched()["command"][-2:] == ["--web-host", "*"]
