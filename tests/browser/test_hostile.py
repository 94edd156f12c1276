"""Hostile text in every face, live and stored, trusted and not: nothing of it runs, nothing of it asks anybody."""

from __future__ import annotations

import pytest

from tests.browser.hostile import MARK, TEXT, harmless, shows
from tests.peers.lab import Desk

pytestmark = pytest.mark.browser

FACES = (
    TEXT
    + """
import dicomlab, pandas as pd, warnings
from IPython.display import display
from pydicom import Dataset
from dicomlab.errors import Interrupted
from dicomlab.model.report import Outcome
from dicomlab.model.trace import Channel, Trace
from dicomlab.dimse.dissect import dissect
from dicomlab.dimse.reader import AssociationReader
from dicomlab.web.fields import HttpReader
from dicomlab.rtv.reader import RtpReader, read_sdp, read_rtcp
warnings.simplefilter("ignore")
wire = Trace()
octets = BAD.encode()
def say(protocol, reader, octets, name=BAD):
    Channel(protocol, (name, "them"), lambda o: o.decode("utf-8", "replace"), wire, lambda: reader, True).tap("sent", octets)
say("DIMSE", AssociationReader(), b"\\1\\0" + (68).to_bytes(4, "big") + b"\\0\\1\\0\\0" + octets[:16] + octets[:16] + bytes(32))
say("HTTP", HttpReader(), b"GET /" + b"".join(octets.split()) + b"?PatientName=" + b"".join(octets.split()) + b" HTTP/1.1\\r\\nX-" + b"A: " + octets + b"\\r\\n\\r\\n")
say("SDP", read_sdp, b"v=0\\r\\ns=" + octets + b"\\r\\n")
say("RTP", RtpReader("metadata"), b"\\x80\\x68" + bytes(10) + bytes(128) + b"DICM" + b"\\x10\\0\\x10\\0PN" + len(octets).to_bytes(2, "little") + octets)
Channel(BAD, (BAD, BAD), dissect, wire).tap("note", octets)
whole = Dataset()
for number, vr in enumerate("AE AS CS LO LT PN SH ST UC UR UT".split()):
    whole.add_new(0x00091010 + number, vr, BAD)
whole.StudyDescription, whole.SOPClassUID = LONG, BAD
inner = Dataset(); inner.CodeMeaning = inner.CodeValue = BAD; whole.AnatomicRegionSequence = [inner]
error = Interrupted(BAD, endpoint=BAD); error.trace = wire; error.partial = dicomlab.Report(BAD, (Outcome(BAD, "failed", BAD),), False, BAD)
frame = pd.DataFrame({"StudyInstanceUID": ["1"], "StudyDescription": [BAD], BAD: [BAD]})
shown = [
    wire, *wire.read(), wire.explain(), wire.compare(wire), wire.negotiation(), error, error.partial,
    dicomlab.inspect(whole, fictional=True), dicomlab.inspect(whole, fictional=True).search("script"),
    dicomlab.Cohort(frame, level="study", note=BAD, complete=False), dicomlab.Instance(BAD, BAD, BAD, BAD),
    dicomlab.Verification(False, BAD, 1.0, ((BAD, BAD),), BAD), dicomlab.MediaSet("/tmp/" + BAD.replace("/", "")),
]
"""
)
MORE = """
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
import numpy as np
from pydicom.filereader import read_dataset
from dicomlab.rtv.frames import Frame, FrameMetadata
from dicomlab.rtv.metadata import RtvMeta, element
from dicomlab.rtv.video import VideoFormat
from dicomlab.samples.phantom import write_phantom
every = "AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SS ST SV TM UC UI UL UN UR US UT UV".split()
padded = octets.ljust(-(-len(octets) // 8) * 8)
encoded = b"".join(element(0x00091010 + number, vr, padded) for number, vr in enumerate(every))
kept = TemporaryDirectory(prefix=BAD[:39].replace("/", ""))
folder = Path(kept.name)
write_phantom(folder, 1, 2)
(folder / BAD[39:90].replace("/", "")).write_bytes(octets)
stream = dicomlab.LiveStream("v=0\\r\\no=" + BAD + "\\r\\ns=" + BAD + "\\r\\nc=IN IP4 127.0.0.1\\r\\n" +
    "m=video 5000 RTP/AVP 96\\r\\na=rtpmap:96 <script>window.XSS=1<script>/90000\\r\\n")
stream.session
patient = Dataset(); patient.PatientName = patient.PatientID = BAD
metadata = FrameMetadata(RtvMeta("1.2", "1.2", None, None, "1.2"), None, patient)
shown += [
    dicomlab.inspect(read_dataset(BytesIO(encoded), is_implicit_VR=False, is_little_endian=True), fictional=True), stream,
    Frame(VideoFormat(16, 16, depth=8), 0, np.zeros(512, np.uint8), metadata=metadata, fictional=True),
    dicomlab.Broadcast([np.zeros((16, 16, 3), np.uint8)], name=BAD), dicomlab.MediaSet(folder),
]
"""
STATIC = (
    FACES
    + MORE
    + """
for one in shown:
    display(one)
display({"text/vnd.mermaid": wire.mermaid(), "text/plain": "mermaid"}, raw=True)
display({"image/svg+xml": wire.svg(), "text/plain": "svg"}, raw=True)
"""
)
LIVE = (
    FACES
    + MORE
    + """
every = dicomlab.inspect(read_dataset(BytesIO(encoded), is_implicit_VR=False, is_little_endian=True), fictional=True)
display(wire.live(), dicomlab.inspect(whole, fictional=True).live(), every.live())
"""
)


def test_nothing_runs_in_live_faces(desk: Desk) -> None:
    with desk.cells("hostile-live", LIVE) as book:
        where = book.output(0)
        where.locator(".dlw").scroll_into_view_if_needed()
        rows = where.locator(".dlw-row")
        rows.first.wait_for()
        for number in range(5):
            rows.nth(number).click()
            where.locator(".dlw-open b", has_text=f"{number}: ").wait_for()
            shows(where.locator(".dlw-open"), "<script>")
            harmless(book)
        elements = where.locator(".dl-data-set").first
        elements.locator("input[type=search]").fill("<script>")
        assert elements.locator("tbody tr").count() > 5
        shows(elements, MARK, "characters)")
        shows(elements.locator(".dl-title"), MARK)
        harmless(book)
        every = where.locator(".dl-data-set").last
        for vr in "AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split():
            every.locator("tr", has=desk.page.get_by_role("cell", name=vr, exact=True)).get_by_text(MARK).wait_for()
        harmless(book)


@pytest.mark.parametrize("trusted", [True, False])
def test_nothing_runs_in_stored_faces(desk: Desk, trusted: bool) -> None:
    with desk.cells("hostile", STATIC) as book:
        assert sum("<" in str(output) for output in book.cells[0]["outputs"]) > 10
        harmless(book)
        name = desk.lab.store(f"hostile-{'trusted' if trusted else 'untrusted'}", book.cells)
    with desk.open(name) as book:
        if trusted:
            book.trust()
        book.output(0).locator(".dl").first.wait_for()
        assert "<script>window.XSS=1</script>" in book.output(0).inner_text()
        harmless(book)
