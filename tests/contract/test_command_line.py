"""The command line, over the same objects; and the main job."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
from pandas.testing import assert_frame_equal
from requests.adapters import HTTPAdapter
from urllib3 import Retry

import dicomlab
from dicomlab import Archive, MediaSet
from dicomlab.__main__ import EXAMPLES, _parser, main
from dicomlab.demo import DemoFailed, run
from dicomlab.model.columns import retyped
from dicomlab.samples import real_files


def dicomlab_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dicomlab", *arguments], capture_output=True, text=True, timeout=100, check=False
    )


def test_the_demo_does_the_main_job_and_tells_it(tmp_path: Path) -> None:
    told = dicomlab_command("demo", "--to", str(tmp_path))
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stderr == ""
    count = len(real_files())
    for sign in (
        f"{count} real DICOM files",
        "C-STORE",
        "STOW-RS",
        "equal: values and dtypes, at every level",
        f"C-GET    {count} of {count} with identical octets",
        f"C-MOVE   {count} of {count} with identical octets",
        "equal data sets in Explicit VR LE",
        "read back: equal",
        "each with the metadata of its own timestamp",
        "the recording",
    ):
        assert sign in told.stdout
    assert not re.search(r"Traceback|Warning", told.stdout)
    page = (tmp_path / "index.html").read_text()
    assert "C-FIND on the wire" in page
    assert not re.search(r"<script|<link|<iframe|(?:src|href)=.(?!data:)|url\(|@import", page)


def test_the_demo_notices_what_gets_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It checks what it tells: an archive that changes one octet on the way out is found out."""
    from dicomlab.dimse import suboperations

    plain = suboperations.send_instance

    def spoilt(association: Any, context: Any, uid: str, octets: Any, **rest: Any) -> Any:
        return plain(association, context, uid, bytes(octets[:-1]) + bytes([octets[-1] ^ 1]), **rest)

    monkeypatch.setattr(suboperations, "send_instance", spoilt)
    lines: list[str] = []
    with pytest.raises(DemoFailed, match="C-GET"):
        run(lines.append)


@pytest.mark.parametrize("path", ["node", "web", "media"])
def test_find_and_retrieve(path: str, filled: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = {"node": str(filled.node.address), "web": str(filled.web), "media": str(filled.media.path)}[path]
    assert main(["find", source, "study", "PatientID=SYN-00*", "--csv", str(tmp_path / "out.csv")]) == 0
    shown = capsys.readouterr().out
    assert "Cohort of" in shown
    assert "SYN-001" not in shown  # masked, since nobody said that they are synthetic
    assert "SYN-001" in (tmp_path / "out.csv").read_text()
    assert main(["retrieve", source, "series", "Modality=CT|MR", "--to", str(tmp_path / "data")]) == 0
    assert "done" in capsys.readouterr().out
    assert main(["scan", str(tmp_path / "data"), "--level", "series"]) == 0
    assert "Cohort of" in capsys.readouterr().out


@pytest.mark.parametrize("processes", ["1", "2"])
def test_scan_writes_a_table(processes: str, filled: Archive, tmp_path: Path) -> None:
    outputs = [tmp_path / "table.parquet", tmp_path / "table.csv"]
    for output in outputs:
        more = ["--include", "WindowCenter", "--processes", processes, "--no-cache"]
        command = [sys.executable, "-m", "dicomlab", "scan", str(filled.media.path), "-o", str(output), *more]
        subprocess.run(command, check=True, timeout=60, capture_output=True)
    table = retyped(pd.read_parquet(outputs[0]))
    assert_frame_equal(table, MediaSet(filled.media.path, cache=False).scan(["WindowCenter"]).instances)
    assert_frame_equal(retyped(pd.read_csv(outputs[1], dtype=str))[["PixelSpacing"]], table[["PixelSpacing"]])


def test_show_is_for_this_command_only(filled: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["find", str(filled.web), "study", "--show"]) == 0
    assert "SYN-001" in capsys.readouterr().out
    assert dicomlab.options.phi == "mask"


def test_view_shows_what_is_there(filled: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file, a folder and a ZIP archive, each as one page that needs nothing else and names no patient unasked."""
    report = filled.web.find("series", Modality="CT").retrieve(tmp_path / "data", progress=False)
    folder, packed = tmp_path / "data", tmp_path / "data.zip"
    image = next(folder.rglob("*.dcm"))
    (folder / "notes.dcm").write_text("<b>no DICOM</b>")
    shutil.make_archive(str(packed.with_suffix("")), "zip", folder)
    pages = {}
    for path in (image, folder, packed):
        pages[path] = tmp_path / f"{path.name}.html"
        assert main(["view", str(path), "-o", str(pages[path]), "--no-open"]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == str(pages[path])
    for page in pages.values():
        html = page.read_text()
        assert "data:image/png;base64," in html
        assert "SYN-0" not in html  # masked, since nobody said that they are synthetic
        assert not re.search(r"<script|<link|<iframe|<b>no DICOM|(?:src|href)=.(?!data:)|url\(|@import", html)
    assert "SOPInstanceUID" in pages[image].read_text()
    for path in (folder, packed):
        html = pages[path].read_text()
        assert f"Cohort of {report.count('done')} instances" in html
        assert "notes.dcm" in html
    assert main(["view", str(image), "-o", str(pages[image]), "--no-open", "--show"]) == 0
    assert "SYN-0" in pages[image].read_text()
    assert dicomlab.options.phi == "mask"


def test_view_opens_the_browser(filled: Archive, tmp_path: Path) -> None:
    """The page it wrote, in whatever program the user has set as the browser."""
    asked = tmp_path / "asked"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" >{asked}\n')
    browser.chmod(0o755)
    image = next(p for p in filled.media.path.rglob("*") if p.is_file())
    told = subprocess.run(
        [sys.executable, "-m", "dicomlab", "view", str(image)], cwd=tmp_path, env={**os.environ, "BROWSER": f"{browser} %s"},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert asked.read_text().strip() == (tmp_path / "dicomlab-view.html").as_uri()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["view", "/nowhere/at/all"], 1, "Unreachable"),
        (["view", "pyproject.toml", "--no-open"], 1, "no DICOM instance"),
        (["view", ".", "-o", "page.pdf"], 2, ".html"),
        (["find", "NOBODY@127.0.0.1:{free}", "study"], 1, "Unreachable"),
        (["find", "{web}", "study", "PatinetID=X"], 2, "did you mean PatientID"),
        (["find", "{web}", "study", "PatientID"], 2, "Keyword=value"),
        (["find", "{web}", "study", "--csv", "pyproject.toml/table.csv"], 1, "Interrupted"),
        (["scan", "/nowhere/at/all"], 1, "Unreachable"),
        (["scan", "/nowhere/at/all", "-o", "table.xlsx"], 2, ".parquet or .csv"),
        (["scan", ".", "--include", "PatinetID"], 2, "did you mean PatientID"),
        (["scan", ".", "-o", "pyproject.toml/table.csv"], 1, "Interrupted"),
        (["find", "{web}", "study", "--csv", "table.parquet"], 2, ".csv"),
        (["find", "nowhere", "study"], 1, "Unreachable"),
        (["find", "{web}", "studdy"], 2, "is no level"),
        (["find", "X@127.0.0.1:{dimse}", "study"], 1, "Refused"),
        (["find", "http://127.0.0.1:{free}/dicom-web", "study"], 1, "Unreachable"),
        (["find", "X@127.0.0.1:99999", "study"], 2, "no port"),
        (["find", "X@127.0.0.1:{free}", "study", "--tls", "a,b,c"], 2, "can't be read"),
        (["retrieve", "{web}", "study", "--to", "pyproject.toml"], 2, "is a file"),
        (["serve", "pyproject.toml"], 2, "is a file"),
        (["serve", "--address", "DICOMLAB@127.0.0.1:{dimse}"], 1, "Unreachable"),
        (["serve", "--viewer", "docs"], 2, "index.html"),
        (["demo", "--to", "pyproject.toml"], 2, "is a file"),
        (["doctor", "nobody-knows-this-profile"], 2, "no profile"),
    ],
)
def test_what_goes_wrong_is_one_sentence(
    arguments: list[str], code: int, says: str, filled: Archive, free_port: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    dimse = filled.node.address.port
    given = [a.format(free=free_port() if "{free}" in a else "", web=filled.web, dimse=dimse) for a in arguments]
    assert main(given) == code
    told = capsys.readouterr().err
    assert says in told
    assert "Traceback" not in told


def test_help_names_every_command_and_explains_the_exit_codes_as_the_page_does(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "command-line.md").read_text()
    codes = re.findall(r"^  (\d+)  ", captured.err, re.MULTILINE)
    assert codes == re.findall(r"^\| (\d+) \|", page, re.MULTILINE)
    for name in re.findall(r"^    (\w+)  ", captured.err, re.MULTILINE):
        assert f"| `dicomlab {name}" in page
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"dicomlab {name}" in capsys.readouterr().out


def test_the_examples_of_the_help_are_understood() -> None:
    commands = [line.split(maxsplit=1)[1] for line in EXAMPLES.splitlines() if line.startswith("  dicomlab")]
    assert len(commands) == 6
    for line in commands:
        parsed = _parser().parse_args(shlex.split(line))
        assert callable(parsed.run)


def test_a_profile_is_a_source(filled: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    node, web = f'[node.pacs]\naddress = "{filled.node.address}"\n', f'[web.site]\nurl = "{filled.web}"\n'
    (tmp_path / "dicomlab.toml").write_text(node + web)
    for name in ("pacs", "site"):
        assert main(["find", name, "study", "PatientID=SYN-00*", "--csv", f"{name}.csv"]) == 0
    tables = [(tmp_path / f"{name}.csv").read_text() for name in ("pacs", "site")]
    assert tables[0] == tables[1]
    assert "SYN-001" in tables[0]


def test_a_limit_that_was_asked_for_cuts_nothing_off(filled: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["find", str(filled.node.address), "study", "--limit", "2"]) == 0
    assert "Cohort of 2 studies" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["scan", "find"])
def test_who_reads_the_output_may_stop(command: str, filled: Archive) -> None:
    """As in ``dicomlab find ... | head -1``: no traceback, and nothing at exit either."""
    more = ["instance"] if command == "find" else ["--no-cache"]
    reading, writing = os.pipe()
    os.close(reading)
    try:
        told = subprocess.run(
            [sys.executable, "-m", "dicomlab", command, str(filled.media.path), *more],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=100, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (told.returncode, told.stderr) == (1, "")


@pytest.mark.parametrize("command", ["find", "retrieve"])
def test_what_an_interrupt_cuts_off_is_told_as_far_as_it_came(command: str, filled: Archive, tmp_path: Path) -> None:
    more = ["instance"] if command == "find" else ["series", "Modality=CT", "--to", str(tmp_path)]
    fault = filled.faults.slow(4000, door="dimse")
    with (
        fault,
        subprocess.Popen(
            [sys.executable, "-m", "dicomlab", command, str(filled.node.address), *more],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as asked,
    ):  # fmt: skip
        while not fault.struck:
            assert asked.poll() is None
            time.sleep(0.02)
        asked.send_signal(signal.SIGINT)
        shown, said = asked.communicate(timeout=60)
    assert asked.returncode == 1, said
    assert "Traceback" not in said
    assert "not complete" in shown + said


def test_an_interrupt_before_there_is_anything_is_one_word(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dicomlab.__main__._source", lambda _: signal.raise_signal(signal.SIGINT))
    assert main(["find", "anything", "study"]) == 130
    assert capsys.readouterr() == ("", "dicomlab: interrupted\n")


def test_doctor_says_what_is_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "pydicom" in told
    assert "✗" not in told


def test_serve_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<!doctype html>viewer")
    command = [sys.executable, "-m", "dicomlab", "serve", str(tmp_path / "kept"), "--demo", "--viewer", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            told = ""
            for line in server.stdout:
                told += line
                if "Ctrl-C" in line:
                    break
            address = re.search(r"DICOMLAB@127\.0\.0\.1:\d+", told)
            assert address is not None, told
            assert dicomlab.Node(address[0]).verify()
            viewer = re.search(r"Viewer: (\S+)", told)
            assert viewer is not None, told
            assert requests.get(viewer[1], timeout=30).text == "<!doctype html>viewer"
            assert len(dicomlab.Node(address[0]).find("instance")) == len(real_files())
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
    with Archive(tmp_path / "kept") as again:  # what it stored is still there
        assert len(again) == len(real_files())


def test_lab_starts_jupyterlab_on_the_tour(tmp_path: Path, free_port: Any) -> None:
    """JupyterLab itself, with folders of its own for all that it keeps."""
    port, folder = free_port(), Path(__file__).parents[2] / "notebooks"
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    config = tmp_path / "CONFIG" / "jupyter_server_config.py"
    config.parent.mkdir()
    settings = {"ip": "127.0.0.1", "port": port, "port_retries": 0, "open_browser": False}
    config.write_text("".join(f"c.ServerApp.{name} = {value!r}\n" for name, value in settings.items()))
    with subprocess.Popen(
        [sys.executable, "-m", "dicomlab", "lab", str(folder)],
        env={**os.environ, **own}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as server:  # fmt: skip
        try:
            assert server.stderr is not None
            address = next(found[0] for line in server.stderr if (found := re.search(r"http://\S+token=\S+", line)))
            token = address.partition("token=")[2]
            session = requests.Session()  # the address is told a moment before the port is open
            session.mount("http://", HTTPAdapter(max_retries=Retry(connect=8, backoff_factor=0.1)))
            known = session.get(f"http://127.0.0.1:{port}/api/contents?token={token}", timeout=20).json()
            session.close()
            assert "00-tour.ipynb" in {entry["name"] for entry in known["content"]}
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(30)
