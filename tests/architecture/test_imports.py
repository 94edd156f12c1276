"""Which way imports point, and that ``import dicomlab`` is light."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.architecture.house import LAYERS, LIBRARY, ROOT, sources

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]


def lint_imports(folder: Path) -> str:
    linted = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert linted.stdout, linted.stderr
    return linted.stdout


def test_import_contracts_are_kept() -> None:
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in lint_imports(ROOT)


PLANTS = {
    "rooms point down": [
        ("model/options.py", "import dicomlab.part10.meta"),
        ("part10/meta.py", "def f():\n    import dicomlab.dimse.pdu"),
        ("dimse/pdu.py", "import dicomlab.media.header"),
        ("archive/__init__.py", "import dicomlab.cohorts.ledger"),
    ],
    "codecs do no I/O, not even through others": [("part10/walk.py", "import dicomlab.model.progress")],
}


def test_each_contract_breaks_on_a_planted_import(tmp_path: Path) -> None:
    assert set(PLANTS) == {contract["name"] for contract in CONTRACTS}
    shutil.copytree(LIBRARY, tmp_path / "dicomlab", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    expected = []
    for plants in PLANTS.values():
        for place, line in plants:
            with (tmp_path / "dicomlab" / place).open("a") as source:
                source.write(f"\n{line}\n")
            expected.append((place.removesuffix(".py").replace("/__init__", "").replace("/", "."), line.split()[-1]))
    said = lint_imports(tmp_path)
    assert f"Contracts: 0 kept, {len(CONTRACTS)} broken." in said
    for importer, imported in expected:
        assert f"dicomlab.{importer} -> {imported}" in said


def test_the_layers_of_the_contract_are_those_of_the_house() -> None:
    (layers,) = (contract["layers"] for contract in CONTRACTS if contract["type"] == "layers")
    named = [{room.strip(" ()") for room in layer.replace("|", ":").split(":")} for layer in reversed(layers)]
    assert named == [set(rooms) for rooms in LAYERS]


def test_every_codec_is_in_the_contract() -> None:
    (named,) = (set(contract["source_modules"]) for contract in CONTRACTS if contract["type"] == "forbidden")
    assert named == {source.module for source in sources() if source.is_pure}


# ------------------------------------------------------------------------------------------------------------- light

HEAVY = ("pandas", "pynetdicom", "requests", "IPython", "anywidget", "ipywidgets", "av", "uvicorn", "starlette")

PROBE = """
import json, os, sys, threading
seen = []
def hook(event, arguments):
    if event.startswith("socket.") or event in ("subprocess.Popen", "os.system", "os.mkdir", "os.rename", "os.remove"):
        seen.append(event)
    elif event == "open":
        path, mode, flags = arguments
        reads = not (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not (reads and str(path).endswith((".py", ".pyc", ".so", ".dict", ".zip"))):
            seen.append(f"open {path}")
start = threading.Thread.start
threading.Thread.start = lambda thread: (seen.append("thread started"), start(thread))
%s
del seen[:]
sys.addaudithook(hook)
%s
names = sorted({name.partition(".")[0] for name in sys.modules})
threads = [t.name for t in threading.enumerate()]
print(json.dumps({"modules": names, "threads": threads, "seen": seen}))
"""


def looked_at(code: str, before: str = "") -> dict[str, list[str]]:
    """What happens while `code` runs in a fresh interpreter, in which `before` has run."""
    done = subprocess.run(
        [sys.executable, "-B", "-W", "error", "-c", PROBE % (before, code)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def test_import_dicomlab_is_light() -> None:
    found = looked_at("import dicomlab; dir(dicomlab); dicomlab.__all__")
    assert [name for name in HEAVY if name in found["modules"]] == []
    assert found["threads"] == ["MainThread"]
    assert found["seen"] == []


@pytest.mark.parametrize(
    ("code", "event"),
    [
        ("import socket; socket.socket()", "socket.__new__"),
        ("threading.Thread(target=int).start()", "thread started"),
        ("open('/dev/null', 'w').close()", "open /dev/null"),
        ("open('pyproject.toml').close()", "open pyproject.toml"),
        ("import subprocess; subprocess.run(['true'])", "subprocess.Popen"),
    ],
)
def test_the_look_sees_what_is_not_light(code: str, event: str) -> None:
    assert any(seen.startswith(event) for seen in looked_at(code)["seen"])


def test_the_look_sees_what_is_heavy() -> None:
    assert "requests" in looked_at("import requests")["modules"]


OBJECTS = {
    "dicomlab.Node": "dicomlab.Node('PACS@192.0.2.1:104', me='LAB1:11112')",
    "dicomlab.WebEndpoint": "dicomlab.WebEndpoint('https://pacs.invalid/dicom-web')",
    "dicomlab.MediaSet": "dicomlab.MediaSet('/nowhere/at/all')",
    "dicomlab.LiveStream": "dicomlab.LiveStream('/nowhere/at/all.sdp')",
}


@pytest.mark.parametrize("name", OBJECTS)
def test_constructing_and_showing_touch_nothing(name: str) -> None:
    """A Node is a value until a verb is called: no socket, no look-up, no file, no thread."""
    warm = f"import dicomlab, dicomlab.notebook.html; x = {OBJECTS[name]}; repr(x); x._repr_html_()"
    found = looked_at(f"y = {OBJECTS[name]}; repr(y); y._repr_html_()", before=warm)
    assert found["seen"] == []
    assert found["threads"] == ["MainThread"]
