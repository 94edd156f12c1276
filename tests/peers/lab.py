"""JupyterLab and Chromium, as people use them: a server of one's own, a headless browser that reaches nothing else."""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import nbformat

from tests.peers.npm import CACHE, package
from tests.peers.processes import ENVIRONMENT, LOOPBACK, Peer, command, free_port, need

ROOT = Path(__file__).parents[2]
PICTURES = CACHE / "browser"
"""Where screenshots are kept."""
AXE = ("axe-core", "4.10.3")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()
NOWHERE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
_SETTINGS: Mapping[str, Mapping[str, object]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "notebook-extension/tracker": {"windowingMode": "none"},  # what is below the fold is there too
    "docmanager-extension/plugin": {"autosave": False},
}
_OFF = ("extensionmanager-extension", "apputils-extension:announcements", "lsp-extension", "terminal-extension")


class Lab(Peer):
    """JupyterLab on loopback with its own settings; its kernels import this checkout."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "notebooks"
        self.root.mkdir(parents=True)
        self.port, self.token = free_port(), secrets.token_hex(16)
        for name, values in _SETTINGS.items():
            place = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(values))
        labconfig = folder / "config" / "labconfig"
        labconfig.mkdir(parents=True)
        disabled = {f"@jupyterlab/{name}": True for name in _OFF}
        (labconfig / "page_config.json").write_text(json.dumps({"disabledExtensions": disabled}))
        own = {
            "HOME": folder,
            "IPYTHONDIR": folder / "ipython",
            "JUPYTER_CONFIG_DIR": folder / "config",
            "JUPYTER_DATA_DIR": folder / "data",
            "JUPYTER_RUNTIME_DIR": folder / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
            "MPLCONFIGDIR": CACHE / "matplotlib",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", "")))),
        }
        arguments = [
            sys.executable, "-m", "jupyterlab", f"--ServerApp.ip={LOOPBACK}", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={self.root}",
            "--ServerApp.jpserver_extensions={'jupyter_lsp': False}", "--LabApp.expose_app_in_browser=True",
            "--LabApp.news_url=", "--LabApp.extension_manager=readonly", "--no-browser", "--allow-root",
        ]  # fmt: skip
        super().__init__(
            arguments, folder, self._answers, environment={**ENVIRONMENT, **{k: str(v) for k, v in own.items()}}
        )

    def _answers(self) -> bool:
        try:
            with urlopen(f"http://{LOOPBACK}:{self.port}/api/status?token={self.token}", timeout=5):
                return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        """The page to open."""
        return f"http://{LOOPBACK}:{self.port}/lab?token={self.token}&reset"

    def write(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook of code cells; the name to open it by."""
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, self.root / f"{name}.ipynb")
        return f"{name}.ipynb"

    def store(self, name: str, cells: Sequence[Mapping[str, Any]]) -> str:
        """Write a notebook of code cells that ran, with what they show; the name to open it by."""
        made = nbformat.v4.new_notebook()
        for cell in cells:
            outputs = [nbformat.from_dict(output) for output in cell["outputs"]]
            made.cells.append(nbformat.v4.new_code_cell("".join(cell["source"]), outputs=outputs, execution_count=1))
        made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(made, self.root / f"{name}.ipynb")
        return f"{name}.ipynb"


class Chromium:
    """A headless browser that resolves no name. ``with`` ends it."""

    def __init__(self, profile: Path) -> None:
        from playwright.sync_api import sync_playwright

        need("chromium")
        self._playwright = sync_playwright().start()
        try:
            self.context = self._playwright.chromium.launch_persistent_context(
                str(profile), executable_path=command("chromium"), headless=True, args=[*FLAGS, NOWHERE_ELSE],
                viewport={"width": 1280, "height": 900},
            )  # fmt: skip
        except BaseException:
            self._playwright.stop()
            raise

    @contextmanager
    def page(self) -> Iterator[Any]:
        """A page; ``page.asked`` lists the URLs of its requests, ``page.complaints`` the errors on its console."""
        page: Any = self.context.new_page()
        page.asked, page.complaints = [], []
        page.on("request", lambda request: page.asked.append(request.url))
        page.on("console", lambda said: said.type == "error" and page.complaints.append(f"{said.text} {said.location}"))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        try:
            yield page
        finally:
            page.close()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.context.close()
        finally:
            self._playwright.stop()


def strayed(asked: Sequence[str]) -> list[str]:
    """The requests that were for another machine."""
    return [url for url in asked if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).hostname != LOOPBACK]


_OPEN = """async ([path, beside]) => {
    const kernel = beside ? {id: window.shown.context.sessionContext.session.kernel.id} : undefined;
    const shown = await window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook', kernel});
    await shown.context.ready;
    await shown.context.sessionContext.ready;
    await shown.context.sessionContext.session.kernel.info;
    window.before = window.shown;
    window.shown = shown;
}"""
_BACK = """async () => {
    const {shown, before} = window;
    shown.context.model.dirty = false;
    shown.close();
    shown.dispose();
    window.shown = before;
    window.jupyterapp.shell.activateById(before.id);
}"""
_TRUST = "() => { window.jupyterapp.commands.execute('notebook:trust'); }"
_TRUSTED = "() => window.shown.content.widgets.every(cell => cell.model.trusted)"
_CLOSE = """async () => {
    const {shown} = window;
    await shown.context.sessionContext.shutdown();
    shown.context.model.dirty = false;
    shown.close();
    shown.dispose();
}"""
_CELLS = "() => window.shown.content.widgets.map(cell => cell.model.toJSON())"
_RUN = """async (index) => {
    const {content, context} = window.shown;
    content.deselectAll();
    content.activeCellIndex = index;
    await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
_ADD = """(source) => {
    const {content} = window.shown;
    content.model.sharedModel.insertCell(content.widgets.length, {cell_type: 'code', source});
    return content.widgets.length - 1;
}"""
_OURS = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-OutputArea-output .dl"
"""What this library shows, static or live: all of it lies in a ``dl``."""
_ASK = """async (expression) => {
    const {kernel} = window.shown.context.sessionContext.session;
    const asked = {code: '', silent: true, store_history: false, user_expressions: {asked: expression}};
    const reply = await kernel.requestExecute(asked).done;
    const {asked: said} = reply.content.user_expressions;
    return said.status === 'ok' ? said.data['text/plain'] : `${said.ename}: ${said.evalue}`;
}"""
_PANEL = "document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer')"
_HEIGHT = f"""() => {{
    const all = {_PANEL}.querySelectorAll('.jp-Cell');
    return Math.ceil(all[all.length - 1].getBoundingClientRect().bottom - all[0].getBoundingClientRect().top);
}}"""
"""Of all cells, without the room that JupyterLab leaves below the last one."""
_UP = f"() => {{ {_PANEL}.scrollTop = 0; }}"
_HIGHEST = 16_000
"""Of a page in pixels; a browser takes no picture of more."""
_INTERRUPT = "() => window.shown.context.sessionContext.session.kernel.interrupt()"
_SERIOUS = """async (where) => {
    // axe takes all that lies in a disabled fieldset for out of reach, though what scrolls there is not
    const rules = {'scrollable-region-focusable': {enabled: !document.querySelector('.jp-NotebookPanel:not(.lm-mod-hidden) fieldset.dl[disabled]')}};
    const found = await axe.run(where, {resultTypes: ['violations'], rules});
    return found.violations.filter(one => ['serious', 'critical'].includes(one.impact))
        .map(one => `${one.id}: ${one.help}: ` + one.nodes.slice(0, 3).map(node => node.html.slice(0, 200)).join(' | '));
}"""


class Desk:
    """JupyterLab open in one page, where notebooks are opened one after the other."""

    def __init__(self, lab: Lab, page: Any, port: int | None = None) -> None:
        """`port`: of who stands between the page and the server."""
        self.lab, self.page = lab, page
        page.goto(lab.url.replace(f":{lab.port}/", f":{port or lab.port}/"))
        page.wait_for_function("() => window.jupyterapp", timeout=60_000)
        page.evaluate("async () => { await window.jupyterapp.restored; document.body.dataset.dlTest = 'yes'; }")
        self.page.complaints.clear()

    @contextmanager
    def open(self, name: str) -> Iterator[Notebook]:
        """Open a notebook with a kernel of its own, ready to run."""
        self.page.complaints.clear()
        self.page.asked.clear()
        self.page.evaluate(_OPEN, [name, False])
        try:
            yield Notebook(self.page, Path(name).stem)
        finally:
            self.page.evaluate(_CLOSE)

    @contextmanager
    def beside(self, name: str) -> Iterator[Notebook]:
        """Open a notebook over the kernel of the one that is open, which stands there again afterwards."""
        self.page.evaluate(_OPEN, [name, True])
        try:
            yield Notebook(self.page, Path(name).stem)
        finally:
            self.page.evaluate(_BACK)

    @contextmanager
    def cells(self, name: str, *cells: str) -> Iterator[Notebook]:
        """Open a new notebook of these code cells, in a folder of its own, and run it; no cell may fail."""
        (self.lab.root / name).mkdir(exist_ok=True)
        with self.open(self.lab.write(f"{name}/{name}", cells)) as book:
            book.run_all()
            assert book.errors == []
            yield book


class Notebook:
    """An open notebook."""

    def __init__(self, page: Any, name: str) -> None:
        self.page, self.name = page, name

    def run_all(self) -> None:
        """Run it top to bottom, to the last reply."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-all-cells')")

    def run(self, source: str) -> str:
        """Run `source` in a new cell at the end; what it prints and returns, as text."""
        index = self.add(source)
        cell = self.cells[index]
        failed = [output for output in cell["outputs"] if output["output_type"] == "error"]
        assert not failed, failed
        return "".join(
            "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
            for output in cell["outputs"]
        )

    def add(self, source: str) -> int:
        """Run `source` in a new cell at the end, whatever comes of it; which cell that is."""
        index: int = self.page.evaluate(_ADD, source)
        self.page.evaluate(_RUN, index)
        return index

    def ask(self, expression: str) -> str:
        """The repr of an expression in the kernel; no cell is made for it."""
        said: str = self.page.evaluate(_ASK, expression)
        return said

    def until(self, expression: str, wanted: str = "True", seconds: float = 20) -> None:
        """Ask the kernel until an expression has that repr."""
        deadline = time.monotonic() + seconds
        while (said := self.ask(expression)) != wanted:
            assert time.monotonic() < deadline, f"{expression} is {said}, not {wanted}"
            self.page.wait_for_timeout(50)

    def trust(self) -> None:
        """Trust what it shows, as somebody who says yes."""
        self.page.evaluate(_TRUST)
        self.page.locator(".jp-Dialog .jp-mod-accept").click()
        self.page.wait_for_function(_TRUSTED)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the button does."""
        self.page.evaluate(_INTERRUPT)

    @property
    def cells(self) -> list[dict[str, Any]]:
        """Its cells as they stand now, outputs included."""
        found: list[dict[str, Any]] = self.page.evaluate(_CELLS)
        return found

    @property
    def errors(self) -> list[str]:
        """Each exception that a cell shows, and each code cell that did not run; those tagged as expected left out."""
        found = []
        for number, cell in enumerate(self.cells):
            if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
                continue
            if cell["execution_count"] is None:
                found.append(f"cell {number} did not run")
            if "raises-exception" not in cell["metadata"].get("tags", ()):
                failed = [output for output in cell["outputs"] if output["output_type"] == "error"]
                found += [f"cell {number}: {output['ename']}: {output['evalue']}" for output in failed]
        return found

    def output(self, index: int) -> Any:
        """Where the outputs of a cell are shown, to be driven."""
        return self.page.locator(".jp-NotebookPanel:visible .jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def picture(self, name: str = "", index: int | None = None) -> dict[str, Path]:
        """Take a picture in each theme, of one cell's outputs or of all cells; they are kept in ``PICTURES``."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        taken = {}
        size = self.page.viewport_size
        high = self.page.evaluate(_HEIGHT)
        assert high < _HIGHEST, f"{self.name} is {high} pixels long: no picture shows it whole"
        self.page.set_viewport_size({"width": size["width"], "height": high + 200})
        for theme in THEMES:
            self.theme(theme)
            self.page.evaluate(_UP)
            where = self.output(index) if index is not None else self.page.locator(".jp-NotebookPanel:visible")
            taken[theme] = PICTURES / f"{re.sub('[^a-z0-9-]+', '-', (name or self.name).lower())}-{theme}.png"
            taken[theme].write_bytes(where.screenshot())  # written here: playwright would leave a thread behind
        self.theme("light")
        self.page.set_viewport_size(size)
        return taken

    def theme(self, name: str) -> None:
        """Change to ``"light"`` or ``"dark"``."""
        self.page.evaluate(
            "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[name]
        )
        light = "true" if name == "light" else "false"
        self.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")
        self.page.wait_for_function("() => !document.querySelector('#jupyterlab-splash')")
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical in what we show, in both themes; pictures of others are theirs."""
        if not self.page.evaluate("() => 'axe' in window"):
            self.page.evaluate((package(*AXE) / "axe.min.js").read_text())
        found = []
        for theme in THEMES:
            self.theme(theme)
            if self.page.locator(_OURS).count():
                found += [f"{theme}: {fault}" for fault in self.page.evaluate(_SERIOUS, {"include": [[_OURS]]})]
        self.theme("light")
        return found
