"""Hostile text through every live face, in one kernel: shown as text, and nothing more; then in notebooks over it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.hostile import FILE_SHOWN, MARK, PERSON_SHOWN, TEXT, TITLE, harmless, shows
from tests.peers.lab import Desk, Notebook

pytestmark = pytest.mark.browser

NOTE = ".dl-note:not(.dl-kernel)"

BOARD = (
    TEXT
    + """
import threading, warnings
from pathlib import Path
import numpy as np
import requests
import dicomlab
from dicomlab.samples.phantom import phantom_datasets
from pydicom import config
warnings.simplefilter("ignore")
config.settings.reading_validation_mode = config.settings.writing_validation_mode = config.IGNORE
dicomlab.options.phi = "show"

def hostile(slices, seed):
    for one in phantom_datasets(patients=1, slices=slices, seed=seed):
        one.SpecificCharacterSet, one.PatientName, one.PatientID = "ISO_IR 192", PERSON, BAD
        one.StudyDescription, one.SeriesDescription, one.Manufacturer = HIGH, BAD, BAD
        one.RescaleType = BAD
        yield one

def refuses(instance):
    raise ValueError(BAD)

Path("taken " + FILE).write_bytes(b"")  # no folder: nothing can be put there
archive = dicomlab.Archive(FILE, f"{TITLE}@127.0.0.1:0", refuses)
board = archive.dashboard()
board
"""
)
ARRIVE = """
dicomlab.Node(str(archive.node.address), me=TITLE).store(list(hostile(3, 1)), progress=False)
from io import BytesIO
whole = BytesIO()
next(hostile(1, 2)).save_as(whole, enforce_file_format=True)
heads = {"Content-Type": "application/dicom", "User-Agent": BAD.encode()[:150], "X-Forwarded-For": TITLE, "Forwarded": f'for="{TITLE}"'}
url = f"{archive.web.url}/studies"
answers = [requests.post(url, data=octets, headers=heads).status_code for octets in (whole.getvalue(), BAD.encode())]
folder = Path("in " + FILE)
folder.mkdir()
for number, one in enumerate(hostile(2, 3)):
    one.save_as(folder / f"{number} {FILE}.dcm", enforce_file_format=True)
dicomlab.MediaSet(folder).find("study", progress=False).retrieve(archive, progress=False)
answers
"""


@pytest.fixture(scope="module")
def book(desk: Desk) -> Iterator[Notebook]:
    with desk.cells("hostile-faces", BOARD) as book:
        yield book


def test_the_dashboard(book: Notebook) -> None:
    """AE titles, names, folders, senders over the web; a callback that fails and an instance that is none, meanwhile."""
    board = book.output(0)
    book.run(ARRIVE)
    assert book.ask("answers") == "[200, 409]"
    sources, recent = (board.locator(".dl-part").nth(number) for number in range(2))
    for part in (sources, recent):
        shows(part, TITLE, "127.0.0.1", f"in {FILE_SHOWN}"[:60])
    shows(recent, PERSON_SHOWN, MARK[:60], "characters)")
    shows(board.locator(".dl-facts"), f"{TITLE}@127.0.0.1:", FILE_SHOWN)
    harmless(book)


TRANSFERS = """
from dicomlab import errors
from dicomlab.model.progress import Work
from dicomlab.model.report import Outcome
gate = threading.Event()

def each(text):
    plain = (errors.DicomlabError, errors.UsageError, errors.MissingExtra)
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.DicomlabError):
            named = {"section": text} if issubclass(kind, errors.ProtocolError) else {"status": 0xA700}
            named = {"endpoint": text} if issubclass(kind, errors.CommunicationError) else {} if kind in plain else named
            yield kind(text, **named)

def works(text, how):
    def work(control):
        control.advance(3, failed=2, octets=7)
        gate.wait(60)
        if isinstance(how, Exception):
            raise how
        return how
    return Work(text, text, work, total=9, progress=False).carry_out(background=True)

rows = tuple(Outcome(BAD, "failed", LONG, BAD, path=FILE) for _ in range(3))
ends = [*each(LONG), ValueError(LONG), dicomlab.Report(LONG, rows, False, LONG, Path(FILE))]
operations = [works(f"{number} {LONG}" if number else TITLE, how) for number, how in enumerate(ends)]
for one in operations:
    display(one)
len(operations)
"""
RAISED = """
for error in each(LONG):
    try:
        raise error
    except errors.DicomlabError:
        get_ipython().showtraceback()
"""


def test_transfers(book: Notebook) -> None:
    """Titles while they go on; then each class of error, an error of others, and what is not complete."""
    index = book.add(TRANSFERS)
    place = book.output(index)
    place.get_by_text("3 of 9   2 failed").last.wait_for()
    count = len(place.locator(".dl-transfer").all())
    assert count == 14
    shows(place, TITLE, f"1 {MARK}")
    harmless(book)
    book.run("gate.set()")
    shows(place.locator(NOTE).last, MARK)
    place.get_by_text(MARK).nth(2 * count - 2).wait_for()
    shows(place, "not complete: <script>", "characters)")
    harmless(book)
    book.run("display(*ends); operations[1]")
    shows(book.output(index + 2), "what happened", MARK)
    harmless(book)
    raised = book.output(book.add(RAISED))
    raised.get_by_text(MARK).nth(11).wait_for()
    shows(raised, "Interrupted: <script>", "ServiceError: <script>", "characters)")
    assert not {"\u202e", "\u0007"} & set(raised.text_content())
    harmless(book)


BROWSER = r"""
import pandas as pd
table = pd.DataFrame({
    "PatientID": [BAD, BAD], "PatientName": [PERSON, PERSON], "StudyInstanceUID": ["1.2", "1.3"],
    "StudyDescription": [LONG, LONG], BAD: [LONG, PERSON], "\u202ec" * 50_000: ["1", "2"],
})
given = dicomlab.MediaSet("in " + FILE)
browser = dicomlab.Cohort(table, level="study", source=given, complete=False, note=LONG).browse(to="taken " + FILE)
browser
"""


def test_the_cohort_browser(book: Notebook) -> None:
    """Labels, cells, columns of somebody's own, the source, why it is not complete, and the error of a retrieve."""
    place = book.output(book.add(BROWSER))
    place.get_by_role("button", name="Open every row").click()
    book.until("browser.state['rows']", "3")
    shows(place, PERSON_SHOWN, MARK, f"2 studies in in {FILE_SHOWN}", f"not complete: {MARK}")
    harmless(book)
    place.get_by_role("columnheader", name="<script>window").get_by_role("button").click()
    book.until("browser.state['sort'][1]", "1")
    place.get_by_label("Search in all columns").fill(TITLE)
    book.until("browser.state['found']", "0")
    shows(place, "0 of 2 studies")
    place.get_by_label("Search in all columns").fill("<script>")
    book.until("browser.state['found']", "2")
    place.get_by_role("button", name="Pick every row").click()
    place.get_by_role("button", name="Retrieve what is picked").click()
    shows(place, f"taken {FILE_SHOWN}")
    harmless(book)


VIEWERS = """
import shutil
for where in ("volumes", "gone"):
    folder = Path(f"{where} {FILE}")
    folder.mkdir()
    for number, one in enumerate(hostile(4, 5)):
        if number == 1:
            one.Rows = None  # an image that none can read, to be named
        one.save_as(folder / f"{number} {FILE}.dcm", enforce_file_format=True)
volumes, gone = (dicomlab.MediaSet(f"{where} {FILE}").volumes(progress=False) for where in ("volumes", "gone"))
shutil.rmtree(folder)
labels = np.ones(volumes[0].shape, "u1")
viewers = [dicomlab.notebook.viewer.view(volumes), volumes[0].view(overlay=labels, names=[LONG]), gone[0].view()]
display(*viewers)
"""


def test_the_stack_viewer(book: Notebook) -> None:
    """Series, unit, header, notes, names of segments, and the error of a volume that can't be read."""
    index = book.add("import dicomlab.notebook.viewer\n" + VIEWERS)
    first, labelled, gone = (book.output(index).locator(".dl-viewer").nth(number) for number in range(3))
    pane = first.locator(".dl-pane").first
    first.locator("[data-drawn]").first.wait_for()
    assert MARK in first.get_by_label("Series").text_content()
    shows(first.locator(".dl-status"), "width", MARK)
    shows(first.locator(NOTE), FILE_SHOWN)
    pane.press("m")
    shows(first.locator(".dl-header"), "Manufacturer", MARK, PERSON_SHOWN, "characters)")
    pane.hover()
    labelled.locator("[data-drawn]").first.wait_for()
    shows(labelled.locator(".dl-legend"), MARK[:50])
    labelled.locator(".dl-pane").first.hover()
    shows(labelled.locator(".dl-status .dl-push"), MARK[:50])
    shows(gone.locator(NOTE), f"0 {FILE_SHOWN}.dcm: can't be read")
    harmless(book)


PLAYER = """
import itertools, struct
from dicomlab.rtv import pacing
from dicomlab.rtv.clock import encode_ptp
from dicomlab.rtv.metadata import CURRENT_FRAME, element, sequence
said, count = pacing.encode_dataset, itertools.count()

def static(one):
    one.PatientName, one.PatientID, one.Modality, one.StudyDescription = PERSON, BAD, TITLE, HIGH
    for number, vr in enumerate("AE CS LO LT PN SH ST UC UR UT".split()):
        text = LONG if vr in ("UC", "UR", "UT") else BAD
        one.add_new(0x00991000 + number, vr, text.encode("ascii", "ignore").decode() if vr in ("AE", "CS", "UR") else text)
    return said(one)

def dynamic(groups):
    content = sequence(0x00209111, element(0x00209156, "LO", BAD.encode()))
    when = sequence(0x0034000D, element(0x00340007, "OB", encode_ptp(groups.origin_ns)))
    mine = element(0x00990010, "LO", TITLE.encode()) + element(0x00991010, "FD", struct.pack("<d", next(count) % 9))
    return sequence(CURRENT_FRAME, content + when + mine + element(0x00991011, "UT", BAD.encode()))

pacing.encode_dataset, pacing.encode_dynamic = static, dynamic  # a sender that keeps to no rule
cast = dicomlab.Broadcast([np.zeros((48, 64, 3), np.uint8)], rate_hz=10, loop=True, name=BAD)
with dicomlab.trace() as heard:
    live = dicomlab.LiveStream(cast.sdp)
    player = live.play(to="taken " + FILE, form="uncompressed")
cast.start()
display(player, heard.live())
"""


def test_the_player(book: Notebook) -> None:
    """Static and dynamic metadata of a stream that keeps to no rule, its session, its curves, a recording that fails."""
    index = book.add(PLAYER)
    place, wire = book.output(index).locator(".dl-player"), book.output(index).locator(".dlw")
    shows(place.locator(".dl-facts"), PERSON_SHOWN, MARK, TITLE)
    place.get_by_role("img", name="(0099,1010):").wait_for()
    place.get_by_role("button", name="Keep this frame").click()
    place.get_by_role("button", name="Record (r)").click()
    shows(place.locator(NOTE), f"taken {FILE_SHOWN}")
    harmless(book)
    for words in ("SDP", "metadata"):
        wire.get_by_label("Filter messages").fill(words)
        wire.locator(".dlw-row", has_text=words).first.click()
        shows(wire.locator(".dlw-open"), "<script>")
    harmless(book)
    book.run("snapshot = player.snapshots[0]; player.close(); cast.close()")
    book.run("display(player, live, cast, snapshot)")
    shows(book.output(index + 2), f"LiveStream({MARK}", f"Broadcast: {MARK}", PERSON_SHOWN)
    harmless(book)


PICTURES = r"""
from IPython.display import Markdown
from dicomlab.model.trace import Channel, Trace
from dicomlab.web.fields import HttpReader
END = 'end"];end;#lt;img src=x#gt;' + "\n%%{init:{'securityLevel':'loose'}}%%\nclick p0 call XSS()\nend\n"
with dicomlab.trace() as wire:
    dicomlab.Node(str(archive.node.address), me=TITLE).verify()
    archive.web.find("study", PatientName=PERSON, progress=False)
for name in (BAD, END, LONG):
    request = ("GET /" + "".join(name.split()) + " HTTP/1.1\r\n\r\n").encode()
    tap = Channel("HTTP", (name, "end"), lambda o: o.decode("utf-8", "replace"), wire, HttpReader, True).tap
    tap("sent", request)
    tap("note", name.encode())
display(dicomlab.model_map(archive), wire, wire.live())
display(Markdown(f"```mermaid\n{wire.mermaid()}\n```"))
display({"text/vnd.mermaid": wire.mermaid(), "text/plain": ""}, raw=True)
"""


def test_pictures_of_the_wire_and_the_model(book: Notebook) -> None:
    """What could end a label of Mermaid; a map that shows an archive; a ladder of real conversations."""
    place = book.output(book.add(PICTURES))
    shows(place, "<a id=XSS>@127.0.0.1:", MARK)
    drawn = place.locator(".jp-RenderedMermaid img")
    drawn.nth(1).wait_for(timeout=60_000)
    assert place.locator(".jp-RenderedMermaid .jp-mod-warning, .jp-RenderedMermaid details").count() == 0
    for picture in drawn.all():
        svg = picture.evaluate("async (image) => (await fetch(image.src)).text()")
        assert "_script_window.XSS" in svg
        assert "<script" not in svg
    harmless(book)


@pytest.mark.parametrize("trusted", [True, False])
def test_another_notebook_over_the_same_kernel(desk: Desk, book: Notebook, trusted: bool) -> None:
    """Where it is trusted, the faces live on in it; where it is not, their stored forms stand there, sanitised."""
    name = desk.lab.store(f"hostile-{'trusted' if trusted else 'untrusted'}-live", book.cells)
    with desk.beside(name) as other:
        if trusted:
            other.trust()
        other.page.locator(".jp-NotebookPanel:visible .dl").first.wait_for()
        faces = other.page.locator(".jp-NotebookPanel:visible .dl-widget")
        if trusted:
            faces.nth(5).wait_for()
        else:
            assert faces.count() == 0
        shows(other.output(0), FILE_SHOWN)
        whole = other.page.locator(".jp-NotebookPanel:visible .jp-Notebook")
        shows(whole, PERSON_SHOWN, MARK, f"taken {FILE_SHOWN}" if trusted else f"in {FILE_SHOWN}")
        harmless(other)
